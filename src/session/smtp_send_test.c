/* Sending over real sockets to a peer that follows a script, in a thread of its own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <openssl/err.h>
#include "io/tls_play.h"
#include "session/smtp_send.h"

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* The peer: steps are sent as they are, but "?text" reads until `text` has come
 * and no further, "*text" until what has come ends with it, "!tls" shakes hands, "!none" begins a
 * handshake with something else, "!close" closes, "!again" accepts the next connection, "!wait" waits for the test. */
struct peer {
    const char *const *steps;
    int listening, fd;
    SSL_CTX *ctx;
    SSL *ssl;
    struct buf got;
    pthread_t thread;
    bool running;
};

static struct loop *l;
static struct peer peer;
static struct smtp_send s;
static struct smtp_send_config config;
static struct smtp_send_target target;
static struct smtp_send_message message;
static struct smtp_client_rcpt rcpts[4];
static struct buf log_text;
static bool up, is_down;
static int done;
static struct smtp_send_end last_end;
static struct buf cert, key;
static int content_fd;

static ssize_t peer_read(char *p, size_t n)
{
    return peer.ssl ? SSL_read(peer.ssl, p, (int)n) : recv(peer.fd, p, n, 0);
}

static void peer_write(str text)
{
    ssize_t n = peer.ssl ? SSL_write(peer.ssl, text.p, (int)text.n) : send(peer.fd, text.p, text.n, MSG_NOSIGNAL);
    (void)n;
}

static void peer_close(void)
{
    if (peer.ssl) {
        SSL_shutdown(peer.ssl);
        SSL_free(TAKE(peer.ssl));
    }
    if (peer.fd >= 0)
        close(TAKE_FD(peer.fd));
}

static bool peer_step(const char *step)
{
    char block[16384];
    str text = str_z(step);
    if (str_eq(text, S("!again"))) {
        peer_close();
        peer.fd = accept(peer.listening, NULL, NULL);
        return peer.fd >= 0;
    }
    if (str_eq(text, S("!close"))) {
        peer_close();
        return true;
    }
    if (str_eq(text, S("!reset"))) {
        struct linger hard = { .l_onoff = 1 };
        setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        peer_close();
        return true;
    }
    if (str_eq(text, S("!tls"))) {
        peer.ssl = SSL_new(peer.ctx);
        SSL_set_fd(peer.ssl, peer.fd);
        return SSL_accept(peer.ssl) == 1;
    }
    if (str_eq(text, S("!drip"))) {
        for (int i = 0; i < 100; ++i) {
            peer_write(S("2"));
            usleep(10000);
        }
        return true;
    }
    if (step[0] != '?' && step[0] != '*') {
        peer_write(text);
        return true;
    }
    size_t from = peer.got.n;
    while (!str_ends(str_from(buf_str(&peer.got), from), str_from(text, 1))) {
        ssize_t n = peer_read(block, step[0] == '?' ? 1 : sizeof(block));
        if (n <= 0)
            return false;
        buf_add(&peer.got, str_of(block, (size_t)n));
    }
    return true;
}

static void *peer_run(void *arg)
{
    (void)arg;
    peer.fd = accept(peer.listening, NULL, NULL);
    for (const char *const *at = peer.steps; *at && peer_step(*at); ++at)
        ;
    char rest[256];
    for (ssize_t n; peer.fd >= 0 && (n = peer_read(rest, sizeof(rest))) > 0;)
        buf_add(&peer.got, str_of(rest, (size_t)n));
    peer_close();
    ERR_clear_error();
    return NULL;
}

static void peer_start(const char *const *steps)
{
    peer.steps = steps;
    peer.running = true;
    assert_int_equal(pthread_create(&peer.thread, NULL, peer_run, NULL), 0);
}

/* The owner */

static void log_reply(const struct smtp_client_reply *r)
{
    buf_addf(&log_text, "%d %.*s ", r->code, STR_ARG(r->status));
    buf_add(&log_text, r->text);
    buf_addc(&log_text, '\n');
}

static void on_up(struct smtp_send *x)
{
    up = true;
    assert_ptr_equal(x, &s);
    buf_add(&log_text, S("up\n"));
}

