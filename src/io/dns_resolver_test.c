/* Whom to ask and what to trust, before a question is asked. Questions: dns_role_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "io/dns_resolver.h"

static void resolv_conf(void **state)
{
    (void)state;
    struct dns_setup s = { 0 }, none = { 0 };
    dns_setup_resolv_conf(&s, S("# nameserver 192.0.2.9\nsearch example.org\n nameserver\t192.0.2.1  # first\r\n"
                                "nameserver 2001:db8::1\nnameserver fe80::1%eth0\nnameserver\nnameserver 192.0.2.2@54\n"
                                "nameservers 192.0.2.3\nnameserver 192.0.2.4"));
    assert_int_equal(s.n_servers, 3);
    assert_string_equal(s.server[0], "192.0.2.1@53");
    assert_string_equal(s.server[1], "2001:db8::1@53");
    assert_string_equal(s.server[2], "192.0.2.4@53");
    for (int i = 0; i < 20; i++)
        dns_setup_resolv_conf(&s, S("nameserver 192.0.2.5\n"));
    assert_int_equal(s.n_servers, DNS_SERVERS_MAX);
    dns_setup_resolv_conf(&none, STR_NONE);
    assert_int_equal(none.n_servers, 0);
}

static void same(void **state)
{
    (void)state;
    struct dns_setup a = { 0 }, b = { 0 };
    assert_true(dns_setup_same(&a, &b));
    dns_setup_add(&a, "192.0.2.1", 53);
    assert_false(dns_setup_same(&a, &b));
    dns_setup_add(&b, "192.0.2.1", 54);
    assert_false(dns_setup_same(&a, &b));
    b = a;
    assert_true(dns_setup_same(&a, &b));
    b.anchors = S("x");
    assert_false(dns_setup_same(&a, &b));
}

static void never(void *arg, const struct dns_answer *a)
{
    (void)arg;
    (void)a;
    fail_msg("an answer without a question");
}

#define DIGEST "1111111111111111111111111111111111111111111111111111111111111111"
static int with_anchors(struct loop *l, str text)
{
    struct dns_setup s = { .anchors = text };
    struct dns_resolver *r = NULL;
    const char *why = NULL;
    int e = dns_resolver_new(l, &s, never, &r, &why);
    assert_true(e < 0 ? !r && why : r != NULL);
    dns_resolver_free(r);
    return e;
}

static void anchors(void **state)
{
    (void)state;
    struct loop *l;
    assert_int_equal(loop_new(&env_system, &l), 0);
    assert_int_equal(with_anchors(l, STR_NONE), 0);
    assert_int_equal(with_anchors(l, S("; a comment\n# another\n\nexample.test. 36 IN DS 1 13 2 " DIGEST ";x\n")), 0);
    assert_int_equal(with_anchors(l, S("example.test. IN DS 1 13 2 " DIGEST "\n. IN DS 2 13 2 " DIGEST)), 0);
    assert_int_equal(with_anchors(l, S("example.test. IN DS 1 13 2 (\n " DIGEST " )\n")), 0);
    assert_int_equal(with_anchors(l, S("example.test. IN DS 1 13 2 (\n " DIGEST "\n")), -EINVAL);
    assert_int_equal(with_anchors(l, S("example.test. IN DS 1 13 2 zz\n")), -EINVAL);
    assert_int_equal(with_anchors(l, S("no record at all\n")), -EINVAL);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolv_conf),
        cmocka_unit_test(same),
        cmocka_unit_test(anchors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
