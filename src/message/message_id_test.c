/* Tests of message_id.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/message_id.h"

/* All ids of the value, a blank behind each. */
static void check(str value, str want)
{
    _cleanup_buf_ struct buf all = BUF(1 << 16), id = BUF(MESSAGE_ID_MAX);
    while (message_id_next(&value, &id)) {
        buf_add(&all, buf_str(&id));
        buf_addc(&all, ' ');
        buf_clear(&id);
    }
    assert_int_equal(value.n, 0);
    assert_int_equal(id.n, 0);
    assert_true(str_eq(buf_str(&all), want));
}

static void test_ids(void **state)
{
    (void)state;
    check(S(""), S(""));
    check(S("<a@b>"), S("a@b "));
    check(S("<a@b><c@d>\r\n\t<e@f> (comment) <g@[192.0.2.1]>"), S("a@b c@d e@f g@[192.0.2.1] "));
    /* RFC 5256: these two are the same */
    check(S("<\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>"), S("01KF8JCEOCBS0045PS@xxx.yyy.com "));
    check(S("<01KF8JCEOCBS0045PS@xxx.yyy.com>"), S("01KF8JCEOCBS0045PS@xxx.yyy.com "));
    check(S("<\"a \\\"b\\\\\"@c>"), S("a \"b\\@c "));
    check(S("< a\r\n b . c @ d >"), S("ab.c@d "));
    check(S("<Case@Kept>"), S("Case@Kept "));
    /* as Exchange and others write them */
    check(S("<a$b=c&d/e@f@g>"), S("a$b=c&d/e@f@g "));
    check(S("Message of Tuesday <a@b>"), S("a@b "));
}

static void test_invalid(void **state)
{
    (void)state;
    check(S("a@b"), S(""));
    check(S("<a@b"), S(""));
    check(S("<ab> <@b> <a@> <> <@>"), S(""));
    check(S("<a\001@b> <a\0@b> <a@b\x7f>"), S(""));
    check(S("<a <b@c>"), S("b@c "));
    check(S("<\"a@b> <c@d>"), S("c@d "));
    check(S("<\"a@b\"> <c@d>"), S("c@d "));
    check(S("<a\\> <c@d>"), S("c@d "));
}

static void test_long(void **state)
{
    (void)state;
    for (size_t n = MESSAGE_ID_MAX; n <= MESSAGE_ID_MAX + 1; n++) {
        _cleanup_buf_ struct buf b = BUF(4096), want = BUF(4096);
        buf_addf(&b, "<%0*d@b> <c@d>", (int)n - 2, 7);
        if (n == MESSAGE_ID_MAX)
            buf_addf(&want, "%0*d@b ", (int)n - 2, 7);
        buf_add(&want, S("c@d "));
        check(buf_str(&b), buf_str(&want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
