/* Queued messages in the index: see index_queue.h and index_queue_internal.h. */
#include "store/index_queue.h"
#include <errno.h>
#include <stdlib.h>
#include "base/map.h"
#include "store/index_queue_internal.h"
#include "store/index_sql.h"

#define RECORD_MEMORY ((size_t)1 << 29)
#define FRESH_MAX ((size_t)1 << 20)
#define DEAD_PLACES 8
#define ALL INT64_C(-1)

enum { FLAG_SMTPUTF8 = 1, FLAG_REQUIRETLS = 2, FLAG_LAST_RESORT = 4, FLAG_PLACED = 8 };

struct fresh { /* a message of this transaction that has no rows yet */
    uint64_t lsn, log, segment, length;
    uint32_t n, left;
    size_t payload_n;
    bool *done;   /* n, behind the payload */
    char payload[];
};

struct index_fresh {
    struct map messages;
    struct { uint64_t log, segment, bytes; } dead[DEAD_PLACES]; /* not yet in a row */
    size_t n_dead;
};

static str key_of(const uint64_t *lsn) { return str_of(lsn, sizeof(*lsn)); }

static int fresh_table(struct index *ix, struct index_fresh **out)
{
    if (!ix->fresh) {
        ix->fresh = calloc(1, sizeof(*ix->fresh));
        if (!ix->fresh)
            return -ENOMEM;
        map_init(&ix->fresh->messages, FRESH_MAX, (const uint8_t[16]){ 0 }); /* nobody outside chooses an LSN */
    }
    *out = ix->fresh;
    return 0;
}

static struct fresh *fresh_find(struct index *ix, uint64_t lsn)
{
    return ix->fresh && ix->fresh->messages.n ? map_get(&ix->fresh->messages, key_of(&lsn)) : NULL;
}

void index_queue_forget(struct index *ix)
{
    struct fresh *m;
    if (!ix->fresh)
        return;
    for (size_t at = 0; (m = map_next(&ix->fresh->messages, &at, NULL));)
        free(m);
    map_done(&ix->fresh->messages);
    free(TAKE(ix->fresh));
}

static int store_dead(struct index *ix)
{
    int r = 0;
    for (size_t i = 0; ix->fresh && i < ix->fresh->n_dead && r >= 0; i++)
        r = sql_change(ix, APPLIED_DEAD, VALUES(I(ix->fresh->dead[i].log), I(ix->fresh->dead[i].segment),
                                                I(ix->fresh->dead[i].bytes), I(1)));
    if (ix->fresh)
        ix->fresh->n_dead = 0;
    return MIN(r, 0);
}

/* Counted here first: most are in the same segment. */
static int add_dead(struct index *ix, uint64_t log, uint64_t segment, uint64_t bytes)
{
    struct index_fresh *f;
    int r = fresh_table(ix, &f);
    for (size_t i = 0; r == 0 && i < f->n_dead; i++)
        if (f->dead[i].log == log && f->dead[i].segment == segment) {
            f->dead[i].bytes += bytes;
            return 0;
        }
    if (r == 0 && f->n_dead == DEAD_PLACES)
        r = store_dead(ix);
    if (r < 0)
        return r;
    f->dead[f->n_dead].log = log;
    f->dead[f->n_dead].segment = segment;
    f->dead[f->n_dead++].bytes = bytes;
    return 0;
}

static int insert_message(struct index *ix, uint64_t lsn, uint64_t log, const struct journal_delivered *d)
{
    const struct journal_queue *q = &d->queue;
    int flags = (q->smtputf8 ? FLAG_SMTPUTF8 : 0) | (q->requiretls ? FLAG_REQUIRETLS : 0) |
                (q->last_resort ? FLAG_LAST_RESORT : 0) | (d->n_placed ? FLAG_PLACED : 0);
    return sql_change(ix, QUEUE_ADD, VALUES(I(lsn), I(log), I(d->segment), I(d->offset), I(d->content_len),
                                            I(d->meta_len),
                                            I(d->received_us), B(str_of(d->session, sizeof(d->session))), I(d->number),
                                            B(q->sender), B(q->envid), I(q->ret), I(q->body), I(q->priority),
                                            I(flags)));
}

