/* Role smtp-in: listeners, the receive log and its syncs, the links to store and auth. */
#include <errno.h>
#include "message/charset.h"
#include "message/srs.h"
#include "session/drop_pickup.h"

enum { CLIENTS_MAX = 100000, OVER_QUOTA_MAX = 1000000 };

static struct smtp_in *self(struct role *r) { return r->self; }

/* Everything that was appended is durable and answered; what the store has not placed yet it places at its next start.
 */
static void finish(struct smtp_in *in)
{
    for (struct smtp_session *s = in->all; s; s = s->next)
        smtp_intake_drop(s); /* a large message under way has its stream in the log */
    drop_pickup_close(in->drop);
    log_writer_close(&in->log);
    loop_stop(in->role->loop);
}

static void log_synced(struct log_writer *w)
{
    struct smtp_in *in = CONTAINER_OF(w, struct smtp_in, log);
    smtp_intake_synced(in);
    drop_pickup_synced(in->drop);
}

static bool waits(const struct smtp_in *in) { return in->waiting || drop_pickup_busy(in->drop); }

static void log_told(struct log_writer *w)
{
    struct smtp_in *in = CONTAINER_OF(w, struct smtp_in, log);
    if (in->role->stopping && !waits(in))
        finish(in);
}

static void free_session(struct smtp_in *in, struct smtp_session *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        in->all = s->next;
    if (s->next)
        s->next->prev = s->prev;
    in->n_sessions--;
    smtp_envelope_end(s);
    arena_done(&s->tx.arena);
    arena_done(&s->arena);
    buf_done(&s->tls_text);
    smtp_server_free(s->engine);
    smtp_policy_unref(s->policy);
    free(s);
}

static void turn_end(struct loop_turn *t)
{
    struct smtp_in *in = CONTAINER_OF(t, struct smtp_in, turn);
    log_writer_flush(&in->log);
    while (in->closed) {
        struct smtp_session *s = in->closed;
        in->closed = s->next_closed;
        free_session(in, s);
    }
}

static int configure(struct role *r)
{
    struct smtp_in *in = self(r);
    const struct conf *c = r->config->conf;
    struct smtp_policy *policy;
    struct policy_error error = { 0 };
    in->role = in->auth.role = r;
    int e = smtp_policy_new(r->config, &policy, &error);
    if (e < 0) {
        events_say(&r->events, EVENT_ERROR, "configuration_refused", error.text);
        role_refuse(r, error.text);
        return e;
    }
    smtp_policy_unref(in->policy);
    in->policy = policy;
    for (size_t i = 0; i < c->n_listeners && i < ROLE_LISTENERS_MAX; i++) {
        enum conf_service service = c->listeners[i].service;
        in->engine[i] = (struct smtp_server_config){
            .hostname = c->hostname,
            .msa = service == CONF_SUBMISSION || service == CONF_SUBMISSIONS,
            .lmtp = service == CONF_LMTP,
            .starttls = service != CONF_SUBMISSIONS && in->tls.context,
            .auth = service == CONF_SUBMISSION || service == CONF_SUBMISSIONS,
            .auth_mechanisms = S(SASL_MECHANISMS),
            .smtputf8 = true,
            .chunking = true,
            .dsn = true,
            .normalize_newlines = str_eq(c->smtpd_forbid_bare_newline, S("normalize")),
            .limits = { .line_max = 2048,
                        .recipients_max = (uint32_t)c->smtpd_recipient_limit,
                        .errors_max = (uint32_t)c->smtpd_hard_error_limit,
                        .commands_max = (uint32_t)c->smtpd_junk_command_limit,
                        .size_max = c->message_size_limit },
        };
    }
    return 0;
}

bool smtp_in_returns(const struct smtp_in *in, str address)
{
    _cleanup_buf_ struct buf original = BUF(1024);
    int64_t now = (int64_t)(in->role->env->wall_us() / 1000000);
    return in->has_key && srs_reverse(&original, in->key, address, now) == 0;
}

/* The master sends files before the generation that goes with them. */
static int file(struct role *r, str name, int fd)
{
    struct smtp_in *in = self(r);
    if (str_eq(name, S("host_key"))) {
        in->has_key = pread(fd, in->key, sizeof(in->key), 0) == sizeof(in->key);
        return 0;
    }
    return tls_files_take(&self(r)->tls, r, name, fd);
}

static int start(struct role *r)
{
    struct smtp_in *in = self(r);
    uint8_t key[16];
    r->env->random(key, sizeof(key));
    map_init(&in->clients, CLIENTS_MAX, key);
    map_init(&in->over_quota, OVER_QUOTA_MAX, key);
    event_flood_init(&in->flood, key);
    in->turn.end = turn_end;
    loop_at_turn_end(r->loop, &in->turn);
    in->log.name = S("smtp-in");
    in->log.synced = log_synced;
    in->log.told = log_told;
    int e = log_writer_open(&in->log, r);
    if (e == 0)
        drop_pickup_open(in->drop, in, TAKE_FD(r->drop_dir));
    return e;
}

