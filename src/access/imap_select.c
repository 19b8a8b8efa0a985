/* SELECT, EXAMINE (RFC 9051 6.3.2, with the parameters of RFC 7162), CLOSE, UNSELECT. The mailbox is opened through the
 * store; what a client that had it before must still hear (QRESYNC) comes from the store's history of expunges and from
 * the MODSEQs of what is there. */
#include <errno.h>
#include "access/imap_session.h"
#include "store/mailbox_role.h"

enum { TRIES = 4, VANISHED_MAX = 8 << 20, LINE_LONG = 8000 };

struct uid_range { uint32_t first, last; };

struct select_state {
    const struct imap_command *command;
    int tries;
    bool all;                  /* there is no history that far back */
    struct buf vanished;       /* (u32 first, u32 last), ascending */
    struct uid_range *known; size_t n_known;
    size_t at, known_at;       /* where FETCH goes on */
};

static struct select_state *state_of(struct imap_session *s) { return s->task.state; }

static void free_state(struct imap_session *s)
{
    struct select_state *st = TAKE(s->task.state);
    if (!st)
        return;
    buf_done(&st->vanished);
    free(st->known);
    free(st);
}

static void view_changed(struct box_view *v)
{
    struct imap_session *s = CONTAINER_OF(v, struct imap_session, view);
    if (v->box->gone || imap_server_idling(s->engine))
        imap_session_pump(s);
}

void imap_deselect(struct imap_session *s, bool closed)
{
    if (!s->selected)
        return;
    box_view_close(&s->view, loop_now(s->access->role->loop));
    s->selected = s->own_delete = s->telling = false;
    imap_server_set_selected(s->engine, false);
    buf_release(&s->saved);
    if (closed)
        buf_add(imap_out(s), S("* OK [CLOSED] The mailbox selected before is closed\r\n"));
}

void imap_put_flag_list(struct imap_session *s, struct buf *out)
{
    const struct box *b = s->view.box;
    static const str system = S("\\Answered \\Flagged \\Deleted \\Seen \\Draft");
    for (int permanent = 0; permanent < 2; permanent++) {
        buf_add(out, permanent ? S("* OK [PERMANENTFLAGS (") : S("* FLAGS ("));
        if (!permanent || !s->view.read_only) {
            buf_add(out, system);
            for (size_t i = 0; i < b->n_keywords; i++) {
                buf_addc(out, ' ');
                buf_add(out, str_z(b->keywords[i]));
            }
            if (permanent && b->n_keywords < BOX_KEYWORDS_MAX)
                buf_add(out, S(" \\*"));
        }
        buf_add(out, permanent ? S(")] Flags that are kept\r\n") : S(")\r\n"));
    }
}

static void put_first_unseen(struct imap_session *s, struct buf *out)
{
    size_t at = box_first_unseen(s->view.box);
    uint32_t seq = at == SIZE_MAX ? 0 : box_view_seq(&s->view, at);
    if (seq)
        buf_addf(out, "* OK [UNSEEN %u] First unseen\r\n", seq);
}

static uint32_t count_recent(const struct box_view *v)
{
    size_t from = box_find(v->box, v->recent_from), n = 0;
    for (size_t i = from; i < v->shown; i++)
        n += box_view_has(v, i);
    return (uint32_t)n;
}

static void put_mailbox(struct imap_session *s, str name)
{
    struct buf *out = imap_out(s);
    const struct box *b = s->view.box;
    bool rev2 = imap_server_rev2(s->engine);
    imap_put_flag_list(s, out);
    s->keywords_told = b->n_keywords;
    buf_addf(out, "* %zu EXISTS\r\n", box_view_exists(&s->view));
    if (!rev2) { /* RFC 9051 appendix E takes both out */
        buf_addf(out, "* %u RECENT\r\n", count_recent(&s->view));
        put_first_unseen(s, out);
    }
    buf_addf(out, "* OK [UIDVALIDITY %u] UIDs are valid\r\n", b->uidvalidity);
    buf_addf(out, "* OK [UIDNEXT %u] Next UID\r\n", b->uidnext);
    buf_addf(out, "* OK [HIGHESTMODSEQ %llu] Highest\r\n", (unsigned long long)MAX(b->modseq, (uint64_t)1));
    buf_addf(out, "* OK [MAILBOXID (M%016llx)] Its identity\r\n", (unsigned long long)b->id);
    if (rev2) {
        buf_add(out, S("* LIST () \"/\" "));
        imap_put_mailbox(out, name, imap_server_utf8(s->engine));
        buf_add(out, S("\r\n"));
    }
}

