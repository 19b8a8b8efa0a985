/* pop3_server.c through its header. Conversations are in tests/transcripts/pop3; here is what they cannot show: pieces,
 * bounds, events, answers that come late. */
#include <stdio.h>
#include <time.h>
#include "proto/pop3_play.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#define LOGIN "USER alice\r\nPASS secret-alice\r\n"
#define GREETING "+OK pop.posthouse.test Posthouse POP3 ready\r\n"
#define WELCOME GREETING "+OK Name received\r\n+OK Maildrop has 3 messages (96 octets)\r\n"

static const str contents[] = {
    { "From: a\r\nSubject: one\r\n\r\nline 1\r\n.dot\r\n..\r\n.\r\n", 46 },
    { "Subject: two\r\n\r\nno line end", 27 },
    { "Subject: three\r\n\r\nx\r\n", 21 },
};

static void assert_str(str got, str want)
{
    if (!str_eq(got, want))
        print_error("got:\n%.*s\nwant:\n%.*s\n", STR_ARG(got), STR_ARG(want));
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p ? got.p : "", want.p ? want.p : "", want.n);
}

/* What the client reads after `send`, whole and byte by byte, content whole and byte by byte, is `want`. */
static void converse(str send, str want, str log)
{
    for (size_t i = 0; i < 4; i++) {
        struct play p;
        play_init(&p, contents, ARRAY_LEN(contents));
        p.config.auth_plain_ok = true;
        p.piece = i / 2;
        play_send(&p, send, i % 2);
        assert_str(buf_str(&p.out), want);
        if (log.p)
            assert_str(buf_str(&p.log), log);
        play_done(&p);
    }
}

static void test_retr_stuffs_dots(void **state)
{
    (void)state;
    converse(S(LOGIN "RETR 1\r\n"),
             S(WELCOME "+OK 46 octets\r\nFrom: a\r\nSubject: one\r\n\r\nline 1\r\n..dot\r\n...\r\n..\r\n"
                       ".\r\n"), STR_NONE);
}

static void test_retr_ends_with_crlf(void **state)
{
    (void)state;
    converse(S(LOGIN "RETR 2\r\nLIST 2\r\n"),
             S(WELCOME "+OK 29 octets\r\nSubject: two\r\n\r\nno line end\r\n.\r\n+OK 2 29\r\n"), STR_NONE);
}

static void test_top_lines(void **state)
{
    (void)state;
    converse(S(LOGIN "TOP 1 0\r\nTOP 1 2\r\nTOP 2 1\r\nTOP 3 18446744073709551616\r\n"),
             S(WELCOME "+OK Top of message follows\r\nFrom: a\r\nSubject: one\r\n\r\n.\r\n"
                       "+OK Top of message follows\r\nFrom: a\r\nSubject: one\r\n\r\nline 1\r\n..dot\r\n.\r\n"
                       "+OK Top of message follows\r\nSubject: two\r\n\r\nno line end\r\n.\r\n"
                       "+OK Top of message follows\r\nSubject: three\r\n\r\nx\r\n.\r\n"),
             STR_NONE);
}

/* Content as a hostile sender may store it; `top` < 0 is RETR. */
static void send_content(str content, int top, str want)
{
    for (size_t piece = 0; piece < 3; piece++) {
        struct play p;
        play_init(&p, &content, 1);
        p.config.auth_plain_ok = true;
        p.piece = piece;
        play_send(&p, S(LOGIN), 0);
        buf_clear(&p.out);
        char command[32];
        snprintf(command, sizeof(command), top < 0 ? "RETR 1\r\n" : "TOP 1 %d\r\n", top);
        play_send(&p, str_z(command), 0);
        str out = buf_str(&p.out);
        str_cut(&out, '\n');
        assert_str(out, want);
        play_done(&p);
    }
}

