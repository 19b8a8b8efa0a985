/* Arenas: alignment, zeroed memory, an exact ceiling, reuse. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/arena.h"

static void memory_is_aligned_zeroed_and_distinct(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    char *seen[200];
    for (size_t i = 0; i < 200; i++) {
        size_t n = i * 7 % 300 + 1;
        arena_dup(&a, S("x")); /* puts the next one off its alignment */
        seen[i] = arena_alloc(&a, n);
        assert_non_null(seen[i]);
        assert_int_equal((uintptr_t)seen[i] % 16, 0);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(seen[i][k], 0);
        memset(seen[i], (int)(i % 255 + 1), n);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < i * 7 % 300 + 1; k++)
            assert_int_equal((uint8_t)seen[i][k], i % 255 + 1);
}

static void ceiling_is_exact(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(100);
    assert_non_null(arena_alloc(&a, 100));
    assert_null(arena_alloc(&a, 1));
    assert_null(arena_dup(&a, S("")).p);
    arena_clear(&a);
    assert_null(arena_alloc(&a, 101));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_non_null(arena_alloc(&a, 100));
}

static void small_wishes_cannot_outgrow_the_ceiling(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(16000);
    size_t got = 0;
    while (arena_alloc(&a, 1))
        got++;
    assert_in_range(got, 900, 1100); /* each holds 16 bytes in truth */
}

static void arrays_do_not_overflow(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1000);
    size_t n = SIZE_MAX / 8 + 2; /* times 8 is 8 */
    assert_null(ARENA_ARRAY(&a, uint64_t, n));
    assert_non_null(ARENA_ARRAY(&a, uint64_t, 10));
    assert_non_null(ARENA_NEW(&a, struct arena));
}

static void copies_text(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1000);
    char from[] = "MiXed\xc4";
    str copy = arena_dup(&a, str_of(from, 6));
    str lower = arena_lower(&a, str_of(from, 6));
    from[0] = '?';
    assert_true(str_eq(copy, S("MiXed\xc4")));
    assert_true(str_eq(lower, S("mixed\xc4")));
    assert_int_equal(copy.p[copy.n], '\0');
    str empty = arena_dup(&a, STR_NONE);
    assert_non_null(empty.p);
    assert_int_equal(empty.n, 0);
    assert_true(str_eq(arena_printf(&a, "%s-%d", "n", 42), S("n-42")));
    assert_null(arena_printf(&a, "%2000d", 1).p);
}

static void clear_keeps_little(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    void *first = arena_alloc(&a, 8);
    for (int i = 0; i < 100; i++)
        assert_non_null(arena_alloc(&a, 1000));
    arena_clear(&a);
    assert_int_equal(a.used, 0);
    assert_ptr_equal(arena_alloc(&a, 8), first);
    arena_done(&a);
    assert_non_null(arena_alloc(&a, 100000));
    arena_clear(&a);
    assert_null(a.head); /* a large block is not held on to */
    arena_clear(&a);
    arena_done(&a);
    assert_int_equal(a.max, 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_zeroed_and_distinct),
        cmocka_unit_test(ceiling_is_exact),
        cmocka_unit_test(small_wishes_cannot_outgrow_the_ceiling),
        cmocka_unit_test(arrays_do_not_overflow),
        cmocka_unit_test(copies_text),
        cmocka_unit_test(clear_keeps_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
