/* SASL server mechanisms: see sasl.h. A mechanism is a row of the table at the end: what it does with a message of the
 * client in the state it is in. No cryptography here: whoever holds the keys is asked.
 *
 * Invariants
 * 1. `secret` holds a password or a proof only between the question and its verdict. A channel binding passes through
 *    it and is wiped at once.
 * 2. `auth` is the AuthMessage of RFC 5802 3 as far as it is known; the nonce is a part of it.
 * 3. In ENDED nothing but sasl_server_free() has an effect. */
#include "proto/sasl.h"
#include "base/codec.h"
#include "base/event.h"
#include "base/hash.h"
#include <stdlib.h>

enum state {
    FRESH,
    WANT_FIRST,    /* the empty challenge went out: what comes is as an initial response */
    WANT_PASSWORD, /* LOGIN: the second answer */
    WANT_SALT,
    WANT_FINAL,    /* SCRAM: client-final-message */
    WANT_VERDICT,
    WANT_EMPTY,    /* SCRAM: the server-final-message went out */
    ENDED,
};

enum { CHANNEL_EXPORTER, CHANNEL_UNIQUE, CHANNEL_END_POINT, CHANNEL_BINDINGS };

static const str channel_name[CHANNEL_BINDINGS] = {
    [CHANNEL_EXPORTER] = { "tls-exporter", 12 },          /* RFC 9266 3 */
    [CHANNEL_UNIQUE] = { "tls-unique", 10 },              /* RFC 5929 3 */
    [CHANNEL_END_POINT] = { "tls-server-end-point", 20 }, /* RFC 5929 4 */
};

typedef enum sasl_step (*take_fn)(struct sasl_server *s, str message, struct sasl_out *out);

struct mechanism {
    str name;
    bool client_first; /* an absent initial response is asked for with an empty challenge */
    bool scram, plus;
    take_fn first, next;
};

struct sasl_server {
    const struct mechanism *mech;
    enum state state;
    struct buf user, authzid, secret;
    bool plus_offered;
    struct buf channel[CHANNEL_BINDINGS];
    struct buf binding;         /* SCRAM: what "c=" must be: base64 of the GS2 header and the channel binding */
    struct buf server_nonce, auth;
    size_t nonce_at, nonce_n;   /* in auth: client's and server's part */
    struct buf text;            /* the challenge */
};

static void wipe(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    b->n = 0;
}

static enum sasl_step end(struct sasl_server *s, enum sasl_step step)
{
    wipe(&s->secret);
    wipe(&s->auth);
    s->state = ENDED;
    return step;
}

static enum sasl_step challenge(struct sasl_server *s, enum state next, struct sasl_out *out)
{
    if (s->text.failed)
        return end(s, SASL_FAIL);
    s->state = next;
    out->text = buf_str(&s->text);
    return SASL_CHALLENGE;
}

/* One allocation each, so that no half-grown copy of a secret is left in the heap. */
static bool keep(struct buf *b, str s)
{
    b->n = 0;
    return buf_add(b, s) == 0;
}

/* A name as all mechanisms want it: not empty, UTF-8, no control characters (RFC 4013 2.3). */
static bool is_name(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return s.n > 0 && utf8_valid(s);
}

static enum sasl_step ask_password(struct sasl_server *s, str password, struct sasl_out *out)
{
    if (password.n == 0 || str_chr(password, '\0') >= 0)
        return end(s, SASL_MALFORMED);
    if (!keep(&s->secret, password))
        return end(s, SASL_FAIL);
    s->state = WANT_VERDICT;
    out->user = buf_str(&s->user);
    out->authzid = buf_str(&s->authzid);
    out->password = buf_str(&s->secret);
    return SASL_ASK_PASSWORD;
}

/* Accounts ignore ASCII case, so the identity asked for may differ from the user in nothing else. */
static bool may_act_as(str user, str authzid)
{
    return authzid.n == 0 || str_ieq(user, authzid);
}

/* PLAIN (RFC 4616 2): [authzid] NUL authcid NUL passwd */
static enum sasl_step plain_first(struct sasl_server *s, str message, struct sasl_out *out)
{
    ptrdiff_t first = str_chr(message, '\0');
    if (first < 0)
        return end(s, SASL_MALFORMED);
    str authzid = str_first(message, (size_t)first);
    str rest = str_from(message, (size_t)first + 1);
    ptrdiff_t second = str_chr(rest, '\0');
    if (second < 0)
        return end(s, SASL_MALFORMED);
    str user = str_first(rest, (size_t)second);
    str password = str_from(rest, (size_t)second + 1);
    if (!is_name(user) || (authzid.n && !is_name(authzid)))
        return end(s, SASL_MALFORMED);
    if (!may_act_as(user, authzid) || !keep(&s->user, user) || !keep(&s->authzid, authzid))
        return end(s, SASL_FAIL);
    return ask_password(s, password, out);
}

