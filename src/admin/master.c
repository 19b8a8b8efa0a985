/* The master and its roles: see master.h. A role that dies is started again; all its neighbours get a new socket to it.
 */
#include "admin/master.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "admin/admin.h"

enum { RESTART_FIRST_MS = 50, RESTART_MAX_MS = 5000, STABLE_MS = 10000, GRACE_MS = 500 };
/* After a death of smtp-in by a bug. The client of the message that did it comes again, Postfix after five to ten
 * minutes, Exim and Exchange after ten or fifteen: until then no parser looks at messages. It costs little: role cards
 * makes the cards meanwhile. */
enum { CAREFUL_MS = 1800000 };

/* Who speaks with whom (messages.def needs these and no others). */
static const struct { enum role_id a, b;
} links[] = {
    { ROLE_SMTP_IN, ROLE_STORE }, { ROLE_SMTP_IN, ROLE_AUTH }, { ROLE_ACCESS, ROLE_STORE },
    { ROLE_ACCESS, ROLE_AUTH },   { ROLE_AUTH, ROLE_STORE },
    { ROLE_SMTP_OUT, ROLE_STORE }, { ROLE_SMTP_OUT, ROLE_DNS },    { ROLE_STORE, ROLE_CARDS },
    { ROLE_SMTP_OUT, ROLE_KEYS }, { ROLE_STORE, ROLE_MDA },
};

/* What role mda has instead of a sandbox (mda/mda_role.h): it becomes the users that mail is delivered as. */
static const unsigned mda_capabilities[] = { CAP_SETUID, CAP_SETGID, CAP_KILL };

/* Only where this process could start a program with more rights than its own: a unit with NoNewPrivileges=yes, as the
 * one that is installed has, lets mda be its own user alone. */
static bool keeps_capabilities(const struct master *m, enum role_id id)
{
    return id == ROLE_MDA && m->drop && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0;
}

static bool is_of_mda(unsigned capability)
{
    for (size_t i = 0; i < ARRAY_LEN(mda_capabilities); i++)
        if (mda_capabilities[i] == capability)
            return true;
    return false;
}

/* Before the user is changed: no other capability can come back, not even with a program of root's. */
static void begin_capabilities(void)
{
    for (unsigned c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
        if (!is_of_mda(c))
            prctl(PR_CAPBSET_DROP, c, 0, 0, 0); /* a master that is not root has a small set already, and may not */
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
}

/* After it: they are kept through execve. */
static int end_capabilities(void)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(mda_capabilities); i++)
        data[0].permitted |= 1u << mda_capabilities[i];
    data[0].effective = data[0].inheritable = data[0].permitted;
    if (syscall(SYS_capset, &head, data) < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_LEN(mda_capabilities); i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, mda_capabilities[i], 0, 0) < 0)
            return -errno;
    return 0;
}

/* In the child: become the role's user, keep the control link as descriptor 3, start the program anew. */
static _Noreturn void become_role(struct master *m, enum role_id id, int control_fd)
{
    char name[32];
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(control_fd, ROLE_CONTROL_FD) < 0)
        _exit(EXIT_IO);
    uid_t uid = m->as[id].uid;
    gid_t gid = m->as[id].gid;
    bool keeps = keeps_capabilities(m, id);
    if (keeps)
        begin_capabilities();
    if (m->drop && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)) {
        admin_complain("role %s cannot become its user (run_as): %s", role_name[id], strerror(errno));
        _exit(EXIT_NOPERM);
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* given by systemd to the master alone */
    if (keeps && end_capabilities() < 0)
        admin_complain("role mda cannot keep its capabilities and delivers as its own user alone: %s", strerror(errno));
    umask(0007);
    if (id != ROLE_MDA) /* whose commands would inherit it */
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    snprintf(name, sizeof(name), "%s", role_name[id]);
    char *argv[] = { (char *)"posthouse", (char *)"role", name, NULL };
    execve("/proc/self/exe", argv, environ);
    _exit(EXIT_IO);
}

static void send_fd(struct master_role *r, enum ipc_type type, const struct buf *payload, int fd)
{
    if (fd >= 0)
        ipc_send(&r->link, type, payload, fd);
}

