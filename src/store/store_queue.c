/* The queue: what becomes due, and leasing it. See store_queue.h and store_queue_internal.h. */
#include "store/store_queue.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "message/loop_mark.h"
#include "store/store_queue_internal.h"

#define JOBS_MAX 1000u          /* open at the same time */
#define WINDOW_FIRST 5
#define PROBE_MIN_MS 60000u
#define PROBE_MAX_MS 3600000u
#define HOUR_US UINT64_C(3600000000)
#define LOAD_ROWS 4000          /* a step */
#define SWEEP_EVERY_MS 60000u
#define ITEMS_MAX 4000000u      /* in memory; what is over waits in the index */
#define DESTINATIONS_KEPT 20000
#define OWED_MAX 100000
#define JOBS_KNOWN_MAX 1000000
#define PAUSED_MAX 10000
#define RECIPIENTS_BYTES 40000  /* of a job: it fits in a frame */
#define RECIPIENT_BYTES 17
#define TOLD_MAX 4096           /* of a sweep, put in order at a time */
#define REDIRECT_MAX 255
#define KEY_MAX (ROUTE_DESTINATION_MAX + REDIRECT_MAX + 45)
#define JOB_MEMORY ((size_t)1 << 26)

struct queue *queue_new(const struct env *env)
{
    struct queue *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    uint8_t key[16];
    env->random(key, sizeof(key));
    map_init(&q->messages, SIZE_MAX / 2, key);
    map_init(&q->jobs, JOBS_KNOWN_MAX, key);
    map_init(&q->destinations, DESTINATIONS_KEPT, key);
    map_init(&q->owed, OWED_MAX, key);
    map_init(&q->ended, JOBS_KNOWN_MAX, key);
    map_init(&q->paused, PAUSED_MAX, key);
    q->done_end = &q->done;
    q->scratch = ARENA(JOB_MEMORY);
    for (size_t i = 0; i < ARRAY_LEN(q->files); i++)
        q->files[i].fd = -1;
    q->wall_base_us = env->wall_us();
    q->mono_base_ms = env->mono_ms();
    return q;
}

static void free_values(struct map *m)
{
    void *v;
    for (size_t at = 0; (v = map_next(m, &at, NULL));)
        free(v);
    map_done(m);
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    schedule_free(q->schedule);
    free_values(&q->messages);
    free_values(&q->jobs);
    free_values(&q->destinations);
    free_values(&q->owed);
    map_done(&q->paused);
    map_done(&q->ended);
    for (size_t i = 0; i < ARRAY_LEN(q->files); i++)
        if (q->files[i].fd >= 0)
            close(q->files[i].fd);
    arena_done(&q->scratch);
    free(q);
}

uint64_t queue_now_ms(const struct store *s)
{
    const struct queue *q = s->queue;
    return q->wall_base_us / 1000 + (s->config.env->mono_ms() - q->mono_base_ms);
}

uint64_t queue_durable(const struct store *s)
{
    return (s->flying ? s->flying->first_lsn : s->open->frames.n ? s->open->first_lsn : s->next_lsn) - 1;
}

/* Files */

int queue_file(struct store *s, str log, uint64_t segment)
{
    struct queue *q = s->queue;
    size_t oldest = 0;
    for (size_t i = 0; i < ARRAY_LEN(q->files); i++) {
        if (q->files[i].fd >= 0 && q->files[i].segment == segment &&
            str_eq(str_of(q->files[i].log, q->files[i].log_n), log)) {
            q->files[i].used = ++q->file_use;
            return q->files[i].fd;
        }
        if (q->files[i].used < q->files[oldest].used)
            oldest = i;
    }
    int fd = -1;
    if (log.n > LOG_NAME_MAX || store_segment_open(s, log, segment, &fd) < 0)
        return -1;
    if (q->files[oldest].fd >= 0)
        close(q->files[oldest].fd);
    memcpy(q->files[oldest].log, log.p, log.n);
    q->files[oldest].log_n = log.n;
    q->files[oldest].segment = segment;
    q->files[oldest].used = ++q->file_use;
    return q->files[oldest].fd = fd;
}

