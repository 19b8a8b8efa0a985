/* Tests of card_text.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "message/growth_test.h"
#include "message/imap_check_test.h"
#include "message/card.h"

static struct mime_parser *parser;
static struct buf hold;

static struct card_text make(str content)
{
    struct card_text t;
    mime_reset(parser);
    mime_feed(parser, content);
    mime_end(parser);
    buf_clear(&hold);
    buf_add(&hold, S("before"));
    assert_int_equal(card_text_make(&hold, parser, &t), 0);
    assert_true(t.present && hold.n <= 6 + CARD_TEXT_MAX);
    assert_true(imap_envelope_valid(t.envelope) && imap_structure_valid(t.structure, true));
    return t;
}

static void equal(str got, str want)
{
    if (!str_eq(got, want))
        print_message("got  %.*s\nwant %.*s\n", STR_ARG(got), STR_ARG(want));
    assert_true(str_eq(got, want));
}

static void test_all(void **state)
{
    (void)state;
    struct card_text t = make(S("Received: from x by y\r\nDATE: Tue, 24 Nov 2026 14:43:00 +0100\r\n"
                                "From: =?utf-8?Q?J=C3=96RG?= <Joerg@Example.net>\r\nX-Mailer: not kept\r\n"
                                "To: \"Bob\r\n B\" <BOB@x>,\r\n\tlist: c@d;\r\nTo: second@x\r\nCc: Group: ;\r\n"
                                "Subject: Re: [list] The =?iso-8859-1?Q?Gr=FC=DFe?= (fwd)\r\nMessage-ID: <\"A\"@b>\r\n"
                                "References: <1@x>\r\n <2@x>\r\nIn-Reply-To: <3@x>\r\nx-priority : 1\r\nContent-Type: "
                                "text/html\r\n\r\nhello\r\n"));
    equal(t.envelope, S("(\"Tue, 24 Nov 2026 14:43:00 +0100\" \"Re: [list] The =?iso-8859-1?Q?Gr=FC=DFe?= (fwd)\" "
                        "((\"=?utf-8?Q?J=C3=96RG?=\" NIL \"Joerg\" \"Example.net\")) ((\"=?utf-8?Q?J=C3=96RG?=\" NIL "
                        "\"Joerg\" \"Example.net\")) "
                        "((\"=?utf-8?Q?J=C3=96RG?=\" NIL \"Joerg\" \"Example.net\")) ((\"Bob B\" NIL \"BOB\" "
                        "\"x\")(NIL NIL \"list\" NIL)"
                        "(NIL NIL \"c\" \"d\")(NIL NIL NIL NIL)(NIL NIL \"second\" \"x\")) ((NIL NIL \"Group\" "
                        "NIL)(NIL NIL NIL NIL)) NIL "
                        "\"<3@x>\" \"<\\\"A\\\"@b>\")"));
    equal(t.structure, S("(\"text\" \"html\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 7 1 NIL NIL NIL NIL)"));
    equal(t.headers,
          S("DATE: Tue, 24 Nov 2026 14:43:00 +0100\r\nFrom: =?utf-8?Q?J=C3=96RG?= <Joerg@Example.net>\r\n"
            "To: \"Bob\r\n B\" <BOB@x>,\r\n\tlist: c@d;\r\nTo: second@x\r\nCc: Group: ;\r\n"
            "Subject: Re: [list] The =?iso-8859-1?Q?Gr=FC=DFe?= (fwd)\r\nMessage-ID: <\"A\"@b>\r\n"
            "References: <1@x>\r\n <2@x>\r\nIn-Reply-To: <3@x>\r\nx-priority : 1\r\nContent-Type: text/html\r\n"));
    assert_false(t.headers_cut);
    assert_true(t.has_date);
    assert_int_equal(t.date_s, 1795527780);
    equal(t.subject, S("re: [list] the gr\xc3\xbcsse (fwd)"));
    equal(str_first(str_from(t.subject, t.base_off), t.base_len), S("the gr\xc3\xbcsse"));
    assert_true(t.reply);
    equal(t.from, S("j\xc3\xb6rg <joerg@example.net>"));
    equal(t.to, S("\"bob b\" <bob@x>, list: c@d; second@x"));
    equal(t.cc, S("group: ;"));
    equal(t.bcc, S(""));
    equal(t.from_key, S("joerg"));
    equal(t.to_key, S("bob"));
    equal(t.cc_key, S("group"));
    equal(t.message_id, S("A@b"));
    equal(t.references, S("1@x\n2@x\n"));
    assert_true(str_starts(buf_str(&hold), S("before")));
}

static void test_nothing(void **state)
{
    static const str contents[] = { S(""), S("\r\nSubject: x\r\n"),
                                    S("junk\r\nDate: nonsense\r\nReferences: x\r\n\r\n") };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        struct card_text t = make(contents[i]);
        assert_false(t.headers_cut || t.has_date || t.reply);
        assert_int_equal(t.base_off + t.base_len, 0);
        assert_int_equal(t.subject.n + t.from.n + t.to.n + t.cc.n + t.bcc.n + t.from_key.n + t.to_key.n + t.cc_key.n,
                         0);
        assert_int_equal(t.message_id.n + t.references.n, 0);
    }
}

static void test_threads(void **state)
{
    (void)state;
    equal(make(S("References: none\r\nIn-Reply-To: Yours of Monday <1@x> <2@x>\r\n\r\n")).references, S("1@x\n"));
    equal(make(S("In-Reply-To: <1@x>\r\n\r\n")).references, S("1@x\n"));
    equal(make(S("Message-ID: abc@def\r\nSubject: Fwd: x\r\n\r\n")).message_id, S(""));
    struct card_text t = make(S("Message-ID: junk <a@b>\r\nMessage-ID: <c@d>\r\nSubject: fresh\r\n\r\n"));
    equal(t.message_id, S("a@b"));
    assert_false(t.reply);
    /* of very many references the first and the last ones */
    _cleanup_buf_ struct buf b = BUF(1 << 16);
    buf_add(&b, S("References:"));
    for (int i = 0; i < 2000; i++)
        buf_addf(&b, " <%04d@x>\r\n", i);
    t = make(buf_str(&b));
    assert_true(t.references.n > 6000 && t.references.n <= 6144);
    assert_true(str_starts(t.references, S("0000@x\n1")) && str_ends(t.references, S("\n1998@x\n1999@x\n")));
    assert_int_equal(t.references.n % 7, 0);
}

