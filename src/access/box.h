/* A mailbox as all IMAP sessions of it share it: loaded once from a snapshot, kept current by the change feed (DESIGN
 * 5.6), kept for a while after its last session. Belongs to role access, single-threaded.
 *
 * Messages stand in an array in the order of their UIDs; an index into it is stable until box_tidy() takes out those
 * that are gone, which happens only when no view needs them. A view (box_view) is one session's picture of it: sequence
 * numbers change only when the session was told. */
#pragma once
#include "base/map.h"
#include "proto/imap_command.h"
#include "store/feed.h"
#include "store/snapshot.h"

#define BOX_KEYWORDS_MAX 64

struct box_message {
    uint32_t uid;
    uint8_t flags;              /* IMAP_SEEN … without \Recent */
    bool gone;                  /* expunged */
    uint16_t log;               /* number of the log's name: box_log_name() */
    uint32_t meta_len, number, prefix_len;
    int16_t zone_min;
    uint64_t keywords, modseq, segment, offset, content_len;
    int64_t date_s;
    const char *prefix;         /* of the box's memory */
    uint8_t session[16];
};
static inline uint64_t box_message_size(const struct box_message *m) { return m->prefix_len + m->content_len; }

struct box_change { uint32_t index; bool expunged; uint16_t by; uint64_t lsn; }; /* flags changed, or gone */

struct box_view;
struct box_ahead;
struct sort_ranks;
struct box {
    struct boxes *all;
    uint64_t id, lsn, modseq;
    uint32_t uidvalidity, uidnext, recent; /* recent: from this UID on, of the store's knowledge */
    char *account, *name;
    bool loaded, gone;                     /* gone: the mailbox was deleted; no more changes */
    struct box_message *messages; size_t n, cap, n_gone;
    char *keywords[BOX_KEYWORDS_MAX]; size_t n_keywords;
    size_t unseen_from;                    /* no message at a lower index is unseen */
    /* What happened, for views: the change number `first_change` stands at changes[0]. */
    struct box_change *changes; size_t n_changes, cap_changes; uint64_t first_change;
    struct arena texts;                    /* prefixes */
    struct sort_ranks *ranks;              /* access/sort_ranks.h */
    int map_fd, cards_fd; bool cards_asked; /* store/cards_file.h; -1: not there */
    struct box_view *views; uint16_t last_view;
    struct box_ahead *ahead, **ahead_end; size_t n_ahead;  /* in the order of their making */
    struct { uint64_t lsn; uint16_t by; } came;            /* the last of them whose feed came */
    uint64_t unused_since;                 /* loop_now() when the last view went */
    struct box *prev, *next;
};

struct boxes { /* all that role access holds */
    struct map by_id;       /* 8 bytes id -> box */
    struct map by_name;     /* account, NUL, name -> box; not of those that are gone */
    struct box *first;
    size_t n_messages;      /* of all */
    uint64_t last_ahead;
    char logs[16][65]; size_t n_logs;
    void (*forget)(void *arg, uint64_t id); /* the store need not tell of it any more */
    void *arg;
};
void boxes_init(struct boxes *b, const uint8_t key[16], void (*forget)(void *arg, uint64_t id), void *arg);
void boxes_done(struct boxes *b);
/* The store has gone: no box is current any more. Those with views are marked gone (sessions end), others freed. */
void boxes_store_down(struct boxes *b);
struct box *boxes_find(struct boxes *b, uint64_t id);
/* The one that is here and current, or NULL: then the store must be asked. */
struct box *boxes_named(struct boxes *b, str account, str name);
/* After MAILBOX_OPENED with a snapshot: makes the box (or replaces one without views). Takes fd. NULL: damaged, no
 * memory. */
struct box *boxes_load(struct boxes *b, uint64_t id, str account, str name, int fd);
/* A FEED frame. 0; -EBADMSG. Items at or below box->lsn, or of an unknown box, are passed over. Calls view->changed for
 * every view that has something to tell now. */
int boxes_feed(struct boxes *b, uint64_t id, str item);
/* The store has taken a change of flags that its feed will tell later: as there, at once. The messages of the ranges of
 * indices that are not gone get the MODSEQ if the change makes a difference. */
struct box_flagging { uint8_t op, flags; uint64_t keywords, lsn, modseq; }; /* op: enum imap_store_op */
struct box_range;
void box_flag(struct box *b, const struct box_range *ranges, size_t n, const struct box_flagging *f);
/* The same before the store has heard of it, for a view that needs no MODSEQ: it keeps the old one until the feed tells
 * the new one, to all but this view. What the feed tells meanwhile of changes before this one does not undo it. 1 made:
 * the store is to be told, and box_ahead_taken() what it says. 0: it changes nothing. -ENOBUFS, -ENOMEM: nothing done,
 * ask the store and wait. */
