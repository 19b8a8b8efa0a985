/* Head and lines of a file in the drop. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "session/drop.h"

static const struct drop_recipient two[] = {
    { .address = { "anna", 4 } }, { .address = { "bob@example.org", 15 }, .orcpt = { "rfc822;b@x", 10 }, .notify = 6 },
};

static void test_round_trip(void **state)
{
    (void)state;
    const struct drop_envelope e = { .sender = S("root"), .recipients = two, .n_recipients = 2,
                                     .envid = S("id-1"), .ret = 2, .body_8bit = true, .native = true,
                                     .forwarded_by = S("bob@example.org"),
                                     .login = S("root"), .full_name = S("J\xc3\xbcrgen") };
    _cleanup_buf_ struct buf b = BUF(65536);
    _cleanup_arena_ struct arena a = ARENA(65536);
    struct drop_envelope got;
    size_t length;
    assert_int_equal(drop_encode(&b, &e), 0);
    assert_int_equal(drop_head_length(str_first(buf_str(&b), DROP_START), &length), 0);
    assert_int_equal(length, b.n);
    assert_int_equal(drop_decode(&a, buf_str(&b), &got), 0);
    assert_true(str_eq(got.sender, e.sender) && str_eq(got.envid, e.envid) && str_eq(got.login, e.login));
    assert_true(str_eq(got.full_name, e.full_name) && str_eq(got.forwarded_by, e.forwarded_by));
    assert_true(got.body_8bit && got.native && !got.smtputf8 && !got.submitted);
    assert_int_equal(got.ret, 2);
    assert_int_equal(got.n_recipients, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(str_eq(got.recipients[i].address, two[i].address) && str_eq(got.recipients[i].orcpt, two[i].orcpt));
        assert_int_equal(got.recipients[i].notify, two[i].notify);
    }
    for (size_t n = 0; n < b.n; n++) /* cut anywhere it is none */
        assert_int_equal(drop_decode(&a, str_first(buf_str(&b), n), &got), -EBADMSG);
    buf_addc(&b, 'x');
    assert_int_equal(drop_decode(&a, buf_str(&b), &got), -EBADMSG);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const struct drop_recipient line = { .address = { "a\r\nb@x", 6 } }, none = { .notify = 0 },
                                       odd = { .address = { "a", 1 }, .notify = 16 };
    static char much[DROP_FIELD_MAX + 1];
    memset(much, 'a', sizeof(much));
    const struct drop_envelope bad[] = {
        { .recipients = NULL },
        { .recipients = &line, .n_recipients = 1 },
        { .recipients = &none, .n_recipients = 1 },
        { .recipients = &odd, .n_recipients = 1 },
        { .recipients = two, .n_recipients = 2, .sender = str_of(much, sizeof(much)) },
        { .recipients = two, .n_recipients = 2, .login = S("a\tb") },
        { .recipients = two, .n_recipients = 2, .ret = 3 },
        { .recipients = two, .n_recipients = DROP_RECIPIENTS_MAX + 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_buf_ struct buf b = BUF(65536);
        assert_int_equal(drop_encode(&b, &bad[i]), -EINVAL);
        assert_int_equal(b.n, 0);
    }
    size_t length;
    assert_int_equal(drop_head_length(S("PHDROP1\n\xff\xff\xff\xff"), &length), -EFBIG);
    assert_int_equal(drop_head_length(S("PHDROP2\n\0\0\0\0"), &length), -EBADMSG);
    assert_int_equal(drop_head_length(S("PHDROP1\n"), &length), -EBADMSG);
}

static void test_lines(void **state)
{
    (void)state;
    static const struct { const char *in, *want; } cases[] = {
        { "a\nb\n", "a\r\nb\r\n" }, { "a\r\nb", "a\r\nb" },       { "a\rb\r", "a\r\nb\r\n" },
        { "\n\n", "\r\n\r\n" },     { "\r\r\n\n", "\r\n\r\n\r\n" }, { "", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_buf_ struct buf whole = BUF(256), bytes = BUF(256), again = BUF(256);
        struct drop_lines a = { 0 }, b = { 0 }, c = { 0 };
        str in = str_z(cases[i].in);
        assert_int_equal(drop_lines_feed(&a, in, &whole), 0);
        for (size_t k = 0; k < in.n; k++)
            drop_lines_feed(&b, str_of(in.p + k, 1), &bytes);
        drop_lines_feed(&c, buf_str(&whole), &again);
        assert_true(str_eq(buf_str(&whole), str_z(cases[i].want)));
        assert_true(str_eq(buf_str(&whole), buf_str(&bytes)));
        assert_true(str_eq(buf_str(&whole), buf_str(&again)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