static void accept_client(struct role *r, struct role_listener *l, int fd, const struct sockaddr *peer)
{
    smtp_session_open(self(r), l, fd, peer);
}

uint64_t smtp_in_careful_ms(const struct smtp_in *in)
{
    uint64_t now = loop_now(in->role->loop);
    return in->careful_until > now ? in->careful_until - now : 0;
}

/* A process before this one died of a bug, perhaps of a message, whose client is going to send it again. */
static int be_careful(struct smtp_in *in, struct ipc_frame *f)
{
    uint64_t ms = unpack_u64(&f->in);
    if (!unpack_end(&f->in) || ms > INT64_MAX)
        return -EBADMSG;
    in->careful_until = loop_now(in->role->loop) + ms;
    struct buf *e = events_begin(&in->role->events, EVENT_WARN, "careful");
    event_u64(e, "seconds", ms / 1000);
    event_str(e, "text", S("messages are accepted without a look at their parts; their cards are made later"));
    events_end(&in->role->events);
    return 0;
}

static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    struct smtp_in *in = self(r);
    if (f->type == IPC_CAREFUL)
        return in->role ? be_careful(in, f) : -EBADMSG;
    if (peer == ROLE_AUTH)
        return auth_client_frame(&in->auth, f);
    if (f->type == IPC_OVER_QUOTA)
        return smtp_quota_frame(in, f);
    if (f->type == IPC_DSN_MAKE)
        return smtp_dsn_make(in, f);
    if (f->type != IPC_LOG_APPLIED)
        return -EBADMSG;
    return log_writer_applied(&in->log, f);
}

static void peer_up(struct role *r, enum role_id peer)
{
    struct smtp_in *in = self(r);
    if (peer != ROLE_STORE)
        return;
    smtp_quota_forget(in);
    log_writer_attach(&in->log);
}

static void peer_down(struct role *r, enum role_id peer)
{
    if (peer == ROLE_AUTH)
        auth_client_down(&self(r)->auth);
}

static void status(struct role *r, struct buf *out)
{
    const struct smtp_in *in = self(r);
    const struct smtp_counters *c = &in->count;
    struct receive_log_stats log;
    receive_log_stats(in->log.log, &log);
    event_u64(out, "sessions", in->n_sessions);
    event_u64(out, "connections", c->connections);
    event_u64(out, "refused_connections", c->refused_connections);
    event_u64(out, "messages", c->messages);
    event_u64(out, "bytes", c->bytes);
    event_u64(out, "rejected", c->rejected);
    event_u64(out, "deferred", c->deferred);
    event_u64(out, "tls_handshakes", c->tls);
    event_u64(out, "auth_ok", c->auth_ok);
    event_u64(out, "auth_failed", c->auth_failed);
    event_u64(out, "timeouts", c->timeouts);
    event_u64(out, "careful_s", (smtp_in_careful_ms(in) + 999) / 1000);
    event_u64(out, "picked_up", in->drop->messages);
    event_u64(out, "syncs", log.synced_batches);
    event_u64(out, "backlog_bytes", log_writer_backlog(&in->log));
}

/* Sessions end at their next quiet moment; messages that wait for a sync get their answer first. */
static void stop(struct role *r)
{
    struct smtp_in *in = self(r);
    for (struct smtp_session *s = in->all, *next; s; s = next) {
        next = s->next;
        if (s->closing)
            continue;
        smtp_server_shutdown(s->engine, S("4.3.2"), S("This host is shutting down; try again soon"));
        if (!s->is_waiting)
            smtp_session_pump(s);
    }
    receive_log_flush(in->log.log);
    if (!waits(in))
        finish(in);
}

static void prepare(void)
{
    tls_prepare();
    charset_prepare(); /* cards hold decoded headers */
}

static const struct role_ops ops = {
    .id = ROLE_SMTP_IN, .prepare = prepare, .start = start, .configure = configure, .file = file,
    .accept = accept_client, .frame = frame, .peer_up = peer_up, .peer_down = peer_down, .status = status, .stop = stop,
};

int smtp_in_run(const struct smtp_agent *mta, const struct smtp_agent *msa)
{
    static struct smtp_in in;
    static struct smtp_server_config engines[ROLE_LISTENERS_MAX];
    static struct drop_pickup drop;
    in = (struct smtp_in){ .drop = &drop, .mta = mta, .msa = msa, .engine = engines,
                           .scratch = ARENA(TRANSACTION_MEMORY_MAX) };
    in.waiting_end = &in.waiting;
    in.tls.alpn = "smtp";
    return role_run(&ops, &in);
}
