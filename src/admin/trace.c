/* `posthouse trace`: the walk of a message hop by hop, or the last messages and refusals of an address. */
#include <errno.h>
#include "admin/admin.h"
#include "admin/trace_query.h"
#include "admin/trace_text.h"
#include "base/event.h"

enum { LAST_DEFAULT = 5, AGENT_WIDTH = 6 };
#define WALK_MEMORY_MAX (1u << 30)

int cmd_trace(int argc, char **argv)
{
    return trace_command("trace", true, trace_print, argc, argv);
}

/* What is printed under one heading: a session, a message, or a session with its only message. */
struct walk {
    const char *session;
    uint32_t number;
    bool brief;
    str listener;
    struct arena arena;
    struct trace_event *event;
    size_t n;
};

/* Lines of one session and number, in the order of time. */
struct part { const struct trace_line *line; size_t n; };

static int read_walk(struct walk *w, struct part p)
{
    w->event = ARENA_ARRAY(&w->arena, struct trace_event, p.n + 1);
    if (!w->event)
        return -ENOMEM;
    for (; w->n < p.n; w->n++) {
        int r = trace_event_read(&w->arena, &p.line[w->n], &w->event[w->n]);
        if (r < 0)
            return r;
    }
    return 0;
}

static const struct trace_event *find_event(const struct walk *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->event[i].name, str_z(name)))
            return &w->event[i];
    return NULL;
}

static size_t count_events(const struct walk *w, const char *name, const char *key, const char *value)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        n += str_eq(w->event[i].name, str_z(name)) && (!key || trace_is(&w->event[i], key, str_z(value)));
    return n;
}

static void put_refused_recipients(const struct walk *w, struct buf *out)
{
    size_t n = count_events(w, "rcpt", NULL, NULL) - count_events(w, "rcpt", "verdict", "permit");
    if (n)
        buf_addf(out, "; %zu recipient%s refused", n, n == 1 ? "" : "s");
}

static void put_recipients(struct buf *out, const char *what, size_t n)
{
    if (n)
        buf_addf(out, ", %s %zu recipient%s", what, n, n == 1 ? "" : "s");
}

/* Of what led off this host, or by a mechanism. Attempts that were deferred count for nothing at their end. */
static void put_queue(const struct walk *w, struct buf *out, size_t queued)
{
    size_t sent = count_events(w, "sent", NULL, NULL), failed = count_events(w, "failed", NULL, NULL);
    size_t expired = count_events(w, "expired", NULL, NULL), dropped = count_events(w, "dropped", NULL, NULL);
    size_t delivered = count_events(w, "delivered", NULL, NULL);
    size_t over = sent + delivered + failed + expired + dropped;
    put_recipients(out, "sent to", sent);
    put_recipients(out, "delivered for", delivered);
    put_recipients(out, "failed for", failed + expired);
    put_recipients(out, "dropped for", dropped);
    put_recipients(out, "queued for", queued > over ? queued - over : 0);
}

/* What became of the message, from what its events tell. */
static void put_outcome(const struct walk *w, struct buf *out)
{
    const struct trace_event *refused = find_event(w, "refused"), *rcpt = find_event(w, "rcpt");
    size_t placed = count_events(w, "placed", NULL, NULL), retrieved = count_events(w, "pop3_retrieved", NULL, NULL);
    size_t queued = count_events(w, "queued", NULL, NULL);
    bool received = find_event(w, "received") != NULL || placed || retrieved || queued;
    if (received) {
        buf_add(out, S("accepted"));
        if (placed)
            buf_addf(out, ", placed in %zu mailbox%s", placed, placed == 1 ? "" : "es");
        else if (!retrieved && !queued)
            buf_add(out, S(", not yet placed by the store"));
        if (queued)
            put_queue(w, out, queued);
        if (retrieved)
            buf_addf(out, ", retrieved %zu time%s", retrieved, retrieved == 1 ? "" : "s");
        put_refused_recipients(w, out);
    } else if (refused) {
        buf_add(out, S("refused after its content"));
    } else if (rcpt && count_events(w, "rcpt", "verdict", "permit") == 0) {
        buf_add(out, S("every recipient refused"));
    } else if (find_event(w, "mail") && !trace_is(find_event(w, "mail"), "verdict", S("permit"))) {
        buf_add(out, S("sender refused"));
    } else if (find_event(w, "data") && !trace_is(find_event(w, "data"), "verdict", S("permit"))) {
        buf_add(out, S("refused at DATA"));
    } else {
        buf_add(out, S("the client did not finish it"));
        put_refused_recipients(w, out);
    }
}

