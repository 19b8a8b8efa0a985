/* Tests of mime_bounds.c: against the plain search through all open boundaries. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/mime_bounds.h"

static struct mime_bounds bounds;

static void check(str line, int want, bool want_last)
{
    bool last = !want_last;
    int got = mime_bounds_match(&bounds, line, &last);
    assert_int_equal(got, want);
    if (want >= 0)
        assert_int_equal(last, want_last);
}

static void test_lines(void **state)
{
    (void)state;
    mime_bounds_clear(&bounds);
    check(S("--"), -1, false);
    mime_bounds_push(&bounds, S("x"), 0);
    mime_bounds_push(&bounds, S("xy"), 1);
    check(S("--x"), 0, false);
    check(S("--x--"), 0, true);
    check(S("--x-- \t"), 0, true);
    check(S("--xy "), 1, false);
    check(S("--xyz"), -1, false);
    check(S("--X"), -1, false);
    check(S("--x --"), -1, false);
    check(S("--"), -1, false);
    check(S("----"), -1, false);
    mime_bounds_push(&bounds, S("x"), 2);
    check(S("--x"), 2, false);
    assert_int_equal(bounds.list[2].part, 2);
    mime_bounds_cut(&bounds, 2);
    check(S("--x"), 0, false);
    mime_bounds_cut(&bounds, 0);
    check(S("--x"), -1, false);
}

/* Short words over "-" and "b" collide in every way; the full stack holds them all. */
static void test_against_plain_search(void **state)
{
    str words[MIME_DEPTH_MAX + 1];
    char text[MIME_DEPTH_MAX + 1][8];
    uint32_t seed = 1;
    (void)state;
    for (int round = 0; round < 200; round++) {
        mime_bounds_clear(&bounds);
        size_t n = 1 + seed % (MIME_DEPTH_MAX + 1);
        for (size_t i = 0; i < n; i++) {
            words[i] = str_of(text[i], 1 + (seed >> 8) % 5);
            for (size_t k = 0; k < words[i].n; k++, seed = seed * 1664525u + 1013904223u)
                text[i][k] = (seed >> 16) & 1 ? '-' : 'b';
            mime_bounds_push(&bounds, words[i], (uint32_t)i);
        }
        for (size_t i = 0; i < n; i++) {
            char line[12] = "--";
            memcpy(line + 2, words[i].p, words[i].n);
            int want = -1;
            bool last = false;
            for (size_t k = n; k > 0 && want < 0; k--) {
                bool open = str_eq(words[k - 1], words[i]);
                bool close = words[i].n > 2 && str_ends(words[i], S("--")) &&
                             str_eq(words[k - 1], str_first(words[i], words[i].n - 2));
                want = open || close ? (int)k - 1 : -1;
                last = close;
            }
            check(str_of(line, 2 + words[i].n), want, last);
        }
    }
}

static void test_longest(void **state)
{
    char line[MIME_BOUNDARY_MAX + 4];
    (void)state;
    memset(line, '-', sizeof(line));
    mime_bounds_clear(&bounds);
    for (uint32_t i = 0; i <= MIME_DEPTH_MAX; i++)
        mime_bounds_push(&bounds, str_of(line, MIME_BOUNDARY_MAX), i);
    check(str_of(line, 2 + MIME_BOUNDARY_MAX), MIME_DEPTH_MAX, false);
    check(str_of(line, 4 + MIME_BOUNDARY_MAX), MIME_DEPTH_MAX, true);
    check(str_of(line, 1 + MIME_BOUNDARY_MAX), -1, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_against_plain_search),
        cmocka_unit_test(test_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