void queue_file_forget(struct store *s, str log, uint64_t segment)
{
    struct queue *q = s->queue;
    for (size_t i = 0; q && i < ARRAY_LEN(q->files); i++)
        if (q->files[i].fd >= 0 && q->files[i].segment == segment &&
            str_eq(str_of(q->files[i].log, q->files[i].log_n), log)) {
            close(TAKE_FD(q->files[i].fd));
            q->files[i].used = 0;
        }
}

/* Destinations */

struct way { /* to a recipient */
    str route;
    size_t plain;              /* bytes of the key without its redirection */
    struct schedule_limits limits;
};

static void route_key(struct store *s, const struct queue_to *to, struct buf *key, struct way *out)
{
    const struct conf *c = s->queue->conf;
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    str ascii;
    if (conf_address_ascii(&a, to->address, &ascii) < 0)
        ascii = to->address;
    ptrdiff_t at = str_rchr(ascii, '@');
    const struct route *route = route_select(&c->routes, to->sender, ascii);
    route_destination(key, route, at < 0 ? STR_NONE : str_from(ascii, (size_t)at + 1));
    *out = (struct way){ .route = route->name, .plain = key->n,
                         .limits = { .concurrency = route->concurrency, .rate = route->rate,
                                     .rate_ms = route->rate_ms } };
}

/* Key of the mechanism, or of the route and domain; with a redirection its host behind that. 0 or -ENOMEM. */
static int destination_key(struct store *s, const struct queue_to *to, struct buf *key, struct way *out)
{
    if (to->via.n) {
        *out = (struct way){ .route = STR_NONE };
        queue_via_destination(to, key, &out->limits);
        out->plain = key->n;
    } else {
        route_key(s, to, key, out);
    }
    str redirect = str_first(to->redirect, REDIRECT_MAX);
    if (redirect.n)
        buf_addf(key, " %.*s", STR_ARG(redirect));
    return key->failed ? -ENOMEM : 0;
}

int queue_destination_key(struct store *s, const struct queue_to *to, struct buf *out)
{
    struct way way;
    return destination_key(s, to, out, &way);
}

int queue_destination_of(struct store *s, const struct queue_to *to, uint32_t *out)
{
    struct queue *q = s->queue;
    char bytes[KEY_MAX];
    struct buf key = { .p = bytes, .cap = sizeof(bytes), .max = sizeof(bytes) };
    struct way way;
    int r = destination_key(s, to, &key, &way);
    if (r == 0)
        r = schedule_destination(q->schedule, buf_str(&key), &way.limits, queue_now_ms(s), out);
    if (r == 0 && map_get(&q->paused, buf_str(&key)))
        schedule_pause(q->schedule, *out, true);
    return r;
}

struct queue_destination *queue_memory_of(struct queue *q, str key)
{
    struct queue_destination *d = map_get(&q->destinations, key);
    if (d)
        return d;
    str old;
    size_t at = 0;
    if (q->destinations.n >= DESTINATIONS_KEPT && map_next(&q->destinations, &at, &old))
        free(map_take(&q->destinations, old));
    d = calloc(1, sizeof(*d));
    if (d && map_set(&q->destinations, key, d, NULL) < 0) {
        free(d);
        d = NULL;
    }
    return d;
}

int queue_schedule(struct store *s, const struct index_queue_item *i)
{
    struct queue *q = s->queue;
    uint64_t now = queue_now_ms(s), due = i->due_us / 1000;
    uint32_t destination;
    if (schedule_items(q->schedule) >= ITEMS_MAX) {
        q->overflow = true;
        return 0;
    }
    const struct queue_to to = { i->sender, i->address, i->redirect, i->via, i->user };
    int r = queue_destination_of(s, &to, &destination);
    /* no pause is longer than the longest: then the clock has jumped since */
    due = due > now + 2 * q->times.backoff_max + PROBE_MAX_MS ? now : due;
    struct schedule_item item = {
        .message = i->message, .index = i->index, .group = i->group, .due = due, .born = i->received_us / 1000,
        .attempts = i->attempts, .priority = i->priority, .bounce = i->sender.n == 0,
        .warned = i->delay_told || i->sender.n == 0 || (i->notify && !(i->notify & QUEUE_NOTIFY_DELAY)),
    };
    return r < 0 ? r : schedule_add(q->schedule, destination, &item, now);
}

