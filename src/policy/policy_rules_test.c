/* Each word against sessions it has an opinion on and sessions it has none on. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "policy/policy_test_world.h"

/* The reply of one rule in a list of its own, "250" when it has no opinion. */
static void check(struct world *w, const char *line, int code, const char *enhanced, const char *text)
{
    world_again(w);
    world_list(w, POLICY_RECIPIENT, line);
    decide(w, POLICY_RECIPIENT);
    struct policy_verdict *v = &w->verdict;
    if (v->code != code || !str_eq(v->enhanced, str_z(enhanced)) || (text && !str_eq(v->text, str_z(text))))
        fail_msg("%s: %d %.*s %.*s", line, v->code, STR_ARG(v->enhanced), STR_ARG(v->text));
    assert_int_equal(v->action, code < 400 ? POLICY_PERMIT : code < 500 ? POLICY_DEFER : POLICY_REJECT);
}

static void passes(struct world *w, const char *line)
{
    check(w, line, 250, "2.1.5", "Ok");
}

static void permits(struct world *w, const char *line)
{
    passes(w, line);
    assert_non_null(w->verdict.rule);
    assert_int_equal(w->verdict.steps[w->verdict.n_steps - 1].outcome, POLICY_OK);
}

static void test_generic(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    permits(&w, "permit reject");
    check(&w, "reject", 554, "5.7.1", "<bob@example.org>: Access denied");
    check(&w, "defer", 450, "4.7.1", "<bob@example.org>: Try again later");
    check(&w, "reject_plaintext_session", 450, "4.7.1", "<bob@example.org>: Session encryption is required");
    w.session.tls = true;
    passes(&w, "reject_plaintext_session");
    passes(&w, "reject_unauth_pipelining");
    w.session.early = true;
    check(&w, "reject_unauth_pipelining", 503, "5.5.0", "<bob@example.org>: Improper use of SMTP command pipelining");
    arena_done(&w.arena);
}

static void test_permits(void **state)
{
    (void)state;
    struct world w;
    struct net net;
    world_init(&w);
    assert_int_equal(net_parse(S("203.0.113.0/24"), &net), 0);
    check(&w, "permit_mynetworks reject", 554, "5.7.1", NULL);
    w.rules.mynetworks = (struct nets){ &net, 1 };
    permits(&w, "permit_mynetworks reject");
    check(&w, "permit_sasl_authenticated reject", 554, "5.7.1", NULL);
    w.session.sasl_user = S("alice@example.org");
    permits(&w, "permit_sasl_authenticated reject");
    arena_done(&w.arena);
}

static void test_destination(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    permits(&w, "permit_auth_destination reject");
    passes(&w, "reject_unauth_destination");
    passes(&w, "reject_unlisted_recipient");
    w.session.recipient = S("nobody@example.org");
    permits(&w, "permit_auth_destination reject");
    passes(&w, "reject_unauth_destination");
    check(&w, "reject_unlisted_recipient", 550, "5.1.1", "<nobody@example.org>: No such user here");
    w.session.recipient = S("x@elsewhere.example");
    check(&w, "permit_auth_destination reject", 554, "5.7.1", "<x@elsewhere.example>: Access denied");
    check(&w, "reject_unauth_destination", 554, "5.7.1", "<x@elsewhere.example>: Relay access denied");
    check(&w, "defer_unauth_destination", 454, "4.7.1", "<x@elsewhere.example>: Relay access denied");
    passes(&w, "reject_unlisted_recipient");
    w.session.sender = S("nobody@example.org");
    check(&w, "reject_unlisted_sender", 550, "5.1.0", "<nobody@example.org>: This sender address does not exist here");
    w.session.sender = S("alice@example.org");
    passes(&w, "reject_unlisted_sender");
    w.session.sender = STR_NONE;
    w.session.sender_null = true;
    passes(&w, "reject_unlisted_sender");
    arena_done(&w.arena);
}

