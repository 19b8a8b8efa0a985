/* The frame around every role: see role.h. */
#include "io/role.h"
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
    ACCEPTS_A_TURN = 64,
    ACCEPT_REST_MS = 100,
    LONELY_MS = 15000,
    SMTP_SEND_BUFFER = 16384,
    READ_UNSENT_MAX = 524288,
    REFUSAL_MAX = 4096
};

struct role_config *role_config_ref(struct role_config *c)
{
    c->refs++;
    return c;
}

void role_config_unref(struct role_config *c)
{
    if (!c || --c->refs)
        return;
    arena_done(&c->arena);
    if (c->map)
        munmap(c->map, c->map_size);
    free(c);
}

static void unref_config(struct role_config **c) { role_config_unref(*c); }

static int read_config(uint64_t generation, int fd, struct role_config **out)
{
    _cleanup_(unref_config) struct role_config *c = calloc(1, sizeof(*c));
    struct conf_error error;
    struct stat st;
    if (!c)
        return -ENOMEM;
    c->refs = 1;
    c->generation = generation;
    c->arena = ARENA(CONF_MEMORY_MAX);
    if (fstat(fd, &st) < 0)
        return -errno;
    c->map_size = (size_t)st.st_size;
    c->map = mmap(NULL, c->map_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (c->map == MAP_FAILED) {
        c->map = NULL;
        return -errno;
    }
    struct unpack u = UNPACK(str_of(c->map, c->map_size));
    str bundle = unpack_str(&u), directory = unpack_str(&u);
    if (!unpack_end(&u))
        return -EBADMSG;
    int r = conf_parse(&c->arena, bundle, &c->conf, &error);
    if (r == 0)
        r = directory_open(directory, &c->directory);
    if (r < 0)
        return r;
    *out = TAKE(c);
    return 0;
}

static void watch_listeners(struct role *r, bool on)
{
    r->accept_paused = !on;
    for (size_t i = 0; i < r->n_listeners; i++) {
        if (on)
            loop_watch(r->loop, &r->listeners[i].io, EPOLLIN);
        else
            loop_unwatch(r->loop, &r->listeners[i].io);
    }
}

void role_pause_accept(struct role *r, bool pause)
{
    watch_listeners(r, !pause);
}

static void rest_over(struct loop_timer *t)
{
    struct role_listener *l = CONTAINER_OF(t, struct role_listener, rest);
    if (!l->role->accept_paused)
        loop_watch(l->role->loop, &l->io, EPOLLIN);
}

/* The connection stays in the backlog and the listener readable: without a rest the loop would spin on it. */
static void rest_if_short(struct role_listener *l, int error)
{
    if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM)
        return;
    if (loop_after(l->role->loop, &l->rest, ACCEPT_REST_MS) == 0)
        loop_unwatch(l->role->loop, &l->io);
}

static void accept_ready(struct loop_io *io, uint32_t events)
{
    struct role_listener *l = CONTAINER_OF(io, struct role_listener, io);
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN && io->added; i++) {
        struct sockaddr_storage peer;
        socklen_t n = sizeof(peer);
        int fd = accept4(io->fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            rest_if_short(l, errno);
            return;
        }
        l->role->ops->accept(l->role, l, fd, (struct sockaddr *)&peer);
    }
}

/* How much of what a client does not read the kernel holds; connections have it from their listening socket. Replies of
 * SMTP are short. For POP3 and IMAP only what was not sent yet is bounded, so that a long way to the client costs no
 * speed. */
static void bound_output(int fd, enum conf_service service)
{
    int reply = SMTP_SEND_BUFFER, unsent = READ_UNSENT_MAX;
    if (conf_service_reads(service))
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    else
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &reply, sizeof(reply));
}

