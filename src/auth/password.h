/* Passwords as the role auth keeps and checks them: crypt(3) with yescrypt, the keys of SCRAM-SHA-256 (RFC 5802 3,
 * 7677), and a cache of what was right a moment ago. A check costs about 40 ms of processor and 16 MiB, whoever is
 * asked for: the caller bounds how many run at once. Passwords are bytes; SASLprep (RFC 4013) is not applied, which for
 * ASCII is the same. */
#pragma once
#include "base/arena.h"
#include "base/env.h"
#include "conf/accounts.h"

#define PASSWORD_MAX          511 /* octets; what crypt(3) takes */
#define PASSWORD_CRYPT_PREFIX "$y$j8T$"
#define SCRAM_ITERATIONS      65536
#define SCRAM_SALT_LEN        16
#define SCRAM_KEY_LEN         32

/* Fills *out (all of it in the arena) for a new password. 0; -EINVAL (empty, longer than PASSWORD_MAX, holds a NUL),
 * -ENOMEM, -EIO (crypt or OpenSSL failed). */
int password_make(struct arena *a, const struct env *env, str address, str password, struct account_secret *out);

/* True if the password is right. Costs the same for a wrong one, for one that cannot be (empty, NUL, too long) and for
 * a hash that is damaged or of an unknown kind. */
bool password_check(const struct account_secret *secret, str password);

/* A secret for a user that does not exist: it fits no password, costs what a real one costs, and for the same key gives
 * the same user (whatever the case of its letters) always the same salt, so that neither SCRAM nor a clock tells who
 * exists (DESIGN 8.6). key: secret of this installation. 0, -ENOMEM, -EIO. */
int password_dummy(const uint8_t key[32], str user, struct account_secret *out, struct arena *a);

/* Proves the client's proof against StoredKey; makes the ServerSignature when it is right (out untouched otherwise). */
bool scram_verify(const struct account_secret *secret, str auth_message, str proof,
                  uint8_t out_server_signature[SCRAM_KEY_LEN]);

/* Passwords that were right during the last five minutes, so that clients which log in for each message do not cost a
 * hash each. Kept as HMAC-SHA-256 under a random key of this process; at most 10,000, the oldest goes first. Only what
 * password_check() confirmed may be added. generation is that of the directory the secret was read under (DESIGN 4): a
 * newer one empties the cache, an older one neither finds nor adds anything. */
struct auth_cache;
#define AUTH_CACHE_MAX    10000
#define AUTH_CACHE_TTL_MS (5 * 60 * 1000)
struct auth_cache *auth_cache_new(const struct env *env); /* NULL without memory */
void auth_cache_free(struct auth_cache *c);
bool auth_cache_has(struct auth_cache *c, uint64_t generation, str user, str password, uint64_t mono_ms);
void auth_cache_add(struct auth_cache *c, uint64_t generation, str user, str password, uint64_t mono_ms);
