/* Questions about the queue: see queue_query.h. They are answered from the index, to which what is deferred is
 * committed first. */
#include "store/store_queue_query.h"
#include <errno.h>
#include "base/codec.h"
#include "base/event.h"

#define LINE_MAX_BYTES 8192
#define PAGE_BYTES (QUEUE_ANSWER_MAX - LINE_MAX_BYTES - 128)
#define ROW_MEMORY ((size_t)1 << 26)
#define US UINT64_C(1000000)

static const char *const outcome_names[QUEUE_OUTCOMES] = { "relayed", "relayed", "deferred", "failed", "expired",
                                                           "delivered",
                                                           "expanded", "waiting", "dropped" };
static const char *const dsn_names[QUEUE_DSN_KINDS] = { "failed", "delayed", "relayed", "delivered", "expanded" };

/* The question */

static const struct { const char *key; size_t at; } text_keys[] = {
    { "do", offsetof(struct queue_query, what) },
    { "sender", offsetof(struct queue_query, sender) },
    { "recipient", offsetof(struct queue_query, recipient) },
    { "domain", offsetof(struct queue_query, domain) },
    { "destination", offsetof(struct queue_query, destination) },
    { "state", offsetof(struct queue_query, state) },
    { "to", offsetof(struct queue_query, to) },
    { "by", offsetof(struct queue_query, by) },
    { "text", offsetof(struct queue_query, text) },
};

static bool set_number(struct queue_query *q, str key, str value, uint64_t now_us)
{
    uint64_t n;
    if (str_eq(key, S("from")))
        return str_u64(value, INT64_MAX, &q->page) == 0;
    if (str_u64(value, INT64_MAX / US, &n) < 0)
        return false;
    if (str_eq(key, S("id"))) {
        q->id = n;
        q->has_id = true;
    } else if (str_eq(key, S("older"))) {
        q->older_us = now_us > n * US ? now_us - n * US : 1;
    } else if (str_eq(key, S("younger"))) {
        q->younger_us = now_us > n * US ? now_us - n * US : 1;
    } else {
        return false;
    }
    return true;
}

static bool read_question(struct arena *a, str line, uint64_t now_us, struct queue_query *q)
{
    _cleanup_buf_ struct buf value = BUF(65536);
    str key;
    *q = (struct queue_query){ .by = S("the administrator") };
    while (event_field(&line, &key, &value)) {
        str kept = arena_dup(a, buf_str(&value));
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(text_keys) && !known; i++) {
            known = str_eq(key, str_z(text_keys[i].key));
            if (known)
                *(str *)((char *)q + text_keys[i].at) = kept;
        }
        q->has_sender = q->has_sender || str_eq(key, S("sender"));
        if (!kept.p || (!known && !set_number(q, key, kept, now_us)))
            return false;
        buf_clear(&value);
    }
    if (str_eq(q->sender, S("<>")))
        q->sender = STR_NONE;
    return line.n == 0;
}

/* What fits */

static bool fits_address(str pattern, str address)
{
    if (pattern.n && pattern.p[0] == '@')
        return str_iends(address, pattern);
    return str_ieq(pattern, address);
}

static bool fits_domain(str domain, str address)
{
    ptrdiff_t at = str_rchr(address, '@');
    return at >= 0 && str_ieq(domain, str_from(address, (size_t)at + 1));
}

static bool fits_message(const struct queue_query *q, const struct index_queue_message *m)
{
    return (!q->has_sender || (q->sender.n ? fits_address(q->sender, m->sender) : m->sender.n == 0)) &&
           (!q->older_us || m->received_us <= q->older_us) && (!q->younger_us || m->received_us >= q->younger_us);
}

static const char *state_of(const struct queue *q, const struct index_queue_recipient *r)
{
    if (r->state == QUEUE_STATE_FINAL)
        return "final";
    if (queue_is_open(q, r->message, r->index))
        return "sending";
    return r->state == QUEUE_STATE_HELD ? "held" : "waiting";
}

static bool fits(const struct queue_query *q, const struct queue_seen *x)
{
    const struct index_queue_recipient *r = x->r;
    return (!q->recipient.n || fits_address(q->recipient, r->address) || fits_address(q->recipient, r->original)) &&
           (!q->domain.n || fits_domain(q->domain, r->address)) &&
           (!q->state.n || str_eq(q->state, str_z(x->state))) &&
           (!q->destination.n || str_eq(q->destination, x->destination));
}

struct walk {
    struct store *s;
    const struct queue_query *q;
    int (*each)(void *arg, const struct queue_seen *x);
    void *arg;
};

