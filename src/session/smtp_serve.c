/* A session of role smtp-in: the engine's events turned into decisions and replies. Invariant: a session is freed only
 * at the end of a turn (smtp_in.c), so no callback sees freed memory. */
#include <errno.h>
#include "session/proxy_in.h"
#include "session/smtp_session.h"

enum { SESSION_MEMORY_MAX = 65536 };

static void reply(struct smtp_session *s, int code, str enhanced, str text)
{
    smtp_server_reply(s->engine, code, enhanced, text);
}

struct buf *smtp_session_event(struct smtp_session *s, enum event_level level, const char *name)
{
    char id[B32_ID_LEN + 12];
    struct events *events = &s->in->role->events;
    s->event_left_out =
        !s->trusted && !event_flood_allow(&s->in->flood, events, str_z(s->conn.address), loop_now(s->in->role->loop));
    struct buf *e = events_begin(events, level, name);
    event_str(e, "session", s->message ? trace_id_message(&s->id, s->message, id) : trace_id_str(&s->id));
    return e;
}

void smtp_session_event_end(struct smtp_session *s)
{
    if (s->event_left_out)
        events_drop(&s->in->role->events);
    else
        events_end(&s->in->role->events);
}

void smtp_session_view(struct smtp_session *s, struct smtp_message_view *out)
{
    char id[B32_ID_LEN + 12];
    *out = (struct smtp_message_view){
        .arena = &s->tx.arena,
        .conf = s->tx.policy->config->conf,
        .directory = &s->tx.policy->config->directory,
        .sender = s->tx.sender,
        .account = s->account,
        .id = arena_dup(&s->tx.arena, trace_id_message(&s->id, s->message, id)),
        .unix_s = (int64_t)(s->in->role->env->wall_us() / 1000000),
    };
}

void smtp_session_policy(struct smtp_session *s, struct policy_session *out)
{
    *out = (struct policy_session){
        .client_addr = str_z(s->conn.address),
        .client_name = s->client_name.n ? s->client_name : S("unknown"),
        .helo = s->helo,
        .tls = s->tls,
        .sasl_user = s->account,
        .sender = s->tx.sender,
        .sender_null = s->tx.sender_null,
        .early = s->early,
    };
}

#define COMMAND_TIMES 3 /* the time limit of quiet, for a whole command */

static uint64_t time_limit(const struct smtp_session *s)
{
    const struct conf *c = s->policy->config->conf;
    if (proxy_in_waits(&s->conn))
        return PROXY_IN_TIMEOUT_MS;
    return smtp_server_phase(s->engine) == SMTP_PHASE_CONTENT ? c->smtpd_data_timeout : c->smtpd_timeout;
}

/* Milliseconds until the client has been quiet for too long, or has taken too long for one command: a byte now and then
 * must not hold a connection. */
static uint64_t time_left(const struct smtp_session *s)
{
    uint64_t now = loop_now(s->conn.loop), limit = time_limit(s), all = COMMAND_TIMES * limit;
    uint64_t quiet = now - s->conn.last_read, took = now - s->last_command;
    return MIN(quiet < limit ? limit - quiet : 0, took < all ? all - took : 0);
}

static void set_timer(struct smtp_session *s)
{
    uint64_t left = time_left(s);
    loop_after(s->conn.loop, &s->timer, left ? left : time_limit(s)); /* 0: the message is being made durable */
}

/* The timer is set once and looks, when it fires, how long it has really been quiet: no work for each byte. */
static void timer_fire(struct loop_timer *t)
{
    struct smtp_session *s = CONTAINER_OF(t, struct smtp_session, timer);
    if (s->is_waiting || time_left(s)) {
        set_timer(s);
        return;
    }
    s->in->count.timeouts++;
    if (s->conn.state == CONN_HANDSHAKE || s->conn.blocked || proxy_in_waits(&s->conn)) {
        smtp_session_close(s, "timeout");
        return;
    }
    smtp_server_shutdown(s->engine, S("4.4.2"), S("Timeout: no command or data came in time"));
    smtp_session_pump(s);
    if (!s->closing)
        smtp_session_close(s, "timeout");
}

void smtp_session_close(struct smtp_session *s, const char *why)
{
    if (s->closing)
        return;
    struct smtp_in *in = s->in;
    struct buf *e = events_begin(&in->role->events, EVENT_INFO, "disconnect");
    event_str(e, "session", trace_id_str(&s->id));
    event_str(e, "client", str_z(s->conn.address));
    event_str(e, "reason", str_z(why));
    event_u64(e, "messages", s->messages);
    events_end(&in->role->events);
    s->closing = true;
    auth_run_cancel(&s->auth);
    loop_cancel(s->conn.loop, &s->timer);
    conn_close(&s->conn);
    smtp_client_release(s);
    if (s->is_waiting) /* freed when its message is durable */
        return;
    s->next_closed = in->closed;
    in->closed = s;
}

