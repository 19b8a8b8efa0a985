/* Messages in mailboxes: flags, copies, and what goes. See mailboxes.h.
 *
 * What only says what to do to messages that are there when it is applied (flags without a condition) is staged at
 * once. Where a verdict or a list of UIDs depends on messages, what is staged about them (box.changed) is waited
 * for. */
#include <errno.h>
#include "base/pack.h"
#include "store/mailboxes.h"
#include "store/store_internal.h"

#define CALL_MEMORY ((size_t)256 << 20)
#define PAGE 256
#define UID_MAX UINT32_MAX

/* A mailbox of which the index knows all that is staged but new messages. 1; 0 not there. */
static int settled_box(struct store *s, uint64_t mailbox, struct box **out)
{
    int r = store_box_get(s, mailbox, out);
    if (r != 1 || (*out)->changed <= store_committed(s))
        return r;
    r = store_flush(s);
    return r < 0 ? r : 1;
}

/* Calls each for the messages in these ranges (n 0: all), each once, ascending. A result other than 0 ends it. */
static int each_message(struct store *s, uint64_t mailbox, const struct store_uids *uids, size_t n,
                        int (*each)(void *arg, const struct index_flags *m), void *arg)
{
    static const struct store_uids all = { 1, UINT32_MAX };
    struct index_flags page[PAGE];
    uint64_t next = 1;
    const struct store_uids *list = n ? uids : &all;
    for (size_t i = 0; i < MAX(n, (size_t)1); i++) {
        int got = PAGE;
        next = MAX(next, (uint64_t)list[i].first);
        while (got == PAGE && next <= list[i].last) {
            got = index_flags_in(s->index, mailbox, (uint32_t)next, list[i].last, page, PAGE);
            int r = MIN(got, 0);
            for (int k = 0; k < got && r == 0; k++)
                r = each(arg, &page[k]);
            if (r != 0)
                return r;
            next = got ? (uint64_t)page[got - 1].uid + 1 : next;
        }
    }
    return 0;
}

uint64_t store_modseq(const struct store *s, uint64_t lsn)
{
    return lsn + index_state(s->index)->modseq_jump;
}

struct flag_call {
    const struct store_flagging *f;
    struct arena arena;
    struct buf *failed;
    size_t failed_n;        /* before the call */
    struct journal_uids *uids;
    size_t n, cap;
    uint64_t floor;
    bool open;              /* the last range may grow */
    uint64_t ticket;
};

static int add_range(struct flag_call *c, uint32_t first, uint32_t last)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        struct journal_uids *more = ARENA_ARRAY(&c->arena, struct journal_uids, cap);
        if (!more)
            return -ENOMEM;
        if (c->n)
            memcpy(more, c->uids, c->n * sizeof(*more));
        c->uids = more;
        c->cap = cap;
    }
    c->uids[c->n++] = (struct journal_uids){ first, last };
    return 0;
}

/* Messages that pass the condition become ranges. */
static int judge(void *arg, const struct index_flags *m)
{
    struct flag_call *c = arg;
    if (MAX(m->modseq, c->floor) > c->f->unchanged_since) {
        pack_u32(c->failed, m->uid);
        c->open = false;
        return c->failed->failed;
    }
    if (c->open) {
        c->uids[c->n - 1].last = m->uid;
        return 0;
    }
    c->open = true;
    return add_range(c, m->uid, m->uid);
}

/* Only what has changed since fails; the verdict needs all that is staged. */
static int choose_unchanged(struct store *s, struct flag_call *c)
{
    struct index_mailbox m;
    struct box *box;
    int r = settled_box(s, c->f->mailbox, &box);
    if (r == 1)
        r = index_mailbox_get(s->index, c->f->mailbox, &m);
    if (r != 1)
        return r;
    c->floor = m.floor;
    for (size_t i = 0; i < c->f->n_uids && r >= 0; i++) { /* a range of the call at a time: what is between stays out */
        c->open = false;
        r = each_message(s, c->f->mailbox, &c->f->uids[i], 1, judge, c);
    }
    return r;
}

