/* Reading a file whole: see whole_file.h. */
#include "io/whole_file.h"
#include <errno.h>
#include <unistd.h>

enum { PIECE = 4096 };

int whole_file_read(int fd, struct buf *out)
{
    char beyond; /* at the ceiling: is there more? */
    buf_clear(out);
    for (;;) {
        size_t room = MIN(out->max - out->n, MAX(out->n, (size_t)PIECE));
        if (room && buf_reserve(out, room) < 0)
            return out->failed;
        ssize_t n = room ? pread(fd, out->p + out->n, room, (off_t)out->n) : pread(fd, &beyond, 1, (off_t)out->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        if (!room)
            return -ENOBUFS;
        out->n += (size_t)n;
    }
}
