/* imap_write.c through its header. */
#include "proto/imap_write.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void assert_buf(struct buf *b, str want)
{
    if (!str_eq(buf_str(b), want))
        print_error("got \"%.*s\", want \"%.*s\"\n", STR_ARG(buf_str(b)), STR_ARG(want));
    assert_int_equal(b->failed, 0);
    assert_int_equal(b->n, want.n);
    assert_memory_equal(b->p, want.p, want.n);
    buf_clear(b);
}

static void test_strings(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1000);
    imap_put_string(&b, S("a\"b\\c"), false);
    assert_buf(&b, S("\"a\\\"b\\\\c\""));
    imap_put_string(&b, S(""), false);
    assert_buf(&b, S("\"\""));
    imap_put_string(&b, S("a\r\nb\"\\"), false);
    assert_buf(&b, S("{6}\r\na\r\nb\"\\"));
    imap_put_string(&b, S("\xc3\xa4"), false);
    assert_buf(&b, S("{2}\r\n\xc3\xa4"));
    imap_put_string(&b, S("\xc3\xa4"), true);
    assert_buf(&b, S("\"\xc3\xa4\""));
    imap_put_string(&b, S("\xff"), true);
    assert_buf(&b, S("{1}\r\n\xff"));
    imap_put_string(&b, S("a\0\"b"), false);
    assert_buf(&b, S("\"a?\\\"b\""));
    imap_put_string(&b, S("a\0\n"), false);
    assert_buf(&b, S("{3}\r\na?\n"));
    imap_put_nstring(&b, S("x"), true, false);
    assert_buf(&b, S("NIL"));
    imap_put_nstring(&b, STR_NONE, false, false);
    assert_buf(&b, S("\"\""));
    imap_put_astring(&b, S("INBOX"), false);
    assert_buf(&b, S("INBOX"));
    imap_put_astring(&b, S("a b"), false);
    assert_buf(&b, S("\"a b\""));
    imap_put_astring(&b, S("nil"), false);
    assert_buf(&b, S("\"nil\""));
    imap_put_astring(&b, S(""), false);
    assert_buf(&b, S("\"\""));
}

static void test_mailboxes(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1000);
    imap_put_mailbox(&b, S("\xc3\xa4/b"), false);
    assert_buf(&b, S("&AOQ-/b"));
    imap_put_mailbox(&b, S("\xc3\xa4 & b"), false);
    assert_buf(&b, S("\"&AOQ- &- b\""));
    imap_put_mailbox(&b, S("\xc3\xa4&"), true);
    assert_buf(&b, S("\"\xc3\xa4&\""));
}

static void test_flags(void **state)
{
    (void)state;
    static const str keywords[] = { S("$Forwarded"), S("b(d"), S("x") };
    _cleanup_buf_ struct buf b = BUF(1000);
    imap_put_flags(&b, 0, NULL, 0);
    assert_buf(&b, S("()"));
    imap_put_flags(&b, IMAP_SEEN | IMAP_DELETED, keywords, 3);
    assert_buf(&b, S("(\\Deleted \\Seen $Forwarded x)"));
    imap_put_flags(&b, 63, NULL, 0);
    assert_buf(&b, S("(\\Answered \\Flagged \\Deleted \\Seen \\Draft \\Recent)"));
}

static void test_dates(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1000);
    imap_put_date(&b, 1767222000, 60);
    assert_buf(&b, S("\" 1-Jan-2026 00:00:00 +0100\""));
    imap_put_date(&b, 1764000000, -210);
    assert_buf(&b, S("\"24-Nov-2025 12:30:00 -0330\""));
    imap_put_date(&b, INT64_MAX, 0);
    assert_buf(&b, S("\" 1-Jan-1970 00:00:00 +0000\""));
}

static void test_sets(void **state)
{
    (void)state;
    static const uint32_t numbers[] = { 1, 2, 3, 3, 5, 8, 9, UINT32_MAX };
    _cleanup_buf_ struct buf b = BUF(1000);
    struct imap_set_writer w = { .out = &b };
    imap_set_end(&w);
    assert_buf(&b, S(""));
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        imap_set_add(&w, numbers[i]);
    imap_set_end(&w);
    imap_set_end(&w);
    assert_buf(&b, S("1:3,5,8:9,4294967295"));
}

static void test_names(void **state)
{
    static const char *const good[] = { "INBOX", "a/b/c", "a b", "\xc3\xa4", "a&b", ".", "\\x" };
    static const char *const bad[] = { "", "/a", "a/", "a//b", "a%", "*", "a\tb", "\xff", "a\x7f", "\xc2\x85",
                                       "\xe2\x80\xa8", "/" };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_null(imap_name_trouble(str_z(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (!imap_name_trouble(str_z(bad[i])))
            fail_msg("%s is let pass", bad[i]);
    assert_non_null(imap_name_trouble(S("a\0b")));
    static char text[1002];
    memset(text, 'x', sizeof(text));
    assert_null(imap_name_trouble(str_of(text, 255)));
    assert_non_null(imap_name_trouble(str_of(text, 256)));
    for (size_t i = 200; i < sizeof(text); i += 200)
        text[i] = '/';
    assert_null(imap_name_trouble(str_of(text, 1000)));
    text[1000] = 'x';
    assert_non_null(imap_name_trouble(str_of(text, 1001)));
    for (size_t i = 1; i < 102; i += 2)
        text[i] = '/';
    assert_null(imap_name_trouble(str_of(text, 99)));
    assert_non_null(imap_name_trouble(str_of(text, 101)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_mailboxes),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
