/* Tests of imap_structure.c; every structure is also stripped. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "message/growth_test.h"
#include "message/imap_check_test.h"
#include "message/imap_text.h"

static struct mime_parser *parser;

static void feed(str content)
{
    mime_reset(parser);
    mime_feed(parser, content);
    mime_end(parser);
}

static void equal(str got, str want)
{
    if (!str_eq(got, want))
        print_message("got  %.*s\nwant %.*s\n", STR_ARG(got), STR_ARG(want));
    assert_true(str_eq(got, want));
}

static void check(str content, str structure, str body)
{
    _cleanup_buf_ struct buf b = BUF(1 << 20), stripped = BUF(1 << 20);
    feed(content);
    assert_int_equal(imap_structure_text(&b, parser), 0);
    equal(buf_str(&b), structure);
    assert_true(imap_structure_valid(structure, true));
    assert_int_equal(imap_structure_strip(&stripped, structure), 0);
    equal(buf_str(&stripped), body);
    assert_true(imap_structure_valid(body, false));
}

static void test_single(void **state)
{
    (void)state;
    check(S(""), S("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"),
          S("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0)"));
    check(
        S("Content-Type: TEXT/Html; Charset=\"UTF-8\"; format=flowed\r\nContent-Transfer-Encoding: Quoted-Printable\r\n"
          "Content-ID: <i@d>\r\nContent-Description: some\r\n text\r\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\n"
          "Content-Disposition: INLINE; filename=\"a \\\"b\\\".html\"; size=5\r\nContent-Language: de (German), en\r\n"
          "Content-Location: http://example.org/\r\n\r\nx\r\ny"),
        S("(\"text\" \"html\" (\"Charset\" \"UTF-8\" \"format\" \"flowed\") \"<i@d>\" \"some text\" "
          "\"quoted-printable\" 4 2 "
          "\"Q2hlY2sgSW50ZWdyaXR5IQ==\" (\"INLINE\" (\"filename\" \"a \\\"b\\\".html\" \"size\" \"5\")) (\"de\" "
          "\"en\") "
          "\"http://example.org/\")"),
        S("(\"text\" \"html\" (\"Charset\" \"UTF-8\" \"format\" \"flowed\") \"<i@d>\" \"some text\" "
          "\"quoted-printable\" 4 2)"));
    check(S("Content-Type: image/png\r\nContent-Disposition: attachment\r\nContent-Language: fr\r\n\r\nxyz"),
          S("(\"image\" \"png\" NIL NIL NIL \"7bit\" 3 NIL (\"attachment\" NIL) \"fr\" NIL)"),
          S("(\"image\" \"png\" NIL NIL NIL \"7bit\" 3)"));
}

static void test_parameters(void **state)
{
    static const struct {
        str value, want;
    } cases[] = {
        { S("a/b; x=1; X=2; y=\"\""), S("(\"x\" \"1\" \"y\" \"\")") },
        { S("a/b; n*0=one; n*1=\" two\"; n*2=three"), S("(\"n\" \"one twothree\")") },
        { S("a/b; n*=utf-8'de'%c3%a4"), S("(\"n*\" \"utf-8'de'%c3%a4\")") },
        { S("a/b; n*0*=utf-8''%e2%82%ac; n*1=\" r%\""), S("(\"n*\" \"utf-8''%e2%82%ac%20r%25\")") },
        { S("a/b; n*0=\"p q\"; n*1*=%41"), S("(\"n*\" \"''p%20q%41\")") },
        { S("a/b; n=plain; n*=utf-8''x; n*0=y"), S("(\"n\" \"plain\" \"n*\" \"utf-8''x\")") },
        { S("a/b; n=\"\xc3\xa4\""), S("(\"n\" {2}\r\n\xc3\xa4)") },
        { S("a/b; \xc3\xa4=x"), S("({2}\r\n\xc3\xa4 \"x\")") },
        { S("a/b; n*1=x"), S("NIL") },
        { S("a/b; *=x; ; = ; junk"), S("(\"*\" \"x\")") },
        { S("a/b"), S("NIL") },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_buf_ struct buf content = BUF(4096), want = BUF(4096), body = BUF(4096);
        buf_addf(&content, "Content-Type: %.*s\r\n\r\n", STR_ARG(cases[i].value));
        buf_addf(&want, "(\"a\" \"b\" %.*s NIL NIL \"7bit\" 0 NIL NIL NIL NIL)", STR_ARG(cases[i].want));
        buf_addf(&body, "(\"a\" \"b\" %.*s NIL NIL \"7bit\" 0)", STR_ARG(cases[i].want));
        check(buf_str(&content), buf_str(&want), buf_str(&body));
    }
}

#define TEXT(size, lines) "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" " size " " lines
#define FULL " NIL NIL NIL NIL)"

static void test_multipart(void **state)
{
    (void)state;
    check(S("Content-Type: multipart/mixed; boundary=b\r\nContent-Language: en\r\n\r\n--b\r\n\r\none\r\n--b\r\n"
            "Content-Type: multipart/alternative; boundary=c\r\nContent-Disposition: "
            "inline\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n"
            "--b--\r\n"),
          S("(" TEXT("3", "1") FULL "(" TEXT("1", "1") FULL
            " \"alternative\" (\"boundary\" \"c\") (\"inline\" NIL) NIL NIL)"
            " \"mixed\" (\"boundary\" \"b\") NIL \"en\" NIL)"),
          S("(" TEXT("3", "1") ")(" TEXT("1", "1") ") \"alternative\") \"mixed\")"));
    /* without any part it is text (RFC 2045 5.2), and the parameters do not belong to it */
    check(S("Content-Type: multipart/mixed; boundary=b\r\n\r\nx"), S(TEXT("1", "1") FULL), S(TEXT("1", "1") ")"));
    /* of two fields the first counts; of a broken one nothing */
    check(S("Content-Type: a/b\r\nContent-Type: c/d; x=y\r\nContent-Disposition: ;\r\nContent-Language: ,\r\n\r\n"),
          S("(\"a\" \"b\" NIL NIL NIL \"7bit\" 0" FULL), S("(\"a\" \"b\" NIL NIL NIL \"7bit\" 0)"));
    check(S("Content-Type: broken; x=y\r\n\r\n"), S(TEXT("0", "0") FULL), S(TEXT("0", "0") ")"));
}

