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
};
/* As committed. */
const struct index_state *index_state(const struct index *ix);

int index_begin(struct index *ix);
/* Records at or below the applied LSN are passed over. */
int index_apply(struct index *ix, const struct journal_record *r);
int index_commit(struct index *ix);
void index_rollback(struct index *ix);

struct index_mailbox {
    uint64_t id;
    uint32_t uidvalidity, uidnext;
    uint64_t messages;
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
    uint64_t lsn;
    str log;
    struct log_position position;
    uint64_t content_len;
    uint32_t meta_len;
    uint64_t received_us;
    str session; /* 16 bytes */
    uint32_t number;
    str prefix;
};
/* Calls `each` for the messages of a mailbox in UID order (mailbox 0: of all mailboxes); slices are valid during
 * the call; a negative result ends the walk with it. */
int index_walk(struct index *ix, uint64_t mailbox, int (*each)(void *arg, const struct index_message *m), void *arg);

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
/* Adds the card of the message at that place to *out. 1; 0: none is here, *out_wanted: nor in the message's record.
 * Also the error of the buf. */
int index_card_get(struct index *ix, str log, struct log_position at, bool *out_wanted, struct buf *out);

/* Says in words where the two differ, at most a few for each table. The number of differences said, or negative
 * errno. */
int index_compare(struct index *a, struct index *b, void (*say)(void *arg, str sentence), void *arg);
