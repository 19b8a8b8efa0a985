/* The scanner of DATA and BDAT: what it hands out, where it ends, how it cuts, and that its cost grows with the input
 * alone. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "base/buf.h"
#include "proto/smtp_content.h"

struct result {
    struct buf content;
    size_t pieces, bare, used;
    bool done;
};

/* Feeds `in` in pieces of `step` bytes, until the end of data. */
static struct result scan(str in, size_t step, bool stuffed, bool normalize)
{
    struct smtp_content c = smtp_content_begin(stuffed, normalize);
    struct result r = { .content = BUF(1u << 26) };
    while (!r.done && r.used < in.n) {
        str part = str_first(str_from(in, r.used), step);
        size_t taken = 0;
        while (taken < part.n && !r.done) {
            size_t used = 0;
            str piece;
            enum smtp_content_found found = smtp_content_next(&c, str_from(part, taken), &used, &piece);
            taken += used;
            r.done = found == SMTP_CONTENT_DONE;
            r.bare += found == SMTP_CONTENT_BARE;
            if (found == SMTP_CONTENT_PIECE) {
                assert_true(piece.n > 0);
                ++r.pieces;
                buf_add(&r.content, piece);
            }
            if (found == SMTP_CONTENT_MORE)
                assert_int_equal(taken, part.n);
        }
        r.used += taken;
    }
    return r;
}

struct want {
    const char *content;
    bool done;
    size_t bare, unused; /* bare newlines reported; bytes behind the end */
};

static void check(str in, bool stuffed, bool normalize, struct want want)
{
    for (size_t step = 1; step <= in.n; ++step) {
        struct result r = scan(in, step, stuffed, normalize);
        if (!str_eq(buf_str(&r.content), str_z(want.content)))
            fail_msg("step %zu: got '%.*s', want '%s'", step, STR_ARG(buf_str(&r.content)), want.content);
        assert_int_equal(r.done, want.done);
        assert_int_equal(r.bare, want.bare);
        assert_int_equal(in.n - r.used, want.unused);
        buf_done(&r.content);
    }
}

static void test_stuffing(void **state)
{
    (void)state;
    check(S("a\r\n.\r\nNOOP"), true, false, (struct want){ "a\r\n", true, 0, 4 });
    check(S(".\r\n"), true, false, (struct want){ "", true, 0, 0 });
    check(S("..\r\n.\r\n"), true, false, (struct want){ ".\r\n", true, 0, 0 });
    check(S("..a\r\n...\r\n.b\r\n.\r\n"), true, false, (struct want){ ".a\r\n..\r\nb\r\n", true, 0, 0 });
    check(S("a.\r\n.b.\r\nc\r\n"), true, false, (struct want){ "a.\r\nb.\r\nc\r\n", false, 0, 0 });
    check(S("\r\n\r\n.\r\n"), true, false, (struct want){ "\r\n\r\n", true, 0, 0 });
}

static void test_bdat_is_not_stuffed(void **state)
{
    (void)state;
    check(S(".\r\n..\r\n.\r\n"), false, false, (struct want){ ".\r\n..\r\n.\r\n", false, 0, 0 });
}

static void test_bare_newlines_are_reported(void **state)
{
    (void)state;
    check(S("a\nb\r\n.\r\n"), true, false, (struct want){ "ab\r\n", true, 1, 0 });
    check(S("a\rb\r\n.\r\n"), true, false, (struct want){ "ab\r\n", true, 1, 0 });
    check(S("a\r\r\n.\r\n"), true, false, (struct want){ "a\r\n", true, 1, 0 });
    check(S("\n\n\r\r\r\n.\r\n"), true, false, (struct want){ "\r\n", true, 4, 0 });
    check(S("a\n.\r\nb\r\n.\r\n"), true, false, (struct want){ "a.\r\nb\r\n", true, 1, 0 });
}

static void test_bare_newlines_are_normalized(void **state)
{
    (void)state;
    check(S("a\nb\rc\r\n.\r\n"), true, true, (struct want){ "a\r\nb\r\nc\r\n", true, 0, 0 });
    check(S("a\n.\r\nb\r\n.\r\n"), true, true, (struct want){ "a\r\n.\r\nb\r\n", true, 0, 0 });
    check(S("a\r\n.\rb\r\n.\r\n"), true, true, (struct want){ "a\r\n\r\nb\r\n", true, 0, 0 });
    check(S("a\r.\r\n.\r\n"), true, true, (struct want){ "a\r\n.\r\n", true, 0, 0 });
}

