/* The SMTP engine through its header. What a peer sees line by line is in tests/transcripts/smtp; here stand the events
 * an owner sees, the limits, and what holds memory. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/smtp_test_driver.h"

#define BEGIN "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<bob@posthouse.test>\r\n"
#define BEGUN "CONNECT\nHELO c esmtp\nMAIL <a|b.test>\nRCPT <bob|posthouse.test>\n"

static void expect(const struct buf *have, const char *want)
{
    if (!str_eq(buf_str(have), str_z(want)))
        fail_msg("have:\n%.*s\nwant:\n%s", STR_ARG(buf_str(have)), want);
}

static bool says(const struct play *p, const char *text)
{
    return str_find(buf_str(&p->out), str_z(text)) >= 0;
}

static bool logged(const struct play *p, const char *text)
{
    return str_find(buf_str(&p->log), str_z(text)) >= 0;
}

/* Plays input whole and byte by byte with the same outcome, and leaves the whole one in *p. */
static void both(struct play *p, const struct smtp_server_config *config, str input)
{
    struct play q;
    play_init(p, config);
    play_init(&q, config);
    play_feed(p, STR_NONE);
    play_feed(&q, STR_NONE);
    play_feed(p, input);
    play_feed_bytewise(&q, input);
    assert_true(str_eq(buf_str(&p->out), buf_str(&q.out)));
    assert_true(str_eq(buf_str(&p->log), buf_str(&q.log)));
    play_done(&q);
}

/* An owner that answers by hand. */
static struct smtp_event pull(struct smtp_server *s, str *in)
{
    struct smtp_event ev;
    size_t used;
    smtp_server_next(s, *in, &used, &ev);
    *in = str_from(*in, used);
    return ev;
}

static void pull_kind(struct smtp_server *s, str *in, enum smtp_event_kind kind)
{
    assert_int_equal(pull(s, in).kind, kind);
}

static void answer(struct smtp_server *s, int code)
{
    smtp_server_reply(s, code, S("2.0.0"), S("text"));
}

/* Up to the event that follows an accepted RCPT. */
static struct smtp_server *open_transaction(const struct smtp_server_config *config)
{
    struct smtp_server *s = smtp_server_new(config);
    str in = S(BEGIN);
    const int codes[] = { 220, 250, 250, 250 };
    for (size_t i = 0; i < ARRAY_LEN(codes); ++i) {
        pull(s, &in);
        answer(s, codes[i]);
    }
    assert_int_equal(in.n, 0);
    buf_clear(smtp_server_output(s));
    return s;
}

static bool output_is(struct smtp_server *s, const char *want)
{
    struct buf *out = smtp_server_output(s);
    bool same = str_eq(buf_str(out), str_z(want));
    if (!same)
        print_message("output: %.*s", STR_ARG(buf_str(out)));
    buf_drop(out, out->n);
    return same;
}

static void test_one_message(void **state)
{
    (void)state;
    struct play p;
    both(&p, &play_config, S(BEGIN "DATA\r\nSubject: a\r\n\r\n..b\r\n.\r\nQUIT\r\n"));
    expect(&p.log, BEGUN "DATA\nCONTENT 18:Subject: a\r\n\r\n.b\r\n\nEND\nCLOSE\n");
    play_done(&p);
}

static void test_bdat_message(void **state)
{
    (void)state;
    struct play p;
    both(&p, &play_config, S(BEGIN "BDAT 4\r\n.\r\n.BDAT 5 LAST\r\nab\r\n.QUIT\r\n"));
    expect(&p.log, BEGUN "DATA bdat\nCONTENT 9:.\r\n.ab\r\n.\nEND\nCLOSE\n");
    assert_true(says(&p, "250 2.0.0 4 octets received\r\n250 2.0.0 Ok: queued\r\n221 "));
    play_done(&p);
    both(&p, &play_config, S(BEGIN "BDAT 3\r\na\r\nBDAT 0 LAST\r\n"));
    expect(&p.log, BEGUN "DATA bdat\nCONTENT 3:a\r\n\nEND\n");
    play_done(&p);
    both(&p, &play_config, S(BEGIN "BDAT 2\r\na\rBDAT 1 LAST\r\n\n"));
    expect(&p.log, BEGUN "DATA bdat\nCONTENT 3:a\r\n\nEND\n");
    play_done(&p);
    both(&p, &play_config, S(BEGIN "BDAT 2 LAST\r\na\rNOOP\r\n"));
    expect(&p.log, BEGUN "DATA bdat\nCONTENT 1:a\nRESET\n");
    assert_true(says(&p, "550 5.6.11"));
    play_done(&p);
}

