/* The table of settings: every row can be explained, its default is a value of its type, and near names are found. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "conf/conf_private.h"
#include <errno.h>

static void test_rows(void **state)
{
    (void)state;
    struct conf_setting_info info;
    for (size_t i = 0; i < CONF_ROWS; i++) {
        const char *why;
        uint64_t v;
        assert_true(conf_setting_info(i, &info));
        assert_true(strlen(info.doc) > 10 && info.type[0]);
        assert_int_equal(conf_setting_find(str_z(info.name)), i);
        assert_true(str_eq(conf_nearest(str_z(info.name)), str_z(info.name)));
        if (conf_settings[i].type <= CONF_TYPE_DURATION &&
            !conf_value_number(conf_settings[i].type, str_z(info.deflt), &v, &why))
            fail_msg("%s: %s", info.name, info.deflt);
    }
    assert_false(conf_setting_info(CONF_ROWS, &info));
    assert_int_equal(conf_setting_find(S("")), -1);
    for (int i = 0; i < CONF_LISTS; i++)
        assert_true(conf_setting_find(str_z(conf_list_name[i])) >= 0);
}

static void near(const char *text, const char *want)
{
    static const char *const names[] = { "catch_all", "postmaster" };
    assert_true(str_eq(conf_nearest_of(names, ARRAY_LEN(names), str_z(text)), str_z(want)));
}

static void test_near(void **state)
{
    (void)state;
    near("catchall", "catch_all");
    near("CATCH_ALL", "catch_all");
    near("postmatser", "postmaster"); /* a swap is one step */
    near("mailman", "");
    near("", "");
    char longer[200];
    memset(longer, 'a', sizeof(longer));
    assert_int_equal(conf_nearest(str_of(longer, sizeof(longer))).n, 0);
}

static void test_error_text(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(65536), full = ARENA(0);
    _cleanup_buf_ struct buf b = BUF(4096);
    struct conf_error e;
    assert_int_equal(conf_fail(&a, &e, S("f"), 3, "%d%s", 4, "x"), -EINVAL);
    conf_error_print(&b, &e);
    assert_true(str_eq(buf_str(&b), S("f:3: 4x")));
    assert_int_equal(conf_fail(&full, &e, S("f"), 0, "x"), -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows), cmocka_unit_test(test_near), cmocka_unit_test(test_error_text),
    };
    return cmocka_run_group_tests_name("conf_setting", tests, NULL, NULL);
}
