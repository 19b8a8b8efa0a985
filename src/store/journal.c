/* The journal's segments: see journal.h. A record is a record header with the LSN as sequence, no content, the
 * payload as meta.
 *
 * Invariants
 * 1. LSNs rise from record to record; only a `jumped` record, whose writer knows why, may leave numbers out.
 * 2. A batch stands in one segment, and is written when the batch before is durable. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include "store/journal.h"
#include "base/hash.h"
#include "base/pack.h"
#include "store/journal_record.h"
#include "store/syncer.h"

#define POOL 2
#define FRAME_HEADER 12
#define PAYLOAD_MAX ((uint32_t)1 << 28)

struct journal {
    struct journal_config config;
    uint64_t *segments;
    size_t n_segments;
    struct syncer *sync;
    struct segment_file *current;
    uint64_t end;
    uint64_t found;      /* highest LSN of earlier processes, made durable by the replay that repairs */
    struct buf stage;
    int failed;
};

int journal_open(const struct journal_config *config, struct journal **out)
{
    struct journal *j = calloc(1, sizeof(*j));
    if (!j)
        return -ENOMEM;
    j->config = *config;
    j->stage = BUF(SIZE_MAX >> 1);
    int r = segment_list(config->dir_fd, &j->segments, &j->n_segments);
    if (r < 0) {
        journal_free(j);
        return r;
    }
    *out = j;
    return 0;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    if (j->current && !j->failed)
        syncer_mark(j->sync, j->current, j->end, true, 0);
    syncer_free(j->sync);
    buf_done(&j->stage);
    free(j->segments);
    free(j);
}

struct replay {
    const struct journal_replay *how;
    uint64_t last;
    bool damaged;       /* since the last entry */
    struct buf payload;
};

static void note(struct replay *p, uint64_t segment, const char *what)
{
    p->damaged = true;
    if (!p->how->note)
        return;
    _cleanup_buf_ struct buf text = BUF(256);
    buf_addf(&text, "journal segment %llu: %s", (unsigned long long)segment, what);
    p->how->note(p->how->arg, buf_str(&text));
}

