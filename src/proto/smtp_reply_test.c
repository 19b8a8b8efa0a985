/* Replies as bytes: form, folding, what is made harmless; and the canned ones as a whole. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/smtp_reply.h"

static void test_form(void **state)
{
    (void)state;
    static const struct {
        int code;
        str enhanced, text;
        bool utf8;
        str want;
    } cases[] = {
        { 250, S("2.0.0"), S("Ok"), false, S("250 2.0.0 Ok\r\n") },
        { 354, S(""), S("go"), false, S("354 go\r\n") },
        { 250, S("2.0.0"), S(""), false, S("250 2.0.0 Ok\r\n") },
        { 550, S("5.1.1"), S("a\nb\n\nc"), false, S("550-5.1.1 a\r\n550-5.1.1 b\r\n550-5.1.1 \r\n550 5.1.1 c\r\n") },
        { 550, S(""), S("a\n"), false, S("550 a\r\n") },
        { 550, S(""), S("a\r250 b\x80\0"), false, S("550 a?250 b??\r\n") },
        { 550, S(""), S("\xc3\xbc\r"), true, S("550 \xc3\xbc?\r\n") },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); ++i) {
        _cleanup_buf_ struct buf out = BUF(1000);
        smtp_reply_write(&out, cases[i].code, cases[i].enhanced, cases[i].text, cases[i].utf8);
        if (!str_eq(buf_str(&out), cases[i].want))
            fail_msg("case %zu: %.*s", i, STR_ARG(buf_str(&out)));
    }
}

/* Text of n two-byte letters comes back whole, in lines of at most 512 octets, no letter cut in two. */
static void test_folding(void **state)
{
    (void)state;
    for (size_t n = 1; n < 1200; ++n) {
        _cleanup_buf_ struct buf text = BUF(4000), out = BUF(8000);
        for (size_t i = 0; i < n; ++i)
            buf_add(&text, S("\xc3\xbc"));
        smtp_reply_write(&out, 450, S("4.3.0"), buf_str(&text), true);
        str rest = buf_str(&out);
        size_t letters = 0;
        while (rest.n > 0) {
            str line = str_cut(&rest, '\n');
            assert_true(line.n + 1 <= 512);
            assert_true(str_starts(line, rest.n > 0 ? S("450-4.3.0 \xc3") : S("450 4.3.0 \xc3")));
            assert_true(str_ends(line, S("\xbc\r")));
            letters += (line.n - 11) / 2;
        }
        assert_int_equal(letters, n);
    }
}

static void test_folds_at_blanks(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf text = BUF(4000), out = BUF(8000);
    for (int i = 0; i < 100; ++i)
        buf_add(&text, S("seven77 "));
    smtp_reply_write(&out, 450, S("4.3.0"), str_trim(buf_str(&text)), false);
    str rest = buf_str(&out);
    while (rest.n > 0)
        assert_true(str_ends(str_cut(&rest, '\n'), S("seven77\r")));
}

/* Enhanced codes fit the code (RFC 2034 4), and the text needs no folding. */
static void test_canned(void **state)
{
    (void)state;
    for (size_t i = 1; i < SMTP_REPLIES; ++i) {
        const struct smtp_canned *c = &smtp_canned[i];
        assert_true(c->code >= 200 && c->code < 600);
        assert_int_equal(c->enhanced.p[0] - '0', c->code / 100);
        assert_true(c->text.n > 0 && c->text.n < 400);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_folding),
        cmocka_unit_test(test_folds_at_blanks),
        cmocka_unit_test(test_canned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
