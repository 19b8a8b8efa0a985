/* For tests only: an owner of the POP3 engine with a maildrop in memory, shared by the unit tests, the transcripts and
 * the fuzz target. The password of user X or X@… is "secret-X". What the engine writes is gathered in `out`, what it
 * asks in `log`. */
#pragma once
#include <stdlib.h>
#include "proto/pop3_server.h"
#include "proto/sasl.h"

struct play {
    struct pop3_server_config config;
    struct pop3_server *s;
    struct sasl_server *sasl;
    struct buf in, out, log;
    const str *contents;           /* of the maildrop */
    struct pop3_message *table;
    size_t n, piece;               /* piece: how content is fed; 0 whole */
    size_t out_max;                /* the most that ever waited in the engine's output */
    bool tls_by_hand, tls_waits;   /* play_tls() instead of an immediate handshake */
    bool update_fails, closed;
};

static inline struct pop3_server_config play_config(void)
{
    return (struct pop3_server_config){
        .hostname = S("pop.posthouse.test"), .stls = true, .auth_mechanisms = S(SASL_MECHANISMS), .line_max = 255,
        .errors_max = 20, .utf8 = true, .expire_never = 1,
    };
}

static inline void play_init(struct play *p, const str *contents, size_t n)
{
    *p = (struct play){ .config = play_config(), .contents = contents, .n = n };
    p->in = p->out = p->log = BUF(1 << 24);
    p->table = calloc(n + 1, sizeof(*p->table));
    for (size_t i = 0; i < n; i++)
        p->table[i] = (struct pop3_message){ .size = contents[i].n + (str_ends(contents[i], S("\r\n")) ? 0 : 2),
                                             .uid = (uint32_t)(10 + i) };
    p->s = pop3_server_new(&p->config);
}

static inline void play_done(struct play *p)
{
    pop3_server_free(p->s);
    sasl_server_free(p->sasl);
    buf_done(&p->in);
    buf_done(&p->out);
    buf_done(&p->log);
    free(p->table);
}

static inline bool play_password_right(str user, str password)
{
    str local = str_cut(&user, '@');
    return str_starts(password, S("secret-")) && str_eq(str_from(password, 7), local);
}

static inline void play_verdict(struct play *p, str user, bool ok)
{
    if (!ok)
        pop3_server_auth_failed(p->s, S("AUTH"), S("Wrong user or password"));
    else if (str_eq(user, S("busy")))
        pop3_server_auth_failed(p->s, S("IN-USE"), S("Maildrop is in use"));
    else
        pop3_server_opened(p->s, 1234, p->table, p->n);
}

static inline void play_sasl(struct play *p, enum sasl_step step, struct sasl_out *out)
{
    if (step == SASL_ASK_PASSWORD)
        step = sasl_server_verdict(p->sasl, play_password_right(out->user, out->password), STR_NONE, out);
    if (step == SASL_ASK_SALT)
        step = sasl_server_salt(p->sasl, S("salt"), 4096, out);
    if (step == SASL_ASK_PROOF)
        step = sasl_server_verdict(p->sasl, false, STR_NONE, out);
    if (step == SASL_CHALLENGE)
        pop3_server_auth_challenge(p->s, out->text);
    else if (step == SASL_MALFORMED)
        pop3_server_auth_failed(p->s, STR_NONE, S("Malformed response"));
    else
        play_verdict(p, out->user, step == SASL_OK);
}

static inline void play_retrieve(struct play *p, const struct pop3_event *ev)
{
    str content = p->contents[ev->index];
    ptrdiff_t header = str_find(content, S("\r\n\r\n"));
    for (ptrdiff_t i = 0; i < header && !ev->utf8; i++)
        if ((uint8_t)content.p[i] > 0x7f) {
            pop3_server_content_refuse(p->s, S("UTF8"), S("Message needs UTF8 mode"));
            return;
        }
    pop3_server_content_begin(p->s);
    while (content.n) {
        str piece = p->piece ? str_first(content, p->piece) : content;
        content = str_from(content, piece.n);
        if (!pop3_server_content_feed(p->s, piece))
            break;
    }
    pop3_server_content_end(p->s);
}

static inline void play_update(struct play *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (pop3_server_deleted(p->s, i))
            buf_addf(&p->log, "delete %zu\n", i);
    pop3_server_update_done(p->s, !p->update_fails);
}

static inline void play_tls(struct play *p)
{
    buf_addf(&p->log, "tls\n");
    p->tls_waits = false;
    pop3_server_tls_started(p->s);
}

static inline void play_event(struct play *p, const struct pop3_event *ev)
{
    struct sasl_out out;
    if (ev->kind == POP3_CONNECT) {
        pop3_server_greet(p->s);
    } else if (ev->kind == POP3_STLS) {
        p->tls_waits = true;
        if (!p->tls_by_hand)
            play_tls(p);
    } else if (ev->kind == POP3_PASSWORD) {
        buf_addf(&p->log, "password %.*s %.*s\n", STR_ARG(ev->user), STR_ARG(ev->data));
        play_verdict(p, ev->user, play_password_right(ev->user, ev->data));
    } else if (ev->kind == POP3_AUTH) {
        buf_addf(&p->log, "auth %.*s %d\n", STR_ARG(ev->user), ev->has_data);
        sasl_server_free(p->sasl);
        p->sasl = sasl_server_new(ev->user, S("abcdefghijklmnopqrst"));
        play_sasl(p, sasl_server_start(p->sasl, ev->has_data, ev->data, &out), &out);
    } else if (ev->kind == POP3_AUTH_RESPONSE) {
        buf_addf(&p->log, "response %d\n", ev->cancelled);
        if (!ev->cancelled)
            play_sasl(p, sasl_server_respond(p->sasl, ev->data, &out), &out);
    } else if (ev->kind == POP3_RETRIEVE) {
        buf_addf(&p->log, "retrieve %zu %d %llu\n", ev->index, ev->top, (unsigned long long)ev->lines);
        play_retrieve(p, ev);
    } else if (ev->kind == POP3_UPDATE) {
        buf_addf(&p->log, "update\n");
        play_update(p);
    }
}

/* Goes on until the engine wants more input or has closed. */
static inline void play_pull(struct play *p)
{
    struct pop3_event ev = { .kind = POP3_NEED_DRAIN };
    while (!p->closed && !p->tls_waits && ev.kind != POP3_NEED_INPUT) {
        size_t used;
        pop3_server_next(p->s, buf_str(&p->in), &used, &ev);
        buf_drop(&p->in, used);
        play_event(p, &ev);
        p->closed = ev.kind == POP3_CLOSE;
        struct buf *out = pop3_server_output(p->s);
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
