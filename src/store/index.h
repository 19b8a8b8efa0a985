/* The index: a view of the journal in SQLite that can be thrown away (DESIGN 5.5). Changes come only from journal
 * records that are durable, in the order of their LSN, inside a transaction that also moves the applied LSN. Not
 * for use by two threads.
 *
 * Errors everywhere: -EBADMSG the file is damaged or contradicts itself (throw it away), -ENOSPC, -ENOMEM, -EIO. */
#pragma once
#include "store/journal_record.h"
#include "store/segment.h"

struct index;

/* Opens `index.db` in that folder, making it if it is missing. Also -EBADMSG: written by another format. */
int index_open(int dir_fd, struct index **out);
/* An empty one that vanishes with its closing, to compare with. */
int index_open_temporary(struct index **out);
void index_close(struct index *ix);
/* Removes the file; 0 also when there is none. */
int index_discard(int dir_fd);

struct index_state {
    uint64_t lsn;              /* applied up to here */
    uint64_t messages, mailboxes, gaps;
    uint64_t placed, expunged, unplaced; /* ever */
    uint64_t last_mailbox;
    uint32_t last_uidvalidity;
    uint64_t modseq_jump;      /* MODSEQ of a record: its LSN and this */
};
/* As committed, or shown by index_hold(). */
const struct index_state *index_state(const struct index *ix);

/* What is held is committed first. */
int index_begin(struct index *ix);
/* Records at or below the applied LSN are passed over. */
int index_apply(struct index *ix, const struct journal_record *r);
int index_commit(struct index *ix);
/* Instead of a commit: all that was applied is there for whoever reads through this index, and the transaction stays
 * open for more. A commit costs more than most changes. What is held can be lost, by a rollback or a commit that fails
 * (which is a rollback), and is to be applied again then. */
int index_hold(struct index *ix);
bool index_held(const struct index *ix);
void index_rollback(struct index *ix);

/* System flags as proto/imap_command.h numbers them. */
enum { MESSAGE_SEEN = 1, MESSAGE_DELETED = 8, MESSAGE_FLAGS = 31 };

struct index_mailbox {
    uint64_t id;
    uint32_t uidvalidity, uidnext;
    uint64_t messages, modseq;       /* modseq: of the last change */
    uint64_t unseen, deleted, n_recent; /* messages */
    uint64_t bytes, deleted_bytes;   /* with prefixes */
    uint8_t use;
    uint32_t recent;                 /* messages from this UID on are \Recent */
    uint64_t floor, vanished_floor;  /* no message's MODSEQ is lower; what vanished is known from there on */
};
/* 1 found, 0 not there. */
int index_mailbox_named(struct index *ix, str account, str name, struct index_mailbox *out);
int index_mailbox_get(struct index *ix, uint64_t id, struct index_mailbox *out);
int index_message_exists(struct index *ix, uint64_t mailbox, uint32_t uid);
/* Is the message at that place of a log in that mailbox? Walks the whole mailbox. */
int index_message_placed(struct index *ix, uint64_t mailbox, str log, struct log_position at);

/* How far a segment of a log was applied. 1 known; 0 not: *out_offset is where records begin. */
int index_applied(struct index *ix, str log, uint64_t segment, uint64_t *out_offset, bool *out_sealed);

/* A stretch of a log that no journal record accounts for: the records of its messages were lost. 1, or 0 when there
 * is none. */
struct index_gap {
    str log; /* valid until the next call */
    uint64_t segment, from, to;
};
int index_gap(struct index *ix, struct index_gap *out);

/* A segment of which some is dead: expunged or moved away, and in no mailbox any more. */
struct index_segment {
    uint64_t log, segment;     /* log: a number of this index */
    str name;                  /* of the log; valid until the next change of the index */
    uint64_t end;              /* applied up to here */
    bool sealed;               /* by an earlier process, or by compaction */
    bool used;                 /* some of it is in a mailbox */
    uint64_t dead, dead_us;    /* bytes; wall clock of the last expunge */
};
/* The next one behind *inout (all zeros: the first), but for those that hold damage or messages without a mailbox.
 * 1, or 0 when there is none. */
int index_segment_next(struct index *ix, struct index_segment *inout);
/* The highest number known of a log, 0 if none. */
int index_segment_last(struct index *ix, str log, uint64_t *out);
/* The next placements (at most max) of a segment behind *last (zeros: the first), in the order of their place; `to`
 * is not set. How many; a negative result of `each` ends the walk with it. */
int index_segment_walk(struct index *ix, const struct index_segment *g, struct journal_move *last, size_t max,
                       int (*each)(void *arg, const struct journal_move *m), void *arg);

