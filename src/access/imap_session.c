/* An IMAP session: connection, log-in, limits and ends. Events and output: imap_pump.c. Freed only at the end of a turn
 * (access_role.c). */
#include <errno.h>
#include "access/imap_session.h"

enum {
    ZIP_REST_MS = 5000,     /* of silence, then compression gives its memory back */
    LATE_MAX = 256 << 20
};

struct buf *imap_session_event(struct imap_session *s, const char *name)
{
    struct events *events = &s->access->role->events;
    s->event_left_out = !s->trusted && !event_flood_allow(&s->access->flood, events, str_z(s->conn.address),
                                                          loop_now(s->access->role->loop));
    struct buf *e = events_begin(events, EVENT_INFO, name);
    event_str(e, "session", trace_id_str(&s->id));
    event_str(e, "client", str_z(s->conn.address));
    if (s->account)
        event_str(e, "account", str_z(s->account));
    return e;
}

void imap_session_event_end(struct imap_session *s)
{
    if (s->event_left_out)
        events_drop(&s->access->role->events);
    else
        events_end(&s->access->role->events);
}

static uint64_t time_limit(const struct imap_session *s)
{
    uint64_t timeout = s->config->conf->imap_timeout;
    return proxy_in_waits(&s->conn) ? PROXY_IN_TIMEOUT_MS
           : s->logged_in           ? timeout
                                    : MIN(timeout, (uint64_t)ACCESS_LOG_IN_MS);
}

/* Milliseconds that are left for the log-in. */
static uint64_t log_in_left(const struct imap_session *s)
{
    uint64_t took = loop_now(s->conn.loop) - s->opened, all = ACCESS_LOG_IN_TIMES * time_limit(s);
    return s->logged_in ? UINT64_MAX : took < all ? all - took : 0;
}

static uint64_t silence(const struct imap_session *s) { return loop_now(s->conn.loop) - s->conn.last_read; }

void imap_session_set_timer(struct imap_session *s)
{
    uint64_t quiet = silence(s), due = time_limit(s), alive = imap_idle_keepalive(s);
    if (alive)
        due = MIN(due, alive);
    if (s->zip && quiet < ZIP_REST_MS)
        due = MIN(due, (uint64_t)ZIP_REST_MS);
    uint64_t wait = quiet < due ? due - quiet : 1000, left = log_in_left(s);
    loop_after(s->conn.loop, &s->timer, left ? MIN(wait, left) : 1000);
}

bool imap_session_busy(const struct imap_session *s)
{
    bool works = s->task.step || store_call_waits(&s->call) || imap_append_waits(s);
    return works && !s->conn.blocked; /* one who does not read is waited for like one who does not write */
}

static void timer_fire(struct loop_timer *t)
{
    struct imap_session *s = CONTAINER_OF(t, struct imap_session, timer);
    uint64_t quiet = silence(s), alive = imap_idle_keepalive(s);
    if (s->zip && quiet >= ZIP_REST_MS)
        imap_zip_rest(s->zip);
    if (alive && quiet >= alive && !s->conn.blocked)
        imap_idle_alive(s);
    else if (log_in_left(s) == 0 ||
             (quiet >= time_limit(s) && (proxy_in_waits(&s->conn) || !imap_session_busy(s)))) {
        s->access->count.timeouts++;
        if (s->conn.state == CONN_OPEN && !proxy_in_waits(&s->conn))
            imap_session_leave(s, STR_NONE, S("Too long without a command"));
        imap_session_close(s, "timeout");
    }
    if (!s->closing)
        imap_session_set_timer(s);
}