static void on_connect(struct smtp_session *s)
{
    static const struct smtp_refusal no = { 554, { "5.7.1", 5 }, { "LMTP is not for you here", 24 } };
    struct policy_session ps;
    if (s->stranger) {
        smtp_envelope_refuse(s, "client", STR_NONE, &no, S("add the client's network to `lmtp_networks`"));
        return;
    }
    smtp_session_policy(s, &ps);
    if (smtp_envelope_judge(s, POLICY_CLIENT, &ps, "client"))
        reply(s, 220, STR_NONE, STR_NONE);
}

void smtp_session_room(struct smtp_session *s)
{
    struct arena fresh = ARENA(SESSION_MEMORY_MAX);
    if (s->arena.used <= SESSION_MEMORY_MAX / 2)
        return;
    s->account = arena_dup(&fresh, s->account);
    s->client_name = arena_dup(&fresh, s->client_name);
    s->helo = STR_NONE;
    arena_done(&s->arena);
    s->arena = fresh;
}

static void on_helo(struct smtp_session *s, const struct smtp_event *ev)
{
    struct policy_session ps;
    smtp_envelope_end(s);
    s->early |= ev->early;
    s->esmtp = ev->esmtp;
    smtp_session_room(s);
    s->helo = arena_dup(&s->arena, ev->text);
    smtp_session_policy(s, &ps);
    if (smtp_envelope_judge(s, POLICY_HELO, &ps, "helo"))
        reply(s, 250, STR_NONE, STR_NONE);
}

static void auth_challenge(struct auth_run *run, str challenge)
{
    struct smtp_session *s = CONTAINER_OF(run, struct smtp_session, auth);
    smtp_server_auth_challenge(s->engine, challenge);
    smtp_session_pump(s);
}

static void auth_done(struct auth_run *run, enum auth_end end, str account)
{
    static const struct smtp_refusal why[] = {
        [AUTH_WRONG] = { 535, { "5.7.8", 5 }, { "Wrong user name or password", 27 } },
        [AUTH_MALFORMED] = { 501, { "5.5.2", 5 }, { "That is not a message of this mechanism", 39 } },
        [AUTH_UNAVAILABLE] = { 454, { "4.7.0", 5 }, { "Log-in is not possible at the moment; try again later", 53 } },
        [AUTH_BINDING] = { 535, { "5.7.8", 5 }, STR_NONE },
    };
    struct smtp_session *s = CONTAINER_OF(run, struct smtp_session, auth);
    struct buf *e = smtp_session_event(s, EVENT_INFO, "auth");
    event_str(e, "user", str_of(run->user, run->user_len));
    event_str(e, "client", str_z(s->conn.address));
    event_str(e, "result", auth_end_word(end));
    if (end == AUTH_BINDING)
        event_str(e, "why", run->why);
    smtp_session_event_end(s);
    if (end == AUTH_OK) {
        s->in->count.auth_ok++;
        s->account = arena_dup(&s->arena, account);
        smtp_server_auth_done(s->engine, true, 235, S("2.7.0"), S("Logged in"));
    } else {
        s->in->count.auth_failed++;
        str text = end == AUTH_BINDING ? run->why : why[end].text;
        smtp_server_auth_done(s->engine, false, why[end].code, why[end].enhanced, text);
    }
    smtp_session_pump(s);
}

static void on_handshake(struct conn *conn, bool ok)
{
    struct smtp_session *s = CONTAINER_OF(conn, struct smtp_session, conn);
    if (!ok) {
        struct buf *e = smtp_session_event(s, EVENT_INFO, "tls");
        event_str(e, "result", S("failed"));
        event_str(e, "why", str_z(tls_error_text()));
        smtp_session_event_end(s);
        smtp_session_close(s, "TLS handshake failed");
        return;
    }
    s->tls = true;
    s->in->count.tls++;
    buf_clear(&s->tls_text);
    tls_describe(conn->ssl, &s->tls_text);
    struct buf *e = smtp_session_event(s, EVENT_INFO, "tls");
    event_str(e, "result", buf_str(&s->tls_text));
    smtp_session_event_end(s);
    s->helo = STR_NONE;
    s->early = false;
    smtp_server_tls_started(s->engine);
    smtp_server_set_mechanisms(s->engine, auth_run_bind(&s->auth, conn->ssl));
    smtp_session_pump(s);
}

