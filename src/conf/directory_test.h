/* For the tests of the directory: a small world of two domains, compiled and asked. */
#pragma once
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
static inline int compile(struct world *w, const char *conf, const char *accounts, const char *aliases)
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

static inline void world_done(struct world *w)
{
    arena_done(&w->a);
    buf_done(&w->blob);
}
#define _cleanup_world_ _cleanup_(world_done)

static inline void must_compile(struct world *w, const char *conf, const char *accounts, const char *aliases)
{
    if (compile(w, conf, accounts, aliases) < 0)
        fail_msg("%s", test_error(&w->a, &w->error));
}

static inline void refuse(const char *conf, const char *accounts, const char *aliases, const char *want)
{
    _cleanup_world_ struct world w;
    assert_int_equal(compile(&w, conf, accounts, aliases), -EINVAL);
    assert_string_equal(test_error(&w.a, &w.error), want);
}

/* Class and targets as "LOCAL a@b !c@d e@f=[mbox:/x]as bob": ! is foreign, in brackets the mechanism. */
static inline void leads(struct world *w, const char *address, const char *want)
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
        if (t->mechanism.n)
            buf_addf(&b, "=[%.*s]%s%.*s", STR_ARG(t->mechanism), t->user.n ? "as " : "", STR_ARG(t->user));
    }
    assert_int_equal(n, r.n_targets);
    buf_addc(&b, '\0');
    assert_string_equal(b.p, want);
    buf_done(&b);
}

__attribute__((unused)) static const char people[] =
    "# people\n"
    "Anna@Example.org\n"
    "bob@example.org senders=sales@far.example,@b.example # a comment\n"
    "\n"
    "carl@example.org\n"
    "dora+x@example.org\n"
    "m\xc3\xbcller@b.example\n"
    "\"with.dots\"@example.org\n";

__attribute__((unused)) static const char names[] =
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
