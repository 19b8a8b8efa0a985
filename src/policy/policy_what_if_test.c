/* What would have to be different: only what is true, the accepted ones first. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "policy/policy_test_world.h"

#define MOST 12

static size_t ask(struct world *w, str *out)
{
    decide(w, POLICY_RECIPIENT);
    size_t facts = w->facts.n;
    size_t n = policy_what_if(&w->rules, &w->session, POLICY_RECIPIENT, &w->facts, out, MOST);
    assert_int_equal(w->facts.n, facts); /* asks nothing */
    return n;
}

static void expect(struct world *w, const char *const *texts, size_t n)
{
    str out[MOST];
    size_t got = ask(w, out);
    for (size_t i = 0; i < got || i < n; i++)
        if (i >= got || i >= n || !str_eq(out[i], str_z(texts[i])))
            fail_msg("%zu: got %.*s", i, STR_ARG(i < got ? out[i] : S("nothing")));
}

static void test_relay_denied(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    w.session.recipient = S("x@example.net");
    world_list(&w, POLICY_RELAY, "permit_mynetworks permit_sasl_authenticated reject_unauth_destination");
    static const char *const all[] = {
        "if the client logged in (AUTH on port 587 or 465; rule permit_sasl_authenticated, main.conf:13), the message "
        "would be accepted",
        "if example.net were one of this host's domains (add `domain example.net`), the message would be accepted",
        "if 203.0.113.9 were in mynetworks, the message would be accepted",
    };
    expect(&w, all, 3);
    /* port 25: nothing here takes a login or a network */
    world_list(&w, POLICY_RELAY, "reject_unauth_destination");
    expect(&w, all + 1, 1);
    arena_done(&w.arena);
}

static void test_only_what_turns_the_verdict(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    w.session.recipient = S("x@example.net");
    world_list(&w, POLICY_RELAY, "permit_mynetworks permit_sasl_authenticated reject_unauth_destination");
    world_list(&w, POLICY_RECIPIENT, "reject");
    str out[MOST];
    assert_int_equal(ask(&w, out), 0);
    world_list(&w, POLICY_RECIPIENT, "check_recipient_access file:r");
    static const char *const unsure[] = {
        "if the client logged in (AUTH on port 587 or 465; rule permit_sasl_authenticated, main.conf:13), the message "
        "would pass this rule",
        "if example.net were one of this host's domains (add `domain example.net`), the message would pass this rule",
        "if 203.0.113.9 were in mynetworks, the message would pass this rule",
    };
    expect(&w, unsure, 3);
    arena_done(&w.arena);
}

static void test_others(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    static const char *const exists[] = {
        "if nobody@example.org existed here (an account, or an alias), the message would be accepted",
        "without the rule reject_unlisted_recipient (main.conf:14), the message would be accepted" };
    w.session.recipient = S("nobody@example.org");
    world_list(&w, POLICY_RECIPIENT, "reject_unlisted_recipient");
    expect(&w, exists, 2);
    w.session.recipient = S("bob@example.org");
    str out[MOST];
    assert_int_equal(ask(&w, out), 0); /* nothing was refused */
    static const char *const tls[] = {
        "if the session were encrypted (STARTTLS, or port 465), the message would be accepted",
        "without the rule reject_plaintext_session (main.conf:14), the message would be accepted" };
    world_list(&w, POLICY_RECIPIENT, "reject_plaintext_session");
    expect(&w, tls, 2);
    static const char *const helo[] = {
        "if the client greeted with its fully qualified host name (HELO, EHLO), the message would be accepted",
        "without the rule reject_non_fqdn_helo_hostname (main.conf:14), the message would be accepted" };
    w.session.helo = S("localhost");
    world_list(&w, POLICY_RECIPIENT, "reject_non_fqdn_helo_hostname");
    expect(&w, helo, 2);
    static const char *const early[] = {
        "if the client waited for the replies, the message would be accepted",
        "without the rule reject_unauth_pipelining (main.conf:14), the message would be accepted" };
    w.session.early = true;
    world_list(&w, POLICY_RECIPIENT, "reject_unauth_pipelining");
    expect(&w, early, 2);
    arena_done(&w.arena);
}

static void test_senders(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    w.session.sender = S("bob@example.org");
    world_list(&w, POLICY_SENDER, "reject_sender_login_mismatch");
    static const char *const login[] = { "if the client logged in (AUTH on port 587 or 465), the message would be "
                                         "accepted",
                                         "without the rule reject_sender_login_mismatch (main.conf:12), the message "
                                         "would be accepted" };
    expect(&w, login, 2);
    w.session.sasl_user = S("alice@example.org");
    static const char *const owner[] = { "if alice@example.org could use the sender bob@example.org (an alias that "
                                         "leads to it alone, or "
                                         "an extra address of the account), the message would be accepted",
                                         login[1] };
    expect(&w, owner, 2);
    arena_done(&w.arena);
}

static void test_table_entry(void **state)
{
    (void)state;
    struct world w;
    const struct entry entries[] = { { "file:t", "stranger.example", "reject_plaintext_session, reject" } };
    world_init(&w);
    w.entries = entries;
    w.n_entries = 1;
    world_list(&w, POLICY_SENDER, "check_sender_access file:t");
    str out[MOST];
    assert_int_equal(ask(&w, out), 1);
    assert_true(str_eq(out[0], S("if `stranger.example` were not in file:t, the message would be accepted")));
    assert_int_equal(policy_what_if(&w.rules, &w.session, POLICY_RECIPIENT, &w.facts, out, 0), 0);
    arena_done(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay_denied),
        cmocka_unit_test(test_only_what_turns_the_verdict),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_senders),
        cmocka_unit_test(test_table_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
