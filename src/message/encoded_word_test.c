/* Encoded words: the examples of RFC 2047 section 8, words as mail programs write them (made with Python), and broken
 * ones. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/event.h"
#include "message/encoded_word.h"

#define T(f) cmocka_unit_test(f)

static void is(str in, str want)
{
    struct buf out = BUF(1 << 16);
    assert_int_equal(encoded_words_decode(&out, in), 0);
    if (!str_eq(buf_str(&out), want))
        print_error("%.*s is: %.*s\n", STR_ARG(in), STR_ARG(buf_str(&out)));
    assert_true(str_eq(buf_str(&out), want));
    buf_done(&out);
}

static void test_examples_of_the_rfc(void **state)
{
    (void)state;
    is(S("(=?ISO-8859-1?Q?a?=)"), S("(a)"));
    is(S("(=?ISO-8859-1?Q?a?= b)"), S("(a b)"));
    is(S("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)"), S("(ab)"));
    is(S("(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)"), S("(ab)"));
    is(S("(=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=)"), S("(ab)"));
    is(S("(=?ISO-8859-1?Q?a_b?=)"), S("(a b)"));
    is(S("(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)"), S("(a b)"));
    is(S("=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>"), S("Keith Moore <moore@cs.utk.edu>"));
    is(S("=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?="), S("Keld Jørn Simonsen"));
    is(S("=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?="),
       S("If you can read this you understand the example."));
    is(S("=?US-ASCII*EN?Q?Keith_Moore?="), S("Keith Moore")); /* RFC 2231 5 */
}

static void test_characters_cut_between_words(void **state)
{
    (void)state;
    is(S("=?utf-8?Q?Gr=C3?= =?UTF-8?B?vMOfZQ==?="), S("Grüße"));
    is(S("=?utf-8?B?5pel5pw=?=\r\n =?utf8?B?rOiqng==?="), S("日本語"));
    is(S("=?gb2312?B?1tDO?= =?gb2312?B?xNPKvP4=?="), S("中文邮件"));
    is(S("=?utf-8?Q?a=C3?= x"), S("a\ufffd x"));
    is(S("=?utf-8?Q?a=C3?= =?iso-8859-1?Q?=BC?="), S("a\ufffd¼"));
    is(S("=?iso-2022-jp?B?GyRCRnwbKEI=?= =?iso-2022-jp?B?GyRCS1wbKEI=?="), S("日本"));
    is(S("=?utf-7?Q?+ZeU?= =?utf-7?Q?+Zyw-?="), S("日本"));
}

static void test_lenient(void **state)
{
    (void)state;
    is(S("x=?utf-8?q?=c3=a4?=y"), S("xäy"));
    is(S("\"=?utf-8?q?=c3=a4?=\""), S("\"ä\""));
    is(S("=?utf-8?Q?two words?="), S("two words"));
    is(S("=?utf-8?B?w6 Q=?="), S("ä"));
    is(S("=?utf-8?B?w6Q?="), S("ä"));
    is(S("=?utf-8?B?YQ==Yg==?="), S("ab"));
    is(S("=?utf-8?Q?a=5Fb=3D=3F_?="), S("a_b=? "));
    is(S("=?utf-8?Q?=E?= =?utf-8?Q?=?= =?utf-8?Q?=ZZ?="), S("=E==ZZ"));
    is(S("=?utf-8?Q?" "?="), S(""));
    is(S("=?utf-8?Q?a?==?utf-8?Q?b?="), S("ab"));
    is(S("=?utf-8?Q?a?= \r\n"), S("a \r\n"));
}

static void test_broken_words_stay(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "=?utf-8?Q?a", "=?utf-8?Q?a?", "=?utf-8?Q?a?b?=", "=?utf-8?X?a?=", "=?utf-8?Q", "=?utf-8?", "=?utf-8", "=?",
        "=", "=??Q?a?=", "=?utf 8?Q?a?=", "=?x-none?Q?a?=", "=?utf-8?QQ?a?=", "=?utf-8??a?=", "a?=",
        "=?x-none?Q?a?= =?x-none?Q?b?=",
    };
    for (size_t i = 0; i < ARRAY_LEN(broken); i++)
        is(str_z(broken[i]), str_z(broken[i]));
    is(S("=?x-none?Q?a?= =?utf-8?Q?b?= =?x-none?Q?c?="), S("=?x-none?Q?a?= b =?x-none?Q?c?="));
    is(S("=?=?utf-8?Q?b?="), S("=?b"));
}

static void test_raw_bytes(void **state)
{
    (void)state;
    is(S("Gr\xc3\xbc\xc3\x9f" "e"), S("Grüße"));
    is(S("Gr\xfc\xdf" "e \x80\x93"), S("Grüße €“"));
    is(S("\xc3\xa4\xe4"), S("ää"));
    is(S("\xff=?utf-8?Q?=C3=A4?=\xff"), S("ÿäÿ"));
}

static void test_long_words(void **state)
{
    (void)state;
    struct buf word = BUF(1 << 20), want = BUF(1 << 20), out = BUF(1 << 20);
    buf_add(&word, S("=?utf-8?B?"));
    for (size_t i = 0; i < 5000; i++) {
        buf_add(&word, S("5pel5pys6Kqe"));
        buf_add(&want, S("日本語"));
    }
    buf_add(&word, S("?= =?utf-8?Q?"));
    for (size_t i = 0; i < 5000; i++) {
        buf_add(&word, S("=E6=97=A5"));
        buf_add(&want, S("日"));
    }
    buf_add(&word, S("?="));
    assert_int_equal(encoded_words_decode(&out, buf_str(&word)), 0);
    assert_true(str_eq(buf_str(&out), buf_str(&want)));
    struct buf little = BUF(16);
    assert_int_equal(encoded_words_decode(&little, buf_str(&word)), -ENOBUFS);
    buf_done(&word);
    buf_done(&want);
    buf_done(&out);
    buf_done(&little);
}

static void test_read(void **state)
{
    (void)state;
    struct encoded_word w;
    assert_int_equal(encoded_word_read(S("=?Utf-8*de?b?eA==?= more"), &w), 19);
    assert_true(str_eq(w.charset, S("Utf-8")) && str_eq(w.text, S("eA==")) && w.base64);
    assert_int_equal(encoded_word_read(S("=?a?q?b?="), &w), 9);
    assert_true(str_eq(w.charset, S("a")) && str_eq(w.text, S("b")) && !w.base64);
    assert_int_equal(encoded_word_read(S(" =?a?q?b?="), &w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_examples_of_the_rfc),
        T(test_characters_cut_between_words),
        T(test_lenient),
        T(test_broken_words_stay),
        T(test_raw_bytes),
        T(test_long_words),
        T(test_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
