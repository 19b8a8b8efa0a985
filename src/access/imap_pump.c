/* What makes an IMAP session go on: events of the engine, steps of the task under way, news of the selected mailbox,
 * and the way of the output to the socket. A command is answered in three layers: untagged text straight into the
 * engine's output, what is longer than that through s->late, and the tagged reply when both are out of the way. */
#include <errno.h>
#include "access/imap_session.h"
#include "store/mailbox_role.h"

enum {
    EVENTS_A_TURN = 256, INFLATE_EVENTS = 16, /* what 64 KiB of plain text count */
    TURN_MS = 5
};

static bool zipped(const struct imap_session *s) { return s->zip && !s->zip_pending; }

static void drop_late(struct imap_session *s)
{
    s->late_at = 0;
    if (s->late.cap > 4096)
        buf_release(&s->late);
    s->late.n = 0;
}

/* Late text, with all that follows of news, then the reply that waits for it, as far as the output has room. True: all
 * is out. */
static bool move_late(struct imap_session *s)
{
    struct buf *out = imap_out(s);
    while (s->late_at < s->late.n || s->telling) {
        if (out->n >= IMAP_OUTPUT_HIGH)
            return false;
        if (s->late_at == s->late.n) {
            drop_late(s);
            imap_session_tell(s, s->telling_expunges);
            if (s->leaving)
                return false;
        }
        str piece = str_first(str_from(buf_str(&s->late), s->late_at), IMAP_OUTPUT_HIGH - out->n);
        if (buf_add(out, piece) < 0)
            return false;
        s->late_at += piece.n;
    }
    drop_late(s);
    if (s->reply.due) {
        str all = buf_str(&s->reply.text);
        s->reply.due = false;
        imap_server_done(s->engine, s->reply.result, str_first(all, s->reply.code_n), str_from(all, s->reply.code_n));
        if (s->reply.text.cap > 1024)
            buf_release(&s->reply.text);
    }
    return true;
}

static void tell_keywords(struct imap_session *s)
{
    if (s->keywords_told == s->view.box->n_keywords)
        return;
    s->keywords_told = s->view.box->n_keywords;
    imap_put_flag_list(s, &s->late);
}

void imap_session_tell_recent(struct imap_session *s)
{
    struct box *b = s->view.box;
    if (s->view.read_only || b->recent <= s->recent_told)
        return;
    struct buf f = BUF(256);
    s->recent_told = b->recent;
    pack_str(&f, trace_id_str(&s->id));
    pack_u64(&f, b->id);
    pack_u32(&f, b->recent);
    ipc_send(role_peer(s->access->role, ROLE_STORE), IPC_RECENT_SEEN, &f, -1);
    buf_done(&f);
}

void imap_session_tell(struct imap_session *s, bool expunges)
{
    s->telling = false;
    if (!s->selected || s->view.box->gone || !box_view_news(&s->view))
        return;
    bool qresync = imap_server_qresync(s->engine), rev2 = imap_server_rev2(s->engine);
    struct box_tell how = { .expunges = expunges,
                            .vanished = qresync,
                            .uid = qresync || rev2 || s->verb_uid,
                            .modseq = imap_server_condstore(s->engine),
                            .rev2 = rev2 };
    tell_keywords(s);
    if (box_view_tell(&s->view, &how, &s->late) < 0)
        imap_session_leave(s, S("UNAVAILABLE"), S("Too much has happened; connect again"));
    else
        imap_session_tell_recent(s);
    s->telling = !s->leaving && box_view_more(&s->view);
    s->telling_expunges = expunges;
}

/* RFC 9051 7.5.1; SORT and THREAD are searches (RFC 5256 3). SELECT has just told all. */
static bool may_tell_expunges(const struct imap_session *s)
{
    switch (s->verb) {
    case IMAP_FETCH:
    case IMAP_STORE:
    case IMAP_SEARCH:
    case IMAP_SORT:
    case IMAP_THREAD:
        return s->verb_uid;
    default:
        return true;
    }
}

