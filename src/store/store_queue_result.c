/* Results of jobs: what is journalled, and what follows once it is durable. See store_queue.h. */
#include <errno.h>
#include <stdlib.h>
#include "store/store_queue_internal.h"

static const char *const event_names[QUEUE_OUTCOMES] = {
    [QUEUE_RELAYED] = "sent", [QUEUE_RELAYED_NO_DSN] = "sent", [QUEUE_DEFERRED] = "deferred", [QUEUE_FAILED] = "failed",
    [QUEUE_EXPIRED] = "expired", [QUEUE_DROPPED] = "dropped", [QUEUE_DELIVERED] = "delivered",
    [QUEUE_EXPANDED] = "expanded", [QUEUE_WAITING] = "queued",
};

/* RFC 3461 4.1, 5.2: without NOTIFY a sender hears of failures and delays. */
uint8_t queue_owes(uint8_t outcome, uint8_t notify, bool bounce, bool last_resort)
{
    bool success = notify & QUEUE_NOTIFY_SUCCESS;
    switch ((enum queue_outcome)outcome) {
    case QUEUE_FAILED: case QUEUE_EXPIRED:
        if (bounce) /* the postmaster hears of it, once */
            return last_resort ? 0 : QUEUE_DSN_FAILED + 1;
        return !notify || notify & QUEUE_NOTIFY_FAILURE ? QUEUE_DSN_FAILED + 1 : 0;
    case QUEUE_DEFERRED: return !bounce && (!notify || notify & QUEUE_NOTIFY_DELAY) ? QUEUE_DSN_DELAYED + 1 : 0;
    case QUEUE_RELAYED_NO_DSN: return !bounce && success ? QUEUE_DSN_RELAYED + 1 : 0;
    case QUEUE_DELIVERED: return !bounce && success ? QUEUE_DSN_DELIVERED + 1 : 0;
    case QUEUE_EXPANDED: return !bounce && success ? QUEUE_DSN_EXPANDED + 1 : 0;
    default: return 0;
    }
}

uint8_t queue_part(struct queue_parts *p, uint8_t kind, size_t bytes)
{
    if ((p->size[kind] == 0 || p->size[kind] + bytes > QUEUE_DSN_BYTES) && p->next < UINT8_MAX) {
        p->part[kind] = p->next++;
        p->size[kind] = 0;
    }
    p->size[kind] += bytes;
    return p->part[kind];
}

size_t queue_dsn_bytes(const struct index_queue_recipient *r, str text)
{
    return 100 + r->address.n + r->original.n + r->orcpt.n + text.n + 300; /* 300: of the other host's name */
}

/* A result told, and what is made of it. */
struct judged {
    struct store *s;
    struct queue_open *o;
    const struct queue_report *report;
    struct journal_attempt *list;
    struct queue_parts parts;
    uint64_t now;
    size_t n;
    struct queue_destination *memory;
    struct schedule_state destination;
    bool has_destination;
};

static struct queue_item *item_of(struct queue_open *o, uint32_t index)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->items[i].index == index)
            return &o->items[i];
    return NULL;
}

static void tell_attempt(struct judged *j, const struct journal_attempt *x, const struct index_queue_recipient *r)
{
    const struct queue_report *report = j->report;
    struct queue_event e = {
        .name = event_names[x->outcome], .destination = j->has_destination ? j->destination.key : STR_NONE,
        .mta = report->mta, .tls = report->tls, .status = x->status, .text = x->text, .code = x->code,
        .attempt = x->attempts, .due_us = x->due_us, .has_times = true, .reused = report->reused,
        .connect_ms = report->connect_ms, .tls_ms = report->tls_ms, .transfer_ms = report->transfer_ms,
    };
    queue_tell(j->s, j->o->detail, r, &e);
}

static void owe(struct judged *j, struct journal_attempt *x, const struct index_queue_recipient *r, uint8_t outcome)
{
    const struct index_queue_message *m = &j->o->detail->m;
    x->owed = queue_owes(outcome, r->notify, m->sender.n == 0, m->last_resort);
    if (x->owed)
        x->part = queue_part(&j->parts, x->owed - 1, queue_dsn_bytes(r, x->text));
}