static void test_mail_parameters(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.auth = true;
    both(&p, &config,
         S("EHLO c\r\nmail from: <\"a b\"@[127.0.0.1]>  SIZE=77 body=8bitmime SMTPUTF8 AUTH=e+3Da+2B \r\n"));
    assert_true(logged(&p, "MAIL <\"a b\"|[127.0.0.1]> size=77 8bit utf8 auth=e=a+\n"));
    play_done(&p);
    both(&p, &config, S("EHLO c\r\nMAIL FROM:<> AUTH=<>\r\nRCPT TO:<postmaster>\r\n"));
    assert_true(logged(&p, "MAIL <|> auth=<>\nRCPT <postmaster|>\n"));
    play_done(&p);
    both(
        &p, &config,
        S("EHLO c\r\nMAIL FROM:<a@b.test> AUTH=a+zz\r\nMAIL FROM:<a@b.test> AUTH=+4\r\nMAIL FROM:<a@b.test> AUTH=\r\n"
          "MAIL FROM:<a@b.test> SIZE=1 SIZE=1\r\nMAIL FROM:<a@b.test> SIZE=\r\nMAIL FROM:<a@b.test> BODY=BINARYMIME\r\n"
          "MAIL FROM:<a@b.test> SIZE=99999999999999999999\r\nMAIL FROM:<a@b.test>SIZE=1\r\n"));
    assert_int_equal(p.mails, 0);
    assert_true(says(&p, "HELP\r\n501 5.5.4 B"));
    assert_true(says(&p, "\r\n552 5.3.4 Message is larger than the SIZE announced here\r\n501 5.5.4 Syntax: MAIL"));
    play_done(&p);
}

static void test_utf8_addresses(void **state)
{
    (void)state;
    struct play p;
    both(&p, &play_config,
         S("EHLO c\r\nMAIL FROM:<j\xc3\xbc@b.test>\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<j\xc3\xbc@posthouse.test>\r\n"));
    assert_true(says(&p, "550 5.6.7 "));
    assert_true(says(&p, "553 5.6.7 "));
    play_done(&p);
    both(&p, &play_config,
         S("EHLO c\r\nMAIL FROM:<j\xc3\xbc@b.test> SMTPUTF8\r\nRCPT TO:<j\xc3\xbc@posthouse.test>\r\n"));
    assert_true(logged(&p, "MAIL <j\xc3\xbc|b.test> utf8\nRCPT <j\xc3\xbc|posthouse.test>\n"));
    play_done(&p);
    struct smtp_server_config config = play_config;
    config.smtputf8 = false;
    both(&p, &config, S("EHLO c\r\nMAIL FROM:<j\xc3\xbc@b.test>\r\nMAIL FROM:<a@b.test> SMTPUTF8\r\n"));
    assert_true(says(&p, "501 5.1.7 "));
    assert_true(says(&p, "555 5.5.4 "));
    assert_false(says(&p, "SMTPUTF8\r\n"));
    play_done(&p);
}

static void test_domainless_addresses(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    both(&p, &config,
         S("EHLO c\r\nMAIL FROM:<bob>\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<bob>\r\nRCPT TO:<PostMaster>\r\n"));
    expect(&p.log, "CONNECT\nHELO c esmtp\nMAIL <a|b.test>\nRCPT <PostMaster|>\n");
    play_done(&p);
    config.msa = true;
    both(&p, &config, S("EHLO c\r\nMAIL FROM:<bob>\r\nRCPT TO:<bob>\r\n"));
    expect(&p.log, "CONNECT\nHELO c esmtp\nMAIL <bob|>\nRCPT <bob|>\n");
    play_done(&p);
}

static void test_owner_refuses_data(void **state)
{
    (void)state;
    struct smtp_server *s = open_transaction(&play_config);
    str in = S("DATA\r\nDATA\r\n");
    pull_kind(s, &in, SMTP_DATA);
    answer(s, 554);
    pull_kind(s, &in, SMTP_RESET);
    pull_kind(s, &in, SMTP_NEED_INPUT);
    assert_true(output_is(s, "554 2.0.0 text\r\n503 5.5.1 Need MAIL before this\r\n"));
    smtp_server_free(s);
}