void imap_session_done(struct imap_session *s, enum imap_result result, str code, str text)
{
    struct imap_reply *r = &s->reply;
    buf_clear(&r->text);
    buf_add(&r->text, code);
    buf_add(&r->text, text);
    if (r->text.failed) { /* a code too long to be kept */
        buf_clear(&r->text);
        buf_add(&r->text, text);
        code.n = 0;
    }
    r->code_n = code.n;
    r->result = result;
    r->due = true;
    if (s->verb != IMAP_SELECT && s->verb != IMAP_EXAMINE)
        imap_session_tell(s, may_tell_expunges(s));
    if (!s->leaving)
        move_late(s);
}

void imap_session_news(struct imap_session *s)
{
    if (!s->leaving && imap_server_idling(s->engine)) {
        if (s->late_at == s->late.n) /* who does not read is told later, what is true then */
            imap_session_tell(s, true);
        move_late(s);
    }
}

bool imap_session_resolve(struct imap_session *s, const struct imap_set *set, bool uid, struct box_range **out,
                          size_t *n)
{
    struct imap_range *ranges = NULL;
    struct imap_set saved = *set;
    if (set->saved) { /* RFC 5182 2.1: UIDs, also where sequence numbers are meant */
        saved.n = s->saved.n / 4;
        saved.ranges = ranges = calloc(saved.n + 1, sizeof(*ranges));
        for (size_t i = 0; ranges && i < saved.n; i++)
            ranges[i].first = ranges[i].last = get_u32(s->saved.p + 4 * i);
        uid = true;
    }
    int r = set->saved && !ranges ? -ENOMEM : box_view_resolve(&s->view, &saved, uid, out, n);
    free(ranges);
    if (r == -ERANGE)
        imap_session_done(s, IMAP_BAD, STR_NONE, S("There is no message of that number"));
    else if (r < 0)
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("Out of memory; try again later"));
    return r >= 0;
}

void imap_session_progress(struct imap_session *s, uint64_t done, uint64_t goal)
{
    uint64_t now = loop_env(s->conn.loop)->mono_ms();
    uint64_t interval = s->config->conf->imap_progress_interval;
    struct buf *out = imap_out(s);
    if (!interval || now - s->task.told_ms < interval)
        return;
    s->task.told_ms = now;
    buf_add(out, S("* OK [INPROGRESS ("));
    imap_put_string(out, imap_server_tag(s->engine), false);
    buf_addc(out, ' ');
    buf_addu(out, done);
    if (goal) {
        buf_addc(out, ' ');
        buf_addu(out, goal);
    } else {
        buf_add(out, S(" NIL"));
    }
    buf_add(out, S(")] Still working\r\n"));
}

void imap_ask(struct imap_session *s, struct buf *b)
{
    store_call_begin(&s->access->calls, &s->call, b, trace_id_str(&s->id));
}

bool imap_ask_send(struct imap_session *s, enum ipc_type type, struct buf *b,
                   bool (*answer)(struct store_call *c, struct ipc_frame *f))
{
    s->call.answer = answer;
    if (store_call_send(&s->call, type, b) == 0)
        return true;
    imap_verdict(s, NULL, 0, false);
    return false;
}

bool imap_verdict_text(const struct ipc_frame *f, uint8_t verdict, bool target, str *out_code, str *out_text)
{
    static const struct { str code, text; } of[] = {
        [STORE_NONEXISTENT] = { S("NONEXISTENT"), S("There is no such mailbox") },
        [STORE_EXISTS] = { S("ALREADYEXISTS"), S("There is a mailbox of that name") },
        [STORE_HAS_CHILDREN] = { S("HASCHILDREN"), S("The mailbox has others below it") },
        [STORE_CANNOT] = { S("CANNOT"), S("That cannot be done with this mailbox") },
        [STORE_LIMIT] = { S("LIMIT"), S("That is more than this server allows") },
        [STORE_OVER_QUOTA] = { S("OVERQUOTA"), S("The account has no room left") },
        [STORE_USE_TAKEN] = { S("USEATTR"), S("Another mailbox has that use") },
    };
    if (f && verdict == STORE_DONE)
        return true;
    *out_code = S("UNAVAILABLE");
    *out_text = S("The store is not there at the moment; try again later");
    if (f && verdict < ARRAY_LEN(of)) {
        *out_code = target && verdict == STORE_NONEXISTENT ? S("TRYCREATE") : of[verdict].code;
        *out_text = of[verdict].text;
    } else if (f && verdict == MAILBOX_TROUBLE) {
        *out_code = S("SERVERBUG");
        *out_text = S("The store could not do that; the postmaster can see why");
    }
    return false;
}

