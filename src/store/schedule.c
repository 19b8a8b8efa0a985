/* When which queued recipient is tried: see schedule.h.
 *
 * Invariants
 * 1. An item is in the heap of those not yet due, or in line at its destination, or free. One that is taken out of a
 *    line stays in it as `gone` until its turn comes.
 * 2. A destination is in a ring exactly if it could open a job now but for the limit of all jobs; in the heap of
 *    sleepers if it could at a certain time without a call before; in neither if it waits for a call. */
#include "store/schedule.h"
#include <errno.h>
#include <stdlib.h>
#include "base/cleanup.h"
#include "base/map.h"

#define CHUNK 4096u              /* items allocated at a time */
#define NONE UINT32_MAX
#define DESTINATIONS_MAX ((size_t)1 << 22)
#define IDLE_MS 600000           /* a destination without anything is remembered so long */
#define HYSTERESIS 1.0
#define TURNS 4

enum item_state { ITEM_FREE, ITEM_WAITING, ITEM_READY, ITEM_GONE };

struct item {
    uint64_t message, due, born;
    uint32_t index, group, destination;
    uint32_t next;  /* in line, or of the free ones */
    uint32_t slot;  /* in the heap */
    uint16_t attempts;
    uint8_t priority : 2, state : 2, warned : 1, bounce : 1;
};

struct heap { uint32_t *ids; size_t n, cap; };

struct destination {
    char *key;
    size_t key_n;
    struct schedule_limits limits;
    double window, success, failure, fail_cohorts;
    uint32_t in_flight, probes;
    bool used, dead, paused, in_ring;
    bool heard;     /* it answered when it was tried last */
    uint64_t pause, probe_at; /* of a dead one */
    uint64_t rate_at;         /* not before */
    uint64_t last_used;
    uint32_t head[SCHEDULE_PRIORITIES], tail[SCHEDULE_PRIORITIES];
    uint64_t n_ready, n_items;
    unsigned turn;
    uint32_t ring_next, ring_prev, slot;
};

struct schedule {
    struct schedule_config config;
    struct item **chunks;
    size_t n_chunks;
    uint32_t free_item;
    uint64_t n_items;
    struct heap due, sleepers;
    struct destination *list;
    uint32_t n_list, free_destination;
    struct map by_key;  /* key -> place in list + 1 */
    uint32_t ring[2];   /* whose turn is next, of those not heard of and of those heard of */
    bool heard_next;    /* which of the two rings */
    bool halted[SCHEDULE_WORKERS];
    uint32_t jobs;
    uint64_t last_job;
    size_t memory;
};

/* Numbers */

static uint64_t mix(uint64_t x) /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

uint64_t schedule_retry(const struct schedule_config *c, uint32_t attempts, uint64_t seed)
{
    uint64_t wait = c->backoff_min;
    for (uint32_t i = 1; i < attempts && wait < c->backoff_max; i++)
        wait *= 2;
    wait = MIN(wait, MAX(c->backoff_max, c->backoff_min));
    uint64_t spread = wait / 5;
    return wait - spread / 2 + (spread ? mix(seed + attempts) % spread : 0);
}

bool schedule_expired(const struct schedule_config *c, uint64_t age, uint32_t attempts, bool bounce)
{
    return age >= (bounce ? c->bounce_lifetime : c->lifetime) && attempts >= SCHEDULE_ATTEMPTS_MIN;
}

/* Items and heaps */

static struct item *item_at(const struct schedule *s, uint32_t id)
{
    return &s->chunks[id / CHUNK][id % CHUNK];
}

static int item_new(struct schedule *s, uint32_t *out)
{
    if (s->free_item == NONE) {
        struct item **more = realloc(s->chunks, (s->n_chunks + 1) * sizeof(struct item *));
        if (!more)
            return -ENOMEM;
        s->chunks = more;
        struct item *chunk = calloc(CHUNK, sizeof(*chunk));
        if (!chunk || s->n_chunks >= NONE / CHUNK) {
            free(chunk);
            return -ENOMEM;
        }
        s->chunks[s->n_chunks] = chunk;
        for (uint32_t i = CHUNK; i-- > 0;) {
            chunk[i].next = s->free_item;
            s->free_item = (uint32_t)s->n_chunks * CHUNK + i;
        }
        s->n_chunks++;
        s->memory += CHUNK * sizeof(*chunk) + sizeof(struct item *);
    }
    *out = s->free_item;
    s->free_item = item_at(s, *out)->next;
    return 0;
}