void imap_session_close(struct imap_session *s, const char *why)
{
    if (s->closing)
        return;
    struct buf *e = imap_session_event(s, "disconnect");
    event_str(e, "reason", str_z(why));
    event_u64(e, "commands", s->commands);
    event_u64(e, "fetched", s->fetched);
    event_u64(e, "bytes", s->bytes_out);
    imap_session_event_end(s);
    s->closing = true;
    auth_run_cancel(&s->auth);
    store_call_cancel(&s->call);
    if (s->task.cancel)
        s->task.cancel(s);
    s->task = (struct imap_task){ 0 };
    imap_append_leave(s);
    if (s->selected)
        imap_deselect(s, false);
    if (s->logged_in)
        access_forget_session(s->access, trace_id_str(&s->id));
    loop_cancel(s->conn.loop, &s->timer);
    conn_close(&s->conn);
    if (s->counted)
        access_leave(s->access, str_z(s->conn.address));
    s->next_closed = s->access->imap_closed;
    s->access->imap_closed = s;
}

void imap_session_free(struct imap_session *s)
{
    struct access_role *a = s->access;
    if (s->prev)
        s->prev->next = s->next;
    else
        a->imap_all = s->next;
    if (s->next)
        s->next->prev = s->prev;
    a->n_sessions--;
    a->n_imap--;
    imap_server_free(s->engine);
    imap_zip_free(s->zip);
    role_config_unref(s->config);
    buf_done(&s->saved);
    buf_done(&s->late);
    buf_done(&s->reply.text);
    free(s->account);
    free(s);
}

void imap_session_leave(struct imap_session *s, str code, str text)
{
    if (s->closing || s->leaving)
        return;
    s->leaving = true;
    s->late_at = s->late.n;
    s->telling = s->reply.due = false;
    imap_server_shutdown(s->engine, code, text);
    imap_session_pump(s);
}

void imap_sessions_store_down(struct access_role *a)
{
    for (struct imap_session *s = a->imap_all, *next; s; s = next) {
        next = s->next;
        if (!s->logged_in || s->closing)
            continue;
        imap_session_leave(s, S("UNAVAILABLE"), S("The store has restarted; log in again"));
        imap_session_close(s, "the store has restarted");
    }
}

static void auth_challenge(struct auth_run *run, str challenge)
{
    struct imap_session *s = CONTAINER_OF(run, struct imap_session, auth);
    imap_server_auth_challenge(s->engine, challenge);
    imap_session_pump(s);
}

static void refuse_log_in(struct imap_session *s, enum auth_end end)
{
    s->access->count.auth_failed++;
    if (end == AUTH_WRONG)
        imap_server_auth_failed(s->engine, S("AUTHENTICATIONFAILED"), S("Wrong user name or password"));
    else if (end == AUTH_BINDING)
        imap_server_auth_failed(s->engine, S("AUTHENTICATIONFAILED"), s->auth.why);
    else if (end == AUTH_MALFORMED)
        imap_server_auth_failed(s->engine, STR_NONE, S("That is not a message of this mechanism"));
    else
        imap_server_auth_failed(s->engine, S("UNAVAILABLE"),
                                S("Log-in is not possible at the moment; try again later"));
}

static void auth_done(struct auth_run *run, enum auth_end end, str account)
{
    struct imap_session *s = CONTAINER_OF(run, struct imap_session, auth);
    struct buf *e = imap_session_event(s, "auth");
    event_str(e, "user", str_of(run->user, run->user_len));
    event_str(e, "result", auth_end_word(end));
    if (end == AUTH_BINDING)
        event_str(e, "why", run->why);
    imap_session_event_end(s);
    if (end == AUTH_OK) {
        s->access->count.auth_ok++;
        s->logged_in = true;
        free(s->account);
        s->account = str_dupz(account);
        imap_server_logged_in(s->engine);
        imap_session_set_timer(s);
    } else {
        refuse_log_in(s, end);
    }
    imap_session_pump(s);
}

static void on_handshake(struct conn *conn, bool ok)
{
    struct imap_session *s = CONTAINER_OF(conn, struct imap_session, conn);
    _cleanup_buf_ struct buf text = BUF(128);
    if (ok)
        tls_describe(conn->ssl, &text);
    struct buf *e = imap_session_event(s, "tls");
    event_str(e, "result", ok ? buf_str(&text) : S("failed"));
    if (!ok)
        event_str(e, "why", str_z(tls_error_text()));
    imap_session_event_end(s);
    if (!ok) {
        imap_session_close(s, "TLS handshake failed");
        return;
    }
    s->access->count.tls++;
    imap_server_tls_started(s->engine);
    imap_server_set_mechanisms(s->engine, auth_run_bind(&s->auth, conn->ssl));
    imap_session_pump(s);
}

