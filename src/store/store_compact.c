/* Compaction (DESIGN 5.10): what is live in a segment that is mostly dead goes to a segment of the store's own log;
 * a segment of which no mailbox has anything any more is removed once its last expunge is older than the retention.
 * The loop decides in small steps, a thread does what needs the disk.
 *
 * Invariants
 * 1. A copy is durable before its `relocated` record is staged; a segment is removed only when the committed index,
 *    made of durable records, names nothing in it.
 * 2. Whoever opened a mailbox before that may still hold its old places: removal waits until no such reader is left.
 * 3. A copy that no record speaks of is nothing: removed at the next start.
 * 4. A copy leaves room for a segment of the journal. With less than a tenth of the disk free, the next copy waits
 *    until the segment that the last one emptied is removed, so that never more than one is borrowed. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "store/compactor.h"
#include "store/store_internal.h"

#define ROWS_A_STEP 16
#define MOVES_A_STEP 512
#define MOVES_A_RECORD ((size_t)128) /* and a commit: mail that comes meanwhile waits for them */
#define MOVES_MAX ((size_t)1 << 20)
#define PENDING_MAX 4096
#define LOCK_NAME "compaction.lock"

enum state { IDLE, SCAN, LIST, COPY, STAGE, SETTLE, REMOVE };

struct pending { /* to be removed */
    char log[LOG_NAME_MAX];
    size_t log_n;
    uint64_t segment, lsn; /* lsn: readers of older states may still need it */
};

struct compaction {
    enum state state;
    bool now, again;     /* again: asked for while a pass was under way */
    bool first_remove;   /* the scan goes on when what can be removed is */
    bool kept;           /* nothing more could be removed */
    bool said;           /* that there is no room */
    uint64_t removed_before; /* this pass */
    uint64_t retention_us;
    struct index_segment at;    /* where the scan is; `name` is `log` */
    char log[LOG_NAME_MAX];
    struct journal_move last, *moves;
    size_t n, cap, staged;
    uint64_t lsn, last_number;
    struct pending *pending;
    size_t n_pending;
    int dir_fd, to_fd;
    struct compactor *compactor;
    struct compactor_job job;
    struct store_compaction stats;
};

static void close_dirs(struct compaction *c)
{
    if (c->dir_fd >= 0)
        close(TAKE_FD(c->dir_fd));
    if (c->to_fd >= 0)
        close(TAKE_FD(c->to_fd));
}

void store_compaction_free(struct compaction *c)
{
    if (!c)
        return;
    compactor_free(c->compactor);
    close_dirs(c);
    free(c->moves);
    free(c->pending);
    free(c);
}

static int compaction_new(struct store *s)
{
    struct compaction *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->dir_fd = c->to_fd = -1;
    int r = compactor_new(s->config.env, &c->compactor);
    if (r < 0) {
        free(c);
        return r;
    }
    s->compaction = c;
    return 0;
}

int store_hold_compaction(int data_fd, int *out_fd)
{
    struct stat st;
    _cleanup_close_ int fd = openat(data_fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fstat(data_fd, &st) < 0)
        return -errno;
    /* one that root's tool made is for the store's user to open */
    if (geteuid() == 0 && st.st_uid != 0 && fchown(fd, st.st_uid, st.st_gid) < 0)
        return -errno;
    if (flock(fd, LOCK_SH) < 0)
        return -errno;
    *out_fd = TAKE_FD(fd);
    return 0;
}

static int drop_orphans(struct store *s, int dir_fd)
{
    _cleanup_free_ uint64_t *list = NULL;
    size_t n = 0;
    int r = segment_list(dir_fd, &list, &n);
    for (size_t i = 0; i < n && r >= 0; i++) {
        uint64_t offset;
        bool sealed;
        char name[32];
        r = index_applied(s->index, STORE_LOG, list[i], &offset, &sealed);
        segment_name(list[i], name);
        if (r == 0 && unlinkat(dir_fd, name, 0) < 0)
            r = -errno;
    }
    return MIN(r, 0);
}

int store_compact_recover(struct store *s)
{
    _cleanup_close_ int dir_fd = store_log_dir(s, STORE_LOG);
    return dir_fd < 0 ? dir_fd : drop_orphans(s, dir_fd);
}

