/* `route` blocks: what comes out of each word, what is refused and with which words. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/cleanup.h"
#include "conf/conf_test.h"
#include <errno.h>

static const struct conf *parse(struct arena *a, const char *text)
{
    const struct conf *c = NULL;
    struct conf_error e;
    if (conf_parse(a, test_bundle(a, text, NULL), &c, &e) < 0)
        fail_msg("%s", test_error(a, &e));
    return c;
}

static void refuse(const char *text, const char *want)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = NULL;
    struct conf_error e = { 0 };
    if (conf_parse(&a, test_bundle(&a, text, NULL), &c, &e) != -EINVAL)
        fail_msg("not refused: %s", text);
    assert_string_equal(test_error(&a, &e), want);
}

static void is(str s, const char *want)
{
    if (!str_eq(s, str_z(want)))
        fail_msg("\"%.*s\", expected \"%s\"", STR_ARG(s), want);
}

static void test_nothing(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = parse(&a, "");
    (void)state;
    assert_int_equal(c->routes.n, 0);
    const struct route *r = route_select(&c->routes, S("a@b"), S("c@d"));
    assert_ptr_equal(r, &c->routes.built_in);
    is(r->name, "mx");
    assert_int_equal(r->tls, ROUTE_TLS_OPPORTUNISTIC);
    assert_int_equal(r->concurrency, 20);
    assert_int_equal(r->rate, 0);
    assert_int_equal(c->private_allowed.n, 0);
    assert_int_equal(c->smtp_tcp_port, 25);
    assert_int_equal(c->maximal_queue_lifetime, 5ull * 86400000);
}

static void test_all_words(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    uint8_t addr[16];
    (void)state;
    const struct conf *c =
        parse(&a, "relay_credentials keys\n"
                  "route relay {\n"
                  "    recipient User@Example.ORG, @Example.net .b\xc3\xbc"
                  "cher.example @[192.0.2.1]\n"
                  "    sender <> me@here.example\n"
                  "    next smtp [Relay.example]:587 lmtp [127.0.0.1] mx Example.com smtp big.example:2525 \\\n"
                  "         mx smtp [IPv6:2a00::1]:26\n"
                  "    tls mandatory\n    auth key-1\n    source 5.1.1.1 2a00::5\n"
                  "    concurrency 7; rate 100/m\n"
                  "}\n"
                  "route no { fail \"5.1.3 We do not \\\"deliver\\\" there\" }\n");
    const struct route *r = &c->routes.routes[0];
    assert_int_equal(c->routes.n, 2);
    is(r->name, "relay");
    is(r->file, "posthouse.conf");
    assert_int_equal(r->line, 2);
    assert_int_equal(r->recipients.n, 4);
    is(r->recipients.text[0], ".xn--bcher-kva.example");
    is(r->recipients.text[1], "@[192.0.2.1]");
    is(r->recipients.text[2], "@example.net");
    is(r->recipients.text[3], "user@example.org");
    assert_int_equal(r->senders.n, 2);
    assert_int_equal(r->n_hops, 6);
    is(r->hops[0].name, "relay.example");
    assert_true(!r->hops[0].mx && !r->hops[0].numeric && r->hops[0].port == 587 && r->hops[0].how == ROUTE_SMTP);
    assert_true(!r->hops[1].mx && r->hops[1].numeric && r->hops[1].port == 0 && r->hops[1].how == ROUTE_LMTP);
    is(r->hops[2].name, "example.com");
    assert_true(r->hops[2].mx && r->hops[2].how == ROUTE_SMTP);
    is(r->hops[3].name, "big.example");
    assert_true(r->hops[3].mx && r->hops[3].port == 2525);
    assert_true(r->hops[4].mx && r->hops[4].name.n == 0);
    assert_true(!r->hops[5].mx && r->hops[5].numeric && r->hops[5].port == 26);
    assert_int_equal(r->tls, ROUTE_TLS_MANDATORY);
    is(r->auth, "key-1");
    assert_true(r->has_source4 && r->has_source6);
    net_addr_parse(S("5.1.1.1"), addr);
    assert_memory_equal(r->source4, addr, 16);
    assert_int_equal(r->concurrency, 7);
    assert_int_equal(r->rate, 100);
    assert_int_equal(r->rate_ms, 60000);
    is(c->routes.routes[1].fail_status, "5.1.3");
    is(c->routes.routes[1].fail_text, "We do not \"deliver\" there");
    assert_int_equal(c->routes.routes[1].n_hops, 0);
    assert_ptr_equal(route_select(&c->routes, S(""), S("x@a.xn--bcher-kva.example")), r);
}

static void test_a_socket(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    (void)state;
    const struct conf *c = parse(&a, "route x { next lmtp unix:/run/Lists/lmtp smtp [relay.example] }\n");
    const struct route *r = &c->routes.routes[0];
    assert_int_equal(r->n_hops, 2);
    is(r->hops[0].name, "/run/Lists/lmtp");
    assert_true(r->hops[0].local && !r->hops[0].mx && r->hops[0].how == ROUTE_LMTP && !r->hops[1].local);
    refuse("route x { next lmtp unix:run/lmtp }\n",
           "posthouse.conf:1: next: \"unix:run/lmtp\" is not a Unix socket; expected unix:/PATH of at most 107 bytes");
}

static void test_settings_reach_routes(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    (void)state;
    const struct conf *c =
        parse(&a, "route a { recipient @a.example; next mx }\n"
                  "route own { recipient @b.example; next mx; tls none; concurrency 3; rate 5/30s; source 5.5.5.5 }\n"
                  "route key { next smtp [r.example]; auth k }\n"
                  "relay_credentials keys\nsmtp_tls_security_level mandatory\nsmtp_destination_concurrency_limit 9\n"
                  "smtp_destination_rate_delay 2s\nsmtp_bind_address 5.1.1.1\nsmtp_bind_address6 2a00::1\n");
    const struct route *all[] = { &c->routes.routes[0], &c->routes.built_in };
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(all[i]->tls, ROUTE_TLS_MANDATORY);
        assert_int_equal(all[i]->concurrency, 9);
        assert_true(all[i]->rate == 1 && all[i]->rate_ms == 2000);
        assert_true(all[i]->has_source4 && all[i]->has_source6);
    }
    const struct route *own = &c->routes.routes[1], *key = &c->routes.routes[2];
    assert_int_equal(own->tls, ROUTE_TLS_NONE);
    assert_int_equal(own->concurrency, 3);
    assert_true(own->rate == 5 && own->rate_ms == 30000);
    assert_true(own->has_source4 && !own->has_source6 && own->source4[12] == 5);
    assert_int_equal(key->tls, ROUTE_TLS_VERIFIED); /* a password is not shown to whoever answers */
}

