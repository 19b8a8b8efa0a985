/* The store: opening it, and its turns. See store.h and store_internal.h. */
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "store/cards_file.h"
#include "store/index_watch.h"
#include "store/store_internal.h"
#include "store/store_queue_internal.h"

#define CHUNK_MAX ((size_t)1 << 20)
#define META_MAX ((size_t)1 << 27)
#define PAYLOAD_MAX ((size_t)1 << 28)
#define BATCH_ARENA ((size_t)1 << 29)
/* With a full disk so much is staged before the store gives up. */
#define BATCH_BYTES_STUCK (16 * BATCH_BYTES)
#define UIDS_A_RECORD 4096
/* Without a commit of the index, which is a view and may be behind its journal: a commit costs more than most changes,
 * and most messages of the queue are gone before they get a row. */
#define DEFERRED_BYTES ((size_t)1 << 20)
#define DEFERRED_MS 200

void store_note(struct store *s, const char *fmt, ...)
{
    if (!s->config.note)
        return;
    _cleanup_buf_ struct buf text = BUF(4096);
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    s->config.note(s->config.arg, buf_str(&text));
}

static int open_folder(int dir_fd, const char *name, int *out)
{
    if (mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *out = fd;
    return 0;
}

int store_lock(int data_fd, int *out_fd)
{
    _cleanup_close_ int fd = openat(data_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    *out_fd = TAKE_FD(fd);
    return 0;
}

static int open_all(struct store *s)
{
    int r = open_folder(s->config.data_fd, ".", &s->data_fd);
    if (r == 0)
        r = store_lock(s->data_fd, &s->lock_fd);
    if (r == 0)
        r = open_folder(s->data_fd, "log", &s->logs_fd);
    if (r == 0)
        r = open_folder(s->data_fd, "journal", &s->journal_dir_fd);
    if (r == 0 && fsync(s->data_fd) < 0)
        r = -errno;
    if (r == 0)
        r = store_recover(s);
    if (r == 0)
        store_cards_open(s);
    return r;
}

static void batch_clear(struct batch *b)
{
    buf_clear(&b->frames);
    arena_clear(&b->arena);
    b->last_lsn = b->log_bytes = 0;
    b->notes = NULL;
    b->notes_end = &b->notes;
    b->queued = NULL;
    b->queued_end = &b->queued;
    b->only_queue = true;
    b->has_copies = b->shown = false;
}

int store_open(const struct store_config *config, struct store **out)
{
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->config = *config;
    s->data_fd = s->logs_fd = s->journal_dir_fd = s->lock_fd = s->compaction_fd = -1;
    s->next_lsn = 1;
    s->payload = BUF(PAYLOAD_MAX);
    s->chunk = BUF(CHUNK_MAX);
    s->meta = BUF(META_MAX);
    s->deferred = BUF(4 * PAYLOAD_MAX);
    for (size_t i = 0; i < ARRAY_LEN(s->batches); i++) {
        s->batches[i] = (struct batch){ .frames = BUF(2 * PAYLOAD_MAX), .arena = ARENA(BATCH_ARENA) };
        batch_clear(&s->batches[i]);
    }
    s->open = &s->batches[0];
    s->queue = queue_new(config->env);
    uint8_t key[16];
    config->env->random(key, sizeof(key));
    store_boxes_init(s, key);
    int r = s->queue ? open_all(s) : -ENOMEM;
    if (r < 0) {
        store_close(s);
        return r == -EBADMSG ? -EIO : r;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (s->early && !s->failed && store_idle(s)) /* all that was told is durable */
        unlinkat(s->data_fd, EARLY, 0);
    if (s->index && !s->failed)
        store_settle(s); /* else it is replayed */
    store_compaction_free(s->compaction);
    queue_free(s->queue);
    journal_free(s->journal);
    index_close(s->index);
    index_watch_free(s->watch);
    cards_files_close(s->cards);
    store_logs_free(s);
    store_boxes_free(s);
    for (size_t i = 0; i < ARRAY_LEN(s->batches); i++) {
        buf_done(&s->batches[i].frames);
        arena_done(&s->batches[i].arena);
    }
    buf_done(&s->payload);
    buf_done(&s->chunk);
    buf_done(&s->meta);
    buf_done(&s->deferred);
    int fds[] = { s->data_fd, s->logs_fd, s->journal_dir_fd, s->lock_fd, s->compaction_fd };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(s);
}

void store_set_key(struct store *s, const uint8_t key[16])
{
    memcpy(s->key, key, sizeof(s->key));
    s->has_key = true;
}

void store_set_directory(struct store *s, const struct directory *d)
{
    s->directory = *d;
    s->has_directory = true;
}

static bool is_of_cards(const struct journal_record *r)
{
    return r->kind == JOURNAL_copied || r->kind == JOURNAL_mailbox_deleted;
}

/* Does only the queue wait for it? A DSN is none of these: that it was made must be seen in the index. */
static bool is_of_queue(const struct journal_record *r)
{
    const struct journal_delivered *d = &r->delivered;
    if (r->kind == JOURNAL_delivered)
        return d->queue.n && !d->n_placed && !d->n_unplaced && !d->again && !d->queue.dsn_event;
    return r->kind == JOURNAL_attempted || r->kind == JOURNAL_queue_changed;
}

int store_stage(struct store *s, struct journal_record *r)
{
    struct batch *b = s->open;
    size_t before = b->frames.n;
    r->lsn = s->next_lsn;
    buf_clear(&s->payload);
    if (journal_record_encode(&s->payload, r) < 0)
        return -ENOMEM;
    journal_frame(&b->frames, r->lsn, buf_str(&s->payload));
    if (b->frames.failed) {
        b->frames.failed = 0;
        b->frames.n = before;
        return -ENOMEM;
    }
    b->first_lsn = before ? b->first_lsn : s->next_lsn;
    b->last_lsn = s->next_lsn++;
    b->only_queue = b->only_queue && is_of_queue(r);
    b->has_copies = b->has_copies || is_of_cards(r);
    if (r->kind == JOURNAL_mailbox_renamed || r->kind == JOURNAL_mailbox_deleted)
        s->tree_lsn = r->lsn;
    return 0;
}

bool store_batch_full(const struct store *s)
{
    return s->open->frames.n >= BATCH_BYTES || s->open->arena.used >= BATCH_MEMORY;
}

uint64_t store_committed(const struct store *s)
{
    return index_state(s->index)->lsn;
}

static int apply_frames(struct store *s, str frames)
{
    uint64_t lsn;
    str payload;
    struct arena scratch = ARENA(BATCH_ARENA);
    int r = 0;
    while (r == 0 && journal_frame_next(&frames, &lsn, &payload)) {
        struct journal_record record;
        r = journal_record_decode(&scratch, payload, lsn, &record);
        if (r == 0)
            r = index_apply(s->index, &record);
        if (scratch.used > BATCH_MEMORY)
            arena_clear(&scratch);
    }
    arena_done(&scratch);
    return r;
}

/* In the index's transaction, which is opened if need be: what is deferred, and then these. */
static int apply_more(struct store *s, str frames)
{
    if (!index_held(s->index))
        s->applied = 0;
    int r = index_held(s->index) ? 0 : index_begin(s->index);
    if (r == 0)
        r = apply_frames(s, str_from(buf_str(&s->deferred), s->applied));
    if (r == 0)
        r = apply_frames(s, frames);
    return r < 0 ? r : index_hold(s->index);
}

/* The transaction failed. What it had shown is there again, or the store ends: UIDs may have been given out over it. */
static int transaction_lost(struct store *s, int why)
{
    if (why == -EBADMSG)
        return store_reindex(s);
    index_rollback(s->index);
    if (!s->applied)
        return why;
    int r = index_begin(s->index);
    if (r == 0)
        r = apply_frames(s, str_first(buf_str(&s->deferred), s->applied));
    if (r == 0)
        r = index_hold(s->index);
    index_watch_forget(s->index); /* it was told */
    return r == 0 ? why : (s->failed = -EIO);
}

/* What was deferred, and then these, where the index shows it. */
static int show_frames(struct store *s, str frames)
{
    int r = buf_reserve(&s->deferred, frames.n);
    if (r < 0)
        return r;
    r = apply_more(s, frames);
    if (r < 0)
        r = transaction_lost(s, r);
    else
        buf_add(&s->deferred, frames);
    if (r < 0)
        return r;
    s->applied = s->deferred.n;
    store_feed_tell(s);
    return 0;
}

static int commit_index(struct store *s)
{
    s->deferred_ms = s->config.env->mono_ms();
    int r = index_held(s->index) ? index_commit(s->index) : 0;
    if (r < 0)
        r = transaction_lost(s, r);
    if (r == 0) {
        buf_clear(&s->deferred);
        s->applied = 0;
    }
    return r;
}

static int into_index(struct store *s, struct batch *b)
{
    uint64_t now = s->config.env->mono_ms();
    s->deferred_ms = s->deferred.n ? s->deferred_ms : now;
    bool due = s->deferred.n + b->frames.n > DEFERRED_BYTES || now - s->deferred_ms > DEFERRED_MS;
    if (b->only_queue && !due)
        return buf_add(&s->deferred, buf_str(&b->frames));
    int r = b->shown ? 0 : show_frames(s, buf_str(&b->frames));
    b->shown = r == 0;
    return r == 0 && due ? commit_index(s) : r;
}

bool store_deferred(const struct store *s)
{
    return s->deferred.n > 0;
}

int store_commit_deferred(struct store *s)
{
    return s->deferred.n > (index_held(s->index) ? s->applied : 0) ? show_frames(s, STR_NONE) : 0;
}

int store_settle(struct store *s)
{
    int r = store_commit_deferred(s);
    return r < 0 ? r : commit_index(s);
}

/* The batch under way is durable: into the index with it, then it may be told. */
static int apply_batch(struct store *s)
{
    struct batch *b = s->flying;
    int r = into_index(s, b);
    if (r < 0)
        return r;
    s->flying = NULL;
    for (const struct placed_note *n = b->notes; n; n = n->next) {
        store_cards_placed(s, &n->placement);
        if (s->config.placed)
            s->config.placed(s->config.arg, &n->placement);
    }
    if (b->has_copies)
        store_cards_copied(s, buf_str(&b->frames));
    r = queue_published(s, b);
    batch_clear(b);
    return r;
}

static int apply_durable(struct store *s)
{
    if (journal_failed(s->journal))
        return s->failed = -EIO;
    return s->flying && journal_durable(s->journal) >= s->flying->last_lsn ? apply_batch(s) : 0;
}

static int write_open(struct store *s)
{
    if (s->flying || s->open->frames.n == 0)
        return 0;
    int r = journal_write(s->journal, buf_str(&s->open->frames));
    if (r < 0)
        return r == -EIO ? s->failed = -EIO : r;
    s->flying = s->open;
    s->open = &s->batches[s->open == &s->batches[0]];
    return 0;
}

static int wait_durable(struct store *s)
{
    while (s->flying && journal_durable(s->journal) < s->flying->last_lsn) {
        if (journal_failed(s->journal))
            return s->failed = -EIO;
        struct pollfd p = { .fd = journal_fd(s->journal), .events = POLLIN };
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return -errno;
        journal_clear(s->journal);
    }
    return 0;
}

static int push_on(struct store *s)
{
    int r = s->failed ? s->failed : wait_durable(s);
    if (r == 0)
        r = apply_durable(s);
    return r < 0 ? r : write_open(s);
}

static void say_stuck(struct store *s)
{
    if (!s->stuck)
        store_note(s, "there is no room on the disk for journal or index: messages wait");
    s->stuck = true;
}

int store_make_way(struct store *s)
{
    int r = push_on(s);
    if (r == -ENOSPC && s->open->frames.n < BATCH_BYTES_STUCK) {
        say_stuck(s);
        return 0;
    }
    return r;
}

int store_commit(struct store *s)
{
    int r = s->failed ? s->failed : store_settle(s);
    if (r != -ENOSPC)
        return r;
    say_stuck(s);
    return 0;
}

/* A damaged index is made anew; nothing of it was the truth. */
static int mend(struct store *s, int r)
{
    if (r != -EBADMSG)
        return r;
    r = store_reindex(s);
    return r == -EBADMSG ? -EIO : r;
}

int store_publish(struct store *s)
{
    if (s->failed)
        return s->failed;
    journal_clear(s->journal);
    int r = mend(s, apply_durable(s));
    if (r != -ENOSPC)
        return r;
    say_stuck(s);
    return 0;
}

bool store_syncing(const struct store *s)
{
    return s->flying && journal_durable(s->journal) < s->flying->last_lsn && !journal_failed(s->journal);
}

bool store_stuck(const struct store *s)
{
    return s->stuck;
}

int store_turn(struct store *s)
{
    if (s->failed)
        return s->failed;
    if (s->flying)
        journal_clear(s->journal);
    int r = apply_durable(s);
    if (r == 0 && store_idle(s) && s->has_directory && index_state(s->index)->gaps)
        r = store_fill_gaps(s);
    if (r == 0)
        r = write_open(s);
    if (r == -EBADMSG)
        return mend(s, r);
    if (r == -ENOSPC) {
        say_stuck(s);
        return 0;
    }
    if (r == 0)
        s->stuck = false;
    return r;
}

int store_fd(const struct store *s)
{
    return journal_fd(s->journal);
}

bool store_idle(const struct store *s)
{
    return !s->flying && s->open->frames.n == 0;
}

int store_flush(struct store *s)
{
    int r = s->failed;
    while (r == 0 && !store_idle(s))
        r = push_on(s);
    return r < 0 ? r : store_commit_deferred(s);
}

static int find_or_create(struct store *s, str account, str name, struct index_mailbox *out)
{
    struct box *box;
    int r = index_mailbox_named(s->index, account, name, out);
    if (r != 0)
        return r;
    r = store_box(s, account, name, &box);
    if (r == 0)
        r = store_flush(s);
    if (r == 0)
        r = index_mailbox_named(s->index, account, name, out);
    return r == 0 ? -EIO : r;
}

int store_mailbox(struct store *s, str account, str name, struct store_mailbox *out)
{
    struct index_mailbox row;
    int r = s->failed ? s->failed : find_or_create(s, account, name, &row);
    if (r == -EBADMSG && store_reindex(s) == 0)
        r = find_or_create(s, account, name, &row);
    if (r < 0)
        return r == -EBADMSG ? -EIO : r;
    *out = (struct store_mailbox){ .id = row.id, .uidvalidity = row.uidvalidity, .uidnext = row.uidnext };
    return 0;
}

static int stage_expunged(struct store *s, uint64_t mailbox, const uint32_t *uids, size_t n)
{
    struct journal_record record = { .kind = JOURNAL_expunged,
                                     .expunged = { .mailbox = mailbox, .uids = uids, .n = n,
                                                   .at_us = s->config.env->wall_us() } };
    return n ? store_stage(s, &record) : 0;
}

static int stage_expunge(struct store *s, uint64_t mailbox, const uint32_t *uids, size_t n, uint64_t *out_ticket)
{
    uint32_t there[UIDS_A_RECORD];
    size_t n_there = 0;
    uint64_t before = s->next_lsn;
    int r = s->failed;
    for (size_t i = 0; i < n && r >= 0; i++) {
        r = index_message_exists(s->index, mailbox, uids[i]);
        if (r == 1)
            there[n_there++] = uids[i];
        if (n_there == UIDS_A_RECORD) {
            r = stage_expunged(s, mailbox, there, n_there);
            n_there = 0;
        }
    }
    if (r >= 0)
        r = stage_expunged(s, mailbox, there, n_there);
    if (r < 0)
        return r;
    *out_ticket = s->next_lsn > before ? s->next_lsn - 1 : store_committed(s);
    struct box *box;
    if (s->next_lsn > before && store_box_get(s, mailbox, &box) == 1)
        box->changed = *out_ticket;
    return 0;
}

int store_expunge(struct store *s, uint64_t mailbox, const uint32_t *uids, size_t n, uint64_t *out_ticket)
{
    int r = stage_expunge(s, mailbox, uids, n, out_ticket);
    if (r == -EBADMSG && store_reindex(s) == 0)
        r = stage_expunge(s, mailbox, uids, n, out_ticket);
    return r == -EBADMSG ? -EIO : r;
}

uint64_t store_durable(const struct store *s)
{
    return store_committed(s);
}

void store_stats(const struct store *s, struct store_stats *out)
{
    const struct index_state *x = index_state(s->index);
    *out = (struct store_stats){
        .lsn = s->next_lsn - 1,
        .placed = x->placed,
        .expunged = x->expunged,
        .unplaced = x->unplaced,
        .messages = x->messages,
        .mailboxes = x->mailboxes,
        .journal_syncs = journal_syncs(s->journal),
        .backlog_bytes = s->batches[0].log_bytes + s->batches[1].log_bytes,
    };
}