static void begin_pass(struct compaction *c)
{
    c->state = SCAN;
    c->again = c->kept = false;
    c->at = (struct index_segment){ 0 };
    c->stats.postponed = 0;
    c->removed_before = c->stats.removed;
}

int store_compact(struct store *s, bool now, uint64_t retention_us)
{
    int r = s->compaction ? 0 : compaction_new(s);
    if (r < 0)
        return r;
    struct compaction *c = s->compaction;
    c->now = now;
    c->retention_us = retention_us;
    if (c->state != IDLE) {
        c->again = true;
        return 0;
    }
    begin_pass(c);
    return 0;
}

static bool is_old(const struct store *s, uint64_t dead_us)
{
    const struct compaction *c = s->compaction;
    return c->now || s->config.env->wall_us() >= dead_us + c->retention_us;
}

/* Whether what is live in the segment may be copied now. While the dead part has to be kept for a time, a copy needs
 * more room, not less. 0, 1, or 2: after something was removed. */
static int may_copy(struct store *s)
{
    struct compaction *c = s->compaction;
    struct statvfs v;
    if (c->at.dead < c->at.end / 2 || fstatvfs(s->data_fd, &v) < 0)
        return 0;
    bool tight = v.f_bavail <= v.f_blocks / 10;
    if (tight && !is_old(s, c->at.dead_us))
        return 0;
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    uint64_t needed = c->at.end - MIN(c->at.dead, c->at.end) + s->config.segment_size;
    if (!s->stuck && room >= needed && !(tight && c->n_pending))
        return 1;
    if (c->n_pending && !c->kept)
        return 2;
    c->stats.postponed++;
    if (room < needed && !c->said)
        store_note(s, "compaction waits for room: %llu bytes are free, %llu are needed", (unsigned long long)room,
                   (unsigned long long)needed);
    c->said |= room < needed;
    return 0;
}

static bool is_pending(const struct compaction *c, str log, uint64_t segment)
{
    for (size_t i = 0; i < c->n_pending; i++)
        if (c->pending[i].segment == segment && str_eq(str_of(c->pending[i].log, c->pending[i].log_n), log))
            return true;
    return false;
}

static int add_pending(struct store *s, str log, uint64_t segment)
{
    struct compaction *c = s->compaction;
    if (c->n_pending >= PENDING_MAX || is_pending(c, log, segment))
        return 0;
    if (!c->pending)
        c->pending = calloc(PENDING_MAX, sizeof(*c->pending));
    if (!c->pending)
        return -ENOMEM;
    struct pending *p = &c->pending[c->n_pending++];
    *p = (struct pending){ .log_n = log.n, .segment = segment, .lsn = store_committed(s) };
    memcpy(p->log, log.p, log.n);
    return 0;
}

/* Nothing is written to it any more: an earlier process or compaction made it, or it is cut at its end already. */
static bool is_complete(const struct index_segment *g, const struct stat *st)
{
    return g->sealed || (g->end > SEGMENT_HEADER_SIZE && (uint64_t)st->st_size == g->end);
}

/* One segment the scan has come to. 0, 1: to be copied, 2: again after something was removed, negative errno. */
static int look_at(struct store *s, int dir_fd)
{
    struct compaction *c = s->compaction;
    struct stat st;
    char name[32];
    segment_name(c->at.segment, name);
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno; /* removed long ago */
    if (!is_complete(&c->at, &st))
        return 0;
    if (!c->at.used)
        return is_old(s, c->at.dead_us) ? add_pending(s, c->at.name, c->at.segment) : 0;
    return may_copy(s);
}

static int scan(struct store *s)
{
    struct compaction *c = s->compaction;
    if (index_state(s->index)->gaps)
        return 0; /* what was in a segment is not known yet */
    for (int i = 0; i < ROWS_A_STEP; i++) {
        int r = index_segment_next(s->index, &c->at);
        if (r == 0) {
            c->state = REMOVE;
            c->stats.passes++;
        }
        if (r <= 0)
            return r;
        if (!log_name_valid(c->at.name))
            return -EBADMSG;
        memcpy(c->log, c->at.name.p, c->at.name.n);
        c->at.name.p = c->log;
        _cleanup_close_ int dir_fd = store_log_dir(s, c->at.name);
        r = dir_fd < 0 ? dir_fd : look_at(s, dir_fd);
        if (r < 0)
            return r;
        if (r == 2) {
            c->at.segment--; /* it is looked at once more */
            c->first_remove = true;
            c->state = REMOVE;
            return 0;
        }
        if (r == 1) {
            c->state = LIST;
            c->last = (struct journal_move){ 0 };
            c->n = c->staged = 0;
            return 0;
        }
    }
    return 0;
}

