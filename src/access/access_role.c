/* Role access: see access_role.h. */
#include "access/access_role.h"
#include <errno.h>
#include "access/imap_session.h"
#include "message/charset.h"

enum { CLIENTS_MAX = 100000, BOX_SWEEP_MS = 30000 };

static struct access_role *self(struct role *r) { return r->self; }

static void turn_end(struct loop_turn *t)
{
    struct access_role *a = CONTAINER_OF(t, struct access_role, turn);
    while (a->closed) {
        struct pop3_session *s = a->closed;
        a->closed = s->next_closed;
        pop3_session_free(s);
    }
    while (a->imap_closed) {
        struct imap_session *s = a->imap_closed;
        a->imap_closed = s->next_closed;
        imap_session_free(s);
    }
    log_writer_flush(&a->log);
}

static uint64_t client_count(const struct access_role *a, str address)
{
    return (uintptr_t)map_get(&a->clients, address);
}

static int count_client(struct access_role *a, str address, int64_t change)
{
    uint64_t n = client_count(a, address) + (uint64_t)change;
    if (n)
        return map_set(&a->clients, address, (void *)(uintptr_t)n, NULL);
    map_take(&a->clients, address);
    return 0;
}

bool access_admit(struct access_role *a, const struct conf *c, str address, bool trusted)
{
    if (a->n_sessions > c->default_process_limit)
        return false;
    if (!trusted && client_count(a, address) >= c->smtpd_client_connection_count_limit)
        return false;
    return count_client(a, address, 1) == 0;
}

void access_leave(struct access_role *a, str address) { count_client(a, address, -1); }

void access_forget_session(struct access_role *a, str session)
{
    struct buf b = BUF(256);
    pack_str(&b, session);
    ipc_send(role_peer(a->role, ROLE_STORE), IPC_MAILDROP_CLOSE, &b, -1);
    buf_done(&b);
}

static int read_nets(struct access_role *a, struct role *r)
{
    struct arena arena = ARENA(CONF_MEMORY_MAX);
    struct smtp_nets nets = { 0 };
    struct policy_error error;
    int e = smtp_policy_nets(&arena, r->config->conf, &nets, &error);
    if (e < 0) {
        role_refuse(r, error.text);
        arena_done(&arena);
        return e;
    }
    arena_done(&a->arena);
    a->arena = arena;
    a->nets = nets;
    return 0;
}

/* Somebody logged in and was gone before the answer came. */
static void forget_session(struct auth_client *c, str session)
{
    access_forget_session(CONTAINER_OF(c, struct access_role, auth), session);
}

static void configure_imap(struct access_role *a, const struct conf *c, size_t i)
{
    a->imap_engine[i] = (struct imap_server_config){
        .hostname = c->hostname,
        .starttls = c->listeners[i].service == CONF_IMAP && a->imap_tls.context,
        .literal_minus = c->imap_literal_minus,
        .compress = true,
        .append_limit = c->message_size_limit,
        .errors_max = (uint32_t)c->smtpd_hard_error_limit,
    };
}

static int configure(struct role *r)
{
    struct access_role *a = self(r);
    const struct conf *c = r->config->conf;
    a->role = a->auth.role = r;
    a->auth.late = forget_session;
    int e = read_nets(a, r);
    for (size_t i = 0; e == 0 && i < c->n_listeners && i < ROLE_LISTENERS_MAX; i++) {
        configure_imap(a, c, i);
        a->engine[i] = (struct pop3_server_config){
            .hostname = c->hostname,
            .stls = c->listeners[i].service != CONF_POP3S && a->tls.context,
            .auth_mechanisms = S(SASL_MECHANISMS),
            .line_max = 255,
            .errors_max = (uint32_t)c->smtpd_hard_error_limit,
            .utf8 = true,
            .expire_never = true,
        };
    }
    return e;
}

static int file(struct role *r, str name, int fd)
{
    int e = tls_files_take(&self(r)->tls, r, name, fd);
    return e < 0 ? e : tls_files_take(&self(r)->imap_tls, r, name, fd);
}

static void forget_box(void *arg, uint64_t id)
{
    struct access_role *a = arg;
    struct buf b = BUF(16);
    pack_u64(&b, id);
    ipc_send(role_peer(a->role, ROLE_STORE), IPC_MAILBOX_FORGET, &b, -1);
    buf_done(&b);
}

static void sweep_boxes(struct loop_timer *t)
{
    struct access_role *a = CONTAINER_OF(t, struct access_role, box_sweep);
    boxes_sweep(&a->boxes, loop_now(a->role->loop));
    loop_after(a->role->loop, t, BOX_SWEEP_MS);
}

static void log_synced(struct log_writer *w) { imap_append_synced(CONTAINER_OF(w, struct access_role, log)); }

