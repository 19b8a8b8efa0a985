/* DKIM keys: see dkim_key.h. */
#include "auth/dkim_key.h"
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include "base/codec.h"

#define RSA_BITS 2048
#define RSA_BITS_MIN 1024
#define RSA_BITS_MAX (DKIM_SIGNATURE_MAX * 8)

struct dkim_key {
    EVP_PKEY *key;
    enum dkim_algorithm algorithm;
};

static void free_bio(BIO **b) { BIO_free(*b); }
static void free_pkey(EVP_PKEY **k) { EVP_PKEY_free(*k); }
static void free_pkey_ctx(EVP_PKEY_CTX **c) { EVP_PKEY_CTX_free(*c); }
static void free_md_ctx(EVP_MD_CTX **c) { EVP_MD_CTX_free(*c); }
static void free_key(struct dkim_key **k) { dkim_key_free(*k); }

/* OpenSSL would ask on the terminal, and a role wait for ever. */
static int no_passphrase(char *buf, int size, int rwflag, void *u)
{
    (void)buf, (void)size, (void)rwflag, (void)u;
    return -1;
}

static int wrap(EVP_PKEY *key, const char **out_why, struct dkim_key **out)
{
    bool rsa = EVP_PKEY_is_a(key, "RSA") == 1, ed25519 = EVP_PKEY_is_a(key, "ED25519") == 1;
    int bits = EVP_PKEY_get_bits(key);
    *out_why = !rsa && !ed25519 ? "it is neither an RSA nor an Ed25519 key"
               : rsa && bits < RSA_BITS_MIN ? "an RSA key needs 1024 bits at least, better 2048"
               : rsa && bits > RSA_BITS_MAX ? "an RSA key has 8192 bits at most"
                                            : NULL;
    if (*out_why)
        return -EINVAL;
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return -ENOMEM;
    **out = (struct dkim_key){ .key = key, .algorithm = rsa ? DKIM_RSA_SHA256 : DKIM_ED25519_SHA256 };
    return 0;
}

int dkim_key_read(str pem, const char **out_why, struct dkim_key **out)
{
    *out_why = "no memory";
    if (pem.n > DKIM_KEY_FILE_MAX) {
        *out_why = "the file is too long for a key";
        return -EINVAL;
    }
    _cleanup_(free_bio) BIO *in = BIO_new_mem_buf(pem.n ? pem.p : "", (int)pem.n);
    if (!in)
        return -ENOMEM;
    _cleanup_(free_pkey) EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
    ERR_clear_error();
    *out_why = "it holds no private key in PEM (or one with a passphrase)";
    if (!key)
        return -EINVAL;
    int r = wrap(key, out_why, out);
    if (r == 0)
        key = NULL;
    return r;
}

int dkim_key_make(enum dkim_algorithm a, struct dkim_key **out)
{
    const char *why;
    _cleanup_(free_pkey) EVP_PKEY *key = a == DKIM_RSA_SHA256 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)RSA_BITS)
                                                              : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    int r = key ? wrap(key, &why, out) : -EIO;
    if (r == 0)
        key = NULL;
    return r;
}

void dkim_key_free(struct dkim_key *k)
{
    if (k)
        EVP_PKEY_free(k->key);
    free(k);
}

enum dkim_algorithm dkim_key_algorithm(const struct dkim_key *k) { return k->algorithm; }

/* RFC 8017 8.2 over the digest that is there already. */
static bool sign_rsa(EVP_PKEY *key, const uint8_t digest[DKIM_DIGEST], uint8_t *out, size_t *n)
{
    _cleanup_(free_pkey_ctx) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(key, NULL);
    return c && EVP_PKEY_sign_init(c) == 1 && EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1 &&
           EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()) == 1 && EVP_PKEY_sign(c, out, n, digest, DKIM_DIGEST) == 1;
}

/* RFC 8463 3: PureEdDSA over the digest. */
static bool sign_ed25519(EVP_PKEY *key, const uint8_t digest[DKIM_DIGEST], uint8_t *out, size_t *n)
{
    _cleanup_(free_md_ctx) EVP_MD_CTX *c = EVP_MD_CTX_new();
    return c && EVP_DigestSignInit(c, NULL, NULL, NULL, key) == 1 &&
           EVP_DigestSign(c, out, n, digest, DKIM_DIGEST) == 1;
}

int dkim_key_sign(const struct dkim_key *k, const uint8_t digest[DKIM_DIGEST], struct buf *out)
{
    uint8_t signature[DKIM_SIGNATURE_MAX];
    size_t n = sizeof(signature);
    bool ok = k->algorithm == DKIM_RSA_SHA256 ? sign_rsa(k->key, digest, signature, &n)
                                              : sign_ed25519(k->key, digest, signature, &n);
    ERR_clear_error();
    return ok ? buf_add(out, str_of(signature, n)) : -EIO;
}

int dkim_key_write(const struct dkim_key *k, struct buf *out)
{
    _cleanup_(free_bio) BIO *b = BIO_new(BIO_s_secmem());
    char *p;
    if (!b || PEM_write_bio_PKCS8PrivateKey(b, k->key, NULL, NULL, 0, NULL, NULL) != 1)
        return -EIO;
    long n = BIO_get_mem_data(b, &p);
    return n > 0 ? buf_add(out, str_of(p, (size_t)n)) : -EIO;
}

/* RFC 6376 3.6.1 for RSA: SubjectPublicKeyInfo, as everybody does it; RFC 8463 4.2: the bare 32 bytes. */
int dkim_key_record(const struct dkim_key *k, struct buf *out)
{
    uint8_t raw[32], *der = NULL;
    size_t n = sizeof(raw);
    if (k->algorithm == DKIM_ED25519_SHA256) {
        if (EVP_PKEY_get_raw_public_key(k->key, raw, &n) != 1)
            return -EIO;
        buf_add(out, S("v=DKIM1; k=ed25519; p="));
        return base64_encode(out, str_of(raw, n));
    }
    int der_n = i2d_PUBKEY(k->key, &der);
    if (der_n <= 0)
        return -EIO;
    buf_add(out, S("v=DKIM1; k=rsa; p="));
    int r = base64_encode(out, str_of(der, (size_t)der_n));
    OPENSSL_free(der);
    return r;
}

/* A key of each kind that signs once; RSA with a small one, since making one takes long. */
void dkim_key_prepare(void)
{
    static const uint8_t digest[DKIM_DIGEST];
    uint8_t out[DKIM_SIGNATURE_MAX];
    size_t n = sizeof(out);
    _cleanup_(free_key) struct dkim_key *k = NULL;
    _cleanup_(free_pkey) EVP_PKEY *small = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
    if (small)
        sign_rsa(small, digest, out, &n);
    struct buf b = BUF(DKIM_SIGNATURE_MAX);
    if (dkim_key_make(DKIM_ED25519_SHA256, &k) == 0)
        dkim_key_sign(k, digest, &b);
    buf_done(&b);
    ERR_clear_error();
}
