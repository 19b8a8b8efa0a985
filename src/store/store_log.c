/* Reading receive logs: what became durable while the server runs, and what earlier processes left. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/hash.h"
#include "store/store_internal.h"
#include "store/store_queue_internal.h"

#define CHUNK ((size_t)262144)
#define META_MAX ((uint32_t)1 << 26)
#define SEGMENTS_OPEN 16

bool log_name_valid(str name)
{
    bool ok = name.n > 0 && name.n <= LOG_NAME_MAX && name.p[0] != '.';
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        ok = ok && (ascii_alnum(c) || c == '-' || c == '_' || c == '.');
    }
    return ok;
}

static void segment_free(struct log_segment *g)
{
    if (g->fd >= 0)
        close(g->fd);
    free(g);
}

static void close_segments(struct store_log *l)
{
    for (struct log_segment *g = l->segments, *next; g; g = next) {
        next = g->next;
        segment_free(g);
    }
    l->segments = NULL;
    l->n_segments = 0;
}

void store_logs_free(struct store *s)
{
    for (struct store_log *l = s->logs, *next; l; l = next) {
        next = l->next;
        close_segments(l);
        if (l->dir_fd >= 0)
            close(l->dir_fd);
        free(l);
    }
    s->logs = NULL;
}

static struct store_log *find_log(const struct store *s, str name)
{
    struct store_log *l = s->logs;
    while (l && !str_eq(log_name_of(l), name))
        l = l->next;
    return l;
}

int store_log_dir(const struct store *s, str name)
{
    char path[LOG_NAME_MAX + 1];
    memcpy(path, name.p, name.n);
    path[name.n] = '\0';
    if (mkdirat(s->logs_fd, path, 0700) == 0)
        fsync(s->logs_fd);
    int fd = openat(s->logs_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void store_log_forget(struct store *s, str name, uint64_t segment)
{
    queue_file_forget(s, name, segment);
    struct store_log *l = find_log(s, name);
    for (struct log_segment **at = l ? &l->segments : NULL; at && *at; at = &(*at)->next)
        if ((*at)->number == segment) {
            struct log_segment *g = *at;
            *at = g->next;
            segment_free(g);
            l->n_segments--;
            return;
        }
}

static int add_log(struct store *s, str name, struct store_log **out)
{
    struct store_log *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    memcpy(l->name, name.p, name.n);
    l->dir_fd = store_log_dir(s, name);
    if (l->dir_fd < 0) {
        int r = l->dir_fd;
        free(l);
        return r;
    }
    l->next = s->logs;
    s->logs = l;
    *out = l;
    return 0;
}

static int open_in(int dir_fd, uint64_t segment, int flags)
{
    char name[32];
    segment_name(segment, name);
    int fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The least recently used segment that the index has all of makes room: what it was staged to can be read there
 * again. */
static void close_oldest(struct store *s, struct store_log *l)
{
    struct log_segment **oldest = NULL;
    for (struct log_segment **at = &l->segments; *at; at = &(*at)->next)
        if ((*at)->last_lsn <= store_committed(s))
            oldest = at;
    if (!oldest)
        return;
    struct log_segment *g = *oldest;
    *oldest = g->next;
    segment_free(g);
    l->n_segments--;
}

static int open_segment(struct store *s, struct store_log *l, uint64_t number, struct log_segment **out)
{
    for (struct log_segment **at = &l->segments; *at; at = &(*at)->next)
        if ((*at)->number == number) {
            struct log_segment *g = *at;
            *at = g->next;
            g->next = l->segments;
            l->segments = g;
            *out = g;
            return 0;
        }
    if (l->n_segments >= SEGMENTS_OPEN)
        close_oldest(s, l);
    _cleanup_close_ int fd = open_in(l->dir_fd, number, O_RDONLY);
    if (fd < 0)
        return fd;
    struct segment_reader r;
    int k = segment_reader_open(fd, &r);
    if (k < 0)
        return k == -EBADMSG || k == -EPROTO ? -ENODATA : k; /* -EBADMSG is for the index */
    struct log_segment *g = calloc(1, sizeof(*g));
    if (!g)
        return -ENOMEM;
    bool sealed;
    k = index_applied(s->index, log_name_of(l), number, &g->staged, &sealed);
    if (k < 0) {
        free(g);
        return k;
    }
    g->number = number;
    memcpy(g->key, r.header.key, sizeof(g->key));
    g->fd = TAKE_FD(fd);
    g->next = l->segments;
    l->segments = g;
    l->n_segments++;
    *out = g;
    return 0;
}

