/* One connection that sends mail: see smtp_send.h. The message on it is in smtp_send_mail.c.
 *
 * Invariants
 * 1. drive() is the one place that asks the engine for events, and it is called by the loop alone. A callback other
 *    than result() is the last thing a turn of it does, because the owner may close or free the object there.
 * 2. The timer runs for what the engine awaits; it begins anew when smtp_client_progress() has changed. */
#include "session/smtp_send.h"
#include <errno.h>
#include <stdio.h>
#include "session/smtp_send_internal.h"

enum { BLOCKS_A_TURN = 16 };

static void drive(struct smtp_send *s);
static void connected(struct connect *c, int fd, int error);

/* Timers */

static uint32_t timeout_of(const struct smtp_send *s)
{
    const struct smtp_send_timeouts *t = &s->config->timeouts;
    enum smtp_client_stage stage = smtp_client_phase(s->engine);
    const struct { uint32_t set, usual; } all[SMTP_STAGES] = {
        [SMTP_STAGE_GREETING] = { t->greeting, 300000 }, [SMTP_STAGE_HELO] = { t->helo, 300000 },
        [SMTP_STAGE_STARTTLS] = { t->starttls, 300000 }, [SMTP_STAGE_TLS] = { t->tls, 60000 },
        [SMTP_STAGE_AUTH] = { t->auth, 300000 },         [SMTP_STAGE_MAIL] = { t->mail, 300000 },
        [SMTP_STAGE_RCPT] = { t->rcpt, 300000 },         [SMTP_STAGE_DATA] = { t->data, 120000 },
        [SMTP_STAGE_CONTENT] = { t->content, 180000 },   [SMTP_STAGE_FINAL] = { t->final, 600000 },
        [SMTP_STAGE_RSET] = { t->rset, 20000 },          [SMTP_STAGE_QUIT] = { t->quit, 5000 },
    };
    if (s->p->handshaking)
        stage = SMTP_STAGE_TLS;
    return all[stage].set ? all[stage].set : all[stage].usual;
}

static void set_timer(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    uint32_t progress = smtp_client_progress(s->engine);
    if (p->timer_set && progress == p->progress)
        return;
    p->progress = progress;
    p->timer_set = true;
    if (smtp_client_phase(s->engine) == SMTP_STAGE_IDLE)
        loop_cancel(s->loop, &s->timer);
    else
        loop_after(s->loop, &s->timer, timeout_of(s));
}

static void soon(struct smtp_send *s)
{
    loop_after(s->loop, &s->step, 0);
}

/* In another turn of the loop, so that others are served in between: what is due now would fire in this one. */
static void next_turn(struct smtp_send *s)
{
    loop_after(s->loop, &s->step, 1);
}

static void lost(struct smtp_send *s, const char *what, const char *why)
{
    struct smtp_send_private *p = s->p;
    if (p->words[0])
        return; /* the first reason counts */
    snprintf(p->words, sizeof(p->words), "%s%s%s", what, why ? ": " : "", why ? why : "");
    smtp_client_lost(s->engine, p->words);
}

static void give_up(struct smtp_send *s, enum smtp_client_stage at)
{
    char what[64];
    snprintf(what, sizeof(what), "timed out in %.*s", STR_ARG(smtp_client_stage_text(at)));
    s->conn.failed = true; /* what comes now comes too late */
    s->p->failed_on_tls |= s->p->handshaking;
    s->p->handshaking = false;
    lost(s, what, NULL);
    drive(s);
}

static void timed_out(struct loop_timer *t)
{
    struct smtp_send *s = CONTAINER_OF(t, struct smtp_send, timer);
    give_up(s, s->p->handshaking ? SMTP_STAGE_TLS : smtp_client_phase(s->engine));
}

static void stepped(struct loop_timer *t)
{
    struct smtp_send *s = CONTAINER_OF(t, struct smtp_send, step);
    if (s->p->open_error)
        connected(&s->p->connect, -1, s->p->open_error);
    else
        drive(s);
}

/* The end */

static void release(struct smtp_send *s)
{
    if (!s->loop)
        return;
    loop_cancel(s->loop, &s->timer);
    loop_cancel(s->loop, &s->step);
    conn_close(&s->conn);
    if (s->p)
        connect_cancel(&s->p->connect);
    s->loop = NULL;
}

