/* `posthouse queue`: what waits to be sent, why, and what an administrator can do about it. The store answers; see
 * store/queue_query.h. */
#include "admin/queue.h"
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include "admin/control.h"
#include "base/event.h"

enum { QUEUE_PATIENCE_S = 10, QUESTION_MAX = 16384, PAGES_MAX = 1000000 };

/* One answer; *out_more: from where the next page begins, 0 none. */
static int read_answer(struct queue_command *q, str answer, void (*each)(struct queue_command *, json_t *),
                       json_int_t *out_more)
{
    *out_more = 0;
    while (answer.n) {
        str text = str_cut(&answer, '\n');
        json_t *line = text.n ? json_loadb(text.p, text.n, 0, NULL) : NULL;
        int e = 0;
        if (!line)
            continue;
        if (json_object_get(line, "end")) {
            *out_more = json_integer_value(json_object_get(line, "more"));
        } else if (json_object_get(line, "error")) {
            admin_complain("queue: %s", queue_text(line, "error"));
            e = EXIT_DATA;
        } else {
            each(q, line);
            q->printed++;
        }
        json_decref(line);
        if (e)
            return e;
    }
    return 0;
}

int queue_ask(struct queue_command *q, str question, void (*each)(struct queue_command *q, json_t *line))
{
    _cleanup_buf_ struct buf page = BUF(QUESTION_MAX), answer = BUF(CONTROL_ANSWER_MAX);
    json_int_t more = 0;
    for (size_t i = 0; i < PAGES_MAX; i++) {
        bool ok = false;
        buf_clear(&page);
        buf_clear(&answer);
        buf_add(&page, question);
        if (more)
            event_u64(&page, "from", (uint64_t)more);
        int r = page.failed ? page.failed
                            : control_ask_role(q->data.fd, ROLE_STORE, buf_str(&page), QUEUE_PATIENCE_S, &ok, &answer);
        if (r < 0 || (!ok && !answer.n)) {
            bool absent = r == -ENOENT || r == -ECONNREFUSED;
            admin_complain(absent ? "no server runs on %s, and it keeps the queue; start it with posthouse serve"
                                  : "the server of %s did not answer", q->data.path);
            return EXIT_UNAVAILABLE;
        }
        int e = read_answer(q, buf_str(&answer), each, &more);
        if (e || !more)
            return e;
    }
    return 0;
}

/* "2d", "90m", "3600": seconds. */
static bool seconds(const char *text, uint64_t *out)
{
    static const struct { char unit; uint64_t seconds; } units[] = {
        { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 }
    };
    str s = str_z(text);
    uint64_t times = 1;
    for (size_t i = 0; s.n && i < ARRAY_LEN(units); i++)
        if (s.p[s.n - 1] == units[i].unit) {
            times = units[i].seconds;
            s.n--;
            break;
        }
    if (str_u64(s, 1u << 30, out) < 0)
        return false;
    *out *= times;
    return true;
}

static int add_age(struct queue_command *q, const char *key, const char *given)
{
    uint64_t s;
    if (!given)
        return 0;
    if (!seconds(given, &s)) {
        admin_complain("queue: --%s %s: expected a time such as 90m, 4h or 2d", key, given);
        return EXIT_USAGE;
    }
    event_u64(&q->fields, key, s);
    return 0;
}

static int check_state(const char *given)
{
    static const char *const states[] = { "waiting", "sending", "held", "final" };
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (str_eq(str_z(given), str_z(states[i])))
            return 0;
    admin_complain("queue: --state %s: a recipient is waiting, sending, held or final", given);
    return EXIT_USAGE;
}

static int add_filters(struct queue_command *q)
{
    const struct { const char *key, *value; } filters[] = {
        { "sender", q->sender }, { "recipient", q->recipient },     { "domain", q->domain },
        { "state", q->state },   { "destination", q->destination },
    };
    for (size_t i = 0; i < ARRAY_LEN(filters); i++)
        if (filters[i].value)
            event_str(&q->fields, filters[i].key, str_z(filters[i].value));
    int e = q->state ? check_state(q->state) : 0;
    if (!e)
        e = add_age(q, "older", q->older);
    return e ? e : add_age(q, "younger", q->younger);
}

