/* smtp_load: sends messages to an SMTP server on 127.0.0.1 as fast as it answers, for measuring.
 *
 *     smtp_load -p PORT [-c CONNECTIONS] [-m MESSAGES] [-s BYTES] [-u USERS] [-l SECONDS] [-k MESSAGES_A_CONNECTION]
 *               [-t starttls|implicit] [-a USER:PASSWORD] [-f SENDER] [-d DOMAIN] [-L]
 *     smtp_load -H -p PORT -c CONNECTIONS [-t starttls|implicit]
 *
 * One process, one epoll loop. Each connection sends one message after the other (no pipelining: every command waits
 * for its reply, as most clients do), message n to u(n mod USERS)@DOMAIN (bench.test). With -k a connection ends with
 * QUIT after so many, and the next one is opened. -L speaks LMTP. It stops when MESSAGES were answered or after
 * SECONDS and prints one JSON object; `start` and `end` are CLOCK_MONOTONIC, from the first connect to the last reply
 * to a message; a latency is that of a message from MAIL FROM, or with -k from the connect for the first of a
 * connection. The exit status is 0 if every message was accepted.
 *
 * With -H it opens connections, each from an address of its own, up to the reply to EHLO (that after STARTTLS), prints
 * a line, keeps them until its standard input ends, and prints how many are still open. */
#include <net.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { POOL = 64, MAX_CONNECTIONS = 15000, LINE = 1024, OPENING_MAX = 64 };
enum tls { TLS_NONE, TLS_STARTTLS, TLS_IMPLICIT };

/* What the last line sent was; its reply decides what comes next. */
enum step { GREETING, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, CONTENT, QUIT, IDLE, CLOSED };

/* The code that lets a connection go on. */
static const char *const wanted[] = { [GREETING] = "220", [EHLO] = "250", [STARTTLS] = "220",
                                      [AUTH] = "235",     [MAIL] = "250", [RCPT] = "250",
                                      [DATA] = "354",     [CONTENT] = "250", [QUIT] = "221" };

struct client {
    struct net net;
    enum step step;
    bool logged_in;
    unsigned number, sent; /* of its message; messages of this connection */
    double begun;
    char command[512], in[LINE];
};

static struct {
    unsigned port, connections, messages, size, users, seconds, a_connection;
    enum tls tls;
    bool hold, lmtp;
    const char *sender, *domain;
    char auth[400]; /* the initial response of AUTH PLAIN, "": none */
    unsigned started, accepted, failed, opened, ready;
    char *pool[POOL];
    size_t pool_n[POOL];
    double *latency, end;
    struct client *clients;
} load = { .connections = 1, .messages = 1000, .size = 2048, .users = 1000, .seconds = 120,
           .sender = "sender@example.com", .domain = "bench.test" };

static const char header[] =
    "Received: from relay1.example.net (relay1.example.net [192.0.2.17])\r\n"
    "\tby mx1.example.com (Postfix) with ESMTPS id 4F1C2A9B3D\r\n"
    "\tfor <user@example.com>; Thu, 2 Jan 2020 03:04:05 +0000 (UTC)\r\n"
    "Received: from client.example.org (client.example.org [198.51.100.4])\r\n"
    "\tby relay1.example.net with ESMTPSA id 77AB01; Thu, 2 Jan 2020 03:04:04 +0000 (UTC)\r\n"
    "Date: Thu, 2 Jan 2020 03:04:03 +0000\r\n"
    "From: Grace Clarke <%s>\r\n"
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
    size_t max = load.size + sizeof(header) + 512;
    char *p = malloc(max);
    if (!p)
        net_fail("memory");
    size_t at = (size_t)snprintf(p, max, header, load.sender, n * 2654435761u, n);
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

static void open_client(struct client *c)
{
    c->step = GREETING;
    c->sent = 0;
    c->logged_in = false;
    c->begun = net_now();
    c->net = (struct net){ .in = c->in, .in_cap = sizeof(c->in), .owner = c };
    net_open(&c->net, load.port, load.hold ? ++load.opened : 0);
    if (load.tls == TLS_IMPLICIT)
        net_start_tls(&c->net);
}

