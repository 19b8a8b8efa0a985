/* The hosts of a hop: how many, in which order, and that many MX records cost little. */
#include "route/route_test_world.h"
#include <time.h>

static struct route mx_route;
static const struct route_options plain = { .seed = 7 };

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

static int setup(void **state)
{
    (void)state;
    route_built_in(&mx_route);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_random_order),
        cmocka_unit_test(test_order_of_records_does_not_matter),
        cmocka_unit_test(test_many_mx_are_linear),
        cmocka_unit_test(test_lookups_are_bounded),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
