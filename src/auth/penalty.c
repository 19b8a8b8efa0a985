/* Penalties for failed logins: see penalty.h. The table's values are no pointers but the count (low 8 bits, never 0)
 * and the moment of the last failure (the rest); each failure makes its entry the youngest, so the oldest is the one to
 * evict. Keys have a fixed size, whatever a client calls itself. */
#include "auth/penalty.h"
#include "base/cleanup.h"
#include "base/map.h"
#include <stdlib.h>

#define COUNT_MAX 255

struct penalty {
    uint8_t key[16];
    struct map map;
};

struct penalty_key {
    uint8_t family; /* 4, 6 or 0 */
    uint8_t pair;
    uint8_t network[8];
    uint8_t user[8]; /* SipHash of the name: nobody without the key can make two names meet */
};

struct penalty *penalty_new(const uint8_t key[16])
{
    struct penalty *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    memcpy(p->key, key, sizeof(p->key));
    map_init(&p->map, PENALTY_TABLE_MAX, key);
    return p;
}

void penalty_free(struct penalty *p)
{
    if (p)
        map_done(&p->map);
    free(p);
}

static void set_network(struct penalty_key *k, str ip)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    if (ip.n == 16 && memcmp(ip.p, mapped, sizeof(mapped)) == 0)
        ip = str_from(ip, sizeof(mapped));
    k->family = ip.n == 4 ? 4 : ip.n == 16 ? 6 : 0;
    if (k->family)
        memcpy(k->network, ip.p, k->family == 4 ? 4 : 8);
}

/* Accounts ignore ASCII case; an address is never longer than this. */
static void set_user(struct penalty_key *k, const uint8_t key[16], str user)
{
    char lower[320];
    size_t n = MIN(user.n, sizeof(lower));
    for (size_t i = 0; i < n; i++)
        lower[i] = ascii_lower(user.p[i]);
    uint64_t hash = siphash24(key, str_of(lower, n));
    memcpy(k->user, &hash, sizeof(k->user));
    k->pair = 1;
}

static void make_keys(const struct penalty *p, const struct penalty_client *client, str user, struct penalty_key out[2])
{
    memset(out, 0, 2 * sizeof(out[0]));
    set_network(&out[0], client->ip);
    out[1] = out[0];
    set_user(&out[1], p->key, user);
}

static uint32_t count_of(const struct penalty *p, const struct penalty_key *k, uint64_t mono_ms)
{
    uint64_t v = (uintptr_t)map_get(&p->map, str_of(k, sizeof(*k)));
    return (v >> 8) + PENALTY_DECAY_MS > mono_ms ? v & COUNT_MAX : 0;
}

static uint32_t delay_after(uint32_t failures)
{
    if (failures == 0)
        return 0;
    return failures > 5 ? PENALTY_MAX_MS : MIN((uint32_t)PENALTY_FIRST_MS << (failures - 1), (uint32_t)PENALTY_MAX_MS);
}

uint32_t penalty_delay(const struct penalty *p, const struct penalty_client *client, str user, uint64_t mono_ms)
{
    struct penalty_key keys[2];
    if (client->trusted)
        return 0;
    make_keys(p, client, user, keys);
    return delay_after(MAX(count_of(p, &keys[0], mono_ms), count_of(p, &keys[1], mono_ms)));
}

static void count_failure(struct penalty *p, const struct penalty_key *k, uint64_t mono_ms)
{
    uint32_t count = MIN(count_of(p, k, mono_ms) + 1, (uint32_t)COUNT_MAX);
    str key = str_of(k, sizeof(*k)), oldest;
    map_take(&p->map, key);
    size_t at = 0;
    if (p->map.n >= PENALTY_TABLE_MAX && map_next(&p->map, &at, &oldest))
        map_take(&p->map, oldest);
    map_set(&p->map, key, (void *)(uintptr_t)(mono_ms << 8 | count), NULL);
}

uint32_t penalty_fail(struct penalty *p, const struct penalty_client *client, str user, uint64_t mono_ms)
{
    struct penalty_key keys[2];
    if (client->trusted)
        return 0;
    uint32_t delay = penalty_delay(p, client, user, mono_ms);
    make_keys(p, client, user, keys);
    count_failure(p, &keys[0], mono_ms);
    count_failure(p, &keys[1], mono_ms);
    return MAX(delay, (uint32_t)PENALTY_FLOOR_MS);
}

void penalty_ok(struct penalty *p, const struct penalty_client *client, str user)
{
    struct penalty_key keys[2];
    make_keys(p, client, user, keys);
    map_take(&p->map, str_of(&keys[1], sizeof(keys[1])));
}