static int start(struct role *r)
{
    struct access_role *a = self(r);
    uint8_t key[16];
    r->env->random(key, sizeof(key));
    map_init(&a->clients, CLIENTS_MAX, key);
    event_flood_init(&a->flood, key);
    store_calls_init(&a->calls, r);
    segments_init(&a->segments, r, &a->calls);
    boxes_init(&a->boxes, key, forget_box, a);
    a->turn.end = turn_end;
    loop_at_turn_end(r->loop, &a->turn);
    a->box_sweep.fire = sweep_boxes;
    loop_after(r->loop, &a->box_sweep, BOX_SWEEP_MS);
    a->log.name = S("access");
    a->log.synced = log_synced;
    return log_writer_open(&a->log, r);
}

static void accept_client(struct role *r, struct role_listener *l, int fd, const struct sockaddr *peer)
{
    if (l->service == CONF_IMAP || l->service == CONF_IMAPS)
        imap_session_open(self(r), l, fd, peer);
    else
        pop3_session_open(self(r), l, fd, peer);
}

/* What changed in a mailbox that is looked at here. One that no session has is not to be told of any more. */
static int on_feed(struct access_role *a, struct ipc_frame *f)
{
    uint64_t id = unpack_u64(&f->in);
    str item = unpack_str(&f->in);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    if (!boxes_find(&a->boxes, id)) {
        forget_box(a, id);
        return 0;
    }
    return boxes_feed(&a->boxes, id, item);
}

static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    struct access_role *a = self(r);
    if (peer == ROLE_AUTH)
        return auth_client_frame(&a->auth, f);
    switch (f->type) {
    case IPC_MAILDROP:
    case IPC_EXPUNGED: return pop3_maildrop_frame(a, f);
    case IPC_LOG_APPLIED: return log_writer_applied(&a->log, f);
    case IPC_FEED: return on_feed(a, f);
    case IPC_APPENDED: return imap_append_placed(a, f);
    default: return store_calls_frame(&a->calls, f);
    }
}

static void peer_up(struct role *r, enum role_id peer)
{
    if (peer == ROLE_STORE)
        log_writer_attach(&self(r)->log);
}

/* First whoever waits for the store, then the sessions, which it does not know any more. */
static void store_down(struct access_role *a)
{
    imap_append_store_down(a);
    store_calls_down(&a->calls);
    pop3_maildrop_store_down(a);
    imap_sessions_store_down(a);
    boxes_store_down(&a->boxes);
}

static void peer_down(struct role *r, enum role_id peer)
{
    struct access_role *a = self(r);
    if (peer == ROLE_AUTH)
        auth_client_down(&a->auth);
    else if (peer == ROLE_STORE)
        store_down(a);
}

static void status(struct role *r, struct buf *out)
{
    const struct access_role *a = self(r);
    const struct access_counters *c = &a->count;
    event_u64(out, "sessions", a->n_sessions);
    event_u64(out, "connections", c->connections);
    event_u64(out, "refused_connections", c->refused_connections);
    event_u64(out, "auth_ok", c->auth_ok);
    event_u64(out, "auth_failed", c->auth_failed);
    event_u64(out, "tls_handshakes", c->tls);
    event_u64(out, "retrieved", c->retrieved);
    event_u64(out, "bytes", c->bytes);
    event_u64(out, "deleted", c->deleted);
    event_u64(out, "timeouts", c->timeouts);
    event_u64(out, "damaged", c->damaged);
    event_u64(out, "imap_sessions", a->n_imap);
    event_u64(out, "imap_commands", c->commands);
    event_u64(out, "appended", c->appended);
    event_u64(out, "appended_bytes", c->appended_bytes);
    event_u64(out, "open_mailboxes", a->boxes.by_id.n);
    event_u64(out, "open_messages", a->boxes.n_messages);
    event_u64(out, "backlog_bytes", log_writer_backlog(&a->log));
}

/* Sessions hear of it. What was appended and not yet answered is durable when the log has closed, and will be
 * placed. */
static void stop(struct role *r)
{
    struct access_role *a = self(r);
    for (struct pop3_session *s = a->all, *next; s; s = next) {
        next = s->next;
        if (s->closing)
            continue;
        pop3_server_shutdown(s->engine, S("This host is shutting down"));
        pop3_session_pump(s);
    }
    for (struct imap_session *s = a->imap_all, *next; s; s = next) {
        next = s->next;
        imap_session_leave(s, S("UNAVAILABLE"), S("This host is shutting down"));
        imap_session_close(s, "shutdown");
    }
    log_writer_close(&a->log);
    loop_stop(r->loop);
}

/* What is loaded at its first use otherwise, when the sandbox is closed. */
static void prepare(void)
{
    tls_prepare();
    charset_prepare();
}

static const struct role_ops ops = { .id = ROLE_ACCESS,
                                     .prepare = prepare,
                                     .start = start,
                                     .configure = configure,
                                     .file = file,
                                     .accept = accept_client,
                                     .frame = frame,
                                     .peer_up = peer_up,
                                     .peer_down = peer_down,
                                     .status = status,
                                     .stop = stop };

int access_role_run(void)
{
    static struct access_role a;
    a.arena = ARENA(CONF_MEMORY_MAX);
    a.tls.alpn = "pop3";
    a.imap_tls.alpn = "imap";
    return role_run(&ops, &a);
}
