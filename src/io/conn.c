/* Connections: see conn.h. */
#include "io/conn.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <sys/epoll.h>

enum { READ_CHUNK = 16384, TLS_WRITE_CHUNK = 16384 };

static void set_v6(struct conn *c, const struct in6_addr *a)
{
    if (IN6_IS_ADDR_V4MAPPED(a))
        inet_ntop(AF_INET, a->s6_addr + 12, c->address, sizeof(c->address));
    else
        inet_ntop(AF_INET6, a, c->address, sizeof(c->address));
}

static void address_text(struct conn *c, const struct sockaddr *peer)
{
    if (peer && peer->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
        inet_ntop(AF_INET, &in->sin_addr, c->address, sizeof(c->address));
        c->port = ntohs(in->sin_port);
    } else if (peer && peer->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
        set_v6(c, &in6->sin6_addr);
        c->port = ntohs(in6->sin6_port);
    } else if (peer && peer->sa_family == AF_UNIX) {
        c->local = true;
        memcpy(c->address, "local", sizeof("local"));
    }
}

int conn_set_client(struct conn *c, str address, uint16_t port)
{
    struct in_addr v4;
    struct in6_addr v6;
    char z[INET6_ADDRSTRLEN] = { 0 };
    if (address.n == 0 || address.n >= sizeof(z) || str_chr(address, '\0') >= 0)
        return -EINVAL;
    memcpy(z, address.p, address.n);
    if (inet_pton(AF_INET, z, &v4) == 1)
        inet_ntop(AF_INET, &v4, c->address, sizeof(c->address));
    else if (inet_pton(AF_INET6, z, &v6) == 1)
        set_v6(c, &v6);
    else
        return -EINVAL;
    c->port = port;
    return 0;
}

static void watch(struct conn *c)
{
    uint32_t events = (c->paused ? 0 : EPOLLIN) | (c->blocked ? EPOLLOUT : 0);
    if (loop_watch(c->loop, &c->io, events) < 0)
        c->failed = true;
}

/* Bytes read, 0 nothing now, negative: end or error (eof or failed is set). */
static ssize_t read_some(struct conn *c, char *p, size_t n)
{
    if (!c->ssl) {
        ssize_t r = recv(c->io.fd, p, n, 0);
        if (r > 0)
            return r;
        if (r < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        c->eof = r == 0;
        c->failed = r < 0;
        return -1;
    }
    ERR_clear_error();
    int r = SSL_read(c->ssl, p, (int)n);
    c->drained = r <= 0;
    uint64_t taken = BIO_number_read(SSL_get_rbio(c->ssl));
    if (r > 0) {
        c->tls_read = taken;
        return r;
    }
    int why = SSL_get_error(c->ssl, r);
    if (why == SSL_ERROR_WANT_READ && taken - c->tls_read <= CONN_TLS_IDLE_MAX)
        return 0; /* WANT_WRITE: it asks for new keys and does not take our answers */
    c->eof = why == SSL_ERROR_ZERO_RETURN;
    c->failed = !c->eof;
    return -1;
}

/* Looks without taking, then takes what belongs to the header: a TLS handshake behind it stays in the socket. */
static void read_header(struct conn *c)
{
    if (c->in.n >= CONN_HEADER_MAX || buf_reserve(&c->in, CONN_HEADER_MAX) < 0) {
        c->failed = true;
        return;
    }
    char *at = c->in.p + c->in.n;
    ssize_t seen = recv(c->io.fd, at, CONN_HEADER_MAX - c->in.n, MSG_PEEK);
    size_t take = seen > 0 ? c->header(str_of(c->in.p, c->in.n + (size_t)seen)) - c->in.n : 0;
    if (take > 0)
        seen = recv(c->io.fd, at, MIN(take, (size_t)seen), 0);
    if (seen > 0)
        c->in.n += (size_t)seen;
    c->eof = seen == 0;
    c->failed = seen < 0 && errno != EAGAIN && errno != EINTR;
}

static void read_input(struct conn *c)
{
    if (c->header) {
        read_header(c);
        return;
    }
    while (!c->paused && !c->eof && !c->failed && c->in.n < c->input_max) {
        if (buf_reserve(&c->in, READ_CHUNK) < 0) {
            c->failed = true;
            return;
        }
        size_t room = MIN(c->in.cap - c->in.n, c->input_max + READ_CHUNK - c->in.n);
        ssize_t n = read_some(c, c->in.p + c->in.n, room);
        if (n <= 0)
            return;
        c->in.n += (size_t)n;
        c->last_read = loop_now(c->loop);
        if (!c->ssl && (size_t)n < room)
            return;
    }
}

static void read_again(struct loop_timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, again);
    if (c->state != CONN_OPEN)
        return;
    read_input(c);
    c->on(c);
}

void conn_again(struct conn *c)
{
    if (c->state == CONN_OPEN && !c->failed)
        loop_after(c->loop, &c->again, 0);
}

/* What TLS has decrypted already, the socket does not announce any more. */
static void read_pending(struct conn *c)
{
    if (c->ssl && c->state == CONN_OPEN && !c->paused && !c->failed && !c->drained && SSL_has_pending(c->ssl))
        loop_after(c->loop, &c->again, 0);
}