static void test_helo(void **state)
{
    (void)state;
    static const struct { const char *helo; int fqdn, valid; } rows[] = {
        { "mail.example.org", 250, 250 },
        { "mail.example.org.", 250, 250 },
        { "localhost", 504, 250 },
        { "[192.0.2.1]", 250, 250 },
        { "[IPv6:2001:db8::1]", 250, 250 },
        { "[2001:db8::1]", 250, 250 },
        { "[192.0.2]", 501, 501 },
        { "[", 501, 501 },
        { "192.0.2.1", 504, 250 },
        { "a..b", 504, 501 },
        { "-a.b", 504, 501 },
        { "a-.b", 504, 501 },
        { ".a.b", 504, 501 },
        { "a_b.example", 250, 250 },
        { "a b.example", 504, 501 },
        { "1.2", 504, 501 },
        { ".", 504, 501 },
        { "a.b..", 504, 501 },
        { "", 250, 250 },
        { "m\xc3\xbcller.example", 250, 250 },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example", 504, 501 },
    };
    struct world w;
    world_init(&w);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        w.session.helo = str_z(rows[i].helo);
        check(&w, "reject_non_fqdn_helo_hostname", rows[i].fqdn, rows[i].fqdn == 250 ? "2.1.5" : "5.5.2", NULL);
        check(&w, "reject_invalid_helo_hostname", rows[i].valid, rows[i].valid == 250 ? "2.1.5" : "5.5.2", NULL);
    }
    arena_done(&w.arena);
}

static void test_fqdn(void **state)
{
    (void)state;
    static const struct { const char *address; int code; } rows[] = {
        { "a@example.org", 250 }, { "a@localhost", 504 }, { "a", 504 }, { "Postmaster", 250 }, { "a@[192.0.2.1]", 250 },
        { "a@[", 504 }, { "a@", 504 }, { "\"x@y.z\"@host", 504 }, { "a@1.2", 504 }, { "", 250 },
    };
    struct world w;
    world_init(&w);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        w.session.recipient = w.session.sender = str_z(rows[i].address);
        check(&w, "reject_non_fqdn_sender", rows[i].code, rows[i].code == 250 ? "2.1.5" : "5.5.2", NULL);
        check(&w, "reject_non_fqdn_recipient", rows[i].code, rows[i].code == 250 ? "2.1.5" : "5.5.2", NULL);
    }
    arena_done(&w.arena);
}

static void test_login_mismatch(void **state)
{
    (void)state;
    static const char *const all[] = { "reject_sender_login_mismatch", "reject_authenticated_sender_login_mismatch",
                                       "reject_unauthenticated_sender_login_mismatch",
                                       "reject_known_sender_login_mismatch" };
    /* 0: passes; 1: not allowed for the account; 2: log in first */
    static const struct { const char *user, *sender; char verdict[4]; } rows[] = {
        { "", "eve@stranger.example", { 0, 0, 0, 0 } },
        { "", "bob@example.org", { 2, 0, 2, 2 } },
        { "", "nobody@example.org", { 0, 0, 0, 0 } },
        { "alice@example.org", "alice@example.org", { 0, 0, 0, 0 } },
        { "alice@example.org", "bob@example.org", { 1, 1, 0, 1 } },
        { "alice@example.org", "eve@stranger.example", { 1, 1, 0, 0 } },
        { "alice@example.org", "", { 0, 0, 0, 0 } },
        { "", "", { 0, 0, 0, 0 } },
    };
    struct world w;
    world_init(&w);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t k = 0; k < ARRAY_LEN(all); k++) {
            w.session.sasl_user = str_z(rows[i].user);
            w.session.sender = str_z(rows[i].sender);
            w.session.sender_null = !w.session.sender.n;
            if (!rows[i].verdict[k])
                passes(&w, all[k]);
            else
                check(&w, all[k], 550, "5.7.1", NULL);
            if (rows[i].verdict[k] == 1)
                assert_true(str_ends(w.verdict.text, S("allowed: alice@example.org, sales@example.org")));
            if (rows[i].verdict[k] == 2)
                assert_true(str_ends(w.verdict.text, S(": Log in to send from this address")));
        }
    arena_done(&w.arena);
}

static void test_bounce(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    w.session.recipients = 2;
    passes(&w, "reject_multi_recipient_bounce");
    w.session.sender = STR_NONE;
    w.session.sender_null = true;
    check(&w, "reject_multi_recipient_bounce", 550, "5.5.3", NULL);
    w.session.recipients = 1;
    passes(&w, "reject_multi_recipient_bounce");
    arena_done(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generic),
        cmocka_unit_test(test_permits),
        cmocka_unit_test(test_destination),
        cmocka_unit_test(test_helo),
        cmocka_unit_test(test_fqdn),
        cmocka_unit_test(test_login_mismatch),
        cmocka_unit_test(test_bounce),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
