/* An owner of the SMTP engine for tests: feeds bytes, answers every event by a fixed policy, and writes down what
 * happened, so that two ways to feed the same bytes can be compared. The policy is that of tests/transcripts/README.md.
 * Included by tests only. */
#pragma once
#include "proto/smtp_server.h"
#include <stdio.h>

struct play {
    struct smtp_server_config config;
    struct smtp_server *s;
    struct buf in, out; /* not yet used; everything the server said */
    struct buf log;     /* the events, a line each, pieces of content joined */
    struct buf content; /* pieces since the last other event */
    struct buf user;    /* LOGIN: name given */
    bool odd;           /* refuse things whose bytes say so: for fuzzing */
    bool tls_at_once;   /* STARTTLS needs no play_tls() and drops nothing: for fuzzing */
    bool authenticated, closed, early;
    bool login;                /* the exchange is AUTH LOGIN */
    enum smtp_event_kind last; /* what next() returned last */
    size_t messages, pieces, resets, mails;
};

static const struct smtp_server_config play_config = {
    .hostname = { "mx.posthouse.test", 17 },
    .starttls = true,
    .smtputf8 = true,
    .chunking = true,
    .auth_mechanisms = { "PLAIN LOGIN", 11 },
    .limits = { .line_max = 2048, .recipients_max = 1000, .errors_max = 20, .commands_max = 100, .size_max = 50 << 20 },
};

static inline void play_init_xclient(struct play *p, const struct smtp_server_config *config, bool xclient)
{
    *p = (struct play){ .config = *config };
    p->in = p->out = p->log = p->content = BUF(64u << 20);
    p->user = BUF(1024);
    p->s = smtp_server_new(&p->config);
    smtp_server_set_xclient(p->s, xclient);
}

static inline void play_init(struct play *p, const struct smtp_server_config *config)
{
    play_init_xclient(p, config, false);
}

static inline void play_done(struct play *p)
{
    smtp_server_free(p->s);
    buf_done(&p->in);
    buf_done(&p->out);
    buf_done(&p->log);
    buf_done(&p->content);
    buf_done(&p->user);
}

static inline void play_reply(struct play *p, int code, const char *enhanced, const char *text)
{
    smtp_server_reply(p->s, code, str_z(enhanced), str_z(text));
}

static inline void play_rcpt(struct play *p, const struct smtp_event *ev)
{
    static const char *const known[] = { "alice", "bob", "carol", "postmaster" };
    if (ev->path.domain.n > 0 && !str_ieq(ev->path.domain, S("posthouse.test"))) {
        if (p->authenticated)
            play_reply(p, 250, "2.1.5", "Ok");
        else
            play_reply(p, 554, "5.7.1", "Relay access denied");
        return;
    }
    _cleanup_arena_ struct arena arena = ARENA(4096);
    str address = address_canonical(&arena, &ev->path), local = str_cut(&address, '@');
    for (size_t i = 0; i < ARRAY_LEN(known); ++i) {
        if (str_ieq(local, str_z(known[i]))) {
            play_reply(p, 250, "2.1.5", "Ok");
            return;
        }
    }
    play_reply(p, 550, "5.1.1", "No such user here");
}

static inline void play_auth_verdict(struct play *p, str user, str password)
{
    str local = str_cut(&user, '@');
    p->authenticated =
        str_eq(user, S("posthouse.test")) && str_starts(password, S("secret-")) && str_eq(str_from(password, 7), local);
    smtp_server_auth_done(p->s, p->authenticated, 535, S("5.7.8"), S("Authentication credentials invalid"));
}

static inline void play_auth(struct play *p, const struct smtp_event *ev)
{
    str data = ev->data;
    if (ev->cancelled)
        return;
    if (ev->kind == SMTP_AUTH) {
        p->login = str_eq(ev->text, S("LOGIN"));
        buf_clear(&p->user);
    }
    if (!ev->has_data) {
        smtp_server_auth_challenge(p->s, p->login ? S("Username:") : STR_NONE);
    } else if (!p->login) {
        str_cut(&data, '\0');
        str user = str_cut(&data, '\0');
        play_auth_verdict(p, user, data);
    } else if (p->user.n == 0) {
        buf_add(&p->user, str_first(data, 1000));
        buf_addc(&p->user, '\0');
        smtp_server_auth_challenge(p->s, S("Password:"));
    } else {
        play_auth_verdict(p, str_first(buf_str(&p->user), p->user.n - 1), data);
    }
}

static inline void play_tls(struct play *p)
{
    if (!p->tls_at_once)
        buf_clear(&p->in); /* RFC 3207 4.2 */
    smtp_server_tls_started(p->s);
    p->authenticated = false;
}

/* For fuzzing: some events are refused, by what they say alone. */
static inline bool play_refuses(struct play *p, const struct smtp_event *ev)
{
    static const int codes[] = { 450, 550, 421, 250, 354, 521 };
    size_t weight = ev->path.local.n + ev->path.domain.n + ev->text.n + p->content.n;
    if (!p->odd || weight % 5 != 3)
        return false;
    for (uint32_t n = smtp_server_replies_due(p->s); n > 0; --n)
        smtp_server_reply(p->s, codes[weight / 5 % ARRAY_LEN(codes)], S("4.3.0"), S("a\nb\x01\xc3\xa9\n\nc"));
    return true;
}

