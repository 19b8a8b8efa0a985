/* posthouse store check and rebuild, offline and while a server runs. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"

static void test_before_the_first_start(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_store, "", "store", "check"), EXIT_UNAVAILABLE);
    play_says(p.err, "the server has never run");
    assert_int_equal(COMMAND_ON(&p, cmd_store, "", "store"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_store, "", "store", "mend"), EXIT_USAGE);
}

static void test_after_a_run(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    admin_play_init(&p);
    play_serve(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_store, "", "store", "check"), 0);
    assert_int_equal(COMMAND_ON(&p, cmd_store, "", "store", "rebuild"), EXIT_UNAVAILABLE);
    play_says(p.err, "the server is running");
    client_open(&c, p.port[0]);
    client_expect(&c, "220");
    client_send(&c, S("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n"));
    for (int i = 0; i < 3; i++)
        client_expect(&c, "250");
    client_expect(&c, "354");
    client_talk(&c, "\r\nx\r\n.\r\n", "250");
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
    assert_int_equal(COMMAND_ON(&p, cmd_store, "", "store", "check"), 0);
    play_says(p.out, "0 findings.");
    assert_int_equal(COMMAND_ON(&p, cmd_store, "", "store", "rebuild"), 0);
    assert_int_equal(COMMAND_ON(&p, cmd_store, "", "store", "check"), 0);
    _cleanup_close_ int index = openat(p.dir_fd, "data/index.db", O_RDWR | O_CLOEXEC);
    assert_true(index >= 0);
    assert_int_equal(pwrite(index, "garbage garbage garbage", 23, 0), 23);
    assert_int_equal(COMMAND_ON(&p, cmd_store, "", "store", "check"), 1);
    play_says(p.out, "FOUND: ");
}

int main(int argc, char **argv)
{
    admin_play_role(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_the_first_start),
        cmocka_unit_test(test_after_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