static void test_content_shapes(void **state)
{
    (void)state;
    send_content(S(""), -1, S(".\r\n"));
    send_content(S("."), -1, S("..\r\n.\r\n"));
    send_content(S("\r\n"), -1, S("\r\n.\r\n"));
    send_content(S("a\r"), -1, S("a\r\r\n.\r\n"));
    send_content(S("a\n"), -1, S("a\n\r\n.\r\n"));
    send_content(S("a\n.\nb\r\n"), -1, S("a\n..\nb\r\n.\r\n")); /* no end for clients that take a bare LF as line end */
    send_content(S("a\r\n.\r\n+OK forged\r\n"), -1, S("a\r\n..\r\n+OK forged\r\n.\r\n"));
    send_content(S("a\0b\r\n"), -1, S("a\0b\r\n.\r\n"));
    send_content(S("H: 1\r\n"), 5, S("H: 1\r\n.\r\n"));
    send_content(S("\r\nbody\r\nmore\r\n"), 1, S("\r\nbody\r\n.\r\n"));
    send_content(S("H: 1\n\n1\n2\n"), 1, S("H: 1\n\n1\n\r\n.\r\n"));
    send_content(S("H: 1\r\n\r\n\r\n\r\n"), 1, S("H: 1\r\n\r\n\r\n.\r\n"));
}

static void test_message_numbers(void **state)
{
    (void)state;
    converse(S(LOGIN "LIST 0\r\nLIST 4\r\nLIST 4294967296\r\nLIST 18446744073709551617\r\nLIST 01\r\nLIST +1\r\n"
                     "LIST -1\r\nLIST 1x\r\nLIST 1 2\r\n"
                     "LIST  1\r\nTOP 1\r\nTOP 1 x\r\nTOP 1 -1\r\nRETR\r\nDELE\r\n"),
             S(WELCOME "-ERR No such message\r\n-ERR No such message\r\n-ERR No such message\r\n"
                       "-ERR No such message\r\n+OK 1 46\r\n-ERR Not a message number\r\n-ERR Not a message number\r\n"
                       "-ERR Not a message number\r\n-ERR Syntax error\r\n"
                       "-ERR Syntax error\r\n-ERR Syntax error\r\n-ERR Not a number of lines\r\n"
                       "-ERR Not a number of lines\r\n"
                       "-ERR Syntax error\r\n-ERR Syntax error\r\n"),
             STR_NONE);
}

static void test_update_only_at_quit(void **state)
{
    (void)state;
    converse(S(LOGIN "DELE 2\r\nDELE 3\r\nRSET\r\nDELE 1\r\nQUIT\r\nSTAT\r\n"),
             S(WELCOME "+OK Message deleted\r\n+OK Message deleted\r\n+OK Maildrop has 3 messages (96 octets)\r\n"
                       "+OK Message deleted\r\n+OK pop.posthouse.test POP3 server signing off\r\n"),
             S("password alice secret-alice\nupdate\ndelete 0\n"));
    converse(S(LOGIN "DELE 1\r\nRSET\r\nQUIT\r\n"),
             S(WELCOME "+OK Message deleted\r\n+OK Maildrop has 3 messages (96 octets)\r\n"
                       "+OK pop.posthouse.test POP3 server signing off\r\n"),
             S("password alice secret-alice\n"));
    converse(S(LOGIN "DELE 1\r\n"), S(WELCOME "+OK Message deleted\r\n"), S("password alice secret-alice\n"));
}

static void test_update_fails(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, contents, 3);
    p.config.auth_plain_ok = p.update_fails = true;
    play_send(&p, S(LOGIN "DELE 1\r\nQUIT\r\n"), 0);
    assert_true(str_ends(buf_str(&p.out), S("-ERR [SYS/TEMP] Some deleted messages not removed\r\n")));
    assert_true(p.closed);
    play_done(&p);
}

static void test_no_update_without_quit(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct play p;
        play_init(&p, contents, 3);
        p.config.auth_plain_ok = true;
        play_send(&p, S(LOGIN "DELE 1\r\n"), 0);
        buf_clear(&p.out);
        pop3_server_shutdown(p.s, i ? S("Shutting\r\ndown") : STR_NONE);
        play_pull(&p);
        assert_true(p.closed);
        /* RFC 1939 3: a timeout sends nothing */
        assert_str(buf_str(&p.out), i ? S("-ERR [SYS/TEMP] Shutting??down\r\n") : S(""));
        assert_int_equal(str_find(buf_str(&p.log), S("update")), -1);
        play_done(&p);
    }
}

static void test_quit_before_login(void **state)
{
    (void)state;
    converse(S("USER alice\r\nQUIT\r\nPASS secret-alice\r\n"),
             S(GREETING "+OK Name received\r\n+OK pop.posthouse.test POP3 server signing off\r\n"), S(""));
}

