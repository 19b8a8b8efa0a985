/* A renewed certificate is in force without a restart: the folders of tls_certificate and tls_key are watched, and when
 * one of the files has been replaced or written, both go to the roles that speak TLS. A pair that does not fit yet (the
 * other file comes a moment later) is refused by the role, which keeps the old one. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include "admin/master.h"

enum { SETTLE_MS = 300, PATH_MAX_BYTES = 4096 };

static bool names(str path, str file)
{
    ptrdiff_t slash = str_rchr(path, '/');
    return str_eq(slash < 0 ? path : str_from(path, (size_t)slash + 1), file);
}

static void settled(struct loop_timer *t)
{
    struct master *m = CONTAINER_OF(t, struct master, watch_timer);
    events_say(&m->events, EVENT_INFO, "certificate",
               S("the certificate or key file has changed; new handshakes use the new pair"));
    for (int id = ROLE_MASTER + 1; id < ROLE_COUNT; id++)
        if (m->roles[id].link.open)
            master_send_tls(m, &m->roles[id]);
}

static void ready(struct loop_io *io, uint32_t events)
{
    struct master *m = CONTAINER_OF(io, struct master, watch_io);
    const struct conf *c = m->config.conf;
    union { char bytes[8192]; struct inotify_event align; } b;
    (void)events;
    for (ssize_t n; (n = read(io->fd, b.bytes, sizeof(b.bytes))) > 0;)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const struct inotify_event *)(b.bytes + at);
            str file = str_z(e->len ? e->name : "");
            if (names(c->tls_certificate, file) || names(c->tls_key, file))
                loop_after(m->loop, &m->watch_timer, SETTLE_MS);
            at += (ssize_t)(sizeof(*e) + e->len);
        }
}

static void watch_folder(struct master *m, str path)
{
    char full[PATH_MAX_BYTES];
    bool absolute = path.n && path.p[0] == '/';
    int n = absolute ? snprintf(full, sizeof(full), "%.*s", STR_ARG(path))
                     : snprintf(full, sizeof(full), "/proc/self/fd/%d/%.*s", m->base_fd, STR_ARG(path));
    if (path.n && n > 0 && (size_t)n < sizeof(full))
        inotify_add_watch(m->watch_io.fd, dirname(full), IN_CLOSE_WRITE | IN_MOVED_TO);
}

int master_watch_open(struct master *m)
{
    m->watch_timer.fire = settled;
    m->watch_io = (struct loop_io){ .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .ready = ready };
    if (m->watch_io.fd < 0)
        return -errno;
    watch_folder(m, m->config.conf->tls_certificate);
    watch_folder(m, m->config.conf->tls_key);
    return loop_watch(m->loop, &m->watch_io, EPOLLIN);
}
