/* `sendmail -bs`: SMTP on standard input and output, for programs that start their own server; what it takes goes into
 * the drop. See sendmail.h. */
#include <errno.h>
#include "admin/admin.h"
#include "admin/sendmail.h"
#include "message/address.h"
#include "proto/smtp_server.h"

enum { INPUT_MAX = 65536, RECIPIENTS_MAX = 1000, ERRORS_MAX = 100 };
#define TRANSACTION_MAX ((size_t)8 << 20)
#define SIZE_UNKNOWN ((uint64_t)1 << 30)

struct talk {
    struct sendmail *s;
    struct smtp_server *engine;
    struct buf in;
    struct arena arena;      /* of the transaction */
    struct drop_envelope envelope;
    struct drop_recipient *recipients;
    struct drop_writer w;
    bool begun, eof, done, lost;
};

static void end_transaction(struct talk *t)
{
    if (t->begun)
        drop_cancel(&t->w);
    t->begun = false;
    t->recipients = NULL;
    t->envelope = (struct drop_envelope){ 0 };
    arena_clear(&t->arena);
}

static void reply(struct talk *t, int code, str enhanced, str text)
{
    smtp_server_reply(t->engine, code, enhanced, text);
}

static void on_mail(struct talk *t, const struct smtp_event *ev)
{
    end_transaction(t);
    bool null = !ev->path.local.n && !ev->path.domain.n;
    t->envelope = (struct drop_envelope){
        .sender = null ? STR_NONE : address_canonical(&t->arena, &ev->path),
        .envid = arena_dup(&t->arena, ev->mail.envid), .ret = ev->mail.ret, .body_8bit = ev->mail.body_8bit,
        .smtputf8 = ev->mail.smtputf8, .submitted = true, .login = t->s->login, .full_name = t->s->full_name,
    };
    t->recipients = ARENA_ARRAY(&t->arena, struct drop_recipient, RECIPIENTS_MAX);
    t->envelope.recipients = t->recipients;
    if (t->recipients && (null || t->envelope.sender.n))
        reply(t, 250, S("2.1.0"), S("Sender ok"));
    else
        reply(t, 451, S("4.3.0"), S("Out of memory"));
}

static void on_rcpt(struct talk *t, const struct smtp_event *ev)
{
    struct drop_recipient r = { .address = address_canonical(&t->arena, &ev->path), .notify = ev->rcpt.notify,
                                .orcpt = arena_dup(&t->arena, ev->rcpt.orcpt) };
    if (!r.address.n || !r.orcpt.p || t->envelope.n_recipients == RECIPIENTS_MAX) {
        reply(t, 452, S("4.5.3"), S("Too many recipients"));
        return;
    }
    t->recipients[t->envelope.n_recipients++] = r;
    reply(t, 250, S("2.1.5"), S("Recipient ok"));
}

static void refuse(struct talk *t, int r)
{
    if (r == -EINVAL)
        reply(t, 550, S("5.1.3"), S("The envelope holds what cannot be an address"));
    else if (r == -EFBIG)
        reply(t, 552, S("5.3.4"), S("The message is too large"));
    else
        reply(t, 451, S("4.3.0"), str_z(t->w.why));
}

static void on_data(struct talk *t)
{
    int r = drop_begin(&t->w, t->s->folder, &t->envelope);
    t->begun = r == 0;
    if (r < 0)
        refuse(t, r);
    else
        reply(t, 354, STR_NONE, S("End data with <CR><LF>.<CR><LF>"));
}

static void on_end(struct talk *t)
{
    _cleanup_buf_ struct buf text = BUF(256);
    t->begun = false;
    int r = drop_end(&t->w);
    if (r < 0) {
        refuse(t, r);
    } else {
        buf_addf(&text, "Message accepted; it waits in the drop as %s", t->w.name);
        reply(t, 250, S("2.0.0"), buf_str(&text));
    }
    end_transaction(t);
}

static void handle(struct talk *t, const struct smtp_event *ev)
{
    switch (ev->kind) {
    case SMTP_CONNECT: reply(t, 220, STR_NONE, STR_NONE); return;
    case SMTP_HELO:
        end_transaction(t);
        reply(t, 250, STR_NONE, STR_NONE);
        return;
    case SMTP_MAIL: on_mail(t, ev); return;
    case SMTP_RCPT: on_rcpt(t, ev); return;
    case SMTP_DATA: on_data(t); return;
    case SMTP_CONTENT: drop_add(&t->w, ev->data); return; /* a failure sticks, and its end says so */
    case SMTP_CONTENT_END: on_end(t); return;
    case SMTP_RESET: end_transaction(t); return;
    case SMTP_CLOSE: t->done = true; return;
    case SMTP_XCLIENT: reply(t, 550, S("5.7.0"), S("Not here")); return;
    default: return;
    }
}

static void write_output(struct talk *t)
{
    struct buf *out = smtp_server_output(t->engine);
    while (out->n && !t->lost) {
        ssize_t n = write(STDOUT_FILENO, out->p, out->n);
        t->lost = n < 0 && errno != EINTR;
        if (n > 0)
            buf_drop(out, (size_t)n);
    }
}

static void read_input(struct talk *t)
{
    char piece[8192];
    ssize_t n = read(STDIN_FILENO, piece, sizeof(piece));
    if (n < 0 && errno == EINTR)
        return;
    t->eof = n <= 0;
    if (n > 0)
        t->lost = buf_add(&t->in, str_of(piece, (size_t)n)) < 0;
}

static void talk(struct talk *t)
{
    while (!t->done && !t->lost) {
        struct smtp_event ev;
        size_t used = 0;
        smtp_server_next(t->engine, buf_str(&t->in), &used, &ev);
        handle(t, &ev);
        buf_drop(&t->in, used);
        if (ev.kind == SMTP_NEED_INPUT && t->eof)
            return;
        if (ev.kind == SMTP_NEED_INPUT || ev.kind == SMTP_NEED_DRAIN || ev.kind == SMTP_CLOSE)
            write_output(t);
        if (ev.kind == SMTP_NEED_INPUT)
            read_input(t);
    }
}

int sendmail_smtp(struct sendmail *s)
{
    char host[256] = "localhost";
    gethostname(host, sizeof(host) - 1);
    const struct smtp_server_config config = {
        .hostname = str_z(host), .msa = true, .smtputf8 = true, .chunking = true, .dsn = true,
        .normalize_newlines = true,
        .limits = { .recipients_max = RECIPIENTS_MAX, .errors_max = ERRORS_MAX,
                    .size_max = s->size_max ? s->size_max : SIZE_UNKNOWN },
    };
    struct talk t = { .s = s, .in = BUF(4 * INPUT_MAX), .arena = ARENA(TRANSACTION_MAX) };
    t.engine = smtp_server_new(&config);
    if (!t.engine) {
        admin_complain("sendmail: out of memory");
        return EXIT_TEMPFAIL;
    }
    talk(&t);
    end_transaction(&t);
    arena_done(&t.arena);
    buf_done(&t.in);
    smtp_server_free(t.engine);
    return t.lost ? EXIT_IO : 0;
}
