/* What the files of the store share.
 *
 * store.c         opening, turns: batch -> journal -> index -> `placed`
 * store_log.c     reading receive logs
 * store_apply.c   expanding a message and staging its record
 * store_compact.c what is dead goes; compactor.c is its thread
 * store_replay.c  from the journal to the index: at the start, and when the index is found damaged
 * store_cards.c   where a message has its card from; card_maker.c asks role cards for one
 * store_snapshot.c, store_check.c
 * store_queue*.c  the queue: store_queue_internal.h
 *
 * Invariants
 * 1. A record is staged in `open`, then written with its batch, then durable, then in the index: in LSN order, one
 *    batch at a time.
 * 2. Only what is in the committed index is shown to anyone; but for queued messages (store_queue_internal.h).
 * 3. What `boxes` holds is at least as new as the index; an entry goes only when the index has all of it. */
#pragma once
#include "base/map.h"
#include "store/index.h"
#include "store/journal.h"
#include "store/store.h"

#define BATCH_BYTES ((size_t)1 << 20)  /* of records staged before the store waits for the disk */
#define BATCH_MEMORY ((size_t)8 << 20) /* of messages held for `placed` */
#define JUMP ((uint32_t)1 << 20)
#define STORE_LOG S("store")           /* of messages that compaction moved */
#define RESTORED "restored"            /* a file in the data folder: it comes from a backup */

struct placed_note {
    struct store_placement placement;
    struct placed_note *next;
};

struct batch {
    bool only_queue; /* nothing in it that a reader of a mailbox waits for */
    struct buf frames;
    uint64_t first_lsn, last_lsn;
    uint64_t log_bytes; /* of receive logs that these records account for */
    struct arena arena; /* messages and placements for the hook */
    struct placed_note *notes, **notes_end;
    struct queued_note *queued, **queued_end; /* messages with a queue part: store_queue_internal.h */
};

struct log_segment {
    uint64_t number;
    int fd;
    uint8_t key[16];
    uint64_t staged;   /* records up to here are staged */
    uint64_t last_lsn;
    struct log_segment *next;
};

struct store_log {
    char name[LOG_NAME_MAX + 1];
    int dir_fd;
    uint64_t first_segment;
    struct log_segment *segments; /* most recently used first */
    unsigned n_segments;
    struct store_log *next;
};

struct box { /* a mailbox as it will be when all that is staged is applied */
    uint64_t id;
    uint32_t uidnext;
    uint64_t lsn; /* of its last change that is staged */
};

struct store {
    struct store_config config;
    int data_fd, logs_fd, journal_dir_fd, lock_fd;
    struct journal *journal;
    struct index *index;
    struct directory directory;
    bool has_key; uint8_t key[16]; /* of this host */
    bool has_directory, stuck; /* stuck: no room on the disk, said once */
    bool lost;                 /* records of the journal, and what compaction copied is to be looked at */
    struct compaction *compaction;
    int compaction_fd;
    int failed;
    struct store_log *logs;
    struct map boxes;
    uint64_t next_lsn, last_mailbox;
    uint32_t last_uidvalidity;
    struct batch batches[2], *open, *flying;
    /* frames that are durable, published, and not in the index yet: of batches that are only_queue */
    struct buf deferred;
    uint64_t deferred_ms;  /* since when */
    struct queue *queue;
    struct buf payload, chunk, meta;
};

void store_note(struct store *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline str log_name_of(const struct store_log *l) { return str_z(l->name); }

/* store.c */
int store_lock(int data_fd, int *out_fd); /* -EBUSY: another process has it */
int store_stage(struct store *s, struct journal_record *r); /* gives it the next LSN */
bool store_batch_full(const struct store *s);
/* Waits until the batch under way is applied and writes the one that is open. */
int store_make_way(struct store *s);
uint64_t store_committed(const struct store *s);
int store_commit_deferred(struct store *s); /* errors as store_turn() */

/* store_replay.c */
int store_recover(struct store *s);  /* journal and index at the start */
int store_reindex(struct store *s);  /* the live index is damaged: a new one from what is durable */
struct replay_target {
    struct index *index;
    uint64_t until;                  /* records beyond are left out */
    struct arena arena;
    unsigned in_batch;
    bool damaged;                    /* records were lost, and no `jumped` followed */
    void (*note)(void *arg, str what);
    void *arg;
};
/* Replays into t->index, in transactions of its own. */
int store_replay_into(struct journal *j, struct replay_target *t, bool repair, struct journal_found *out);

/* store_apply.c */
struct log_message {                 /* a message record that was read */
    str log;
    uint64_t segment;
    struct record_header header;
    str meta;
    bool again;
};
/* 0 staged (or skipped with a note, if it cannot be read), negative errno. */
int store_stage_message(struct store *s, const struct log_message *m);
int store_stage_skipped(struct store *s, const struct journal_skipped *skipped);
/* The mailbox as staged; created if it is missing. */
int store_box(struct store *s, str account, str name, struct box **out);

/* store_snapshot.c: of what is committed. -EBADMSG: the index is damaged. */
int store_snapshot_of(struct index *ix, uint64_t mailbox, int *out_fd);

/* store_compact.c */
void store_compaction_free(struct compaction *c);
int store_compact_recover(struct store *s); /* removes copies that no record speaks of */

/* store_log.c */
void store_logs_free(struct store *s);
int store_log_dir(const struct store *s, str name); /* opened for the caller; negative errno */
void store_log_forget(struct store *s, str name, uint64_t segment); /* closes it */
bool log_name_valid(str name);
int store_fill_gaps(struct store *s);
