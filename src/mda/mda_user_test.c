/* Users that mail is delivered as: who may be one, and that becoming one is for good. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mda/mda_user.h"

static void refused(const struct mda_rights *rights, const char *name, const char *why)
{
    struct mda_account a;
    struct mda_result r = { 0 };
    assert_int_equal(mda_account_find(rights, str_z(name), &a, &r), -1);
    assert_int_equal(r.outcome, MDA_DEFERRED);
    assert_string_equal(r.status, "4.3.5");
    if (str_find(str_z(r.text), str_z(why)) < 0)
        fail_msg("%s: %s", name, r.text);
}

static void taken(const struct mda_rights *rights, const char *name, const char *expected)
{
    struct mda_account a;
    struct mda_result r = { 0 };
    if (mda_account_find(rights, str_z(name), &a, &r) < 0)
        fail_msg("%s: %s", name, r.text);
    assert_true(str_eq(a.user.name, str_z(expected)));
    assert_int_equal(a.user.uid, getpwnam(expected)->pw_uid);
    mda_account_done(&a);
}

static void test_who(void **state)
{
    struct mda_rights rights = { .own = getpwnam("nobody")->pw_uid, .switches = true, .min_uid = 1000 };
    (void)state;
    taken(&rights, "", "nobody");
    taken(&rights, "nobody", "nobody");
    refused(&rights, "root", "who is root");
    refused(&rights, "games", "below mda_min_uid");
    refused(&rights, "no-such-user", "there is no system user no-such-user");
    refused(&rights, "a/../b", "there is no system user");
    rights.standard = S("games"); /* its number does not matter */
    taken(&rights, "", "games");
    taken(&rights, "games", "games");
    refused(&rights, "backup", "below mda_min_uid");
    rights.standard = S("root");
    refused(&rights, "", "who is root");
    rights.standard = STR_NONE;
    rights.min_uid = 1;
    taken(&rights, "games", "games");
    rights.switches = false;
    refused(&rights, "games", "local-delivery.conf");
    taken(&rights, "nobody", "nobody");
}

static int in_child(int (*what)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(what());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int become_games(void)
{
    struct mda_rights rights;
    struct mda_account a;
    struct mda_result r;
    gid_t groups[64];
    mda_rights_read(&rights);
    rights.min_uid = 1;
    if (!rights.switches || mda_account_find(&rights, S("games"), &a, &r) < 0)
        return 1;
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0); /* as bad as it can be */
    if (mda_account_become(&rights, &a) < 0)
        return 2;
    if (getuid() != a.user.uid || geteuid() != a.user.uid || getgid() != a.user.gid || getegid() != a.user.gid)
        return 3;
    int n = getgroups(64, groups);
    for (int i = 0; i < n; i++)
        if (groups[i] == 0)
            return 4;
    if (setuid(0) == 0 || setgid(0) == 0 || seteuid(0) == 0)
        return 5;
    mda_rights_read(&rights);
    return rights.switches ? 6 : 0;
}

static int become_without_the_right(void)
{
    struct mda_account games = { .user = { .name = S("games"), .uid = 5, .gid = 60 } };
    struct mda_account root = { .user = { .name = S("root") } };
    struct mda_rights none = { .own = 5 };
    if (mda_account_become(&(struct mda_rights){ .switches = true }, &root) == 0)
        return 1;
    return mda_account_become(&none, &games) == 0 ? 2 : 0; /* it says that it is the user, and is not */
}

static void test_become(void **state)
{
    (void)state;
    if (geteuid() == 0)
        assert_int_equal(in_child(become_games), 0);
    assert_int_equal(in_child(become_without_the_right), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_who), cmocka_unit_test(test_become) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
