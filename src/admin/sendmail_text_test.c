/* The message on standard input, and recipients in it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "admin/sendmail_text.h"

/* In pieces of `piece` bytes. */
static void expect(const char *in, bool dots, size_t piece, const char *header, const char *body)
{
    _cleanup_buf_ struct buf out = BUF(65536);
    struct sendmail_text t = SENDMAIL_TEXT(dots);
    for (str rest = str_z(in); rest.n; rest = str_from(rest, piece))
        assert_int_equal(sendmail_text_feed(&t, str_first(rest, piece), &out), 0);
    assert_int_equal(sendmail_text_end(&t, &out), 0);
    assert_true(t.header_done && t.ended);
    assert_true(str_eq(buf_str(&t.header), str_z(header)));
    assert_true(str_eq(buf_str(&out), str_z(body)));
    sendmail_text_done(&t);
}

static void test_text(void **state)
{
    (void)state;
    static const struct { const char *in; bool dots; const char *header, *body; } cases[] = {
        { "To: a\nSubject: b\n c\n\ntext\n", false, "To: a\r\nSubject: b\r\n c\r\n", "\r\ntext\r\n" },
        { "To: a\n\none\n.\ntwo\n", false, "To: a\r\n", "\r\none\r\n" },
        { "To: a\n\none\n.\ntwo\n", true, "To: a\r\n", "\r\none\r\n.\r\ntwo\r\n" },
        { "To: a\n\n..\n.x\n. \n", false, "To: a\r\n", "\r\n..\r\n.x\r\n. \r\n" },
        { "To: a\n\nend\n.", false, "To: a\r\n", "\r\nend\r\n" },
        { "just text\nmore: x\n", false, "", "\r\njust text\r\nmore: x\r\n" },
        { "From me Tue Nov 24\nTo: a\n\nx", false, "To: a\r\n", "\r\nx" },
        { " continued\nTo: a\n", false, "", "\r\n continued\r\nTo: a\r\n" },
        { "To: a\nno field\n", false, "To: a\r\n", "\r\nno field\r\n" },
        { "To: a", false, "To: a\r\n", "" },
        { ".\n", false, "", "" },
        { "", false, "", "" },
        { "\nTo: a\n", false, "", "\r\nTo: a\r\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t piece = 1; piece < 9; piece++)
            expect(cases[i].in, cases[i].dots, piece, cases[i].header, cases[i].body);
}

static void test_large_header(void **state)
{
    (void)state;
    static char line[60000];
    _cleanup_buf_ struct buf out = BUF(65536);
    struct sendmail_text t = SENDMAIL_TEXT(false);
    int r = sendmail_text_feed(&t, S("X: "), &out);
    memset(line, 'x', sizeof(line));
    for (int i = 0; i < 5 && r == 0; i++)
        r = sendmail_text_feed(&t, str_of(line, sizeof(line)), &out);
    assert_int_equal(r, -EFBIG);
    sendmail_text_done(&t);
}

static void test_recipients(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct sendmail_list l = { .arena = &a }, resent = { .arena = &a }, bad = { .arena = &a };
    str piece, one;
    assert_int_equal(sendmail_list_header(&l, S("To: Ann <ann@example.org>, bob\r\nX-To: no\r\nCc: friends: "
                                                "eve@x.example, \"a b\"@y.example;\r\n"
                                                "bcc: ann@example.org,\r\n carol\r\nSubject: to\r\n"), &piece), 0);
    static const char *const want[] = { "ann@example.org", "bob", "eve@x.example", "\"a b\"@y.example", "carol" };
    assert_int_equal(l.n, ARRAY_LEN(want));
    for (size_t i = 0; i < l.n; i++)
        assert_true(str_eq(l.list[i].address, str_z(want[i])));
    assert_int_equal(sendmail_list_header(&resent, S("To: a\r\nResent-Bcc: b\r\nResent-To: c\r\n"), &piece), 0);
    assert_int_equal(resent.n, 2);
    assert_int_equal(sendmail_list_add(&bad, S("@@"), &piece), -EINVAL);
    assert_int_equal(sendmail_address(&a, S(" <> "), &one), 0);
    assert_int_equal(one.n, 0);
    assert_int_equal(sendmail_address(&a, S("Bob <bob@Example.ORG>"), &one), 0);
    assert_true(str_eq(one, S("bob@example.org")));
    assert_int_equal(sendmail_address(&a, S("a, b"), &one), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_large_header),
        cmocka_unit_test(test_recipients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
