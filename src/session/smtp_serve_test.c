/* Sessions of role smtp-in: sockets, TLS, log-in, limits, ends. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "session/smtp_play.h"

static void wait_sessions(struct role_play *p, uint64_t want)
{
    uint64_t n = want + 1;
    for (int i = 0; i < 300 && (n = play_status(p, "sessions")) != want; i++)
        usleep(10000);
    assert_int_equal(n, want);
}

static void test_starttls_and_log_in(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSION);
    client_talk(&c, "AUTH PLAIN AGEAYg==\r\n", "5"); /* never in clear text */
    client_talk(&c, "STARTTLS\r\n", "220");
    client_tls(&c);
    client_talk(&c, "EHLO client.example\r\n", "250");
    client_send(&c, S("AUTH LOGIN YW5uYUBleGFtcGxlLm9yZw==\r\n"));
    client_expect(&c, "334 ");
    client_send(&c, S("c2VjcmV0\r\n"));
    play_expect(&p, p.peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    uint64_t request = unpack_u64(&p.in);
    assert_int_equal(unpack_u8(&p.in), 0);
    assert_true(str_eq(unpack_str(&p.in), S("127.0.0.1")));
    assert_int_equal(unpack_str(&p.in).n, 26);
    assert_true(str_eq(unpack_str(&p.in), S("anna@example.org")));
    assert_true(str_eq(unpack_str(&p.in), S("secret")));
    assert_true(unpack_end(&p.in));
    play_answer(&p, request, 0, "");
    client_expect(&c, "535 5.7.8");
    play_log_in(&p, &c);
    client_talk(&c, "AUTH PLAIN AGEAYg==\r\n", "503"); /* RFC 4954 4 */
    assert_int_equal(play_status(&p, "auth_ok"), 1);
    assert_int_equal(play_status(&p, "auth_failed"), 1);
    assert_int_equal(play_status(&p, "tls_handshakes"), 1);
    play_stop(&p);
}

static void test_text_behind_starttls_ends_the_session(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    client_send(&c, S("STARTTLS\r\nMAIL FROM:<evil@far.example>\r\n"));
    str line = client_line(&c);
    assert_true(!line.p || str_starts(line, S("220 ")));
    client_expect_end(&c);
    play_stop(&p);
}

/* A whole session in one packet with the end behind it, as `printf … | nc -N` sends it: all is answered. */
static void test_a_half_closed_client_gets_its_answers(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_smtp(&p, "");
    for (int i = 0; i < 10; i++) {
        _cleanup_client_ struct play_client c = { .fd = -1 };
        client_open(&c, p.port[PLAY_SMTP]);
        client_expect(&c, "220");
        client_send(&c, S("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n\r\nx\r\n.\r\nQUIT\r\n"));
        shutdown(c.fd, SHUT_WR);
        client_expect(&c, "250");
        client_expect(&c, "250");
        client_expect(&c, "250");
        client_expect(&c, "354");
        client_expect(&c, "250 2.0.0");
        client_expect(&c, "221");
        client_expect_end(&c);
        play_synced(&p);
    }
    wait_sessions(&p, 0);
    play_stop(&p);
}

static void test_a_half_closed_client_waits_for_its_log_in(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSIONS);
    client_send(&c, S("AUTH PLAIN AGEAYg==\r\nNOOP\r\nQUIT\r\n"));
    SSL_shutdown(c.ssl);
    play_expect(&p, p.peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    uint64_t request = unpack_u64(&p.in);
    usleep(50000);
    play_answer(&p, request, 1, "a");
    client_expect(&c, "235");
    client_expect(&c, "250");
    client_expect(&c, "221");
    play_stop(&p);
}

/* The next log-in is already there when the first one fails. */
static void test_pipelined_log_ins(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSIONS);
    client_send(&c, S("AUTH PLAIN AGEAYg==\r\nAUTH LOGIN YQ==\r\n"));
    play_expect(&p, p.peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    play_answer(&p, unpack_u64(&p.in), 0, "");
    client_expect(&c, "535");
    client_expect(&c, "334");
    client_send(&c, S("Yg==\r\n"));
    play_expect(&p, p.peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    play_answer(&p, unpack_u64(&p.in), 1, "a");
    client_expect(&c, "235");
    play_stop(&p);
}

static void test_auth_goes_and_comes_back(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSIONS);
    client_send(&c, S("AUTH PLAIN AGEAYg==\r\n"));
    play_expect(&p, p.peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    close(TAKE_FD(p.peer[ROLE_AUTH]));
    client_expect(&c, "454 4.7.0");
    client_talk(&c, "AUTH PLAIN AGEAYg==\r\n", "454 4.7.0");
    play_peer(&p, ROLE_AUTH);
    assert_int_equal(play_status(&p, "auth_failed"), 2); /* the link is there now */
    play_log_in(&p, &c);
    play_stop(&p);
}

/* An answer to nobody's question, and garbage. */
static void test_hostile_auth(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSIONS);
    play_answer(&p, 0, 1, "bob@example.org");
    play_answer(&p, 999, 1, "bob@example.org");
    client_talk(&c, "MAIL FROM:<bob@example.org>\r\n", "530");
    struct buf b = BUF(16);
    pack_u64(&b, 1);
    play_send(p.peer[ROLE_AUTH], IPC_AUTH_RESULT, &b, -1);
    play_closed(&p, p.peer[ROLE_AUTH]);
    client_talk(&c, "NOOP\r\n", "250");
    play_stop(&p);
}