static void send_host_key(struct master *m, struct master_role *r)
{
    _cleanup_close_ int fd = openat(m->data_fd, HOST_KEY, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct buf b = BUF(64);
    pack_str(&b, S("host_key"));
    send_fd(r, IPC_FILE, &b, fd);
    buf_done(&b);
}

static void send_file(struct master *m, struct master_role *r, const char *name, str path)
{
    _cleanup_close_ int fd = master_open_file(m, path);
    struct buf b = BUF(1024);
    pack_str(&b, str_z(name));
    send_fd(r, IPC_FILE, &b, fd);
    buf_done(&b);
}

void master_send_tls(struct master *m, struct master_role *r)
{
    if (r->id != ROLE_SMTP_IN && r->id != ROLE_ACCESS)
        return;
    send_file(m, r, "tls_certificate", m->config.conf->tls_certificate);
    send_file(m, r, "tls_key", m->config.conf->tls_key);
}

static void send_dkim_keys(struct master *m, struct master_role *r)
{
    const struct conf *c = m->config.conf;
    for (size_t i = 0; i < c->n_dkim; i++) {
        _cleanup_buf_ struct buf name = BUF(1024);
        buf_addf(&name, "dkim_key %.*s %.*s%c", STR_ARG(c->dkim[i].domain), STR_ARG(c->dkim[i].selector), '\0');
        send_file(m, r, name.p, c->dkim[i].key);
    }
}

void master_send_config(struct master *m, struct master_role *r)
{
    const struct conf *c = m->config.conf;
    struct buf b = BUF(64);
    master_send_tls(m, r);
    if (r->id == ROLE_AUTH)
        send_file(m, r, "secrets", c->secrets);
    if (r->id == ROLE_SMTP_IN || r->id == ROLE_STORE)
        send_host_key(m, r);
    if (r->id == ROLE_SMTP_OUT) {
        send_file(m, r, "smtp_tls_CAfile", c->smtp_tls_CAfile);
        send_file(m, r, "relay_credentials", c->relay_credentials);
    }
    if (r->id == ROLE_KEYS)
        send_dkim_keys(m, r);
    if (r->id == ROLE_DNS)
        send_file(m, r, "trust_anchor", c->trust_anchor);
    if (r->id == ROLE_DNS && !c->resolver.n)
        send_file(m, r, "resolv_conf", S("/etc/resolv.conf"));
    pack_u64(&b, m->generation);
    send_fd(r, IPC_CONFIG, &b, m->blob_fd);
    ipc_send(&r->link, IPC_APPLY, &b, -1);
    buf_done(&b);
}

static void send_folder(struct master_role *r, const char *name, int fd)
{
    struct buf b = BUF(64);
    pack_str(&b, str_z(name));
    send_fd(r, IPC_FOLDER, &b, fd);
    buf_done(&b);
}

static enum role_id role_of(enum conf_service s)
{
    return conf_service_reads(s) ? ROLE_ACCESS : ROLE_SMTP_IN;
}

static void send_sockets(struct master *m, struct master_role *r)
{
    for (size_t i = 0; i < m->n_sockets; i++) {
        ptrdiff_t at = (ptrdiff_t)m->sockets[i].listener;
        const struct conf *c = m->config.conf;
        if ((size_t)at >= c->n_listeners || role_of(c->listeners[at].service) != r->id)
            continue;
        struct buf b = BUF(64);
        pack_u32(&b, (uint32_t)at);
        send_fd(r, IPC_LISTEN, &b, m->sockets[i].fd);
        buf_done(&b);
    }
}

static void send_peer(struct master_role *to, enum role_id peer, int fd)
{
    struct buf b = BUF(64);
    pack_u8(&b, (uint8_t)peer);
    send_fd(to, IPC_PEER, &b, fd);
    buf_done(&b);
}

static void join(struct master *m, struct master_role *r)
{
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        enum role_id other = links[i].a == r->id ? links[i].b : links[i].b == r->id ? links[i].a : ROLE_MASTER;
        struct master_role *o = &m->roles[other];
        int fd[2];
        if (other == ROLE_MASTER || !o->link.open || ipc_pair(fd) < 0)
            continue;
        send_peer(r, other, fd[0]);
        send_peer(o, r->id, fd[1]);
        close(fd[0]);
        close(fd[1]);
    }
}

static void say_ready(struct master *m)
{
    for (int id = ROLE_MASTER + 1; id < ROLE_COUNT; id++)
        if (m->roles[id].state != MASTER_ROLE_READY)
            return;
    if (m->ready_said)
        return;
    m->ready_said = true;
    _cleanup_buf_ struct buf text = BUF(1u << 18);
    for (size_t i = 0; i < m->config.conf->n_listeners; i++) {
        const struct conf_listener *l = &m->config.conf->listeners[i];
        buf_addf(&text, "%s %s ", i ? "," : "", conf_service_name[l->service]);
        conf_listener_print(&text, l);
    }
    printf("posthouse is ready:%.*s; user %s\n", STR_ARG(buf_str(&text)), m->user);
    fflush(stdout);
}