static int walk_recipients(struct walk *w, const struct index_queue_message *m,
                           const struct index_queue_recipient *list, size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        _cleanup_buf_ struct buf key = BUF(2048);
        if (queue_place(m->lsn, list[i].index) < w->q->page)
            continue;
        struct queue_seen x = { .m = m, .r = &list[i], .state = state_of(w->s->queue, &list[i]) };
        const struct queue_to to = queue_to(m, &list[i]);
        if (queue_destination_key(w->s, &to, &key) < 0)
            return -ENOMEM;
        x.destination = buf_str(&key);
        if (fits(w->q, &x))
            r = w->each(w->arg, &x);
    }
    return r;
}

int queue_query_walk(struct store *s, const struct queue_query *q, int (*each)(void *arg, const struct queue_seen *x),
                     void *arg, uint64_t *out_more)
{
    struct arena a = ARENA(ROW_MEMORY);
    struct walk w = { .s = s, .q = q, .each = each, .arg = arg };
    uint64_t from = q->page >> QUEUE_PLACE_BITS, lsn = q->has_id ? q->id - 1 : from ? from - 1 : 0;
    int r = store_commit_deferred(s);
    *out_more = 0;
    for (unsigned seen = 0; r == 0; seen++) {
        struct index_queue_message m;
        struct index_queue_recipient *list;
        size_t n;
        r = index_queue_next(s->index, lsn, &lsn);
        if (r != 1 || (q->has_id && lsn != q->id) || seen == QUERY_MESSAGES) {
            *out_more = r == 1 && !q->has_id ? queue_place(lsn, 0) : 0;
            r = MIN(r, 0);
            break;
        }
        arena_clear(&a);
        r = index_queue_load(s->index, &a, lsn, &m, &list, &n);
        r = r == 1 && fits_message(q, &m) ? walk_recipients(&w, &m, list, n) : MIN(r, 0);
        if (r == 1)
            *out_more = queue_place(lsn, 0);
    }
    arena_done(&a);
    return MIN(r, 0);
}

/* Answers */

struct page {
    struct buf *out;
    uint64_t next;
    bool full;
    const struct index_queue_recipient *list; /* of the message that is shown */
    size_t n;
};

static void put_id(struct buf *b, const struct index_queue_message *m)
{
    char id[B32_ID_LEN + 16];
    struct buf text = { .p = id, .cap = sizeof(id), .max = sizeof(id) };
    b32_id_encode(m->session, id);
    text.n = B32_ID_LEN;
    buf_addc(&text, '.');
    buf_addu(&text, m->number);
    json_u64(b, "queue_id", m->lsn);
    json_str(b, "session", buf_str(&text));
}

static void put_reply(struct buf *b, uint16_t code, str status, str text, str mta, str tls)
{
    if (code)
        json_u64(b, "code", code);
    if (status.n)
        json_str(b, "status", status);
    if (text.n)
        json_str(b, "reply", str_first(text, 1000));
    if (mta.n)
        json_str(b, "mta", mta);
    if (tls.n)
        json_str(b, "tls", tls);
}

static int list_line(void *arg, const struct queue_seen *x)
{
    struct page *p = arg;
    const struct index_queue_recipient *r = x->r;
    struct buf *b = p->out;
    if (b->n > PAGE_BYTES)
        return p->full = true;
    p->next = queue_place(x->m->lsn, r->index + UINT64_C(1));
    json_begin(b);
    put_id(b, x->m);
    json_str(b, "sender", x->m->sender);
    json_str(b, "recipient", r->address);
    if (r->alias.n)
        json_str(b, "alias", r->alias);
    if (r->via.n)
        json_str(b, "mechanism", str_first(r->via, 1000));
    json_str(b, "state", str_z(x->state));
    json_str(b, "outcome", str_z(r->outcome < QUEUE_OUTCOMES ? outcome_names[r->outcome] : ""));
    json_u64(b, "attempts", r->attempts);
    json_time(b, "received", x->m->received_us);
    if (r->due_us && r->state != QUEUE_STATE_FINAL)
        json_time(b, "next", r->due_us);
    json_str(b, "destination", x->destination);
    json_u64(b, "size", x->m->content_len);
    put_reply(b, r->code, r->status, r->text, r->mta, r->tls);
    if (r->at_us)
        json_time(b, "last", r->at_us);
    if (r->redirect.n)
        json_str(b, "redirect", r->redirect);
    if (r->owed && r->owed <= QUEUE_DSN_KINDS)
        json_str(b, "dsn", str_z(dsn_names[r->owed - 1]));
    json_end(b);
    return 0;
}

static void put_end(struct buf *b, uint64_t more)
{
    buf_add(b, S("{\"end\":true"));
    if (more)
        json_u64(b, "more", more);
    json_end(b);
}

