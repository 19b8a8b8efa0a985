/* Transfer encodings as streams: the examples of RFC 2045, cuts anywhere, the length of lines. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/downgrade_play.h"
#include "message/quoted_printable.h"

#define T(f) cmocka_unit_test(f)

static void quoted(const char *in, const char *out)
{
    for (size_t step = 1; step < 8; ++step) {
        struct qp_encoder q = { 0 };
        struct buf b = BUF(4096);
        for (str rest = str_z(in); rest.n > 0; rest = str_from(rest, step))
            qp_encode(&q, str_first(rest, step), &b);
        qp_end(&q, &b);
        if (!str_eq(buf_str(&b), str_z(out)))
            print_error("is: %.*s\n", STR_ARG(buf_str(&b)));
        assert_true(str_eq(buf_str(&b), str_z(out)));
        buf_done(&b);
    }
}

static void test_quoted_printable(void **state)
{
    (void)state;
    quoted("", "");
    quoted("a=b\xff", "a=3Db=FF");
    quoted("a \r\nb\t\r\n", "a=20\r\nb=09\r\n");
    quoted("a b\tc", "a b\tc");
    quoted("end ", "end=20");
    quoted("a\rb\nc\r", "a=0Db=0Ac=0D");
    quoted("a \rb", "a=20=0Db");
    quoted("\r\r\n", "=0D\r\n");
    quoted("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=\r\naa\r\n");
}

static void test_no_line_is_too_long(void **state)
{
    (void)state;
    static const str pieces[] = { { "\xff", 1 }, { " ", 1 }, { "x", 1 }, { "=", 1 }, { "\t\xffy", 3 } };
    for (size_t i = 0; i < ARRAY_LEN(pieces); ++i) {
        struct qp_encoder q = { 0 };
        struct buf in = BUF(1 << 16), b = BUF(1 << 16), back = BUF(1 << 16);
        for (int k = 0; k < 1000; ++k)
            buf_add(&in, pieces[i]);
        qp_encode(&q, buf_str(&in), &b);
        qp_end(&q, &b);
        assert_true(downgrade_play_unquote(buf_str(&b), &back)); /* looks at the length too */
        assert_true(str_eq(buf_str(&back), buf_str(&in)));
        buf_done(&in);
        buf_done(&b);
        buf_done(&back);
    }
}

static void test_base64_lines(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; ++n) {
        struct base64_encoder e = { 0 };
        struct buf in = BUF(1024), b = BUF(1024), back = BUF(1024);
        for (size_t i = 0; i < n; ++i)
            buf_addc(&in, (char)(i * 37));
        for (str rest = buf_str(&in); rest.n > 0; rest = str_from(rest, 11))
            base64_lines_encode(&e, str_first(rest, 11), &b);
        base64_lines_end(&e, &b);
        assert_int_equal(b.n, (n + 2) / 3 * 4 + (n > 0 ? (n - 1) / 57 * 2 : 0));
        assert_true(n <= 57 || str_eq(str_first(str_from(buf_str(&b), 76), 2), S("\r\n")));
        assert_true(downgrade_play_unbase64(buf_str(&b), &back));
        assert_true(str_eq(buf_str(&back), buf_str(&in)));
        buf_done(&in);
        buf_done(&b);
        buf_done(&back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_quoted_printable),
        T(test_no_line_is_too_long),
        T(test_base64_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
