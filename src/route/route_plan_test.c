/* The planner, rule by rule of RFC 5321 5.1 and RFC 7505, over a little DNS. */
#include "route/route_test_world.h"

static struct route mx_route;
static const struct route_options plain = { .seed = 7 };

static const char *const world[] = {
    "example.org MX 20 mx2.example.org 10 mx1.example.org",
    "mx1.example.org A 5.1.1.1",
    "mx2.example.org A 5.1.1.2",
    "mx2.example.org AAAA 2a00::2",
    "null.example MX 0 .",
    "empty.example MX empty",
    "host.example A 5.1.1.3",
    "bare.example TXT empty",
    "cname.example MX nodata canonical=host.example",
    "cname.example A 5.1.1.3 canonical=host.example",
    "broken.example MX temporary",
    "bogus.example MX bogus",
    "dead.example MX 10 gone.example 20 bare.example",
    "half.example MX 10 gone.example 20 mx1.example.org",
    "slow.example MX 10 slow-host.example",
    "slow-host.example A temporary",
    "slow-host.example AAAA nodata",
    "mixed.example MX 10 gone.example 20 slow-host.example",
    "one-slow.example MX 10 one-slow-host.example",
    "one-slow-host.example A 5.1.1.9",
    "one-slow-host.example AAAA temporary",
    "odd.example MX 5 192.0.2.1 6 . 7 bad_-.example 10 mx1.example.org",
    "only-odd.example MX 5 5.1.1.1",
    "private.example MX 10 inside.example 20 mx1.example.org",
    "inside.example A 10.0.0.1 127.0.0.1",
    "inside.example AAAA ::1",
    "all-private.example MX 10 inside.example",
    "implicit-private.example A 192.168.0.1",
    "us.example MX 10 mx1.example.org 20 here.example 20 mx2.example.org 30 mx3.example",
    "mx3.example A 5.1.1.30",
    "here.example A 5.9.9.9",
    "all-us.example MX 10 here.example 20 mx1.example.org",
    "us-by-address.example MX 10 mx1.example.org 20 alias.example 20 mx2.example.org 30 mx3.example",
    "alias.example A 5.9.9.9",
    "us-by-cname.example MX 10 mx1.example.org 20 other-name.example",
    "other-name.example A 5.8.8.8 canonical=here.example",
    "us-implicit.example A 5.9.9.9",
    "loopback.example MX 10 loop.example 20 mx1.example.org",
    "loop.example A 127.0.0.1",
    "same.example MX 10 mx1.example.org 20 mx1.example.org 30 twin.example",
    "twin.example A 5.1.1.1 5.1.1.99",
    "signed.example MX 10 signed-host.example 20 mx1.example.org secure",
    "signed-host.example A 5.1.1.5 secure",
    "signed-host.example AAAA nodata",
    "relay.example A 10.1.1.1",
    "xn--bcher-kva.example MX 10 mx1.example.org",
    NULL,
};

static void route_is(const struct route *r, const struct route_options *o, const char *domain, const char *want)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    _cleanup_buf_ struct buf b = BUF(8192);
    struct route_facts f = { .arena = &a };
    struct route_plan p;
    world_plan(r, domain, &f, o, world, &p);
    world_print(&b, &p);
    if (!str_eq(buf_str(&b), str_z(want)))
        fail_msg("%s: %.*s\n  expected %s", domain, STR_ARG(buf_str(&b)), want);
    assert_int_equal(p.action == ROUTE_GO, p.n_targets > 0);
    assert_int_equal(p.action == ROUTE_FAIL, p.code >= 500);
    assert_ptr_equal(p.route, r);
}

static void mx_is(const char *domain, const char *want)
{
    route_is(&mx_route, &plain, domain, want);
}

static void test_preferences(void **state)
{
    (void)state;
    mx_is("example.org", "0 mx1.example.org 5.1.1.1:25; 1 mx2.example.org 2a00::2:25; 1 mx2.example.org 5.1.1.2:25");
    mx_is("EXAMPLE.ORG.", "0 mx1.example.org 5.1.1.1:25; 1 mx2.example.org 2a00::2:25; 1 mx2.example.org 5.1.1.2:25");
    mx_is("xn--bcher-kva.example", "0 mx1.example.org 5.1.1.1:25");
}

