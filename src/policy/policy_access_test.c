/* check_*_access: the order of keys, right sides, nested lists. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "policy/policy_test_world.h"

static void expect_keys(struct world *w, const char *line, const char *keys)
{
    world_again(w);
    world_list(w, POLICY_RECIPIENT, line);
    policy_decide(&w->rules, &w->session, POLICY_RECIPIENT, &w->facts, &w->verdict);
    assert_int_equal(w->verdict.action, POLICY_WAIT);
    str rest = str_z(keys);
    const struct policy_fact *f = w->facts.first;
    for (str key = str_word(&rest); key.n || f; key = str_word(&rest), f = f->next) {
        if (!f || !str_eq(f->key, key))
            fail_msg("%s: key %.*s, got %.*s", line, STR_ARG(key), STR_ARG(f ? f->key : S("none")));
        assert_true(str_eq(f->subject, S("file:t")));
        assert_int_equal(f->kind, POLICY_FACT_TABLE);
        assert_int_equal(f->state, POLICY_FACT_OPEN);
    }
}

static void test_keys(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    w.session.sender = S("Eve+Tag@A.Example.org");
    expect_keys(&w, "check_sender_access file:t",
                "eve+tag@a.example.org eve@a.example.org a.example.org .example.org example.org .org "
                "org eve+tag@ eve@");
    w.rules.recipient_delimiter = S("-_");
    w.session.recipient = S("a_b-c@d.e");
    expect_keys(&w, "check_recipient_access file:t", "a_b-c@d.e a@d.e d.e .e e a_b-c@ a@");
    w.session.recipient = S("postmaster");
    expect_keys(&w, "check_recipient_access file:t", "postmaster");
    w.session.recipient = S("x@[192.0.2.1]");
    expect_keys(&w, "check_recipient_access file:t", "x@[192.0.2.1] [192.0.2.1] x@");
    w.session.sender = STR_NONE;
    w.session.sender_null = true;
    expect_keys(&w, "check_sender_access file:t", "<>");
    w.session.helo = S("Mail.Example.");
    expect_keys(&w, "check_helo_access file:t", "mail.example .example example");
    w.session.helo = S("192.0.2.7");
    expect_keys(&w, "check_helo_access file:t", "192.0.2.7");
    expect_keys(&w, "check_client_access file:t", "unknown 203.0.113.9 203.0.113 203.0 203");
    w.session.client_name = S("mx.example");
    w.session.client_addr = S("2001:db8:0:1::77");
    expect_keys(&w, "check_client_access file:t",
                "mx.example .example example 2001:db8:0:1::77 2001:db8:0:1 2001:db8:0 2001:db8 2001");
    arena_done(&w.arena);
}

/* Many labels or bytes: few keys, and the domain at the end is among them. */
static void test_hostile_names(void **state)
{
    (void)state;
    struct world w;
    char name[4000];
    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = i % 2 ? '.' : 'a';
    memcpy(name + sizeof(name) - 12, ".evil.exampl", 12);
    world_init(&w);
    world_list(&w, POLICY_RECIPIENT, "check_sender_access file:t check_helo_access file:t check_client_access file:t");
    w.session.sender = w.session.helo = w.session.client_name = w.session.client_addr = str_of(name, sizeof(name));
    const struct entry entries[] = { { "file:t", "evil.exampl", "REJECT" } };
    policy_decide(&w.rules, &w.session, POLICY_RECIPIENT, &w.facts, &w.verdict);
    assert_true(w.facts.n <= 50);
    w.entries = entries;
    w.n_entries = 1;
    decide(&w, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.action, POLICY_REJECT);
    arena_done(&w.arena);
}

static void check_value(const char *value, int code, const char *enhanced, const char *text)
{
    struct world w;
    struct entry entries[] = { { "file:t", "stranger.example", value }, { "file:t", "example", "REJECT too far" } };
    world_init(&w);
    w.entries = entries;
    w.n_entries = 2;
    world_list(&w, POLICY_SENDER, "check_sender_access file:t");
    decide(&w, POLICY_RECIPIENT);
    struct policy_verdict *v = &w.verdict;
    if (v->code != code || !str_eq(v->enhanced, str_z(enhanced)) || !str_eq(v->text, str_z(text)))
        fail_msg("%s: %d %.*s %.*s", value, v->code, STR_ARG(v->enhanced), STR_ARG(v->text));
    assert_int_equal(v->hangup, code == 421 || code == 521);
    assert_true(str_eq(v->steps[0].fact->text, str_z(value)));
    arena_done(&w.arena);
}

