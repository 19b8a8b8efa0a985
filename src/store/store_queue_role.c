/* The queue in role store: see store_queue_role.h. JOB and JOB_RESULT have their fields in io/messages.def.
 *
 * DSN_MAKE: u64 message, u64 event (both go into the record of the message that is the DSN: dsn_of, dsn_event), u8 kind
 * (0 failed 1 delayed 2 relayed 3 delivered 4 expanded), str to, str envid, u8 ret, u8 smtputf8, u8 last resort (the
 * message it is about had no sender: `to` is the postmaster), str session (16 bytes), u32 number, u64 arrival_us, str
 * sender (of the message it is about), u64 offset and u64 length of its content, u32 n, n * (str address, str original
 * recipient of the envelope, str orcpt, u8 outcome (enum queue_outcome), str status, str mta, u16 code, str text, u64
 * attempt_us, u64 retry_until_us); [fd] segment. It is asked for again after a minute; a second one with the same event
 * is not delivered. */
#include "store/store_queue_role.h"
#include <errno.h>
#include <stdlib.h>
#include "base/codec.h"
#include "base/date.h"
#include "store/queue_query.h"

#define ATTACHED_MAX 4096
#define RESULTS_MAX 1000
#define COMMIT_MS 200

static const enum role_id workers[QUEUE_WORKERS] = { [QUEUE_SENDS] = ROLE_SMTP_OUT, [QUEUE_DELIVERS] = ROLE_MDA };

/* False: that role takes no jobs. */
static bool worker_of(enum role_id peer, enum queue_worker *out)
{
    for (size_t w = 0; w < QUEUE_WORKERS; w++)
        if (workers[w] == peer) {
            *out = (enum queue_worker)w;
            return true;
        }
    return false;
}

static bool give_job(void *arg, const struct queue_job *j)
{
    struct store_queue_role *q = arg;
    struct ipc_link *to = role_peer(q->role, workers[j->worker]);
    if (!to->open)
        return false;
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, j->id);
    pack_u64(&b, j->message);
    pack_str(&b, str_of(j->session, 16));
    pack_u32(&b, j->number);
    pack_u32(&b, j->attempt);
    pack_str(&b, j->route);
    pack_str(&b, j->destination);
    pack_str(&b, j->redirect);
    pack_u64(&b, j->offset);
    pack_u64(&b, j->content_len);
    pack_str(&b, j->prefix);
    pack_str(&b, j->sender);
    pack_str(&b, j->envid);
    pack_u8(&b, j->ret);
    pack_u8(&b, j->body);
    pack_u8(&b, j->smtputf8);
    pack_u8(&b, j->requiretls);
    pack_str(&b, j->via);
    pack_str(&b, j->user);
    pack_u64(&b, j->received_us);
    pack_str(&b, j->client_address);
    pack_str(&b, j->client_name);
    pack_str(&b, j->client_helo);
    pack_str(&b, j->client_protocol);
    pack_str(&b, j->sasl_user);
    pack_u32(&b, (uint32_t)j->n);
    for (size_t i = 0; i < j->n; i++) {
        pack_u32(&b, j->recipients[i].index);
        pack_str(&b, j->recipients[i].address);
        pack_str(&b, j->recipients[i].orcpt);
        pack_u8(&b, j->recipients[i].notify);
        pack_str(&b, j->recipients[i].original);
    }
    int r = ipc_send(to, IPC_JOB, &b, j->fd);
    buf_done(&b);
    return r == 0;
}

static void job_done(void *arg, enum queue_worker worker, uint64_t job)
{
    struct store_queue_role *q = arg;
    struct buf b = BUF(64);
    pack_u64(&b, job);
    ipc_send(role_peer(q->role, workers[worker]), IPC_JOB_DONE, &b, -1);
    buf_done(&b);
}

static bool make_dsn(void *arg, const struct queue_dsn *d)
{
    struct store_queue_role *q = arg;
    struct ipc_link *to = role_peer(q->role, ROLE_SMTP_IN);
    if (!to->open)
        return false;
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, d->message);
    pack_u64(&b, d->event);
    pack_u8(&b, d->kind);
    pack_str(&b, d->to);
    pack_str(&b, d->envid);
    pack_u8(&b, d->ret);
    pack_u8(&b, d->smtputf8);
    pack_u8(&b, d->last_resort);
    pack_str(&b, str_of(d->session, 16));
    pack_u32(&b, d->number);
    pack_u64(&b, d->arrival_us);
    pack_str(&b, d->sender);
    pack_u64(&b, d->offset);
    pack_u64(&b, d->content_len);
    pack_u32(&b, (uint32_t)d->n);
    for (size_t i = 0; i < d->n; i++) {
        const struct queue_dsn_recipient *r = &d->recipients[i];
        pack_str(&b, r->address);
        pack_str(&b, r->original);
        pack_str(&b, r->orcpt);
        pack_u8(&b, r->outcome);
        pack_str(&b, r->status);
        pack_str(&b, r->mta);
        pack_u16(&b, r->code);
        pack_str(&b, r->text);
        pack_u64(&b, r->at_us);
        pack_u64(&b, r->until_us);
    }
    int r = ipc_send(to, IPC_DSN_MAKE, &b, d->fd);
    buf_done(&b);
    return r == 0;
}

