/* Tests of address_list.c and address_scan.c: the address lists of headers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "message/address.h"
#include "message/growth_test.h"

/* The list as one line: name<local@domain>, with [name and ] for groups. */
static void show(struct buf *out, const struct mailbox *m)
{
    for (; m; m = m->next) {
        if (out->n)
            buf_addc(out, '|');
        if (m->kind == MAILBOX_GROUP_END)
            buf_addc(out, ']');
        else if (m->kind == MAILBOX_GROUP_START)
            buf_addf(out, "[%.*s", STR_ARG(m->name));
        else
            buf_addf(out, "%.*s<%.*s@%.*s>", STR_ARG(m->name), STR_ARG(m->local), STR_ARG(m->domain));
    }
}

static void check_n(str value, size_t n, const char *want, bool want_broken)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    _cleanup_buf_ struct buf got = BUF(65536);
    bool broken = !want_broken;
    show(&got, address_list_parse(&a, value, n, &broken));
    buf_addc(&got, '\0');
    assert_string_equal(got.p, want);
    assert_int_equal(broken, want_broken);
}

static void check(str value, const char *want)
{
    check_n(value, 100, want, false);
}

static void check_broken(str value, const char *want)
{
    check_n(value, 100, want, true);
}

static void test_plain(void **state)
{
    (void)state;
    check(S(""), "");
    check(S(" \t\r\n "), "");
    check(S("a@b"), "<a@b>");
    check(S("a@b, c@d"), "<a@b>|<c@d>");
    check(S("Jane Doe <jane@example.org>"), "Jane Doe<jane@example.org>");
    check(S("<jane@example.org>"), "<jane@example.org>");
    check(S("John Q. Public <j@p>"), "John Q. Public<j@p>");
    check(S("a@[1.2.3.4], b@[IPv6:::1]"), "<a@[1.2.3.4]>|<b@[IPv6:::1]>");
    check(S("j\xc3\xb6rg@b\xc3\xbc.de"), "<j\xc3\xb6rg@b\xc3\xbc.de>");
    check(S("=?utf-8?q?J=C3=B6rg?= <a@b>"), "=?utf-8?q?J=C3=B6rg?=<a@b>");
    check(S("[Team] Bob <b@x>"), "[Team] Bob<b@x>");
}

static void test_quotes_and_comments(void **state)
{
    (void)state;
    check(S("\"Doe, Jane\" <a@b>"), "Doe, Jane<a@b>");
    check(S("\"a\\\"b\\\\\" <a@b>"), "a\"b\\<a@b>");
    check(S("\"a@b\" <c@d>"), "a@b<c@d>");
    check(S("\"x y\"@b"), "<x y@b>");
    check(S("\"x.\".y@b"), "<x..y@b>");
    check(S("a@b (Jane \\(x\\))"), "Jane (x)<a@b>");
    check(S("(first) a@b (second)"), "second<a@b>");
    check(S("Jane (c(o(mm)e)nt) Doe (x)<a@b>(y)"), "Jane Doe<a@b>");
    check(S("(a, b <c@d>) e@f"), "a, b <c@d><e@f>");
    check(S("a (x) . (y) b (z) @ (v) c . (w) d"), "w<a.b@c.d>");
    check(S("Jane\r\n\tDoe\r\n <a@b>,\r\n c@d"), "Jane Doe<a@b>|<c@d>");
    check(S("\"Jane\r\n Doe\" <a@b>"), "Jane Doe<a@b>");
    check(S("\"a\r\n b\"@c"), "<a b@c>");
}

static void test_obsolete(void **state)
{
    (void)state;
    check(S(",, a@b,,c@d,"), "<a@b>|<c@d>");
    check(S("<@x,@y:a@b>"), "<a@b>");
    check(S("Jane <@x , , @y (c) : a@b>"), "Jane<a@b>");
    check(S("root"), "<root@>");
    check(S("Jane <root>, x"), "Jane<root@>|<x@>");
    check(S("a..b.@c"), "<a..b.@c>");
}

static void test_groups(void **state)
{
    (void)state;
    check(S("undisclosed-recipients:;"), "[undisclosed-recipients|]");
    check(S("A Group: a@b, Jane <c@d>;, e@f"), "[A Group|<a@b>|Jane<c@d>|]|<e@f>");
    check(S("\"g:h\": ; x:a@b;"), "[g:h|]|[x|<a@b>|]");
    check_broken(S("g: a@b"), "[g|<a@b>|]");
    check_broken(S("g: h: a@b;"), "[g|<a@b>|]");
    check_broken(S("a@b; c@d"), "<a@b>|<c@d>");
    check_broken(S(": a@b;"), "<a@b>");
}

