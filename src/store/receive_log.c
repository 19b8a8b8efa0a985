/* Appending messages: see receive_log.h. What a turn of the loop brings is staged in one kept buffer and written with
 * one pwrite; a message too large for that buffer is written at once.
 *
 * Invariants
 * 1. `stage` holds exactly the bytes [written, end) of `current`.
 * 2. A ticket is marked in the syncer only when its bytes, and those of every lower ticket, are written. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include "store/receive_log_internal.h"
#include "base/hash.h"

#define POOL 2
#define STAGE_MAX ((size_t)1 << 20)
#define META_MAX ((size_t)1 << 26)

int receive_log_open(const struct receive_log_config *config, struct receive_log **out)
{
    _cleanup_free_ uint64_t *list = NULL;
    size_t n = 0;
    int r = segment_list(config->dir_fd, &list, &n);
    if (r < 0)
        return r;
    struct receive_log *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->config = *config;
    l->stage = BUF(MIN(config->memory_max, (uint64_t)STAGE_MAX));
    l->first_segment = n ? list[n - 1] + 1 : 1;
    struct syncer_config sync = {
        .dir_fd = config->dir_fd, .kind = 1, .segment_size = config->segment_size, .first_number = l->first_segment,
        .pool = POOL, .env = config->env,
    };
    r = syncer_new(&sync, &l->sync);
    if (r == 0)
        r = syncer_take(l->sync, &l->current);
    if (r < 0) {
        receive_log_close(l);
        return r;
    }
    l->end = l->written = SEGMENT_HEADER_SIZE;
    *out = l;
    return 0;
}

void receive_log_close(struct receive_log *l)
{
    if (!l)
        return;
    if (l->current && receive_log_flush(l) == 0)
        syncer_mark(l->sync, l->current, l->written, true, l->ticket);
    syncer_free(l->sync);
    log_streams_free(l);
    buf_done(&l->stage);
    free(l);
}

int receive_log_fd(const struct receive_log *l)
{
    return syncer_fd(l->sync);
}

uint64_t receive_log_first_segment(const struct receive_log *l)
{
    return l->first_segment;
}

int receive_log_alive(struct receive_log *l)
{
    if (!l->failed)
        l->failed = syncer_failed(l->sync);
    return l->failed;
}

void receive_log_header(const struct segment_file *f, uint64_t offset, uint64_t content_len, uint32_t content_crc,
                        str meta, char out[RECORD_HEADER_SIZE])
{
    struct record_header h = {
        .type = RECORD_MESSAGE,
        .offset = offset,
        .content_len = content_len,
        .content_crc = content_crc,
        .meta_len = (uint32_t)meta.n,
        .meta_crc = crc32c(0, meta),
    };
    record_header_encode(&h, f->key, out);
}

int receive_log_flush(struct receive_log *l)
{
    int r = receive_log_alive(l);
    if (r < 0 || l->stage.n == 0)
        return r;
    if (segment_pwrite(l->current->fd, buf_str(&l->stage), l->written) < 0)
        return l->failed = -EIO; /* preallocated room could not be written: the disk is not to be trusted */
    l->written += l->stage.n;
    buf_clear(&l->stage);
    syncer_mark(l->sync, l->current, l->written, false, l->ticket);
    return 0;
}

/* Goes on in the next segment when `total` bytes do not fit in the rest of this one. */
static int make_room(struct receive_log *l, uint64_t total)
{
    if (total <= l->current->size - MIN(l->end, l->current->size))
        return 0;
    if (l->end > SEGMENT_HEADER_SIZE) {
        struct segment_file *next;
        int r = syncer_take(l->sync, &next);
        if (r == 0)
            r = receive_log_flush(l);
        if (r < 0)
            return r;
        syncer_mark(l->sync, l->current, l->written, true, l->ticket);
        l->current = next;
        l->end = l->written = SEGMENT_HEADER_SIZE;
    }
    uint64_t need = l->end + total;
    if (need <= l->current->size)
        return 0;
    if (fallocate(l->current->fd, 0, 0, (off_t)need) < 0 && errno != EOPNOTSUPP)
        return errno == ENOSPC || errno == EDQUOT ? -ENOSPC : (l->failed = -EIO);
    l->current->size = need;
    return 0;
}

