/* Contexts for TLS: good pairs, bad pairs, old versions. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "io/tls.h"
#include "io/tls_play.h"

static struct buf cert, key, other_cert, other_key;

static int setup(void **state)
{
    (void)state;
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    tls_play_pair("other.example", NULL, &other_cert, &other_key);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_done(&cert);
    buf_done(&key);
    buf_done(&other_cert);
    buf_done(&other_key);
    return 0;
}

static void refuse(str c, str k, const char *want)
{
    const char *why = NULL;
    SSL_CTX *ctx = (SSL_CTX *)1;
    assert_int_equal(tls_server_context(c, k, &why, &ctx), -EBADMSG);
    assert_string_equal(why, want);
    assert_ptr_equal(ctx, (SSL_CTX *)1);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_bad_pairs(void **state)
{
    (void)state;
    static const char no_cert[] = "tls_certificate holds no readable PEM certificate";
    static const char no_key[] = "tls_key holds no readable PEM private key without a passphrase";
    refuse(STR_NONE, STR_NONE, no_cert);
    refuse(S("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), buf_str(&key), no_cert);
    refuse(buf_str(&key), buf_str(&key), no_cert);
    refuse(buf_str(&cert), STR_NONE, no_key);
    refuse(buf_str(&cert), buf_str(&cert), no_key);
    refuse(buf_str(&cert), buf_str(&other_key), "tls_key does not belong to tls_certificate");
    for (size_t n = 0; n < key.n - 30; n += 17)
        refuse(buf_str(&cert), str_first(buf_str(&key), n), no_key);
}

/* On a terminal of its own: OpenSSL's habit is to ask there, and a role would wait for ever. */
static void test_a_key_with_a_passphrase_asks_nobody(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf c = { 0 }, k = { 0 };
    int terminal, status;
    tls_play_pair("mx.example.org", "secret", &c, &k);
    pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
    assert_true(pid >= 0);
    if (pid == 0) {
        const char *why;
        SSL_CTX *ctx;
        _exit(tls_server_context(buf_str(&c), buf_str(&k), &why, &ctx) == -EBADMSG ? 0 : 1);
    }
    pid_t ended = 0;
    for (int i = 0; i < 300 && (ended = waitpid(pid, &status, WNOHANG)) == 0; i++)
        usleep(10000);
    if (ended == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    close(terminal);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void *client(void *arg)
{
    int *a = arg;
    return tls_play_connect(a[0], a[1]);
}

/* True if a client of at most that version gets through; its description in `out`. */
static bool handshake(int max_version, struct buf *out)
{
    const char *why;
    SSL_CTX *ctx;
    int fd[2];
    pthread_t t;
    void *ssl;
    assert_int_equal(tls_server_context(buf_str(&cert), buf_str(&key), &why, &ctx), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    int arg[2] = { fd[0], max_version };
    pthread_create(&t, NULL, client, arg);
    SSL *server = SSL_new(ctx);
    SSL_set_fd(server, fd[1]);
    bool ok = SSL_accept(server) == 1;
    if (ok)
        tls_describe(server, out);
    else
        assert_string_not_equal(tls_error_text(), "unknown TLS error");
    close(fd[1]);
    pthread_join(t, &ssl);
    SSL_free(ssl);
    SSL_free(server);
    SSL_CTX_free(ctx);
    close(fd[0]);
    return ok;
}

static void test_versions(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf text = BUF(256), old = BUF(256), none = BUF(256);
    assert_true(handshake(0, &text));
    assert_true(str_starts(buf_str(&text), S("TLS1.3 TLS_")));
    assert_true(handshake(TLS1_2_VERSION, &old));
    assert_true(str_starts(buf_str(&old), S("TLS1.2 ECDHE-")));
    assert_false(handshake(TLS1_1_VERSION, &none));
}

static void test_error_text_clears_the_queue(void **state)
{
    (void)state;
    BIO *bio = BIO_new_mem_buf("x", 1);
    assert_null(PEM_read_bio_X509(bio, NULL, NULL, NULL));
    BIO_free(bio);
    assert_string_equal(tls_error_text(), "no start line");
    assert_string_equal(tls_error_text(), "unknown TLS error");
}

static void test_chain(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf chain = BUF(65536);
    const char *why;
    SSL_CTX *ctx;
    STACK_OF(X509) *certs = NULL;
    buf_add(&chain, buf_str(&cert));
    buf_add(&chain, S("text between is fine\n"));
    buf_add(&chain, buf_str(&other_cert));
    assert_int_equal(tls_server_context(buf_str(&chain), buf_str(&key), &why, &ctx), 0);
    assert_int_equal(SSL_CTX_get0_chain_certs(ctx, &certs), 1);
    assert_int_equal(sk_X509_num(certs), 1);
    assert_int_equal(SSL_CTX_get_min_proto_version(ctx), TLS1_2_VERSION);
    assert_true(SSL_CTX_get_options(ctx) & SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_pairs),
        cmocka_unit_test(test_a_key_with_a_passphrase_asks_nobody),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_error_text_clears_the_queue),
        cmocka_unit_test(test_chain),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
