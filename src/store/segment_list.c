/* Which segments a folder holds: see segment.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include "store/segment.h"

static void cleanup_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int segment_list(int dir_fd, uint64_t **out, size_t *out_n)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    _cleanup_(cleanup_dir) DIR *d = fdopendir(fd);
    if (!d) {
        int error = errno;
        close(fd);
        return -error;
    }
    _cleanup_free_ uint64_t *list = NULL;
    size_t n = 0, cap = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e && errno)
            return -errno;
        if (!e)
            break;
        uint64_t number;
        if (segment_number(str_z(e->d_name), &number) < 0)
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : 64;
            uint64_t *more = realloc(list, cap * sizeof(*list));
            if (!more)
                return -ENOMEM;
            list = more;
        }
        list[n++] = number;
    }
    if (n)
        qsort(list, n, sizeof(*list), by_number);
    *out = TAKE(list);
    *out_n = n;
    return 0;
}
