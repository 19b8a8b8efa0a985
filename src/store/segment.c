/* Segment and record headers, and the reader that walks a segment: see segment.h.
 *
 * Segment header: magic 8, version u32, kind u8, 3 zeros, number u64, key 16, zeros, CRC-32C of the first 60 bytes.
 * Record header: magic u32, type u8, 3 zeros, offset u64, content_len u64, content_crc u32, meta_len u32, meta_crc u32,
 * zero u32, sequence u64, zero u64, SipHash-2-4 of the first 56 bytes under the segment's key.
 *
 * What a sender writes into a message can copy any of these bytes, but not at a place where the offset inside matches:
 * the MAC covers the offset, and the key never leaves the machine. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "store/segment.h"
#include "base/hash.h"
#include "base/pack.h"

#define SEGMENT_MAGIC S("PHsegm\r\n")
#define SEGMENT_VERSION 1
#define RECORD_MAGIC 0x31724850u /* "PHr1" */
/* No file is longer; keeps every sum of offset and lengths far from overflow. */
#define SEGMENT_MAX ((uint64_t)1 << 48)
#define CHUNK 65536

uint64_t record_end(const struct record_header *h)
{
    return (h->offset + RECORD_HEADER_SIZE + h->content_len + h->meta_len + 7) & ~(uint64_t)7;
}

void segment_header_encode(const struct segment_header *h, char out[SEGMENT_HEADER_SIZE])
{
    memset(out, 0, SEGMENT_HEADER_SIZE);
    memcpy(out, SEGMENT_MAGIC.p, SEGMENT_MAGIC.n);
    put_u32(out + 8, h->version ? h->version : SEGMENT_VERSION);
    out[12] = (char)h->kind;
    put_u64(out + 16, h->number);
    memcpy(out + 24, h->key, sizeof(h->key));
    put_u32(out + 60, crc32c(0, str_of(out, 60)));
}

int segment_header_decode(str in, struct segment_header *out)
{
    if (in.n < SEGMENT_HEADER_SIZE || !str_starts(in, SEGMENT_MAGIC) ||
        get_u32(in.p + 60) != crc32c(0, str_first(in, 60)))
        return -EBADMSG;
    if (get_u32(in.p + 8) != SEGMENT_VERSION)
        return -EPROTO;
    struct segment_header h = { .number = get_u64(in.p + 16), .version = SEGMENT_VERSION, .kind = (uint8_t)in.p[12] };
    memcpy(h.key, in.p + 24, sizeof(h.key));
    *out = h;
    return 0;
}

void record_header_encode(const struct record_header *h, const uint8_t key[16], char out[RECORD_HEADER_SIZE])
{
    memset(out, 0, RECORD_HEADER_SIZE);
    put_u32(out, RECORD_MAGIC);
    out[4] = (char)h->type;
    put_u64(out + 8, h->offset);
    put_u64(out + 16, h->content_len);
    put_u32(out + 24, h->content_crc);
    put_u32(out + 28, h->meta_len);
    put_u32(out + 32, h->meta_crc);
    put_u64(out + 40, h->sequence);
    put_u64(out + 56, siphash24(key, str_of(out, 56)));
}

static bool all_zero(str s)
{
    return s.n == 0 || (s.p[0] == 0 && memcmp(s.p, s.p + 1, s.n - 1) == 0);
}

int record_header_decode(str in, const uint8_t key[16], uint64_t offset, struct record_header *out)
{
    if (in.n < RECORD_HEADER_SIZE)
        return -EBADMSG;
    if (get_u32(in.p) != RECORD_MAGIC)
        return all_zero(str_first(in, RECORD_HEADER_SIZE)) ? 0 : -EBADMSG;
    struct record_header h = {
        .type = (uint8_t)in.p[4],
        .offset = get_u64(in.p + 8),
        .content_len = get_u64(in.p + 16),
        .content_crc = get_u32(in.p + 24),
        .meta_len = get_u32(in.p + 28),
        .meta_crc = get_u32(in.p + 32),
        .sequence = get_u64(in.p + 40),
    };
    if (h.offset != offset || get_u64(in.p + 56) != siphash24(key, str_first(in, 56)))
        return -EBADMSG;
    if (h.offset > SEGMENT_MAX || h.content_len > SEGMENT_MAX)
        return -EBADMSG;
    *out = h;
    return 1;
}

void segment_name(uint64_t number, char out[32])
{
    snprintf(out, 32, "%016llx.log", (unsigned long long)number);
}

int segment_number(str name, uint64_t *out)
{
    if (name.n != 20 || !str_ends(name, S(".log")))
        return -EINVAL;
    uint64_t v = 0;
    for (size_t i = 0; i < 16; i++) {
        char c = name.p[i];
        if (!ascii_digit(c) && !(c >= 'a' && c <= 'f'))
            return -EINVAL;
        v = v << 4 | (uint64_t)(ascii_digit(c) ? c - '0' : c - 'a' + 10);
    }
    *out = v;
    return 0;
}

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

ssize_t segment_pread(int fd, void *p, size_t n, uint64_t at)
{
    size_t got = 0;
    while (got < n) {
        ssize_t k = pread(fd, (char *)p + got, n - got, (off_t)(at + got));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        if (k == 0)
            break;
        got += (size_t)k;
    }
    return (ssize_t)got;
}

