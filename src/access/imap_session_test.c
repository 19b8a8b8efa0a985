/* IMAP sessions of role access: sockets, TLS, log-in, limits, ends. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"

static const struct play_mail mail[] = { { "", "Subject: one\r\n\r\nx\r\n" }, { "", "Subject: two\r\n\r\ny\r\n" } };

static void wait_sessions(struct role_play *p, uint64_t want)
{
    uint64_t n = want + 1;
    for (int i = 0; i < 300 && (n = play_status(p, "imap_sessions")) != want; i++)
        usleep(10000);
    assert_int_equal(n, want);
}

static uint64_t say_log_in(struct role_play *p, struct play_client *c)
{
    client_send(c, S("a LOGIN anna@example.org secret\r\n"));
    play_expect(p, p->peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    return unpack_u64(&p->in);
}

static void test_starttls_then_log_in(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    client_open(&c, p.port[PLAY_IMAP]);
    client_expect(&c, "* OK [CAPABILITY ");
    client_talk(&c, "x LOGIN anna@example.org secret\r\n", "x NO [PRIVACYREQUIRED]"); /* never in clear text */
    client_talk(&c, "t STARTTLS\r\n", "t OK");
    client_tls(&c);
    play_result(&p, say_log_in(&p, &c), 0);
    client_expect(&c, "a NO [AUTHENTICATIONFAILED]");
    play_result(&p, say_log_in(&p, &c), 2);
    client_expect(&c, "a NO [UNAVAILABLE]");
    play_result(&p, say_log_in(&p, &c), 1);
    client_expect(&c, "a OK [CAPABILITY ");
    assert_int_equal(play_status(&p, "auth_ok"), 1);
    assert_int_equal(play_status(&p, "auth_failed"), 2);
    client_talk(&c, "z LOGOUT\r\n", "* BYE");
    client_expect(&c, "z OK");
    client_expect_end(&c);
    play_expect(&p, p.peer[ROLE_STORE], IPC_MAILDROP_CLOSE); /* it need not remember the session */
    play_stop(&p);
}

static void test_text_behind_starttls_ends_the_session(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    client_open(&c, p.port[PLAY_IMAP]);
    client_expect(&c, "* OK");
    client_send(&c, S("t STARTTLS\r\na NOOP\r\n"));
    str line = client_line(&c);
    assert_true(!line.p || str_starts(line, S("t OK")));
    client_expect_end(&c);
    play_stop(&p);
}

static void test_pipelined_commands_wait_for_the_store(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap_greeted(&p, &c);
    client_send(&c, S("a LOGIN anna@example.org secret\r\nb EXAMINE INBOX\r\nc NOOP\r\nd LOGOUT\r\n"));
    play_expect(&p, p.peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    play_result(&p, unpack_u64(&p.in), 1);
    client_expect(&c, "a OK");
    play_opens(&p, STORE_DONE, play_snapshot(mail, 2));
    client_until(&c, "b OK [READ-ONLY]");
    client_expect(&c, "c OK");
    client_expect(&c, "* BYE");
    client_expect(&c, "d OK");
    client_expect_end(&c);
    play_stop(&p);
}

static void test_too_many_of_one_address(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 }, e = { .fd = -1 };
    play_access(&p, "smtpd_client_connection_count_limit 2\n");
    client_open(&c, p.port[PLAY_IMAP]);
    client_expect(&c, "* OK");
    client_open(&d, p.port[PLAY_POP3]); /* counted together */
    client_expect(&d, "+OK");
    client_open(&e, p.port[PLAY_IMAP]);
    client_expect(&e, "* BYE [UNAVAILABLE]");
    client_expect_end(&e);
    client_close(&c);
    wait_sessions(&p, 0);
    client_open(&c, p.port[PLAY_IMAP]);
    client_expect(&c, "* OK");
    play_stop(&p);
}

static void test_timeout(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "imap_timeout 1s\n");
    play_imap(&p, &c);
    client_expect(&c, "* BYE");
    client_expect_end(&c);
    assert_int_equal(play_status(&p, "timeouts"), 1);
    play_stop(&p);
}