/* Due at once, in the order of their messages: 0. */
static int insert_recipient(struct index *ix, uint64_t lsn, uint32_t index, const struct journal_queued *q)
{
    bool final = queue_is_final(q->outcome);
    if (final && !q->owed)
        return 0;
    uint64_t event = q->owed ? queue_event(lsn, q->part) : 0;
    return sql_change(ix, QUEUED_ADD, VALUES(I(lsn), I(index), I(q->group),
                                             I(final ? QUEUE_STATE_FINAL : QUEUE_STATE_DUE),
                                             I(q->outcome), I(q->notify), I(q->owed), I(event), B(q->address),
                                             B(q->original), B(q->orcpt), B(q->sender), B(q->alias), I(0),
                                             B(q->status), B(q->text), B(q->via), B(q->user)));
}

static int insert_rows(struct index *ix, uint64_t lsn, uint64_t log, const struct journal_delivered *d,
                       const bool *done)
{
    int r = insert_message(ix, lsn, log, d);
    for (size_t i = 0; i < d->queue.n && r >= 0; i++)
        if (!done || !done[i])
            r = insert_recipient(ix, lsn, (uint32_t)i, &d->queue.recipients[i]);
    return MIN(r, 0);
}

static bool can_wait(const struct journal_delivered *d)
{
    bool can = d->n_placed == 0;
    for (size_t i = 0; i < d->queue.n && can; i++)
        can = !queue_is_final(d->queue.recipients[i].outcome) && !d->queue.recipients[i].owed;
    return can;
}

int index_row_queue_add(struct index *ix, const struct journal_record *r)
{
    const struct journal_delivered *d = &r->delivered;
    struct index_fresh *f;
    int k = fresh_table(ix, &f);
    if (k < 0 || !can_wait(d))
        return k < 0 ? k : insert_rows(ix, r->lsn, index_cursor(ix)->log, d, NULL);
    _cleanup_buf_ struct buf payload = BUF(RECORD_MEMORY);
    if (journal_record_encode(&payload, r) < 0)
        return -ENOMEM;
    struct fresh *m = calloc(1, sizeof(*m) + payload.n + d->queue.n * sizeof(bool));
    if (!m)
        return -ENOMEM;
    m->lsn = r->lsn;
    m->log = index_cursor(ix)->log;
    m->segment = d->segment;
    m->length = d->end - d->offset;
    m->n = m->left = (uint32_t)d->queue.n;
    m->payload_n = payload.n;
    memcpy(m->payload, payload.p, payload.n);
    m->done = (bool *)(m->payload + payload.n);
    k = map_set(&f->messages, key_of(&m->lsn), m, NULL);
    if (k == 0)
        return 0;
    free(m);
    return k == -ENOSPC ? insert_rows(ix, r->lsn, index_cursor(ix)->log, d, NULL) : k;
}

/* Makes rows of it and forgets it. */
static int materialize(struct index *ix, struct fresh *m)
{
    struct arena a = ARENA(RECORD_MEMORY);
    struct journal_record record;
    int r = journal_record_decode(&a, str_of(m->payload, m->payload_n), m->lsn, &record);
    r = r == 0 || r == -ENOMEM ? r : -EBADMSG;
    if (r == 0)
        r = insert_rows(ix, m->lsn, m->log, &record.delivered, m->done);
    map_take(&ix->fresh->messages, key_of(&m->lsn));
    free(m);
    arena_done(&a);
    return r;
}

int index_queue_flush(struct index *ix)
{
    struct fresh *m;
    int r = 0;
    for (size_t at = 0; ix->fresh && r == 0 && (m = map_next(&ix->fresh->messages, &at, NULL));)
        r = materialize(ix, m);
    return r == 0 ? store_dead(ix) : r;
}

