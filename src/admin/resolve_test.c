/* posthouse resolve: the path and the exit code. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include <jansson.h>

static void test_paths(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "Info@example.org"), 0);
    play_says(p.out, "is delivered");
    play_says(p.out, "is an alias of anna@example.org   (aliases:1)");
    play_says(p.out, "-> anna@example.org INBOX");
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "anna+tag@example.org"), 0);
    play_says(p.out, "without its tag is");
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "postmaster@example.org"), 0);
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "nobody@example.org"), 1);
    play_says(p.out, "550 5.1.1");
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "x@far.example"), 1);
    play_says(p.out, "not a domain of this host");
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "away@example.org"), 0);
    play_says(p.out, "-> x@far.example (on another host)");
}

static void test_json(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    json_error_t e;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "info@example.org", "--json"), 0);
    json_t *all = json_loads(p.out, 0, &e);
    assert_non_null(all);
    assert_string_equal(json_string_value(json_object_get(all, "class")), "local");
    json_t *target = json_array_get(json_object_get(all, "targets"), 0);
    assert_string_equal(json_string_value(json_object_get(target, "address")), "anna@example.org");
    assert_true(json_is_false(json_object_get(target, "foreign")));
    json_t *step = json_array_get(json_object_get(all, "steps"), 0);
    assert_string_equal(json_string_value(json_object_get(step, "kind")), "alias");
    assert_int_equal(json_integer_value(json_object_get(step, "line")), 1);
    json_decref(all);
}

static void test_usage(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "a@b", "c@d"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "@@"), EXIT_DATA);
    play_conf(&p, "nonsense\n");
    assert_int_equal(COMMAND_ON(&p, cmd_resolve, "", "resolve", "anna@example.org"), EXIT_CONFIG);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
