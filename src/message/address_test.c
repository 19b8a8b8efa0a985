/* Tests of address.c: mailboxes and paths of the envelope. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include <errno.h>
#include "message/address.h"
#include "message/growth_test.h"

#define A10 "aaaaaaaaaa"
#define A60 A10 A10 A10 A10 A10 A10
#define LABEL63 A60 "aaa"

static const char *parse(str s, bool bare_ok, bool utf8_ok)
{
    struct address a;
    const char *why = NULL;
    int r = address_parse(s, bare_ok, utf8_ok, &a, &why);
    assert_int_equal(r, why ? -EBADMSG : 0);
    return why;
}

static void check_parts(str s, str local, str domain)
{
    struct address a = { 0 };
    const char *why = NULL;
    assert_int_equal(address_parse(s, true, true, &a, &why), 0);
    assert_true(str_eq(a.local, local));
    assert_true(str_eq(a.domain, domain));
}

static void test_accepts(void **state)
{
    (void)state;
    check_parts(S("jane@example.org"), S("jane"), S("example.org"));
    check_parts(S("j.a+n!#$%&'*/=?^_`{|}~-e@a"), S("j.a+n!#$%&'*/=?^_`{|}~-e"), S("a"));
    check_parts(S("\"a b\\\"@c\"@example.org"), S("\"a b\\\"@c\""), S("example.org"));
    check_parts(S("\"\"@example.org"), S("\"\""), S("example.org"));
    check_parts(S("j@[127.0.0.1]"), S("j"), S("[127.0.0.1]"));
    check_parts(S("j@[IPv6:2001:db8::1]"), S("j"), S("[IPv6:2001:db8::1]"));
    check_parts(S("postmaster"), S("postmaster"), STR_NONE);
    check_parts(S("j\xc3\xb6rg@b\xc3\xbc" "cher.example"), S("j\xc3\xb6rg"), S("b\xc3\xbc" "cher.example"));
    check_parts(S(A60 "aaaa@example.org"), S(A60 "aaaa"), S("example.org"));
    check_parts(S("a@" LABEL63 ".b"), S("a"), S(LABEL63 ".b"));
}

static void check_why(str s, const char *part)
{
    const char *why = parse(s, false, true);
    assert_non_null(why);
    assert_non_null(strstr(why, part));
}

static void test_refuses_with_reason(void **state)
{
    (void)state;
    check_why(S(""), "missing address");
    check_why(S("@example.org"), "missing local");
    check_why(S("jane"), "missing domain");
    check_why(S("jane@"), "bad domain");
    check_why(S(A60 "aaaaa@example.org"), "local part over 64");
    check_why(S("a@" A60 "." A60 "." A60 "." A60 "." A60), "domain over 255");
    check_why(S("a@" LABEL63 "a.b"), "bad domain");
    check_why(S(".a@b"), "dot");
    check_why(S("a.@b"), "dot");
    check_why(S("a..b@c"), "dot");
    check_why(S("a b@c"), "bad character");
    check_why(S("a,b@c"), "bad character");
    check_why(S("\"a@c"), "quoted");
    check_why(S("\"a\"b@c"), "quoted");
    check_why(S("\"a\\"), "quoted");
    check_why(S("a@b@c"), "bad domain");
    check_why(S("a@b_c"), "bad domain");
    check_why(S("a@-b"), "bad domain");
    check_why(S("a@b-"), "bad domain");
    check_why(S("a@b..c"), "bad domain");
    check_why(S("a@b."), "bad domain");
    check_why(S("a@[1.2.3]"), "literal");
    check_why(S("a@[IPv6:1.2.3.4]"), "literal");
    check_why(S("a@[x:y]"), "literal");
    check_why(S("a@\xff"), "UTF-8");
}

static void test_no_control_characters(void **state)
{
    (void)state;
    for (int c = 0; c < 128; c++) {
        if (c >= 32 && c != 127)
            continue;
        char plain[] = "axb@example.org", quoted[] = "\"x\"@example.org", escaped[] = "\"\\x\"@example.org",
             domain[] = "a@bxc";
        plain[1] = quoted[1] = escaped[2] = domain[3] = (char)c;
        assert_string_equal(parse(str_of(plain, sizeof(plain) - 1), false, true), "control character in address");
        assert_string_equal(parse(str_of(quoted, sizeof(quoted) - 1), false, true), "control character in address");
        assert_string_equal(parse(str_of(escaped, sizeof(escaped) - 1), false, true), "control character in address");
        assert_string_equal(parse(str_of(domain, sizeof(domain) - 1), false, true), "control character in address");
    }
    assert_string_equal(parse(S("a\xc2\x85" "b@c"), false, true), "control character in address");
}

static void test_utf8_needs_consent(void **state)
{
    struct address a;
    const char *why;
    (void)state;
    assert_non_null(parse(S("j\xc3\xb6rg@example.org"), false, false));
    assert_null(parse(S("j\xc3\xb6rg@example.org"), false, true));
    assert_int_equal(address_parse(S("j\xc3\xb6rg@example.org"), false, true, &a, &why), 0);
    assert_true(a.utf8);
    assert_int_equal(address_parse(S("jorg@example.org"), false, true, &a, &why), 0);
    assert_false(a.utf8);
}

