/* DSN that are owed (RFC 3461): asked for until the message that is one has been expanded, whose record says so. What a
 * DSN tells is in the index: the recipients whose `event` is its own. */
#include <errno.h>
#include <stdlib.h>
#include "store/store_queue_internal.h"

#define AGAIN_MS 60000u  /* asked for, and not made: asked for again */
#define PAUSE_MS 1000u   /* nobody to ask */
#define ASKED_MAX 64     /* at the same time */
#define LOADED_MAX 50000

static str key_of(const uint64_t *event) { return str_of(event, sizeof(*event)); }

static const char *const kind_names[QUEUE_DSN_KINDS] = { "failed", "delayed", "relayed", "delivered", "expanded" };

int queue_owe(struct store *s, uint64_t event, uint64_t message, uint8_t owed)
{
    struct queue *q = s->queue;
    if (map_get(&q->owed, key_of(&event)))
        return 0;
    struct queue_owed *o = q->owed.n < LOADED_MAX ? calloc(1, sizeof(*o)) : NULL;
    if (!o) {
        q->owed_overflow = true; /* read from the index when there is room */
        return 0;
    }
    *o = (struct queue_owed){ .event = event, .message = message, .kind = (uint8_t)(owed - 1),
                              .since_lsn = s->next_lsn - 1 };
    int r = map_set(&q->owed, key_of(&o->event), o, NULL);
    if (r < 0)
        free(o);
    q->owed_new = true;
    return r == -ENOSPC ? 0 : r;
}

int queue_owed_load(struct store *s)
{
    struct queue *q = s->queue;
    uint64_t event = 0, message;
    uint8_t owed;
    int r = store_commit_deferred(s);
    q->owed_overflow = false;
    while (r == 0 && !q->owed_overflow) {
        r = index_queue_owed(s->index, &event, &message, &owed);
        if (r != 1)
            break;
        r = owed && owed <= QUEUE_DSN_KINDS ? queue_owe(s, event, message, owed) : 0;
    }
    return MIN(r, 0);
}

static void forget(struct queue *q, struct queue_owed *o)
{
    q->dsn_asked -= o->asked_ms > 0;
    map_take(&q->owed, key_of(&o->event));
    free(o);
}

void queue_owed_made(struct store *s, uint64_t event)
{
    struct queue_owed *o = map_get(&s->queue->owed, key_of(&event));
    if (o)
        forget(s->queue, o);
}

int queue_dsn_look(struct store *s, uint64_t message, uint64_t event, bool *out_owed)
{
    struct queue *q = s->queue;
    const struct queue_owed *o = map_get(&q->owed, key_of(&event));
    uint64_t at = event - 1, of = 0;
    uint8_t owed;
    *out_owed = o && !o->made && o->message == message;
    if (o)
        return 0;
    int r = store_commit_deferred(s);
    if (r == 0)
        r = index_queue_owed(s->index, &at, &of, &owed);
    *out_owed = r == 1 && at == event && of == message;
    return MIN(r, 0);
}

void queue_dsn_staged(struct store *s, uint64_t event)
{
    struct queue_owed *o = map_get(&s->queue->owed, key_of(&event));
    if (o)
        o->made = true;
}

str queue_postmaster(struct store *s, struct arena *a)
{
    const struct conf *c = s->queue->conf;
    str domain = c && c->n_domains ? c->domains[0].text : S("localhost");
    return arena_printf(a, "postmaster@%.*s", STR_ARG(domain));
}

