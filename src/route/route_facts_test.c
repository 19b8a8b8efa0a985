/* Questions and answers: asked once whatever the case, copied, bounded. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/cleanup.h"
#include "route/route_plan.h"
#include <errno.h>

static void test_asked_once(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    struct route_facts f = { .arena = &a };
    (void)state;
    const struct route_fact *mx = route_need(&f, DNS_TYPE_MX, S("Example.ORG."));
    assert_true(str_eq(mx->name, S("example.org")));
    assert_ptr_equal(route_need(&f, DNS_TYPE_MX, S("EXAMPLE.org")), mx);
    const struct route_fact *v4 = route_need(&f, DNS_TYPE_A, S("example.org"));
    assert_ptr_not_equal(v4, mx);
    assert_int_equal(f.n, 2);
    assert_ptr_equal(route_fact_open(&f, NULL), mx);
    assert_ptr_equal(route_fact_open(&f, mx), v4);
    assert_null(route_fact_open(&f, v4));
}

static void test_answers_are_copied(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    struct route_facts f = { .arena = &a };
    char host[] = "mx.example.org", name[] = "canonical.example";
    struct dns_record r[] = { { 10, str_z(host) } };
    struct dns_answer answer = {
        .state = DNS_OK, .secure = true, .ttl = 7, .canonical = str_z(name), .n = 1, .records = r
    };
    (void)state;
    route_need(&f, DNS_TYPE_MX, S("example.org"));
    assert_int_equal(route_fact_answer(&f, f.first, &answer), 0);
    memset(host, 'x', 4);
    memset(name, 'x', 4);
    r[0].number = 99;
    assert_true(f.first->answered && f.first->answer.secure && f.first->answer.ttl == 7);
    assert_true(str_eq(f.first->answer.records[0].data, S("mx.example.org")));
    assert_true(str_eq(f.first->answer.canonical, S("canonical.example")));
    assert_int_equal(f.first->answer.records[0].number, 10);
    assert_null(route_fact_open(&f, NULL));
}

/* An answer that finds no room is no answer, not a negative one. */
static void test_without_memory(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    struct route_facts f = { .arena = &a };
    struct dns_record r[DNS_RECORDS_MAX] = { { 0 } };
    struct dns_answer answer = { .state = DNS_NXDOMAIN, .n = DNS_RECORDS_MAX, .records = r };
    (void)state;
    route_need(&f, DNS_TYPE_MX, S("example.org"));
    a.max = a.used;
    assert_int_equal(route_fact_answer(&f, f.first, &answer), -ENOMEM);
    assert_true(f.first->answered);
    assert_int_equal(f.first->answer.state, DNS_TEMPORARY);
    assert_int_equal(f.first->answer.n, 0);
    assert_int_equal(route_need(&f, DNS_TYPE_MX, S("other.example"))->answer.state, DNS_TEMPORARY);
}

static void test_bounded(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct route_facts f = { .arena = &a };
    (void)state;
    for (int i = 0; i < ROUTE_FACTS_MAX + 10; i++) {
        const struct route_fact *fact = route_need(&f, DNS_TYPE_A, arena_printf(&a, "h%d.example", i));
        assert_int_equal(fact->answered, i >= ROUTE_FACTS_MAX);
    }
    assert_int_equal(f.n, ROUTE_FACTS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asked_once),
        cmocka_unit_test(test_answers_are_copied),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