static void test_owner_refuses_bdat(void **state)
{
    (void)state;
    struct smtp_server *s = open_transaction(&play_config);
    str in = S("BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    struct smtp_event ev = pull(s, &in);
    assert_int_equal(ev.kind, SMTP_DATA);
    assert_true(ev.bdat);
    answer(s, 450);
    pull_kind(s, &in, SMTP_RESET);
    pull_kind(s, &in, SMTP_NEED_INPUT);
    assert_int_equal(in.n, 0);
    assert_true(output_is(s, "450 2.0.0 text\r\n503 5.5.1 Need MAIL before this\r\n250 2.0.0 Ok\r\n"));
    smtp_server_free(s);
}

static void test_owner_refuses_message(void **state)
{
    (void)state;
    struct smtp_server *s = open_transaction(&play_config);
    str in = S("DATA\r\n.\r\nDATA\r\n");
    pull_kind(s, &in, SMTP_DATA);
    answer(s, 354);
    pull_kind(s, &in, SMTP_CONTENT_END);
    answer(s, 451);
    pull_kind(s, &in, SMTP_NEED_INPUT); /* no SMTP_RESET: the owner knows */
    assert_true(output_is(s, "354 text\r\n451 2.0.0 text\r\n503 5.5.1 Need MAIL before this\r\n"));
    smtp_server_free(s);
}

static void test_refused_mail_opens_nothing(void **state)
{
    (void)state;
    struct smtp_server *s = smtp_server_new(&play_config);
    str in = S("EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<bob@posthouse.test>\r\nRSET\r\n");
    pull(s, &in), answer(s, 220);
    pull(s, &in), answer(s, 250);
    pull_kind(s, &in, SMTP_MAIL);
    buf_clear(smtp_server_output(s));
    answer(s, 450);
    pull_kind(s, &in, SMTP_NEED_INPUT); /* and RSET tells nothing */
    assert_true(output_is(s, "450 2.0.0 text\r\n503 5.5.1 Need MAIL before this\r\n250 2.0.0 Ok\r\n"));
    smtp_server_free(s);
}

static void test_reset_is_told_once(void **state)
{
    (void)state;
    struct play p;
    both(&p, &play_config, S(BEGIN "RSET\r\nRSET\r\nMAIL FROM:<a@b.test>\r\nHELO d\r\n"));
    expect(&p.log, BEGUN "RESET\nMAIL <a|b.test>\nHELO d\nRESET\n");
    play_done(&p);
    both(&p, &play_config, S(BEGIN "BDAT 2\r\nabRSET\r\nDATA\r\n"));
    expect(&p.log, BEGUN "DATA bdat\nCONTENT 2:ab\nRESET\n");
    play_done(&p);
}

static void test_refused_ehlo_changes_nothing(void **state)
{
    (void)state;
    struct smtp_server *s = open_transaction(&play_config);
    str in = S("EHLO d\r\nDATA\r\n");
    pull_kind(s, &in, SMTP_HELO);
    answer(s, 550);
    pull_kind(s, &in, SMTP_DATA);
    smtp_server_free(s);
}

static void test_input_waits_for_reply(void **state)
{
    (void)state;
    struct smtp_server *s = smtp_server_new(&play_config);
    str in = S(BEGIN);
    size_t used;
    struct smtp_event ev;
    pull_kind(s, &in, SMTP_CONNECT);
    smtp_server_next(s, in, &used, &ev);
    assert_int_equal(ev.kind, SMTP_NEED_REPLY);
    assert_int_equal(used, 0);
    answer(s, 220);
    pull_kind(s, &in, SMTP_HELO);
    assert_int_equal(in.n, sizeof(BEGIN) - 1 - 8);
    pull_kind(s, &in, SMTP_NEED_REPLY);
    answer(s, 250);
    answer(s, 250); /* nothing waits: ignored */
    pull_kind(s, &in, SMTP_MAIL);
    smtp_server_free(s);
}

static void test_too_large_while_streaming(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.limits.size_max = 10;
    both(&p, &config, S(BEGIN "DATA\r\n123456\r\n12\r\n.\r\nNOOP\r\n"));
    expect(&p.log, BEGUN "DATA\nCONTENT 10:123456\r\n12\nRESET\n");
    assert_true(says(&p, "552 5.3.4 "));
    assert_true(str_ends(buf_str(&p.out), S("250 2.0.0 Ok\r\n")));
    play_done(&p);
    both(&p, &config, S(BEGIN "DATA\r\n..23456\r\n\r\n.\r\n"));
    assert_int_equal(p.messages, 1); /* the stuffed dot does not count (RFC 1870 5) */
    play_done(&p);
    both(&p, &config, S(BEGIN "BDAT 8\r\n123456\r\nBDAT 3 LAST\r\n1\r\nNOOP\r\n"));
    expect(&p.log, BEGUN "DATA bdat\nCONTENT 8:123456\r\n\nRESET\n");
    play_done(&p);
    both(&p, &config, S(BEGIN "BDAT 11 LAST\r\n123456789\r\nNOOP\r\n"));
    expect(&p.log, BEGUN "RESET\n");
    assert_true(says(&p, "552 5.3.4 "));
    assert_true(str_ends(buf_str(&p.out), S("250 2.0.0 Ok\r\n")));
    play_done(&p);
}

static void feed_many(struct play *p, char c, size_t n)
{
    _cleanup_buf_ struct buf many = BUF(n);
    char *to = buf_space(&many, n);
    assert_non_null(to);
    memset(to, c, n);
    play_feed(p, buf_str(&many));
}

static void test_discarded_content_has_a_ceiling(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.limits.size_max = 10;
    play_init(&p, &config);
    play_feed(&p, S(BEGIN "DATA\r\n"));
    feed_many(&p, 'a', 1000000);
    assert_false(p.closed);
    feed_many(&p, 'a', 100000);
    assert_true(p.closed);
    assert_true(says(&p, "552 5.3.4 Message is larger than the SIZE announced here\r\n421 4.7.0 "));
    play_done(&p);
    both(&p, &config, S(BEGIN "BDAT 18446744073709551615\r\nabc"));
    assert_true(p.closed);
    play_done(&p);
}

static void test_long_lines(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.limits.line_max = 20;
    both(&p, &config,
         S("NOOP 4567890123456\r\nNOOP 45678901234567\r\nNOOP 456789012345678\r\nNOOP 45678901234567890\r\nQUIT\r\n"));
    assert_true(says(&p, "Posthouse\r\n250 2.0.0 Ok\r\n500 5.5.2 Line too long\r\n500 5.5.2 Line too long\r\n500 5.5.2 "
                         "Line too long\r\n221"));
    play_done(&p);
    play_init(&p, &config);
    play_feed(&p, STR_NONE);
    for (int i = 0; i < 10; ++i)
        feed_many(&p, 'a', 100000);
    assert_int_equal(p.in.n, 0); /* not kept */
    assert_false(p.closed);
    feed_many(&p, 'a', 100000);
    assert_true(p.closed);
    play_done(&p);
}

static void test_errors_max(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.limits.errors_max = 3;
    both(&p, &config, S("FOO\r\nNOOP\r\nFOO\r\nFOO\r\nNOOP\r\n"));
    assert_true(p.closed);
    assert_true(
        str_ends(buf_str(&p.out), S("Command not recognized\r\n421 4.7.0 mx.posthouse.test Too many errors\r\n")));
    play_done(&p);
    play_init(&p, &config);
    smtp_server_set_trusted(p.s, true);
    play_feed(&p, S("FOO\r\nFOO\r\nFOO\r\nFOO\r\nNOOP\r\n"));
    assert_false(p.closed);
    play_done(&p);
}

static void test_commands_max(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.limits.commands_max = 3;
    both(&p, &config, S(BEGIN "NOOP\r\nRSET\r\nVRFY a\r\n"));
    assert_true(p.closed);
    assert_true(says(&p, "421 4.7.0 "));
    play_done(&p);
    both(&p, &config, S(BEGIN "NOOP\r\nDATA\r\n.\r\nRSET\r\nVRFY a\r\nVRFY a\r\n"));
    assert_false(p.closed); /* a message in between */
    play_done(&p);
}

static void test_recipients_max(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.limits.recipients_max = 1;
    config.limits.errors_max = 2;
    both(&p, &config,
         S(BEGIN "RCPT TO:<alice@posthouse.test>\r\nRCPT TO:<alice@posthouse.test>\r\nRCPT "
                 "TO:<alice@posthouse.test>\r\nDATA\r\n.\r\n"));
    assert_true(says(&p, "452 4.5.3 "));
    assert_int_equal(p.messages, 1);
    play_done(&p);
}

/* What `early` says at the MAIL that ends each of these, fed as whole lines of the list. */
static void test_early(void **state)
{
    (void)state;
    static const struct {
        const char *pieces[5];
        bool early;
    } cases[] = {
        { { "", "EHLO c\r\n", "MAIL FROM:<a@b.test>\r\nRCPT TO:<bob@posthouse.test>\r\n" }, false },
        { { "EHLO c\r\n", "MAIL FROM:<a@b.test>\r\n" }, true },             /* before the greeting */
        { { "", "EHLO c\r\nMAIL FROM:<a@b.test>\r\n" }, true },             /* behind EHLO */
        { { "", "HELO c\r\n", "RSET\r\nMAIL FROM:<a@b.test>\r\n" }, true }, /* no EHLO: no pipelining */
        { { "", "EHLO c\r\n", "RSET\r\nMAIL FROM:<a@b.test>\r\n" }, false },
        { { "", "EHLO c\r\n", "NOOP\r\nMAIL FROM:<a@b.test>\r\n" }, true },
        { { "", "EHLO c\r\n", "VRFY a\r\nMAIL FROM:<a@b.test>\r\n" }, true },
        { { "", "EHLO c\r\n", "MAIL FROM:<a@b.test>\n" }, true }, /* bare LF */
        { { "", "EHLO c\r\n", BEGIN + 8, "DATA\r\na\r\n.\r\n", "MAIL FROM:<a@b.test>\r\n" }, true },
        { { "", "EHLO c\r\n", BEGIN + 8, "DATA\r\n", "a\r\n.\r\nMAIL FROM:<a@b.test>\r\n" }, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); ++i) {
        struct play p;
        play_init(&p, &play_config);
        for (size_t j = 0; j < ARRAY_LEN(cases[i].pieces) && cases[i].pieces[j]; ++j)
            play_feed(&p, str_z(cases[i].pieces[j]));
        if (p.early != cases[i].early)
            fail_msg("case %zu", i);
        play_done(&p);
    }
}

static void test_early_while_reply_is_owed(void **state)
{
    (void)state;
    struct smtp_server *s = smtp_server_new(&play_config);
    str none = STR_NONE, hello = S("EHLO c\r\n"), mail = S("MAIL FROM:<a@b.test>\r\n");
    pull(s, &none), answer(s, 220);
    assert_false(pull(s, &hello).early);
    pull_kind(s, &mail, SMTP_NEED_REPLY);
    answer(s, 250);
    assert_true(pull(s, &mail).early);
    smtp_server_free(s);
}

static void test_shutdown(void **state)
{
    (void)state;
    struct smtp_server *s = open_transaction(&play_config);
    str in = S("DATA\r\nabc\r\n.\r\n");
    pull_kind(s, &in, SMTP_DATA);
    answer(s, 354);
    pull_kind(s, &in, SMTP_CONTENT);
    pull_kind(s, &in, SMTP_CONTENT_END);
    smtp_server_shutdown(s, S("4.3.2"), S("going down"));
    pull_kind(s, &in, SMTP_NEED_REPLY);
    answer(s, 250); /* the message is safe: its sender must hear it */
    pull_kind(s, &in, SMTP_CLOSE);
    assert_true(output_is(s, "354 text\r\n250 2.0.0 text\r\n421 4.3.2 mx.posthouse.test going down\r\n"));
    pull_kind(s, &in, SMTP_CLOSE);
    smtp_server_free(s);
    s = open_transaction(&play_config);
    in = S("DATA\r\nabc");
    pull_kind(s, &in, SMTP_DATA);
    answer(s, 354);
    pull_kind(s, &in, SMTP_CONTENT);
    smtp_server_shutdown(s, S("4.4.2"), S("timeout"));
    pull_kind(s, &in, SMTP_CLOSE);
    smtp_server_free(s);
}

static void test_turned_away(void **state)
{
    (void)state;
    struct smtp_server *s = smtp_server_new(&play_config);
    str in = S("EHLO c\r\nMAIL FROM:<a@b.test>\r\nFOO\r\nQUIT\r\n");
    pull_kind(s, &in, SMTP_CONNECT);
    smtp_server_reply(s, 554, S("5.7.1"), S("mx.posthouse.test no"));
    pull_kind(s, &in, SMTP_CLOSE);
    assert_true(
        output_is(s, "554 5.7.1 mx.posthouse.test no\r\n503 5.5.1 No service for you here; send QUIT\r\n"
                     "503 5.5.1 No service for you here; send QUIT\r\n503 5.5.1 No service for you here; send QUIT\r\n"
                     "221 2.0.0 Bye\r\n"));
    smtp_server_free(s);
    s = smtp_server_new(&play_config);
    pull_kind(s, &in, SMTP_CONNECT);
    smtp_server_reply(s, 421, S("4.7.0"), S("busy"));
    pull_kind(s, &in, SMTP_CLOSE);
    assert_true(output_is(s, "421 4.7.0 mx.posthouse.test busy\r\n"));
    smtp_server_free(s);
}

static void test_tls_forgets_everything(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.auth = true;
    play_init(&p, &config);
    play_feed(&p, S("EHLO c\r\n"));
    assert_true(says(&p, "STARTTLS\r\n"));
    assert_false(says(&p, "AUTH "));
    play_feed(&p, S("STARTTLS\r\nMAIL FROM:<evil@b.test>\r\n"));
    assert_true(str_ends(buf_str(&p.out), S("220 2.0.0 Ready to start TLS\r\n")));
    assert_int_equal(p.last, SMTP_NEED_REPLY);
    buf_clear(&p.out);
    play_tls(&p);
    play_feed(&p, S("MAIL FROM:<a@b.test>\r\n"));
    expect(&p.out, "503 5.5.1 Send HELO or EHLO first\r\n"); /* and no greeting */
    buf_clear(&p.out);
    play_feed(&p, S("EHLO c\r\n"));
    assert_false(says(&p, "STARTTLS"));
    assert_true(says(&p, "AUTH PLAIN LOGIN\r\n"));
    play_feed(&p, S("STARTTLS\r\n"));
    assert_true(str_ends(buf_str(&p.out), S("503 5.5.1 TLS is already on\r\n")));
    assert_int_equal(p.mails, 0);
    play_done(&p);
}

static void play_init_auth(struct play *p, const struct smtp_server_config *config)
{
    play_init(p, config);
    smtp_server_tls_started(p->s);
    play_feed(p, STR_NONE);
    play_feed(p, S("EHLO c\r\n"));
    buf_clear(&p->out);
    buf_clear(&p->log);
}

static void test_auth(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.auth = true;
    play_init_auth(&p, &config);
    play_feed_bytewise(&p, S("auth plain\r\nAGFsaWNlQHBvc3Rob3VzZS50ZXN0AHNlY3JldC1hbGljZQ==\r\nAUTH PLAIN AA==\r\n"));
    expect(&p.out, "334 \r\n235 2.7.0 Authentication successful\r\n503 5.5.1 Already authenticated\r\n");
    assert_true(str_starts(buf_str(&p.log), S("AUTH PLAIN\nRESPONSE data=")));
    play_done(&p);
    play_init_auth(&p, &config);
    play_feed(&p, S("AUTH LOGIN\r\n"));
    play_feed(&p, S("YWxpY2VAcG9zdGhvdXNlLnRlc3Q=\r\n"));
    play_feed(&p, S("d3Jvbmc=\r\n"));
    play_feed(&p, S("AUTH PLAIN =\r\nAUTH CRAM-MD5\r\nAUTH PLAIN !\r\nAUTH\r\nAUTH PLAIN a b\r\n"));
    expect(&p.out,
           "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n535 5.7.8 Authentication credentials invalid\r\n"
           "535 5.7.8 Authentication credentials invalid\r\n504 5.5.4 Authentication mechanism not supported\r\n"
           "501 5.5.2 Cannot decode the response: not base64\r\n501 5.5.4 Syntax: AUTH mechanism [initial-response]\r\n"
           "501 5.5.4 Syntax: AUTH mechanism [initial-response]\r\n");
    assert_true(logged(&p, "AUTH PLAIN data=\n"));
    play_done(&p);
}

static void test_early_behind_auth(void **state)
{
    (void)state;
    static const struct {
        const char *input;
        bool early;
    } cases[] = {
        { "AUTH PLAIN AGFsaWNlQHBvc3Rob3VzZS50ZXN0AHNlY3JldC1hbGljZQ==\r\nMAIL FROM:<a@b.test>\r\n", false },
        { "AUTH PLAIN\r\nAGFsaWNlQHBvc3Rob3VzZS50ZXN0AHNlY3JldC1hbGljZQ==\r\nMAIL FROM:<a@b.test>\r\n", true },
    };
    struct smtp_server_config config = play_config;
    config.auth = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); ++i) {
        struct play p;
        play_init_auth(&p, &config);
        play_feed(&p, str_z(cases[i].input));
        assert_true(p.authenticated);
        assert_int_equal(p.early, cases[i].early);
        play_done(&p);
    }
}