static inline void play_log(struct play *p, const struct smtp_event *ev)
{
    static const char *const names[] = { "", "", "", "CONNECT", "HELO",     "MAIL", "RCPT",     "DATA",
                                         "", "END", "RESET",   "STARTTLS", "AUTH", "RESPONSE", "CLOSE", "XCLIENT" };
    if (p->content.n > 0) {
        buf_addf(&p->log, "CONTENT %zu:", p->content.n);
        buf_add(&p->log, buf_str(&p->content));
        buf_addc(&p->log, '\n');
    }
    if (ev->kind != SMTP_CONTENT_END)
        buf_clear(&p->content);
    buf_addf(&p->log, "%s", names[ev->kind]);
    if (ev->kind == SMTP_MAIL || ev->kind == SMTP_RCPT) {
        buf_addf(&p->log, " <%.*s|%.*s>", STR_ARG(ev->path.local), STR_ARG(ev->path.domain));
        if (ev->mail.size)
            buf_addf(&p->log, " size=%llu", (unsigned long long)ev->mail.size);
        buf_addf(&p->log, "%s%s", ev->mail.body_8bit ? " 8bit" : "", ev->mail.smtputf8 ? " utf8" : "");
        if (ev->mail.auth.n > 0)
            buf_addf(&p->log, " auth=%.*s", STR_ARG(ev->mail.auth));
    } else if (ev->kind == SMTP_HELO || ev->kind == SMTP_AUTH) {
        buf_addf(&p->log, " %.*s%s", STR_ARG(ev->text), ev->esmtp ? " esmtp" : "");
    }
    for (int i = 0; ev->kind == SMTP_XCLIENT && i < SMTP_XCLIENT_NAMES; ++i)
        if (ev->xclient.given[i])
            buf_addf(&p->log, " %d=%.*s", i, STR_ARG(ev->xclient.value[i]));
    if (ev->has_data)
        buf_addf(&p->log, " data=%.*s", STR_ARG(ev->data));
    buf_addf(&p->log, "%s%s\n", ev->bdat ? " bdat" : "", ev->cancelled ? " cancelled" : "");
}

static inline void play_drain(struct play *p)
{
    struct buf *out = smtp_server_output(p->s);
    buf_add(&p->out, buf_str(out));
    buf_drop(out, out->n);
}

/* True while there is more to do without input. */
static inline bool play_event(struct play *p, const struct smtp_event *ev)
{
    p->last = ev->kind;
    p->early |= ev->early;
    if (ev->kind == SMTP_NEED_DRAIN) {
        play_drain(p);
        return true;
    }
    if (ev->kind == SMTP_NEED_INPUT || ev->kind == SMTP_NEED_REPLY)
        return false;
    if (ev->kind == SMTP_CONTENT) {
        ++p->pieces;
        buf_add(&p->content, ev->data);
        return true;
    }
    play_log(p, ev);
    p->messages += ev->kind == SMTP_CONTENT_END;
    p->resets += ev->kind == SMTP_RESET;
    p->mails += ev->kind == SMTP_MAIL;
    p->closed |= ev->kind == SMTP_CLOSE;
    bool refused = ev->kind != SMTP_AUTH && ev->kind != SMTP_AUTH_RESPONSE && play_refuses(p, ev);
    if (ev->kind == SMTP_CONTENT_END)
        buf_clear(&p->content);
    if (refused)
        return !p->closed;
    switch (ev->kind) {
    case SMTP_CONNECT:
        play_reply(p, 220, "", "");
        break;
    case SMTP_HELO:
        play_reply(p, 250, "", "");
        break;
    case SMTP_MAIL:
        play_reply(p, 250, "2.1.0", "Ok");
        break;
    case SMTP_RCPT:
        play_rcpt(p, ev);
        break;
    case SMTP_DATA:
        play_reply(p, 354, "", "");
        break;
    case SMTP_CONTENT_END:
        for (uint32_t n = smtp_server_replies_due(p->s); n > 0; --n)
            play_reply(p, 250, "2.0.0", "Ok: queued");
        break;
    case SMTP_XCLIENT:
        play_reply(p, 220, "", "");
        p->authenticated = false;
        break;
    case SMTP_AUTH:
    case SMTP_AUTH_RESPONSE:
        play_auth(p, ev);
        break;
    case SMTP_STARTTLS:
        if (p->tls_at_once)
            play_tls(p);
        break;
    default:
        break;
    }
    return !p->closed;
}

static inline void play_run(struct play *p)
{
    struct smtp_event ev;
    bool more = !p->closed;
    while (more) {
        size_t used = 0;
        smtp_server_next(p->s, buf_str(&p->in), &used, &ev);
        more = play_event(p, &ev);
        buf_drop(&p->in, used);
    }
    play_drain(p);
}

static inline void play_feed(struct play *p, str bytes)
{
    buf_add(&p->in, bytes);
    play_run(p);
}

static inline void play_feed_bytewise(struct play *p, str bytes)
{
    for (size_t i = 0; i < bytes.n; ++i)
        play_feed(p, str_of(bytes.p + i, 1));
}
