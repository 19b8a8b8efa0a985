/* Records and literals: what is read, what is refused, and that every special network is known by its first and last
 * address while their neighbours are not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/cleanup.h"
#include "route/route_net.h"

static void test_record_bytes(void **state)
{
    static const uint8_t disguised[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 };
    uint8_t addr[16], want[16];
    (void)state;
    assert_int_equal(route_address_from(S("\x05\x01\x01\x01"), addr), 0);
    net_addr_parse(S("5.1.1.1"), want);
    assert_memory_equal(addr, want, 16);
    assert_int_equal(route_address_from(S("\x20\1\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), addr), 0);
    assert_true(route_address_from(str_of(disguised, 16), addr) < 0); /* IPv4 in an AAAA record */
    assert_true(route_address_from(S("12345"), addr) < 0);
    assert_true(route_address_from(STR_NONE, addr) < 0);
}

static void test_literals(void **state)
{
    static const char *const right[] = { "[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::1]" };
    static const char *const wrong[] = { "192.0.2.1",        "[192.0.2.1", "[]", "[2001:db8::1]",
                                         "[IPv6:192.0.2.1]", "[IPv6:]",    "[x]" };
    uint8_t addr[16];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(right); i++)
        assert_int_equal(route_literal_parse(str_z(right[i]), addr), 0);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_true(route_literal_parse(str_z(wrong[i]), addr) < 0);
}

static void test_special(void **state)
{
    static const struct { const char *addr, *what; } rows[] = {
        { "0.0.0.0", "unspecified" },      { "0.0.0.1", "this network" },    { "0.255.255.255", "this network" },
        { "1.0.0.0", NULL },               { "9.255.255.255", NULL },        { "10.0.0.0", "private" },
        { "10.255.255.255", "private" },   { "11.0.0.0", NULL },             { "100.63.255.255", NULL },
        { "100.64.0.0", "shared" },        { "100.127.255.255", "shared" },  { "100.128.0.0", NULL },
        { "126.255.255.255", NULL },       { "127.0.0.1", "loopback" },      { "127.255.255.255", "loopback" },
        { "128.0.0.0", NULL },             { "169.253.255.255", NULL },      { "169.254.0.0", "link-local" },
        { "169.255.0.0", NULL },           { "172.15.255.255", NULL },       { "172.16.0.0", "private" },
        { "172.31.255.255", "private" },   { "172.32.0.0", NULL },           { "192.0.0.8", "protocol" },
        { "192.0.2.9", "documentation" },  { "192.0.3.0", NULL },            { "192.88.99.1", "6to4" },
        { "192.167.255.255", NULL },       { "192.168.0.0", "private" },     { "192.169.0.0", NULL },
        { "198.18.0.0", "benchmarks" },    { "198.19.255.255", "benchmarks" }, { "198.20.0.0", NULL },
        { "198.51.100.1", "documentation" }, { "203.0.113.1", "documentation" }, { "223.255.255.255", NULL },
        { "224.0.0.1", "multicast" },      { "239.255.255.255", "multicast" }, { "240.0.0.1", "reserved" },
        { "255.255.255.255", "broadcast" }, { "::", "unspecified" },         { "::1", "loopback" },
        { "::2", "disguise" },             { "::ffff:10.0.0.1", "private" }, { "::ffff:5.1.1.1", NULL },
        { "64:ff9b::5.1.1.1", NULL },      { "64:ff9b::10.0.0.1", "private" }, { "64:ff9b::127.0.0.1", "loopback" },
        { "64:ff9b:1::1", "translation" }, { "100::1", "discarded" },        { "2001::1", "protocol" },
        { "2001:200::1", NULL },           { "2001:db8::1", "documentation" }, { "2002:0501:0101::1", NULL },
        { "2002:0a00:0001::1", "private" }, { "2606:4700::1", NULL },        { "3fff::1", "documentation" },
        { "5f00::1", "segment" },          { "fbff::1", NULL },              { "fc00::1", "private" },
        { "fdff::1", "private" },          { "fe00::1", NULL },              { "fe80::1", "link-local" },
        { "febf::1", "link-local" },       { "fec0::1", "site-local" },      { "ff02::1", "multicast" },
    };
    uint8_t addr[16];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(net_addr_parse(str_z(rows[i].addr), addr), 0);
        const char *what = route_address_special(addr);
        if (!rows[i].what != !what || (what && str_find(str_z(what), str_z(rows[i].what)) < 0))
            fail_msg("%s: %s, expected %s", rows[i].addr, what ? what : "none", rows[i].what ? rows[i].what : "none");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_bytes), cmocka_unit_test(test_literals), cmocka_unit_test(test_special),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