static int frame(struct ipc_link *link, struct ipc_frame *f)
{
    struct master_role *r = CONTAINER_OF(link, struct master_role, link);
    struct master *m = r->master;
    uint64_t n;
    str fields;
    bool ok;
    switch (f->type) {
    case IPC_READY:
        r->state = MASTER_ROLE_READY;
        say_ready(m);
        return 0;
    case IPC_APPLIED:
        r->applied = unpack_u64(&f->in);
        master_control_applied(m);
        return unpack_end(&f->in) ? 0 : -EBADMSG;
    case IPC_REFUSED:
        n = unpack_u64(&f->in);
        fields = unpack_str(&f->in);
        if (!unpack_end(&f->in))
            return -EBADMSG;
        master_control_refused(m, r->id, n, fields);
        return 0;
    case IPC_STATUS_REPLY:
        n = unpack_u64(&f->in);
        fields = unpack_str(&f->in);
        if (!unpack_end(&f->in))
            return -EBADMSG;
        r->answered = n;
        master_control_status(m, n, fields);
        return 0;
    case IPC_ANSWER:
        n = unpack_u64(&f->in);
        ok = unpack_u8(&f->in);
        fields = unpack_str(&f->in);
        if (!unpack_end(&f->in))
            return -EBADMSG;
        master_control_answer(m, r->id, n, ok, fields);
        return 0;
    default:
        return -EBADMSG;
    }
}

/* A link that broke: the process behind it is of no use any more. */
static void down(struct ipc_link *link)
{
    struct master_role *r = CONTAINER_OF(link, struct master_role, link);
    if (r->pid > 0 && !r->master->stopping)
        loop_after(r->master->loop, &r->grace,
                   GRACE_MS); /* it may be ending by itself, with an exit status of its own */
}

static void grace_over(struct loop_timer *t)
{
    struct master_role *r = CONTAINER_OF(t, struct master_role, grace);
    if (r->pid > 0)
        kill(r->pid, SIGKILL);
}

uint64_t master_careful_ms(const struct master *m)
{
    uint64_t now = loop_now(m->loop);
    return m->careful_until > now ? m->careful_until - now : 0;
}

static void send_careful(struct master *m, struct master_role *r)
{
    uint64_t ms = master_careful_ms(m);
    if (r->id != ROLE_SMTP_IN || !ms)
        return;
    struct buf b = BUF(16);
    pack_u64(&b, ms);
    ipc_send(&r->link, IPC_CAREFUL, &b, -1);
    buf_done(&b);
}

static int start_role(struct master *m, struct master_role *r)
{
    int fd[2];
    int e = ipc_pair(fd);
    if (e < 0)
        return e;
    pid_t pid = fork();
    if (pid == 0)
        become_role(m, r->id, fd[1]);
    close(fd[1]);
    if (pid < 0) {
        close(fd[0]);
        return -errno;
    }
    r->pid = pid;
    r->state = MASTER_ROLE_STARTING;
    r->started_at = loop_now(m->loop);
    r->link.frame = frame;
    r->link.down = down;
    e = ipc_open(&r->link, m->loop, fd[0], ROLE_MASTER, r->id);
    if (e < 0)
        return e;
    _cleanup_close_ int folder = master_role_folder(m, r->id);
    _cleanup_close_ int trace = openat(m->data_fd, "trace", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    master_send_config(m, r);
    send_folder(r, "data", folder);
    if (r->id != ROLE_CARDS && r->id != ROLE_KEYS && r->id != ROLE_MDA) /* which have no folder of their own */
        send_folder(r, "trace", trace);
    if (r->id == ROLE_SMTP_IN || r->id == ROLE_MDA)
        send_folder(r, "drop", m->drop_fd);
    send_sockets(m, r);
    join(m, r);
    send_careful(m, r);
    ipc_send(&r->link, IPC_START, NULL, -1);
    return 0;
}

static void restart_fire(struct loop_timer *t)
{
    struct master_role *r = CONTAINER_OF(t, struct master_role, restart);
    if (!r->master->stopping && start_role(r->master, r) < 0)
        loop_after(r->master->loop, t, RESTART_MAX_MS);
}

int master_start(struct master *m)
{
    for (int id = ROLE_MASTER + 1; id < ROLE_COUNT; id++) {
        struct master_role *r = &m->roles[id];
        *r = (struct master_role){
            .master = m, .id = (enum role_id)id, .restart.fire = restart_fire, .grace.fire = grace_over
        };
        int e = start_role(m, r);
        if (e < 0) {
            admin_complain("role %s could not be started: %s", role_name[id], strerror(-e));
            return e;
        }
    }
    return 0;
}

/* Reception and access first, so that the store places what they leave; then the store; auth last. */
static void stop_next(struct master *m)
{
    static const enum role_id order[][2] = { { ROLE_SMTP_IN, ROLE_ACCESS },
                                             { ROLE_SMTP_OUT, ROLE_MDA },
                                             { ROLE_STORE, ROLE_STORE },
                                             { ROLE_AUTH, ROLE_DNS },
                                             { ROLE_CARDS, ROLE_KEYS } };
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        bool running = false;
        for (size_t j = 0; j < 2; j++) {
            struct master_role *r = &m->roles[order[i][j]];
            if (r->pid <= 0)
                continue;
            running = true;
            if (r->state != MASTER_ROLE_STOPPED)
                ipc_send(&r->link, IPC_STOP, NULL, -1);
            r->state = MASTER_ROLE_STOPPED;
        }
        if (running)
            return;
    }
    loop_stop(m->loop);
}

