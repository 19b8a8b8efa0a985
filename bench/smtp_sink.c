/* smtp_sink: an SMTP server on 127.0.0.1 that accepts all mail and throws it away, for measuring what is sent to it.
 *
 *     smtp_sink -p PORT [-d MS]
 *
 * One process, one epoll loop. Prints a line when it listens. Each number on its standard input begins a round of so
 * many messages (what came before is forgotten), and the end of a round is one JSON object: `first` and `last` are
 * CLOCK_MONOTONIC, when the replies to the first and the last content were given; `connections` is how many carried a
 * message. A number given before the end of a round ends it. The end of standard input is the end of the program.
 * -d: the reply to content comes so much later. */
#include <arpa/inet.h>
#include <errno.h>
#include <net.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BACKLOG = 4096, IN_MAX = 65536, OUT_MAX = 4096, LATE_MAX = 65536 };

/* Where in CRLF "." CRLF the content stands. */
enum place { ELSEWHERE, CR, LINE, DOT, DOT_CR, THE_END };

struct peer {
    int fd;
    bool data, waits, gone; /* waits: for the time of its reply */
    enum place place;
    unsigned recipients, round;
    size_t in_n, out_n;
    char in[IN_MAX], out[OUT_MAX];
};

struct late { struct peer *peer; double at; }; /* a reply to come */

static struct {
    unsigned port, delay_ms, wanted, round;
    int epoll, listener;
    bool stop;
    unsigned long messages, bytes, connections;
    double first, last, cpu;
    char input[64];
    size_t input_n;
    struct late late[LATE_MAX];
    unsigned late_first, late_n;
} sink;

static void reply(struct peer *p, const char *text)
{
    size_t n = strlen(text);
    if (p->out_n + n > OUT_MAX) {
        p->gone = true; /* more commands at once than anybody has reason to send */
        return;
    }
    memcpy(p->out + p->out_n, text, n);
    p->out_n += n;
}

