/* What can only be said of the whole directory: aliases that run in circles or go on for too long, domains whose
 * postmaster nobody reads; and what is worked out once for all readers: dead aliases, aliases that lead to one
 * account alone. */
#include "base/env.h"
#include "base/map.h"
#include "base/pack.h"
#include "conf/directory_private.h"
#include <errno.h>

#define SHOW(s) STR_ARG(str_first((s), 100))
/* Bare aliases are followed in every domain as long as that is not more than this. */
#define PAIRS_MAX 4000000u
#define RESOLVE_MEMORY (256u << 20)

struct checker {
    struct arena *a;
    struct arena scratch;
    struct conf_error *error;
    const struct conf_full *c;
    struct buf *blob;
    struct directory d;
    struct map state; /* (alias, domain) to &entered or &left */
    str path[DIRECTORY_DEPTH_MAX + 1]; /* names from the first alias to the one being followed */
    struct buf sole;
};

static char entered, left;

/* What follows one alias: in which domain, for bare ones. */
struct node {
    struct directory_entry e;
    str domain, name;
};

static str node_id(const struct node *n, char out[4 + DIRECTORY_KEY_MAX])
{
    str domain = n->e.kind == DIRECTORY_BARE ? n->domain : STR_NONE;
    memcpy(out, &n->e.off, 4);
    if (domain.n)
        memcpy(out + 4, domain.p, domain.n);
    return str_of(out, 4 + domain.n);
}

static str chain(struct checker *c, unsigned depth, str last)
{
    _cleanup_buf_ struct buf b = BUF(65536);
    unsigned from = 0;
    for (unsigned i = 0; i < depth; i++)
        if (str_eq(c->path[i], last))
            from = i;
    for (unsigned i = from; i < depth; i++) {
        buf_add(&b, str_first(c->path[i], 100));
        buf_add(&b, S(" -> "));
    }
    buf_add(&b, str_first(last, 100));
    return arena_dup(c->a, buf_str(&b));
}

static int fail(struct checker *c, const struct directory_entry *e, const char *what, str text)
{
    return conf_fail(c->a, c->error, arena_dup(c->a, e->file), e->line, "%s: %.*s", what, STR_ARG(text));
}

static int visit(struct checker *c, const struct node *n, unsigned depth);

static int visit_target(struct checker *c, const struct node *n, str target, unsigned depth)
{
    struct directory_key k;
    struct directory_entry domain;
    struct directory_found found;
    if (str_chr(target, '@') < 0)
        target = arena_printf(&c->scratch, "%.*s@%.*s", STR_ARG(target), STR_ARG(n->domain));
    if (!directory_key(&c->d, target, &k) ||
        !directory_lookup(&c->d, DIRECTORY_DOMAIN, directory_key_domain(&k), &domain))
        return 0;
    directory_find(&c->d, &k, n->e.off, &found);
    if (found.loop)
        return fail(c, &n->e, "alias loop (and no account of that name)", chain(c, depth, n->name));
    if (found.kind == DIRECTORY_STEP_ACCOUNT || found.kind == DIRECTORY_STEP_NONE)
        return 0;
    bool bare = found.e.kind == DIRECTORY_BARE || found.e.kind == DIRECTORY_POSTMASTER;
    struct node next = { .e = found.e, .domain = domain.key };
    next.name = bare ? arena_dup(&c->scratch, directory_key_str(&k)) : found.e.key;
    return visit(c, &next, depth);
}

/* Depth first; an alias that is met again while it is being followed closes a circle. */
static int visit(struct checker *c, const struct node *n, unsigned depth)
{
    char id[4 + DIRECTORY_KEY_MAX];
    str key = node_id(n, id);
    void *state = map_get(&c->state, key);
    if (state == &left)
        return 0;
    if (state == &entered)
        return fail(c, &n->e, "alias loop", chain(c, depth, n->name));
    if (depth >= DIRECTORY_DEPTH_MAX)
        return fail(c, &n->e, "aliases lead through more than 50 others", chain(c, depth, n->name));
    c->path[depth] = n->name;
    int r = map_set(&c->state, key, &entered, NULL);
    str items = n->e.items, item;
    for (uint32_t i = 0; r == 0 && i < n->e.n && directory_item(&items, &item); i++)
        if (!str_starts(item, str_of((const char[]){ DIRECTORY_MECHANISM }, 1)))
            r = visit_target(c, n, item, depth + 1);
    if (r == 0)
        r = map_set(&c->state, key, &left, NULL);
    return r;
}

/* Resolves one alias: marks it dead, or notes that it leads to one account alone. */
static int settle(struct checker *c, const struct node *n, uint32_t domain_off)
{
    struct directory_result result;
    struct directory_entry account;
    int r = directory_expand(&c->d, &c->scratch, &n->e, n->domain, &result);
    if (r == -E2BIG)
        return fail(c, &n->e, "an alias leads to more than 10000 addresses", n->name);
    if (r < 0)
        return r;
    if (result.n_targets == 0 && n->e.kind != DIRECTORY_BARE)
        c->blob->p[n->e.off + 1] |= DIRECTORY_DEAD;
    if (!directory_is_sole(&result) || n->e.kind == DIRECTORY_POSTMASTER || n->e.key.p[0] == '@' ||
        !directory_lookup(&c->d, DIRECTORY_ACCOUNT, result.targets->address, &account))
        return 0;
    pack_u32(&c->sole, account.off);
    pack_u32(&c->sole, n->e.off);
    pack_u32(&c->sole, domain_off);
    return c->sole.failed;
}

