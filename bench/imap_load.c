/* imap_load: gives commands to an IMAP server on 127.0.0.1, for measuring.
 *
 *     imap_load -p PORT -a USER:PASSWORD [-t starttls|implicit] [-m MAILBOX] [-c CONNECTIONS] [-u USERS]
 *               [-n COMMANDS] [-s SESSIONS] [-l SECONDS] [COMMAND]
 *     imap_load -A BYTES …     each command is an APPEND of a message of about that size
 *     imap_load -H …           IDLE
 *
 * Each connection logs in, selects MAILBOX (INBOX; not for APPEND, nor without a COMMAND), says COMMAND that often,
 * one after the other, logs out, and does the same again until it had SESSIONS of them. `%d` in USER is the number of
 * the connection modulo USERS; in COMMAND, `%i` is the number of the command, beginning with 1 behind the last message.
 * Without COMMAND a session is the log-in alone. Prints one JSON object: `start` and `end` are CLOCK_MONOTONIC, from
 * the first command (without COMMAND: the first connect) to the last answer; `bytes` are those received in answer to
 * commands. The exit status is 0 if every answer was OK.
 *
 * With -H it opens connections, each from an address of its own, up to the `+` of IDLE, prints a line, keeps them until
 * its standard input ends, and prints how many are still open. */
#include <net.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INPUT = 1 << 18, MAX_CONNECTIONS = 15000, COMMAND = 512, HEAD = 96, TAIL = 24, OPENING_MAX = 64 };
enum tls { TLS_NONE, TLS_STARTTLS, TLS_IMPLICIT };
/* What was said last. CONTENT: the message that an APPEND announced. */
enum step { GREETING, STARTTLS, LOGIN, SELECT, SAY, CONTENT, IDLE, LOGOUT, CLOSED };

struct client {
    struct net net;
    enum step step;
    unsigned number, sessions, said, tag;
    unsigned long messages, literal; /* in the mailbox; bytes that are left of a literal */
    double begun;
    char command[COMMAND];
    size_t line_n; /* of a line that came in pieces: its beginning and its end */
    char head[HEAD], tail[TAIL];
};

static struct {
    unsigned port, connections, users, commands, sessions, seconds, append;
    enum tls tls;
    bool hold;
    const char *command, *mailbox, *password;
    char user[256];
    unsigned answered, failed, ready, opened, closed;
    unsigned long long bytes, untagged;
    double start, end, *latency;
    char *message;
    size_t message_n;
    struct client *clients;
} load = { .connections = 1, .users = 16, .commands = 1, .sessions = 1, .seconds = 120, .mailbox = "INBOX" };

static char input[INPUT]; /* of the connection whose turn it is: what is read is used at once */

static void say(struct client *c, enum step step, const char *text)
{
    c->step = step;
    c->begun = net_now();
    c->net.out = c->command;
    c->net.out_n = (size_t)snprintf(c->command, sizeof(c->command), "a%u %s\r\n", ++c->tag, text);
    if (c->net.out_n >= sizeof(c->command)) {
        fprintf(stderr, "imap_load: the command is too long\n");
        exit(2);
    }
}

static void open_client(struct client *c)
{
    c->step = GREETING;
    c->said = c->tag = 0;
    c->literal = c->line_n = 0;
    c->net = (struct net){ .in = input, .in_cap = sizeof(input), .owner = c };
    net_open(&c->net, load.port, load.hold ? ++load.opened : 0);
    if (load.tls == TLS_IMPLICIT)
        net_start_tls(&c->net);
}

static void finish(struct client *c)
{
    net_close(&c->net);
    bool whole = c->step == LOGOUT;
    if (whole && !load.command && !load.append)
        load.answered++;
    if (!whole)
        load.failed++;
    load.end = net_now();
    if (whole && ++c->sessions < load.sessions) {
        open_client(c);
        return;
    }
    c->step = CLOSED;
    load.closed++;
}

static void log_in(struct client *c)
{
    char user[300], text[COMMAND];
    const char *at = strstr(load.user, "%d");
    if (at)
        snprintf(user, sizeof(user), "%.*s%u%s", (int)(at - load.user), load.user, c->number % load.users, at + 2);
    else
        snprintf(user, sizeof(user), "%s", load.user);
    snprintf(text, sizeof(text), "LOGIN \"%s\" \"%s\"", user, load.password);
    say(c, LOGIN, text);
}

static void next_command(struct client *c)
{
    char text[COMMAND];
    if (load.hold) {
        say(c, IDLE, "IDLE");
        return;
    }
    if (c->said == load.commands || (!load.command && !load.append)) {
        say(c, LOGOUT, "LOGOUT");
        return;
    }
    if (load.start == 0)
        load.start = net_now();
    unsigned long number = c->messages ? 1 + c->said % c->messages : 1;
    c->said++;
    if (load.append) {
        snprintf(text, sizeof(text), "APPEND \"%s\" (\\Seen) {%zu}", load.mailbox, load.message_n);
        say(c, CONTENT, text);
        return;
    }
    const char *at = strstr(load.command, "%i");
    if (at)
        snprintf(text, sizeof(text), "%.*s%lu%s", (int)(at - load.command), load.command, number, at + 2);
    else
        snprintf(text, sizeof(text), "%s", load.command);
    say(c, SAY, text);
}