static int choose_all(struct flag_call *c)
{
    int r = 0;
    for (size_t i = 0; i < c->f->n_uids && r == 0; i++)
        if (c->f->uids[i].first <= c->f->uids[i].last)
            r = add_range(c, c->f->uids[i].first, c->f->uids[i].last);
    return r;
}

static bool has_keyword(const str *list, size_t n, str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(list[i], name))
            return true;
    return false;
}

/* Keywords the mailbox would have: the number; beyond KEYWORDS_MAX: too many. *out_new: some are new. */
static int count_keywords(struct store *s, struct flag_call *c, bool *out_new)
{
    const struct store_flagging *f = c->f;
    str list[KEYWORDS_MAX];
    int n = index_keywords(s->index, &c->arena, f->mailbox, list);
    if (n < 0)
        return n;
    size_t had = (size_t)n, have = had;
    for (size_t i = 0; i < f->n_keywords && have <= KEYWORDS_MAX; i++) {
        if (has_keyword(list, MIN(have, (size_t)KEYWORDS_MAX), f->keywords[i]))
            continue;
        if (have < KEYWORDS_MAX)
            list[have] = f->keywords[i];
        have++;
    }
    *out_new = have > had;
    return (int)have;
}

static int check_keywords(struct store *s, struct flag_call *c)
{
    const struct store_flagging *f = c->f;
    struct box *box;
    bool new_ones = false;
    for (size_t i = 0; i < f->n_keywords; i++)
        if (!f->keywords[i].n || f->keywords[i].n > KEYWORD_LEN_MAX)
            return -EINVAL;
    if (!f->n_keywords || f->op == FLAG_REMOVE)
        return STORE_DONE;
    int r = count_keywords(s, c, &new_ones);
    if (r >= 0 && new_ones) { /* others may be staged */
        r = settled_box(s, f->mailbox, &box);
        if (r == 1)
            r = count_keywords(s, c, &new_ones);
    }
    return r < 0 ? r : r > KEYWORDS_MAX ? STORE_LIMIT : STORE_DONE;
}

static int flag(struct store *s, void *arg)
{
    struct flag_call *c = arg;
    const struct store_flagging *f = c->f;
    struct box *box;
    c->n = 0;
    c->failed->n = c->failed_n;
    int r = store_box_get(s, f->mailbox, &box);
    if (r != 1)
        return r < 0 ? r : STORE_NONEXISTENT;
    r = check_keywords(s, c);
    if (r == STORE_DONE)
        r = f->unchanged_since == UINT64_MAX ? choose_all(c) : choose_unchanged(s, c);
    if (r != STORE_DONE)
        return r;
    c->ticket = store_committed(s);
    if (!c->n)
        return STORE_DONE;
    struct journal_record record = { .kind = JOURNAL_flagged, .flagged = {
        .mailbox = f->mailbox, .op = f->op, .system = f->system & MESSAGE_FLAGS, .keywords = f->keywords,
        .n_keywords = f->n_keywords, .uids = c->uids, .n_uids = c->n } };
    r = store_stage(s, &record);
    if (r < 0)
        return r;
    box->changed = c->ticket = record.lsn;
    return STORE_DONE;
}

int store_flag(struct store *s, const struct store_flagging *f, struct buf *failed, uint64_t *out_ticket)
{
    struct flag_call c = { .f = f, .arena = ARENA(CALL_MEMORY), .failed = failed, .failed_n = failed->n };
    int r = f->op < FLAG_OPS ? store_guard(s, flag, &c) : -EINVAL;
    arena_done(&c.arena);
    if (r == STORE_DONE)
        *out_ticket = c.ticket;
    return r;
}

struct expunge_call {
    const struct store_expunging *how;
    uint64_t ticket;
    struct arena arena;
    uint32_t *list;
    size_t n, max;
};

