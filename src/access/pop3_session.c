/* A POP3 session: the engine's events joined to socket, log-in and maildrop. Freed only at the end of a turn
 * (access_role.c). */
#include <errno.h>
#include "access/pop3_session.h"

struct buf *pop3_session_event(struct pop3_session *s, const char *name)
{
    struct events *events = &s->access->role->events;
    s->event_left_out = !s->trusted && !event_flood_allow(&s->access->flood, events, str_z(s->conn.address),
                                                          loop_now(s->access->role->loop));
    struct buf *e = events_begin(events, EVENT_INFO, name);
    event_str(e, "session", trace_id_str(&s->id));
    event_str(e, "client", str_z(s->conn.address));
    return e;
}

void pop3_session_event_end(struct pop3_session *s)
{
    if (s->event_left_out)
        events_drop(&s->access->role->events);
    else
        events_end(&s->access->role->events);
}

static uint64_t time_limit(const struct pop3_session *s)
{
    uint64_t timeout = s->config->conf->pop3_timeout;
    return proxy_in_waits(&s->conn) ? PROXY_IN_TIMEOUT_MS
           : s->logged_in           ? timeout : MIN(timeout, (uint64_t)ACCESS_LOG_IN_MS);
}

/* Milliseconds that are left before the session ends, and while the log-in lasts in any case. */
static uint64_t time_left(const struct pop3_session *s)
{
    uint64_t now = loop_now(s->conn.loop), quiet = now - s->conn.last_read, limit = time_limit(s);
    uint64_t left = quiet < limit ? limit - quiet : 0, took = now - s->opened, all = ACCESS_LOG_IN_TIMES * limit;
    return s->logged_in ? left : MIN(left, took < all ? all - took : 0);
}

static void set_timer(struct pop3_session *s)
{
    uint64_t left = time_left(s);
    loop_after(s->conn.loop, &s->timer, left ? left : time_limit(s)); /* 0: the store is being waited for */
}

/* RFC 1939 3: a session that times out ends without entering UPDATE, nothing is deleted. */
static void timer_fire(struct loop_timer *t)
{
    struct pop3_session *s = CONTAINER_OF(t, struct pop3_session, timer);
    if (time_left(s) || (!proxy_in_waits(&s->conn) && s->wait != POP3_WAIT_NONE)) {
        set_timer(s);
        return;
    }
    s->access->count.timeouts++;
    pop3_session_close(s, "timeout");
}

void pop3_session_close(struct pop3_session *s, const char *why)
{
    if (s->closing)
        return;
    struct buf *e = pop3_session_event(s, "disconnect");
    event_str(e, "reason", str_z(why));
    event_u64(e, "retrieved", s->retrieved);
    pop3_session_event_end(s);
    s->closing = true;
    auth_run_cancel(&s->auth);
    pop3_maildrop_close(s);
    if (s->sending_fd >= 0)
        close(TAKE_FD(s->sending_fd));
    loop_cancel(s->conn.loop, &s->timer);
    conn_close(&s->conn);
    if (s->counted)
        access_leave(s->access, str_z(s->conn.address));
    s->next_closed = s->access->closed;
    s->access->closed = s;
}

void pop3_session_free(struct pop3_session *s)
{
    struct access_role *a = s->access;
    if (s->prev)
        s->prev->next = s->next;
    else
        a->all = s->next;
    if (s->next)
        s->next->prev = s->prev;
    a->n_sessions--;
    pop3_server_free(s->engine);
    role_config_unref(s->config);
    free(s->account);
    free(s);
}

static void auth_challenge(struct auth_run *run, str challenge)
{
    struct pop3_session *s = CONTAINER_OF(run, struct pop3_session, auth);
    pop3_server_auth_challenge(s->engine, challenge);
    pop3_session_pump(s);
}

static void auth_done(struct auth_run *run, enum auth_end end, str account)
{
    struct pop3_session *s = CONTAINER_OF(run, struct pop3_session, auth);
    struct buf *e = pop3_session_event(s, "auth");
    event_str(e, "user", str_of(run->user, run->user_len));
    event_str(e, "result", auth_end_word(end));
    if (end == AUTH_BINDING)
        event_str(e, "why", run->why);
    pop3_session_event_end(s);
    if (end == AUTH_OK) {
        s->access->count.auth_ok++;
        s->logged_in = true;
        set_timer(s);
        free(s->account);
        s->account = str_dupz(account);
        pop3_maildrop_open(s);
    } else {
        s->access->count.auth_failed++;
        if (end == AUTH_WRONG)
            pop3_server_auth_failed(s->engine, S("AUTH"), S("Wrong user name or password"));
        else if (end == AUTH_BINDING)
            pop3_server_auth_failed(s->engine, S("AUTH"), run->why);
        else if (end == AUTH_MALFORMED)
            pop3_server_auth_failed(s->engine, S(""), S("That is not a message of this mechanism"));
        else
            pop3_server_auth_failed(s->engine, S("SYS/TEMP"),
                                    S("Log-in is not possible at the moment; try again later"));
    }
    pop3_session_pump(s);
}