/* The password was right, the maildrop could not be opened: still not logged in, and a new start is possible. */
static void test_login_in_use(void **state)
{
    (void)state;
    converse(S("USER busy\r\nPASS secret-busy\r\nSTAT\r\n" LOGIN),
             S(GREETING "+OK Name received\r\n-ERR [IN-USE] Maildrop is in use\r\n-ERR Log in first\r\n"
                        "+OK Name received\r\n"
                        "+OK Maildrop has 3 messages (96 octets)\r\n"),
             S("password busy secret-busy\npassword alice secret-alice\n"));
}

static void test_greeting(void **state)
{
    (void)state;
    converse(STR_NONE, S(GREETING), S(""));
    struct play p;
    play_init(&p, contents, 3);
    struct pop3_event ev;
    size_t used;
    pop3_server_next(p.s, S("QUIT\r\n"), &used, &ev);
    assert_int_equal(ev.kind, POP3_CONNECT);
    assert_int_equal(used, 0);
    pop3_server_next(p.s, S("QUIT\r\n"), &used, &ev);
    assert_int_equal(ev.kind, POP3_NEED_REPLY);
    pop3_server_shutdown(p.s, S("Too many connections"));
    pop3_server_next(p.s, S("QUIT\r\n"), &used, &ev);
    assert_int_equal(ev.kind, POP3_CLOSE);
    assert_str(buf_str(pop3_server_output(p.s)), S("-ERR [SYS/TEMP] Too many connections\r\n"));
    play_done(&p);
}

static void test_password_octets(void **state)
{
    (void)state;
    converse(S("USER a\r\nPASS  se cret \x01\xe4 \r\n"),
             S(GREETING "+OK Name received\r\n-ERR [AUTH] Wrong user or password\r\n"),
             S("password a  se cret \x01\xe4 \n"));
    converse(S("USER  two\r\nUSER a b\r\nUSER \xff\r\nUSER a\x01\r\nUSER a\r\nPASS\r\nPASS x\r\nUSER a\r\nPASS \r\n"
               "USER a\r\nPASS \0\r\n"),
             S(GREETING "-ERR Syntax error\r\n-ERR Syntax error\r\n-ERR Not a name\r\n-ERR Syntax error\r\n"
                        "+OK Name received\r\n-ERR Syntax error\r\n"
                        "-ERR USER first\r\n+OK Name received\r\n-ERR Syntax error\r\n+OK Name received\r\n"
                        "-ERR Syntax error\r\n"),
             S(""));
}

static void test_line_lengths(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf send = BUF(200000);
    buf_add(&send, S("USER "));
    memset(buf_space(&send, 248), 'u', 248);
    buf_add(&send, S("\r\nUSER ")); /* 255 octets */
    memset(buf_space(&send, 249), 'u', 249);
    buf_add(&send, S("\r\nCAPA x\r\n"));
    converse(buf_str(&send), S(GREETING "+OK Name received\r\n-ERR Line too long\r\n-ERR Syntax error\r\n"), S(""));

    buf_clear(&send);
    buf_add(&send, S("AUTH PLAIN "));
    memset(buf_space(&send, 4000), 'A', 4000);
    buf_add(&send, S("\r\nQUIT\r\n"));
    converse(buf_str(&send), S(GREETING "-ERR Malformed response\r\n"
                                        "+OK pop.posthouse.test POP3 server signing off\r\n"), S("auth PLAIN 1\n"));

    buf_clear(&send);
    memset(buf_space(&send, 65000), 'x', 65000);
    buf_add(&send, S("\r\nNOOP\r\n"));
    memset(buf_space(&send, 70000), 'x', 70000);
    buf_add(&send, S("\r\nNOOP\r\n"));
    converse(buf_str(&send), S(GREETING "-ERR Line too long\r\n-ERR Log in first\r\n-ERR Line too long\r\n"), S(""));
}

static void test_errors_max(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, contents, 3);
    p.config.errors_max = 3;
    p.config.auth_plain_ok = true;
    play_send(&p, S("X\r\nX\r\n" LOGIN "X\r\nX\r\nNOOP\r\nX\r\nNOOP\r\n"), 0);
    assert_str(buf_str(&p.out), S(GREETING "-ERR Unknown command\r\n-ERR Unknown command\r\n+OK Name received\r\n"
                                  "+OK Maildrop has 3 messages (96 octets)\r\n-ERR Unknown command\r\n"
                                  "-ERR Unknown command\r\n+OK\r\n"
                                  "-ERR Unknown command\r\n"));
    assert_true(p.closed);
    play_done(&p);
}