static void test_kept(void **state)
{
    (void)state;
    assert_true(card_header_kept(S("Subject")) && card_header_kept(S("from")) && card_header_kept(S("LIST-POST")));
    assert_false(card_header_kept(S("Received")) || card_header_kept(S("")) || card_header_kept(S("subjec")));
}

static void test_cut_lines(void **state)
{
    _cleanup_buf_ struct buf b = BUF(1 << 20);
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        buf_clear(&b);
        buf_addf(&b, "X-Label: %*d\r\nTo: a@b\r\n\r\n", CARD_HEADER_LINE_MAX - 11 + extra, 1);
        struct card_text t = make(buf_str(&b));
        assert_int_equal(t.headers_cut, extra);
        assert_int_equal(t.headers.n, extra ? 9 : CARD_HEADER_LINE_MAX + 9);
    }
    buf_clear(&b);
    for (int i = 0; i < 900; i++)
        buf_addf(&b, "X-Label: %020d\r\n", i);
    struct card_text t = make(buf_str(&b));
    assert_true(t.headers_cut && t.headers.n <= CARD_HEADERS_MAX && t.headers.n > CARD_HEADERS_MAX - 31);
    /* more fields than the parser notes */
    buf_clear(&b);
    for (int i = 0; i < 1001; i++)
        buf_add(&b, S("X: y\r\n"));
    assert_true(make(buf_str(&b)).headers_cut);
    /* folded text that is longer than its room, cut between characters */
    buf_clear(&b);
    buf_add(&b, S("Subject: xyz"));
    for (int i = 0; i < 3000; i++)
        buf_add(&b, S("\xff"));
    t = make(buf_str(&b));
    assert_true(t.headers_cut && t.subject.n > 4000 && t.subject.n <= 4096);
    assert_true(str_ends(t.subject, S("\xc3\xbf")));
}

/* Messages made to be large: everything has its bounds, and what is left is valid. */
static void test_large(void **state)
{
    _cleanup_buf_ struct buf b = BUF(1 << 24);
    (void)state;
    buf_add(&b, S("Content-Type: multipart/mixed; boundary=b\r\nTo: x@y"));
    for (int i = 0; i < 5000; i++)
        buf_addf(&b, ",\r\n \"R %d\" <r%d@example.org>", i, i);
    buf_add(&b, S("\r\n\r\n"));
    for (int i = 0; i < 1200; i++)
        buf_addf(&b, "--b\r\nContent-Disposition: attachment; filename=%0100d\r\n\r\n", i);
    struct card_text t = make(buf_str(&b));
    assert_true(t.envelope.n < 1000 && str_find(t.envelope, S("(NIL NIL \"x\" \"y\")(\"R 0\" NIL \"r0\"")) > 0);
    assert_true(t.headers_cut && t.to.n <= 4096 && str_starts(t.to, S("x@y, \"r 0\" <r0@example.org>,")));
    /* too many parts even without their fields: one text */
    for (int i = 0; i < 3000; i++)
        buf_add(&b, S("--b\r\n\r\nx\r\n"));
    t = make(buf_str(&b));
    assert_true(str_starts(t.structure, S("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 2")));
    assert_true(t.structure.n < 120);
    _cleanup_buf_ struct buf tight = BUF(100);
    assert_int_equal(card_text_make(&tight, parser, &t), -ENOBUFS);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(str content)
{
    make(content);
}

static void test_linear(void **state)
{
    static const struct growth making = { seconds, run };
    static const struct {
        str head, unit;
        size_t n;
    } cases[] = {
        { S("Subject: "), S("=?utf-8?Q?a?= "), 3000 }, { S("Subject: "), S("re: "), 10000 },
        { S("Subject: "), S("[x]"), 10000 },           { S("References: "), S("<a@b>"), 10000 },
        { S("References: "), S("<\""), 10000 },        { S("To: "), S("a@b, "), 10000 },
        { S("Cc: "), S("a:;"), 10000 },                { S(""), S("To: a@b\r\n"), 5000 },
        { S("Date: "), S("(1 "), 10000 },              { S("Subject: "), S("\xc3"), 10000 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double ratio = growth(&making, cases[i].head, cases[i].unit, S(""), cases[i].n);
        if (ratio >= 3.0)
            print_message("case %zu: ratio %.2f\n", i, ratio);
        assert_true(ratio < 3.0);
    }
}

static int begin(void **state)
{
    (void)state;
    hold = BUF(CARD_TEXT_MAX + 6);
    parser = mime_new();
    return parser ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    buf_done(&hold);
    mime_free(parser);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),      cmocka_unit_test(test_nothing),   cmocka_unit_test(test_threads),
        cmocka_unit_test(test_kept),     cmocka_unit_test(test_cut_lines), cmocka_unit_test(test_large),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
