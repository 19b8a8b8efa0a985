/* FETCH (RFC 9051 6.4.5, 7.5.2; RFC 3501, 3516, 7162, 8474): each message is one response, written piece by piece as
 * the client takes it. Everything that has to be waited for is got before the first byte of a message's response, so
 * that a response is never left standing half written.
 *
 * Steps: what vanished (RFC 7162 3.2.6), the messages, \Seen for those whose content was read, the tagged reply. */
#include "access/imap_fetch.h"
#include <errno.h>
#include "access/object_id.h"
#include "store/mailbox_role.h"

enum { SEEN_A_FRAME = 5000, LOOK = 64 };
#define PAIRS_MAX ((size_t)64 * 1024 * 1024)

static void fetch_free(struct fetch *f)
{
    message_reader_free(f->reader);
    free(f->ranges);
    buf_done(&f->scratch);
    buf_done(&f->seen);
    buf_done(&f->vanished);
    arena_done(&f->parts);
    arena_done(&f->arena);
    free(f);
}

static void cancel(struct imap_session *s)
{
    store_call_cancel(&s->call);
    fetch_free(TAKE(s->task.state));
    s->task = (struct imap_task){ 0 };
}

static enum imap_step finish(struct fetch *f)
{
    struct imap_session *s = f->session;
    enum imap_result result = IMAP_NO;
    str code = STR_NONE, text;
    if (f->unknown_encoding) {
        code = S("UNKNOWN-CTE"); /* RFC 3516 4.3 */
        text = S("The transfer encoding of a part is not known");
    } else if (f->some_damaged) {
        code = S("CORRUPTION");
        text = S("Some messages are damaged; the postmaster can run posthouse store check");
    } else if (f->some_gone) {
        code = S("EXPUNGEISSUED"); /* RFC 2180 4.1, RFC 5530 3 */
        text = S("Some messages are no longer there");
    } else if (f->some_unread) {
        code = S("UNAVAILABLE");
        text = S("Some messages cannot be read at the moment");
    } else {
        result = IMAP_OK;
        text = S("FETCH completed");
    }
    s->task = (struct imap_task){ 0 };
    fetch_free(f);
    imap_session_done(s, result, code, text);
    return IMAP_STEP_DONE;
}

static void put_thread_id(struct fetch *f, struct buf *out)
{
    size_t at = out->n;
    buf_addc(out, '(');
    if (thread_id_put(out, &f->text)) {
        buf_addc(out, ')');
    } else {
        out->n = at;
        buf_add(out, S("NIL"));
    }
}

static void put_envelope(struct fetch *f, struct buf *out)
{
    if (f->text.envelope.n)
        buf_add(out, f->text.envelope);
    else
        buf_add(out, S("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"));
}

static void put_structure(struct fetch *f, struct buf *out, bool old)
{
    if (f->text.structure.n && !f->made) {
        if (old)
            imap_structure_strip(out, f->text.structure);
        else
            buf_add(out, f->text.structure);
    } else if (fetch_parse(f)) {
        imap_structure_plain(out, f->parsed.parts, f->parsed.n_parts);
    } else {
        f->some_damaged = true;
        buf_add(out, S("(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0)"));
    }
}

static void put_numbered(struct buf *out, str name, uint64_t n, str end)
{
    buf_add(out, name);
    buf_addu(out, n);
    buf_add(out, end);
}