static void add_text(struct buf *out, const char *key, str value)
{
    if (value.n)
        event_str(out, key, value);
}

static void say(void *arg, const struct queue_event *e)
{
    struct store_queue_role *q = arg;
    char id[B32_ID_LEN], name[B32_ID_LEN + 12], when[DATE_3339_LEN];
    struct buf session = { .p = name, .cap = sizeof(name), .max = sizeof(name) };
    b32_id_encode(e->session, id);
    buf_add(&session, str_of(id, sizeof(id)));
    buf_addc(&session, '.');
    buf_addu(&session, e->number);
    struct buf *out = events_begin(&q->role->events, EVENT_INFO, e->name);
    event_str(out, "session", buf_str(&session));
    event_str(out, "recipient", e->recipient);
    event_u64(out, "queue_id", e->message);
    add_text(out, "alias", e->alias);
    add_text(out, "mechanism", e->via);
    add_text(out, "destination", e->destination);
    if (e->dsn)
        event_str(out, "kind", str_z(e->dsn));
    if (e->attempt)
        event_u64(out, "attempt", e->attempt);
    add_text(out, "mta", e->mta);
    add_text(out, "tls", e->tls);
    if (e->code)
        event_u64(out, "code", e->code);
    add_text(out, "status", e->status);
    add_text(out, "reply", e->text);
    if (e->due_us) {
        date_put_3339(when, e->due_us);
        event_str(out, "next", str_of(when, sizeof(when)));
    }
    if (e->has_times) {
        if (!e->reused) {
            event_u64(out, "connect_ms", e->connect_ms);
            event_u64(out, "tls_ms", e->tls_ms);
        }
        event_u64(out, "transfer_ms", e->transfer_ms);
        event_str(out, "reused", e->reused ? S("yes") : S("no"));
    }
    add_text(out, "by", e->by);
    events_end(&q->role->events);
}

static void timer_fired(struct loop_timer *t)
{
    CONTAINER_OF(t, struct store_queue_role, timer)->work = true;
}

static void commit_fired(struct loop_timer *t)
{
    struct store_queue_role *q = CONTAINER_OF(t, struct store_queue_role, commit);
    int r = store_commit(q->store);
    q->broken = r < 0 ? r : q->broken;
}

int store_queue_role_configure(struct store_queue_role *q, const struct conf *c)
{
    q->work = true;
    return store_queue_configure(q->store, c);
}

int store_queue_role_start(struct store_queue_role *q, struct role *r, struct store *s)
{
    const struct queue_hooks hooks = { .job = give_job, .done = job_done, .dsn = make_dsn, .event = say, .arg = q };
    q->role = r;
    q->store = s;
    q->timer.fire = timer_fired;
    q->commit.fire = commit_fired;
    int e = store_queue_role_configure(q, r->config->conf);
    return e < 0 ? e : store_queue_start(s, &hooks);
}

void store_queue_role_stop(struct store_queue_role *q)
{
    if (!q->role)
        return;
    loop_cancel(q->role->loop, &q->timer);
    loop_cancel(q->role->loop, &q->commit);
}

void store_queue_role_up(struct store_queue_role *q, enum role_id peer)
{
    if (peer == ROLE_SMTP_IN && q->store)
        store_queue_dsn_attach(q->store);
    q->work = true;
}

void store_queue_role_down(struct store_queue_role *q, enum role_id peer)
{
    enum queue_worker worker;
    if (q->store && worker_of(peer, &worker))
        store_queue_detach(q->store, worker);
}

/* An error of the store ends the role, never the peer. */
static int keep_error(struct store_queue_role *q, int r)
{
    q->broken = r < 0 && r != -ENOMEM ? r : q->broken;
    q->work = true;
    return 0;
}

