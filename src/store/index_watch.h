/* From the index to the change feed (store/feed.h): while a mailbox is watched, the functions that apply a record say
 * here what it did to the mailbox, and that becomes items; the store tells them after the commit and throws them away
 * after a rollback. Without anything watched a call costs one comparison.
 *
 * For the apply functions (index_apply.c and its neighbours): one call for each message, in the order in which it
 * happened; calls about one mailbox, of one record and one kind, become one item. lsn and modseq are those of the
 * record. A keyword is said before the first message that has it. All give 0 or -ENOMEM. */
#pragma once
#include "store/feed.h"

struct index;
struct index_watch;

/* For what is costly to find out only for a feed. */
bool index_watched(const struct index *ix, uint64_t mailbox);
/* Delivered, appended or copied; e->modseq is the record's. Its slices are copied. */
int index_watch_arrived(struct index *ix, uint64_t mailbox, uint64_t lsn, const struct mailbox_entry *e);
/* Flags as they are now: uid, flags and keywords of e. */
int index_watch_flags(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq, const struct mailbox_entry *e);
/* Expunged (by IMAP or POP3) or moved away. */
int index_watch_expunged(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq, uint32_t uid);
/* Compaction moved it to that place; this is no change for a client. */
int index_watch_place(struct index *ix, uint64_t mailbox, uint64_t lsn, uint32_t uid, str log, struct log_position to);
int index_watch_keyword(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq, uint8_t bit, str name);
int index_watch_renamed(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq, str name);
/* The mailbox was deleted. */
int index_watch_gone(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq);

/* For index.c: the transaction is rolled back. */
void index_watch_forget(struct index *ix);

/* For the store. One watch for the index that is the live one, also for the next one when it is made anew. */
int index_watch_new(struct index_watch **out);
void index_watch_free(struct index_watch *w);
/* w may be NULL. Records up to `told` give no items: they were told before. */
void index_set_watch(struct index *ix, struct index_watch *w, uint64_t told);
int index_watch_add(struct index_watch *w, uint64_t mailbox); /* 0, -ENOMEM */
void index_watch_drop(struct index_watch *w, uint64_t mailbox);
/* All that was committed; afterwards it is forgotten. */
void index_watch_tell(struct index_watch *w, void (*feed)(void *arg, uint64_t mailbox, str item), void *arg);