/* What came after STARTTLS in clear text must not survive (RFC 3207 4.2): it is not dropped in silence, the session
 * ends. */
static void on_starttls(struct smtp_session *s)
{
    if (s->conn.in.n) {
        struct buf *e = smtp_session_event(s, EVENT_WARN, "tls");
        event_str(e, "result", S("refused"));
        event_str(e, "why", S("bytes followed STARTTLS in clear text"));
        smtp_session_event_end(s);
        smtp_session_close(s, "STARTTLS injection");
        return;
    }
    smtp_envelope_end(s);
    s->tls_pending = true;
}

static void handle(struct smtp_session *s, const struct smtp_event *ev)
{
    switch (ev->kind) {
    case SMTP_CONNECT: on_connect(s); return;
    case SMTP_HELO: on_helo(s, ev); return;
    case SMTP_MAIL: smtp_envelope_mail(s, ev); return;
    case SMTP_RCPT: smtp_envelope_rcpt(s, ev); return;
    case SMTP_DATA: smtp_envelope_data(s, ev); return;
    case SMTP_CONTENT: smtp_intake_add(s, ev->data); return;
    case SMTP_CONTENT_END: smtp_intake_end(s); return;
    case SMTP_RESET: smtp_envelope_end(s); return;
    case SMTP_AUTH: auth_run_start(&s->auth, ev->text, ev->has_data, ev->data); return;
    case SMTP_AUTH_RESPONSE:
        if (ev->cancelled)
            auth_run_cancel(&s->auth);
        else
            auth_run_respond(&s->auth, ev->data);
        return;
    case SMTP_XCLIENT: smtp_client_xclient(s, ev); return;
    case SMTP_STARTTLS:
    case SMTP_CLOSE:
    case SMTP_NEED_INPUT:
    case SMTP_NEED_REPLY:
    case SMTP_NEED_DRAIN:
        return;
    }
}

/* Sends what is waiting. True: everything is out. */
static bool flush(struct smtp_session *s)
{
    struct buf *out = smtp_server_output(s->engine);
    int r = out->n ? conn_write(&s->conn, out) : 0;
    if (r < 0)
        smtp_session_close(s, "connection lost");
    else if (r == 0 && out->cap > 4096)
        buf_release(out);
    return r == 0;
}

static bool stops(enum smtp_event_kind kind)
{
    return kind == SMTP_STARTTLS || kind == SMTP_CLOSE || kind == SMTP_NEED_INPUT || kind == SMTP_NEED_REPLY;
}

/* One event after another until the engine needs something, or its output wants to be written first (then the kind
 * returned is none of stops()). */
static enum smtp_event_kind run(struct smtp_session *s)
{
    struct smtp_event ev;
    size_t used = 0;
    do {
        size_t n = 0;
        smtp_server_next(s->engine, str_from(buf_str(&s->conn.in), used), &n, &ev);
        used += n;
        if (!stops(ev.kind))
            handle(s, &ev);
    } while (!stops(ev.kind) && ev.kind != SMTP_NEED_DRAIN && !s->closing && !s->is_waiting);
    if (used)
        s->last_command = loop_now(s->conn.loop);
    if (!s->closing)
        conn_input_used(&s->conn, used);
    if (ev.kind == SMTP_STARTTLS && !s->closing)
        on_starttls(s);
    return s->is_waiting ? SMTP_NEED_REPLY : ev.kind;
}

static void start_tls(struct smtp_session *s)
{
    s->tls_pending = false;
    s->conn.tls_scope = str_z(conf_service_name[s->listener->service]);
    if (!s->in->tls.context || conn_start_tls(&s->conn, s->in->tls.context) < 0)
        smtp_session_close(s, "TLS is not available");
}

/* What becomes of the connection after a pump. A client that has closed its side is still answered what it sent. Large
 * pieces are read of content alone. */
static void settle(struct smtp_session *s, enum smtp_event_kind stop, bool out)
{
    bool content = stop == SMTP_NEED_INPUT && smtp_server_phase(s->engine) == SMTP_PHASE_CONTENT;
    s->conn.input_max = content ? CONN_INPUT_MAX : CONN_COMMANDS_MAX;
    if (stop == SMTP_CLOSE && out)
        smtp_session_close(s, "done");
    else if (s->tls_pending && out)
        start_tls(s);
    else if (s->conn.failed || (s->conn.eof && out && stop == SMTP_NEED_INPUT))
        smtp_session_close(s, s->conn.failed ? "connection lost" : "client left without QUIT");
    else
        conn_pause(&s->conn, s->conn.eof || s->conn.in.n >= s->conn.input_max ||
                                 (stop == SMTP_NEED_REPLY && s->conn.in.n > 4096) || (!out && s->conn.in.n > 4096));
}