static int add_move(void *arg, const struct journal_move *m)
{
    struct compaction *c = arg;
    if (c->n == c->cap) {
        size_t cap = MAX(c->cap * 2, (size_t)1024);
        struct journal_move *more = realloc(c->moves, cap * sizeof(*more));
        if (!more)
            return -ENOMEM;
        c->moves = more;
        c->cap = cap;
    }
    c->moves[c->n++] = *m;
    return 0;
}

static int begin_copy(struct store *s)
{
    struct compaction *c = s->compaction;
    uint64_t last;
    int r = index_segment_last(s->index, STORE_LOG, &last);
    if (r < 0)
        return r;
    close_dirs(c);
    c->dir_fd = store_log_dir(s, c->at.name);
    c->to_fd = store_log_dir(s, STORE_LOG);
    if (c->dir_fd < 0 || c->to_fd < 0)
        return c->dir_fd < 0 ? c->dir_fd : c->to_fd;
    c->last_number = MAX(c->last_number, last) + 1;
    c->job = (struct compactor_job){ .dir_fd = c->dir_fd, .number = c->at.segment, .moves = c->moves, .n = c->n,
                                     .to_fd = c->to_fd, .to_number = c->last_number, .hurry = c->now };
    c->state = COPY;
    return compactor_start(c->compactor, &c->job);
}

static int list(struct store *s)
{
    struct compaction *c = s->compaction;
    int r = index_segment_walk(s->index, &c->at, &c->last, MOVES_A_STEP, add_move, c);
    if (r < 0)
        return r;
    if (r == MOVES_A_STEP && c->n < MOVES_MAX)
        return 0;
    if (c->n)
        return begin_copy(s);
    c->state = SCAN; /* expunged meanwhile */
    return 0;
}

static int copied(struct store *s)
{
    struct compaction *c = s->compaction;
    if (compactor_busy(c->compactor))
        return 0;
    close_dirs(c);
    c->state = c->job.result == 0 ? STAGE : SCAN;
    if (c->job.result == 0) {
        c->stats.copied_bytes += c->job.end;
        return 0;
    }
    store_note(s, "log %.*s segment %llu cannot be compacted: %s", STR_ARG(c->at.name),
               (unsigned long long)c->at.segment,
               c->job.result == -EBADMSG  ? "it is damaged"
               : c->job.result == -ENOSPC ? "there is no room for the copy"
                                          : "it cannot be read, or the copy not written");
    return 0;
}

/* The journal cannot be written: the room of the copy is worth more than the copy. */
static int drop_copy(struct store *s)
{
    struct compaction *c = s->compaction;
    char name[32];
    segment_name(c->job.to_number, name);
    _cleanup_close_ int dir_fd = store_log_dir(s, STORE_LOG);
    if (dir_fd < 0 || unlinkat(dir_fd, name, 0) < 0)
        return dir_fd < 0 ? dir_fd : -errno;
    return -ENOSPC;
}

static int stage(struct store *s)
{
    struct compaction *c = s->compaction;
    if (s->stuck)
        return drop_copy(s);
    if (store_committed(s) < c->lsn || store_batch_full(s))
        return 0;
    struct journal_record record = { .kind = JOURNAL_relocated, .relocated = {
        .log = c->at.name, .segment = c->at.segment, .to_log = STORE_LOG, .to_segment = c->job.to_number,
        .end = c->job.end, .moves = c->moves + c->staged, .n = MIN(c->n - c->staged, MOVES_A_RECORD) } };
    int r = store_stage(s, &record);
    if (r < 0)
        return r;
    c->lsn = record.lsn;
    c->staged += record.relocated.n;
    c->stats.moved += record.relocated.n;
    if (c->staged == c->n)
        c->state = SETTLE;
    return 0;
}

static void settle(struct store *s)
{
    struct compaction *c = s->compaction;
    if (store_committed(s) < c->lsn)
        return;
    c->at.segment--; /* it is looked at once more, to be removed */
    c->state = SCAN;
}