/* A Unix socket needs no DNS, has no port and no TLS, and what follows it counts when nobody listens there. */
static void test_a_socket(void **state)
{
    (void)state;
    static const struct route_hop hops[] = { { .how = ROUTE_LMTP, .local = true, .name = { "/run/lmtp", 9 } },
                                             { .how = ROUTE_SMTP, .name = { "mx1.example.org", 15 }, .port = 26 } };
    struct route r = mx_route;
    r.hops = hops;
    r.n_hops = 2;
    r.tls = ROUTE_TLS_MANDATORY;
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct route_facts f = { .arena = &a };
    struct route_plan p;
    world_plan(&r, "far.example", &f, &plain, world, &p);
    assert_int_equal(p.n_targets, 2);
    const struct route_target *t = p.targets;
    assert_true(t[0].local && t[0].how == ROUTE_LMTP && t[0].tls == ROUTE_TLS_NONE && t[0].port == 0 && !t[0].secure);
    assert_true(str_eq(t[0].address, S("/run/lmtp")));
    assert_true(!t[1].local && t[1].group == 1 && t[1].port == 26 && t[1].tls == ROUTE_TLS_MANDATORY);
}

static void test_null_mx(void **state)
{
    (void)state;
    mx_is("null.example", "556 5.1.10 null.example does not accept mail (null MX)");
}

static void test_implicit(void **state)
{
    (void)state;
    mx_is("host.example", "0 host.example 5.1.1.3:25");
    mx_is("cname.example", "0 cname.example 5.1.1.3:25");
    mx_is("bare.example", "550 5.4.4 bare.example has neither MX records nor an address");
    /* MX records that name nothing do not make the domain a host (RFC 5321 5.1). */
    mx_is("empty.example", "550 5.4.4 none of the MX records of empty.example names a host");
}

static void test_no_domain(void **state)
{
    (void)state;
    mx_is("nowhere.example", "550 5.1.2 there is no domain nowhere.example in the DNS");
    mx_is("not a domain", "550 5.1.2 \"not a domain\" is not a domain name");
    mx_is("b\xc3\xbc" "cher.example", "550 5.1.2 \"b\xc3\xbc" "cher.example\" is not a domain name");
    mx_is("evil\r\nRCPT", "550 5.1.2 \"evil\\x0d\\x0arcpt\" is not a domain name");
    mx_is("5.1.1.1", "550 5.1.2 \"5.1.1.1\" is not a domain name; an address stands in brackets");
    mx_is("", "550 5.1.2 \"\" is not a domain name");
}

static void test_dns_trouble_defers(void **state)
{
    (void)state;
    mx_is("broken.example", "451 4.4.3 the DNS does not say the MX of broken.example now: the reason");
    mx_is("bogus.example", "451 4.4.3 the MX of bogus.example fails DNSSEC validation: the reason");
    mx_is("slow.example", "451 4.4.3 the DNS does not say the A of slow-host.example now: the reason");
    mx_is("mixed.example", "451 4.4.3 the DNS does not say the A of slow-host.example now: the reason");
    mx_is("one-slow.example", "0 one-slow-host.example 5.1.1.9:25");
}

static void test_dead_hosts(void **state)
{
    (void)state;
    mx_is("dead.example", "550 5.4.4 dead.example: the mail host gone.example does not exist");
    mx_is("half.example", "0 mx1.example.org 5.1.1.1:25");
    mx_is("odd.example", "0 mx1.example.org 5.1.1.1:25");
    mx_is("only-odd.example", "550 5.4.4 none of the MX records of only-odd.example names a host");
}

static void test_private(void **state)
{
    static const struct net all[] = { { { [10] = 0xff, [11] = 0xff }, 96 }, { { 0 }, 0 } };
    static const struct net ten[] = { { { [10] = 0xff, [11] = 0xff, 10 }, 104 } };
    struct route_options o = plain;
    (void)state;
    mx_is("private.example", "0 mx1.example.org 5.1.1.1:25");
    mx_is("implicit-private.example",
          "550 5.4.4 implicit-private.example: the mail host implicit-private.example has the "
          "address 192.168.0.1, a private address");
    mx_is("[10.0.0.1]", "550 5.4.4 10.0.0.1 is a private address");
    o.private_allowed = (struct nets){ ten, 1 };
    route_is(&mx_route, &o, "all-private.example", "0 inside.example 10.0.0.1:25");
    route_is(&mx_route, &o, "[10.0.0.1]", "0 [10.0.0.1] 10.0.0.1:25");
    route_is(&mx_route, &o, "[127.0.0.1]", "550 5.4.4 127.0.0.1 is a loopback address");
    o.private_allowed = (struct nets){ all, 2 };
    route_is(&mx_route, &o, "implicit-private.example", "0 implicit-private.example 192.168.0.1:25");
    route_is(&mx_route, &o, "[IPv6:::1]", "0 [IPv6:::1] ::1:25");
}

