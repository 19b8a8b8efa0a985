/* Records and frames: little-endian bytes as written down, and no read past a short one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/pack.h"

static void layout_is_fixed(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(100);
    pack_u8(&b, 0xfe);
    pack_u16(&b, 0x0102);
    pack_u32(&b, 0x03040506);
    pack_u64(&b, 0x0708090a0b0c0d0e);
    pack_str(&b, S("hi"));
    assert_true(str_eq(buf_str(&b), S("\xfe\x02\x01\x06\x05\x04\x03\x0e\x0d\x0c\x0b\x0a\x09\x08\x07\x02\0\0\0hi")));
}

static void reads_back_what_was_written(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(100);
    pack_u8(&b, 255);
    pack_u16(&b, 65535);
    pack_u32(&b, UINT32_MAX);
    pack_u64(&b, UINT64_MAX);
    pack_str(&b, S("a\0b"));
    pack_str(&b, STR_NONE);
    struct unpack u = UNPACK(buf_str(&b));
    assert_int_equal(unpack_u8(&u), 255);
    assert_int_equal(unpack_u16(&u), 65535);
    assert_true(unpack_u32(&u) == UINT32_MAX);
    assert_true(unpack_u64(&u) == UINT64_MAX);
    assert_true(str_eq(unpack_str(&u), S("a\0b")));
    assert_false(unpack_end(&u));
    assert_int_equal(unpack_str(&u).n, 0);
    assert_true(unpack_end(&u));
}

static void short_read_sticks(void **state)
{
    (void)state;
    struct unpack u = UNPACK(S("\x01\x02\x03"));
    assert_int_equal(unpack_u32(&u), 0);
    assert_true(u.bad);
    assert_int_equal(unpack_u8(&u), 0); /* one byte is there, but the frame is already damaged */
    assert_int_equal(unpack_str(&u).n, 0);
    assert_false(unpack_end(&u));
}

static void length_beyond_the_frame_is_bad(void **state)
{
    (void)state;
    struct unpack u = UNPACK(S("\xff\xff\xff\xffhello"));
    assert_null(unpack_str(&u).p);
    assert_true(u.bad);
    struct unpack exact = UNPACK(S("\x05\0\0\0hello"));
    assert_true(str_eq(unpack_str(&exact), S("hello")));
    assert_true(unpack_end(&exact));
    struct unpack over = UNPACK(S("\x06\0\0\0hello"));
    unpack_str(&over);
    assert_true(over.bad);
    struct unpack none = UNPACK(STR_NONE);
    assert_true(unpack_end(&none));
    assert_int_equal(unpack_str(&none).n, 0);
    assert_false(unpack_end(&none));
}

static void text_that_no_length_can_tell_is_refused(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(SIZE_MAX);
    pack_str(&b, str_of("", (size_t)UINT32_MAX + 1));
    assert_int_equal(b.failed, -ENOBUFS);
    assert_int_equal(b.n, 0);
}

static void numbers_in_place(void **state)
{
    (void)state;
    char p[9];
    put_u32(p + 1, 0x01020304);
    assert_memory_equal(p + 1, "\4\3\2\1", 4);
    assert_int_equal(get_u32(p + 1), 0x01020304);
    put_u64(p + 1, 0x0102030405060708);
    assert_memory_equal(p + 1, "\x8\7\6\5\4\3\2\1", 8);
    assert_true(get_u64(p + 1) == 0x0102030405060708);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_fixed),
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(short_read_sticks),
        cmocka_unit_test(length_beyond_the_frame_is_bad),
        cmocka_unit_test(text_that_no_length_can_tell_is_refused),
        cmocka_unit_test(numbers_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
