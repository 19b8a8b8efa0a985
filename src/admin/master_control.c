/* The control socket's questions: reload (answered when every role has the new generation) and status (gathered from
 * all roles). */
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "admin/control.h"
#include "admin/master.h"

enum { PATIENCE_MS = 8000, ROLE_PATIENCE_MS = 60000 }; /* the second: a plan may wait for the DNS */

static void finish(struct control_client *c, bool ok)
{
    struct master *m = c->master;
    struct buf b = BUF(CONTROL_ANSWER_MAX + 16);
    pack_u8(&b, ok);
    pack_str(&b, str_first(buf_str(&c->text), CONTROL_ANSWER_MAX));
    send(c->io.fd, b.p, b.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_done(&b);
    for (struct control_client **at = &m->clients; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    loop_unwatch(m->loop, &c->io);
    loop_cancel(m->loop, &c->timer);
    close(c->io.fd);
    buf_done(&c->text);
    free(c);
}

static bool all_applied(const struct master *m, uint64_t generation)
{
    for (int id = ROLE_MASTER + 1; id < ROLE_COUNT; id++)
        if (m->roles[id].applied < generation)
            return false;
    return true;
}

void master_control_applied(struct master *m)
{
    for (struct control_client *c = m->clients, *next; c; c = next) {
        next = c->next;
        if (c->generation && all_applied(m, c->generation))
            finish(c, true);
    }
}

void master_control_refused(struct master *m, enum role_id role, uint64_t generation, str why)
{
    struct buf *e = events_begin(&m->events, EVENT_ERROR, "reload_refused");
    event_u64(e, "generation", generation);
    event_str(e, "by", str_z(role_name[role]));
    event_str(e, "why", why);
    events_end(&m->events);
    for (struct control_client *c = m->clients, *next; c; c = next) {
        next = c->next;
        if (c->generation != generation)
            continue;
        buf_addf(&c->text,
                 "role %s refused the new configuration: %.*s. It goes on with the one it had, roles that did not "
                 "refuse it use the new one.",
                 role_name[role], STR_ARG(why));
        finish(c, false);
    }
}

void master_control_status(struct master *m, uint64_t request, str fields)
{
    for (struct control_client *c = m->clients, *next; c; c = next) {
        next = c->next;
        if (c->request != request)
            continue;
        buf_add(&c->text, fields);
        buf_addc(&c->text, '\n');
        if (--c->outstanding == 0)
            finish(c, true);
        return;
    }
}

void master_control_answer(struct master *m, enum role_id from, uint64_t request, bool ok, str text)
{
    for (struct control_client *c = m->clients; c; c = c->next)
        if (c->asks == from && c->request == request) {
            buf_add(&c->text, text);
            finish(c, ok);
            return;
        }
}

void master_control_gone(struct master *m, const struct master_role *r)
{
    for (struct control_client *c = m->clients, *next; c; c = next) {
        next = c->next;
        if ((c->compacting && r->id == ROLE_STORE) || (c->asks && c->asks == r->id))
            finish(c, false);
        else if (!c->compacting && !c->asks && c->request > r->answered && c->request <= r->asked &&
                 --c->outstanding == 0)
            finish(c, true);
    }
}

static void too_long(struct loop_timer *t)
{
    struct control_client *c = CONTAINER_OF(t, struct control_client, timer);
    if (c->generation)
        buf_add(&c->text, S("not every role took the new configuration in time."));
    finish(c, c->request != 0 && !c->asks);
}

static void own_fields(struct master *m, struct buf *out)
{
    event_str(out, "role", S("master"));
    event_u64(out, "pid", (uint64_t)getpid());
    event_u64(out, "generation", m->generation);
    event_u64(out, "uptime_s", (env_system.wall_us() - m->started_us) / 1000000);
    event_str(out, "user", str_z(m->user));
    event_str(out, "configuration", str_z(m->config_path));
    for (int id = ROLE_MASTER + 1; id < ROLE_COUNT; id++) {
        char key[48];
        snprintf(key, sizeof(key), "restarts_%s", role_name[id]);
        event_u64(out, key, m->roles[id].restarts);
    }
    event_u64(out, "bugs_smtp-in", m->roles[ROLE_SMTP_IN].bugs);
    event_u64(out, "careful_s", (master_careful_ms(m) + 999) / 1000);
    for (size_t i = 0; i < m->config.conf->n_listeners; i++) {
        const struct conf_listener *l = &m->config.conf->listeners[i];
        _cleanup_buf_ struct buf text = BUF(256);
        buf_addf(&text, "%s ", conf_service_name[l->service]);
        conf_listener_print(&text, l);
        event_str(out, "listener", buf_str(&text));
    }
    buf_addc(out, '\n');
}

static void begin_status(struct master *m, struct control_client *c)
{
    c->request = ++m->last_request;
    own_fields(m, &c->text);
    struct buf b = BUF(64);
    pack_u64(&b, c->request);
    for (int id = ROLE_MASTER + 1; id < ROLE_COUNT; id++)
        if (m->roles[id].link.open && ipc_send(&m->roles[id].link, IPC_STATUS, &b, -1) == 0) {
            m->roles[id].asked = c->request;
            c->outstanding++;
        }
    buf_done(&b);
    if (!c->outstanding)
        finish(c, true);
}

/* Answered when the store has ended its pass. */
static void begin_compact(struct master *m, struct control_client *c, bool now)
{
    c->request = ++m->last_request;
    struct buf b = BUF(64);
    pack_u64(&b, c->request);
    pack_u8(&b, now);
    if (m->roles[ROLE_STORE].link.open && ipc_send(&m->roles[ROLE_STORE].link, IPC_COMPACT, &b, -1) == 0) {
        c->outstanding = 1;
        c->compacting = true;
        loop_cancel(m->loop, &c->timer); /* it takes as long as it takes; the client may leave */
    }
    buf_done(&b);
    if (!c->outstanding)
        finish(c, false);
}

static void begin_question(struct master *m, struct control_client *c, uint8_t role, str question)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    c->request = ++m->last_request;
    pack_u64(&b, c->request);
    pack_str(&b, question);
    if (role > ROLE_MASTER && role < ROLE_COUNT && m->roles[role].link.open &&
        ipc_send(&m->roles[role].link, IPC_ASK, &b, -1) == 0)
        c->asks = (enum role_id)role;
    buf_done(&b);
    if (!c->asks)
        finish(c, false);
    else
        loop_after(m->loop, &c->timer, ROLE_PATIENCE_MS);
}

/* Listeners are bound at start; a reload that names others says so instead of doing half of it. */
static bool same_listeners(const struct conf *a, const struct conf *b)
{
    bool same = a->n_listeners == b->n_listeners;
    for (size_t i = 0; same && i < a->n_listeners; i++) {
        const struct conf_listener *l = &b->listeners[i];
        char address[CONF_ENDPOINT_MAX];
        snprintf(address, sizeof(address), "%.*s", STR_ARG(l->address));
        same = role_find_listener(a, l->service, address, l->port) == (ptrdiff_t)i;
    }
    return same;
}

static int compile_next(struct master *m, struct buf *out_error)
{
    _cleanup_close_ int fd = -1;
    struct compiled next;
    int r = compile_in_child(m->config_path, m->generation + 1, &fd, out_error);
    if (r == 0)
        r = compiled_open(fd, &next);
    if (r < 0)
        return r;
    if (!same_listeners(m->config.conf, next.conf) ||
        !str_eq(m->config.conf->data_directory, next.conf->data_directory)) {
        buf_add(out_error, S("the `listen` statements or data_directory have changed; they take effect at the next "
                             "start. Nothing was changed now."));
        compiled_close(&next);
        return -EBUSY;
    }
    compiled_close(&m->config);
    m->config = next;
    close(m->blob_fd);
    m->blob_fd = TAKE_FD(fd);
    m->generation++;
    return 0;
}

void master_reload(struct master *m, struct control_client *who)
{
    struct buf error = BUF(8192);
    int r = compile_next(m, &error);
    struct buf *e = events_begin(&m->events, r < 0 ? EVENT_ERROR : EVENT_INFO, r < 0 ? "reload_refused" : "reload");
    event_u64(e, "generation", m->generation);
    if (r < 0)
        event_str(e, "why", error.n ? buf_str(&error) : S("no memory or no processes"));
    events_end(&m->events);
    for (int id = ROLE_MASTER + 1; r == 0 && id < ROLE_COUNT; id++)
        if (m->roles[id].link.open)
            master_send_config(m, &m->roles[id]);
    if (who) {
        who->generation = m->generation;
        if (r < 0) {
            buf_add(&who->text, error.n ? buf_str(&error) : S("no memory or no processes"));
            buf_add(&who->text, S(" The server goes on with the configuration it had."));
            finish(who, false);
        }
    }
    buf_done(&error);
}

static void client_ready(struct loop_io *io, uint32_t events)
{
    struct control_client *c = CONTAINER_OF(io, struct control_client, io);
    char question[CONTROL_QUESTION_MAX];
    (void)events;
    ssize_t n = recv(io->fd, question, sizeof(question), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 1 || c->request || c->generation)
        finish(c, false);
    else if (question[0] == CONTROL_ROLE && n > 1)
        begin_question(c->master, c, (uint8_t)question[1], str_of(question + 2, (size_t)n - 2));
    else if (n != 1)
        finish(c, false);
    else if (question[0] == CONTROL_STATUS)
        begin_status(c->master, c);
    else if (question[0] == CONTROL_RELOAD)
        master_reload(c->master, c);
    else if (question[0] == CONTROL_COMPACT || question[0] == CONTROL_COMPACT_NOW)
        begin_compact(c->master, c, question[0] == CONTROL_COMPACT_NOW);
    else
        finish(c, false);
}

static void control_ready(struct loop_io *io, uint32_t events)
{
    struct master *m = CONTAINER_OF(io, struct master, control_io);
    (void)events;
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct control_client *c = fd < 0 ? NULL : calloc(1, sizeof(*c));
    if (!c) {
        if (fd >= 0)
            close(fd);
        return;
    }
    *c = (struct control_client){ .io = { .fd = fd, .ready = client_ready }, .master = m, .timer.fire = too_long,
                                  .text = BUF(CONTROL_ANSWER_MAX), .next = m->clients };
    m->clients = c;
    loop_after(m->loop, &c->timer, PATIENCE_MS);
    if (loop_watch(m->loop, &c->io, EPOLLIN) < 0)
        finish(c, false);
}

int master_control_open(struct master *m)
{
    m->control_io.ready = control_ready;
    int r = control_listen(m->data_fd, m->drop ? m->uid : (unsigned)-1, &m->control_io.fd);
    return r < 0 ? r : loop_watch(m->loop, &m->control_io, EPOLLIN);
}