static void test_auth_broken_off(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.auth = true;
    play_init_auth(&p, &config);
    play_feed(&p, S("AUTH PLAIN\r\n*\r\nAUTH PLAIN\r\n?\r\nNOOP\r\nAUTH PLAIN\r\n"));
    feed_many(&p, 'A', 20000);
    play_feed(&p, S("\r\nNOOP\r\n"));
    play_feed(&p, S("AUTH PLAIN "));
    feed_many(&p, 'A', 20000);
    play_feed(&p, S("\r\nNOOP\r\n"));
    expect(&p.out,
           "334 \r\n501 5.7.0 Authentication cancelled\r\n334 \r\n501 5.5.2 Cannot decode the response: not base64\r\n"
           "250 2.0.0 Ok\r\n334 \r\n500 5.5.6 Authentication exchange line is too long\r\n250 2.0.0 Ok\r\n"
           "500 5.5.6 Authentication exchange line is too long\r\n250 2.0.0 Ok\r\n");
    expect(&p.log, "AUTH PLAIN\nRESPONSE cancelled\nAUTH PLAIN\nRESPONSE cancelled\nAUTH PLAIN\nRESPONSE cancelled\n");
    play_done(&p);
}

static void test_auth_line_of_12288(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.auth = true;
    play_init_auth(&p, &config);
    play_feed(&p, S("AUTH PLAIN\r\n"));
    feed_many(&p, 'A', 12284);
    play_feed(&p, S("\r\n"));
    expect(&p.out, "334 \r\n535 5.7.8 Authentication credentials invalid\r\n");
    play_done(&p);
}

