/* Encoding of what the journal says about mailboxes: see journal_mailbox.h. */
#include <errno.h>
#include "store/journal_record_internal.h"

#define RENAME_MIN (8 + 4)
#define KEYWORD_MIN 4
#define UIDS_SIZE (4 + 4)
#define RUN_SIZE (4 + 4 + 4)

void encode_mailbox_renamed(struct buf *out, const struct journal_mailbox_renamed *m)
{
    pack_u32(out, (uint32_t)m->n);
    for (size_t i = 0; i < m->n; i++) {
        pack_u64(out, m->renames[i].id);
        pack_str(out, m->renames[i].name);
    }
}

int decode_mailbox_renamed(struct arena *a, struct unpack *u, struct journal_mailbox_renamed *m)
{
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / RENAME_MIN)
        return -EBADMSG;
    struct journal_rename *list = ARENA_ARRAY(a, struct journal_rename, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        list[i].id = unpack_u64(u);
        list[i].name = unpack_str(u);
    }
    m->renames = list;
    m->n = n;
    return 0;
}

void encode_mailbox_deleted(struct buf *out, const struct journal_mailbox_deleted *m)
{
    pack_u64(out, m->id);
    pack_u64(out, m->at_us);
}

int decode_mailbox_deleted(struct arena *a, struct unpack *u, struct journal_mailbox_deleted *m)
{
    (void)a;
    m->id = unpack_u64(u);
    m->at_us = unpack_u64(u);
    return 0;
}

void encode_subscribed(struct buf *out, const struct journal_subscribed *s)
{
    pack_str(out, s->account);
    pack_str(out, s->name);
    pack_u8(out, s->on);
}

int decode_subscribed(struct arena *a, struct unpack *u, struct journal_subscribed *s)
{
    (void)a;
    s->account = unpack_str(u);
    s->name = unpack_str(u);
    uint8_t on = unpack_u8(u);
    s->on = on;
    return on > 1 ? -EBADMSG : 0;
}

void encode_mailbox_use(struct buf *out, const struct journal_mailbox_use *m)
{
    pack_u64(out, m->id);
    pack_u8(out, m->use);
}

int decode_mailbox_use(struct arena *a, struct unpack *u, struct journal_mailbox_use *m)
{
    (void)a;
    m->id = unpack_u64(u);
    m->use = unpack_u8(u);
    return 0;
}

static void encode_keywords(struct buf *out, const str *list, size_t n)
{
    pack_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        pack_str(out, list[i]);
}

static int decode_keywords(struct arena *a, struct unpack *u, const str **out, size_t *out_n)
{
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / KEYWORD_MIN)
        return -EBADMSG;
    str *list = ARENA_ARRAY(a, str, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        list[i] = unpack_str(u);
    *out = list;
    *out_n = n;
    return 0;
}

void encode_flagged(struct buf *out, const struct journal_flagged *f)
{
    pack_u64(out, f->mailbox);
    pack_u8(out, f->op);
    pack_u32(out, f->system);
    encode_keywords(out, f->keywords, f->n_keywords);
    pack_u32(out, (uint32_t)f->n_uids);
    for (size_t i = 0; i < f->n_uids; i++) {
        pack_u32(out, f->uids[i].first);
        pack_u32(out, f->uids[i].last);
    }
}

int decode_flagged(struct arena *a, struct unpack *u, struct journal_flagged *f)
{
    f->mailbox = unpack_u64(u);
    f->op = unpack_u8(u);
    f->system = unpack_u32(u);
    int r = decode_keywords(a, u, &f->keywords, &f->n_keywords);
    if (r < 0)
        return r;
    uint32_t n = unpack_u32(u);
    if (u->bad || f->op >= FLAG_OPS || n > u->in.n / UIDS_SIZE)
        return -EBADMSG;
    struct journal_uids *list = ARENA_ARRAY(a, struct journal_uids, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        list[i].first = unpack_u32(u);
        list[i].last = unpack_u32(u);
        if (list[i].last < list[i].first)
            return -EBADMSG;
    }
    f->uids = list;
    f->n_uids = n;
    return 0;
}

void encode_copied(struct buf *out, const struct journal_copied *c)
{
    pack_u64(out, c->from);
    pack_u64(out, c->to);
    pack_u8(out, c->move);
    pack_u64(out, c->at_us);
    pack_u32(out, (uint32_t)c->n_runs);
    for (size_t i = 0; i < c->n_runs; i++) {
        pack_u32(out, c->runs[i].source);
        pack_u32(out, c->runs[i].made);
        pack_u32(out, c->runs[i].count);
    }
}

static bool run_is_valid(const struct journal_run *r)
{
    return r->source && r->made && r->count && r->count <= UINT32_MAX - MAX(r->source, r->made);
}

int decode_copied(struct arena *a, struct unpack *u, struct journal_copied *c)
{
    c->from = unpack_u64(u);
    c->to = unpack_u64(u);
    uint8_t move = unpack_u8(u);
    c->move = move;
    c->at_us = unpack_u64(u);
    uint32_t n = unpack_u32(u);
    if (u->bad || move > 1 || n > u->in.n / RUN_SIZE)
        return -EBADMSG;
    struct journal_run *list = ARENA_ARRAY(a, struct journal_run, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        list[i].source = unpack_u32(u);
        list[i].made = unpack_u32(u);
        list[i].count = unpack_u32(u);
        if (!run_is_valid(&list[i]))
            return -EBADMSG;
    }
    c->runs = list;
    c->n_runs = n;
    return 0;
}

void encode_account_prepared(struct buf *out, const struct journal_account_prepared *p)
{
    pack_str(out, p->account);
}

int decode_account_prepared(struct arena *a, struct unpack *u, struct journal_account_prepared *p)
{
    (void)a;
    p->account = unpack_str(u);
    return 0;
}

void encode_recent(struct buf *out, const struct journal_recent *r)
{
    pack_u64(out, r->mailbox);
    pack_u32(out, r->uid);
}

int decode_recent(struct arena *a, struct unpack *u, struct journal_recent *r)
{
    (void)a;
    r->mailbox = unpack_u64(u);
    r->uid = unpack_u32(u);
    return 0;
}

void encode_append(struct buf *out, const struct journal_append *p)
{
    pack_u32(out, p->system);
    encode_keywords(out, p->keywords, p->n_keywords);
    pack_u64(out, (uint64_t)p->date_s);
    pack_u16(out, (uint16_t)p->zone_min);
}

int decode_append(struct arena *a, struct unpack *u, struct journal_append *p)
{
    p->present = true;
    p->system = unpack_u32(u);
    int r = decode_keywords(a, u, &p->keywords, &p->n_keywords);
    p->date_s = (int64_t)unpack_u64(u);
    p->zone_min = (int16_t)unpack_u16(u);
    return r;
}
