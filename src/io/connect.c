/* Outgoing connections: see connect.h. */
#include "io/connect.h"
#include <arpa/inet.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "base/cleanup.h"

static int parse_path(str path, union connect_address *out)
{
    union connect_address a = { .local.sun_family = AF_UNIX };
    if (path.n >= sizeof(a.local.sun_path) || str_chr(path, '\0') >= 0)
        return -EINVAL;
    memcpy(a.local.sun_path, path.p, path.n);
    *out = a;
    return 0;
}

int connect_address_parse(str text, uint16_t port, union connect_address *out)
{
    char z[INET6_ADDRSTRLEN] = { 0 };
    union connect_address a = { 0 };
    if (str_starts(text, S("/")))
        return parse_path(text, out);
    if (text.n == 0 || text.n >= sizeof(z) || str_chr(text, '\0') >= 0)
        return -EINVAL;
    memcpy(z, text.p, text.n);
    if (inet_pton(AF_INET, z, &a.v4.sin_addr) == 1) {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons(port);
    } else if (inet_pton(AF_INET6, z, &a.v6.sin6_addr) == 1) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons(port);
    } else {
        return -EINVAL;
    }
    *out = a;
    return 0;
}

static socklen_t size_of(const union connect_address *a)
{
    return a->sa.sa_family == AF_UNIX ? sizeof(a->local) : a->sa.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

/* Leaves the object idle; its descriptor is the caller's. */
static int stop(struct connect *c)
{
    loop_cancel(c->loop, &c->timer);
    loop_unwatch(c->loop, &c->io);
    c->loop = NULL;
    return TAKE_FD(c->io.fd);
}

void connect_cancel(struct connect *c)
{
    if (c->loop)
        close(stop(c));
}

static void ready(struct loop_io *io, uint32_t events)
{
    struct connect *c = CONTAINER_OF(io, struct connect, io);
    int error = 0;
    socklen_t n = sizeof(error);
    (void)events;
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        error = errno;
    int fd = stop(c);
    if (error)
        close(TAKE_FD(fd));
    c->done(c, fd, -error);
}

static void late(struct loop_timer *t)
{
    struct connect *c = CONTAINER_OF(t, struct connect, timer);
    close(stop(c));
    c->done(c, -1, -ETIMEDOUT);
}

int connect_begin(struct connect *c, struct loop *l, const union connect_address *to, str source, uint64_t ms)
{
    union connect_address from;
    _cleanup_close_ int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                                    to->sa.sa_family == AF_UNIX ? 0 : IPPROTO_TCP);
    if (fd < 0)
        return -errno;
    if (source.n > 0) {
        int r = connect_address_parse(source, 0, &from);
        int one = 1;
        if (r < 0 || from.sa.sa_family != to->sa.sa_family)
            return -EINVAL;
        /* the port is chosen with the destination known, so the same one serves many destinations */
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
        if (bind(fd, &from.sa, size_of(&from)) < 0)
            return -errno;
    }
    if (connect(fd, &to->sa, size_of(to)) < 0 && errno != EINPROGRESS)
        return -errno;
    c->io = (struct loop_io){ .fd = fd, .ready = ready };
    c->timer = (struct loop_timer){ .fire = late };
    int r = loop_watch(l, &c->io, EPOLLOUT);
    if (r < 0)
        return r;
    r = loop_after(l, &c->timer, ms);
    if (r < 0) {
        loop_unwatch(l, &c->io);
        return r;
    }
    c->loop = l;
    TAKE_FD(fd);
    return 0;
}
