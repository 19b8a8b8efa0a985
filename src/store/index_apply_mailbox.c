/* What the journal's records about mailboxes and the messages in them do to the index: see index_apply.c. Every change
 * to a mailbox's messages moves its counters along. */
#include <errno.h>
#include "store/index_internal.h"
#include "store/index_watch.h"

#define NAMES_MEMORY ((size_t)1 << 20)
#define PAGE 256

/* A mailbox's keywords while a record is applied. */
struct keywords {
    struct arena arena;
    uint64_t mailbox, lsn, modseq;
    str names[INDEX_KEYWORDS];
    size_t n;
    bool loaded;
};

static int keywords_load(struct index *ix, struct keywords *k)
{
    if (k->loaded)
        return 0;
    k->arena = ARENA(NAMES_MEMORY);
    int n = index_keywords(ix, &k->arena, k->mailbox, k->names);
    if (n < 0)
        return n;
    k->n = (size_t)n;
    k->loaded = true;
    return 0;
}

static void keywords_done(struct keywords *k)
{
    arena_done(&k->arena);
}
#define _cleanup_keywords_ _cleanup_(keywords_done)

/* The bit of that keyword, 0 if the mailbox does not have it, or (add) has no room for it. */
static int keyword_bit(struct index *ix, struct keywords *k, str name, bool add, uint64_t *out)
{
    *out = 0;
    int r = keywords_load(ix, k);
    if (r < 0)
        return r;
    for (size_t i = 0; i < k->n; i++)
        if (str_ieq(k->names[i], name)) {
            *out = 1ull << i;
            return 0;
        }
    if (!add || k->n == INDEX_KEYWORDS)
        return 0;
    str copy = arena_dup(&k->arena, name);
    if (!copy.p)
        return -ENOMEM;
    r = index_row_keyword_add(ix, k->mailbox, (uint8_t)k->n, copy);
    if (r >= 0)
        r = index_watch_keyword(ix, k->mailbox, k->lsn, k->modseq, (uint8_t)k->n, copy);
    if (r < 0)
        return r;
    *out = 1ull << k->n;
    k->names[k->n++] = copy;
    return 0;
}

static int keyword_bits(struct index *ix, struct keywords *k, const str *names, size_t n, bool add, uint64_t *out)
{
    *out = 0;
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        uint64_t bit;
        r = keyword_bit(ix, k, names[i], add, &bit);
        *out |= bit;
    }
    return r;
}

/* What the feed says of a message that came. */
static int watch_arrived(struct index *ix, uint64_t lsn, const struct index_message *m)
{
    if (!index_watched(ix, m->mailbox))
        return 0;
    struct mailbox_entry e = {
        .uid = m->uid, .flags = m->flags, .keywords = m->keywords, .modseq = m->modseq,
        .size = m->prefix.n + m->content_len, .prefix = m->prefix, .log = m->log, .position = m->position,
        .content_len = m->content_len, .meta_len = m->meta_len, .date_s = m->date_s, .date_zone_min = m->zone_min,
        .number = m->number,
    };
    if (m->session.n == sizeof(e.session))
        memcpy(e.session, m->session.p, sizeof(e.session));
    return index_watch_arrived(ix, m->mailbox, lsn, &e);
}

