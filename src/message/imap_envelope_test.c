/* Tests of imap_envelope.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "message/growth_test.h"
#include "message/imap_check_test.h"
#include "message/imap_text.h"

static void check(str header, str want)
{
    _cleanup_buf_ struct buf b = BUF(1 << 20);
    assert_int_equal(imap_envelope_put(&b, header), 0);
    if (!str_eq(buf_str(&b), want))
        print_message("got  %.*s\nwant %.*s\n", STR_ARG(buf_str(&b)), STR_ARG(want));
    assert_true(str_eq(buf_str(&b), want));
    assert_true(imap_envelope_valid(want));
}

/* From alone, and what the envelope has of it three times. */
static void check_from(str value, str want)
{
    _cleanup_buf_ struct buf header = BUF(1 << 20), all = BUF(1 << 20);
    buf_addf(&header, "From: %.*s\r\n\r\n", STR_ARG(value));
    buf_addf(&all, "(NIL NIL %.*s %.*s %.*s NIL NIL NIL NIL NIL)", STR_ARG(want), STR_ARG(want), STR_ARG(want));
    check(buf_str(&header), buf_str(&all));
}

static void test_rfc_example(void **state)
{
    (void)state;
    check(S("Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
            "From: Terry Gray <gray@cac.washington.edu>\r\n"
            "Subject: IMAP4rev2 WG mtg summary and minutes\r\n"
            "To: imap@cac.washington.edu\r\n"
            "cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
            "Message-Id: <B27397-0100000@cac.washington.edu>\r\n"
            "MIME-Version: 1.0\r\n\r\n"),
          S("(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" "
            "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) "
            "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) "
            "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) "
            "((NIL NIL \"imap\" \"cac.washington.edu\")) "
            "((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL "
            "\"<B27397-0100000@cac.washington.edu>\")"));
}

static void test_absent_and_empty(void **state)
{
    (void)state;
    check(S(""), S("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"));
    check(STR_NONE, S("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"));
    check(S("\r\nSubject: body\r\n"), IMAP_ENVELOPE_EMPTY);
    /* present but empty: strings are empty, lists NIL */
    check(S("Date:\r\nSubject: \r\nFrom:\r\nSender: \r\nReply-To:\r\nTo: ,\r\nCc:\r\nBcc:;\r\nIn-Reply-To:\r\n"
            "Message-ID:\r\n \r\n\r\n"),
          S("(\"\" \"\" NIL NIL NIL NIL NIL NIL \"\" \"\")"));
    /* sender and reply-to as from, unless they have addresses */
    check(S("From: a@b\r\nSender: \r\nReply-To: c@d\r\n"),
          S("(NIL NIL ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"c\" \"d\")) NIL NIL NIL NIL NIL)"));
    check(S("From: a@b\r\nReply-To: no address here\r\n"),
          S("(NIL NIL ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL)"));
}

static void test_repeated(void **state)
{
    (void)state;
    check(S("Subject: one\r\nsubject: two\r\nFrom: a@b\r\nFrom: c@d\r\nTo: e@f\r\nX: y\r\nTO : g@h\r\n"),
          S("(NIL \"one\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) "
            "((NIL NIL \"e\" \"f\")(NIL NIL \"g\" \"h\")) NIL NIL NIL NIL)"));
}

static void test_strings(void **state)
{
    (void)state;
    check(S("Subject: a\r\n folded\r\n\t=?utf-8?Q?w=C3=B6rd?= \"q\" \\\r\n"),
          S("(NIL \"a folded\t=?utf-8?Q?w=C3=B6rd?= \\\"q\\\" \\\\\" NIL NIL NIL NIL NIL NIL NIL NIL)"));
    check(S("Subject: Gr\xc3\xbc\xc3\x9f\x65\r\n"),
          S("(NIL {7}\r\nGr\xc3\xbc\xc3\x9f\x65 NIL NIL NIL NIL NIL NIL NIL NIL)"));
    check(S("Subject: \xff\"\r\n"), S("(NIL {2}\r\n\xff\" NIL NIL NIL NIL NIL NIL NIL NIL)"));
    check(S("Subject: a\0b\rc\r\n"), S("(NIL \"a?b c\" NIL NIL NIL NIL NIL NIL NIL NIL)"));
    check(S("Subject: \0\xe4\r\n"), S("(NIL {2}\r\n?\xe4 NIL NIL NIL NIL NIL NIL NIL NIL)"));
    check(S("Message-ID: <a@b>\r\nIn-Reply-To: <c@d>\r\n\t<e@f>\r\n"),
          S("(NIL NIL NIL NIL NIL NIL NIL NIL \"<c@d>\t<e@f>\" \"<a@b>\")"));
}

