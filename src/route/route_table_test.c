/* Which route a message takes, and the keys of destinations. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/cleanup.h"
#include "route/route.h"

static const str one_address[] = { { "user@example.org", 16 } };
static const str a_domain[] = { { ".example.org", 12 }, { "@example.org", 12 } };
static const str below[] = { { ".example.com", 12 } };
static const str nobody[] = { { "<>", 2 }, { "@sender.example", 15 } };
static const struct route_hop relay = { .how = ROUTE_SMTP, .name = { "relay.example.net", 17 }, .port = 587 };
static const struct route_hop mx = { .how = ROUTE_SMTP, .mx = true };
static const struct route_hop both[] = { { .how = ROUTE_SMTP, .name = { "relay.example.net", 17 } },
                                         { .how = ROUTE_SMTP, .mx = true } };

static struct route routes[] = {
    { .name = { "user", 4 }, .recipients = { one_address, 1 }, .hops = &relay, .n_hops = 1 },
    { .name = { "domain", 6 }, .recipients = { a_domain, 2 }, .hops = &mx, .n_hops = 1 },
    { .name = { "below", 5 }, .recipients = { below, 1 }, .senders = { nobody, 2 }, .hops = both, .n_hops = 2 },
    { .name = { "refused", 7 }, .senders = { nobody, 2 }, .fail_status = { "5.7.1", 5 }, .fail_text = { "no", 2 } },
};

static struct route_table table(void)
{
    struct route_table t = { .routes = routes, .n = ARRAY_LEN(routes) };
    route_built_in(&t.built_in);
    return t;
}

static void selects(const char *sender, const char *recipient, const char *want)
{
    struct route_table t = table();
    const struct route *r = route_select(&t, str_z(sender), str_z(recipient));
    if (!str_eq(r->name, str_z(want)))
        fail_msg("%s from %s takes %.*s, expected %s", recipient, sender, STR_ARG(r->name), want);
}

static void test_select(void **state)
{
    (void)state;
    selects("a@b.example", "user@example.org", "user");
    selects("", "USER@Example.ORG", "user");
    selects("a@b.example", "other@example.org", "domain");
    selects("a@b.example", "user@sub.example.org", "domain");
    selects("a@b.example", "user@a.b.sub.EXAMPLE.org", "domain");
    selects("a@b.example", "user@anexample.org", "mx");
    selects("a@b.example", "user@example.org.evil.example", "mx");
    selects("a@b.example", "x@sub.example.com", "mx");             /* the sender does not match */
    selects("a@sender.example", "x@sub.example.com", "below");
    selects("", "x@sub.example.com", "below");
    selects("", "x@example.com", "refused");                        /* .example.com is not example.com itself */
    selects("a@SENDER.example", "x@other.example", "refused");
    selects("a@sub.sender.example", "x@other.example", "mx");
    selects("\"a@sender.example\"@x.example", "y@other.example", "mx");
    selects("a@b.example", "\"@example.org\"@other.example", "mx");
    selects("a@b.example", "no-at-sign", "mx");
    selects("a@b.example", "", "mx");
}

static void test_by_name(void **state)
{
    struct route_table t = table();
    (void)state;
    assert_ptr_equal(route_by_name(&t, S("below")), &routes[2]);
    assert_ptr_equal(route_by_name(&t, S("mx")), &t.built_in);
    assert_null(route_by_name(&t, S("gone")));
    assert_int_equal(t.built_in.n_hops, 1);
    assert_true(t.built_in.hops[0].mx && !t.built_in.hops[0].name.n);
    assert_true(t.built_in.concurrency > 0);
}

static void key(const struct route *r, const char *domain, const char *want)
{
    struct route_table t = table();
    _cleanup_buf_ struct buf b = BUF(ROUTE_DESTINATION_MAX);
    str route = STR_NONE, back = STR_NONE;
    assert_int_equal(route_destination(&b, r ? r : &t.built_in, str_z(domain)), 0);
    if (!str_eq(buf_str(&b), str_z(want)))
        fail_msg("%s: %.*s, expected %s", domain, STR_ARG(buf_str(&b)), want);
    assert_true(route_destination_parse(buf_str(&b), &route, &back));
    assert_true(str_eq(route, r ? r->name : S("mx")));
    assert_true(str_ends(buf_str(&b), back));
}

static void test_destination(void **state)
{
    (void)state;
    key(NULL, "Example.ORG", "example.org");
    key(NULL, "example.org.", "example.org");
    key(NULL, "[192.0.2.1]", "[192.0.2.1]");
    key(NULL, "[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]");
    key(NULL, "xn--bcher-kva.example", "xn--bcher-kva.example");
    key(&routes[0], "example.org", "route user");
    key(&routes[1], "Example.org", "route domain example.org");
    key(&routes[2], "sub.example.com", "route below sub.example.com");
    key(&routes[3], "other.example", "route refused");
    key(NULL, "a b\r\n", "?a_b__");
    key(NULL, "b\xc3\xbc.example", "?b__.example");
}

static void test_destination_parse(void **state)
{
    static const char *const wrong[] = { "", " ", "route ", "route  x", "route a b c", "other a", "route a " };
    str route = STR_NONE, domain = STR_NONE;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (route_destination_parse(str_z(wrong[i]), &route, &domain))
            fail_msg("\"%s\" was read", wrong[i]);
    assert_true(route_destination_parse(S("route"), &route, &domain)); /* a domain of that name */
    assert_true(str_eq(route, S("mx")) && str_eq(domain, S("route")));
    assert_true(route_destination_parse(S("route a b.example"), &route, &domain));
    assert_true(str_eq(route, S("a")) && str_eq(domain, S("b.example")));
}

static void test_long_domain_fits(void **state)
{
    char domain[2000];
    struct route long_name = routes[1];
    char name[ROUTE_NAME_MAX];
    _cleanup_buf_ struct buf b = BUF(ROUTE_DESTINATION_MAX);
    (void)state;
    memset(domain, 'a', sizeof(domain));
    memset(name, 'r', sizeof(name));
    long_name.name = str_of(name, sizeof(name));
    assert_int_equal(route_destination(&b, &long_name, str_of(domain, sizeof(domain))), 0);
    assert_true(b.n <= ROUTE_DESTINATION_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_select),           cmocka_unit_test(test_by_name),
        cmocka_unit_test(test_destination),      cmocka_unit_test(test_destination_parse),
        cmocka_unit_test(test_long_domain_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