static int open_segment(const struct journal *j, uint64_t number, int flags)
{
    char name[32];
    segment_name(number, name);
    int fd = openat(j->config.dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int read_payload(struct replay *p, int fd, const struct record_header *h)
{
    buf_clear(&p->payload);
    char *at = buf_space(&p->payload, h->meta_len);
    if (!at)
        return -ENOMEM;
    ssize_t n = segment_pread(fd, at, h->meta_len, h->offset + RECORD_HEADER_SIZE + h->content_len);
    if (n < 0)
        return (int)n;
    return (size_t)n == h->meta_len && crc32c(0, buf_str(&p->payload)) == h->meta_crc ? 1 : 0;
}

static int replay_record(struct replay *p, int fd, uint64_t segment, const struct record_header *h)
{
    if (h->type != RECORD_JOURNAL) {
        if (h->type & RECORD_MUST_UNDERSTAND)
            note(p, segment, "a record of a type that this version does not know");
        return 0;
    }
    if (h->sequence <= p->last && p->last) {
        note(p, segment, "a record out of order was passed over");
        return 0;
    }
    bool skip = h->sequence <= p->how->after;
    int r = skip ? 0 : read_payload(p, fd, h);
    if (r < 0)
        return r;
    if (!skip && r == 0) {
        note(p, segment, "a damaged record was passed over");
        return 0;
    }
    bool jump = r == 1 && p->payload.n && (uint8_t)p->payload.p[0] == JOURNAL_jumped;
    if (!skip && h->sequence != MAX(p->last, p->how->after) + 1 && !jump && !p->damaged)
        note(p, segment, "records are missing");
    p->last = h->sequence;
    if (skip) {
        p->damaged = false; /* the replay that applied it has dealt with what came before */
        return 0;
    }
    struct journal_entry e = { .lsn = h->sequence, .payload = buf_str(&p->payload), .segment = segment,
                               .offset = h->offset, .damaged = p->damaged };
    p->damaged = false;
    return p->how->entry ? p->how->entry(p->how->arg, &e) : 0;
}

static int replay_tail(struct replay *p, const struct segment_reader *r)
{
    int tail = segment_reader_tail(r);
    if (tail == SEGMENT_TAIL_DAMAGED)
        note(p, r->header.number, "damage behind the last record");
    if (tail != SEGMENT_TAIL_UNFINISHED)
        return MIN(tail, 0);
    if (p->how->repair && (ftruncate(r->fd, (off_t)r->at) < 0 || fsync(r->fd) < 0))
        return -errno;
    return 0;
}

static int replay_segment(struct journal *j, uint64_t number, struct replay *p)
{
    _cleanup_close_ int fd = open_segment(j, number, p->how->repair ? O_RDWR : O_RDONLY);
    if (fd < 0)
        return fd;
    if (p->how->repair && fdatasync(fd) < 0)
        return -errno;
    struct segment_reader r;
    int k = segment_reader_open(fd, &r);
    if (k == -ENODATA)
        return 0;
    if (k == -EBADMSG) {
        note(p, number, "the header is damaged, nothing of it can be read");
        return 0;
    }
    if (k < 0)
        return k;
    struct record_header h;
    bool damage;
    /* What was applied before is only passed over. */
    while ((k = segment_reader_next(&r, p->last >= p->how->after, &h, &damage)) == 1) {
        if (damage && h.sequence > p->how->after)
            note(p, number, "damage was walked round");
        k = replay_record(p, fd, number, &h);
        if (k < 0)
            return k;
    }
    return k < 0 ? k : replay_tail(p, &r);
}

/* LSN of the first record of a segment, 0 if it has none that can be read. */
static int first_lsn(struct journal *j, uint64_t number, uint64_t *out)
{
    _cleanup_close_ int fd = open_segment(j, number, O_RDONLY);
    if (fd < 0)
        return fd;
    struct segment_reader r;
    struct record_header h;
    bool damage;
    *out = 0;
    int k = segment_reader_open(fd, &r);
    if (k == 0)
        k = segment_reader_next(&r, true, &h, &damage);
    if (k == 1)
        *out = h.sequence;
    return k == -EBADMSG || k == -ENODATA ? 0 : MIN(k, 0);
}

static int list_again(struct journal *j)
{
    uint64_t *list;
    size_t n;
    int r = segment_list(j->config.dir_fd, &list, &n);
    if (r < 0)
        return r;
    free(j->segments);
    j->segments = list;
    j->n_segments = n;
    return 0;
}

int journal_replay(struct journal *j, const struct journal_replay *how, struct journal_found *out)
{
    int listed = list_again(j);
    if (listed < 0)
        return listed;
    size_t from = j->n_segments;
    for (uint64_t first = 0; from > 0 && (first == 0 || first > how->after + 1);) {
        from--;
        int r = first_lsn(j, j->segments[from], &first);
        if (r < 0)
            return r;
    }
    struct replay p = { .how = how, .payload = BUF(PAYLOAD_MAX) };
    int r = 0;
    for (size_t i = from; i < j->n_segments && r == 0; i++)
        r = replay_segment(j, j->segments[i], &p);
    buf_done(&p.payload);
    if (r < 0)
        return r;
    if (how->repair)
        j->found = p.last;
    *out = (struct journal_found){ .last = p.last, .damaged = p.damaged };
    return 0;
}

static void drop_empty(struct journal *j)
{
    for (size_t i = 0; i < j->n_segments; i++) {
        char name[32];
        segment_name(j->segments[i], name);
        _cleanup_close_ int fd = open_segment(j, j->segments[i], O_RDONLY);
        struct segment_reader r;
        struct record_header h;
        bool damage;
        if (fd < 0)
            continue;
        int k = segment_reader_open(fd, &r);
        if (k == 0)
            k = segment_reader_next(&r, false, &h, &damage) == 0 && segment_reader_tail(&r) == SEGMENT_TAIL_CLEAN
                ? -ENODATA : 1;
        if (k == -ENODATA)
            unlinkat(j->config.dir_fd, name, 0);
    }
}

/* Those without a record go first, for the new one may need their room. A number that held none may come again. */
int journal_start(struct journal *j)
{
    drop_empty(j);
    struct syncer_config sync = {
        .dir_fd = j->config.dir_fd, .kind = 2, .segment_size = j->config.segment_size, .pool = POOL,
        .env = j->config.env, .first_number = j->n_segments ? j->segments[j->n_segments - 1] + 1 : 1,
    };
    int r = syncer_new(&sync, &j->sync);
    if (r == 0)
        r = syncer_take(j->sync, &j->current);
    if (r < 0)
        return r;
    j->end = SEGMENT_HEADER_SIZE;
    return 0;
}

int journal_fd(const struct journal *j)
{
    return syncer_fd(j->sync);
}

void journal_clear(struct journal *j)
{
    struct log_position done;
    syncer_clear(j->sync);
    while (syncer_ready(j->sync, &done))
        ;
}

void journal_frame(struct buf *frames, uint64_t lsn, str payload)
{
    pack_u64(frames, lsn);
    pack_str(frames, payload);
}

bool journal_frame_next(str *frames, uint64_t *out_lsn, str *out_payload)
{
    if (frames->n < FRAME_HEADER)
        return false;
    *out_lsn = get_u64(frames->p);
    *out_payload = str_of(frames->p + FRAME_HEADER, get_u32(frames->p + 8));
    *frames = str_from(*frames, FRAME_HEADER + out_payload->n);
    return true;
}

static uint64_t records_size(str frames)
{
    uint64_t total = 0, lsn;
    str payload;
    while (journal_frame_next(&frames, &lsn, &payload))
        total += (RECORD_HEADER_SIZE + payload.n + 7) & ~(uint64_t)7;
    return total;
}

static int make_room(struct journal *j, uint64_t total)
{
    if (total > j->current->size - MIN(j->end, j->current->size) && j->end > SEGMENT_HEADER_SIZE) {
        struct segment_file *next;
        int r = syncer_take(j->sync, &next);
        if (r < 0)
            return r;
        syncer_mark(j->sync, j->current, j->end, true, 0);
        j->current = next;
        j->end = SEGMENT_HEADER_SIZE;
    }
    uint64_t need = j->end + total;
    if (need <= j->current->size)
        return 0;
    if (fallocate(j->current->fd, 0, 0, (off_t)need) < 0 && errno != EOPNOTSUPP)
        return errno == EDQUOT ? -ENOSPC : -errno;
    j->current->size = need;
    return 0;
}

int journal_write(struct journal *j, str frames)
{
    if (journal_failed(j))
        return -EIO;
    int r = make_room(j, records_size(frames));
    if (r < 0)
        return r;
    buf_clear(&j->stage);
    uint64_t lsn = 0;
    str payload;
    while (journal_frame_next(&frames, &lsn, &payload)) {
        struct record_header h = { .type = RECORD_JOURNAL, .offset = j->end + j->stage.n,
                                   .meta_len = (uint32_t)payload.n, .meta_crc = crc32c(0, payload), .sequence = lsn };
        char header[RECORD_HEADER_SIZE];
        record_header_encode(&h, j->current->key, header);
        buf_add(&j->stage, str_of(header, sizeof(header)));
        buf_add(&j->stage, payload);
        buf_space(&j->stage, -j->stage.n & 7);
    }
    if (j->stage.failed)
        return -ENOMEM;
    if (segment_pwrite(j->current->fd, buf_str(&j->stage), j->end) < 0)
        return j->failed = -EIO;
    j->end += j->stage.n;
    syncer_mark(j->sync, j->current, j->end, false, lsn);
    return 0;
}

uint64_t journal_durable(const struct journal *j)
{
    uint64_t reached = syncer_reached(j->sync);
    return MAX(reached, j->found);
}

int journal_failed(const struct journal *j)
{
    return j->failed ? j->failed : syncer_failed(j->sync);
}

uint64_t journal_syncs(const struct journal *j)
{
    return syncer_batches(j->sync);
}