/* All recipients are final and nobody is to be told: its bytes are free at once. */
static int finish_fresh(struct index *ix, struct fresh *m)
{
    int r = add_dead(ix, m->log, m->segment, m->length);
    map_take(&ix->fresh->messages, key_of(&m->lsn));
    free(m);
    return r;
}

static bool is_plain_end(const struct journal_attempted *t, const struct fresh *m)
{
    for (size_t i = 0; i < t->n; i++)
        if (!queue_is_final(t->list[i].outcome) || t->list[i].owed || t->list[i].index >= m->n)
            return false;
    return true;
}

static int end_fresh(struct index *ix, struct fresh *m, const struct journal_attempted *t)
{
    for (size_t i = 0; i < t->n; i++) {
        m->left -= !m->done[t->list[i].index];
        m->done[t->list[i].index] = true;
    }
    return m->left ? 0 : finish_fresh(ix, m);
}

/* The message's row goes with its last recipient. */
static int drop_if_done(struct index *ix, uint64_t lsn, uint64_t now_us)
{
    int r = sql_exists(ix, QUEUE_HAS, sql_run(ix, QUEUE_HAS, VALUES(I(lsn))));
    if (r != 0)
        return MIN(r, 0);
    r = sql_run(ix, QUEUE_DROP, VALUES(I(lsn)));
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[QUEUE_DROP];
    uint64_t log = sql_column(s, 0), content_len = sql_column(s, 3), meta_len = sql_column(s, 4);
    struct log_position at = { sql_column(s, 1), sql_column(s, 2) };
    bool placed = sql_column(s, 5) & FLAG_PLACED;
    r = sql_error(sqlite3_step(s));
    sql_done(ix, QUEUE_DROP);
    if (r < 0)
        return r;
    uint64_t length = record_end(&(struct record_header){ .content_len = content_len, .meta_len = (uint32_t)meta_len });
    /* what was expunged from a mailbox is kept for a time, what was only relayed is not */
    return index_bury(ix, log, at, length, placed ? now_us : 0);
}

static int drop_recipient(struct index *ix, uint64_t message, uint32_t index)
{
    int r = sql_change(ix, QUEUED_DROP, VALUES(I(message), I(index)));
    if (r > 0)
        r = sql_change(ix, ATTEMPT_DROP, VALUES(I(message), I(index)));
    return MIN(r, 0);
}

static int set_attempt(struct index *ix, const struct journal_attempted *t, const struct journal_attempt *x,
                       uint64_t lsn)
{
    uint64_t message = t->message, event = x->owed ? queue_event(lsn, x->part) : 0;
    if (x->outcome == QUEUE_WAITING)
        return x->owed ? sql_change(ix, QUEUED_OWE, VALUES(I(message), I(x->index), I(x->owed), I(event))) : 0;
    bool final = queue_is_final(x->outcome);
    if (final && !x->owed)
        return drop_recipient(ix, message, x->index);
    int r = sql_change(ix, QUEUED_SET, VALUES(I(message), I(x->index), I(x->outcome), I(x->attempts), I(x->due_us),
                                              I(x->code), B(x->status), B(x->text), B(t->mta), B(t->tls), I(t->at_us)));
    if (r > 0 && final)
        r = sql_change(ix, QUEUED_END, VALUES(I(message), I(x->index), I(x->owed), I(event)));
    else if (r > 0 && x->owed)
        r = sql_change(ix, QUEUED_OWE, VALUES(I(message), I(x->index), I(x->owed), I(event)));
    if (r <= 0 || final)
        return r;
    r = sql_change(ix, ATTEMPT_ADD, VALUES(I(message), I(x->index), I(x->attempts), I(t->at_us), I(x->outcome),
                                           I(x->code), B(x->status), B(x->text), B(t->mta), B(t->tls)));
    if (r >= 0 && x->attempts > INDEX_QUEUE_ATTEMPTS)
        r = sql_change(ix, ATTEMPT_OLD, VALUES(I(message), I(x->index), I(x->attempts - INDEX_QUEUE_ATTEMPTS)));
    return r;
}