static void handshake(struct conn *c)
{
    ERR_clear_error();
    int r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        c->state = CONN_OPEN;
        c->last_read = loop_now(c->loop);
        c->tls_read = BIO_number_read(SSL_get_rbio(c->ssl));
        c->blocked = false;
        watch(c);
        c->on_handshake(c, true);
        if (c->state == CONN_OPEN) /* data in the same flight as Finished */
            read_pending(c);
        return;
    }
    int why = SSL_get_error(c->ssl, r);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        c->blocked = why == SSL_ERROR_WANT_WRITE;
        watch(c);
        return;
    }
    c->failed = true;
    c->on_handshake(c, false);
}

static void ready(struct loop_io *io, uint32_t events)
{
    struct conn *c = CONTAINER_OF(io, struct conn, io);
    if (c->state == CONN_HANDSHAKE) {
        handshake(c);
        return;
    }
    if (events & EPOLLOUT) {
        c->blocked = false;
        watch(c);
    }
    if (events & (EPOLLHUP | EPOLLERR) && c->paused)
        c->failed = true;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_input(c);
    c->on(c);
}

int conn_open(struct conn *c, struct loop *l, int fd, const struct sockaddr *peer)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->io = (struct loop_io){ .fd = fd, .ready = ready };
    c->again = (struct loop_timer){ .fire = read_again };
    c->loop = l;
    c->state = CONN_OPEN;
    c->in = BUF(CONN_INPUT_MAX + READ_CHUNK);
    c->input_max = CONN_INPUT_MAX;
    c->last_read = loop_now(l);
    address_text(c, peer);
    int r = loop_watch(l, &c->io, EPOLLIN);
    if (r < 0) {
        close(fd);
        c->loop = NULL;
    }
    return r;
}

void conn_close(struct conn *c)
{
    if (!c->loop) /* never opened, or closed */
        return;
    char unread[4096] __attribute__((uninitialized));
    for (int i = 0; !c->failed && i < 16 && recv(c->io.fd, unread, sizeof(unread), MSG_DONTWAIT) > 0; i++)
        ; /* closing with input unread would reset the connection, and the client might not see our last words */
    if (c->ssl) {
        if (!c->failed)
            SSL_shutdown(c->ssl);
        SSL_free(TAKE(c->ssl));
        ERR_clear_error();
    }
    loop_cancel(c->loop, &c->again);
    loop_unwatch(c->loop, &c->io);
    close(c->io.fd);
    buf_done(&c->in);
    c->state = CONN_CLOSED;
    c->loop = NULL;
}

static int new_tls(struct conn *c, SSL_CTX *ctx)
{
    buf_release(&c->in);
    c->ssl = SSL_new(ctx);
    c->tls = (struct tls_socket){ .fd = c->io.fd };
    if (!c->ssl || tls_use_socket(c->ssl, &c->tls) < 0)
        return -ENOMEM;
    c->drained = false;
    SSL_clear_mode(c->ssl, SSL_MODE_AUTO_RETRY); /* a flood of records without data comes back to the loop each time */
    return 0;
}

static int begin_handshake(struct conn *c)
{
    c->state = CONN_HANDSHAKE;
    c->paused = false;
    handshake(c);
    return 0;
}

int conn_start_tls(struct conn *c, SSL_CTX *ctx)
{
    if (new_tls(c, ctx) < 0)
        return -ENOMEM;
    SSL_set_session_id_context(c->ssl, (const unsigned char *)c->tls_scope.p, (unsigned)c->tls_scope.n);
    SSL_set_accept_state(c->ssl);
    return begin_handshake(c);
}

int conn_start_tls_client(struct conn *c, SSL_CTX *ctx, str name)
{
    if (new_tls(c, ctx) < 0)
        return -ENOMEM;
    int r = tls_client_name(c->ssl, name);
    if (r < 0)
        return r;
    SSL_set_connect_state(c->ssl);
    return begin_handshake(c);
}

static ssize_t write_some(struct conn *c, str data)
{
    if (!c->ssl) {
        ssize_t n = send(c->io.fd, data.p, data.n, MSG_NOSIGNAL);
        return n >= 0 ? n : (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    ERR_clear_error();
    c->tls.more = data.n > TLS_WRITE_CHUNK;
    int n = SSL_write(c->ssl, data.p, (int)MIN(data.n, (size_t)TLS_WRITE_CHUNK));
    c->tls.more = false;
    if (n > 0)
        return n;
    int why = SSL_get_error(c->ssl, n);
    return why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ ? 0 : -1;
}

int conn_write(struct conn *c, struct buf *from)
{
    size_t done = 0;
    ssize_t n = 0;
    while (done < from->n && !c->failed) {
        n = write_some(c, str_from(buf_str(from), done));
        if (n <= 0)
            break;
        done += (size_t)n;
        c->last_read = loop_now(c->loop);
    }
    buf_drop(from, done);
    if (n < 0)
        c->failed = true;
    if (c->failed)
        return -EPIPE;
    if (from->n && !c->blocked) {
        c->blocked = true;
        watch(c);
    }
    return from->n ? 1 : 0;
}

void conn_pause(struct conn *c, bool pause)
{
    if (c->paused == pause)
        return;
    c->paused = pause;
    watch(c);
    read_pending(c);
}

void conn_input_used(struct conn *c, size_t n)
{
    if (n == c->in.n)
        buf_release(&c->in);
    else
        buf_drop(&c->in, n);
    read_pending(c);
}