bool imap_verdict(struct imap_session *s, const struct ipc_frame *f, uint8_t verdict, bool target)
{
    str code, text;
    bool good = imap_verdict_text(f, verdict, target, &code, &text);
    if (!good)
        imap_session_done(s, IMAP_NO, code, text);
    return good;
}

static void command(struct imap_session *s, const struct imap_command *c)
{
    static void (*const of[IMAP_VERBS])(struct imap_session *, const struct imap_command *) = {
        [IMAP_NOOP] = imap_do_noop,           [IMAP_CHECK] = imap_do_noop,        [IMAP_SELECT] = imap_do_select,
        [IMAP_EXAMINE] = imap_do_select,      [IMAP_CLOSE] = imap_do_unselect,    [IMAP_UNSELECT] = imap_do_unselect,
        [IMAP_CREATE] = imap_do_folders,      [IMAP_DELETE] = imap_do_folders,    [IMAP_RENAME] = imap_do_folders,
        [IMAP_SUBSCRIBE] = imap_do_folders,   [IMAP_UNSUBSCRIBE] = imap_do_folders, [IMAP_LIST] = imap_do_folders,
        [IMAP_LSUB] = imap_do_folders,        [IMAP_XLIST] = imap_do_folders,     [IMAP_STATUS] = imap_do_folders,
        [IMAP_GETQUOTA] = imap_do_folders,    [IMAP_GETQUOTAROOT] = imap_do_folders, [IMAP_SETQUOTA] = imap_do_folders,
        [IMAP_EXPUNGE] = imap_do_change,      [IMAP_STORE] = imap_do_change,      [IMAP_COPY] = imap_do_change,
        [IMAP_MOVE] = imap_do_change,         [IMAP_FETCH] = imap_do_fetch,       [IMAP_SEARCH] = imap_do_search,
        [IMAP_SORT] = imap_do_search,         [IMAP_THREAD] = imap_do_search,
    };
    s->verb = c->verb;
    s->verb_uid = c->uid;
    s->commands++;
    s->access->count.commands++;
    if (c->verb < IMAP_VERBS && of[c->verb])
        of[c->verb](s, c);
    else
        imap_session_done(s, IMAP_BAD, STR_NONE, S("Unknown command"));
}

static void note_id(struct imap_session *s, const struct imap_command *c)
{
    struct buf *e = imap_session_event(s, "imap_id");
    static const struct { str name; const char *key; } known[] = {
        { S("name"), "name" }, { S("version"), "version" }, { S("os"), "os" }, { S("vendor"), "vendor" },
    };
    for (size_t i = 0; i + 1 < c->id.n; i += 2)
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            if (str_ieq(c->id.pairs[i], known[k].name))
                event_str(e, known[k].key, str_first(c->id.pairs[i + 1], 100));
    imap_session_event_end(s);
}

static void handle(struct imap_session *s, const struct imap_event *ev)
{
    switch (ev->kind) {
    case IMAP_CONNECT:
        if (s->counted)
            imap_server_greet(s->engine);
        else
            imap_session_leave(s, S("UNAVAILABLE"), S("Too many connections; try again later"));
        return;
    case IMAP_EV_LOGIN: auth_run_password(&s->auth, ev->user, ev->data); return;
    case IMAP_EV_AUTH: auth_run_start(&s->auth, ev->user, ev->has_data, ev->data); return;
    case IMAP_EV_AUTH_RESPONSE:
        if (ev->cancelled)
            auth_run_cancel(&s->auth);
        else
            auth_run_respond(&s->auth, ev->data);
        return;
    case IMAP_COMMAND: command(s, ev->command); return;
    case IMAP_EV_IDLE:
    case IMAP_EV_IDLE_END: imap_idle_event(s, ev); return;
    case IMAP_EV_APPEND:
    case IMAP_EV_APPEND_DATA:
    case IMAP_EV_APPEND_MESSAGE_END:
    case IMAP_EV_APPEND_END:
    case IMAP_EV_APPEND_CANCEL: imap_append_event(s, ev); return;
    case IMAP_EV_ID: note_id(s, ev->command); return;
    case IMAP_EV_SEARCH_REFUSED: buf_clear(&s->saved); return;
    case IMAP_EV_COMPRESS:
        s->zip = imap_zip_new();
        s->zip_pending = s->zip;
        if (!s->zip)
            imap_server_compress_failed(s->engine);
        return;
    default: return;
    }
}

