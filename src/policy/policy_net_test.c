/* Addresses and networks in text. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include "policy/policy.h"

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
        struct policy_net net;
        int r = policy_net_parse(str_z(rows[i].text), &net);
        if ((rows[i].bits < 0 ? r != -EINVAL : r != 0 || net.bits != rows[i].bits))
            fail_msg("%s: %d", rows[i].text, r);
    }
}

static void test_match(void **state)
{
    (void)state;
    static const struct { const char *net, *addr; bool hit; } rows[] = {
        { "10.0.0.0/8", "10.255.0.1", true },
        { "10.0.0.0/8", "11.0.0.1", false },
        { "192.0.2.128/25", "192.0.2.127", false },
        { "192.0.2.128/25", "192.0.2.129", true },
        { "10.0.0.0/8", "::ffff:10.1.1.1", true },
        { "::/0", "10.0.0.1", false },
        { "::/0", "2001:db8::1", true },
        { "2001:db8::/33", "2001:db8:7fff::1", true },
        { "2001:db8::/33", "2001:db8:8000::1", false },
        { "0.0.0.0/0", "::1", false },
        { "::1", "::1", true },
        { "10.0.0.0/8", "unknown", false },
        { "10.0.0.0/8", "", false },
        { "fe80::/10", "fe80::1%eth0", true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct policy_net net;
        assert_int_equal(policy_net_parse(str_z(rows[i].net), &net), 0);
        struct policy_nets nets = { &net, 1 };
        if (policy_nets_match(&nets, str_z(rows[i].addr)) != rows[i].hit)
            fail_msg("%s in %s", rows[i].addr, rows[i].net);
    }
}

/* The C library reads the same addresses, apart from what is stricter here on purpose (none). */
static void test_against_libc(void **state)
{
    (void)state;
    static const char *const parts[] = { "",  "0", "1",       "ffff", "12345", ":", "::",
                                         ":", ".", "1.2.3.4", "255",  "256",   "g", ":" };
    uint32_t seed = 1;
    for (int i = 0; i < 200000; i++) {
        char text[128];
        size_t n = 0;
        for (int k = 0; k < 12; k++) {
            seed = seed * 1664525 + 1013904223;
            const char *part = parts[(seed >> 16) % ARRAY_LEN(parts)];
            memcpy(text + n, part, strlen(part));
            n += strlen(part);
            if (seed >> 28 < 3)
                break;
        }
        text[n] = '\0';
        uint8_t libc[16] = { [10] = 0xff, [11] = 0xff }, ours[16];
        bool good = (n <= 64) && (str_chr(str_of(text, n), ':') < 0 ? inet_pton(AF_INET, text, libc + 12) == 1
                                                                  : inet_pton(AF_INET6, text, libc) == 1);
        if ((policy_addr_parse(str_of(text, n), ours) == 0) != good || (good && memcmp(libc, ours, 16)))
            fail_msg("differs: %s", text);
    }
}

static void test_client_net(void **state)
{
    (void)state;
    static const struct { const char *addr, *net; } rows[] = {
        { "192.0.2.1", "192.0.2.1" },
        { "::ffff:192.0.2.1", "192.0.2.1" },
        { "2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64" },
        { "2001:db8::1", "2001:db8::/64" },
        { "::1", "::/64" },
        { "fe80::1%eth0", "fe80::/64" },
        { "unknown", NULL },
        { "", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[POLICY_NET_TEXT];
        str net;
        int r = policy_client_net(str_z(rows[i].addr), text, &net);
        assert_int_equal(r, rows[i].net ? 0 : -EINVAL);
        if (rows[i].net)
            assert_true(str_eq(net, str_z(rows[i].net)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_against_libc),
        cmocka_unit_test(test_client_net),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
