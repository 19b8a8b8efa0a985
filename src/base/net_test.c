/* Addresses and networks in text: what is read, what is refused, what lies in what. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/cleanup.h"
#include "base/net.h"

static void test_addresses(void **state)
{
    static const char *const same[] = { "192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1" };
    static const char *const wrong[] = { "",    "192.0.2", "192.0.2.01", "192.0.2.256",  "192.0.2.1 ",       "1",
                                         "::g", "[::1]",   ":::",        "fe80::1%eth0", "1:2:3:4:5:6:7:8:9" };
    uint8_t addr[16] = { 7 };
    char text[NET_ADDR_TEXT];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        assert_int_equal(net_addr_parse(str_z(same[i]), addr), 0);
        assert_true(str_eq(net_addr_print(addr, text), str_z(same[i])));
        assert_int_equal(net_addr_v4(addr), i < 3);
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_true(net_addr_parse(str_z(wrong[i]), addr) < 0);
    assert_true(net_addr_parse(str_of("1.2.3.4\0", 8), addr) < 0);
}

static void test_networks(void **state)
{
    (void)state;
    static const struct { const char *text; int bits; } rows[] = {
        { "10.0.0.0/8", 104 },
        { "127.0.0.1", 128 },
        { "0.0.0.0/0", 96 },
        { "192.0.2.128/25", 121 },
        { "::1", 128 },
        { "[2001:db8::]/32", 32 },
        { "[::1]", 128 },
        { "2001:db8::/29", 29 },
        { "::ffff:10.0.0.0/104", 104 },
        { "::/0", 0 },
        { "10.0.0.1/8", -1 },
        { "10.0.0.0/33", -1 },
        { "10.0.0.0/", -1 },
        { "10.0.0/8", -1 },
        { "010.0.0.0/8", -1 },
        { "256.0.0.0/8", -1 },
        { "10.0.0.0.0/8", -1 },
        { "", -1 },
        { "/8", -1 },
        { "[10.0.0.0]/8", -1 },
        { "[::1", -1 },
        { "2001:db8::1/32", -1 },
        { "::1/129", -1 },
        { "1:2:3:4:5:6:7", -1 },
        { "1:2:3:4:5:6:7:8:9", -1 },
        { "1::2::3", -1 },
        { "fe80::1%eth0", -1 },
        { "10.0.0.0/+8", -1 },
        { "10.0.0.0/008", 104 },
        { ":::", -1 },
        { "1:2:3:4:5:6:7::8", -1 },
        { "12345::", -1 },
        { "host.example", -1 },
        { "1.2.3.4:5::", -1 },
        { "::1.2.3", -1 },
        { "1:", -1 },
        { "::1:", -1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct net net;
        int r = net_parse(str_z(rows[i].text), &net);
        if ((rows[i].bits < 0 ? r != -EINVAL : r != 0 || net.bits != rows[i].bits))
            fail_msg("%s: %d", rows[i].text, r);
    }
}

static void test_hold(void **state)
{
    struct net nets[2];
    struct nets all = { nets, 2 };
    uint8_t addr[16];
    (void)state;
    assert_int_equal(net_parse(S("10.0.0.0/9"), &nets[0]), 0);
    assert_int_equal(net_parse(S("::/0"), &nets[1]), 0);
    net_addr_parse(S("10.127.255.255"), addr);
    assert_true(nets_hold(&all, addr));
    net_addr_parse(S("10.128.0.0"), addr);
    assert_false(nets_hold(&all, addr)); /* ::/0 says nothing of IPv4 */
    net_addr_parse(S("fe80::1"), addr);
    assert_true(nets_hold(&all, addr));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_addresses), cmocka_unit_test(test_networks),
                                        cmocka_unit_test(test_hold) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