void imap_session_start_tls(struct imap_session *s)
{
    s->tls_pending = false;
    s->conn.tls_scope = str_z(conf_service_name[s->listener->service]);
    if (!s->access->imap_tls.context || conn_start_tls(&s->conn, s->access->imap_tls.context) < 0)
        imap_session_close(s, "TLS is not available");
}

static void read_proxy(struct imap_session *s);

static void on_conn(struct conn *conn)
{
    struct imap_session *s = CONTAINER_OF(conn, struct imap_session, conn);
    if (proxy_in_waits(conn))
        read_proxy(s);
    else
        imap_session_pump(s);
}

static struct imap_session *new_session(struct access_role *a, struct role_listener *l)
{
    struct imap_session *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->access = a;
    s->opened = loop_now(a->role->loop);
    s->listener = l->conf;
    s->config = role_config_ref(a->role->config);
    s->engine = imap_server_new(&a->imap_engine[l->index]);
    s->late = BUF(LATE_MAX);
    s->reply.text = BUF(IMAP_OUTPUT_HIGH * 2);
    s->timer.fire = timer_fire;
    s->conn.on = on_conn;
    s->conn.on_handshake = on_handshake;
    trace_id_new(a->role->env, &s->id);
    s->auth = (struct auth_run){ .client = &a->auth, .session_id = trace_id_str(&s->id), .peer_addr = s->conn.address,
                                 .challenge = auth_challenge, .done = auth_done };
    s->next = a->imap_all;
    if (a->imap_all)
        a->imap_all->prev = s;
    a->imap_all = s;
    a->n_sessions++;
    a->n_imap++;
    return s;
}

/* The client is known. `peer`: the proxy that named it. */
static void begin(struct imap_session *s, str peer)
{
    struct access_role *a = s->access;
    s->trusted = s->auth.trusted = policy_nets_match(&a->nets.trusted, str_z(s->conn.address));
    struct buf *e = imap_session_event(s, "connect");
    event_u64(e, "port", s->conn.port);
    event_str(e, "listener", str_z(conf_service_name[s->listener->service]));
    if (peer.n)
        event_str(e, "peer", peer);
    imap_session_event_end(s);
    imap_session_set_timer(s);
    s->counted = access_admit(a, s->config->conf, str_z(s->conn.address), s->trusted);
    if (!s->counted)
        a->count.refused_connections++;
    if (s->listener->service != CONF_IMAPS)
        imap_session_pump(s);
    else if (s->counted)
        imap_session_start_tls(s);
    else
        imap_session_close(s, "too many connections"); /* not worth a handshake to say so */
}

static void read_proxy(struct imap_session *s)
{
    struct proxy_header header;
    const char *why;
    char peer[sizeof(s->conn.address)];
    memcpy(peer, s->conn.address, sizeof(peer));
    switch (proxy_in_read(&s->conn, &header, &why)) {
    case PROXY_IN_WAIT:
        return;
    case PROXY_IN_BAD:
        imap_session_close(s, why);
        return;
    case PROXY_IN_DONE:
        begin(s, str_z(peer));
        return;
    }
}

void imap_session_open(struct access_role *a, struct role_listener *l, int fd, const struct sockaddr *peer)
{
    struct imap_session *s = l->conf ? new_session(a, l) : NULL;
    bool opened = s && s->engine && conn_open(&s->conn, a->role->loop, fd, peer) == 0;
    if (!opened) {
        if (!s || !s->engine) /* else conn_open has closed it */
            close(fd);
        if (s)
            imap_session_free(s);
        return;
    }
    a->count.connections++;
    if (!policy_nets_match(&a->nets.proxies, str_z(s->conn.address))) {
        begin(s, STR_NONE);
        return;
    }
    proxy_in_begin(&s->conn);
    imap_session_set_timer(s);
}