int index_row_queue_attempted(struct index *ix, const struct journal_attempted *t, uint64_t lsn)
{
    struct fresh *m = fresh_find(ix, t->message);
    int r = 0;
    if (m && is_plain_end(t, m))
        return end_fresh(ix, m, t);
    if (m)
        r = materialize(ix, m);
    bool ends = false;
    for (size_t i = 0; i < t->n && r >= 0; i++) {
        r = set_attempt(ix, t, &t->list[i], lsn);
        ends = ends || queue_is_final(t->list[i].outcome);
    }
    return r >= 0 && ends ? drop_if_done(ix, t->message, t->at_us) : MIN(r, 0);
}

static int change_one(struct index *ix, const struct journal_queue_changed *c, int64_t index)
{
    switch ((enum queue_op)c->op) {
    case QUEUE_HOLD: return sql_change(ix, QUEUED_HOLD, VALUES(I(c->message), I(index)));
    case QUEUE_RELEASE: return sql_change(ix, QUEUED_RELEASE, VALUES(I(c->message), I(index), I(c->at_us)));
    case QUEUE_RETRY: return sql_change(ix, QUEUED_RETRY, VALUES(I(c->message), I(index), I(c->at_us)));
    case QUEUE_REDIRECT:
        return sql_change(ix, QUEUED_REDIRECT, VALUES(I(c->message), I(index), I(c->at_us), B(c->host)));
    case QUEUE_OPS: break;
    }
    return 0;
}

int index_row_queue_changed(struct index *ix, const struct journal_queue_changed *c)
{
    struct fresh *m = fresh_find(ix, c->message);
    int r = m ? materialize(ix, m) : 0;
    if (r == 0 && c->n == 0)
        r = change_one(ix, c, ALL);
    for (size_t i = 0; i < c->n && r >= 0; i++)
        r = change_one(ix, c, c->indexes[i]);
    return MIN(r, 0);
}

int index_row_destination_paused(struct index *ix, const struct journal_destination_paused *p)
{
    return MIN(sql_change(ix, p->paused ? PAUSED_ADD : PAUSED_DROP, VALUES(B(p->destination))), 0);
}

int index_row_dsn_made(struct index *ix, uint64_t message, uint64_t event)
{
    int r = sql_change(ix, OWED_CLEAR, VALUES(I(message), I(event)));
    if (r > 0)
        r = sql_change(ix, QUEUED_DROP_FINAL, VALUES(I(message)));
    if (r > 0)
        r = sql_change(ix, ATTEMPT_DROP_LOST, VALUES(I(message)));
    return r < 0 ? r : drop_if_done(ix, message, 0);
}

/* Reading */

int index_queue_due(struct index *ix, struct index_queue_due *inout, uint64_t until_us, uint32_t max,
                    int (*each)(void *arg, const struct index_queue_item *i), void *arg)
{
    int n = 0, r = sql_run(ix, QUEUED_DUE, VALUES(I(inout->due_us), I(inout->message), I(inout->index), I(until_us),
                                                  I(max)));
    while (r == 1) {
        sqlite3_stmt *s = ix->stmt[QUEUED_DUE];
        struct index_queue_item i = {
            .due_us = sql_column(s, 0), .message = sql_column(s, 1), .index = (uint32_t)sql_column(s, 2),
            .group = (uint32_t)sql_column(s, 3), .attempts = (uint32_t)sql_column(s, 4),
            .notify = (uint8_t)sql_column(s, 5), .delay_told = sql_column(s, 6) != 0, .address = sql_blob(s, 7),
            .redirect = sql_blob(s, 8), .received_us = sql_column(s, 9), .priority = (uint8_t)sql_column(s, 10),
            .sender = sql_blob(s, 11), .via = sql_blob(s, 12), .user = sql_blob(s, 13),
        };
        *inout = (struct index_queue_due){ .due_us = i.due_us, .message = i.message, .index = i.index };
        r = each(arg, &i);
        n++;
        if (r == 0) {
            int rc = sqlite3_step(s);
            r = rc == SQLITE_ROW ? 1 : sql_error(rc);
        }
    }
    sql_done(ix, QUEUED_DUE);
    return r < 0 ? r : n;
}

