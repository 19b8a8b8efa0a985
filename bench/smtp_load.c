/* smtp_load: sends messages to an SMTP server on 127.0.0.1 as fast as it answers, for measuring.
 *
 *     smtp_load -p PORT [-c CONNECTIONS] [-m MESSAGES] [-s BYTES] [-u USERS] [-l SECONDS]
 *
 * One process, one epoll loop. Each connection sends one message after the other (no pipelining: every command waits
 * for its reply, as most clients do), message n to u(n mod USERS)@bench.test. It stops when MESSAGES were answered or
 * after SECONDS and prints one JSON object; `start` and `end` are CLOCK_MONOTONIC, from the first connect to the last
 * reply to a message. The exit status is 0 if every message was accepted. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { POOL = 64, MAX_CONNECTIONS = 10000, LINE = 1024, BATCH = 256 };

/* What the last line sent was; its reply decides what comes next. */
enum step { GREETING, EHLO, MAIL, RCPT, DATA, CONTENT, IDLE, CLOSED };

/* The code that lets a connection go on. */
static const char *const wanted[] = { [GREETING] = "220", [EHLO] = "250", [MAIL] = "250",
                                      [RCPT] = "250",     [DATA] = "354", [CONTENT] = "250" };

struct client {
    int fd;
    enum step step;
    bool waits_to_write;
    unsigned number; /* of its message */
    double begun;
    const char *out;
    size_t out_n;
    char command[128], in[LINE];
    size_t in_n;
};

static struct {
    unsigned port, connections, messages, size, users, seconds;
    unsigned started, accepted, failed;
    int epoll;
    char *pool[POOL];
    size_t pool_n[POOL];
    double *latency, end;
} load = { .connections = 1, .messages = 1000, .size = 2048, .users = 1000, .seconds = 120 };

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "smtp_load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const char header[] =
    "Received: from relay1.example.net (relay1.example.net [192.0.2.17])\r\n"
    "\tby mx1.example.com (Postfix) with ESMTPS id 4F1C2A9B3D\r\n"
    "\tfor <user@example.com>; Thu, 2 Jan 2020 03:04:05 +0000 (UTC)\r\n"
    "Received: from client.example.org (client.example.org [198.51.100.4])\r\n"
    "\tby relay1.example.net with ESMTPSA id 77AB01; Thu, 2 Jan 2020 03:04:04 +0000 (UTC)\r\n"
    "Date: Thu, 2 Jan 2020 03:04:03 +0000\r\n"
    "From: Grace Clarke <g.clarke@example.org>\r\n"
    "To: =?utf-8?B?TcO8bGxlcg==?= Walker <m.walker@example.com>, Ivan Hall <i.hall@example.net>\r\n"
    "Subject: Re: minutes of the quarterly delivery meeting\r\n"
    "Message-ID: <%08x.%u@client.example.org>\r\n"
    "In-Reply-To: <4e3f9a77.12@host12.example.com>\r\n"
    "References: <4e3f9a77.12@host12.example.com>\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:102.0) Thunderbird/102.3\r\n"
    "MIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=us-ascii\r\n"
    "Content-Transfer-Encoding: 7bit\r\n\r\n";

/* A message of about load.size bytes, the dot that ends it included. No line starts with a dot. */
static void make_message(unsigned n)
{
    static const char *const words[] = { "the ",      "report ", "of ",     "this ",   "week ",   "and ",
                                         "delivery ", "was ",    "not ",    "yet ",    "please ", "schedule ",
                                         "answer ",   "before ", "monday ", "table ",  "to ",     "database " };
    size_t max = load.size + sizeof(header) + 256;
    char *p = malloc(max);
    if (!p)
        fail("memory");
    size_t at = (size_t)snprintf(p, max, header, n * 2654435761u, n);
    for (unsigned k = n; at + 80 < load.size;) {
        for (size_t line = at; at - line < 64;) {
            k = k * 1103515245u + 12345;
            const char *word = words[(k >> 16) % (sizeof(words) / sizeof(*words))];
            memcpy(p + at, word, strlen(word));
            at += strlen(word);
        }
        memcpy(p + at, "\r\n", 2);
        at += 2;
    }
    static const char end[] = "-- \r\n.\r\n";
    memcpy(p + at, end, sizeof(end) - 1);
    load.pool[n] = p;
    load.pool_n[n] = at + sizeof(end) - 1;
}

static void watch(struct client *c, bool write)
{
    struct epoll_event e = { .events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c };
    if (epoll_ctl(load.epoll, EPOLL_CTL_MOD, c->fd, &e) < 0)
        fail("epoll_ctl");
    c->waits_to_write = write;
}

static void finish(struct client *c)
{
    if (c->step == CLOSED)
        return;
    if (c->step >= MAIL && c->step <= CONTENT)
        load.failed++;
    close(c->fd);
    c->step = CLOSED;
}

static void push(struct client *c)
{
    while (c->out_n) {
        ssize_t n = send(c->fd, c->out, c->out_n, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            finish(c);
            return;
        }
        c->out += n;
        c->out_n -= (size_t)n;
    }
    if (c->waits_to_write != (c->out_n > 0))
        watch(c, c->out_n > 0);
}

static void say(struct client *c, enum step step, int length)
{
    c->step = step;
    c->out = c->command;
    c->out_n = (size_t)length;
}

