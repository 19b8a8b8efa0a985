/* Follows an address to its final targets (DESIGN 8.2). An alias is entered once in one resolution and a target is
 * listed once, so the work is linear in the part of the directory that is reached, and a loop (which only a damaged
 * blob can hold) ends. */
#include "base/hash.h"
#include "base/pack.h"
#include "conf/directory_private.h"
#include "route/mechanism.h"
#include <errno.h>

/* A set of 64-bit keyed hashes. Two different members share one with probability 2^-64, and nobody outside knows the
 * key. */
struct seen {
    uint64_t *slot;
    size_t n, cap;
};

struct resolver {
    const struct directory *d;
    struct arena *a;
    struct directory_result *out;
    struct directory_target **last_target;
    struct directory_step **last_step;
    struct seen seen;
    unsigned depth;
    int error;
};

static bool put_hash(uint64_t *slot, size_t cap, uint64_t h)
{
    size_t i = h & (cap - 1);
    while (slot[i] && slot[i] != h)
        i = (i + 1) & (cap - 1);
    bool fresh = slot[i] == 0;
    slot[i] = h;
    return fresh;
}

/* True if (kind, text, more) was not there; also when memory ran out, which r->error remembers. */
static bool first_time(struct resolver *r, char kind, str text, str more)
{
    const uint8_t *key = (const uint8_t *)r->d->blob.p + DIRECTORY_AT_KEY;
    char hashed[1 + DIRECTORY_KEY_MAX + 8];
    struct seen *s = &r->seen;
    if (2 * s->n >= s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        uint64_t *grown = ARENA_ARRAY(r->a, uint64_t, cap);
        if (!grown) {
            r->error = -ENOMEM;
            return true;
        }
        for (size_t i = 0; i < s->cap; i++)
            if (s->slot[i])
                put_hash(grown, cap, s->slot[i]);
        s->slot = grown;
        s->cap = cap;
    }
    text = str_first(text, DIRECTORY_KEY_MAX);
    hashed[0] = kind;
    if (text.n)
        memcpy(hashed + 1, text.p, text.n);
    if (more.n)
        put_u64(hashed + 1 + text.n, siphash24(key, more));
    bool fresh = put_hash(s->slot, s->cap, siphash24(key, str_of(hashed, text.n + 1 + (more.n ? 8 : 0))) | 1);
    s->n += fresh;
    return fresh;
}

static str keep(struct resolver *r, str s)
{
    str copy = arena_dup(r->a, s);
    if (!copy.p)
        r->error = -ENOMEM;
    return copy;
}

static void add_step(struct resolver *r, int kind, str from, str to, const struct directory_entry *where)
{
    struct directory_step *s = r->error ? NULL : ARENA_NEW(r->a, struct directory_step);
    if (!s) {
        r->error = r->error ? r->error : -ENOMEM;
        return;
    }
    s->kind = kind;
    s->from = keep(r, from);
    s->to = keep(r, to);
    s->file = where ? keep(r, where->file) : STR_NONE;
    s->line = where ? where->line : 0;
    *r->last_step = s;
    r->last_step = &s->next;
}

static void add_target(struct resolver *r, const struct directory_target *target)
{
    if (r->error || !first_time(r, 't', target->address, target->mechanism) || r->error)
        return;
    if (r->out->n_targets == DIRECTORY_TARGETS_MAX) {
        r->error = -E2BIG;
        return;
    }
    struct directory_target *t = ARENA_NEW(r->a, struct directory_target);
    if (!t) {
        r->error = -ENOMEM;
        return;
    }
    *t = (struct directory_target){ .address = keep(r, target->address), .foreign = target->foreign };
    if (target->mechanism.n) {
        t->mechanism = keep(r, target->mechanism);
        t->user = keep(r, target->user);
    }
    *r->last_target = t;
    r->last_target = &t->next;
    r->out->n_targets++;
}

static void walk(struct resolver *r, str address, uint32_t self);

/* A foreign address is one mailbox however its ASCII letters are written in the domain; what was written is kept. */
static void walk_foreign(struct resolver *r, str address)
{
    add_step(r, DIRECTORY_STEP_FOREIGN, address, address, NULL);
    add_target(r, &(struct directory_target){ .address = address, .foreign = true });
}

/* How an account's mail is delivered: its own items, or else those of its domain. */
struct delivery {
    const struct directory_entry *mechanisms; /* whose items; NULL: there are none */
    str user;
};

static struct delivery delivery_of(const struct directory_entry *account, const struct directory_entry *domain)
{
    struct delivery d = { 0 };
    const struct directory_entry *from[] = { account, domain };
    for (size_t f = 0; f < ARRAY_LEN(from); f++) {
        str items = from[f]->items, item;
        for (uint32_t i = 0; i < from[f]->n && directory_item(&items, &item); i++) {
            if (item.n && item.p[0] == DIRECTORY_MECHANISM && !d.mechanisms)
                d.mechanisms = from[f];
            else if (item.n && item.p[0] == DIRECTORY_USER && !d.user.n)
                d.user = str_from(item, 1);
        }
    }
    return d;
}

