/* Role keys: see keys_role.h. */
#include "auth/keys_role.h"
#include <errno.h>
#include "auth/dkim_key.h"
#include "base/map.h"
#include "io/role.h"
#include "io/whole_file.h"

#define FILE_PREFIX S("dkim_key ")
#define KEYS_MAX 100000

struct keys {
    struct map now, next;      /* "DOMAIN SELECTOR" -> struct dkim_key; next: of the generation that is arriving */
    struct map complained, complained_next; /* names that the log knows of already, by generation */
    uint8_t key[16];
    uint64_t signed_, refused;
};

static struct keys *self(struct role *r) { return r->self; }

static void forget(struct map *m)
{
    struct dkim_key *k;
    for (size_t at = 0; (k = map_next(m, &at, NULL));)
        dkim_key_free(k);
    map_done(m);
}

/* Once for each name. */
static void complain(struct role *r, struct map *complained, str name, const char *why)
{
    if (map_get(complained, name) || map_set(complained, name, r, NULL) < 0)
        return;
    struct buf *b = events_begin(&r->events, EVENT_ERROR, "dkim_key");
    event_str(b, "name", name);
    event_str(b, "reason", str_z(why));
    event_str(b, "text", S("mail of this domain waits until the key is good; then say posthouse reload"));
    events_end(&r->events);
}

static void prepare(void) { dkim_key_prepare(); }

static int file(struct role *r, str name, int fd)
{
    struct keys *k = self(r);
    struct buf pem = BUF(DKIM_KEY_FILE_MAX);
    const char *why = "the file cannot be read";
    struct dkim_key *key = NULL;
    if (!str_starts(name, FILE_PREFIX))
        return 0;
    name = str_from(name, FILE_PREFIX.n);
    int e = whole_file_read(fd, &pem);
    if (e == 0)
        e = dkim_key_read(buf_str(&pem), &why, &key);
    if (pem.p)
        explicit_bzero(pem.p, pem.cap);
    buf_done(&pem);
    void *old = NULL;
    if (e == 0)
        e = map_set(&k->next, name, key, &old);
    dkim_key_free(old);
    if (e < 0) {
        if (key)
            dkim_key_free(key);
        complain(r, &k->complained_next, name, why);
    }
    return 0;
}

static void key_name(struct buf *b, str domain, str selector)
{
    buf_clear(b);
    buf_addf(b, "%.*s %.*s", STR_ARG(domain), STR_ARG(selector));
}

/* What has arrived is in force. */
static int configure(struct role *r)
{
    struct keys *k = self(r);
    const struct conf *c = r->config->conf;
    forget(&k->now);
    k->now = k->next;
    map_init(&k->next, KEYS_MAX, k->key);
    map_done(&k->complained);
    k->complained = k->complained_next;
    map_init(&k->complained_next, KEYS_MAX, k->key);
    if (k->now.n == c->n_dkim)
        return 0;
    _cleanup_buf_ struct buf name = BUF(1024);
    for (size_t i = 0; i < c->n_dkim; i++) {
        key_name(&name, c->dkim[i].domain, c->dkim[i].selector);
        if (!map_get(&k->now, buf_str(&name)))
            complain(r, &k->complained, buf_str(&name), "the file cannot be opened");
    }
    return 0;
}

static int start(struct role *r)
{
    (void)r;
    return 0;
}

struct wanted { str selector, digest[3]; }; /* by algorithm */

static int read_wanted(struct unpack *in, struct wanted *w, uint32_t *out_n)
{
    *out_n = unpack_u32(in);
    if (in->bad || *out_n == 0 || *out_n > CONF_DKIM_KEYS_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < *out_n; i++) {
        w[i].selector = unpack_str(in);
        w[i].digest[DKIM_RSA_SHA256] = unpack_str(in);
        w[i].digest[DKIM_ED25519_SHA256] = unpack_str(in);
        if (in->bad || w[i].digest[DKIM_RSA_SHA256].n != DKIM_DIGEST ||
            w[i].digest[DKIM_ED25519_SHA256].n != DKIM_DIGEST)
            return -EBADMSG;
    }
    return unpack_end(in) ? 0 : -EBADMSG;
}

static int sign_one(struct role *r, str domain, const struct wanted *w, struct buf *out)
{
    _cleanup_buf_ struct buf name = BUF(1024), signature = BUF(DKIM_SIGNATURE_MAX);
    key_name(&name, domain, w->selector);
    const struct dkim_key *key = map_get(&self(r)->now, buf_str(&name));
    if (!key) {
        complain(r, &self(r)->complained, buf_str(&name), "a signature was asked for, but there is no such key");
        return -ENOENT;
    }
    enum dkim_algorithm a = dkim_key_algorithm(key);
    int e = dkim_key_sign(key, (const uint8_t *)w->digest[a].p, &signature);
    if (e < 0)
        return e;
    pack_u8(out, (uint8_t)a);
    pack_str(out, buf_str(&signature));
    return out->failed;
}

/* All keys of a domain sign, or none: a signature that receivers need would be missing in silence. */
static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    struct keys *k = self(r);
    struct wanted wanted[CONF_DKIM_KEYS_MAX];
    uint32_t n;
    (void)peer; /* messages.def has seen to it that only smtp-out asks */
    if (f->type != IPC_SIGN)
        return -EBADMSG;
    uint64_t request = unpack_u64(&f->in);
    str domain = unpack_str(&f->in);
    if (read_wanted(&f->in, wanted, &n) < 0)
        return -EBADMSG;
    struct buf list = BUF(IPC_FRAME_MAX / 2), b = BUF(IPC_FRAME_MAX);
    int e = 0;
    for (uint32_t i = 0; i < n && e == 0; i++)
        e = sign_one(r, domain, &wanted[i], &list);
    k->signed_ += e == 0;
    k->refused += e < 0;
    pack_u64(&b, request);
    pack_str(&b, e == 0 ? STR_NONE : e == -ENOENT ? S("there is no usable DKIM key") : S("the DKIM key does not sign"));
    pack_u32(&b, e == 0 ? n : 0);
    if (e == 0)
        buf_add(&b, buf_str(&list));
    ipc_send(role_peer(r, ROLE_SMTP_OUT), IPC_SIGNED, &b, -1);
    buf_done(&list);
    buf_done(&b);
    return 0;
}

static void status(struct role *r, struct buf *out)
{
    event_u64(out, "dkim_keys", self(r)->now.n);
    event_u64(out, "dkim_signed", self(r)->signed_);
    event_u64(out, "dkim_refused", self(r)->refused);
}

static const struct role_ops ops = { .id = ROLE_KEYS, .prepare = prepare, .start = start, .configure = configure,
                                     .file = file, .frame = frame, .status = status };

int keys_role_run(void)
{
    static struct keys k;
    env_system.random(k.key, sizeof(k.key));
    map_init(&k.now, KEYS_MAX, k.key);
    map_init(&k.next, KEYS_MAX, k.key);
    map_init(&k.complained, KEYS_MAX, k.key);
    map_init(&k.complained_next, KEYS_MAX, k.key);
    int r = role_run(&ops, &k);
    forget(&k.now);
    forget(&k.next);
    map_done(&k.complained);
    map_done(&k.complained_next);
    return r;
}
