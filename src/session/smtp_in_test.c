/* Role smtp-in: start, its links to store and auth, reload, end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "session/smtp_play.h"

static void message(struct play_client *c)
{
    client_talk(c, "MAIL FROM:<x@far.example>\r\n", "250");
    client_talk(c, "RCPT TO:<anna@example.org>\r\n", "250");
    client_talk(c, "DATA\r\n", "354");
    client_talk(c, "\r\nx\r\n.\r\n", "250");
}

/* The fields of LOG_ATTACH: bytes, first segment, count of positions. */
static void attach(struct role_play *p, uint64_t *out_bytes, uint64_t *out_first, struct log_position *out_last)
{
    play_expect(p, p->peer[ROLE_STORE], IPC_LOG_ATTACH);
    assert_true(str_eq(unpack_str(&p->in), S("smtp-in")));
    *out_bytes = unpack_u64(&p->in);
    *out_first = unpack_u64(&p->in);
    *out_last = (struct log_position){ 0 };
    for (uint32_t n = unpack_u32(&p->in); n--;)
        *out_last = (struct log_position){ .segment = unpack_u64(&p->in), .offset = unpack_u64(&p->in) };
    assert_true(unpack_end(&p->in));
}

static void test_a_store_that_comes_back_is_told_everything(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    uint64_t bytes, first;
    struct log_position last;
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    close(TAKE_FD(p.peer[ROLE_STORE]));
    message(&c); /* taken without the store */
    message(&c);
    play_peer(&p, ROLE_STORE);
    attach(&p, &bytes, &first, &last);
    assert_true(bytes > 0);
    assert_int_equal(first, last.segment);
    assert_true(last.offset > bytes);
    assert_int_equal(play_status(&p, "backlog_bytes"), bytes);
    struct buf b = BUF(16);
    pack_u64(&b, bytes);
    play_send(p.peer[ROLE_STORE], IPC_LOG_APPLIED, &b, -1);
    play_quiet(&p, p.peer[ROLE_STORE], 30);
    assert_int_equal(play_status(&p, "backlog_bytes"), 0);
    play_stop(&p);
}

static void test_a_new_process_begins_a_new_segment(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    uint64_t bytes, first[2];
    struct log_position last;
    play_init(&p);
    play_listen(&p, "smtp");
    for (int i = 0; i < 2; i++) {
        _cleanup_client_ struct play_client c = { .fd = -1 };
        p.generation = 0;
        play_fork(&p, play_smtp_run);
        play_begin(&p, "log");
        play_peer(&p, ROLE_STORE);
        play_start(&p);
        attach(&p, &bytes, &first[i], &last);
        play_greeted(&p, &c, PLAY_SMTP);
        message(&c);
        play_stop(&p);
        close(TAKE_FD(p.master));
    }
    assert_true(first[1] > first[0]);
}

static void test_hostile_store(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "\1", "\1\2\3\4\5\6\7\10\11" };
    _cleanup_play_ struct role_play p;
    play_smtp(&p, "");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        play_try_send(p.peer[ROLE_STORE], IPC_LOG_APPLIED, str_z(bad[i]), NULL, 0);
        play_closed(&p, p.peer[ROLE_STORE]);
        play_peer(&p, ROLE_STORE);
        play_expect(&p, p.peer[ROLE_STORE], IPC_LOG_ATTACH);
    }
    play_try_send(p.peer[ROLE_STORE], IPC_AUTH_RESULT, STR_NONE, NULL, 0); /* not the store's to say */
    play_closed(&p, p.peer[ROLE_STORE]);
    play_stop(&p);
}

static void test_reload_keeps_sessions(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    for (int i = 0; i < 5; i++) {
        play_configure(&p);
        play_expect(&p, p.master, IPC_APPLIED);
        client_talk(&c, "EHLO client.example\r\n", "250");
        message(&c);
    }
    play_stop(&p);
}

