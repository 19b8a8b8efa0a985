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

static bool text_at(const struct snapshot *s, uint64_t place, uint32_t n, str *out)
{
    if (place > s->size || n > s->size - place)
        return false;
    *out = str_of(s->map + place, n);
    return true;
}

static bool read_header(struct snapshot *s)
{
    const char *p = s->map;
    s->mailbox = get_u64(p + 8);
    s->lsn = get_u64(p + 16);
    s->uidvalidity = get_u32(p + 24);
    s->uidnext = get_u32(p + 28);
    s->n = get_u64(p + 32);
    s->modseq = get_u64(p + 48);
    s->recent = get_u32(p + 56);
    s->n_keywords = get_u32(p + 60);
    struct unpack u = { 0 };
    if (!str_starts(str_of(p, s->size), SNAPSHOT_MAGIC) || get_u64(p + 40) != s->size ||
        s->n > (s->size - SNAPSHOT_HEADER) / SNAPSHOT_ENTRY || s->n_keywords > SNAPSHOT_KEYWORDS_MAX ||
        !text_at(s, get_u64(p + 64), get_u32(p + 72), &u.in))
        return false;
    for (size_t i = 0; i < s->n_keywords; i++)
        s->keywords[i] = unpack_str(&u);
    return unpack_end(&u);
}

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
    if (!read_header(&s)) {
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

int snapshot_entry(const struct snapshot *s, size_t i, struct mailbox_entry *out)
{
    if (i >= s->n)
        return -EBADMSG;
    const char *p = s->map + SNAPSHOT_HEADER + i * SNAPSHOT_ENTRY;
    struct mailbox_entry e = {
        .uid = get_u32(p), .number = get_u32(p + 4), .size = get_u64(p + 8),
        .position = { .segment = get_u64(p + 16), .offset = get_u64(p + 24) },
        .content_len = get_u64(p + 32), .date_s = (int64_t)get_u64(p + 40), .meta_len = get_u32(p + 64),
        .flags = get_u32(p + 92), .keywords = get_u64(p + 96), .modseq = get_u64(p + 104),
        .date_zone_min = (int16_t)(uint16_t)get_u32(p + 112),
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