static void test_msa_wants_authentication(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    struct play p;
    config.msa = config.auth = true;
    both(&p, &config, S("EHLO c\r\nMAIL FROM:<a@b.test>\r\n"));
    assert_true(says(&p, "530 5.7.0 Authentication required; issue STARTTLS first\r\n"));
    play_done(&p);
    play_init_auth(&p, &config);
    play_feed(&p, S("MAIL FROM:<a@b.test>\r\n"));
    expect(&p.out, "530 5.7.0 Authentication required\r\n");
    play_feed(&p, S("AUTH PLAIN AGFsaWNlQHBvc3Rob3VzZS50ZXN0AHNlY3JldC1hbGljZQ==\r\nMAIL FROM:<a@b.test>\r\n"));
    assert_int_equal(p.mails, 1);
    play_done(&p);
}

static void test_reply_lines(void **state)
{
    (void)state;
    struct smtp_server *s = smtp_server_new(&play_config);
    char text[1200];
    str none = STR_NONE;
    memset(text, 'x', sizeof(text));
    text[500] = ' ';
    pull(s, &none);
    smtp_server_reply(s, 450, S("4.3.0"), S("one\r\x01\xc3\xa9\n\nthree"));
    assert_true(output_is(s, "450-4.3.0 one????\r\n450-4.3.0 \r\n450 4.3.0 three\r\n"));
    smtp_server_free(s);
    s = smtp_server_new(&play_config);
    pull(s, &none);
    smtp_server_reply(s, 450, S("4.3.0"), str_of(text, sizeof(text)));
    str out = buf_str(smtp_server_output(s));
    size_t lines = 0, x = 0;
    while (out.n > 0) {
        str line = str_cut(&out, '\n');
        assert_true(line.n + 1 <= 512);
        assert_true(str_starts(line, out.n > 0 ? S("450-4.3.0 ") : S("450 4.3.0 ")));
        for (size_t i = 0; i < line.n; ++i)
            x += line.p[i] == 'x';
        ++lines;
    }
    assert_int_equal(lines, 3);
    assert_int_equal(x, sizeof(text) - 1);
    smtp_server_free(s);
}

