/* The evaluation model: order of lists, permit and reject, put-off verdicts, waiting, steps. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <time.h>
#include "policy/policy_test_world.h"

#define is(a, b) assert_true(str_eq((a), S(b)))

static void expect(struct world *w, enum policy_action action, int code, const char *rule)
{
    decide(w, POLICY_RECIPIENT);
    if (w->verdict.action != action || w->verdict.code != code || (rule && !str_eq(w->verdict.rule->name, str_z(rule))))
        fail_msg("got action %d code %d text %.*s", w->verdict.action, w->verdict.code, STR_ARG(w->verdict.text));
}

static void test_nothing_permits(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    expect(&w, POLICY_PERMIT, 250, NULL);
    assert_null(w.verdict.rule);
    assert_int_equal(w.verdict.n_steps, 0);
    arena_done(&w.arena);
}

static void test_permit_ends_only_its_list(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_list(&w, POLICY_CLIENT, "permit reject");
    world_list(&w, POLICY_RELAY, "permit reject");
    expect(&w, POLICY_PERMIT, 250, "permit");
    assert_int_equal(w.verdict.stage, POLICY_RELAY);
    world_list(&w, POLICY_RECIPIENT, "reject");
    expect(&w, POLICY_REJECT, 554, "reject");
    is(w.verdict.text, "<bob@example.org>: Access denied");
    is(w.verdict.enhanced, "5.7.1");
    assert_int_equal(w.verdict.stage, POLICY_RECIPIENT);
    assert_int_equal(w.verdict.n_steps, 3);
    arena_done(&w.arena);
}

static void test_order_of_lists(void **state)
{
    (void)state;
    static const char *const texts[] = { "<unknown[203.0.113.9]>: Access denied",
                                         "<mail.stranger.example>: Access denied",
                                         "<eve@stranger.example>: Access denied", "<bob@example.org>: Access denied",
                                         "<bob@example.org>: Access denied" };
    struct world w;
    world_init(&w);
    for (int stage = POLICY_RECIPIENT; stage >= 0; stage--) {
        world_list(&w, stage, "reject");
        expect(&w, POLICY_REJECT, 554, "reject");
        assert_int_equal(w.verdict.stage, stage);
        assert_int_equal(w.verdict.rule->line, stage + 10);
        assert_true(str_eq(w.verdict.text, str_z(texts[stage])));
    }
    for (enum policy_stage at = POLICY_CLIENT; at < POLICY_RELAY; at++) {
        decide(&w, at);
        assert_int_equal(w.verdict.action, POLICY_PERMIT);
        assert_int_equal(w.verdict.n_steps, 0);
    }
    decide(&w, POLICY_DATA);
    assert_int_equal(w.verdict.action, POLICY_PERMIT);
    world_list(&w, POLICY_DATA, "reject");
    decide(&w, POLICY_DATA);
    assert_int_equal(w.verdict.action, POLICY_REJECT);
    arena_done(&w.arena);
}

static void test_without_delay(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    w.rules.delay_reject = false;
    world_list(&w, POLICY_HELO, "reject");
    decide(&w, POLICY_CLIENT);
    assert_int_equal(w.verdict.action, POLICY_PERMIT);
    decide(&w, POLICY_HELO);
    assert_int_equal(w.verdict.action, POLICY_REJECT);
    /* the client list does not know the recipient, so this guard has no opinion there */
    world_list(&w, POLICY_HELO, "");
    world_list(&w, POLICY_CLIENT, "reject_unauth_destination");
    w.session.recipient = S("x@elsewhere.example");
    expect(&w, POLICY_PERMIT, 250, NULL);
    w.rules.delay_reject = true;
    expect(&w, POLICY_REJECT, 554, "reject_unauth_destination");
    /* what a list put off comes due at RCPT */
    w.rules.delay_reject = false;
    world_list(&w, POLICY_CLIENT, "defer_if_permit");
    decide(&w, POLICY_CLIENT);
    assert_int_equal(w.verdict.action, POLICY_PERMIT);
    expect(&w, POLICY_DEFER, 450, "defer_if_permit");
    arena_done(&w.arena);
}

static void test_defer_if_permit(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_list(&w, POLICY_CLIENT, "defer_if_permit permit");
    expect(&w, POLICY_DEFER, 450, "defer_if_permit");
    is(w.verdict.enhanced, "4.7.0");
    is(w.verdict.text, "<unknown[203.0.113.9]>: Service unavailable, try again later");
    world_list(&w, POLICY_RECIPIENT, "reject");
    expect(&w, POLICY_REJECT, 554, "reject");
    world_list(&w, POLICY_CLIENT, "warn_if_reject defer_if_permit");
    world_list(&w, POLICY_RECIPIENT, "");
    expect(&w, POLICY_PERMIT, 250, NULL);
    assert_int_equal(w.verdict.steps[0].outcome, POLICY_WARNED);
    arena_done(&w.arena);
}

