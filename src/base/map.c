/* The hash table: see map.h. Chains hang off `slots`; every entry also stands in one list by age, which is what a walk
 * follows, so a walk neither depends on the key nor loses its place when the entry just seen is taken. */
#include "base/map.h"
#include <errno.h>
#include <stdlib.h>

struct map_slot {
    struct map_slot *chain, *older, *newer;
    uint64_t hash;
    void *value;
    size_t n;
    char key[];
};

/* A walk's place when nothing is left; no entry has this address. */
#define WALK_END SIZE_MAX

void map_init(struct map *m, size_t max, const uint8_t key[16])
{
    *m = (struct map){ .max = max };
    memcpy(m->key, key, sizeof(m->key));
}

void map_done(struct map *m)
{
    for (struct map_slot *s = m->first, *newer; s; s = newer) {
        newer = s->newer;
        free(s);
    }
    free(m->slots);
    m->slots = NULL;
    m->first = m->last = NULL;
    m->n = m->cap = 0;
}

/* The link that leads to the key's entry, or the empty end of its chain; NULL while there is no table. */
static struct map_slot **find(const struct map *m, str key, uint64_t hash)
{
    if (!m->cap)
        return NULL;
    struct map_slot **at = &m->slots[hash & (m->cap - 1)];
    while (*at && ((*at)->hash != hash || !str_eq(str_of((*at)->key, (*at)->n), key)))
        at = &(*at)->chain;
    return at;
}

void *map_get(const struct map *m, str key)
{
    struct map_slot **at = find(m, key, siphash24(m->key, key));
    return at && *at ? (*at)->value : NULL;
}

static int grow(struct map *m)
{
    size_t cap = m->cap ? m->cap * 2 : 16;
    struct map_slot **slots = calloc(cap, sizeof(struct map_slot *));
    if (!slots)
        return m->cap ? 0 : -ENOMEM; /* a crowded table still works */
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    for (struct map_slot *s = m->first; s; s = s->newer) {
        struct map_slot **head = &slots[s->hash & (cap - 1)];
        s->chain = *head;
        *head = s;
    }
    return 0;
}

static int add(struct map *m, str key, uint64_t hash, void *value)
{
    if (m->n >= m->max)
        return -ENOSPC;
    if (m->n >= m->cap && grow(m) < 0)
        return -ENOMEM;
    struct map_slot *s = malloc(sizeof(struct map_slot) + key.n);
    if (!s)
        return -ENOMEM;
    struct map_slot **head = &m->slots[hash & (m->cap - 1)];
    *s = (struct map_slot){ .chain = *head, .older = m->last, .hash = hash, .value = value, .n = key.n };
    if (key.n)
        memcpy(s->key, key.p, key.n);
    *head = s;
    *(m->last ? &m->last->newer : &m->first) = s;
    m->last = s;
    m->n++;
    return 0;
}

int map_set(struct map *m, str key, void *value, void **out_old)
{
    uint64_t hash = siphash24(m->key, key);
    struct map_slot **at = find(m, key, hash);
    void *old = NULL;
    if (at && *at) {
        old = (*at)->value;
        (*at)->value = value;
    } else {
        int r = add(m, key, hash, value);
        if (r < 0)
            return r;
    }
    if (out_old)
        *out_old = old;
    return 0;
}

void *map_take(struct map *m, str key)
{
    struct map_slot **at = find(m, key, siphash24(m->key, key));
    struct map_slot *s = at ? *at : NULL;
    if (!s)
        return NULL;
    void *value = s->value;
    *at = s->chain;
    *(s->older ? &s->older->newer : &m->first) = s->newer;
    *(s->newer ? &s->newer->older : &m->last) = s->older;
    m->n--;
    free(s);
    return value;
}

void *map_next(const struct map *m, size_t *at, str *out_key)
{
    if (*at == WALK_END)
        return NULL;
    const struct map_slot *s = *at ? (const struct map_slot *)*at : m->first;
    if (!s) {
        *at = WALK_END;
        return NULL;
    }
    *at = s->newer ? (size_t)s->newer : WALK_END;
    if (out_key)
        *out_key = str_of(s->key, s->n);
    return s->value;
}
