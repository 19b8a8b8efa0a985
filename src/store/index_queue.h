/* Queued messages in the index: what is to be sent, when, and which DSN are owed. Part of the index (index.h), for the
 * queue of the store. A recipient's row is there until it is final and no DSN of it is owed; a message's row until its
 * last recipient's is gone. Errors as in index.h; slices are valid during the call. */
#pragma once
#include "store/index.h"

enum queue_state { QUEUE_STATE_DUE, QUEUE_STATE_HELD, QUEUE_STATE_FINAL };

struct index_queue_message {
    uint64_t lsn;
    str log;
    struct log_position position;
    uint64_t content_len;
    uint32_t meta_len;
    uint64_t received_us;
    uint8_t session[16];
    uint32_t number;
    str sender, envid;
    uint8_t ret, body, priority;
    bool smtputf8, requiretls, last_resort;
    bool placed;             /* also in mailboxes of this host */
};

struct index_queue_recipient {
    uint64_t message;
    uint32_t index, group;
    uint8_t state, outcome, notify;
    uint8_t owed;            /* enum queue_dsn_kind + 1; 0: none */
    uint64_t event;          /* of the DSN owed */
    bool delay_told;         /* one of delay was owed, now or before */
    str address, original, orcpt, sender, alias, redirect, via, user;
    uint64_t due_us;
    uint32_t attempts;
    /* of the last attempt */
    uint16_t code;
    str status, text, mta, tls;
    uint64_t at_us;
};

/* Due ones behind *inout (of `due_us`, `message`, `index`), due until `until_us`, at most max: in that order. How many;
 * a negative result of `each` ends the walk with it. */
struct index_queue_due { uint64_t due_us, message; uint32_t index; };
struct index_queue_item {
    uint64_t message, due_us, received_us;
    uint32_t index, group, attempts;
    uint8_t priority, notify;
    bool delay_told;         /* a DSN of delay was owed already */
    str sender, address, redirect, via, user; /* sender: of the message */
};
int index_queue_due(struct index *ix, struct index_queue_due *inout, uint64_t until_us, uint32_t max,
                    int (*each)(void *arg, const struct index_queue_item *i), void *arg);

/* The message and its recipients, in the arena. 1 or 0. */
int index_queue_load(struct index *ix, struct arena *a, uint64_t lsn, struct index_queue_message *out,
                     struct index_queue_recipient **out_list, size_t *out_n);
/* The first message behind lsn. 1 and its number, or 0. */
int index_queue_next(struct index *ix, uint64_t lsn, uint64_t *out_lsn);
/* One recipient of it or, with UINT32_MAX, any: is there a row? */
int index_queue_has(struct index *ix, uint64_t message);

struct index_queue_attempt {
    uint32_t index, attempts;
    uint64_t at_us;
    uint8_t outcome;
    uint16_t code;
    str status, text, mta, tls;
};
#define INDEX_QUEUE_ATTEMPTS 5 /* kept of each recipient */
int index_queue_attempts(struct index *ix, uint64_t message,
                         int (*each)(void *arg, const struct index_queue_attempt *t), void *arg);

/* The next DSN owed behind *inout_event: 1, or 0 when there is none. */
int index_queue_owed(struct index *ix, uint64_t *inout_event, uint64_t *out_message, uint8_t *out_owed);

/* Destinations that are paused. */
int index_queue_paused(struct index *ix, int (*each)(void *arg, str destination), void *arg);