static void test_utf8_in_replies_only_when_asked_for(void **state)
{
    (void)state;
    struct smtp_server *s = open_transaction(&play_config);
    str in = S("RSET\r\nMAIL FROM:<a@b.test> SMTPUTF8\r\nRCPT TO:<j\xc3\xbc@b.test>\r\n");
    pull_kind(s, &in, SMTP_RESET);
    pull_kind(s, &in, SMTP_MAIL);
    answer(s, 250);
    pull_kind(s, &in, SMTP_RCPT);
    buf_clear(smtp_server_output(s));
    smtp_server_reply(s, 550, S("5.1.1"), S("j\xc3\xbc"));
    assert_true(output_is(s, "550 5.1.1 j\xc3\xbc\r\n"));
    smtp_server_free(s);
}

static void test_idle_session_is_small(void **state)
{
    (void)state;
    struct play p;
    play_init(&p, &play_config);
    play_feed(&p, S("EHLO c\r\n"));
    for (int i = 0; i < 30; ++i)
        play_feed(&p, S("HELP\r\nHELP\r\n"));
    assert_int_equal(smtp_server_output(p.s)->n, 0);
    assert_true(smtp_server_output(p.s)->cap <= 256);
    play_done(&p);
}

static void test_phase(void **state)
{
    (void)state;
    struct smtp_server *s = open_transaction(&play_config);
    str in = S("DATA\r\na\r\n.\r\n");
    assert_int_equal(smtp_server_phase(s), SMTP_PHASE_COMMAND);
    pull_kind(s, &in, SMTP_DATA);
    assert_int_equal(smtp_server_phase(s), SMTP_PHASE_WORKING);
    answer(s, 354);
    assert_int_equal(smtp_server_phase(s), SMTP_PHASE_CONTENT);
    pull_kind(s, &in, SMTP_CONTENT);
    pull_kind(s, &in, SMTP_CONTENT_END);
    assert_int_equal(smtp_server_phase(s), SMTP_PHASE_WORKING);
    answer(s, 250);
    assert_int_equal(smtp_server_phase(s), SMTP_PHASE_COMMAND);
    smtp_server_free(s);
}