static int add_deleted(void *arg, const struct index_flags *m)
{
    struct expunge_call *c = arg;
    if (m->flags & MESSAGE_DELETED)
        c->list[c->n++] = m->uid;
    return c->n == c->max;
}

static int expunge_deleted(struct store *s, void *arg)
{
    struct expunge_call *c = arg;
    struct index_mailbox m;
    struct box *box;
    c->n = 0;
    int r = settled_box(s, c->how->mailbox, &box);
    if (r != 1)
        return r < 0 ? r : STORE_NONEXISTENT;
    c->ticket = store_committed(s);
    r = index_mailbox_get(s->index, c->how->mailbox, &m);
    if (r != 1 || !m.deleted)
        return MIN(r, STORE_DONE);
    c->max = MIN((size_t)m.deleted, c->how->max);
    c->list = ARENA_ARRAY(&c->arena, uint32_t, c->max);
    r = c->list ? each_message(s, c->how->mailbox, c->how->uids, c->how->n_uids, add_deleted, c) : -ENOMEM;
    if (r < 0 || !c->n)
        return MIN(r, STORE_DONE);
    struct journal_record record = { .kind = JOURNAL_expunged, .expunged = {
        .mailbox = c->how->mailbox, .uids = c->list, .n = c->n, .at_us = s->config.env->wall_us() } };
    r = store_stage(s, &record);
    if (r < 0)
        return r;
    box->changed = c->ticket = record.lsn;
    return STORE_DONE;
}

int store_expunge_some(struct store *s, const struct store_expunging *e, uint64_t *out_ticket, uint32_t *out_next)
{
    struct expunge_call c = { .how = e, .arena = ARENA(CALL_MEMORY) };
    int r = store_guard(s, expunge_deleted, &c);
    if (r == STORE_DONE) {
        *out_ticket = c.ticket;
        *out_next = c.n && c.n == e->max ? c.list[c.n - 1] + 1 : 0;
    }
    arena_done(&c.arena);
    return r;
}

int store_expunge_deleted(struct store *s, uint64_t mailbox, const struct store_uids *uids, size_t n_uids,
                          uint64_t *out_ticket)
{
    struct store_expunging all = { .mailbox = mailbox, .uids = uids, .n_uids = n_uids, .max = SIZE_MAX };
    uint32_t next;
    return store_expunge_some(s, &all, out_ticket, &next);
}

struct copy_call {
    const struct store_copying *how;
    struct store_copied made;
    struct buf *pairs;        /* may be NULL */
    size_t pairs_n;           /* before the call */
    struct arena arena;
    struct journal_run *runs; size_t n_runs, cap;
    uint64_t next, bytes, n;  /* next: UID to be given out */
};

static int add_run(struct copy_call *c, uint32_t source, uint32_t made)
{
    struct journal_run *last = c->n_runs ? &c->runs[c->n_runs - 1] : NULL;
    if (last && source == last->source + last->count && made == last->made + last->count) {
        last->count++;
        return 0;
    }
    if (c->n_runs == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        struct journal_run *more = ARENA_ARRAY(&c->arena, struct journal_run, cap);
        if (!more)
            return -ENOMEM;
        if (c->n_runs)
            memcpy(more, c->runs, c->n_runs * sizeof(*more));
        c->runs = more;
        c->cap = cap;
    }
    c->runs[c->n_runs++] = (struct journal_run){ source, made, 1 };
    return 0;
}

static int choose(void *arg, const struct index_flags *m)
{
    struct copy_call *c = arg;
    if (c->next == UID_MAX)
        return STORE_CANNOT;
    if (c->pairs) {
        pack_u32(c->pairs, m->uid);
        pack_u32(c->pairs, (uint32_t)c->next);
    }
    c->bytes += m->size;
    c->n++;
    int r = add_run(c, m->uid, (uint32_t)c->next++);
    return r < 0 || !c->pairs ? r : c->pairs->failed;
}

