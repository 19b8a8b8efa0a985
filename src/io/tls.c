/* TLS contexts: see tls.h. */
#include "io/tls.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/socket.h>
#include <openssl/x509v3.h>

const char *tls_error_text(void)
{
    unsigned long e = ERR_peek_error();
    const char *text = e ? ERR_reason_error_string(e) : NULL;
    ERR_clear_error();
    return text ? text : "unknown TLS error";
}

void tls_prepare(void)
{
    uint8_t byte;
    OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
    RAND_bytes(&byte, 1);
    SSL_CTX_free(SSL_CTX_new(TLS_server_method()));
    ERR_clear_error();
}

static void free_bio(BIO **b) { BIO_free(*b); }
static void free_x509(X509 **x) { X509_free(*x); }
static void free_key(EVP_PKEY **k) { EVP_PKEY_free(*k); }
static void free_ctx(SSL_CTX **c) { SSL_CTX_free(*c); }

/* OpenSSL would ask on the terminal, and the role wait for ever. */
static int no_passphrase(char *buf, int size, int rwflag, void *u)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)u;
    return -1;
}

static int use_chain(SSL_CTX *ctx, str pem, const char **out_why)
{
    _cleanup_(free_bio) BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    _cleanup_(free_x509) X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
    if (!leaf || SSL_CTX_use_certificate(ctx, leaf) != 1) {
        *out_why = "tls_certificate holds no readable PEM certificate";
        return -EBADMSG;
    }
    for (X509 *x; (x = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL));)
        if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
            X509_free(x);
            *out_why = "a certificate of the chain cannot be used";
            return -EBADMSG;
        }
    ERR_clear_error();
    return 0;
}

static int use_key(SSL_CTX *ctx, str pem, const char **out_why)
{
    _cleanup_(free_bio) BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    _cleanup_(free_key) EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    *out_why = "tls_key holds no readable PEM private key without a passphrase";
    if (!key)
        return -EBADMSG;
    *out_why = "tls_key does not belong to tls_certificate";
    return SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1 ? 0 : -EBADMSG;
}

int tls_server_context(str cert_pem, str key_pem, const char **out_why, SSL_CTX **out)
{
    static const uint8_t scope[] = "posthouse";
    _cleanup_(free_ctx) SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    *out_why = "no memory for a TLS context";
    if (!ctx)
        return -EBADMSG;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets hold the session, the server nothing */
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_session_id_context(ctx, scope, sizeof(scope) - 1);
    int r = use_chain(ctx, cert_pem, out_why);
    if (r == 0)
        r = use_key(ctx, key_pem, out_why);
    ERR_clear_error();
    if (r < 0)
        return r;
    *out = TAKE(ctx);
    return 0;
}

static int use_authorities(SSL_CTX *ctx, str pem)
{
    _cleanup_(free_bio) BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    int n = 0;
    for (X509 *x; bio && (x = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)); n++) {
        int r = X509_STORE_add_cert(store, x);
        X509_free(x);
        if (r != 1)
            return -EBADMSG;
    }
    return n > 0 ? 0 : -EBADMSG;
}

