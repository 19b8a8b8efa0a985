/* Mailboxes of an account as IMAP knows them: a tree of names, flags, copies, and what changed when. Belongs to the
 * store (store.h): every change is one journal record, visible when the record is durable and the index committed.
 *
 * Names are UTF-8 with '/' between levels, case-sensitive but for INBOX; the caller has checked them
 * (proto/imap_write.h). MODSEQ of a change is the LSN of its record plus 2^40 for each jump before it, so it is never
 * given twice (DESIGN 5.8). A mailbox's HIGHESTMODSEQ is that of its last change.
 *
 * Functions return a verdict (>= 0) or negative errno as store.h has them. *out_ticket: the change is durable and
 * visible when store_durable() has reached it. What a verdict is decided on includes everything staged before. */
#pragma once
#include "store/store.h"

#define MAILBOXES_MAX 10000 /* of an account */
#define KEYWORDS_MAX 64     /* of a mailbox: bits of `keywords`, in the order of their first use */
#define KEYWORD_LEN_MAX 255

enum store_verdict { STORE_DONE, STORE_NONEXISTENT, STORE_EXISTS, STORE_HAS_CHILDREN, STORE_CANNOT, STORE_LIMIT,
                     STORE_OVER_QUOTA, STORE_USE_TAKEN };

struct store_folder { /* a row of LIST and STATUS */
    uint64_t id;          /* 0: no mailbox, only a name: of a subscription or (never here) an intermediate level */
    str name;
    uint8_t use;          /* enum imap_use as a number (proto/imap_command.h) */
    bool subscribed;
    uint32_t uidvalidity, uidnext, messages, unseen, deleted, recent;
    uint64_t bytes, deleted_bytes, modseq;
};

/* At the first log-in by IMAP: INBOX, and once for ever Drafts, Sent, Trash, Junk and Archive with their uses, all
 * subscribed, unless there are such names or uses. Flushes. STORE_DONE. */
int store_account_prepare(struct store *s, str account);
/* Calls `each` for the mailboxes and subscriptions of the account in the order of names, behind `after` ("" for the
 * first), at most max. The number, or what a negative `each` returned. Of what is committed. */
int store_folders(struct store *s, str account, str after, size_t max,
                  int (*each)(void *arg, const struct store_folder *f), void *arg);
/* The one of that name: 1, 0 not there. Flushes what is staged, so that it is exact. */
int store_folder(struct store *s, str account, str name, struct store_folder *out);

/* CREATE: with all missing levels above it. STORE_EXISTS, STORE_LIMIT, STORE_USE_TAKEN (another has that use). */
int store_create(struct store *s, str account, str name, uint8_t use, uint64_t *out_id, uint64_t *out_ticket);
/* DELETE: with its messages. INBOX: STORE_CANNOT. A mailbox with children below it goes and leaves them (the level is
 * then a name only, \NonExistent). */
int store_delete(struct store *s, str account, str name, uint64_t *out_ticket);
/* RENAME: children with it, the missing levels above are made. INBOX: a new mailbox gets all its messages, INBOX stays
 * (RFC 9051 6.3.6). STORE_NONEXISTENT, STORE_EXISTS, STORE_CANNOT (below itself). */
int store_rename(struct store *s, str account, str from, str to, uint64_t *out_ticket);
int store_subscribe(struct store *s, str account, str name, bool on, uint64_t *out_ticket);

struct store_uids { uint32_t first, last; }; /* ranges in ascending order; last 0xffffffff: to the end */

struct store_flagging {
    uint64_t mailbox;
    const struct store_uids *uids; size_t n_uids;
    uint8_t op;                       /* 0 set, 1 add, 2 remove */
    uint32_t system;                  /* IMAP_SEEN … (5 bits) */
    const str *keywords; size_t n_keywords;
    uint64_t unchanged_since;         /* UINT64_MAX: no condition; others: only messages with MODSEQ <= it */
};
/* STORE: messages that are gone are passed over; a message already as wanted does not get a new MODSEQ. STORE_LIMIT:
 * too many keywords (nothing is changed). UIDs that failed the condition are added to *failed as u32 (pack_u32). */
