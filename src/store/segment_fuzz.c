/* The reader on arbitrary bytes: with a good segment header in front, so that it gets that far, and with the record
 * headers that the input marks made genuine, so that lengths and order are arbitrary too. Oracle: records come in
 * order, inside the file, do not overlap, and reading with CRCs gives a subset. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/pack.h"
#include "store/segment.h"

#define CHECK(c) do { if (!(c)) abort(); } while (0)
#define SIZE_LIMIT 65536

static const uint8_t key[16] = "fuzz key of 16 b";

/* A byte 'R' where a header may begin asks for a genuine one, with lengths from the bytes after it. */
static void make_genuine(char *p, size_t n)
{
    for (size_t at = SEGMENT_HEADER_SIZE; at + RECORD_HEADER_SIZE <= n; at += 8) {
        if (p[at] != 'R')
            continue;
        struct record_header h = { .type = (uint8_t)p[at + 1], .offset = at, .content_len = (uint8_t)p[at + 2],
                                   .meta_len = (uint8_t)p[at + 3], .sequence = get_u64(p + at + 8) };
        if (p[at + 4] & 1)
            h.content_len = get_u64(p + at + 16);
        size_t content = at + RECORD_HEADER_SIZE;
        if (p[at + 4] & 2 && h.content_len < n && content + h.content_len + h.meta_len <= n) {
            h.content_crc = crc32c(0, str_of(p + content, h.content_len));
            h.meta_crc = crc32c(0, str_of(p + content + h.content_len, h.meta_len));
        }
        record_header_encode(&h, key, p + at);
        at += RECORD_HEADER_SIZE - 8;
    }
}

static size_t walk(int fd, uint64_t size, bool crc)
{
    struct segment_reader r;
    struct record_header h;
    bool damage;
    size_t n = 0;
    uint64_t end = SEGMENT_HEADER_SIZE;
    int k;
    CHECK(segment_reader_open(fd, &r) == 0);
    while ((k = segment_reader_next(&r, crc, &h, &damage)) == 1) {
        CHECK(h.offset >= end && h.offset % 8 == 0);
        CHECK(damage == (h.offset > end));
        end = record_end(&h);
        CHECK(end <= size && r.at == end && r.damaged <= size);
        CHECK(!crc || segment_record_intact(fd, &h) == 1);
        n++;
    }
    CHECK(k == 0 && segment_reader_tail(&r) >= 0);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct segment_reader r;
    char p[SEGMENT_HEADER_SIZE + SIZE_LIMIT];
    n = n < SIZE_LIMIT ? n : SIZE_LIMIT;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0 && segment_pwrite(fd, str_of(data, n), 0) == 0);
    segment_reader_open(fd, &r);
    struct segment_header h = { .number = 1, .kind = 1 };
    memcpy(h.key, key, sizeof(h.key));
    segment_header_encode(&h, p);
    if (n)
        memcpy(p + SEGMENT_HEADER_SIZE, data, n);
    make_genuine(p, SEGMENT_HEADER_SIZE + n);
    CHECK(segment_pwrite(fd, str_of(p, SEGMENT_HEADER_SIZE + n), 0) == 0);
    walk(fd, SEGMENT_HEADER_SIZE + n, false);
    walk(fd, SEGMENT_HEADER_SIZE + n, true);
    close(fd);
    return 0;
}
