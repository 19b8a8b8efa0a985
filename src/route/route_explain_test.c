/* What `posthouse route` prints. */
#include "route/route_test_world.h"
#include <errno.h>
#include <jansson.h>

static const char *const world[] = {
    "example.org MX 10 mx1.example.org 20 inside.example secure", "mx1.example.org A 5.1.1.1",
    "mx1.example.org AAAA 2a00::1",  "inside.example A 10.0.0.1",
    "broken.example MX temporary",   "alias.example MX 10 mx1.example.org canonical=example.net",
    NULL,
};

static void explain(struct buf *out, const struct route *r, const char *domain, bool json)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct route_facts f = { .arena = &a };
    struct route_options o = { .seed = 1 };
    struct route_plan p;
    _cleanup_buf_ struct buf recipient = BUF(400);
    buf_addf(&recipient, "user\x1b@%s", domain);
    world_plan(r, domain, &f, &o, world, &p);
    struct route_explained x = { S("from\xff@b.example"), buf_str(&recipient), r, &f, &p };
    assert_int_equal(route_explain(out, &x, json), 0);
}

static void holds(const struct buf *b, const char *want)
{
    if (str_find(buf_str(b), str_z(want)) < 0)
        fail_msg("\"%s\" is not in:\n%.*s", want, STR_ARG(buf_str(b)));
}

static void test_text(void **state)
{
    _cleanup_buf_ struct buf b = BUF(65536);
    struct route r;
    (void)state;
    route_built_in(&r);
    explain(&b, &r, "example.org", false);
    holds(&b, "user\\x1b@example.org from <from\\xff@b.example>\n");
    holds(&b, "route mx (built in");
    holds(&b, "MX   example.org: 10 mx1.example.org, 20 inside.example (secure, ttl 300s)\n");
    holds(&b, "A    mx1.example.org: 5.1.1.1 (not signed, ttl 300s)\n");
    holds(&b, "AAAA inside.example: nodata (not signed, ttl 300s)\n");
    holds(&b, "left out:\n  inside.example has the address 10.0.0.1, a private address\n");
    holds(&b, "  1. mx1.example.org [2a00::1]:25, smtp, TLS opportunistic, preference 10\n");
    assert_true(route_explanation_goes(buf_str(&b)));
    buf_clear(&b);
    explain(&b, &r, "alias.example", false);
    holds(&b, "10 mx1.example.org, CNAME example.net (");
    buf_clear(&b);
    explain(&b, &r, "broken.example", false);
    holds(&b, "MX   broken.example: temporary: the reason\n");
    holds(&b, "waits, and is tried again: 451 4.4.3 the DNS does not say");
    assert_false(route_explanation_goes(buf_str(&b)));
    buf_clear(&b);
    explain(&b, &r, "nowhere.example", false);
    holds(&b, "goes back to its sender: 550 5.1.2 there is no domain");
}

static void test_route_words(void **state)
{
    static const struct route_hop hop = { .how = ROUTE_LMTP, .name = { "127.0.0.1", 9 }, .numeric = true,
                                          .addr = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 }, .port = 2400 };
    struct route r = { .name = S("relay"), .hops = &hop, .n_hops = 1, .tls = ROUTE_TLS_VERIFIED, .auth = S("key"),
                       .has_source4 = true, .source4 = { [10] = 0xff, [11] = 0xff, 5, 2, 3, 4 }, .concurrency = 3,
                       .rate = 10, .rate_ms = 1000, .file = S("p.conf"), .line = 12 };
    _cleanup_buf_ struct buf b = BUF(65536);
    (void)state;
    explain(&b, &r, "example.org", false);
    holds(
        &b,
        "route relay (p.conf:12): TLS verified, at most 3 connections to a destination, at most 10 messages in 1000ms, "
        "logs in as key, from 5.2.3.4\n");
    holds(&b, "  1. [127.0.0.1]:2400, lmtp, TLS verified\n");
}

static void test_json(void **state)
{
    _cleanup_buf_ struct buf b = BUF(65536);
    struct route r;
    json_error_t error;
    const char *action = NULL, *host = NULL, *fact = NULL, *recipient = NULL;
    (void)state;
    route_built_in(&r);
    explain(&b, &r, "example.org", true);
    assert_true(route_explanation_goes(buf_str(&b)));
    json_t *o = json_loadb(b.p, b.n, 0, &error);
    assert_non_null(o);
    assert_int_equal(json_unpack(o, "{s:s, s:s, s:[{s:s}], s:[{s:[s]}]}", "action", &action, "recipient", &recipient,
                                 "targets", "host", &host, "facts", "records", &fact), 0);
    assert_string_equal(action, "go");
    assert_string_equal(host, "mx1.example.org");
    assert_string_equal(fact, "10 mx1.example.org");
    assert_string_equal(recipient, "user\\x1b@example.org");
    json_decref(o);
    buf_clear(&b);
    explain(&b, &r, "nowhere.example", true);
    assert_false(route_explanation_goes(buf_str(&b)));
}

static void test_too_long(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct route_facts f = { .arena = &a };
    struct route_options o = { .seed = 1 };
    struct route_plan p;
    struct route r;
    (void)state;
    route_built_in(&r);
    world_plan(&r, "example.org", &f, &o, world, &p);
    for (int json = 0; json < 2; json++) {
        _cleanup_buf_ struct buf b = BUF(100);
        struct route_explained x = { STR_NONE, S("a@example.org"), &r, &f, &p };
        assert_int_equal(route_explain(&b, &x, json), -ENOBUFS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text), cmocka_unit_test(test_route_words), cmocka_unit_test(test_json),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
