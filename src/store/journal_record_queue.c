/* Encoding of what the journal says about queued messages: see journal_queue.h. */
#include <errno.h>
#include "store/journal_record_internal.h"

enum { QUEUE_SMTPUTF8 = 1, QUEUE_REQUIRETLS = 2, QUEUE_LAST_RESORT = 4, QUEUE_DSN = 8, QUEUE_FLAGS = 15 };
enum { HAS_ORIGINAL = 1, HAS_ORCPT = 2, HAS_SENDER = 4, HAS_ALIAS = 8, HAS_REPLY = 16, HAS_VIA = 32, HAS_ALL = 63 };
#define QUEUED_MIN (1 + 1 + 1 + 1 + 4 + 1 + 4)
#define ATTEMPT_MIN (4 + 1 + 1 + 1 + 2 + 4 + 8 + 4 + 4)

static void encode_queued(struct buf *out, const struct journal_queued *q)
{
    bool reply = q->status.n || q->text.n;
    pack_u8(out, q->outcome);
    pack_u8(out, q->owed);
    pack_u8(out, q->part);
    pack_u8(out, q->notify);
    pack_u32(out, q->group);
    pack_u8(out, (uint8_t)((q->original.n ? HAS_ORIGINAL : 0) | (q->orcpt.n ? HAS_ORCPT : 0) |
                           (q->sender.n ? HAS_SENDER : 0) | (q->alias.n ? HAS_ALIAS : 0) | (reply ? HAS_REPLY : 0) |
                           (q->via.n ? HAS_VIA : 0)));
    pack_str(out, q->address);
    if (q->original.n)
        pack_str(out, q->original);
    if (q->orcpt.n)
        pack_str(out, q->orcpt);
    if (q->sender.n)
        pack_str(out, q->sender);
    if (q->alias.n)
        pack_str(out, q->alias);
    if (reply) {
        pack_str(out, q->status);
        pack_str(out, q->text);
    }
    if (q->via.n) {
        pack_str(out, q->via);
        pack_str(out, q->user);
    }
}

static int decode_queued(struct unpack *u, struct journal_queued *q)
{
    q->outcome = unpack_u8(u);
    q->owed = unpack_u8(u);
    q->part = unpack_u8(u);
    q->notify = unpack_u8(u);
    q->group = unpack_u32(u);
    uint8_t has = unpack_u8(u);
    q->address = unpack_str(u);
    if (has & HAS_ORIGINAL)
        q->original = unpack_str(u);
    if (has & HAS_ORCPT)
        q->orcpt = unpack_str(u);
    if (has & HAS_SENDER)
        q->sender = unpack_str(u);
    if (has & HAS_ALIAS)
        q->alias = unpack_str(u);
    if (has & HAS_REPLY) {
        q->status = unpack_str(u);
        q->text = unpack_str(u);
    }
    if (has & HAS_VIA) {
        q->via = unpack_str(u);
        q->user = unpack_str(u);
    }
    return q->outcome >= QUEUE_OUTCOMES || q->owed > QUEUE_DSN_KINDS || has & ~HAS_ALL ? -EBADMSG : 0;
}

void encode_queue(struct buf *out, const struct journal_queue *q)
{
    bool dsn = q->dsn_of || q->dsn_event;
    pack_u8(out, (uint8_t)((q->smtputf8 ? QUEUE_SMTPUTF8 : 0) | (q->requiretls ? QUEUE_REQUIRETLS : 0) |
                           (q->last_resort ? QUEUE_LAST_RESORT : 0) | (dsn ? QUEUE_DSN : 0)));
    pack_u8(out, q->ret);
    pack_u8(out, q->body);
    pack_u8(out, q->priority);
    pack_str(out, q->sender);
    pack_str(out, q->envid);
    if (dsn) {
        pack_u64(out, q->dsn_of);
        pack_u64(out, q->dsn_event);
    }
    pack_u32(out, (uint32_t)q->n);
    for (size_t i = 0; i < q->n; i++)
        encode_queued(out, &q->recipients[i]);
}