#define BOX_AHEAD_MAX 512 /* ranges that may be ahead of the store in one box */
int box_flag_ahead(struct box_view *v, const struct box_range *ranges, size_t n, const struct box_flagging *f,
                   uint64_t *out_number);
/* The store has staged it as that record. 0: it did not, or not so: the box is not to be trusted. */
void box_ahead_taken(struct boxes *b, uint64_t id, uint64_t number, uint64_t lsn);
/* Frees boxes without views, the longest unused first, while there are more than that many messages in all or boxes
 * unused for longer than BOX_UNUSED_MS. Call now and then. */
#define BOXES_MESSAGES_MAX ((size_t)2000000)
#define BOX_UNUSED_MS 600000
#define BOXES_KEPT_MAX 512 /* if there are so many, a new one takes the place of the longest unused (boxes_load) */
void boxes_sweep(struct boxes *b, uint64_t now);
str box_log_name(const struct box *b, const struct box_message *m);
/* Index of the first message that is not \\Seen, SIZE_MAX without one. Amortized O(1). */
size_t box_first_unseen(struct box *b);
/* Index of the first message with a UID at or above it; n if none. */
size_t box_find(const struct box *b, uint32_t uid);
/* The bit of a keyword (ASCII case ignored), or -1. */
int box_keyword(const struct box *b, str name);
/* "(\\Seen $Label1 \\Recent)" */
int box_put_flags(struct buf *out, const struct box *b, const struct box_message *m, bool recent);

struct box_view {
    struct box *box;
    uint16_t number;           /* in the box, never 0 */
    bool read_only;
    size_t shown;              /* messages [0, shown) were told by EXISTS */
    uint32_t *holes;
    size_t n_holes, cap_holes; /* indices in it that were told to be expunged, or never shown; ascending */
    uint64_t next_change;      /* number of the change of flags to be told next */
    uint64_t next_expunge;     /* the same of expunges */
    uint32_t *due; size_t n_due, due_at; /* changes of flags that are being told (box_view.c: changed()) */
    bool lost;                 /* it was so far behind that what happened is forgotten: end the session */
    uint32_t recent_from;      /* UIDs from here on are \Recent here */
    uint64_t silent_lsn;       /* a change of flags that this session made and need not hear of */
    void (*changed)(struct box_view *v); /* there is news; may be NULL */
    struct box_view *prev, *next;
};
int box_view_open(struct box_view *v, struct box *b, bool read_only);
void box_view_close(struct box_view *v, uint64_t now); /* not open is fine */
static inline size_t box_view_exists(const struct box_view *v) { return v->shown - v->n_holes; }
/* seq from 1: index, or SIZE_MAX past the end. */
size_t box_view_index(const struct box_view *v, uint32_t seq);
/* 0: the session does not know it. */
uint32_t box_view_seq(const struct box_view *v, size_t index);
bool box_view_has(const struct box_view *v, size_t index);
static inline bool box_view_recent(const struct box_view *v, const struct box_message *m)
{
    return m->uid >= v->recent_from;
}

/* A set as ranges of indices [first, last], ascending, merged. Numbers that are not there are passed over for UIDs;
 * -ERANGE: a sequence number beyond the mailbox (RFC 9051 9: BAD). 0 or -ENOMEM. The caller frees *out. Inside the
 * ranges, box_view_has() says what belongs to the session. */
struct box_range { size_t first, last; };
int box_view_resolve(const struct box_view *v, const struct imap_set *set, bool uid, struct box_range **out,
                     size_t *out_n);
/* Walks the session's messages in ranges: begin with *at = 0, *index = 0; false at the end. *out_seq is its number. */
struct box_walk { const struct box_view *view; const struct box_range *ranges; size_t n, at, index, hole; bool begun; };
bool box_walk_next(struct box_walk *w, size_t *out_index, uint32_t *out_seq);

/* Is there anything to tell? (cheap) */
bool box_view_news(const struct box_view *v);
struct box_tell { bool expunges; bool vanished; bool uid; bool modseq; bool rev2; };
/* Tells what happened since: EXPUNGE or VANISHED (only if `expunges`; else those wait), EXISTS and (without rev2)
 * RECENT, FETCH with FLAGS (and UID, MODSEQ if wanted). With `expunges` indices of messages may change (box_tidy), so
 * nobody may keep ranges over it. The buf's error, -ENOMEM, or -ESTALE for a view that is lost. */
int box_view_tell(struct box_view *v, const struct box_tell *how, struct buf *out);
/* There were more changes of flags than it told at once (64 KiB and a little): call again when they are out. */
bool box_view_more(const struct box_view *v);
