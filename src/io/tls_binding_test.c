/* Channel bindings of tls.c: both ends of a connection know the same bytes, and nobody else does. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <openssl/rsa.h>
#include "io/tls.h"
#include "io/tls_play.h"

struct pair { SSL_CTX *server_ctx, *client_ctx; SSL *server, *client; };

/* A self-signed pair whose signature has that hash; NULL: the key's own. */
static void make_pair(EVP_PKEY *key, const EVP_MD *md, struct buf *out_cert, struct buf *out_key)
{
    X509 *x = X509_new();
    BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, md) > 0);
    PEM_write_bio_X509(cert_bio, x);
    PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL);
    *out_cert = *out_key = BUF(65536);
    tls_play_take(cert_bio, out_cert);
    tls_play_take(key_bio, out_key);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void shake_hands(struct pair *p, SSL_SESSION *resume)
{
    BIO *a, *b;
    p->server = SSL_new(p->server_ctx);
    p->client = SSL_new(p->client_ctx);
    assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
    SSL_set_bio(p->server, a, a);
    SSL_set_bio(p->client, b, b);
    SSL_set_accept_state(p->server);
    SSL_set_connect_state(p->client);
    if (resume)
        assert_int_equal(SSL_set_session(p->client, resume), 1);
    for (int i = 0; i < 10 && !(SSL_is_init_finished(p->server) && SSL_is_init_finished(p->client)); i++) {
        SSL_do_handshake(p->client);
        SSL_do_handshake(p->server);
    }
    assert_true(SSL_is_init_finished(p->server) && SSL_is_init_finished(p->client));
}

static void connect_pair(struct pair *p, str cert, str key, int version, uint64_t client_options)
{
    const char *why;
    assert_int_equal(tls_server_context(cert, key, &why, &p->server_ctx), 0);
    p->client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(p->client_ctx, version);
    SSL_CTX_set_options(p->client_ctx, client_options);
    shake_hands(p, NULL);
    assert_int_equal(SSL_version(p->client), version);
}

static void hang_up(struct pair *p)
{
    SSL_shutdown(p->client); /* or the session may not be resumed */
    SSL_free(p->server);
    SSL_free(p->client);
}

static void free_pair(struct pair *p)
{
    hang_up(p);
    SSL_CTX_free(p->server_ctx);
    SSL_CTX_free(p->client_ctx);
}

static void client_exporter(const struct pair *p, uint8_t out[32])
{
    assert_int_equal(SSL_export_keying_material(p->client, out, 32, "EXPORTER-Channel-Binding", 24, out, 0, 1), 1);
}

static void test_exporter(void **state)
{
    (void)state;
    static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    _cleanup_buf_ struct buf cert = { 0 }, key = { 0 };
    struct tls_bindings b[2];
    uint8_t want[32];
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    for (size_t i = 0; i < 4; i++) {
        struct pair p;
        connect_pair(&p, buf_str(&cert), buf_str(&key), versions[i / 2], 0);
        tls_bindings(p.server, &b[i % 2]);
        client_exporter(&p, want);
        assert_int_equal(b[i % 2].exporter_n, 32);
        assert_memory_equal(b[i % 2].exporter, want, 32);
        if (i % 2) /* another connection has another one, and the same certificate */
            assert_memory_not_equal(b[0].exporter, b[1].exporter, 32);
        if (i % 2)
            assert_memory_equal(b[0].end_point, b[1].end_point, 32);
        free_pair(&p);
    }
}

/* Without it two connections can be made to agree (triple handshake): neither of the two ways may be offered. */
static void test_no_extended_master_secret(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf cert = { 0 }, key = { 0 };
    struct tls_bindings b;
    struct pair p;
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    connect_pair(&p, buf_str(&cert), buf_str(&key), TLS1_2_VERSION, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    tls_bindings(p.server, &b);
    assert_int_equal(b.exporter_n, 0);
    assert_int_equal(b.unique_n, 0);
    assert_int_equal(b.end_point_n, 32);
    free_pair(&p);
}

static void assert_unique(const struct pair *p, bool reused)
{
    struct tls_bindings b;
    uint8_t want[64];
    assert_int_equal(SSL_session_reused(p->server), reused);
    tls_bindings(p->server, &b);
    size_t n = reused ? SSL_get_peer_finished(p->client, want, 64) : SSL_get_finished(p->client, want, 64);
    assert_int_equal(n, 12);
    assert_int_equal(b.unique_n, n);
    assert_memory_equal(b.unique, want, n);
    client_exporter(p, want);
    assert_memory_equal(b.exporter, want, 32);
}

static void test_unique(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf cert = { 0 }, key = { 0 };
    struct tls_bindings b;
    struct pair p;
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    connect_pair(&p, buf_str(&cert), buf_str(&key), TLS1_2_VERSION, 0);
    assert_unique(&p, false);
    SSL_SESSION *session = SSL_get1_session(p.client);
    hang_up(&p);
    shake_hands(&p, session);
    assert_unique(&p, true);
    SSL_SESSION_free(session);
    free_pair(&p);
    connect_pair(&p, buf_str(&cert), buf_str(&key), TLS1_3_VERSION, 0); /* undefined there */
    tls_bindings(p.server, &b);
    assert_int_equal(b.unique_n, 0);
    free_pair(&p);
}

/* RFC 5929 4.1, as the client computes it from what it was shown. */
static void assert_end_point(EVP_PKEY *key, const EVP_MD *md, const EVP_MD *want_md)
{
    _cleanup_buf_ struct buf cert = { 0 }, pem = { 0 };
    struct tls_bindings b;
    struct pair p;
    uint8_t want[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    make_pair(key, md, &cert, &pem);
    connect_pair(&p, buf_str(&cert), buf_str(&pem), TLS1_3_VERSION, 0);
    tls_bindings(p.server, &b);
    X509 *shown = SSL_get1_peer_certificate(p.client);
    if (want_md)
        assert_int_equal(X509_digest(shown, want_md, want, &n), 1);
    assert_int_equal(b.end_point_n, n);
    assert_memory_equal(b.end_point, want, n);
    assert_int_equal(b.exporter_n, 32);
    X509_free(shown);
    free_pair(&p);
}

static void test_end_point(void **state)
{
    (void)state;
    assert_end_point(EVP_EC_gen("P-256"), EVP_sha256(), EVP_sha256());
    assert_end_point(EVP_EC_gen("P-256"), EVP_sha1(), EVP_sha256());
    assert_end_point(EVP_EC_gen("P-384"), EVP_sha384(), EVP_sha384());
    assert_end_point(EVP_RSA_gen(2048), EVP_sha512(), EVP_sha512());
    assert_end_point(EVP_RSA_gen(2048), EVP_md5(), EVP_sha256());
    assert_end_point(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exporter),
        cmocka_unit_test(test_no_extended_master_secret),
        cmocka_unit_test(test_unique),
        cmocka_unit_test(test_end_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
