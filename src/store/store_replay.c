/* From the journal to the index. The index is only a view: whatever is wrong with it, it is thrown away and made
 * again. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "store/cards_file.h"
#include "store/index_watch.h"
#include "store/mailboxes.h"
#include "store/store_internal.h"

#define RECORDS_A_TRANSACTION 2000
#define RECORD_MEMORY ((size_t)1 << 29)

static int apply_entry(struct replay_target *t, const struct journal_entry *e)
{
    struct journal_record record;
    int r = journal_record_decode(&t->arena, e->payload, e->lsn, &record);
    if (r == -ENOENT)
        return 0;
    if (r == -EBADMSG) {
        t->damaged = true;
        if (t->note)
            t->note(t->arg, S("a journal record cannot be decoded"));
        return 0;
    }
    if (r < 0)
        return r;
    if (record.kind == JOURNAL_jumped)
        t->damaged = false;
    return index_apply(t->index, &record);
}

static int replay_entry(void *arg, const struct journal_entry *e)
{
    struct replay_target *t = arg;
    if (e->lsn > t->until)
        return 0;
    t->damaged = t->damaged || e->damaged;
    int r = t->in_batch ? 0 : index_begin(t->index);
    if (r < 0)
        return r;
    t->in_batch++;
    r = apply_entry(t, e);
    arena_clear(&t->arena);
    if (r < 0 || t->in_batch < RECORDS_A_TRANSACTION)
        return r;
    t->in_batch = 0;
    return index_commit(t->index);
}

static void replay_note(void *arg, str what)
{
    const struct replay_target *t = arg;
    if (t->note)
        t->note(t->arg, what);
}

int store_replay_into(struct journal *j, struct replay_target *t, bool repair, struct journal_found *out)
{
    struct journal_replay how = { .after = index_state(t->index)->lsn, .repair = repair, .entry = replay_entry,
                                  .note = replay_note, .arg = t };
    t->arena = ARENA(RECORD_MEMORY);
    int r = journal_replay(j, &how, out);
    if (r == 0 && t->in_batch)
        r = index_commit(t->index);
    if (r < 0)
        index_rollback(t->index);
    t->in_batch = 0;
    arena_done(&t->arena);
    return r;
}

static void note_of_store(void *arg, str what)
{
    store_note(arg, "%.*s", STR_ARG(what));
}

static int fresh_index(struct store *s)
{
    index_close(TAKE(s->index));
    int r = index_discard(s->data_fd);
    return r < 0 ? r : index_open(s->data_fd, &s->index);
}

static int open_index(struct store *s)
{
    int r = index_open(s->data_fd, &s->index);
    if (r != -EBADMSG)
        return r;
    store_note(s, "the index cannot be read: it is made anew from the journal");
    return fresh_index(s);
}

/* Replays; makes the index anew if it turns out to be damaged or ahead. *out_jump: records that were once durable
 * are gone. */
static int bring_up(struct store *s, bool *out_jump)
{
    *out_jump = false;
    for (bool again = false;; again = true) {
        struct replay_target t = { .index = s->index, .until = UINT64_MAX, .note = note_of_store, .arg = s };
        struct journal_found found = { 0 };
        uint64_t applied = index_state(s->index)->lsn;
        int r = store_replay_into(s->journal, &t, true, &found);
        if (r < 0 && (r != -EBADMSG || again))
            return r;
        bool ahead = r == 0 && found.last < applied;
        if (r == 0 && !ahead) {
            *out_jump = *out_jump || t.damaged || found.damaged;
            uint64_t last = MAX(found.last, applied);
            s->next_lsn = MAX(s->next_lsn, last + 1);
            return 0;
        }
        if (ahead) {
            store_note(s, "the index knows more than the journal, whose end was lost: the index is made anew");
            s->next_lsn = applied + 1;
            *out_jump = true;
        } else {
            store_note(s, "the index is damaged: it is made anew from the journal");
        }
        r = fresh_index(s);
        if (r < 0)
            return r;
    }
}

/* No UID and no LSN that may have been given out before the damage is given out again. */
static int jump(struct store *s, const char *why, uint32_t by)
{
    store_note(s, "%s: every UIDNEXT goes up by %u", why, by);
    struct journal_record record = { .kind = JOURNAL_jumped, .jumped = { .by = by } };
    s->next_lsn += by;
    int r = store_stage(s, &record);
    return r < 0 ? r : store_flush(s);
}

/* What was given out after the backup was made is not known here: it must not be given out again. */
static int after_restore(struct store *s, bool jumped)
{
    if (faccessat(s->data_fd, RESTORED, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    int r = jumped ? 0 : jump(s, "this store was restored from a backup", JUMP);
    if (r == 0)
        r = cards_files_discard(s->data_fd);
    if (r < 0)
        return r;
    return unlinkat(s->data_fd, RESTORED, 0) < 0 || fsync(s->data_fd) < 0 ? -errno : 0;
}

/* Flags were told before they were durable, and the store was not closed: their MODSEQs are not given again. One is
 * enough, since a jump of MODSEQ is much longer. */
static int after_early(struct store *s, bool jumped)
{
    if (faccessat(s->data_fd, EARLY, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    int r = jumped ? 0 : jump(s, "flags may have been told that are not in the journal", 1);
    if (r < 0)
        return r;
    return unlinkat(s->data_fd, EARLY, 0) < 0 || fsync(s->data_fd) < 0 ? -errno : 0;
}

int store_tell_early(struct store *s)
{
    if (s->early)
        return 0;
    _cleanup_close_ int fd = openat(s->data_fd, EARLY, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fsync(fd) < 0 || fsync(s->data_fd) < 0)
        return -errno;
    s->early = true;
    return 0;
}

int store_recover(struct store *s)
{
    struct journal_config config = { .dir_fd = s->journal_dir_fd, .segment_size = s->config.segment_size,
                                     .env = s->config.env };
    bool lost = false;
    int r = journal_open(&config, &s->journal);
    if (r == 0)
        r = open_index(s);
    if (r == 0)
        r = bring_up(s, &lost);
    if (r == 0)
        r = journal_start(s->journal);
    if (r < 0)
        return r;
    s->last_mailbox = index_state(s->index)->last_mailbox;
    s->last_uidvalidity = index_state(s->index)->last_uidvalidity;
    s->lost = lost;
    if (!lost)
        r = store_compact_recover(s);
    else
        r = jump(s, "records of the journal were lost", JUMP);
    if (r == 0)
        r = after_early(s, lost);
    return r < 0 ? r : after_restore(s, lost);
}

int store_reindex(struct store *s)
{
    uint64_t told = s->index ? index_state(s->index)->lsn : 0;
    store_note(s, "the index is damaged: it is made anew from the journal");
    int r = fresh_index(s);
    if (r < 0)
        return r;
    index_set_watch(s->index, s->watch, told);
    struct replay_target t = { .index = s->index, .until = journal_durable(s->journal), .note = note_of_store,
                               .arg = s };
    struct journal_found found;
    buf_clear(&s->deferred); /* it is durable: replayed with the rest */
    r = store_replay_into(s->journal, &t, false, &found);
    if (r == 0)
        store_feed_tell(s);
    /* Lost records are dealt with at a start, when nothing is staged on top of them. */
    return r == -EBADMSG || (r == 0 && t.damaged) ? -EIO : r;
}