/* Comes after the generation that names it. */
static int add_listener(struct role *r, struct ipc_frame *f)
{
    uint32_t index = unpack_u32(&f->in);
    if (!unpack_end(&f->in) || f->fd < 0 || r->n_listeners == ROLE_LISTENERS_MAX || !r->config ||
        index >= r->config->conf->n_listeners)
        return -EBADMSG;
    const struct conf_listener *c = &r->config->conf->listeners[index];
    struct role_listener *l = &r->listeners[r->n_listeners++];
    *l = (struct role_listener){ .io = { .fd = TAKE_FD(f->fd), .ready = accept_ready },
                                 .rest = { .fire = rest_over },
                                 .role = r,
                                 .service = c->service,
                                 .port = c->port,
                                 .index = index,
                                 .conf = c };
    memcpy(l->address, c->address.p, MIN(c->address.n, sizeof(l->address) - 1));
    bound_output(l->io.fd, l->service);
    return 0;
}

ptrdiff_t role_find_listener(const struct conf *c, enum conf_service service, const char *address, uint16_t port)
{
    for (size_t i = 0; i < c->n_listeners; i++)
        if (c->listeners[i].service == service && c->listeners[i].port == port &&
            str_eq(c->listeners[i].address, str_z(address)))
            return (ptrdiff_t)i;
    return -1;
}

static void bind_listeners(struct role *r)
{
    for (size_t i = 0; i < r->n_listeners; i++) {
        struct role_listener *l = &r->listeners[i];
        ptrdiff_t at = role_find_listener(r->config->conf, l->service, l->address, l->port);
        l->conf = at < 0 ? NULL : &r->config->conf->listeners[at];
        l->index = at < 0 ? 0 : (uint32_t)at;
    }
}

static void set_levels(struct role *r)
{
    event_level_parse(r->config->conf->log_level, &r->events.log_level);
}

void role_refuse(struct role *r, str why)
{
    buf_clear(&r->refusal);
    buf_add(&r->refusal, str_first(why, REFUSAL_MAX));
}

static void say_refused(struct role *r, uint64_t generation, int e)
{
    struct buf b = BUF(REFUSAL_MAX + 64);
    pack_u64(&b, generation);
    pack_str(&b, r->refusal.n ? buf_str(&r->refusal) : str_z(strerror(-e)));
    ipc_send(&r->master, IPC_REFUSED, &b, -1);
    buf_done(&b);
}

/* Puts the announced generation in force, or keeps the old one if the role refuses it. */
static int apply(struct role *r, uint64_t generation)
{
    if (!r->next_config || r->next_config->generation != generation)
        return -EBADMSG;
    struct role_config *old = r->config;
    r->config = TAKE(r->next_config);
    buf_done(&r->refusal);
    r->refusal = BUF(REFUSAL_MAX);
    int e = r->ops->configure ? r->ops->configure(r) : 0;
    if (e < 0) {
        role_config_unref(r->config);
        r->config = old;
        if (old)
            say_refused(r, generation, e);
        return old ? 0 : e;
    }
    role_config_unref(old);
    set_levels(r);
    bind_listeners(r);
    struct buf b = BUF(64);
    pack_u64(&b, generation);
    ipc_send(&r->master, IPC_APPLIED, &b, -1);
    buf_done(&b);
    return 0;
}

/* Closes the sandbox at the first neighbour or at the start: before a byte of anyone but the master is read, and before
 * the role starts threads. */
static int close_sandbox(struct role *r)
{
    if (r->sandbox.closed)
        return 0;
    if (!r->config)
        return -EBADMSG;
    if (r->ops->unconfined) {
        r->sandbox.closed = true;
        return 0;
    }
    struct sandbox_want want = { .role = r->ops->id,
                                 .data_dir = r->data_dir,
                                 .drop_dir = r->drop_dir,
                                 .trace_dir = r->events.trace_dir,
                                 .best_effort = str_eq(r->config->conf->sandbox, S("best-effort")) };
    if (r->ops->prepare)
        r->ops->prepare();
    int e = sandbox_enter(&want, &r->sandbox);
    if (r->sandbox.why) {
        struct buf *b = events_begin(&r->events, e < 0 ? EVENT_ERROR : EVENT_WARN, "sandbox_incomplete");
        event_str(b, "why", str_z(r->sandbox.why));
        if (e < 0)
            event_str(b, "text", S("the role does not start; `sandbox best-effort` in the configuration lets it"));
        events_end(&r->events);
        events_flush(&r->events);
    }
    return e;
}