static void defer(struct judged *j, struct queue_item *i, struct journal_attempt *x,
                  const struct index_queue_recipient *r)
{
    const struct queue *q = j->s->queue;
    uint64_t age = j->now > j->o->born ? j->now - j->o->born : 0;
    if (schedule_expired(&q->times, age, x->attempts, j->o->bounce)) {
        x->outcome = QUEUE_EXPIRED;
        owe(j, x, r, QUEUE_EXPIRED);
        return;
    }
    i->again = true;
    /* recipients of one job keep together: by message, not by recipient */
    i->due = j->now + schedule_retry(&q->times, x->attempts, j->o->message);
    x->due_us = queue_us(i->due);
    if (q->times.delay_warning && age >= q->times.delay_warning && !i->warned) {
        i->warned = true;
        owe(j, x, r, QUEUE_DEFERRED);
    }
}

static void count(struct judged *j, uint8_t outcome)
{
    struct store_queue_stats *stats = &j->s->queue->stats;
    bool sent = outcome == QUEUE_RELAYED || outcome == QUEUE_RELAYED_NO_DSN || outcome == QUEUE_DELIVERED;
    stats->sent += sent;
    stats->deferred += outcome == QUEUE_DEFERRED;
    stats->failed += outcome == QUEUE_FAILED;
    stats->expired += outcome == QUEUE_EXPIRED;
    if (!j->memory)
        return;
    j->memory->sent += sent;
    j->memory->deferred += outcome == QUEUE_DEFERRED;
    j->memory->failed += outcome == QUEUE_FAILED || outcome == QUEUE_EXPIRED;
}

static void judge(struct judged *j, struct queue_item *i, const struct queue_result *told)
{
    const struct index_queue_recipient *r = queue_message_recipient(j->o->detail, i->index);
    struct journal_attempt *x = &j->list[j->n];
    if (!r || i->decided)
        return;
    i->decided = true;
    j->n++;
    bool placed = told->outcome <= QUEUE_RELAYED_NO_DSN && j->o->worker == QUEUE_DELIVERS;
    uint8_t outcome = placed ? QUEUE_DELIVERED : told->outcome;
    *x = (struct journal_attempt){ .index = i->index, .outcome = outcome, .code = told->code,
                                   .attempts = i->attempts + 1, .status = str_first(told->status, QUEUE_STATUS_MAX),
                                   .text = str_first(told->text, QUEUE_TEXT_MAX) };
    i->attempts++;
    if (outcome == QUEUE_DEFERRED)
        defer(j, i, x, r);
    else
        owe(j, x, r, outcome);
    count(j, x->outcome);
    tell_attempt(j, x, r);
}

static void remember_reply(struct queue_destination *d, str text, uint64_t now_us)
{
    struct queue_reply *oldest = &d->replies[0];
    text = str_first(text, sizeof(d->replies[0].bytes));
    for (size_t i = 0; i < QUEUE_REPLIES; i++) {
        struct queue_reply *r = &d->replies[i];
        if (r->count && str_eq(r->text, text)) {
            r->count++;
            r->at_us = now_us;
            return;
        }
        if (r->at_us < oldest->at_us)
            oldest = r;
    }
    if (text.n)
        memcpy(oldest->bytes, text.p, text.n);
    oldest->text = str_of(oldest->bytes, text.n);
    oldest->count = 1;
    oldest->at_us = now_us;
}

static void put_text(char *to, size_t size, str text)
{
    text = str_first(text, size - 1);
    if (text.n)
        memcpy(to, text.p, text.n);
    to[text.n] = '\0';
}

static void remember(struct judged *j)
{
    const struct queue_report *report = j->report;
    struct queue_destination *d = j->memory;
    if (!d)
        return;
    uint64_t now_us = queue_us(j->now);
    d->last_us = now_us;
    d->site_failures += report->site_failed;
    put_text(d->last_mta, sizeof(d->last_mta), report->mta);
    if (report->n && report->site_failed)
        put_text(d->last_error, sizeof(d->last_error), report->list[0].text);
    if (report->reused) {
        d->reused++;
    } else if (!report->site_failed) {
        d->connections++;
        d->connect_ms += report->connect_ms;
        d->tls_ms += report->tls.n ? report->tls_ms : 0;
        d->tls_n += report->tls.n > 0;
    }
    if (!report->site_failed) {
        d->transfer_ms += report->transfer_ms;
        d->transfer_n++;
    }
    for (size_t i = 0; i < report->n; i++)
        if (i == 0 || !str_eq(report->list[i].text, report->list[i - 1].text))
            remember_reply(d, report->list[i].text, now_us);
}

