/* Encoding of journal records: see journal_record.h. */
#include <errno.h>
#include "store/journal_record_internal.h"

#define MAY_PASS_OVER 0x80

enum { DELIVERED_AGAIN = 1, DELIVERED_NO_CARD = 2, DELIVERED_QUEUE = 4, DELIVERED_APPEND = 8,
       DELIVERED_FLAGS = 15 };
enum { PLACED_RECIPIENT = 1, PLACED_REASON = 2 };
#define PLACED_MIN (8 + 4 + 1 + 4 + 4)
#define UNPLACED_MIN (4 + 4)
#define MOVE_SIZE (8 + 4 + 8 + 8 + 8)

static void encode_mailbox_created(struct buf *out, const struct journal_mailbox_created *m)
{
    pack_u64(out, m->id);
    pack_str(out, m->account);
    pack_str(out, m->name);
    pack_u32(out, m->uidvalidity);
}

static int decode_mailbox_created(struct arena *a, struct unpack *u, struct journal_mailbox_created *m)
{
    (void)a;
    m->id = unpack_u64(u);
    m->account = unpack_str(u);
    m->name = unpack_str(u);
    m->uidvalidity = unpack_u32(u);
    return 0;
}

static void encode_placement(struct buf *out, const struct journal_placement *p)
{
    pack_u64(out, p->mailbox);
    pack_u32(out, p->uid);
    pack_u8(out, (uint8_t)((p->recipient.n ? PLACED_RECIPIENT : 0) | (p->reason.n ? PLACED_REASON : 0)));
    pack_str(out, p->account);
    pack_str(out, p->prefix);
    if (p->recipient.n)
        pack_str(out, p->recipient);
    if (p->reason.n)
        pack_str(out, p->reason);
}

static void encode_delivered(struct buf *out, const struct journal_delivered *d)
{
    pack_u8(out, (uint8_t)((d->again ? DELIVERED_AGAIN : 0) | (d->no_card ? DELIVERED_NO_CARD : 0) |
                           (d->queue.present ? DELIVERED_QUEUE : 0) | (d->append.present ? DELIVERED_APPEND : 0)));
    pack_str(out, d->log);
    pack_u64(out, d->segment);
    pack_u64(out, d->offset);
    pack_u64(out, d->end);
    pack_u64(out, d->content_len);
    pack_u32(out, d->meta_len);
    pack_u64(out, d->received_us);
    buf_add(out, str_of(d->session, sizeof(d->session)));
    pack_u32(out, d->number);
    pack_u32(out, (uint32_t)d->n_placed);
    for (size_t i = 0; i < d->n_placed; i++)
        encode_placement(out, &d->placed[i]);
    pack_u32(out, (uint32_t)d->n_unplaced);
    for (size_t i = 0; i < d->n_unplaced; i++) {
        pack_str(out, d->unplaced[i].recipient);
        pack_str(out, d->unplaced[i].reason);
    }
    if (d->queue.present)
        encode_queue(out, &d->queue);
    if (d->append.present)
        encode_append(out, &d->append);
}

static int decode_placed(struct arena *a, struct unpack *u, struct journal_delivered *d)
{
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / PLACED_MIN)
        return -EBADMSG;
    struct journal_placement *list = ARENA_ARRAY(a, struct journal_placement, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        list[i].mailbox = unpack_u64(u);
        list[i].uid = unpack_u32(u);
        uint8_t flags = unpack_u8(u);
        list[i].account = unpack_str(u);
        list[i].prefix = unpack_str(u);
        if (flags & PLACED_RECIPIENT)
            list[i].recipient = unpack_str(u);
        if (flags & PLACED_REASON)
            list[i].reason = unpack_str(u);
        if (flags & ~(PLACED_RECIPIENT | PLACED_REASON))
            return -EBADMSG;
    }
    d->placed = list;
    d->n_placed = n;
    return 0;
}

static int decode_unplaced(struct arena *a, struct unpack *u, struct journal_delivered *d)
{
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / UNPLACED_MIN)
        return -EBADMSG;
    struct journal_unplaced *list = ARENA_ARRAY(a, struct journal_unplaced, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        list[i].recipient = unpack_str(u);
        list[i].reason = unpack_str(u);
    }
    d->unplaced = list;
    d->n_unplaced = n;
    return 0;
}

static int decode_delivered(struct arena *a, struct unpack *u, struct journal_delivered *d)
{
    uint8_t flags = unpack_u8(u);
    d->again = flags & DELIVERED_AGAIN;
    d->no_card = flags & DELIVERED_NO_CARD;
    d->log = unpack_str(u);
    d->segment = unpack_u64(u);
    d->offset = unpack_u64(u);
    d->end = unpack_u64(u);
    d->content_len = unpack_u64(u);
    d->meta_len = unpack_u32(u);
    d->received_us = unpack_u64(u);
    for (size_t i = 0; i < sizeof(d->session); i++)
        d->session[i] = unpack_u8(u);
    d->number = unpack_u32(u);
    if (u->bad || flags & ~DELIVERED_FLAGS || d->end < d->offset)
        return -EBADMSG;
    int r = decode_placed(a, u, d);
    if (r == 0)
        r = decode_unplaced(a, u, d);
    if (r == 0 && flags & DELIVERED_QUEUE)
        r = decode_queue(a, u, &d->queue);
    if (r == 0 && flags & DELIVERED_APPEND)
        r = decode_append(a, u, &d->append);
    return r;
}

