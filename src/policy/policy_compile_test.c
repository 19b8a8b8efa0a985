/* From words to rules, and the errors a postmaster reads. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "policy/policy.h"

static int compile(struct arena *a, enum policy_stage stage, const char *line, struct policy_list *out,
                   struct policy_error *error)
{
    struct policy_word words[32];
    size_t n = 0;
    str rest = str_z(line);
    for (str word = str_word(&rest); word.n; word = str_word(&rest), n++)
        words[n] = (struct policy_word){ word, S("main.conf"), (uint32_t)n + 1 };
    return policy_compile(a, stage, words, n, out, error);
}

static void test_rules(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(65536);
    struct policy_list list;
    struct policy_error error;
    assert_int_equal(compile(&a, POLICY_RELAY, "permit_mynetworks, warn_if_reject Check_Sender_Access file:x , reject",
                             &list, &error),
                     0);
    assert_int_equal(list.n, 3);
    assert_true(str_eq(list.rules[0].name, S("permit_mynetworks")));
    assert_false(list.rules[0].warn_only);
    assert_true(list.rules[1].warn_only);
    assert_true(str_eq(list.rules[1].name, S("Check_Sender_Access")));
    assert_true(str_eq(list.rules[1].arg, S("file:x")));
    assert_int_equal(list.rules[1].line, 3);
    assert_true(str_eq(list.rules[1].file, S("main.conf")));
    assert_false(list.rules[2].warn_only);
    assert_int_equal(compile(&a, POLICY_RELAY, "", &list, &error), 0);
    assert_int_equal(list.n, 0);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct { enum policy_stage stage; const char *line, *says; uint32_t at; } rows[] = {
        { POLICY_RELAY, "permit reject_unauth_destinaton", "did you mean `reject_unauth_destination`", 2 },
        { POLICY_RELAY, "permit_sasl_autenticated", "did you mean `permit_sasl_authenticated`", 1 },
        { POLICY_RELAY, "warn_if_rejct reject", "did you mean `warn_if_reject`", 1 },
        { POLICY_RELAY, "frobnicate", "`frobnicate` is not a restriction; expected", 1 },
        { POLICY_RELAY, "reject_rbl_client zen.example",
          "`reject_rbl_client` is not available yet in this version: it needs DNS", 1 },
        { POLICY_RELAY, "check_policy_service inet:1", "not available yet in this version: it needs an external policy",
          1 },
        { POLICY_RELAY, "reject_unknown_sender_domain", "not available yet", 1 },
        { POLICY_RELAY, "reject_maps_rbl", "today it is written: reject_rbl_client", 1 },
        { POLICY_RELAY, "REJECT_INVALID_HOSTNAME", "today it is written: reject_invalid_helo_hostname", 1 },
        { POLICY_RELAY, "check_relay_domains", "reject_unauth_destination", 1 },
        { POLICY_RELAY, "check_client_access", "needs a table after it", 1 },
        { POLICY_RELAY, "check_client_access reject", "needs a table after it", 1 },
        { POLICY_RELAY, "check_client_access hash:/etc/x", "expected `file:NAME`", 2 },
        { POLICY_RELAY, "check_client_access file:", "expected `file:NAME`", 2 },
        { POLICY_RELAY, "file:x", "say what to look up in it", 1 },
        { POLICY_RELAY, "reject warn_if_reject", "needs a restriction after it", 2 },
        { POLICY_DATA, "reject_unauth_destination", "cannot stand in smtpd_data_restrictions", 1 },
        { POLICY_DATA, "check_recipient_access file:x", "cannot stand in", 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_arena_ struct arena a = ARENA(65536);
        struct policy_list list = { NULL, 77 };
        struct policy_error error = { 0 };
        assert_int_equal(compile(&a, rows[i].stage, rows[i].line, &list, &error), -EINVAL);
        if (str_find(error.text, str_z(rows[i].says)) < 0 || error.line != rows[i].at || list.n != 77)
            fail_msg("%s: line %u: %.*s", rows[i].line, error.line, STR_ARG(error.text));
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(16);
    struct policy_list list;
    struct policy_error error;
    assert_int_equal(compile(&a, POLICY_RELAY, "permit reject", &list, &error), -ENOMEM);
    assert_int_equal(compile(&a, POLICY_RELAY, "nonsense", &list, &error), -ENOMEM);
}

static void test_every_word_compiles(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct policy_word_info info;
    for (size_t i = 0; policy_word_info(i, &info); i++) {
        struct policy_list list;
        struct policy_error error;
        bool prefix = strcmp(info.name, "warn_if_reject") == 0;
        struct policy_word words[] = { { str_z(info.name), S("f"), 1 },
                                       { info.takes_table ? S("file:t") : S("reject"), S("f"), 1 } };
        assert_int_equal(policy_compile(&a, POLICY_RECIPIENT, words, info.takes_table || prefix ? 2 : 1, &list, &error),
                         0);
        assert_int_equal(list.n, 1);
        assert_int_equal(list.rules[0].warn_only, prefix);
    }
}

static void test_actions(void **state)
{
    (void)state;
    static const char *const good[] = { "OK",
                                        "ok",
                                        "RELAY",
                                        "DUNNO",
                                        "REJECT",
                                        "reject go away",
                                        "DEFER",
                                        "DEFER_IF_PERMIT x",
                                        "DEFER_IF_REJECT",
                                        "WARN look",
                                        "INFO",
                                        "550 5.1.1 no",
                                        "421 bye",
                                        "1700000000",
                                        "permit_mynetworks, reject",
                                        "check_sender_access file:other",
                                        "warn_if_reject reject_plaintext_session" };
    static const char *const bad[] = {
        "",        " ",      "HOLD",   "DISCARD x",           "FILTER smtp:x",   "redirect a@b",        "PREPEND X: y",
        "BCC a@b", "ACCEPT", "600 no", "reject_rbl_client x", "permit nonsense", "check_sender_access", ","
    };
    const char *why;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (policy_check_action(str_z(good[i]), &why) != 0)
            fail_msg("%s: %s", good[i], why);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        why = NULL;
        if (policy_check_action(str_z(bad[i]), &why) != -EINVAL || !why)
            fail_msg("%s was taken", bad[i]);
    }
    policy_check_action(S("HOLD"), &why);
    assert_non_null(strstr(why, "not available yet"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_every_word_compiles),
        cmocka_unit_test(test_actions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