static void put_item(struct fetch *f, const struct fetch_item *i)
{
    const struct box_view *v = &f->session->view;
    const struct box_message *m = fetch_message(f);
    struct buf *out = imap_out(f->session);
    switch (i->said->kind) {
    case IMAP_FETCH_UID: put_numbered(out, S("UID "), m->uid, S("")); break;
    case IMAP_FETCH_SIZE: put_numbered(out, S("RFC822.SIZE "), box_message_size(m), S("")); break;
    case IMAP_FETCH_MODSEQ: put_numbered(out, S("MODSEQ ("), m->modseq, S(")")); break;
    case IMAP_FETCH_FLAGS:
        buf_add(out, S("FLAGS "));
        box_put_flags(out, v->box, m, box_view_recent(v, m) && !imap_server_rev2(f->session->engine));
        break;
    case IMAP_FETCH_INTERNALDATE:
        buf_add(out, S("INTERNALDATE "));
        imap_put_date(out, m->date_s, m->zone_min);
        break;
    case IMAP_FETCH_ENVELOPE:
        buf_add(out, S("ENVELOPE "));
        put_envelope(f, out);
        break;
    case IMAP_FETCH_STRUCTURE:
        buf_add(out, S("BODYSTRUCTURE "));
        put_structure(f, out, false);
        break;
    case IMAP_FETCH_STRUCTURE_OLD:
        buf_add(out, S("BODY "));
        put_structure(f, out, true);
        break;
    case IMAP_FETCH_EMAILID:
        buf_add(out, S("EMAILID ("));
        email_id_put(out, m);
        buf_addc(out, ')');
        break;
    case IMAP_FETCH_THREADID:
        buf_add(out, S("THREADID "));
        put_thread_id(f, out);
        break;
    default: fetch_put_section(f, i); break;
    }
}

/* Gets what the items need of the message at hand. Called again when its response goes on in another step: meanwhile
 * other sessions have read. */
static enum reader_result acquire(struct fetch *f)
{
    const struct box *b = f->session->view.box;
    enum reader_result e = READER_READY;
    unsigned needs = f->needs;
    f->text = (struct card_text){ 0 };
    f->card = STR_NONE;
    f->made = false;
    if (needs & FETCH_TEXT)
        e = message_reader_text(f->reader, b, f->index, f->columns, &f->text, &f->made);
    if (f->made && needs & FETCH_PARTS)
        needs |= FETCH_CARD;
    if (e == READER_READY && needs & FETCH_CARD)
        e = message_reader_card(f->reader, b, f->index, &f->card);
    if (needs & FETCH_FIELDS && (f->made || f->text.headers_cut))
        needs |= FETCH_CONTENT;
    if (e == READER_READY && needs & FETCH_CONTENT)
        e = message_reader_open(f->reader, b, f->index);
    if (e == READER_READY && needs & FETCH_WHOLE && !message_reader_intact(f->reader))
        e = READER_DAMAGED;
    if (e == READER_DAMAGED) {
        f->damaged = f->some_damaged = true;
        if (f->made)
            f->text = (struct card_text){ 0 };
        e = READER_READY;
    }
    f->quick = !needs || (!(needs & (FETCH_CARD | FETCH_CONTENT)) && message_reader_quick(f->reader));
    return e;
}

static void note_seen(struct fetch *f)
{
    const struct box_message *m = fetch_message(f);
    if (!f->sets_seen || f->session->view.read_only || m->flags & IMAP_SEEN || f->damaged)
        return;
    if (f->seen.n && f->seen_index + 1 == f->index && m->uid - get_u32(f->seen.p + f->seen.n - 8) < CHANGED_A_STEP) {
        put_u32(f->seen.p + f->seen.n - 4, m->uid);
    } else {
        pack_u32(&f->seen, m->uid);
        pack_u32(&f->seen, m->uid);
    }
    f->seen_index = f->index;
}

/* The next message that is wanted: READER_READY; READER_GONE: none is left; READER_WAIT. */
static enum reader_result next_message(struct fetch *f)
{
    const struct imap_fetch *said = &f->command->fetch;
    for (;;) {
        if (!f->at_hand) {
            if (!box_walk_next(&f->walk, &f->index, &f->seq))
                return READER_GONE;
            f->done++;
            if (said->has_changedsince && fetch_message(f)->modseq <= said->changedsince)
                continue;
        }
        f->at_hand = true;
        f->begun = f->has_parsed = f->damaged = f->measuring = false;
        f->item = 0;
        enum reader_result e = acquire(f);
        if (e != READER_GONE)
            return e;
        f->at_hand = false;
        f->some_gone |= fetch_message(f)->gone;
        f->some_unread |= !fetch_message(f)->gone;
    }
}