static int stage(struct receive_log *l, const char *header, const str *pieces, size_t n, str meta, uint64_t total)
{
    if (total > l->stage.max - l->stage.n) {
        int r = receive_log_flush(l);
        if (r < 0)
            return r;
    }
    size_t before = l->stage.n;
    if (buf_reserve(&l->stage, total) < 0) {
        buf_clear(&l->stage);
        l->stage.n = before;
        return -ENOSPC;
    }
    buf_add(&l->stage, str_of(header, RECORD_HEADER_SIZE));
    for (size_t i = 0; i < n; i++)
        buf_add(&l->stage, pieces[i]);
    buf_add(&l->stage, meta);
    buf_space(&l->stage, total - (l->stage.n - before));
    l->end += total;
    return 0;
}

/* The header goes last, so that a failure on the way leaves nothing that looks like a record. */
static int write_through(struct receive_log *l, const char *header, const str *pieces, size_t n, str meta,
                         uint64_t total)
{
    int r = receive_log_flush(l);
    uint64_t at = l->end + RECORD_HEADER_SIZE;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = segment_pwrite(l->current->fd, pieces[i], at);
        at += pieces[i].n;
    }
    if (r == 0)
        r = segment_pwrite(l->current->fd, meta, at);
    at += meta.n;
    static const char zeros[8];
    if (r == 0)
        r = segment_pwrite(l->current->fd, str_of(zeros, l->end + total - at), at);
    if (r == 0)
        r = segment_pwrite(l->current->fd, str_of(header, RECORD_HEADER_SIZE), l->end);
    if (r < 0)
        return r == -ENOSPC ? r : (l->failed = -EIO);
    l->end += total;
    l->written = l->end;
    return 0;
}

int receive_log_append(struct receive_log *l, const str *pieces, size_t n, str meta, uint64_t *out_ticket,
                       struct log_position *out_position)
{
    int r = receive_log_alive(l);
    if (r < 0)
        return r;
    if (meta.n > META_MAX)
        return -ENOSPC;
    struct record_header size = { .meta_len = (uint32_t)meta.n };
    uint32_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        size.content_len += pieces[i].n;
        crc = crc32c(crc, pieces[i]);
    }
    uint64_t total = record_end(&size);
    r = make_room(l, total);
    if (r < 0)
        return r;
    uint64_t at = l->end;
    char header[RECORD_HEADER_SIZE];
    receive_log_header(l->current, at, size.content_len, crc, meta, header);
    bool fits = total <= l->stage.max;
    r = fits ? stage(l, header, pieces, n, meta, total) : write_through(l, header, pieces, n, meta, total);
    if (r < 0)
        return r;
    l->ticket++;
    if (!fits)
        syncer_mark(l->sync, l->current, l->written, false, l->ticket);
    l->stats.appended++;
    l->stats.bytes += total;
    *out_ticket = l->ticket;
    *out_position = (struct log_position){ l->current->number, at };
    return 0;
}

uint64_t receive_log_synced(const struct receive_log *l)
{
    return syncer_reached(l->sync);
}

int receive_log_progress(struct receive_log *l, struct log_position *out, size_t n)
{
    syncer_clear(l->sync);
    if (syncer_failed(l->sync))
        return l->failed = -EIO;
    size_t i = 0;
    while (i < n && syncer_ready(l->sync, &out[i]))
        i++;
    return (int)i;
}

size_t receive_log_state(const struct receive_log *l, struct log_position *out, size_t n)
{
    size_t i = 0;
    while (i < n && syncer_state(l->sync, i, &out[i]))
        i++;
    return i;
}

void receive_log_stats(const struct receive_log *l, struct receive_log_stats *out)
{
    *out = l->stats;
    out->synced_batches = syncer_batches(l->sync);
}