int tls_client_context(str ca_pem, const char **out_why, SSL_CTX **out)
{
    _cleanup_(free_ctx) SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    *out_why = "no memory for a TLS context";
    if (!ctx)
        return -EBADMSG;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (ca_pem.n == 0) {
        SSL_CTX_set_security_level(ctx, 0);
    } else if (use_authorities(ctx, ca_pem) < 0) {
        *out_why = "the file of certificate authorities holds no readable PEM certificate";
        ERR_clear_error();
        return -EBADMSG;
    }
    SSL_CTX_set_verify(ctx, ca_pem.n > 0 ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    ERR_clear_error();
    *out = TAKE(ctx);
    return 0;
}

static bool is_address(str name)
{
    bool digits = true;
    for (size_t i = 0; i < name.n; i++)
        digits &= ascii_digit(name.p[i]) || name.p[i] == '.';
    return digits || str_chr(name, ':') >= 0 || str_chr(name, '[') >= 0;
}

int tls_client_name(SSL *ssl, str name)
{
    bool verified = SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER;
    if (str_ends(name, S(".")))
        name.n--;
    if (name.n == 0 || is_address(name))
        return verified ? -EINVAL : 0;
    _cleanup_free_ char *z = str_dupz(name);
    if (!z)
        return str_chr(name, '\0') >= 0 ? -EINVAL : -ENOMEM;
    if (SSL_set_tlsext_host_name(ssl, z) != 1)
        return -EINVAL;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return !verified || SSL_set1_host(ssl, z) == 1 ? 0 : -EINVAL;
}

const char *tls_failure_text(const SSL *ssl)
{
    long verify = SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER ? SSL_get_verify_result(ssl) : X509_V_OK;
    const char *text = tls_error_text();
    return verify == X509_V_OK ? text : X509_verify_cert_error_string(verify);
}

/* `offered` is a list of length-prefixed names. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *offered,
                       unsigned n, void *arg)
{
    str name = str_z(arg);
    (void)ssl;
    for (unsigned at = 0; at < n && at + 1u + offered[at] <= n; at += 1u + offered[at])
        if (str_eq(str_of(offered + at + 1, offered[at]), name)) {
            *out = offered + at + 1;
            *out_n = offered[at];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

void tls_accept_alpn(SSL_CTX *ctx, const char *name)
{
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, (void *)name);
}

/* A BIO of our own, for MSG_MORE; else as that of OpenSSL. */

static int moved(BIO *bio, ssize_t n, int wait_for)
{
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_flags(bio, wait_for | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static int socket_write(BIO *bio, const char *p, int n)
{
    const struct tls_socket *s = BIO_get_data(bio);
    return moved(bio, send(s->fd, p, (size_t)n, MSG_NOSIGNAL | (s->more ? MSG_MORE : 0)), BIO_FLAGS_WRITE);
}

static int socket_read(BIO *bio, char *p, int n)
{
    const struct tls_socket *s = BIO_get_data(bio);
    ssize_t r = recv(s->fd, p, (size_t)n, 0);
    if (r == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return moved(bio, r, BIO_FLAGS_READ);
}

static long socket_ctrl(BIO *bio, int what, long n, void *p)
{
    (void)n;
    (void)p;
    return what == BIO_CTRL_EOF ? BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 : what == BIO_CTRL_FLUSH;
}

int tls_use_socket(SSL *ssl, struct tls_socket *socket)
{
    static BIO_METHOD *method; /* never freed: as long as the process */
    if (!method) {
        method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "socket");
        if (!method)
            return -ENOMEM;
        BIO_meth_set_write(method, socket_write);
        BIO_meth_set_read(method, socket_read);
        BIO_meth_set_ctrl(method, socket_ctrl);
    }
    BIO *bio = BIO_new(method);
    if (!bio)
        return -ENOMEM;
    BIO_set_data(bio, socket);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return 0;
}

/* In TLS 1.2 without the extended master secret somebody in the middle can have the same keys on both of his sides
 * (RFC 7627 1, 9266 4.2). */
static bool is_unique(SSL *ssl) { return SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1; }

/* The context is there and empty, which in TLS 1.2 is another thing than none (RFC 5705 4). */
static size_t export(SSL *ssl, uint8_t out[TLS_EXPORTER_LEN])
{
    static const char label[] = "EXPORTER-Channel-Binding";
    static const uint8_t nothing[1];
    int r = SSL_export_keying_material(ssl, out, TLS_EXPORTER_LEN, label, sizeof(label) - 1, nothing, 0, 1);
    return r == 1 ? TLS_EXPORTER_LEN : 0;
}

/* The client's Finished is the first one, in a resumed session the server's. */
static size_t first_finished(SSL *ssl, uint8_t out[TLS_UNIQUE_MAX])
{
    size_t n = SSL_session_reused(ssl) ? SSL_get_finished(ssl, out, TLS_UNIQUE_MAX)
                                       : SSL_get_peer_finished(ssl, out, TLS_UNIQUE_MAX);
    return n <= TLS_UNIQUE_MAX ? n : 0;
}

/* By the hash of the certificate's signature, SHA-256 in the place of MD5 and SHA-1; undefined where the signature has
 * none of its own (Ed25519). */
static size_t hash_certificate(X509 *x, uint8_t out[EVP_MAX_MD_SIZE])
{
    int hash = NID_undef;
    unsigned n = 0;
    if (!x || X509_get_signature_info(x, &hash, NULL, NULL, NULL) != 1 || hash == NID_undef)
        return 0;
    if (hash == NID_md5 || hash == NID_sha1)
        hash = NID_sha256;
    const EVP_MD *md = EVP_get_digestbynid(hash);
    return md && X509_digest(x, md, out, &n) == 1 ? n : 0;
}

void tls_bindings(SSL *ssl, struct tls_bindings *out)
{
    bool unique = is_unique(ssl);
    out->exporter_n = unique ? export(ssl, out->exporter) : 0;
    out->unique_n = unique && SSL_version(ssl) < TLS1_3_VERSION ? first_finished(ssl, out->unique) : 0;
    out->end_point_n = hash_certificate(SSL_get_certificate(ssl), out->end_point);
    ERR_clear_error();
}

void tls_describe(const SSL *ssl, struct buf *out)
{
    str version = str_z(SSL_get_version(ssl));
    if (str_starts(version, S("TLSv")))
        buf_addf(out, "TLS%.*s", STR_ARG(str_from(version, 4)));
    else
        buf_add(out, version);
    buf_addc(out, ' ');
    buf_add(out, str_z(SSL_get_cipher_name(ssl)));
}