static void test_small_message_is_one_piece(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf in = BUF(8192);
    struct play p;
    buf_add(&in, S(BEGIN "DATA\r\n"));
    for (int i = 0; i < 40; ++i)
        buf_add(&in, S("0123456789 0123456789 0123456789 0123456789 012\r\n"));
    buf_add(&in, S(".\r\n"));
    play_init(&p, &play_config);
    play_feed(&p, STR_NONE);
    play_feed(&p, buf_str(&in));
    assert_int_equal(p.pieces, 1);
    assert_int_equal(p.messages, 1);
    play_done(&p);
}

static void test_wrong_protocol_is_closed(void **state)
{
    (void)state;
    struct play p;
    both(&p, &play_config, S("POST / HTTP/1.1\r\nHost: a\r\n\r\nEHLO c\r\n"));
    expect(&p.log, "CONNECT\nCLOSE\n");
    assert_true(says(&p, "421 4.7.0 "));
    play_done(&p);
    both(&p, &play_config, S("SSH-2.0-OpenSSH_9.2p1\r\nEHLO c\r\n"));
    expect(&p.log, "CONNECT\nCLOSE\n");
    assert_true(says(&p, "421 4.7.0 "));
    play_done(&p);
    both(&p, &play_config, S("\x16\x03\x01\x02"));
    expect(&p.log, "CONNECT\nCLOSE\n");
    play_done(&p);
    both(&p, &play_config, S(BEGIN "BDAT 12x\r\nNOOP\r\n")); /* where the chunk ends is anyone's guess */
    expect(&p.log, BEGUN "CLOSE\n");
    play_done(&p);
}

