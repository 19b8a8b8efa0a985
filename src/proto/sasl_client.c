/* SASL client mechanisms: see sasl_client.h. */
#include "proto/sasl_client.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "base/codec.h"
#include "base/hash.h"

enum state { FRESH, FIRST_SENT, FINAL_SENT, PROVED, USER_SENT, ALL_SENT, BROKEN };
enum { HASH = 32 };

struct sasl_client {
    enum sasl_client_mechanism mech;
    enum state state;
    struct buf user, secret, nonce;
    struct buf first_bare; /* client-first-message-bare of RFC 5802 7 */
    struct buf text;       /* what goes out */
    uint8_t server_signature[HASH];
    str why;
};

static const str names[] = { { NULL, 0 }, S("SCRAM-SHA-256"), S("PLAIN"), S("LOGIN") };

str sasl_client_name(enum sasl_client_mechanism m)
{
    return names[m];
}

static void wipe(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_done(b);
}

void sasl_client_free(struct sasl_client *s)
{
    if (!s)
        return;
    wipe(&s->user);
    wipe(&s->secret);
    wipe(&s->nonce);
    wipe(&s->first_bare);
    wipe(&s->text);
    explicit_bzero(s, sizeof(*s));
    free(s);
}

static void free_client(struct sasl_client **s)
{
    sasl_client_free(*s);
}

static bool is_text(str nonce)
{
    for (size_t i = 0; i < nonce.n; ++i)
        if (nonce.p[i] < 33 || nonce.p[i] > 126 || nonce.p[i] == ',')
            return false;
    return true;
}

struct sasl_client *sasl_client_new(enum sasl_client_mechanism m, str user, str secret, str nonce)
{
    _cleanup_(free_client) struct sasl_client *s = calloc(1, sizeof(*s));
    bool nul = str_chr(user, '\0') >= 0 || str_chr(secret, '\0') >= 0;
    if (!s || m == SASL_CLIENT_NONE || user.n == 0 || secret.n == 0 || nul)
        return NULL;
    if (m == SASL_CLIENT_SCRAM_SHA_256 && nonce.n < 18)
        return NULL;
    s->mech = m;
    s->user = s->secret = s->nonce = BUF(1024);
    s->first_bare = s->text = BUF(SASL_CLIENT_MESSAGE_MAX);
    buf_add(&s->user, user);
    buf_add(&s->secret, secret);
    if (is_text(nonce))
        buf_add(&s->nonce, nonce);
    else
        base64_encode(&s->nonce, nonce);
    /* room at once: no half-grown copy of a secret stays in the heap */
    buf_reserve(&s->text, SASL_CLIENT_MESSAGE_MAX);
    if (s->user.failed || s->secret.failed || s->nonce.failed || s->text.failed)
        return NULL;
    return TAKE(s);
}

static bool broken(struct sasl_client *s, str why)
{
    s->state = BROKEN;
    s->why = why;
    return false;
}

/* saslname of RFC 5802 7. */
static void add_name(struct buf *out, str name)
{
    for (size_t i = 0; i < name.n; ++i) {
        if (name.p[i] == ',')
            buf_add(out, S("=2C"));
        else if (name.p[i] == '=')
            buf_add(out, S("=3D"));
        else
            buf_addc(out, name.p[i]);
    }
}

bool sasl_client_first(struct sasl_client *s, str *out)
{
    if (s->state != FRESH || s->mech == SASL_CLIENT_LOGIN)
        return false;
    if (s->mech == SASL_CLIENT_PLAIN) {
        buf_addc(&s->text, '\0');
        buf_add(&s->text, buf_str(&s->user));
        buf_addc(&s->text, '\0');
        buf_add(&s->text, buf_str(&s->secret));
        s->state = ALL_SENT;
    } else {
        buf_add(&s->first_bare, S("n="));
        add_name(&s->first_bare, buf_str(&s->user));
        buf_add(&s->first_bare, S(",r="));
        buf_add(&s->first_bare, buf_str(&s->nonce));
        buf_add(&s->text, S("n,,"));
        buf_add(&s->text, buf_str(&s->first_bare));
        s->state = FIRST_SENT;
    }
    *out = buf_str(&s->text);
    return true;
}

/* The value of the attribute that comes next, "" and *ok false if it is another. */
static str attribute(str *rest, char name, bool *ok)
{
    str a = str_cut(rest, ',');
    *ok &= a.n >= 2 && a.p[0] == name && a.p[1] == '=';
    return str_from(a, 2);
}

static bool hmac(const uint8_t *key, str data, uint8_t out[HASH])
{
    unsigned n = HASH;
    return HMAC(EVP_sha256(), key, HASH, (const uint8_t *)data.p, data.n, out, &n) != NULL;
}

struct server_first {
    str nonce;
    uint8_t salt[256];
    size_t salt_n;
    uint64_t rounds;
};