/* From the index */

bool queue_is_open(const struct queue *q, uint64_t message, uint32_t index)
{
    const struct queue_message *m = queue_message_find(q, message);
    const struct queue_open *o;
    if (!m || m->jobs == 0)
        return false;
    for (size_t at = 0; (o = map_next(&q->jobs, &at, NULL));)
        for (uint32_t i = 0; o->message == message && i < o->n; i++)
            if (o->items[i].index == index)
                return true;
    return false;
}

static int load_item(void *arg, const struct index_queue_item *i)
{
    struct store *s = arg;
    if (i->message > s->queue->load_lsn) /* younger than this reading: in memory already */
        return 0;
    return s->queue->jobs.n && queue_is_open(s->queue, i->message, i->index) ? 0 : queue_schedule(s, i);
}

bool queue_in_memory(const struct queue *q, uint64_t due_us, uint64_t message, uint32_t index)
{
    const struct index_queue_due *at = &q->loaded;
    if (message > q->load_lsn)
        return due_us <= q->load_until_us;
    if (due_us != at->due_us)
        return due_us < at->due_us;
    return message != at->message ? message < at->message : index <= at->index;
}

static void begin_load(struct store *s, uint64_t until_us)
{
    struct queue *q = s->queue;
    q->loading = true;
    q->load_lsn = s->next_lsn - 1;
    q->load_until_us = until_us;
}

/* A step of reading what becomes due within the hour. */
static int load(struct store *s)
{
    struct queue *q = s->queue;
    int r = store_commit_deferred(s);
    if (r == 0)
        r = index_queue_due(s->index, &q->loaded, q->load_until_us, LOAD_ROWS, load_item, s);
    if (r < 0)
        return r;
    if (r < LOAD_ROWS) {
        q->loading = false;
        q->loaded = (struct index_queue_due){ .due_us = q->load_until_us, .message = INT64_MAX, .index = UINT32_MAX };
    }
    return 0;
}

int queue_load_all(struct store *s)
{
    int r = 0;
    while (r == 0 && s->queue->loading && s->queue->schedule)
        r = load(s);
    return r;
}

static enum schedule_choice take_all(void *arg, uint32_t destination, uint64_t message, uint32_t index)
{
    (void)arg;
    (void)destination;
    (void)message;
    (void)index;
    return SCHEDULE_TAKE;
}

void queue_reload(struct store *s)
{
    struct queue *q = s->queue;
    if (!q->schedule)
        return;
    struct queue_open *o;
    for (size_t at = 0; (o = map_next(&q->jobs, &at, NULL));)
        o->reread = true;
    schedule_walk(q->schedule, queue_now_ms(s), take_all, NULL);
    q->overflow = false;
    q->loaded = (struct index_queue_due){ 0 };
    begin_load(s, queue_us(queue_now_ms(s)) + HOUR_US);
}

/* Start and configuration */

static void set_times(struct queue *q)
{
    const struct conf *c = q->conf;
    q->times = (struct schedule_config){
        .first_job = q->wall_base_us, .jobs_max = JOBS_MAX, .window_first = WINDOW_FIRST,
        .backoff_min = MAX(c->minimal_backoff_time, (uint64_t)1000),
        .backoff_max = MAX(c->maximal_backoff_time, c->minimal_backoff_time),
        .probe_min = MIN((uint64_t)PROBE_MIN_MS, MAX(c->minimal_backoff_time, (uint64_t)1000)),
        .probe_max = MIN((uint64_t)PROBE_MAX_MS, MAX(c->maximal_backoff_time, (uint64_t)1000)),
        .lifetime = c->maximal_queue_lifetime, .bounce_lifetime = c->bounce_queue_lifetime,
        .delay_warning = c->delay_warning_time,
    };
}

int store_queue_configure(struct store *s, const struct conf *c)
{
    struct queue *q = s->queue;
    q->conf = c;
    set_times(q);
    if (!q->schedule)
        return 0;
    schedule_configure(q->schedule, &q->times);
    queue_reload(s); /* routes may lead elsewhere now */
    return 0;
}

