/* base64, hex and trace ids: the vectors of RFC 4648 section 10, strictness, round trips. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/codec.h"

#define assert_buf(b, want) assert_true(str_eq(buf_str(b), S(want)))

static void base64_vectors(void **state)
{
    (void)state;
    static const struct {
        str plain, coded;
    } rows[] = {
        { S(""), S("") },
        { S("f"), S("Zg==") },
        { S("fo"), S("Zm8=") },
        { S("foo"), S("Zm9v") },
        { S("foob"), S("Zm9vYg==") },
        { S("fooba"), S("Zm9vYmE=") },
        { S("foobar"), S("Zm9vYmFy") },
        { S("\0user\0pass"), S("AHVzZXIAcGFzcw==") },
        { S("\xff\xef\xbe\xfb"), S("/++++w==") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_buf_ struct buf b = BUF(100);
        assert_int_equal(base64_encode(&b, rows[i].plain), 0);
        assert_true(str_eq(buf_str(&b), rows[i].coded));
        buf_clear(&b);
        assert_int_equal(base64_decode(&b, rows[i].coded), 0);
        assert_true(str_eq(buf_str(&b), rows[i].plain));
    }
}

static void base64_is_strict(void **state)
{
    (void)state;
    static const str bad[] = {
        S("Z"), S("Zg"), S("Zg="), S("Zg==="), S("===="), S("Z==="), S("Zg=a"), S("=Zg="), S("Zg==Zg=="), S("Zm9v\r\n"),
        S("Zm 9"), S(" Zm9"), S("Zm9-"), S("Zm9_"), S("Zh=="), S("Zm9="), S("Zm9\0"), S("Zm9\xff"), S("Zm9v===="),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_buf_ struct buf b = BUF(100);
        buf_add(&b, S("before"));
        assert_int_equal(base64_decode(&b, bad[i]), -EBADMSG);
        assert_buf(&b, "before");
        assert_int_equal(b.failed, 0);
    }
}

static void ceilings_are_exact(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(4);
    assert_int_equal(base64_decode(&b, S("Zm9vYg==")), 0);
    assert_buf(&b, "foob");
    buf_clear(&b);
    assert_int_equal(base64_decode(&b, S("Zm9vYmE=")), -ENOBUFS);
    buf_clear(&b);
    assert_int_equal(base64_encode(&b, S("foo")), 0);
    assert_int_equal(base64_encode(&b, S("f")), -ENOBUFS);
    buf_clear(&b);
    assert_int_equal(hex_encode(&b, S("foo")), -ENOBUFS);
    buf_clear(&b);
    assert_int_equal(hex_decode(&b, S("0001020304")), -ENOBUFS);
    buf_clear(&b);
    assert_int_equal(base64_encode(&b, str_of("", SIZE_MAX)), -ENOBUFS);
}

static void hex(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(100);
    assert_int_equal(hex_encode(&b, S("\x00\x9f\xff")), 0);
    assert_buf(&b, "009fff");
    buf_clear(&b);
    assert_int_equal(hex_decode(&b, S("009fFF")), 0);
    assert_buf(&b, "\x00\x9f\xff");
    assert_int_equal(hex_decode(&b, S("0")), -EBADMSG);
    assert_int_equal(hex_decode(&b, S("000g")), -EBADMSG);
    assert_int_equal(hex_decode(&b, S("0x")), -EBADMSG);
    assert_buf(&b, "\x00\x9f\xff");
    assert_int_equal(hex_value('@'), -1);
    assert_int_equal(hex_value('G'), -1);
    assert_int_equal(hex_value('F'), 15);
}

static void trace_ids(void **state)
{
    (void)state;
    uint8_t id[16] = { 0 }, back[16];
    char text[B32_ID_LEN];
    id[15] = 1;
    b32_id_encode(id, text);
    assert_memory_equal(text, "00000000000000000000000001", 26);
    memset(id, 0xff, 16);
    b32_id_encode(id, text);
    assert_memory_equal(text, "7zzzzzzzzzzzzzzzzzzzzzzzzz", 26);
    for (int i = 0; i < 16; i++)
        id[i] = (uint8_t)(i * 37 + 5);
    b32_id_encode(id, text);
    assert_int_equal(b32_id_decode(str_of(text, 26), back), 0);
    assert_memory_equal(back, id, 16);
}

static void trace_ids_read_what_people_type(void **state)
{
    (void)state;
    uint8_t a[16], b[16];
    assert_int_equal(b32_id_decode(S("01ARZ3NDEKTSV4RRFFQ69G5FAV"), a), 0);
    assert_int_equal(b32_id_decode(S("oiarz3ndektsv4rrffq69g5fav"), b), 0);
    assert_memory_equal(a, b, 16);
    assert_int_equal(b32_id_decode(S("0larz3ndektsv4rrffq69g5fav"), b), 0);
    assert_memory_equal(a, b, 16);
    assert_int_equal(b32_id_decode(S("81arz3ndektsv4rrffq69g5fav"), b), -EBADMSG); /* more than 128 bits */
    assert_int_equal(b32_id_decode(S("01arz3ndektsv4rrffq69g5fa"), b), -EBADMSG);
    assert_int_equal(b32_id_decode(S("01arz3ndektsv4rrffq69g5favv"), b), -EBADMSG);
    assert_int_equal(b32_id_decode(S("01arz3ndektsv4rrffq69g5fau"), b), -EBADMSG);
    assert_int_equal(b32_id_decode(S("!1arz3ndektsv4rrffq69g5fav"), b), -EBADMSG);
    assert_int_equal(b32_id_decode(S("01arz3ndektsv4rrffq69g5fa\0"), b), -EBADMSG);
    assert_memory_equal(a, b, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_vectors), cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(ceilings_are_exact), cmocka_unit_test(hex),
        cmocka_unit_test(trace_ids), cmocka_unit_test(trace_ids_read_what_people_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