static void push(struct peer *p)
{
    while (p->out_n && !p->gone) {
        ssize_t n = send(p->fd, p->out, p->out_n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { /* replies that a socket has no room for: nobody reads them */
            p->gone = true;
            return;
        }
        p->out_n -= (size_t)n;
        memmove(p->out, p->out + n, p->out_n);
    }
}

static void end_round(void)
{
    printf("{\"messages\": %lu, \"bytes\": %lu, \"connections\": %lu, \"first\": %.6f, \"last\": %.6f, "
           "\"cpu_s\": %.3f}\n", sink.messages, sink.bytes, sink.connections, sink.first, sink.last,
           net_cpu() - sink.cpu);
    fflush(stdout);
    sink.wanted = 0;
}

static void begin_round(unsigned wanted)
{
    if (sink.wanted)
        end_round();
    sink.wanted = wanted;
    sink.round++;
    sink.messages = sink.bytes = sink.connections = 0;
    sink.first = sink.last = 0;
    sink.cpu = net_cpu();
}

static void accepted(struct peer *p)
{
    sink.last = net_now();
    if (sink.messages++ == 0)
        sink.first = sink.last;
    sink.connections += p->round != sink.round;
    p->round = sink.round;
    reply(p, "250 2.0.0 Ok\r\n");
    if (sink.messages == sink.wanted)
        end_round();
}

static void content_ended(struct peer *p)
{
    p->data = false;
    if (!sink.delay_ms) {
        accepted(p);
        return;
    }
    if (sink.late_n == LATE_MAX) {
        p->gone = true;
        return;
    }
    p->waits = true;
    sink.late[(sink.late_first + sink.late_n++) % LATE_MAX] = (struct late){ p, net_now() + sink.delay_ms * 1e-3 };
}

static enum place after(enum place place, char c)
{
    if (c == '\r')
        return place == DOT ? DOT_CR : CR;
    if (c == '\n' && (place == CR || place == DOT_CR))
        return place == CR ? LINE : THE_END;
    return c == '.' && place == LINE ? DOT : ELSEWHERE;
}

/* How much of it is content. */
static size_t take_content(struct peer *p, const char *from, size_t n)
{
    for (size_t i = 0; i < n;) {
        const char *cr = p->place == ELSEWHERE ? memchr(from + i, '\r', n - i) : from + i;
        if (!cr)
            break;
        i = (size_t)(cr - from);
        p->place = after(p->place, from[i++]);
        if (p->place == THE_END) {
            sink.bytes += i;
            content_ended(p);
            return i;
        }
    }
    sink.bytes += n;
    return n;
}

static void take_command(struct peer *p, const char *line)
{
    if (strncasecmp(line, "EHLO", 4) == 0) {
        reply(p, "250-sink.example.com\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n"
                 "250 SIZE 100000000\r\n");
    } else if (strncasecmp(line, "RCPT", 4) == 0) {
        p->recipients++;
        reply(p, "250 2.1.5 Ok\r\n");
    } else if (strncasecmp(line, "DATA", 4) == 0 && p->recipients) {
        p->recipients = 0;
        p->data = true;
        p->place = LINE;
        reply(p, "354 go on\r\n");
    } else if (strncasecmp(line, "QUIT", 4) == 0) {
        reply(p, "221 2.0.0 Bye\r\n");
        push(p);
        p->gone = true;
    } else if (strncasecmp(line, "MAIL", 4) == 0 || strncasecmp(line, "HELO", 4) == 0 ||
               strncasecmp(line, "RSET", 4) == 0 || strncasecmp(line, "NOOP", 4) == 0) {
        p->recipients = 0;
        reply(p, "250 2.0.0 Ok\r\n");
    } else {
        reply(p, "502 5.5.2 Not here\r\n");
    }
}

static void take_input(struct peer *p)
{
    size_t at = 0;
    while (at < p->in_n && !p->waits && !p->gone) {
        if (p->data) {
            at += take_content(p, p->in + at, p->in_n - at);
            continue;
        }
        char *end = memchr(p->in + at, '\n', p->in_n - at);
        if (!end)
            break;
        *end = 0;
        take_command(p, p->in + at);
        at = (size_t)(end - p->in) + 1;
    }
    p->in_n -= at;
    memmove(p->in, p->in + at, p->in_n);
    push(p);
}

static void drop(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    p->gone = true;
    if (!p->waits)
        free(p);
}

static void ready(struct peer *p)
{
    ssize_t n = p->in_n < IN_MAX ? recv(p->fd, p->in + p->in_n, IN_MAX - p->in_n, 0) : -1;
    if (n == 0 || (n < 0 && p->in_n < IN_MAX && errno != EAGAIN && errno != EINTR))
        p->gone = true;
    if (n > 0) {
        p->in_n += (size_t)n;
        take_input(p);
    }
    if (p->gone)
        drop(p);
}

static void accept_all(void)
{
    int on = 1;
    for (int fd; (fd = accept4(sink.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct peer *p = malloc(sizeof(*p));
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = p };
        if (!p)
            net_fail("memory");
        p->fd = fd;
        p->data = p->waits = p->gone = false;
        p->recipients = p->round = 0;
        p->in_n = p->out_n = 0;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (epoll_ctl(sink.epoll, EPOLL_CTL_ADD, fd, &e) < 0)
            net_fail("epoll_ctl");
        reply(p, "220 sink.example.com ESMTP\r\n");
        push(p);
    }
}

static void reply_late(void)
{
    while (sink.late_n && sink.late[sink.late_first].at <= net_now()) {
        struct peer *p = sink.late[sink.late_first].peer;
        sink.late_first = (sink.late_first + 1) % LATE_MAX;
        sink.late_n--;
        p->waits = false;
        if (!p->gone) {
            accepted(p);
            take_input(p);
        }
        if (p->gone)
            drop(p);
    }
}

/* Numbers, one a line. */
static void read_input(void)
{
    ssize_t n = read(STDIN_FILENO, sink.input + sink.input_n, sizeof(sink.input) - sink.input_n);
    if (n <= 0) {
        sink.stop = true;
        return;
    }
    sink.input_n += (size_t)n;
    for (char *end; (end = memchr(sink.input, '\n', sink.input_n));) {
        *end = 0;
        begin_round((unsigned)strtoul(sink.input, NULL, 10));
        sink.input_n -= (size_t)(end + 1 - sink.input);
        memmove(sink.input, end + 1, sink.input_n);
    }
}

static void begin(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)sink.port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct epoll_event listening = { .events = EPOLLIN, .data.ptr = &sink }, input = { .events = EPOLLIN };
    int on = 1;
    sink.epoll = epoll_create1(EPOLL_CLOEXEC);
    sink.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(sink.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(sink.listener, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(sink.listener, BACKLOG) < 0)
        net_fail("listening");
    if (epoll_ctl(sink.epoll, EPOLL_CTL_ADD, sink.listener, &listening) < 0 ||
        epoll_ctl(sink.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0)
        net_fail("epoll_ctl");
    printf("{\"ready\": %u}\n", sink.port);
    fflush(stdout);
}

static void run(void)
{
    struct epoll_event events[EVENTS];
    while (!sink.stop) {
        int n = epoll_wait(sink.epoll, events, EVENTS, sink.late_n ? 1 : -1);
        for (int i = 0; i < n && !sink.stop; i++) {
            if (!events[i].data.ptr)
                read_input();
            else if (events[i].data.ptr == &sink)
                accept_all();
            else
                ready(events[i].data.ptr);
        }
        reply_late();
    }
}

int main(int argc, char **argv)
{
    unsigned *const values[] = { ['p'] = &sink.port, ['d'] = &sink.delay_ms };
    for (int o; (o = getopt(argc, argv, "p:d:")) != -1 && o != '?';)
        *values[o] = (unsigned)strtoul(optarg, NULL, 10);
    if (!sink.port || sink.port > 65535) {
        fprintf(stderr, "usage: smtp_sink -p PORT [-d MS]\n");
        return 2;
    }
    net_init();
    begin();
    run();
    return 0;
}