static bool find_destination(struct store *s, uint32_t id, struct schedule_state *out)
{
    uint32_t at = id;
    return schedule_destinations(s->queue->schedule, &at, out) && out->id == id;
}

static int stage_report(struct judged *j)
{
    const struct queue_report *report = j->report;
    struct queue_open *o = j->o;
    static const struct queue_result none = { .outcome = QUEUE_DEFERRED, .status = { "4.3.0", 5 },
                                              .text = { "the result is missing", 21 } };
    for (size_t i = 0; i < report->n; i++) {
        struct queue_item *item = item_of(o, report->list[i].index);
        if (item && report->list[i].outcome <= QUEUE_FAILED)
            judge(j, item, &report->list[i]);
    }
    for (uint32_t i = 0; i < o->n; i++)
        judge(j, &o->items[i], &none);
    struct journal_record record = { .kind = JOURNAL_attempted, .attempted = {
        .message = o->message, .at_us = queue_us(j->now), .mta = report->mta, .tls = report->tls, .list = j->list,
        .n = j->n } };
    int r = store_stage(j->s, &record);
    for (size_t i = 0; i < j->n && r == 0; i++)
        if (j->list[i].owed)
            r = queue_owe(j->s, queue_event(record.lsn, j->list[i].part), o->message, j->list[i].owed);
    o->ticket = record.lsn;
    return r;
}

int store_queue_result(struct store *s, const struct queue_report *report)
{
    struct queue *q = s->queue;
    struct queue_open *o = map_get(&q->jobs, str_of(&report->job, sizeof(report->job)));
    if (s->failed || !q->started)
        return s->failed;
    if (!o || o->ticket || !o->attached || o->worker != report->from) {
        if (!o)
            q->hooks.done(q->hooks.arg, report->from, report->job); /* its message is gone, or it was told before */
        return 0;
    }
    int r = store_batch_full(s) ? store_make_way(s) : 0;
    if (r < 0)
        return r;
    arena_clear(&q->scratch);
    struct judged j = { .s = s, .o = o, .report = report, .now = queue_now_ms(s) };
    j.list = ARENA_ARRAY(&q->scratch, struct journal_attempt, o->n);
    j.has_destination = find_destination(s, o->destination, &j.destination);
    j.memory = j.has_destination ? queue_memory_of(q, j.destination.key) : NULL;
    if (!j.list)
        return -ENOMEM;
    remember(&j);
    r = stage_report(&j);
    arena_clear(&q->scratch);
    o->verdict = report->site_failed ? SCHEDULE_SITE_FAILED : SCHEDULE_GOOD;
    *q->done_end = o;
    q->done_end = &o->next_done;
    return r;
}

bool store_queue_hurry(const struct store *s)
{
    return s->queue->done != NULL;
}

/* What waited in line at a dead destination, or so long that its sender is told. */
static bool describe_told(struct store *s, enum schedule_told what, const struct schedule_item *item,
                          struct queue_message *m, const struct queue_destination *d, struct journal_attempt *x)
{
    bool expired = what == SCHEDULE_EXPIRED;
    const struct index_queue_recipient *to = queue_message_recipient(m, item->index);
    if (!to)
        return false;
    *x = (struct journal_attempt){
        .index = item->index, .outcome = expired ? QUEUE_EXPIRED : QUEUE_WAITING, .attempts = item->attempts,
        .status = S("4.4.1"),
        .text = d && d->last_error[0] ? str_z(d->last_error) : S("the host could not be reached"),
        .owed = queue_owes(expired ? QUEUE_EXPIRED : QUEUE_DEFERRED, to->notify, m->m.sender.n == 0,
                           m->m.last_resort) };
    s->queue->stats.expired += expired;
    return expired || x->owed;
}

/* The record is staged: the events follow, and what is over is. */
static void told_expired(struct store *s, const struct journal_attempted *t, struct queue_message *m, str key)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct journal_attempt *x = &t->list[i];
        struct queue_event e = { .name = "expired", .destination = key, .mta = t->mta, .status = x->status,
                                 .text = x->text, .attempt = x->attempts };
        queue_tell(s, m, queue_message_recipient(m, x->index), &e);
        m->left -= m->left > 0;
    }
    if (m->left == 0 && m->jobs == 0)
        queue_message_drop(s->queue, m);
}

