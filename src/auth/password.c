/* Passwords, SCRAM keys, the cache: see password.h. Everything secret on the stack or the heap is wiped before it is
 * let go. */
#include <crypt.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include "auth/password.h"
#include "base/map.h"

/* j8T in the words of crypt_gensalt(3) */
#define CRYPT_COST 4
#define CRYPT_SALT_LEN 16

/* What stands in for a hash that crypt cannot use; its last part is no outcome anybody has found. */
#define NO_OUTCOME "..........................................." /* 43 digits: 32 bytes */
static const char fallback_hash[] = PASSWORD_CRYPT_PREFIX "......................$" NO_OUTCOME;

struct crypt_work {
    char phrase[PASSWORD_MAX + 1];
    char setting[CRYPT_OUTPUT_SIZE];
    struct crypt_data data;
};

static void crypt_work_free(struct crypt_work **w)
{
    if (*w)
        explicit_bzero(*w, sizeof(**w));
    free(*w);
}

static bool acceptable(str password)
{
    return password.n > 0 && password.n <= PASSWORD_MAX && str_chr(password, '\0') < 0;
}

static void to_z(char *out, size_t size, str s)
{
    size_t n = MIN(s.n, size - 1);
    if (n)
        memcpy(out, s.p, n);
    out[n] = '\0';
}

/* The hash of w->phrase under a setting (a hash is its own setting); STR_NONE when crypt does not know the setting. */
static str run_crypt(struct crypt_work *w, str setting)
{
    to_z(w->setting, sizeof(w->setting), setting);
    const char *hash = crypt_r(w->phrase, w->setting, &w->data);
    return hash && hash[0] != '*' ? str_z(hash) : STR_NONE;
}

static bool hmac(const void *key, size_t key_n, str data, uint8_t out[SCRAM_KEY_LEN])
{
    return HMAC(EVP_sha256(), key, (int)key_n, (const uint8_t *)data.p, data.n, out, NULL) != NULL;
}

static int make_hash(struct arena *a, const struct env *env, str password, struct account_secret *out)
{
    _cleanup_(crypt_work_free) struct crypt_work *w = calloc(1, sizeof(*w));
    char random[CRYPT_SALT_LEN], setting[CRYPT_GENSALT_OUTPUT_SIZE];
    if (!w)
        return -ENOMEM;
    env->random(random, sizeof(random));
    if (!crypt_gensalt_rn("$y$", CRYPT_COST, random, sizeof(random), setting, sizeof(setting)))
        return -EIO;
    to_z(w->phrase, sizeof(w->phrase), password);
    str hash = run_crypt(w, str_z(setting));
    if (!hash.n)
        return -EIO;
    out->hash = arena_dup(a, hash);
    return out->hash.p ? 0 : -ENOMEM;
}

/* RFC 5802 3: SaltedPassword, ClientKey, StoredKey, ServerKey */
static int make_keys(struct arena *a, str password, struct account_secret *out)
{
    uint8_t salted[SCRAM_KEY_LEN], client_key[SCRAM_KEY_LEN], stored_key[SCRAM_KEY_LEN], server_key[SCRAM_KEY_LEN];
    bool ok = PKCS5_PBKDF2_HMAC(password.p, (int)password.n, (const uint8_t *)out->salt.p, (int)out->salt.n,
                                (int)out->iterations, EVP_sha256(), sizeof(salted), salted) == 1
              && hmac(salted, sizeof(salted), S("Client Key"), client_key)
              && SHA256(client_key, sizeof(client_key), stored_key)
              && hmac(salted, sizeof(salted), S("Server Key"), server_key);
    if (ok) {
        out->stored_key = arena_dup(a, str_of(stored_key, sizeof(stored_key)));
        out->server_key = arena_dup(a, str_of(server_key, sizeof(server_key)));
    }
    explicit_bzero(salted, sizeof(salted));
    explicit_bzero(client_key, sizeof(client_key));
    explicit_bzero(server_key, sizeof(server_key));
    if (!ok)
        return -EIO;
    return out->stored_key.p && out->server_key.p ? 0 : -ENOMEM;
}

int password_make(struct arena *a, const struct env *env, str address, str password, struct account_secret *out)
{
    if (!acceptable(password))
        return -EINVAL;
    char salt[SCRAM_SALT_LEN];
    env->random(salt, sizeof(salt));
    struct account_secret made = {
        .address = arena_dup(a, address),
        .salt = arena_dup(a, str_of(salt, sizeof(salt))),
        .iterations = SCRAM_ITERATIONS,
    };
    if ((address.n && !made.address.p) || !made.salt.p)
        return -ENOMEM;
    int r = make_hash(a, env, password, &made);
    if (r == 0)
        r = make_keys(a, password, &made);
    if (r == 0)
        *out = made;
    return r;
}

bool password_check(const struct account_secret *secret, str password)
{
    _cleanup_(crypt_work_free) struct crypt_work *w = calloc(1, sizeof(*w));
    if (!w)
        return false;
    bool ok = acceptable(password);
    to_z(w->phrase, sizeof(w->phrase), ok ? password : S("-"));
    bool whole = secret->hash.n < sizeof(w->setting) && str_chr(secret->hash, '\0') < 0;
    str hash = whole ? run_crypt(w, secret->hash) : STR_NONE;
    if (hash.n == 0)
        run_crypt(w, str_z(fallback_hash)); /* a damaged hash must not answer sooner */
    return hash.n > 0 && const_time_eq(hash, secret->hash) && ok;
}

