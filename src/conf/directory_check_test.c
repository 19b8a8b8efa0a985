/* What is refused of the directory as a whole: loops, long chains, domains without a postmaster. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "conf/directory_test.h"

static void test_loops(void **state)
{
    (void)state;
    refuse(CONF, people, "a@example.org: b\nb@example.org: c, anna\nc@example.org: a+tag\n",
           "aliases:1: alias loop: a@example.org -> b@example.org -> c@example.org -> a@example.org");
    refuse(CONF, people, "a@example.org: a\n",
           "aliases:1: alias loop (and no account of that name): a@example.org -> a@example.org");
    refuse(CONF, people, "info: more\nmore: info\n",
           "aliases:1: alias loop: info@example.org -> more@example.org -> info@example.org");
    refuse(CONF, people, "anna@example.org: bob\nbob@example.org: anna\n",
           "aliases:1: alias loop: anna@example.org -> bob@example.org -> anna@example.org");
    refuse(CONF, people, "@b.example: x@b.example\n",
           "aliases:1: alias loop (and no account of that name): @b.example -> @b.example");
}

static void test_long_chains(void **state)
{
    (void)state;
    struct buf b = BUF(65536);
    for (unsigned i = 0; i < 50; i++)
        buf_addf(&b, "a%u@example.org: %s%u@example.org\n", i, "a", i + 1);
    size_t n = b.n;
    buf_addf(&b, "a50@example.org: anna@example.org\n%c", 0);
    _cleanup_world_ struct world deep;
    assert_int_equal(compile(&deep, CONF, people, b.p), -EINVAL);
    assert_non_null(strstr(test_error(&deep.a, &deep.error),
                           "aliases lead through more than 50 others: a0@example.org -> "));
    b.n = n - strlen("a49@example.org: a50@example.org\n");
    buf_addf(&b, "a49@example.org: anna@example.org\n%c", 0);
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, b.p);
    leads(&w, "a0@example.org", "LOCAL anna@example.org");
    buf_done(&b);
}

/* 2^40 paths through 40 levels: each alias is entered once. */
static void test_wide_and_deep(void **state)
{
    (void)state;
    struct buf b = BUF(65536);
    for (unsigned i = 0; i < 40; i++)
        buf_addf(&b, "l%u@example.org: l%u, r%u\nr%u@example.org: l%u, r%u\n", i, i + 1, i + 1, i, i + 1, i + 1);
    buf_addf(&b, "l40@example.org: anna\nr40@example.org: carl\n%c", 0);
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, b.p);
    leads(&w, "l0@example.org", "LOCAL anna@example.org carl@example.org");
    buf_done(&b);
}

static void test_too_many_targets(void **state)
{
    (void)state;
    struct buf b = BUF(1u << 20);
    buf_add(&b, S("x@example.org: "));
    for (unsigned i = 0; i < DIRECTORY_TARGETS_MAX; i++)
        buf_addf(&b, "u%u@far.example, ", i);
    buf_addf(&b, "\ny@example.org: x%c", 0);
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, b.p);
    struct directory_result r;
    assert_int_equal(directory_resolve(&w.d, &w.a, S("y@example.org"), &r), 0);
    assert_int_equal(r.n_targets, DIRECTORY_TARGETS_MAX);
    b.n--;
    buf_addf(&b, ", anna@example.org\n%c", 0);
    refuse(CONF, people, b.p, "aliases:2: an alias leads to more than 10000 addresses: y@example.org");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loops),
        cmocka_unit_test(test_long_chains),
        cmocka_unit_test(test_wide_and_deep),
        cmocka_unit_test(test_too_many_targets),
    };
    return cmocka_run_group_tests_name("directory_check", tests, NULL, NULL);
}