static void item_free(struct schedule *s, uint32_t id)
{
    *item_at(s, id) = (struct item){ .next = s->free_item };
    s->free_item = id;
}

static uint64_t key_of(const struct schedule *s, const struct heap *h, uint32_t id)
{
    if (h == &s->due)
        return item_at(s, id)->due;
    const struct destination *d = &s->list[id];
    return MAX(d->dead ? d->probe_at : 0, d->rate_at);
}

static void heap_put(struct schedule *s, struct heap *h, size_t at, uint32_t id)
{
    h->ids[at] = id;
    if (h == &s->due)
        item_at(s, id)->slot = (uint32_t)at;
    else
        s->list[id].slot = (uint32_t)at;
}

/* Items of one time in the order of their messages, so that those of one job come out together. */
static bool is_before(const struct schedule *s, const struct heap *h, uint32_t a, uint32_t b)
{
    uint64_t x = key_of(s, h, a), y = key_of(s, h, b);
    if (x != y || h != &s->due)
        return x < y;
    const struct item *i = item_at(s, a), *k = item_at(s, b);
    if (i->message != k->message)
        return i->message < k->message;
    return i->group != k->group ? i->group < k->group : i->index < k->index;
}

static void heap_up(struct schedule *s, struct heap *h, size_t at)
{
    uint32_t id = h->ids[at];
    for (; at > 0 && is_before(s, h, id, h->ids[(at - 1) / 2]); at = (at - 1) / 2)
        heap_put(s, h, at, h->ids[(at - 1) / 2]);
    heap_put(s, h, at, id);
}

static void heap_down(struct schedule *s, struct heap *h, size_t at)
{
    uint32_t id = h->ids[at];
    for (size_t child; (child = 2 * at + 1) < h->n; at = child) {
        if (child + 1 < h->n && is_before(s, h, h->ids[child + 1], h->ids[child]))
            child++;
        if (!is_before(s, h, h->ids[child], id))
            break;
        heap_put(s, h, at, h->ids[child]);
    }
    heap_put(s, h, at, id);
}

static int heap_room(struct schedule *s, struct heap *h)
{
    if (h->n < h->cap)
        return 0;
    size_t cap = h->cap + h->cap / 2 + 256;
    uint32_t *more = realloc(h->ids, cap * sizeof(*more));
    if (!more)
        return -ENOMEM;
    s->memory += (cap - h->cap) * sizeof(*more);
    h->ids = more;
    h->cap = cap;
    return 0;
}

static void heap_add(struct schedule *s, struct heap *h, uint32_t id)
{
    h->ids[h->n] = id;
    heap_up(s, h, h->n++);
}

static void heap_drop(struct schedule *s, struct heap *h, size_t at)
{
    uint32_t last = h->ids[--h->n];
    if (at == h->n)
        return;
    heap_put(s, h, at, last);
    heap_up(s, h, at);
    heap_down(s, h, h == &s->due ? item_at(s, last)->slot : s->list[last].slot);
}

/* Destinations */

static void ring_add(struct schedule *s, uint32_t id)
{
    struct destination *d = &s->list[id];
    uint32_t *ring = &s->ring[d->heard];
    d->in_ring = true;
    if (*ring == NONE) {
        *ring = d->ring_next = d->ring_prev = id;
        return;
    }
    struct destination *first = &s->list[*ring]; /* before the one whose turn is next: at the end */
    d->ring_next = *ring;
    d->ring_prev = first->ring_prev;
    s->list[first->ring_prev].ring_next = id;
    first->ring_prev = id;
}

static void ring_drop(struct schedule *s, uint32_t id)
{
    struct destination *d = &s->list[id];
    uint32_t *ring = &s->ring[d->heard];
    d->in_ring = false;
    s->list[d->ring_prev].ring_next = d->ring_next;
    s->list[d->ring_next].ring_prev = d->ring_prev;
    if (*ring == id)
        *ring = d->ring_next == id ? NONE : d->ring_next;
}

static void set_heard(struct schedule *s, uint32_t id, bool heard)
{
    struct destination *d = &s->list[id];
    if (d->in_ring && d->heard != heard)
        ring_drop(s, id); /* settle() puts it into the other one */
    d->heard = heard;
}

static uint32_t window_of(const struct destination *d)
{
    return d->dead ? 1 : MAX((uint32_t)d->window, 1u);
}

