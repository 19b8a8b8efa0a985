/* STORE (RFC 9051 6.4.6, RFC 7162 3.1.3), EXPUNGE (RFC 9051 6.4.3, RFC 4315), COPY and MOVE (RFC 6851): asked of the
 * store, whose change feed has brought the change to the view before it answers. */
#include <errno.h>
#include "access/imap_session.h"
#include "store/mailbox_role.h"

enum { RANGES_A_FRAME = 5000, COPYUID_MAX = 1 << 20 };

/* A set in the making: numbers come in ascending order, singly or as runs. */
struct runs { struct buf text; uint32_t first, last; };

struct change_state {
    const struct imap_command *command;
    struct box_range *ranges; size_t n, at; /* messages it is about; how many were asked for */
    size_t asked_from;     /* the first of the question that is out */
    uint32_t next;         /* of EXPUNGE: what is below this UID is done */
    uint64_t modseq;       /* of the mailbox before */
    struct buf failed;     /* u32 UIDs that failed UNCHANGEDSINCE, ascending */
    size_t failed_at;
    struct box_walk walk;
    struct runs from, to;  /* of COPYUID */
    uint32_t uidvalidity;
};

static struct change_state *state_of(const struct imap_session *s) { return s->task.state; }

static void free_state(struct imap_session *s)
{
    struct change_state *st = TAKE(s->task.state);
    if (!st)
        return;
    free(st->ranges);
    buf_done(&st->failed);
    buf_done(&st->from.text);
    buf_done(&st->to.text);
    free(st);
}

static void end(struct imap_session *s)
{
    free_state(s);
    s->task = (struct imap_task){ 0 };
}

static enum imap_step wait(struct imap_session *s)
{
    (void)s;
    return IMAP_STEP_WAIT;
}

static str completed(const struct imap_session *s)
{
    switch (s->verb) {
    case IMAP_STORE: return S("STORE completed");
    case IMAP_EXPUNGE: return S("EXPUNGE completed");
    case IMAP_COPY: return S("COPY completed");
    default: return S("MOVE completed");
    }
}

static struct change_state *new_state(struct imap_session *s, const struct imap_command *c)
{
    struct change_state *st = calloc(1, sizeof(*st));
    if (!st) {
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("Out of memory; try again later"));
        return NULL;
    }
    *st = (struct change_state){ .command = c, .modseq = s->view.box->modseq, .failed = BUF((size_t)16 << 20),
                                 .from = { .text = BUF(COPYUID_MAX) }, .to = { .text = BUF(COPYUID_MAX) } };
    s->task = (struct imap_task){ .step = wait, .cancel = free_state, .state = st };
    return st;
}

/* The messages of a set; NULL: the command has been answered (also when there are none). */
static struct change_state *begin(struct imap_session *s, const struct imap_command *c, const struct imap_set *set)
{
    struct box_range *ranges;
    size_t n;
    if (!imap_session_resolve(s, set, c->uid, &ranges, &n))
        return NULL;
    struct change_state *st = n ? new_state(s, c) : NULL;
    if (!st) {
        free(ranges);
        if (!n)
            imap_session_done(s, IMAP_OK, STR_NONE, completed(s));
        return NULL;
    }
    st->ranges = ranges;
    st->n = n;
    return st;
}

/* No range has more messages than the store changes at once. Without memory they stay as they are: it takes longer. */
static void split_ranges(struct change_state *st)
{
    size_t n = 0;
    for (size_t i = 0; i < st->n; i++)
        n += (st->ranges[i].last - st->ranges[i].first) / CHANGED_A_STEP + 1;
    struct box_range *split = n > st->n ? calloc(n, sizeof(*split)) : NULL;
    if (!split)
        return;
    n = 0;
    for (size_t i = 0; i < st->n; i++)
        for (struct box_range r = st->ranges[i]; r.first <= r.last; r.first = split[n++].last + 1)
            split[n] = (struct box_range){ r.first, MIN(r.last, r.first + CHANGED_A_STEP - 1) };
    free(st->ranges);
    st->ranges = split;
    st->n = n;
}