static void free_private(struct smtp_send_private *p)
{
    if (!p)
        return;
    smtp_send_mail_free(p);
    if (p->text.p)
        explicit_bzero(p->text.p, p->text.cap);
    buf_done(&p->text);
    free(p);
}

void smtp_send_close(struct smtp_send *s)
{
    release(s);
    smtp_client_free(TAKE(s->engine));
    free_private(TAKE(s->p));
}

/* The engine's own status for a lost connection is general; here more is known. */
static str status_of(const struct smtp_client_end *end, const struct smtp_send_private *p)
{
    if (end->reply.code)
        return end->reply.status;
    return p->failed_on_tls ? S("4.7.5") : end->reply.status;
}

static void say_down(struct smtp_send *s, const struct smtp_client_end *end)
{
    struct smtp_send_private *p = s->p;
    enum smtp_client_stage stage = end->reply.stage;
    bool about_tls = stage == SMTP_STAGE_STARTTLS || stage == SMTP_STAGE_TLS || p->failed_on_tls;
    struct smtp_send_end e = {
        .was_up = p->was_up,
        .polite = end->why == SMTP_END_QUIT || (p->was_up && stage == SMTP_STAGE_IDLE),
        .try_clear = p->target.tls == SMTP_SEND_TLS_OPPORTUNISTIC && !p->target.tls_at_once && about_tls,
        .no_chunking = end->why == SMTP_END_BDAT,
        .reply = end->reply,
    };
    e.reply.status = status_of(end, p);
    const struct smtp_send_events *events = s->events;
    struct smtp_client *engine = TAKE(s->engine);
    release(s);
    s->p = NULL;
    events->down(s, &e); /* the object may be gone now */
    smtp_client_free(engine);
    free_private(p);
}

/* The connection has ended. A message that was not begun yet, or not in all its transactions, ends with it. */
static void ended(struct smtp_send *s, const struct smtp_client_end *end)
{
    struct smtp_send_private *p = s->p;
    if (smtp_client_output(s->engine)->n > 0 && !s->conn.failed && s->conn.loop)
        conn_write(&s->conn, smtp_client_output(s->engine)); /* QUIT: if it does not go out at once, then not */
    if (p->message && !p->down_due) {
        smtp_send_mail_lost(s, &end->reply);
        p->down_due = true;
        p->message = NULL;
        soon(s);
        s->events->done(s);
        return;
    }
    say_down(s, end);
}

/* Driving */

static void begin_tls(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    bool verified = p->target.tls == SMTP_SEND_TLS_VERIFIED;
    SSL_CTX *ctx = verified ? s->config->tls_verified : s->config->tls;
    p->since = loop_now(s->loop);
    p->handshaking = true;
    p->timer_set = false;
    set_timer(s);
    int r = ctx ? conn_start_tls_client(&s->conn, ctx, p->target.host) : -ENOENT;
    if (r >= 0)
        return;
    p->handshaking = false;
    p->failed_on_tls = true;
    s->conn.failed = true;
    lost(s, "TLS handshake failed",
         r == -ENOENT   ? "no TLS context is set up here"
         : r == -EINVAL ? "there is no name to be verified"
                        : "no memory");
    soon(s);
}

static void on_handshake(struct conn *c, bool ok)
{
    struct smtp_send *s = CONTAINER_OF(c, struct smtp_send, conn);
    struct smtp_send_private *p = s->p;
    struct buf text = BUF(sizeof(s->tls_text) - 1);
    p->handshaking = p->timer_set = false;
    s->tls_ms = (uint32_t)(loop_now(s->loop) - p->since);
    if (ok) {
        tls_describe(c->ssl, &text);
        if (text.n > 0)
            memcpy(s->tls_text, text.p, text.n);
        s->tls_text[text.n] = '\0';
        buf_done(&text);
        s->tls_verified = p->target.tls == SMTP_SEND_TLS_VERIFIED;
        smtp_client_tls_started(s->engine);
    } else {
        p->failed_on_tls = true;
        lost(s, "TLS handshake failed", tls_failure_text(c->ssl));
    }
    soon(s); /* not at once: the connection is not done with this call */
}

