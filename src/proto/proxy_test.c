/* The PROXY protocol: what is taken, what is refused, and that every prefix of a good header waits for more. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/buf.h"
#include "proto/proxy.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define INET4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\x13\x88\x00\x19" /* 192.0.2.1, 198.51.100.2, ports 5000 and 25 */

static struct proxy_header header;
static const char *why;

static enum proxy_found parse(str in, size_t *out_used)
{
    why = NULL;
    header = (struct proxy_header){ 0 };
    return proxy_parse(in, &header, out_used, &why);
}

/* A good header: with bytes behind it, and byte by byte. */
static void good(str in, bool known, const char *client, uint16_t port)
{
    char bytes[1024];
    size_t used = 0;
    memcpy(bytes, in.p, in.n);
    memcpy(bytes + in.n, "EHLO x\r\n", 8);
    for (size_t i = 0; i < in.n; i++)
        assert_int_equal(parse(str_of(bytes, i), &used), PROXY_MORE);
    for (size_t more = 0; more <= 8; more++) {
        assert_int_equal(parse(str_of(bytes, in.n + more), &used), PROXY_DONE);
        assert_int_equal(used, in.n);
        assert_int_equal(header.known, known);
        if (known)
            assert_string_equal(header.client.address, client);
        assert_int_equal(header.client.port, port);
    }
}

static void wrong(str in)
{
    size_t used = 77;
    struct proxy_header before = { .known = true };
    why = NULL;
    header = before;
    assert_int_equal(proxy_parse(in, &header, &used, &why), PROXY_BAD);
    assert_non_null(why);
    assert_int_equal(used, 77);
    assert_memory_equal(&header, &before, sizeof(before));
}

