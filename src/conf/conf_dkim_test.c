/* `dkim DOMAIN SELECTOR FILE`: what comes out, what is refused and with which words. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/cleanup.h"
#include "conf/conf_test.h"
#include <errno.h>

static void refuse(const char *text, const char *want)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = NULL;
    struct conf_error e = { 0 };
    if (conf_parse(&a, test_bundle(&a, text, NULL), &c, &e) != -EINVAL)
        fail_msg("not refused: %s", text);
    const char *got = test_error(&a, &e);
    if (!strstr(got, want))
        fail_msg("\"%s\" has no \"%s\"", got, want);
}

static void keys(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = NULL;
    struct conf_error e;
    size_t n;
    (void)state;
    const char *text = "dkim z.example s1 z.pem\ndomain z.example\ndomain A.example\ndomain b\303\274cher.example\n"
                       "dkim A.example S2 keys/a2\ndkim a.Example s1 \"keys/a 1\"\ndkim b\303\274cher.example x y\n";
    if (conf_parse(&a, test_bundle(&a, text, NULL), &c, &e) < 0)
        fail_msg("%s", test_error(&a, &e));
    assert_int_equal(c->n_dkim, 4);
    const struct conf_dkim *k = conf_dkim_find(c, S("a.example"), &n);
    assert_int_equal(n, 2);
    assert_true(str_eq(k[0].selector, S("s1")) && str_eq(k[0].key, S("keys/a 1")));
    assert_true(str_eq(k[1].selector, S("s2")) && str_eq(k[1].key, S("keys/a2")));
    k = conf_dkim_find(c, S("xn--bcher-kva.example"), &n);
    assert_int_equal(n, 1);
    assert_true(str_eq(k->key, S("y")));
    k = conf_dkim_find(c, S("z.example"), &n);
    assert_true(n == 1 && k->line == 1);
    assert_null(conf_dkim_find(c, S("b.example"), &n));
    assert_int_equal(n, 0);
    assert_null(conf_dkim_find(c, S(""), &n));
}

static void nothing(void **state)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = NULL;
    struct conf_error e;
    size_t n;
    (void)state;
    assert_int_equal(conf_parse(&a, test_bundle(&a, "domain a.example\n", NULL), &c, &e), 0);
    assert_int_equal(c->n_dkim, 0);
    assert_null(conf_dkim_find(c, S("a.example"), &n));
}

static void refused(void **state)
{
    (void)state;
    refuse("dkim a.example s\n", "expected dkim DOMAIN SELECTOR FILE");
    refuse("dkim a.example s f more\n", "expected dkim DOMAIN SELECTOR FILE");
    refuse("dkim a.example s \"\"\n", "expected dkim DOMAIN SELECTOR FILE");
    refuse("dkim a.example s f { }\n", "expected dkim DOMAIN SELECTOR FILE");
    refuse("dkim a..example s f\n", "is not a domain name");
    refuse("domain a.example\ndkim a.example s_1 f\n", "is not a selector");
    refuse("domain a.example\ndkim a.example s\303\274 f\n", "is not a selector");
    refuse("domain a.example\ndkim a.example s f\ndkim a.example S g\n", "named twice; first at");
    refuse("domain a.example\ndkim b.example s f\n", "no domain of this host");
    refuse("domain a.example\ndkim a.example a f\ndkim a.example b f\ndkim a.example c f\ndkim a.example d f\ndkim "
           "a.example e f\n",
           "more than 4 keys");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(keys), cmocka_unit_test(nothing), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