static void look_for_end(struct smtp_send *s)
{
    if (!s->conn.failed && !s->conn.eof)
        return;
    lost(s, s->conn.failed ? "connection lost" : "the other server closed the connection", NULL);
}

/* Ready for a message: begins the one that waits, tells of the one that is over. False: nothing to do. */
static bool when_ready(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    p->ready = true;
    if (!p->was_up) {
        p->was_up = true;
        s->events->up(s);
        return false;
    }
    if (p->step == MAIL_OVER) {
        p->step = MAIL_NONE;
        p->message = NULL;
        s->events->done(s);
        return false;
    }
    if (p->step == MAIL_NONE)
        return false;
    smtp_send_mail_step(s);
    if (p->step == MAIL_SCAN)
        next_turn(s);
    if (p->step == MAIL_OVER)
        soon(s);
    return p->step == MAIL_SEND;
}

static bool write_out(struct smtp_send *s)
{
    struct buf *out = smtp_client_output(s->engine);
    if (out->n == 0 || s->conn.blocked || s->conn.failed)
        return false;
    return conn_write(&s->conn, out) == 0;
}

/* What an event asks for. False: nothing more to do in this turn, and the object may be gone. */
static bool obey(struct smtp_send *s, const struct smtp_client_event *ev, int *blocks)
{
    switch (ev->kind) {
    case SMTP_CLIENT_NEED_INPUT: return write_out(s);
    case SMTP_CLIENT_NEED_TLS:
        if (write_out(s))
            return true;
        if (!s->p->handshaking && smtp_client_output(s->engine)->n == 0)
            begin_tls(s);
        return false;
    case SMTP_CLIENT_READY: return write_out(s) || when_ready(s);
    case SMTP_CLIENT_NEED_CONTENT:
        if (++*blocks > BLOCKS_A_TURN) {
            write_out(s);
            next_turn(s);
            return false;
        }
        smtp_send_mail_content(s); /* written when the engine wants no more for now: few system calls */
        return true;
    case SMTP_CLIENT_RESULT: smtp_send_mail_result(s, &ev->result); return true;
    case SMTP_CLIENT_DONE: smtp_send_mail_done(s); return true;
    case SMTP_CLIENT_END: ended(s, &ev->end); return false;
    }
    return false;
}

static void drive(struct smtp_send *s)
{
    struct smtp_client_event ev;
    int blocks = 0;
    bool more = true;
    if (!s->engine || s->p->handshaking)
        return;
    loop_cancel(s->loop, &s->step);
    look_for_end(s);
    while (more) {
        size_t used = 0;
        smtp_client_next(s->engine, buf_str(&s->conn.in), &used, &ev);
        if (used > 0)
            conn_input_used(&s->conn, used);
        if (ev.kind != SMTP_CLIENT_END)
            set_timer(s);
        more = obey(s, &ev, &blocks);
    }
}

static void on_conn(struct conn *c)
{
    drive(CONTAINER_OF(c, struct smtp_send, conn));
}

/* Opening */

static void connected(struct connect *c, int fd, int error)
{
    struct smtp_send_private *p = CONTAINER_OF(c, struct smtp_send_private, connect);
    struct smtp_send *s = p->s;
    s->connect_ms = (uint32_t)(loop_now(s->loop) - p->since);
    if (fd >= 0)
        error = conn_open(&s->conn, s->loop, fd, &p->to.sa);
    if (error < 0) {
        struct smtp_client_end end = { .why = SMTP_END_LOST };
        char text[128];
        snprintf(p->words, sizeof(p->words), "cannot connect: %s", strerror_r(-error, text, sizeof(text)));
        bool ours = error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
        end.reply = (struct smtp_client_reply){ .status = ours ? S("4.3.0") : S("4.4.1"), .text = str_z(p->words) };
        say_down(s, &end);
        return;
    }
    s->conn.on = on_conn;
    s->conn.on_handshake = on_handshake;
    if (p->target.tls_at_once)
        begin_tls(s);
    set_timer(s);
}

/* A copy in p->text, which has room. */
static str keep(struct smtp_send_private *p, str s)
{
    size_t at = p->text.n;
    buf_add(&p->text, s);
    return str_of(p->text.p + at, s.n);
}

