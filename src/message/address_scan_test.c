/* Tests of address_scan.c: slices of the text as written (what they decode to is tested in address_list_test.c). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/address_scan.h"

static void check(struct address_scan *s, str phrase, str local, str domain)
{
    struct address_item i;
    assert_true(address_scan_next(s, &i));
    assert_int_equal(i.kind, ADDRESS_ITEM);
    assert_true(str_eq(i.phrase, phrase));
    assert_true(str_eq(i.local, local));
    assert_true(str_eq(i.domain, domain));
    assert_true(i.local.p >= s->in.p && i.local.p + i.local.n <= s->in.p + s->in.n);
}

static void test_slices(void **state)
{
    struct address_scan s =
        ADDRESS_SCAN(S(" \"J\" (c) D <@r: \"x y\" . z (d) @ e . f (g)>, joe (h) , (i) k(l)@[1.2.3.4]"));
    struct address_item i;
    (void)state;
    check(&s, S("\"J\" (c) D"), S("\"x y\" . z"), S("e . f"));
    check(&s, S(""), S("joe"), S(""));
    check(&s, S(""), S("k"), S("[1.2.3.4]"));
    assert_false(address_scan_next(&s, &i));
    assert_false(s.broken);
}

static void test_group_and_comment(void **state)
{
    struct address_scan s = ADDRESS_SCAN(S("g (c): a@b (d);"));
    struct address_item i;
    (void)state;
    assert_true(address_scan_next(&s, &i));
    assert_int_equal(i.kind, ADDRESS_GROUP_START);
    assert_true(str_eq(i.phrase, S("g (c)")));
    assert_true(address_scan_next(&s, &i));
    assert_true(str_eq(i.comment, S("(d)")));
    assert_true(address_scan_next(&s, &i));
    assert_int_equal(i.kind, ADDRESS_GROUP_END);
    assert_false(address_scan_next(&s, &i));
}

static void test_skips(void **state)
{
    bool closed;
    (void)state;
    assert_int_equal(address_skip_quoted(S("\"a\\\"b\"c"), 0, &closed), 6);
    assert_true(closed);
    assert_int_equal(address_skip_quoted(S("\"a\\\""), 0, &closed), 4);
    assert_false(closed);
    assert_int_equal(address_skip_comment(S("(a(b)\\)c)d"), 0, &closed), 9);
    assert_true(closed);
    assert_int_equal(address_skip_comment(S("(a(b)\\"), 0, &closed), 6);
    assert_false(closed);
    assert_int_equal(address_skip_cfws(S(" (a)\r\n (b) c"), 0), 11);
}

static void test_controls(void **state)
{
    (void)state;
    assert_false(address_has_control(S("a \xc3\xa9\x80\xc2\xa0\xc2")));
    assert_true(address_has_control(S("a\x1f")));
    assert_true(address_has_control(S("\x7f")));
    assert_true(address_has_control(S("\xc2\x80")));
    assert_true(address_has_control(S("\xc2\x9f")));
    assert_false(address_has_control(STR_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_group_and_comment),
        cmocka_unit_test(test_skips),
        cmocka_unit_test(test_controls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