static void test_defer_if_reject(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_list(&w, POLICY_RELAY, "defer_if_reject");
    world_list(&w, POLICY_RECIPIENT, "reject");
    expect(&w, POLICY_DEFER, 450, "defer_if_reject"); /* relay reaches into recipient */
    world_list(&w, POLICY_RECIPIENT, "");
    expect(&w, POLICY_PERMIT, 250, NULL);
    world_list(&w, POLICY_RELAY, "reject");
    world_list(&w, POLICY_SENDER, "defer_if_reject");
    expect(&w, POLICY_REJECT, 554, "reject"); /* sender does not reach into relay */
    world_list(&w, POLICY_SENDER, "defer_if_reject defer_if_permit reject");
    world_list(&w, POLICY_RELAY, "");
    expect(&w, POLICY_DEFER, 450, "defer_if_permit"); /* both: the list ends before its reject */
    arena_done(&w.arena);
}

static void test_warn_if_reject(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_list(&w, POLICY_RECIPIENT, "warn_if_reject reject defer");
    expect(&w, POLICY_DEFER, 450, "defer");
    assert_int_equal(w.verdict.n_steps, 2);
    assert_int_equal(w.verdict.steps[0].outcome, POLICY_WARNED);
    is(w.verdict.steps[0].text, "<bob@example.org>: Access denied");
    assert_int_equal(w.verdict.steps[1].outcome, POLICY_DEFERRED);
    arena_done(&w.arena);
}

static void test_wait_asks_only_what_is_reached(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_list(&w, POLICY_RELAY, "permit_mynetworks reject_unauth_destination");
    world_list(&w, POLICY_RECIPIENT, "check_recipient_access file:r");
    policy_decide(&w.rules, &w.session, POLICY_RECIPIENT, &w.facts, &w.verdict);
    assert_int_equal(w.verdict.action, POLICY_WAIT);
    is(w.verdict.rule->name, "reject_unauth_destination");
    assert_int_equal(w.facts.n, 1);
    assert_int_equal(w.facts.first->kind, POLICY_FACT_ADDRESS);
    is(w.facts.first->key, "bob@example.org");
    assert_int_equal(w.verdict.steps[1].outcome, POLICY_ASKED);
    expect(&w, POLICY_PERMIT, 250, NULL);
    assert_int_equal(w.rounds, 2);
    assert_ptr_equal(w.verdict.steps[1].fact, w.facts.first);
    arena_done(&w.arena);
}

static void test_failed_fact_defers(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_list(&w, POLICY_RELAY, "warn_if_reject reject_unauth_destination");
    w.failing = "bob@example.org";
    expect(&w, POLICY_DEFER, 451, "reject_unauth_destination");
    is(w.verdict.enhanced, "4.3.0");
    arena_done(&w.arena);
}

static void test_full_table_of_facts_defers(void **state)
{
    (void)state;
    struct world w;
    char key[16];
    world_init(&w);
    for (int i = 0; i < POLICY_FACTS_MAX; i++) {
        int n = snprintf(key, sizeof(key), "k%d", i);
        assert_non_null(policy_fact_ask(&w.facts, POLICY_FACT_TABLE, S("t"), str_of(key, (size_t)n)));
    }
    assert_null(policy_fact_ask(&w.facts, POLICY_FACT_TABLE, S("t"), S("more")));
    assert_non_null(policy_fact_ask(&w.facts, POLICY_FACT_TABLE, S("t"), S("k77")));
    assert_null(policy_fact_get(&w.facts, POLICY_FACT_ADDRESS, S("t"), S("k77")));
    assert_int_equal(w.facts.n, POLICY_FACTS_MAX);
    world_list(&w, POLICY_RELAY, "reject_unauth_destination");
    expect(&w, POLICY_DEFER, 451, "reject_unauth_destination");
    arena_done(&w.arena);
}

static void test_no_memory_defers(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_list(&w, POLICY_RELAY, "reject");
    struct arena none = ARENA(8);
    w.facts.arena = &none;
    policy_decide(&w.rules, &w.session, POLICY_RECIPIENT, &w.facts, &w.verdict);
    assert_int_not_equal(w.verdict.action, POLICY_PERMIT);
    assert_int_not_equal(w.verdict.action, POLICY_WAIT);
    assert_true(w.verdict.text.n > 0 && w.verdict.enhanced.n > 0);
    arena_done(&none);
    arena_done(&w.arena);
}