/* LOGIN: two questions in the words that clients look for. An initial response is the user's name. */
static enum sasl_step login_first(struct sasl_server *s, str message, struct sasl_out *out)
{
    if (!is_name(message))
        return end(s, SASL_MALFORMED);
    if (!keep(&s->user, message))
        return end(s, SASL_FAIL);
    buf_clear(&s->text);
    buf_add(&s->text, S("Password:"));
    return challenge(s, WANT_PASSWORD, out);
}

static enum sasl_step login_next(struct sasl_server *s, str message, struct sasl_out *out)
{
    return s->state == WANT_PASSWORD ? ask_password(s, message, out) : end(s, SASL_MALFORMED);
}

/* saslname of RFC 5802 7: "," and "=" come as =2C and =3D, and "=" nowhere else. */
static bool decode_saslname(struct buf *out, str in)
{
    out->n = 0;
    if (buf_reserve(out, in.n) < 0)
        return false;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '=') {
            str code = str_first(str_from(in, i + 1), 2);
            if (!str_eq(code, S("2C")) && !str_eq(code, S("3D")))
                return false;
            c = code.p[0] == '2' ? ',' : '=';
            i += 2;
        }
        buf_addc(out, c);
    }
    return is_name(buf_str(out));
}

static bool is_printable(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == ',')
            return false;
    return s.n > 0;
}

/* The next attribute `name=value` up to the comma; false when something else stands there. */
static bool attribute(str *rest, char name, str *out_value)
{
    str one = str_cut(rest, ',');
    if (one.n < 2 || one.p[0] != name || one.p[1] != '=')
        return false;
    *out_value = str_from(one, 2);
    return true;
}

/* Optional extensions are ignored, "m=" is a mandatory one nobody defined yet (RFC 5802 5.1). `rest` is what follows
 * the last known attribute and its comma; `there` tells whether that comma was there. */
static bool extensions_ok(str rest, bool there)
{
    while (there) {
        there = str_chr(rest, ',') >= 0;
        str one = str_cut(&rest, ',');
        if (one.n < 3 || !ascii_alpha(one.p[0]) || one.p[1] != '=' || one.p[0] == 'm' || str_chr(one, '\0') >= 0)
            return false;
    }
    return true;
}

static enum sasl_step unbound(struct sasl_server *s, str text, struct sasl_out *out)
{
    out->text = text;
    out->user = buf_str(&s->user);
    return end(s, SASL_BINDING);
}

/* gs2-cbind-flag (RFC 5802 7): SASL_OK when the exchange may go on, then *out_bytes is what both sides must know.
 * "p=" belongs to -PLUS alone; "y" is a client that could, but saw no -PLUS in the list. If it stood there, somebody
 * took it out (5802 6). */
static enum sasl_step channel_flag(const struct sasl_server *s, str flag, str *out_bytes, str *out_why)
{
    *out_bytes = STR_NONE;
    if (!s->mech->plus) {
        *out_why = S("Channel binding failed: server-does-support-channel-binding");
        bool could = str_eq(flag, S("y"));
        return could && s->plus_offered ? SASL_BINDING : could || str_eq(flag, S("n")) ? SASL_OK : SASL_MALFORMED;
    }
    str name = str_from(flag, 2);
    if (!str_starts(flag, S("p=")) || name.n == 0)
        return SASL_MALFORMED;
    for (size_t i = 0; i < name.n; i++)
        if (!ascii_alnum(name.p[i]) && name.p[i] != '.' && name.p[i] != '-')
            return SASL_MALFORMED;
    for (size_t i = 0; i < CHANNEL_BINDINGS; i++)
        if (str_eq(name, channel_name[i]))
            *out_bytes = buf_str(&s->channel[i]);
    *out_why = S("Channel binding failed: unsupported-channel-binding-type");
    return out_bytes->n ? SASL_OK : SASL_BINDING;
}

/* cbind-input of RFC 5802 7: the GS2 header, then the bytes of the channel. */
static void expect_binding(struct sasl_server *s, str header, str bytes)
{
    if (keep(&s->secret, header) && buf_add(&s->secret, bytes) == 0)
        base64_encode(&s->binding, buf_str(&s->secret));
    wipe(&s->secret);
}

