/* CRC-32C (RFC 3720 B.4), SipHash-2-4 (vectors of its reference implementation), constant-time comparison. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/hash.h"

static void crc_vectors(void **state)
{
    (void)state;
    uint8_t data[32] = { 0 };
    assert_int_equal(crc32c(0, S("123456789")), 0xe3069283);
    assert_int_equal(crc32c(0, str_of(data, 32)), 0x8a9136aa);
    memset(data, 0xff, 32);
    assert_int_equal(crc32c(0, str_of(data, 32)), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, str_of(data, 32)), 0x46dd794e);
    assert_int_equal(crc32c(0, STR_NONE), 0);
}

static void crc_continues_and_agrees_with_the_table(void **state)
{
    (void)state;
    char data[100];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 151 + 7);
    uint32_t whole = crc32c(0, str_of(data, 100));
    for (size_t cut = 0; cut <= 100; cut++) {
        uint32_t head = crc32c(0, str_of(data, cut));
        assert_int_equal(crc32c(head, str_of(data + cut, 100 - cut)), whole);
        assert_int_equal(crc32c_portable(0, str_of(data, cut)), head);
    }
}

static void crc_of_long_texts_agrees_with_the_table(void **state)
{
    (void)state;
    static char data[20000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * i * 31 + i / 7);
    for (size_t n = 400; n < sizeof(data); n += n < 1100 ? 1 : n > 8100 && n < 8260 ? 1 : 97)
        assert_int_equal(crc32c(77, str_of(data + n % 8, n - 8)), crc32c_portable(77, str_of(data + n % 8, n - 8)));
}

static void siphash_vectors(void **state)
{
    (void)state;
    static const uint64_t want[] = {
        0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
        0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
        0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
        0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
    };
    uint8_t key[16], in[16];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = in[i] = i;
    for (size_t n = 0; n < 16; n++)
        assert_true(siphash24(key, str_of(in, n)) == want[n]);
    assert_true(siphash24(key, STR_NONE) == want[0]);
}

static void constant_time_comparison(void **state)
{
    (void)state;
    assert_true(const_time_eq(S("secret"), S("secret")));
    assert_true(const_time_eq(STR_NONE, S("")));
    assert_false(const_time_eq(S("secret"), S("secreT")));
    assert_false(const_time_eq(S("Secret"), S("secret")));
    assert_false(const_time_eq(S("secret"), S("secre")));
    assert_false(const_time_eq(S("a\0b"), S("a\0c")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_vectors),
        cmocka_unit_test(crc_continues_and_agrees_with_the_table),
        cmocka_unit_test(crc_of_long_texts_agrees_with_the_table),
        cmocka_unit_test(siphash_vectors),
        cmocka_unit_test(constant_time_comparison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