/* The messages of one in the other. */
static int stage_copied(struct store *s, struct copy_call *c, struct box *from, struct box *to)
{
    c->next = to->uidnext;
    int r = each_message(s, from->id, c->how->uids, c->how->n_uids, choose, c);
    if (r == STORE_DONE && c->n && !c->how->move && !store_quota_allows(s, c->how->account, c->bytes, c->n))
        r = STORE_OVER_QUOTA;
    if (r != STORE_DONE || !c->n)
        return r;
    struct journal_record record = { .kind = JOURNAL_copied, .copied = {
        .from = from->id, .to = to->id, .move = c->how->move, .at_us = s->config.env->wall_us(), .runs = c->runs,
        .n_runs = c->n_runs } };
    r = store_stage(s, &record);
    if (r < 0)
        return r;
    to->uidnext = (uint32_t)c->next;
    to->lsn = to->changed = c->made.ticket = s->copied_lsn = record.lsn;
    if (c->how->move)
        from->changed = record.lsn;
    return STORE_DONE;
}

int store_move_all(struct store *s, struct box *from, struct box *to)
{
    struct store_copying all = { .move = true };
    struct copy_call c = { .how = &all, .arena = ARENA(CALL_MEMORY) };
    int r = stage_copied(s, &c, from, to);
    arena_done(&c.arena);
    return r;
}

static int copy(struct store *s, void *arg)
{
    struct copy_call *c = arg;
    struct box *from, *to;
    c->n = c->bytes = c->n_runs = 0;
    c->pairs->n = c->pairs_n;
    int r = settled_box(s, c->how->from, &from);
    if (r == 1 && str_eq(from->account, c->how->account))
        r = store_box_named(s, c->how->account, c->how->to, &to);
    else
        r = MIN(r, 0);
    if (r != 1)
        return r < 0 ? r : STORE_NONEXISTENT;
    c->made = (struct store_copied){ .to = to->id, .ticket = store_committed(s), .uidvalidity = to->uidvalidity };
    r = c->how->n_uids ? stage_copied(s, c, from, to) : STORE_DONE;
    if (r > STORE_DONE)
        c->pairs->n = c->pairs_n;
    return r;
}

int store_copy(struct store *s, const struct store_copying *c, struct buf *pairs, struct store_copied *out)
{
    struct copy_call call = { .how = c, .pairs = pairs, .pairs_n = pairs->n, .arena = ARENA(CALL_MEMORY) };
    int r = store_guard(s, copy, &call);
    arena_done(&call.arena);
    if (r == STORE_DONE)
        *out = call.made;
    return r;
}

struct recent_call {
    uint64_t mailbox;
    uint32_t uid;
};

static int seen_recent(struct store *s, void *arg)
{
    const struct recent_call *c = arg;
    struct index_mailbox m;
    int r = index_mailbox_get(s->index, c->mailbox, &m);
    if (r != 1 || c->uid <= m.recent)
        return MIN(r, STORE_DONE);
    struct journal_record record = { .kind = JOURNAL_recent, .recent = { .mailbox = c->mailbox, .uid = c->uid } };
    return store_stage(s, &record);
}

int store_seen_recent(struct store *s, uint64_t mailbox, uint32_t uid)
{
    struct recent_call c = { mailbox, uid };
    return store_guard(s, seen_recent, &c);
}

struct vanished_call {
    uint64_t mailbox, since;
    uint32_t after;
    size_t max, before;
    struct buf *out;
};

static int vanished(struct store *s, void *arg)
{
    const struct vanished_call *c = arg;
    struct index_mailbox m;
    c->out->n = c->before;
    int r = index_mailbox_get(s->index, c->mailbox, &m);
    if (r != 1)
        return r < 0 ? r : -ENOENT;
    if (c->since < m.vanished_floor)
        return -ERANGE;
    return index_vanished(s->index, c->mailbox, c->since, c->after, c->max, c->out);
}

int store_vanished(struct store *s, uint64_t mailbox, uint64_t since, uint32_t after, size_t max, struct buf *out)
{
    struct vanished_call c = { mailbox, since, after, max, out->n, out };
    return store_guard(s, vanished, &c);
}
