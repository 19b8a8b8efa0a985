/* Connections in clear and TLS: what arrives, pauses, partial writes, bounds, ends. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <sys/epoll.h>
#include "io/conn.h"
#include "io/role_play.h"

static struct loop *l;
static struct conn c;
static int other;
static unsigned calls;
static bool hands_ok, hands_failed;
static struct buf got; /* what on() took, if it takes */
static bool takes;

static void on(struct conn *conn)
{
    calls++;
    if (takes) {
        buf_add(&got, buf_str(&conn->in));
        conn_input_used(conn, conn->in.n);
    }
}

static void on_handshake(struct conn *conn, bool ok)
{
    assert_int_equal(conn->state, ok ? CONN_OPEN : CONN_HANDSHAKE);
    hands_ok |= ok;
    hands_failed |= !ok;
}

static int setup(void **state)
{
    (void)state;
    int pair[2];
    calls = 0;
    takes = true;
    hands_ok = hands_failed = false;
    got = BUF(8 << 20);
    assert_int_equal(loop_new(&env_system, &l), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    other = pair[0];
    c = (struct conn){ .on = on, .on_handshake = on_handshake };
    assert_int_equal(conn_open(&c, l, pair[1], NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    conn_close(&c);
    loop_free(l);
    if (other >= 0)
        close(other);
    buf_done(&got);
    return 0;
}

static void turns(int n)
{
    while (n--)
        loop_once(l, 0);
}

static size_t send_all(size_t n)
{
    static char block[65536];
    size_t sent = 0;
    memset(block, 'x', sizeof(block));
    while (sent < n) {
        ssize_t r = send(other, block, MIN(n - sent, sizeof(block)), MSG_NOSIGNAL);
        if (r <= 0)
            break;
        sent += (size_t)r;
    }
    return sent;
}

static void test_input_arrives_and_memory_is_given_back(void **state)
{
    (void)state;
    assert_int_equal(send(other, "hello", 5, 0), 5);
    turns(1);
    assert_int_equal(calls, 1);
    assert_true(str_eq(buf_str(&got), S("hello")));
    assert_null(c.in.p);
    takes = false;
    assert_int_equal(send(other, "world", 5, 0), 5);
    turns(1);
    conn_input_used(&c, 2);
    assert_true(str_eq(buf_str(&c.in), S("rld")));
    conn_input_used(&c, 3);
    assert_null(c.in.p);
    assert_false(c.eof || c.failed);
}

static void test_input_is_bounded_and_goes_on(void **state)
{
    (void)state;
    takes = false;
    size_t sent = 0, seen = 0;
    for (int i = 0; i < 40; i++) {
        sent += send_all(1 << 20);
        turns(1);
        assert_true(c.in.n < CONN_INPUT_MAX + 16384 + 1);
    }
    assert_true(c.in.n >= CONN_INPUT_MAX);
    for (int i = 0; i < 1000 && seen < sent; i++) {
        seen += c.in.n;
        conn_input_used(&c, c.in.n);
        turns(1);
    }
    assert_int_equal(seen, sent);
}

static void test_a_paused_connection_reads_nothing(void **state)
{
    (void)state;
    conn_pause(&c, true);
    conn_pause(&c, true);
    assert_int_equal(send(other, "hello", 5, 0), 5);
    turns(3);
    assert_int_equal(calls, 0);
    conn_pause(&c, false);
    turns(1);
    assert_true(str_eq(buf_str(&got), S("hello")));
}

static void test_the_end_of_the_client(void **state)
{
    (void)state;
    assert_int_equal(send(other, "bye", 3, 0), 3);
    shutdown(other, SHUT_WR);
    turns(3);
    assert_true(str_eq(buf_str(&got), S("bye")));
    assert_true(c.eof);
    assert_false(c.failed);
    struct buf out = BUF(16);
    buf_add(&out, S("221"));
    assert_int_equal(conn_write(&c, &out), 0); /* half closed: it still hears us */
    char text[3];
    assert_int_equal(recv(other, text, 3, 0), 3);
    buf_done(&out);
}

static void test_a_client_that_vanishes_while_paused_is_noticed(void **state)
{
    (void)state;
    conn_pause(&c, true);
    close(other);
    other = -1;
    turns(1);
    assert_int_equal(calls, 1);
    assert_true(c.failed);
    struct buf out = BUF(16);
    buf_add(&out, S("x"));
    assert_int_equal(conn_write(&c, &out), -EPIPE);
    buf_done(&out);
}

static void test_a_write_that_blocks_goes_on(void **state)
{
    (void)state;
    struct buf out = BUF(4 << 20);
    size_t want = 3 << 20, read_n = 0;
    char *p = buf_space(&out, want);
    for (size_t i = 0; i < want; i++)
        p[i] = (char)(i * 7 >> 3);
    static char in[65536];
    int r = conn_write(&c, &out);
    assert_int_equal(r, 1);
    assert_true(c.blocked);
    for (int i = 0; i < 1000 && read_n < want; i++) {
        ssize_t n = recv(other, in, sizeof(in), 0);
        for (ssize_t k = 0; k < n; k++, read_n++)
            assert_int_equal(in[k], (char)(read_n * 7 >> 3));
        unsigned before = calls;
        turns(1);
        if (!c.blocked && out.n) {
            assert_int_equal(calls, before + 1);
            r = conn_write(&c, &out);
        }
    }
    assert_int_equal(r, 0);
    assert_int_equal(read_n, want);
    assert_false(c.blocked);
    unsigned before = calls;
    turns(3);
    assert_int_equal(calls, before); /* no more news of being writable */
    buf_done(&out);
}

static void test_zeroed_is_closed(void **state)
{
    (void)state;
    struct conn none = { 0 };
    int input = dup(STDIN_FILENO);
    conn_close(&none);
    assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0 || input < 0);
    if (input >= 0) {
        dup2(input, STDIN_FILENO);
        close(input);
    }
    conn_close(&c);
    assert_int_equal(c.state, CONN_CLOSED);
    conn_close(&c);
}

static void test_addresses_as_text(void **state)
{
    (void)state;
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(25) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(587) };
    conn_close(&c);
    inet_pton(AF_INET, "192.0.2.7", &in.sin_addr);
    c = (struct conn){ .on = on };
    assert_int_equal(conn_open(&c, l, dup(other), (struct sockaddr *)&in), 0);
    assert_string_equal(c.address, "192.0.2.7");
    assert_int_equal(c.port, 25);
    conn_close(&c);
    inet_pton(AF_INET6, "::ffff:192.0.2.8", &in6.sin6_addr);
    c = (struct conn){ .on = on };
    assert_int_equal(conn_open(&c, l, dup(other), (struct sockaddr *)&in6), 0);
    assert_string_equal(c.address, "192.0.2.8");
    conn_close(&c);
    inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr);
    c = (struct conn){ .on = on };
    assert_int_equal(conn_open(&c, l, dup(other), (struct sockaddr *)&in6), 0);
    assert_string_equal(c.address, "2001:db8::1");
    assert_int_equal(c.port, 587);
}