static void logged_in(struct client *c)
{
    char text[COMMAND];
    if (load.append || (!load.command && !load.hold)) {
        next_command(c);
        return;
    }
    snprintf(text, sizeof(text), "SELECT \"%s\"", load.mailbox);
    say(c, SELECT, text);
}

static void take_ok(struct client *c)
{
    switch (c->step) {
    case GREETING:
        if (load.tls == TLS_STARTTLS)
            say(c, STARTTLS, "STARTTLS");
        else
            log_in(c);
        break;
    case STARTTLS:
        net_start_tls(&c->net);
        log_in(c);
        break;
    case LOGIN:
        logged_in(c);
        break;
    case SELECT:
        next_command(c);
        break;
    case SAY:
    case CONTENT:
        load.end = net_now();
        load.latency[load.answered++] = load.end - c->begun;
        next_command(c);
        break;
    default:
        break; /* LOGOUT: the server closes */
    }
}

static void take_continuation(struct client *c)
{
    if (c->step == IDLE) {
        load.ready++;
    } else if (c->step == CONTENT) {
        c->net.out = load.message;
        c->net.out_n = load.message_n + 2;
    }
}

/* `head` begins with the line, `tail` ends with it; a longer one is not needed in between. */
static void take_line(struct client *c, const char *head, size_t head_n, const char *tail, size_t tail_n)
{
    char line[HEAD + 1], tag[16];
    size_t n = head_n < HEAD ? head_n : HEAD;
    bool untagged = n > 1 && head[0] == '*' && head[1] == ' ' && c->step != GREETING && c->step != SELECT;
    load.untagged += untagged;
    if (tail_n > 3 && memcmp(tail + tail_n - 3, "}\r\n", 3) == 0) {
        const char *open = memrchr(tail, '{', tail_n);
        if (open) {
            c->literal = strtoul(open + 1, NULL, 10);
            return;
        }
    }
    if (untagged)
        return;
    memcpy(line, head, n);
    line[n] = 0;
    if (c->step == SELECT && strncmp(line, "* ", 2) == 0 && strstr(line, " EXISTS"))
        c->messages = strtoul(line + 2, NULL, 10);
    int tag_n = snprintf(tag, sizeof(tag), "a%u ", c->tag);
    bool greeting = c->step == GREETING && strncmp(line, "* OK", 4) == 0;
    if (line[0] == '+')
        take_continuation(c);
    else if (greeting || (strncmp(line, tag, (size_t)tag_n) == 0 && strncmp(line + tag_n, "OK", 2) == 0))
        take_ok(c);
    else if (c->step == GREETING || strncmp(line, tag, (size_t)tag_n) == 0) {
        fprintf(stderr, "imap_load: step %d was answered %s", (int)c->step, line);
        c->step = CLOSED;
    }
}

/* Keeps what a line begins with and ends with so far. */
static void keep(struct client *c, const char *p, size_t n)
{
    if (c->line_n < HEAD) {
        size_t k = n < HEAD - c->line_n ? n : HEAD - c->line_n;
        memcpy(c->head + c->line_n, p, k);
    }
    size_t had = c->line_n < TAIL ? c->line_n : TAIL, k = n < TAIL ? n : TAIL;
    size_t stay = had < TAIL - k ? had : TAIL - k;
    memmove(c->tail, c->tail + had - stay, stay);
    memcpy(c->tail + stay, p + n - k, k);
    c->line_n += n;
}

static void take_input(struct client *c)
{
    const char *p = input, *end = input + c->net.in_n;
    c->net.in_n = 0;
    if (c->step == SAY || c->step == CONTENT)
        load.bytes += (size_t)(end - p);
    while (p < end && c->step != CLOSED) {
        if (c->literal) {
            size_t k = c->literal < (size_t)(end - p) ? c->literal : (size_t)(end - p);
            c->literal -= k;
            p += k;
            continue;
        }
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((lf ? lf + 1 : end) - p);
        if (lf && c->line_n == 0) {
            take_line(c, p, n, p, n);
        } else {
            keep(c, p, n);
            if (lf) {
                size_t had = c->line_n;
                c->line_n = 0;
                take_line(c, c->head, had < HEAD ? had : HEAD, c->tail, had < TAIL ? had : TAIL);
            }
        }
        p += n;
    }
}