static void test_message(void **state)
{
    (void)state;
    check(S("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
            "Subject: in\r\n side\r\nFrom: a@b\r\nTo: c@d\r\nTo: e@f\r\nContent-Type: text/html; "
            "charset=utf-8\r\n\r\nx\r\n\r\n--b--"),
          S("((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 94 (NIL \"in side\" ((NIL NIL \"a\" \"b\")) "
            "((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"c\" \"d\")(NIL NIL \"e\" \"f\")) NIL NIL NIL "
            "NIL) "
            "(\"text\" \"html\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 3 1 NIL NIL NIL NIL) 8 NIL NIL NIL NIL)"
            " \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"),
          S("((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 94 (NIL \"in side\" ((NIL NIL \"a\" \"b\")) "
            "((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"c\" \"d\")(NIL NIL \"e\" \"f\")) NIL NIL NIL "
            "NIL) "
            "(\"text\" \"html\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 3 1) 8) \"mixed\")"));
    /* one in base64 is not opened, but has the form of one */
    check(S("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQTogMQ==\r\n"),
          S("(\"message\" \"rfc822\" NIL NIL NIL \"base64\" 10 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) " TEXT(
              "10", "1") FULL " 1" FULL),
          S("(\"message\" \"rfc822\" NIL NIL NIL \"base64\" 10 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) " TEXT(
              "10", "1") ") 1)"));
    check(S("Content-Type: message/delivery-status\r\n\r\nA: 1\r\n"),
          S("(\"message\" \"delivery-status\" NIL NIL NIL \"7bit\" 6" FULL),
          S("(\"message\" \"delivery-status\" NIL NIL NIL \"7bit\" 6)"));
}

static void test_plain(void **state)
{
    const struct mime_part *parts;
    _cleanup_buf_ struct buf b = BUF(1 << 16);
    (void)state;
    feed(S("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=UTF-8; "
           "x=y\r\n\r\nabc\r\n"
           "--b\r\nContent-Type: application/pdf; name=n.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nabcd\r\n"
           "--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=f.pdf\r\n\r\nabcd\r\n"
           "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ny\r\n--b--\r\n"));
    size_t n = mime_parts(parser, &parts);
    assert_int_equal(imap_structure_plain(&b, parts, n), 0);
    equal(buf_str(&b),
          S("((\"text\" \"html\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 3 1" FULL
            "(\"application\" \"pdf\" (\"name\" \"n.pdf\") NIL NIL \"base64\" 4" FULL
            "(\"application\" \"pdf\" NIL NIL NIL \"7bit\" 4 NIL (\"attachment\" (\"filename\" \"f.pdf\")) NIL NIL)"
            "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 15 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) " TEXT("1", "1")
                FULL " 3" FULL " \"mixed\" NIL NIL NIL NIL)"));
    buf_clear(&b);
    assert_int_equal(imap_structure_plain(&b, NULL, 0), 0);
    equal(buf_str(&b), S(TEXT("0", "0") FULL));
    /* a table that no parser makes */
    const struct mime_part odd[] = {
        { .type = S("multipart"), .subtype = S("x"), .end_off = (uint64_t)1 << 40 },
        { .type = S("text"), .subtype = S("y") },
    };
    buf_clear(&b);
    assert_int_equal(imap_structure_plain(&b, odd, 2), 0);
    equal(buf_str(&b), S("(\"application\" \"octet-stream\" NIL NIL NIL \"7bit\" 4294967295" FULL));
}