int store_flag(struct store *s, const struct store_flagging *f, struct buf *failed, uint64_t *out_ticket);

/* Changes are about to be told before they are durable: leaves a mark on the disk, and a store that finds it when it
 * opens (this one was not closed in order) lets every MODSEQ jump, so that none is given twice. 0 or negative errno. */
int store_tell_early(struct store *s);
/* The MODSEQ of the staged record with that LSN. */
uint64_t store_modseq(const struct store *s, uint64_t lsn);

/* EXPUNGE: of those UIDs (n_uids 0: all), those that are \Deleted. */
int store_expunge_deleted(struct store *s, uint64_t mailbox, const struct store_uids *uids, size_t n_uids,
                          uint64_t *out_ticket);
/* The same for the first `max` of them, so that others have their turn. *out_next: go on with this UID; 0: all are
 * done. */
struct store_expunging { uint64_t mailbox; const struct store_uids *uids; size_t n_uids, max; };
int store_expunge_some(struct store *s, const struct store_expunging *e, uint64_t *out_ticket, uint32_t *out_next);
struct store_copying {
    str account;
    uint64_t from;
    const struct store_uids *uids; size_t n_uids;
    str to;
    bool move;
};
struct store_copied { uint64_t to, ticket; uint32_t uidvalidity; }; /* uidvalidity: of `to` */
/* COPY and MOVE, all or nothing, within one account: flags and dates are kept, MOVE takes them out of `from` in the
 * same record. *pairs gets (u32 source UID, u32 new UID) for each, ascending, packed; empty if none is there any more.
 * A message that is not visible yet is not there, unless the call has to wait for other changes of `from`.
 * STORE_NONEXISTENT (to, or `from` of this account), STORE_OVER_QUOTA (COPY), STORE_CANNOT (UIDs are used up). */
int store_copy(struct store *s, const struct store_copying *c, struct buf *pairs, struct store_copied *out);
/* A session with write access has seen all below uid: \Recent no more (RFC 3501 2.3.2). Not waited for. */
int store_seen_recent(struct store *s, uint64_t mailbox, uint32_t uid);
/* UIDs expunged with a MODSEQ above `since`, packed as ranges (u32 first, u32 last), at most max, behind `after`. The
 * number of ranges; -ERANGE: the history does not reach back so far (then say all that are not there). */
int store_vanished(struct store *s, uint64_t mailbox, uint64_t since, uint32_t after, size_t max, struct buf *out);

struct store_usage { uint64_t bytes, messages; };
int store_usage(struct store *s, str account, struct store_usage *out); /* of what is committed */
/* Limits of the account by the current directory and configuration; 0: none (conf/directory.h). Judged at COPY and by
 * the role at APPEND and RCPT; delivery is never refused (DESIGN 2). */
typedef void store_quota_fn(void *arg, str account, struct store_usage *out_limit);
void store_set_quota(struct store *s, store_quota_fn *limit, void *arg);
/* May so much more come in? */
bool store_quota_allows(struct store *s, str account, uint64_t bytes, uint64_t messages);

/* The change feed: while a mailbox is watched, what is committed to it is told in its order, as store/feed.h encodes
 * it. The hook is called after the commit, before `placed`; it must not call the store. */
int store_watch(struct store *s, uint64_t mailbox);
void store_unwatch(struct store *s, uint64_t mailbox);
void store_set_feed(struct store *s, void (*feed)(void *arg, uint64_t mailbox, str item), void *arg);

/* The cards of a mailbox for a reader in another process (store/cards_file.h); both descriptors are the caller's. Fills
 * the files for a few milliseconds; store_cards_step() goes on with that. -ENOENT: no such mailbox, or no cards. */
int store_cards_get(struct store *s, uint64_t mailbox, int *out_map_fd, int *out_cards_fd);
/* Between turns: 1: call again soon, 0: nothing (more) to do. */
int store_cards_step(struct store *s);
/* Is there more to be filled for that mailbox? */
bool store_cards_filling(const struct store *s, uint64_t mailbox);
