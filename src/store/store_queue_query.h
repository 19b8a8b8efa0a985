/* What the files that answer questions about the queue share: see queue_query.h. */
#pragma once
#include "store/queue_query.h"
#include "store/store_queue_internal.h"

#define QUERY_MESSAGES 20000 /* looked at for one question; then the next page */

struct queue_query {
    str what, sender, recipient, domain, destination, state, to, by, text;
    uint64_t id, older_us, younger_us;
    uint64_t page;           /* where this page begins: of queue_place(), or what the last answer said; 0 the first */
    bool has_sender, has_id;
};

/* A message and the recipients of it that were told already, as one number. */
#define QUEUE_PLACE_BITS 20
static inline uint64_t queue_place(uint64_t lsn, uint64_t told) { return lsn << QUEUE_PLACE_BITS | told; }

/* A recipient as it is asked about. */
struct queue_seen {
    const struct index_queue_message *m;
    const struct index_queue_recipient *r;
    const char *state;       /* waiting, sending, held, final */
    str destination;         /* key */
};

/* Calls `each` for the recipients that fit, in the order of their messages; 1 ends the walk. Messages that were looked
 * at when it ends early, or has looked at QUERY_MESSAGES: *out_more is the place of the message to go on with, else
 * 0. */
int queue_query_walk(struct store *s, const struct queue_query *q, int (*each)(void *arg, const struct queue_seen *x),
                     void *arg, uint64_t *out_more);
/* store_queue_change.c: "changed" and "skipped" of one page. */
int queue_change(struct store *s, const struct queue_query *q, uint64_t *out_changed, uint64_t *out_skipped,
                 uint64_t *out_more);
int queue_pause(struct store *s, str destination, bool pause, str by);

/* A JSON object a line. */
void json_begin(struct buf *b);
void json_open(struct buf *b, const char *key); /* an object in it, closed with json_close() */
void json_close(struct buf *b);
void json_str(struct buf *b, const char *key, str value);
void json_u64(struct buf *b, const char *key, uint64_t value);
void json_time(struct buf *b, const char *key, uint64_t us);
void json_end(struct buf *b);
