/* Whatever a peer says, whole or byte by byte, the client says the same and gives the same events; each recipient gets
 * one result, and what is written has no line end but CRLF. A byte 255 ends what the peer says in one go: then the
 * owner acts. */
#include "proto/smtp_client_play.h"

enum { RCPTS = 5 };

static const struct smtp_client_rcpt rcpts[RCPTS] = {
    { .address = { "a@example.org", 13 }, .orcpt = { "rfc822;x@y", 10 }, .notify = 6 },
    { .address = { "b@example.com", 13 } },
    { .address = { "\xc3\xa9@example.org", 14 } },
    { .address = { "bad\r\n@example.org", 17 } },
    { .address = { "\"c d\"@example.org", 17 }, .notify = 1 },
};

struct owner {
    struct client_play p;
    struct smtp_client_mail mail;
    unsigned sent;
};

static void act(struct owner *o)
{
    struct client_play *p = &o->p;
    static const str content[] = { { "Subject: x\r\n\r\n.\r\n..", 18 }, { "\r\nx\ny\rz\r", 8 }, { "\r\n.", 3 } };
    switch (p->last.kind) {
    case SMTP_CLIENT_NEED_TLS: smtp_client_tls_started(p->c); return;
    case SMTP_CLIENT_READY:
        o->mail.n = smtp_client_fit(p->c, rcpts, RCPTS);
        if (o->mail.n < 1 || o->mail.n > RCPTS)
            abort();
        buf_add(&p->log, S("SEND\n"));
        if (++o->sent > 3 || !smtp_client_reusable(p->c))
            smtp_client_quit(p->c);
        else if (smtp_client_send(p->c, &o->mail) < 0)
            abort();
        return;
    case SMTP_CLIENT_NEED_CONTENT:
        for (int i = 0; i < 3; ++i)
            smtp_client_content(p->c, content[i], i == 2);
        return;
    default: return;
    }
}

static void run(struct owner *o, const struct smtp_client_config *config, str bytes, size_t step)
{
    *o = (struct owner){ .mail = { .sender = S("me@example.net"), .rcpts = rcpts, .size = 29, .exact = true } };
    o->mail.body_8bit = config->lmtp;
    o->mail.ret = SMTP_RET_FULL;
    client_play_init(&o->p, config, step);
    while (bytes.n > 0) {
        client_play_feed(&o->p, str_cut(&bytes, '\xff'));
        act(o);
        client_play_run(&o->p);
    }
    smtp_client_lost(o->p.c, "lost");
    client_play_run(&o->p);
    if (o->p.last.kind != SMTP_CLIENT_END)
        abort();
}

/* Between SEND and DONE each recipient has one result. */
static void check_results(str log, const struct smtp_client_mail *mail)
{
    unsigned seen[RCPTS] = { 0 }, open = 0;
    while (log.n > 0) {
        str line = str_cut(&log, '\n');
        if (str_starts(line, S("RESULT ")))
            seen[line.p[7] - '0']++;
        else if (str_eq(line, S("DONE"))) {
            for (open = 0; open < mail->n && seen[open] == 1; ++open)
                ;
            if (open < mail->n)
                abort();
            memset(seen, 0, sizeof(seen));
        }
    }
    for (open = 0; open < RCPTS; ++open)
        if (seen[open])
            abort();
}

static void check_line_ends(str said)
{
    for (size_t i = 0; i < said.n; ++i)
        if ((said.p[i] == '\n') != (i > 0 && said.p[i - 1] == '\r'))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct smtp_client_config config = { .hostname = S("out.test"), .nonce = S("rOprNGfwEbeRWgbNEkqO") };
    config.lmtp = data[0] & 1;
    config.starttls = data[0] & 2;
    config.starttls_required = data[0] & 4;
    config.tls = data[0] & 8;
    config.user = data[0] & 16 ? S("user") : STR_NONE;
    config.secret = S("pencil");
    str bytes = str_of(data + 1, size - 1);
    static struct owner whole, bytewise;
    run(&whole, &config, bytes, bytes.n + 1);
    run(&bytewise, &config, bytes, 1);
    if (!str_eq(buf_str(&whole.p.log), buf_str(&bytewise.p.log)) ||
        !str_eq(buf_str(&whole.p.said), buf_str(&bytewise.p.said)))
        abort();
    if (str_find(buf_str(&whole.p.said), S("BDAT")) < 0)
        check_line_ends(buf_str(&whole.p.said));
    check_results(buf_str(&whole.p.log), &whole.mail);
    client_play_done(&whole.p);
    client_play_done(&bytewise.p);
    return 0;
}
