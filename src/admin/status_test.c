/* posthouse status and reload against a server and without one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include <jansson.h>

static void test_without_a_server(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_status, "", "status"), EXIT_UNAVAILABLE); /* it has never run */
    assert_int_equal(mkdirat(p.dir_fd, "data", 0700), 0);
    assert_int_equal(COMMAND_ON(&p, cmd_status, "", "status"), EXIT_UNAVAILABLE);
    play_says(p.err, "no server runs on");
    assert_int_equal(COMMAND_ON(&p, cmd_reload, "", "reload"), EXIT_UNAVAILABLE);
    play_says(p.err, "posthouse serve -c");
    play_conf(&p, "nonsense\n");
    assert_int_equal(COMMAND_ON(&p, cmd_reload, "", "reload"), EXIT_CONFIG);
}

static void test_text_and_json(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    json_error_t e;
    admin_play_init(&p);
    play_serve(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_status, "", "status"), 0);
    static const char *const roles[] = { "master\n", "smtp-in\n", "store\n", "access\n", "auth\n" };
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        play_says(p.out, roles[i]);
    assert_int_equal(COMMAND_ON(&p, cmd_status, "", "status", "--json"), 0);
    json_t *all = json_loads(p.out, 0, &e);
    assert_non_null(all);
    assert_int_equal(json_integer_value(json_object_get(all, "generation")), 1);
    assert_int_equal(json_integer_value(json_object_get(all, "pid")), p.server);
    assert_int_equal(json_array_size(json_object_get(all, "listener")), 2);
    json_t *by_role = json_object_get(all, "roles");
    for (int id = ROLE_MASTER + 1; id < ROLE_COUNT; id++)
        assert_int_equal(json_integer_value(json_object_get(json_object_get(by_role, role_name[id]), "generation")), 1);
    json_decref(all);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

static void test_reload(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_serve(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_reload, "", "reload"), 0);
    play_says(p.out, "Every role uses the configuration of now.");
    assert_int_equal(play_field(&p, "store", "generation"), 2);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "pw\n", "account", "add", "dora@example.org"), 0);
    play_says(p.out, "and the server knows");
    assert_int_equal(play_field(&p, "auth", "accounts"), 1);
    play_conf(&p, "nonsense\n");
    assert_int_equal(COMMAND_ON(&p, cmd_reload, "", "reload"), EXIT_CONFIG);
    assert_int_equal(play_field(&p, "store", "generation"), 3);
    assert_int_equal(COMMAND_ON(&p, cmd_status, "", "status"), 0); /* the server runs, whatever the file says now */
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

int main(int argc, char **argv)
{
    admin_play_role(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_server),
        cmocka_unit_test(test_text_and_json),
        cmocka_unit_test(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