static int load_paused(void *arg, str destination)
{
    struct queue *q = arg;
    int r = map_set(&q->paused, destination, q, NULL);
    return r == -ENOSPC ? 0 : r;
}

int store_queue_start(struct store *s, const struct queue_hooks *hooks)
{
    struct queue *q = s->queue;
    if (!q->conf)
        return -EINVAL;
    q->hooks = *hooks;
    q->schedule = schedule_new(&q->times);
    if (!q->schedule)
        return -ENOMEM;
    q->started = true;
    for (uint8_t w = 0; w < QUEUE_WORKERS; w++)
        schedule_halt(q->schedule, w, !q->attached[w], queue_now_ms(s));
    q->next_sweep_ms = queue_now_ms(s) + SWEEP_EVERY_MS;
    int r = index_queue_paused(s->index, load_paused, q);
    if (r == 0)
        r = queue_owed_load(s);
    queue_reload(s);
    return r;
}

/* Leasing */

static struct queue_open *open_job(const struct schedule_job *j, struct queue_message *detail)
{
    struct queue_open *o = calloc(1, sizeof(*o) + j->n * sizeof(o->items[0]));
    if (!o)
        return NULL;
    o->id = j->id;
    o->destination = j->destination;
    o->message = j->message;
    o->born = j->born;
    o->detail = detail;
    o->group = j->group;
    o->priority = j->priority;
    o->bounce = j->bounce;
    const struct index_queue_recipient *first = queue_message_recipient(detail, j->indexes[0]);
    o->worker = queue_worker_of(first ? first->via : STR_NONE);
    o->attached = true;
    o->n = j->n;
    for (uint32_t i = 0; i < j->n; i++)
        o->items[i] = (struct queue_item){ .index = j->indexes[i], .attempts = j->attempts[i], .warned = j->warned[i] };
    return o;
}

/* The line that this host puts before a forwarded message. */
static str job_prefix(const struct store *s, struct arena *a, str alias)
{
    _cleanup_buf_ struct buf line = BUF(1024);
    if (!alias.n || !s->has_key)
        return S("");
    return loop_mark_write(&line, s->key, alias) < 0 ? STR_NONE : arena_dup(a, buf_str(&line));
}

/* The rest does not fit in a frame: another job. */
static void cut_job(struct store *s, struct queue_open *o, uint32_t from)
{
    uint64_t now = queue_now_ms(s);
    for (uint32_t i = from; i < o->n; i++)
        queue_again(s, o, &o->items[i], now);
    o->n = from;
}

static int describe_job(struct store *s, struct queue_open *o, struct buf *key, struct queue_job *out)
{
    struct queue *q = s->queue;
    const struct index_queue_message *m = &o->detail->m;
    struct queue_job_recipient *list = ARENA_ARRAY(&q->scratch, struct queue_job_recipient, o->n);
    const struct index_queue_recipient *first = NULL;
    size_t bytes = 0;
    if (!list)
        return -ENOMEM;
    *out = (struct queue_job){ .id = o->id, .message = m->lsn, .session = m->session, .number = m->number,
                               .envid = m->envid, .ret = m->ret, .body = m->body, .smtputf8 = m->smtputf8,
                               .requiretls = m->requiretls, .worker = o->worker, .received_us = m->received_us,
                               .content_len = m->content_len, .recipients = list };
    uint32_t i = 0;
    for (; i < o->n; i++) {
        const struct index_queue_recipient *r = queue_message_recipient(o->detail, o->items[i].index);
        if (!r)
            continue;
        first = first ? first : r;
        out->attempt = MAX(out->attempt, o->items[i].attempts + 1);
        bytes += r->address.n + r->orcpt.n + r->original.n + RECIPIENT_BYTES;
        if (out->n && bytes > RECIPIENTS_BYTES)
            break;
        list[out->n++] = (struct queue_job_recipient){ .index = r->index, .address = r->address, .orcpt = r->orcpt,
                                                       .notify = r->notify, .original = r->original };
    }
    if (!first)
        return -ENOENT;
    cut_job(s, o, i);
    struct way way;
    out->sender = first->sender.n ? first->sender : m->sender;
    out->prefix = job_prefix(s, &q->scratch, first->alias);
    out->redirect = first->redirect;
    out->via = first->via;
    out->user = first->user;
    const struct queue_to to = queue_to(m, first);
    int r = destination_key(s, &to, key, &way);
    out->route = way.route;
    out->destination = str_of(key->p, way.plain);
    out->fd = queue_file(s, m->log, m->position.segment);
    if (out->fd < 0 && queue_message_moved(s, o->detail) == 1)
        out->fd = queue_file(s, m->log, m->position.segment);
    out->offset = m->position.offset + RECORD_HEADER_SIZE;
    if (out->fd >= 0 && out->via.n)
        queue_via_client(&q->scratch, m, out);
    return r < 0 || !out->prefix.p ? -ENOMEM : out->fd < 0 ? -EIO : 0;
}