/* The next ranges as UIDs into a frame, with their number in front: at least one, and so many messages. */
static void pack_ranges(struct imap_session *s, struct buf *b, size_t messages)
{
    struct change_state *st = state_of(s);
    const struct box_message *m = s->view.box->messages;
    size_t n = 0, sum = 0, size;
    st->asked_from = st->at;
    for (; st->at + n < st->n && n < RANGES_A_FRAME; n++, sum += size) {
        const struct box_range *r = &st->ranges[st->at + n];
        size = r->last - r->first + 1;
        if (n && sum + size > messages)
            break;
    }
    size_t at = b->n, packed = 0;
    pack_u32(b, 0);
    for (size_t i = 0; i < n; i++, st->at++) {
        uint32_t first = m[st->ranges[st->at].first].uid, last = m[st->ranges[st->at].last].uid;
        if (last < st->next)
            continue;
        pack_u32(b, MAX(first, st->next));
        pack_u32(b, last);
        packed++;
    }
    if (!b->failed)
        put_u32(b->p + at, (uint32_t)packed);
}

static bool read_only(struct imap_session *s)
{
    if (s->view.read_only)
        imap_session_done(s, IMAP_NO, S("READ-ONLY"), S("The mailbox was opened with EXAMINE"));
    return s->view.read_only;
}

/* STORE */

static int by_number(const void *a, const void *b)
{
    uint32_t x = get_u32(a), y = get_u32(b);
    return x < y ? -1 : x > y;
}

static bool has_failed(struct change_state *st, uint32_t uid)
{
    while (st->failed_at + 4 <= st->failed.n && get_u32(st->failed.p + st->failed_at) < uid)
        st->failed_at += 4;
    return st->failed_at + 4 <= st->failed.n && get_u32(st->failed.p + st->failed_at) == uid;
}

static void end_store(struct imap_session *s)
{
    struct change_state *st = state_of(s);
    _cleanup_buf_ struct buf code = BUF(COPYUID_MAX);
    size_t n = st->failed.n / 4;
    bool uid = st->command->uid;
    if (n) {
        struct imap_set_writer w = { .out = &code };
        buf_add(&code, S("MODIFIED "));
        for (size_t i = 0; i < n; i++) {
            uint32_t number = get_u32(st->failed.p + 4 * i);
            size_t at = box_find(s->view.box, number);
            imap_set_add(&w, uid ? number : at < s->view.box->n ? box_view_seq(&s->view, at) : 0);
        }
        imap_set_end(&w);
    }
    end(s);
    imap_session_done(s, IMAP_OK, buf_str(&code),
                      n ? S("Some messages were changed by others meanwhile") : S("STORE completed"));
}

/* What the change did not touch, since it was so already; the rest is news (box_view_tell). */
static enum imap_step put_unchanged(struct imap_session *s)
{
    struct change_state *st = state_of(s);
    struct buf *out = imap_out(s);
    const struct box *b = s->view.box;
    size_t at;
    uint32_t seq;
    while (out->n < IMAP_OUTPUT_HIGH) {
        if (!box_walk_next(&st->walk, &at, &seq)) {
            end_store(s);
            return IMAP_STEP_DONE;
        }
        const struct box_message *m = &b->messages[at];
        if (m->gone || m->modseq > st->modseq || has_failed(st, m->uid))
            continue;
        buf_add(out, S("* "));
        buf_addu(out, seq);
        buf_add(out, S(" FETCH ("));
        if (st->command->uid)
            buf_addf(out, "UID %u ", m->uid);
        buf_add(out, S("FLAGS "));
        box_put_flags(out, b, m, box_view_recent(&s->view, m));
        if (imap_server_condstore(s->engine))
            buf_addf(out, " MODSEQ (%llu)", (unsigned long long)m->modseq);
        buf_add(out, S(")\r\n"));
    }
    return IMAP_STEP_MORE;
}

static void ask_flags(struct imap_session *s);

/* Keywords that the mailbox has as bits; false: one is new to it. */
static bool known_keywords(const struct box *b, const struct imap_flags *f, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < f->n_keywords; i++) {
        int bit = box_keyword(b, f->keywords[i]);
        if (bit < 0)
            return false;
        *out |= 1ull << bit;
    }
    return true;
}

/* imap_flag_sync no: what the store will do is known here. */
static bool may_be_early(const struct imap_session *s, const struct imap_store *q)
{
    uint64_t keywords;
    return !s->config->conf->imap_flag_sync && !q->has_unchangedsince &&
           known_keywords(s->view.box, &q->flags, &keywords);
}