static void test_private(void **state)
{
    static const struct { const char *text; bool ten, loop; } rows[] = {
        { "allow_private_destinations no", false, false },
        { "allow_private_destinations yes", true, true },
        { "allow_private_destinations 10.0.0.0/8, fd00::/8", true, false },
        { "allow_private_destinations 127.0.0.0/8", false, true },
        { "allow_private_destinations \"\"", false, false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
        const struct conf *c = parse(&a, rows[i].text);
        uint8_t ten[16], loop[16];
        net_addr_parse(S("10.1.1.1"), ten);
        net_addr_parse(S("127.0.0.1"), loop);
        assert_int_equal(nets_hold(&c->private_allowed, ten), rows[i].ten);
        assert_int_equal(nets_hold(&c->private_allowed, loop), rows[i].loop);
    }
    refuse("allow_private_destinations 10.0.0.1/8\n",
           "posthouse.conf:1: allow_private_destinations: \"10.0.0.1/8\" cannot be; expected yes, no, or networks like "
           "10.0.0.0/8, fd00::/8");
}

static void test_wrong_blocks(void **state)
{
    (void)state;
    refuse("route\n", "posthouse.conf:1: expected route NAME { … }");
    refuse("route x\n", "posthouse.conf:1: expected route NAME { … }");
    refuse("route mx { next mx }\n",
           "posthouse.conf:1: route: \"mx\" is the route for all that no other takes; expected another name");
    refuse("route a.b { next mx }\n",
           "posthouse.conf:1: route: \"a.b\" is not a name; expected at most 64 letters, digits, - and _");
    refuse("\nroute x { recipient @a.example }\n", "posthouse.conf:2: route x says nothing; expected next or fail");
    refuse("route x { next mx; fail \"5.7.1 no\" }\n",
           "posthouse.conf:1: route x has both next and fail; expected one of them");
    refuse("route x { next mx\n recipent @a.example }\n",
           "posthouse.conf:2: unknown word in a route: \"recipent\"; did you mean recipient?");
    refuse("route x { recipient @a.example; next mx }\nroute x { next mx }\n",
           "posthouse.conf:2: route x stands twice; first at posthouse.conf:1");
    refuse("route x { next mx }\nroute y { recipient @a.example; next mx }\n",
           "posthouse.conf:2: route y is never reached: x (posthouse.conf:1) takes everything");
    refuse("route x { next mx; auth k; tls opportunistic }\n",
           "posthouse.conf:1: route x: auth with opportunistic TLS would show the password to whoever takes TLS away; "
           "expected tls mandatory or verified");
    refuse("route x { next smtp [a.example]; auth k }\n",
           "posthouse.conf:1: route x: auth needs the setting relay_credentials, the file with user and password");
    refuse("rout x { next mx }\n", "posthouse.conf:1: unknown setting \"rout\"; did you mean route?");
}

static void wrong_word(const char *line, const char *want)
{
    _cleanup_buf_ struct buf text = BUF(4096), whole = BUF(4096);
    buf_addf(&text, "route x {\n%s\n}\n", line);
    buf_addc(&text, '\0');
    buf_addf(&whole, "posthouse.conf:2: %s", want);
    buf_addc(&whole, '\0');
    refuse(text.p, whole.p);
}

static void test_wrong_words(void **state)
{
    static const char *const twice[] = { "recipient @a.example", "sender <>", "next mx", "fail \"5.7.1 x\"", "tls none",
                                         "auth k", "source 5.5.5.5", "concurrency 1", "rate 1/s" };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(twice); i++) {
        _cleanup_buf_ struct buf line = BUF(512), want = BUF(512);
        str rest = str_z(twice[i]), word = str_word(&rest);
        buf_addf(&line, "%s; %s", twice[i], twice[i]);
        buf_addc(&line, '\0');
        buf_addf(&want, "%.*s is set twice in this route", STR_ARG(word));
        buf_addc(&want, '\0');
        wrong_word(line.p, want.p);
    }
    wrong_word("recipient", "recipient needs an address, @domain or .domain");
    wrong_word("recipient example.org",
               "\"example.org\" is not what a route can match; expected user@example.org, @example.org (the domain) or "
               ".example.org (domains below it)");
    wrong_word("recipient <>",
               "\"<>\" is not what a route can match; expected user@example.org, @example.org (the domain) or "
               ".example.org (domains below it)");
    wrong_word(
        "sender @-",
        "\"@-\" is not what a route can match; expected user@example.org, @example.org (the domain), .example.org "
        "(domains below it) or <>");
    wrong_word("tls may", "tls: what Postfix calls may is opportunistic here");
    wrong_word("tls verifid", "unknown tls level \"verifid\"; did you mean verified?");
    wrong_word("tls", "tls takes one value: none, opportunistic, mandatory or verified");
    wrong_word("auth a b", "auth takes one value: the name of a line in the file relay_credentials");
    wrong_word("auth a/b", "auth: \"a/b\" is not a name; expected letters, digits, - and _");
    wrong_word("source x", "source: \"x\" is not a numeric address");
    wrong_word("source 5.5.5.5 5.5.5.6", "source: expected one IPv4 and one IPv6 address at most");
    wrong_word("concurrency 0", "concurrency: \"0\" is not a number from 1 to 1000");
    wrong_word("rate 5", "rate: \"5\" is not messages in a time, like 100/m, 5/s or 1000/6h");
    wrong_word("rate 0/s", "rate: \"0/s\" is not messages in a time, like 100/m, 5/s or 1000/6h");
    wrong_word("rate 5/y", "rate: \"5/y\" is not messages in a time, like 100/m, 5/s or 1000/6h");
    wrong_word("fail \"5.7.1\"", "fail: expected a line of at most 400 bytes of text behind the status");
}