/* SCRAM client-first-message (RFC 5802 7). */
static enum sasl_step scram_first(struct sasl_server *s, str message, struct sasl_out *out)
{
    str rest = message, authzid = STR_NONE, user, nonce, channel, why;
    enum sasl_step flag = channel_flag(s, str_cut(&rest, ','), &channel, &why);
    if (flag == SASL_MALFORMED)
        return end(s, SASL_MALFORMED);
    str identity = str_cut(&rest, ',');
    bool has_authzid = identity.n > 0, more;
    if (has_authzid && !attribute(&identity, 'a', &authzid))
        return end(s, SASL_MALFORMED);
    str header = str_first(message, message.n - rest.n), bare = rest;
    if (!attribute(&rest, 'n', &user))
        return end(s, SASL_MALFORMED);
    more = str_chr(rest, ',') >= 0;
    if (!attribute(&rest, 'r', &nonce) || !is_printable(nonce) || !extensions_ok(rest, more))
        return end(s, SASL_MALFORMED);
    if (!decode_saslname(&s->user, user) || (has_authzid && !decode_saslname(&s->authzid, authzid)))
        return end(s, SASL_MALFORMED);
    if (flag == SASL_BINDING)
        return unbound(s, why, out);
    if (!may_act_as(buf_str(&s->user), buf_str(&s->authzid)))
        return end(s, SASL_FAIL);
    expect_binding(s, header, channel);
    buf_add(&s->auth, bare);
    buf_add(&s->auth, S(",r="));
    s->nonce_at = s->auth.n;
    s->nonce_n = nonce.n + s->server_nonce.n;
    buf_add(&s->auth, nonce);
    buf_add(&s->auth, buf_str(&s->server_nonce));
    if (!s->binding.n || s->binding.failed || s->auth.failed)
        return end(s, SASL_FAIL);
    s->state = WANT_SALT;
    out->user = buf_str(&s->user);
    out->authzid = buf_str(&s->authzid);
    return SASL_ASK_SALT;
}

/* SCRAM client-final-message. The last attribute is the proof; what stands before it is part of what it proves. */
static enum sasl_step scram_final(struct sasl_server *s, str message, struct sasl_out *out)
{
    ptrdiff_t comma = str_rchr(message, ',');
    if (comma < 0)
        return end(s, SASL_MALFORMED);
    str without_proof = str_first(message, (size_t)comma), rest = without_proof;
    str last = str_from(message, (size_t)comma + 1), proof, binding, nonce;
    if (!attribute(&last, 'p', &proof) || !attribute(&rest, 'c', &binding))
        return end(s, SASL_MALFORMED);
    bool more = str_chr(rest, ',') >= 0;
    if (!attribute(&rest, 'r', &nonce) || !extensions_ok(rest, more))
        return end(s, SASL_MALFORMED);
    if (base64_decode(&s->secret, proof) < 0 || s->secret.n != SASL_PROOF_LEN)
        return end(s, SASL_MALFORMED);
    if (!const_time_eq(binding, buf_str(&s->binding)))
        return unbound(s, S("Channel binding failed: channel-bindings-dont-match"), out);
    if (!str_eq(nonce, str_of(s->auth.p + s->nonce_at, s->nonce_n)))
        return end(s, SASL_FAIL);
    buf_addc(&s->auth, ',');
    buf_add(&s->auth, without_proof);
    if (s->auth.failed)
        return end(s, SASL_FAIL);
    s->state = WANT_VERDICT;
    out->user = buf_str(&s->user);
    out->authzid = buf_str(&s->authzid);
    out->auth_message = buf_str(&s->auth);
    out->proof = buf_str(&s->secret);
    return SASL_ASK_PROOF;
}

static enum sasl_step scram_next(struct sasl_server *s, str message, struct sasl_out *out)
{
    if (s->state == WANT_FINAL)
        return scram_final(s, message, out);
    if (s->state != WANT_EMPTY || message.n)
        return end(s, SASL_MALFORMED);
    out->user = buf_str(&s->user);
    out->authzid = buf_str(&s->authzid);
    return end(s, SASL_OK);
}

static enum sasl_step no_next(struct sasl_server *s, str message, struct sasl_out *out)
{
    (void)message;
    (void)out;
    return end(s, SASL_MALFORMED);
}

static const struct mechanism mechanisms[] = {
    { { "PLAIN", 5 }, true, false, false, plain_first, no_next },
    { { "LOGIN", 5 }, false, false, false, login_first, login_next },
    { { "SCRAM-SHA-256", 13 }, true, true, false, scram_first, scram_next },
    { { "SCRAM-SHA-256-PLUS", 18 }, true, true, true, scram_first, scram_next },
};