static void test_auth_exchange(void **state)
{
    (void)state;
    /* LOGIN in three lines; the empty initial response; cancel; what is no base64 */
    converse(S("AUTH LOGIN\r\nYWxpY2U=\r\nc2VjcmV0LWFsaWNl\r\n"),
             S(GREETING "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n+OK Maildrop has 3 messages (96 octets)\r\n"),
             S("auth LOGIN 0\nresponse 0\nresponse 0\n"));
    converse(S("AUTH PLAIN\r\n*\r\nauth plain =\r\nAUTH PLAIN\r\n!\r\nAUTH PLAIN !\r\nAUTH PLAIN\r\n=\r\nAUTH X\r\n"
               "AUTH PLAIN a b\r\n"),
             S(GREETING "+ \r\n-ERR Authentication cancelled\r\n-ERR Malformed response\r\n+ \r\n"
                        "-ERR Response is not base64\r\n"
                        "-ERR Initial response is not base64\r\n+ \r\n-ERR Response is not base64\r\n"
                        "-ERR Unknown authentication mechanism\r\n"
                        "-ERR Syntax error\r\n"),
             S("auth PLAIN 0\nresponse 1\nauth PLAIN 1\nauth PLAIN 0\nresponse 1\nauth PLAIN 0\nresponse 1\n"));
}

static void test_auth_line_too_long(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf send = BUF(200000);
    buf_add(&send, S("AUTH PLAIN\r\n"));
    memset(buf_space(&send, 12287), 'A', 12287);
    buf_add(&send, S("\r\nQUIT\r\n"));
    converse(buf_str(&send), S(GREETING "+ \r\n-ERR Line too long\r\n"
                                        "+OK pop.posthouse.test POP3 server signing off\r\n"),
             S("auth PLAIN 0\nresponse 1\n"));
}

static void test_late_answers(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, contents, 3);
    p.config.auth_plain_ok = true;
    struct pop3_event ev;
    size_t used;
    play_send(&p, S("USER alice\r\n"), 0);
    pop3_server_next(p.s, S("PASS secret-alice\r\nSTAT\r\n"), &used, &ev);
    assert_int_equal(ev.kind, POP3_PASSWORD);
    assert_int_equal(used, 19);
    assert_str(ev.data, S("secret-alice"));
    pop3_server_next(p.s, S("STAT\r\n"), &used, &ev); /* pipelined input waits */
    assert_int_equal(ev.kind, POP3_NEED_REPLY);
    assert_int_equal(used, 0);
    buf_clear(pop3_server_output(p.s));
    pop3_server_auth_challenge(p.s, S("x")); /* fits no PASS */
    pop3_server_content_begin(p.s);
    pop3_server_greet(p.s);
    pop3_server_update_done(p.s, true);
    assert_int_equal(pop3_server_output(p.s)->n, 0);
    pop3_server_shutdown(p.s, STR_NONE);
    pop3_server_opened(p.s, 1, p.table, 3);
    assert_int_equal(pop3_server_output(p.s)->n, 0);
    pop3_server_next(p.s, S("STAT\r\n"), &used, &ev);
    assert_int_equal(ev.kind, POP3_CLOSE);
    play_done(&p);
}

static void test_reply_text_is_tamed(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, contents, 3);
    p.config.auth_plain_ok = true;
    struct pop3_event ev;
    size_t used;
    char text[1000];
    memset(text, 'x', sizeof(text));
    memcpy(text, "[a]\r\n+OK", 8);
    play_send(&p, S("USER bob\r\n"), 0);
    pop3_server_next(p.s, S("PASS x\r\n"), &used, &ev);
    pop3_server_auth_failed(p.s, STR_NONE, str_of(text, sizeof(text)));
    str out = buf_str(pop3_server_output(p.s));
    assert_int_equal(out.n, 512);
    assert_true(str_starts(out, S("-ERR (a]??+OKxxx")));
    assert_true(str_ends(out, S("x\r\n")));
    play_done(&p);
}