int queue_stage_told(struct store *s, enum schedule_told what, const struct schedule_item *items, size_t n, str key)
{
    struct queue *q = s->queue;
    struct queue_message *m;
    struct queue_parts parts = { 0 };
    struct journal_attempt list[QUEUE_TOLD_MAX];
    const struct queue_destination *d = map_get(&q->destinations, key);
    int r = store_batch_full(s) ? store_make_way(s) : 0;
    if (r == 0)
        r = queue_message_get(s, items[0].message, &m);
    if (r != 1)
        return MIN(r, 0);
    struct journal_record record = { .kind = JOURNAL_attempted, .attempted = {
        .message = items[0].message, .at_us = queue_us(queue_now_ms(s)), .mta = d ? str_z(d->last_mta) : STR_NONE,
        .list = list } };
    for (size_t i = 0; i < n && record.attempted.n < QUEUE_TOLD_MAX; i++) {
        struct journal_attempt *x = &list[record.attempted.n];
        if (!describe_told(s, what, &items[i], m, d, x))
            continue;
        record.attempted.n++;
        if (x->owed)
            x->part = queue_part(&parts, x->owed - 1, queue_dsn_bytes(queue_message_recipient(m, x->index), x->text));
    }
    r = record.attempted.n ? store_stage(s, &record) : 0;
    for (size_t i = 0; i < record.attempted.n && r == 0; i++)
        if (list[i].owed)
            r = queue_owe(s, queue_event(record.lsn, list[i].part), items[0].message, list[i].owed);
    if (r == 0 && what == SCHEDULE_EXPIRED)
        told_expired(s, &record.attempted, m, key);
    return r;
}

void queue_again(struct store *s, struct queue_open *o, const struct queue_item *i, uint64_t due)
{
    struct queue *q = s->queue;
    struct index_queue_recipient *r = o->detail ? queue_message_recipient(o->detail, i->index) : NULL;
    struct index_queue_item item = {
        .message = o->message, .due_us = queue_us(due), .received_us = queue_us(o->born), .index = i->index,
        .group = o->group, .attempts = i->attempts, .priority = o->priority, .delay_told = i->warned,
    };
    if (!r || i->held)
        return;
    item.notify = r->notify;
    item.sender = o->detail->m.sender;
    item.address = r->address;
    item.redirect = r->redirect;
    item.via = r->via;
    item.user = r->user;
    if (queue_schedule(s, &item) < 0)
        q->overflow = true; /* found in the index later */
}

/* The job is nobody's any more. */
static void forget(struct store *s, struct queue_open *o, enum schedule_verdict verdict)
{
    struct queue *q = s->queue;
    schedule_done(q->schedule, o->destination, verdict, queue_now_ms(s));
    map_take(&q->jobs, str_of(&o->id, sizeof(o->id)));
    if (o->detail && --o->detail->jobs == 0 && o->detail->left == 0)
        queue_message_drop(q, o->detail);
    free(o);
}

void queue_release(struct store *s, struct queue_open *o, enum schedule_verdict verdict, uint64_t due)
{
    bool come = o->reread && s->queue->loading; /* by themselves; if their rows were passed, all is read anew */
    s->queue->overflow = s->queue->overflow || come;
    for (uint32_t i = 0; i < o->n && !come; i++)
        queue_again(s, o, &o->items[i], due);
    forget(s, o, verdict);
}

/* Its result is durable. */
static void end_job(struct store *s, struct queue_open *o)
{
    struct queue *q = s->queue;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct queue_item *x = &o->items[i];
        if (x->again && queue_in_memory(q, queue_us(x->due), o->message, x->index))
            queue_again(s, o, x, x->due);
        else if (!x->again && o->detail)
            o->detail->left -= o->detail->left > 0;
    }
    if (o->attached)
        q->hooks.done(q->hooks.arg, o->worker, o->id);
    else
        map_set(&q->ended, str_of(&o->id, sizeof(o->id)), &q->attached[o->worker], NULL);
    forget(s, o, o->verdict);
}

static void as_recipient(const struct journal_queued *from, uint64_t lsn, uint32_t index,
                         struct index_queue_recipient *to)
{
    *to = (struct index_queue_recipient){
        .message = lsn, .index = index, .group = from->group, .outcome = from->outcome, .notify = from->notify,
        .state = queue_is_final(from->outcome) ? QUEUE_STATE_FINAL : QUEUE_STATE_DUE, .owed = from->owed,
        .address = from->address, .original = from->original, .orcpt = from->orcpt, .sender = from->sender,
        .alias = from->alias, .status = from->status, .text = from->text, .via = from->via, .user = from->user,
    };
}