static void on_result(struct smtp_send *x, const struct smtp_client_result *r)
{
    static const char *const outcome[] = { "relayed", "relayed-no-dsn", "deferred", "failed" };
    (void)x;
    buf_addf(&log_text, "%u %s%s ", r->index, outcome[r->outcome], r->too_many ? " too-many" : "");
    log_reply(&r->reply);
}

static void on_done(struct smtp_send *x)
{
    (void)x;
    done++;
    buf_add(&log_text, S("done\n"));
}

static void on_down(struct smtp_send *x, const struct smtp_send_end *end)
{
    assert_false(smtp_send_ready(x));
    is_down = true;
    last_end = *end;
    buf_addf(&log_text, "down%s%s%s ", end->was_up ? "" : " early", end->polite ? " polite" : "",
             end->try_clear ? " try-clear" : "");
    log_reply(&end->reply);
}

static const struct smtp_send_events events = { on_up, on_result, on_done, on_down };

static int setup(void **state)
{
    (void)state;
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    const char *why = NULL;
    up = is_down = false;
    done = 0;
    log_text = BUF(1 << 20);
    peer = (struct peer){ .fd = -1, .got = BUF(64 << 20) };
    peer.listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(peer.listening, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(peer.listening, 8), 0);
    assert_int_equal(getsockname(peer.listening, (struct sockaddr *)&a, &n), 0);
    assert_int_equal(loop_new(&env_system, &l), 0);
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    assert_int_equal(tls_server_context(buf_str(&cert), buf_str(&key), &why, &peer.ctx), 0);
    config = (struct smtp_send_config){ .hostname = S("out.test") };
    assert_int_equal(tls_client_context(STR_NONE, &why, &config.tls), 0);
    assert_int_equal(tls_client_context(buf_str(&cert), &why, &config.tls_verified), 0);
    target = (struct smtp_send_target){ .address = S("127.0.0.1"), .host = S("mx.example.org") };
    target.port = ntohs(a.sin_port);
    content_fd = memfd_create("content", MFD_CLOEXEC);
    assert_int_equal(write(content_fd, "junkSubject: x\r\n\r\n.hello\r\njunk", 30), 30);
    memset(rcpts, 0, sizeof(rcpts));
    rcpts[0].address = S("a@example.org");
    rcpts[1].address = S("b@example.org");
    rcpts[2].address = S("c@example.org");
    message = (struct smtp_send_message){
        .sender = S("me@example.net"), .fd = content_fd, .offset = 4, .length = 22, .rcpts = rcpts, .n = 1,
    };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    smtp_send_close(&s);
    shutdown(peer.listening, SHUT_RDWR);
    if (peer.running)
        pthread_join(peer.thread, NULL);
    close(peer.listening);
    close(content_fd);
    SSL_CTX_free(peer.ctx);
    SSL_CTX_free(config.tls);
    SSL_CTX_free(config.tls_verified);
    loop_free(l);
    buf_done(&peer.got);
    buf_done(&log_text);
    buf_done(&cert);
    buf_done(&key);
    return 0;
}

static void open_now(void)
{
    assert_int_equal(smtp_send_open(&s, l, &config, &target, &events), 0);
}

static void until(bool *flag)
{
    for (int i = 0; i < 500 && !*flag; ++i)
        loop_once(l, 10);
    assert_true(*flag);
}

static void until_done(int n)
{
    for (int i = 0; i < 500 && done < n && !is_down; ++i)
        loop_once(l, 10);
    assert_int_equal(done, n);
}

static void logged(const char *text)
{
    if (!str_eq(buf_str(&log_text), str_z(text)))
        print_error("is: %.*s\nshould be: %s\n", STR_ARG(buf_str(&log_text)), text);
    assert_true(str_eq(buf_str(&log_text), str_z(text)));
    buf_clear(&log_text);
}

