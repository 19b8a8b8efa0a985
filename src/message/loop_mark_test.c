/* Marks of loops: there and back, and what is not ours. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/loop_mark.h"

static const uint8_t key[16] = { 1, 2, 3 }, other[16] = { 9 };

static void test_mark(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1024);
    str address, value;
    assert_int_equal(loop_mark_write(&b, key, S("list@ours.example")), 0);
    assert_true(str_starts(buf_str(&b), S("Delivered-To: ")) && str_ends(buf_str(&b), S(")\r\n")));
    value = str_from(buf_str(&b), 13);
    assert_true(loop_mark_read(key, value, &address));
    assert_true(str_eq(address, S("list@ours.example")));
    assert_false(loop_mark_read(other, value, &address));
    assert_false(loop_mark_read(key, S("list@ours.example"), &address));
    assert_false(loop_mark_read(key, S("list@ours.example (posthouse 0123456789abcdef)"), &address));
    assert_false(loop_mark_read(key, S(" (posthouse 0123456789abcdef)"), &address));
    buf_clear(&b);
    assert_int_equal(loop_mark_write(&b, key, S("a\nb@x")), 0);
    assert_int_equal(b.n, 0);
}

/* Each byte of a mark counts. */
static void test_every_byte(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1024);
    str address;
    assert_int_equal(loop_mark_write(&b, key, S("list@ours.example")), 0);
    size_t n = b.n - S("\r\n").n;
    assert_true(loop_mark_read(key, str_of(b.p + 13, n - 13), &address));
    for (size_t i = 14; i < n; i++) { /* after the blank */
        b.p[i] ^= 1;
        if (loop_mark_read(key, str_of(b.p + 13, n - 13), &address))
            fail_msg("%.*s is taken for ours", (int)(n - 13), b.p + 13);
        b.p[i] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_mark), cmocka_unit_test(test_every_byte) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
