/* Logical lines and the parts of an alias. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "conf/conf_private.h"
#include <errno.h>

/* The lines of a text as "number:line|". */
static void reads(const char *text, bool continues, const char *want)
{
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    _cleanup_buf_ struct buf b = BUF(65536);
    struct conf_lines l = conf_lines_init(S("f"), str_z(text), continues);
    struct conf_error e;
    str line;
    int r;
    while ((r = conf_lines_next(&l, &a, &line, &e)) > 0)
        buf_addf(&b, "%u:%.*s|", l.at, STR_ARG(line));
    assert_int_equal(r, 0);
    buf_addc(&b, '\0');
    assert_string_equal(b.p, want);
}

static void test_lines(void **state)
{
    (void)state;
    reads("", true, "");
    reads("a\n\nb", true, "1:a|3:b|");
    reads("a \r\n b\r\n\tc\nd\n", true, "1:a b c|4:d|");
    reads("a \r\n b\r\n\tc\nd\n", false, "1:a|2:b|3:c|4:d|");
    reads("# x\na\n# y\n\n b # z\n  # w\nc", true, "2:a b # z|7:c|");
    reads("a\n#b\n#c\nd\n#e\n", true, "1:a|4:d|");
    reads("\xef\xbb\xbf" "a", true, "1:a|");
}

static void test_targets(void **state)
{
    (void)state;
    str alias, rest, path;
    assert_true(conf_alias_split(S("\"a:b\"@x : c, \"d,e\"@x,,  :include:/f g ,"), &alias, &rest));
    assert_true(str_eq(alias, S("\"a:b\"@x")));
    assert_true(str_eq(conf_target_next(&rest), S("c")));
    assert_true(str_eq(conf_target_next(&rest), S("\"d,e\"@x")));
    str include = conf_target_next(&rest);
    assert_true(conf_target_include(include, &path));
    assert_true(str_eq(path, S("/f g")));
    assert_false(conf_target_include(S("include:x"), &path));
    assert_int_equal(conf_target_next(&rest).n, 0);
    assert_int_equal(rest.n, 0);
    assert_false(conf_alias_split(S("\"a:b\""), &alias, &rest));
    assert_false(conf_alias_split(S(": b"), &alias, &rest));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_lines), cmocka_unit_test(test_targets) };
    return cmocka_run_group_tests_name("conf_lines", tests, NULL, NULL);
}
