/* A hash table from byte strings to pointers, keyed by SipHash with a key of its own, so nobody outside can choose
 * collisions. Keys are copied. Bounded: at `max` entries adding fails. A walk goes in the order of
 * first setting. */
#pragma once
#include "base/hash.h"

struct map_slot;
struct map {
    uint8_t key[16];
    struct map_slot **slots; /* chains, cap of them */
    struct map_slot *first, *last; /* all entries, oldest first */
    size_t n, cap, max;
};

void map_init(struct map *m, size_t max, const uint8_t key[16]);
/* Frees the table; values are the caller's (walk them first). */
void map_done(struct map *m);
void *map_get(const struct map *m, str key); /* NULL: not there */
/* Sets key to value (non-NULL). 0, -ENOSPC (max entries), -ENOMEM. *out_old, if wanted, gets the former value or
 * NULL. */
int map_set(struct map *m, str key, void *value, void **out_old);
void *map_take(struct map *m, str key); /* removes; returns the value or NULL */
/* Walk: start with *at = 0; NULL at the end. Taking the entry just returned is allowed, setting is not. */
void *map_next(const struct map *m, size_t *at, str *out_key);
