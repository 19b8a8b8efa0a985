/* What the files of the store share.
 *
 * store.c         opening, turns: batch -> journal -> index -> `placed`
 * store_log.c     reading receive logs
 * store_apply.c   expanding a message and staging its record; store_append.c: placing one that a client appended
 * store_box.c     mailboxes as they are staged
 * store_mailboxes.c, store_messages.c  what IMAP does: mailboxes.h
 * store_compact.c what is dead goes; compactor.c is its thread
 * store_replay.c  from the journal to the index: at the start, and when the index is found damaged
 * store_cards.c   where a message has its card from; card_maker.c asks role cards for one; store_cards_fill.c fills
 *                 the files of cards of a mailbox
 * store_snapshot.c, store_check.c
 * store_feed.c    what is told of watched mailboxes; index_watch.c collects it
 * store_queue*.c  the queue: store_queue_internal.h
 *
 * Invariants
 * 1. A record is staged in `open`, then written with its batch, then durable, then in the index: in LSN order, one
 *    batch at a time.
 * 2. Only what is durable and in the index is shown to anyone; but for queued messages (store_queue_internal.h). The
 *    index commits later, at the latest after 200 ms: what is not committed is replayed (`deferred`).
 * 3. What `boxes` holds is at least as new as the index; an entry goes only when the index has all of it. */
#pragma once
#include "base/map.h"
#include "store/index.h"
#include "store/journal.h"
#include "store/store.h"

#define BATCH_BYTES ((size_t)1 << 20)  /* of records staged before the store waits for the disk */
#define BATCH_MEMORY ((size_t)8 << 20) /* of messages held for `placed` */
#define BOX_NAME_MAX 1024
#define FILL_MAX 64
#define JUMP ((uint32_t)1 << 20)
#define ACCESS_LOG S("access")         /* of messages that clients appended */
#define STORE_LOG S("store")           /* of messages that compaction moved */
#define RESTORED "restored"            /* a file in the data folder: it comes from a backup */
#define EARLY "early"                  /* the same: changes were told before they were durable */

struct placed_note {
    struct store_placement placement;
    struct placed_note *next;
};