static void put_message_heading(const struct walk *w, struct buf *out)
{
    const struct trace_event *e = find_event(w, "received");
    e = e ? e : find_event(w, "refused");
    e = e ? e : find_event(w, "rcpt");
    e = e ? e : find_event(w, "mail");
    buf_add(out, S("Message "));
    buf_add(out, str_of(w->session, B32_ID_LEN));
    buf_addf(out, ".%u\n  ", w->number);
    if (e) {
        bool each = str_eq(e->name, S("rcpt")); /* one event a recipient */
        size_t more = each ? count_events(w, "rcpt", NULL, NULL) - 1 : 0;
        trace_fill(out, "from <{sender}>[ to {recipient*}]", e, NULL);
        if (more)
            buf_addf(out, " and %zu more", more);
        trace_fill(out, "[, {size#} bytes]: ", e, NULL);
    }
    put_outcome(w, out);
    buf_addc(out, '\n');
}

/* The listener that the session came in by, from its connect line. */
static int read_listener(struct walk *w, struct part session)
{
    _cleanup_buf_ struct buf value = BUF(256);
    for (size_t i = 0; i < session.n; i++) {
        str line = session.line[i].text;
        if (!str_eq(trace_line_event(line), S("connect")) || !event_get(line, "listener", &value))
            continue;
        w->listener = arena_dup(&w->arena, buf_str(&value));
        return w->listener.p ? 0 : -ENOMEM;
    }
    return 0;
}

/* In the short form of many walks only what decides the fate of a message stands. */
static bool is_shown(const struct walk *w, const struct trace_event *e)
{
    static const str minor[] = { S("header"), S("disconnect"), S("tls") };
    if (!w->brief)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(minor); i++)
        if (str_eq(e->name, minor[i]))
            return false;
    return !(str_eq(e->name, S("data")) || str_eq(e->name, S("mail"))) || !trace_is(e, "verdict", S("permit"));
}

static void put_walk(const struct walk *w, struct buf *out)
{
    uint64_t day = UINT64_MAX;
    for (size_t i = 0; i < w->n; i++) {
        const struct trace_event *e = &w->event[i];
        if (!is_shown(w, e))
            continue;
        if (e->time_us / 86400000000 != day) {
            buf_add(out, S("  "));
            trace_put_date(out, e->time_us);
            buf_add(out, S(" (UTC)\n"));
        }
        day = e->time_us / 86400000000;
        str agent = trace_agent(e, w->listener);
        buf_add(out, S("  "));
        trace_put_clock(out, e->time_us);
        buf_add(out, S("  "));
        print_safe(out, agent);
        for (size_t n = agent.n; n < AGENT_WIDTH; n++)
            buf_addc(out, ' ');
        trace_sentence(out, e, w->brief);
        buf_addc(out, '\n');
    }
}

static int print_walk(struct part p, struct part session, uint32_t number, bool brief, struct buf *out)
{
    struct walk w = { .session = p.line->session, .number = number, .brief = brief, .arena = ARENA(WALK_MEMORY_MAX) };
    int r = read_walk(&w, p);
    if (r == 0)
        r = read_listener(&w, session);
    if (r == 0) {
        if (out->n)
            buf_addc(out, '\n');
        if (number)
            put_message_heading(&w, out);
        else
            buf_addf(out, "Session %.*s\n", B32_ID_LEN, w.session);
        put_walk(&w, out);
    }
    arena_done(&w.arena);
    return r;
}

static int print_json(const struct trace_lines *lines, struct buf *out)
{
    json_t *array = json_array();
    _cleanup_arena_ struct arena a = ARENA(WALK_MEMORY_MAX);
    int r = array ? 0 : -ENOMEM;
    for (size_t i = 0; i < lines->n && r == 0; i++) {
        struct trace_event e;
        arena_clear(&a);
        r = trace_event_read(&a, &lines->line[i], &e);
        if (r == 0 && json_array_append_new(array, trace_event_json(&e)) < 0)
            r = -ENOMEM;
    }
    if (r == 0)
        return trace_put_json(out, array);
    json_decref(array);
    return r;
}

static int by_message(const void *a, const void *b)
{
    const struct trace_line *x = a, *y = b;
    int order = memcmp(x->session, y->session, B32_ID_LEN);
    if (order || x->number != y->number)
        return order ? order : x->number < y->number ? -1 : 1;
    if (x->time_us != y->time_us)
        return x->time_us < y->time_us ? -1 : 1;
    return x->text.p < y->text.p ? -1 : x->text.p > y->text.p;
}

/* Of lines sorted by message: those with the session and number of line i, from i on. */
static struct part part_at(const struct trace_lines *l, size_t i)
{
    struct part p = { .line = &l->line[i] };
    while (i + p.n < l->n && p.line[p.n].number == p.line->number &&
           memcmp(p.line[p.n].session, p.line->session, B32_ID_LEN) == 0)
        p.n++;
    return p;
}

static struct part find_part(const struct trace_lines *l, const char *session, uint32_t number)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->line[i].number == number && memcmp(l->line[i].session, session, B32_ID_LEN) == 0)
            return part_at(l, i);
    return (struct part){ 0 };
}

