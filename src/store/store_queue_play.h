/* What the tests of the queue share: a store with a queue, a sender who keeps its jobs, a clock that jumps. */
#pragma once
#include "store/queue_query.h"
#include "store/store_queue.h"
#include "store/store_test_world.h"

#define JOBS 400

struct job_copy {
    uint64_t id, message;
    uint32_t n, indexes[100], attempt;
    char to[64], sender[64], prefix[128], content[32], destination[64], redirect[64];
    char via[64], user[64], helo[64], original[64];
    enum queue_worker worker;
};

struct play {
    struct world w;
    const struct conf *conf;
    struct job_copy jobs[JOBS];
    size_t n_jobs, n_done;
    uint64_t done[JOBS];
    unsigned done_to[QUEUE_WORKERS];
    struct { uint64_t message, event; uint8_t kind; size_t n; char to[64], text[128]; bool last_resort; } dsn[16];
    size_t n_dsn;
    bool refuse;
    char events[4096];
};

static uint64_t jump_ms; /* of the clocks */
static inline uint64_t test_mono(void) { return env_system.mono_ms() + jump_ms; }
static inline uint64_t test_wall(void) { return env_system.wall_us() + jump_ms * 1000; }
static struct env test_env;

static inline void put(char *to, size_t size, str s) { snprintf(to, size, "%.*s", STR_ARG(s)); }

static inline bool take_job(void *arg, const struct queue_job *j)
{
    struct play *p = arg;
    if (p->refuse)
        return false;
    assert_true(p->n_jobs < JOBS && j->n >= 1 && j->n <= 100 && j->fd >= 0);
    struct job_copy *c = &p->jobs[p->n_jobs++];
    *c = (struct job_copy){ .id = j->id, .message = j->message, .n = (uint32_t)j->n, .attempt = j->attempt };
    for (size_t i = 0; i < j->n; i++)
        c->indexes[i] = j->recipients[i].index;
    put(c->to, sizeof(c->to), j->recipients[0].address);
    put(c->sender, sizeof(c->sender), j->sender);
    put(c->prefix, sizeof(c->prefix), j->prefix);
    put(c->destination, sizeof(c->destination), j->destination);
    put(c->redirect, sizeof(c->redirect), j->redirect);
    put(c->via, sizeof(c->via), j->via);
    put(c->user, sizeof(c->user), j->user);
    put(c->helo, sizeof(c->helo), j->client_helo);
    put(c->original, sizeof(c->original), j->recipients[0].original);
    c->worker = j->worker;
    assert_int_equal(j->received_us > 0, 1);
    assert_true(pread(j->fd, c->content, MIN(j->content_len, (uint64_t)31), (off_t)j->offset) >= 0);
    return true;
}

static inline void take_done(void *arg, enum queue_worker worker, uint64_t job)
{
    struct play *p = arg;
    p->done_to[worker]++;
    p->done[p->n_done++ % JOBS] = job;
}

static inline bool take_dsn(void *arg, const struct queue_dsn *d)
{
    struct play *p = arg;
    assert_true(p->n_dsn < 16);
    assert_true(d->n >= 1);
    assert_true(d->fd >= 0);
    p->dsn[p->n_dsn].message = d->message;
    p->dsn[p->n_dsn].event = d->event;
    p->dsn[p->n_dsn].kind = d->kind;
    p->dsn[p->n_dsn].n = d->n;
    p->dsn[p->n_dsn].last_resort = d->last_resort;
    put(p->dsn[p->n_dsn].to, 64, d->to);
    put(p->dsn[p->n_dsn++].text, 128, d->recipients[0].text);
    return true;
}

static inline void take_event(void *arg, const struct queue_event *e)
{
    struct play *p = arg;
    size_t n = strlen(p->events);
    snprintf(p->events + n, sizeof(p->events) - n, "%s %.*s;", e->name, STR_ARG(e->recipient));
}

static inline void parse_conf(struct play *p, const char *more)
{
    struct conf_error error = { 0 };
    struct buf b = BUF(CONF_BUNDLE_MAX), text = BUF(65536);
    buf_addf(&text, "%s%s", test_conf, more);
    conf_bundle_begin(&b, S("posthouse.conf"));
    conf_bundle_add(&b, S("posthouse.conf"), buf_str(&text));
    conf_bundle_add(&b, S("accounts"), str_z(test_accounts));
    conf_bundle_add(&b, S("aliases"), str_z(test_aliases));
    if (conf_parse(&p->w.a, arena_dup(&p->w.a, buf_str(&b)), &p->conf, &error) < 0)
        fail_msg("%.*s", STR_ARG(error.text));
    buf_done(&b);
    buf_done(&text);
}