static int load_message(struct index *ix, struct arena *a, uint64_t lsn, struct index_queue_message *out,
                        uint64_t *out_log)
{
    int r = sql_run(ix, QUEUE_GET, VALUES(I(lsn)));
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[QUEUE_GET];
    str session = sql_blob(s, 6);
    uint64_t flags = sql_column(s, 13);
    *out_log = sql_column(s, 0);
    *out = (struct index_queue_message){
        .lsn = lsn, .position = { sql_column(s, 1), sql_column(s, 2) }, .content_len = sql_column(s, 3),
        .meta_len = (uint32_t)sql_column(s, 4), .received_us = sql_column(s, 5), .number = (uint32_t)sql_column(s, 7),
        .sender = arena_dup(a, sql_blob(s, 8)), .envid = arena_dup(a, sql_blob(s, 9)),
        .ret = (uint8_t)sql_column(s, 10), .body = (uint8_t)sql_column(s, 11), .priority = (uint8_t)sql_column(s, 12),
        .smtputf8 = flags & FLAG_SMTPUTF8, .requiretls = flags & FLAG_REQUIRETLS,
        .last_resort = flags & FLAG_LAST_RESORT, .placed = flags & FLAG_PLACED,
    };
    if (session.n == sizeof(out->session))
        memcpy(out->session, session.p, session.n);
    sql_done(ix, QUEUE_GET);
    return session.n != sizeof(out->session) ? -EBADMSG : out->sender.p && out->envid.p ? 1 : -ENOMEM;
}

static void load_recipient(struct arena *a, sqlite3_stmt *s, uint64_t lsn, struct index_queue_recipient *q)
{
    *q = (struct index_queue_recipient){
        .message = lsn, .index = (uint32_t)sql_column(s, 0), .group = (uint32_t)sql_column(s, 1),
        .state = (uint8_t)sql_column(s, 2), .outcome = (uint8_t)sql_column(s, 3), .notify = (uint8_t)sql_column(s, 4),
        .owed = (uint8_t)sql_column(s, 5), .event = sql_column(s, 6), .address = arena_dup(a, sql_blob(s, 7)),
        .original = arena_dup(a, sql_blob(s, 8)), .orcpt = arena_dup(a, sql_blob(s, 9)),
        .sender = arena_dup(a, sql_blob(s, 10)), .alias = arena_dup(a, sql_blob(s, 11)), .due_us = sql_column(s, 12),
        .attempts = (uint32_t)sql_column(s, 13), .code = (uint16_t)sql_column(s, 14),
        .status = arena_dup(a, sql_blob(s, 15)), .text = arena_dup(a, sql_blob(s, 16)),
        .mta = arena_dup(a, sql_blob(s, 17)), .tls = arena_dup(a, sql_blob(s, 18)), .at_us = sql_column(s, 19),
        .redirect = arena_dup(a, sql_blob(s, 20)), .delay_told = sql_column(s, 21) != 0,
        .via = arena_dup(a, sql_blob(s, 22)), .user = arena_dup(a, sql_blob(s, 23)),
    };
}