/* One message with its session; or a session: what concerns the session as a whole, then each of its messages. */
static int print_session(struct trace_lines *l, struct buf *out)
{
    uint32_t only = 0;
    bool several = false;
    for (size_t i = 0; i < l->n; i++) {
        uint32_t number = l->line[i].number;
        several |= number && only && number != only;
        only = number ? number : only;
    }
    struct part all = { l->line, l->n };
    if (!several)
        return print_walk(all, all, only, false, out);
    qsort(l->line, l->n, sizeof(*l->line), by_message);
    struct part session = find_part(l, l->line->session, 0), p;
    int r = 0;
    for (size_t i = 0; i < l->n && r == 0; i += p.n) {
        p = part_at(l, i);
        r = print_walk(p, session, p.line->number, false, out);
    }
    return r;
}

/* The latest messages and refused log-ins that have an address, the latest first. */
struct latest { struct trace_lines lines; size_t max; int error; };

static bool is_message_event(void *arg, str line, str event)
{
    static const str names[] = { S("mail"), S("rcpt"), S("received"), S("refused"), S("placed"), S("data") };
    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(event, names[i]))
            return true;
    _cleanup_buf_ struct buf value = BUF(256);
    return str_eq(event, S("auth")) && !(event_get(line, "result", &value) && str_eq(buf_str(&value), S("ok")));
}

static void keep_latest(void *arg, const struct trace_line *line, str event)
{
    struct latest *k = arg;
    struct trace_lines *l = &k->lines;
    size_t i = 0;
    (void)event;
    while (i < l->n &&
           (l->line[i].number != line->number || memcmp(l->line[i].session, line->session, B32_ID_LEN) != 0))
        i++;
    if (i == l->n && l->n < k->max) {
        if ((k->error = trace_lines_add(l, line)) < 0)
            return;
    } else {
        i = MIN(i, l->n - 1); /* its own place, else that of the oldest */
        if (l->line[i].time_us >= line->time_us)
            return;
    }
    for (; i > 0 && l->line[i - 1].time_us <= line->time_us; i--)
        l->line[i] = l->line[i - 1];
    l->line[i] = *line;
}

static bool have_enough(void *arg, uint64_t end_us)
{
    const struct latest *k = arg;
    return k->error < 0 || (k->lines.n == k->max && k->lines.line[k->max - 1].time_us > end_us);
}

static int print_messages(const struct trace_query *q, const struct trace_lines *messages, struct buf *out)
{
    _cleanup_trace_lines_ struct trace_lines l = { 0 };
    int r = trace_find_messages(q->trace, messages, messages->line[messages->n - 1].time_us, &l);
    if (r < 0)
        return r;
    if (q->json)
        return print_json(&l, out);
    if (l.n)
        qsort(l.line, l.n, sizeof(*l.line), by_message);
    for (size_t i = messages->n; i-- > 0 && r == 0;) {
        const struct trace_line *m = &messages->line[i];
        struct part p = find_part(&l, m->session, m->number);
        if (p.n)
            r = print_walk(p, find_part(&l, m->session, 0), m->number, true, out);
    }
    return r;
}

static int trace_address(const struct trace_query *q, struct buf *out, struct buf *complaint)
{
    struct latest k = { .max = q->last ? q->last : LAST_DEFAULT };
    struct trace_visitor v = { .wanted = is_message_event, .found = keep_latest, .enough = have_enough, .arg = &k };
    trace_find_address(q->trace, q->what, &v);
    int r = k.error;
    if (r == 0 && k.lines.n)
        r = print_messages(q, &k.lines, out);
    if (r == 0 && !k.lines.n) {
        if (q->json)
            buf_add(out, S("[]\n"));
        buf_add(complaint, S("trace: no message and no refused log-in with the address "));
        print_safe(complaint, q->what);
        buf_add(complaint, S(" is in "));
        trace_put_searched(q, complaint);
        r = 1;
    }
    trace_lines_done(&k.lines);
    return r;
}

int trace_print(const struct trace_query *q, struct buf *out, struct buf *complaint)
{
    _cleanup_trace_lines_ struct trace_lines l = { 0 };
    int r;
    if (trace_is_address(q->what)) {
        r = trace_address(q, out, complaint);
    } else {
        r = trace_query_lines(q, &l, out, complaint);
        if (r)
            return r;
        r = q->json ? print_json(&l, out) : print_session(&l, out);
    }
    if (l.truncated)
        buf_addf(complaint, "trace: there are more than %d lines; the rest was left out. Ask for one message (S.n)",
                 TRACE_LINES_MAX);
    if (r < 0) {
        buf_addf(complaint, "trace: the answer cannot be put together: %s", strerror(-r));
        return EXIT_IO;
    }
    return r;
}