static void on_handshake(struct conn *conn, bool ok)
{
    struct pop3_session *s = CONTAINER_OF(conn, struct pop3_session, conn);
    _cleanup_buf_ struct buf text = BUF(128);
    if (ok)
        tls_describe(conn->ssl, &text);
    struct buf *e = pop3_session_event(s, "tls");
    event_str(e, "result", ok ? buf_str(&text) : S("failed"));
    if (!ok)
        event_str(e, "why", str_z(tls_error_text()));
    pop3_session_event_end(s);
    if (!ok) {
        pop3_session_close(s, "TLS handshake failed");
        return;
    }
    s->access->count.tls++;
    pop3_server_tls_started(s->engine);
    pop3_server_set_mechanisms(s->engine, auth_run_bind(&s->auth, conn->ssl));
    pop3_session_pump(s);
}

static void handle(struct pop3_session *s, const struct pop3_event *ev)
{
    switch (ev->kind) {
    case POP3_CONNECT: pop3_server_greet(s->engine); return;
    case POP3_PASSWORD: auth_run_password(&s->auth, ev->user, ev->data); return;
    case POP3_AUTH: auth_run_start(&s->auth, ev->user, ev->has_data, ev->data); return;
    case POP3_AUTH_RESPONSE:
        if (ev->cancelled)
            auth_run_cancel(&s->auth);
        else
            auth_run_respond(&s->auth, ev->data);
        return;
    case POP3_RETRIEVE: pop3_maildrop_retrieve(s, ev); return;
    case POP3_UPDATE: pop3_maildrop_update(s); return;
    default: return;
    }
}

static bool stops(enum pop3_event_kind kind)
{
    return kind == POP3_NEED_INPUT || kind == POP3_NEED_REPLY || kind == POP3_NEED_DRAIN || kind == POP3_STLS ||
           kind == POP3_CLOSE;
}

/* One event after another until the engine needs something, or content or output is waiting (POP3_NEED_DRAIN). */
static enum pop3_event_kind run(struct pop3_session *s)
{
    struct pop3_event ev;
    size_t used = 0;
    bool drain = false;
    do {
        size_t n = 0;
        pop3_server_next(s->engine, str_from(buf_str(&s->conn.in), used), &n, &ev);
        used += n;
        if (!stops(ev.kind))
            handle(s, &ev);
        drain = s->sending_fd >= 0 || pop3_server_output(s->engine)->n >= POP3_OUTPUT_HIGH;
    } while (!s->closing && !stops(ev.kind) && !drain && s->wait == POP3_WAIT_NONE);
    if (!s->closing)
        conn_input_used(&s->conn, used);
    return stops(ev.kind) ? ev.kind : drain ? POP3_NEED_DRAIN : POP3_NEED_REPLY;
}

static void start_tls(struct pop3_session *s)
{
    s->tls_pending = false;
    s->conn.tls_scope = str_z(conf_service_name[s->listener->service]);
    if (!s->access->tls.context || conn_start_tls(&s->conn, s->access->tls.context) < 0)
        pop3_session_close(s, "TLS is not available");
}

/* Bytes behind STLS in clear text must not survive the handshake (RFC 2595 4): the session ends. */
static void on_stls(struct pop3_session *s)
{
    if (s->conn.in.n)
        pop3_session_close(s, "bytes followed STLS in clear text");
    else
        s->tls_pending = true;
}

/* Writes, and while everything goes out at once, produces more content. True: the output is empty. */
static bool flush(struct pop3_session *s)
{
    struct buf *out = pop3_server_output(s->engine);
    int r = 0;
    for (;;) {
        r = out->n ? conn_write(&s->conn, out) : 0;
        if (r != 0 || s->sending_fd < 0)
            break;
        pop3_maildrop_send(s);
    }
    if (r < 0)
        pop3_session_close(s, "connection lost");
    else if (r == 0 && out->cap > 4096)
        buf_release(out);
    return r == 0;
}

static void after(struct pop3_session *s, enum pop3_event_kind stop, bool out)
{
    if (stop == POP3_CLOSE && out)
        pop3_session_close(s, "done");
    else if (s->tls_pending && out)
        start_tls(s);
    else if (s->conn.failed || (s->conn.eof && out && stop == POP3_NEED_INPUT))
        pop3_session_close(s, s->conn.failed ? "connection lost" : "client left without QUIT");
    else
        conn_pause(&s->conn, s->conn.eof || (stop != POP3_NEED_INPUT && s->conn.in.n > 4096));
}

