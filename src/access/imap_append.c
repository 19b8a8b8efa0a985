/* APPEND (RFC 9051 6.3.12, RFC 3502, RFC 4315): the store is asked whether the messages may come in; their content goes
 * into the role's own receive log as it is, with a card made while it streams by, and the reply is given when the log
 * is durable and the store has placed every one of them. A client that leaves meanwhile has appended all the same. */
#include <errno.h>
#include <sys/statvfs.h>
#include "access/imap_session.h"
#include "base/date.h"
#include "message/card.h"
#include "store/mailbox_role.h"
#include "store/message_record.h"

enum {
    MESSAGES_MAX = 1000, STREAMS_MAX = 50, /* of one APPEND */
    HELD_MAX = 131072,              /* a message is held up to here, then streamed (DESIGN 5.3) */
    META_MAX = 1 << 20
};
#define HELD_ROLE_MAX ((size_t)64 << 20)
#define CARDS_MAX     ((size_t)16 << 20) /* of one APPEND */
#define BACKLOG_MAX   ((uint64_t)256 << 20) /* not yet placed by the store (DESIGN 2) */

struct append_message {
    struct log_stream *stream;
    struct buf body, card;
    uint64_t size, ticket;
    struct log_position position;
    uint32_t number, uid, flags;
    const str *keywords; size_t n_keywords;
    int64_t date_s; int zone_min;
    bool binary, placed;
    struct append_message *next;
};

struct imap_append_state {
    struct imap_session *session;
    struct arena arena;
    uint64_t mailbox;
    uint32_t uidvalidity;
    str name;
    struct append_message *first, **end, *now; /* now: the one that comes in; it is the last of the list */
    size_t n, streams, cards;
    uint64_t bytes;
    struct mime_parser *mime;
    str code, text; bool failed;    /* static; nothing is to be taken */
    bool waiting, store_lost;
    struct imap_append_state *prev_waiting, *next_waiting;
};

bool imap_append_waits(const struct imap_session *s) { return s->append && s->append->waiting; }

static void fail(struct imap_append_state *st, str code, str text)
{
    if (st->failed)
        return;
    st->failed = true;
    st->code = code;
    st->text = text;
}

static void fail_errno(struct imap_append_state *st, int r)
{
    if (r == -ENOSPC)
        fail(st, S("OVERQUOTA"), S("Not enough disk space; try again later"));
    else
        fail(st, S("UNAVAILABLE"), S("The message could not be written; try again later"));
}

static void drop_content(struct access_role *a, struct append_message *m)
{
    a->append_held -= m->body.n + m->card.n;
    buf_done(&m->body);
    buf_done(&m->card);
    if (m->stream)
        receive_log_stream_abort(TAKE(m->stream));
}

static void give_mime(struct imap_append_state *st)
{
    struct access_role *a = st->session->access;
    struct mime_parser *m = TAKE(st->mime);
    if (m && !a->spare_mime) {
        mime_reset(m);
        a->spare_mime = m;
    } else {
        mime_free(m);
    }
}

static void unlink_waiting(struct imap_append_state *st)
{
    struct access_role *a = st->session->access;
    if (!st->waiting)
        return;
    if (st->prev_waiting)
        st->prev_waiting->next_waiting = st->next_waiting;
    else
        a->appends = st->next_waiting;
    if (st->next_waiting)
        st->next_waiting->prev_waiting = st->prev_waiting;
    st->waiting = false;
}

void imap_append_leave(struct imap_session *s)
{
    struct imap_append_state *st = TAKE(s->append);
    if (!st)
        return;
    unlink_waiting(st);
    give_mime(st);
    for (struct append_message *m = st->first; m; m = m->next)
        drop_content(s->access, m);
    arena_done(&st->arena);
    free(st);
}

static struct imap_append_state *begin(struct imap_session *s, str mailbox)
{
    struct imap_append_state *st = calloc(1, sizeof(*st));
    if (!st)
        return NULL;
    st->session = s;
    st->arena = ARENA((size_t)4 << 20);
    st->end = &st->first;
    st->name = arena_dup(&st->arena, mailbox);
    s->append = st;
    s->verb = IMAP_APPEND;
    s->verb_uid = false;
    s->commands++;
    return st;
}