/* The peer has come to its end; what it got. */
static void peer_got(const char *text)
{
    smtp_send_close(&s);
    shutdown(peer.listening, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    peer.running = false;
    if (str_find(buf_str(&peer.got), str_z(text)) < 0)
        print_error("got: %.*s\nwithout: %s\n", STR_ARG(buf_str(&peer.got)), text);
    assert_true(str_find(buf_str(&peer.got), str_z(text)) >= 0);
}

#define HELLO "220 mx\r\n", "?EHLO out.test\r\n"
#define ENVELOPE "?MAIL", "250 ok\r\n", "?RCPT", "250 ok\r\n"
#define MESSAGE ENVELOPE, "?DATA\r\n", "354 go\r\n", "?\r\n.\r\n", "250 2.0.0 queued\r\n"

static void test_two_messages(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250 mx\r\n", MESSAGE, MESSAGE, "?QUIT\r\n", "221 bye\r\n", NULL };
    peer_start(steps);
    open_now();
    assert_false(smtp_send_ready(&s));
    until(&up);
    assert_true(smtp_send_ready(&s));
    assert_string_equal(s.tls_text, "");
    message.prefix = S("Received: y\r\n");
    assert_int_equal(smtp_send_message(&s, &message), 0);
    assert_int_equal(smtp_send_message(&s, &message), -EINVAL);
    until_done(1);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until_done(2);
    assert_int_equal(s.messages, 2);
    smtp_send_quit(&s);
    until(&is_down);
    logged("up\n0 relayed-no-dsn 250 2.0.0 250 2.0.0 queued\ndone\n0 relayed-no-dsn 250 2.0.0 250 2.0.0 queued\ndone\n"
           "down polite 221 2.0.0 221 bye\n");
    peer_got("DATA\r\nReceived: y\r\nSubject: x\r\n\r\n..hello\r\n.\r\nMAIL FROM:<me@example.net>");
}

static void test_refused_connection(void **state)
{
    (void)state;
    close(peer.listening);
    peer.listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    open_now();
    until(&is_down);
    logged("down early 0 4.4.1 cannot connect: Connection refused\n");
}

static void test_addresses(void **state)
{
    (void)state;
    target.address = S("localhost");
    assert_int_equal(smtp_send_open(&s, l, &config, &target, &events), -EINVAL);
    target.address = S("127.0.0.1");
    target.source = S("::1");
    assert_int_equal(smtp_send_open(&s, l, &config, &target, &events), -EINVAL);
    target.source = S("192.0.2.1");
    open_now();
    until(&is_down);
    logged("down early 0 4.4.1 cannot connect: Cannot assign requested address\n");
}

static void test_connecting_takes_too_long(void **state)
{
    (void)state;
    int queue[3];
    static const char *const steps[] = { NULL };
    (void)steps;
    listen(peer.listening, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    a.sin_port = htons(target.port);
    for (int i = 0; i < 3; ++i) { /* fills the queue of the listener: the next one gets no answer */
        queue[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(queue[i], (struct sockaddr *)&a, sizeof(a));
    }
    usleep(20000);
    config.timeouts.connect = 100;
    open_now();
    until(&is_down);
    logged("down early 0 4.4.1 cannot connect: Connection timed out\n");
    for (int i = 0; i < 3; ++i)
        close(queue[i]);
}

static void test_source_address(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250 mx\r\n", NULL };
    target.source = S("127.0.0.9");
    peer_start(steps);
    open_now();
    until(&up);
    struct sockaddr_in a;
    socklen_t n = sizeof(a);
    assert_int_equal(getsockname(s.conn.io.fd, (struct sockaddr *)&a, &n), 0);
    assert_int_equal(ntohl(a.sin_addr.s_addr), 0x7f000009);
}

static void test_greeting_refused(void **state)
{
    (void)state;
    static const char *const steps[] = { "554 5.7.1 you are listed\r\n", "?QUIT\r\n", NULL };
    peer_start(steps);
    open_now();
    until(&is_down);
    logged("down early 554 5.7.1 554 5.7.1 you are listed\n");
    assert_int_equal(smtp_send_message(&s, &message), -EINVAL);
    peer_got("QUIT\r\n");
}

static void test_dripping_greeting(void **state)
{
    (void)state;
    static const char *const steps[] = { "220-", "!drip", NULL };
    config.timeouts.greeting = 150;
    peer_start(steps);
    open_now();
    until(&is_down);
    logged("down early 0 4.4.2 timed out in connection\n");
}

static void test_no_last_reply(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250 mx\r\n", ENVELOPE, "?DATA\r\n", "354 go\r\n", "?\r\n.\r\n", NULL };
    config.timeouts.final = 100;
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until(&is_down);
    logged("up\n0 deferred 0 4.4.2 timed out in end of message\ndone\ndown 0 4.4.2 timed out in end of message\n");
}

static void test_reset_in_the_middle(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250 mx\r\n", ENVELOPE, "?DATA\r\n", "!reset", NULL };
    message.n = 1;
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until(&is_down);
    logged("up\n0 deferred 0 4.4.2 connection lost\ndone\ndown 0 4.4.2 connection lost\n");
}

static void test_peer_closes_while_idle(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250 mx\r\n", "!close", NULL };
    peer_start(steps);
    open_now();
    until(&is_down);
    logged("up\ndown polite 0 4.4.2 the other server closed the connection\n");
}

static void test_split_by_limits(void **state)
{
    (void)state;
    static const char *const steps[] = {
        HELLO, "250-mx\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2\r\n",
        "?DATA\r\n", "250 ok\r\n250 ok\r\n452 4.5.3 one is enough\r\n354 go\r\n", "?\r\n.\r\n", "250 first\r\n",
        "?DATA\r\n", "250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n", "?\r\n.\r\n", "250 second\r\n", NULL,
    };
    message.n = 3;
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until_done(1);
    logged("up\n0 relayed-no-dsn 250 2.0.0 250 first\n2 failed 550 5.0.0 550 no\n"
           "1 relayed-no-dsn 250 2.0.0 250 second\ndone\n");
    assert_true(smtp_send_ready(&s));
    peer_got("RCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
}

static void test_no_more_transactions(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250-mx\r\n250 LIMITS RCPTMAX=1 MAILMAX=1\r\n", MESSAGE, NULL };
    message.n = 2;
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until_done(1);
    logged("up\n0 relayed-no-dsn 250 2.0.0 250 2.0.0 queued\n"
           "1 deferred too-many 0 4.5.3 the other server takes no more recipients over this connection\ndone\n");
    assert_false(smtp_send_ready(&s));
}

static void test_content_that_is_not_there(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250 mx\r\n", ENVELOPE, "?DATA\r\n", "354 go\r\n", NULL };
    message.length = 1000;
    message.body = SMTP_SEND_BODY_7BIT;
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until(&is_down);
    logged("up\n0 deferred 0 4.3.0 the content of the message cannot be read here\ndone\n"
           "down 0 4.3.0 the content of the message cannot be read here\n");
    peer_got("DATA\r\n");
    assert_true(str_ends(buf_str(&peer.got), S("DATA\r\n")));
}

static void test_large_content(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250-CHUNKING\r\n250-mx\r\n250 CHUNKING\r\n", ENVELOPE, "*END.\r\n",
                                         "250 ok\r\n", NULL };
    static char block[1 << 20];
    memset(block, 'x', sizeof(block));
    for (size_t i = 0; i < sizeof(block); i += 64)
        memcpy(block + i, "\r\n", 2);
    for (int i = 0; i < 5; ++i)
        assert_int_equal(pwrite(content_fd, block, sizeof(block), 4 + i * (off_t)sizeof(block)), sizeof(block));
    assert_int_equal(pwrite(content_fd, "END.\r\n", 6, 4 + 5 * (off_t)sizeof(block)), 6);
    message.length = 5 * sizeof(block) + 6;
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until_done(1);
    logged("up\n0 relayed-no-dsn 250 2.0.0 250 ok\ndone\n");
    peer_got("BDAT 5242886 LAST\r\n\r\nxxx");
    assert_true(peer.got.n > message.length);
}

/* What a peer cannot take */

static void put_content(const char *text)
{
    message.length = strlen(text);
    assert_int_equal(pwrite(content_fd, text, message.length, 4), message.length);
}

static void test_converted_for_a_7bit_peer(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250 mx\r\n", MESSAGE, NULL };
    put_content("Subject: x\r\n\r\nthe caf\xc3\xa9 is open\r\n");
    message.prefix = S("Received: y\r\n");
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until_done(1);
    peer_got("DATA\r\nReceived: y\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; "
             "charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
             "the caf=C3=A9 is open\r\n.\r\n");
}

static void test_8bit_header_for_a_7bit_peer(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250 mx\r\n", NULL };
    put_content("Subject: caf\xc3\xa9\r\n\r\nx\r\n");
    message.n = 2;
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until_done(1);
    logged("up\n0 failed 0 5.6.3 a header field has characters that are not plain ASCII, and the other server takes "
           "only 7-bit mail (no 8BITMIME)\n"
           "1 failed 0 5.6.3 a header field has characters that are not plain ASCII, and the other server takes "
           "only 7-bit mail (no 8BITMIME)\ndone\n");
    assert_true(smtp_send_ready(&s));
}

static void test_smtputf8_that_needs_none(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250-mx\r\n250 8BITMIME\r\n", MESSAGE, NULL };
    message.smtputf8 = true;
    message.body = SMTP_SEND_BODY_8BIT;
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until_done(1);
    peer_got("MAIL FROM:<me@example.net> BODY=8BITMIME\r\n");
}

static void test_smtputf8_that_is_needed(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250-mx\r\n250 8BITMIME\r\n", NULL };
    put_content("Subject: caf\xc3\xa9\r\n\r\nx\r\n");
    message.smtputf8 = true;
    peer_start(steps);
    open_now();
    until(&up);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until_done(1);
    assert_true(str_starts(buf_str(&log_text), S("up\n0 failed 0 5.6.7 the message needs SMTPUTF8")));
}

/* TLS */

#define STARTTLS HELLO, "250-mx\r\n250 STARTTLS\r\n", "?STARTTLS\r\n", "220 go\r\n", "!tls", "?EHLO", "250 mx\r\n"

static void tls_up(enum smtp_send_tls level)
{
    static const char *const steps[] = { STARTTLS, MESSAGE, NULL };
    target.tls = level;
    peer_start(steps);
    open_now();
    until(&up);
    assert_true(str_starts(str_z(s.tls_text), S("TLS1.3 ")));
    assert_int_equal(s.tls_verified, level == SMTP_SEND_TLS_VERIFIED);
    assert_int_equal(smtp_send_message(&s, &message), 0);
    until_done(1);
    logged("up\n0 relayed-no-dsn 250 2.0.0 250 2.0.0 queued\ndone\n");
    peer_got("Subject: x\r\n\r\n..hello\r\n.\r\n");
}

static void test_tls_opportunistic(void **state) { (void)state; tls_up(SMTP_SEND_TLS_OPPORTUNISTIC); }
static void test_tls_mandatory(void **state) { (void)state; tls_up(SMTP_SEND_TLS_MANDATORY); }
static void test_tls_verified(void **state) { (void)state; tls_up(SMTP_SEND_TLS_VERIFIED); }

static void test_certificate_of_another(void **state)
{
    (void)state;
    static const char *const steps[] = { STARTTLS, NULL };
    target.tls = SMTP_SEND_TLS_VERIFIED;
    target.host = S("mail.example.org");
    peer_start(steps);
    open_now();
    until(&is_down);
    logged("down early 0 4.7.5 TLS handshake failed: hostname mismatch\n");
}

static void test_certificate_of_nobody_known(void **state)
{
    (void)state;
    static const char *const steps[] = { STARTTLS, NULL };
    struct buf other, other_key;
    const char *why = NULL;
    tls_play_pair("mx.example.org", NULL, &other, &other_key);
    SSL_CTX_free(config.tls_verified);
    assert_int_equal(tls_client_context(buf_str(&other), &why, &config.tls_verified), 0);
    buf_done(&other);
    buf_done(&other_key);
    target.tls = SMTP_SEND_TLS_VERIFIED;
    peer_start(steps);
    open_now();
    until(&is_down);
    assert_true(str_starts(buf_str(&log_text), S("down early 0 4.7.5 TLS handshake failed: ")));
}

static void test_tls_at_once(void **state)
{
    (void)state;
    static const char *const steps[] = { "!tls", HELLO, "250-mx\r\n250 AUTH PLAIN\r\n", "?AUTH PLAIN AGFuAHB3\r\n",
                                         "235 in\r\n", NULL };
    target.tls = SMTP_SEND_TLS_VERIFIED;
    target.tls_at_once = true;
    target.user = S("an");
    target.secret = S("pw");
    peer_start(steps);
    open_now();
    until(&up);
    assert_true(s.tls_verified);
}

static void test_handshake_fails(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250-mx\r\n250 STARTTLS\r\n", "?STARTTLS\r\n", "220 go\r\n",
                                         "this is no handshake\r\n", NULL };
    target.tls = SMTP_SEND_TLS_OPPORTUNISTIC;
    peer_start(steps);
    open_now();
    until(&is_down);
    assert_true(last_end.try_clear);
    assert_false(last_end.was_up);
    assert_true(str_starts(buf_str(&log_text), S("down early try-clear 0 4.7.5 ")));
}

static void test_handshake_takes_too_long(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250-mx\r\n250 STARTTLS\r\n", "?STARTTLS\r\n", "220 go\r\n", NULL };
    target.tls = SMTP_SEND_TLS_MANDATORY;
    config.timeouts.tls = 100;
    peer_start(steps);
    open_now();
    until(&is_down);
    logged("down early 0 4.7.5 timed out in TLS handshake\n");
}

static void test_starttls_refused(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250-mx\r\n250 STARTTLS\r\n", "?STARTTLS\r\n", "454 no\r\n", NULL };
    target.tls = SMTP_SEND_TLS_OPPORTUNISTIC;
    peer_start(steps);
    open_now();
    until(&is_down);
    logged("down early try-clear 454 4.7.0 454 no\n");
}

static void test_starttls_not_offered(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250 mx\r\n", NULL };
    target.tls = SMTP_SEND_TLS_MANDATORY;
    peer_start(steps);
    open_now();
    until(&is_down);
    logged("down early 0 4.7.4 TLS is required here, and the other server offers none\n");
}

static void test_password_in_clear(void **state)
{
    (void)state;
    static const char *const steps[] = { HELLO, "250-mx\r\n250 AUTH PLAIN\r\n", NULL };
    target.tls = SMTP_SEND_TLS_OPPORTUNISTIC;
    target.user = S("an");
    target.secret = S("pw");
    peer_start(steps);
    open_now();
    until(&is_down);
    logged("down early 0 4.7.11 a password is not sent without TLS\n");
    peer_got("QUIT");
    assert_int_equal(str_find(buf_str(&peer.got), S("AUTH")), -1);
}

static void test_closed_at_any_time(void **state)
{
    (void)state;
    static const char *const steps[] = { STARTTLS, MESSAGE, NULL };
    target.tls = SMTP_SEND_TLS_OPPORTUNISTIC;
    peer_start(steps);
    for (int turns = 0; turns < 3; ++turns) {
        open_now();
        for (int i = 0; i < turns; ++i)
            loop_once(l, 20);
        smtp_send_close(&s);
        smtp_send_close(&s);
    }
    logged("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_two_messages),
        T(test_refused_connection),
        T(test_addresses),
        T(test_connecting_takes_too_long),
        T(test_source_address),
        T(test_greeting_refused),
        T(test_dripping_greeting),
        T(test_no_last_reply),
        T(test_reset_in_the_middle),
        T(test_peer_closes_while_idle),
        T(test_split_by_limits),
        T(test_no_more_transactions),
        T(test_content_that_is_not_there),
        T(test_large_content),
        T(test_converted_for_a_7bit_peer),
        T(test_8bit_header_for_a_7bit_peer),
        T(test_smtputf8_that_needs_none),
        T(test_smtputf8_that_is_needed),
        T(test_tls_opportunistic),
        T(test_tls_mandatory),
        T(test_tls_verified),
        T(test_certificate_of_another),
        T(test_certificate_of_nobody_known),
        T(test_tls_at_once),
        T(test_handshake_fails),
        T(test_handshake_takes_too_long),
        T(test_starttls_refused),
        T(test_starttls_not_offered),
        T(test_password_in_clear),
        T(test_closed_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