static void stop_too_long(struct loop_timer *t)
{
    struct master *m = CONTAINER_OF(t, struct master, stop_timer);
    for (int id = 0; id < ROLE_COUNT; id++)
        if (m->roles[id].pid > 0)
            kill(m->roles[id].pid, SIGKILL);
}

void master_stop(struct master *m)
{
    if (m->stopping)
        return;
    m->stopping = true;
    m->stop_timer.fire = stop_too_long;
    loop_after(m->loop, &m->stop_timer, 10000);
    stop_next(m);
}

static void plan_restart(struct master *m, struct master_role *r)
{
    uint64_t lived = loop_now(m->loop) - r->started_at;
    r->restarts++;
    uint64_t wait =
        lived > STABLE_MS ? 0 : MIN((uint64_t)RESTART_FIRST_MS << MIN(r->restarts, 7u), (uint64_t)RESTART_MAX_MS);
    loop_after(m->loop, &r->restart, wait);
}

/* Signals by which a process ends that has made a mistake, and nobody else's doing. */
static bool is_bug(int status)
{
    static const int bugs[] = { SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS };
    for (size_t i = 0; WIFSIGNALED(status) && i < ARRAY_LEN(bugs); i++)
        if (WTERMSIG(status) == bugs[i])
            return true;
    return false;
}

/* It may have been a message, which would end the next process too when it comes again. */
static void note_bug(struct master *m, struct master_role *r)
{
    r->bugs++;
    if (r->id != ROLE_SMTP_IN || m->stopping)
        return;
    m->careful_until = loop_now(m->loop) + CAREFUL_MS;
    struct buf *e = events_begin(&m->events, EVENT_WARN, "careful");
    event_str(e, "name", str_z(role_name[r->id]));
    event_u64(e, "seconds", CAREFUL_MS / 1000);
    event_str(e, "text", S("it died of a bug, perhaps of a message: the next one receives without making cards"));
    events_end(&m->events);
}

static void role_died(struct master *m, struct master_role *r, int status)
{
    bool was_ready = r->state == MASTER_ROLE_READY;
    struct buf *e = events_begin(&m->events, m->stopping ? EVENT_INFO : EVENT_ERROR, "role_ended");
    event_str(e, "name", str_z(role_name[r->id]));
    event_u64(e, "pid", (uint64_t)r->pid);
    event_u64(e, "signal", WIFSIGNALED(status) ? (uint64_t)WTERMSIG(status) : 0);
    event_u64(e, "status", WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 0);
    events_end(&m->events);
    if (is_bug(status))
        note_bug(m, r);
    ipc_close(&r->link);
    master_control_gone(m, r);
    r->asked = r->answered = 0;
    loop_cancel(m->loop, &r->grace);
    r->pid = 0;
    r->state = MASTER_ROLE_DOWN;
    if (m->stopping) {
        stop_next(m);
    } else if (!was_ready && !m->ready_said) {
        admin_complain("role %s could not start; its last words are above", role_name[r->id]);
        m->status = EXIT_CONFIG;
        master_stop(m);
    } else {
        plan_restart(m, r);
    }
}

void master_reap(struct master *m)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (int id = 0; id < ROLE_COUNT; id++)
            if (m->roles[id].pid == pid)
                role_died(m, &m->roles[id], status);
}
