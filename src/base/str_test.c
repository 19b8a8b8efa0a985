/* Slices: comparisons, searches, splitting, numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/str.h"
#include <stdlib.h>

#define assert_str(got, want) assert_true(str_eq((got), S(want)))

static void compares(void **state)
{
    (void)state;
    assert_true(str_eq(STR_NONE, S("")));
    assert_true(str_ieq(S("From"), S("fROM")));
    assert_false(str_ieq(S("From"), S("Fro")));
    assert_false(str_ieq(S("[\\]"), S("{|}"))); /* 32 apart, but no letters */
    assert_false(str_ieq(S("\xc4"), S("\xe4")));
    assert_true(str_cmp(S("ab"), S("abc")) < 0);
    assert_true(str_cmp(S("b"), S("abc")) > 0);
    assert_int_equal(str_cmp(STR_NONE, S("")), 0);
    assert_true(str_cmp(S("\xff"), S("a")) > 0);
}

static void starts_and_ends(void **state)
{
    (void)state;
    assert_true(str_starts(S("abc"), S("ab")));
    assert_false(str_starts(S("ab"), S("abc")));
    assert_true(str_starts(STR_NONE, STR_NONE));
    assert_true(str_istarts(S("MAIL FROM:<>"), S("mail from:")));
    assert_true(str_ends(S("abc"), S("bc")));
    assert_false(str_ends(S("bc"), S("abc")));
    assert_true(str_iends(S("x.EXAMPLE"), S(".example")));
    assert_true(str_iends(STR_NONE, STR_NONE));
    assert_false(str_iends(S("a"), S("ba")));
}

static void slices_clamp(void **state)
{
    (void)state;
    assert_str(str_from(S("abc"), 1), "bc");
    assert_str(str_from(S("abc"), 3), "");
    assert_str(str_from(S("abc"), SIZE_MAX), "");
    assert_str(str_first(S("abc"), 2), "ab");
    assert_str(str_first(S("abc"), 9), "abc");
}

static void searches(void **state)
{
    (void)state;
    assert_int_equal(str_chr(S("a@b@c"), '@'), 1);
    assert_int_equal(str_rchr(S("a@b@c"), '@'), 3);
    assert_int_equal(str_chr(S("abc"), '@'), -1);
    assert_int_equal(str_rchr(STR_NONE, '@'), -1);
    assert_int_equal(str_chr(S("a\0b"), 'b'), 2);
    assert_int_equal(str_find(S("a\r\n\r\nb"), S("\r\n\r\n")), 1);
    assert_int_equal(str_find(S("abc"), S("abcd")), -1);
    assert_int_equal(str_find(S("abc"), STR_NONE), 0);
    assert_int_equal(str_find(STR_NONE, S("a")), -1);
}

static void trims(void **state)
{
    (void)state;
    assert_str(str_trim(S(" \t\r\na b\r\n ")), "a b");
    assert_str(str_trim(S(" \r\n")), "");
    assert_str(str_trim(STR_NONE), "");
}

static void cuts(void **state)
{
    (void)state;
    str s = S("a,,b");
    assert_str(str_cut(&s, ','), "a");
    assert_str(s, ",b");
    assert_str(str_cut(&s, ','), "");
    assert_str(str_cut(&s, ','), "b");
    assert_int_equal(s.n, 0);
    assert_str(str_cut(&s, ','), "");
}

static void words(void **state)
{
    (void)state;
    str s = S("  one\ttwo \r\n");
    assert_str(str_word(&s), "one");
    assert_str(str_word(&s), "two");
    assert_int_equal(str_word(&s).n, 0);
    assert_int_equal(str_word(&s).n, 0);
    s = STR_NONE;
    assert_int_equal(str_word(&s).n, 0);
}

static void numbers(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_int_equal(str_u64(S("0"), 10, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(str_u64(S("18446744073709551615"), UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    v = 7;
    assert_int_equal(str_u64(S("18446744073709551616"), UINT64_MAX, &v), -ERANGE);
    assert_int_equal(str_u64(S("11"), 10, &v), -ERANGE);
    assert_int_equal(str_u64(S("99999999999999999999999x"), 10, &v), -EINVAL);
    assert_int_equal(str_u64(S(""), 10, &v), -EINVAL);
    assert_int_equal(str_u64(S("+1"), 10, &v), -EINVAL);
    assert_int_equal(str_u64(S(" 1"), 10, &v), -EINVAL);
    assert_int_equal(v, 7);
}

static void tells_ascii(void **state)
{
    (void)state;
    assert_true(str_ascii(STR_NONE) && str_ascii(S("a\0\x7f")));
    assert_false(str_ascii(S("a\x80")) || str_ascii(S("\xff")));
}

static void copies_to_z(void **state)
{
    (void)state;
    char *z = str_dupz(S("abc"));
    assert_string_equal(z, "abc");
    free(z);
    z = str_dupz(STR_NONE);
    assert_string_equal(z, "");
    free(z);
    assert_null(str_dupz(S("a\0b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares), cmocka_unit_test(starts_and_ends), cmocka_unit_test(slices_clamp),
        cmocka_unit_test(searches), cmocka_unit_test(trims), cmocka_unit_test(cuts),
        cmocka_unit_test(words), cmocka_unit_test(numbers), cmocka_unit_test(copies_to_z),
        cmocka_unit_test(tells_ascii),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
