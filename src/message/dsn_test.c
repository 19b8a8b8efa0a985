/* Tests of dsn.c: what a person reads, what a program reads, and that no byte of another host starts a line. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/dsn.h"
#include "message/mime.h"

static const struct dsn_recipient bob = {
    .address = { "bob@example.net", 15 }, .original = { "friend@ours.example", 19 }, .status = { "5.1.1", 5 },
    .mta = { "mx.example.net [192.0.2.1]:25", 29 }, .code = 550,
    .text = { "550-5.1.1 no such user\n550 5.1.1 here", 37 }, .at_s = 1795506903,
};

static struct dsn sample(enum dsn_kind kind)
{
    return (struct dsn){ .kind = kind, .hostname = S("mail.ours.example"), .from = S("MAILER-DAEMON@ours.example"),
                         .postmaster = S("postmaster@ours.example"), .to = S("alice@ours.example"),
                         .message_id = S("x.1@ours.example"), .original_id = S("<first@ours.example>"),
                         .original_subject = S("Lunch"), .trace_id = S("abc.1"), .envid = S("QQ314159"),
                         .boundary = S("b0undary"), .now_s = 1795507000, .arrival_s = 1795506900,
                         .recipients = &bob, .n = 1 };
}

static void write_all(struct buf *out, const struct dsn *d, str original)
{
    assert_int_equal(dsn_begin(out, d), 0);
    buf_add(out, original);
    assert_int_equal(dsn_end(out, d), 0);
}

static void has(const struct buf *b, const char *want)
{
    if (str_find(buf_str(b), str_z(want)) < 0)
        fail_msg("not there: %s\nin: %.*s", want, STR_ARG(buf_str(b)));
}

static void hasnt(const struct buf *b, const char *want) { assert_true(str_find(buf_str(b), str_z(want)) < 0); }

static void check_lines(str text)
{
    while (text.n) {
        str line = str_cut(&text, '\n');
        assert_true(line.n > 0 && line.p[line.n - 1] == '\r' && line.n <= 999);
        assert_true(str_chr(str_first(line, line.n - 1), '\r') < 0);
    }
}

static void test_failed(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(65536);
    struct dsn d = sample(DSN_FAILED);
    write_all(&b, &d, S("Subject: Lunch\r\n\r\n"));
    has(&b, "From: Mail Delivery System <MAILER-DAEMON@ours.example>\r\nTo: <alice@ours.example>\r\n");
    has(&b, "Auto-Submitted: auto-replied\r\n");
    has(&b, "In-Reply-To: <first@ours.example>\r\n");
    has(&b, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"b0undary\"\r\n");
    has(&b, "  <friend@ours.example>\r\n"
            "    The host mx.example.net [192.0.2.1]:25 said:\r\n"
            "        550-5.1.1 no such user\r\n        550 5.1.1 here\r\n"
            "    There is no such mailbox.");
    has(&b, "abc.1\r\n");
    has(&b, "Original-Envelope-Id: QQ314159\r\nReporting-MTA: dns; mail.ours.example\r\n");
    hasnt(&b, "bob@example.net"); /* where the alias leads */
    has(&b, "\r\n\r\nFinal-Recipient: rfc822; friend@ours.example\r\n"
            "Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.net\r\n"
            "Diagnostic-Code: smtp; 550-5.1.1 no such user\r\n\t550 5.1.1 here\r\n"
            "Last-Attempt-Date: Tue, 24 Nov 2026 07:55:03 +0000\r\n");
    has(&b, "Content-Type: text/rfc822-headers\r\n");
    assert_true(str_ends(buf_str(&b), S("\r\n--b0undary--\r\n")));
    check_lines(buf_str(&b));
}

/* Its parts are found by the MIME parser: three, of the right kinds. */
static void test_structure(void **state)
{
    (void)state;
    static const char *const types[] = { "multipart/report", "text/plain", "message/delivery-status",
                                         "message/rfc822" };
    _cleanup_buf_ struct buf b = BUF(65536);
    struct dsn d = sample(DSN_RELAYED);
    d.whole = true;
    write_all(&b, &d, S("Subject: Lunch\r\n\r\nHello\r\n"));
    struct mime_parser *m = mime_new();
    assert_non_null(m);
    mime_feed(m, buf_str(&b));
    mime_end(m);
    const struct mime_part *parts;
    assert_true(mime_parts(m, &parts) >= ARRAY_LEN(types));
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        _cleanup_buf_ struct buf type = BUF(256);
        buf_addf(&type, "%.*s/%.*s", STR_ARG(parts[i].type), STR_ARG(parts[i].subtype));
        assert_true(str_ieq(buf_str(&type), str_z(types[i])));
    }
    mime_free(m);
}