/* `forward` and all that follows it are one mechanism: what follows counts where there is no ~/.forward. */
static void add_account(struct resolver *r, const struct directory_entry *account,
                        const struct directory_entry *domain)
{
    const struct delivery d = delivery_of(account, domain);
    struct directory_target native = { .address = account->key }, t = native;
    t.user = d.user;
    if (!d.mechanisms) {
        add_target(r, &native);
        return;
    }
    _cleanup_buf_ struct buf forward = BUF(DIRECTORY_FORWARD_MAX);
    str items = d.mechanisms->items, item;
    for (uint32_t i = 0; i < d.mechanisms->n && !r->error && directory_item(&items, &item); i++) {
        const char *why;
        if (!item.n || item.p[0] != DIRECTORY_MECHANISM)
            continue;
        t.mechanism = mechanism_expand(r->a, str_from(item, 1), account->key, &why);
        if (!t.mechanism.p && !why[0])
            r->error = -ENOMEM;
        if (forward.n || str_eq(t.mechanism, str_z(mechanism_name[MECHANISM_FORWARD])))
            buf_addf(&forward, "%s%.*s", forward.n ? "\n" : "", STR_ARG(t.mechanism.n ? t.mechanism : S("mailbox")));
        else if (!t.mechanism.n || str_eq(t.mechanism, str_z(mechanism_name[MECHANISM_MAILBOX])))
            add_target(r, &native);
        else
            add_target(r, &t);
    }
    t.mechanism = buf_str(&forward);
    if (forward.n)
        add_target(r, &t);
}

static void expand(struct resolver *r, int kind, str from, const struct directory_entry *e, str domain)
{
    char id[4 + DIRECTORY_KEY_MAX], target[DIRECTORY_KEY_MAX];
    memcpy(id, &e->off, 4);
    domain = str_first(domain, DIRECTORY_KEY_MAX);
    memcpy(id + 4, domain.p, domain.n);
    if (r->depth >= DIRECTORY_DEPTH_MAX || !first_time(r, 'a', str_of(id, 4 + domain.n), STR_NONE))
        return;
    r->depth++;
    str items = e->items, item;
    for (uint32_t i = 0; i < e->n && r->error == 0 && directory_item(&items, &item); i++) {
        if (item.n && item.p[0] == DIRECTORY_MECHANISM) {
            add_step(r, kind, from, str_from(item, 1), e);
            add_target(r, &(struct directory_target){ .address = from, .mechanism = str_from(item, 1) });
            continue;
        }
        if (item.n + 1 + domain.n > sizeof(target))
            continue;
        if (str_chr(item, '@') < 0) { /* of a bare alias: in the domain that is asked for */
            memcpy(target, item.p, item.n);
            target[item.n] = '@';
            memcpy(target + item.n + 1, domain.p, domain.n);
            item = str_of(target, item.n + 1 + domain.n);
        }
        add_step(r, kind, from, item, e);
        walk(r, item, e->off);
    }
    r->depth--;
}

static void walk(struct resolver *r, str address, uint32_t self)
{
    struct directory_key k, base;
    struct directory_entry domain;
    struct directory_found found;
    if (r->error)
        return;
    if (!directory_key(r->d, address, &k) ||
        !directory_lookup(r->d, DIRECTORY_DOMAIN, directory_key_domain(&k), &domain)) {
        walk_foreign(r, address);
        return;
    }
    directory_find(r->d, &k, self, &found);
    if (found.tagged && directory_untag(r->d, &k, &base)) {
        add_step(r, DIRECTORY_STEP_TAG, address, directory_key_str(&base), NULL);
        address = directory_key_str(&base);
    }
    if (found.kind == DIRECTORY_STEP_NONE) {
        add_step(r, DIRECTORY_STEP_NONE, address, STR_NONE, NULL);
    } else if (found.kind == DIRECTORY_STEP_ACCOUNT) {
        add_step(r, DIRECTORY_STEP_ACCOUNT, address, found.e.key, &found.e);
        add_account(r, &found.e, &domain);
    } else {
        expand(r, found.kind, address, &found.e, directory_key_domain(&k));
    }
}

bool directory_is_sole(const struct directory_result *r)
{
    for (const struct directory_target *t = r->targets; t; t = t->next)
        if (t->foreign || !str_eq(t->address, r->targets->address))
            return false;
    return r->n_targets != 0;
}

static struct resolver begin(const struct directory *d, struct arena *a, struct directory_result *out)
{
    *out = (struct directory_result){ .class = DIRECTORY_UNKNOWN };
    return (struct resolver){ .d = d, .a = a, .out = out, .last_target = &out->targets, .last_step = &out->steps };
}

static int end(struct resolver *r)
{
    if (r->out->n_targets)
        r->out->class = DIRECTORY_LOCAL;
    return r->error;
}

int directory_resolve(const struct directory *d, struct arena *a, str address, struct directory_result *out)
{
    struct directory_key k;
    struct directory_entry domain;
    struct resolver r = begin(d, a, out);
    walk(&r, address, 0);
    int error = end(&r);
    if (!directory_key(d, address, &k) || !directory_lookup(d, DIRECTORY_DOMAIN, directory_key_domain(&k), &domain))
        out->class = DIRECTORY_FOREIGN;
    return error == -E2BIG ? 0 : error;
}

int directory_expand(const struct directory *d, struct arena *a, const struct directory_entry *e, str domain,
                     struct directory_result *out)
{
    struct resolver r = begin(d, a, out);
    expand(&r, DIRECTORY_STEP_ALIAS, e->key, e, domain);
    return end(&r);
}
