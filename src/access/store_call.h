/* A session's question to the store: one at a time, answered by one or more frames. Requests of all sessions are found
 * by their number in O(1). */
#pragma once
#include "base/map.h"
#include "io/role.h"

struct store_calls { struct role *role; struct map open; uint64_t last; struct loop_timer later; };
void store_calls_init(struct store_calls *c, struct role *role);
void store_calls_done(struct store_calls *c);

struct store_call { /* embedded in what waits; zeroed is idle */
    struct store_calls *calls;
    uint64_t request;       /* 0: none is out */
    uint64_t asked_ms;
    /* Each frame of the answer, past its request number; f NULL: the store has gone, or the frame was damaged. Returns
     * true when another frame belongs to this answer. The call is idle before the last one is given, so a new one may
     * be begun inside. */
    bool (*answer)(struct store_call *c, struct ipc_frame *f);
};
/* Begins a frame in *b: request number and session text; the caller packs the rest and sends. */
void store_call_begin(struct store_calls *calls, struct store_call *c, struct buf *b, str session);
/* Takes b. 0, or negative: not sent, no answer will come. */
int store_call_send(struct store_call *c, enum ipc_type type, struct buf *b);
/* The same for what nobody waits for: it goes with the next question, or within STORE_CALL_LATER_MS. */
#define STORE_CALL_LATER_MS 10
int store_call_send_later(struct store_call *c, enum ipc_type type, struct buf *b);
void store_call_cancel(struct store_call *c); /* the answer will be dropped; idle is fine */
static inline bool store_call_waits(const struct store_call *c) { return c->request != 0; }
/* A frame that begins with a request number. 0; -EBADMSG. Nobody waits for it any more: 0 */
int store_calls_frame(struct store_calls *c, struct ipc_frame *f);
void store_calls_down(struct store_calls *c);