/* Puts it where it belongs: see invariant 2. There is room for every destination among the sleepers. */
static void settle(struct schedule *s, uint32_t id, uint64_t now)
{
    struct destination *d = &s->list[id];
    bool able = d->n_ready && !d->paused && !s->halted[d->limits.worker] && d->in_flight < window_of(d);
    uint64_t at = key_of(s, &s->sleepers, id);
    bool runs = able && at <= now;
    if (d->in_ring != runs) {
        if (runs)
            ring_add(s, id);
        else
            ring_drop(s, id);
    }
    if (d->slot != NONE) {
        heap_drop(s, &s->sleepers, d->slot);
        d->slot = NONE;
    }
    if (able && !runs)
        heap_add(s, &s->sleepers, id);
}

static int grow_destinations(struct schedule *s)
{
    uint32_t n = s->n_list ? s->n_list * 2 : 16;
    if (n > DESTINATIONS_MAX)
        return -ENOMEM;
    struct destination *more = realloc(s->list, n * sizeof(*more));
    if (!more)
        return -ENOMEM;
    s->memory += (n - s->n_list) * (sizeof(*more) + sizeof(uint32_t));
    s->list = more;
    uint32_t *ids = realloc(s->sleepers.ids, n * sizeof(*ids));
    if (!ids)
        return -ENOMEM;
    s->sleepers.ids = ids;
    s->sleepers.cap = n;
    for (uint32_t i = n; i-- > s->n_list;) {
        s->list[i] = (struct destination){ .ring_next = s->free_destination };
        s->free_destination = i;
    }
    s->n_list = n;
    return 0;
}

static int destination_new(struct schedule *s, str key, uint32_t *out)
{
    int r = s->free_destination == NONE ? grow_destinations(s) : 0;
    char *copy = malloc(key.n + 1);
    if (r < 0 || !copy) {
        free(copy);
        return -ENOMEM;
    }
    uint32_t id = s->free_destination;
    r = map_set(&s->by_key, key, (void *)(uintptr_t)(id + 1), NULL);
    if (r < 0) {
        free(copy);
        return -ENOMEM;
    }
    s->free_destination = s->list[id].ring_next;
    if (key.n)
        memcpy(copy, key.p, key.n);
    s->list[id] = (struct destination){ .key = copy, .key_n = key.n, .used = true, .window = s->config.window_first,
                                        .slot = NONE, .head = { NONE, NONE, NONE }, .tail = { NONE, NONE, NONE } };
    s->memory += 2 * key.n + 64;
    *out = id;
    return 0;
}

int schedule_destination(struct schedule *s, str key, const struct schedule_limits *limits, uint64_t now, uint32_t *out)
{
    uintptr_t found = (uintptr_t)map_get(&s->by_key, key);
    uint32_t id = (uint32_t)found - 1;
    int r = found ? 0 : destination_new(s, key, &id);
    if (r < 0)
        return r;
    struct destination *d = &s->list[id];
    d->limits = *limits;
    d->limits.concurrency = MAX(limits->concurrency, 1u);
    if (!found && limits->window)
        d->window = limits->window;
    d->window = MIN(d->window, (double)d->limits.concurrency);
    d->last_used = now;
    *out = id;
    return 0;
}

void schedule_pause(struct schedule *s, uint32_t destination, bool pause)
{
    s->list[destination].paused = pause;
    settle(s, destination, pause ? 0 : UINT64_MAX - 1);
    /* woken too early by that, it is put back by the next schedule_next() */
}

void schedule_halt(struct schedule *s, uint8_t worker, bool halt, uint64_t now)
{
    if (s->halted[worker] == halt)
        return;
    s->halted[worker] = halt;
    for (uint32_t id = 0; id < s->n_list; id++)
        if (s->list[id].used && s->list[id].limits.worker == worker)
            settle(s, id, now);
}

static void destination_forget(struct schedule *s, uint32_t id)
{
    struct destination *d = &s->list[id];
    if (d->in_ring)
        ring_drop(s, id);
    if (d->slot != NONE)
        heap_drop(s, &s->sleepers, d->slot);
    map_take(&s->by_key, str_of(d->key, d->key_n));
    s->memory -= 2 * d->key_n + 64;
    free(d->key);
    *d = (struct destination){ .ring_next = s->free_destination };
    s->free_destination = id;
}

/* The whole */

struct schedule *schedule_new(const struct schedule_config *config)
{
    struct schedule *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->config = *config;
    s->last_job = config->first_job;
    s->free_item = s->free_destination = s->ring[0] = s->ring[1] = NONE;
    s->memory = sizeof(*s);
    map_init(&s->by_key, DESTINATIONS_MAX, (const uint8_t[16]){ 0 });
    return s;
}