static void test_delayed(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(65536);
    struct dsn d = sample(DSN_DELAYED);
    struct dsn_recipient r = bob;
    r.status = S("4.4.1");
    r.code = 0;
    r.text = S("connection timed out");
    r.until_s = 1795506903 + 5 * 86400;
    d.recipients = &r;
    write_all(&b, &d, S("\r\n"));
    has(&b, "you need\r\nnot do anything");
    has(&b, "    About the host mx.example.net [192.0.2.1]:25:\r\n        connection timed out\r\n");
    has(&b, "    It is tried until: Sun, 29 Nov 2026 07:55:03 +0000\r\n");
    has(&b, "Action: delayed\r\nStatus: 4.4.1\r\n");
    has(&b, "Diagnostic-Code: x-posthouse; connection timed out\r\n");
    has(&b, "Will-Retry-Until: Sun, 29 Nov 2026 07:55:03 +0000\r\n");
}

static void test_every_kind_has_its_action(void **state)
{
    (void)state;
    static const char *const actions[DSN_KINDS] = { "failed", "delayed", "relayed", "delivered", "expanded" };
    for (int kind = 0; kind < DSN_KINDS; kind++) {
        _cleanup_buf_ struct buf b = BUF(65536), want = BUF(64);
        struct dsn d = sample((enum dsn_kind)kind);
        write_all(&b, &d, S("\r\n"));
        buf_addf(&want, "\r\nAction: %s\r\n", actions[kind]);
        buf_addc(&want, '\0');
        has(&b, want.p);
    }
}

/* A hostile server's reply, address and envelope id stay inside their fields (security class 2). */
static void test_hostile(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(65536), longest = BUF(8192);
    struct dsn d = sample(DSN_FAILED);
    struct dsn_recipient r = bob;
    for (int i = 0; i < 4000; i++)
        buf_addc(&longest, 'x');
    r.text = S("550 a\r\nAction: delivered\r\n\r\n--b0undary\r\n\x1b[31m\x00\xff");
    r.mta = S("mx\r\nBcc: everybody@example.com [192.0.2.1]");
    r.status = S("5.1.1\r\nX: y");
    r.orcpt = S("rfc822;bob\r\nStatus: 2.0.0@example.net");
    d.recipients = &r;
    d.envid = buf_str(&longest);
    d.original_subject = buf_str(&longest);
    d.original_id = S("<a\r\nBcc: x@y>");
    write_all(&b, &d, S("\r\n"));
    hasnt(&b, "\r\nAction: delivered");
    hasnt(&b, "\r\nBcc:");
    hasnt(&b, "\r\nStatus: 2.0.0");
    hasnt(&b, "\x1b");
    check_lines(buf_str(&b));
    str rest = buf_str(&b);
    size_t marks = 0;
    for (ptrdiff_t at; (at = str_find(rest, S("\r\n--b0undary"))) >= 0; marks++)
        rest = str_from(rest, (size_t)at + 1);
    assert_int_equal(marks, 4); /* three parts, the first after the header, and the end */
}

static void test_international(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(65536), plain = BUF(65536);
    struct dsn d = sample(DSN_FAILED);
    struct dsn_recipient r = bob;
    r.address = S("\xc3\xa9va@example.net");
    r.original = STR_NONE;
    d.recipients = &r;
    d.smtputf8 = true;
    write_all(&b, &d, S("\r\n"));
    has(&b, "Content-Type: message/global-delivery-status\r\n");
    has(&b, "Final-Recipient: utf-8; \xc3\xa9va@example.net\r\n");
    has(&b, "Content-Type: message/global-headers\r\n");
    d.smtputf8 = false;
    write_all(&plain, &d, S("\r\n"));
    has(&plain, "Final-Recipient: utf-8; \\x{E9}va@example.net\r\n");
}

static void test_advice(void **state)
{
    (void)state;
    assert_true(str_starts(dsn_advice(S("5.2.2")), S("The mailbox is full")));
    assert_true(str_eq(dsn_advice(S("4.2.2")), dsn_advice(S("5.2.2"))));
    assert_true(str_starts(dsn_advice(S("5.1.10")), S("This domain says")));
    assert_int_equal(dsn_advice(S("5.9.9")).n, 0);
    assert_int_equal(dsn_advice(S("")).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_failed), cmocka_unit_test(test_structure),
                                        cmocka_unit_test(test_delayed),
                                        cmocka_unit_test(test_every_kind_has_its_action),
                                        cmocka_unit_test(test_hostile), cmocka_unit_test(test_international),
                                        cmocka_unit_test(test_advice) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