/* Until the content is begun nothing of it is in the output; broken off it has no end. */
static void test_content_refused_and_broken(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, contents, 3);
    p.config.auth_plain_ok = true;
    struct pop3_event ev;
    size_t used;
    play_send(&p, S(LOGIN), 0);
    pop3_server_next(p.s, S("RETR 1\r\n"), &used, &ev);
    assert_int_equal(ev.kind, POP3_RETRIEVE);
    assert_false(pop3_server_content_feed(p.s, S("early")));
    pop3_server_content_refuse(p.s, S("SYS/TEMP"), S("Message cannot be read"));
    assert_str(buf_str(pop3_server_output(p.s)), S("-ERR [SYS/TEMP] Message cannot be read\r\n"));
    buf_clear(pop3_server_output(p.s));
    pop3_server_next(p.s, S("RETR 1\r\n"), &used, &ev);
    pop3_server_content_begin(p.s);
    assert_true(pop3_server_content_feed(p.s, S("From: a\r\n")));
    pop3_server_content_refuse(p.s, STR_NONE, S("too late"));
    pop3_server_content_abort(p.s);
    pop3_server_next(p.s, S("NOOP\r\n"), &used, &ev);
    assert_int_equal(ev.kind, POP3_CLOSE);
    assert_str(buf_str(pop3_server_output(p.s)), S("+OK 46 octets\r\nFrom: a\r\n"));
    play_done(&p);
}

static void test_shutdown_in_response(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, contents, 3);
    p.config.auth_plain_ok = true;
    struct pop3_event ev;
    size_t used;
    play_send(&p, S(LOGIN), 0);
    pop3_server_next(p.s, S("RETR 1\r\n"), &used, &ev);
    pop3_server_content_begin(p.s);
    pop3_server_content_feed(p.s, S("From: a\r\n"));
    pop3_server_shutdown(p.s, S("Bye"));
    assert_str(buf_str(pop3_server_output(p.s)), S("+OK 46 octets\r\nFrom: a\r\n"));
    pop3_server_next(p.s, STR_NONE, &used, &ev);
    assert_int_equal(ev.kind, POP3_CLOSE);
    play_done(&p);
}

static void test_stls_forgets(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, contents, 3);
    p.tls_by_hand = true;
    play_send(&p, S("STLS\r\nUSER alice\r\n"), 0);
    assert_true(p.tls_waits);
    assert_str(buf_str(&p.out), S(GREETING "+OK Begin TLS negotiation\r\n"));
    /* only the command was consumed: the owner drops what was sent in the clear */
    assert_str(buf_str(&p.in), S("USER alice\r\n"));
    buf_clear(&p.in);
    play_tls(&p);
    play_send(&p, S("STLS\r\nPASS secret-alice\r\n"), 0);
    assert_true(str_ends(buf_str(&p.out), S("-ERR Command not permitted when TLS active\r\n-ERR USER first\r\n")));
    play_done(&p);
}

static struct pop3_message *many(size_t n)
{
    struct pop3_message *table = calloc(n, sizeof(*table));
    assert_non_null(table);
    for (size_t i = 0; i < n; i++)
        table[i] = (struct pop3_message){ .size = 1000 + i, .uid = (uint32_t)(2 * i + 1) };
    return table;
}

/* 100,000 messages: a listing comes in pieces, never more than 64 KiB at once, and commands behind it wait for it. */
static void test_large_listing(void **state)
{
    (void)state;
    size_t n = 100000, line = 0;
    struct pop3_message *table = many(n);
    struct play p;
    play_init(&p, contents, 3);
    p.config.auth_plain_ok = true;
    struct pop3_event ev;
    size_t used;
    str send = S("DELE 2\r\nUIDL\r\nLIST\r\nNOOP\r\n");
    play_send(&p, S("USER alice\r\n"), 0);
    pop3_server_next(p.s, S("PASS x\r\n"), &used, &ev);
    pop3_server_opened(p.s, 7, table, n);
    size_t drains = 0;
    struct buf *out = pop3_server_output(p.s);
    buf_clear(out);
    do {
        pop3_server_next(p.s, send, &used, &ev);
        send = str_from(send, used);
        assert_true(out->n <= 64 * 1024);
        assert_true(ev.kind == POP3_NEED_DRAIN || ev.kind == POP3_NEED_INPUT);
        drains += ev.kind == POP3_NEED_DRAIN;
        str part = str_first(buf_str(out), 20000);
        buf_add(&p.log, part);
        buf_drop(out, part.n);
    } while (ev.kind == POP3_NEED_DRAIN || out->n);
    assert_true(drains > 50);
    str log = buf_str(&p.log);
    assert_str(str_cut(&log, '\n'), S("+OK Message deleted\r"));
    assert_true(str_starts(log, S("+OK 99999 messages (")));
    str_cut(&log, '\n');
    assert_true(str_starts(log, S("1 7.1\r\n3 7.5\r\n4 7.7\r\n")));
    assert_true(str_find(log, S("\r\n100000 7.199999\r\n.\r\n+OK 99999 messages (")) > 0);
    assert_true(str_ends(log, S("\r\n100000 100999\r\n.\r\n+OK\r\n")));
    while (log.n) {
        str_cut(&log, '\n');
        line++;
    }
    assert_int_equal(line, 2 * 99999 + 4);
    play_done(&p);
    free(table);
}