static int attach(struct store_queue_role *q, enum queue_worker worker, struct ipc_frame *f)
{
    bool last = unpack_u8(&f->in);
    uint32_t n = unpack_u32(&f->in);
    if (f->in.bad || n > ATTACHED_MAX)
        return -EBADMSG;
    struct arena a = ARENA(1 << 22);
    struct queue_attached *list = ARENA_ARRAY(&a, struct queue_attached, n);
    bool bad = !list;
    for (uint32_t i = 0; i < n && !bad; i++) {
        list[i].job = unpack_u64(&f->in);
        list[i].message = unpack_u64(&f->in);
        list[i].n = unpack_u32(&f->in);
        bool too_many = f->in.bad || list[i].n > MIN(f->in.in.n / 4, (size_t)SCHEDULE_JOB_MAX);
        uint32_t *indexes = too_many ? NULL : ARENA_ARRAY(&a, uint32_t, list[i].n);
        bad = !indexes;
        for (size_t k = 0; k < list[i].n && !bad; k++)
            indexes[k] = unpack_u32(&f->in);
        list[i].indexes = indexes;
    }
    bad = bad || !unpack_end(&f->in);
    int r = bad ? -EBADMSG : keep_error(q, store_queue_attach(q->store, worker, list, n, last));
    arena_done(&a);
    return r;
}

static int result(struct store_queue_role *q, enum queue_worker worker, struct ipc_frame *f)
{
    struct queue_report report = { .job = unpack_u64(&f->in), .from = worker };
    report.site_failed = unpack_u8(&f->in);
    report.mta = unpack_str(&f->in);
    report.tls = unpack_str(&f->in);
    report.connect_ms = unpack_u32(&f->in);
    report.tls_ms = unpack_u32(&f->in);
    report.transfer_ms = unpack_u32(&f->in);
    report.reused = unpack_u8(&f->in);
    uint32_t n = unpack_u32(&f->in);
    if (f->in.bad || n > RESULTS_MAX)
        return -EBADMSG;
    _cleanup_free_ struct queue_result *list = calloc(n + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        list[i].index = unpack_u32(&f->in);
        list[i].outcome = unpack_u8(&f->in);
        list[i].code = unpack_u16(&f->in);
        list[i].status = unpack_str(&f->in);
        list[i].text = unpack_str(&f->in);
    }
    if (!unpack_end(&f->in))
        return -EBADMSG;
    report.list = list;
    report.n = n;
    return keep_error(q, store_queue_result(q->store, &report));
}

static int ask(struct store_queue_role *q, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    str question = unpack_str(&f->in);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    _cleanup_buf_ struct buf text = BUF(QUEUE_ANSWER_MAX);
    bool ok = false;
    int r = queue_query(q->store, question, &text, &ok);
    role_answer(q->role, request, ok && r == 0, buf_str(&text));
    return keep_error(q, r);
}

int store_queue_role_frame(struct store_queue_role *q, enum role_id peer, struct ipc_frame *f)
{
    enum queue_worker worker = QUEUE_SENDS;
    if (f->type != IPC_ASK && !worker_of(peer, &worker))
        return -EBADMSG;
    switch (f->type) {
    case IPC_JOB_ATTACH: return attach(q, worker, f);
    case IPC_JOB_RESULT: return result(q, worker, f);
    case IPC_ASK: return ask(q, f);
    default: return -EBADMSG;
    }
}

int store_queue_role_turn(struct store_queue_role *q)
{
    if (!q->role)
        return 0;
    int r = q->broken;
    q->work = false;
    if (r == 0)
        r = store_queue_run(q->store);
    uint64_t wait = store_queue_wait(q->store);
    if (wait != UINT64_MAX)
        loop_after(q->role->loop, &q->timer, MAX(wait, (uint64_t)1));
    if (store_deferred(q->store) && !q->commit.slot)
        loop_after(q->role->loop, &q->commit, COMMIT_MS);
    return r;
}

void store_queue_role_status(struct store_queue_role *q, struct buf *out)
{
    struct store_queue_stats s;
    store_queue_stats(q->store, &s);
    event_u64(out, "queue_recipients", s.recipients);
    event_u64(out, "queue_jobs", s.jobs);
    event_u64(out, "queue_destinations", s.destinations);
    event_u64(out, "queue_dsn_owed", s.dsn_owed);
    event_u64(out, "queue_queued", s.queued);
    event_u64(out, "queue_sent", s.sent);
    event_u64(out, "queue_deferred", s.deferred);
    event_u64(out, "queue_failed", s.failed);
    event_u64(out, "queue_expired", s.expired);
}
