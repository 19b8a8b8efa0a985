/* The planner, rule by rule of RFC 5321 5.1 and RFC 7505, over a little DNS. */
#include "route/route_test_world.h"
#include <time.h>

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
    static const struct route_net all[] = { { { [10] = 0xff, [11] = 0xff }, 96 }, { { 0 }, 0 } };
    static const struct route_net ten[] = { { { [10] = 0xff, [11] = 0xff, 10 }, 104 } };
    struct route_options o = plain;
    (void)state;
    mx_is("private.example", "0 mx1.example.org 5.1.1.1:25");
    mx_is("implicit-private.example",
          "550 5.4.4 implicit-private.example: the mail host implicit-private.example has the "
          "address 192.168.0.1, a private address");
    mx_is("[10.0.0.1]", "550 5.4.4 10.0.0.1 is a private address");
    o.private_allowed = (struct route_nets){ ten, 1 };
    route_is(&mx_route, &o, "all-private.example", "0 inside.example 10.0.0.1:25");
    route_is(&mx_route, &o, "[10.0.0.1]", "0 [10.0.0.1] 10.0.0.1:25");
    route_is(&mx_route, &o, "[127.0.0.1]", "550 5.4.4 127.0.0.1 is a loopback address");
    o.private_allowed = (struct route_nets){ all, 2 };
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
    static const struct route_net loop[] = { { { [10] = 0xff, [11] = 0xff, 127 }, 104 } };
    struct route_options o = { .own = { NULL, 0, everywhere, 1 } };
    (void)state;
    route_is(&mx_route, &o, "loopback.example", "0 mx1.example.org 5.1.1.1:25");
    o.private_allowed = (struct route_nets){ loop, 1 };
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

/* n MX records of one preference or many, each host with so many addresses. */
struct large { size_t hosts, addresses; bool equal; };

static void large_answer(struct arena *a, const struct large *l, const struct route_fact *fact, struct dns_answer *out)
{
    size_t n = fact->type == DNS_TYPE_MX ? l->hosts : l->addresses;
    struct dns_record *r = ARENA_ARRAY(a, struct dns_record, n);
    str digits = str_from(fact->name, 2); /* of "mx12.large.example" */
    uint64_t host = 0;
    assert_non_null(r);
    str_u64(str_cut(&digits, '.'), 200, &host);
    *out = (struct dns_answer){ .state = DNS_OK, .canonical = fact->name, .n = n, .records = r };
    for (size_t i = 0; i < n; i++) {
        uint8_t bytes[16] = { 0x2a, 0, (uint8_t)host, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i };
        if (fact->type == DNS_TYPE_MX)
            r[i] = (struct dns_record){ l->equal ? 10 : (uint16_t)i, arena_printf(a, "mx%zu.large.example", i) };
        else if (fact->type == DNS_TYPE_AAAA)
            r[i].data = arena_dup(a, str_of(bytes, 16));
        else
            r[i].data = arena_printf(a, "%c%c%c%c", 5, (int)host + 1, 1 + (int)(i >> 7), 1 + (int)(i & 127));
    }
}

static int large_plan(const struct large *l, uint64_t seed, struct route_facts *f, struct route_plan *out)
{
    struct route_options o = { .seed = seed };
    for (int rounds = 0;; rounds++) {
        route_plan(&mx_route, S("large.example"), f, &o, out);
        if (out->action != ROUTE_WAIT)
            return rounds;
        for (struct route_fact *fact; (fact = route_fact_open(f, NULL));) {
            struct dns_answer a;
            large_answer(f->arena, l, fact, &a);
            assert_int_equal(route_fact_answer(f, fact, &a), 0);
        }
    }
}

static void test_limits(void **state)
{
    static const struct large rows[] = { { 128, 128, true }, { 128, 128, false }, { 1, 128, true }, { 3, 1, true },
                                         { 100, 1, false }, { 2, 128, false } };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_arena_ struct arena a = ARENA(8 << 20);
        struct route_facts f = { .arena = &a };
        struct route_plan p;
        assert_int_equal(large_plan(&rows[i], 1, &f, &p), 2);
        size_t hosts = MIN(rows[i].hosts, (size_t)ROUTE_HOSTS_MAX);
        size_t each = MIN(2 * rows[i].addresses, ROUTE_ADDRESSES_MAX / hosts);
        assert_int_equal(p.n_targets, hosts * each);
        assert_int_equal(p.targets[p.n_targets - 1].host_index, hosts - 1);
        assert_int_equal(p.n_groups, rows[i].equal ? 1 : hosts);
        assert_true(f.n <= 1 + 2 * ROUTE_HOSTS_MAX);
        for (size_t t = 1; t < p.n_targets; t++) { /* the families take turns within a host */
            bool same = p.targets[t].host_index == p.targets[t - 1].host_index;
            assert_true(!same || p.targets[t].v6 != p.targets[t - 1].v6);
            assert_true(p.targets[t].group >= p.targets[t - 1].group);
        }
        assert_true(p.targets[0].v6);
    }
}

