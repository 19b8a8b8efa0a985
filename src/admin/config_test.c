/* posthouse config check and explain. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"

static void test_check(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "check"), 0);
    play_says(p.out, "is in order: 2 listeners, 1 domains, 2 accounts");
    play_conf(&p, "smtpd_relay_restrictions permit\n");
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "check"), EXIT_CONFIG);
    play_says(p.err, "posthouse.conf:");
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "check", "more"), EXIT_USAGE);
}

static void test_explain_a_setting(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    char want[256];
    admin_play_init(&p);
    play_conf(&p, "message_size_limit 7M\n");
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "explain", "message_size_limit"), 0);
    play_says(p.out, "default  50M");
    play_says(p.out, "now      7M");
    snprintf(want, sizeof(want), "set      %s:", p.conf);
    play_says(p.out, want);
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "explain", "min_free"), 0);
    play_says(p.out, "the default is in force");
}

static void test_explain_a_list_and_a_word(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "explain", "smtpd_relay_restrictions"), 0);
    play_says(p.out, "reject_unauth_destination");
    play_says(p.out, "(default of this service)");
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "explain", "reject_unauth_destination"), 0);
    play_says(p.out, "reject_unauth_destination\n");
}

static void test_explain_what_is_not_there(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "explain", "message_size_limits"), 1);
    play_says(p.err, "did you mean message_size_limit?");
    assert_int_equal(COMMAND_ON(&p, cmd_config, "", "config", "explain", "zzzzzzzzzzzzzzzzzz"), 1);
    play_says(p.err, "there is no setting or rule");
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_explain_a_setting),
        cmocka_unit_test(test_explain_a_list_and_a_word),
        cmocka_unit_test(test_explain_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
