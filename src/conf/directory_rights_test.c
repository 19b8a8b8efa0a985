/* Sender rights (DESIGN 8.3). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "conf/directory_test.h"

static void test_sender_rights(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, names);
    const struct { const char *account, *address; bool may; } row[] = {
        { "anna@example.org", "anna@example.org", true },
        { "ANNA@example.org", "Anna@Example.org", true },
        { "anna@example.org", "anna+x@example.org", true },
        { "anna@example.org", "info@example.org", true },       /* leads to her alone */
        { "anna@example.org", "info+x@example.org", true },
        { "anna@example.org", "abuse@b.example", true },        /* bare alias */
        { "anna@example.org", "postmaster@b.example", true },
        { "anna@example.org", "both@example.org", false },      /* leads to others too */
        { "anna@example.org", "bob@example.org", false },
        { "anna@example.org", "unknown@b.example", false },     /* a catch-all gives no right */
        { "anna@example.org", "anna@b.example", false },
        { "anna@example.org", "x@far.example", false },
        { "anna@example.org", "", true },                       /* <> */
        { "anna@example.org", "anna", true },                   /* the first domain */
        { "bob@example.org", "bob@example.org", true },         /* though an alias of that name leads to carl too */
        { "bob@example.org", "sales@far.example", true },
        { "bob@example.org", "SALES@far.example", true },
        { "bob@example.org", "sales+x@far.example", false },
        { "bob@example.org", "whoever@b.example", true },       /* senders=@b.example */
        { "carl@example.org", "team+a@example.org", true },
        { "carl@example.org", "away@example.org", false },
        { "nobody@example.org", "nobody@example.org", false },
        { "nobody@example.org", "", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(row); i++)
        if (directory_may_send(&w.d, &w.a, str_z(row[i].account), str_z(row[i].address)) != row[i].may)
            fail_msg("%s as %s", row[i].account, row[i].address);
}

static void allowed(struct world *w, const char *account, const char *want)
{
    str s = directory_allowed_senders(&w->d, &w->a, str_z(account));
    assert_string_equal(s.p, want);
}

static void test_allowed_senders(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, names);
    allowed(&w, "anna@example.org", "anna@example.org, info@example.org, abuse@example.org, abuse@b.example, "
            "root@example.org, root@b.example");
    allowed(&w, "bob@example.org", "bob@example.org, sales@far.example, @b.example");
    assert_int_equal(directory_allowed_senders(&w.d, &w.a, S("x@example.org")).n, 0);
    _cleanup_world_ struct world many;
    must_compile(&many, CONF, "anna@example.org\n", "a1: anna@example.org\na2: a1\na3: a2\na4: a3\na5: a4\n");
    allowed(&many, "anna@example.org", "anna@example.org, a1@example.org, a1@b.example, a2@example.org, a2@b.example, "
            "a3@example.org, a3@b.example, a4@example.org, a4@b.example, a5@example.org, …");
}

static void quota(const struct directory *d, const char *account, uint64_t want, uint64_t want_messages)
{
    uint64_t bytes = 7, messages = 8; /* where nothing is said */
    directory_quota(d, str_z(account), &bytes, &messages);
    assert_int_equal(bytes, want);
    assert_int_equal(messages, want_messages);
}

static void test_quota(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF,
                 "anna@example.org quota=2G\nbob@example.org quota_messages=100 senders=x@far.example quota=0\n"
                 "carl@example.org senders=y@far.example\nquota=5@example.org\n",
                 "");
    quota(&w.d, "anna@example.org", 2ull << 30, 8);
    quota(&w.d, "Bob@Example.org", 0, 100);
    quota(&w.d, "carl@example.org", 7, 8);
    quota(&w.d, "quota=5@example.org", 7, 8);
    quota(&w.d, "nobody@example.org", 7, 8);
    quota(&w.d, "", 7, 8);
    _cleanup_arena_ struct arena a = ARENA(65536);
    assert_true(str_eq(directory_allowed_senders(&w.d, &a, S("bob@example.org")), S("bob@example.org, x@far.example")));
    assert_false(directory_may_send(&w.d, &a, S("anna@example.org"), S("quota=2147483648")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sender_rights),
        cmocka_unit_test(test_allowed_senders),
        cmocka_unit_test(test_quota),
    };
    return cmocka_run_group_tests_name("directory_rights", tests, NULL, NULL);
}
