/* Tests of header.c: fields as slices. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "message/growth_test.h"
#include "message/header.h"

static void check_next(str *h, str raw, str name, str value)
{
    struct header_field f;
    assert_true(header_next(h, &f));
    assert_true(str_eq(f.raw, raw));
    assert_true(str_eq(f.name, name));
    assert_true(str_eq(f.value, value));
}

static void test_fields(void **state)
{
    struct header_field f;
    str h = S("From: a@b\r\nSubject : x\r\n\ty\r\n z\r\nX:\r\nEmpty: \r\n\r\nBody: no\r\n");
    (void)state;
    check_next(&h, S("From: a@b\r\n"), S("From"), S(" a@b"));
    check_next(&h, S("Subject : x\r\n\ty\r\n z\r\n"), S("Subject"), S(" x\r\n\ty\r\n z"));
    check_next(&h, S("X:\r\n"), S("X"), S(""));
    check_next(&h, S("Empty: \r\n"), S("Empty"), S(" "));
    assert_false(header_next(&h, &f));
    assert_true(str_starts(h, S("\r\nBody")));
}

static void test_what_is_no_field(void **state)
{
    struct header_field f;
    str h = S(" lost\r\nFrom me\r\n more\r\nA\xc3\xa4: b\r\n: c\r\nA b: c\r\nA\0: c\r\nOk: d");
    (void)state;
    check_next(&h, S(" lost\r\n"), S(""), S(""));
    check_next(&h, S("From me\r\n more\r\n"), S(""), S(""));
    check_next(&h, S("A\xc3\xa4: b\r\n"), S(""), S(""));
    check_next(&h, S(": c\r\n"), S(""), S(""));
    check_next(&h, S("A b: c\r\n"), S(""), S(""));
    check_next(&h, S("A\0: c\r\n"), S(""), S(""));
    check_next(&h, S("Ok: d"), S("Ok"), S(" d"));
    assert_false(header_next(&h, &f));
}

static void test_bare_line_ends(void **state)
{
    struct header_field f;
    str h = S("A: b\n c\nD: e\rF: g\n\nH: i\n"), last = S("A:");
    (void)state;
    check_next(&h, S("A: b\n c\n"), S("A"), S(" b\n c"));
    check_next(&h, S("D: e\rF: g\n"), S("D"), S(" e\rF: g"));
    assert_false(header_next(&h, &f));
    check_next(&last, S("A:"), S("A"), S(""));
    str none = STR_NONE;
    assert_false(header_next(&none, &f));
}

static void test_find(void **state)
{
    struct header_field f;
    str h = S("A: 1\r\nb: 2\r\nB: 3\r\n\r\nC: 4\r\n");
    (void)state;
    assert_true(header_find(h, S("B"), &f));
    assert_true(str_eq(f.value, S(" 2")));
    assert_false(header_find(h, S("C"), &f));
    assert_false(header_find(h, S(""), &f));
}

static void check_unfold(str in, str want)
{
    _cleanup_arena_ struct arena a = ARENA(4096);
    assert_true(str_eq(header_unfold(&a, in), want));
}

static void test_unfold(void **state)
{
    (void)state;
    check_unfold(S(" a\r\n b\r\n\tc "), S("a b\tc"));
    check_unfold(S("a\n b"), S("a b"));
    check_unfold(S("a\r\nb\nc\rd"), S("a b c d"));
    check_unfold(S("\r\n "), S(""));
    check_unfold(STR_NONE, S(""));
    check_unfold(S("a\r"), S("a"));
    check_unfold(S("a\0b"), S("a\0b"));
}

static void run(str s)
{
    struct header_field f;
    _cleanup_arena_ struct arena a = ARENA((size_t)1 << 28);
    while (header_next(&s, &f))
        if (f.value.n > 1000)
            header_unfold(&a, f.value);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const struct growth parsing = { seconds, run };

static void test_linear(void **state)
{
    (void)state;
    assert_true(growth(&parsing, S(""), S("A: b\r\n"), S(""), 100000) < 3.0);
    assert_true(growth(&parsing, S("A:"), S("\r\n b"), S(""), 100000) < 3.0);
    assert_true(growth(&parsing, S(""), S("no field\n"), S(""), 100000) < 3.0);
    assert_true(growth(&parsing, S(""), S("a"), S(""), 1000000) < 3.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_what_is_no_field),
        cmocka_unit_test(test_bare_line_ends),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_unfold),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