int apply_placed(struct index *ix, const struct journal_record *r, const struct journal_placement *p)
{
    const struct journal_delivered *d = &r->delivered;
    const struct journal_append *a = &d->append;
    uint64_t modseq = index_modseq(ix, r->lsn);
    struct index_message m = {
        .mailbox = p->mailbox, .uid = p->uid, .lsn = r->lsn, .log = d->log, .position = { d->segment, d->offset },
        .content_len = d->content_len, .meta_len = d->meta_len, .received_us = d->received_us,
        .session = str_of(d->session, sizeof(d->session)), .number = d->number, .prefix = p->prefix,
        .flags = a->present ? a->system & MESSAGE_FLAGS : 0, .modseq = modseq,
        .date_s = a->present ? a->date_s : (int64_t)(d->received_us / 1000000), .zone_min = a->zone_min,
    };
    struct index_delta delta = { .recent = 1 };
    index_delta_message(&delta, 1, m.flags, p->prefix.n + d->content_len);
    int k = index_row_mailbox_change(ix, p->mailbox, &delta, modseq, p->uid + 1);
    if (k <= 0)
        return k;
    if (a->n_keywords) {
        _cleanup_keywords_ struct keywords words = { .mailbox = p->mailbox, .lsn = r->lsn, .modseq = modseq };
        k = keyword_bits(ix, &words, a->keywords, a->n_keywords, true, &m.keywords);
        if (k < 0)
            return k;
    }
    k = index_row_message_add(ix, &m, index_cursor(ix)->log);
    if (k == 1)
        k = watch_arrived(ix, r->lsn, &m);
    return k < 0 ? k : 1;
}

int apply_mailbox_renamed(struct index *ix, const struct journal_record *r)
{
    const struct journal_mailbox_renamed *m = &r->mailbox_renamed;
    uint64_t modseq = index_modseq(ix, r->lsn);
    int k = 0;
    /* the names may overlap: in the order of their writing each is free when its turn comes (store_mailboxes.c) */
    for (size_t i = 0; i < m->n && k >= 0; i++) {
        struct index_mailbox box;
        _cleanup_arena_ struct arena a = ARENA(NAMES_MEMORY);
        str account, name;
        k = index_mailbox_title(ix, &a, m->renames[i].id, &account, &name);
        if (k == 1)
            k = index_mailbox_named(ix, account, m->renames[i].name, &box) == 0; /* 0 only after records were lost */
        if (k == 1)
            k = index_row_mailbox_rename(ix, m->renames[i].id, m->renames[i].name);
        if (k == 1)
            k = index_watch_renamed(ix, m->renames[i].id, r->lsn, modseq, m->renames[i].name);
    }
    return MIN(k, 0);
}

/* What leaves a mailbox with one record. */
struct leaving {
    struct index *ix;
    struct index_mailbox box;
    uint64_t lsn, modseq, at_us;
    struct index_delta delta;
    uint32_t first, last; /* the range that may still grow */
    uint64_t n, ranges;
};

static int leaving_range(struct leaving *l)
{
    if (!l->first)
        return 0;
    l->ranges++;
    return MIN(index_row_vanished(l->ix, l->box.id, l->modseq, l->first, l->last), 0);
}

static int leave(struct leaving *l, uint32_t uid)
{
    int k = index_row_message_drop(l->ix, l->box.id, uid, l->at_us, &l->delta);
    if (k != 1)
        return k;
    l->n++;
    l->delta.recent -= uid >= l->box.recent;
    if (!l->first || uid != l->last + 1) {
        k = leaving_range(l);
        l->first = uid;
    }
    l->last = uid;
    return k < 0 ? k : index_watch_expunged(l->ix, l->box.id, l->lsn, l->modseq, uid);
}

static int leaving_end(struct leaving *l)
{
    if (!l->n)
        return 0;
    struct index_state *state = index_working(l->ix);
    state->messages -= l->n;
    state->expunged += l->n;
    int k = leaving_range(l);
    if (k == 0)
        k = index_row_mailbox_change(l->ix, l->box.id, &l->delta, l->modseq, 0);
    return k < 0 ? k : index_row_vanished_counted(l->ix, l->box.id, l->ranges);
}

int apply_expunged(struct index *ix, const struct journal_record *r)
{
    const struct journal_expunged *e = &r->expunged;
    struct leaving l = { .ix = ix, .lsn = r->lsn, .modseq = index_modseq(ix, r->lsn), .at_us = e->at_us };
    int k = index_mailbox_get(ix, e->mailbox, &l.box);
    if (k != 1)
        return k;
    for (size_t i = 0; i < e->n && k >= 0; i++)
        k = leave(&l, e->uids[i]);
    return k < 0 ? k : leaving_end(&l);
}

