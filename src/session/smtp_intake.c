/* A message on its way into the receive log: trace line in front, header judged by the agent, card made while it
 * streams by, held in memory while small, appended once, acknowledged after the sync that covers it
 * (DESIGN 1.1, 5.3, 8.4). While the role is careful (smtp_in.c) the parser sees nothing of it, and no card is made. */
#include <errno.h>
#include "base/date.h"
#include "message/loop_mark.h"
#include "session/smtp_session.h"

enum { PASSED_MAX = 32, BULK_RECIPIENTS = 50 /* a list: what people write to each other goes first */ };
#define REFUSE(c, e, t) ((struct smtp_refusal){ (c), S(e), S(t) })

static struct mime_parser *take_mime(struct smtp_in *in)
{
    return in->n_spare_mime ? in->spare_mime[--in->n_spare_mime] : mime_new();
}

static void give_mime(struct smtp_in *in, struct mime_parser *m)
{
    if (m && in->n_spare_mime < ARRAY_LEN(in->spare_mime)) {
        mime_reset(m);
        in->spare_mime[in->n_spare_mime++] = m;
    } else {
        mime_free(m);
    }
}

static void let_go(struct smtp_session *s)
{
    struct smtp_intake *c = &s->tx.content;
    s->in->held -= c->head.n + c->body.n;
    buf_done(&c->head);
    buf_done(&c->body);
}

void smtp_intake_drop(struct smtp_session *s)
{
    struct smtp_intake *c = &s->tx.content;
    let_go(s);
    receive_log_stream_abort(TAKE(c->stream));
    give_mime(s->in, TAKE(c->mime));
}

/* RFC 3848: ESMTP, LMTP, S for TLS, A for authentication; RFC 6531 4.3: UTF8SMTP, UTF8LMTP. */
static str protocol(const struct smtp_session *s)
{
    static const char *const names[][4] = {
        { "ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA" },
        { "UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA" },
        { "LMTP", "LMTPS", "LMTPA", "LMTPSA" },
        { "UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA" },
    };
    if (s->drop)
        return S("local");
    bool lmtp = s->listener->service == CONF_LMTP;
    unsigned letters = (s->tls ? 1 : 0) + (s->account.n ? 2 : 0);
    unsigned row = (s->tx.mail.smtputf8 ? 1 : 0) + (lmtp ? 2 : 0);
    return !s->esmtp && !lmtp ? S("SMTP") : str_z(names[row][letters]);
}

static int write_received(struct smtp_session *s)
{
    char id[B32_ID_LEN + 12];
    int64_t now = (int64_t)(s->in->role->env->wall_us() / 1000000);
    if (s->drop)
        return drop_intake_received(s, &s->tx.content.head, trace_id_message(&s->id, s->message, id));
    struct received r = {
        .helo = s->helo,
        .client_name = s->client_name,
        .client_addr = str_z(s->conn.address),
        .by = s->policy->config->conf->hostname,
        .protocol = protocol(s),
        .tls = buf_str(&s->tls_text),
        .id = trace_id_message(&s->id, s->message, id),
        .for_addr = s->tx.n_recipients == 1 ? s->tx.recipients->record.address : STR_NONE,
        .unix_s = now,
        .offset_min = date_local_offset_min(now),
    };
    return received_write(&s->tx.content.head, &r);
}

/* Counts the Received fields of a header that comes in pieces: loops must end without the parser too. */
static void count_hops(struct smtp_hops *h, str piece)
{
    static const char name[] = "received";
    for (size_t i = 0; i < piece.n && !h->over; i++) {
        char c = piece.p[i];
        if (c == '\n') {
            h->over = !h->text;
            h->text = false;
            h->matched = 0;
            continue;
        }
        h->text = h->text || c != '\r';
        if (h->matched == sizeof(name) - 1 && c == ':')
            h->n++;
        if (h->matched == sizeof(name) - 1 && ascii_blank(c))
            continue;
        bool next = h->matched < sizeof(name) - 1 && ascii_lower(c) == name[h->matched];
        h->matched = next ? h->matched + 1 : sizeof(name);
    }
}

static void look_at(struct smtp_intake *c, str piece)
{
    count_hops(&c->hops, piece);
    if (c->mime)
        mime_feed(c->mime, piece);
}

