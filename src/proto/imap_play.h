/* For tests only: an owner of the IMAP engine that says yes to nearly everything, shared by the unit tests and the fuzz
 * target. What the engine writes is gathered in `out`, what it asks in `log`. Passwords are "secret"; mailbox "No" does
 * not exist; "Late" refuses the second message of an APPEND. */
#pragma once
#include "proto/imap_dump.h"
#include "proto/imap_server.h"

struct play {
    struct imap_server_config config;
    struct imap_server *s;
    struct buf in, out, log, data;
    size_t out_max, appended;
    bool compress_fails, closed;
};

static inline struct imap_server_config play_config(void)
{
    return (struct imap_server_config){
        .hostname = S("imap.posthouse.test"), .starttls = true, .auth_plain_ok = true, .compress = true,
        .append_limit = 1000, .errors_max = 0,
    };
}

static inline void play_init(struct play *p)
{
    *p = (struct play){ .config = play_config() };
    p->in = p->out = p->log = p->data = BUF(1 << 26);
}

static inline void play_done(struct play *p)
{
    imap_server_free(p->s);
    buf_done(&p->in);
    buf_done(&p->out);
    buf_done(&p->log);
    buf_done(&p->data);
}

static inline void play_verdict(struct play *p, bool ok)
{
    if (ok)
        imap_server_logged_in(p->s);
    else
        imap_server_auth_failed(p->s, S("AUTHENTICATIONFAILED"), S("Wrong user or password"));
}

static inline void play_auth(struct play *p, const struct imap_event *ev)
{
    switch (ev->kind) {
    case IMAP_EV_LOGIN:
        buf_addf(&p->log, "login \"%.*s\" \"%.*s\"\n", STR_ARG(ev->user), STR_ARG(ev->data));
        return play_verdict(p, str_eq(ev->data, S("secret")));
    case IMAP_EV_AUTH:
        buf_addf(&p->log, "auth %.*s %d \"%.*s\"\n", STR_ARG(ev->user), ev->has_data, STR_ARG(ev->data));
        if (!ev->has_data || str_eq(ev->user, S("LOGIN")))
            return imap_server_auth_challenge(p->s, str_eq(ev->user, S("LOGIN")) ? S("Password:") : STR_NONE);
        return play_verdict(p, str_ends(ev->data, S("secret")));
    default:
        buf_addf(&p->log, "response %d \"%.*s\"\n", ev->cancelled, STR_ARG(ev->data));
        if (!ev->cancelled)
            play_verdict(p, str_ends(ev->data, S("secret")));
    }
}

static inline void play_command(struct play *p, const struct imap_command *c)
{
    dump_command(&p->log, c);
    buf_addc(&p->log, '\n');
    if (c->verb == IMAP_SELECT || c->verb == IMAP_EXAMINE)
        imap_server_set_selected(p->s, !str_eq(c->select.mailbox, S("No")));
    if (c->verb == IMAP_CLOSE || c->verb == IMAP_UNSELECT)
        imap_server_set_selected(p->s, false);
    if (c->verb == IMAP_SELECT && str_eq(c->select.mailbox, S("No")))
        return imap_server_done(p->s, IMAP_NO, S("NONEXISTENT"), S("No such mailbox"));
    imap_server_done(p->s, IMAP_OK, c->verb == IMAP_SELECT ? S("READ-WRITE") : STR_NONE, S("Yes"));
}

static inline void play_append(struct play *p, const struct imap_event *ev)
{
    switch (ev->kind) {
    case IMAP_EV_APPEND:
        buf_add(&p->log, S("append"));
        dump_append(&p->log, ev->append);
        buf_addc(&p->log, '\n');
        buf_clear(&p->data);
        if (str_eq(ev->append->mailbox, S("No")) || (str_eq(ev->append->mailbox, S("Late")) && p->appended))
            return imap_server_append_refuse(p->s, S("TRYCREATE"), S("No such mailbox"));
        return imap_server_append_go(p->s);
    case IMAP_EV_APPEND_DATA:
        buf_add(&p->data, ev->data);
        return;
    case IMAP_EV_APPEND_MESSAGE_END:
        p->appended++;
        buf_add(&p->log, S("message \""));
        buf_add(&p->log, buf_str(&p->data)); /* NULs and all */
        buf_add(&p->log, S("\"\n"));
        return;
    case IMAP_EV_APPEND_END:
        p->appended = 0;
        buf_add(&p->log, S("append end\n"));
        return imap_server_done(p->s, IMAP_OK, S("APPENDUID 1 2"), S("Appended"));
    default:
        p->appended = 0;
        buf_add(&p->log, S("append cancel\n"));
    }
}

static inline void play_event(struct play *p, const struct imap_event *ev)
{
    if (ev->kind == IMAP_CONNECT)
        return imap_server_greet(p->s);
    if (ev->kind >= IMAP_EV_LOGIN && ev->kind <= IMAP_EV_AUTH_RESPONSE)
        return play_auth(p, ev);
    if (ev->kind >= IMAP_EV_APPEND && ev->kind <= IMAP_EV_APPEND_CANCEL)
        return play_append(p, ev);
    if (ev->kind == IMAP_COMMAND)
        return play_command(p, ev->command);
    if (ev->kind == IMAP_EV_STARTTLS) {
        buf_add(&p->log, S("tls\n"));
        imap_server_tls_started(p->s);
    } else if (ev->kind == IMAP_EV_COMPRESS) {
        buf_add(&p->log, S("compress\n"));
        (p->compress_fails ? imap_server_compress_failed : imap_server_compressed)(p->s);
    } else if (ev->kind == IMAP_EV_IDLE) {
        buf_add(&p->log, S("idle\n"));
    } else if (ev->kind == IMAP_EV_IDLE_END) {
        buf_add(&p->log, S("idle end\n"));
        imap_server_done(p->s, IMAP_OK, STR_NONE, S("IDLE completed"));
    } else if (ev->kind == IMAP_EV_SEARCH_REFUSED) {
        buf_add(&p->log, S("search refused\n"));
    } else if (ev->kind == IMAP_EV_ID) {
        dump_command(&p->log, ev->command);
        buf_addc(&p->log, '\n');
    }
}

/* Goes on until the engine wants more input or has closed. */
static inline void play_pull(struct play *p)
{
    struct imap_event ev = { .kind = IMAP_NEED_DRAIN };
    if (!p->s) {
        p->s = imap_server_new(&p->config);
        imap_server_set_mechanisms(p->s, S("PLAIN LOGIN"));
    }
    while (!p->closed && ev.kind != IMAP_NEED_INPUT) {
        size_t used;
        imap_server_next(p->s, buf_str(&p->in), &used, &ev);
        play_event(p, &ev);
        buf_drop(&p->in, used);
        p->closed = ev.kind == IMAP_EV_CLOSE;
        struct buf *out = imap_server_output(p->s);
        p->out_max = MAX(p->out_max, out->n);
        buf_add(&p->out, buf_str(out));
        buf_drop(out, out->n);
    }
}

/* The client sends bytes, `step` at a time (0: all at once). */
static inline void play_send(struct play *p, str bytes, size_t step)
{
    play_pull(p);
    while (bytes.n && !p->closed) {
        str part = step ? str_first(bytes, step) : bytes;
        bytes = str_from(bytes, part.n);
        buf_add(&p->in, part);
        play_pull(p);
    }
}
