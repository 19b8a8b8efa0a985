/* An instance as commands load it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include "admin/instance.h"

static int quiet_load(struct admin_play *p, struct instance *i)
{
    int saved = dup(STDERR_FILENO), err = memfd_create("err", 0);
    dup2(err, STDERR_FILENO);
    int r = instance_load(p->conf, i);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    play_catch(err, p->err, sizeof(p->err));
    return r;
}

static void test_load(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    struct instance i;
    char want[256];
    admin_play_init(&p);
    assert_int_equal(quiet_load(&p, &i), 0);
    assert_string_equal(i.folder, p.dir);
    assert_int_equal(i.data_fd, -1); /* the server has never run */
    assert_true(directory_has_account(&i.directory, S("anna@example.org")));
    snprintf(want, sizeof(want), "%s/accounts", p.dir);
    assert_string_equal(instance_path(&i, i.conf->accounts), want);
    assert_string_equal(instance_path(&i, S("/etc/x")), "/etc/x");
    assert_int_equal(instance_reload(&i), 1);
    instance_done(&i);
    instance_done(&i);
    assert_int_equal(mkdirat(p.dir_fd, "data", 0700), 0);
    assert_int_equal(quiet_load(&p, &i), 0);
    assert_true(i.data_fd >= 0);
    assert_int_equal(instance_reload(&i), 1);
    instance_done(&i);
}

static void test_a_bad_configuration(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    struct instance i;
    admin_play_init(&p);
    play_conf(&p, "hostnam x\n");
    assert_int_equal(quiet_load(&p, &i), EXIT_CONFIG);
    play_says(p.err, "posthouse: ");
    play_says(p.err, "hostname"); /* the nearest known name */
    unlinkat(p.dir_fd, "posthouse.conf", 0);
    assert_int_equal(quiet_load(&p, &i), EXIT_CONFIG);
    play_says(p.err, p.conf);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_a_bad_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
