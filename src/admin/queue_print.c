/* What `posthouse queue` prints. Everything that a peer said passes print_safe(). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include "admin/queue.h"
#include "base/event.h"
#include "store/segment.h"

enum { LINE_MAX_BYTES = 65536, HEADER_SHOWN_MAX = 65536, WATCH_LINES = 30 };

const char *queue_text(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    return text ? text : "";
}

static json_int_t number(const json_t *line, const char *key)
{
    return json_integer_value(json_object_get(line, key));
}

static void put(struct buf *out, const json_t *line, const char *before, const char *key)
{
    const char *text = queue_text(line, key);
    if (!*text)
        return;
    buf_add(out, str_z(before));
    print_safe(out, str_z(text));
}

static void print(struct buf *out)
{
    fwrite(out->p, 1, out->n, stdout);
    buf_done(out);
}

void queue_print_json(struct queue_command *q, json_t *line)
{
    (void)q;
    json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    putchar('\n');
}

/* A reply of several lines, each under the other. */
static void put_reply(struct buf *out, str reply)
{
    while (reply.n) {
        buf_add(out, S("        "));
        print_safe(out, str_cut(&reply, '\n'));
        buf_addc(out, '\n');
    }
}

void queue_print_recipient(struct queue_command *q, json_t *line)
{
    struct buf out = BUF(LINE_MAX_BYTES);
    (void)q;
    buf_addf(&out, "%" JSON_INTEGER_FORMAT "  ", number(line, "queue_id"));
    put(&out, line, "", "state");
    put(&out, line, "  ", "received");
    buf_addf(&out, "  %" JSON_INTEGER_FORMAT " bytes", number(line, "size"));
    put(&out, line, "  ", "session");
    buf_add(&out, S("\n    <"));
    print_safe(&out, str_z(queue_text(line, "sender")));
    buf_add(&out, S("> to <"));
    print_safe(&out, str_z(queue_text(line, "recipient")));
    buf_add(&out, S(">"));
    if (strcmp(queue_text(line, "alias"), queue_text(line, "recipient")) != 0)
        put(&out, line, " by alias ", "alias");
    put(&out, line, " by ", "mechanism");
    put(&out, line, ", for ", "destination");
    put(&out, line, ", redirected to ", "redirect");
    buf_addf(&out, "\n    %" JSON_INTEGER_FORMAT " attempts", number(line, "attempts"));
    put(&out, line, ", the next ", "next");
    put(&out, line, ", a notice is owed: ", "dsn");
    buf_addc(&out, '\n');
    if (*queue_text(line, "reply")) {
        put(&out, line, "    ", "last");
        put(&out, line, "  ", "mta");
        buf_addc(&out, '\n');
        put_reply(&out, str_z(queue_text(line, "reply")));
    }
    print(&out);
}

void queue_print_destination(struct queue_command *q, json_t *line)
{
    struct buf out = BUF(LINE_MAX_BYTES);
    size_t i;
    json_t *reply;
    (void)q;
    put(&out, line, "", "destination");
    put(&out, line, ": ", "state");
    buf_addf(&out,
             "\n    waiting %" JSON_INTEGER_FORMAT " (due %" JSON_INTEGER_FORMAT "), being sent %" JSON_INTEGER_FORMAT
             " of %.1f, at most %" JSON_INTEGER_FORMAT "\n",
             number(line, "waiting"), number(line, "ready"), number(line, "in_flight"),
             json_number_value(json_object_get(line, "window")), number(line, "limit"));
    buf_addf(&out,
             "    sent %" JSON_INTEGER_FORMAT ", deferred %" JSON_INTEGER_FORMAT ", failed %" JSON_INTEGER_FORMAT
             "; connections %" JSON_INTEGER_FORMAT ", used again %" JSON_INTEGER_FORMAT
             "; on average connect %" JSON_INTEGER_FORMAT " ms, TLS %" JSON_INTEGER_FORMAT
             " ms, transfer %" JSON_INTEGER_FORMAT " ms\n",
             number(line, "sent"), number(line, "deferred"), number(line, "failed"), number(line, "connections"),
             number(line, "reused"), number(line, "connect_ms"), number(line, "tls_ms"), number(line, "transfer_ms"));
    put(&out, line, "    tried again at ", "probe_at");
    if (*queue_text(line, "probe_at"))
        buf_addc(&out, '\n');
    json_array_foreach(json_object_get(line, "replies"), i, reply) {
        buf_addf(&out, "    %" JSON_INTEGER_FORMAT " times", number(reply, "count"));
        put(&out, reply, ", last at ", "time");
        buf_add(&out, S(":\n"));
        put_reply(&out, str_z(queue_text(reply, "text")));
    }
    print(&out);
}