static void test_a_file_is_no_connection(void **state)
{
    (void)state;
    struct conn bad = { .on = on };
    int fd = memfd_create("x", MFD_CLOEXEC);
    assert_int_equal(conn_open(&bad, l, fd, NULL), -EPERM);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    conn_close(&bad);
}

/* The client of a TLS connection, in a thread, with blocking calls. */
struct tls_client { pthread_t thread; SSL *ssl; size_t send, received; str first; };

static SSL_CTX *context(void)
{
    _cleanup_buf_ struct buf cert = { 0 }, key = { 0 };
    const char *why;
    SSL_CTX *ctx = NULL;
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    assert_int_equal(tls_server_context(buf_str(&cert), buf_str(&key), &why, &ctx), 0);
    return ctx;
}

static void *tls_client_run(void *arg)
{
    struct tls_client *t = arg;
    static char block[16000];
    fcntl(other, F_SETFL, fcntl(other, F_GETFL) & ~O_NONBLOCK);
    t->ssl = tls_play_connect(other, 0);
    if (t->ssl && t->first.n)
        SSL_write(t->ssl, t->first.p, (int)t->first.n);
    memset(block, 'y', sizeof(block));
    for (size_t left = t->ssl ? t->send : 0; left;) {
        int n = SSL_write(t->ssl, block, (int)MIN(left, sizeof(block)));
        left -= n > 0 ? (size_t)n : left;
    }
    for (int n; t->ssl && (n = SSL_read(t->ssl, block, sizeof(block))) > 0;)
        t->received += (size_t)n;
    return NULL;
}