static void test_only_crlf_dot_crlf_ends(void **state)
{
    (void)state;
    static const str variants[] = {
        S("\n.\n"),      S("\n.\r\n"),    S("\r\n.\n"),     S("\r.\r"),       S("\r.\r\n"),
        S("\r\n.\r"),    S("\n.\r"),      S("\r\n.\r\r\n"), S("\r\n\0.\r\n"), S("\r\n.\0\r\n"),
        S("\r\n .\r\n"), S("\r\n. \r\n"), S("\r\n..\r\n"),
    };
    for (size_t v = 0; v < ARRAY_LEN(variants) * 2; ++v) {
        _cleanup_buf_ struct buf in = BUF(100);
        buf_add(&in, S("a"));
        buf_add(&in, variants[v / 2]);
        buf_add(&in, S("b\r\n"));
        for (size_t step = 1; step <= in.n; ++step) {
            struct result r = scan(buf_str(&in), step, true, v & 1);
            assert_false(r.done);
            buf_done(&r.content);
        }
    }
}

static void test_last_chunk_ends_in_cr(void **state)
{
    (void)state;
    str piece;
    size_t used;
    struct smtp_content c = smtp_content_begin(false, false);
    assert_int_equal(smtp_content_next(&c, S("a\r"), &used, &piece), SMTP_CONTENT_PIECE);
    assert_int_equal(smtp_content_finish(&c, &piece), SMTP_CONTENT_BARE);
    assert_int_equal(smtp_content_finish(&c, &piece), SMTP_CONTENT_MORE);
    c = smtp_content_begin(false, true);
    assert_int_equal(smtp_content_next(&c, S("a\r"), &used, &piece), SMTP_CONTENT_PIECE);
    assert_int_equal(smtp_content_finish(&c, &piece), SMTP_CONTENT_PIECE);
    assert_true(str_eq(piece, S("\r\n")));
    assert_int_equal(smtp_content_finish(&c, &piece), SMTP_CONTENT_MORE);
}

static void test_pieces_are_as_large_as_can_be(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf in = BUF(10000);
    for (int i = 0; i < 40; ++i)
        buf_addf(&in, "line %d of a message of some length, as mail has it\r\n", i);
    buf_add(&in, S(".\r\n"));
    struct result r = scan(buf_str(&in), in.n, true, false);
    assert_int_equal(r.pieces, 1);
    assert_true(r.done);
    buf_done(&r.content);
    buf_clear(&in);
    buf_add(&in, S("a\r\n..b\r\nc\r\nd\r\n..e\r\n.\r\n"));
    r = scan(buf_str(&in), in.n, true, false);
    assert_int_equal(r.pieces, 3);
    buf_done(&r.content);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cost(str unit, size_t n)
{
    _cleanup_buf_ struct buf in = BUF(1u << 25);
    while (in.n < n)
        buf_add(&in, unit);
    double best = 1e9;
    for (int i = 0; i < 3; ++i) {
        double t = seconds();
        struct result r = scan(buf_str(&in), in.n, true, true);
        t = seconds() - t;
        best = t < best ? t : best;
        buf_done(&r.content);
    }
    return best;
}

static void test_cost_is_linear(void **state)
{
    (void)state;
    static const str units[] = { S("\n"), S("\r"), S("\n\r"), S("."), S("\r\n."), S("a\n") };
    for (size_t i = 0; i < ARRAY_LEN(units); ++i) {
        double small = cost(units[i], 1u << 18), large = cost(units[i], 1u << 21);
        if (large > small * 8 * 3 + 0.02)
            fail_msg("unit %zu: %f s for 256 KiB, %f s for 2 MiB", i, small, large);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stuffing),
        cmocka_unit_test(test_bdat_is_not_stuffed),
        cmocka_unit_test(test_bare_newlines_are_reported),
        cmocka_unit_test(test_bare_newlines_are_normalized),
        cmocka_unit_test(test_only_crlf_dot_crlf_ends),
        cmocka_unit_test(test_last_chunk_ends_in_cr),
        cmocka_unit_test(test_pieces_are_as_large_as_can_be),
        cmocka_unit_test(test_cost_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
