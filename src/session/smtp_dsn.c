/* Notices to senders (message/dsn.h): the store says what became of a message and has the notice written here, by the
 * one role that receives mail. It goes into the receive log like any other message, with the event it tells of in its
 * record, so that the store knows that it is made; nobody is answered, and what cannot be written now is asked for
 * again. */
#include <errno.h>
#include "base/date.h"
#include "message/dsn.h"
#include "session/smtp_session.h"
#include "store/journal_queue.h"

enum {
    RECIPIENTS_MAX = 1000,
    HEADER_MAX = 131072,         /* of the original */
    WHOLE_MAX = 1 << 20,         /* a larger one is not returned whole, RET=FULL or not … */
    WHOLE_UNASKED_MAX = 51200,   /* … nor one beyond this without RET */
    TEXT_MAX = 4 << 20,
    MEMORY_MAX = 8 << 20,
};

struct notice {
    struct smtp_in *in;
    struct arena arena;
    struct dsn dsn;
    struct dsn_recipient *recipients;
    uint64_t message, event, offset, length;
    uint8_t kind, ret;
    str to;
    int fd;
    struct trace_id id;
    char of[B32_ID_LEN + 12];    /* trace id of the original */
    struct buf original, text;
};

static void notice_done(struct notice *n)
{
    arena_done(&n->arena);
    buf_done(&n->original);
    buf_done(&n->text);
}

static int read_recipients(struct notice *n, struct unpack *in)
{
    uint32_t count = unpack_u32(in);
    if (in->bad || count == 0 || count > RECIPIENTS_MAX)
        return -EBADMSG;
    n->recipients = ARENA_ARRAY(&n->arena, struct dsn_recipient, count);
    if (!n->recipients)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        struct dsn_recipient *r = &n->recipients[i];
        r->address = unpack_str(in);
        r->original = unpack_str(in);
        r->orcpt = unpack_str(in);
        unpack_u8(in); /* the outcome: the kind says what is to be told of it */
        r->status = unpack_str(in);
        r->mta = unpack_str(in);
        r->code = unpack_u16(in);
        r->text = unpack_str(in);
        r->at_s = (int64_t)(unpack_u64(in) / 1000000);
        r->until_s = (int64_t)(unpack_u64(in) / 1000000);
    }
    n->dsn.recipients = n->recipients;
    n->dsn.n = count;
    return unpack_end(in) ? 0 : -EBADMSG;
}

static int read_frame(struct notice *n, struct unpack *in)
{
    struct trace_id original;
    n->message = unpack_u64(in);
    n->event = unpack_u64(in);
    n->kind = unpack_u8(in);
    n->to = unpack_str(in);
    n->dsn.envid = unpack_str(in);
    n->ret = unpack_u8(in);
    n->dsn.smtputf8 = unpack_u8(in);
    n->dsn.last_resort = unpack_u8(in);
    str session = unpack_str(in);
    uint32_t number = unpack_u32(in);
    n->dsn.arrival_s = (int64_t)(unpack_u64(in) / 1000000);
    unpack_str(in); /* the sender of the original: `to`, or nobody */
    n->offset = unpack_u64(in);
    n->length = unpack_u64(in);
    if (in->bad || session.n != sizeof(original.raw) || n->kind >= DSN_KINDS)
        return -EBADMSG;
    memcpy(original.raw, session.p, session.n);
    b32_id_encode(original.raw, original.text);
    n->dsn.trace_id = trace_id_message(&original, number, n->of);
    n->dsn.kind = (enum dsn_kind)n->kind;
    return read_recipients(n, in);
}

/* RFC 3461 4.3: RET is about failures; of anything else the header is enough. */
static bool returned_whole(const struct notice *n)
{
    if (n->dsn.kind != DSN_FAILED || n->ret == 2)
        return false;
    return n->length <= (n->ret == 1 ? (uint64_t)WHOLE_MAX : (uint64_t)WHOLE_UNASKED_MAX);
}

/* The end of the header with its empty line; all of it if there is none. */
static size_t header_length(str content)
{
    ptrdiff_t end = str_find(content, S("\r\n\r\n"));
    return str_starts(content, S("\r\n")) ? 2 : end < 0 ? content.n : (size_t)end + 2;
}

static int read_original(struct notice *n)
{
    n->dsn.whole = returned_whole(n);
    size_t want = (size_t)MIN(n->length, n->dsn.whole ? (uint64_t)WHOLE_MAX : (uint64_t)HEADER_MAX);
    char *p = buf_space(&n->original, want);
    bool whole = n->fd >= 0;
    for (size_t got = 0; p && whole && got < want;) {
        ssize_t k = pread(n->fd, p + got, want - got, (off_t)(n->offset + got));
        whole = k > 0 || (k < 0 && errno == EINTR);
        got += k > 0 ? (size_t)k : 0;
    }
    if (!p)
        return n->original.failed;
    if (!whole) { /* the sender is to hear of it all the same */
        n->dsn.whole = false;
        buf_clear(&n->original);
        return buf_add(&n->original, S("Comments: this host cannot read the message from its disk any more\r\n"));
    }
    str header = str_first(buf_str(&n->original), header_length(buf_str(&n->original)));
    struct header_field f;
    if (header_find(header, S("Message-ID"), &f))
        n->dsn.original_id = header_unfold(&n->arena, f.value);
    if (header_find(header, S("Subject"), &f))
        n->dsn.original_subject = header_unfold(&n->arena, f.value);
    if (!n->dsn.whole)
        n->original.n = header.n;
    return 0;
}

