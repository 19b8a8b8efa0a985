/* How long a failed login is answered late, and what follows it: it grows with the failures of a client's network (IPv4
 * address, IPv6 /64) and of that network with one user, so that guessing from one place becomes slow while the same
 * user elsewhere is not kept waiting. After n failures the next answer, right or wrong, waits min(2^(n-1) * 500 ms, 15
 * s); 15 minutes without a failure forget them. Pure: time is an argument, waiting is the caller's. */
#pragma once
#include "base/str.h"

#define PENALTY_FIRST_MS  500
#define PENALTY_MAX_MS    15000
#define PENALTY_FLOOR_MS  250 /* a failed answer of an untrusted client never comes sooner */
#define PENALTY_DECAY_MS  (15 * 60 * 1000)
#define PENALTY_TABLE_MAX 65536 /* networks and pairs together; who failed longest ago goes first */

struct penalty_client {
    str ip;       /* 4 or 16 bytes in network order (IPv4 in IPv6 counts as IPv4); anything else: one common network */
    bool trusted; /* nothing grows and nothing waits */
};

struct penalty;
struct penalty *penalty_new(const uint8_t key[16]); /* key: random, for the table; NULL without memory */
void penalty_free(struct penalty *p);

/* How long the answer to an attempt that begins now must wait, in ms. */
uint32_t penalty_delay(const struct penalty *p, const struct penalty_client *client, str user, uint64_t mono_ms);
/* The attempt failed: counts it and returns how long its answer must wait, the floor included. */
uint32_t penalty_fail(struct penalty *p, const struct penalty_client *client, str user, uint64_t mono_ms);
/* The attempt succeeded: forgets this network's failures with this user. Those of the network stay, or one known
 * password would buy guesses at all others. */
void penalty_ok(struct penalty *p, const struct penalty_client *client, str user);
