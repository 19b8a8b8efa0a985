/* Connections of the load generators: see net.h. */
#include <net.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, TLS_WRITE_MAX = 16384 };

static int epoll;
static SSL_CTX *context;

_Noreturn void net_fail(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    exit(2);
}

void net_init(void)
{
    struct rlimit r;
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    context = SSL_CTX_new(TLS_client_method());
    if (epoll < 0 || !context)
        net_fail("set-up");
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
}

static void watch(struct net *c, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = c };
    if (events == c->watched)
        return;
    if (epoll_ctl(epoll, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e) < 0)
        net_fail("epoll_ctl");
    c->watched = events;
}

void net_open(struct net *c, unsigned port, unsigned from)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in own = { .sin_family = AF_INET };
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        net_fail("socket");
    c->ssl = NULL;
    c->handshaking = false;
    c->watched = 0;
    c->in_n = c->out_n = 0;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (from) {
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 256 * (1 + from / 250) + from % 250);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
        if (bind(c->fd, (const struct sockaddr *)&own, sizeof(own)) < 0)
            net_fail("bind");
    }
    if (connect(c->fd, (const struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
        net_fail("connect");
    watch(c, EPOLLIN);
}

void net_start_tls(struct net *c)
{
    c->ssl = SSL_new(context);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
        net_fail("TLS");
    SSL_set_connect_state(c->ssl);
    c->handshaking = true;
    watch(c, EPOLLIN | EPOLLOUT);
}

void net_close(struct net *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

/* Bytes moved, 0 if it must wait, -1 at the end. */
static ssize_t outcome(struct net *c, int r)
{
    if (r > 0)
        return r;
    int why = SSL_get_error(c->ssl, r);
    ERR_clear_error();
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t plain(ssize_t r) { return r >= 0 ? r : errno == EAGAIN || errno == EINTR ? 0 : -1; }

bool net_push(struct net *c)
{
    if (c->handshaking)
        return true;
    while (c->out_n) {
        int chunk = c->out_n < TLS_WRITE_MAX ? (int)c->out_n : TLS_WRITE_MAX;
        ssize_t n = c->ssl ? outcome(c, SSL_write(c->ssl, c->out, chunk))
                           : plain(send(c->fd, c->out, c->out_n, MSG_NOSIGNAL));
        if (n < 0)
            return false;
        if (n == 0)
            break;
        c->out += n;
        c->out_n -= (size_t)n;
    }
    watch(c, c->out_n ? EPOLLIN | EPOLLOUT : EPOLLIN);
    return true;
}

static enum net_got handshake(struct net *c)
{
    int r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        c->handshaking = false;
        return net_push(c) ? NET_NOTHING : NET_END;
    }
    int why = SSL_get_error(c->ssl, r);
    ERR_clear_error();
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        return NET_END;
    watch(c, why == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLIN | EPOLLOUT);
    return NET_NOTHING;
}

enum net_got net_pull(struct net *c)
{
    ssize_t n;
    if (c->handshaking) {
        enum net_got got = handshake(c);
        if (got == NET_END || c->handshaking)
            return got;
    }
    if (c->in_n == c->in_cap)
        return NET_END; /* a line longer than any that a server may send */
    if (c->ssl) {
        n = outcome(c, SSL_read(c->ssl, c->in + c->in_n, (int)(c->in_cap - c->in_n)));
    } else {
        n = recv(c->fd, c->in + c->in_n, c->in_cap - c->in_n, 0);
        n = n == 0 ? -1 : plain(n);
    }
    if (n > 0)
        c->in_n += (size_t)n;
    return n > 0 ? NET_INPUT : n == 0 ? NET_NOTHING : NET_END;
}

void net_wait(void (*ready)(void *owner))
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, 100);
    for (int i = 0; i < n; i++) {
        struct net *c = events[i].data.ptr;
        if (c->fd >= 0) /* an earlier one of this batch may have closed it */
            ready(c->owner);
    }
}

double net_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double net_cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}
