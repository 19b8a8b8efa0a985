/* The order of DESIGN 8.2, and the steps that explain it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "conf/directory_test.h"

static void test_order(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, names);
    assert_int_equal(w.d.generation, 7);
    leads(&w, "anna@example.org", "LOCAL anna@example.org");
    leads(&w, "ANNA@EXAMPLE.ORG", "LOCAL anna@example.org");
    leads(&w, "anna+tag+more@example.org", "LOCAL anna@example.org");
    leads(&w, "info@example.org", "LOCAL anna@example.org");
    leads(&w, "info+tag@example.org", "LOCAL anna@example.org");
    leads(&w, "both@example.org", "LOCAL anna@example.org bob@example.org carl@example.org !x@far.example");
    leads(&w, "bob@example.org", "LOCAL bob@example.org carl@example.org");
    leads(&w, "bob+x@example.org", "LOCAL bob@example.org carl@example.org");
    leads(&w, "dora+x@example.org", "LOCAL dora+x@example.org");
    leads(&w, "dora@example.org", "UNKNOWN");
    leads(&w, "team+a@example.org", "LOCAL carl@example.org");
    leads(&w, "team@example.org", "UNKNOWN");
    leads(&w, "abuse@example.org", "LOCAL anna@example.org");
    leads(&w, "abuse@b.example", "LOCAL anna@example.org");
    leads(&w, "all@example.org", "LOCAL carl@example.org !x@far.example");
    leads(&w, "gone@example.org", "UNKNOWN");
    leads(&w, "anything@b.example", "LOCAL anna@example.org");
    leads(&w, "anything@example.org", "UNKNOWN");
    leads(&w, "+x@example.org", "UNKNOWN");
    leads(&w, "X@Far.Example", "FOREIGN !X@Far.Example");
    leads(&w, "nonsense", "UNKNOWN");
    leads(&w, "", "FOREIGN !");
    leads(&w, "away@example.org", "LOCAL !someone@far.example");
}

static void test_postmaster(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, names);
    leads(&w, "postmaster@example.org", "LOCAL anna@example.org");
    leads(&w, "PostMaster+x@b.example", "LOCAL anna@example.org");
    leads(&w, "postmaster", "LOCAL anna@example.org");
    refuse("domain example.org\n", "a@example.org", "",
           "posthouse.conf:1: domain example.org has no postmaster (RFC 5321 4.5.1 wants one); write `domain "
           "example.org { postmaster user@example.org }`, or make an account or alias postmaster@example.org");
    refuse("domain x { catch_all a@x }\n", "a@x", "",
           "posthouse.conf:1: domain x has no postmaster (RFC 5321 4.5.1 wants one); write `domain x { postmaster "
           "user@x }`, or make an account or alias postmaster@x");
    refuse("\ndomain x {\n postmaster b@x }\n", "a@x", "",
           "posthouse.conf:3: leads to no account and no other host, but every domain needs a postmaster: "
           "postmaster@x");
    refuse("domain x { postmaster postmaster }\n", "a@x", "",
           "posthouse.conf:1: alias loop (and no account of that name): postmaster@x -> postmaster@x");
    _cleanup_world_ struct world account;
    must_compile(&account, "domain x\ndomain y\naliases aliases\n", "postmaster@x\n", "postmaster@y: postmaster@x\n");
    leads(&account, "postmaster@y", "LOCAL postmaster@x");
    _cleanup_world_ struct world bare;
    must_compile(&bare, "domain x\ndomain y\naliases aliases\n", "root@x\nroot@y\n", "postmaster: root\n");
    leads(&bare, "postmaster@x", "LOCAL root@x");
    leads(&bare, "postmaster@y", "LOCAL root@y");
}

static void test_catch_all_of_domain(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, "domain x { postmaster a; catch_all a b@far.example }\n", "a@x\n", "");
    leads(&w, "whatever@x", "LOCAL a@x !b@far.example");
    refuse("domain x { postmaster a; catch_all a }\naliases aliases", "a@x\n", "@x: a\n",
           "aliases:1: alias @x appears twice; first at posthouse.conf:1");
    refuse("domain x { postmaster a; catch_all nobody }\n", "a@x\n", "",
           "posthouse.conf:1: alias loop (and no account of that name): @x -> @x");
}

static void test_international(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, "domain b\xc3\xbc" "cher.example { postmaster a }\n" CONF,
                 "a@xn--bcher-kva.example\nb@b\xc3\xbc" "cher.example\n"
                 "anna@example.org\nM\xc3\xbcller@example.org\n", "");
    leads(&w, "a@b\xc3\xbc" "cher.example", "LOCAL a@xn--bcher-kva.example");
    leads(&w, "B@B\xc3\x9c" "cher.example", "LOCAL b@xn--bcher-kva.example");
    leads(&w, "b@XN--bcher-kva.example", "LOCAL b@xn--bcher-kva.example");
    leads(&w, "m\xc3\xbcller@example.org", "LOCAL m\xc3\xbcller@example.org");
    leads(&w, "m\xc3\x9cller@example.org", "UNKNOWN");
    assert_true(directory_is_local_domain(&w.d, S("B\xc3\xbc" "CHER.example")));
}

static void test_quoted(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, names);
    leads(&w, "with.dots@example.org", "LOCAL with.dots@example.org");
    leads(&w, "\"with.dots\"@example.org", "LOCAL with.dots@example.org");
    leads(&w, "\"anna\"@example.org", "LOCAL anna@example.org");
    leads(&w, "\"anna x\"@example.org", "UNKNOWN");
}

static void test_steps(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct directory_result r;
    must_compile(&w, CONF, people, names);
    assert_int_equal(directory_resolve(&w.d, &w.a, S("Info+x@example.org"), &r), 0);
    const struct directory_step *s = r.steps;
    assert_int_equal(s->kind, DIRECTORY_STEP_TAG);
    assert_true(str_eq(s->from, S("Info+x@example.org")));
    assert_true(str_eq(s->to, S("info@example.org")));
    s = s->next;
    assert_int_equal(s->kind, DIRECTORY_STEP_ALIAS);
    assert_true(str_eq(s->to, S("anna@example.org")));
    assert_true(str_eq(s->file, S("aliases")));
    assert_int_equal(s->line, 2);
    s = s->next;
    assert_int_equal(s->kind, DIRECTORY_STEP_ACCOUNT);
    assert_true(str_eq(s->file, S("accounts")));
    assert_int_equal(s->line, 2);
    assert_null(s->next);
    assert_int_equal(directory_resolve(&w.d, &w.a, S("dora@example.org"), &r), 0);
    assert_int_equal(r.steps->kind, DIRECTORY_STEP_NONE);
    assert_int_equal(directory_resolve(&w.d, &w.a, S("q@b.example"), &r), 0);
    assert_int_equal(r.steps->kind, DIRECTORY_STEP_CATCH_ALL);
    assert_int_equal(directory_resolve(&w.d, &w.a, S("postmaster@b.example"), &r), 0);
    assert_int_equal(r.steps->kind, DIRECTORY_STEP_POSTMASTER);
    assert_true(str_eq(r.steps->file, S("posthouse.conf")));
    assert_int_equal(r.steps->line, 2);
}

static void test_other_delimiters(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, "recipient_delimiter \"-_\"\n" CONF, people, "");
    leads(&w, "anna-x@example.org", "LOCAL anna@example.org");
    leads(&w, "anna_x-y@example.org", "LOCAL anna@example.org");
    leads(&w, "anna+x@example.org", "UNKNOWN");
    _cleanup_world_ struct world none;
    must_compile(&none, "recipient_delimiter \"\"\n" CONF, people, "");
    leads(&none, "anna+x@example.org", "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_postmaster),
        cmocka_unit_test(test_catch_all_of_domain),
        cmocka_unit_test(test_international),
        cmocka_unit_test(test_quoted),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_other_delimiters),
    };
    return cmocka_run_group_tests_name("directory_resolve", tests, NULL, NULL);
}