static void next_message(struct client *c)
{
    if (load.started >= load.messages) {
        c->step = IDLE;
        return;
    }
    c->number = load.started++;
    c->begun = now();
    say(c, MAIL, snprintf(c->command, sizeof(c->command), "MAIL FROM:<sender@example.com>\r\n"));
}

static void next_step(struct client *c)
{
    switch (c->step) {
    case GREETING:
        say(c, EHLO, snprintf(c->command, sizeof(c->command), "EHLO load.example.com\r\n"));
        break;
    case MAIL:
        say(c, RCPT, snprintf(c->command, sizeof(c->command), "RCPT TO:<u%u@bench.test>\r\n", c->number % load.users));
        break;
    case RCPT:
        say(c, DATA, snprintf(c->command, sizeof(c->command), "DATA\r\n"));
        break;
    case DATA:
        c->step = CONTENT;
        c->out = load.pool[c->number % POOL];
        c->out_n = load.pool_n[c->number % POOL];
        break;
    case CONTENT:
        load.end = now();
        load.latency[load.accepted++] = load.end - c->begun;
        next_message(c);
        break;
    default:
        next_message(c);
    }
}

/* One line of a reply; the last one has no hyphen after its code (RFC 5321 4.2.1). */
static void take_line(struct client *c, const char *line, size_t n)
{
    if ((n > 3 && line[3] == '-') || c->step >= IDLE)
        return;
    if (n >= 3 && memcmp(line, wanted[c->step], 3) == 0) {
        next_step(c);
        return;
    }
    if (load.failed < 3)
        fprintf(stderr, "smtp_load: step %d was answered %.*s\n", (int)c->step, (int)n, line);
    finish(c);
}

static void pull(struct client *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_n, sizeof(c->in) - c->in_n, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        finish(c);
        return;
    }
    c->in_n += (size_t)n;
    size_t at = 0;
    for (char *end; c->step != CLOSED && (end = memchr(c->in + at, '\n', c->in_n - at)); ) {
        *end = 0;
        take_line(c, c->in + at, (size_t)(end - c->in) - at);
        at = (size_t)(end - c->in) + 1;
    }
    c->in_n -= at;
    memmove(c->in, c->in + at, c->in_n);
    if (c->in_n == sizeof(c->in))
        finish(c);
}

static void open_connection(struct client *c)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)load.port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(c->fd, (const struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
        fail("connect");
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
        fail("epoll_ctl");
}

static void run(double until)
{
    struct epoll_event events[BATCH];
    while (load.accepted + load.failed < load.messages && now() < until) {
        int n = epoll_wait(load.epoll, events, BATCH, 100);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c->step != CLOSED && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
                pull(c);
            if (c->step != CLOSED)
                push(c);
        }
    }
}

/* Says QUIT on what is still open and waits a second at most for the server to close it. */
static void part(struct client *clients)
{
    struct epoll_event events[BATCH];
    unsigned open = 0;
    for (unsigned i = 0; i < load.connections; i++) {
        struct client *c = &clients[i];
        if (c->step == IDLE && send(c->fd, "QUIT\r\n", 6, MSG_NOSIGNAL) == 6)
            open++;
        else
            finish(c);
    }
    for (double until = now() + 1; open && now() < until;) {
        int n = epoll_wait(load.epoll, events, BATCH, 100);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            pull(c);
            open -= c->step == CLOSED;
        }
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile_ms(double q)
{
    return load.accepted ? load.latency[(size_t)(q * (double)(load.accepted - 1) + 0.5)] * 1e3 : 0;
}

static void print_result(double start)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    qsort(load.latency, load.accepted, sizeof(*load.latency), by_value);
    printf("{\"start\": %.6f, \"end\": %.6f, \"accepted\": %u, \"failed\": %u, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"cpu_s\": %.3f}\n", start, load.end, load.accepted, load.messages - load.accepted, quantile_ms(.5),
           quantile_ms(.99), (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6);
}

int main(int argc, char **argv)
{
    unsigned *const values[] = { ['p'] = &load.port, ['c'] = &load.connections, ['m'] = &load.messages,
                                 ['s'] = &load.size, ['u'] = &load.users, ['l'] = &load.seconds };
    for (int o; (o = getopt(argc, argv, "p:c:m:s:u:l:")) != -1;) {
        if (o == '?')
            return 2;
        *values[o] = (unsigned)strtoul(optarg, NULL, 10);
    }
    if (!load.port || load.port > 65535 || !load.connections || load.connections > MAX_CONNECTIONS || !load.messages ||
        !load.users || load.size > 64 << 20) {
        fprintf(stderr, "usage: smtp_load -p PORT [-c CONNECTIONS] [-m MESSAGES] [-s BYTES] [-u USERS] [-l SECONDS]\n");
        return 2;
    }
    for (unsigned i = 0; i < POOL; i++)
        make_message(i);
    struct client *clients = calloc(load.connections, sizeof(*clients));
    load.latency = calloc(load.messages, sizeof(*load.latency));
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || !load.latency || load.epoll < 0)
        fail("set-up");
    double start = load.end = now();
    for (unsigned i = 0; i < load.connections; i++)
        open_connection(&clients[i]);
    run(start + load.seconds);
    part(clients);
    print_result(start);
    return load.accepted == load.messages ? 0 : 1;
}
