/* Frames between roles: see ipc.h. */
#include "io/ipc.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

const char *const role_name[ROLE_COUNT] = {
#define ROLE(id, name, doc) name,
#include "io/role.def"
#undef ROLE
};

const char *const ipc_name[IPC_TYPES] = {
#define MESSAGE(id, from, to, fields) #id,
#include "io/messages.def"
#undef MESSAGE
};

static const struct { uint8_t from, to; } routes[IPC_TYPES] = {
#define MESSAGE(id, from, to, fields) { ROLE_##from, ROLE_##to },
#include "io/messages.def"
#undef MESSAGE
};

struct ipc_queued {
    struct ipc_queued *next;
    int fd;
    size_t n;
    char data[];
};

static int watch(struct ipc_link *link)
{
    return loop_watch(link->loop, &link->io, (link->held ? 0 : EPOLLIN) | (link->queue && !link->lazy ? EPOLLOUT : 0));
}

void ipc_hold(struct ipc_link *link, bool hold)
{
    link->held = hold;
    if (link->open)
        watch(link);
}

static void drop_queue(struct ipc_link *link)
{
    while (link->queue) {
        struct ipc_queued *q = link->queue;
        link->queue = q->next;
        if (q->fd >= 0)
            close(q->fd);
        free(q);
    }
    link->queue_end = &link->queue;
    link->queued = link->queued_fds = 0;
    link->lazy = false;
}

void ipc_close(struct ipc_link *link)
{
    if (!link->open)
        return;
    loop_unwatch(link->loop, &link->io);
    close(link->io.fd);
    drop_queue(link);
    link->open = false;
}

static void drop(struct ipc_link *link)
{
    if (!link->open)
        return;
    ipc_close(link);
    if (link->down)
        link->down(link);
}

static int send_now(int fd, str data, int pass_fd)
{
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = { 0 };
    struct iovec iov = { .iov_base = (char *)data.p, .iov_len = data.n };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (pass_fd >= 0) {
        m.msg_control = control.space;
        m.msg_controllen = sizeof(control.space);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int send_queue(struct ipc_link *link)
{
    link->lazy = false;
    while (link->queue) {
        struct ipc_queued *q = link->queue;
        int r = send_now(link->io.fd, str_of(q->data, q->n), q->fd);
        if (r == -EAGAIN)
            return watch(link);
        if (r < 0)
            return r;
        link->queue = q->next;
        link->queued -= q->n;
        link->queued_fds -= q->fd >= 0;
        if (q->fd >= 0)
            close(q->fd);
        free(q);
    }
    link->queue_end = &link->queue;
    return watch(link);
}

static int enqueue(struct ipc_link *link, str data, int fd)
{
    if (link->queued + data.n > IPC_QUEUE_MAX || (fd >= 0 && link->queued_fds >= IPC_QUEUE_FDS_MAX))
        return -ENOBUFS;
    struct ipc_queued *q = malloc(sizeof(*q) + data.n);
    if (!q)
        return -ENOMEM;
    *q = (struct ipc_queued){ .fd = -1, .n = data.n };
    if (fd >= 0 && (q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0) {
        int r = -errno;
        free(q);
        return r;
    }
    memcpy(q->data, data.p, data.n);
    *link->queue_end = q;
    link->queue_end = &q->next;
    link->queued += data.n;
    link->queued_fds += fd >= 0;
    return link->lazy ? 0 : watch(link);
}

void ipc_begin(struct buf *b)
{
    buf_clear(b);
    b->max = IPC_FRAME_MAX;
}

/* The frame in space of 2 + IPC_FRAME_MAX bytes. 0, -EPIPE, -ENOBUFS. */
static int make_frame(const struct ipc_link *link, enum ipc_type type, const struct buf *payload, char *space, str *out)
{
    if (!link->open)
        return -EPIPE;
    if (payload && (payload->failed || payload->n > IPC_FRAME_MAX))
        return -ENOBUFS;
    space[0] = (char)type;
    space[1] = 0;
    size_t n = payload ? payload->n : 0;
    if (n)
        memcpy(space + 2, payload->p, n);
    *out = str_of(space, n + 2);
    return 0;
}

int ipc_send(struct ipc_link *link, enum ipc_type type, const struct buf *payload, int fd)
{
    char frame[2 + IPC_FRAME_MAX] __attribute__((uninitialized));
    str data;
    int r = make_frame(link, type, payload, frame, &data);
    if (r < 0)
        return r;
    if (link->lazy)
        r = send_queue(link);
    if (r >= 0)
        r = link->queue ? -EAGAIN : send_now(link->io.fd, data, fd);
    if (r == -EAGAIN)
        r = enqueue(link, data, fd);
    if (r < 0)
        drop(link);
    return r;
}

int ipc_send_later(struct ipc_link *link, enum ipc_type type, const struct buf *payload)
{
    char frame[2 + IPC_FRAME_MAX] __attribute__((uninitialized));
    str data;
    int r = make_frame(link, type, payload, frame, &data);
    if (r < 0)
        return r;
    link->lazy = link->lazy || !link->queue;
    r = enqueue(link, data, -1);
    if (r < 0)
        drop(link);
    return r;
}

void ipc_flush(struct ipc_link *link)
{
    if (link->open && link->lazy && send_queue(link) < 0)
        drop(link);
}

static bool allowed(const struct ipc_link *link, unsigned type)
{
    if (type >= IPC_TYPES)
        return false;
    return (routes[type].from == ROLE_ANY || routes[type].from == link->peer) &&
           (routes[type].to == ROLE_ANY || routes[type].to == link->self);
}

/* Room for one descriptor is, by alignment, room for two: none may leak. 0 with at most one in *out_fd, -EBADMSG for
 * more. */
static int passed_fd(struct msghdr *m, int *out_fd)
{
    int r = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*out_fd < 0) {
                *out_fd = fd;
            } else {
                close(fd);
                r = -EBADMSG;
            }
        }
    }
    return r;
}