static int write_text(struct notice *n)
{
    const struct conf *c = n->in->policy->config->conf;
    struct dsn *d = &n->dsn;
    str domain = c->n_domains ? c->domains[0].text : c->hostname;
    char id[B32_ID_LEN + 12];
    d->now_s = (int64_t)(n->in->role->env->wall_us() / 1000000);
    d->offset_min = date_local_offset_min(d->now_s);
    d->hostname = c->hostname;
    d->from = arena_printf(&n->arena, "MAILER-DAEMON@%.*s", STR_ARG(domain));
    d->postmaster = d->last_resort ? STR_NONE : arena_printf(&n->arena, "postmaster@%.*s", STR_ARG(domain));
    d->to = n->to;
    d->message_id =
        arena_printf(&n->arena, "%.*s@%.*s", STR_ARG(trace_id_message(&n->id, 1, id)), STR_ARG(c->hostname));
    d->boundary = arena_dup(&n->arena, trace_id_str(&n->id));
    int r = dsn_begin(&n->text, d);
    if (r == 0)
        buf_add(&n->text, buf_str(&n->original));
    if (r == 0 && !str_ends(buf_str(&n->original), S("\r\n")))
        buf_add(&n->text, S("\r\n"));
    return r < 0 ? r : dsn_end(&n->text, d);
}

static int make_card(const struct notice *n, struct buf *out)
{
    if (smtp_in_careful_ms(n->in))
        return 0;
    struct mime_parser *m = mime_new();
    if (!m)
        return -ENOMEM;
    mime_feed(m, buf_str(&n->text));
    mime_end(m);
    int r = card_encode(out, m);
    mime_free(m);
    return r;
}

static int to_log(struct notice *n, uint64_t *out_ticket)
{
    _cleanup_buf_ struct buf card = BUF(CARD_MAX), meta = BUF(MEMORY_MAX);
    const struct record_recipient to = { .address = n->to, .notify = SMTP_DSN_NEVER };
    struct message_record m = {
        .number = 1,
        .received_us = n->in->role->env->wall_us(),
        .listener = S("notice"),
        .priority = RECORD_PRIORITY_LOW,
        .body = !str_ascii(buf_str(&n->text)),
        .smtputf8 = n->dsn.smtputf8,
        .generation = n->in->policy->config->generation,
        .recipients = &to,
        .n_recipients = 1,
        .dsn_of = n->message,
        .dsn_event = n->event,
    };
    str pieces[1] = { buf_str(&n->text) };
    struct log_position at;
    memcpy(m.session, n->id.raw, sizeof(m.session));
    int r = make_card(n, &card);
    m.card = buf_str(&card);
    if (r == 0)
        r = message_record_encode(&meta, &m);
    return r < 0 ? r : receive_log_append(n->in->log.log, pieces, 1, buf_str(&meta), out_ticket, &at);
}

static void say(const struct notice *n, int r, str why)
{
    static const char *const kinds[DSN_KINDS] = { "failed", "delayed", "relayed", "delivered", "expanded" };
    char id[B32_ID_LEN + 12];
    struct buf *e = events_begin(&n->in->role->events, r < 0 ? EVENT_WARN : EVENT_INFO, "notice");
    event_str(e, "session", trace_id_message(&n->id, 1, id));
    event_str(e, "of", str_z(n->of));
    event_str(e, "kind", str_z(kinds[n->kind]));
    event_str(e, "recipient", n->to);
    event_u64(e, "size", n->text.n);
    if (r < 0)
        event_str(e, "why", why);
    events_end(&n->in->role->events);
}

static int make(struct notice *n, uint64_t *out_ticket)
{
    trace_id_new(n->in->role->env, &n->id);
    int r = read_original(n);
    if (r == 0)
        r = write_text(n);
    if (r == 0)
        r = to_log(n, out_ticket);
    n->in->log.dirty = n->in->log.dirty || r == 0;
    return r;
}

int smtp_dsn_local(struct smtp_in *in, const struct smtp_dsn_local *d, uint64_t *out_ticket)
{
    struct notice n = { .in = in, .arena = ARENA(MEMORY_MAX), .fd = d->fd, .offset = d->offset, .length = d->length,
                        .original = BUF(WHOLE_MAX), .text = BUF(TEXT_MAX), .kind = DSN_FAILED, .ret = d->ret,
                        .to = d->to };
    n.dsn = (struct dsn){ .kind = DSN_FAILED, .envid = d->envid, .smtputf8 = d->smtputf8, .arrival_s = d->arrival_s,
                          .recipients = d->recipients, .n = d->n };
    size_t len = MIN(d->of.n, sizeof(n.of) - 1);
    memcpy(n.of, d->of.p, len);
    n.dsn.trace_id = str_of(n.of, len);
    int r = make(&n, out_ticket);
    say(&n, r, S("it could not be written; the message stays where it is until it can"));
    notice_done(&n);
    return r;
}

int smtp_dsn_make(struct smtp_in *in, struct ipc_frame *f)
{
    struct notice n = { .in = in, .arena = ARENA(MEMORY_MAX), .fd = f->fd, .original = BUF(WHOLE_MAX),
                        .text = BUF(TEXT_MAX) };
    uint64_t ticket;
    int r = f->fd_lost ? 0 : read_frame(&n, &f->in);
    if (r == 0 && !f->fd_lost && in->policy && !in->log.dead) {
        r = make(&n, &ticket);
        say(&n, r, S("it could not be written; it is tried again in a minute"));
        r = 0;
    }
    notice_done(&n);
    return r == -EBADMSG ? r : 0;
}