int segment_pwrite(int fd, str s, uint64_t at)
{
    while (s.n) {
        ssize_t k = pwrite(fd, s.p, s.n, (off_t)at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k < 0 ? -errno : -EIO;
        s = str_from(s, (size_t)k);
        at += (uint64_t)k;
    }
    return 0;
}

/* 1 if all bytes from `at` to the end are zero. */
static int zeros_from(const struct segment_reader *r, uint64_t at)
{
    char chunk[CHUNK];
    while (at < r->size) {
        ssize_t got = segment_pread(r->fd, chunk, MIN(r->size - at, (uint64_t)sizeof(chunk)), at);
        if (got <= 0)
            return got < 0 ? (int)got : 1;
        if (!all_zero(str_of(chunk, (size_t)got)))
            return 0;
        at += (uint64_t)got;
    }
    return 1;
}

int segment_reader_open(int fd, struct segment_reader *out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    char head[SEGMENT_HEADER_SIZE];
    ssize_t n = segment_pread(fd, head, sizeof(head), 0);
    if (n < 0)
        return (int)n;
    struct segment_reader r = { .fd = fd, .at = SEGMENT_HEADER_SIZE, .size = (uint64_t)st.st_size };
    int k = segment_header_decode(str_of(head, (size_t)n), &r.header);
    if (k == -EBADMSG && (n < SEGMENT_HEADER_SIZE || zeros_from(&r, 0) == 1))
        return -ENODATA; /* a header is durable before its segment is used */
    if (k < 0)
        return k;
    *out = r;
    return 0;
}

/* 1 a genuine record header at `at`, 0 none there, negative I/O error. */
static int header_at(const struct segment_reader *r, uint64_t at, struct record_header *out)
{
    char head[RECORD_HEADER_SIZE];
    if (at + RECORD_HEADER_SIZE > r->size)
        return 0;
    ssize_t n = segment_pread(r->fd, head, sizeof(head), at);
    if (n < 0)
        return (int)n;
    return record_header_decode(str_of(head, (size_t)n), r->header.key, at, out) == 1;
}

/* 1 if the CRC-32C of n bytes at `at` is `crc`, 0 if not, negative I/O error. */
static int crc_matches(int fd, uint64_t at, uint64_t n, uint32_t crc)
{
    char chunk[CHUNK];
    uint32_t sum = 0;
    while (n) {
        ssize_t got = segment_pread(fd, chunk, MIN(n, (uint64_t)sizeof(chunk)), at);
        if (got < 0)
            return (int)got;
        if (got == 0)
            return 0;
        sum = crc32c(sum, str_of(chunk, (size_t)got));
        at += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return sum == crc;
}

int segment_record_intact(int fd, const struct record_header *h)
{
    uint64_t content = h->offset + RECORD_HEADER_SIZE;
    int r = crc_matches(fd, content, h->content_len, h->content_crc);
    return r == 1 ? crc_matches(fd, content + h->content_len, h->meta_len, h->meta_crc) : r;
}

/* Looks for a genuine header from `at` on (a multiple of 8). 1, 0 none, negative I/O error. */
static int scan(const struct segment_reader *r, uint64_t at, struct record_header *out)
{
    char chunk[CHUNK];
    while (at + RECORD_HEADER_SIZE <= r->size) {
        ssize_t got = segment_pread(r->fd, chunk, sizeof(chunk), at);
        if (got < RECORD_HEADER_SIZE)
            return got < 0 ? (int)got : 0;
        size_t n = (size_t)got, i = 0;
        for (; i + RECORD_HEADER_SIZE <= n; i += 8)
            if (get_u32(chunk + i) == RECORD_MAGIC &&
                record_header_decode(str_of(chunk + i, RECORD_HEADER_SIZE), r->header.key, at + i, out) == 1)
                return 1;
        at += i;
    }
    return 0;
}

static int next_record(const struct segment_reader *r, bool check_crc, struct record_header *out)
{
    uint64_t at = r->at;
    for (;;) {
        struct record_header h;
        int k = header_at(r, at, &h);
        if (k == 0)
            k = scan(r, at + 8, &h);
        if (k <= 0)
            return k;
        if (record_end(&h) > r->size)
            return 0;
        k = check_crc ? segment_record_intact(r->fd, &h) : 1;
        if (k < 0)
            return k;
        if (k == 1) {
            *out = h;
            return 1;
        }
        at = record_end(&h);
    }
}

int segment_reader_next(struct segment_reader *r, bool check_crc, struct record_header *out, bool *out_damage)
{
    struct record_header h;
    int k = next_record(r, check_crc, &h);
    if (k == 1 && h.offset != r->at)
        k = next_record(r, check_crc,
                        &h); /* the file may be growing under us: damage is what is still there on a second look */
    if (k != 1)
        return k;
    r->damaged += h.offset - r->at;
    *out_damage = h.offset != r->at;
    r->at = record_end(&h);
    *out = h;
    return 1;
}

int segment_reader_tail(const struct segment_reader *r)
{
    if (r->at >= r->size)
        return SEGMENT_TAIL_CLEAN;
    if (r->size - r->at < RECORD_HEADER_SIZE)
        return SEGMENT_TAIL_UNFINISHED;
    int k = zeros_from(r, r->at);
    if (k != 0)
        return k < 0 ? k : SEGMENT_TAIL_CLEAN;
    struct record_header h;
    k = header_at(r, r->at, &h);
    if (k < 0)
        return k;
    if (k == 1 && record_end(&h) > r->size)
        return SEGMENT_TAIL_UNFINISHED;
    char head[RECORD_HEADER_SIZE];
    ssize_t n = segment_pread(r->fd, head, sizeof(head), r->at);
    if (n == sizeof(head) && all_zero(str_of(head, sizeof(head))))
        return SEGMENT_TAIL_UNFINISHED; /* a stream whose header was to come last */
    k = zeros_from(r, r->size - RECORD_HEADER_SIZE);
    return k < 0 ? k : k ? SEGMENT_TAIL_UNFINISHED : SEGMENT_TAIL_DAMAGED;
}
