/* The store: the only writer of the truth about mailboxes (DESIGN 1.2, 2, 5). It reads what receive logs made durable,
 * expands recipients once, journals every change of state in one order (LSN), and keeps the SQLite index as a view that
 * can be thrown away. Calls belong to the role's loop thread; the journal has a sync thread of its own.
 *
 * Nothing that a client could see (mailbox id, UIDVALIDITY, UID) is published before its journal record is durable: the
 * index is committed, and the `placed` hook called, only after that sync. */
#pragma once
#include "base/arena.h"
#include "conf/directory.h"
#include "store/message_record.h"
#include "store/segment.h"

#define LOG_NAME_MAX 64

struct store;

struct store_placement {  /* told once a message is visible in a mailbox */
    uint64_t mailbox_id;
    const struct message_record *message;
    str account, mailbox;  /* "INBOX", or the name of that it was appended to */
    uint32_t uid;          /* 0: it was appended and could not be placed, `reason` says why */
    uint64_t lsn;
    str log; struct log_position position;
    uint64_t size;         /* with the prefix */
    str recipient;         /* the envelope recipient that led here */
    str reason;            /* why it went to postmaster instead, else empty */
};

struct store_config {
    int data_fd;           /* folder with log/NAME/, journal/, index.db; created if missing */
    uint64_t segment_size;
    const struct env *env;
    void (*placed)(void *arg, const struct store_placement *p); /* may be NULL */
    void (*note)(void *arg, str what);      /* damage found, recovery done: one sentence each; may be NULL */
    void *arg;
};

/* Opens journal and index (lock file `lock` in data_fd: -EBUSY when another process has it), replays the journal beyond
 * what the index has applied, rebuilds the index if it is missing, damaged or ahead of the journal. -EPROTO: the
 * journal was written by a newer version. */
int store_open(const struct store_config *config, struct store **out);
void store_close(struct store *s);
/* The directory that expansion uses from now on (the blob is the caller's, valid until the next call). Comes before the
 * first store_log_attach(). */
void store_set_directory(struct store *s, const struct directory *d);

/* The key of this host: senders of forwarded mail are rewritten with it (message/srs.h), and Delivered-To lines marked
 * (message/loop_mark.h). Without it neither is done. */
void store_set_key(struct store *s, const uint8_t key[16]);

/* A receive log's role has connected: its segments below first_segment are sealed by an earlier process: made durable,
 * read to their valid end, staged; empty or unfinished ones are removed. Also remembers the log. -EBADMSG: not a
 * name of a log; -EINVAL: no directory yet. */
int store_log_attach(struct store *s, str log, uint64_t first_segment);
/* That log is durable up to there: reads and stages the new records. Idempotent; unknown or old positions are fine.
 * Waits for the disk when very much is staged already. */
int store_log_synced(struct store *s, str log, struct log_position to);

/* After store_fd() is readable, or at the end of a turn of the loop: writes staged journal records, starts the sync,
 * puts what is durable into the index and publishes it. A full disk is no error: it is noted once, and what is staged
 * waits. Any error means: end the process and start again. */
int store_turn(struct store *s);
/* Only publishes what is durable; what is staged waits for store_turn(). Errors as there. */
int store_publish(struct store *s);
/* What is durable but not yet committed in the index: to be committed within a moment, by store_commit(). Errors as
 * store_turn(). */
bool store_deferred(const struct store *s);
int store_commit(struct store *s);
/* True while a sync of the journal is under way; store_turn() would write nothing. */
bool store_syncing(const struct store *s);
/* True since a turn found no room on the disk; the next one that finds some goes on with what waits. */
bool store_stuck(const struct store *s);
int store_fd(const struct store *s); /* eventfd */
/* True when nothing is staged, unsynced or unpublished. */
bool store_idle(const struct store *s);
/* Waits until everything staged is durable and in the index (open of a new mailbox, tests, shutdown). */
int store_flush(struct store *s);

struct store_mailbox { uint64_t id; uint32_t uidvalidity, uidnext; };
/* Finds the mailbox, or creates it (journalled, flushed). 0 or negative errno. */
int store_mailbox(struct store *s, str account, str name, struct store_mailbox *out);

/* An immutable list of a mailbox's messages in UID order, as a sealed memfd (layout: snapshot_format.h). Read with
 * store/snapshot.h. -ENOENT: no such mailbox. The caller owns *out_fd. */
int store_snapshot(struct store *s, uint64_t mailbox, int *out_fd);

/* Expunges the given UIDs (those that are gone are skipped). *out_ticket: durable when store_durable() has reached it.
 */
int store_expunge(struct store *s, uint64_t mailbox, const uint32_t *uids, size_t n, uint64_t *out_ticket);
uint64_t store_durable(const struct store *s);

/* A read-only descriptor of a segment, for the access role. Caller closes. -ENOENT: gone. */
int store_segment_open(struct store *s, str log, uint64_t segment, int *out_fd);

/* The card of a message (message/card.h), added to *out: of its record, or the one made since. 1; 0: there is none yet;
 * -ENOENT, -EBADMSG: the record is gone or damaged; or the buf's error. */
int store_card(struct store *s, str log, struct log_position at, struct buf *out);
/* The first message that has none, 1, or 0 if there is none; errors as store_turn(). session is empty (zeros) if it is
 * in no mailbox. */
struct store_cardless {
    char log[LOG_NAME_MAX + 1];
    struct log_position position;
    uint64_t content_len;
    uint8_t session[16]; uint32_t number;
};
int store_cardless(struct store *s, struct store_cardless *out);
/* Keeps its card; a message that compaction moved takes it along. 1; 0: it is gone, moved, or has one; -ENOSPC; errors
 * as store_turn(). */
int store_card_set(struct store *s, str log, struct log_position at, str card);

/* Compaction. Begins a pass over all segments (one that is under way is followed by another). `now`: without regard for
 * the retention and without rest. 0 or negative errno. */
int store_compact(struct store *s, bool now, uint64_t retention_us);
/* One small step of it, between turns. oldest_reader: store_durable() as it was when the oldest mailbox that is still
 * read was opened, UINT64_MAX without any. 1: call again soon; 0: nothing to do but what waits for readers; errors as
 * store_turn(). */
int store_compact_step(struct store *s, uint64_t oldest_reader);
struct store_compaction {
    uint64_t passes, moved, copied_bytes, removed; /* since the start: passes, messages, bytes, segments */
    uint64_t pending; /* segments that wait for their last readers or the end of a backup */
    uint64_t postponed; /* segments of the last pass that were not copied for want of room */
    bool waits; /* after a step that returned 0: the pass goes on when the journal can be written again */
};
void store_compaction(const struct store *s, struct store_compaction *out);
/* While *out_fd is open, no process removes a segment of the store in data_fd. Waits for one that is being removed. */
int store_hold_compaction(int data_fd, int *out_fd);

struct store_stats { uint64_t lsn, placed, expunged, unplaced, messages, mailboxes, journal_syncs, backlog_bytes; };
void store_stats(const struct store *s, struct store_stats *out);

/* Offline tools. Each finding is one sentence to `say`. Returns the number of findings, or negative errno.
 * check: walks every segment (MACs, CRCs, records, cards), the journal (order of LSN), and compares the index with what
 * a replay gives. rebuild: throws the index away and replays. */
int store_check(int data_fd, const struct env *env, void (*say)(void *arg, bool finding, str sentence), void *arg);
int store_rebuild(int data_fd, const struct env *env, void (*say)(void *arg, bool finding, str sentence), void *arg);
