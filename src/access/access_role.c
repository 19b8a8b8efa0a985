/* Role access: see access_role.h. */
#include "access/access_role.h"
#include <errno.h>
#include "access/pop3_session.h"

enum { CLIENTS_MAX = 100000 };

static struct access_role *self(struct role *r) { return r->self; }

static void turn_end(struct loop_turn *t)
{
    struct access_role *a = CONTAINER_OF(t, struct access_role, turn);
    while (a->closed) {
        struct pop3_session *s = a->closed;
        a->closed = s->next_closed;
        pop3_session_free(s);
    }
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
    struct buf b = BUF(256);
    pack_str(&b, session);
    ipc_send(role_peer(c->role, ROLE_STORE), IPC_MAILDROP_CLOSE, &b, -1);
    buf_done(&b);
}

static int configure(struct role *r)
{
    struct access_role *a = self(r);
    const struct conf *c = r->config->conf;
    a->role = a->auth.role = r;
    a->auth.late = forget_session;
    int e = read_nets(a, r);
    for (size_t i = 0; e == 0 && i < c->n_listeners && i < ROLE_LISTENERS_MAX; i++)
        a->engine[i] = (struct pop3_server_config){
            .hostname = c->hostname,
            .stls = c->listeners[i].service != CONF_POP3S && a->tls.context,
            .auth_mechanisms = S(SASL_MECHANISMS),
            .line_max = 255,
            .errors_max = (uint32_t)c->smtpd_hard_error_limit,
            .utf8 = true,
            .expire_never = true,
        };
    return e;
}

static int file(struct role *r, str name, int fd)
{
    return tls_files_take(&self(r)->tls, r, name, fd);
}

static int start(struct role *r)
{
    struct access_role *a = self(r);
    uint8_t key[16];
    r->env->random(key, sizeof(key));
    map_init(&a->clients, CLIENTS_MAX, key);
    event_flood_init(&a->flood, key);
    a->turn.end = turn_end;
    loop_at_turn_end(r->loop, &a->turn);
    return 0;
}

static void accept_client(struct role *r, struct role_listener *l, int fd, const struct sockaddr *peer)
{
    pop3_session_open(self(r), l, fd, peer);
}

static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    struct access_role *a = self(r);
    return peer == ROLE_AUTH ? auth_client_frame(&a->auth, f) : pop3_maildrop_frame(a, f);
}

static void peer_down(struct role *r, enum role_id peer)
{
    struct access_role *a = self(r);
    if (peer == ROLE_AUTH)
        auth_client_down(&a->auth);
    else if (peer == ROLE_STORE)
        pop3_maildrop_store_down(a);
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
}

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
    loop_stop(r->loop);
}

static const struct role_ops ops = { .id = ROLE_ACCESS,
                                     .prepare = tls_prepare,
                                     .start = start,
                                     .configure = configure,
                                     .file = file,
                                     .accept = accept_client,
                                     .frame = frame,
                                     .peer_down = peer_down,
                                     .status = status,
                                     .stop = stop };

int access_role_run(void)
{
    static struct access_role a;
    a.arena = ARENA(CONF_MEMORY_MAX);
    a.tls.alpn = "pop3";
    return role_run(&ops, &a);
}