void smtp_intake_begin(struct smtp_session *s)
{
    struct smtp_intake *c = &s->tx.content;
    c->head = BUF(HEADER_HELD_MAX * 2);
    c->body = BUF(HEADER_HELD_MAX + CONN_INPUT_MAX);
    c->careful = smtp_in_careful_ms(s->in) > 0;
    c->mime = c->careful ? NULL : take_mime(s->in);
    c->header_done = !s->agent->header;
    int r = write_received(s);
    s->in->held += c->head.n;
    if ((!c->mime && !c->careful) || r < 0) {
        c->refusal = REFUSE(451, "4.3.0", "Out of memory; try again later");
        return;
    }
    if (c->header_done)
        look_at(c, buf_str(&c->head));
}

static int stream_write(struct smtp_session *s, str piece)
{
    int r = receive_log_stream_write(s->tx.content.stream, piece);
    if (r < 0)
        s->tx.content.refusal = r == -ENOSPC
                                    ? REFUSE(452, "4.3.1", "Not enough disk space; try again later")
                                    : REFUSE(451, "4.3.0", "The message could not be written; try again later");
    return r;
}

/* What is held goes to a segment of its own; from here on pieces go straight to disk. */
static void begin_stream(struct smtp_session *s)
{
    struct smtp_intake *c = &s->tx.content;
    int r = receive_log_stream_begin(s->in->log.log, &c->stream);
    if (r < 0) {
        c->refusal = REFUSE(452, "4.3.1", "No room for a large message; try again later");
        return;
    }
    if (stream_write(s, buf_str(&c->head)) == 0)
        stream_write(s, buf_str(&c->body));
    let_go(s);
}

/* Length of the header with its last CRLF but without the empty line; -1: not yet complete. */
static ptrdiff_t header_length(struct smtp_intake *c)
{
    str held = buf_str(&c->body);
    if (str_starts(held, S("\r\n")))
        return 0;
    ptrdiff_t at = str_find(str_from(held, c->scanned), S("\r\n\r\n"));
    if (at >= 0)
        return (ptrdiff_t)c->scanned + at + 2;
    c->scanned = held.n > 3 ? held.n - 3 : 0;
    return -1;
}

/* The agent judges the header; what it stores takes the place of what came. */
static void judge_header(struct smtp_session *s, size_t length)
{
    struct smtp_intake *c = &s->tx.content;
    size_t before = c->head.n;
    int r = s->agent->header(s, str_first(buf_str(&c->body), length), &c->head, &c->refusal);
    if (r == -ENOBUFS)
        c->refusal = REFUSE(552, "5.3.4", "The header is too large");
    else if (r < 0 && !c->refusal.code)
        c->refusal = REFUSE(451, "4.3.0", "Out of memory; try again later");
    s->in->held += c->head.n - before;
    if (r < 0)
        return;
    s->in->held -= length;
    buf_drop(&c->body, length);
    c->header_done = true;
    look_at(c, buf_str(&c->head));
    look_at(c, buf_str(&c->body));
}

static void hold(struct smtp_session *s, str piece)
{
    struct smtp_intake *c = &s->tx.content;
    if (buf_add(&c->body, piece) < 0)
        c->refusal = REFUSE(452, "4.3.1", "Out of memory; try again later");
    else
        s->in->held += piece.n;
}

static void add_to_header(struct smtp_session *s, str piece)
{
    struct smtp_intake *c = &s->tx.content;
    hold(s, piece);
    if (c->refusal.code)
        return;
    ptrdiff_t length = header_length(c);
    if (length > HEADER_HELD_MAX || (length < 0 && c->body.n > HEADER_HELD_MAX))
        c->refusal = REFUSE(552, "5.3.4", "The header is larger than 256 KiB");
    else if (length >= 0)
        judge_header(s, (size_t)length);
}