struct index_message {
    uint64_t mailbox;
    uint32_t uid;
    uint64_t lsn;              /* of its arrival on this host */
    str log; uint64_t log_id;  /* log_id: a number of this index */
    struct log_position position;
    uint64_t content_len;
    uint32_t meta_len;
    uint64_t received_us;
    str session; /* 16 bytes */
    uint32_t number;
    str prefix;
    uint32_t flags;
    uint64_t keywords, modseq;
    int64_t date_s; int16_t zone_min; /* INTERNALDATE */
};
/* Calls `each` for the messages of a mailbox in UID order (mailbox 0: of all mailboxes); slices are valid during
 * the call; a negative result ends the walk with it. */
int index_walk(struct index *ix, uint64_t mailbox, int (*each)(void *arg, const struct index_message *m), void *arg);

/* A mailbox's keywords in the order of their bits, copied into the arena: how many (at most INDEX_KEYWORDS). */
#define INDEX_KEYWORDS 64
int index_keywords(struct index *ix, struct arena *a, uint64_t mailbox, str out[INDEX_KEYWORDS]);
/* Of a mailbox, copied into the arena. 1 found, 0 not there. */
int index_mailbox_title(struct index *ix, struct arena *a, uint64_t id, str *out_account, str *out_name);
/* Mailboxes of the account whose names are in [from, to), in their order. A negative result of `each` ends it. */
int index_mailboxes_between(struct index *ix, str account, str from, str to,
                            int (*each)(void *arg, uint64_t id, str name), void *arg);
int index_use_taken(struct index *ix, str account, uint8_t use);          /* 1, 0 */
int index_mailbox_count(struct index *ix, str account, uint64_t *out);
int index_subscribed(struct index *ix, str account, str name);            /* 1, 0 */
int index_subscription_count(struct index *ix, str account, uint64_t *out);
int index_prepared(struct index *ix, str account);                        /* 1, 0 */
int index_usage(struct index *ix, str account, uint64_t *out_bytes, uint64_t *out_messages);

struct index_folder { /* a mailbox, or (id 0) a name that is only subscribed */
    struct index_mailbox box;
    str name;
    bool subscribed;
};
/* Those behind `after` in the order of names, at most max: how many, or a negative result of `each`. */
int index_folders(struct index *ix, str account, str after, size_t max,
                  int (*each)(void *arg, const struct index_folder *f), void *arg);

struct index_flags { /* what is asked most of a message */
    uint32_t uid, flags;
    uint64_t keywords, modseq, size;
};
/* The first messages, at most max, with UIDs from first to last: how many. modseq as the row has it, see `floor`. */
int index_flags_in(struct index *ix, uint64_t mailbox, uint32_t first, uint32_t last, struct index_flags *out,
                   size_t max);
struct index_record { /* where the record of a message is */
    uint32_t uid, meta_len;
    uint64_t log; /* its number in this index */
    struct log_position position;
    uint64_t content_len;
};
/* The records of the first messages, at most max, from that UID on: how many. */
int index_records_in(struct index *ix, uint64_t mailbox, uint32_t first, struct index_record *out, size_t max);
/* The name of a log by its number, valid until the next change of the index. 0, -EBADMSG: there is none. */
int index_log_name(struct index *ix, uint64_t id, str *out);
/* The message; slices of *out are valid until the next call, or the end of it all. 1 found, 0 not there. */
int index_message_get(struct index *ix, uint64_t mailbox, uint32_t uid, struct index_message *out);
void index_message_done(struct index *ix);
/* Ranges of UIDs expunged with a MODSEQ above since, behind `after`, ascending and apart, at most max, as pairs of
 * u32 to *out: how many. Also the buf's error. */
int index_vanished(struct index *ix, uint64_t mailbox, uint64_t since, uint32_t after, size_t max, struct buf *out);

/* A message whose record has no card, and none was made since (index_cards.c). */
struct index_cardless {
    str log; /* valid until the next change of the index */
    struct log_position at;
    uint64_t content_len;
    uint8_t session[16]; uint32_t number;
};
/* The first of them: 1, or 0 when there is none. */
int index_card_wanted(struct index *ix, struct index_cardless *out);
/* In a transaction. 1 kept; 0: no such message waits for one. */
int index_card_set(struct index *ix, str log, struct log_position at, str card);
/* The mailboxes and UIDs of the message at that place. A negative result of `each` ends it. 0 or negative errno. */
int index_card_places(struct index *ix, str log, struct log_position at,
                      int (*each)(void *arg, uint64_t mailbox, uint32_t uid), void *arg);
/* Adds the card of the message at that place to *out. 1; 0: none is here, *out_wanted: nor in the message's record.
 * Also the error of the buf. */
int index_card_get(struct index *ix, str log, struct log_position at, bool *out_wanted, struct buf *out);

/* Says in words where the two differ, at most a few for each table. The number of differences said, or negative
 * errno. */
int index_compare(struct index *a, struct index *b, void (*say)(void *arg, str sentence), void *arg);