static void test_limits(void **state)
{
    _cleanup_buf_ struct buf b = BUF(1 << 24), out = BUF(1 << 24), body = BUF(1 << 24), few = BUF(1000);
    (void)state;
    for (int i = 0; i < 2 * MIME_DEPTH_MAX; i++)
        buf_addf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i);
    feed(buf_str(&b));
    assert_int_equal(imap_structure_text(&out, parser), 0);
    assert_true(imap_structure_valid(buf_str(&out), true));
    assert_int_equal(imap_structure_strip(&body, buf_str(&out)), 0);
    buf_clear(&b);
    buf_clear(&out);
    for (int i = 0; i < 2 * MIME_DEPTH_MAX; i++)
        buf_add(&b, S("Content-Type: message/rfc822\r\n\r\n"));
    feed(buf_str(&b));
    assert_int_equal(imap_structure_text(&out, parser), 0);
    assert_true(imap_structure_valid(buf_str(&out), true));
    assert_int_equal(imap_structure_strip(&body, buf_str(&out)), 0);
    /* more fields than are kept: the later parts are there all the same, without them */
    buf_clear(&b);
    buf_clear(&out);
    buf_add(&b, S("Content-Type: multipart/mixed; boundary=b\r\n\r\n"));
    for (int i = 0; i < 3000; i++)
        buf_addf(&b, "--b\r\nContent-Type: image/png; name=x\r\nContent-Location: %0100d\r\n\r\nx\r\n", i);
    feed(buf_str(&b));
    assert_int_equal(imap_structure_text(&out, parser), 0);
    struct imap_check c = { .in = buf_str(&out), .extended = true };
    check_body(&c, 0);
    assert_true(check_done(&c));
    assert_int_equal(c.leaves, 3000);
    assert_true(str_ends(buf_str(&out), S("(\"image\" \"png\" (\"name\" \"x\") NIL NIL \"7bit\" 3 NIL NIL NIL NIL)"
                                          " \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)")));
    assert_int_equal(imap_structure_text(&few, parser), -ENOBUFS);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(str content)
{
    _cleanup_buf_ struct buf b = BUF((size_t)1 << 28), body = BUF((size_t)1 << 28);
    feed(content);
    assert_int_equal(imap_structure_text(&b, parser), 0);
    assert_int_equal(imap_structure_strip(&body, buf_str(&b)), 0);
}

static void test_linear(void **state)
{
    static const struct growth making = { seconds, run };
    static const struct {
        str head, unit;
        size_t n;
    } cases[] = {
        { S("Content-Type: text/plain"), S("; a=b"), 5000 },
        { S("Content-Type: text/plain"), S("; n*0*=%41; n*1=b"), 5000 },
        { S("Content-Language: "), S("a,"), 10000 },
        { S("Content-Language: "), S("(,"), 10000 },
        { S("Content-Type: multipart/mixed; boundary=b\r\n\r\n"), S("--b\r\nContent-Type: a/b; c=d\r\n\r\n"), 1000 },
        { S("Content-Type: multipart/digest; boundary=b\r\n\r\n"), S("--b\r\n\r\nFrom: a@b\r\n\r\n"), 1000 },
        { S("Content-Type: message/rfc822\r\n\r\nTo: "), S("a,"), 10000 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double ratio = growth(&making, cases[i].head, cases[i].unit, S(""), cases[i].n);
        if (ratio >= 3.0)
            print_message("case %zu: ratio %.2f\n", i, ratio);
        assert_true(ratio < 3.0);
    }
}

static int make_parser(void **state)
{
    (void)state;
    parser = mime_new();
    return parser ? 0 : -1;
}

static int free_parser(void **state)
{
    (void)state;
    mime_free(parser);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_multipart),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, make_parser, free_parser);
}