static int do_list(struct store *s, const struct queue_query *q, struct buf *out)
{
    struct page p = { .out = out };
    uint64_t more;
    int r = queue_query_walk(s, q, list_line, &p, &more);
    put_end(out, p.full ? p.next : more);
    return r;
}

static int attempt_line(void *arg, const struct index_queue_attempt *t)
{
    struct page *p = arg;
    if (p->out->n > PAGE_BYTES)
        return p->full = true;
    json_begin(p->out);
    json_open(p->out, "attempt");
    json_u64(p->out, "number", t->attempts);
    for (size_t i = 0; i < p->n; i++)
        if (p->list[i].index == t->index)
            json_str(p->out, "recipient", p->list[i].address);
    json_time(p->out, "time", t->at_us);
    json_str(p->out, "outcome", str_z(t->outcome < QUEUE_OUTCOMES ? outcome_names[t->outcome] : ""));
    put_reply(p->out, t->code, t->status, t->text, t->mta, t->tls);
    json_close(p->out);
    json_end(p->out);
    return 0;
}

static void put_message(struct buf *b, const struct index_queue_message *m)
{
    json_begin(b);
    json_open(b, "message");
    put_id(b, m);
    json_str(b, "sender", m->sender);
    if (m->envid.n)
        json_str(b, "envid", m->envid);
    json_time(b, "received", m->received_us);
    json_u64(b, "size", m->content_len);
    json_u64(b, "ret", m->ret);
    json_u64(b, "priority", m->priority);
    json_u64(b, "smtputf8", m->smtputf8);
    json_str(b, "log", m->log);
    json_u64(b, "segment", m->position.segment);
    json_u64(b, "offset", m->position.offset + RECORD_HEADER_SIZE);
    json_close(b);
    json_end(b);
}

static void put_error(struct buf *b, str what)
{
    json_begin(b);
    json_str(b, "error", what);
    json_end(b);
}

static int do_show(struct store *s, const struct queue_query *q, struct buf *out, bool *out_ok)
{
    struct arena a = ARENA(ROW_MEMORY);
    struct index_queue_message m;
    struct index_queue_recipient *list = NULL;
    size_t n = 0;
    int r = store_commit_deferred(s);
    if (r == 0)
        r = index_queue_load(s->index, &a, q->id, &m, &list, &n);
    if (r == 1)
        put_message(out, &m);
    else if (r == 0)
        put_error(out, S("there is no such message in the queue (any more)"));
    *out_ok = r == 1;
    struct page p = { .out = out, .list = list, .n = n };
    uint64_t more;
    if (r == 1) {
        r = queue_query_walk(s, q, list_line, &p, &more);
        if (r == 0 && !p.full)
            r = MIN(index_queue_attempts(s->index, q->id, attempt_line, &p), 0);
        put_end(out, 0);
    }
    arena_done(&a);
    return r;
}

