/* posthouse serve: why it does not start, and how it ends. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"

static int serve(struct admin_play *p) { return COMMAND_ON(p, cmd_serve, "", "serve"); }

static void test_why_it_does_not_start(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_conf(&p, "nonsense\n");
    assert_int_equal(serve(&p), EXIT_CONFIG);
    play_says(p.err, "posthouse.conf:");
    play_conf(&p, "data_directory no/such/folder\n");
    assert_int_equal(serve(&p), EXIT_CANTCREATE);
    play_says(p.err, "data_directory");
    play_conf(&p, "");
    play_write(&p, "data", "a file, not a folder");
    assert_int_equal(serve(&p), EXIT_CANTCREATE);
    assert_int_equal(COMMAND_ON(&p, cmd_serve, "", "serve", "--no-such-option"), EXIT_USAGE);
}

static void test_signals_end_it(void **state)
{
    (void)state;
    static const int how[] = { SIGTERM, SIGINT };
    for (size_t i = 0; i < ARRAY_LEN(how); i++) {
        _cleanup_admin_ struct admin_play p;
        admin_play_init(&p);
        play_serve(&p);
        assert_int_equal(faccessat(p.dir_fd, "data/control", F_OK, 0), 0);
        assert_int_equal(play_end_server(&p, how[i]), 0);
        assert_int_equal(faccessat(p.dir_fd, "data/control", F_OK, 0), -1);
        play_serve(&p); /* and it starts again on what is there */
        assert_int_equal(play_end_server(&p, how[i]), 0);
    }
}

static void test_sighup_reads_the_configuration_anew(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_serve(&p);
    kill(p.server, SIGHUP);
    uint64_t generation = 1;
    for (int i = 0; i < 500 && (generation = play_field(&p, "access", "generation")) != 2; i++)
        usleep(10000);
    assert_int_equal(generation, 2);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

static void test_a_second_server_stays_away(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    play_serve(&p);
    assert_int_not_equal(serve(&p), 0);
    play_says(p.err, "another server runs on it");
    assert_true(play_field(&p, "master", "pid") == (uint64_t)p.server); /* the first is still to be reached */
    p.port[0] = play_free_port();
    p.port[1] = play_free_port();
    play_conf(&p, ""); /* other ports, but the same data */
    assert_int_not_equal(serve(&p), 0);
    assert_true(play_field(&p, "master", "pid") == (uint64_t)p.server);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

int main(int argc, char **argv)
{
    admin_play_role(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_why_it_does_not_start),
        cmocka_unit_test(test_signals_end_it),
        cmocka_unit_test(test_sighup_reads_the_configuration_anew),
        cmocka_unit_test(test_a_second_server_stays_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