static const str *copy_keywords(struct arena *a, const struct imap_flags *f)
{
    str *list = ARENA_ARRAY(a, str, f->n_keywords + 1);
    for (size_t i = 0; list && i < f->n_keywords; i++) {
        list[i] = arena_dup(a, f->keywords[i]);
        if (!list[i].p)
            return NULL;
    }
    return list;
}

static int add_message(struct imap_append_state *st, const struct imap_append *ap)
{
    struct append_message *m = ARENA_NEW(&st->arena, struct append_message);
    int64_t now = (int64_t)(st->session->access->role->env->wall_us() / 1000000);
    if (!m || !(m->keywords = copy_keywords(&st->arena, &ap->flags)))
        return -ENOMEM;
    m->body = BUF(HELD_MAX + CONN_INPUT_MAX + IMAP_ZIP_INPUT_HIGH * 4);
    m->card = BUF(CARD_MAX);
    m->n_keywords = ap->flags.n_keywords;
    m->flags = ap->flags.system & ~(uint32_t)IMAP_RECENT;
    m->date_s = ap->has_date ? ap->date_s : now;
    m->zone_min = ap->has_date ? ap->date_zone_min : date_local_offset_min(now);
    m->binary = ap->literal8;
    m->number = ++st->session->messages;
    st->bytes += ap->size;
    st->n++;
    st->now = *st->end = m;
    st->end = &m->next;
    return 0;
}

/* The literal is not taken, and nothing of the command is. */
static void refuse(struct imap_session *s, str code, str text)
{
    imap_append_leave(s);
    imap_server_append_refuse(s->engine, code, text);
}

static bool on_may(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    struct access_role *a = s->access;
    struct imap_append_state *st = s->append;
    uint8_t verdict = f ? unpack_u8(&f->in) : 0;
    str code, text;
    st->mailbox = f ? unpack_u64(&f->in) : 0;
    st->uidvalidity = f ? unpack_u32(&f->in) : 0;
    if (!imap_verdict_text(f, verdict, true, &code, &text)) {
        refuse(s, code, text);
    } else {
        st->mime = a->spare_mime ? TAKE(a->spare_mime) : mime_new();
        if (st->mime)
            imap_server_append_go(s->engine);
        else
            refuse(s, S("LIMIT"), S("Out of memory; try again later"));
    }
    imap_session_pump(s);
    return false;
}

static bool room_for(const struct imap_session *s, uint64_t size)
{
    struct statvfs fs;
    if (fstatvfs(s->access->role->data_dir, &fs) < 0)
        return true;
    return (uint64_t)fs.f_bavail * fs.f_frsize >= s->config->conf->min_free + size;
}

static str trouble(const struct imap_session *s, const struct imap_append *ap, str *out_code)
{
    const struct log_writer *log = &s->access->log;
    const struct imap_append_state *st = s->append;
    *out_code = S("LIMIT");
    if (st && st->n >= MESSAGES_MAX)
        return S("Too many messages in one APPEND");
    if (ap->flags.n_keywords > KEYWORDS_MAX)
        return S("Too many keywords");
    for (size_t i = 0; i < ap->flags.n_keywords; i++)
        if (ap->flags.keywords[i].n > KEYWORD_LEN_MAX)
            return S("A keyword is too long");
    *out_code = S("UNAVAILABLE");
    if (!log->log || log->dead)
        return S("The disk of this host has failed; try again later");
    if (log_writer_backlog(log) > BACKLOG_MAX)
        return S("This host is busy placing mail; try again later");
    return room_for(s, ap->size) ? STR_NONE : S("Not enough disk space; try again later");
}

static void on_message(struct imap_session *s, const struct imap_append *ap)
{
    str code, why = trouble(s, ap, &code);
    struct imap_append_state *st = s->append ? s->append : begin(s, ap->mailbox);
    struct buf b;
    if (why.n || !st || !st->name.p || (!st->failed && add_message(st, ap) < 0)) {
        refuse(s, why.n ? code : S("LIMIT"), why.n ? why : S("Out of memory; try again later"));
        return;
    }
    if (st->failed) {
        refuse(s, st->code, st->text);
        return;
    }
    imap_ask(s, &b);
    pack_str(&b, st->name);
    pack_u64(&b, st->bytes);
    pack_u32(&b, (uint32_t)st->n);
    s->call.answer = on_may;
    if (store_call_send(&s->call, IPC_APPEND_ASK, &b) < 0)
        refuse(s, S("UNAVAILABLE"), S("The store is not there at the moment; try again later"));
}