/* Writes the response of the message at hand. As fetch_put_literal(). */
static int put_message(struct fetch *f)
{
    struct buf *out = imap_out(f->session);
    if (!f->begun) {
        put_numbered(out, S("* "), f->seq, S(" FETCH ("));
        f->begun = true;
    }
    for (;;) {
        int r = fetch_put_literal(f);
        if (r != 1)
            return r;
        if (f->item == f->n_items)
            break;
        if (out->n >= IMAP_OUTPUT_HIGH)
            return 0;
        if (f->item && !f->measuring)
            buf_addc(out, ' ');
        put_item(f, &f->items[f->item]);
        f->item += !f->measuring;
        if (f->measuring || (!f->quick && imap_session_turn_over(f->session)))
            return 0;
    }
    buf_add(out, S(")\r\n"));
    note_seen(f);
    f->at_hand = f->begun = false;
    f->session->fetched++;
    return 1;
}

/* The response that was begun goes on: what was got of the message is got anew. */
static bool go_on(struct fetch *f)
{
    bool damaged = f->damaged;
    if (!f->begun)
        return true;
    enum reader_result e = acquire(f);
    f->has_parsed = false; /* its strings pointed into the card */
    if (e != READER_READY && (f->literal == LITERAL_CONTENT || f->literal == LITERAL_DECODED))
        return false;
    f->damaged |= damaged || e != READER_READY;
    return true;
}

static enum imap_step step_messages(struct fetch *f)
{
    struct imap_session *s = f->session;
    struct buf *out = imap_out(s);
    bool good = go_on(f);
    for (unsigned n = 0; good; n++) {
        if (out->n >= IMAP_OUTPUT_HIGH || (n && (!f->quick || n % LOOK == 0) && imap_session_turn_over(s)))
            return IMAP_STEP_MORE;
        enum reader_result e = f->begun ? READER_READY : next_message(f);
        if (e == READER_WAIT)
            return IMAP_STEP_WAIT;
        if (e != READER_READY)
            return IMAP_STEP_DONE;
        int r = put_message(f);
        if (r == 0)
            return IMAP_STEP_MORE;
        good = r > 0;
    }
    /* A literal that was promised cannot be completed: nothing can be said any more. */
    imap_session_close(s, "a message is damaged");
    return IMAP_STEP_WAIT;
}

static bool seen_answer(struct store_call *c, struct ipc_frame *f)
{
    (void)f; /* what was changed is told by the feed */
    imap_session_pump(CONTAINER_OF(c, struct imap_session, call));
    return false;
}

/* Pairs of the next question: at least one, of about as many messages as the store changes at once. */
static str next_seen(const struct fetch *f)
{
    str rest = str_from(buf_str(&f->seen), f->seen_at);
    uint64_t messages = 0;
    size_t n = 0;
    while (n < rest.n && n < SEEN_A_FRAME * 8 && messages < CHANGED_A_STEP) {
        messages += get_u32(rest.p + n + 4) - get_u32(rest.p + n) + UINT64_C(1);
        n += 8;
    }
    return str_first(rest, n);
}

/* The next batch of \Seen. False: all are sent and answered. */
static bool step_seen(struct fetch *f)
{
    static const struct imap_flag_frame seen = { .early = FLAG_DURABLE, .op = IMAP_STORE_ADD, .system = IMAP_SEEN,
                                                 .unchanged_since = UINT64_MAX };
    struct imap_session *s = f->session;
    struct buf b;
    if (store_call_waits(&s->call))
        return true;
    if (f->seen_at == f->seen.n || f->seen.failed)
        return false;
    str pairs = next_seen(f);
    f->seen_at += pairs.n;
    s->call.answer = seen_answer;
    store_call_begin(&s->access->calls, &s->call, &b, trace_id_str(&s->id));
    imap_pack_flag(s, &b, &seen);
    pack_u32(&b, (uint32_t)(pairs.n / 8));
    buf_add(&b, pairs);
    return store_call_send(&s->call, IPC_FLAG, &b) == 0;
}

