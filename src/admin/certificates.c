/* The authority and the server certificate of a local instance: see certificates.h. EC P-256, SHA-256. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include "admin/certificates.h"

#define PEM_MAX (64u << 10)

static void key_free(EVP_PKEY **k) { EVP_PKEY_free(*k); }
static void x509_free(X509 **c) { X509_free(*c); }
static void bio_free(BIO **b) { BIO_free(*b); }
static void bn_free(BIGNUM **b) { BN_free(*b); }
static void names_free(GENERAL_NAMES **g) { GENERAL_NAMES_free(*g); }

struct extension { int nid; const char *value; };

/* RFC 5280 4.2.1.9, 4.2.1.3: the authority may sign servers, not other authorities. */
static const struct extension ca_extensions[] = {
    { NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
    { NID_key_usage, "critical,keyCertSign,cRLSign" },
    { NID_subject_key_identifier, "hash" },
};
static const struct extension server_extensions[] = {
    { NID_basic_constraints, "critical,CA:FALSE" },
    { NID_key_usage, "critical,digitalSignature" },
    { NID_ext_key_usage, "serverAuth" },
    { NID_subject_key_identifier, "hash" },
    { NID_authority_key_identifier, "keyid:always" },
};

static int add_extensions(X509 *cert, X509 *issuer, const struct extension *e, size_t n)
{
    X509V3_CTX ctx = { 0 };
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&ctx);
    for (size_t i = 0; i < n; i++) {
        X509_EXTENSION *x = X509V3_EXT_nconf_nid(NULL, &ctx, e[i].nid, e[i].value);
        int ok = x && X509_add_ext(cert, x, -1);
        X509_EXTENSION_free(x);
        if (!ok)
            return -EIO;
    }
    return 0;
}

/* A positive serial number of 127 random bits (RFC 5280 4.1.2.2). */
static int set_serial(X509 *cert)
{
    _cleanup_(bn_free) BIGNUM *n = BN_new();
    if (!n || !BN_rand(n, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY))
        return -EIO;
    return BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) ? 0 : -EIO;
}

/* A certificate that is filled in up to its extensions. */
static X509 *begin(EVP_PKEY *key, const char *name, int64_t now_s, int days)
{
    _cleanup_(x509_free) X509 *cert = X509_new();
    time_t from = (time_t)now_s;
    X509_NAME *subject;
    if (!cert || !X509_set_version(cert, X509_VERSION_3) || set_serial(cert) < 0 || !X509_set_pubkey(cert, key) ||
        !X509_time_adj_ex(X509_getm_notBefore(cert), 0, -3600, &from) ||
        !X509_time_adj_ex(X509_getm_notAfter(cert), days, -3600, &from) || !(subject = X509_get_subject_name(cert)) ||
        !X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"Posthouse", -1, -1, 0) ||
        !X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0))
        return NULL;
    return TAKE(cert);
}

static int add_name(GENERAL_NAMES *names, int type, const void *p, size_t n)
{
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_STRING *value = type == GEN_DNS ? (ASN1_STRING *)ASN1_IA5STRING_new() : (ASN1_STRING *)ASN1_OCTET_STRING_new();
    if (!g || !value || !ASN1_STRING_set(value, p, (int)n)) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(g);
        return -ENOMEM;
    }
    GENERAL_NAME_set0_value(g, type, value);
    if (sk_GENERAL_NAME_push(names, g))
        return 0;
    GENERAL_NAME_free(g);
    return -ENOMEM;
}

/* subjectAltName (RFC 5280 4.2.1.6), built from values: in OpenSSL's text form a comma would be one more name. */
static int add_alt_names(X509 *cert, const struct certificates_request *r)
{
    _cleanup_(names_free) GENERAL_NAMES *names = GENERAL_NAMES_new();
    if (!names)
        return -ENOMEM;
    int e = 0;
    for (size_t i = 0; !e && i < r->n_dns; i++)
        e = add_name(names, GEN_DNS, r->dns[i], strlen(r->dns[i]));
    for (size_t i = 0; !e && i < r->n_ip; i++) {
        unsigned char raw[16];
        if (inet_pton(AF_INET, r->ip[i], raw) == 1)
            e = add_name(names, GEN_IPADD, raw, 4);
        else if (inet_pton(AF_INET6, r->ip[i], raw) == 1)
            e = add_name(names, GEN_IPADD, raw, 16);
        else
            return -EINVAL;
    }
    if (e)
        return e;
    return X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND) == 1 ? 0 : -EIO;
}

static X509 *make_ca(EVP_PKEY *key, const struct certificates_request *r)
{
    _cleanup_(x509_free) X509 *cert = begin(key, "Posthouse local authority", r->now_s, CERTIFICATES_CA_DAYS);
    if (!cert || !X509_set_issuer_name(cert, X509_get_subject_name(cert)) ||
        add_extensions(cert, cert, ca_extensions, ARRAY_LEN(ca_extensions)) < 0 || !X509_sign(cert, key, EVP_sha256()))
        return NULL;
    return TAKE(cert);
}

static int make_server(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const struct certificates_request *r, X509 **out)
{
    _cleanup_(x509_free) X509 *cert = begin(key, "Posthouse local server", r->now_s, CERTIFICATES_SERVER_DAYS);
    if (!cert || !X509_set_issuer_name(cert, X509_get_subject_name(ca)) ||
        add_extensions(cert, ca, server_extensions, ARRAY_LEN(server_extensions)) < 0)
        return -EIO;
    int e = add_alt_names(cert, r);
    if (e < 0)
        return e;
    if (!X509_sign(cert, ca_key, EVP_sha256()))
        return -EIO;
    *out = TAKE(cert);
    return 0;
}

static int pem_text(BIO *bio, bool written, struct buf *out)
{
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    return !written || n <= 0 ? -EIO : buf_add(out, str_of(p, (size_t)n));
}

static int pem_cert(X509 *cert, struct buf *out)
{
    _cleanup_(bio_free) BIO *bio = BIO_new(BIO_s_mem());
    return bio ? pem_text(bio, PEM_write_bio_X509(bio, cert), out) : -ENOMEM;
}

static int pem_key(EVP_PKEY *key, struct buf *out)
{
    _cleanup_(bio_free) BIO *bio = BIO_new(BIO_s_secmem()); /* is wiped when freed */
    return bio ? pem_text(bio, PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), out) : -ENOMEM;
}

int certificates_make(const struct certificates_request *r, struct certificates *out)
{
    _cleanup_(key_free) EVP_PKEY *ca_key = EVP_EC_gen("P-256");
    _cleanup_(key_free) EVP_PKEY *key = EVP_EC_gen("P-256");
    if (!ca_key || !key)
        return -EIO;
    _cleanup_(x509_free) X509 *ca = make_ca(ca_key, r);
    _cleanup_(x509_free) X509 *server = NULL;
    if (!ca)
        return -EIO;
    int e = make_server(ca, ca_key, key, r, &server);
    if (e < 0)
        return e;

    _cleanup_(certificates_done) struct certificates made = { BUF(PEM_MAX), BUF(PEM_MAX), BUF(PEM_MAX) };
    if ((e = pem_cert(ca, &made.ca)) < 0 || (e = pem_cert(server, &made.server)) < 0 ||
        (e = pem_key(key, &made.key)) < 0)
        return e;
    *out = made;
    made = (struct certificates){ 0 };
    return 0;
}

void certificates_done(struct certificates *c)
{
    if (c->key.p)
        explicit_bzero(c->key.p, c->key.cap);
    buf_done(&c->ca);
    buf_done(&c->server);
    buf_done(&c->key);
}