/* What is held goes to a segment of its own; from here on pieces go straight to disk. */
static void begin_stream(struct imap_append_state *st, struct append_message *m)
{
    struct access_role *a = st->session->access;
    if (++st->streams > STREAMS_MAX) {
        fail(st, S("LIMIT"), S("Too many large messages in one APPEND"));
        return;
    }
    int r = receive_log_stream_begin(a->log.log, &m->stream);
    if (r == 0)
        r = receive_log_stream_write(m->stream, buf_str(&m->body));
    if (r < 0)
        fail_errno(st, r);
    a->append_held -= m->body.n;
    buf_release(&m->body);
}

static void on_data(struct imap_session *s, str piece)
{
    struct imap_append_state *st = s->append;
    struct append_message *m = st ? st->now : NULL;
    int r = 0;
    if (!m || st->failed)
        return;
    if (str_chr(piece, '\0') >= 0) { /* it could be fetched as a literal8 alone (RFC 3516 4.4) */
        fail(st, m->binary ? S("UNKNOWN-CTE") : S("CANNOT"), S("A message may not have NUL in it"));
        return;
    }
    m->size += piece.n;
    mime_feed(st->mime, piece);
    if (m->stream) {
        r = receive_log_stream_write(m->stream, piece);
    } else {
        r = buf_add(&m->body, piece);
        s->access->append_held += r == 0 ? piece.n : 0;
    }
    if (r < 0)
        fail_errno(st, r);
    else if (!m->stream && (m->body.n > HELD_MAX || s->access->append_held > HELD_ROLE_MAX))
        begin_stream(st, m);
}

static void on_message_end(struct imap_session *s)
{
    struct imap_append_state *st = s->append;
    struct append_message *m = st ? st->now : NULL;
    if (m && st->mime && !st->failed) {
        mime_end(st->mime);
        if (card_encode(&m->card, st->mime) < 0)
            fail(st, S("LIMIT"), S("Out of memory; try again later"));
        else
            s->access->append_held += m->card.n;
        st->cards += m->card.n;
        bool full = st->n > 1 && s->access->append_held > 2 * HELD_ROLE_MAX;
        if (st->cards > CARDS_MAX || full)
            fail(st, S("LIMIT"), S("Too many messages in one APPEND"));
    }
    if (st)
        give_mime(st);
}

static int to_log(struct imap_append_state *st, struct append_message *m)
{
    struct imap_session *s = st->session;
    struct access_role *a = s->access;
    _cleanup_buf_ struct buf meta = BUF(META_MAX);
    str content = buf_str(&m->body);
    struct message_record record = {
        .number = m->number,
        .received_us = a->role->env->wall_us(),
        .client_addr = str_z(s->conn.address),
        .account = str_z(s->account),
        .listener = str_z(conf_service_name[s->listener->service]),
        .protocol = S("IMAP"),
        .generation = s->config->generation,
        .card = buf_str(&m->card),
        .append_mailbox = st->mailbox,
        .append_flags = m->flags,
        .append_keywords = m->keywords,
        .n_append_keywords = m->n_keywords,
        .append_date_s = m->date_s,
        .append_zone_min = (int16_t)m->zone_min,
    };
    memcpy(record.session, s->id.raw, sizeof(record.session));
    int r = message_record_encode(&meta, &record);
    if (r < 0)
        return r;
    if (m->stream)
        return receive_log_stream_finish(TAKE(m->stream), buf_str(&meta), &m->ticket, &m->position);
    return receive_log_append(a->log.log, &content, 1, buf_str(&meta), &m->ticket, &m->position);
}

static void answer(struct imap_append_state *st, enum imap_result result, str code, str text)
{
    struct imap_session *s = st->session;
    bool lost = st->store_lost;
    imap_append_leave(s);
    imap_session_done(s, result, code, text);
    if (lost)
        imap_session_leave(s, S("UNAVAILABLE"), S("The store has restarted; log in again"));
    imap_session_pump(s);
}