void smtp_intake_add(struct smtp_session *s, str piece)
{
    struct smtp_intake *c = &s->tx.content;
    if (!c->size && piece.n && ascii_blank(piece.p[0])) /* it would become part of our Received line */
        c->refusal = REFUSE(550, "5.6.0", "The header begins with a continuation line");
    c->size += piece.n;
    if (c->refusal.code)
        return;
    if (!c->header_done) {
        add_to_header(s, piece);
    } else {
        look_at(c, piece);
        if (c->stream)
            stream_write(s, piece);
        else
            hold(s, piece);
    }
    if (!c->refusal.code && c->header_done && !c->stream &&
        (c->head.n + c->body.n > CONTENT_HELD_MAX || s->in->held > CONTENT_ROLE_MAX))
        begin_stream(s);
    if (c->refusal.code) {
        let_go(s);
        receive_log_stream_abort(TAKE(c->stream));
    }
}

/* What Delivered-To lines of this host say: addresses here that have forwarded the message already. */
static size_t delivered_to(struct smtp_session *s, str list[PASSED_MAX])
{
    const struct mime_parser *m = s->tx.content.mime;
    const struct mime_field *fields;
    size_t n = 0, n_fields = m && s->in->has_key ? mime_fields(m, &fields) : 0;
    for (size_t i = 0; i < n_fields && n < PASSED_MAX; i++) {
        str line = str_first(str_from(mime_header_text(m), fields[i].off), fields[i].len), name, value, address;
        if (header_split(line, &name, &value) && str_ieq(name, S("Delivered-To")) &&
            loop_mark_read(s->in->key, value, &address))
            list[n++] = address;
    }
    return n;
}

static int encode_record(struct smtp_session *s, struct buf *card, struct buf *out)
{
    str passed[PASSED_MAX];
    struct smtp_transaction *tx = &s->tx;
    struct record_recipient *list = ARENA_ARRAY(&tx->arena, struct record_recipient, tx->n_recipients);
    size_t n = 0;
    if (!list || (tx->content.mime && card_encode(card, tx->content.mime) < 0))
        return -ENOMEM;
    for (struct smtp_recipient *r = tx->recipients; r; r = r->next)
        list[n++] = r->record;
    struct message_record m = {
        .number = s->message,
        .received_us = s->in->role->env->wall_us(),
        .client_addr = str_z(s->conn.address),
        .client_name = s->drop ? s->client_name : STR_NONE,
        .helo = s->helo,
        .tls = buf_str(&s->tls_text),
        .account = s->account,
        .listener = s->drop ? drop_intake_listener(s) : str_z(conf_service_name[s->listener->service]),
        .protocol = protocol(s),
        .sender = tx->sender,
        .envid = tx->mail.envid,
        .ret = tx->mail.ret,
        .body = tx->mail.body_8bit,
        .smtputf8 = tx->mail.smtputf8,
        .native = drop_intake_native(s),
        .priority = tx->n_recipients >= BULK_RECIPIENTS ? RECORD_PRIORITY_LOW
                    : s->account.n                      ? RECORD_PRIORITY_HIGH
                                                        : RECORD_PRIORITY_NORMAL,
        .generation = tx->policy->config->generation,
        .recipients = list, .n_recipients = n,
        .card = buf_str(card),
        .delivered_to = passed,
        .n_delivered_to = delivered_to(s, passed),
    };
    memcpy(m.session, s->id.raw, sizeof(m.session));
    return message_record_encode(out, &m);
}

static int to_log(struct smtp_session *s, str meta)
{
    struct smtp_intake *c = &s->tx.content;
    str pieces[2] = { buf_str(&c->head), buf_str(&c->body) };
    if (c->stream)
        return receive_log_stream_finish(TAKE(c->stream), meta, &s->tx.ticket, &s->tx.position);
    return receive_log_append(s->in->log.log, pieces, 2, meta, &s->tx.ticket, &s->tx.position);
}

static void append(struct smtp_session *s)
{
    struct smtp_intake *c = &s->tx.content;
    _cleanup_buf_ struct buf card = BUF(CARD_MAX), meta = BUF(TRANSACTION_MEMORY_MAX);
    if (c->mime)
        mime_end(c->mime);
    if (c->hops.n > HOPCOUNT_MAX) {
        c->refusal = REFUSE(554, "5.4.6", "Too many hops: the message goes in a circle");
        return;
    }
    int r = encode_record(s, &card, &meta);
    if (r == 0)
        r = to_log(s, buf_str(&meta));
    if (r < 0)
        c->refusal = r == -ENOSPC ? REFUSE(452, "4.3.1", "Not enough disk space; try again later")
                                  : REFUSE(451, "4.3.0", "The message could not be stored; try again later");
}