static void test_all_private_names_the_address(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct route_facts f = { .arena = &a };
    struct route_plan p;
    (void)state;
    world_plan(&mx_route, "all-private.example", &f, &plain, world, &p);
    assert_int_equal(p.action, ROUTE_FAIL);
    assert_true(str_eq(p.status, S("5.4.4")));
    assert_true(str_find(p.text, S("::1, a loopback address")) > 0);
    assert_int_equal(p.n_notes, 3);
}

static void test_literals(void **state)
{
    (void)state;
    mx_is("[5.1.1.1]", "0 [5.1.1.1] 5.1.1.1:25");
    mx_is("[IPv6:2A00::1]", "0 [IPv6:2a00::1] 2a00::1:25");
    mx_is("[5.1.1]", "550 5.1.2 \"[5.1.1]\" is not a domain name");
}

static void test_ourselves(void **state)
{
    static const str names[] = { { "HERE.example", 12 } };
    static const struct route_endpoint at[] = { { { [10] = 0xff, [11] = 0xff, 5, 9, 9, 9 }, 25 },
                                                { { [10] = 0xff, [11] = 0xff, 5, 1, 1, 30 }, 2525 } };
    struct route_options o = { .own = { names, 1, at, 2 }, .seed = 3 };
    struct route_options other_port = { .own = { NULL, 0, at, 2 }, .port = 2525 };
    (void)state;
    route_is(&mx_route, &o, "us.example", "0 mx1.example.org 5.1.1.1:25");
    route_is(&mx_route, &o, "us-by-address.example", "0 mx1.example.org 5.1.1.1:25");
    route_is(&mx_route, &o, "us-by-cname.example", "0 mx1.example.org 5.1.1.1:25");
    route_is(&mx_route, &o, "all-us.example", "550 5.4.6 mail for all-us.example would come back to this host");
    route_is(&mx_route, &o, "us-implicit.example",
             "550 5.4.6 mail for us-implicit.example would come back to this host");
    route_is(&mx_route, &o, "[5.9.9.9]", "550 5.4.6 mail for [5.9.9.9] would come back to this host");
    /* Another port of the same address is somebody else. */
    route_is(&mx_route, &other_port, "us-implicit.example", "0 us-implicit.example 5.9.9.9:2525");
    route_is(&mx_route, &other_port, "mx3.example", "550 5.4.6 mail for mx3.example would come back to this host");
}

/* A stranger's MX at 127.0.0.1 is not our name among his, even where we listen there. */
static void test_loopback_cuts_nothing(void **state)
{
    static const struct route_endpoint everywhere[] = { { { [10] = 0xff, [11] = 0xff }, 25 } };
    static const struct net loop[] = { { { [10] = 0xff, [11] = 0xff, 127 }, 104 } };
    struct route_options o = { .own = { NULL, 0, everywhere, 1 } };
    (void)state;
    route_is(&mx_route, &o, "loopback.example", "0 mx1.example.org 5.1.1.1:25");
    o.private_allowed = (struct nets){ loop, 1 };
    route_is(&mx_route, &o, "loopback.example", "550 5.4.6 mail for loopback.example would come back to this host");
}

static void test_repetitions(void **state)
{
    (void)state;
    mx_is("same.example", "0 mx1.example.org 5.1.1.1:25; 1 twin.example 5.1.1.99:25");
}

static void test_secure(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct route_facts f = { .arena = &a };
    struct route_plan p;
    (void)state;
    world_plan(&mx_route, "signed.example", &f, &plain, world, &p);
    assert_int_equal(p.n_targets, 2);
    assert_true(p.targets[0].secure);
    assert_false(p.targets[1].secure); /* its address is not signed */
    world_plan(&mx_route, "example.org", &f, &plain, world, &p);
    assert_false(p.targets[0].secure);
}