/* 32 bytes that only the holder of the key can tell from random ones, another for each `what`. */
static str derive(struct arena *a, const uint8_t key[32], const char *what, str user)
{
    uint8_t out[SCRAM_KEY_LEN];
    str text = arena_printf(a, "%s %.*s", what, STR_ARG(user));
    return text.p && hmac(key, 32, text, out) ? arena_dup(a, str_of(out, sizeof(out))) : STR_NONE;
}

int password_dummy(const uint8_t key[32], str user, struct account_secret *out, struct arena *a)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    str lower = arena_lower(a, user);
    str crypt_salt = derive(a, key, "crypt", lower), salt = derive(a, key, "salt", lower);
    struct account_secret made = {
        .address = arena_dup(a, user),
        .salt = str_first(salt, SCRAM_SALT_LEN),
        .iterations = SCRAM_ITERATIONS,
        .stored_key = derive(a, key, "stored", lower),
        .server_key = derive(a, key, "server", lower),
    };
    if ((user.n && (!lower.p || !made.address.p)) || !crypt_salt.p || !salt.p)
        return -ENOMEM;
    if (!made.stored_key.p || !made.server_key.p)
        return -ENOMEM;
    if (!crypt_gensalt_rn("$y$", CRYPT_COST, crypt_salt.p, CRYPT_SALT_LEN, setting, sizeof(setting)))
        return -EIO;
    made.hash = arena_printf(a, "%s$" NO_OUTCOME, setting);
    if (!made.hash.p)
        return -ENOMEM;
    *out = made;
    return 0;
}

bool scram_verify(const struct account_secret *secret, str auth_message, str proof,
                  uint8_t out_server_signature[SCRAM_KEY_LEN])
{
    uint8_t key[SCRAM_KEY_LEN] = { 0 }, stored[SCRAM_KEY_LEN], signature[SCRAM_KEY_LEN];
    if (proof.n != SCRAM_KEY_LEN || secret->stored_key.n != SCRAM_KEY_LEN || secret->server_key.n != SCRAM_KEY_LEN)
        return false;
    bool ok = hmac(secret->stored_key.p, SCRAM_KEY_LEN, auth_message, key); /* ClientSignature */
    for (size_t i = 0; i < SCRAM_KEY_LEN; i++)
        key[i] ^= (uint8_t)proof.p[i]; /* ClientKey */
    ok = ok && SHA256(key, sizeof(key), stored) && const_time_eq(str_of(stored, sizeof(stored)), secret->stored_key)
         && hmac(secret->server_key.p, SCRAM_KEY_LEN, auth_message, signature);
    explicit_bzero(key, sizeof(key));
    if (ok)
        memcpy(out_server_signature, signature, sizeof(signature));
    return ok;
}

/* The cache's values are the moments of expiry themselves, so a walk from the oldest entry meets them in order. */
struct auth_cache {
    struct map map;
    uint8_t key[32];
    uint64_t generation;
};

struct auth_cache *auth_cache_new(const struct env *env)
{
    struct auth_cache *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    uint8_t map_key[16];
    env->random(map_key, sizeof(map_key));
    env->random(c->key, sizeof(c->key));
    map_init(&c->map, AUTH_CACHE_MAX, map_key);
    return c;
}

void auth_cache_free(struct auth_cache *c)
{
    if (!c)
        return;
    map_done(&c->map);
    explicit_bzero(c, sizeof(*c));
    free(c);
}

/* HMAC over user NUL password; names that could move that NUL, and what no account has, are not cached. */
static bool fingerprint(const struct auth_cache *c, str user, str password, uint8_t out[SCRAM_KEY_LEN])
{
    char text[320 + 1 + PASSWORD_MAX];
    if (user.n > 320 || str_chr(user, '\0') >= 0 || !acceptable(password))
        return false;
    for (size_t i = 0; i < user.n; i++)
        text[i] = ascii_lower(user.p[i]);
    text[user.n] = '\0';
    memcpy(text + user.n + 1, password.p, password.n);
    bool ok = hmac(c->key, sizeof(c->key), str_of(text, user.n + 1 + password.n), out);
    explicit_bzero(text, sizeof(text));
    return ok;
}

static void drop_oldest(struct map *m)
{
    size_t at = 0;
    str key;
    if (map_next(m, &at, &key))
        map_take(m, key);
}

/* False for a generation that is over. */
static bool be_current(struct auth_cache *c, uint64_t generation)
{
    if (generation > c->generation) {
        map_done(&c->map);
        c->generation = generation;
    }
    return generation == c->generation;
}

bool auth_cache_has(struct auth_cache *c, uint64_t generation, str user, str password, uint64_t mono_ms)
{
    uint8_t print[SCRAM_KEY_LEN];
    if (!be_current(c, generation) || !fingerprint(c, user, password, print))
        return false;
    return (uintptr_t)map_get(&c->map, str_of(print, sizeof(print))) > mono_ms;
}

void auth_cache_add(struct auth_cache *c, uint64_t generation, str user, str password, uint64_t mono_ms)
{
    uint8_t print[SCRAM_KEY_LEN];
    if (!be_current(c, generation) || !fingerprint(c, user, password, print))
        return;
    str key = str_of(print, sizeof(print));
    map_take(&c->map, key); /* it becomes the youngest */
    if (c->map.n >= AUTH_CACHE_MAX)
        drop_oldest(&c->map);
    map_set(&c->map, key, (void *)(uintptr_t)(mono_ms + AUTH_CACHE_TTL_MS), NULL);
}
