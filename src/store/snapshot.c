/* Reading snapshots: see snapshot.h. The file comes from the store, which does not lie, but nothing in it is used
 * unchecked. */
#include "store/snapshot.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/pack.h"
#include "store/snapshot_format.h"

static int open_checked(int fd, struct snapshot *out)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (fstat(fd, &st) < 0)
        return -errno;
    /* unsealed it could shrink under us, and reading would end the process */
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || !(seals & F_SEAL_WRITE) || st.st_size < SNAPSHOT_HEADER)
        return -EBADMSG;
    size_t size = (size_t)st.st_size;
    char *map = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    struct snapshot s = { .map = map, .size = size };
    s.mailbox = get_u64(map + 8);
    s.lsn = get_u64(map + 16);
    s.uidvalidity = get_u32(map + 24);
    s.uidnext = get_u32(map + 28);
    s.n = get_u64(map + 32);
    if (!str_starts(str_of(map, size), SNAPSHOT_MAGIC) || get_u64(map + 40) != size ||
        s.n > (size - SNAPSHOT_HEADER) / SNAPSHOT_ENTRY) {
        munmap(map, size);
        return -EBADMSG;
    }
    *out = s;
    return 0;
}

int snapshot_open(int fd, struct snapshot *out)
{
    int r = open_checked(fd, out);
    close(fd);
    return r;
}

void snapshot_close(struct snapshot *s)
{
    if (s->map)
        munmap((void *)s->map, s->size);
    *s = (struct snapshot){ 0 };
}

static bool text_at(const struct snapshot *s, uint64_t place, uint32_t n, str *out)
{
    if (place > s->size || n > s->size - place)
        return false;
    *out = str_of(s->map + place, n);
    return true;
}

int snapshot_entry(const struct snapshot *s, size_t i, struct snapshot_entry *out)
{
    if (i >= s->n)
        return -EBADMSG;
    const char *p = s->map + SNAPSHOT_HEADER + i * SNAPSHOT_ENTRY;
    struct snapshot_entry e = {
        .uid = get_u32(p), .number = get_u32(p + 4), .size = get_u64(p + 8),
        .position = { .segment = get_u64(p + 16), .offset = get_u64(p + 24) },
        .content_len = get_u64(p + 32), .received_us = get_u64(p + 40), .meta_len = get_u32(p + 64),
    };
    memcpy(e.session, p + 48, sizeof(e.session));
    if (!text_at(s, get_u64(p + 72), get_u32(p + 68), &e.prefix) ||
        !text_at(s, get_u64(p + 80), get_u32(p + 88), &e.log))
        return -EBADMSG;
    if (e.size - e.prefix.n != e.content_len)
        return -EBADMSG;
    *out = e;
    return 0;
}