static void ready(void *owner)
{
    struct client *c = owner;
    enum net_got got;
    do { /* what TLS has decrypted, epoll does not announce */
        got = net_pull(&c->net);
        if (got == NET_INPUT)
            take_input(c);
        if (c->step == CLOSED || got == NET_END || !net_push(&c->net)) {
            finish(c);
            return;
        }
    } while (got == NET_INPUT && c->net.ssl);
}

/* Not more at a time than a server's queue of new connections takes. */
static int hold(double until)
{
    double start = net_now();
    unsigned open = 0;
    for (unsigned next = 0; load.ready < load.connections && !load.failed && net_now() < until;) {
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

static void run(double until)
{
    if (!load.command && !load.append)
        load.start = net_now();
    for (unsigned i = 0; i < load.connections; i++)
        open_client(&load.clients[i]);
    while (load.closed < load.connections && net_now() < until)
        net_wait(ready);
}

static void make_message(void)
{
    static const char header[] = "Date: Thu, 2 Jan 2020 03:04:03 +0000\r\nFrom: Grace Clarke <g.clarke@example.org>\r\n"
                                 "To: Ivan Walker <i.walker@example.com>\r\nSubject: Re: minutes of the meeting\r\n"
                                 "Message-ID: <4711.4e3f9a77@client.example.org>\r\nMIME-Version: 1.0\r\n"
                                 "Content-Type: text/plain; charset=us-ascii\r\n\r\n";
    static const char text[] = "the report of this week was not yet there, please answer before monday\r\n";
    size_t max = load.append + sizeof(header) + sizeof(text) + 2;
    load.message = malloc(max);
    if (!load.message)
        net_fail("memory");
    load.message_n = (size_t)snprintf(load.message, max, "%s", header);
    while (load.message_n + sizeof(text) < load.append)
        load.message_n += (size_t)snprintf(load.message + load.message_n, max - load.message_n, "%s", text);
    memcpy(load.message + load.message_n, "\r\n", 2); /* the end of the command */
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_result(void)
{
    unsigned n = load.command || load.append ? load.answered : 0;
    qsort(load.latency, n, sizeof(*load.latency), by_value);
    printf("{\"start\": %.6f, \"end\": %.6f, \"answered\": %u, \"failed\": %u, \"untagged\": %llu, \"bytes\": %llu, "
           "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"cpu_s\": %.3f}\n", load.start, load.end, load.answered, load.failed,
           load.untagged, load.bytes, n ? load.latency[n / 2] * 1e3 : 0,
           n ? load.latency[(unsigned)(.99 * (double)(n - 1) + .5)] * 1e3 : 0, net_cpu());
}

static bool options(int argc, char **argv)
{
    unsigned *const values[] = { ['p'] = &load.port, ['c'] = &load.connections, ['n'] = &load.commands,
                                 ['s'] = &load.sessions, ['l'] = &load.seconds, ['A'] = &load.append,
                                 ['u'] = &load.users };
    for (int o; (o = getopt(argc, argv, "p:c:u:n:s:l:A:a:t:m:H")) != -1;) {
        if (o == '?')
            return false;
        if (o == 't')
            load.tls = strcmp(optarg, "implicit") == 0 ? TLS_IMPLICIT : TLS_STARTTLS;
        else if (o == 'a')
            snprintf(load.user, sizeof(load.user), "%s", optarg);
        else if (o == 'm')
            load.mailbox = optarg;
        else if (o == 'H')
            load.hold = true;
        else
            *values[o] = (unsigned)strtoul(optarg, NULL, 10);
    }
    char *colon = strchr(load.user, ':');
    load.command = argv[optind];
    if (!colon)
        return false;
    *colon = 0;
    load.password = colon + 1;
    return load.port && load.port <= 65535 && load.connections && load.connections <= MAX_CONNECTIONS &&
           load.users && load.commands && load.sessions && load.append <= 64 << 20 &&
           (uint64_t)load.commands * load.sessions * load.connections <= 10000000;
}

int main(int argc, char **argv)
{
    if (!options(argc, argv)) {
        fprintf(stderr, "usage: imap_load -p PORT -a USER:PASSWORD [-t starttls|implicit] [-m MAILBOX] "
                        "[-c CONNECTIONS] [-n COMMANDS] [-s SESSIONS] [-l SECONDS] [-A BYTES] [-H] [COMMAND]\n");
        return 2;
    }
    net_init();
    make_message();
    unsigned expected = load.connections * load.sessions * (load.command || load.append ? load.commands : 1);
    load.clients = calloc(load.connections, sizeof(*load.clients));
    load.latency = calloc(expected, sizeof(*load.latency));
    if (!load.clients || !load.latency)
        net_fail("set-up");
    for (unsigned i = 0; i < load.connections; i++)
        load.clients[i].number = i;
    if (load.hold)
        return hold(net_now() + load.seconds);
    run(net_now() + load.seconds);
    print_result();
    return load.answered == expected && !load.failed ? 0 : 1;
}