static int start(struct role *r)
{
    int e = close_sandbox(r);
    if (e == 0)
        e = r->ops->start(r);
    if (e < 0)
        return e;
    r->started = true;
    for (int id = 0; id < ROLE_COUNT; id++)
        ipc_hold(&r->peer[id], false);
    watch_listeners(r, true);
    ipc_send(&r->master, IPC_READY, NULL, -1);
    return 0;
}

static int peer_frame(struct ipc_link *link, struct ipc_frame *f)
{
    struct role *r = CONTAINER_OF(link - link->peer, struct role, peer[0]);
    return r->stopping ? 0 : r->ops->frame(r, link->peer, f); /* what it speaks of may be closed already */
}

/* The master brings a neighbour that died back much sooner. If a link broke between two that live, nobody joins them
 * again: this role ends, and the master starts it with new links. */
static void too_lonely(struct loop_timer *t)
{
    struct role *r = CONTAINER_OF(t, struct role, lonely);
    for (int id = 0; id < ROLE_COUNT && !r->stopping; id++)
        if (r->peer[id].loop && !r->peer[id].open) {
            events_say(&r->events, EVENT_ERROR, "neighbour_missing", str_z(role_name[id]));
            loop_stop(r->loop);
            return;
        }
}

static void peer_down(struct ipc_link *link)
{
    struct role *r = CONTAINER_OF(link - link->peer, struct role, peer[0]);
    r->lonely.fire = too_lonely;
    loop_after(r->loop, &r->lonely, LONELY_MS);
    if (r->started && !r->stopping && r->ops->peer_down)
        r->ops->peer_down(r, link->peer);
}

static int add_peer(struct role *r, struct ipc_frame *f)
{
    uint8_t id = unpack_u8(&f->in);
    if (!unpack_end(&f->in) || f->fd < 0 || id >= ROLE_COUNT || id == ROLE_MASTER)
        return -EBADMSG;
    int e = close_sandbox(r);
    if (e < 0 || r->stopping)
        return e;
    struct ipc_link *link = &r->peer[id];
    if (link->open) {
        ipc_close(link);
        peer_down(link);
    }
    link->frame = peer_frame;
    link->down = peer_down;
    e = ipc_open(link, r->loop, TAKE_FD(f->fd), r->ops->id, (enum role_id)id);
    if (e == 0 && !r->started)
        ipc_hold(link, true); /* a neighbour may speak before this role has what it needs to answer */
    if (e == 0 && r->started && r->ops->peer_up)
        r->ops->peer_up(r, (enum role_id)id);
    return e;
}

static int add_folder(struct role *r, struct ipc_frame *f)
{
    str name = unpack_str(&f->in);
    if (!unpack_end(&f->in) || f->fd < 0)
        return -EBADMSG;
    if (str_eq(name, S("trace"))) {
        const struct conf *c = r->config ? r->config->conf : NULL;
        events_set_trace(&r->events, TAKE_FD(f->fd), c ? c->trace_size / (ROLE_COUNT - 1) : 64 << 20,
                         c ? c->trace_age : 1209600000);
        return 0;
    }
    int *dir = str_eq(name, S("drop")) ? &r->drop_dir : &r->data_dir;
    if (*dir >= 0)
        close(*dir);
    *dir = TAKE_FD(f->fd);
    return 0;
}