static void test_broken_pieces_are_skipped(void **state)
{
    (void)state;
    check_broken(S("Jane Doe, a@b"), "<a@b>");
    check_broken(S("a@b@c, d@e"), "<d@e>");
    check_broken(S("a@, d@e"), "<d@e>");
    check_broken(S("@b, d@e"), "<d@e>");
    check_broken(S("<>, d@e"), "<d@e>");
    check_broken(S("x <a@b, c@d"), "x<a@b>|<c@d>");
    check_broken(S("a@b>, c@d"), "<c@d>");
    check_broken(S("a@b <c@d> <e@f>"), "a@b<c@d>");
    check_broken(S("\"Jane <a@b>, c@d"), "");
    check_broken(S("a@b (Jane"), "Jane<a@b>");
    check_broken(S("a@[1.2.3.4, c@d"), "<c@d>");
    check_broken(S("<@x a@b>, c@d"), "<c@d>");
    check_broken(S("\"x\" \"y\"@z, c@d"), "<c@d>");
    check_broken(S("a@b <c@d>"), "a@b<c@d>");
    check_broken(S("a@b: c@d;"), "[a@b|<c@d>|]");
    check(S("a@b <a@b>"), "a@b<a@b>");
}

static void test_no_control_characters(void **state)
{
    (void)state;
    check_broken(S("a\0b@c, d@e"), "<d@e>");
    check_broken(S("a\x01@c, d@e"), "<d@e>");
    check_broken(S("a@c\x7f, d@e"), "<d@e>");
    check_broken(S("\"a\nb\"@c, d@e"), "<d@e>");
    check_broken(S("\"a\r\nb\"@c, d@e"), "<d@e>");
    check_broken(S("\"a\tb\"@c, d@e"), "<d@e>");
    check_broken(S("a\xc2\x80@c, d@e"), "<d@e>");
    check_broken(S("a@[1\0.2], d@e"), "<d@e>");
    check_broken(S("\"\xc2\\\x80\"@c, d@e"), "<d@e>");
    check(S("J\xc2\x01\x80n <a@b>"), "J\xc2n<a@b>");
    check(S("\"J\0a\x1bn\te\xc2\x9b\" <a@b>"), "Jan e<a@b>");
    check(S("J\x07n <a@b>, c@d (x\ny)"), "Jn<a@b>|xy<c@d>");
}

static void test_at_most_max(void **state)
{
    (void)state;
    check_n(S("a@b, c@d"), 2, "<a@b>|<c@d>", false);
    check_n(S("a@b, c@d"), 1, "<a@b>", true);
    check_n(S("g: a@b, c@d, e@f; x@y"), 4, "[g|<a@b>|<c@d>|]", true);
    check_n(S("a@b, g: c@d;"), 2, "<a@b>", true);
    check_n(S("a@b"), 0, "", true);
}

static void run(str s)
{
    _cleanup_arena_ struct arena a = ARENA((size_t)1 << 31);
    address_list_parse(&a, s, SIZE_MAX, NULL);
}

static void test_million_addresses(void **state)
{
    _cleanup_arena_ struct arena a = ARENA((size_t)1 << 31);
    _cleanup_buf_ struct buf b = BUF(1 << 24);
    bool broken;
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < 1000000; i++)
        buf_add(&b, S("a@b.c,"));
    for (struct mailbox *m = address_list_parse(&a, buf_str(&b), SIZE_MAX, &broken); m; m = m->next)
        n++;
    assert_int_equal(n, 1000000);
    assert_false(broken);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const struct growth parsing = { seconds, run };

static void test_linear(void **state)
{
    static const struct {
        str head, unit, tail;
    } cases[] = {
        { S(""), S("a@b,"), S("") },        { S(""), S("("), S("") },           { S("x "), S("("), S(" <a@b>") },
        { S("a@b "), S("(x)"), S("") },     { S(""), S("\"a\" "), S("<a@b>") }, { S(""), S("\""), S("") },
        { S(""), S("["), S("") },           { S(""), S("[a"), S("") },          { S("<"), S("@a,"), S(":a@b>") },
        { S(""), S("<"), S("") },           { S(""), S("a <"), S("") },         { S(""), S("g:;"), S("") },
        { S(""), S(":"), S("") },           { S(""), S("\\("), S("") },         { S(""), S("a."), S("@b") },
        { S("a@"), S("b."), S("") },        { S(""), S(" (\r\n"), S("") },      { S(""), S("@"), S("") },
        { S(""), S("a (b) <c@d> (e)"), S("") }, { S(""), S("\"\\"), S("") },    { S("a@"), S("(x)[1]"), S("") },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double ratio = growth(&parsing, cases[i].head, cases[i].unit, cases[i].tail, 40000);
        if (ratio >= 3.0)
            print_message("case %zu: ratio %.2f\n", i, ratio);
        assert_true(ratio < 3.0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_quotes_and_comments),
        cmocka_unit_test(test_obsolete),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_broken_pieces_are_skipped),
        cmocka_unit_test(test_no_control_characters),
        cmocka_unit_test(test_at_most_max),
        cmocka_unit_test(test_million_addresses),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
