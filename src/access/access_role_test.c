/* Role access: reload, auth that goes, end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"

static const struct play_mail mail[] = { { "", "Subject: one\r\n\r\nx\r\n" } };

static void test_reload_keeps_sessions(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    play_access(&p, "");
    play_opened(&p, &c, mail, 1);
    for (int i = 0; i < 3; i++) {
        play_configure(&p);
        play_expect(&p, p.master, IPC_APPLIED);
        client_talk(&c, "STAT\r\n", "+OK 1 ");
    }
    play_connect(&p, &d);
    client_talk(&c, "QUIT\r\n", "+OK");
    client_expect_end(&c);
    assert_int_equal(play_status(&p, "generation"), 4);
    play_stop(&p);
}

static void test_auth_goes_and_comes_back(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_connect(&p, &c);
    play_say_password(&p, &c);
    close(TAKE_FD(p.peer[ROLE_AUTH]));
    client_expect(&c, "-ERR [SYS/TEMP]");
    play_peer(&p, ROLE_AUTH);
    play_status(&p, "sessions");
    play_result(&p, play_say_password(&p, &c), 1);
    play_maildrop(&p, 0, play_snapshot(mail, 1));
    client_expect(&c, "+OK");
    play_stop(&p);
}

static void test_stop_says_goodbye(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 }, e = { .fd = -1 };
    play_access(&p, "");
    play_opened(&p, &c, mail, 1);
    play_connect(&p, &d);
    client_open(&e, p.port[PLAY_POP3S]); /* no handshake */
    play_stop(&p);
    client_expect(&c, "-ERR [SYS/TEMP] This host is shutting down");
    client_expect_end(&c);
    client_expect(&d, "-ERR");
}

static void test_status_and_stop_together(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    struct buf b = BUF(16);
    play_access(&p, "");
    kill(p.pid, SIGSTOP);
    play_send(p.master, IPC_STOP, NULL, -1);
    pack_u64(&b, 1);
    play_send(p.master, IPC_STATUS, &b, -1);
    play_peer(&p, ROLE_STORE);
    kill(p.pid, SIGCONT);
    assert_int_equal(play_wait(&p), 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reload_keeps_sessions),
        cmocka_unit_test(test_auth_goes_and_comes_back),
        cmocka_unit_test(test_stop_says_goodbye),
        cmocka_unit_test(test_status_and_stop_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
