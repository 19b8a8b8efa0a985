/* Messages too large to hold: see receive_log.h. The content goes out in pieces of 64 KiB as it comes, to a segment
 * of its own; the record header is written last, so that nothing exists before the message is whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include "store/receive_log_internal.h"
#include "base/hash.h"

/* Room is asked for ahead in such steps, so that a full disk shows here and not at the sync. */
#define GROW_STEP ((uint64_t)8 << 20)
/* So much is handed to the disk at once while the rest still comes, to keep the final sync short. */
#define WRITEBACK_STEP ((uint64_t)1 << 20)

struct log_stream {
    struct receive_log *log;
    struct segment_file *file;
    struct log_stream *next; /* in the log's list of kept ones */
    uint64_t at, handed;     /* end of what is written; end of what was handed to the disk */
    uint64_t content_len;
    uint32_t crc;
    int failed;
    size_t used;
    char piece[STREAM_PIECE];
};

void log_streams_free(struct receive_log *l)
{
    for (struct log_stream *s = l->kept, *next; s; s = next) {
        next = s->next;
        free(s);
    }
}

static void keep(struct log_stream *s)
{
    struct receive_log *l = s->log;
    if (l->n_kept >= STREAMS_KEPT) {
        free(s);
        return;
    }
    s->next = l->kept;
    l->kept = s;
    l->n_kept++;
}

int receive_log_stream_begin(struct receive_log *l, struct log_stream **out)
{
    int r = receive_log_alive(l);
    if (r < 0)
        return r;
    struct log_stream *s = l->kept;
    if (s) {
        l->kept = s->next;
        l->n_kept--;
    } else {
        s = malloc(sizeof(*s));
        if (!s)
            return -ENOMEM;
    }
    s->log = l;
    s->next = NULL;
    s->at = s->handed = SEGMENT_HEADER_SIZE + RECORD_HEADER_SIZE;
    s->content_len = 0;
    s->crc = 0;
    s->failed = 0;
    s->used = 0;
    r = syncer_take(l->sync, &s->file);
    if (r < 0) {
        keep(s);
        return r;
    }
    *out = s;
    return 0;
}

static int grow(struct log_stream *s, uint64_t need)
{
    if (need <= s->file->size)
        return 0;
    uint64_t size = MAX(need, s->file->size + GROW_STEP);
    if (fallocate(s->file->fd, 0, 0, (off_t)size) < 0 && errno != EOPNOTSUPP)
        return errno == EDQUOT ? -ENOSPC : -errno;
    s->file->size = size;
    return 0;
}

static int write_out(struct log_stream *s, str bytes)
{
    if (s->failed || bytes.n == 0)
        return s->failed;
    int r = grow(s, s->at + bytes.n);
    if (r == 0)
        r = segment_pwrite(s->file->fd, bytes, s->at);
    if (r < 0)
        return s->failed = r;
    s->at += bytes.n;
    if (s->at - s->handed >= WRITEBACK_STEP) {
        /* only a hint: durable is what the sync at the end says */
        (void)sync_file_range(s->file->fd, (off_t)s->handed, (off_t)(s->at - s->handed), SYNC_FILE_RANGE_WRITE);
        s->handed = s->at;
    }
    return 0;
}

static int write_piece(struct log_stream *s)
{
    int r = write_out(s, str_of(s->piece, s->used));
    s->used = 0;
    return r;
}

int receive_log_stream_write(struct log_stream *s, str piece)
{
    if (s->failed)
        return s->failed;
    s->crc = crc32c(s->crc, piece);
    s->content_len += piece.n;
    while (piece.n) {
        if (s->used == 0 && piece.n >= STREAM_PIECE) {
            int r = write_out(s, piece);
            if (r < 0)
                return r;
            break;
        }
        str part = str_first(piece, STREAM_PIECE - s->used);
        memcpy(s->piece + s->used, part.p, part.n);
        s->used += part.n;
        piece = str_from(piece, part.n);
        if (s->used == STREAM_PIECE) {
            int r = write_piece(s);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int finish(struct log_stream *s, str meta, uint64_t *out_end)
{
    struct receive_log *l = s->log;
    int r = receive_log_flush(l); /* lower tickets first */
    if (r == 0)
        r = write_piece(s);
    if (r == 0)
        r = write_out(s, meta);
    if (r < 0)
        return r;
    char header[RECORD_HEADER_SIZE];
    receive_log_header(s->file, SEGMENT_HEADER_SIZE, s->content_len, s->crc, meta, header);
    r = segment_pwrite(s->file->fd, str_of(header, sizeof(header)), SEGMENT_HEADER_SIZE);
    *out_end = (s->at + 7) & ~(uint64_t)7;
    return r;
}

int receive_log_stream_finish(struct log_stream *s, str meta, uint64_t *out_ticket, struct log_position *out_position)
{
    struct receive_log *l = s->log;
    uint64_t end;
    int r = finish(s, meta, &end);
    if (r < 0) {
        receive_log_stream_abort(s);
        return r;
    }
    l->ticket++;
    *out_ticket = l->ticket;
    *out_position = (struct log_position){ s->file->number, SEGMENT_HEADER_SIZE };
    l->stats.appended++;
    l->stats.bytes += end - SEGMENT_HEADER_SIZE;
    syncer_mark(l->sync, s->file, end, true, l->ticket);
    keep(s);
    return 0;
}

void receive_log_stream_abort(struct log_stream *s)
{
    if (!s)
        return;
    syncer_drop(s->log->sync, s->file);
    keep(s);
}
