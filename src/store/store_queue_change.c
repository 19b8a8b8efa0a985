/* What an administrator changes in the queue: see queue_query.h. Everything is journalled and durable before it is
 * answered. */
#include <errno.h>
#include <stdlib.h>
#include "store/store_queue_query.h"

enum change { CHANGE_RETRY, CHANGE_HOLD, CHANGE_RELEASE, CHANGE_REDIRECT, CHANGE_BOUNCE, CHANGE_DROP, CHANGES };
static const char *const words[CHANGES] = { "retry", "hold", "release", "redirect", "bounce", "drop" };
static const char *const event_names[CHANGES] = { "retried", "held", "released", "redirected", "failed", "dropped" };
static const uint8_t ops[CHANGES] = { QUEUE_RETRY, QUEUE_HOLD, QUEUE_RELEASE, QUEUE_REDIRECT };

#define CHANGED_MAX 100000
#define INDEXES_A_RECORD 1000

struct item_key { uint64_t message; uint64_t index; };

struct changing {
    struct store *s;
    const struct queue_query *q;
    enum change what;
    uint64_t now_us, changed, skipped;
    struct map touched;           /* struct item_key -> itself */
    uint64_t message;             /* whose indexes are gathered */
    uint32_t indexes[INDEXES_A_RECORD];
    struct journal_attempt ends[QUEUE_TOLD_MAX]; /* of bounce and drop, n of them */
    struct queue_parts parts;
    size_t n;
    int error;
};

static str key_of(const struct item_key *k) { return str_of(k, sizeof(*k)); }

static struct queue_item *item_in_job(struct queue *q, uint64_t message, uint32_t index)
{
    struct queue_open *o;
    for (size_t at = 0; (o = map_next(&q->jobs, &at, NULL));)
        for (uint32_t i = 0; o->message == message && i < o->n; i++)
            if (o->items[i].index == index)
                return &o->items[i];
    return NULL;
}

static int make_room(struct changing *c)
{
    return store_batch_full(c->s) ? store_make_way(c->s) : 0;
}

/* Stages what was gathered of one message. */
static int stage_gathered(struct changing *c)
{
    int r = c->n ? make_room(c) : 0;
    if (r < 0 || !c->n)
        return r;
    struct journal_record record = { .kind = JOURNAL_queue_changed, .queue_changed = {
        .op = ops[c->what], .message = c->message, .at_us = c->now_us, .by = c->q->by, .host = c->q->to,
        .indexes = c->indexes, .n = c->n } };
    c->n = 0;
    return store_stage(c->s, &record);
}

static int gather(struct changing *c, const struct index_queue_recipient *r)
{
    int k = c->n && (c->message != r->message || c->n == INDEXES_A_RECORD) ? stage_gathered(c) : 0;
    c->message = r->message;
    c->indexes[c->n++] = r->index;
    return k;
}

/* Stages the ends of recipients of one message: one record, so one notice. */
static int stage_ends(struct changing *c)
{
    int r = c->n ? make_room(c) : 0;
    if (r < 0 || !c->n)
        return r;
    struct journal_record record = { .kind = JOURNAL_attempted, .attempted = {
        .message = c->message, .at_us = c->now_us, .list = c->ends, .n = c->n } };
    r = store_stage(c->s, &record);
    for (size_t i = 0; i < c->n && r == 0; i++)
        if (c->ends[i].owed)
            r = queue_owe(c->s, queue_event(record.lsn, c->ends[i].part), c->message, c->ends[i].owed);
    struct queue_message *kept = queue_message_find(c->s->queue, c->message);
    if (r == 0 && kept) {
        kept->left -= MIN(kept->left, (uint32_t)c->n);
        if (kept->left == 0 && kept->jobs == 0)
            queue_message_drop(c->s->queue, kept);
    }
    c->n = 0;
    c->parts = (struct queue_parts){ 0 };
    return r;
}

