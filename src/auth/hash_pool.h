/* A few threads that do the slow password checks, so that the loop of role auth goes on. The number of checks that may
 * wait is bounded. */
#pragma once
#include "conf/accounts.h"
#include "io/loop.h"

struct hash_job { /* embedded in the caller's request */
    const struct account_secret *secret; /* valid until done */
    str password;                        /* the same */
    bool ok;
    struct hash_job *next;
};

struct hash_pool;
/* done() is called in the loop's thread for each finished job. NULL without memory or threads. */
struct hash_pool *hash_pool_new(struct loop *l, unsigned threads, size_t waiting_max,
                                void (*done)(struct hash_job *job));
/* 0, or -EBUSY when waiting_max jobs wait. */
int hash_pool_add(struct hash_pool *p, struct hash_job *job);
size_t hash_pool_waiting(struct hash_pool *p);