static void finish(struct imap_session *s)
{
    bool examine = state_of(s)->command->verb == IMAP_EXAMINE;
    free_state(s);
    s->task = (struct imap_task){ 0 };
    imap_session_done(s, IMAP_OK, examine ? S("READ-ONLY") : S("READ-WRITE"),
                      examine ? S("EXAMINE completed") : S("SELECT completed"));
}

/* The mailbox could not be opened: none is selected. The command has been answered. */
static void give_up(struct imap_session *s)
{
    free_state(s);
    s->task = (struct imap_task){ 0 };
}

/* Known UIDs. */

static int by_first(const void *a, const void *b)
{
    uint32_t x = ((const struct uid_range *)a)->first, y = ((const struct uid_range *)b)->first;
    return x < y ? -1 : x > y;
}

/* The client's known UIDs, sorted and merged; without them all that it may have. */
static int read_known(struct select_state *st, const struct imap_select *q, uint32_t last)
{
    size_t n = q->has_known ? q->known.n : 1, kept = 0;
    st->known = calloc(n + 1, sizeof(*st->known));
    if (!st->known)
        return -ENOMEM;
    if (!q->has_known)
        st->known[0] = (struct uid_range){ 1, last };
    for (size_t i = 0; q->has_known && i < n; i++) {
        uint32_t a = q->known.ranges[i].first, z = q->known.ranges[i].last;
        st->known[i] = (struct uid_range){ MIN(a, z), MAX(a, z) };
    }
    qsort(st->known, n, sizeof(*st->known), by_first);
    for (size_t i = 0; i < n; i++) {
        struct uid_range *before = kept ? &st->known[kept - 1] : NULL;
        if (before && st->known[i].first <= before->last)
            before->last = MAX(before->last, st->known[i].last);
        else
            st->known[kept++] = st->known[i];
    }
    st->n_known = kept;
    return 0;
}

/* The next number of a set as it was written; begin with *at and *n 0. */
static bool set_next(const struct imap_set *set, size_t *at, uint32_t *n)
{
    if (*n && *n != set->ranges[*at].last) {
        ++*n;
        return true;
    }
    *at += *n != 0;
    if (*at >= set->n)
        return false;
    *n = set->ranges[*at].first;
    return *n != 0;
}

/* RFC 7162 3.2.5.2: the pairs (number, UID) that still fit say that nothing up to that UID was expunged. */
static uint32_t matched(const struct imap_session *s, const struct imap_select *q)
{
    size_t r = 0, u = 0;
    uint32_t fits = 0, seq = 0, uid = 0;
    if (!q->has_match)
        return 0;
    while (set_next(&q->match_seq, &r, &seq) && set_next(&q->match_uid, &u, &uid)) {
        size_t at = box_view_index(&s->view, seq);
        if (at == SIZE_MAX || s->view.box->messages[at].uid != uid)
            break;
        fits = uid;
    }
    return fits;
}

/* VANISHED (EARLIER) */

struct set_text { struct buf *out; size_t line; };

static void put_range(struct set_text *t, uint32_t first, uint32_t last)
{
    if (t->line && t->out->n - t->line > LINE_LONG) {
        buf_add(t->out, S("\r\n"));
        t->line = 0;
    }
    if (t->line) {
        buf_addc(t->out, ',');
    } else {
        buf_add(t->out, S("* VANISHED (EARLIER) "));
        t->line = t->out->n;
    }
    buf_addu(t->out, first);
    if (last > first) {
        buf_addc(t->out, ':');
        buf_addu(t->out, last);
    }
}

/* The part of [first, last] that the session does not see. */
static void put_missing(struct imap_session *s, struct set_text *t, uint32_t first, uint32_t last)
{
    const struct box *b = s->view.box;
    uint64_t from = first;
    for (size_t i = box_find(b, first); i < s->view.shown && b->messages[i].uid <= last; i++) {
        if (!box_view_has(&s->view, i))
            continue;
        uint32_t uid = b->messages[i].uid;
        if (from < uid)
            put_range(t, (uint32_t)from, uid - 1);
        from = (uint64_t)uid + 1;
    }
    if (from <= last)
        put_range(t, (uint32_t)from, last);
}

