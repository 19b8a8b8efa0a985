/* A message handed to a command: what the command finds, and what its end means. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include "mda/mda_command.h"
#include "mda/mda_play.h"

struct setting {
    struct mda_play play;
    struct mda_command_config config;
    struct mda_message message;
    struct mda_result result;
};

static void begin(struct setting *s, str content)
{
    memset(s, 0, sizeof(*s));
    mda_play_begin(&s->play);
    s->config = (struct mda_command_config){ .user = &s->play.user, .delimiter = S("+"), .cancel_fd = -1 };
    s->message = (struct mda_message){ .fd = memfd_create("message", 0), .length = content.n,
                                       .prefix = S("Delivered-To: bob@example.org\r\n"),
                                       .sender = S("a`b@x.example"), .recipient = S("bob@example.org"),
                                       .original = S("bob+lists@example.org"), .received_us = 1000000 };
    assert_int_equal(write(s->message.fd, content.p, content.n), content.n);
}

static void end(struct setting *s)
{
    close(s->message.fd);
    mda_play_end(&s->play);
}

static void run(struct setting *s, const char *command)
{
    mda_command_run(&s->config, &s->message, str_z(command), &s->result);
}

static void comes(struct setting *s, const char *command, enum mda_outcome outcome, const char *status,
                  const char *text)
{
    run(s, command);
    if (s->result.outcome != outcome || !str_eq(str_z(s->result.status), str_z(status)) ||
        str_find(str_z(s->result.text), str_z(text)) < 0)
        fail_msg("%s: %d %s %s", command, s->result.outcome, s->result.status, s->result.text);
}

static void test_input(void **state)
{
    struct setting s;
    (void)state;
    begin(&s, S("Subject: x\r\n\r\nFrom me\r\n"));
    comes(&s, "sh -c 'cat > got'", MDA_DELIVERED, "2.0.0", "");
    str got = mda_play_read(&s.play, "got");
    assert_true(str_eq(got, S("From a`b@x.example Thu Jan  1 00:00:01 1970\nReturn-Path: <a`b@x.example>\n"
                              "Delivered-To: bob@example.org\nSubject: x\n\nFrom me\n")));
    struct stat st;
    assert_int_equal(stat(mda_play_path(&s.play, "got"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    end(&s);
}

static void test_environment(void **state)
{
    struct setting s;
    (void)state;
    begin(&s, S("x\r\n"));
    setenv("SECRET", "1", 1);
    comes(&s, "sh -c 'env > got; pwd >> got; ls /proc/self/fd | wc -l >> got'", MDA_DELIVERED, "2.0.0", "");
    str got = mda_play_read(&s.play, "got");
    static const char *const lines[] = { "SENDER=a_b@x.example\n", "RECIPIENT=bob@example.org\n", "LOCAL=bob\n",
                                         "ORIGINAL_RECIPIENT=bob+lists@example.org\n", "DOMAIN=example.org\n",
                                         "EXTENSION=lists\n", "USER=tester\n", "LOGNAME=tester\n", "ENVID=\n" };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (str_find(got, str_z(lines[i])) < 0)
            fail_msg("%s is not in %.*s", lines[i], STR_ARG(got));
    assert_true(str_find(got, S("SECRET")) < 0);
    assert_true(str_find(got, str_z(s.play.home)) >= 0);
    assert_true(str_ends(got, S("\n4\n"))); /* 0, 1, 2 and the folder that ls reads */
    end(&s);
}

static void test_no_shell(void **state)
{
    struct setting s;
    (void)state;
    begin(&s, S("x\r\n"));
    comes(&s, "touch 'a b' $HOME;id", MDA_DELIVERED, "2.0.0", "");
    assert_int_equal(access(mda_play_path(&s.play, "a b"), F_OK), 0);
    assert_int_equal(access(mda_play_path(&s.play, "$HOME;id"), F_OK), 0);
    comes(&s, "\"unclosed", MDA_DEFERRED, "4.3.5", "");
    comes(&s, "bin/true", MDA_DEFERRED, "4.3.5", "no slash");
    comes(&s, "/no/such", MDA_DEFERRED, "4.3.5", "No such file");
    comes(&s, "no-such-program", MDA_DEFERRED, "4.3.5", "No such file");
    comes(&s, "/etc/passwd", MDA_DEFERRED, "4.3.5", "Permission denied");
    end(&s);
}