/* All messages of the command are complete: their records are finished together. */
static void on_end(struct imap_session *s)
{
    struct imap_append_state *st = s->append;
    struct access_role *a = s->access;
    for (struct append_message *m = st ? st->first : NULL; m && !st->failed; m = m->next) {
        int r = to_log(st, m);
        if (r < 0)
            fail_errno(st, r);
        else
            a->log.dirty = true;
        drop_content(a, m);
    }
    if (!st || st->failed) {
        str code = st ? st->code : S("CANNOT"), text = st ? st->text : S("There was no message");
        imap_append_leave(s);
        imap_session_done(s, IMAP_NO, code, text);
        return;
    }
    st->waiting = true;
    st->next_waiting = a->appends;
    if (st->next_waiting)
        st->next_waiting->prev_waiting = st;
    a->appends = st;
}

void imap_append_event(struct imap_session *s, const struct imap_event *ev)
{
    switch (ev->kind) {
    case IMAP_EV_APPEND: on_message(s, ev->append); return;
    case IMAP_EV_APPEND_DATA: on_data(s, ev->data); return;
    case IMAP_EV_APPEND_MESSAGE_END: on_message_end(s); return;
    case IMAP_EV_APPEND_END: on_end(s); return;
    default: imap_append_leave(s); return;
    }
}

static void note_appended(struct imap_append_state *st, const struct append_message *m)
{
    struct imap_session *s = st->session;
    char id[B32_ID_LEN + 12];
    struct buf *e = imap_session_event(s, "imap_append");
    s->event_left_out = false; /* a message that was accepted can always be traced */
    event_str(e, "message", trace_id_message(&s->id, m->number, id));
    event_str(e, "mailbox", st->name);
    event_u64(e, "uid", m->uid);
    event_u64(e, "size", m->size);
    event_str(e, "log", S("access"));
    event_u64(e, "segment", m->position.segment);
    event_u64(e, "offset", m->position.offset);
    imap_session_event_end(s);
    s->access->count.appended++;
    s->access->count.appended_bytes += m->size;
}

/* Durable, and placed as far as is known: the client may be told so. uids: they are known. */
static void succeed(struct imap_append_state *st, bool uids)
{
    _cleanup_buf_ struct buf code = BUF(32768);
    struct imap_set_writer w = { .out = &code };
    buf_addf(&code, "APPENDUID %u ", st->uidvalidity);
    for (struct append_message *m = st->first; m; m = m->next) {
        note_appended(st, m);
        imap_set_add(&w, m->uid);
    }
    imap_set_end(&w);
    answer(st, IMAP_OK, uids && !code.failed ? buf_str(&code) : STR_NONE, S("APPEND completed"));
}

static uint64_t last_ticket(const struct imap_append_state *st)
{
    uint64_t ticket = 0;
    for (const struct append_message *m = st->first; m; m = m->next)
        ticket = MAX(ticket, m->ticket);
    return ticket;
}

/* The store places what it is told of; if it has gone, it will at its next start. */
void imap_append_synced(struct access_role *a)
{
    uint64_t synced = receive_log_synced(a->log.log);
    for (struct imap_append_state *st = a->appends, *next; st; st = next) {
        next = st->next_waiting;
        if (last_ticket(st) <= synced) {
            if (st->store_lost)
                succeed(st, false);
        } else if (a->log.dead) {
            answer(st, IMAP_NO, S("UNAVAILABLE"), S("The disk of this host has failed; try again later"));
        }
    }
}

void imap_append_store_down(struct access_role *a)
{
    for (struct imap_append_state *st = a->appends; st; st = st->next_waiting)
        st->store_lost = true;
    if (a->appends)
        imap_append_synced(a);
}

static void placed(struct imap_append_state *st, struct append_message *m, uint32_t uid)
{
    bool all = true, good = true;
    m->placed = true;
    m->uid = uid;
    for (m = st->first; m; m = m->next) {
        all &= m->placed;
        good &= m->uid != 0;
    }
    if (all && good)
        succeed(st, true);
    else if (all)
        answer(st, IMAP_NO, S("TRYCREATE"), S("The mailbox is not there any more"));
}

int imap_append_placed(struct access_role *a, struct ipc_frame *f)
{
    unpack_u64(&f->in);
    uint32_t uid = unpack_u32(&f->in);
    str session = unpack_str(&f->in);
    uint32_t number = unpack_u32(&f->in);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    for (struct imap_append_state *st = a->appends; st; st = st->next_waiting) {
        if (!str_eq(session, str_of(st->session->id.raw, sizeof(st->session->id.raw))))
            continue;
        for (struct append_message *m = st->first; m; m = m->next)
            if (m->number == number && !m->placed) {
                placed(st, m, uid);
                return 0;
            }
    }
    return 0;
}
