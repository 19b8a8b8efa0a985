/* Restriction lists of a configuration: compiled, checked, decided with the answers at hand. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "session/smtp_policy.h"

struct world {
    struct arena a;
    struct buf directory;
    struct role_config *config;
    struct smtp_policy *policy;
    struct policy_error error;
};

/* 0 or the error of smtp_policy_new. */
static int world(struct world *w, const char *settings)
{
    struct conf_error e = { 0 };
    struct buf bundle = BUF(65536), text = BUF(65536);
    *w = (struct world){ .a = ARENA(CONF_MEMORY_MAX), .directory = BUF(1 << 20) };
    w->config = calloc(1, sizeof(*w->config));
    w->config->refs = 1;
    w->config->arena = ARENA(CONF_MEMORY_MAX);
    buf_addf(&text, "aliases aliases\ndomain example.org { postmaster anna@example.org }\n%s", settings);
    conf_bundle_begin(&bundle, S("posthouse.conf"));
    conf_bundle_add(&bundle, S("posthouse.conf"), buf_str(&text));
    conf_bundle_add(&bundle, S("accounts"), S("anna@example.org\nbob@example.org\n"));
    conf_bundle_add(&bundle, S("aliases"), S("info@example.org: anna@example.org\n"));
    conf_bundle_add(&bundle, S("bad"), S("192.0.2.1 REJECT\n192.0.2.2 OK\n"));
    conf_bundle_add(&bundle, S("good"), S("spam.example REJECT no spam\n"));
    str copy = arena_dup(&w->config->arena, buf_str(&bundle));
    if (conf_parse(&w->config->arena, copy, &w->config->conf, &e) < 0 ||
        directory_compile(&w->a, copy, w->config->conf, 1, &w->directory, &e) < 0)
        fail_msg("%.*s", STR_ARG(e.text));
    assert_int_equal(directory_open(buf_str(&w->directory), &w->config->directory), 0);
    buf_done(&bundle);
    buf_done(&text);
    return smtp_policy_new(w->config, &w->policy, &w->error);
}

static void world_done(struct world *w)
{
    smtp_policy_unref(w->policy);
    role_config_unref(w->config);
    arena_done(&w->a);
    buf_done(&w->directory);
}
#define _cleanup_world_ _cleanup_(world_done)

static struct policy_verdict decide(struct world *w, size_t listener, const struct policy_session *s,
                                    enum policy_stage at, struct buf *event)
{
    struct policy_facts facts = { .arena = &w->a };
    struct policy_verdict v;
    smtp_policy_decide(w->policy, &w->policy->rules[listener], s, at, &facts, &v);
    if (event)
        smtp_policy_event(event, &w->policy->rules[listener], s, at, &facts, &v);
    return v;
}

static void test_defaults_of_the_services(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct policy_session s = { .client_addr = { "192.0.2.9", 9 },
                                .helo = { "x", 1 },
                                .sender = { "x@far.example", 13 } };
    assert_int_equal(
        world(&w, "listen smtp 127.0.0.1:25\nlisten pop3 127.0.0.1:110\nlisten submission 127.0.0.1:587\n"), 0);
    s.recipient = S("anna@example.org");
    assert_int_equal(decide(&w, 0, &s, POLICY_RECIPIENT, NULL).action, POLICY_PERMIT);
    s.recipient = S("y@other.example");
    _cleanup_buf_ struct buf event = BUF(65536);
    struct policy_verdict v = decide(&w, 0, &s, POLICY_RECIPIENT, &event);
    assert_int_equal(v.action, POLICY_REJECT);
    assert_int_equal(v.code, 554);
    assert_true(str_find(buf_str(&event), S("rule=reject_unauth_destination")) >= 0);
    assert_true(str_find(buf_str(&event), S("list=smtpd_relay_restrictions")) >= 0);
    assert_true(str_find(buf_str(&event), S("change=")) >= 0);
    assert_true(str_find(buf_str(&event), S("y@other.example: foreign")) >= 0);
    assert_int_equal(decide(&w, 2, &s, POLICY_RECIPIENT, NULL).action, POLICY_REJECT);
    s.sasl_user = S("anna@example.org");
    s.sender = S("anna@example.org");
    assert_int_equal(decide(&w, 2, &s, POLICY_RECIPIENT, NULL).action, POLICY_PERMIT);
}

static void test_tables_and_directory_answer(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct policy_session s = { .client_addr = { "192.0.2.1", 9 },
                                .helo = { "x", 1 },
                                .sender = { "x@spam.example", 14 },
                                .recipient = { "anna@example.org", 16 } };
    assert_int_equal(world(&w, "listen smtp 127.0.0.1:25 {\n smtpd_client_restrictions check_client_access file:bad\n"
                               " smtpd_sender_restrictions check_sender_access file:good\n}\n"), 0);
    assert_int_equal(decide(&w, 0, &s, POLICY_RECIPIENT, NULL).action, POLICY_REJECT);
    s.client_addr = S("192.0.2.2");
    struct policy_verdict v = decide(&w, 0, &s, POLICY_RECIPIENT, NULL);
    assert_int_equal(v.action, POLICY_REJECT);
    assert_true(str_find(v.text, S("no spam")) >= 0);
    s.sender = S("x@far.example");
    assert_int_equal(decide(&w, 0, &s, POLICY_RECIPIENT, NULL).action, POLICY_PERMIT);
}

static void test_an_open_relay_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "listen smtp 127.0.0.1:25\nsmtpd_relay_restrictions permit\n",
        "listen smtp 127.0.0.1:25 { smtpd_relay_restrictions permit_mynetworks }\n",
        "mynetworks 0.0.0.0/0\nlisten smtp 127.0.0.1:25 { smtpd_relay_restrictions permit_mynetworks, "
        "reject_unauth_destination }\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_world_ struct world w;
        assert_int_equal(world(&w, bad[i]), -EINVAL);
        assert_null(w.policy);
        assert_int_equal(w.config->refs, 1);
        volatile char sum = 0; /* the text is still there to be read */
        for (size_t k = 0; k < w.error.text.n; k++)
            sum ^= w.error.text.p[k];
        assert_true(w.error.text.n > 10);
    }
}

static void test_compile_names_the_place(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct policy_rules *rules;
    struct smtp_nets nets;
    struct policy_error e = { 0 };
    assert_int_equal(world(&w, "listen smtp 127.0.0.1:25 { smtpd_relay_restrictions permit }\n"), -EINVAL);
    assert_int_equal(smtp_policy_compile(&w.a, w.config->conf, &rules, &nets, &e), -EINVAL);
    assert_true(str_eq(e.file, S("posthouse.conf")));
    assert_int_equal(e.line, 3);
}

static void test_references(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    assert_int_equal(world(&w, "listen smtp 127.0.0.1:25\n"), 0);
    assert_int_equal(w.config->refs, 2);
    assert_ptr_equal(smtp_policy_ref(w.policy), w.policy);
    smtp_policy_unref(w.policy);
    assert_int_equal(w.config->refs, 2);
    smtp_policy_unref(TAKE(w.policy));
    assert_int_equal(w.config->refs, 1);
    smtp_policy_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_of_the_services),
        cmocka_unit_test(test_tables_and_directory_answer),
        cmocka_unit_test(test_an_open_relay_is_refused),
        cmocka_unit_test(test_compile_names_the_place),
        cmocka_unit_test(test_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
