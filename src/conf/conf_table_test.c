/* Lookup tables in the layout of access(5). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "conf/conf_private.h"
#include "conf/conf_test.h"
#include <errno.h>

static const struct conf_table *table(struct arena *a, const char *text)
{
    struct conf_table *t = NULL;
    struct conf_error e;
    if (conf_table_parse(a, S("t"), str_z(text), &t, &e) < 0)
        fail_msg("%s", test_error(a, &e));
    return t;
}

static void get(const struct conf_table *t, const char *key, const char *want)
{
    str v = S("untouched");
    assert_int_equal(conf_table_get(t, str_z(key), &v), want ? 1 : 0);
    assert_true(str_eq(v, want ? str_z(want) : S("untouched")));
}

static void test_lookup(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    const struct conf_table *t = table(&a,
        "# comment\n"
        "\n"
        "Example.COM\tREJECT  no \n"
        "192.0.2 450 4.7.1 later\r\n"
        "# inside\n"
        "user@ DEFER\n"
        "   text goes\n"
        "  # not this\n"
        "\ton\n"
        "<> OK");
    get(t, "example.com", "REJECT  no");
    get(t, "EXAMPLE.com", "REJECT  no");
    get(t, "192.0.2", "450 4.7.1 later");
    get(t, "user@", "DEFER text goes on");
    get(t, "<>", "OK");
    get(t, "", NULL);
    get(t, "192.0.2.1", NULL);
    get(t, "192.0", NULL);
    get(table(&a, ""), "x", NULL);
    char longer[600];
    memset(longer, 'x', sizeof(longer));
    str v;
    assert_int_equal(conf_table_get(t, str_of(longer, sizeof(longer)), &v), 0);
}

static void refuse(const char *text, const char *want)
{
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    struct conf_table *t = NULL;
    struct conf_error e;
    assert_int_equal(conf_table_parse(&a, S("t"), str_z(text), &t, &e), -EINVAL);
    assert_string_equal(test_error(&a, &e), want);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("a OK\nb\n", "t:2: expected a key and a value, like `192.0.2.1 REJECT`; found only \"b\"");
    refuse("a OK\nb OK\nA REJECT\n", "t:3: \"a\" is listed twice; also in line 1");
    refuse("\n a OK\n", "t:2: a line that starts with a blank continues the one before, and there is none");
    refuse("a OK\n b\x02\n", "t:2: a control byte in the line");
    refuse("a \xc3\n", "t:1: the line is not UTF-8");
}

static void test_has_ok(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    static const struct { const char *text; bool ok; } row[] = {
        { "", false }, { "a REJECT", false }, { "a OK", true }, { "a ok", true }, { "a relay", true },
        { "a 12345", true }, { "a 550 go", false }, { "a 550", false }, { "a 1234 text", false },
        { "a permit", true }, { "a permit_mynetworks, reject", true },
        { "a reject_unknown_client_hostname,permit", true }, { "a REJECT permit denied", false }, { "a DUNNO", false },
        { "a REJECT\nb OK", true }, { "a DISCARD ok", false }, { "a warn permit", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(row); i++)
        if (conf_table_has_ok(table(&a, row[i].text)) != row[i].ok)
            fail_msg("%s", row[i].text);
}

static void test_many_rows(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    struct buf b = BUF(64u << 20);
    for (unsigned i = 0; i < 200000; i++)
        buf_addf(&b, "k%u v%u\n # between\n", i, i);
    buf_addc(&b, '\0');
    const struct conf_table *t = table(&a, b.p);
    get(t, "k0", "v0");
    get(t, "k199999", "v199999");
    get(t, "k200000", NULL);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup), cmocka_unit_test(test_refused), cmocka_unit_test(test_has_ok),
        cmocka_unit_test(test_many_rows),
    };
    return cmocka_run_group_tests_name("conf_table", tests, NULL, NULL);
}