static void wait_for(bool (*done)(void *arg), void *arg)
{
    for (int i = 0; i < 2000 && !done(arg); i++)
        loop_once(l, 10);
    assert_true(done(arg));
}

static bool handshake_over(void *arg)
{
    (void)arg;
    return hands_ok || hands_failed;
}
static bool got_all(void *arg) { return got.n >= *(size_t *)arg; }

static void test_tls_both_ways(void **state)
{
    (void)state;
    enum { UP = 1 << 20, DOWN = 1 << 20 };
    SSL_CTX *ctx = context();
    struct tls_client t = { .send = UP, .first = { "EHLO", 4 } };
    struct buf out = BUF(DOWN);
    pthread_create(&t.thread, NULL, tls_client_run, &t);
    assert_int_equal(conn_start_tls(&c, ctx), 0);
    wait_for(handshake_over, NULL);
    assert_true(hands_ok);
    size_t want = UP + 4;
    wait_for(got_all, &want);
    assert_int_equal(got.n, want);
    assert_memory_equal(got.p, "EHLOyyy", 7);
    buf_space(&out, DOWN);
    for (int i = 0; i < 2000 && out.n; i++) {
        if (!c.blocked)
            assert_true(conn_write(&c, &out) >= 0);
        loop_once(l, c.blocked ? 10 : 0);
    }
    assert_int_equal(out.n, 0);
    conn_close(&c);
    pthread_join(t.thread, NULL);
    assert_int_equal(t.received, DOWN);
    SSL_free(t.ssl);
    SSL_CTX_free(ctx);
    buf_done(&out);
}

static void on_slow(struct conn *conn)
{
    calls++;
    conn_pause(conn, conn->in.n >= CONN_INPUT_MAX);
}

/* A pause must not leave decrypted bytes behind that nobody announces again. */
static void test_tls_input_is_bounded_and_goes_on(void **state)
{
    (void)state;
    enum { UP = 2 << 20 };
    SSL_CTX *ctx = context();
    struct tls_client t = { .send = UP };
    c.on = on_slow;
    pthread_create(&t.thread, NULL, tls_client_run, &t);
    assert_int_equal(conn_start_tls(&c, ctx), 0);
    wait_for(handshake_over, NULL);
    size_t seen = 0;
    for (int i = 0; i < 4000 && seen < UP; i++) {
        loop_once(l, 10);
        assert_true(c.in.n < CONN_INPUT_MAX + 16384 + 1);
        if (c.paused || i % 3 == 0) {
            seen += c.in.n;
            conn_input_used(&c, c.in.n);
            conn_pause(&c, false);
        }
    }
    assert_int_equal(seen, UP);
    conn_close(&c);
    pthread_join(t.thread, NULL);
    SSL_free(t.ssl);
    SSL_CTX_free(ctx);
}

/* RFC 3207 4.2: what came in clear text before the handshake is not input afterwards. */
static void test_clear_text_before_the_handshake_is_dropped(void **state)
{
    (void)state;
    SSL_CTX *ctx = context();
    struct tls_client t = { .first = { "safe", 4 } };
    takes = false;
    assert_int_equal(send(other, "EVIL\r\n", 6, 0), 6);
    turns(1);
    assert_int_equal(c.in.n, 6);
    takes = true;
    pthread_create(&t.thread, NULL, tls_client_run, &t);
    assert_int_equal(conn_start_tls(&c, ctx), 0);
    assert_int_equal(c.in.n, 0);
    size_t want = 4;
    wait_for(got_all, &want);
    assert_true(str_eq(buf_str(&got), S("safe")));
    conn_close(&c);
    pthread_join(t.thread, NULL);
    SSL_free(t.ssl);
    SSL_CTX_free(ctx);
}