static struct box_flagging flagging(const struct imap_session *s)
{
    const struct imap_store *q = &state_of(s)->command->store;
    struct box_flagging f = { .op = (uint8_t)q->op, .flags = (uint8_t)(q->flags.system & ~(uint32_t)IMAP_RECENT) };
    known_keywords(s->view.box, &q->flags, &f.keywords);
    return f;
}

/* The store has taken it, and its feed comes later. */
static void flag_now(struct imap_session *s, uint64_t lsn, uint64_t modseq)
{
    const struct change_state *st = state_of(s);
    struct box_flagging f = flagging(s);
    f.lsn = lsn;
    f.modseq = modseq;
    box_flag(s->view.box, st->ranges + st->asked_from, st->at - st->asked_from, &f);
}

static void stored(struct imap_session *s)
{
    struct change_state *st = state_of(s);
    if (st->command->store.silent) {
        end_store(s);
        return;
    }
    st->walk = (struct box_walk){ .view = &s->view, .ranges = st->ranges, .n = st->n };
    s->task.step = put_unchanged;
}

static bool on_flagged(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    struct change_state *st = state_of(s);
    uint8_t verdict = f ? unpack_u8(&f->in) : 0;
    bool last = !f || unpack_u8(&f->in) || verdict != STORE_DONE;
    uint64_t lsn = f ? unpack_u64(&f->in) : 0, modseq = f ? unpack_u64(&f->in) : 0;
    uint32_t n = f ? unpack_u32(&f->in) : 0;
    for (uint32_t i = 0; i < n && !f->in.bad; i++)
        pack_u32(&st->failed, unpack_u32(&f->in));
    if (!last && !f->in.bad)
        return true;
    if (!imap_verdict(s, f, f && f->in.bad ? MAILBOX_TROUBLE : verdict, false)) {
        end(s);
        imap_session_pump(s);
        return false;
    }
    if (st->command->store.silent)
        s->view.silent_lsn = lsn;
    if (modseq)
        flag_now(s, lsn, modseq);
    if (st->at < st->n) {
        imap_session_tell(s, false);
        ask_flags(s);
        return false;
    }
    if (st->failed.n)
        qsort(st->failed.p, st->failed.n / 4, 4, by_number);
    stored(s);
    imap_session_pump(s);
    return false;
}

void imap_pack_flag(struct imap_session *s, struct buf *b, const struct imap_flag_frame *f)
{
    pack_u64(b, s->view.box->id);
    pack_u8(b, f->early);
    pack_u8(b, f->op);
    pack_u32(b, f->system);
    pack_u64(b, f->unchanged_since);
    pack_u32(b, (uint32_t)f->n_keywords);
    for (size_t i = 0; i < f->n_keywords; i++)
        pack_str(b, f->keywords[i]);
}

static void pack_flags(struct imap_session *s, struct buf *b, enum flag_early early)
{
    const struct imap_store *q = &state_of(s)->command->store;
    struct imap_flag_frame f = { .early = (uint8_t)early, .op = (uint8_t)q->op,
                                 .system = q->flags.system & ~(uint32_t)IMAP_RECENT,
                                 .unchanged_since = q->has_unchangedsince ? q->unchangedsince : UINT64_MAX,
                                 .keywords = q->flags.keywords, .n_keywords = q->flags.n_keywords };
    imap_pack_flag(s, b, &f);
    pack_ranges(s, b, CHANGED_A_STEP);
}

static void ask_flags(struct imap_session *s)
{
    struct buf b;
    imap_ask(s, &b);
    pack_flags(s, &b, may_be_early(s, &state_of(s)->command->store) ? FLAG_EARLY : FLAG_DURABLE);
    if (!imap_ask_send(s, IPC_FLAG, &b, on_flagged))
        end(s);
}

/* A change that was answered before the store has heard of it. The session may be gone when it answers. */
struct ahead { struct store_call call; uint64_t mailbox, number; };