static bool read_first(struct sasl_client *s, str message, struct server_first *out)
{
    _cleanup_buf_ struct buf salt = BUF(sizeof(out->salt));
    bool ok = true;
    out->nonce = attribute(&message, 'r', &ok); /* an "m=" before it asks for an extension that we do not know: fail */
    str encoded = attribute(&message, 's', &ok), rounds = attribute(&message, 'i', &ok);
    if (!ok || base64_decode(&salt, encoded) < 0 || salt.n == 0)
        return broken(s, S("the server's challenge is no message of SCRAM-SHA-256"));
    if (!str_starts(out->nonce, buf_str(&s->nonce)) || out->nonce.n == s->nonce.n || !is_text(out->nonce))
        return broken(s, S("the server's challenge does not answer ours"));
    if (str_u64(rounds, SASL_CLIENT_ROUNDS_MAX, &out->rounds) < 0 || out->rounds < SASL_CLIENT_ROUNDS_MIN)
        return broken(s, S("the server asks for too many or too few rounds of SCRAM-SHA-256"));
    memcpy(out->salt, salt.p, salt.n);
    out->salt_n = salt.n;
    return true;
}

/* ClientProof into `proof`, ServerSignature into s (RFC 5802 3). */
static bool prove(struct sasl_client *s, const struct server_first *f, str auth_message, uint8_t proof[HASH])
{
    uint8_t salted[HASH], client_key[HASH], stored_key[HASH], server_key[HASH];
    bool ok = PKCS5_PBKDF2_HMAC(s->secret.p, (int)s->secret.n, f->salt, (int)f->salt_n, (int)f->rounds, EVP_sha256(),
                                HASH, salted) == 1;
    ok = ok && hmac(salted, S("Client Key"), client_key) && hmac(salted, S("Server Key"), server_key);
    ok = ok && EVP_Digest(client_key, HASH, stored_key, NULL, EVP_sha256(), NULL) == 1;
    ok = ok && hmac(stored_key, auth_message, proof) && hmac(server_key, auth_message, s->server_signature);
    for (int i = 0; ok && i < HASH; ++i)
        proof[i] ^= client_key[i];
    explicit_bzero(salted, sizeof(salted));
    explicit_bzero(client_key, sizeof(client_key));
    explicit_bzero(server_key, sizeof(server_key));
    return ok;
}

static bool scram_final(struct sasl_client *s, str message, str *out)
{
    struct server_first first;
    uint8_t proof[HASH];
    if (!read_first(s, message, &first))
        return false;
    _cleanup_buf_ struct buf auth = BUF(3 * SASL_CLIENT_MESSAGE_MAX);
    buf_clear(&s->text);
    buf_add(&s->text, S("c=biws,r=")); /* base64 of "n,," */
    buf_add(&s->text, first.nonce);
    buf_add(&auth, buf_str(&s->first_bare));
    buf_addc(&auth, ',');
    buf_add(&auth, message);
    buf_addc(&auth, ',');
    buf_add(&auth, buf_str(&s->text));
    if (auth.failed || !prove(s, &first, buf_str(&auth), proof))
        return broken(s, S("SCRAM-SHA-256 cannot be computed"));
    buf_add(&s->text, S(",p="));
    base64_encode(&s->text, str_of(proof, HASH));
    if (s->text.failed)
        return broken(s, S("the server's challenge is too long"));
    s->state = FINAL_SENT;
    *out = buf_str(&s->text);
    return true;
}

static bool scram_check(struct sasl_client *s, str message, str *out)
{
    _cleanup_buf_ struct buf signature = BUF(HASH);
    bool ok = true;
    if (str_starts(message, S("e=")))
        return broken(s, S("the server refuses our proof"));
    str encoded = attribute(&message, 'v', &ok);
    if (!ok || base64_decode(&signature, encoded) < 0 ||
        !const_time_eq(buf_str(&signature), str_of(s->server_signature, HASH)))
        return broken(s, S("the server could not prove that it knows the password"));
    s->state = PROVED;
    *out = STR_NONE;
    return true;
}

bool sasl_client_next(struct sasl_client *s, str challenge, str *out)
{
    if (challenge.n > SASL_CLIENT_MESSAGE_MAX)
        return broken(s, S("the server's challenge is too long"));
    if (s->mech == SASL_CLIENT_LOGIN && s->state == FRESH) {
        s->state = USER_SENT;
        *out = buf_str(&s->user);
        return true;
    }
    if (s->mech == SASL_CLIENT_LOGIN && s->state == USER_SENT) {
        s->state = ALL_SENT;
        *out = buf_str(&s->secret);
        return true;
    }
    if (s->mech == SASL_CLIENT_SCRAM_SHA_256 && s->state == FIRST_SENT)
        return scram_final(s, challenge, out);
    if (s->mech == SASL_CLIENT_SCRAM_SHA_256 && s->state == FINAL_SENT)
        return scram_check(s, challenge, out);
    return s->state == BROKEN ? false : broken(s, S("the server goes on asking"));
}

bool sasl_client_ok(const struct sasl_client *s)
{
    return s->state == (s->mech == SASL_CLIENT_SCRAM_SHA_256 ? PROVED : ALL_SENT);
}

str sasl_client_why(const struct sasl_client *s)
{
    return s->why;
}