/* Asks for new keys, `send` times in a row, then says "end". */
static void *tls_updater_run(void *arg)
{
    struct tls_client *t = arg;
    char byte;
    fcntl(other, F_SETFL, fcntl(other, F_GETFL) & ~O_NONBLOCK);
    t->ssl = tls_play_connect(other, 0);
    for (; t->ssl && t->received < t->send; t->received++)
        if (SSL_key_update(t->ssl, SSL_KEY_UPDATE_REQUESTED) != 1 || SSL_do_handshake(t->ssl) != 1)
            break;
    SSL_write(t->ssl, "end", 3);
    while (SSL_read(t->ssl, &byte, 1) > 0)
        ;
    return NULL;
}

static void update_keys(size_t times, bool allowed)
{
    SSL_CTX *ctx = context();
    struct tls_client t = { .send = times };
    size_t want = 3;
    c.on = on;
    pthread_create(&t.thread, NULL, tls_updater_run, &t);
    assert_int_equal(conn_start_tls(&c, ctx), 0);
    wait_for(handshake_over, NULL);
    for (int i = 0; i < 20000 && got.n < want && !c.failed; i++)
        loop_once(l, 10);
    assert_int_equal(c.failed, !allowed);
    assert_int_equal(got.n, allowed ? 3 : 0);
    conn_close(&c);
    pthread_join(t.thread, NULL);
    SSL_free(t.ssl);
    SSL_CTX_free(ctx);
}

static void test_new_keys_now_and_then(void **state)
{
    (void)state;
    update_keys(100, true);
}

static void test_new_keys_without_end(void **state)
{
    (void)state;
    update_keys(10000, false);
}

static void *tls_connector_run(void *arg)
{
    struct tls_client *t = arg;
    fcntl(other, F_SETFL, fcntl(other, F_GETFL) & ~O_NONBLOCK);
    t->ssl = tls_play_connect(other, 0);
    return NULL;
}

/* A record of which a part has come is nothing to go on with: until the rest is there, nothing happens. */
static void test_a_part_of_a_record_is_waited_for(void **state)
{
    (void)state;
    SSL_CTX *ctx = context();
    struct tls_client t = { 0 };
    size_t want = 4;
    char *record;
    pthread_create(&t.thread, NULL, tls_connector_run, &t);
    assert_int_equal(conn_start_tls(&c, ctx), 0);
    wait_for(handshake_over, NULL);
    pthread_join(t.thread, NULL);
    assert_non_null(t.ssl);
    BIO *memory = BIO_new(BIO_s_mem());
    SSL_set0_wbio(t.ssl, memory);
    assert_int_equal(SSL_write(t.ssl, "NOOP", 4), 4);
    long n = BIO_get_mem_data(memory, &record);
    assert_true(n > 20);
    for (long sent = 0, part = 3; sent < n; sent += part, part = sent < 20 ? 17 : n - sent) {
        assert_int_equal(got.n, 0);
        assert_int_equal(send(other, record + sent, (size_t)part, 0), part);
        turns(1);
        unsigned before = calls;
        turns(3);
        assert_int_equal(calls, before);
    }
    wait_for(got_all, &want);
    assert_memory_equal(got.p, "NOOP", 4);
    SSL_free(t.ssl);
    SSL_CTX_free(ctx);
}

static void test_no_tls_is_a_failed_handshake(void **state)
{
    (void)state;
    SSL_CTX *ctx = context();
    assert_int_equal(conn_start_tls(&c, ctx), 0);
    assert_int_equal(send(other, "HELO not a handshake\r\n", 22, 0), 22);
    turns(3);
    assert_true(hands_failed && !hands_ok);
    assert_true(c.failed);
    assert_int_equal(calls, 0);
    SSL_CTX_free(ctx);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        T(test_input_arrives_and_memory_is_given_back),
        T(test_input_is_bounded_and_goes_on),
        T(test_a_paused_connection_reads_nothing),
        T(test_the_end_of_the_client),
        T(test_a_client_that_vanishes_while_paused_is_noticed),
        T(test_a_write_that_blocks_goes_on),
        T(test_zeroed_is_closed),
        T(test_addresses_as_text),
        T(test_a_file_is_no_connection),
        T(test_tls_both_ways),
        T(test_tls_input_is_bounded_and_goes_on),
        T(test_clear_text_before_the_handshake_is_dropped),
        T(test_new_keys_now_and_then),
        T(test_new_keys_without_end),
        T(test_a_part_of_a_record_is_waited_for),
        T(test_no_tls_is_a_failed_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