static void test_help_lists_the_table(void **state)
{
    (void)state;
    struct play p;
    both(&p, &play_config, S("HELP\r\nHELP bdat\r\n"));
    assert_true(says(&p, "214 2.0.0 Commands: EHLO HELO MAIL RCPT DATA BDAT RSET VRFY HELP NOOP QUIT STARTTLS AUTH\r\n"
                         "214 2.0.0 BDAT size [LAST]\r\n"));
    play_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_message),
        cmocka_unit_test(test_bdat_message),
        cmocka_unit_test(test_mail_parameters),
        cmocka_unit_test(test_utf8_addresses),
        cmocka_unit_test(test_domainless_addresses),
        cmocka_unit_test(test_owner_refuses_data),
        cmocka_unit_test(test_owner_refuses_bdat),
        cmocka_unit_test(test_owner_refuses_message),
        cmocka_unit_test(test_refused_mail_opens_nothing),
        cmocka_unit_test(test_reset_is_told_once),
        cmocka_unit_test(test_refused_ehlo_changes_nothing),
        cmocka_unit_test(test_input_waits_for_reply),
        cmocka_unit_test(test_too_large_while_streaming),
        cmocka_unit_test(test_discarded_content_has_a_ceiling),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_errors_max),
        cmocka_unit_test(test_commands_max),
        cmocka_unit_test(test_recipients_max),
        cmocka_unit_test(test_early),
        cmocka_unit_test(test_early_while_reply_is_owed),
        cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_turned_away),
        cmocka_unit_test(test_tls_forgets_everything),
        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_early_behind_auth),
        cmocka_unit_test(test_auth_broken_off),
        cmocka_unit_test(test_auth_line_of_12288),
        cmocka_unit_test(test_msa_wants_authentication),
        cmocka_unit_test(test_reply_lines),
        cmocka_unit_test(test_utf8_in_replies_only_when_asked_for),
        cmocka_unit_test(test_idle_session_is_small),
        cmocka_unit_test(test_phase),
        cmocka_unit_test(test_small_message_is_one_piece),
        cmocka_unit_test(test_wrong_protocol_is_closed),
        cmocka_unit_test(test_help_lists_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