static int schedule_new_one(struct store *s, const struct queue_message *m, const struct index_queue_recipient *r)
{
    struct queue *q = s->queue;
    struct queue_event e = { .name = "queued" };
    struct index_queue_item item = {
        .message = m->m.lsn, .received_us = m->m.received_us, .index = r->index, .group = r->group,
        .priority = m->m.priority, .notify = r->notify, .sender = m->m.sender, .address = r->address,
        .via = r->via, .user = r->user,
    };
    q->stats.queued++;
    queue_tell(s, m, r, &e);
    return queue_in_memory(q, 0, item.message, item.index) ? queue_schedule(s, &item) : 0;
}

static void tell_final(struct store *s, const struct queue_message *m, const struct journal_queued *from,
                       const struct index_queue_recipient *r)
{
    struct queue_event e = { .name = event_names[from->outcome], .status = from->status, .text = from->text };
    if (from->outcome == QUEUE_FAILED)
        queue_tell(s, m, r, &e);
}

/* A message was queued: into the schedule with it. */
static int take_in(struct store *s, const struct queued_note *note)
{
    struct queue *q = s->queue;
    const struct journal_delivered *d = note->delivered;
    const struct journal_queue *from = &d->queue;
    struct index_queue_message m = {
        .lsn = note->lsn, .log = d->log, .position = { d->segment, d->offset }, .content_len = d->content_len,
        .meta_len = d->meta_len, .received_us = d->received_us, .number = d->number, .sender = from->sender,
        .envid = from->envid, .ret = from->ret, .body = from->body, .priority = from->priority,
        .smtputf8 = from->smtputf8, .requiretls = from->requiretls, .last_resort = from->last_resort,
        .placed = d->n_placed > 0,
    };
    memcpy(m.session, d->session, sizeof(m.session));
    arena_clear(&q->scratch);
    struct index_queue_recipient *list = ARENA_ARRAY(&q->scratch, struct index_queue_recipient, from->n);
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < from->n; i++)
        as_recipient(&from->recipients[i], note->lsn, (uint32_t)i, &list[i]);
    struct queue_message *kept;
    int r = queue_message_add(q, &m, list, from->n, &kept);
    arena_clear(&q->scratch);
    for (size_t i = 0; i < from->n && r == 0; i++) {
        if (queue_is_final(from->recipients[i].outcome))
            tell_final(s, kept, &from->recipients[i], &kept->list[i]);
        else
            r = schedule_new_one(s, kept, &kept->list[i]);
        if (r == 0 && from->recipients[i].owed)
            r = queue_owe(s, queue_event(note->lsn, from->recipients[i].part), note->lsn, from->recipients[i].owed);
    }
    if (r == 0 && kept->left == 0)
        queue_message_drop(q, kept);
    return r;
}

int queue_published(struct store *s, const struct batch *b)
{
    struct queue *q = s->queue;
    int r = 0;
    for (const struct queued_note *n = b->queued; n && r == 0 && q->started; n = n->next) {
        if (n->delivered->queue.dsn_event)
            queue_owed_made(s, n->delivered->queue.dsn_event);
        if (n->delivered->queue.n)
            r = take_in(s, n);
    }
    for (struct queue_open *o; (o = q->done) && o->ticket <= b->last_lsn;) {
        q->done = o->next_done;
        if (!q->done)
            q->done_end = &q->done;
        end_job(s, o);
    }
    q->owed_new = q->owed_new || q->owed_waits;
    q->owed_waits = false;
    return r;
}

void queue_tell(struct store *s, const struct queue_message *m, const struct index_queue_recipient *r,
                struct queue_event *e)
{
    const struct queue *q = s->queue;
    if (!q->started || !q->hooks.event)
        return;
    e->session = m->m.session;
    e->number = m->m.number;
    e->message = m->m.lsn;
    e->sender = m->m.sender;
    e->recipient = r->address;
    e->alias = r->alias;
    e->via = r->via;
    q->hooks.event(q->hooks.arg, e);
}

/* Attaching */

