/* Sessions of role access: sockets, TLS, log-in, limits, ends. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"

static const struct play_mail mail[] = { { "", "Subject: one\r\n\r\nx\r\n" } };

static void wait_sessions(struct role_play *p, uint64_t want)
{
    uint64_t n = want + 1;
    for (int i = 0; i < 300 && (n = play_status(p, "sessions")) != want; i++)
        usleep(10000);
    assert_int_equal(n, want);
}

static void test_stls_then_log_in(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    client_open(&c, p.port[PLAY_POP3]);
    client_expect(&c, "+OK");
    client_talk(&c, "USER anna@example.org\r\n", "-ERR"); /* never in clear text */
    client_talk(&c, "STLS\r\n", "+OK");
    client_tls(&c);
    uint64_t request = play_say_password(&p, &c);
    assert_int_equal(unpack_u8(&p.in), 0);
    assert_true(str_eq(unpack_str(&p.in), S("127.0.0.1")));
    assert_int_equal(unpack_str(&p.in).n, 26);
    assert_true(str_eq(unpack_str(&p.in), S("anna@example.org")));
    assert_true(str_eq(unpack_str(&p.in), S("secret")));
    play_result(&p, request, 0);
    client_expect(&c, "-ERR [AUTH]");
    play_result(&p, play_say_password(&p, &c), 2);
    client_expect(&c, "-ERR [SYS/TEMP]");
    play_result(&p, play_say_password(&p, &c), 1);
    play_maildrop(&p, 0, play_snapshot(mail, 1));
    client_expect(&c, "+OK");
    assert_int_equal(play_status(&p, "auth_ok"), 1);
    assert_int_equal(play_status(&p, "auth_failed"), 2);
    assert_int_equal(play_status(&p, "tls_handshakes"), 1);
    play_stop(&p);
}

static void test_text_behind_stls_ends_the_session(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    client_open(&c, p.port[PLAY_POP3]);
    client_expect(&c, "+OK");
    client_send(&c, S("STLS\r\nUSER evil\r\n"));
    str line = client_line(&c);
    assert_true(!line.p || str_starts(line, S("+OK")));
    client_expect_end(&c);
    play_stop(&p);
}

/* RFC 5034 4: lines of AUTH may have 12288 octets; they come in pieces. */
static void test_a_long_line_of_auth_in_pieces(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    static char line[10000];
    play_access(&p, "");
    play_connect(&p, &c);
    client_talk(&c, "AUTH PLAIN\r\n", "+ ");
    memset(line, 'A', sizeof(line));
    for (size_t at = 0; at < sizeof(line); at += 2500) {
        client_send(&c, str_of(line + at, 2500));
        usleep(30000);
    }
    client_talk(&c, "\r\n", "-ERR");
    client_talk(&c, "CAPA\r\n", "+OK");
    play_stop(&p);
}

static void test_pipelined_input_waits_for_the_store(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_connect(&p, &c);
    client_send(&c, S("USER anna@example.org\r\nPASS secret\r\nSTAT\r\nRETR 1\r\nNOOP\r\nQUIT\r\n"));
    client_expect(&c, "+OK");
    play_expect(&p, p.peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    play_result(&p, unpack_u64(&p.in), 1);
    play_maildrop(&p, 0, play_snapshot(mail, 1));
    play_give_segment(&p, play_segment(mail, 1));
    client_expect(&c, "+OK");
    client_expect(&c, "+OK 1 ");
    client_expect(&c, "+OK");
    client_expect(&c, "Subject: one");
    assert_int_equal(client_line(&c).n, 0);
    client_expect(&c, "x");
    client_expect(&c, ".");
    client_expect(&c, "+OK");
    client_expect(&c, "+OK");
    client_expect_end(&c);
    play_stop(&p);
}

static void test_a_large_message_to_a_slow_client(void **state)
{
    (void)state;
    enum { LINES = 200000 };
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_buf_ struct buf text = BUF(32 << 20);
    play_access(&p, "");
    buf_add(&text, S("Subject: large\r\n\r\n"));
    for (int i = 0; i < LINES; i++)
        buf_addf(&text, "line %07d of a large message\r\n", i);
    buf_addc(&text, '\0');
    const struct play_mail large[] = { { "", text.p } };
    play_opened(&p, &c, large, 1);
    client_send(&c, S("RETR 1\r\nNOOP\r\n"));
    play_give_segment(&p, play_segment(large, 1));
    usleep(200000); /* everything that can wait for us waits now */
    client_expect(&c, "+OK");
    client_expect(&c, "Subject: large");
    assert_int_equal(client_line(&c).n, 0);
    for (int i = 0; i < LINES; i++) {
        char want[32];
        snprintf(want, sizeof(want), "line %07d", i);
        client_expect(&c, want);
    }
    client_expect(&c, ".");
    client_expect(&c, "+OK");
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

static void test_connections_are_limited(void **state)
{
    (void)state;
    static const char *const settings[] = { "smtpd_client_connection_count_limit 3\n",
                                            "default_process_limit 3\ntrusted_clients 127.0.0.0/8\n" };
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        for (int listener = PLAY_POP3; listener <= PLAY_POP3S; listener++) {
            _cleanup_play_ struct role_play p;
            play_access(&p, settings[i]);
            over_the_limit(&p, listener);
            play_stop(&p);
        }
}

/* RFC 1939 3: a session that times out deletes nothing. */
static void test_timeout(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, tls = { .fd = -1 };
    play_access(&p, "pop3_timeout 1s\n");
    client_open(&tls, p.port[PLAY_POP3S]);
    play_opened(&p, &c, mail, 1);
    client_talk(&c, "DELE 1\r\n", "+OK");
    client_expect_end(&c);
    client_expect_end(&tls);
    play_expect(&p, p.peer[ROLE_STORE], IPC_MAILDROP_CLOSE);
    assert_int_equal(play_status(&p, "timeouts"), 2);
    assert_int_equal(play_status(&p, "sessions"), 0);
    play_stop(&p);
}

static void test_half_closed_clients_get_their_answers(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    client_open(&c, p.port[PLAY_POP3]);
    client_send(&c, S("CAPA\r\nNOOP\r\nQUIT\r\n"));
    shutdown(c.fd, SHUT_WR);
    client_expect(&c, "+OK");
    client_expect(&c, "+OK");
    str line = client_line(&c);
    while (line.p && !str_eq(line, S(".")))
        line = client_line(&c);
    client_expect(&c, "-ERR"); /* NOOP before the log-in */
    client_expect(&c, "+OK");
    client_expect_end(&c);
    wait_sessions(&p, 0);
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stls_then_log_in),
        cmocka_unit_test(test_text_behind_stls_ends_the_session),
        cmocka_unit_test(test_a_long_line_of_auth_in_pieces),
        cmocka_unit_test(test_pipelined_input_waits_for_the_store),
        cmocka_unit_test(test_a_large_message_to_a_slow_client),
        cmocka_unit_test(test_connections_are_limited),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_half_closed_clients_get_their_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