static void put_vanished(struct imap_session *s)
{
    struct select_state *st = state_of(s);
    struct set_text t = { .out = &s->late };
    uint32_t last = s->view.box->uidnext - 1;
    size_t n = st->vanished.n / 8, v = 0, k = 0;
    while (v < n && k < st->n_known) {
        struct uid_range gone = { get_u32(st->vanished.p + 8 * v), get_u32(st->vanished.p + 8 * v + 4) };
        uint32_t from = MAX(gone.first, st->known[k].first), to = MIN(MIN(gone.last, st->known[k].last), last);
        if (from <= to)
            put_missing(s, &t, from, to);
        if (gone.last < st->known[k].last)
            v++;
        else
            k++;
    }
    if (t.line)
        buf_add(&s->late, S("\r\n"));
}

static bool is_known(struct select_state *st, uint32_t uid)
{
    while (st->known_at < st->n_known && st->known[st->known_at].last < uid)
        st->known_at++;
    return st->known_at < st->n_known && st->known[st->known_at].first <= uid;
}

/* FETCH of what has changed since. */
static enum imap_step put_changed(struct imap_session *s)
{
    struct select_state *st = state_of(s);
    struct buf *out = imap_out(s);
    const struct box *b = s->view.box;
    for (; st->at < s->view.shown; st->at++) {
        const struct box_message *m = &b->messages[st->at];
        if (out->n >= IMAP_OUTPUT_HIGH)
            return IMAP_STEP_MORE;
        if (m->modseq <= st->command->select.modseq || !is_known(st, m->uid) || !box_view_has(&s->view, st->at))
            continue;
        buf_add(out, S("* "));
        buf_addu(out, box_view_seq(&s->view, st->at));
        buf_add(out, S(" FETCH (UID "));
        buf_addu(out, m->uid);
        buf_add(out, S(" FLAGS "));
        box_put_flags(out, b, m, box_view_recent(&s->view, m));
        buf_add(out, S(" MODSEQ ("));
        buf_addu(out, m->modseq);
        buf_add(out, S("))\r\n"));
    }
    finish(s);
    return IMAP_STEP_DONE;
}

static void ask_vanished(struct imap_session *s, uint32_t after);

/* What vanished is known: tells it, and goes on with what has changed. */
static void have_vanished(struct imap_session *s)
{
    struct select_state *st = state_of(s);
    if (st->all) {
        buf_clear(&st->vanished);
        pack_u32(&st->vanished, matched(s, &st->command->select) + 1);
        pack_u32(&st->vanished, UINT32_MAX);
    }
    put_vanished(s);
    s->task.step = put_changed;
}

static bool on_vanished(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    struct select_state *st = state_of(s);
    bool good = f && unpack_u8(&f->in) == STORE_DONE, last = !good || unpack_u8(&f->in);
    uint32_t to = 0;
    if (good) {
        st->all = unpack_u8(&f->in) != 0;
        uint32_t n = unpack_u32(&f->in);
        for (uint32_t i = 0; i < n && !f->in.bad; i++) {
            pack_u32(&st->vanished, unpack_u32(&f->in));
            pack_u32(&st->vanished, to = unpack_u32(&f->in));
        }
    }
    if (!good || f->in.bad || st->vanished.failed)
        st->all = true; /* all that is not there: right in any case */
    if (!last && !st->all && to) {
        ask_vanished(s, to);
        return false;
    }
    have_vanished(s);
    imap_session_pump(s);
    return false;
}

static void ask_vanished(struct imap_session *s, uint32_t after)
{
    struct buf f;
    imap_ask(s, &f);
    pack_u64(&f, s->view.box->id);
    pack_u64(&f, state_of(s)->command->select.modseq);
    pack_u32(&f, after);
    s->call.answer = on_vanished;
    if (store_call_send(&s->call, IPC_VANISHED_GET, &f) < 0)
        on_vanished(&s->call, NULL);
}

static enum imap_step wait(struct imap_session *s)
{
    (void)s;
    return IMAP_STEP_WAIT;
}

/* RFC 7162 3.2.5: only if the client speaks of the same mailbox. */
static void resync(struct imap_session *s)
{
    struct select_state *st = state_of(s);
    const struct imap_select *q = &st->command->select;
    const struct box *b = s->view.box;
    if (!q->qresync || q->uidvalidity != b->uidvalidity || read_known(st, q, b->uidnext - 1) < 0) {
        finish(s);
        return;
    }
    ask_vanished(s, 0);
}

static bool opened(struct store_call *c, struct ipc_frame *f);

static void ask(struct imap_session *s)
{
    struct buf f;
    imap_ask(s, &f);
    pack_str(&f, state_of(s)->command->select.mailbox);
    if (!imap_ask_send(s, IPC_MAILBOX_OPEN, &f, opened))
        give_up(s);
}