static void finish(struct client *c)
{
    if (c->step == CLOSED)
        return;
    bool again = c->step == QUIT && load.started < load.messages && !load.hold;
    if (c->step >= MAIL && c->step <= CONTENT)
        load.failed++;
    else if (c->step < MAIL && !load.hold)
        load.failed = load.messages; /* no way in: nothing would end this */
    net_close(&c->net);
    c->step = CLOSED;
    if (again)
        open_client(c);
}

static void say(struct client *c, enum step step, int length)
{
    c->step = step;
    c->net.out = c->command;
    c->net.out_n = (size_t)length;
}

static void quit(struct client *c)
{
    say(c, QUIT, snprintf(c->command, sizeof(c->command), "QUIT\r\n"));
}

static void next_message(struct client *c)
{
    if (load.a_connection && c->sent == load.a_connection) {
        quit(c);
        return;
    }
    if (load.started >= load.messages || load.hold) {
        c->step = IDLE;
        load.ready++;
        return;
    }
    c->number = load.started++;
    if (!load.a_connection || c->sent)
        c->begun = net_now();
    c->sent++;
    say(c, MAIL, snprintf(c->command, sizeof(c->command), "MAIL FROM:<%s>\r\n", load.sender));
}

static void after_ehlo(struct client *c)
{
    if (load.tls == TLS_STARTTLS && !c->net.ssl)
        say(c, STARTTLS, snprintf(c->command, sizeof(c->command), "STARTTLS\r\n"));
    else if (load.auth[0] && !c->logged_in)
        say(c, AUTH, snprintf(c->command, sizeof(c->command), "AUTH PLAIN %s\r\n", load.auth));
    else
        next_message(c);
}