/* The header of the message, from the segment that holds it. */
static void print_header(const struct queue_command *q, const json_t *line)
{
    char segment[32], path[128], text[HEADER_SHOWN_MAX];
    const char *log = queue_text(line, "log");
    struct buf out = BUF(HEADER_SHOWN_MAX * 5);
    segment_name((uint64_t)number(line, "segment"), segment);
    if (snprintf(path, sizeof(path), "log/%s/%s", log, segment) >= (int)sizeof(path) || str_chr(str_z(log), '/') >= 0)
        return;
    _cleanup_close_ int fd = openat(q->data.fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text), (off_t)number(line, "offset"));
    str content = str_of(text, n < 0 ? 0 : (size_t)n);
    ptrdiff_t end = str_find(content, S("\r\n\r\n"));
    str header = end < 0 ? content : str_first(content, (size_t)end);
    buf_add(&out, n < 0 ? S("  (its header cannot be read from here)\n") : S("\n"));
    while (header.n) {
        buf_add(&out, S("  | "));
        print_safe(&out, str_trim(str_cut(&header, '\n')));
        buf_addc(&out, '\n');
    }
    print(&out);
}

static void print_message(struct queue_command *q, const json_t *m)
{
    struct buf out = BUF(LINE_MAX_BYTES);
    buf_addf(&out, "Message %" JSON_INTEGER_FORMAT, number(m, "queue_id"));
    put(&out, m, ", trace id ", "session");
    buf_add(&out, S("\n  from <"));
    print_safe(&out, str_z(queue_text(m, "sender")));
    buf_add(&out, S(">"));
    put(&out, m, ", received ", "received");
    buf_addf(&out, ", %" JSON_INTEGER_FORMAT " bytes", number(m, "size"));
    put(&out, m, ", envelope id ", "envid");
    buf_addc(&out, '\n');
    print(&out);
    print_header(q, m);
    putchar('\n');
}

static void print_attempt(const json_t *a)
{
    struct buf out = BUF(LINE_MAX_BYTES);
    buf_addf(&out, "attempt %" JSON_INTEGER_FORMAT, number(a, "number"));
    put(&out, a, "  ", "time");
    put(&out, a, "  <", "recipient");
    put(&out, a, ">  ", "outcome");
    put(&out, a, "  ", "status");
    put(&out, a, "  ", "mta");
    put(&out, a, "  ", "tls");
    buf_addc(&out, '\n');
    put_reply(&out, str_z(queue_text(a, "reply")));
    print(&out);
}

void queue_print_shown(struct queue_command *q, json_t *line)
{
    const json_t *message = json_object_get(line, "message"), *attempt = json_object_get(line, "attempt");
    if (message)
        print_message(q, message);
    else if (attempt)
        print_attempt(attempt);
    else
        queue_print_recipient(q, line);
}

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static void print_row(struct queue_command *q, json_t *line)
{
    struct buf out = BUF(LINE_MAX_BYTES);
    if (q->printed >= WATCH_LINES)
        return;
    print_safe(&out, str_first(str_z(queue_text(line, "destination")), 40));
    buf_addf(&out, "%*s", (int)(out.n < 42 ? 42 - out.n : 1), "");
    buf_addf(&out,
             "%-7.7s %8" JSON_INTEGER_FORMAT " %8" JSON_INTEGER_FORMAT " %5" JSON_INTEGER_FORMAT "/%-5.1f "
             "%9" JSON_INTEGER_FORMAT " %9" JSON_INTEGER_FORMAT " %7" JSON_INTEGER_FORMAT "\n",
             queue_text(line, "state"), number(line, "waiting"), number(line, "ready"), number(line, "in_flight"),
             json_number_value(json_object_get(line, "window")), number(line, "sent"), number(line, "deferred"),
             number(line, "failed"));
    print(&out);
}

/* A page tells of so many messages; the number of destinations is the same in each. */
static void add_summary(struct queue_command *q, json_t *line)
{
    static const char *const counts[] = { "waiting", "sending", "held", "final" };
    if (!q->sums) {
        q->sums = json_deep_copy(line);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        json_object_set_new(q->sums, counts[i], json_integer(number(q->sums, counts[i]) + number(line, counts[i])));
}

static void print_summary(struct queue_command *q)
{
    const char *key;
    json_t *value;
    if (q->json)
        queue_print_json(q, q->sums);
    json_object_foreach(q->json ? NULL : q->sums, key, value) {
        if (json_is_integer(value))
            printf("%s %" JSON_INTEGER_FORMAT "   ", key, json_integer_value(value));
        else if (json_is_string(value))
            printf("%s %s   ", key, json_string_value(value));
    }
    if (!q->json)
        printf("\n\n");
    json_decref(TAKE(q->sums));
}

int queue_watch(struct queue_command *q)
{
    const struct sigaction stop = { .sa_handler = interrupt };
    const struct timespec pause = { .tv_sec = 2 };
    int e = 0;
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    while (!e && !interrupted) {
        if (isatty(STDOUT_FILENO))
            printf("\033[H\033[2J");
        e = queue_ask(q, S(" do=summary"), add_summary);
        if (!e)
            print_summary(q);
        if (!e && !q->json)
            printf("%-42s%-7s %8s %8s %5s/%-5s %9s %9s %7s\n", "destination", "state", "waiting", "due", "open",
                   "may", "sent", "deferred", "failed");
        q->printed = 0;
        if (!e)
            e = queue_ask(q, S(" do=destinations"), q->json ? queue_print_json : print_row);
        fflush(stdout);
        if (!e && !interrupted)
            nanosleep(&pause, NULL);
    }
    return e;
}
