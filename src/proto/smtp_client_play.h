/* An owner of the SMTP client engine for tests: what the peer says is written by the test, what the client says and
 * which events come is written down, so that two ways to feed the same bytes can be compared. Included by tests
 * only. */
#pragma once
#include "proto/smtp_client.h"

struct client_play {
    struct smtp_client *c;
    size_t step;           /* bytes fed at a time */
    struct buf in, said, log;
    size_t said_before;    /* said when client_said() was called last */
    struct smtp_client_event last; /* its slices are not good any more */
};

static inline void client_play_init(struct client_play *p, const struct smtp_client_config *config, size_t step)
{
    *p = (struct client_play){ .step = step };
    p->in = p->said = p->log = BUF(16u << 20);
    p->c = smtp_client_new(config);
}

static inline void client_play_done(struct client_play *p)
{
    smtp_client_free(p->c);
    buf_done(&p->in);
    buf_done(&p->said);
    buf_done(&p->log);
}

static inline void client_play_reply(struct client_play *p, const struct smtp_client_reply *r)
{
    buf_addf(&p->log, " %d %.*s [", r->code, STR_ARG(r->status));
    buf_add(&p->log, smtp_client_stage_text(r->stage));
    buf_add(&p->log, S("] "));
    buf_add(&p->log, r->text);
    buf_addc(&p->log, '\n');
}

static inline void client_play_log(struct client_play *p, const struct smtp_client_event *ev)
{
    static const char *const outcome[] = { "relayed", "relayed-no-dsn", "deferred", "failed" };
    static const char *const why[] = { "quit", "reply", "lost", "protocol", "tls", "auth", "memory", "bdat" };
    if (ev->kind == SMTP_CLIENT_RESULT) {
        buf_addf(&p->log, "RESULT %u %s%s", ev->result.index, outcome[ev->result.outcome],
                 ev->result.too_many ? " too-many" : "");
        client_play_reply(p, &ev->result.reply);
    } else if (ev->kind == SMTP_CLIENT_END) {
        buf_addf(&p->log, "END %s", why[ev->end.why]);
        client_play_reply(p, &ev->end.reply);
    } else if (ev->kind == SMTP_CLIENT_DONE) {
        buf_add(&p->log, S("DONE\n"));
    }
}

static inline void client_play_write(struct client_play *p)
{
    struct buf *out = smtp_client_output(p->c);
    buf_add(&p->said, buf_str(out));
    buf_drop(out, out->n);
}

/* Until the engine waits for something. */
static inline void client_play_run(struct client_play *p)
{
    for (;;) {
        size_t used = 0;
        if (p->last.kind == SMTP_CLIENT_END)
            return;
        smtp_client_next(p->c, buf_str(&p->in), &used, &p->last);
        buf_drop(&p->in, used);
        client_play_log(p, &p->last);
        bool wrote = smtp_client_output(p->c)->n > 0;
        client_play_write(p);
        bool goes_on = p->last.kind == SMTP_CLIENT_RESULT || p->last.kind == SMTP_CLIENT_DONE;
        if (!goes_on && !wrote)
            return;
    }
}

static inline void client_play_feed(struct client_play *p, str bytes)
{
    client_play_run(p);
    while (bytes.n > 0) {
        str part = str_first(bytes, p->step);
        buf_add(&p->in, part);
        bytes = str_from(bytes, part.n);
        client_play_run(p);
    }
}

/* What the client has said since the last call. */
static inline str client_said(struct client_play *p)
{
    str s = str_from(buf_str(&p->said), p->said_before);
    p->said_before = p->said.n;
    return s;
}
