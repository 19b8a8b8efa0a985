/* The event loop of a role: epoll for descriptors, a heap for timers, one hook at the end of each turn (write logs,
 * flush frames). One thread. Clocks come from env, so a simulator can stand in. */
#pragma once
#include "base/env.h"

struct loop;

struct loop_io { /* embedded in its owner */
    int fd;
    uint32_t events;     /* what is watched: EPOLLIN, EPOLLOUT */
    void (*ready)(struct loop_io *io, uint32_t events);
    bool added;
};

struct loop_timer { /* embedded in its owner; zeroed is idle */
    uint64_t due;        /* mono_ms */
    size_t slot;         /* 1-based place in the heap, 0 idle */
    void (*fire)(struct loop_timer *t);
};

struct loop_turn { /* called at the end of each turn, the one added last first */
    void (*end)(struct loop_turn *t);
    struct loop_turn *next;
};

int loop_new(const struct env *env, struct loop **out);
void loop_free(struct loop *l);

/* Starts watching io->fd, or changes what is watched. 0 or negative errno. */
int loop_watch(struct loop *l, struct loop_io *io, uint32_t events);
/* Stops watching. Safe inside any callback, also for an io whose event is still to be handed out in this turn. */
void loop_unwatch(struct loop *l, struct loop_io *io);

/* Fires once, `ms` from now; a timer that runs is moved. 0 or -ENOMEM. */
int loop_after(struct loop *l, struct loop_timer *t, uint64_t ms);
void loop_cancel(struct loop *l, struct loop_timer *t);
uint64_t loop_now(const struct loop *l); /* mono_ms at the start of this turn */
const struct env *loop_env(const struct loop *l);

void loop_at_turn_end(struct loop *l, struct loop_turn *t);

/* Runs until loop_stop(). 0 or negative errno. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* One turn, waiting at most max_wait_ms (-1: as long as needed). */
int loop_once(struct loop *l, int max_wait_ms);