/* Its content cannot be read: a deferral like any other, so that its sender hears of it in the end. */
static int defer_unreadable(struct store *s, const struct queue_open *o)
{
    struct queue_result *list = calloc(o->n, sizeof(*list));
    if (!list)
        return 0; /* the next sweep finds it again */
    for (uint32_t i = 0; i < o->n; i++)
        list[i] = (struct queue_result){ .index = o->items[i].index, .outcome = QUEUE_DEFERRED, .status = S("4.3.0"),
                                         .text = S("this host cannot read the message from its disk") };
    const struct queue_report report = { .job = o->id, .from = o->worker, .list = list, .n = o->n };
    int r = store_queue_result(s, &report);
    free(list);
    return r;
}

/* 1 leased, 0 nothing came of it, -EAGAIN nobody takes it now. */
static int lease(struct store *s, const struct schedule_job *j)
{
    struct queue *q = s->queue;
    struct queue_message *detail;
    uint64_t now = queue_now_ms(s);
    int r = queue_message_get(s, j->message, &detail);
    struct queue_open *o = r == 1 ? open_job(j, detail) : NULL;
    if (r == 1 && (!o || map_set(&q->jobs, str_of(&o->id, sizeof(o->id)), o, NULL) < 0)) {
        free(o);
        r = -ENOMEM;
    }
    if (r < 1) { /* its row is gone, or cannot be read now */
        schedule_done(q->schedule, j->destination, SCHEDULE_NO_VERDICT, now);
        q->overflow = q->overflow || r == -ENOMEM;
        return r == -ENOMEM ? 0 : r;
    }
    detail->jobs++;
    char bytes[KEY_MAX];
    struct buf key = { .p = bytes, .cap = sizeof(bytes), .max = sizeof(bytes) };
    struct queue_job job;
    arena_clear(&q->scratch);
    r = describe_job(s, o, &key, &job);
    bool given = r == 0 && q->hooks.job(q->hooks.arg, &job);
    arena_clear(&q->scratch);
    if (given)
        return 1;
    if (r == -EIO) {
        store_note(s, "log %.*s segment %llu cannot be read to send a message", STR_ARG(detail->m.log),
                   (unsigned long long)detail->m.position.segment);
        return defer_unreadable(s, o);
    }
    queue_release(s, o, SCHEDULE_NO_VERDICT, now + 1000);
    return r == 0 ? -EAGAIN : 0;
}

bool queue_any_attached(const struct queue *q)
{
    bool any = false;
    for (size_t w = 0; w < QUEUE_WORKERS; w++)
        any = any || q->attached[w];
    return any;
}

static int lease_all(struct store *s)
{
    struct queue *q = s->queue;
    struct schedule_job j;
    int r = 0;
    while (r >= 0 && queue_any_attached(q) && schedule_next(q->schedule, queue_now_ms(s), &j))
        r = lease(s, &j);
    queue_messages_trim(s);
    return r == -EAGAIN ? 0 : MIN(r, 0);
}

/* What a sweep tells, gathered: recipients of one message share a record, and so a notice. */
struct told { enum schedule_told what; uint32_t destination; str key; struct schedule_item item; };
struct telling { struct store *s; int r; struct arena keys; struct told list[TOLD_MAX]; size_t n; };

static int compare_told(const void *a, const void *b)
{
    const struct told *x = a, *y = b;
    if (x->item.message != y->item.message)
        return x->item.message < y->item.message ? -1 : 1;
    if (x->what != y->what || x->destination != y->destination)
        return x->what != y->what ? (x->what < y->what ? -1 : 1) : x->destination < y->destination ? -1 : 1;
    return x->item.index < y->item.index ? -1 : x->item.index > y->item.index;
}

