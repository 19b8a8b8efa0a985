/* posthouse account: add, passwd, remove, list on files. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include "auth/password.h"
#include "conf/accounts.h"

/* True if that is the password in the secrets file. */
static bool password_is(struct admin_play *p, const char *address, const char *password)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    char text[65536];
    int fd = openat(p->dir_fd, "secrets", O_RDONLY | O_CLOEXEC);
    play_catch(fd, text, sizeof(text));
    for (str rest = str_z(text); rest.n;) {
        struct account_secret s;
        assert_int_equal(account_secret_parse(&a, str_cut(&rest, '\n'), &s), 0);
        if (str_eq(s.address, str_z(address)))
            return password_check(&s, str_z(password));
    }
    return false;
}

static void test_add_passwd_remove(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    struct stat st;
    admin_play_init(&p);
    assert_int_equal(
        COMMAND_ON(&p, cmd_account, "first secret\n", "account", "add", "Dora@Example.org", "--password-stdin"), 0);
    play_says(p.out, "dora@example.org is added; no server runs.");
    assert_true(password_is(&p, "dora@example.org", "first secret"));
    assert_int_equal(fstatat(p.dir_fd, "secrets", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "x\n", "account", "add", "dora@example.org", "--password-stdin"),
                     EXIT_DATA);
    play_says(p.err, "is there already");
    assert_int_equal(COMMAND_ON(&p, cmd_account, "second", "account", "passwd", "dora@example.org"), 0);
    assert_true(password_is(&p, "dora@example.org", "second"));
    assert_int_equal(COMMAND_ON(&p, cmd_account, "", "account", "list"), 0);
    assert_string_equal(p.out, "anna@example.org\nbob@example.org\ndora@example.org\n");
    assert_int_equal(COMMAND_ON(&p, cmd_account, "", "account", "remove", "dora@example.org"), 0);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "", "account", "remove", "dora@example.org"), EXIT_DATA);
    play_says(p.err, "there is no account dora@example.org");
    assert_false(password_is(&p, "dora@example.org", "second"));
    assert_int_equal(COMMAND_ON(&p, cmd_account, "x\n", "account", "add", "emil@example.org", "--quota", "2G"), 0);
    char lines[4096];
    play_catch(openat(p.dir_fd, "accounts", O_RDONLY | O_CLOEXEC), lines, sizeof(lines));
    play_says(lines, "emil@example.org quota=2G\n");
    assert_int_equal(COMMAND_ON(&p, cmd_account, "", "account", "list", "--json"), 0);
    play_says(p.out, "\"address\": \"anna@example.org\"");
}

static void test_what_is_refused_changes_nothing(void **state)
{
    (void)state;
    static char longest[600];
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    memset(longest, 'p', 512);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "x\n", "account", "add", "no address"), EXIT_DATA);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "x\n", "account", "add", "x@far.example"), EXIT_DATA);
    play_says(p.err, "far.example is not a domain of this host");
    assert_int_equal(COMMAND_ON(&p, cmd_account, "", "account", "add", "dora@example.org"), EXIT_DATA);
    play_says(p.err, "no password was given");
    assert_int_equal(COMMAND_ON(&p, cmd_account, "\n", "account", "add", "dora@example.org"), EXIT_DATA);
    assert_int_equal(COMMAND_ON(&p, cmd_account, longest, "account", "add", "dora@example.org"), EXIT_DATA);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "x\n", "account", "passwd", "dora@example.org"), EXIT_DATA);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "", "account"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "x\n", "account", "add", "dora@example.org", "--quota", "2X"),
                     EXIT_USAGE);
    play_says(p.err, "--quota 2X: this is not a size");
    assert_int_equal(COMMAND_ON(&p, cmd_account, "x\n", "account", "passwd", "bob@example.org", "--quota", "2G"),
                     EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "", "account", "rename", "a@example.org"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "", "account", "add"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_account, "", "account", "list"), 0);
    assert_string_equal(p.out, "anna@example.org\nbob@example.org\n");
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_passwd_remove),
        cmocka_unit_test(test_what_is_refused_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