/* VANISHED (RFC 7162 3.2.6): what was expunged since, of the UIDs asked for. */
static bool vanished_answer(struct store_call *c, struct ipc_frame *fr)
{
    struct imap_session *s = CONTAINER_OF(c, struct imap_session, call);
    struct fetch *f = s->task.state;
    uint8_t verdict = fr ? unpack_u8(&fr->in) : 1, last = fr ? unpack_u8(&fr->in) : 1;
    f->vanished_all |= fr && unpack_u8(&fr->in);
    uint32_t n = fr ? unpack_u32(&fr->in) : 0;
    for (uint32_t i = 0; i < n && !fr->in.bad && verdict == 0; i++) {
        uint32_t first = unpack_u32(&fr->in), end = unpack_u32(&fr->in);
        if (first && first <= end && !fr->in.bad) {
            pack_u32(&f->vanished, first);
            pack_u32(&f->vanished, end);
        }
    }
    if (verdict == 0 && !last)
        return true;
    imap_session_pump(s);
    return false;
}

static bool ask_vanished(struct fetch *f)
{
    struct imap_session *s = f->session;
    struct buf b;
    f->vanished_asked = true;
    s->call.answer = vanished_answer;
    store_call_begin(&s->access->calls, &s->call, &b, trace_id_str(&s->id));
    pack_u64(&b, s->view.box->id);
    pack_u64(&b, f->command->fetch.changedsince);
    pack_u32(&b, 0);
    return store_call_send(&s->call, IPC_VANISHED_GET, &b) == 0;
}

/* Without a history: every UID below the next one that is not there. */
static void all_gaps(struct fetch *f)
{
    const struct box *b = f->session->view.box;
    uint32_t next = 1;
    buf_clear(&f->vanished);
    for (size_t i = 0; i <= b->n; i++) {
        uint32_t uid = i < b->n ? b->messages[i].uid : b->uidnext;
        if (i < b->n && b->messages[i].gone)
            continue;
        if (uid > next) {
            pack_u32(&f->vanished, next);
            pack_u32(&f->vanished, uid - 1);
        }
        next = uid + 1;
    }
}

