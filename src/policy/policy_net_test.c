/* Clients and networks: zones, and the network that limits count. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "policy/policy.h"

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
        struct net net;
        assert_int_equal(net_parse(str_z(rows[i].net), &net), 0);
        struct nets nets = { &net, 1 };
        if (policy_nets_match(&nets, str_z(rows[i].addr)) != rows[i].hit)
            fail_msg("%s in %s", rows[i].addr, rows[i].net);
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
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_client_net),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
