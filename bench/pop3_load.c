/* pop3_load: downloads a whole mailbox from a POP3 server on 127.0.0.1, for measuring.
 *
 *     pop3_load -p PORT -a USER:PASSWORD [-t stls|implicit] [-d DEPTH] [-l SECONDS]
 *
 * One session: log-in with USER and PASS, STAT, RETR of every message, QUIT; nothing is deleted. DEPTH commands are
 * under way at a time (1: each RETR waits for the whole message before it). Prints one JSON object; `start` and `end`
 * are CLOCK_MONOTONIC, from the first RETR sent to the last byte of the last message, `bytes` those of the responses.
 * The exit status is 0 if every message came. */
#include <net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INPUT = 1 << 18, COMMANDS = 1 << 14, DEPTH_MAX = 256 };
enum tls { TLS_NONE, TLS_STLS, TLS_IMPLICIT };
enum step { GREETING, STLS, USER, PASS, STAT, RETR, CONTENT, QUIT, CLOSED };

static struct {
    struct net net;
    enum step step;
    enum tls tls;
    unsigned port, seconds, depth;
    unsigned long messages, asked, got;
    unsigned long long bytes;
    char *user, *password;
    double start, end;
    char commands[COMMANDS];
    char in[INPUT];
} load = { .seconds = 120, .depth = 1 };

static void say(enum step step, const char *word, const char *argument)
{
    load.step = step;
    load.net.out = load.commands;
    load.net.out_n = (size_t)snprintf(load.commands, sizeof(load.commands), "%s%s%s\r\n", word, argument ? " " : "",
                                      argument ? argument : "");
}

/* What has not been sent yet stays in front. */
static void ask_more(void)
{
    size_t n = load.net.out_n;
    memmove(load.commands, load.net.out, n);
    while (load.asked < load.messages && load.asked - load.got < load.depth && n + 32 < sizeof(load.commands))
        n += (size_t)snprintf(load.commands + n, sizeof(load.commands) - n, "RETR %lu\r\n", ++load.asked);
    load.net.out = load.commands;
    load.net.out_n = n;
    load.step = RETR;
}

static void ended(void)
{
    load.got++;
    if (load.got < load.messages) {
        ask_more();
        return;
    }
    load.end = net_now();
    say(QUIT, "QUIT", NULL);
}

static void take_line(const char *line)
{
    if (strncmp(line, "+OK", 3) != 0) {
        fprintf(stderr, "pop3_load: step %d was answered %s\n", (int)load.step, line);
        load.step = CLOSED;
        return;
    }
    switch (load.step) {
    case GREETING:
        if (load.tls == TLS_STLS && !load.net.ssl)
            say(STLS, "STLS", NULL);
        else
            say(USER, "USER", load.user);
        break;
    case STLS:
        net_start_tls(&load.net);
        say(USER, "USER", load.user);
        break;
    case USER:
        say(PASS, "PASS", load.password);
        break;
    case PASS:
        say(STAT, "STAT", NULL);
        break;
    case STAT:
        load.messages = strtoul(line + 3, NULL, 10);
        load.start = net_now();
        if (load.messages)
            ask_more();
        else
            load.step = CLOSED;
        break;
    case RETR:
        load.step = CONTENT;
        break;
    default:
        load.step = CLOSED;
    }
}

/* How much of the input belongs to the message under way; *out_last: its end is there. A response ends with CRLF.CRLF;
 * the first CRLF is never that of the +OK line, since a header has at least one line. */
static size_t content(const char *p, size_t n, bool *out_last)
{
    static const char end[] = "\r\n.\r\n";
    const char *at = memmem(p, n, end, sizeof(end) - 1);
    *out_last = at != NULL;
    return at ? (size_t)(at - p) + sizeof(end) - 1 : n < sizeof(end) ? 0 : n - (sizeof(end) - 1);
}

static void take_input(void)
{
    size_t at = 0;
    while (load.step != CLOSED && at < load.net.in_n) {
        char *p = load.in + at;
        size_t left = load.net.in_n - at;
        if (load.step == CONTENT) {
            bool last;
            size_t n = content(p, left, &last);
            load.bytes += n;
            at += n;
            if (last)
                ended();
            else
                break;
        } else {
            char *lf = memchr(p, '\n', left);
            if (!lf)
                break;
            *lf = 0;
            load.bytes += load.step == RETR ? (size_t)(lf - p) + 1 : 0;
            at += (size_t)(lf - p) + 1;
            take_line(p);
        }
    }
    load.net.in_n -= at;
    memmove(load.in, load.in + at, load.net.in_n);
}

static void ready(void *owner)
{
    enum net_got got;
    (void)owner;
    do { /* what TLS has decrypted, epoll does not announce */
        got = net_pull(&load.net);
        if (got == NET_INPUT)
            take_input();
        if (got == NET_END || !net_push(&load.net))
            load.step = CLOSED;
    } while (got == NET_INPUT && load.net.ssl && load.step != CLOSED);
}

static bool options(int argc, char **argv)
{
    for (int o; (o = getopt(argc, argv, "p:a:t:d:l:")) != -1;)
        switch (o) {
        case 'p': load.port = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'a': load.user = optarg; break;
        case 't': load.tls = strcmp(optarg, "implicit") == 0 ? TLS_IMPLICIT : TLS_STLS; break;
        case 'd': load.depth = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'l': load.seconds = (unsigned)strtoul(optarg, NULL, 10); break;
        default: return false;
        }
    load.password = load.user ? strchr(load.user, ':') : NULL;
    if (!load.password || !load.port || load.port > 65535 || !load.depth || load.depth > DEPTH_MAX)
        return false;
    *load.password++ = 0;
    return true;
}

int main(int argc, char **argv)
{
    if (!options(argc, argv)) {
        fprintf(stderr, "usage: pop3_load -p PORT -a USER:PASSWORD [-t stls|implicit] [-d DEPTH] [-l SECONDS]\n");
        return 2;
    }
    net_init();
    load.net = (struct net){ .in = load.in, .in_cap = sizeof(load.in), .owner = &load };
    net_open(&load.net, load.port, 0);
    if (load.tls == TLS_IMPLICIT)
        net_start_tls(&load.net);
    double begun = net_now();
    while (load.step != CLOSED && net_now() < begun + load.seconds)
        net_wait(ready);
    printf("{\"start\": %.6f, \"end\": %.6f, \"messages\": %lu, \"bytes\": %llu, \"cpu_s\": %.3f}\n", load.start,
           load.end, load.got, load.bytes, net_cpu());
    return load.messages && load.got == load.messages ? 0 : 1;
}