/* meta.p == NULL: its CRC is wrong. */
static int read_meta(struct store *s, int fd, const struct record_header *h, str *out)
{
    if (h->meta_len > META_MAX) {
        *out = STR_NONE;
        return 0;
    }
    buf_clear(&s->meta);
    char *p = buf_space(&s->meta, h->meta_len);
    if (!p)
        return -ENOMEM;
    ssize_t n = segment_pread(fd, p, h->meta_len, h->offset + RECORD_HEADER_SIZE + h->content_len);
    if (n < 0)
        return (int)n;
    bool good = (size_t)n == h->meta_len && crc32c(0, buf_str(&s->meta)) == h->meta_crc;
    *out = good ? str_of(p, h->meta_len) : STR_NONE;
    return 0;
}

/* One record whose header is genuine: staged, or passed over with a reason. */
static int stage_record(struct store *s, const struct log_message *m)
{
    struct journal_skipped skipped = { .log = m->log, .segment = m->segment, .offset = m->header.offset,
                                       .end = record_end(&m->header), .again = m->again };
    if (m->header.type != RECORD_MESSAGE) {
        bool newer = m->header.type & RECORD_MUST_UNDERSTAND;
        skipped.reason = newer ? S("a record of a type that only a newer version knows")
            : S("a record of another type");
    } else if (!m->meta.p) {
        skipped.reason = S("the record of a message is damaged");
    } else {
        return store_stage_message(s, m);
    }
    return store_stage_skipped(s, &skipped);
}

/* No header at `staged` where one must be: goes on at the next genuine one. */
static int walk_round(struct store *s, struct store_log *l, struct log_segment *g, uint64_t to)
{
    struct segment_reader r;
    struct record_header h;
    bool damage;
    int k = segment_reader_open(g->fd, &r);
    if (k < 0)
        return k;
    r.at = g->staged;
    r.size = MIN(to, r.size);
    k = segment_reader_next(&r, false, &h, &damage);
    if (k < 0)
        return k;
    uint64_t next = k == 1 ? h.offset : to;
    struct journal_skipped skipped = { .log = log_name_of(l), .segment = g->number, .offset = g->staged, .end = next,
                                       .reason = S("damage") };
    k = store_stage_skipped(s, &skipped);
    g->staged = next;
    return k;
}

/* Stages the records of s->chunk, which was read at g->staged. 0: the next one needs more bytes or does not begin here
 * (*out_stop), negative errno. */
static int stage_chunk(struct store *s, struct store_log *l, struct log_segment *g, uint64_t to, bool *out_stop)
{
    str chunk = buf_str(&s->chunk);
    uint64_t base = g->staged;
    *out_stop = true;
    for (size_t at = 0; chunk.n - at >= RECORD_HEADER_SIZE; at = g->staged - base) {
        struct log_message m = { .log = log_name_of(l), .segment = g->number };
        if (record_header_decode(str_from(chunk, at), g->key, g->staged, &m.header) != 1 || record_end(&m.header) > to)
            return 0;
        uint64_t length = record_end(&m.header) - g->staged;
        int r = 0;
        if (length <= chunk.n - at) {
            m.meta = str_of(chunk.p + at + RECORD_HEADER_SIZE + m.header.content_len, m.header.meta_len);
            if (crc32c(0, m.meta) != m.header.meta_crc)
                m.meta = STR_NONE;
        } else if (at > 0 && length <= CHUNK) {
            *out_stop = false; /* whole in the next chunk */
            return 0;
        } else {
            r = read_meta(s, g->fd, &m.header, &m.meta);
        }
        if (r == 0)
            r = stage_record(s, &m);
        if (r < 0)
            return r;
        g->staged += length;
        g->last_lsn = s->next_lsn - 1;
        if (length > chunk.n - at)
            break;
    }
    *out_stop = false;
    return 0;
}