/* 1 a frame was handled, 0 nothing there, negative: drop the peer. */
static int receive(struct ipc_link *link)
{
    char data[2 + IPC_FRAME_MAX] __attribute__((uninitialized));
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
    struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)
    };
    ssize_t n = recvmsg(link->io.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    struct ipc_frame f = { .fd = -1, .fd_lost = m.msg_flags & MSG_CTRUNC };
    int r = passed_fd(&m, &f.fd);
    if (n == 0)
        r = -EPIPE;
    else if (r == 0 && n >= 2 && !(m.msg_flags & MSG_TRUNC) && data[1] == 0 &&
             allowed(link, (uint8_t)data[0])) {
        f.type = (enum ipc_type)(uint8_t)data[0];
        f.in = UNPACK(str_of(data + 2, (size_t)n - 2));
        r = link->frame(link, &f);
    } else {
        r = -EBADMSG;
    }
    if (f.fd >= 0)
        close(f.fd);
    return r < 0 ? r : 1;
}

static void ready(struct loop_io *io, uint32_t events)
{
    struct ipc_link *link = CONTAINER_OF(io, struct ipc_link, io);
    int r = 0;
    if (events & EPOLLOUT)
        r = send_queue(link);
    for (int i = 0; r >= 0 && link->open && i < 64; i++) {
        r = receive(link);
        if (r == 0)
            break;
    }
    if (r < 0)
        drop(link);
}

void ipc_drain(struct ipc_link *link)
{
    int r = 1;
    while (link->open && r > 0)
        r = receive(link);
    if (link->open && r < 0)
        drop(link);
}

int ipc_open(struct ipc_link *link, struct loop *loop, int fd, enum role_id self, enum role_id peer)
{
    link->io = (struct loop_io){ .fd = fd, .ready = ready };
    link->loop = loop;
    link->self = self;
    link->peer = peer;
    link->queue = NULL;
    link->queue_end = &link->queue;
    link->queued = 0;
    link->held = link->lazy = false;
    int r = watch(link);
    if (r < 0)
        close(fd);
    link->open = r >= 0;
    return r;
}

int ipc_pair(int out_fd[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, out_fd) < 0)
        return -errno;
    int size = 1 << 20;
    for (int i = 0; i < 2; i++)
        setsockopt(out_fd[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return 0;
}
