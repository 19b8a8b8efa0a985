/* Tests of mime_params.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "message/growth_test.h"
#include "message/mime_params.h"

static void check(str value, str name, bool extended_first, str want)
{
    struct mime_params p;
    _cleanup_buf_ struct buf b = BUF(4096);
    mime_params_parse(value, &p);
    assert_true(mime_params_get(&p, name, extended_first, &b));
    if (!str_eq(buf_str(&b), want))
        print_message("%.*s: got \"%.*s\"\n", STR_ARG(value), STR_ARG(buf_str(&b)));
    assert_true(str_eq(buf_str(&b), want));
}

static void check_absent(str value, str name)
{
    struct mime_params p;
    _cleanup_buf_ struct buf b = BUF(4096);
    mime_params_parse(value, &p);
    assert_false(mime_params_get(&p, name, false, &b));
    assert_int_equal(b.n, 0);
}

static void check_main(str value, str want)
{
    struct mime_params p;
    mime_params_parse(value, &p);
    assert_true(str_eq(p.main, want));
}

static void test_main(void **state)
{
    (void)state;
    check_main(S(""), S(""));
    check_main(S(" Text/Plain"), S("Text/Plain"));
    check_main(S("(c) text/plain (d); x=y"), S("text/plain"));
    check_main(S("attachment;filename=x"), S("attachment"));
    check_main(S("; a=b"), S(""));
}

static void test_plain(void **state)
{
    (void)state;
    check(S("text/plain; charset=us-ascii"), S("charset"), false, S("us-ascii"));
    check(S("text/plain;CHARSET = \"us-ascii\" ; x=y"), S("charset"), false, S("us-ascii"));
    check(S("text/plain; charset=us-ascii (Plain; a=b text)"), S("charset"), false, S("us-ascii"));
    check(S("x; a=\"b;\\\"c\\\\\"; d=e"), S("a"), false, S("b;\"c\\"));
    check(S("x; a=\"b;\\\"c\\\\\"; d=e"), S("d"), false, S("e"));
    check(S("x; a=\"b\r\n c\""), S("a"), false, S("b c"));
    check(S("x;\r\n\ta=b;\r\n\tc=d"), S("c"), false, S("d"));
    check(S("x; a=b; A=c"), S("a"), false, S("b"));
    check(S("x; a=; b=c"), S("a"), false, S(""));
    check(S("x; a=\"unclosed"), S("a"), false, S("unclosed"));
    check_absent(S("x; ab=c; a; a b"), S("a"));
    check_absent(S("x"), S("a"));
}

static void test_sloppy(void **state)
{
    (void)state;
    check(S("x; name=my file (1).txt; a=b"), S("name"), false, S("my file"));
    check(S("x; name=my file.txt; a=b"), S("name"), false, S("my file.txt"));
    check(S("x; boundary=abc charset=utf-8"), S("boundary"), false, S("abc"));
    check(S("x; boundary=abc charset=utf-8"), S("charset"), false, S("utf-8"));
    check(S("x charset=utf-8"), S("charset"), false, S("utf-8"));
    check(S("x; boundary===_abc=="), S("boundary"), false, S("==_abc=="));
    check(S("x; =y; \"q\"; ;; a=b"), S("a"), false, S("b"));
}

static void test_rfc2231(void **state)
{
    (void)state;
    check(S("x; n*=utf-8'en'%e2%82%ac%20r%41tes"), S("n"), true, S("\xe2\x82\xac rAtes"));
    check(S("x; n*0=ab; n*1=\"c d\""), S("n"), true, S("abc d"));
    check(S("x; n*1=b; n*0=a; n*2=c"), S("n"), true, S("abc"));
    check(S("x; n*0*=us-ascii'en'a%20; n*1=%20; n*2*=%20z"), S("n"), true, S("a %20 z"));
    check(S("x; n*0=a; n*2=c"), S("n"), true, S("a"));
    check(S("x; n*0=a; n*0=b; n*01=c"), S("n"), true, S("a"));
    check(S("x; n*=%zz%4"), S("n"), true, S("%zz%4"));
    check(S("x; n=plain; n*=utf-8''ext"), S("n"), true, S("ext"));
    check(S("x; n=plain; n*=utf-8''ext"), S("n"), false, S("plain"));
    check(S("x; n*0=piece; n=plain"), S("n"), false, S("plain"));
    check(S("x; n*=it's"), S("n"), true, S("it's"));
    check_absent(S("x; n*1=b; n*x=c; n**=d; n*999999999999999999999=e"), S("n"));
}

static void test_bounds(void **state)
{
    struct mime_params p;
    _cleanup_buf_ struct buf b = BUF(1 << 20), out = BUF(100);
    (void)state;
    buf_add(&b, S("x"));
    for (int i = 0; i < 1000; i++)
        buf_addf(&b, "; n*%d=ab", i);
    mime_params_parse(buf_str(&b), &p);
    assert_int_equal(p.n, MIME_PARAMS_MAX);
    assert_true(p.limited);
    assert_true(mime_params_get(&p, S("n"), true, &out));
    assert_int_equal(out.n, 100);
    assert_true(out.failed);
}

/* All parameters as "name=value|". */
static void check_list(str value, str want)
{
    struct mime_params p;
    size_t at = 0;
    _cleanup_buf_ struct buf b = BUF(4096), name = BUF(4096), text = BUF(4096);
    mime_params_parse(value, &p);
    while (mime_params_next(&p, &at, &name, &text))
        buf_addf(&b, "%.*s=%.*s|", STR_ARG(buf_str(&name)), STR_ARG(buf_str(&text)));
    if (!str_eq(buf_str(&b), want))
        print_message("%.*s: got \"%.*s\"\n", STR_ARG(value), STR_ARG(buf_str(&b)));
    assert_true(str_eq(buf_str(&b), want));
}

