/* Configurations a stranger can relay through are refused, the others are not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "policy/policy_test_world.h"

static bool has_ok(void *arg, str table)
{
    (void)arg;
    return str_eq(table, S("file:ok"));
}

struct row { const char *early, *relay, *recipient, *nets, *says; };

static void check(const struct row *row, bool delay)
{
    struct world w;
    struct net nets[8];
    struct policy_error error = { 0 };
    str rest = str_z(row->nets);
    world_init(&w);
    w.rules.delay_reject = delay;
    world_list(&w, POLICY_SENDER, row->early);
    world_list(&w, POLICY_RELAY, row->relay);
    world_list(&w, POLICY_RECIPIENT, row->recipient);
    w.rules.mynetworks.nets = nets;
    for (str net = str_word(&rest); net.n; net = str_word(&rest))
        assert_int_equal(net_parse(net, &nets[w.rules.mynetworks.n++]), 0);
    int r = policy_open_relay(&w.arena, &w.rules, has_ok, NULL, &error);
    if (r != (row->says ? -EPERM : 0) || (row->says && str_find(error.text, str_z(row->says)) < 0))
        fail_msg("relay %s recipient %s nets %s: %d %.*s", row->relay, row->recipient, row->nets, r,
                 STR_ARG(error.text));
    arena_done(&w.arena);
}

static void test_configurations(void **state)
{
    (void)state;
    static const char guard[] = "permit_mynetworks reject_unauth_destination";
    static const struct row rows[] = {
        { "", "", "", "", "refuses recipients elsewhere; add reject_unauth_destination" },
        { "", "", "reject_unlisted_recipient", "", "add reject_unauth_destination" },
        { "", "permit_mynetworks permit_sasl_authenticated", "", "", "add reject_unauth_destination" },
        { "", "permit", "", "", "the rule `permit` of smtpd_relay_restrictions accepts" },
        { "permit", "", "", "", "add reject_unauth_destination" },
        { "", "warn_if_reject reject_unauth_destination", "", "", "anyone may relay" },
        { "", "reject_plaintext_session", "", "", "anyone may relay" },
        { "",
          "reject_non_fqdn_sender reject_non_fqdn_recipient reject_invalid_helo_hostname reject_unlisted_sender "
          "reject_sender_login_mismatch reject_unauth_pipelining reject_multi_recipient_bounce",
          "", "", "anyone may relay" },
        { "", "check_sender_access file:ok reject_unauth_destination", "", "", "`check_sender_access file:ok`" },
        { "", "check_helo_access file:ok reject_unauth_destination", "", "", "`check_helo_access file:ok`" },
        { "", "", "check_helo_access file:ok reject_unauth_destination", "",
          "`check_helo_access file:ok` of smtpd_recipient" },
        { "", guard, "", "0.0.0.0/0", "mynetworks trusts too many: a network of /0 (IPv4)" },
        { "", guard, "", "::/0", "a network of /0 (IPv6)" },
        { "", guard, "", "10.0.0.0/8 64.0.0.0/2", "a network of /2 (IPv4)" },
        { "", guard, "", "2000::/3", "a network of /3 (IPv6)" },
        { "", "", guard, "128.0.0.0/7", "a network of /7 (IPv4)" },
        { "", guard, "", "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24", "permit_mynetworks accepts a stranger" },
        { "", guard, "", "", NULL },
        { "", guard, "", "10.0.0.0/8 127.0.0.0/8 ::1 fd00::/8 fe80::/10 203.0.113.0/24 2001:db8::/32", NULL },
        { "", "permit_sasl_authenticated reject", "", "", NULL },
        { "", "permit_mynetworks permit_sasl_authenticated defer_unauth_destination", "", "", NULL },
        { "", "reject", "", "", NULL },
        { "", "defer", "", "", NULL },
        { "", "defer_if_permit", "", "", NULL },
        { "", "", guard, "", NULL },
        { "", "", "permit_auth_destination reject", "", NULL },
        { "", "reject_unauth_destination check_sender_access file:ok", "", "", NULL },
        { "", "check_sender_access file:no reject_unauth_destination", "", "", NULL },
        { "check_sender_access file:ok", "reject_unauth_destination", "", "", NULL },
        { "", "check_client_access file:ok check_recipient_access file:ok reject_unauth_destination", "", "", NULL },
        { "permit_mynetworks", "reject_unauth_destination", "", "0.0.0.0/0", NULL },
        { "", "permit", "reject_unauth_destination", "", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check(&rows[i], true);
        check(&rows[i], false);
    }
}

static void test_place_of_the_rule(void **state)
{
    (void)state;
    struct world w;
    struct policy_error error = { 0 };
    world_init(&w);
    assert_int_equal(policy_open_relay(&w.arena, &w.rules, NULL, NULL, &error), -EPERM);
    assert_int_equal(error.file.n, 0);
    assert_int_equal(error.line, 0);
    world_list(&w, POLICY_RELAY, "permit");
    assert_int_equal(policy_open_relay(&w.arena, &w.rules, NULL, NULL, &error), -EPERM);
    assert_true(str_eq(error.file, S("main.conf")));
    assert_int_equal(error.line, 10 + POLICY_RELAY);
    world_list(&w, POLICY_RELAY, "check_sender_access file:ok reject_unauth_destination");
    assert_int_equal(policy_open_relay(&w.arena, &w.rules, NULL, NULL, &error), 0);
    arena_done(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_place_of_the_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