void role_answer(struct role *r, uint64_t request, bool ok, str text)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, request);
    pack_u8(&b, ok);
    pack_str(&b, str_first(text, ROLE_ANSWER_MAX));
    ipc_send(&r->master, IPC_ANSWER, &b, -1);
    buf_done(&b);
}

static int send_status(struct role *r, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    struct buf fields = BUF(16384), b = BUF(IPC_FRAME_MAX);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    event_str(&fields, "role", str_z(role_name[r->ops->id]));
    event_u64(&fields, "pid", (uint64_t)getpid());
    event_u64(&fields, "generation", r->config ? r->config->generation : 0);
    event_str(&fields, "seccomp", r->sandbox.seccomp ? S("on") : S("off"));
    event_u64(&fields, "landlock", (uint64_t)r->sandbox.landlock);
    if (r->started && !r->stopping)
        r->ops->status(r, &fields);
    pack_u64(&b, request);
    pack_str(&b, buf_str(&fields));
    ipc_send(&r->master, IPC_STATUS_REPLY, &b, -1);
    buf_done(&fields);
    buf_done(&b);
    return 0;
}

static void stop(struct role *r)
{
    if (r->stopping)
        return;
    r->stopping = true;
    watch_listeners(r, false);
    if (r->started && r->ops->stop)
        r->ops->stop(r);
    else
        loop_stop(r->loop);
}

static int master_frame(struct ipc_link *link, struct ipc_frame *f)
{
    struct role *r = CONTAINER_OF(link, struct role, master);
    uint64_t generation;
    str name;
    switch (f->type) {
    case IPC_CONFIG:
        generation = unpack_u64(&f->in);
        role_config_unref(TAKE(r->next_config));
        return f->fd < 0 ? -EBADMSG : read_config(generation, f->fd, &r->next_config);
    case IPC_APPLY:
        return apply(r, unpack_u64(&f->in));
    case IPC_FOLDER:
        return add_folder(r, f);
    case IPC_FILE:
        name = unpack_str(&f->in);
        return f->fd < 0 || !r->ops->file ? 0 : r->ops->file(r, name, f->fd);
    case IPC_LISTEN:
        return add_listener(r, f);
    case IPC_PEER:
        return add_peer(r, f);
    case IPC_START:
        return start(r);
    case IPC_STATUS:
        return send_status(r, f);
    case IPC_STOP:
        stop(r);
        return 0;
    default:
        /* what is for this role alone */
        return r->started || f->type == IPC_CAREFUL ? r->ops->frame(r, ROLE_MASTER, f) : -EBADMSG;
    }
}

static void master_down(struct ipc_link *link)
{
    struct role *r = CONTAINER_OF(link, struct role, master);
    stop(r);
}

/* A master that dies takes its roles with it; big blocks stay with malloc, since a page fault is dear. */
static void settle_process(const struct role_ops *ops)
{
    char name[16];
    snprintf(name, sizeof(name), "ph-%s", role_name[ops->id]);
    prctl(PR_SET_NAME, name);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!ops->unconfined)
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole terminal group; the master tells us in order */
    mallopt(M_MMAP_THRESHOLD, 256 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    mallopt(M_ARENA_MAX, 1);
}

int role_run(const struct role_ops *ops, void *self)
{
    static struct role role;
    struct role *r = &role;
    settle_process(ops);
    *r = (struct role){ .ops = ops, .env = &env_system, .data_dir = -1, .drop_dir = -1, .self = self };
    if (loop_new(r->env, &r->loop) < 0)
        return 1;
    events_init(&r->events, r->loop, role_name[ops->id]);
    r->master.frame = master_frame;
    r->master.down = master_down;
    if (ipc_open(&r->master, r->loop, ROLE_CONTROL_FD, ops->id, ROLE_MASTER) < 0)
        return 1;
    int e = loop_run(r->loop);
    events_done(&r->events);
    return e < 0 ? 1 : 0;
}
