/* Role store's side of IMAP: answers the requests of role access about mailboxes (io/messages.def, the rows from
 * FOLDERS on) through store/mailboxes.h, and sends it the change feed. A request speaks of a session; the store looks
 * up whose it is. Answers that promise something wait until it is durable; those of one mailbox come after the feed of
 * the change, on the same link.
 *
 * What role access has to know:
 *  - A mailbox is watched from MAILBOX_OPEN to MAILBOX_FORGET, whatever sessions come and go meanwhile. FLAG, COPY and
 *    the like take mailboxes alone that are watched and of the session's account (else verdict 101). The feed begins
 *    behind the LSN of MAILBOX_OPENED.
 *  - MAILBOX_FORGET may cross with the answer to a MAILBOX_OPEN that finds the mailbox watched (`held`). Whoever is
 *    told "held" of what he has no longer asks again and gets a snapshot.
 *  - A segment that compaction emptied stays as long as a POP3 session may read it, not for IMAP: the feed has told the
 *    new places before. If SEGMENT_GET fails, look at the place again; it has changed meanwhile.
 *  - When the link ends, all sessions are forgotten and nothing is watched any more. */
#pragma once
#include "base/map.h"
#include "io/role.h"
#include "store/mailboxes.h"

enum folder_change { FOLDER_CREATE, FOLDER_DELETE, FOLDER_RENAME, FOLDER_SUBSCRIBE, FOLDER_UNSUBSCRIBE };
enum { MAILBOX_TROUBLE = 100, MAILBOX_NOT_BOUND = 101 }; /* verdicts beside enum store_verdict */
#define MAILBOX_NAME_MAX 1000 /* longer names, and names that are none, get STORE_CANNOT */

struct bound { /* a session of access that has logged in */
    char *session, *account;
    uint64_t mailbox;     /* POP3: its maildrop; 0: it is not open */
    uint64_t opened_lsn;  /* the snapshot of the maildrop is of then */
    bool imap;            /* the account is prepared; the session may read segments */
};

enum { CARDS_WAITS = 64 };
struct cards_wait { uint64_t request, mailbox, until_ms; int fds[2]; }; /* for files of cards that are being filled */

struct mailbox_answer;
struct mailbox_listing;

struct mailbox_role {
    struct role *role;
    struct store *store;
    const struct map *sessions; /* text -> struct bound */
    struct map watched;         /* 8 bytes id -> struct watched_mailbox */
    struct mailbox_answer *answers, **answers_end; /* wait for their tickets, in this order */
    struct mailbox_listing *listings, **listings_end; /* wait for room in the link */
    struct loop_timer more;     /* looks whether there is room */
    struct loop_timer fill;     /* fills files of cards that were asked for */
    struct cards_wait cards[CARDS_WAITS]; size_t n_cards;
    void (*usage)(void *arg, str account); /* what it uses is about to change; set by the caller, as the next */
    store_quota_fn *limit;
    void *arg;
    bool due;                   /* somebody waits for what is staged; the caller clears it */
    uint64_t flagged, copied, expunged, appended, fed; /* requests done, messages appended, items of the feed */
};

/* When a FLAG is answered: when its change is durable; at once, and its MODSEQ is told (and kept safe), or not. */
enum flag_early { FLAG_DURABLE, FLAG_EARLY, FLAG_AHEAD };

/* So many messages are flagged or expunged for one request; who wants more asks again, and others have their turn. */
enum { CHANGED_A_STEP = 2000 };

/* sessions stays the caller's. Takes over the store's feed (store_set_feed). */
void mailbox_role_init(struct mailbox_role *m, struct role *r, struct store *s, const struct map *sessions);
void mailbox_role_done(struct mailbox_role *m);
/* A request of role access. 0; -EBADMSG: not such a frame, drop the peer. */
int mailbox_role_frame(struct mailbox_role *m, struct ipc_frame *f);
/* At the end of each turn: answers what has become durable. */
void mailbox_role_turn(struct mailbox_role *m);
/* Has role access a mailbox of that account open? A session that comes to one may have asked for nothing yet. */
bool mailbox_role_open_for(const struct mailbox_role *m, str account);
/* Role access has gone: nothing is owed to it, nothing watched. */
void mailbox_role_access_down(struct mailbox_role *m);
/* The store's hook `placed`, for messages of the log of role access. */
void mailbox_role_placed(struct mailbox_role *m, const struct store_placement *p);
void mailbox_role_status(const struct mailbox_role *m, struct buf *out);

/* mailbox_folders.c: the requests about names, and what may come in. */
struct mailbox_request { uint64_t request; struct bound *by; }; /* by NULL: the session is not bound */
int mailbox_folders(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in);
int mailbox_folder_change(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in);
int mailbox_quota(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in);
int mailbox_append_ask(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in);
void mailbox_list_more(struct mailbox_role *m);
void mailbox_list_stop(struct mailbox_role *m);
bool mailbox_name_valid(str name);
/* The account's first mailboxes are there. */
void mailbox_prepare(struct mailbox_role *m, struct bound *b);
/* As store_folder(), also when the disk is full. 1, 0, negative errno. */
int mailbox_find(struct mailbox_role *m, str account, str name, struct store_folder *out);

/* mailbox_role.c: a verdict of the store, or what a negative errno means to role access. */
uint8_t mailbox_verdict(int r);
/* Begins the payload of an answer. */
void mailbox_answer_begin(struct buf *b, uint64_t request, uint8_t verdict);
/* Takes the payload: it is sent when the ticket is reached (0: at once), behind the feed of that change. */
void mailbox_answer(struct mailbox_role *m, uint64_t ticket, enum ipc_type type, struct buf *payload);