static void note_selected(struct imap_session *s)
{
    struct buf *e = imap_session_event(s, "imap_select");
    event_str(e, "mailbox", str_z(s->view.box->name));
    event_u64(e, "messages", box_view_exists(&s->view));
    if (s->view.read_only)
        event_str(e, "how", S("read-only"));
    imap_session_event_end(s);
}

static void use_box(struct imap_session *s, struct box *b)
{
    const struct imap_command *c = state_of(s)->command;
    uint32_t recent = b ? b->recent : 0;
    s->view.changed = view_changed;
    if (!b || box_view_open(&s->view, b, c->verb == IMAP_EXAMINE) < 0) {
        imap_session_done(s, IMAP_NO, S("SERVERBUG"), S("The mailbox cannot be read; the postmaster can see why"));
        give_up(s);
        return;
    }
    s->selected = true;
    s->recent_told = recent;
    imap_server_set_selected(s->engine, true);
    put_mailbox(s, c->select.mailbox);
    imap_session_tell_recent(s);
    note_selected(s);
    resync(s);
}

static void forget(struct imap_session *s, uint64_t id)
{
    struct buf f = BUF(16);
    pack_u64(&f, id);
    ipc_send(role_peer(s->access->role, ROLE_STORE), IPC_MAILBOX_FORGET, &f, -1);
    buf_done(&f);
}

static bool is_here(struct boxes *all, uint64_t id)
{
    const struct box *b = boxes_find(all, id);
    return b && !b->gone;
}

static bool opened(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    struct select_state *st = state_of(s);
    struct boxes *all = &s->access->boxes;
    uint8_t verdict = f ? unpack_u8(&f->in) : 0;
    uint64_t id = f ? unpack_u64(&f->in) : 0;
    if (f)
        unpack_u64(&f->in);
    bool held = f && unpack_u8(&f->in);
    bool ours = f && verdict == STORE_DONE && unpack_end(&f->in);
    if (!imap_verdict(s, f, f && verdict == STORE_DONE && !ours ? MAILBOX_TROUBLE : verdict, false)) {
        give_up(s);
    } else if (held && !is_here(all, id) && --st->tries > 0) { /* it was let go while the answer was on its way */
        forget(s, id);
        ask(s);
        return false;
    } else {
        use_box(s, f->fd >= 0 ? boxes_load(all, id, str_z(s->account), st->command->select.mailbox, TAKE_FD(f->fd))
                              : boxes_find(all, id));
    }
    imap_session_pump(s);
    return false;
}

void imap_do_select(struct imap_session *s, const struct imap_command *c)
{
    struct select_state *st = calloc(1, sizeof(*st));
    imap_deselect(s, true);
    if (!st) {
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("Out of memory; try again later"));
        return;
    }
    *st = (struct select_state){ .command = c, .tries = TRIES, .vanished = BUF(VANISHED_MAX) };
    s->task = (struct imap_task){ .step = wait, .cancel = free_state, .state = st };
    struct box *held = boxes_named(&s->access->boxes, str_z(s->account), c->select.mailbox);
    if (held)
        use_box(s, held);
    else
        ask(s);
}

/* CLOSE, UNSELECT */

static void closed(struct imap_session *s)
{
    _cleanup_buf_ struct buf code = BUF(64);
    if (s->verb == IMAP_CLOSE && imap_server_qresync(s->engine)) /* RFC 7162 3.2.8 */
        buf_addf(&code, "HIGHESTMODSEQ %llu", (unsigned long long)s->view.box->modseq);
    imap_deselect(s, false);
    imap_session_done(s, IMAP_OK, buf_str(&code),
                      s->verb == IMAP_CLOSE ? S("CLOSE completed") : S("UNSELECT completed"));
}

static void ask_close(struct imap_session *s, uint32_t first);

static bool expunged(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    uint8_t verdict = f ? unpack_u8(&f->in) : 0;
    uint32_t next = f ? unpack_u32(&f->in) : 0;
    bool good = imap_verdict(s, f, verdict, false);
    if (good && next) {
        ask_close(s, next);
        return false;
    }
    if (good)
        closed(s);
    imap_session_pump(s);
    return false;
}

static void ask_close(struct imap_session *s, uint32_t first)
{
    struct buf b;
    imap_ask(s, &b);
    pack_u64(&b, s->view.box->id);
    imap_pack_deleted(&b, first);
    imap_ask_send(s, IPC_EXPUNGE_DELETED, &b, expunged);
}

void imap_do_unselect(struct imap_session *s, const struct imap_command *c)
{
    if (c->verb == IMAP_UNSELECT || s->view.read_only)
        closed(s);
    else
        ask_close(s, 0);
}