/* Ends a recipient: the sender is told (bounce) or is not (drop). */
static int end_recipient(struct changing *c, const struct queue_seen *x)
{
    const struct index_queue_message *m = x->m;
    bool bounce = c->what == CHANGE_BOUNCE;
    int r = c->n && (c->message != m->lsn || c->n == QUEUE_TOLD_MAX) ? stage_ends(c) : 0;
    struct journal_attempt *t = &c->ends[c->n++];
    c->message = m->lsn;
    *t = (struct journal_attempt){
        .index = x->r->index, .outcome = bounce ? QUEUE_FAILED : QUEUE_DROPPED, .attempts = x->r->attempts,
        .status = S("5.7.1"), .text = c->q->text.n ? str_first(c->q->text, QUEUE_TEXT_MAX)
                                                   : S("returned by the administrator of this host"),
    };
    if (bounce)
        t->owed = queue_owes(QUEUE_FAILED, x->r->notify, m->sender.n == 0, m->last_resort);
    if (t->owed)
        t->part = queue_part(&c->parts, t->owed - 1, queue_dsn_bytes(x->r, t->text));
    return r;
}

static int touch(struct changing *c, const struct index_queue_recipient *r)
{
    struct item_key *k = malloc(sizeof(*k));
    if (!k)
        return -ENOMEM;
    *k = (struct item_key){ .message = r->message, .index = r->index };
    void *old = NULL;
    int e = map_set(&c->touched, key_of(k), k, &old);
    free(e < 0 ? k : old);
    return e == -ENOSPC ? 1 : e;
}

static void tell(const struct changing *c, const struct queue_seen *x)
{
    struct queue_event e = {
        .name = event_names[c->what], .session = x->m->session, .number = x->m->number, .message = x->m->lsn,
        .sender = x->m->sender, .recipient = x->r->address, .alias = x->r->alias, .via = x->r->via, .by = c->q->by,
        .destination = x->destination, .text = c->what == CHANGE_REDIRECT ? c->q->to : STR_NONE,
    };
    const struct queue *q = c->s->queue;
    if (q->hooks.event)
        q->hooks.event(q->hooks.arg, &e);
}

/* Does this change concern a recipient in that state? 1 yes, 0 no, -1 it would, but is being sent. */
static int concerns(const struct changing *c, const struct queue_seen *x, struct queue_item *sending)
{
    const struct queue *q = c->s->queue;
    const struct queue_message *m = queue_message_find(q, x->m->lsn);
    if (x->r->state == QUEUE_STATE_FINAL)
        return 0;
    switch (c->what) {
    case CHANGE_HOLD: return x->r->state == QUEUE_STATE_DUE;
    case CHANGE_RELEASE: return x->r->state == QUEUE_STATE_HELD;
    case CHANGE_RETRY: return sending ? -1 : x->r->state == QUEUE_STATE_DUE;
    case CHANGE_REDIRECT: return x->r->via.n || (m && m->jobs) ? -1 : 1; /* a mechanism has no other host */
    default: return sending ? -1 : 1;
    }
}

static int change_one(void *arg, const struct queue_seen *x)
{
    struct changing *c = arg;
    struct queue_item *sending = item_in_job(c->s->queue, x->m->lsn, x->r->index);
    int does = concerns(c, x, sending);
    if (does <= 0) {
        c->skipped += does < 0;
        return 0;
    }
    int r = touch(c, x->r);
    if (r != 0)
        return r;
    if (sending)
        sending->held = c->what == CHANGE_HOLD;
    c->changed++;
    tell(c, x);
    return c->what >= CHANGE_BOUNCE ? end_recipient(c, x) : gather(c, x->r);
}

static enum schedule_choice choose(void *arg, uint32_t destination, uint64_t message, uint32_t index)
{
    const struct changing *c = arg;
    const struct item_key k = { .message = message, .index = index };
    (void)destination;
    if (!map_get(&c->touched, key_of(&k)))
        return SCHEDULE_KEEP;
    return c->what == CHANGE_RETRY ? SCHEDULE_NOW : SCHEDULE_TAKE;
}

static enum schedule_choice choose_take(void *arg, uint32_t destination, uint64_t message, uint32_t index)
{
    return choose(arg, destination, message, index) == SCHEDULE_KEEP ? SCHEDULE_KEEP : SCHEDULE_TAKE;
}