static bool stops(enum imap_event_kind kind)
{
    return kind == IMAP_NEED_INPUT || kind == IMAP_NEED_REPLY || kind == IMAP_NEED_DRAIN ||
           kind == IMAP_EV_STARTTLS || kind == IMAP_EV_CLOSE;
}

static str input(const struct imap_session *s)
{
    return buf_str(zipped(s) ? imap_zip_input(s->zip) : &s->conn.in);
}

static void input_used(struct imap_session *s, size_t n)
{
    if (zipped(s))
        buf_drop(imap_zip_input(s->zip), n);
    else
        conn_input_used(&s->conn, n);
}

/* More plain text out of what came compressed. */
static bool inflate_more(struct imap_session *s)
{
    size_t used;
    int r = zipped(s) ? imap_zip_read(s->zip, buf_str(&s->conn.in), &used) : 0;
    if (!zipped(s))
        return false;
    conn_input_used(&s->conn, used);
    if (r < 0)
        imap_session_close(s, r == -ENOMEM ? "out of memory" : "what came is not compressed");
    return r > 0;
}

/* Events until the engine needs something. *budget: how many are left for this turn. */
static enum imap_event_kind run_events(struct imap_session *s, unsigned *budget)
{
    struct imap_event ev = { .kind = IMAP_NEED_DRAIN };
    size_t used = 0;
    do {
        size_t n = 0;
        if ((*budget)-- == 0) {
            *budget = 0;
            ev.kind = IMAP_NEED_DRAIN;
            break;
        }
        imap_server_next(s->engine, str_from(input(s), used), &n, &ev);
        used += n;
        if (!stops(ev.kind))
            handle(s, &ev);
    } while (!s->closing && !stops(ev.kind) && !s->task.step && !s->zip_pending && s->late_at == s->late.n &&
             imap_out(s)->n < IMAP_OUTPUT_HIGH && !imap_session_turn_over(s));
    if (!s->closing)
        input_used(s, used);
    return stops(ev.kind) ? ev.kind : s->zip_pending ? IMAP_NEED_REPLY : IMAP_NEED_DRAIN;
}

bool imap_session_turn_over(const struct imap_session *s)
{
    return loop_env(s->conn.loop)->mono_ms() >= s->turn_end;
}

/* True: it is over. */
static bool run_task(struct imap_session *s, enum imap_event_kind *stop)
{
    if (!s->task.began_ms)
        s->task.began_ms = s->task.told_ms = loop_env(s->conn.loop)->mono_ms();
    enum imap_step r = s->task.step(s);
    if (r == IMAP_STEP_DONE) {
        s->task = (struct imap_task){ 0 };
        return true;
    }
    *stop = r == IMAP_STEP_MORE ? IMAP_NEED_DRAIN : IMAP_NEED_REPLY;
    return false;
}

static void look_at_box(struct imap_session *s)
{
    if (!s->selected || s->leaving || !s->view.box->gone || s->own_delete)
        return;
    if (role_peer(s->access->role, ROLE_STORE)->open)
        imap_session_leave(s, STR_NONE, S("The selected mailbox was deleted"));
    else
        imap_session_leave(s, S("UNAVAILABLE"), S("The store has restarted; log in again"));
}