static int by_first(const void *a, const void *b)
{
    const struct imap_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* The UIDs asked for, ascending and merged; "*" is the last one. */
static struct imap_range *wanted_uids(struct fetch *f, size_t *out_n)
{
    const struct imap_set *set = &f->command->fetch.set;
    const struct box *b = f->session->view.box;
    struct imap_range *r = ARENA_ARRAY(&f->arena, struct imap_range, set->n + 1);
    uint32_t star = b->n ? b->messages[b->n - 1].uid : 0;
    size_t n = 0;
    for (size_t i = 0; r && i < set->n; i++) {
        uint32_t a = set->ranges[i].first ? set->ranges[i].first : star;
        uint32_t z = set->ranges[i].last ? set->ranges[i].last : star;
        r[i] = (struct imap_range){ MIN(a, z), MAX(a, z) };
    }
    if (r && set->n)
        qsort(r, set->n, sizeof(*r), by_first);
    for (size_t i = 0; r && i < set->n; i++) {
        if (n && r[i].first <= r[n - 1].last)
            r[n - 1].last = MAX(r[n - 1].last, r[i].last);
        else
            r[n++] = r[i];
    }
    *out_n = n;
    return r;
}

/* Keeps of the vanished only what was asked for. Both lists ascend. */
static void cut_vanished(struct fetch *f)
{
    struct buf kept = BUF(PAIRS_MAX);
    size_t n, k = 0;
    const struct imap_range *want = wanted_uids(f, &n);
    bool saved = f->command->fetch.set.saved;
    for (size_t at = 0; at + 8 <= f->vanished.n && want && !saved;) {
        uint32_t first = get_u32(f->vanished.p + at), last = get_u32(f->vanished.p + at + 4);
        while (k < n && want[k].last < first)
            k++;
        if (k == n)
            break;
        if (want[k].first <= last) {
            pack_u32(&kept, MAX(first, want[k].first));
            pack_u32(&kept, MIN(last, want[k].last));
        }
        if (want[k].last < last)
            k++;
        else
            at += 8;
    }
    buf_done(&f->vanished);
    f->vanished = kept;
}

/* One response as long as the output takes it at a time. */
static void tell_vanished(struct fetch *f)
{
    struct buf *out = imap_out(f->session);
    bool first = true;
    for (; f->vanished_at < f->vanished.n && out->n < IMAP_OUTPUT_HIGH; f->vanished_at += 8) {
        uint32_t from = get_u32(f->vanished.p + f->vanished_at), to = get_u32(f->vanished.p + f->vanished_at + 4);
        put_numbered(out, first ? S("* VANISHED (EARLIER) ") : S(","), from, S(""));
        if (to > from)
            put_numbered(out, S(":"), to, S(""));
        first = false;
    }
    if (!first)
        buf_add(out, S("\r\n"));
}

static enum imap_step step_vanished(struct fetch *f)
{
    if (!f->vanished_asked && ask_vanished(f))
        return IMAP_STEP_WAIT;
    if (store_call_waits(&f->session->call))
        return IMAP_STEP_WAIT;
    if (!f->vanished_told) {
        if (f->vanished_all)
            all_gaps(f);
        cut_vanished(f);
        f->vanished_told = true;
    }
    tell_vanished(f);
    return f->vanished_at < f->vanished.n ? IMAP_STEP_MORE : IMAP_STEP_DONE;
}

static enum imap_step step(struct imap_session *s)
{
    struct fetch *f = s->task.state;
    enum imap_step e = IMAP_STEP_DONE;
    if (f->command->fetch.vanished && f->command->fetch.has_changedsince &&
        !(f->vanished_told && f->vanished_at == f->vanished.n))
        e = step_vanished(f);
    if (e == IMAP_STEP_DONE)
        e = step_messages(f);
    if (e == IMAP_STEP_MORE && !f->begun)
        imap_session_progress(s, f->done, f->goal);
    if (e != IMAP_STEP_DONE)
        return e;
    return step_seen(f) ? IMAP_STEP_WAIT : finish(f);
}

static struct fetch *fetch_new(struct imap_session *s, const struct imap_command *c)
{
    struct fetch *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->session = s;
    f->command = c;
    f->arena = ARENA(16 * IMAP_COMMAND_MAX);
    f->parts = ARENA(16 * CARD_MAX);
    f->seen = f->vanished = BUF(PAIRS_MAX);
    f->reader = message_reader_new(s);
    if (!f->reader || fetch_prepare(f) < 0) {
        fetch_free(f);
        return NULL;
    }
    return f;
}

void imap_do_fetch(struct imap_session *s, const struct imap_command *c)
{
    struct fetch *f = fetch_new(s, c);
    if (!f) {
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("There is no memory for this at the moment"));
        return;
    }
    if (!imap_session_resolve(s, &c->fetch.set, c->uid, &f->ranges, &f->n_ranges)) {
        fetch_free(f);
        return;
    }
    for (size_t i = 0; i < f->n_ranges; i++)
        f->goal += f->ranges[i].last - f->ranges[i].first + 1;
    f->walk = (struct box_walk){ .view = &s->view, .ranges = f->ranges, .n = f->n_ranges };
    s->task = (struct imap_task){ .step = step, .cancel = cancel, .state = f };
}