static bool on_ahead(struct store_call *c, struct ipc_frame *f)
{
    struct ahead *a = CONTAINER_OF(c, struct ahead, call);
    struct access_role *access = CONTAINER_OF(c->calls, struct access_role, calls);
    uint8_t verdict = f ? unpack_u8(&f->in) : MAILBOX_TROUBLE, last = f ? unpack_u8(&f->in) : 1;
    uint64_t lsn = f ? unpack_u64(&f->in) : 0;
    if (f) /* else all boxes go with the store */
        box_ahead_taken(&access->boxes, a->mailbox, a->number, last && !f->in.bad && verdict == STORE_DONE ? lsn : 0);
    free(a);
    return false;
}

/* imap_flag_sync no, and nobody asks for MODSEQ: the box has the change at once, and the client its answer; the store
 * hears of many together. False: the store is to be asked. */
static bool flag_ahead(struct imap_session *s)
{
    struct change_state *st = state_of(s);
    struct box_flagging f = flagging(s);
    size_t messages = 0;
    for (size_t i = 0; i < st->n; i++)
        messages += st->ranges[i].last - st->ranges[i].first + 1;
    if (messages > CHANGED_A_STEP || imap_server_condstore(s->engine) || !may_be_early(s, &st->command->store))
        return false;
    struct ahead *a = calloc(1, sizeof(*a));
    int r = a ? box_flag_ahead(&s->view, st->ranges, st->n, &f, &a->number) : -ENOMEM;
    if (r == 1) {
        struct buf b;
        a->mailbox = s->view.box->id;
        a->call.answer = on_ahead;
        store_call_begin(&s->access->calls, &a->call, &b, trace_id_str(&s->id));
        pack_flags(s, &b, FLAG_AHEAD);
        if (store_call_send_later(&a->call, IPC_FLAG, &b) < 0)
            r = -EPIPE; /* the box goes with the store */
    }
    if (r != 1)
        free(a);
    return r >= 0;
}

static bool too_many_keywords(struct imap_session *s, const struct imap_flags *f)
{
    bool over = f->n_keywords > KEYWORDS_MAX;
    for (size_t i = 0; i < f->n_keywords && !over; i++)
        over = f->keywords[i].n > KEYWORD_LEN_MAX;
    if (over)
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("Too many keywords, or too long ones"));
    return over;
}

static void store(struct imap_session *s, const struct imap_command *c)
{
    if (read_only(s) || too_many_keywords(s, &c->store.flags))
        return;
    struct change_state *st = begin(s, c, &c->store.set);
    if (!st)
        return;
    split_ranges(st);
    if (flag_ahead(s))
        stored(s);
    else
        ask_flags(s);
}

/* EXPUNGE */

static void note(struct imap_session *s, const char *event, str to)
{
    struct buf *e = imap_session_event(s, event);
    event_str(e, "mailbox", str_z(s->view.box->name));
    if (to.n)
        event_str(e, "to", to);
    imap_session_event_end(s);
}

void imap_pack_deleted(struct buf *b, uint32_t first)
{
    pack_u32(b, first ? 1 : 0);
    if (!first)
        return;
    pack_u32(b, first);
    pack_u32(b, UINT32_MAX);
}

static void ask_expunge(struct imap_session *s);

static bool on_expunged(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    struct change_state *st = state_of(s);
    _cleanup_buf_ struct buf code = BUF(64);
    uint8_t verdict = f ? unpack_u8(&f->in) : 0;
    uint32_t next = f ? unpack_u32(&f->in) : 0;
    bool good = imap_verdict(s, f, verdict, false);
    if (st->n && next > s->view.box->messages[st->ranges[st->at - 1].last].uid)
        next = 0; /* no range of the question reaches so far: without any it would mean all */
    st->at = next ? st->asked_from : st->at;
    st->next = next;
    if (good && (next || st->at < st->n)) {
        ask_expunge(s);
        return false;
    }
    end(s);
    if (good && imap_server_qresync(s->engine)) /* RFC 7162 3.2.7 */
        buf_addf(&code, "HIGHESTMODSEQ %llu", (unsigned long long)s->view.box->modseq);
    if (good)
        imap_session_done(s, IMAP_OK, buf_str(&code), S("EXPUNGE completed"));
    imap_session_pump(s);
    return false;
}

static void ask_expunge(struct imap_session *s)
{
    struct change_state *st = state_of(s);
    struct buf b;
    imap_ask(s, &b);
    pack_u64(&b, s->view.box->id);
    if (st->n)
        pack_ranges(s, &b, SIZE_MAX);
    else
        imap_pack_deleted(&b, st->next); /* all that are deleted */
    if (!imap_ask_send(s, IPC_EXPUNGE_DELETED, &b, on_expunged))
        end(s);
}