/* One alias, in its own domain or (bare) in the one given. */
static int check_alias(struct checker *c, const struct directory_entry *e, const struct directory_entry *domain)
{
    struct node n = { .e = *e, .name = e->key };
    ptrdiff_t at = str_rchr(e->key, '@');
    n.domain = domain ? domain->key : e->kind == DIRECTORY_POSTMASTER ? e->key : str_from(e->key, (size_t)at + 1);
    if (domain || e->kind == DIRECTORY_POSTMASTER)
        n.name = arena_printf(&c->scratch, "%.*s@%.*s", STR_ARG(domain ? e->key : S("postmaster")), STR_ARG(n.domain));
    int r = visit(c, &n, 0);
    if (r == 0)
        r = settle(c, &n, domain ? domain->off : 0);
    arena_clear(&c->scratch);
    return r;
}

static int check_bare(struct checker *c, const struct directory_entry *e, uint64_t *pairs)
{
    struct directory_entry domain;
    int r = 0;
    for (size_t i = 0; r == 0 && directory_list(&c->d, DIRECTORY_AT_DOMAINS, i, &domain); i++) {
        if (++*pairs > PAIRS_MAX)
            return fail(c, e, "too many aliases without a domain for so many domains", e->key);
        r = check_alias(c, e, &domain);
    }
    return r;
}

static int check_aliases(struct checker *c, str entries)
{
    uint64_t pairs = 0;
    int r = 0;
    for (; r == 0 && entries.n; entries = str_from(entries, 4)) {
        struct directory_entry e;
        if (!directory_entry_at(&c->d, get_u32(entries.p), &e))
            continue;
        if (e.kind == DIRECTORY_BARE)
            r = check_bare(c, &e, &pairs);
        else if (e.kind == DIRECTORY_ALIAS || e.kind == DIRECTORY_POSTMASTER)
            r = check_alias(c, &e, NULL);
    }
    return r;
}

/* RFC 5321 4.5.1: every domain must have a postmaster who reads. A catch-all is not taken for one. */
static int check_postmasters(struct checker *c)
{
    for (size_t i = 0; i < c->c->c.n_domains; i++) {
        const struct conf_word *w = &c->c->c.domains[i];
        struct directory_key k;
        struct directory_found found = { .kind = DIRECTORY_STEP_NONE };
        struct directory_result result;
        str address = arena_printf(&c->scratch, "postmaster@%.*s", STR_ARG(w->text));
        if (!address.p)
            return -ENOMEM;
        if (directory_key(&c->d, address, &k))
            directory_find(&c->d, &k, 0, &found);
        if (found.kind == DIRECTORY_STEP_NONE || found.kind == DIRECTORY_STEP_CATCH_ALL)
            return conf_fail(c->a, c->error, w->file, w->line,
                             "domain %.*s has no postmaster (RFC 5321 4.5.1 wants one); write `domain "
                             "%.*s { postmaster user@%.*s }`, or make an account or alias %.*s",
                             SHOW(w->text), SHOW(w->text), SHOW(w->text), SHOW(address));
        int r = directory_resolve(&c->d, &c->scratch, address, &result);
        if (r == 0 && result.n_targets == 0)
            r = fail(c, &found.e, "leads to no account and no other host, but every domain needs a postmaster",
                     address);
        arena_clear(&c->scratch);
        if (r < 0)
            return r;
    }
    return 0;
}

static int sole_cmp(const void *a, const void *b)
{
    uint32_t x = get_u32(a), y = get_u32(b), i = get_u32((const char *)a + 4), j = get_u32((const char *)b + 4);
    if (x != y || i != j)
        return x != y ? (x > y) - (x < y) : (i > j) - (i < j);
    x = get_u32((const char *)a + 8);
    y = get_u32((const char *)b + 8);
    return (x > y) - (x < y);
}

static int put_sole(struct checker *c)
{
    size_t off = c->blob->n;
    if (c->sole.n)
        qsort(c->sole.p, c->sole.n / DIRECTORY_SOLE, DIRECTORY_SOLE, sole_cmp);
    if (buf_add(c->blob, buf_str(&c->sole)) < 0)
        return c->blob->failed;
    put_u32(c->blob->p + DIRECTORY_AT_SOLE, (uint32_t)(c->sole.n / DIRECTORY_SOLE));
    put_u32(c->blob->p + DIRECTORY_AT_SOLE + 4, (uint32_t)off);
    put_u32(c->blob->p + DIRECTORY_AT_SIZE, (uint32_t)c->blob->n);
    return 0;
}

int directory_check(struct arena *a, const struct conf_full *conf, str entries, struct buf *blob,
                    struct conf_error *out_error)
{
    struct checker c = { .a = a, .scratch = ARENA(RESOLVE_MEMORY), .error = out_error, .c = conf, .blob = blob,
                         .d = { .blob = buf_str(blob) }, .sole = BUF(DIRECTORY_MAX) };
    uint8_t key[16];
    env_system.random(key, sizeof(key));
    map_init(&c.state, SIZE_MAX, key);
    int r = check_aliases(&c, entries);
    if (r == 0)
        r = check_postmasters(&c);
    if (r == 0)
        r = put_sole(&c);
    map_done(&c.state);
    buf_done(&c.sole);
    arena_done(&c.scratch);
    return r;
}