static void test_wrong_hops(void **state)
{
    (void)state;
    wrong_word("next", "next needs a hop: smtp HOST, lmtp HOST, mx or mx DOMAIN");
    wrong_word("next relay.example",
               "next: \"relay.example\" cannot stand here; expected smtp HOST, lmtp HOST, mx or mx "
               "DOMAIN");
    wrong_word("next smtp", "next: smtp needs a host, like smtp [relay.example.org]:587");
    wrong_word("next lmtp mx", "next: lmtp needs a host, like lmtp [relay.example.org]:24");
    wrong_word("next smtp [a",
               "\"[a\" is not a host; expected example.org, example.org:587, [relay.example.org]:587 or "
               "[192.0.2.1]:24");
    wrong_word("next smtp a.example:0", "\"a.example:0\" is not a host; expected example.org, example.org:587, "
                                        "[relay.example.org]:587 or [192.0.2.1]:24");
    wrong_word("next smtp [a.example]x", "\"[a.example]x\" is not a host; expected example.org, example.org:587, "
                                         "[relay.example.org]:587 or [192.0.2.1]:24");
    wrong_word("next smtp 5.5.5.5", "\"5.5.5.5\": an address stands in brackets, like [5.5.5.5]");
    wrong_word("next smtp -.example", "\"-.example\" is not a host name");
    wrong_word("next mx [5.5.5.5]", "next: \"[5.5.5.5]\" is not a domain whose MX could be asked for");
    wrong_word("next mx mx mx mx mx mx mx mx mx mx mx mx mx mx mx mx mx", "next: more than 16 hops");
}

