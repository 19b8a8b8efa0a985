/* The directory: the order of DESIGN 8.2, loops, postmasters, sender rights, damage, and its speed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "base/env.h"
#include "conf/conf_test.h"
#include "conf/directory.h"
#include <errno.h>

#define CONF "domain example.org { postmaster anna@example.org }\n" \
             "domain b.example { postmaster anna@example.org }\naliases aliases\n"

struct world {
    struct arena a;
    struct buf blob;
    struct directory d;
    struct conf_error error;
};

/* Compiles; 0 or the error of directory_compile. */
static int compile(struct world *w, const char *conf, const char *accounts, const char *aliases)
{
    const char *const files[] = { "accounts", accounts, "aliases", aliases,
                                  "lists/all", "carl@example.org\n# no\n\nx@far.example\n", NULL };
    const struct conf *c;
    *w = (struct world){ .a = ARENA(CONF_MEMORY_MAX), .blob = BUF(CONF_BUNDLE_MAX) };
    str bundle = test_bundle(&w->a, conf, files);
    if (conf_parse(&w->a, bundle, &c, &w->error) < 0)
        fail_msg("%s", test_error(&w->a, &w->error));
    int r = directory_compile(&w->a, bundle, c, 7, &w->blob, &w->error);
    return r < 0 ? r : directory_open(buf_str(&w->blob), &w->d);
}

static void world_done(struct world *w)
{
    arena_done(&w->a);
    buf_done(&w->blob);
}
#define _cleanup_world_ _cleanup_(world_done)

static void must_compile(struct world *w, const char *conf, const char *accounts, const char *aliases)
{
    if (compile(w, conf, accounts, aliases) < 0)
        fail_msg("%s", test_error(&w->a, &w->error));
}

static void refuse(const char *conf, const char *accounts, const char *aliases, const char *want)
{
    _cleanup_world_ struct world w;
    assert_int_equal(compile(&w, conf, accounts, aliases), -EINVAL);
    assert_string_equal(test_error(&w.a, &w.error), want);
}

/* Class and targets as "LOCAL a@b !c@d": ! is foreign. */
static void leads(struct world *w, const char *address, const char *want)
{
    static const char *const name[] = { "FOREIGN", "UNKNOWN", "LOCAL" };
    struct directory_result r;
    struct buf b = BUF(65536);
    assert_int_equal(directory_resolve(&w->d, &w->a, str_z(address), &r), 0);
    assert_int_equal(directory_class(&w->d, str_z(address)), r.class);
    buf_add(&b, str_z(name[r.class]));
    size_t n = 0;
    for (const struct directory_target *t = r.targets; t; t = t->next, n++) {
        buf_add(&b, t->foreign ? S(" !") : S(" "));
        buf_add(&b, t->address);
    }
    assert_int_equal(n, r.n_targets);
    buf_addc(&b, '\0');
    assert_string_equal(b.p, want);
    buf_done(&b);
}

static const char people[] =
    "# people\n"
    "Anna@Example.org\n"
    "bob@example.org senders=sales@far.example,@b.example # a comment\n"
    "\n"
    "carl@example.org\n"
    "dora+x@example.org\n"
    "m\xc3\xbcller@b.example\n"
    "\"with.dots\"@example.org\n";

static const char names[] =
    "# names\n"
    "info@example.org: anna@example.org\n"
    "both@example.org: anna, bob@example.org,\n"
    "  Anna@example.org, x@Far.example\n"
    "bob@example.org: bob, carl\n"
    "abuse: root\n"
    "root: anna@example.org\n"
    "all@example.org: :include:lists/all\n"
    "gone@example.org: nobody@example.org\n"
    "team+a@example.org: carl@example.org\n"
    "@b.example: anna@example.org\n"
    "away@example.org: someone@far.example\n";

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

static void test_small_questions(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, names);
    assert_true(directory_is_local_domain(&w.d, S("Example.ORG")));
    assert_false(directory_is_local_domain(&w.d, S("example.or")));
    assert_false(directory_is_local_domain(&w.d, S("")));
    assert_true(directory_has_account(&w.d, S("ANNA@example.org")));
    assert_false(directory_has_account(&w.d, S("anna+x@example.org")));
    assert_false(directory_has_account(&w.d, S("info@example.org")));
    str s;
    assert_true(directory_account(&w.d, 0, &s));
    assert_true(str_eq(s, S("anna@example.org")));
    assert_true(directory_account(&w.d, 5, &s));
    assert_true(str_eq(s, S("with.dots@example.org")));
    assert_false(directory_account(&w.d, 6, &s));
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

