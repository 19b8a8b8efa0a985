/* How mail for an account, an alias or all accounts of a domain is delivered: what the directory makes of `deliver`,
 * `user` and mechanisms among the targets of an alias. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "conf/directory_test.h"

#define HOUSE "domain x { postmaster a }\naliases aliases\n"
#define SRV "domain x { postmaster a; deliver maildir:/srv/%d/%n/ mailbox; user vmail }\naliases aliases\n"

static void test_accounts(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, HOUSE, "a@x\n"
                            "bob@x user=bob deliver=mbox:/var/mail/bob deliver=\"|/usr/bin/f -a \\\"b c\\\"\" "
                            "quota=5M\n"
                            "carl@x deliver=smtp:other.test:2525 deliver=mailbox # both\n"
                            "dora@x user=dora deliver=forward deliver=~/Maildir/ deliver=mailbox\n"
                            "eva@x deliver=stdout deliver=forward\n", "");
    leads(&w, "a@x", "LOCAL a@x");
    leads(&w, "bob+tag@x", "LOCAL bob@x=[mbox:/var/mail/bob]as bob bob@x=[|/usr/bin/f -a \"b c\"]as bob");
    leads(&w, "carl@x", "LOCAL carl@x=[smtp:other.test:2525] carl@x");
    leads(&w, "dora@x", "LOCAL dora@x=[forward\n~/Maildir/\nmailbox]as dora");
    leads(&w, "eva@x", "LOCAL eva@x=[stdout] eva@x=[forward]");
    uint64_t bytes = 0, messages = 0;
    directory_quota(&w.d, S("bob@x"), &bytes, &messages);
    assert_int_equal(bytes, 5 << 20);
}

static void test_domain(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, SRV, "a@x\nb@x deliver=mailbox\nc@x user=carl\n\"d/e\"@x\n", "");
    leads(&w, "a@x", "LOCAL a@x=[maildir:/srv/x/a/]as vmail a@x");
    leads(&w, "b@x", "LOCAL b@x");
    leads(&w, "c@x", "LOCAL c@x=[maildir:/srv/x/c/]as carl c@x");
    leads(&w, "d/e@x", "LOCAL d/e@x"); /* no name for a folder: the mailbox alone, and that once */
}

static void test_aliases(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, HOUSE, "a@x\n", "list@x: \"|/usr/lib/list \\\"a, b\\\"\", a, /var/list\n"
                                     "own: |cat, /srv/own/\nonly@x: a\n@x: mbox:/srv/rest\nforward@x: stdout, a\n"
                                     "stdout@x: a\n");
    leads(&w, "list@x", "LOCAL list@x=[|/usr/lib/list \"a, b\"] a@x list@x=[/var/list]");
    leads(&w, "own+1@x", "LOCAL own@x=[|cat] own@x=[/srv/own/]");
    leads(&w, "unknown@x", "LOCAL unknown@x=[mbox:/srv/rest]");
    leads(&w, "forward@x", "LOCAL a@x"); /* the words alone are names of accounts, as ever */
    struct arena a = ARENA(1 << 20);
    assert_true(directory_may_send(&w.d, &a, S("a@x"), S("only@x")));
    assert_false(directory_may_send(&w.d, &a, S("a@x"), S("list@x")));
    arena_done(&a);
}

/* An account that is delivered in several ways is still one. */
static void test_rights(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, SRV, "a@x senders=z@y\n", "info@x: a\n");
    struct arena a = ARENA(1 << 20);
    assert_true(directory_may_send(&w.d, &a, S("a@x"), S("info@x")));
    assert_true(str_eq(directory_allowed_senders(&w.d, &a, S("a@x")), S("a@x, info@x, z@y")));
    arena_done(&a);
}

static void test_refused(void **state)
{
    (void)state;
    refuse(HOUSE, "a@x deliver=mbox:here\n", "",
           "accounts:1: \"mbox:here\": the path must begin with / or ~/");
    refuse(HOUSE, "a@x deliver=\"|'x\"\n", "", "accounts:1: \"|'x\": a quote is not closed");
    refuse(HOUSE, "a@x user=0\n", "", "accounts:1: \"0\" is not a name of a system user");
    refuse(HOUSE, "a@x user=a user=b\n", "", "accounts:1: user= stands twice");
    refuse(HOUSE, "a@x\n", "b@x: \"|\"\n", "aliases:1: \"|\": a command is missing behind the bar");
    refuse("domain x { postmaster a; deliver mbox:x }\n", "a@x\n", "",
           "posthouse.conf:1: \"mbox:x\": the path must begin with / or ~/");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_accounts), cmocka_unit_test(test_domain),
                                        cmocka_unit_test(test_aliases), cmocka_unit_test(test_rights),
                                        cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
