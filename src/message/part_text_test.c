/* Transfer encodings: what they stand for, broken input, cuts anywhere, round trips with the encoders. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "message/part_text.h"
#include "message/quoted_printable.h"

#define T(f) cmocka_unit_test(f)

static int decode(enum part_encoding encoding, str in, size_t step, struct buf *out)
{
    struct part_decoder d = { 0 };
    part_decode_begin(&d, encoding);
    for (; in.n > 0; in = str_from(in, step))
        part_decode_feed(&d, out, str_first(in, step));
    return part_decode_end(&d, out);
}

static void is(enum part_encoding encoding, str in, str want)
{
    for (size_t step = 1; step <= in.n + 1; step++) {
        struct buf out = BUF(1 << 20);
        assert_int_equal(decode(encoding, in, step, &out), 0);
        if (!str_eq(buf_str(&out), want))
            print_error("%.*s by %zu is: %.*s\n", STR_ARG(in), step, STR_ARG(buf_str(&out)));
        assert_true(str_eq(buf_str(&out), want));
        buf_done(&out);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(part_encoding_of(S("")), PART_IDENTITY);
    assert_int_equal(part_encoding_of(S("7bit")), PART_IDENTITY);
    assert_int_equal(part_encoding_of(S("8bit")), PART_IDENTITY);
    assert_int_equal(part_encoding_of(S("binary")), PART_IDENTITY);
    assert_int_equal(part_encoding_of(S("base64")), PART_BASE64);
    assert_int_equal(part_encoding_of(S("quoted-printable")), PART_QUOTED_PRINTABLE);
    assert_int_equal(part_encoding_of(S("x-uuencode")), PART_UNKNOWN);
    assert_int_equal(part_encoding_of(S("base6")), PART_UNKNOWN);
}

static void test_identity(void **state)
{
    (void)state;
    is(PART_IDENTITY, S("a=20\r\nQUJD \xff"), S("a=20\r\nQUJD \xff"));
    is(PART_UNKNOWN, S("a=20"), S("a=20"));
}

static void test_base64(void **state)
{
    (void)state;
    is(PART_BASE64, S(""), S(""));
    is(PART_BASE64, S("QQ=="), S("A"));
    is(PART_BASE64, S("QUI="), S("AB"));
    is(PART_BASE64, S("QUJD"), S("ABC"));
    is(PART_BASE64, S("QUJDREVG\r\nR0hJSktM\r\n"), S("ABCDEFGHIJKL"));
    is(PART_BASE64, S("AAEC/f7/+/8="), str_of("\0\1\2\xfd\xfe\xff\xfb\xff", 8));
    is(PART_BASE64, S("QUJ"), S("AB"));
    is(PART_BASE64, S("Q"), S(""));
    is(PART_BASE64, S("Q*U!J\xff" "D-"), S("ABC"));
    is(PART_BASE64, S("QQ==QkM=RA=="), S("ABCD"));
    is(PART_BASE64, S("=QUJD===QQ"), S("ABCA"));
}

static void test_quoted_printable(void **state)
{
    (void)state;
    is(PART_QUOTED_PRINTABLE, S(""), S(""));
    is(PART_QUOTED_PRINTABLE, S("Gr=C3=BC=c3=9fe"), S("Grüße"));
    is(PART_QUOTED_PRINTABLE, S("one=\r\n two=\n three\r\n"), S("one two three\r\n"));
    is(PART_QUOTED_PRINTABLE, S("one= \t\r\ntwo"), S("onetwo"));
    is(PART_QUOTED_PRINTABLE, S("a \t\r\nb  \nc=20\r\nd=20 \r\ne "), S("a\r\nb\nc \r\nd \r\ne"));
    is(PART_QUOTED_PRINTABLE, S("a b  c"), S("a b  c"));
    is(PART_QUOTED_PRINTABLE, S("a \rb\r\r\n"), S("a \rb\r\r\n"));
    is(PART_QUOTED_PRINTABLE, S("a=4"), S("a=4"));
    is(PART_QUOTED_PRINTABLE, S("a=4x=ZZ==41"), S("a=4x=ZZ=A"));
    is(PART_QUOTED_PRINTABLE, S("a="), S("a"));
    is(PART_QUOTED_PRINTABLE, S("a=  "), S("a"));
    is(PART_QUOTED_PRINTABLE, S("a=  b"), S("a=  b"));
    is(PART_QUOTED_PRINTABLE, S("a=\rb"), S("a=\rb"));
    is(PART_QUOTED_PRINTABLE, S("a  =\r\n\r\nb"), S("a  \r\nb"));
    is(PART_QUOTED_PRINTABLE, str_of("a\0=00\n", 6), str_of("a\0\0\n", 4));
}

/* More blanks than a line may have: the last 76 of them go, in whatever pieces they come. */
static void test_many_blanks(void **state)
{
    (void)state;
    for (size_t n = 70; n < 84; n++) {
        struct buf in = BUF(1024), want = BUF(1024);
        buf_addc(&in, 'x');
        for (size_t i = 0; i < n; i++)
            buf_addc(&in, i % 3 ? ' ' : '\t');
        buf_add(&want, str_first(buf_str(&in), 1 + (n > 76 ? n - 76 : 0)));
        buf_add(&in, S("\r\n"));
        buf_add(&want, S("\r\n"));
        is(PART_QUOTED_PRINTABLE, buf_str(&in), buf_str(&want));
        buf_done(&in);
        buf_done(&want);
    }
}

/* What the encoders make of any bytes comes back. */
static void test_round_trips(void **state)
{
    (void)state;
    static const char some[] = "aB =\r\n\t\xc3\xa4_.~\0";
    for (size_t n = 0; n < 20000; n = n * 3 / 2 + 1) {
        struct buf plain = BUF(1 << 16), b64 = BUF(1 << 20), qp = BUF(1 << 20);
        uint32_t seed = (uint32_t)n;
        for (size_t i = 0; i < n; i++)
            buf_addc(&plain, some[((seed = seed * 1664525 + 1013904223) >> 16) % (sizeof(some) - 1)]);
        struct base64_encoder e = { 0 };
        struct qp_encoder q = { 0 };
        base64_lines_encode(&e, buf_str(&plain), &b64);
        base64_lines_end(&e, &b64);
        qp_encode(&q, buf_str(&plain), &qp);
        qp_end(&q, &qp);
        for (size_t step = 1; step < 10000; step = step * 5 + 2) {
            struct buf out = BUF(n); /* exactly what it needs */
            assert_int_equal(decode(PART_BASE64, buf_str(&b64), step, &out), 0);
            assert_true(str_eq(buf_str(&out), buf_str(&plain)));
            buf_clear(&out);
            assert_int_equal(decode(PART_QUOTED_PRINTABLE, buf_str(&qp), step, &out), 0);
            assert_true(str_eq(buf_str(&out), buf_str(&plain)));
            buf_done(&out);
        }
        buf_done(&plain);
        buf_done(&b64);
        buf_done(&qp);
    }
}

static void test_ceiling(void **state)
{
    (void)state;
    static const enum part_encoding all[] = { PART_IDENTITY, PART_BASE64, PART_QUOTED_PRINTABLE };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct buf out = BUF(3);
        assert_int_equal(decode(all[i], S("QUJDREVGR0hJSktM"), 16, &out), -ENOBUFS);
        buf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_names),
        T(test_identity),
        T(test_base64),
        T(test_quoted_printable),
        T(test_many_blanks),
        T(test_round_trips),
        T(test_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