/* One reply (none without a connection); with LMTP the same one for each recipient: all stand on one sync (RFC 2033
 * 4.2). */
static void reply_all(struct smtp_session *s, const struct smtp_refusal *verdict)
{
    if (s->drop)
        drop_intake_refused(s, verdict);
    for (uint32_t n = s->engine ? smtp_server_replies_due(s->engine) : 0; n > 0; n--)
        smtp_server_reply(s->engine, verdict->code, verdict->enhanced, verdict->text);
}

static void refuse_content(struct smtp_session *s)
{
    struct smtp_refusal why = s->tx.content.refusal;
    struct buf *e = smtp_session_event(s, EVENT_INFO, "refused");
    event_str(e, "sender", s->tx.sender);
    for (struct smtp_recipient *r = s->tx.recipients; r; r = r->next)
        event_str(e, "recipient", r->record.address);
    event_u64(e, "code", (uint64_t)why.code);
    event_str(e, "enhanced", why.enhanced);
    event_str(e, "text", why.text);
    event_u64(e, "size", s->tx.content.size);
    event_str(e, "client", str_z(s->conn.address));
    event_str(e, "account", s->account);
    smtp_session_event_end(s);
    s->in->count.rejected++;
    reply_all(s, &why);
    smtp_envelope_end(s);
}

void smtp_intake_end(struct smtp_session *s)
{
    struct smtp_intake *c = &s->tx.content;
    if (!c->refusal.code && !c->header_done) /* a message that is all header: no empty line */
        judge_header(s, c->body.n);
    if (!c->refusal.code)
        append(s);
    if (c->refusal.code) {
        refuse_content(s);
        return;
    }
    let_go(s);
    give_mime(s->in, TAKE(c->mime));
    s->in->log.dirty = true;
    s->is_waiting = true;
    s->next_waiting = NULL;
    *s->in->waiting_end = s;
    s->in->waiting_end = &s->next_waiting;
}

static void note_received(struct smtp_session *s)
{
    struct buf *e = smtp_session_event(s, EVENT_INFO, "received");
    s->event_left_out = false; /* a message that was accepted can always be traced */
    event_str(e, "sender", s->tx.sender);
    for (struct smtp_recipient *r = s->tx.recipients; r; r = r->next)
        event_str(e, "recipient", r->record.address);
    event_str(e, "account", s->account);
    event_u64(e, "size", s->tx.content.size);
    event_str(e, "log", S("smtp-in"));
    event_u64(e, "segment", s->tx.position.segment);
    event_u64(e, "offset", s->tx.position.offset);
    if (s->tx.content.careful)
        event_str(e, "card", S("later"));
    smtp_session_event_end(s);
    s->in->count.messages++;
    s->in->count.bytes += s->tx.content.size;
    s->messages++;
}

static void acknowledge(struct smtp_session *s)
{
    char id[B32_ID_LEN + 12];
    str name = trace_id_message(&s->id, s->message, id);
    str text = arena_printf(&s->tx.arena, "Message accepted as %.*s", STR_ARG(name));
    reply_all(s, &(struct smtp_refusal){ 250, S("2.0.0"), text.p ? text : S("Message accepted") });
    smtp_envelope_end(s);
}

void smtp_intake_synced(struct smtp_in *in)
{
    uint64_t synced = receive_log_synced(in->log.log);
    while (in->waiting && (in->log.dead || in->waiting->tx.ticket <= synced)) {
        struct smtp_session *s = in->waiting;
        in->waiting = s->next_waiting;
        if (!in->waiting)
            in->waiting_end = &in->waiting;
        s->is_waiting = false;
        if (s->tx.ticket <= synced)
            note_received(s);
        if (s->closing) { /* the client left; the message is stored all the same */
            smtp_envelope_end(s);
            s->next_closed = in->closed;
            in->closed = s;
            continue;
        }
        if (s->tx.ticket <= synced) {
            acknowledge(s);
        } else {
            s->tx.content.refusal = REFUSE(451, "4.3.0", "The disk of this host has failed; try again later");
            refuse_content(s);
        }
        smtp_session_pump(s);
    }
}