static const struct route_hop smarthost[] = {
    { .how = ROUTE_SMTP, .name = { "relay.example", 13 }, .port = 587 },
    { .how = ROUTE_LMTP, .name = { "127.0.0.1", 9 }, .numeric = true,
      .addr = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } },
    { .how = ROUTE_SMTP, .mx = true, .name = { "example.org", 11 } },
};
static const struct route_hop with_fallback[] = {
    { .how = ROUTE_SMTP, .mx = true },
    { .how = ROUTE_SMTP, .name = { "mx3.example", 11 }, .port = 2525 },
};

static void test_hops(void **state)
{
    struct route r = { .name = S("r"), .hops = smarthost, .n_hops = 3 };
    (void)state;
    /* What the configuration names outright may be private; groups follow one another. */
    route_is(&r, &plain, "nowhere.example",
             "0 relay.example 10.1.1.1:587; 1 [127.0.0.1] 127.0.0.1:24; 2 mx1.example.org 5.1.1.1:25; "
             "3 mx2.example.org 2a00::2:25; 3 mx2.example.org 5.1.1.2:25");
    r.hops = with_fallback;
    r.n_hops = 2;
    route_is(&r, &plain, "half.example", "0 mx1.example.org 5.1.1.1:25; 1 mx3.example 5.1.1.30:2525");
    route_is(&r, &plain, "nowhere.example", "0 mx3.example 5.1.1.30:2525");
    route_is(&r, &plain, "broken.example", "0 mx3.example 5.1.1.30:2525");
    route_is(&r, &plain, "null.example", "556 5.1.10 null.example does not accept mail (null MX)");
}

static void test_configured_hop_never_fails(void **state)
{
    static const struct route_hop gone[] = { { .how = ROUTE_SMTP, .name = { "gone.example", 12 } } };
    static const struct route_hop null[] = { { .how = ROUTE_SMTP, .mx = true, .name = { "null.example", 12 } } };
    struct route r = { .name = S("r"), .hops = gone, .n_hops = 1 };
    (void)state;
    route_is(&r, &plain, "example.org", "451 4.4.4 gone.example: the mail host gone.example does not exist");
    r.hops = null;
    route_is(&r, &plain, "example.org", "451 4.1.10 null.example does not accept mail (null MX)");
}

static void test_fail_route(void **state)
{
    struct route r = { .name = S("r"), .fail_status = S("5.7.1"), .fail_text = S("We do not deliver there") };
    (void)state;
    route_is(&r, &plain, "example.org", "550 5.7.1 We do not deliver there");
    r.fail_status = S("4.7.1");
    route_is(&r, &plain, "example.org", "451 4.7.1 We do not deliver there");
}

static void test_without_memory(void **state)
{
    (void)state;
    for (size_t max = 0; max < 30000; max += 300) {
        _cleanup_arena_ struct arena a = ARENA(1 << 20);
        struct route_facts f = { .arena = &a };
        struct route_plan p;
        world_plan(&mx_route, "us.example", &f, &plain, world, &p);
        a.max = a.used + max;
        route_plan(&mx_route, S("us.example"), &f, &plain, &p);
        assert_true(p.action == ROUTE_GO || (p.action == ROUTE_DEFER && p.code == 451 && p.status.n && p.text.n));
        assert_int_equal(p.action == ROUTE_GO, p.n_targets > 0);
    }
}

static int setup(void **state)
{
    (void)state;
    route_built_in(&mx_route);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preferences),
        cmocka_unit_test(test_a_socket),
        cmocka_unit_test(test_null_mx),
        cmocka_unit_test(test_implicit),
        cmocka_unit_test(test_no_domain),
        cmocka_unit_test(test_dns_trouble_defers),
        cmocka_unit_test(test_dead_hosts),
        cmocka_unit_test(test_private),
        cmocka_unit_test(test_all_private_names_the_address),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_ourselves),
        cmocka_unit_test(test_loopback_cuts_nothing),
        cmocka_unit_test(test_repetitions),
        cmocka_unit_test(test_secure),
        cmocka_unit_test(test_hops),
        cmocka_unit_test(test_configured_hop_never_fails),
        cmocka_unit_test(test_fail_route),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