struct batch {
    bool only_queue; /* nothing in it that a reader of a mailbox waits for */
    bool has_copies; /* or mailboxes that are deleted */
    bool shown;      /* the index has it, but could not commit */
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

struct box { /* a mailbox as it will be when all that is staged is applied; one that is gone has no name */
    uint64_t id;
    str account;
    uint32_t uidnext, uidvalidity;
    bool gone;
    uint64_t lsn;     /* of its last record that is staged: messages coming, or a change of it */
    uint64_t changed; /* of the last one about its messages' flags and keywords, or of messages leaving */
};

struct store_usage;
struct store {
    struct store_config config;
    int data_fd, logs_fd, journal_dir_fd, lock_fd;
    struct journal *journal;
    struct index *index;
    struct directory directory;
    bool has_key; uint8_t key[16]; /* of this host */
    bool early;                /* changes are told before they are durable */
    bool has_directory, stuck; /* stuck: no room on the disk, said once */
    bool lost;                 /* records of the journal, and what compaction copied is to be looked at */
    struct compaction *compaction;
    int compaction_fd;
    int failed;
    struct store_log *logs;
    struct map boxes;     /* by id */
    struct map box_names; /* account, NUL, name: to those */
    uint64_t next_lsn, last_mailbox;
    uint64_t copied_lsn; /* of the last COPY or MOVE */
    void (*quota)(void *arg, str account, struct store_usage *out_limit); void *quota_arg; /* may be NULL */
    uint64_t tree_lsn; /* of the last record that renames or deletes a mailbox */
    uint32_t last_uidvalidity;
    struct batch batches[2], *open, *flying;
    /* Frames that are durable, published, and not committed in the index yet: the first `applied` bytes are in its open
     * transaction (index_hold), the rest is of batches that are only_queue and not there at all. */
    struct buf deferred;
    size_t applied;
    uint64_t deferred_ms;  /* since when, or when a commit was last tried */
    struct queue *queue;
    uint64_t fill[FILL_MAX]; size_t n_fill; /* mailboxes whose files of cards are not filled yet */
    struct cards_files *cards;  /* a view: NULL if its folder cannot be used */
    struct index_watch *watch;  /* NULL before the first store_watch() */
    void (*feed)(void *arg, uint64_t mailbox, str item); void *feed_arg;
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
/* All that is published is in the index for who reads through s->index, or (store_settle) in its file too, so that no
 * transaction is open. Errors as store_turn(). */
int store_commit_deferred(struct store *s);
int store_settle(struct store *s);

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

/* store_box.c. A box stays until the next store_boxes_trim(). -EINVAL: no name of a mailbox. */
void store_boxes_init(struct store *s, const uint8_t key[16]);
void store_boxes_free(struct store *s);
void store_boxes_trim(struct store *s); /* forgets old ones when there are many: at the begin of an operation */
/* The mailbox as staged; created if it is missing. */
int store_box(struct store *s, str account, str name, struct box **out);
/* 1: a message that fills a gap had reached this mailbox before the damage. */
int store_is_placed(struct store *s, const struct log_message *m, const struct box *box);
/* What is the same for every message; nothing is placed. */
struct journal_delivered store_delivered(const struct log_message *m, const struct message_record *message);
/* What the hook will be told when all this is in the index. */
int store_note_placed(struct store *s, const struct message_record *message, const struct journal_delivered *d,
                      str mailbox);

/* store_append.c: a message of the log of role access */
int store_stage_append(struct store *s, const struct log_message *m, const struct message_record *message);
int store_box_named(struct store *s, str account, str name, struct box **out); /* 1; 0 not there */
int store_box_get(struct store *s, uint64_t mailbox, struct box **out);        /* 1; 0 not there */
/* All three know what is staged: nobody needs to flush for them (while a message is staged nobody may: its memory is
 * the open batch's). Who gives out UIDs moves uidnext and sets lsn, who adds keywords (APPEND) sets changed. */
/* A record staged as `lsn` gave the box this name, or left the name without a mailbox. */
int store_box_name(struct store *s, str account, str name, struct box *box);
int store_box_nameless(struct store *s, str account, str name, uint64_t lsn);

/* store_mailboxes.c: runs an operation that reads everything before it stages anything: when it finds the index
 * damaged, that is made anew and the operation tried again. Not in the middle of staging a message. */
int store_guard(struct store *s, int (*op)(struct store *s, void *arg), void *arg);
/* store_messages.c: MOVE of all messages, of a store that was flushed; a verdict. */
int store_move_all(struct store *s, struct box *from, struct box *to);

/* store_snapshot.c: of what is committed. -EBADMSG: the index is damaged. */
int store_snapshot_of(struct index *ix, uint64_t mailbox, int *out_fd);

/* store_cards.c */
/* Adds the card in the record at that place. 1, 0 without one, negative errno. */
int store_card_of_record(int fd, struct log_position at, struct buf *out);
void store_cards_open(struct store *s);
void store_cards_placed(struct store *s, const struct store_placement *p); /* once it is in the index */
void store_cards_copied(struct store *s, str frames);                      /* the same, for records of a batch */

/* store_feed.c: after the index was committed */
void store_feed_tell(struct store *s);

/* store_compact.c */
void store_compaction_free(struct compaction *c);
int store_compact_recover(struct store *s); /* removes copies that no record speaks of */

/* store_log.c */
void store_logs_free(struct store *s);
int store_log_dir(const struct store *s, str name); /* opened for the caller; negative errno */
void store_log_forget(struct store *s, str name, uint64_t segment); /* closes it */
bool log_name_valid(str name);
int store_fill_gaps(struct store *s);