struct finding { struct queue_command command; str prefix; uint64_t id; unsigned found; };

static void find_session(struct queue_command *q, json_t *line)
{
    struct finding *f = CONTAINER_OF(q, struct finding, command);
    uint64_t id = (uint64_t)json_integer_value(json_object_get(line, "queue_id"));
    if (!str_istarts(str_z(queue_text(line, "session")), f->prefix) || id == f->id)
        return;
    f->id = id;
    f->found++;
}

static void find_any(struct queue_command *q, json_t *line)
{
    (void)q;
    (void)line; /* queue_ask() counts */
}

static int add_number(struct queue_command *q, uint64_t id)
{
    _cleanup_buf_ struct buf question = BUF(QUESTION_MAX);
    struct queue_command seen = { .data = q->data };
    event_u64(&q->fields, "id", id);
    buf_addf(&question, " do=list id=%" PRIu64, id);
    int e = queue_ask(&seen, buf_str(&question), find_any);
    if (!e && !seen.printed) {
        admin_complain("queue: there is no message %" PRIu64 " in the queue (any more)", id);
        e = EXIT_DATA;
    }
    return e;
}

/* A message is named by its number in the queue, or by its trace id or the beginning of it. */
static int add_id(struct queue_command *q, const char *name)
{
    uint64_t id;
    if (str_u64(str_z(name), INT64_MAX / 1000000, &id) == 0)
        return add_number(q, id);
    struct finding f = { .command = { .data = q->data }, .prefix = str_z(name) };
    if (f.prefix.n < 6) {
        admin_complain("queue: \"%s\" is no number of the queue, and of a trace id at least 6 letters are needed",
                       name);
        return EXIT_USAGE;
    }
    int e = queue_ask(&f.command, S(" do=list"), find_session);
    if (e)
        return e;
    if (f.found != 1) {
        admin_complain(f.found ? "queue: more than one message begins with %s; give more of it"
                               : "queue: no message in the queue begins with %s; posthouse trace %s may know it",
                       name, name);
        return EXIT_DATA;
    }
    event_u64(&q->fields, "id", f.id);
    return 0;
}

static int ask_word(struct queue_command *q, const char *word, void (*each)(struct queue_command *, json_t *))
{
    _cleanup_buf_ struct buf question = BUF(QUESTION_MAX);
    event_str(&question, "do", str_z(word));
    buf_add(&question, buf_str(&q->fields));
    return queue_ask(q, buf_str(&question), each);
}

static int ask_with(struct queue_command *q, const char *word, void (*each)(struct queue_command *, json_t *))
{
    return ask_word(q, word, q->json ? queue_print_json : each);
}

static int do_list(struct queue_command *q, int argc, char **argv)
{
    int e = argc ? add_id(q, argv[0]) : 0;
    if (e)
        return e;
    if (q->watch)
        return queue_watch(q);
    e = ask_with(q, "list", queue_print_recipient);
    if (!e && !q->json && !q->printed)
        printf("Nothing waits.\n");
    return e;
}

static int do_show(struct queue_command *q, int argc, char **argv)
{
    if (argc != 1) {
        admin_complain("queue show takes the number or trace id of one message");
        return EXIT_USAGE;
    }
    int e = add_id(q, argv[0]);
    return e ? e : ask_with(q, "show", queue_print_shown);
}

static void add_changed(struct queue_command *q, json_t *line)
{
    q->changed += json_integer_value(json_object_get(line, "changed"));
    q->skipped += json_integer_value(json_object_get(line, "skipped"));
}

static void print_changed(const struct queue_command *q)
{
    if (q->json) {
        printf("{\"changed\":%" JSON_INTEGER_FORMAT ",\"skipped\":%" JSON_INTEGER_FORMAT "}\n", q->changed, q->skipped);
        return;
    }
    printf("%" JSON_INTEGER_FORMAT " recipients changed.\n", q->changed);
    if (q->skipped)
        printf("%" JSON_INTEGER_FORMAT " are being sent at this moment and were left alone.\n", q->skipped);
}