static void expunge(struct imap_session *s, const struct imap_command *c)
{
    if (read_only(s) || !(c->expunge.has_set ? begin(s, c, &c->expunge.set) : new_state(s, c)))
        return;
    note(s, "imap_expunge", STR_NONE);
    ask_expunge(s);
}

/* COPY, MOVE */

static void end_run(struct runs *r)
{
    if (!r->first)
        return;
    if (r->text.n)
        buf_addc(&r->text, ',');
    buf_addu(&r->text, r->first);
    if (r->last > r->first) {
        buf_addc(&r->text, ':');
        buf_addu(&r->text, r->last);
    }
}

static void add_run(struct runs *r, uint32_t first, uint32_t count)
{
    if (r->first && r->last + 1 == first) {
        r->last += count;
        return;
    }
    end_run(r);
    r->first = first;
    r->last = first + count - 1;
}

static void copied(struct imap_session *s)
{
    struct change_state *st = state_of(s);
    _cleanup_buf_ struct buf code = BUF(COPYUID_MAX * 2 + 64);
    end_run(&st->from);
    end_run(&st->to);
    if (st->from.text.n) {
        buf_addf(&code, "COPYUID %u ", st->uidvalidity);
        buf_add(&code, buf_str(&st->from.text));
        buf_addc(&code, ' ');
        buf_add(&code, buf_str(&st->to.text));
    }
    if (st->from.text.failed || st->to.text.failed || code.failed)
        buf_clear(&code); /* more than any client reads */
    end(s);
    if (s->verb == IMAP_MOVE && code.n) { /* before the EXPUNGEs, RFC 6851 4.3 */
        buf_add(&s->late, S("* OK ["));
        buf_add(&s->late, buf_str(&code));
        buf_add(&s->late, S("] Moved\r\n"));
        buf_clear(&code);
    }
    imap_session_done(s, IMAP_OK, buf_str(&code), s->verb == IMAP_MOVE ? S("MOVE completed") : S("COPY completed"));
}

static bool on_copied(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    struct change_state *st = state_of(s);
    uint8_t verdict = f ? unpack_u8(&f->in) : 0;
    bool last = !f || unpack_u8(&f->in) || verdict != STORE_DONE;
    if (f && verdict == STORE_DONE) {
        st->uidvalidity = unpack_u32(&f->in);
        uint32_t n = unpack_u32(&f->in);
        for (uint32_t i = 0; i < n && !f->in.bad; i++) {
            uint32_t from = unpack_u32(&f->in), to = unpack_u32(&f->in), count = unpack_u32(&f->in);
            if (from && to && count) {
                add_run(&st->from, from, count);
                add_run(&st->to, to, count);
            }
        }
        if (f->in.bad)
            verdict = MAILBOX_TROUBLE;
        last = last || f->in.bad;
    }
    if (!last)
        return true;
    if (imap_verdict(s, f, verdict, true))
        copied(s);
    else
        end(s);
    imap_session_pump(s);
    return false;
}

static void copy(struct imap_session *s, const struct imap_command *c)
{
    struct buf b;
    if (c->verb == IMAP_MOVE && read_only(s))
        return;
    struct change_state *st = begin(s, c, &c->copy.set);
    if (!st)
        return;
    if (st->n > RANGES_A_FRAME) { /* it could not be done as one change */
        end(s);
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("Too many separate messages; take fewer at a time"));
        return;
    }
    note(s, c->verb == IMAP_MOVE ? "imap_move" : "imap_copy", c->copy.mailbox);
    imap_ask(s, &b);
    pack_u64(&b, s->view.box->id);
    pack_u8(&b, c->verb == IMAP_MOVE);
    pack_str(&b, c->copy.mailbox);
    pack_ranges(s, &b, SIZE_MAX);
    if (!imap_ask_send(s, IPC_COPY, &b, on_copied))
        end(s);
}

void imap_do_change(struct imap_session *s, const struct imap_command *c)
{
    switch (c->verb) {
    case IMAP_STORE: store(s, c); return;
    case IMAP_EXPUNGE: expunge(s, c); return;
    default: copy(s, c); return;
    }
}