/* Content under way, or a question to the store: the engine gets no input before it is over. */
static bool busy(const struct pop3_session *s) { return s->sending_fd >= 0 || s->wait != POP3_WAIT_NONE; }

void pop3_session_pump(struct pop3_session *s)
{
    if (s->closing || s->conn.state != CONN_OPEN || s->pumping || proxy_in_waits(&s->conn))
        return;
    s->pumping = true;
    enum pop3_event_kind stop;
    bool out, was_sending;
    do {
        was_sending = s->sending_fd >= 0;
        stop = busy(s) ? POP3_NEED_REPLY : run(s);
        if (!s->closing && stop == POP3_STLS)
            on_stls(s);
        out = !s->closing && flush(s);
    } while (out && !s->closing && !busy(s) && was_sending);
    s->pumping = false;
    if (!s->closing)
        after(s, stop, out);
    if (out && !s->closing && stop == POP3_NEED_DRAIN)
        conn_again(&s->conn);
}

static void read_proxy(struct pop3_session *s);

static void on_conn(struct conn *conn)
{
    struct pop3_session *s = CONTAINER_OF(conn, struct pop3_session, conn);
    if (proxy_in_waits(conn))
        read_proxy(s);
    else
        pop3_session_pump(s);
}

static struct pop3_session *new_session(struct access_role *a, struct role_listener *l)
{
    struct pop3_session *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->access = a;
    s->opened = loop_now(a->role->loop);
    s->listener = l->conf;
    s->config = role_config_ref(a->role->config);
    s->engine = pop3_server_new(&a->engine[l->index]);
    s->sending_fd = -1;
    s->timer.fire = timer_fire;
    s->conn.on = on_conn;
    s->conn.on_handshake = on_handshake;
    trace_id_new(a->role->env, &s->id);
    s->auth = (struct auth_run){ .client = &a->auth, .session_id = trace_id_str(&s->id), .peer_addr = s->conn.address,
                                 .challenge = auth_challenge, .done = auth_done };
    s->next = a->all;
    if (a->all)
        a->all->prev = s;
    a->all = s;
    a->n_sessions++;
    return s;
}

/* The client is known. `peer`: the proxy that named it. */
static void begin(struct pop3_session *s, str peer)
{
    struct access_role *a = s->access;
    s->trusted = s->auth.trusted = policy_nets_match(&a->nets.trusted, str_z(s->conn.address));
    struct buf *e = pop3_session_event(s, "connect");
    event_u64(e, "port", s->conn.port);
    event_str(e, "listener", str_z(conf_service_name[s->listener->service]));
    if (peer.n)
        event_str(e, "peer", peer);
    pop3_session_event_end(s);
    set_timer(s);
    s->counted = access_admit(a, s->config->conf, str_z(s->conn.address), s->trusted);
    if (!s->counted) {
        a->count.refused_connections++;
        pop3_server_shutdown(s->engine, S("Too many connections; try again later"));
    }
    if (s->listener->service != CONF_POP3S)
        pop3_session_pump(s);
    else if (s->counted)
        start_tls(s);
    else
        pop3_session_close(s, "too many connections"); /* not worth a handshake to say so */
}

static void read_proxy(struct pop3_session *s)
{
    struct proxy_header header;
    const char *why;
    char peer[sizeof(s->conn.address)];
    memcpy(peer, s->conn.address, sizeof(peer));
    switch (proxy_in_read(&s->conn, &header, &why)) {
    case PROXY_IN_WAIT:
        return;
    case PROXY_IN_BAD:
        pop3_session_close(s, why);
        return;
    case PROXY_IN_DONE:
        begin(s, str_z(peer));
        return;
    }
}

void pop3_session_open(struct access_role *a, struct role_listener *l, int fd, const struct sockaddr *peer)
{
    struct pop3_session *s = l->conf ? new_session(a, l) : NULL;
    bool opened = s && s->engine && conn_open(&s->conn, a->role->loop, fd, peer) == 0;
    if (!opened) {
        if (!s || !s->engine) /* else conn_open has closed it */
            close(fd);
        if (s)
            pop3_session_free(s);
        return;
    }
    s->conn.input_max = CONN_COMMANDS_MAX;
    a->count.connections++;
    if (!policy_nets_match(&a->nets.proxies, str_z(s->conn.address))) {
        begin(s, STR_NONE);
        return;
    }
    proxy_in_begin(&s->conn);
    set_timer(s);
}