/* Commands are not read while their answers find no reader. */
static void test_pipelined_flood_waits(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf send = BUF(1 << 20);
    struct play p;
    play_init(&p, contents, 3);
    p.config.auth_plain_ok = true;
    for (size_t i = 0; i < 20000; i++)
        buf_add(&send, S("CAPA\r\n"));
    size_t used = 0, total = 0, one;
    struct pop3_event ev = { 0 };
    play_pull(&p);
    for (; ev.kind != POP3_NEED_DRAIN; total += used)
        pop3_server_next(p.s, str_from(buf_str(&send), total), &used, &ev);
    assert_true(pop3_server_output(p.s)->n < 64 * 1024);
    assert_true(total < send.n / 10);
    pop3_server_next(p.s, str_from(buf_str(&send), total), &one, &ev);
    assert_int_equal(ev.kind, POP3_NEED_DRAIN);
    assert_int_equal(one, 0);
    play_done(&p);
}

static void test_output_ceiling_closes(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, contents, 3);
    p.config.auth_plain_ok = true;
    struct pop3_event ev;
    size_t used;
    char *piece = calloc(1, POP3_OUTPUT_MAX + 1);
    assert_non_null(piece);
    play_send(&p, S(LOGIN), 0);
    pop3_server_next(p.s, S("RETR 1\r\n"), &used, &ev);
    pop3_server_content_begin(p.s);
    assert_false(pop3_server_content_feed(p.s, str_of(piece, POP3_OUTPUT_MAX + 1)));
    pop3_server_content_end(p.s);
    pop3_server_next(p.s, S("NOOP\r\n"), &used, &ev);
    assert_int_equal(ev.kind, POP3_CLOSE);
    assert_false(str_ends(buf_str(pop3_server_output(p.s)), S(".\r\n")));
    free(piece);
    play_done(&p);
}

static double seconds_for(size_t n, struct pop3_message *table)
{
    struct play p;
    play_init(&p, contents, 3);
    p.config.auth_plain_ok = true;
    struct pop3_event ev;
    size_t used;
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    play_send(&p, S("USER alice\r\n"), 0);
    pop3_server_next(p.s, S("PASS x\r\n"), &used, &ev);
    pop3_server_opened(p.s, 7, table, n);
    for (size_t i = 0; i < 3; i++)
        play_send(&p, S("LIST\r\nUIDL\r\n"), 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    play_done(&p);
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

static void test_listing_is_linear(void **state)
{
    (void)state;
    struct pop3_message *table = many(200000);
    double best = 10;
    for (size_t i = 0; i < 5; i++) {
        double once = seconds_for(100000, table), twice = seconds_for(200000, table);
        best = MIN(best, twice / once);
    }
    assert_true(best < 2.4);
    free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retr_stuffs_dots),
        cmocka_unit_test(test_retr_ends_with_crlf),
        cmocka_unit_test(test_top_lines),
        cmocka_unit_test(test_content_shapes),
        cmocka_unit_test(test_message_numbers),
        cmocka_unit_test(test_update_only_at_quit),
        cmocka_unit_test(test_update_fails),
        cmocka_unit_test(test_no_update_without_quit),
        cmocka_unit_test(test_quit_before_login),
        cmocka_unit_test(test_login_in_use),
        cmocka_unit_test(test_greeting),
        cmocka_unit_test(test_password_octets),
        cmocka_unit_test(test_line_lengths),
        cmocka_unit_test(test_errors_max),
        cmocka_unit_test(test_auth_exchange),
        cmocka_unit_test(test_auth_line_too_long),
        cmocka_unit_test(test_late_answers),
        cmocka_unit_test(test_reply_text_is_tamed),
        cmocka_unit_test(test_content_refused_and_broken),
        cmocka_unit_test(test_shutdown_in_response),
        cmocka_unit_test(test_stls_forgets),
        cmocka_unit_test(test_large_listing),
        cmocka_unit_test(test_pipelined_flood_waits),
        cmocka_unit_test(test_output_ceiling_closes),
        cmocka_unit_test(test_listing_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