int decode_queue(struct arena *a, struct unpack *u, struct journal_queue *q)
{
    uint8_t flags = unpack_u8(u);
    *q = (struct journal_queue){ .present = true, .smtputf8 = flags & QUEUE_SMTPUTF8,
                                 .requiretls = flags & QUEUE_REQUIRETLS, .last_resort = flags & QUEUE_LAST_RESORT };
    q->ret = unpack_u8(u);
    q->body = unpack_u8(u);
    q->priority = unpack_u8(u);
    q->sender = unpack_str(u);
    q->envid = unpack_str(u);
    if (flags & QUEUE_DSN) {
        q->dsn_of = unpack_u64(u);
        q->dsn_event = unpack_u64(u);
    }
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / QUEUED_MIN || flags & ~QUEUE_FLAGS)
        return -EBADMSG;
    struct journal_queued *list = ARENA_ARRAY(a, struct journal_queued, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        if (decode_queued(u, &list[i]) < 0)
            return -EBADMSG;
    q->recipients = list;
    q->n = n;
    return 0;
}

void encode_attempted(struct buf *out, const struct journal_attempted *t)
{
    pack_u64(out, t->message);
    pack_u64(out, t->at_us);
    pack_str(out, t->mta);
    pack_str(out, t->tls);
    pack_u32(out, (uint32_t)t->n);
    for (size_t i = 0; i < t->n; i++) {
        const struct journal_attempt *x = &t->list[i];
        pack_u32(out, x->index);
        pack_u8(out, x->outcome);
        pack_u8(out, x->owed);
        pack_u8(out, x->part);
        pack_u16(out, x->code);
        pack_u32(out, x->attempts);
        pack_u64(out, x->due_us);
        pack_str(out, x->status);
        pack_str(out, x->text);
    }
}

int decode_attempted(struct arena *a, struct unpack *u, struct journal_attempted *t)
{
    t->message = unpack_u64(u);
    t->at_us = unpack_u64(u);
    t->mta = unpack_str(u);
    t->tls = unpack_str(u);
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / ATTEMPT_MIN)
        return -EBADMSG;
    struct journal_attempt *list = ARENA_ARRAY(a, struct journal_attempt, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        struct journal_attempt *x = &list[i];
        x->index = unpack_u32(u);
        x->outcome = unpack_u8(u);
        x->owed = unpack_u8(u);
        x->part = unpack_u8(u);
        x->code = unpack_u16(u);
        x->attempts = unpack_u32(u);
        x->due_us = unpack_u64(u);
        x->status = unpack_str(u);
        x->text = unpack_str(u);
        if (x->outcome >= QUEUE_OUTCOMES || x->owed > QUEUE_DSN_KINDS)
            return -EBADMSG;
    }
    t->list = list;
    t->n = n;
    return 0;
}

void encode_queue_changed(struct buf *out, const struct journal_queue_changed *c)
{
    pack_u8(out, c->op);
    pack_u64(out, c->message);
    pack_u64(out, c->at_us);
    pack_str(out, c->by);
    pack_str(out, c->host);
    pack_u32(out, (uint32_t)c->n);
    for (size_t i = 0; i < c->n; i++)
        pack_u32(out, c->indexes[i]);
}

int decode_queue_changed(struct arena *a, struct unpack *u, struct journal_queue_changed *c)
{
    c->op = unpack_u8(u);
    c->message = unpack_u64(u);
    c->at_us = unpack_u64(u);
    c->by = unpack_str(u);
    c->host = unpack_str(u);
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / 4 || !c->op || c->op >= QUEUE_OPS)
        return -EBADMSG;
    uint32_t *list = ARENA_ARRAY(a, uint32_t, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        list[i] = unpack_u32(u);
    c->indexes = list;
    c->n = n;
    return 0;
}

void encode_destination_paused(struct buf *out, const struct journal_destination_paused *p)
{
    pack_u8(out, p->paused);
    pack_str(out, p->destination);
    pack_str(out, p->by);
    pack_u64(out, p->at_us);
}

int decode_destination_paused(struct arena *a, struct unpack *u, struct journal_destination_paused *p)
{
    (void)a;
    uint8_t paused = unpack_u8(u);
    p->paused = paused;
    p->destination = unpack_str(u);
    p->by = unpack_str(u);
    p->at_us = unpack_u64(u);
    return paused > 1 ? -EBADMSG : 0;
}