static inline void play_store(struct play *p)
{
    const struct queue_hooks hooks = { .job = take_job, .done = take_done, .dsn = take_dsn, .event = take_event,
                                       .arg = p };
    struct store_config c = { .data_fd = p->w.fd, .segment_size = p->w.segment_size, .env = &test_env,
                              .placed = world_placed, .note = world_note, .arg = &p->w };
    assert_int_equal(store_open(&c, &p->w.store), 0);
    store_set_directory(p->w.store, &p->w.directory);
    assert_int_equal(store_queue_configure(p->w.store, p->conf), 0);
    assert_int_equal(store_queue_start(p->w.store, &hooks), 0);
}

static inline struct play *play_begin(void)
{
    struct play *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    test_env = env_system;
    test_env.mono_ms = test_mono;
    test_env.wall_us = test_wall;
    jump_ms = 0;
    world_init(&p->w);
    parse_conf(p, "");
    world_log(&p->w);
    play_store(p);
    assert_int_equal(store_log_attach(p->w.store, S("in"), receive_log_first_segment(p->w.log)), 0);
    assert_int_equal(store_flush(p->w.store), 0);
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_SENDS, NULL, 0, true), 0);
    return p;
}

static inline void play_end(struct play **p)
{
    world_done(&(*p)->w);
    free(*p);
}
#define _cleanup_play_ _cleanup_(play_end)

/* The process ends and comes again; jobs are lost with the link. */
static inline void restart(struct play *p)
{
    store_close(TAKE(p->w.store));
    p->n_jobs = p->n_done = p->n_dsn = 0;
    play_store(p);
    assert_int_equal(store_log_attach(p->w.store, S("in"), receive_log_first_segment(p->w.log)), 0);
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_SENDS, NULL, 0, true), 0);
}

static inline void run(struct play *p)
{
    for (int i = 0; i < 5; i++)
        assert_int_equal(store_queue_run(p->w.store), 0);
    assert_int_equal(store_flush(p->w.store), 0);
    assert_int_equal(store_queue_run(p->w.store), 0);
}

static inline void report(struct play *p, const struct job_copy *j, uint8_t outcome, uint16_t code, const char *status,
                   const char *text)
{
    struct queue_result list[100];
    for (uint32_t i = 0; i < j->n; i++)
        list[i] = (struct queue_result){ .index = j->indexes[i], .outcome = outcome, .code = code,
                                         .status = str_z(status), .text = str_z(text) };
    struct queue_report r = { .job = j->id, .from = j->worker, .mta = S("mx.far.example [192.0.2.1]:25"),
                              .tls = S("TLS1.3"), .connect_ms = 10, .tls_ms = 20, .transfer_ms = 5, .list = list,
                              .n = j->n };
    assert_int_equal(store_queue_result(p->w.store, &r), 0);
}

static inline const char *ask(struct play *p, const char *question)
{
    static char text[QUEUE_ANSWER_MAX + 1];
    struct buf out = BUF(QUEUE_ANSWER_MAX);
    bool ok;
    assert_int_equal(queue_query(p->w.store, str_z(question), &out, &ok), 0);
    snprintf(text, sizeof(text), "%.*s", STR_ARG(buf_str(&out)));
    buf_done(&out);
    return text;
}

static inline bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

static inline void deliver(struct play *p, const struct message_record *m, const char *content)
{
    struct buf meta = BUF(65536);
    uint64_t ticket;
    struct log_position at;
    str text = str_z(content);
    assert_int_equal(message_record_encode(&meta, m), 0);
    assert_int_equal(receive_log_append(p->w.log, &text, 1, buf_str(&meta), &ticket, &at), 0);
    buf_done(&meta);
    deliver_all(&p->w, ticket);
}

static inline void send_to(struct play *p, const char *const *to, uint8_t notify, const char *sender)
{
    struct record_recipient list[8];
    size_t n = 0;
    for (; to[n]; n++)
        list[n] = (struct record_recipient){ .address = str_z(to[n]), .notify = notify };
    struct message_record m = { .session = "0123456789abcde", .number = 1, .received_us = test_wall(),
                                .sender = str_z(sender), .recipients = list, .n_recipients = n };
    deliver(p, &m, "Subject: x\r\n\r\nhello\r\n");
}

static inline void send_one(struct play *p, const char *to) { send_to(p, (const char *const[]){ to, NULL }, 0,
                                                               "anna@example.org"); }