static void test_refused_lines(void **state)
{
    (void)state;
    refuse(CONF, "anna@example.org\nx@other.example\n", "",
           "accounts:2: account x@other.example: other.example is not a domain of this host; add `domain "
           "other.example` to posthouse.conf");
    refuse(CONF, "anna@example.org\nbob@example.org\nAnna@example.org\n", "",
           "accounts:3: account anna@example.org appears twice; first at accounts:1");
    refuse(CONF, "anna@example.org\n", "a: anna\nb: anna\nA: anna\n",
           "aliases:3: alias a appears twice; first at aliases:1");
    refuse(CONF, "anna\n", "", "accounts:1: account \"anna\" has no domain; a log-in is the full address");
    refuse(CONF, "anna@example.org quota=1\n", "",
           "accounts:1: unknown option \"quota=1\" of an account; expected senders=address,address");
    refuse(CONF, "anna@example.org senders=x\n", "",
           "accounts:1: senders= needs whole addresses or @domain; \"x\" has no domain");
    refuse(CONF, "anna@example.org\n", "nothing\n", "aliases:1: expected `alias: target, target…`");
    refuse(CONF, "anna@example.org\n", "x:\n", "aliases:1: alias x has no target");
    refuse(CONF, "anna@example.org\n", "\n x: y\n",
           "aliases:2: a line that starts with a blank continues the one before, and there is none");
    refuse(CONF, "anna@example.org\n", "x@far.example: anna\n",
           "aliases:1: alias x@far.example: far.example is not a domain of this host; add `domain far.example` to "
           "posthouse.conf");
    refuse(CONF, "anna@example.org\n", "x: :include:no\n", "aliases:1: cannot read no: not in the bundle");
    refuse(CONF, "anna@example.org\n", "x: y\x01\n", "aliases:1: a control byte in the line");
}

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

/* Any byte of the blob may be wrong: no read outside (the sanitizer looks), no endless loop. */
static void test_damage(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, names);
    char *copy = malloc(w.blob.n);
    assert_non_null(copy);
    for (size_t i = 0; i < w.blob.n; i++) {
        memcpy(copy, w.blob.p, w.blob.n);
        copy[i] ^= (char)0xff;
        struct directory d;
        if (directory_open(str_of(copy, w.blob.n), &d) < 0)
            continue;
        struct directory_result r;
        _cleanup_arena_ struct arena a = ARENA(1u << 20);
        str s;
        directory_resolve(&d, &a, S("both@example.org"), &r);
        directory_resolve(&d, &a, S("abuse+x@b.example"), &r);
        directory_may_send(&d, &a, S("anna@example.org"), S("info@example.org"));
        directory_allowed_senders(&d, &a, S("anna@example.org"));
        for (size_t n = 0; n < 10 && directory_account(&d, n, &s); n++)
            directory_has_account(&d, s);
    }
    free(copy);
    struct directory d;
    for (size_t n = 0; n < w.blob.n; n++)
        assert_int_equal(directory_open(str_first(buf_str(&w.blob), n), &d), -EBADMSG);
}

/* Far fewer than the million accounts that must compile in 3 s, and with room for slow machines and sanitizers. */
static void test_speed(void **state)
{
    (void)state;
    enum { N = 50000 };
    struct buf b = BUF(64u << 20);
    buf_add(&b, S("anna@example.org\n"));
    for (unsigned i = 0; i < N; i++)
        buf_addf(&b, "user%u@example.org\n", i);
    buf_addc(&b, '\0');
    _cleanup_world_ struct world w;
    uint64_t start = env_system.mono_ms();
    must_compile(&w, CONF, b.p, "");
    uint64_t compiled = env_system.mono_ms();
    assert_true(compiled - start < 3000);
    char address[64];
    for (unsigned i = 0; i < N; i++) {
        int n = snprintf(address, sizeof(address), "User%u@Example.org", i);
        assert_int_equal(directory_class(&w.d, str_of(address, (size_t)n)), DIRECTORY_LOCAL);
    }
    assert_true(env_system.mono_ms() - compiled < 1000);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order), cmocka_unit_test(test_postmaster), cmocka_unit_test(test_catch_all_of_domain),
        cmocka_unit_test(test_international), cmocka_unit_test(test_quoted), cmocka_unit_test(test_small_questions),
        cmocka_unit_test(test_steps), cmocka_unit_test(test_loops), cmocka_unit_test(test_long_chains),
        cmocka_unit_test(test_wide_and_deep), cmocka_unit_test(test_refused_lines),
        cmocka_unit_test(test_sender_rights), cmocka_unit_test(test_allowed_senders),
        cmocka_unit_test(test_other_delimiters), cmocka_unit_test(test_too_many_targets), cmocka_unit_test(test_damage), cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}
