/* Printing messages: see stdout_file.h. */
#include "mda/stdout_file.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include "base/env.h"
#include "mda/safe_path.h"

enum { PATIENCE_MS = 30000, LOCK_PAUSE_MS = 10 };

struct printing { struct text_sink sink; int fd; };

static int print_bytes(struct text_sink *s, str bytes)
{
    struct printing *p = CONTAINER_OF(s, struct printing, sink);
    while (bytes.n) {
        struct pollfd ready = { .fd = p->fd, .events = POLLOUT };
        int e = poll(&ready, 1, PATIENCE_MS);
        if (e == 0)
            return -ETIMEDOUT;
        /* a pipe that is ready takes this much without blocking (POSIX, PIPE_BUF) */
        ssize_t n = e < 0 ? -1 : write(p->fd, bytes.p, MIN(bytes.n, (size_t)PIPE_BUF));
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (n > 0)
            bytes = str_from(bytes, (size_t)n);
    }
    return 0;
}

/* A lock of the process, which works on what is inherited too. 0 or negative errno; what knows no locks needs none. */
static int lock(int fd)
{
    uint64_t begun = env_system.mono_ms();
    for (;;) {
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        if (fcntl(fd, F_SETLK, &l) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return errno == EBADF ? -EBADF : 0;
        if (env_system.mono_ms() - begun > PATIENCE_MS)
            return -ETIMEDOUT;
        struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };
        nanosleep(&pause, NULL);
    }
}

void stdout_deliver(int fd, struct text *text, const struct mda_message *m, struct mda_result *r)
{
    struct printing p = { .sink.write = print_bytes, .fd = fd };
    if (fd < 0) {
        mda_result_set(r, MDA_DEFERRED, 451, "4.3.5", "there is no standard output here");
        return;
    }
    int e = lock(fd);
    if (e == 0) {
        e = text_write(text, m, TEXT_MBOX, STR_NONE, &p.sink);
        struct flock l = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
        if (fcntl(fd, F_SETLK, &l) < 0 && e == 0)
            errno = 0; /* it knew no locks */
    }
    if (e < 0) {
        mda_result_errno(r, e, "standard output %s", p.sink.failed ? "takes no more" : "cannot be used");
        return;
    }
    mda_result_set(r, MDA_DELIVERED, 250, "2.0.0", "printed");
    r->bytes = p.sink.bytes;
}
