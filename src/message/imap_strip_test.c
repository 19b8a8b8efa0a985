/* Tests of imap_strip.c; what it makes of good structures is in imap_structure_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "message/imap_check_test.h"
#include "message/imap_text.h"

static void test_kinds(void **state)
{
    static const struct {
        str in, want;
    } cases[] = {
        { S("(\"a\" \"b\" NIL NIL NIL \"7bit\" 1)"), S("(\"a\" \"b\" NIL NIL NIL \"7bit\" 1)") },
        { S("(\"a\" \"b\" NIL NIL {3}\r\n)\"( \"7bit\" 1 NIL (\"x\" (\"y\" \")\")) (\"d\" \"e\") {1}\r\n\xff)"),
          S("(\"a\" \"b\" NIL NIL {3}\r\n)\"( \"7bit\" 1)") },
        { S("((\"TEXT\" \"b\" NIL NIL NIL \"7bit\" 1 2 NIL) \"mixed\" NIL NIL)"),
          S("((\"TEXT\" \"b\" NIL NIL NIL \"7bit\" 1 2) \"mixed\")") },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_buf_ struct buf b = BUF(4096), few = BUF(4);
        assert_int_equal(imap_structure_strip(&b, cases[i].in), 0);
        assert_true(str_eq(buf_str(&b), cases[i].want));
        assert_int_equal(imap_structure_strip(&few, cases[i].in), -ENOBUFS);
    }
}

static void test_damaged(void **state)
{
    static const str whole =
        S("((\"text\" \"plain\" (\"a\" \"b\\\"\") NIL {2}\r\n)( \"7bit\" 3 1 NIL NIL NIL NIL)(\"message\" \"rfc822\" "
          "NIL NIL NIL \"7bit\" 100 (NIL NIL ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL NIL NIL) (\"a\" \"b\" NIL "
          "NIL NIL \"7bit\" 1 NIL NIL NIL NIL) 8 NIL NIL NIL NIL) \"mixed\" NIL NIL NIL NIL)");
    static const str bad[] = {
        S(""),
        S("("),
        S("()"),
        S("NIL"),
        S("(\"text\" \"plain\" NIL NIL NIL \"7bit\" 1)"),
        S("(\"a\" \"b\" NIL NIL NIL \"7bit\")"),
        S("(\"a\" \"b\" NIL NIL NIL \"7bit\" 1) "),
        S("(\"a\" \"b\" NIL NIL NIL {99}\r\nx 1)"),
        S("(\"a\" \"b\" NIL NIL NIL {99999999999999999999999}\r\nx 1)"),
        S("(\"a\" \"b\" NIL NIL NIL x 1)"),
    };
    _cleanup_buf_ struct buf b = BUF(4096), deep = BUF(1 << 20);
    (void)state;
    buf_add(&b, S("before"));
    assert_int_equal(imap_structure_strip(&b, whole), 0);
    assert_true(str_starts(buf_str(&b), S("before((")));
    b.n = 6;
    for (size_t i = 0; i < whole.n; i++)
        assert_int_equal(imap_structure_strip(&b, str_first(whole, i)), -EBADMSG);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(imap_structure_strip(&b, bad[i]), -EBADMSG);
    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '(');
    assert_int_equal(imap_structure_strip(&b, buf_str(&deep)), -EBADMSG);
    assert_true(str_eq(buf_str(&b), S("before")));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_kinds), cmocka_unit_test(test_damaged) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