/* Each of four equals comes first about as often, and the same seed gives the same order. */
static void test_random_order(void **state)
{
    static const struct large four = { 4, 1, true };
    int first[4] = { 0 };
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        char who[2];
        for (int i = 0; i < 2; i++) {
            _cleanup_arena_ struct arena a = ARENA(1 << 20);
            struct route_facts f = { .arena = &a };
            struct route_plan p;
            large_plan(&four, seed, &f, &p);
            who[i] = p.targets[0].host.p[2];
        }
        first[who[0] - '0']++;
        assert_int_equal(who[0], who[1]);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(first[i], 60, 140);
}

static void test_order_of_records_does_not_matter(void **state)
{
    static const char *const one[] = { "x.example MX 10 a.example 10 b.example 10 c.example",
                                       "a.example A 5.0.0.1 5.0.0.2", "b.example A 5.0.0.3", "c.example A 5.0.0.4",
                                       NULL };
    static const char *const two[] = { "x.example MX 10 c.example 10 b.example 10 a.example",
                                       "a.example A 5.0.0.2 5.0.0.1", "b.example A 5.0.0.3", "c.example A 5.0.0.4",
                                       NULL };
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        _cleanup_arena_ struct arena a = ARENA(1 << 20);
        struct buf b[2] = { BUF(4096), BUF(4096) };
        struct route_options o = { .seed = seed };
        for (int i = 0; i < 2; i++) {
            struct route_facts f = { .arena = &a };
            struct route_plan p;
            world_plan(&mx_route, "x.example", &f, &o, i ? two : one, &p);
            world_print(&b[i], &p);
        }
        assert_true(str_eq(buf_str(&b[0]), buf_str(&b[1])));
        buf_done(&b[0]);
        buf_done(&b[1]);
    }
}

static double seconds_of(size_t hosts)
{
    struct large l = { hosts, 1, true };
    struct timespec from, to;
    _cleanup_arena_ struct arena a = ARENA(512 << 20);
    struct route_facts f = { .arena = &a };
    struct route_plan p;
    large_plan(&l, 1, &f, &p);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (int i = 0; i < 2000; i++)
        large_plan(&l, (uint64_t)i % 4, &f, &p);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

static void test_many_mx_are_linear(void **state)
{
    double best = 100;
    (void)state;
    for (int i = 0; i < 5 && best >= 2.4; i++)
        best = MIN(best, seconds_of(100) / seconds_of(50));
    assert_true(best < 2.4);
}

/* Twenty dead hosts are looked up, not a hundred. */
static void test_lookups_are_bounded(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(8 << 20);
    struct route_facts f = { .arena = &a };
    struct route_plan p;
    struct dns_record r[100];
    (void)state;
    for (size_t i = 0; i < 100; i++)
        r[i] = (struct dns_record){ (uint16_t)i, arena_printf(&a, "dead%zu.example", i) };
    struct dns_answer mx = { .state = DNS_OK, .n = 100, .records = r }, gone = { .state = DNS_NXDOMAIN };
    for (route_plan(&mx_route, S("x.example"), &f, &plain, &p); p.action == ROUTE_WAIT;
         route_plan(&mx_route, S("x.example"), &f, &plain, &p))
        for (struct route_fact *fact; (fact = route_fact_open(&f, NULL));)
            route_fact_answer(&f, fact, fact->type == DNS_TYPE_MX ? &mx : &gone);
    assert_int_equal(p.action, ROUTE_FAIL);
    assert_int_equal(f.n, 1 + 2 * ROUTE_LOOKUPS_MAX);
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
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_random_order),
        cmocka_unit_test(test_order_of_records_does_not_matter),
        cmocka_unit_test(test_many_mx_are_linear),
        cmocka_unit_test(test_lookups_are_bounded),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
