/* The master and its roles: one that dies is started anew, and its neighbours find it again. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"

static void send_message(struct admin_play *p)
{
    _cleanup_client_ struct play_client c = { .fd = -1 };
    client_open(&c, p->port[0]);
    client_expect(&c, "220");
    client_send(&c, S("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n"));
    for (int i = 0; i < 3; i++)
        client_expect(&c, "250");
    client_expect(&c, "354");
    client_talk(&c, "\r\nx\r\n.\r\n", "250");
}

static void wait_field(struct admin_play *p, const char *role, const char *key, uint64_t want)
{
    uint64_t n = ~want;
    for (int i = 0; i < 1000 && (n = play_field(p, role, key)) != want; i++)
        usleep(10000);
    if (n != want)
        fail_msg("%s of %s: %llu", key, role, (unsigned long long)n);
}

static void test_each_role_comes_back(void **state)
{
    (void)state;
    static const char *const roles[] = { "smtp-in", "store", "access", "auth", "cards" };
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_serve(&p);
    send_message(&p);
    wait_field(&p, "store", "stored_messages", 1);
    uint64_t messages = 1;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        char key[64];
        uint64_t pid = play_field(&p, roles[i], "pid"), next = pid;
        snprintf(key, sizeof(key), "restarts_%s", roles[i]);
        assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
        for (int n = 0; n < 1000 && (next == pid || next == 0); n++) {
            usleep(10000);
            next = play_field(&p, roles[i], "pid");
        }
        assert_true(next != pid && next != 0);
        assert_int_equal(play_field(&p, "master", key), 1);
        usleep(100000);
        send_message(&p);
        wait_field(&p, "store", "stored_messages", ++messages);
    }
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

/* The new process of smtp-in that came for the one that a signal ended. */
static void end_smtp_in(struct admin_play *p, int how)
{
    uint64_t old = play_field(p, "smtp-in", "pid"), pid = old;
    assert_int_equal(kill((pid_t)old, how), 0);
    for (int n = 0; n < 1000 && (pid == old || pid == 0); n++) {
        usleep(10000);
        pid = play_field(p, "smtp-in", "pid");
    }
    assert_true(pid != old && pid != 0);
}

static void test_a_bug_makes_careful(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_serve(&p);
    end_smtp_in(&p, SIGKILL); /* nobody's bug */
    assert_int_equal(play_field(&p, "master", "bugs_smtp-in"), 0);
    assert_int_equal(play_field(&p, "smtp-in", "careful_s"), 0);
    end_smtp_in(&p, SIGABRT);
    assert_int_equal(play_field(&p, "master", "bugs_smtp-in"), 1);
    assert_in_range(play_field(&p, "smtp-in", "careful_s"), 1700, 1800);
    end_smtp_in(&p, SIGKILL); /* the time goes on */
    assert_int_equal(play_field(&p, "master", "bugs_smtp-in"), 1);
    assert_in_range(play_field(&p, "smtp-in", "careful_s"), 1700, 1800);
    assert_in_range(play_field(&p, "master", "careful_s"), 1700, 1800);
    send_message(&p);
    wait_field(&p, "store", "cards_made", 1);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

static void test_a_role_that_is_told_a_reload_while_it_is_down(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_serve(&p);
    kill((pid_t)play_field(&p, "access", "pid"), SIGKILL);
    assert_int_equal(COMMAND_ON(&p, cmd_reload, "", "reload"), 0);
    wait_field(&p, "access", "generation", 2);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

static void test_the_end_of_the_master_is_the_end_of_all(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_serve(&p);
    pid_t role = (pid_t)play_field(&p, "store", "pid");
    assert_int_equal(play_end_server(&p, SIGKILL), 128 + SIGKILL);
    for (int i = 0; i < 500 && kill(role, 0) == 0; i++)
        usleep(10000);
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/status", (int)role); /* gone, or a zombie that nobody has waited for */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        play_catch(fd, text, sizeof(text));
        play_says(text, "Z (zombie)");
    }
    play_serve(&p);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

int main(int argc, char **argv)
{
    admin_play_role(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_role_comes_back),
        cmocka_unit_test(test_a_bug_makes_careful),
        cmocka_unit_test(test_a_role_that_is_told_a_reload_while_it_is_down),
        cmocka_unit_test(test_the_end_of_the_master_is_the_end_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
