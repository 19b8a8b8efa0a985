/* posthouse route without a server: what is known from the configuration alone, and where the DNS is missed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include <jansson.h>

static const char *const routes =
    "route relay { sender @example.org; recipient @far.example; next smtp [5.1.1.1]:587; auth k; "
    "source 5.2.2.2 }\n"
    "route no { recipient .refused.example; fail \"5.7.1 Not there\" }\n"
                                  "relay_credentials keys\n";

static void test_without_dns(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_conf(&p, routes);
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "x@far.example", "--from", "anna@example.org"), 0);
    play_says(p.out, "x@far.example from <anna@example.org>\nroute relay (");
    play_says(p.out, "/posthouse.conf:7): TLS verified, at most 20 connections");
    play_says(p.out, "logs in as k, from 5.2.2.2");
    play_says(p.out, "  1. [5.1.1.1]:587, smtp, TLS verified\n");
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "x@a.refused.example"), 1);
    play_says(p.out, "goes back to its sender: 550 5.7.1 Not there");
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "x@[5.1.1.1]", "--from", "<>"), 0);
    play_says(p.out, "route mx (built in");
    play_says(p.out, "  1. [5.1.1.1]:25, smtp");
}

static void test_dns_is_missed(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_conf(&p, routes);
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "x@J\xc3\xbc.example"), EXIT_UNAVAILABLE);
    play_says(p.out, "MX   xn--j-eha.example: not answered");
    play_says(p.out, "no plan yet");
    play_says(p.err, "only a running one asks the DNS");
}

static void test_local(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    json_error_t error;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "info@example.org"), 0);
    play_says(p.out, "is an address of this host");
    play_says(p.out, "-> anna@example.org INBOX");
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "nobody@example.org"), 1);
    play_says(p.out, "leads nowhere");
    /* An alias that leads away: the way from there. */
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "away@example.org"), EXIT_UNAVAILABLE);
    play_says(p.out, "-> x@far.example (on another host)");
    play_says(p.out, "MX   far.example: not answered");
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "info@example.org", "--json"), 0);
    json_t *o = json_loads(p.out, 0, &error);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "action")), "local");
    json_decref(o);
}

static void test_json(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    json_error_t error;
    admin_play_init(&p);
    play_conf(&p, routes);
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "x@a.refused.example", "--json"), 1);
    json_t *o = json_loads(p.out, 0, &error);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "action")), "fail");
    assert_string_equal(json_string_value(json_object_get(json_object_get(o, "route"), "name")), "no");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "route"), "line")), 8);
    json_decref(o);
}

static void test_usage(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "a@b", "c@d"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "nobody"), EXIT_DATA);
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "a@far.example", "--from", "nobody"), EXIT_DATA);
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "<>"), EXIT_DATA);
    play_conf(&p, "route x { }\n");
    assert_int_equal(COMMAND_ON(&p, cmd_route, "", "route", "a@far.example"), EXIT_CONFIG);
    play_says(p.err, "posthouse.conf:7: route x says nothing");
}

static void test_config_explains(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_conf(&p, routes);
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "explain", "route"), 0);
    play_says(p.out, "  next smtp HOST | lmtp HOST | mx | mx DOMAIN ...\n");
    play_says(p.out, "/posthouse.conf:8)\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_dns), cmocka_unit_test(test_dns_is_missed),
        cmocka_unit_test(test_local),       cmocka_unit_test(test_json),
        cmocka_unit_test(test_usage),       cmocka_unit_test(test_config_explains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