/* What was taken out goes back as its rows say now. */
static int add_back(struct changing *c)
{
    struct store *s = c->s;
    struct arena a = ARENA(1 << 26);
    const struct item_key *k;
    uint64_t loaded = 0;
    struct index_queue_message m;
    struct index_queue_recipient *list = NULL;
    size_t n = 0;
    int r = 0;
    for (size_t at = 0; r >= 0 && (k = map_next(&c->touched, &at, NULL));) {
        if (loaded != k->message) {
            arena_clear(&a);
            n = 0;
            r = index_queue_load(s->index, &a, k->message, &m, &list, &n);
            loaded = k->message;
        }
        for (size_t i = 0; i < n && r >= 0; i++) {
            const struct index_queue_recipient *x = &list[i];
            if (x->index != k->index || x->state != QUEUE_STATE_DUE || item_in_job(s->queue, x->message, x->index))
                continue;
            const struct index_queue_item item = {
                .message = x->message, .received_us = m.received_us, .index = x->index, .group = x->group,
                .attempts = x->attempts, .priority = m.priority, .notify = x->notify, .sender = m.sender,
                .address = x->address, .redirect = x->redirect, .via = x->via, .user = x->user,
                .delay_told = x->delay_told };
            r = queue_schedule(s, &item);
        }
    }
    arena_done(&a);
    return MIN(r, 0);
}

/* Messages in memory know the old host. */
static void forget_messages(struct changing *c)
{
    const struct item_key *k;
    for (size_t at = 0; (k = map_next(&c->touched, &at, NULL));) {
        struct queue_message *m = queue_message_find(c->s->queue, k->message);
        if (m && m->jobs == 0)
            queue_message_drop(c->s->queue, m);
    }
}

/* It is durable and in the index: memory follows. */
static int follow(struct changing *c)
{
    struct queue *q = c->s->queue;
    uint64_t now = queue_now_ms(c->s);
    bool back = c->what == CHANGE_RETRY || c->what == CHANGE_RELEASE || c->what == CHANGE_REDIRECT;
    if (!q->schedule)
        return 0;
    schedule_walk(q->schedule, now, c->what == CHANGE_RETRY ? choose_take : choose, c);
    if (c->what == CHANGE_REDIRECT)
        forget_messages(c);
    int r = back ? add_back(c) : 0;
    if (r == 0 && c->what == CHANGE_RETRY)
        schedule_walk(q->schedule, now, choose, c); /* a dead destination is probed at once */
    return r;
}

static void free_touched(struct changing *c)
{
    void *v;
    for (size_t at = 0; (v = map_next(&c->touched, &at, NULL));)
        free(v);
    map_done(&c->touched);
}

int queue_change(struct store *s, const struct queue_query *q, uint64_t *out_changed, uint64_t *out_skipped,
                 uint64_t *out_more)
{
    struct changing c = { .s = s, .q = q, .what = CHANGES, .now_us = queue_us(queue_now_ms(s)) };
    for (int i = 0; i < CHANGES; i++)
        if (str_eq(q->what, str_z(words[i])))
            c.what = (enum change)i;
    map_init(&c.touched, CHANGED_MAX, s->boxes.key);
    int r = queue_load_all(s);
    if (r == 0)
        r = queue_query_walk(s, q, change_one, &c, out_more);
    if (r == 0)
        r = c.what >= CHANGE_BOUNCE ? stage_ends(&c) : stage_gathered(&c);
    if (r == 0)
        r = store_flush(s);
    if (r == 0)
        r = follow(&c);
    free_touched(&c);
    *out_changed = c.changed;
    *out_skipped = c.skipped;
    return r;
}

int queue_pause(struct store *s, str destination, bool pause, str by)
{
    struct queue *q = s->queue;
    struct journal_record record = { .kind = JOURNAL_destination_paused, .destination_paused = {
        .paused = pause, .destination = destination, .by = by, .at_us = queue_us(queue_now_ms(s)) } };
    struct schedule_state x;
    int r = store_stage(s, &record);
    if (r == 0)
        r = store_flush(s);
    if (r < 0)
        return r;
    if (pause)
        r = map_set(&q->paused, destination, q, NULL);
    else
        map_take(&q->paused, destination);
    if (r == 0 && q->schedule && schedule_find(q->schedule, destination, &x))
        schedule_pause(q->schedule, x.id, pause);
    return r == -ENOSPC ? 0 : r;
}