static enum imap_event_kind run(struct imap_session *s)
{
    enum imap_event_kind stop = IMAP_NEED_DRAIN;
    unsigned budget = EVENTS_A_TURN;
    s->turn_end = loop_env(s->conn.loop)->mono_ms() + TURN_MS;
    look_at_box(s);
    imap_session_news(s);
    for (;;) {
        if (s->closing)
            return IMAP_EV_CLOSE;
        if (!s->leaving && !move_late(s))
            return IMAP_NEED_DRAIN;
        if (imap_out(s)->n >= IMAP_OUTPUT_HIGH || budget == 0)
            return IMAP_NEED_DRAIN;
        if (s->task.step && !s->leaving) {
            if (!run_task(s, &stop))
                return stop;
            budget--;
        } else {
            stop = run_events(s, &budget);
            if (s->closing || s->zip_pending || (stop != IMAP_NEED_INPUT && stop != IMAP_NEED_DRAIN))
                return stop;
            if (stop == IMAP_NEED_INPUT && !inflate_more(s))
                return stop;
            if (stop == IMAP_NEED_INPUT)
                budget -= MIN(budget, (unsigned)INFLATE_EVENTS);
        }
        if (imap_session_turn_over(s))
            return IMAP_NEED_DRAIN;
    }
}

/* Bytes behind STARTTLS in clear text must not survive the handshake (RFC 9051 6.2.1): the session ends. */
static void on_starttls(struct imap_session *s)
{
    if (s->conn.in.n)
        imap_session_close(s, "bytes followed STARTTLS in clear text");
    else
        s->tls_pending = true;
}

/* True: all output has gone to the socket. */
static bool flush(struct imap_session *s)
{
    struct buf *out = imap_out(s), *to = zipped(s) ? imap_zip_output(s->zip) : out;
    int r = out->failed ? out->failed : s->late.failed;
    if (r == 0 && to != out && !to->n) {
        s->bytes_out += out->n;
        r = imap_zip_write(s->zip, out);
    } else if (to == out) {
        s->bytes_out += out->n;
    }
    if (r < 0) {
        imap_session_close(s, "out of memory");
        return false;
    }
    if (to->n) {
        r = conn_write(&s->conn, to);
        if (to == out)
            s->bytes_out -= out->n;
    }
    if (r < 0)
        imap_session_close(s, "connection lost");
    if (r == 0 && out->cap > 4096 && !out->n)
        buf_release(out);
    return r == 0 && !out->n;
}

/* Nothing is under way: what the session holds beyond its own struct goes. */
static void rest(struct imap_session *s)
{
    imap_server_rest(s->engine);
    buf_release(&s->late);
    buf_release(&s->reply.text);
    if (zipped(s)) {
        if (!imap_zip_input(s->zip)->n)
            buf_release(imap_zip_input(s->zip));
        if (!imap_zip_output(s->zip)->n)
            buf_release(imap_zip_output(s->zip));
    }
}

static void after(struct imap_session *s, enum imap_event_kind stop, bool out)
{
    if (stop == IMAP_EV_CLOSE && out)
        imap_session_close(s, "done");
    else if (s->tls_pending && out)
        imap_session_start_tls(s);
    else if (s->conn.failed || (s->conn.eof && out && stop == IMAP_NEED_INPUT))
        imap_session_close(s, s->conn.failed ? "connection lost" : "client left without LOGOUT");
    else
        conn_pause(&s->conn, s->conn.eof || (stop != IMAP_NEED_INPUT && s->conn.in.n > 4096));
}

void imap_session_pump(struct imap_session *s)
{
    if (s->closing || s->conn.state != CONN_OPEN || proxy_in_waits(&s->conn))
        return;
    s->pump_again = true;
    if (s->pumping)
        return;
    s->pumping = true;
    enum imap_event_kind stop = IMAP_EV_CLOSE;
    bool out = false;
    while (!s->closing && s->pump_again) {
        s->pump_again = false;
        stop = run(s);
        if (!s->closing && stop == IMAP_EV_STARTTLS)
            on_starttls(s);
        out = !s->closing && flush(s);
        if (out && s->zip_pending) {
            s->zip_pending = false;
            imap_server_compressed(s->engine);
            s->pump_again = true;
        }
    }
    s->pumping = false;
    if (!s->closing)
        after(s, stop, out);
    if (s->closing || s->conn.state != CONN_OPEN || !out)
        return;
    if (stop == IMAP_NEED_DRAIN)
        conn_again(&s->conn);
    else if (stop == IMAP_NEED_INPUT && !s->conn.in.n)
        rest(s);
}