/* A backup or a check that is under way wants everything to stay. */
static int begin_remove(struct store *s, const struct pending *p)
{
    struct compaction *c = s->compaction;
    str log = str_of(p->log, p->log_n);
    store_log_forget(s, log, p->segment);
    c->dir_fd = store_log_dir(s, log);
    if (c->dir_fd < 0)
        return c->dir_fd;
    c->job = (struct compactor_job){ .dir_fd = c->dir_fd, .number = p->segment,
                                     .may_be_last = str_eq(log, STORE_LOG) }; /* its numbers are in the index */
    return compactor_start(c->compactor, &c->job);
}

static void removed(struct store *s)
{
    struct compaction *c = s->compaction;
    close_dirs(c);
    c->stats.removed += c->job.result == 0;
    c->kept &= c->job.result != 0;
    if (c->job.result < 0 && c->job.result != -EBUSY)
        store_note(s, "a segment could not be removed: %s", strerror(-c->job.result));
}

static bool hold_lock(struct store *s)
{
    if (s->compaction_fd < 0)
        s->compaction_fd = openat(s->data_fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    return s->compaction_fd >= 0 && flock(s->compaction_fd, LOCK_EX | LOCK_NB) == 0;
}

/* Removes the next one no reader may still need. 1: one is under way, 0: none can be now. */
static int remove_next(struct store *s, uint64_t oldest_reader)
{
    struct compaction *c = s->compaction;
    if (compactor_busy(c->compactor))
        return 1;
    if (c->dir_fd >= 0)
        removed(s);
    size_t i = 0;
    while (i < c->n_pending && c->pending[i].lsn > oldest_reader)
        i++;
    if (i == c->n_pending || !hold_lock(s)) {
        if (s->compaction_fd >= 0)
            flock(s->compaction_fd, LOCK_UN);
        return 0;
    }
    struct pending p = c->pending[i];
    c->pending[i] = c->pending[--c->n_pending];
    int r = begin_remove(s, &p);
    return r < 0 ? r : 1;
}

static int remove_step(struct store *s, uint64_t oldest_reader)
{
    struct compaction *c = s->compaction;
    int r = remove_next(s, oldest_reader);
    if (r != 0)
        return MIN(r, 0);
    if (c->first_remove) {
        c->first_remove = false;
        c->kept = true;
        c->state = SCAN;
        return 0;
    }
    c->said &= c->stats.postponed > 0;
    c->state = IDLE;
    if (c->again || (c->stats.postponed && c->stats.removed > c->removed_before))
        begin_pass(c);
    return 0;
}

static int step(struct store *s, uint64_t oldest_reader)
{
    struct compaction *c = s->compaction;
    switch (c->state) {
    case SCAN: return scan(s);
    case LIST: return list(s);
    case COPY: return copied(s);
    case STAGE: return stage(s);
    case SETTLE: settle(s); return 0;
    case REMOVE: return remove_step(s, oldest_reader);
    case IDLE: return 0;
    }
    return 0;
}

int store_compact_step(struct store *s, uint64_t oldest_reader)
{
    struct compaction *c = s->compaction;
    if (!c || s->failed)
        return s->failed;
    if (s->stuck && (c->state == SETTLE || (c->state == STAGE && c->staged)))
        return 0;
    /* what waits for readers is looked at again now and then, without a new pass */
    if (c->state == IDLE && c->n_pending)
        c->state = REMOVE;
    else if (c->state == IDLE)
        return 0;
    int r = store_commit_deferred(s);
    if (r == 0)
        r = step(s, oldest_reader);
    if (r == -EBADMSG && c->state != COPY) {
        c->state = IDLE;
        r = store_reindex(s);
    }
    if (r < 0 && r != -EIO) {
        store_note(s, "compaction gives up for now: %s", strerror(-r));
        c->state = IDLE;
        return 0;
    }
    return r < 0 ? r : c->state != IDLE;
}

void store_compaction(const struct store *s, struct store_compaction *out)
{
    *out = s->compaction ? s->compaction->stats : (struct store_compaction){ 0 };
    out->pending = s->compaction ? s->compaction->n_pending : 0;
    out->waits = s->compaction && s->compaction->state != IDLE;
}
