/* Tests of imap_text.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "message/imap_text.h"

static void check(str s, str want)
{
    _cleanup_buf_ struct buf b = BUF(4096);
    assert_int_equal(imap_text_string(&b, s), 0);
    assert_true(str_eq(buf_str(&b), want));
}

static void test_strings(void **state)
{
    (void)state;
    check(S(""), S("\"\""));
    check(STR_NONE, S("\"\""));
    check(S("a \"b\" \\c\t\001"), S("\"a \\\"b\\\" \\\\c\t\001\""));
    check(S("a\0b\0"), S("\"a?b?\""));
    check(S("a\"b\r\nc"), S("{6}\r\na\"b\r\nc"));
    check(S("\xc3\xa4\0\\"), S("{4}\r\n\xc3\xa4?\\"));
    check(S("\x7f"), S("{1}\r\n\x7f"));
    check(S("\\\0\""), S("\"\\\\?\\\"\""));
}

static void test_others(void **state)
{
    _cleanup_buf_ struct buf b = BUF(64), few = BUF(4);
    (void)state;
    imap_text_nstring(&b, S(""));
    imap_text_nstring(&b, S("x"));
    assert_int_equal(imap_text_value(&b, S(" a\r\n b\rc ")), 0);
    assert_int_equal(imap_text_value(&b, STR_NONE), 0);
    assert_true(str_eq(buf_str(&b), S("NIL\"x\"\"a b c\"\"\"")));
    assert_int_equal(imap_text_string(&few, S("abc")), -ENOBUFS);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_strings), cmocka_unit_test(test_others) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