void smtp_session_pump(struct smtp_session *s)
{
    enum smtp_event_kind stop;
    bool out;
    if (s->closing || s->conn.state != CONN_OPEN || s->pumping || proxy_in_waits(&s->conn))
        return;
    do {
        s->pumping = true; /* a challenge or verdict that comes at once must not re-enter the loop in run() */
        stop = s->is_waiting ? SMTP_NEED_REPLY : run(s);
        s->pumping = false;
        out = !s->closing && flush(s);
    } while (out && !s->closing && !stops(stop) && stop != SMTP_NEED_DRAIN);
    if (!s->closing)
        settle(s, stop, out);
    if (!s->closing && out && stop == SMTP_NEED_DRAIN)
        conn_again(&s->conn);
}

/* The client is known: the session begins. */
static void greet(struct smtp_session *s)
{
    smtp_client_begin(s);
    set_timer(s);
    if (s->listener->service != CONF_SUBMISSIONS)
        smtp_session_pump(s);
    else if (s->counted)
        start_tls(s);
    else
        smtp_session_close(s, "too many connections"); /* not worth a handshake to say so */
}

static void on_conn(struct conn *conn)
{
    struct smtp_session *s = CONTAINER_OF(conn, struct smtp_session, conn);
    if (!proxy_in_waits(conn))
        smtp_session_pump(s);
    else if (smtp_client_header(s))
        greet(s);
}

static void refuse_connection(struct smtp_in *in, int fd, str text)
{
    char line[160];
    struct buf b = { .p = line, .cap = sizeof(line), .max = sizeof(line) };
    buf_add(&b, S("421 4.7.0 "));
    buf_add(&b, text);
    buf_add(&b, S("\r\n"));
    in->count.refused_connections++;
    send(fd, b.p, b.n, MSG_NOSIGNAL | MSG_DONTWAIT); /* best effort: the connection ends in any case */
    close(fd);
}

static struct smtp_session *new_session(struct smtp_in *in, struct role_listener *l)
{
    struct smtp_session *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->in = in;
    s->listener = l->conf;
    s->listener_index = l->index;
    memcpy(s->listener_address, l->address, sizeof(s->listener_address));
    s->agent = l->conf->service == CONF_SMTP || l->conf->service == CONF_LMTP ? in->mta : in->msa;
    s->engine = smtp_server_new(&in->engine[l->index]);
    s->arena = ARENA(SESSION_MEMORY_MAX);
    s->tx.arena = ARENA(TRANSACTION_MEMORY_MAX);
    s->tls_text = BUF(128);
    s->timer.fire = timer_fire;
    s->policy = smtp_policy_ref(in->policy);
    trace_id_new(in->role->env, &s->id);
    return s;
}

static void link_session(struct smtp_in *in, struct smtp_session *s)
{
    s->next = in->all;
    if (in->all)
        in->all->prev = s;
    in->all = s;
    in->n_sessions++;
}

void smtp_session_open(struct smtp_in *in, struct role_listener *l, int fd, const struct sockaddr *peer)
{
    struct smtp_session *s = l->conf ? new_session(in, l) : NULL;
    bool opened = s && s->engine && conn_open(&s->conn, in->role->loop, fd, peer) == 0;
    if (opened)
        s->conn.input_max = CONN_COMMANDS_MAX;
    if (!opened) {
        if (!s || !s->engine) /* else conn_open has closed it */
            refuse_connection(in, fd, S("Out of memory; try again later"));
        smtp_server_free(s ? s->engine : NULL);
        smtp_policy_unref(s ? s->policy : NULL);
        free(s);
        return;
    }
    link_session(in, s);
    s->last_command = loop_now(in->role->loop);
    s->conn.on = on_conn;
    s->conn.on_handshake = on_handshake;
    s->auth = (struct auth_run){ .client = &in->auth, .session_id = trace_id_str(&s->id), .peer_addr = s->conn.address,
                                 .challenge = auth_challenge, .done = auth_done };
    in->count.connections++;
    smtp_client_open(s);
    if (proxy_in_waits(&s->conn))
        set_timer(s);
    else
        greet(s);
}