static void check_path(str s, str local, str domain, str left)
{
    struct address a = { 0 };
    str rest = STR_NONE;
    const char *why = NULL;
    assert_int_equal(address_parse_path(s, true, true, &a, &rest, &why), 0);
    assert_true(str_eq(a.local, local));
    assert_true(str_eq(a.domain, domain));
    assert_true(str_eq(rest, left));
}

static void test_paths(void **state)
{
    struct address a;
    str rest;
    const char *why;
    (void)state;
    check_path(S("<a@b> SIZE=1"), S("a"), S("b"), S(" SIZE=1"));
    check_path(S(" <a@b>"), S("a"), S("b"), S(""));
    check_path(S("<>"), STR_NONE, STR_NONE, S(""));
    check_path(S("<> BODY=7BIT"), STR_NONE, STR_NONE, S(" BODY=7BIT"));
    check_path(S("<@x.example,@y.example:a@b>"), S("a"), S("b"), S(""));
    check_path(S("<\"a>b c\"@d> X"), S("\"a>b c\""), S("d"), S(" X"));
    check_path(S("a@b SIZE=1"), S("a"), S("b"), S(" SIZE=1"));
    check_path(S("<postmaster>"), S("postmaster"), STR_NONE, S(""));
    check_path(S("<a@[IPv6:::1]>"), S("a"), S("[IPv6:::1]"), S(""));
    static const char *const bad[] = { "",        " ",        "<",       "<a@b", "<a@b SIZE=1", "<@x:>",  "<@:a@b>",
                                       "<x:a@b>", "<@x;a@b>", "<<a@b>>", "< >",  "a@b>",        "<\"a@b>" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        why = NULL;
        assert_int_equal(address_parse_path(str_z(bad[i]), true, true, &a, &rest, &why), -EBADMSG);
        assert_non_null(why);
    }
    assert_int_equal(address_parse_path(S("<postmaster>"), false, true, &a, &rest, &why), -EBADMSG);
}

static void check_canonical(str in, str want)
{
    _cleanup_arena_ struct arena arena = ARENA(65536);
    struct address a;
    const char *why;
    assert_int_equal(address_parse(in, true, true, &a, &why), 0);
    assert_true(str_eq(address_canonical(&arena, &a), want));
}

static void test_canonical(void **state)
{
    (void)state;
    check_canonical(S("Jane@EXAMPLE.org"), S("Jane@example.org"));
    check_canonical(S("\"jane.doe\"@b"), S("jane.doe@b"));
    check_canonical(S("\"j\\ane\"@b"), S("jane@b"));
    check_canonical(S("\"j ane\\x\"@b"), S("\"j anex\"@b"));
    check_canonical(S("\"a\\\"b\\\\\"@b"), S("\"a\\\"b\\\\\"@b"));
    check_canonical(S("\"\"@b"), S("\"\"@b"));
    check_canonical(S("\".a\"@b"), S("\".a\"@b"));
    check_canonical(S("Postmaster"), S("Postmaster"));
    check_canonical(S("a@[IPV6:::1]"), S("a@[ipv6:::1]"));
}

static void test_domains(void **state)
{
    (void)state;
    assert_true(domain_valid(S("a.b"), 2));
    assert_false(domain_valid(S("a"), 2));
    assert_false(domain_valid(S(""), 0));
    assert_false(domain_valid(S(".a"), 1));
    assert_false(domain_valid(S("a\0b"), 1));
    assert_false(domain_valid(S("a b"), 1));
    assert_true(domain_is_literal(S("[ipv6:::1]")));
    assert_true(domain_is_literal(S("[255.0.0.1]")));
    assert_false(domain_is_literal(S("[256.0.0.1]")));
    assert_false(domain_is_literal(S("[]")));
    assert_false(domain_is_literal(S("[1.2.3.4")));
    assert_false(domain_is_literal(S("[1.2.3.4\0]")));
    assert_false(domain_is_literal(S("[::1]")));
}

static void run_path(str s)
{
    struct address a;
    str rest;
    const char *why;
    address_parse_path(s, true, true, &a, &rest, &why);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const struct growth parsing = { seconds, run_path };

static void test_linear(void **state)
{
    (void)state;
    assert_true(growth(&parsing, S("<"), S("@a,"), S(":a@b>"), 100000) < 3.0);
    assert_true(growth(&parsing, S("<\""), S("\\\""), S("\"@b>"), 200000) < 3.0);
    assert_true(growth(&parsing, S("<a"), S(".a"), S("@b>"), 200000) < 3.0);
    assert_true(growth(&parsing, S("<a@b"), S(".b"), S(">"), 200000) < 3.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses_with_reason),
        cmocka_unit_test(test_no_control_characters),
        cmocka_unit_test(test_utf8_needs_consent),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
