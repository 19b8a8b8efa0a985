/* The queue in role store: jobs to roles smtp-out and mda and their results, DSN from role smtp-in, questions of the
 * command line, and what the trace says of it. */
#pragma once
#include "io/role.h"
#include "store/store_queue.h"

struct store_queue_role { /* zeroed: not begun */
    struct role *role;
    struct store *store;
    struct loop_timer timer, commit;
    bool work;                 /* look for something to do at the end of this turn */
    int broken;                /* error of the store */
    uint64_t fd_lost;
};

/* The store is open, its directory set: queue and hooks begin. 0 or negative errno. */
int store_queue_role_start(struct store_queue_role *q, struct role *r, struct store *s);
int store_queue_role_configure(struct store_queue_role *q, const struct conf *c);
void store_queue_role_stop(struct store_queue_role *q);
/* JOB_ATTACH, JOB_RESULT, ASK. */
int store_queue_role_frame(struct store_queue_role *q, enum role_id peer, struct ipc_frame *f);
void store_queue_role_up(struct store_queue_role *q, enum role_id peer);
void store_queue_role_down(struct store_queue_role *q, enum role_id peer);
/* At the end of a turn, after what is durable was published: 0, or an error of the store. */
int store_queue_role_turn(struct store_queue_role *q);
void store_queue_role_status(struct store_queue_role *q, struct buf *out);