static void test_version_1(void **state)
{
    (void)state;
    good(S("PROXY TCP4 192.0.2.1 198.51.100.2 5000 25\r\n"), true, "192.0.2.1", 5000);
    assert_string_equal(header.server.address, "198.51.100.2");
    assert_int_equal(header.server.port, 25);
    good(S("PROXY TCP6 2001:DB8:0::1 ::1 0 65535\r\n"), true, "2001:db8::1", 0);
    good(S("PROXY UNKNOWN\r\n"), false, "", 0);
    good(S("PROXY UNKNOWN ffff::1 whatever 1 2 3\r\n"), false, "", 0);
    good(S("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "65535 65535\r\n"), true, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535);
}

static void test_wrong_version_1(void **state)
{
    (void)state;
    wrong(S("EHLO x\r\n"));
    wrong(S("PROXX"));
    wrong(S("proxy TCP4 192.0.2.1 198.51.100.2 5000 25\r\n"));
    wrong(S("PROXY\r\n"));
    wrong(S("PROXY \r\n"));
    wrong(S("PROXY TCP4\r\n"));
    wrong(S("PROXY TCP5 192.0.2.1 198.51.100.2 5000 25\r\n"));
    wrong(S("PROXY TCP4 192.0.2.1 198.51.100.2 5000 25\n"));
    wrong(S("PROXY TCP4 192.0.2.1 198.51.100.2 5000 25 \r\n"));
    wrong(S("PROXY TCP4  192.0.2.1 198.51.100.2 5000 25\r\n"));
    wrong(S("PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n"));
    wrong(S("PROXY TCP4 192.0.2.1 198.51.100.2 5000 65536\r\n"));
    wrong(S("PROXY TCP4 192.0.2.1 198.51.100.2 05000 25\r\n"));
    wrong(S("PROXY TCP4 192.0.2.1 198.51.100.2 -1 25\r\n"));
    wrong(S("PROXY TCP4 192.0.2.01 198.51.100.2 5000 25\r\n"));
    wrong(S("PROXY TCP4 192.0.2 198.51.100.2 5000 25\r\n"));
    wrong(S("PROXY TCP4 ::1 ::1 5000 25\r\n"));
    wrong(S("PROXY TCP6 192.0.2.1 198.51.100.2 5000 25\r\n"));
    wrong(S("PROXY TCP4 192.0.2.1\0 198.51.100.2 5000 25\r\n"));
}

static void test_version_1_has_a_longest_line(void **state)
{
    (void)state;
    char line[200];
    size_t used;
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(parse(str_of(line, 106), &used), PROXY_MORE);
    wrong(str_of(line, 107));
    memcpy(line + 105, "\r\n", 2);
    assert_int_equal(parse(str_of(line, 107), &used), PROXY_DONE);
    memset(line + 105, 'x', 2);
    memcpy(line + 106, "\r\n", 2);
    wrong(str_of(line, 108));
}

static void test_version_2(void **state)
{
    (void)state;
    good(S(SIGNATURE "\x21\x11\x00\x0c" INET4), true, "192.0.2.1", 5000);
    assert_string_equal(header.server.address, "198.51.100.2");
    assert_int_equal(header.server.port, 25);
    good(S(SIGNATURE "\x21\x21\x00\x24"
           "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13\x88\x00\x19"),
         true, "2001:db8::1", 5000);
    good(S(SIGNATURE "\x20\x00\x00\x00"), false, "", 0);
    good(S(SIGNATURE "\x20\x11\x00\x03" "abc"), false, "", 0);
    good(S(SIGNATURE "\x21\x00\x00\x00"), false, "", 0);
    good(S(SIGNATURE "\x21\x00\x00\x05" "abcde"), false, "", 0);
}

static void test_version_2_unix_socket(void **state)
{
    (void)state;
    char bytes[16 + 216] = SIGNATURE "\x21\x31\x00\xd8/run/a";
    good(str_of(bytes, sizeof(bytes)), false, "", 0);
    bytes[15] = (char)0xd7;
    wrong(str_of(bytes, sizeof(bytes) - 1));
}

static void test_version_2_skips_vectors(void **state)
{
    (void)state;
    good(S(SIGNATURE "\x21\x11\x00\x17" INET4 "\x04\x00\x02zz\x05\x00\x03" "abc"), true, "192.0.2.1", 5000);
    wrong(S(SIGNATURE "\x21\x11\x00\x17" INET4 "\x04\x00\x02zz\x05\x00\x04" "abc"));
    wrong(S(SIGNATURE "\x21\x11\x00\x0e" INET4 "\x04\x00"));
    wrong(S(SIGNATURE "\x21\x11\x00\x0f" INET4 "\x04\xff\xff"));
}

static void test_wrong_version_2(void **state)
{
    (void)state;
    wrong(S("\r\n\r\n\0\r\nQUIX"));
    wrong(S("\r\nEHLO"));
    wrong(S(SIGNATURE "\x11"));
    wrong(S(SIGNATURE "\x31"));
    wrong(S(SIGNATURE "\x22"));
    wrong(S(SIGNATURE "\x2f"));
    wrong(S(SIGNATURE "\x21\x11\x00\x0b\xc0\x00\x02\x01\xc6\x33\x64\x02\x13\x88\x00"));
    wrong(S(SIGNATURE "\x21\x41\x00\x0c" INET4));
    wrong(S(SIGNATURE "\x21\x13\x00\x0c" INET4));
    wrong(S(SIGNATURE "\x21\x12\x00\x0c" INET4));
    wrong(S(SIGNATURE "\x21\x10\x00\x0c" INET4));
    wrong(S(SIGNATURE "\x21\x01\x00\x0c" INET4));
}

static void test_version_2_has_a_longest_header(void **state)
{
    (void)state;
    static char bytes[600];
    memcpy(bytes, SIGNATURE "\x21\x11\x02\x08" INET4, 28);
    bytes[28] = 4;
    bytes[29] = 0x01;
    bytes[30] = (char)(520 - 12 - 3 - 256);
    good(str_of(bytes, 536), true, "192.0.2.1", 5000);
    bytes[15]++;
    wrong(str_of(bytes, 16)); /* known before a byte of it is there */
    memcpy(bytes + 14, "\xff\xff", 2);
    wrong(str_of(bytes, 16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1), cmocka_unit_test(test_wrong_version_1),
        cmocka_unit_test(test_version_1_has_a_longest_line), cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_version_2_unix_socket), cmocka_unit_test(test_version_2_skips_vectors),
        cmocka_unit_test(test_wrong_version_2), cmocka_unit_test(test_version_2_has_a_longest_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