int index_queue_load(struct index *ix, struct arena *a, uint64_t lsn, struct index_queue_message *out,
                     struct index_queue_recipient **out_list, size_t *out_n)
{
    uint64_t log;
    int r = load_message(ix, a, lsn, out, &log);
    if (r == 1)
        r = index_log_name(ix, log, &out->log) < 0 ? -EBADMSG : sql_run(ix, QUEUED_COUNT, VALUES(I(lsn)));
    if (r != 1)
        return r;
    size_t max = sql_column(ix->stmt[QUEUED_COUNT], 0), n = 0;
    sql_done(ix, QUEUED_COUNT);
    out->log = arena_dup(a, out->log);
    struct index_queue_recipient *list = ARENA_ARRAY(a, struct index_queue_recipient, max);
    if (!list || !out->log.p)
        return -ENOMEM;
    r = sql_run(ix, QUEUED_GET, VALUES(I(lsn)));
    while (r == 1 && n < max) {
        load_recipient(a, ix->stmt[QUEUED_GET], lsn, &list[n]);
        if (!list[n].redirect.p || !list[n].address.p || !list[n].text.p || !list[n].via.p || !list[n].user.p)
            r = -ENOMEM;
        n++;
        if (r == 1) {
            int rc = sqlite3_step(ix->stmt[QUEUED_GET]);
            r = rc == SQLITE_ROW ? 1 : sql_error(rc);
        }
    }
    sql_done(ix, QUEUED_GET);
    *out_list = list;
    *out_n = n;
    return r < 0 ? r : 1;
}

int index_queue_next(struct index *ix, uint64_t lsn, uint64_t *out_lsn)
{
    int r = sql_run(ix, QUEUE_NEXT, VALUES(I(lsn)));
    if (r != 1)
        return r;
    *out_lsn = sql_column(ix->stmt[QUEUE_NEXT], 0);
    sql_done(ix, QUEUE_NEXT);
    return 1;
}

int index_queue_has(struct index *ix, uint64_t message)
{
    return fresh_find(ix, message) ? 1 : sql_exists(ix, QUEUE_HAS, sql_run(ix, QUEUE_HAS, VALUES(I(message))));
}

int index_queue_attempts(struct index *ix, uint64_t message,
                         int (*each)(void *arg, const struct index_queue_attempt *t), void *arg)
{
    int r = sql_run(ix, ATTEMPT_WALK, VALUES(I(message)));
    while (r == 1) {
        sqlite3_stmt *s = ix->stmt[ATTEMPT_WALK];
        struct index_queue_attempt t = {
            .index = (uint32_t)sql_column(s, 0), .attempts = (uint32_t)sql_column(s, 1), .at_us = sql_column(s, 2),
            .outcome = (uint8_t)sql_column(s, 3), .code = (uint16_t)sql_column(s, 4), .status = sql_blob(s, 5),
            .text = sql_blob(s, 6), .mta = sql_blob(s, 7), .tls = sql_blob(s, 8),
        };
        r = each(arg, &t);
        if (r == 0) {
            int rc = sqlite3_step(s);
            r = rc == SQLITE_ROW ? 1 : sql_error(rc);
        }
    }
    sql_done(ix, ATTEMPT_WALK);
    return r;
}

int index_queue_owed(struct index *ix, uint64_t *inout_event, uint64_t *out_message, uint8_t *out_owed)
{
    int r = sql_run(ix, OWED_NEXT, VALUES(I(*inout_event)));
    if (r != 1)
        return r;
    *inout_event = sql_column(ix->stmt[OWED_NEXT], 0);
    *out_message = sql_column(ix->stmt[OWED_NEXT], 1);
    *out_owed = (uint8_t)sql_column(ix->stmt[OWED_NEXT], 2);
    sql_done(ix, OWED_NEXT);
    return 1;
}

int index_queue_paused(struct index *ix, int (*each)(void *arg, str destination), void *arg)
{
    int r = sql_run(ix, PAUSED_WALK, NULL, 0);
    while (r == 1) {
        r = each(arg, sql_blob(ix->stmt[PAUSED_WALK], 0));
        if (r == 0) {
            int rc = sqlite3_step(ix->stmt[PAUSED_WALK]);
            r = rc == SQLITE_ROW ? 1 : sql_error(rc);
        }
    }
    sql_done(ix, PAUSED_WALK);
    return r;
}