void schedule_configure(struct schedule *s, const struct schedule_config *config)
{
    s->config = *config;
}

void schedule_free(struct schedule *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_chunks; i++)
        free(s->chunks[i]);
    free(s->chunks);
    for (uint32_t i = 0; i < s->n_list; i++)
        free(s->list[i].key);
    free(s->list);
    free(s->due.ids);
    free(s->sleepers.ids);
    map_done(&s->by_key);
    free(s);
}

static void enter_line(struct schedule *s, uint32_t id)
{
    struct item *i = item_at(s, id);
    struct destination *d = &s->list[i->destination];
    i->state = ITEM_READY;
    i->next = NONE;
    if (d->tail[i->priority] == NONE)
        d->head[i->priority] = id;
    else
        item_at(s, d->tail[i->priority])->next = id;
    d->tail[i->priority] = id;
    d->n_ready++;
}

int schedule_add(struct schedule *s, uint32_t destination, const struct schedule_item *item, uint64_t now)
{
    uint32_t id;
    if (heap_room(s, &s->due) < 0 || item_new(s, &id) < 0)
        return -ENOMEM;
    *item_at(s, id) = (struct item){
        .message = item->message, .due = item->due, .born = item->born, .index = item->index, .group = item->group,
        .destination = destination, .attempts = (uint16_t)MIN(item->attempts, (uint32_t)UINT16_MAX),
        .priority = MIN(item->priority, (uint8_t)(SCHEDULE_PRIORITIES - 1)) & 3, .warned = item->warned,
        .bounce = item->bounce, .state = ITEM_WAITING,
    };
    s->n_items++;
    s->list[destination].n_items++;
    if (item->due <= now) {
        enter_line(s, id);
        settle(s, destination, now);
    } else {
        heap_add(s, &s->due, id);
    }
    return 0;
}

/* Items whose time has come go into line; sleepers whose time has come into the ring. */
static void wake(struct schedule *s, uint64_t now)
{
    while (s->due.n && item_at(s, s->due.ids[0])->due <= now) {
        uint32_t id = s->due.ids[0];
        heap_drop(s, &s->due, 0);
        enter_line(s, id);
        settle(s, item_at(s, id)->destination, now);
    }
    while (s->sleepers.n && key_of(s, &s->sleepers, s->sleepers.ids[0]) <= now)
        settle(s, s->sleepers.ids[0], now);
}

static uint32_t pop_line(struct schedule *s, struct destination *d, unsigned line)
{
    uint32_t id = d->head[line];
    d->head[line] = item_at(s, id)->next;
    if (d->head[line] == NONE)
        d->tail[line] = NONE;
    return id;
}

/* What was taken out of the line while it waited. */
static void skip_gone(struct schedule *s, struct destination *d, unsigned line)
{
    while (d->head[line] != NONE && item_at(s, d->head[line])->state == ITEM_GONE)
        item_free(s, pop_line(s, d, line));
}

static unsigned choose_line(struct schedule *s, struct destination *d)
{
    static const unsigned order[SCHEDULE_PRIORITIES] = { 1, 0, 2 };
    unsigned lines[SCHEDULE_PRIORITIES], n = 0;
    for (unsigned i = 0; i < SCHEDULE_PRIORITIES; i++) {
        skip_gone(s, d, order[i]);
        if (d->head[order[i]] != NONE)
            lines[n++] = order[i];
    }
    d->turn++;
    unsigned lower = d->turn % TURNS == 0 ? 1 + d->turn / TURNS % 2 : 0;
    return lines[MIN(lower, n - 1)];
}

static void fill_job(struct schedule *s, uint32_t id, struct schedule_job *out)
{
    struct destination *d = &s->list[id];
    unsigned line = choose_line(s, d);
    const struct item *first = item_at(s, d->head[line]);
    *out = (struct schedule_job){ .id = ++s->last_job, .destination = id, .message = first->message,
                                  .group = first->group, .born = first->born, .priority = first->priority,
                                  .bounce = first->bounce };
    while (d->head[line] != NONE && out->n < SCHEDULE_JOB_MAX) {
        const struct item *i = item_at(s, d->head[line]);
        if (i->message != out->message || i->group != out->group)
            break;
        out->indexes[out->n] = i->index;
        out->attempts[out->n] = i->attempts;
        out->warned[out->n++] = i->warned;
        item_free(s, pop_line(s, d, line));
        d->n_ready--;
        d->n_items--;
        s->n_items--;
        skip_gone(s, d, line);
    }
}