static void encode_skipped(struct buf *out, const struct journal_skipped *s)
{
    pack_u8(out, s->again ? DELIVERED_AGAIN : 0);
    pack_str(out, s->log);
    pack_u64(out, s->segment);
    pack_u64(out, s->offset);
    pack_u64(out, s->end);
    pack_str(out, s->reason);
}

static int decode_skipped(struct arena *a, struct unpack *u, struct journal_skipped *s)
{
    (void)a;
    uint8_t flags = unpack_u8(u);
    s->again = flags & DELIVERED_AGAIN;
    s->log = unpack_str(u);
    s->segment = unpack_u64(u);
    s->offset = unpack_u64(u);
    s->end = unpack_u64(u);
    s->reason = unpack_str(u);
    return flags & ~DELIVERED_AGAIN || s->end < s->offset ? -EBADMSG : 0;
}

static void encode_sealed(struct buf *out, const struct journal_sealed *s)
{
    pack_str(out, s->log);
    pack_u64(out, s->segment);
    pack_u64(out, s->end);
}

static int decode_sealed(struct arena *a, struct unpack *u, struct journal_sealed *s)
{
    (void)a;
    s->log = unpack_str(u);
    s->segment = unpack_u64(u);
    s->end = unpack_u64(u);
    return 0;
}

static void encode_expunged(struct buf *out, const struct journal_expunged *e)
{
    pack_u64(out, e->mailbox);
    pack_u32(out, (uint32_t)e->n);
    for (size_t i = 0; i < e->n; i++)
        pack_u32(out, e->uids[i]);
    pack_u64(out, e->at_us);
}

static int decode_expunged(struct arena *a, struct unpack *u, struct journal_expunged *e)
{
    e->mailbox = unpack_u64(u);
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / 4)
        return -EBADMSG;
    uint32_t *uids = ARENA_ARRAY(a, uint32_t, n);
    if (!uids)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        uids[i] = unpack_u32(u);
    e->uids = uids;
    e->n = n;
    e->at_us = u->in.n ? unpack_u64(u) : 0;
    return 0;
}

static void encode_jumped(struct buf *out, const struct journal_jumped *j)
{
    pack_u32(out, j->by);
}

static int decode_jumped(struct arena *a, struct unpack *u, struct journal_jumped *j)
{
    (void)a;
    j->by = unpack_u32(u);
    return 0;
}

static void encode_relocated(struct buf *out, const struct journal_relocated *r)
{
    pack_str(out, r->log);
    pack_u64(out, r->segment);
    pack_str(out, r->to_log);
    pack_u64(out, r->to_segment);
    pack_u64(out, r->end);
    pack_u32(out, (uint32_t)r->n);
    for (size_t i = 0; i < r->n; i++) {
        pack_u64(out, r->moves[i].mailbox);
        pack_u32(out, r->moves[i].uid);
        pack_u64(out, r->moves[i].from);
        pack_u64(out, r->moves[i].to);
        pack_u64(out, r->moves[i].length);
    }
}

static int decode_relocated(struct arena *a, struct unpack *u, struct journal_relocated *r)
{
    r->log = unpack_str(u);
    r->segment = unpack_u64(u);
    r->to_log = unpack_str(u);
    r->to_segment = unpack_u64(u);
    r->end = unpack_u64(u);
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / MOVE_SIZE)
        return -EBADMSG;
    struct journal_move *moves = ARENA_ARRAY(a, struct journal_move, n);
    if (!moves)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        moves[i].mailbox = unpack_u64(u);
        moves[i].uid = unpack_u32(u);
        moves[i].from = unpack_u64(u);
        moves[i].to = unpack_u64(u);
        moves[i].length = unpack_u64(u);
    }
    r->moves = moves;
    r->n = n;
    return 0;
}

int journal_record_encode(struct buf *out, const struct journal_record *r)
{
    pack_u8(out, (uint8_t)r->kind);
    switch (r->kind) {
#define JOURNAL_RECORD(code, name) case JOURNAL_##name: encode_##name(out, &r->name); break;
#include "store/journal_records.def"
#undef JOURNAL_RECORD
    }
    return out->failed;
}

int journal_record_decode(struct arena *a, str in, uint64_t lsn, struct journal_record *out)
{
    struct unpack u = UNPACK(in);
    struct journal_record r = { .lsn = lsn };
    uint8_t kind = unpack_u8(&u);
    if (u.bad)
        return -EBADMSG;
    r.kind = kind;
    int k;
    switch (kind) {
#define JOURNAL_RECORD(code, name) case JOURNAL_##name: k = decode_##name(a, &u, &r.name); break;
#include "store/journal_records.def"
#undef JOURNAL_RECORD
    default:
        return kind & MAY_PASS_OVER ? -ENOENT : -EPROTO;
    }
    if (k < 0)
        return k;
    if (!unpack_end(&u))
        return -EBADMSG;
    *out = r;
    return 0;
}