static bool is_loopback(const union connect_address *a)
{
    if (a->sa.sa_family == AF_UNIX)
        return true;
    return a->sa.sa_family == AF_INET ? ntohl(a->v4.sin_addr.s_addr) >> 24 == 127
                                      : IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
}

static struct smtp_send_private *new_private(struct smtp_send *s, const struct smtp_send_target *t)
{
    struct smtp_send_private *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    size_t room = t->address.n + t->host.n + t->source.n + t->user.n + t->secret.n + 1;
    p->s = s;
    p->text = BUF(room);
    p->target = *t;
    if (buf_reserve(&p->text, room) < 0) {
        free_private(p);
        return NULL;
    }
    p->target.address = keep(p, t->address);
    p->target.host = keep(p, t->host);
    p->target.source = keep(p, t->source);
    p->target.user = keep(p, t->user);
    p->target.secret = keep(p, t->secret);
    p->connect.done = connected;
    return p;
}

static struct smtp_client *new_engine(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    enum smtp_send_tls tls = p->target.tls;
    loop_env(s->loop)->random(p->nonce, sizeof(p->nonce));
    struct smtp_client_config config = {
        .hostname = s->config->hostname,
        .lmtp = p->target.lmtp,
        .starttls = tls != SMTP_SEND_TLS_NONE && (tls != SMTP_SEND_TLS_OPPORTUNISTIC || s->config->tls),
        .starttls_required = tls >= SMTP_SEND_TLS_MANDATORY,
        .tls = p->target.tls_at_once,
        .user = p->target.user,
        .secret = p->target.secret,
        .nonce = str_of(p->nonce, sizeof(p->nonce)),
        .auth_in_clear = tls == SMTP_SEND_TLS_NONE && is_loopback(&p->to),
        .no_chunking = p->target.no_chunking,
    };
    return smtp_client_new(&config);
}

int smtp_send_open(struct smtp_send *s, struct loop *l, const struct smtp_send_config *config,
                   const struct smtp_send_target *target, const struct smtp_send_events *events)
{
    union connect_address to;
    if (connect_address_parse(target->address, target->port, &to) < 0)
        return -EINVAL;
    *s = (struct smtp_send){ .config = config, .events = events, .loop = l };
    s->timer.fire = timed_out;
    s->step.fire = stepped;
    s->p = new_private(s, target);
    int r = s->p ? 0 : -ENOMEM;
    if (r == 0) {
        uint32_t ms = config->timeouts.connect ? config->timeouts.connect : 30000;
        s->p->to = to;
        s->p->since = loop_now(l);
        s->engine = new_engine(s);
        r = s->engine ? connect_begin(&s->p->connect, l, &to, s->p->target.source, ms) : -ENOMEM;
    }
    if (r < 0 && r != -EINVAL && r != -ENOMEM) { /* no route, source address not ours …: told like what comes later */
        s->p->open_error = r;
        soon(s);
        return 0;
    }
    if (r < 0)
        smtp_send_close(s);
    return r;
}

bool smtp_send_ready(const struct smtp_send *s)
{
    return s->engine && s->p->was_up && s->p->ready && s->p->step == MAIL_NONE && smtp_client_reusable(s->engine);
}

int smtp_send_message(struct smtp_send *s, const struct smtp_send_message *m)
{
    if (!smtp_send_ready(s) || m->n == 0)
        return -EINVAL;
    struct smtp_send_private *p = s->p;
    p->left = calloc(m->n, sizeof(*p->left));
    p->rcpts = calloc(MIN(m->n, 1000u), sizeof(*p->rcpts));
    if (!p->left || !p->rcpts) {
        smtp_send_mail_free(p);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < m->n; ++i)
        p->left[i] = i;
    p->n_left = m->n;
    p->message = m;
    p->step = MAIL_SCAN;
    p->since = loop_now(s->loop);
    s->messages++;
    soon(s);
    return 0;
}

void smtp_send_quit(struct smtp_send *s)
{
    if (!s->engine || !s->p->was_up || s->p->step != MAIL_NONE)
        return;
    smtp_client_quit(s->engine);
    s->p->ready = false;
    soon(s);
}

const struct smtp_client_caps *smtp_send_caps(const struct smtp_send *s)
{
    return s->engine && s->p->was_up ? smtp_client_caps(s->engine) : NULL;
}