static struct queue_open *attach_job(struct store *s, enum queue_worker worker, const struct queue_attached *a,
                                     struct queue_message *m)
{
    struct queue_open *o = calloc(1, sizeof(*o) + a->n * sizeof(o->items[0]));
    const struct index_queue_recipient *first = NULL;
    if (!o)
        return NULL;
    o->id = a->job;
    o->message = a->message;
    o->detail = m;
    o->worker = worker;
    o->born = m->m.received_us / 1000;
    o->priority = m->m.priority;
    o->bounce = m->m.sender.n == 0;
    for (size_t i = 0; i < a->n; i++) {
        const struct index_queue_recipient *r = queue_message_recipient(m, a->indexes[i]);
        if (!r || r->state == QUEUE_STATE_FINAL || queue_worker_of(r->via) != worker ||
            item_of(o, a->indexes[i]) ||
            queue_is_open(s->queue, a->message, a->indexes[i]))
            continue; /* over, or somebody's already: nobody may have it twice */
        first = first ? first : r;
        o->items[o->n++] = (struct queue_item){ .index = r->index, .attempts = r->attempts,
                                                .warned = r->delay_told,
                                                .held = r->state == QUEUE_STATE_HELD };
    }
    const struct queue_to to = first ? queue_to(&m->m, first) : (struct queue_to){ 0 };
    if (first && queue_destination_of(s, &to, &o->destination) == 0) {
        o->group = first->group;
        return o;
    }
    free(o);
    return NULL;
}


static enum schedule_choice take_attached(void *arg, uint32_t destination, uint64_t message, uint32_t index)
{
    const struct queue_attached *a = arg;
    (void)destination;
    if (message != a->message)
        return SCHEDULE_KEEP;
    for (size_t i = 0; i < a->n; i++)
        if (a->indexes[i] == index)
            return SCHEDULE_TAKE;
    return SCHEDULE_KEEP;
}

/* A job of an earlier process of ours is still being sent: its recipients are not ours to lease. */
static int adopt(struct store *s, enum queue_worker worker, const struct queue_attached *a)
{
    struct queue *q = s->queue;
    struct queue_message *m;
    int r = queue_message_get(s, a->message, &m);
    struct queue_open *o = r == 1 ? attach_job(s, worker, a, m) : NULL;
    if (!o)
        return MIN(r, 0); /* all is told already: done at once when its result comes */
    if (map_set(&q->jobs, str_of(&o->id, sizeof(o->id)), o, NULL) < 0) {
        free(o);
        return -ENOMEM;
    }
    m->jobs++;
    o->attached = true;
    schedule_opened(q->schedule, o->destination);
    schedule_walk(q->schedule, queue_now_ms(s), take_attached, (void *)a);
    return 0;
}

/* Jobs that the worker did not know of are due again. */
static void release_lost(struct store *s, enum queue_worker worker)
{
    struct queue *q = s->queue;
    struct queue_open *o;
    for (size_t at = 0; (o = map_next(&q->jobs, &at, NULL));)
        if (o->worker == worker && !o->attached && !o->ticket)
            queue_release(s, o, SCHEDULE_NO_VERDICT, queue_now_ms(s) + 1000);
}

static void forget_ended(struct queue *q, enum queue_worker worker)
{
    str key;
    const void *whose;
    for (size_t at = 0; (whose = map_next(&q->ended, &at, &key));)
        if (whose == &q->attached[worker])
            map_take(&q->ended, key);
}

int store_queue_attach(struct store *s, enum queue_worker worker, const struct queue_attached *list, size_t n,
                       bool last)
{
    struct queue *q = s->queue;
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        struct queue_open *o = map_get(&q->jobs, str_of(&list[i].job, sizeof(list[i].job)));
        if (o)
            o->attached = o->attached || o->worker == worker;
        else if (map_get(&q->ended, str_of(&list[i].job, sizeof(list[i].job))) == &q->attached[worker])
            q->hooks.done(q->hooks.arg, worker, list[i].job);
        else
            r = adopt(s, worker, &list[i]);
    }
    if (r == 0 && last) {
        release_lost(s, worker);
        forget_ended(q, worker);
        q->attached[worker] = true;
        if (q->schedule)
            schedule_halt(q->schedule, worker, false, queue_now_ms(s));
    }
    return r;
}

void store_queue_detach(struct store *s, enum queue_worker worker)
{
    struct queue *q = s->queue;
    struct queue_open *o;
    q->attached[worker] = false;
    if (q->schedule)
        schedule_halt(q->schedule, worker, true, queue_now_ms(s));
    for (size_t at = 0; (o = map_next(&q->jobs, &at, NULL));)
        o->attached = o->attached && o->worker != worker;
}
