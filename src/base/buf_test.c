/* Bounded buffers: the ceiling is exact, the first failure sticks, nothing is half added. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/buf.h"

#define assert_buf(b, want) assert_true(str_eq(buf_str(b), S(want)))

static void grows_to_its_ceiling_exactly(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buf_addc(&b, (char)('a' + i % 26)), 0);
    assert_int_equal(buf_addc(&b, '!'), -ENOBUFS);
    assert_int_equal(b.n, 1000);
    assert_true(b.cap <= 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(b.p[i], 'a' + i % 26);
}

static void formatted_text_may_fill_it_too(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(5);
    assert_int_equal(buf_addf(&b, "%d", 12345), 0);
    assert_buf(&b, "12345");
    assert_int_equal(buf_addf(&b, "%s", ""), 0);
    assert_int_equal(buf_addf(&b, "%d", 6), -ENOBUFS);
    assert_buf(&b, "12345");
}

static void failure_sticks_until_cleared(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(4);
    assert_int_equal(buf_add(&b, S("abc")), 0);
    assert_int_equal(buf_add(&b, S("de")), -ENOBUFS);
    assert_int_equal(buf_addc(&b, 'd'), -ENOBUFS); /* would fit, but a hole must not go unseen */
    assert_null(buf_space(&b, 1));
    assert_int_equal(buf_addf(&b, "x"), -ENOBUFS);
    assert_buf(&b, "abc");
    buf_clear(&b);
    assert_int_equal(b.failed, 0);
    assert_int_equal(buf_add(&b, S("wxyz")), 0);
    assert_buf(&b, "wxyz");
}

static void a_peers_length_cannot_wrap(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(100);
    assert_int_equal(buf_add(&b, S("abc")), 0);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), -ENOBUFS);
    buf_clear(&b);
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 1), -ENOBUFS);
}

static void holds_nothing_with_ceiling_zero(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(0);
    assert_int_equal(buf_add(&b, STR_NONE), 0);
    assert_int_equal(buf_add(&b, S("a")), -ENOBUFS);
}

static void numbers(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(100);
    buf_addu(&b, 0);
    buf_addc(&b, ' ');
    buf_addu(&b, UINT64_MAX);
    assert_buf(&b, "0 18446744073709551615");
}

static void space_is_zeroed(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(100);
    buf_add(&b, S("xxxxxxxx"));
    buf_clear(&b);
    char *at = buf_space(&b, 4);
    assert_non_null(at);
    assert_memory_equal(at, "\0\0\0\0", 4);
    assert_int_equal(b.n, 4);
}

static void drops_from_the_front(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(100);
    buf_add(&b, S("abcdef"));
    buf_drop(&b, 2);
    assert_buf(&b, "cdef");
    buf_drop(&b, 0);
    assert_buf(&b, "cdef");
    buf_drop(&b, 99);
    assert_buf(&b, "");
    buf_add(&b, S("z"));
    assert_buf(&b, "z");
}

static void release_gives_memory_back(void **state)
{
    (void)state;
    struct buf b = BUF(10);
    buf_add(&b, S("abc"));
    buf_release(&b);
    assert_null(b.p);
    assert_int_equal(b.cap, 0);
    assert_int_equal(b.max, 10);
    assert_int_equal(buf_add(&b, S("0123456789")), 0);
    buf_done(&b);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_to_its_ceiling_exactly),
        cmocka_unit_test(formatted_text_may_fill_it_too),
        cmocka_unit_test(failure_sticks_until_cleared),
        cmocka_unit_test(a_peers_length_cannot_wrap),
        cmocka_unit_test(holds_nothing_with_ceiling_zero),
        cmocka_unit_test(numbers),
        cmocka_unit_test(space_is_zeroed),
        cmocka_unit_test(drops_from_the_front),
        cmocka_unit_test(release_gives_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