static int stage_until(struct store *s, struct store_log *l, struct log_segment *g, uint64_t to)
{
    struct stat st;
    if (fstat(g->fd, &st) < 0)
        return -errno;
    to = MIN(to, (uint64_t)st.st_size); /* a role may only speak of what is there */
    while (g->staged < to) {
        buf_clear(&s->chunk);
        size_t want = MIN(to - g->staged, (uint64_t)CHUNK);
        int r = buf_reserve(&s->chunk, CHUNK);
        if (r < 0)
            return r;
        ssize_t n = segment_pread(g->fd, s->chunk.p, want, g->staged);
        if (n < 0)
            return (int)n;
        s->chunk.n = (size_t)n;
        bool stop;
        r = stage_chunk(s, l, g, to, &stop);
        if (r == 0 && (stop || n < RECORD_HEADER_SIZE))
            r = walk_round(s, l, g, to);
        g->last_lsn = s->next_lsn - 1;
        if (r < 0)
            return r;
    }
    return 0;
}

int store_log_synced(struct store *s, str log, struct log_position to)
{
    if (s->failed)
        return s->failed;
    struct store_log *l = find_log(s, log);
    if (!l || to.segment < l->first_segment)
        return 0;
    struct log_segment *g;
    int r = open_segment(s, l, to.segment, &g);
    if (r == -EBADMSG && store_reindex(s) == 0)
        r = open_segment(s, l, to.segment, &g);
    if (r == -EBADMSG)
        return -EIO;
    if (r == -ENODATA) {
        store_note(s, "log %s segment %llu cannot be read", l->name, (unsigned long long)to.segment);
        return 0;
    }
    if (r == -ENOENT)
        return 0; /* given up by its writer */
    return r < 0 ? r : stage_until(s, l, g, to.offset);
}

/* From r->at to the end of the reader, with CRCs. */
static int stage_reader(struct store *s, str log, struct segment_reader *r, bool again)
{
    for (;;) {
        struct log_message m = { .log = log, .segment = r->header.number, .again = again };
        uint64_t from = r->at;
        bool damage;
        int k = segment_reader_next(r, true, &m.header, &damage);
        if (k <= 0)
            return k;
        if (damage) {
            struct journal_skipped skipped = { .log = log, .segment = m.segment, .offset = from, .end = m.header.offset,
                                               .again = again, .reason = S("damage") };
            k = store_stage_skipped(s, &skipped);
        } else {
            k = 0;
        }
        if (k == 0)
            k = read_meta(s, r->fd, &m.header, &m.meta);
        if (k == 0)
            k = stage_record(s, &m);
        if (k < 0)
            return k;
    }
}