static void next_step(struct client *c)
{
    switch (c->step) {
    case STARTTLS:
        net_start_tls(&c->net);
        /* fall through */
    case GREETING:
        say(c, EHLO, snprintf(c->command, sizeof(c->command), "%s load.example.com\r\n", load.lmtp ? "LHLO" : "EHLO"));
        break;
    case EHLO:
        after_ehlo(c);
        break;
    case AUTH:
        c->logged_in = true;
        next_message(c);
        break;
    case MAIL:
        say(c, RCPT, snprintf(c->command, sizeof(c->command), "RCPT TO:<u%u@%s>\r\n", c->number % load.users,
                              load.domain));
        break;
    case RCPT:
        say(c, DATA, snprintf(c->command, sizeof(c->command), "DATA\r\n"));
        break;
    case DATA:
        c->step = CONTENT;
        c->net.out = load.pool[c->number % POOL];
        c->net.out_n = load.pool_n[c->number % POOL];
        break;
    case CONTENT:
        load.end = net_now();
        load.latency[load.accepted++] = load.end - c->begun;
        next_message(c);
        break;
    default:
        break;
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

static void take_lines(struct client *c)
{
    size_t at = 0;
    for (char *end; c->step != CLOSED && (end = memchr(c->in + at, '\n', c->net.in_n - at));) {
        *end = 0;
        take_line(c, c->in + at, (size_t)(end - c->in) - at);
        at = (size_t)(end - c->in) + 1;
    }
    if (c->step == CLOSED)
        return;
    c->net.in_n -= at;
    memmove(c->in, c->in + at, c->net.in_n);
}

static void ready(void *owner)
{
    struct client *c = owner;
    enum net_got got;
    do { /* what TLS has decrypted, epoll does not announce */
        got = net_pull(&c->net);
        if (got == NET_INPUT)
            take_lines(c);
        if (c->step != CLOSED && (got == NET_END || !net_push(&c->net)))
            finish(c);
    } while (got == NET_INPUT && c->net.ssl && c->step != CLOSED);
}

static void run(double until)
{
    for (unsigned i = 0; i < load.connections; i++)
        open_client(&load.clients[i]);
    while (load.accepted + load.failed < load.messages && net_now() < until)
        net_wait(ready);
}

static bool said_goodbye(void)
{
    for (unsigned i = 0; i < load.connections; i++)
        if (load.clients[i].step == QUIT)
            return false;
    return true;
}

/* Says QUIT on what is still open and waits a second at most for the server to close it. */
static void part(void)
{
    for (unsigned i = 0; i < load.connections; i++) {
        struct client *c = &load.clients[i];
        if (c->step == IDLE) {
            quit(c);
            net_push(&c->net);
        } else if (c->step != QUIT) {
            finish(c);
        }
    }
    for (double until = net_now() + 1; !said_goodbye() && net_now() < until;)
        net_wait(ready);
}

/* Not more at a time than a server's queue of new connections takes. */
static int hold(double until)
{
    double start = net_now();
    unsigned open = 0;
    for (unsigned next = 0; load.ready < load.connections && net_now() < until;) {
        while (next < load.connections && next - load.ready < OPENING_MAX)
            open_client(&load.clients[next++]);
        net_wait(ready);
    }
    printf("{\"ready\": %u, \"seconds\": %.3f, \"cpu_s\": %.3f}\n", load.ready, net_now() - start, net_cpu());
    fflush(stdout);
    for (char c; read(STDIN_FILENO, &c, 1) > 0;)
        ;
    for (unsigned i = 0; i < load.connections; i++) {
        struct pollfd p = { .fd = load.clients[i].net.fd, .events = POLLRDHUP };
        open += load.clients[i].step == IDLE && poll(&p, 1, 0) == 0;
    }
    printf("{\"open\": %u}\n", open);
    return load.ready == load.connections && open == load.connections ? 0 : 1;
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
    qsort(load.latency, load.accepted, sizeof(*load.latency), by_value);
    printf("{\"start\": %.6f, \"end\": %.6f, \"accepted\": %u, \"failed\": %u, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"cpu_s\": %.3f}\n", start, load.end, load.accepted, load.messages - load.accepted, quantile_ms(.5),
           quantile_ms(.99), net_cpu());
}

/* RFC 4616: no authorization identity, user, password; in base64. */
static void set_auth(const char *user_password)
{
    unsigned char plain[256];
    size_t n = strlen(user_password);
    const char *colon = strchr(user_password, ':');
    if (!colon || n + 1 > sizeof(plain)) {
        fprintf(stderr, "smtp_load: -a wants USER:PASSWORD\n");
        exit(2);
    }
    plain[0] = 0;
    memcpy(plain + 1, user_password, n);
    plain[1 + (colon - user_password)] = 0;
    EVP_EncodeBlock((unsigned char *)load.auth, plain, (int)n + 1);
}

static bool options(int argc, char **argv)
{
    unsigned *const values[] = { ['p'] = &load.port, ['c'] = &load.connections, ['m'] = &load.messages,
                                 ['s'] = &load.size, ['u'] = &load.users, ['l'] = &load.seconds,
                                 ['k'] = &load.a_connection };
    for (int o; (o = getopt(argc, argv, "p:c:m:s:u:l:k:t:a:f:d:HL")) != -1;) {
        if (o == '?')
            return false;
        if (o == 't')
            load.tls = strcmp(optarg, "implicit") == 0 ? TLS_IMPLICIT : TLS_STARTTLS;
        else if (o == 'a')
            set_auth(optarg);
        else if (o == 'f')
            load.sender = optarg;
        else if (o == 'd')
            load.domain = optarg;
        else if (o == 'H')
            load.hold = true;
        else if (o == 'L')
            load.lmtp = true;
        else
            *values[o] = (unsigned)strtoul(optarg, NULL, 10);
    }
    return load.port && load.port <= 65535 && load.connections && load.connections <= MAX_CONNECTIONS &&
           load.messages && load.users && load.size <= 64 << 20 && strlen(load.sender) < 200 &&
           strlen(load.domain) < 200;
}

int main(int argc, char **argv)
{
    if (!options(argc, argv)) {
        fprintf(stderr, "usage: smtp_load -p PORT [-c CONNECTIONS] [-m MESSAGES] [-s BYTES] [-u USERS] [-l SECONDS] "
                        "[-k MESSAGES_A_CONNECTION] [-t starttls|implicit] [-a USER:PASSWORD] [-f SENDER] [-d DOMAIN] "
                        "[-L] [-H]\n");
        return 2;
    }
    net_init();
    for (unsigned i = 0; i < POOL; i++)
        make_message(i);
    load.clients = calloc(load.connections, sizeof(*load.clients));
    load.latency = calloc(load.messages, sizeof(*load.latency));
    if (!load.clients || !load.latency)
        net_fail("set-up");
    double start = load.end = net_now();
    if (load.hold)
        return hold(start + load.seconds);
    run(start + load.seconds);
    part();
    print_result(start);
    return load.accepted == load.messages ? 0 : 1;
}