/* One that has no job. */
static uint32_t idle_in_ring(const struct schedule *s, uint32_t first)
{
    uint32_t id = first;
    do {
        if (id == NONE || s->list[id].in_flight == 0)
            return id;
        id = s->list[id].ring_next;
    } while (id != first);
    return NONE;
}

/* The two rings take turns. When three quarters of all jobs are taken, the rest is for destinations that have none, and
 * the last half of that for those that answered when they were tried last: however many hosts hang, mail for the living
 * goes out. */
static uint32_t choose_destination(const struct schedule *s)
{
    uint32_t most = s->config.jobs_max;
    if (s->jobs >= most)
        return NONE;
    if (s->jobs < most - most / 4)
        return s->ring[s->heard_next] != NONE ? s->ring[s->heard_next] : s->ring[!s->heard_next];
    uint32_t id = idle_in_ring(s, s->ring[1]);
    return id == NONE && s->jobs < most - most / 8 ? idle_in_ring(s, s->ring[0]) : id;
}

bool schedule_next(struct schedule *s, uint64_t now, struct schedule_job *out)
{
    wake(s, now);
    uint32_t id = choose_destination(s);
    while (id != NONE && key_of(s, &s->sleepers, id) > now) { /* resumed before its time */
        settle(s, id, now);
        id = choose_destination(s);
    }
    if (id == NONE)
        return false;
    struct destination *d = &s->list[id];
    fill_job(s, id, out);
    s->ring[d->heard] = d->ring_next;
    s->heard_next = !d->heard;
    d->in_flight++;
    d->last_used = now;
    s->jobs++;
    if (d->limits.rate)
        d->rate_at = MAX(d->rate_at, now) + MAX(d->limits.rate_ms / d->limits.rate, (uint64_t)1);
    settle(s, id, now);
    return true;
}

void schedule_opened(struct schedule *s, uint32_t destination)
{
    s->list[destination].in_flight++;
    s->jobs++;
    settle(s, destination, 0);
}

uint64_t schedule_wait(const struct schedule *s, uint64_t now)
{
    uint64_t at = UINT64_MAX;
    if (choose_destination(s) != NONE)
        return 0;
    if (s->due.n)
        at = item_at(s, s->due.ids[0])->due;
    if (s->sleepers.n)
        at = MIN(at, key_of(s, &s->sleepers, s->sleepers.ids[0]));
    return at == UINT64_MAX ? at : at > now ? at - now : 0;
}

static void succeeded(struct destination *d)
{
    double step = 1 / d->window;
    d->fail_cohorts = 0;
    if (d->dead) {
        d->dead = false;
        d->probes = 0;
        d->pause = 0;
        d->window = 1;
        d->success = d->failure = 0;
        step = 1;
    }
    if (d->window >= d->limits.concurrency || d->window > d->in_flight + 5)
        return; /* as wide as it may be, or wider than it is used */
    d->success += step;
    while (d->success + step / 2 >= HYSTERESIS) {
        d->window += HYSTERESIS;
        d->success -= HYSTERESIS;
        d->failure = 0;
    }
    d->window = MIN(d->window, (double)d->limits.concurrency);
}

static void failed(struct schedule *s, struct destination *d, uint64_t now)
{
    double step = 1 / d->window;
    d->fail_cohorts += step;
    d->probes += d->dead;
    if (d->dead || d->fail_cohorts + step / 2 >= 1) {
        d->pause = d->dead ? MIN(d->pause * 2, s->config.probe_max) : s->config.probe_min;
        d->probe_at = now + d->pause;
        d->dead = true;
        return;
    }
    d->failure -= step;
    while (d->failure - step / 2 < 0) {
        d->window -= HYSTERESIS;
        d->success = 0;
        d->failure += HYSTERESIS;
    }
    d->window = MAX(d->window, 1.0);
}

void schedule_done(struct schedule *s, uint32_t destination, enum schedule_verdict verdict, uint64_t now)
{
    struct destination *d = &s->list[destination];
    d->in_flight--;
    s->jobs--;
    d->last_used = now;
    if (verdict != SCHEDULE_NO_VERDICT)
        set_heard(s, destination, verdict == SCHEDULE_GOOD);
    if (verdict == SCHEDULE_GOOD)
        succeeded(d);
    else if (verdict == SCHEDULE_SITE_FAILED && !(d->dead && now < d->probe_at)) /* not the rest of a cohort */
        failed(s, d, now);
    settle(s, destination, now);
}