static void put_replies(struct buf *b, const struct queue_destination *d)
{
    bool first = true;
    buf_add(b, S(",\"replies\":["));
    for (size_t i = 0; i < QUEUE_REPLIES; i++) {
        const struct queue_reply *r = &d->replies[i];
        if (!r->count)
            continue;
        buf_add(b, first ? S("{") : S(",{"));
        first = false;
        json_str(b, "text", r->text);
        json_u64(b, "count", r->count);
        json_time(b, "time", r->at_us);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

static void put_destination(struct buf *b, const struct schedule_state *x, const struct queue_destination *d)
{
    static const struct queue_destination none;
    d = d ? d : &none;
    json_begin(b);
    json_str(b, "destination", x->key);
    json_str(b, "state", x->paused ? S("paused") : x->dead ? S("dead") : S("alive"));
    json_u64(b, "window", (uint64_t)x->window);
    json_u64(b, "limit", x->limit);
    json_u64(b, "in_flight", x->in_flight);
    json_u64(b, "waiting", x->waiting);
    json_u64(b, "ready", x->ready);
    json_u64(b, "sent", d->sent);
    json_u64(b, "deferred", d->deferred);
    json_u64(b, "failed", d->failed);
    json_u64(b, "site_failures", d->site_failures);
    json_u64(b, "connections", d->connections);
    json_u64(b, "reused", d->reused);
    json_u64(b, "connect_ms", d->connections ? d->connect_ms / d->connections : 0);
    json_u64(b, "tls_ms", d->tls_n ? d->tls_ms / d->tls_n : 0);
    json_u64(b, "transfer_ms", d->transfer_n ? d->transfer_ms / d->transfer_n : 0);
    if (x->dead)
        json_time(b, "probe_at", queue_us(x->probe_at));
    put_replies(b, d);
    json_end(b);
}

static int do_destinations(struct store *s, const struct queue_query *q, struct buf *out)
{
    uint32_t at = (uint32_t)MIN(q->page, (uint64_t)UINT32_MAX), more = 0;
    struct schedule_state x;
    while (s->queue->schedule && schedule_destinations(s->queue->schedule, &at, &x)) {
        if (q->destination.n && !str_eq(q->destination, x.key))
            continue;
        put_destination(out, &x, map_get(&s->queue->destinations, x.key));
        if (out->n > PAGE_BYTES) {
            more = at;
            break;
        }
    }
    put_end(out, more);
    return 0;
}

/* A host is part of the name of a destination, which has no blanks. */
static bool is_host(str to)
{
    bool good = to.n <= 255;
    for (size_t i = 0; i < to.n; i++)
        good = good && to.p[i] > ' ' && to.p[i] < 0x7f && to.p[i] != '"';
    return good;
}

static int do_change(struct store *s, const struct queue_query *q, struct buf *out, bool *out_ok)
{
    uint64_t changed = 0, skipped = 0, more = 0;
    *out_ok = is_host(q->to);
    if (!*out_ok) {
        put_error(out, S("that is no name of a host"));
        return 0;
    }
    int r = queue_change(s, q, &changed, &skipped, &more);
    if (r < 0)
        return r;
    json_begin(out);
    json_u64(out, "changed", changed);
    json_u64(out, "skipped", skipped);
    json_end(out);
    put_end(out, more);
    return 0;
}

struct sums { uint64_t waiting, sending, held, final, oldest_us; };

static int sum(void *arg, const struct queue_seen *x)
{
    struct sums *t = arg;
    t->waiting += x->state[0] == 'w';
    t->sending += x->state[0] == 's';
    t->held += x->state[0] == 'h';
    t->final += x->state[0] == 'f';
    t->oldest_us = t->oldest_us ? MIN(t->oldest_us, x->m->received_us) : x->m->received_us;
    return 0;
}

static int do_summary(struct store *s, const struct queue_query *q, struct buf *out)
{
    struct sums t = { 0 };
    struct store_queue_stats stats;
    uint64_t more;
    int r = queue_query_walk(s, q, sum, &t, &more);
    store_queue_stats(s, &stats);
    json_begin(out);
    json_u64(out, "waiting", t.waiting);
    json_u64(out, "sending", t.sending);
    json_u64(out, "held", t.held);
    json_u64(out, "final", t.final);
    if (t.oldest_us)
        json_time(out, "oldest", t.oldest_us);
    json_u64(out, "destinations", stats.destinations);
    json_u64(out, "dsn_owed", stats.dsn_owed);
    json_end(out);
    put_end(out, more);
    return r;
}

static int do_pause(struct store *s, const struct queue_query *q, struct buf *out, bool *out_ok)
{
    if (!q->destination.n || q->destination.n > ROUTE_DESTINATION_MAX) {
        put_error(out, S("which destination?"));
        *out_ok = false;
        return 0;
    }
    int r = queue_pause(s, q->destination, str_eq(q->what, S("pause")), q->by);
    put_end(out, 0);
    return r;
}

static bool is_change(str what)
{
    static const char *const words[] = { "retry", "hold", "release", "bounce", "drop", "redirect" };
    bool is = false;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        is = is || str_eq(what, str_z(words[i]));
    return is;
}

static int answer(struct store *s, const struct queue_query *q, struct buf *out, bool *out_ok)
{
    if (str_eq(q->what, S("list")))
        return do_list(s, q, out);
    if (str_eq(q->what, S("show")))
        return do_show(s, q, out, out_ok);
    if (str_eq(q->what, S("destinations")))
        return do_destinations(s, q, out);
    if (str_eq(q->what, S("summary")))
        return do_summary(s, q, out);
    if (str_eq(q->what, S("pause")) || str_eq(q->what, S("resume")))
        return do_pause(s, q, out, out_ok);
    if (is_change(q->what))
        return do_change(s, q, out, out_ok);
    put_error(out, S("the question is not understood"));
    *out_ok = false;
    return 0;
}

int queue_query(struct store *s, str question, struct buf *out, bool *out_ok)
{
    struct arena a = ARENA(1 << 20);
    struct queue_query q;
    int r = s->failed;
    *out_ok = true;
    if (!read_question(&a, question, s->config.env->wall_us(), &q) || !s->queue->conf) {
        put_error(out, S("the question is not understood"));
        *out_ok = false;
    } else if (r == 0) {
        r = answer(s, &q, out, out_ok);
    }
    arena_done(&a);
    return r == -EBADMSG ? store_reindex(s) : r;
}