static void test_much(void **state)
{
    struct setting s;
    enum { MUCH = 3 << 20 };
    (void)state;
    char *text = malloc(MUCH);
    memset(text, 'x', MUCH);
    begin(&s, str_of(text, MUCH));
    comes(&s, "true", MDA_DELIVERED, "2.0.0", ""); /* reads nothing */
    comes(&s, "sh -c 'exec <&-; sleep 0.1'", MDA_DELIVERED, "2.0.0", "");
    comes(&s, "cat", MDA_DELIVERED, "2.0.0", "xxx"); /* prints while it reads */
    comes(&s, "wc -c", MDA_DELIVERED, "2.0.0", "31458"); /* with the header before it */
    s.message.length++;
    comes(&s, "cat", MDA_DEFERRED, "4.2.0", ""); /* half a message is none */
    free(text);
    end(&s);
}

static uint64_t ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void test_time(void **state)
{
    struct setting s;
    int pair[2];
    (void)state;
    begin(&s, S("x\r\n"));
    s.config.timeout_ms = 300;
    uint64_t from = ms();
    comes(&s, "sh -c 'sleep 30 & echo $! > child; wait'", MDA_DEFERRED, "4.3.0", "was stopped");
    pid_t child = (pid_t)strtol(mda_play_read(&s.play, "child").p, NULL, 10);
    assert_true(child > 1);
    for (int i = 0; i < 200 && kill(child, 0) == 0; i++)
        usleep(10000);
    char path[64], text[512] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", child); /* whoever inherits it may leave it as a zombie */
    FILE *f = fopen(path, "r");
    if (f) {
        assert_non_null(fgets(text, sizeof(text), f));
        fclose(f);
        assert_non_null(strstr(text, ") Z "));
    }
    s.config.timeout_ms = 500;
    comes(&s, "sh -c 'trap \"\" TERM; sleep 30'", MDA_DEFERRED, "4.3.0", "was stopped"); /* does not hear */
    assert_true(ms() - from < 20000);
    s.config.timeout_ms = 20000;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    s.config.cancel_fd = pair[0];
    comes(&s, "true", MDA_DELIVERED, "2.0.0", "");
    close(pair[1]);
    comes(&s, "sleep 30", MDA_DEFERRED, "4.3.2", "stopping");
    close(pair[0]);
    s.config.cancel_fd = -1;
    from = ms();
    comes(&s, "sh -c 'sleep 30 & exit 0'", MDA_DELIVERED, "2.0.0", ""); /* a child that stays holds nothing up */
    assert_true(ms() - from < 5000);
    end(&s);
}