static void test_a_generation_that_would_be_an_open_relay_is_refused(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    buf_add(&p.settings, S("smtpd_relay_restrictions permit\n"));
    play_configure(&p);
    play_expect(&p, p.master, IPC_REFUSED);
    assert_int_equal(unpack_u64(&p.in), 2);
    assert_true(str_find(unpack_str(&p.in), S("relay")) >= 0);
    assert_int_equal(play_status(&p, "generation"), 1);
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250");
    client_talk(&c, "RCPT TO:<y@other.example>\r\n", "554");
    play_stop(&p);
}

static void test_stop_says_goodbye(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    play_greeted(&p, &d, PLAY_SUBMISSIONS);
    play_stop(&p);
    client_expect(&c, "421 4.3.2 mx.example.org");
    client_expect_end(&c);
    client_expect(&d, "421 4.3.2 mx.example.org");
}

/* A large message under way has a stream open when the log closes. */
static void test_stop_in_the_middle_of_a_large_message(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    static char line[] = "abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz abcdefghijklmn\r\n";
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<>\r\n", "250");
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "250");
    client_talk(&c, "DATA\r\n", "354");
    for (int i = 0; i < 5000; i++)
        client_send(&c, str_z(line));
    usleep(200000);
    play_stop(&p);
    play_closed(&p, p.peer[ROLE_STORE]); /* and nothing of it was announced */
}

/* Every message that was acknowledged is in the log, however the end comes in between. */
static void test_stop_under_load_loses_nothing(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_smtp(&p, "");
    enum { N = 8 };
    struct play_client *c = calloc(N, sizeof(*c));
    for (int i = 0; i < N; i++) {
        play_greeted(&p, &c[i], PLAY_SMTP);
        client_talk(&c[i], "MAIL FROM:<>\r\n", "250");
        client_talk(&c[i], "RCPT TO:<anna@example.org>\r\n", "250");
        client_talk(&c[i], "DATA\r\n", "354");
    }
    for (int i = 0; i < N; i++)
        client_send(&c[i], S("\r\nx\r\n.\r\n"));
    play_stop(&p);
    size_t acknowledged = 0;
    for (int i = 0; i < N; i++) {
        str line = client_line(&c[i]);
        acknowledged += str_starts(line, S("250 2.0.0"));
        assert_true(!line.p || str_starts(line, S("250")) || str_starts(line, S("421")));
        client_close(&c[i]);
    }
    free(c);
    size_t synced = 0;
    for (ssize_t n; (n = play_receive(&p, p.peer[ROLE_STORE], 0)) > 0;)
        synced++;
    assert_true(!acknowledged || synced);
}

static void test_status_and_stop_together(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_smtp(&p, "");
    struct buf b = BUF(16);
    kill(p.pid, SIGSTOP);
    play_send(p.master, IPC_STOP, NULL, -1);
    pack_u64(&b, 1);
    play_send(p.master, IPC_STATUS, &b, -1);
    play_peer(&p, ROLE_STORE);
    kill(p.pid, SIGCONT);
    assert_int_equal(play_wait(&p), 0);
}

static void test_without_a_folder_it_does_not_start(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_init(&p);
    play_fork(&p, play_smtp_run);
    play_begin(&p, NULL);
    play_send(p.master, IPC_START, NULL, -1);
    assert_int_equal(play_wait(&p), 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_store_that_comes_back_is_told_everything),
        cmocka_unit_test(test_a_new_process_begins_a_new_segment),
        cmocka_unit_test(test_hostile_store),
        cmocka_unit_test(test_reload_keeps_sessions),
        cmocka_unit_test(test_a_generation_that_would_be_an_open_relay_is_refused),
        cmocka_unit_test(test_stop_says_goodbye),
        cmocka_unit_test(test_stop_in_the_middle_of_a_large_message),
        cmocka_unit_test(test_stop_under_load_loses_nothing),
        cmocka_unit_test(test_status_and_stop_together),
        cmocka_unit_test(test_without_a_folder_it_does_not_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