/* Takes a waiting item out, wherever it is. */
static void take(struct schedule *s, uint32_t id)
{
    struct item *i = item_at(s, id);
    struct destination *d = &s->list[i->destination];
    d->n_items--;
    s->n_items--;
    if (i->state == ITEM_WAITING) {
        heap_drop(s, &s->due, i->slot);
        item_free(s, id);
        return;
    }
    i->state = ITEM_GONE;
    d->n_ready--;
}

static void describe(const struct item *i, struct schedule_item *out)
{
    *out = (struct schedule_item){ .message = i->message, .index = i->index, .group = i->group, .due = i->due,
                                   .born = i->born, .attempts = i->attempts, .priority = i->priority,
                                   .warned = i->warned, .bounce = i->bounce };
}

static void forget_idle(struct schedule *s, uint64_t now)
{
    for (uint32_t id = 0; id < s->n_list; id++) {
        struct destination *d = &s->list[id];
        for (unsigned line = 0; d->used && line < SCHEDULE_PRIORITIES; line++)
            skip_gone(s, d, line);
        if (d->used && !d->n_items && !d->in_flight && !d->paused && now - d->last_used > IDLE_MS)
            destination_forget(s, id);
    }
}

void schedule_sweep(struct schedule *s, uint64_t now,
                    void (*tell)(void *arg, enum schedule_told what, uint32_t destination,
                                 const struct schedule_item *item), void *arg)
{
    const struct schedule_config *c = &s->config;
    for (uint32_t id = 0; id < s->n_chunks * CHUNK; id++) {
        struct item *i = item_at(s, id);
        struct schedule_item told;
        if (i->state != ITEM_READY)
            continue;
        uint32_t destination = i->destination;
        const struct destination *d = &s->list[destination];
        uint64_t age = now > i->born ? now - i->born : 0;
        describe(i, &told);
        if (d->dead && schedule_expired(c, age, i->attempts + d->probes, i->bounce)) {
            take(s, id);
            settle(s, destination, now);
            tell(arg, SCHEDULE_EXPIRED, destination, &told);
        } else if (c->delay_warning && !i->warned && age >= c->delay_warning) {
            i->warned = true;
            tell(arg, SCHEDULE_DELAYED, destination, &told);
        }
    }
    forget_idle(s, now);
}

void schedule_walk(struct schedule *s, uint64_t now,
                   enum schedule_choice (*choose)(void *arg, uint32_t destination, uint64_t message, uint32_t index),
                   void *arg)
{
    for (uint32_t id = 0; id < s->n_chunks * CHUNK; id++) {
        const struct item *i = item_at(s, id);
        if (i->state != ITEM_WAITING && i->state != ITEM_READY)
            continue;
        uint32_t destination = i->destination;
        enum schedule_choice choice = choose(arg, destination, i->message, i->index);
        if (choice == SCHEDULE_KEEP)
            continue;
        if (choice == SCHEDULE_TAKE) {
            take(s, id);
        } else {
            if (i->state == ITEM_WAITING) {
                heap_drop(s, &s->due, i->slot);
                enter_line(s, id);
            }
            s->list[destination].probe_at = MIN(s->list[destination].probe_at, now);
        }
        settle(s, destination, now);
    }
}

static void state_of(const struct destination *d, uint32_t id, struct schedule_state *out)
{
    *out = (struct schedule_state){
        .id = id, .key = str_of(d->key, d->key_n), .window = d->window, .in_flight = d->in_flight,
        .limit = d->limits.concurrency, .waiting = d->n_items, .ready = d->n_ready, .dead = d->dead,
        .paused = d->paused, .probes = d->probes, .probe_at = d->probe_at,
    };
}

bool schedule_destinations(const struct schedule *s, uint32_t *at, struct schedule_state *out)
{
    while (*at < s->n_list) {
        uint32_t id = (*at)++;
        if (!s->list[id].used)
            continue;
        state_of(&s->list[id], id, out);
        return true;
    }
    return false;
}

bool schedule_find(const struct schedule *s, str key, struct schedule_state *out)
{
    uintptr_t found = (uintptr_t)map_get(&s->by_key, key);
    if (found)
        state_of(&s->list[found - 1], (uint32_t)found - 1, out);
    return found != 0;
}

uint64_t schedule_items(const struct schedule *s) { return s->n_items; }
uint32_t schedule_jobs(const struct schedule *s) { return s->jobs; }
size_t schedule_memory(const struct schedule *s) { return s->memory; }