static const struct mechanism *find_mechanism(str name)
{
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
        if (str_eq(mechanisms[i].name, name))
            return &mechanisms[i];
    return NULL;
}

struct sasl_server *sasl_server_new(str mech, str nonce)
{
    const struct mechanism *m = find_mechanism(mech);
    if (!m || (m->scram && (nonce.n < 18 || nonce.n > 64)))
        return NULL;
    struct sasl_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->mech = m;
    s->user = s->authzid = s->secret = BUF(SASL_MESSAGE_MAX);
    for (size_t i = 0; i < CHANNEL_BINDINGS; i++)
        s->channel[i] = BUF(SASL_BINDING_MAX);
    s->binding = BUF(2 * SASL_MESSAGE_MAX);
    s->server_nonce = BUF(128);
    s->auth = s->text = BUF(4 * SASL_MESSAGE_MAX);
    if (m->scram && is_printable(nonce))
        buf_add(&s->server_nonce, nonce);
    else if (m->scram)
        base64_encode(&s->server_nonce, nonce);
    if (s->server_nonce.failed) {
        sasl_server_free(s);
        return NULL;
    }
    return s;
}

void sasl_server_free(struct sasl_server *s)
{
    if (!s)
        return;
    struct buf *all[] = { &s->user, &s->authzid, &s->secret, &s->binding, &s->server_nonce, &s->auth, &s->text,
                          &s->channel[CHANNEL_EXPORTER], &s->channel[CHANNEL_UNIQUE], &s->channel[CHANNEL_END_POINT] };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        wipe(all[i]);
        buf_done(all[i]);
    }
    free(s);
}

void sasl_server_bind(struct sasl_server *s, const struct sasl_bindings *b)
{
    keep(&s->channel[CHANNEL_EXPORTER], b->exporter); /* one that cannot be kept is not supported */
    keep(&s->channel[CHANNEL_UNIQUE], b->unique);
    keep(&s->channel[CHANNEL_END_POINT], b->end_point);
    s->plus_offered = b->plus_offered;
}

enum sasl_step sasl_server_start(struct sasl_server *s, bool has_initial, str initial, struct sasl_out *out)
{
    *out = (struct sasl_out){ 0 };
    if (s->state != FRESH)
        return end(s, SASL_MALFORMED);
    s->state = WANT_FIRST;
    if (has_initial)
        return sasl_server_respond(s, initial, out);
    if (!s->mech->client_first)
        buf_add(&s->text, S("Username:"));
    return challenge(s, WANT_FIRST, out);
}

enum sasl_step sasl_server_respond(struct sasl_server *s, str response, struct sasl_out *out)
{
    *out = (struct sasl_out){ 0 };
    if (response.n > SASL_MESSAGE_MAX)
        return end(s, SASL_MALFORMED);
    return s->state == WANT_FIRST ? s->mech->first(s, response, out) : s->mech->next(s, response, out);
}

enum sasl_step sasl_server_salt(struct sasl_server *s, str salt, uint32_t iterations, struct sasl_out *out)
{
    *out = (struct sasl_out){ 0 };
    if (s->state != WANT_SALT)
        return end(s, SASL_MALFORMED);
    if (salt.n == 0 || salt.n > SASL_SALT_MAX || iterations == 0)
        return end(s, SASL_FAIL);
    size_t first = s->nonce_at - 2; /* where "r=" of the server-first-message stands in the AuthMessage */
    buf_add(&s->auth, S(",s="));
    base64_encode(&s->auth, salt);
    buf_add(&s->auth, S(",i="));
    buf_addu(&s->auth, iterations);
    if (s->auth.failed)
        return end(s, SASL_FAIL);
    buf_clear(&s->text);
    buf_add(&s->text, str_from(buf_str(&s->auth), first));
    return challenge(s, WANT_FINAL, out);
}

enum sasl_step sasl_server_verdict(struct sasl_server *s, bool ok, str server_signature, struct sasl_out *out)
{
    *out = (struct sasl_out){ 0 };
    if (s->state != WANT_VERDICT)
        return end(s, SASL_MALFORMED);
    if (!ok || (s->mech->scram && server_signature.n != SASL_PROOF_LEN))
        return end(s, SASL_FAIL);
    if (s->mech->scram) {
        wipe(&s->secret);
        buf_clear(&s->text);
        buf_add(&s->text, S("v="));
        base64_encode(&s->text, server_signature);
        return challenge(s, WANT_EMPTY, out);
    }
    out->user = buf_str(&s->user);
    out->authzid = buf_str(&s->authzid);
    return end(s, SASL_OK);
}