static int remove_segment(const struct store_log *l, uint64_t number)
{
    char name[32];
    segment_name(number, name);
    return unlinkat(l->dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* What to do with the end of a segment that nobody writes any more. Unfinished writes are cut; damage is kept for
 * `store check`. */
static int finish_segment(struct store *s, struct store_log *l, struct segment_reader *r, bool has_records)
{
    int tail = segment_reader_tail(r);
    if (tail < 0)
        return tail;
    if (tail == SEGMENT_TAIL_DAMAGED) {
        struct journal_skipped skipped = { .log = log_name_of(l), .segment = r->header.number, .offset = r->at,
                                           .end = r->size, .reason = S("damage behind the last record") };
        int k = store_stage_skipped(s, &skipped);
        r->at = r->size;
        if (k < 0)
            return k;
    } else if (!has_records) {
        return remove_segment(l, r->header.number);
    } else if (r->at < r->size && (ftruncate(r->fd, (off_t)r->at) < 0 || fsync(r->fd) < 0)) {
        return -errno;
    }
    struct journal_record record = { .kind = JOURNAL_sealed,
                                     .sealed = { .log = log_name_of(l), .segment = r->header.number, .end = r->at } };
    return store_stage(s, &record);
}

static int attach_segment(struct store *s, struct store_log *l, uint64_t number)
{
    uint64_t applied;
    bool sealed;
    int k = index_applied(s->index, log_name_of(l), number, &applied, &sealed);
    if (k < 0 || sealed)
        return MIN(k, 0);
    _cleanup_close_ int fd = open_in(l->dir_fd, number, O_RDWR);
    if (fd < 0)
        return fd;
    if (fdatasync(fd) < 0)
        return -errno;
    struct segment_reader r;
    k = segment_reader_open(fd, &r);
    if (k == -ENODATA)
        return remove_segment(l, number);
    if (k == -EBADMSG) {
        store_note(s, "log %s segment %llu: the header is damaged, nothing of it can be read", l->name,
                   (unsigned long long)number);
        return 0;
    }
    if (k < 0)
        return k;
    if (r.size < applied)
        store_note(s, "log %s segment %llu is shorter than what was delivered from it", l->name,
                   (unsigned long long)number);
    r.at = MIN(applied, r.size);
    uint64_t from = r.at;
    k = stage_reader(s, log_name_of(l), &r, false);
    if (k < 0)
        return k;
    return finish_segment(s, l, &r, applied > SEGMENT_HEADER_SIZE || r.at > from);
}

static int attach(struct store *s, str log, uint64_t first_segment)
{
    int r = store_flush(s);
    if (r < 0)
        return r;
    struct store_log *l = find_log(s, log);
    if (!l)
        r = add_log(s, log, &l);
    if (r < 0)
        return r;
    close_segments(l);
    l->first_segment = first_segment;
    _cleanup_free_ uint64_t *list = NULL;
    size_t n = 0;
    r = segment_list(l->dir_fd, &list, &n);
    for (size_t i = 0; i < n && list[i] < first_segment && r == 0; i++)
        r = attach_segment(s, l, list[i]);
    return r;
}

int store_log_attach(struct store *s, str log, uint64_t first_segment)
{
    if (!s->has_directory)
        return -EINVAL;
    if (!log_name_valid(log))
        return -EBADMSG;
    if (s->lost) { /* the records that spoke of copies may be among the lost: better twice than not at all */
        s->lost = false;
        int k = store_log_attach(s, STORE_LOG, UINT64_MAX);
        if (k < 0)
            return k;
    }
    int r = attach(s, log, first_segment);
    if (r != -EBADMSG)
        return r;
    r = store_reindex(s);
    if (r == 0)
        r = attach(s, log, first_segment);
    return r == -EBADMSG ? -EIO : r;
}

static int fill_gap(struct store *s, const struct index_gap *gap, int dir_fd)
{
    struct journal_skipped rest = { .log = gap->log, .segment = gap->segment, .offset = gap->from, .end = gap->to,
                                    .again = true, .reason = S("the segment is gone or damaged") };
    _cleanup_close_ int fd = open_in(dir_fd, gap->segment, O_RDONLY);
    struct segment_reader r;
    if (fd >= 0 && segment_reader_open(fd, &r) == 0) {
        r.at = MIN(gap->from, r.size);
        r.size = MIN(gap->to, r.size);
        int k = stage_reader(s, gap->log, &r, true);
        if (k < 0)
            return k;
        rest.offset = MAX(r.at, gap->from);
        rest.reason = S("damage");
    }
    return rest.offset < rest.end ? store_stage_skipped(s, &rest) : 0;
}

/* One gap at a time: it is gone from the index when its records are applied. */
int store_fill_gaps(struct store *s)
{
    while (index_state(s->index)->gaps) {
        struct index_gap gap;
        int r = index_gap(s->index, &gap);
        if (r <= 0)
            return r;
        store_note(s, "log %.*s segment %llu: the journal lost what became of bytes %llu to %llu: delivered again",
                   STR_ARG(gap.log), (unsigned long long)gap.segment, (unsigned long long)gap.from,
                       (unsigned long long)gap.to);
        char log[LOG_NAME_MAX];
        if (!log_name_valid(gap.log))
            return -EBADMSG;
        memcpy(log, gap.log.p, gap.log.n); /* the index may forget it while records are staged */
        gap.log.p = log;
        _cleanup_close_ int dir_fd = store_log_dir(s, gap.log);
        if (dir_fd < 0)
            return dir_fd;
        r = fill_gap(s, &gap, dir_fd);
        if (r == 0)
            r = store_flush(s);
        if (r < 0)
            return r;
    }
    return 0;
}

int store_segment_open(struct store *s, str log, uint64_t segment, int *out_fd)
{
    const struct store_log *l = find_log(s, log);
    if (!log_name_valid(log))
        return -ENOENT;
    _cleanup_close_ int dir_fd = l ? -1 : store_log_dir(s, log);
    int fd = open_in(l ? l->dir_fd : dir_fd, segment, O_RDONLY);
    if (fd < 0)
        return fd;
    *out_fd = fd;
    return 0;
}