static int describe(struct store *s, const struct queue_owed *o, const struct index_queue_message *m,
                    const struct index_queue_recipient *list, size_t n, struct queue_dsn *out)
{
    struct queue *q = s->queue;
    struct queue_dsn_recipient *to = ARENA_ARRAY(&q->scratch, struct queue_dsn_recipient, n);
    uint64_t lifetime = m->sender.n ? q->times.lifetime : q->times.bounce_lifetime;
    if (!to)
        return -ENOMEM;
    *out = (struct queue_dsn){ .message = m->lsn, .event = o->event, .kind = o->kind, .to = m->sender,
                               .envid = m->envid,
                               .ret = m->ret, .session = m->session, .number = m->number, .arrival_us = m->received_us,
                               .sender = m->sender, .smtputf8 = m->smtputf8,
                               .offset = m->position.offset + RECORD_HEADER_SIZE, .content_len = m->content_len,
                               .recipients = to };
    if (!m->sender.n) {
        out->last_resort = true;
        out->to = queue_postmaster(s, &q->scratch);
    }
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const struct index_queue_recipient *r = &list[i];
        if (r->event != o->event)
            continue;
        bytes += r->address.n + r->original.n + r->orcpt.n + r->text.n + r->mta.n + 100;
        if (bytes > QUEUE_DSN_BYTES + QUEUE_DSN_BYTES / 4 && out->n)
            break; /* more parts than can be numbered: this one stands for the rest */
        to[out->n++] = (struct queue_dsn_recipient){
            .address = r->address, .original = r->original.n ? r->original : r->address, .orcpt = r->orcpt,
            .outcome = r->outcome, .code = r->code, .status = r->status, .mta = r->mta, .text = r->text,
            .at_us = r->at_us ? r->at_us : m->received_us, .until_us = m->received_us + lifetime * 1000,
        };
    }
    out->fd = out->n ? queue_file(s, m->log, m->position.segment) : -1; /* unreadable: a notice without the original */
    return !out->to.p ? -ENOMEM : out->n == 0 ? -ENOENT : 0;
}

/* 1 asked, 0 nobody to ask now, -ENOENT nothing is owed any more. */
static int ask(struct store *s, struct queue_owed *o)
{
    struct queue *q = s->queue;
    struct index_queue_message m;
    struct index_queue_recipient *list;
    struct queue_dsn dsn;
    size_t n;
    arena_clear(&q->scratch);
    int r = index_queue_load(s->index, &q->scratch, o->message, &m, &list, &n);
    if (r == 0)
        return -ENOENT;
    if (r == 1)
        r = describe(s, o, &m, list, n, &dsn);
    if (r == 0) {
        struct queue_event e = { .name = "dsn_owed", .dsn = kind_names[o->kind], .session = m.session,
                                 .number = m.number,
                                 .message = m.lsn, .sender = m.sender, .recipient = dsn.to };
        if (q->hooks.event && !o->told)
            q->hooks.event(q->hooks.arg, &e);
        o->told = true;
        r = q->hooks.dsn && q->hooks.dsn(q->hooks.arg, &dsn);
    }
    arena_clear(&q->scratch);
    return r;
}

int queue_dsn_run(struct store *s, uint64_t now)
{
    struct queue *q = s->queue;
    struct queue_owed *o;
    if (!q->owed.n || (now < q->owed_next_ms && !q->owed_new))
        return 0;
    q->owed_new = false;
    q->owed_next_ms = now + AGAIN_MS;
    int r = 0;
    for (size_t at = 0; r == 0 && (o = map_next(&q->owed, &at, NULL));) {
        bool waits = o->since_lsn > queue_durable(s);
        q->owed_waits = q->owed_waits || waits;
        if (o->made || waits || (o->asked_ms && now < o->asked_ms + AGAIN_MS))
            continue;
        if (!o->asked_ms && q->dsn_asked >= ASKED_MAX)
            break;
        r = store_commit_deferred(s);
        int k = r == 0 ? ask(s, o) : 0;
        if (k == -ENOENT) {
            forget(q, o);
        } else if (k < 0) {
            r = k;
        } else if (r == 0 && k == 0) {
            q->owed_next_ms = now + PAUSE_MS;
            break;
        } else if (r == 0) {
            q->dsn_asked += !o->asked_ms;
            o->asked_ms = now;
        }
    }
    return r == -ENOMEM ? 0 : r;
}

uint64_t queue_dsn_wait(const struct store *s, uint64_t now)
{
    const struct queue *q = s->queue;
    if (!q->owed.n)
        return UINT64_MAX;
    return q->owed_new || q->owed_next_ms <= now ? 0 : q->owed_next_ms - now;
}

void store_queue_dsn_attach(struct store *s)
{
    struct queue *q = s->queue;
    struct queue_owed *o;
    for (size_t at = 0; (o = map_next(&q->owed, &at, NULL));)
        o->asked_ms = 0;
    q->dsn_asked = 0;
    q->owed_new = true;
}
