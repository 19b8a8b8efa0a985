/* Questions at the control socket of a running server, good and bad. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/un.h>
#include "admin/admin_play.h"

static int dial(struct admin_play *p)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct timeval limit = { .tv_sec = 15 };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/data/control", p->dir_fd);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void test_questions_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = { "\x7f", "\xff", "\1\1", "status" };
    _cleanup_admin_ struct admin_play p;
    char answer[64];
    admin_play_init(&p);
    play_serve(&p);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_close_ int fd = dial(&p);
        assert_true(send(fd, bad[i], strlen(bad[i]), 0) > 0);
        assert_int_equal(recv(fd, answer, sizeof(answer), 0), 5); /* not ok, no text */
        assert_int_equal(answer[0], 0);
        assert_int_equal(recv(fd, answer, sizeof(answer), 0), 0);
    }
    assert_true(play_field(&p, "master", "pid") == (uint64_t)p.server);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

static void test_many_who_ask_and_leave(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_serve(&p);
    for (int i = 0; i < 100; i++) {
        int fd = dial(&p);
        if (i % 3)
            assert_int_equal(send(fd, i % 3 == 1 ? "\1" : "\2", 1, 0), 1);
        if (i % 2)
            close(fd); /* before the answer */
        else if (i % 3) {
            char answer[CONTROL_ANSWER_MAX + 16];
            assert_true(recv(fd, answer, sizeof(answer), 0) >= 5);
            assert_int_equal(answer[0], 1);
            close(fd);
        } else {
            close(fd);
        }
    }
    assert_true(play_field(&p, "master", "pid") == (uint64_t)p.server);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

static void test_listeners_do_not_change_with_a_reload(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_serve(&p);
    play_conf(&p, "listen pop3 127.0.0.1:4\n");
    int r = COMMAND_ON(&p, cmd_reload, "", "reload");
    play_says(p.err, "take effect at the next start");
    play_says(p.err, "Nothing was changed now. The server goes on with the configuration it had.");
    assert_int_equal(r, EXIT_CONFIG);
    play_conf(&p, "message_size_limit 1M\n");
    assert_int_equal(COMMAND_ON(&p, cmd_reload, "", "reload"), 0);
    assert_int_equal(play_field(&p, "master", "generation"), 2);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

/* Only libunbound in role dns can tell that a trust anchor is none. */
static void test_a_role_that_refuses_a_generation_says_so_at_once(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    struct timespec from, to;
    admin_play_init(&p);
    play_serve(&p);
    play_conf(&p, "trust_anchor posthouse.conf\n");
    clock_gettime(CLOCK_MONOTONIC, &from);
    int r = COMMAND_ON(&p, cmd_reload, "", "reload");
    clock_gettime(CLOCK_MONOTONIC, &to);
    play_says(p.err,
              "role dns refused the new configuration: libunbound does not take these servers or this trust anchor");
    play_says(p.err, "It goes on with the one it had");
    assert_int_equal(r, EXIT_CONFIG);
    assert_true(to.tv_sec - from.tv_sec < 4); /* it waits 8 s for a role that says nothing */
    assert_int_equal(play_field(&p, "dns", "generation"), 1);
    assert_int_equal(play_field(&p, "store", "generation"), 2);
    play_conf(&p, "message_size_limit 1M\n");
    assert_int_equal(COMMAND_ON(&p, cmd_reload, "", "reload"), 0);
    assert_int_equal(play_field(&p, "dns", "generation"), 3);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

int main(int argc, char **argv)
{
    admin_play_role(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions_that_are_none),
        cmocka_unit_test(test_many_who_ask_and_leave),
        cmocka_unit_test(test_listeners_do_not_change_with_a_reload),
        cmocka_unit_test(test_a_role_that_refuses_a_generation_says_so_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