int apply_mailbox_deleted(struct index *ix, const struct journal_record *r)
{
    const struct journal_mailbox_deleted *m = &r->mailbox_deleted;
    struct index_state *state = index_working(ix);
    struct index_flags page[PAGE];
    struct index_delta ignored = { 0 };
    uint32_t from = 1;
    int k = 0, n;
    while ((n = index_flags_in(ix, m->id, from, UINT32_MAX, page, PAGE)) > 0) {
        for (int i = 0; i < n; i++) {
            k = index_row_message_drop(ix, m->id, page[i].uid, m->at_us, &ignored);
            if (k < 0)
                return k;
        }
        state->messages -= (uint64_t)n;
        state->expunged += (uint64_t)n;
        from = page[n - 1].uid;
    }
    k = n < 0 ? n : index_row_mailbox_drop(ix, m->id);
    if (k != 1)
        return k;
    state->mailboxes--;
    return index_watch_gone(ix, m->id, r->lsn, index_modseq(ix, r->lsn));
}

int apply_subscribed(struct index *ix, const struct journal_record *r)
{
    return MIN(index_row_subscribe(ix, r->subscribed.account, r->subscribed.name, r->subscribed.on), 0);
}

int apply_mailbox_use(struct index *ix, const struct journal_record *r)
{
    return MIN(index_row_mailbox_use(ix, r->mailbox_use.id, r->mailbox_use.use), 0);
}

int apply_account_prepared(struct index *ix, const struct journal_record *r)
{
    return MIN(index_row_prepare(ix, r->account_prepared.account), 0);
}

int apply_recent(struct index *ix, const struct journal_record *r)
{
    struct index_mailbox m;
    int k = index_mailbox_get(ix, r->recent.mailbox, &m);
    uint32_t uid = k == 1 ? MIN(r->recent.uid, m.uidnext) : 0;
    return k == 1 && uid > m.recent ? MIN(index_row_recent(ix, &m, uid), 0) : MIN(k, 0);
}

struct flagging {
    struct index *ix;
    const struct journal_flagged *f;
    uint64_t lsn, modseq, bits, n;
    struct index_delta delta;
};

static int flag_message(struct flagging *g, const struct index_flags *m)
{
    uint32_t system = g->f->system & MESSAGE_FLAGS, flags = system;
    uint64_t bits = g->bits;
    if (g->f->op == FLAG_ADD) {
        flags = m->flags | system;
        bits |= m->keywords;
    } else if (g->f->op == FLAG_REMOVE) {
        flags = m->flags & ~system;
        bits = m->keywords & ~bits;
    }
    if (flags == m->flags && bits == m->keywords)
        return 0;
    g->n++;
    index_delta_message(&g->delta, -1, m->flags, m->size);
    index_delta_message(&g->delta, 1, flags, m->size);
    int k = index_row_flag(g->ix, g->f->mailbox, m->uid, flags, bits, g->modseq);
    struct mailbox_entry e = { .uid = m->uid, .flags = flags, .keywords = bits, .modseq = g->modseq };
    return k < 0 ? k : index_watch_flags(g->ix, g->f->mailbox, g->lsn, g->modseq, &e);
}

static int flag_range(struct flagging *g, struct journal_uids range)
{
    struct index_flags page[PAGE];
    uint64_t from = range.first;
    int k = 0, n = PAGE;
    while (n == PAGE && from <= range.last) {
        n = index_flags_in(g->ix, g->f->mailbox, (uint32_t)from, range.last, page, PAGE);
        for (int i = 0; i < n && k >= 0; i++)
            k = flag_message(g, &page[i]);
        if (n < 0 || k < 0)
            return MIN(n, k);
        from = n ? (uint64_t)page[n - 1].uid + 1 : from;
    }
    return 0;
}