static void over_the_limit(struct role_play *p, int listener)
{
    struct play_client *c = calloc(6, sizeof(*c));
    for (int i = 0; i < 6; i++)
        client_open(&c[i], p->port[listener]);
    wait_sessions(p, 3);
    assert_true(play_status(p, "refused_connections") >= 3);
    for (int i = 0; i < 6; i++)
        client_close(&c[i]);
    wait_sessions(p, 0);
    free(c);
}

/* Those that are over the limit go at once, and not only after a handshake that never comes. */
static void test_connections_of_one_client_are_limited(void **state)
{
    (void)state;
    for (int listener = PLAY_SMTP; listener <= PLAY_SUBMISSIONS; listener++) {
        _cleanup_play_ struct role_play p;
        play_smtp(&p, "smtpd_client_connection_count_limit 3\n");
        over_the_limit(&p, listener);
        _cleanup_client_ struct play_client c = { .fd = -1 };
        play_greeted(&p, &c, listener); /* the count goes down again */
        play_stop(&p);
    }
}

static void test_connections_of_all_clients_are_limited(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_smtp(&p, "default_process_limit 3\ntrusted_clients 127.0.0.0/8\n");
    over_the_limit(&p, PLAY_SMTP);
    play_stop(&p);
}

static void test_a_refused_client_is_told(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    play_smtp(&p, "smtpd_client_connection_count_limit 1\n");
    play_greeted(&p, &c, PLAY_SMTP);
    client_open(&d, p.port[PLAY_SMTP]);
    client_expect(&d, "421 4.7.0 mx.example.org Too many connections");
    client_expect_end(&d);
    play_stop(&p);
}

static void test_timeouts(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 }, tls = { .fd = -1 };
    play_smtp(&p, "smtpd_timeout 1s\nsmtpd_data_timeout 1s\n");
    client_open(&tls, p.port[PLAY_SUBMISSIONS]);
    play_greeted(&p, &c, PLAY_SMTP);
    play_greeted(&p, &d, PLAY_SMTP);
    client_talk(&d, "MAIL FROM:<>\r\n", "250");
    client_talk(&d, "RCPT TO:<anna@example.org>\r\n", "250");
    client_talk(&d, "DATA\r\n", "354");
    client_expect(&c, "421 4.4.2 mx.example.org");
    client_expect_end(&c);
    client_expect(&d, "421 4.4.2 mx.example.org");
    client_expect_end(&d);
    client_expect_end(&tls);
    assert_int_equal(play_status(&p, "timeouts"), 3);
    assert_int_equal(play_status(&p, "sessions"), 0);
    play_stop(&p);
}

/* More replies than the role holds for a client that does not read: none is lost, and nobody waits for more input. */
static void test_a_trusted_client_pipelines_without_end(void **state)
{
    (void)state;
    enum { N = 12000 };
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_buf_ struct buf many = BUF(1 << 20);
    play_smtp(&p, "trusted_clients 127.0.0.0/8\n");
    play_greeted(&p, &c, PLAY_SMTP);
    for (int i = 0; i < N; i++)
        buf_add(&many, S("EHLO x\r\n"));
    client_send(&c, buf_str(&many));
    usleep(100000);
    for (int i = 0; i < N; i++)
        client_expect(&c, "250");
    client_talk(&c, "QUIT\r\n", "221");
    play_stop(&p);
}

/* Replies that the socket does not take at once come before the end of the connection. */
static void test_replies_before_quit_reach_a_slow_client(void **state)
{
    (void)state;
    enum { N = 3000 };
    _cleanup_play_ struct role_play p;
    _cleanup_buf_ struct buf many = BUF(1 << 20);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval limit = { .tv_sec = 20 };
    int small = 4096;
    play_smtp(&p, "trusted_clients 127.0.0.0/8\n");
    a.sin_port = htons(p.port[PLAY_SMTP]);
    _cleanup_client_ struct play_client c = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(c.fd, (struct sockaddr *)&a, sizeof(a)), 0);
    client_expect(&c, "220");
    client_send(&c, S("EHLO x\r\nMAIL FROM:<>\r\n"));
    for (int i = 0; i < N; i++)
        buf_addf(&many, "RCPT TO:<nobody-with-a-name-that-makes-the-reply-long-%d@example.org>\r\n", i);
    buf_add(&many, S("QUIT\r\n"));
    client_send(&c, buf_str(&many));
    usleep(300000);
    client_expect(&c, "250");
    client_expect(&c, "250");
    for (int i = 0; i < N; i++)
        client_expect(&c, "550");
    client_expect(&c, "221");
    client_expect_end(&c);
    play_stop(&p);
}

static void test_a_failed_handshake_ends_the_session(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    client_open(&c, p.port[PLAY_SUBMISSIONS]);
    client_send(&c, S("EHLO this is not TLS\r\n"));
    for (char junk[256]; recv(c.fd, junk, sizeof(junk), 0) > 0;)
        ;
    wait_sessions(&p, 0);
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starttls_and_log_in),
        cmocka_unit_test(test_text_behind_starttls_ends_the_session),
        cmocka_unit_test(test_a_half_closed_client_gets_its_answers),
        cmocka_unit_test(test_a_half_closed_client_waits_for_its_log_in),
        cmocka_unit_test(test_pipelined_log_ins),
        cmocka_unit_test(test_auth_goes_and_comes_back),
        cmocka_unit_test(test_hostile_auth),
        cmocka_unit_test(test_connections_of_one_client_are_limited),
        cmocka_unit_test(test_connections_of_all_clients_are_limited),
        cmocka_unit_test(test_a_refused_client_is_told),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_a_trusted_client_pipelines_without_end),
        cmocka_unit_test(test_replies_before_quit_reach_a_slow_client),
        cmocka_unit_test(test_a_failed_handshake_ends_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