static void test_addresses(void **state)
{
    static const struct {
        str value, want;
    } cases[] = {
        { S("jane@example.org (Jane Doe)"), S("((\"Jane Doe\" NIL \"jane\" \"example.org\"))") },
        { S("\"Doe, Jane\" <jane@example.org>"), S("((\"Doe, Jane\" NIL \"jane\" \"example.org\"))") },
        { S("=?utf-8?Q?J=C3=B6rg?= <j@example.org>"), S("((\"=?utf-8?Q?J=C3=B6rg?=\" NIL \"j\" \"example.org\"))") },
        { S("\"a \\\"b\\\" \\\\\" <j@x>"), S("((\"a \\\"b\\\" \\\\\" NIL \"j\" \"x\"))") },
        { S("J\xc3\xb6rg <j\xc3\xb6@b\xc3\xbc.example>"),
          S("(({5}\r\nJ\xc3\xb6rg NIL {3}\r\nj\xc3\xb6 {11}\r\nb\xc3\xbc.example))") },
        { S("\"a b\"@example.org"), S("((NIL NIL \"a b\" \"example.org\"))") },
        { S("\"\"@example.org"), S("((NIL NIL \"\" \"example.org\"))") },
        { S("a@[192.0.2.1]"), S("((NIL NIL \"a\" \"[192.0.2.1]\"))") },
        /* a host in any case, since NIL means a group */
        { S("root"), S("((NIL NIL \"root\" \"missing_domain\"))") },
        { S("Root <root>"), S("((\"Root\" NIL \"root\" \"missing_domain\"))") },
        /* obsolete: route, blanks between the words */
        { S("<@a.example,@b.example:c@d.example>"), S("((NIL \"@a.example,@b.example\" \"c\" \"d.example\"))") },
        { S("C <@a.example : c@d.example>"), S("((\"C\" \"@a.example\" \"c\" \"d.example\"))") },
        { S("x@y, (c) <,@a:c@d>"), S("((NIL NIL \"x\" \"y\")(\"c\" NIL \"c\" \"d\"))") },
        { S("<@x:>, a@b"), S("((NIL NIL \"a\" \"b\"))") },
        { S("a . b @ c . d"), S("((NIL NIL \"a.b\" \"c.d\"))") },
        /* groups */
        { S("undisclosed-recipients:;"), S("((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL))") },
        { S("A Group: Ed <e@x>, f@y;, g@z"), S("((NIL NIL \"A Group\" NIL)(\"Ed\" NIL \"e\" \"x\")(NIL NIL \"f\" "
                                               "\"y\")(NIL NIL NIL NIL)(NIL NIL \"g\" \"z\"))") },
        { S("open: a@b"), S("((NIL NIL \"open\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL))") },
        { S("\"\": a@b;"), S("((NIL NIL \"\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL))") },
        /* broken: what can be read is; if nothing can, the text is shown */
        { S("a@b, c d e, f@g"), S("((NIL NIL \"a\" \"b\")(NIL NIL \"f\" \"g\"))") },
        { S("John Q. Public"), S("((\"John Q. Public\" NIL \"missing_mailbox\" \"missing_domain\"))") },
        { S("<>"), S("NIL") },
        { S("Nobody <>"), S("((\"Nobody <>\" NIL \"missing_mailbox\" \"missing_domain\"))") },
        { S("\"open <a@b>"), S("((\"\\\"open <a@b>\" NIL \"missing_mailbox\" \"missing_domain\"))") },
        { S("a@b <c@d> e@f"), S("((\"a@b\" NIL \"c\" \"d\"))") },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_from(cases[i].value, cases[i].want);
}

static void test_brief(void **state)
{
    _cleanup_buf_ struct buf header = BUF(1 << 22), brief = BUF(1 << 20), whole = BUF(1 << 22);
    (void)state;
    buf_add(&header, S("Subject: "));
    for (int i = 0; i < 1000; i++)
        buf_add(&header, S("\xc3\xa4"));
    buf_add(&header, S("\r\nTo: x: \r\n"));
    for (int i = 0; i < 10000; i++)
        buf_addf(&header, " \"Recipient %d\" <r%d@example.org>,\r\n", i, i);
    assert_int_equal(imap_envelope_text(&whole, buf_str(&header), false), 0);
    assert_true(whole.n > 300000 && imap_envelope_valid(buf_str(&whole)));
    assert_int_equal(imap_envelope_text(&brief, buf_str(&header), true), 0);
    assert_true(brief.n < 1500 && imap_envelope_valid(buf_str(&brief)));
    assert_true(str_starts(buf_str(&brief), S("(NIL {200}\r\n\xc3\xa4")));
    _cleanup_buf_ struct buf tight = BUF(100);
    assert_int_equal(imap_envelope_put(&tight, buf_str(&header)), -ENOBUFS);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(str header)
{
    _cleanup_buf_ struct buf b = BUF((size_t)1 << 30);
    assert_int_equal(imap_envelope_put(&b, header), 0);
}

static void test_linear(void **state)
{
    static const struct growth making = { seconds, run };
    static const struct {
        str head, unit;
        size_t n;
    } cases[] = {
        { S("To: "), S("a,"), 200000 },          { S("To: "), S("a:;"), 200000 },
        { S("To: "), S("<@a,"), 200000 },        { S("To: "), S("("), 200000 },
        { S("To: "), S("<"), 200000 },           { S("From: "), S("a@b <c@d>, "), 20000 },
        { S(""), S("To: a\r\n"), 200000 },       { S(""), S("X: a\r\n"), 200000 },
        { S("Subject: "), S("\"\xff"), 400000 }, { S("To: "), S("\"\\\" <"), 200000 },
        { S("To: "), S("<@a:"), 200000 },        { S("To: a"), S("\r\n :"), 200000 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double ratio = growth(&making, cases[i].head, cases[i].unit, S(""), cases[i].n);
        if (ratio >= 3.0)
            print_message("case %zu: ratio %.2f\n", i, ratio);
        assert_true(ratio < 3.0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_example),
        cmocka_unit_test(test_absent_and_empty),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_brief),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
