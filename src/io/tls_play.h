/* For tests: a self-signed pair in memory, and the client's side of a handshake on a blocking socket. */
#pragma once
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include "base/buf.h"

static inline void tls_play_take(BIO *bio, struct buf *out)
{
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    buf_add(out, str_of(p, (size_t)n));
    BIO_free(bio);
}

/* passphrase NULL: the key is in clear. */
static inline void tls_play_pair(const char *name, const char *passphrase, struct buf *out_cert, struct buf *out_key)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    struct buf san = BUF(300);
    buf_addf(&san, "DNS:%s%c", name, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san.p);
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
    buf_done(&san);
    X509_sign(x, key, EVP_sha256());
    PEM_write_bio_X509(cert_bio, x);
    PEM_write_bio_PrivateKey(key_bio, key, passphrase ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL, (void *)passphrase);
    *out_cert = *out_key = BUF(65536);
    tls_play_take(cert_bio, out_cert);
    tls_play_take(key_bio, out_key);
    X509_free(x);
    EVP_PKEY_free(key);
}

/* A connected client on fd, which stays the caller's; NULL if the handshake fails. */
static inline SSL *tls_play_connect(int fd, int max_version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (max_version) {
        SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
        SSL_CTX_set_max_proto_version(ctx, max_version);
    }
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1)
        return ssl;
    SSL_free(ssl);
    return NULL;
}