int apply_flagged(struct index *ix, const struct journal_record *r)
{
    const struct journal_flagged *f = &r->flagged;
    struct flagging g = { .ix = ix, .f = f, .lsn = r->lsn, .modseq = index_modseq(ix, r->lsn) };
    struct index_mailbox m;
    int k = f->n_keywords ? index_mailbox_get(ix, f->mailbox, &m) : 1;
    if (k != 1)
        return k;
    _cleanup_keywords_ struct keywords words = { .mailbox = f->mailbox, .lsn = r->lsn, .modseq = g.modseq };
    k = keyword_bits(ix, &words, f->keywords, f->n_keywords, f->op != FLAG_REMOVE, &g.bits);
    for (size_t i = 0; i < f->n_uids && k == 0; i++)
        k = flag_range(&g, f->uids[i]);
    if (k == 0 && g.n)
        k = index_row_mailbox_change(ix, f->mailbox, &g.delta, g.modseq, 0);
    return MIN(k, 0);
}

struct copying {
    struct leaving l; /* from: also without move */
    const struct journal_copied *c;
    struct keywords from, to;
    uint64_t bits[INDEX_KEYWORDS]; /* of `to`, for those of `from` that are known */
    uint64_t known;
    struct index_delta delta;
    uint64_t n;
    uint32_t uidnext;
};

static int map_keywords(struct copying *c, uint64_t have, uint64_t *out)
{
    struct index *ix = c->l.ix;
    *out = 0;
    int k = have ? keywords_load(ix, &c->from) : 0;
    for (size_t i = 0; have && i < c->from.n && k == 0; i++) {
        uint64_t bit = 1ull << i;
        if (!(have & bit))
            continue;
        if (!(c->known & bit))
            k = keyword_bit(ix, &c->to, c->from.names[i], true, &c->bits[i]);
        c->known |= bit;
        *out |= c->bits[i];
    }
    return k;
}

static int copy_message(struct copying *c, uint32_t source, uint32_t made)
{
    struct index *ix = c->l.ix;
    struct index_message m;
    c->uidnext = MAX(c->uidnext, made + 1);
    int k = index_message_get(ix, c->c->from, source, &m);
    if (k != 1)
        return k; /* only after records were lost: those were chosen that are there */
    m.mailbox = c->c->to;
    m.uid = made;
    m.modseq = c->l.modseq;
    k = map_keywords(c, m.keywords, &m.keywords);
    if (k == 0)
        k = index_row_message_add(ix, &m, m.log_id);
    if (k != 1)
        return k;
    c->n++;
    c->delta.recent++;
    index_delta_message(&c->delta, 1, m.flags, m.prefix.n + m.content_len);
    k = watch_arrived(ix, c->l.lsn, &m);
    return k < 0 || !c->c->move ? k : leave(&c->l, source);
}

static int copying_end(struct copying *c)
{
    struct index_state *state = index_working(c->l.ix);
    state->messages += c->n;
    state->placed += c->n;
    int k = index_row_mailbox_change(c->l.ix, c->c->to, &c->delta, c->n ? c->l.modseq : 0, c->uidnext);
    return k < 0 ? k : leaving_end(&c->l);
}

int apply_copied(struct index *ix, const struct journal_record *r)
{
    uint64_t modseq = index_modseq(ix, r->lsn);
    struct copying c = { .l = { .ix = ix, .lsn = r->lsn, .modseq = modseq, .at_us = r->copied.at_us }, .c = &r->copied,
                         .from = { .mailbox = r->copied.from },
                         .to = { .mailbox = r->copied.to, .lsn = r->lsn, .modseq = modseq } };
    struct index_mailbox to;
    struct index_state *state = index_working(ix);
    state->last_mailbox = MAX(state->last_mailbox, r->copied.to);
    int k = index_mailbox_get(ix, r->copied.from, &c.l.box);
    if (k == 1)
        k = index_mailbox_get(ix, r->copied.to, &to);
    if (k != 1)
        return k;
    for (size_t i = 0; i < r->copied.n_runs && k >= 0; i++) {
        const struct journal_run *run = &r->copied.runs[i];
        for (uint32_t j = 0; j < run->count && k >= 0; j++)
            k = copy_message(&c, run->source + j, run->made + j);
    }
    index_message_done(ix);
    k = k < 0 ? k : copying_end(&c);
    keywords_done(&c.from);
    keywords_done(&c.to);
    return MIN(k, 0);
}