static void test_wrong_settings(void **state)
{
    (void)state;
    refuse("smtp_tls_security_level may\n",
           "posthouse.conf:1: smtp_tls_security_level: \"may\" cannot be; expected none, "
           "opportunistic, mandatory or verified (Postfix's may, encrypt and verify)");
    refuse("smtp_bind_address ::1\n",
           "posthouse.conf:1: smtp_bind_address: \"::1\" cannot be; expected an IPv4 address of this host");
    refuse("smtp_bind_address6 5.5.5.5\n",
           "posthouse.conf:1: smtp_bind_address6: \"5.5.5.5\" cannot be; expected an IPv6 address of this host");
}

static void test_fail_without_status(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = parse(&a, "route x { fail \"No mail there\" }\n");
    (void)state;
    is(c->routes.routes[0].fail_status, "5.7.1");
    is(c->routes.routes[0].fail_text, "No mail there");
}

static void test_addresses_as_a_labels(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    str out;
    (void)state;
    assert_int_equal(conf_address_ascii(&a, S("J\xc3\xbcrgen@B\xc3\xbc" "cher.Example"), &out), 0);
    is(out, "J\xc3\xbcrgen@xn--bcher-kva.example");
    assert_int_equal(conf_address_ascii(&a, S("A@B.Example"), &out), 0);
    is(out, "A@b.example");
    assert_int_equal(conf_address_ascii(&a, S(""), &out), 0);
    is(out, "");
    assert_int_equal(conf_address_ascii(&a, S("a@\xff.example"), &out), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_all_words),
        cmocka_unit_test(test_a_socket),
        cmocka_unit_test(test_settings_reach_routes),
        cmocka_unit_test(test_private),
        cmocka_unit_test(test_wrong_blocks),
        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_wrong_hops),
        cmocka_unit_test(test_wrong_settings),
        cmocka_unit_test(test_fail_without_status),
        cmocka_unit_test(test_addresses_as_a_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
