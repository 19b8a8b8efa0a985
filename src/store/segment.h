/* Segments: the files that receive logs and the journal are made of (DESIGN 5.1). A segment has a header with a format
 * version and a random key; each record begins with a fixed header that carries type (with a must-understand bit),
 * lengths of content and meta, CRC-32C of both, its own position, and a keyed MAC over all that: text inside a mail can
 * never pass for a record, and a reader can find the next record behind damage. The record header of a streamed message
 * is written last, after its content. */
#pragma once
#include <sys/types.h>
#include "base/buf.h"
#include "base/env.h"

#define SEGMENT_HEADER_SIZE 64
#define RECORD_HEADER_SIZE 64
#define RECORD_MUST_UNDERSTAND 0x80

enum record_type { RECORD_MESSAGE = 1 | RECORD_MUST_UNDERSTAND, RECORD_JOURNAL = 2 | RECORD_MUST_UNDERSTAND };

struct segment_header {
    uint8_t key[16];
    uint64_t number;
    uint32_t version;
    uint8_t kind; /* 1 receive log, 2 journal */
};
struct record_header {
    uint8_t type;
    uint64_t offset;         /* position of this header in the segment */
    uint64_t content_len; uint32_t content_crc;
    uint32_t meta_len, meta_crc;
    uint64_t sequence;       /* journal: LSN */
};
/* content begins at offset + RECORD_HEADER_SIZE, meta follows it, the next record follows that, rounded up to 8 */
uint64_t record_end(const struct record_header *h);

void segment_header_encode(const struct segment_header *h, char out[SEGMENT_HEADER_SIZE]);
int segment_header_decode(str in, struct segment_header *out);   /* -EBADMSG, -EPROTO (newer version) */
void record_header_encode(const struct record_header *h, const uint8_t key[16], char out[RECORD_HEADER_SIZE]);
/* 1 a record, 0 zeros (the unwritten end), -EBADMSG damage or not a record. */
int record_header_decode(str in, const uint8_t key[16], uint64_t offset, struct record_header *out);
/* File name of a segment, its number in hexadecimal: "0000000000000042.log". */
void segment_name(uint64_t number, char out[32]);
int segment_number(str name, uint64_t *out); /* 0 or -EINVAL */

struct log_position { uint64_t segment, offset; };

/* Walks the records of an open segment file from `from`. */
struct segment_reader {
    int fd;
    struct segment_header header;
    uint64_t at, size;
    uint64_t damaged; /* bytes walked round */
};
/* 0, -ENODATA (its making was interrupted: nothing but zeros), -EBADMSG (damaged header), -EPROTO (newer version), I/O
 * errors. */
int segment_reader_open(int fd, struct segment_reader *out);
/* 1 with the next whole record (checks MAC; CRCs only if check_crc), 0 at the end (zeros or an unfinished tail),
 * negative I/O error. Damage is skipped to the next valid header and counted in `damaged`; *out_damage tells if some
 * was skipped before this record. */
int segment_reader_next(struct segment_reader *r, bool check_crc, struct record_header *out, bool *out_damage);
/* What lies behind the last record, asked after _next() returned 0: nothing or preallocated zeros; what an interrupted
 * writer leaves (a record that ends behind the file, or one with preallocated zeros behind it: a sealed segment has
 * none); or damage. */
enum segment_tail { SEGMENT_TAIL_CLEAN, SEGMENT_TAIL_UNFINISHED, SEGMENT_TAIL_DAMAGED };
int segment_reader_tail(const struct segment_reader *r); /* enum segment_tail, or negative I/O error */

/* 1 if content and meta of a record have their CRCs, 0 if not, negative I/O error. */
int segment_record_intact(int fd, const struct record_header *h);
/* pread and pwrite that go on after short counts. Bytes read (less than n only at the end of the file) or negative
 * errno; 0 or negative errno. */
ssize_t segment_pread(int fd, void *p, size_t n, uint64_t at);
int segment_pwrite(int fd, str s, uint64_t at);
/* Numbers of the segments in a folder, ascending; *out is the caller's to free. 0 or negative errno. */
int segment_list(int dir_fd, uint64_t **out, size_t *out_n);