static void test_list(void **state)
{
    (void)state;
    check_list(S("x/y"), S(""));
    check_list(S("x/y; a=1; B=\"2 \\\"3\"; A=4; b*=5"), S("a=1|B=2 \"3|b*=5|"));
    check_list(S("x/y; a*0=1; b=2; a*1=3; a*3=4"), S("a=13|b=2|"));
    check_list(S("x/y; a*1=3; a*0=1"), S("a=13|"));
    check_list(S("x/y; a*=utf-8'de'%41"), S("a*=utf-8'de'%41|"));
    check_list(S("x/y; a*0*=utf-8''%41; a*1=\"b%;\"; a*2*=c"), S("a*=utf-8''%41b%25%3Bc|"));
    check_list(S("x/y; a*0=\"b c\"; a*1*=%41"), S("a*=''b%20c%41|"));
    /* both forms, and pieces beside the whole */
    check_list(S("x/y; a=1; a*=''2; a*0=3"), S("a=1|a*=''2|"));
    check_list(S("x/y; a*0*=''3; a=1"), S("a*=''3|a=1|"));
    check_list(S("x/y; a*00=1; a*x=2; *0=3; a*1=4"), S("*0=3|"));
}

static void run(str s)
{
    struct mime_params p;
    size_t at = 0;
    _cleanup_buf_ struct buf b = BUF((size_t)1 << 24), name = BUF((size_t)1 << 24);
    mime_params_parse(s, &p);
    mime_params_get(&p, S("n"), true, &b);
    while (mime_params_next(&p, &at, &name, &b))
        ;
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
        str head, unit;
    } cases[] = {
        { S("x; n="), S("a ") },     { S("x; n="), S("a (") },  { S("x; n=\""), S("\\a") },  { S("x; n*="), S("%41") },
        { S("x; n*="), S("'") },     { S("x"), S(" a") },       { S("x"), S(" \"a\"") },     { S("x"), S(";") },
        { S("x"), S("; =") },        { S(""), S("(") },         { S("x; n=a "), S("b;c ") },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_true(growth(&parsing, cases[i].head, cases[i].unit, S(""), 200000) < 3.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_main),    cmocka_unit_test(test_plain),  cmocka_unit_test(test_sloppy),
        cmocka_unit_test(test_rfc2231), cmocka_unit_test(test_bounds), cmocka_unit_test(test_list),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