static void test_right_sides(void **state)
{
    (void)state;
    check_value("OK", 250, "2.1.5", "Ok");
    check_value("relay", 250, "2.1.5", "Ok");
    check_value("1234567890", 250, "2.1.5", "Ok");
    check_value("550", 250, "2.1.5", "Ok"); /* all digits: Postfix */
    check_value("DUNNO", 250, "2.1.5", "Ok");
    check_value("WARN look at this", 250, "2.1.5", "Ok");
    check_value("REJECT", 554, "5.7.1", "<eve@stranger.example>: Access denied");
    check_value("reject  Go away ", 554, "5.7.1", "<eve@stranger.example>: Go away");
    check_value("REJECT 5.1.7 Bad sender", 554, "5.1.7", "<eve@stranger.example>: Bad sender");
    check_value("REJECT 4.1.7 Bad sender", 554, "5.1.7", "<eve@stranger.example>: Bad sender");
    check_value("REJECT 5.1 things", 554, "5.7.1", "<eve@stranger.example>: 5.1 things");
    check_value("DEFER", 450, "4.7.1", "<eve@stranger.example>: Try again later");
    check_value("DEFER 4.2.0 busy", 450, "4.2.0", "<eve@stranger.example>: busy");
    check_value("DEFER_IF_PERMIT wait", 450, "4.7.0", "<eve@stranger.example>: wait");
    check_value("DEFER_IF_REJECT wait", 250, "2.1.5", "Ok");
    check_value("550 5.1.1 no", 550, "5.1.1", "<eve@stranger.example>: no");
    check_value("451 later", 451, "4.7.1", "<eve@stranger.example>: later");
    check_value("421 bye", 421, "4.7.1", "<eve@stranger.example>: bye");
    check_value("521 bye", 521, "5.7.1", "<eve@stranger.example>: bye");
    check_value("HOLD", 451, "4.3.5", "<eve@stranger.example>: Configuration error in table file:t");
    check_value("nonsense", 451, "4.3.5", "<eve@stranger.example>: Configuration error in table file:t");
    check_value("", 451, "4.3.5", "<eve@stranger.example>: Configuration error in table file:t");
    check_value("reject_plaintext_session", 450, "4.7.1", "<eve@stranger.example>: Session encryption is required");
    check_value("permit_sasl_authenticated, reject", 554, "5.7.1", "<eve@stranger.example>: Access denied");
    check_value("permit, reject", 250, "2.1.5", "Ok");
    check_value("check_sender_access file:t", 451, "4.3.5",
                "<eve@stranger.example>: Configuration error in table file:t");
}

static void test_first_match_decides(void **state)
{
    (void)state;
    struct world w;
    const struct entry entries[] = { { "file:t", "eve@stranger.example", "DUNNO" }, { "file:t", "example", "REJECT" } };
    world_init(&w);
    w.entries = entries;
    w.n_entries = 2;
    world_list(&w, POLICY_SENDER, "check_sender_access file:t");
    decide(&w, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.action, POLICY_PERMIT);
    w.n_entries = 2;
    w.session.sender = S("other@stranger.example");
    world_again(&w);
    decide(&w, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.action, POLICY_REJECT);
    /* a lookup that fails before the match defers; behind the match it does not matter */
    w.failing = "stranger.example";
    world_again(&w);
    decide(&w, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.code, 451);
    w.failing = "other@";
    world_again(&w);
    decide(&w, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.action, POLICY_REJECT);
    arena_done(&w.arena);
}

static void test_nested(void **state)
{
    (void)state;
    struct world w;
    const struct entry entries[] = { { "file:t", "stranger.example",
                                       "warn_if_reject reject, check_recipient_access file:r" },
                                     { "file:r", "bob@example.org", "550 not for bob" } };
    world_init(&w);
    w.entries = entries;
    w.n_entries = 2;
    world_list(&w, POLICY_SENDER, "check_sender_access file:t");
    decide(&w, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.code, 550);
    assert_true(str_eq(w.verdict.text, S("<bob@example.org>: not for bob")));
    assert_true(str_eq(w.verdict.rule->name, S("check_recipient_access")));
    assert_true(str_eq(w.verdict.rule->file, S("file:t")));
    assert_int_equal(w.verdict.n_steps, 3);
    assert_true(str_eq(w.verdict.steps[0].rule->name, S("check_sender_access")));
    assert_int_equal(w.verdict.steps[0].outcome, POLICY_REFUSED);
    assert_int_equal(w.verdict.steps[1].outcome, POLICY_WARNED);
    assert_int_equal(w.verdict.steps[2].outcome, POLICY_REFUSED);
    assert_int_equal(w.rounds, 2);
    /* a trial run covers what the table leads to, but not our own errors */
    world_list(&w, POLICY_SENDER, "warn_if_reject check_sender_access file:t");
    decide(&w, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.action, POLICY_PERMIT);
    const struct entry broken[] = { { "file:t", "stranger.example", "nonsense" } };
    w.entries = broken;
    w.n_entries = 1;
    world_again(&w);
    decide(&w, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.code, 451);
    arena_done(&w.arena);
}

/* Tables that lead to each other with many rules each end with a verdict, and soon. */
static void test_nested_flood(void **state)
{
    (void)state;
    struct world w;
    static char many[2000];
    size_t n = 0;
    for (int i = 0; i < 30; i++)
        n += strlen(memcpy(many + n, "check_sender_access file:u ", 28));
    const struct entry entries[] = { { "file:t", "stranger.example", many },
                                     { "file:u", "stranger.example",
                                       "check_client_access file:v check_client_access file:v check_client_access "
                                       "file:v check_client_access file:v "
                                       "check_client_access file:v check_client_access file:v check_client_access "
                                       "file:v check_client_access file:v" },
                                     { "file:v", "203",
                                       "permit_sasl_authenticated permit_mynetworks permit_sasl_authenticated "
                                       "permit_sasl_authenticated" } };
    world_init(&w);
    w.entries = entries;
    w.n_entries = 3;
    world_list(&w, POLICY_SENDER, "check_sender_access file:t");
    decide(&w, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.code, 451);
    assert_true(str_ends(w.verdict.text, S("Configuration error: access tables lead to too many rules")));
    assert_int_equal(w.verdict.n_steps, POLICY_STEPS_MAX);
    arena_done(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_hostile_names),
        cmocka_unit_test(test_right_sides),
        cmocka_unit_test(test_first_match_decides),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_nested_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
