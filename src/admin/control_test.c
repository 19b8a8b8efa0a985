/* The control socket: one question, one answer, and servers that are not there or say nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include "base/pack.h"

/* A server for one question. Its exit code: 0 the question was `want`. */
static pid_t answer_once(int listener, char want, str answer)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    char question[16];
    alarm(20);
    struct pollfd wait = { .fd = listener, .events = POLLIN };
    poll(&wait, 1, -1);
    int c = accept(listener, NULL, NULL);
    ssize_t n = recv(c, question, sizeof(question), 0);
    if (answer.n)
        send(c, answer.p, answer.n, MSG_NOSIGNAL);
    _exit(n == 1 && question[0] == want ? 0 : 1);
}

static void ask(struct admin_play *p, enum control_command command, str answer, int want, const char *text,
                bool want_ok)
{
    _cleanup_buf_ struct buf got = BUF(CONTROL_ANSWER_MAX);
    _cleanup_close_ int listener = -1;
    bool ok = false;
    int status;
    assert_int_equal(control_listen(p->dir_fd, (unsigned)-1, &listener), 0);
    pid_t pid = answer_once(listener, (char)command, answer);
    assert_int_equal(control_ask(p->dir_fd, command, 5, &ok, &got), want);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    if (want < 0)
        return;
    assert_int_equal(ok, want_ok);
    assert_true(str_eq(buf_str(&got), str_z(text)));
}

static void test_question_and_answer(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    _cleanup_buf_ struct buf b = BUF(CONTROL_ANSWER_MAX + 16);
    static char longest[CONTROL_ANSWER_MAX + 1];
    admin_play_init(&p);
    pack_u8(&b, 1);
    pack_str(&b, S("role=master\n"));
    ask(&p, CONTROL_STATUS, buf_str(&b), 0, "role=master\n", true);
    buf_clear(&b);
    pack_u8(&b, 0);
    pack_str(&b, S("no"));
    ask(&p, CONTROL_RELOAD, buf_str(&b), 0, "no", false);
    memset(longest, 'x', CONTROL_ANSWER_MAX);
    buf_clear(&b);
    pack_u8(&b, 1);
    pack_str(&b, str_z(longest));
    ask(&p, CONTROL_STATUS, buf_str(&b), 0, longest, true);
}

static void test_answers_that_are_none(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    ask(&p, CONTROL_STATUS, S("\1\377\377\377\377x"), -EBADMSG, "", false);
    ask(&p, CONTROL_STATUS, S("\1"), -EBADMSG, "", false);
    ask(&p, CONTROL_STATUS, STR_NONE, -ECONNRESET, "", false);
}

static void test_nobody_there(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    _cleanup_buf_ struct buf got = BUF(CONTROL_ANSWER_MAX);
    bool ok;
    int fd;
    admin_play_init(&p);
    assert_int_equal(control_ask(p.dir_fd, CONTROL_STATUS, 1, &ok, &got), -ENOENT);
    assert_int_equal(control_listen(p.dir_fd, (unsigned)-1, &fd), 0);
    assert_int_equal(control_ask(p.dir_fd, CONTROL_STATUS, 1, &ok, &got), -ETIMEDOUT);
    close(fd);
    assert_int_equal(control_ask(p.dir_fd, CONTROL_STATUS, 1, &ok, &got), -ECONNREFUSED);
}

/* What is there from before is no obstacle, and nobody else may speak. */
static void test_the_socket_is_made_anew_and_private(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    struct stat st;
    int fd[2];
    admin_play_init(&p);
    mode_t old = umask(0);
    assert_int_equal(control_listen(p.dir_fd, (unsigned)-1, &fd[0]), 0);
    assert_int_equal(control_listen(p.dir_fd, (unsigned)-1, &fd[1]), 0);
    assert_int_equal(umask(old), 0); /* it is given back */
    assert_int_equal(fstatat(p.dir_fd, "control", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    close(fd[0]);
    close(fd[1]);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_question_and_answer),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_the_socket_is_made_anew_and_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