static void stage_told(struct telling *t)
{
    struct schedule_item items[QUEUE_TOLD_MAX];
    qsort(t->list, t->n, sizeof(t->list[0]), compare_told);
    for (size_t i = 0; i < t->n;) {
        const struct told *first = &t->list[i];
        size_t n = 0;
        for (; i < t->n && n < QUEUE_TOLD_MAX && t->list[i].item.message == first->item.message &&
               t->list[i].what == first->what && t->list[i].destination == first->destination; i++)
            items[n++] = t->list[i].item;
        if (t->r == 0)
            t->r = queue_stage_told(t->s, first->what, items, n, first->key);
        if (t->r < 0)
            t->s->queue->overflow = true; /* they are in the index still */
    }
    t->n = 0;
    arena_clear(&t->keys);
}

static void tell_swept(void *arg, enum schedule_told what, uint32_t destination, const struct schedule_item *item)
{
    struct telling *t = arg;
    struct schedule_state state;
    uint32_t at = destination;
    const struct told *before = t->n ? &t->list[t->n - 1] : NULL;
    str key = STR_NONE;
    if (before && before->destination == destination)
        key = before->key;
    else if (schedule_destinations(t->s->queue->schedule, &at, &state) && state.id == destination)
        key = arena_dup(&t->keys, state.key);
    t->list[t->n++] = (struct told){ .what = what, .destination = destination, .key = key, .item = *item };
    if (t->n == TOLD_MAX)
        stage_told(t);
}

static int tell_senders(struct store *s, uint64_t now)
{
    _cleanup_free_ struct telling *t = malloc(sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->s = s;
    t->r = 0;
    t->n = 0;
    t->keys = ARENA(JOB_MEMORY);
    schedule_sweep(s->queue->schedule, now, tell_swept, t);
    stage_told(t);
    arena_done(&t->keys);
    return t->r;
}

/* Once a minute. */
static int sweep(struct store *s, uint64_t now)
{
    struct queue *q = s->queue;
    q->next_sweep_ms = now + SWEEP_EVERY_MS;
    int r = tell_senders(s, now);
    uint64_t until = queue_us(now) + HOUR_US;
    if (q->overflow && schedule_items(q->schedule) < ITEMS_MAX / 2)
        queue_reload(s);
    else if (!q->loading && until > q->loaded.due_us)
        begin_load(s, until);
    if (q->owed_overflow && q->owed.n == 0 && r == 0)
        r = queue_owed_load(s);
    return r;
}

int store_queue_run(struct store *s)
{
    struct queue *q = s->queue;
    int r = s->failed;
    if (r < 0 || !q->started)
        return r;
    uint64_t now = queue_now_ms(s);
    if (q->loading)
        r = load(s);
    if (r == 0 && now >= q->next_sweep_ms)
        r = sweep(s, now);
    if (r == 0)
        r = lease_all(s);
    if (r == 0)
        r = queue_dsn_run(s, now);
    if (r == -EBADMSG)
        r = store_reindex(s);
    return r == -ENOMEM ? 0 : r;
}

uint64_t store_queue_wait(struct store *s)
{
    struct queue *q = s->queue;
    if (!q->started)
        return UINT64_MAX;
    if (q->loading)
        return 0;
    uint64_t now = queue_now_ms(s), wait = q->next_sweep_ms > now ? q->next_sweep_ms - now : 0;
    if (queue_any_attached(q))
        wait = MIN(wait, schedule_wait(q->schedule, now));
    return MIN(wait, queue_dsn_wait(s, now));
}

void store_queue_stats(const struct store *s, struct store_queue_stats *out)
{
    const struct queue *q = s->queue;
    *out = q->stats;
    if (!q->schedule)
        return;
    out->recipients = schedule_items(q->schedule);
    const struct queue_open *o;
    for (size_t at = 0; (o = map_next(&q->jobs, &at, NULL));)
        out->recipients += o->n;
    out->jobs = q->jobs.n;
    out->destinations = q->destinations.n;
    out->dsn_owed = q->owed.n;
}