static void test_every_status(void **state)
{
    static const struct { int status; enum mda_outcome outcome; const char *enhanced; } known[] = {
        { 0, MDA_DELIVERED, "2.0.0" }, { 64, MDA_FAILED, "5.3.0" },    { 65, MDA_FAILED, "5.6.0" },
        { 66, MDA_FAILED, "5.3.0" },   { 67, MDA_FAILED, "5.1.1" },    { 68, MDA_FAILED, "5.1.2" },
        { 69, MDA_FAILED, "5.3.0" },   { 70, MDA_FAILED, "5.3.0" },    { 71, MDA_DEFERRED, "4.3.0" },
        { 72, MDA_FAILED, "5.3.0" },   { 73, MDA_DEFERRED, "4.2.0" },  { 74, MDA_DEFERRED, "4.3.0" },
        { 75, MDA_DEFERRED, "4.3.0" }, { 76, MDA_FAILED, "5.5.0" },    { 77, MDA_FAILED, "5.7.0" },
        { 78, MDA_DEFERRED, "4.3.5" }, { 99, MDA_DELIVERED, "2.0.0" }, { 100, MDA_FAILED, "5.3.0" },
        { 111, MDA_DEFERRED, "4.3.0" }, { 126, MDA_DEFERRED, "4.3.5" }, { 127, MDA_DEFERRED, "4.3.5" },
    };
    struct mda_result r;
    (void)state;
    for (int status = 0; status < 256; status++) {
        enum mda_outcome outcome = MDA_FAILED;
        const char *enhanced = "5.3.0";
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            if (known[i].status == status) {
                outcome = known[i].outcome;
                enhanced = known[i].enhanced;
            }
        mda_command_verdict(&r, status << 8, STR_NONE);
        assert_int_equal(r.outcome, outcome);
        assert_string_equal(r.status, enhanced);
        assert_int_equal(r.code / 100, outcome == MDA_DELIVERED ? 2 : outcome == MDA_DEFERRED ? 4 : 5);
    }
    for (int by = 1; by < 32; by++) {
        if (by == SIGSTOP || by == SIGCONT)
            continue;
        mda_command_verdict(&r, by, S("5.1.1 no")); /* what it said before does not count */
        assert_int_equal(r.outcome, MDA_DEFERRED);
        assert_string_equal(r.status, "4.3.0");
    }
}

static void test_output(void **state)
{
    static const struct { int status; const char *output; enum mda_outcome outcome; const char *enhanced, *text;
    } all[] = {
        { 75, "5.7.1 go away\n", MDA_FAILED, "5.7.1", "the command says: go away" },
        { 67, "4.2.2 full", MDA_DEFERRED, "4.2.2", "full" },
        { 1, "4.2.0", MDA_DEFERRED, "4.2.0", "the command says" },
        { 1, "2.0.0 fine", MDA_FAILED, "5.3.0", "failed with status 1: 2.0.0 fine" },
        { 0, "5.7.1 no", MDA_DELIVERED, "2.0.0", "5.7.1 no" },
        { 0, "2.1.5 in box x", MDA_DELIVERED, "2.1.5", "delivered to the command: in box x" },
        { 69, "4.2", MDA_FAILED, "5.3.0", ": 4.2" },
        { 69, "4.2.0x", MDA_FAILED, "5.3.0", "4.2.0x" },
        { 69, "4.0200.1 x", MDA_FAILED, "5.3.0", "" },
        { 69, "3.2.0 x", MDA_FAILED, "5.3.0", "3.2.0 x" },
        { 69, "a\r\n\tb\x1b[2J\n\n", MDA_FAILED, "5.3.0", "EX_UNAVAILABLE): a b [2J" },
        { 69, "\xff gr\xc3\xbc\xc3\x9f", MDA_FAILED, "5.3.0", ": ? gr\xc3\xbc\xc3\x9f" },
    };
    char many[3000];
    struct mda_result r;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        mda_command_verdict(&r, all[i].status << 8, str_z(all[i].output));
        assert_int_equal(r.outcome, all[i].outcome);
        assert_string_equal(r.status, all[i].enhanced);
        if (str_find(str_z(r.text), str_z(all[i].text)) < 0)
            fail_msg("%zu: %s", i, r.text);
    }
    for (size_t cut = 0; cut < 3; cut++) { /* letters of two bytes, at whatever place they are cut */
        memset(many, 'x', sizeof(many));
        for (size_t i = cut; i + 2 <= sizeof(many); i += 2)
            memcpy(many + i, "\xc3\xbc", 2);
        mda_command_verdict(&r, 69 << 8, str_of(many, sizeof(many)));
        assert_true(strlen(r.text) > 800 && !strchr(r.text, '?'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input),        cmocka_unit_test(test_environment), cmocka_unit_test(test_no_shell),
        cmocka_unit_test(test_much),         cmocka_unit_test(test_time),        cmocka_unit_test(test_every_status),
        cmocka_unit_test(test_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