/* Nobody empties a queue by a word that he forgot. */
static int change(struct queue_command *q, const char *word, int argc, char **argv)
{
    const struct passwd *who = getpwuid(getuid());
    int e = 0;
    if (argc)
        e = add_id(q, argv[0]);
    else if (!q->fields.n) {
        admin_complain("queue %s needs the number of a message, or a filter (--sender, --recipient, --domain, "
                       "--destination, --state, --older); for the whole queue: --younger 1000d", word);
        e = EXIT_USAGE;
    }
    event_str(&q->fields, "by", str_z(who ? who->pw_name : "?"));
    if (!e)
        e = ask_word(q, word, add_changed);
    if (!e)
        print_changed(q);
    return e;
}

static int do_retry(struct queue_command *q, int argc, char **argv) { return change(q, "retry", argc, argv); }
static int do_hold(struct queue_command *q, int argc, char **argv) { return change(q, "hold", argc, argv); }
static int do_release(struct queue_command *q, int argc, char **argv) { return change(q, "release", argc, argv); }
static int do_drop(struct queue_command *q, int argc, char **argv) { return change(q, "drop", argc, argv); }

static int do_bounce(struct queue_command *q, int argc, char **argv)
{
    if (q->text)
        event_str(&q->fields, "text", str_z(q->text));
    return change(q, "bounce", argc, argv);
}

static int do_redirect(struct queue_command *q, int argc, char **argv)
{
    if (!q->to) {
        admin_complain("queue redirect needs --to HOST[:PORT] (\"\": no longer)");
        return EXIT_USAGE;
    }
    event_str(&q->fields, "to", str_z(q->to));
    return change(q, "redirect", argc, argv);
}

static int do_destinations(struct queue_command *q, int argc, char **argv)
{
    if (argc)
        event_str(&q->fields, "destination", str_z(argv[0]));
    return ask_with(q, "destinations", queue_print_destination);
}

static int pause_one(struct queue_command *q, const char *word, int argc, char **argv)
{
    if (argc != 1) {
        admin_complain("queue %s takes one destination; posthouse queue destinations lists them", word);
        return EXIT_USAGE;
    }
    event_str(&q->fields, "destination", str_z(argv[0]));
    int e = ask_word(q, word, find_any);
    if (!e && !q->json)
        printf("%s: %sd\n", argv[0], word);
    return e;
}

static int do_pause(struct queue_command *q, int argc, char **argv) { return pause_one(q, "pause", argc, argv); }
static int do_resume(struct queue_command *q, int argc, char **argv) { return pause_one(q, "resume", argc, argv); }

static const struct {
    const char *word;
    int (*run)(struct queue_command *q, int argc, char **argv);
} words[] = {
    { "list", do_list },         { "show", do_show },         { "retry", do_retry },
    { "hold", do_hold },         { "release", do_release },   { "drop", do_drop },
    { "bounce", do_bounce },     { "redirect", do_redirect }, { "destinations", do_destinations },
    { "pause", do_pause },       { "resume", do_resume },
};

static int run(struct queue_command *q, int argc, char **argv)
{
    const char *word = argc ? argv[0] : "list";
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq(str_z(word), str_z(words[i].word)))
            return words[i].run(q, argc ? argc - 1 : 0, argv + 1);
    admin_complain("queue: \"%s\" is no word of it; see posthouse help queue", word);
    return EXIT_USAGE;
}

int cmd_queue(int argc, char **argv)
{
    struct queue_command q = { .data.fd = -1, .fields = BUF(QUESTION_MAX) };
    const struct admin_option options[] = {
        { "-c", &q.config, NULL },           { "--json", NULL, &q.json },
        { "--watch", NULL, &q.watch },       { "--sender", &q.sender, NULL },
        { "--recipient", &q.recipient, NULL }, { "--domain", &q.domain, NULL },
        { "--destination", &q.destination, NULL }, { "--state", &q.state, NULL },
        { "--older", &q.older, NULL },       { "--younger", &q.younger, NULL },
        { "--to", &q.to, NULL },             { "--text", &q.text, NULL },
    };
    int e = admin_options("queue", &argc, argv, options, ARRAY_LEN(options));
    if (!e)
        e = add_filters(&q);
    if (!e)
        e = admin_data_dir_of_server("queue", admin_config_path(q.config), &q.data);
    if (!e)
        e = run(&q, argc, argv);
    admin_data_done(&q.data);
    buf_done(&q.fields);
    return e;
}