static void test_a_question_to_the_store_is_no_idleness(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "imap_timeout 1s\n");
    play_imap(&p, &c);
    client_send(&c, S("a STATUS INBOX (MESSAGES)\r\n"));
    struct buf b = play_answer(play_request(&p, IPC_FOLDERS), STORE_DONE);
    sleep(2);
    pack_u8(&b, 1);
    pack_u32(&b, 0);
    play_reply(&p, IPC_FOLDERS_PAGE, &b);
    client_expect(&c, "a NO [NONEXISTENT]");
    play_stop(&p);
}

static void test_the_store_goes(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 }, e = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 2);
    play_imap(&p, &d);
    client_send(&d, S("a LIST \"\" *\r\n"));
    play_request(&p, IPC_FOLDERS);
    play_imap_greeted(&p, &e);
    close(TAKE_FD(p.peer[ROLE_STORE]));
    client_expect(&c, "* BYE [UNAVAILABLE]");
    client_expect_end(&c);
    client_expect(&d, "a NO [UNAVAILABLE]");
    client_expect(&d, "* BYE [UNAVAILABLE]");
    client_talk(&e, "a NOOP\r\n", "a OK"); /* it has not logged in */
    play_store(&p);
    assert_int_equal(play_status(&p, "open_mailboxes"), 0);
    play_stop(&p);
}

static void test_stop_says_goodbye(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 2);
    play_stop(&p);
    client_expect(&c, "* BYE [UNAVAILABLE] This host is shutting down");
    client_expect_end(&c);
}

/* A client that does not read: output waits, others go on. */
static void test_a_client_that_does_not_read(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    static struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    _cleanup_buf_ struct buf many = BUF(8 << 20);
    play_access(&p, "imap_timeout 2s\n");
    play_imap(&p, &c);
    play_imap(&p, &d);
    for (int i = 0; i < 20000; i++)
        buf_addf(&many, "c%06d NAMESPACE\r\n", i);
    pid_t writer = fork();
    if (writer == 0) {
        client_send(&c, buf_str(&many));
        _exit(0);
    }
    for (int i = 0; i < 5; i++) {
        client_talk(&d, "n NOOP\r\n", "n OK");
        usleep(20000);
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    client_close(&c);
    client_close(&d);
    wait_sessions(&p, 0);
    play_stop(&p);
}

static void test_compress(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    client_talk(&c, "z COMPRESS DEFLATE\r\n", "z OK");
    client_send(&c, S("\xff\xff\xff\xff")); /* that is none */
    client_expect_end(&c);
    wait_sessions(&p, 0);
    play_stop(&p);
}

static void test_hostile_store(void **state)
{
    (void)state;
    static const struct { enum ipc_type type; const char *bytes; size_t n; } bad[] = {
        { IPC_FEED, "", 0 },
        { IPC_FEED, "\1\0\0\0\0\0\0\0\5\0\0\0x", 13 },
        { IPC_APPENDED, "x", 1 },
        { IPC_LOG_APPLIED, "x", 1 },
        { IPC_FOLDERS_PAGE, "x", 1 },
    };
    _cleanup_play_ struct role_play p;
    play_access(&p, "");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        play_try_send(p.peer[ROLE_STORE], bad[i].type, str_of(bad[i].bytes, bad[i].n), NULL, 0);
        play_closed(&p, p.peer[ROLE_STORE]);
        play_store(&p);
    }
    for (unsigned request = 0; request < 100; request++) { /* answers to nobody */
        struct buf b = BUF(64);
        pack_u64(&b, request);
        pack_u8(&b, 0);
        play_send(p.peer[ROLE_STORE], request & 1 ? IPC_MAILBOX_OPENED : IPC_FLAGGED, &b, p.dir_fd);
    }
    play_status(&p, "sessions");
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starttls_then_log_in),
        cmocka_unit_test(test_text_behind_starttls_ends_the_session),
        cmocka_unit_test(test_pipelined_commands_wait_for_the_store),
        cmocka_unit_test(test_too_many_of_one_address),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_a_question_to_the_store_is_no_idleness),
        cmocka_unit_test(test_the_store_goes),
        cmocka_unit_test(test_stop_says_goodbye),
        cmocka_unit_test(test_a_client_that_does_not_read),
        cmocka_unit_test(test_compress),
        cmocka_unit_test(test_hostile_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