static void test_reply_is_clean(void **state)
{
    (void)state;
    struct world w;
    char helo[1000];
    memset(helo, 'a', sizeof(helo));
    memcpy(helo, "x\r\n250 ok\xff", 10);
    world_init(&w);
    world_list(&w, POLICY_HELO, "reject");
    w.session.helo = str_of(helo, sizeof(helo));
    expect(&w, POLICY_REJECT, 554, "reject");
    assert_true(w.verdict.text.n <= 490);
    for (size_t i = 0; i < w.verdict.text.n; i++)
        assert_true(w.verdict.text.p[i] >= ' ' && w.verdict.text.p[i] <= '~');
    assert_true(str_ends(w.verdict.text, S(">: Access denied")));
    arena_done(&w.arena);
}

static void test_steps_are_bounded(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct policy_word words[301];
    for (size_t i = 0; i < 300; i++)
        words[i] = (struct policy_word){ S("permit_sasl_authenticated"), S("f"), 1 };
    words[300] = (struct policy_word){ S("reject"), S("f"), 2 };
    assert_int_equal(policy_compile(&w.arena, POLICY_RELAY, words, 301, &w.rules.list[POLICY_RELAY], NULL), 0);
    expect(&w, POLICY_REJECT, 554, "reject");
    assert_int_equal(w.verdict.n_steps, POLICY_STEPS_MAX);
    is(w.verdict.steps[POLICY_STEPS_MAX - 1].rule->name, "reject");
    assert_int_equal(w.verdict.steps[POLICY_STEPS_MAX - 1].outcome, POLICY_REFUSED);
    arena_done(&w.arena);
}

/* docs/policy.md is where postmasters read: it must know every word and action. */
static void test_documentation_names_all(void **state)
{
    (void)state;
    static char text[200000];
    FILE *f = fopen("docs/policy.md", "r");
    assert_non_null(f);
    str doc = str_of(text, fread(text, 1, sizeof(text), f));
    fclose(f);
    struct policy_word_info info;
    char quoted[80];
    size_t n = 0;
    for (; policy_word_info(n, &info); n++) {
        snprintf(quoted, sizeof(quoted), "| `%s", info.name);
        if (str_find(doc, str_z(quoted)) < 0)
            fail_msg("docs/policy.md lacks %s", info.name);
        assert_true(strlen(info.doc) > 5);
    }
    assert_true(n > 20);
    for (n = 0; policy_action_info(n, &info); n++) {
        snprintf(quoted, sizeof(quoted), "`%s", info.name);
        if (str_find(doc, str_z(quoted)) < 0)
            fail_msg("docs/policy.md lacks the action %s", info.name);
    }
    assert_true(n > 5);
}

static void test_speed(void **state)
{
    (void)state;
    struct world w;
    struct timespec a, b;
    world_init(&w);
    world_list(&w, POLICY_SENDER, "reject_non_fqdn_sender");
    world_list(&w, POLICY_RELAY, "permit_mynetworks permit_sasl_authenticated reject_unauth_destination");
    world_list(&w, POLICY_RECIPIENT, "reject_unlisted_recipient");
    expect(&w, POLICY_PERMIT, 250, NULL);
    struct arena scratch = ARENA(1 << 20);
    w.facts.arena = &scratch;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 20000; i++) {
        policy_decide(&w.rules, &w.session, POLICY_RECIPIENT, &w.facts, &w.verdict);
        arena_clear(&scratch);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    double us = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / 20000 / 1000;
    print_message("decide, 5 rules: %.2f us\n", us);
    assert_true(us < 100); /* sanitizers and a busy machine; 2 us is the aim of a release build */
    arena_done(&scratch);
    arena_done(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_permits),
        cmocka_unit_test(test_permit_ends_only_its_list),
        cmocka_unit_test(test_order_of_lists),
        cmocka_unit_test(test_without_delay),
        cmocka_unit_test(test_defer_if_permit),
        cmocka_unit_test(test_defer_if_reject),
        cmocka_unit_test(test_warn_if_reject),
        cmocka_unit_test(test_wait_asks_only_what_is_reached),
        cmocka_unit_test(test_failed_fact_defers),
        cmocka_unit_test(test_full_table_of_facts_defers),
        cmocka_unit_test(test_no_memory_defers),
        cmocka_unit_test(test_reply_is_clean),
        cmocka_unit_test(test_steps_are_bounded),
        cmocka_unit_test(test_documentation_names_all),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
