/* The queue of a store: from the receive log to jobs, from results to the journal, over restarts, with the DSN that are
 * owed; and nothing stays on the disk of what was only relayed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/queue_query.h"
#include "store/store_queue.h"
#include "store/store_test_world.h"

#define JOBS 400

struct job_copy {
    uint64_t id, message;
    uint32_t n, indexes[100], attempt;
    char to[64], sender[64], prefix[128], content[32], destination[64], redirect[64];
};

struct play {
    struct world w;
    const struct conf *conf;
    struct job_copy jobs[JOBS];
    size_t n_jobs, n_done;
    uint64_t done[JOBS];
    struct { uint64_t message, event; uint8_t kind; size_t n; char to[64], text[128]; bool last_resort; } dsn[16];
    size_t n_dsn;
    bool refuse;
    char events[4096];
};

static uint64_t jump_ms; /* of the clocks */
static uint64_t test_mono(void) { return env_system.mono_ms() + jump_ms; }
static uint64_t test_wall(void) { return env_system.wall_us() + jump_ms * 1000; }
static struct env test_env;

static void put(char *to, size_t size, str s) { snprintf(to, size, "%.*s", STR_ARG(s)); }

static bool take_job(void *arg, const struct queue_job *j)
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
    assert_true(pread(j->fd, c->content, MIN(j->content_len, (uint64_t)31), (off_t)j->offset) >= 0);
    return true;
}

static void take_done(void *arg, uint64_t job)
{
    struct play *p = arg;
    p->done[p->n_done++ % JOBS] = job;
}

static bool take_dsn(void *arg, const struct queue_dsn *d)
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

static void take_event(void *arg, const struct queue_event *e)
{
    struct play *p = arg;
    size_t n = strlen(p->events);
    snprintf(p->events + n, sizeof(p->events) - n, "%s %.*s;", e->name, STR_ARG(e->recipient));
}

static void parse_conf(struct play *p, const char *more)
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

static void play_store(struct play *p)
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

static struct play *play_begin(void)
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
    assert_int_equal(store_queue_attach(p->w.store, NULL, 0, true), 0);
    return p;
}

static void play_end(struct play **p)
{
    world_done(&(*p)->w);
    free(*p);
}
#define _cleanup_play_ _cleanup_(play_end)

/* The process ends and comes again; jobs are lost with the link. */
static void restart(struct play *p)
{
    store_close(TAKE(p->w.store));
    p->n_jobs = p->n_done = p->n_dsn = 0;
    play_store(p);
    assert_int_equal(store_log_attach(p->w.store, S("in"), receive_log_first_segment(p->w.log)), 0);
    assert_int_equal(store_queue_attach(p->w.store, NULL, 0, true), 0);
}

static void run(struct play *p)
{
    for (int i = 0; i < 5; i++)
        assert_int_equal(store_queue_run(p->w.store), 0);
    assert_int_equal(store_flush(p->w.store), 0);
    assert_int_equal(store_queue_run(p->w.store), 0);
}

static void report(struct play *p, const struct job_copy *j, uint8_t outcome, uint16_t code, const char *status,
                   const char *text)
{
    struct queue_result list[100];
    for (uint32_t i = 0; i < j->n; i++)
        list[i] = (struct queue_result){ .index = j->indexes[i], .outcome = outcome, .code = code,
                                         .status = str_z(status), .text = str_z(text) };
    struct queue_report r = { .job = j->id, .mta = S("mx.far.example [192.0.2.1]:25"),
                              .tls = S("TLS1.3"), .connect_ms = 10, .tls_ms = 20, .transfer_ms = 5, .list = list,
                              .n = j->n };
    assert_int_equal(store_queue_result(p->w.store, &r), 0);
}

static const char *ask(struct play *p, const char *question)
{
    static char text[QUEUE_ANSWER_MAX + 1];
    struct buf out = BUF(QUEUE_ANSWER_MAX);
    bool ok;
    assert_int_equal(queue_query(p->w.store, str_z(question), &out, &ok), 0);
    snprintf(text, sizeof(text), "%.*s", STR_ARG(buf_str(&out)));
    buf_done(&out);
    return text;
}

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

static void deliver(struct play *p, const struct message_record *m, const char *content)
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

static void send_to(struct play *p, const char *const *to, uint8_t notify, const char *sender)
{
    struct record_recipient list[8];
    size_t n = 0;
    for (; to[n]; n++)
        list[n] = (struct record_recipient){ .address = str_z(to[n]), .notify = notify };
    struct message_record m = { .session = "0123456789abcde", .number = 1, .received_us = test_wall(),
                                .sender = str_z(sender), .recipients = list, .n_recipients = n };
    deliver(p, &m, "Subject: x\r\n\r\nhello\r\n");
}

static void send_one(struct play *p, const char *to) { send_to(p, (const char *const[]){ to, NULL }, 0,
                                                               "anna@example.org"); }

static void test_relayed(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    send_to(p, (const char *const[]){ "x@far.example", "y@far.example", "bob@example.org", "z@other.example",
                                      "X@FAR.example", "x@far.EXAMPLE", NULL }, 0, "anna@example.org");
    run(p);
    assert_int_equal(p->n_jobs, 2);
    assert_int_equal(count_in(&p->w, "bob@example.org"), 1);
    assert_int_equal(p->jobs[0].n + p->jobs[1].n, 4); /* X@ is another mailbox than x@ */
    assert_string_equal(p->jobs[0].content, "Subject: x\r\n\r\nhello\r\n");
    assert_string_equal(p->jobs[0].sender, "anna@example.org");
    assert_string_equal(p->jobs[0].destination, "far.example");
    assert_int_equal(p->jobs[0].attempt, 1);
    report(p, &p->jobs[0], QUEUE_RELAYED, 250, "2.0.0", "250 ok");
    assert_int_equal(p->n_done, 0); /* not before it is durable */
    assert_true(store_queue_hurry(p->w.store));
    assert_int_equal(store_flush(p->w.store), 0);
    assert_int_equal(p->n_done, 1);
    assert_int_equal(p->done[0], p->jobs[0].id);
    report(p, &p->jobs[1], QUEUE_RELAYED, 250, "2.0.0", "250 ok");
    run(p);
    assert_int_equal(p->n_done, 2);
    assert_int_equal(p->n_jobs, 2);
    assert_true(has(ask(p, "do=list"), "{\"end\":true}"));
    assert_false(has(ask(p, "do=list"), "queue_id"));
    assert_true(has(p->events, "queued x@far.example;") && has(p->events, "sent z@other.example;"));
    restart(p);
    run(p);
    assert_int_equal(p->n_jobs, 0);
    assert_int_equal(p->n_dsn, 0);
    store_close(TAKE(p->w.store));
    assert_int_equal(world_check(&p->w), 0);
}

static void test_deferred_and_restart(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    send_one(p, "x@far.example");
    run(p);
    assert_int_equal(p->n_jobs, 1);
    report(p, &p->jobs[0], QUEUE_DEFERRED, 450, "4.2.0", "450 greylisted");
    run(p);
    assert_int_equal(p->n_jobs, 1);
    const char *text = ask(p, "do=list recipient=x@far.example");
    assert_true(has(text, "\"state\":\"waiting\"") && has(text, "\"attempts\":1") && has(text, "450 greylisted"));
    assert_true(has(ask(p, "do=destinations"), "450 greylisted"));
    jump_ms = 4 * 60000;
    run(p);
    assert_int_equal(p->n_jobs, 1);
    jump_ms = 6 * 60000;
    run(p);
    assert_int_equal(p->n_jobs, 2);
    assert_int_equal(p->jobs[1].attempt, 2);
    /* killed while it is sent: due again, with the attempts it had */
    restart(p);
    run(p);
    assert_int_equal(p->n_jobs, 1);
    assert_int_equal(p->jobs[0].attempt, 2);
    report(p, &p->jobs[0], QUEUE_DEFERRED, 450, "4.2.0", "450 still");
    assert_int_equal(store_flush(p->w.store), 0);
    restart(p);
    run(p);
    assert_int_equal(p->n_jobs, 0);
    jump_ms += 12 * 60000;
    run(p);
    assert_int_equal(p->n_jobs, 1);
    assert_int_equal(p->jobs[0].attempt, 3);
    report(p, &p->jobs[0], QUEUE_RELAYED, 250, "2.0.0", "250 ok");
    run(p);
    restart(p);
    jump_ms += 600 * 60000;
    run(p);
    assert_int_equal(p->n_jobs, 0);
    store_close(TAKE(p->w.store));
    assert_int_equal(world_check(&p->w), 0);
}

/* Who sends goes and comes: what it still has is left to it, the rest is due again. */
static void test_attach(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    send_one(p, "x@far.example");
    send_one(p, "y@other.example");
    run(p);
    assert_int_equal(p->n_jobs, 2);
    store_queue_detach(p->w.store);
    run(p);
    const struct queue_attached kept = { .job = p->jobs[1].id, .message = p->jobs[1].message,
                                         .indexes = p->jobs[1].indexes, .n = 1 };
    assert_int_equal(store_queue_attach(p->w.store, &kept, 1, true), 0);
    run(p);
    assert_int_equal(p->n_jobs, 2); /* after a second */
    jump_ms = 1100;
    run(p);
    assert_int_equal(p->n_jobs, 3);
    assert_string_equal(p->jobs[2].to, p->jobs[0].to);
    report(p, &p->jobs[1], QUEUE_RELAYED, 250, "2.0.0", "ok");
    run(p);
    assert_int_equal(p->n_done, 1);
    /* the store goes and comes, the sender has both: the result counts though the job is of an earlier process */
    struct job_copy third = p->jobs[2];
    store_close(TAKE(p->w.store));
    p->n_jobs = p->n_done = 0;
    play_store(p);
    assert_int_equal(store_log_attach(p->w.store, S("in"), receive_log_first_segment(p->w.log)), 0);
    run(p);
    const struct queue_attached again[] = {
        { .job = third.id, .message = third.message, .indexes = third.indexes, .n = 1 }, kept };
    assert_int_equal(store_queue_attach(p->w.store, again, 2, true), 0);
    run(p);
    assert_int_equal(p->n_jobs, 0);
    report(p, &third, QUEUE_RELAYED, 250, "2.0.0", "ok");
    report(p, &p->jobs[1], QUEUE_RELAYED, 250, "2.0.0", "ok"); /* known: told as done at once */
    run(p);
    assert_int_equal(p->n_done, 2);
    assert_false(has(ask(p, "do=list"), "queue_id"));
}

static void make_dsn(struct play *p, size_t i, const char *sender_of_it)
{
    struct record_recipient to = { .address = str_z(p->dsn[i].to) };
    struct message_record m = { .session = "dsn dsn dsn dsn", .number = 9, .received_us = test_wall(),
                                .sender = str_z(sender_of_it), .recipients = &to, .n_recipients = 1,
                                .dsn_of = p->dsn[i].message, .dsn_event = p->dsn[i].event };
    deliver(p, &m, "Subject: Undelivered\r\n\r\nwhy\r\n");
}

static void test_failed_and_dsn(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    send_one(p, "x@far.example");
    run(p);
    report(p, &p->jobs[0], QUEUE_FAILED, 550, "5.1.1", "550 no such user\n550 at all");
    run(p);
    assert_int_equal(p->n_dsn, 1);
    assert_string_equal(p->dsn[0].to, "anna@example.org");
    assert_int_equal(p->dsn[0].kind, QUEUE_DSN_FAILED);
    assert_string_equal(p->dsn[0].text, "550 no such user\n550 at all");
    assert_true(has(ask(p, "do=list"), "\"dsn\":\"failed\""));
    restart(p); /* asked for again */
    run(p);
    assert_int_equal(p->n_dsn, 1);
    make_dsn(p, 0, "");
    run(p);
    assert_int_equal(count_in(&p->w, "anna@example.org"), 1);
    assert_false(has(ask(p, "do=list"), "queue_id"));
    make_dsn(p, 0, ""); /* made twice: told once */
    run(p);
    assert_int_equal(count_in(&p->w, "anna@example.org"), 1);
    jump_ms = 3600000;
    run(p);
    assert_int_equal(p->n_dsn, 1);
    restart(p);
    run(p);
    make_dsn(p, 0, "");
    assert_int_equal(p->n_dsn, 0);
    assert_int_equal(count_in(&p->w, "anna@example.org"), 1);
    store_close(TAKE(p->w.store));
    assert_int_equal(world_check(&p->w), 0);
}

static void test_double_bounce(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    send_to(p, (const char *const[]){ "x@far.example", NULL }, 0, "");
    run(p);
    report(p, &p->jobs[0], QUEUE_FAILED, 550, "5.1.1", "550 no");
    run(p);
    assert_int_equal(p->n_dsn, 1);
    assert_true(p->dsn[0].last_resort);
    assert_string_equal(p->dsn[0].to, "postmaster@example.org");
    make_dsn(p, 0, "");
    run(p);
    assert_int_equal(count_in(&p->w, "anna@example.org"), 1); /* the postmaster */
    assert_int_equal(p->n_dsn, 1);
}

static void test_notify(void **state)
{
    (void)state;
    static const struct { uint8_t notify, outcome; int kind; } cases[] = {
        { 0, QUEUE_FAILED, QUEUE_DSN_FAILED }, { 0, QUEUE_RELAYED_NO_DSN, -1 },
        { QUEUE_NOTIFY_NEVER, QUEUE_FAILED, -1 },
        { QUEUE_NOTIFY_SUCCESS, QUEUE_FAILED, -1 }, { QUEUE_NOTIFY_SUCCESS, QUEUE_RELAYED, -1 },
        { QUEUE_NOTIFY_SUCCESS, QUEUE_RELAYED_NO_DSN, QUEUE_DSN_RELAYED },
        { QUEUE_NOTIFY_FAILURE, QUEUE_FAILED, QUEUE_DSN_FAILED },
    };
    _cleanup_play_ struct play *p = play_begin();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        send_to(p, (const char *const[]){ "x@far.example", NULL }, cases[i].notify, "anna@example.org");
        run(p);
        p->n_dsn = 0;
        report(p, &p->jobs[p->n_jobs - 1], cases[i].outcome, 250, "", "reply");
        run(p);
        assert_int_equal(p->n_dsn, cases[i].kind >= 0);
        if (cases[i].kind >= 0) {
            assert_int_equal(p->dsn[0].kind, cases[i].kind);
            make_dsn(p, 0, "");
        }
    }
    /* into a mailbox of this host, and an alias with several targets */
    p->n_dsn = 0;
    send_to(p, (const char *const[]){ "bob@example.org", "both@example.org", NULL }, QUEUE_NOTIFY_SUCCESS,
            "anna@example.org");
    run(p);
    assert_int_equal(p->n_dsn, 2);
    assert_int_equal(p->dsn[0].kind + p->dsn[1].kind, QUEUE_DSN_DELIVERED + QUEUE_DSN_EXPANDED);
    make_dsn(p, 0, "");
    make_dsn(p, 1, "");
    run(p);
    assert_false(has(ask(p, "do=list"), "queue_id"));
}

static void test_expiry_and_delay(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    send_one(p, "x@far.example");
    uint64_t day = 86400000;
    size_t delayed = 0, tries = 0;
    for (; jump_ms < 7 * day; jump_ms += 20 * 60000) {
        run(p);
        if (p->n_jobs) {
            tries++;
            report(p, &p->jobs[0], QUEUE_DEFERRED, 0, "4.4.1", "connection refused");
            p->n_jobs = 0;
            run(p);
        }
        if (p->n_dsn && p->dsn[0].kind == QUEUE_DSN_DELAYED) {
            delayed++;
            assert_true(jump_ms >= 4 * 3600000 && jump_ms < 9 * 3600000);
            make_dsn(p, 0, "");
            p->n_dsn = 0;
        }
        if (p->n_dsn)
            break;
    }
    assert_int_equal(delayed, 1);
    assert_int_equal(p->n_dsn, 1);
    assert_int_equal(p->dsn[0].kind, QUEUE_DSN_FAILED);
    assert_string_equal(p->dsn[0].text, "connection refused");
    assert_in_range(jump_ms, 5 * day, 5 * day + 5 * 3600000);
    assert_in_range(tries, 30, 40);
    assert_true(has(p->events, "expired x@far.example;"));
}

/* All recipients of a message wait in line: their sender hears of it once, not once for each. */
static void test_one_notice_of_many_that_wait(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    const char *const eight[] = { "a@far.example", "b@far.example", "c@far.example", "d@far.example", "e@far.example",
                                  "f@far.example", "g@far.example", "h@far.example", NULL };
    ask(p, "do=pause destination=far.example by=root");
    send_to(p, eight, 0, "anna@example.org");
    send_to(p, eight, 0, "carl@example.org");
    for (jump_ms = 0; jump_ms < 5 * 3600000 && !p->n_dsn; jump_ms += 1800000)
        run(p);
    assert_int_equal(p->n_jobs, 0);
    assert_int_equal(p->n_dsn, 2);
    assert_int_equal(p->dsn[0].kind, QUEUE_DSN_DELAYED);
    assert_int_equal(p->dsn[0].n + p->dsn[1].n, 16);
    assert_string_not_equal(p->dsn[0].to, p->dsn[1].to);
}

/* A dead host: those that were never tried expire with those that were, and each sender has one notice. */
static void test_one_notice_of_many_that_expire(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    const uint64_t hour = 3600000;
    const char *const two[] = { "a@far.example", "b@far.example", NULL };
    for (int i = 0; i < 12; i++)
        send_to(p, two, QUEUE_NOTIFY_FAILURE, "anna@example.org");
    size_t notices = 0;
    for (jump_ms = 0; jump_ms < 150 * hour && notices < 12; jump_ms += hour) {
        run(p);
        for (size_t i = 0; i < p->n_jobs; i++) {
            struct queue_report r = { .job = p->jobs[i].id, .site_failed = true, .mta = S("mx [192.0.2.1]:25") };
            assert_int_equal(store_queue_result(p->w.store, &r), 0);
        }
        p->n_jobs = 0;
        run(p);
        for (size_t i = 0; i < p->n_dsn; i++) {
            assert_int_equal(p->dsn[i].n, 2);
            make_dsn(p, i, "");
        }
        notices += p->n_dsn;
        p->n_dsn = 0;
    }
    assert_int_equal(notices, 12);
    run(p);
    assert_int_equal(p->n_dsn, 0);
    assert_false(has(ask(p, "do=list"), "queue_id"));
}

/* A sender that lies: the same recipient in two jobs, or twice in one, has one result. */
static void test_attach_of_what_is_taken(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    send_to(p, (const char *const[]){ "a@far.example", "b@far.example", "c@other.example", NULL }, 0, "anna@example.org");
    run(p);
    assert_int_equal(p->n_jobs, 2);
    const struct job_copy *far = &p->jobs[p->jobs[0].n == 1], *other = &p->jobs[p->jobs[0].n == 2];
    const uint32_t three[] = { 0, 0, 0 }, free_one[] = { 0, 1, 2, 7 };
    const struct queue_attached lies[] = { { .job = 1, .message = far->message, .indexes = three, .n = 3 },
                                           { .job = 2, .message = far->message, .indexes = free_one, .n = 4 },
                                           { .job = 3, .message = 12345, .indexes = free_one, .n = 4 } };
    assert_int_equal(store_queue_attach(p->w.store, lies, 3, false), 0);
    for (uint64_t job = 1; job <= 3; job++) {
        struct queue_report r = { .job = job };
        assert_int_equal(store_queue_result(p->w.store, &r), 0);
    }
    run(p);
    struct store_queue_stats stats;
    store_queue_stats(p->w.store, &stats);
    assert_int_equal(stats.deferred, 0);
    report(p, far, QUEUE_RELAYED, 250, "2.0.0", "ok");
    run(p);
    assert_true(has(ask(p, "do=list"), "c@other.example")); /* its message is not forgotten */
    report(p, other, QUEUE_DEFERRED, 450, "4.0.0", "later");
    run(p);
    jump_ms = 400000;
    run(p);
    assert_int_equal(p->n_jobs, 3);
    store_queue_detach(p->w.store); /* held by nobody: the same index twice in one job */
    const struct queue_attached twice = { .job = 9, .message = far->message, .indexes = (const uint32_t[]){ 2, 2, 2 },
                                          .n = 3 };
    assert_int_equal(store_queue_attach(p->w.store, NULL, 0, true), 0);
    assert_int_equal(store_queue_attach(p->w.store, &twice, 1, true), 0);
    struct queue_report r = { .job = 9 };
    assert_int_equal(store_queue_result(p->w.store, &r), 0);
    run(p);
    store_queue_stats(p->w.store, &stats);
    assert_int_equal(stats.deferred, 2);
}

static void test_forward(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    static const uint8_t key[16] = { 7 };
    store_set_key(p->w.store, key);
    send_to(p, (const char *const[]){ "out@example.org", "x@far.example", NULL }, 0, "s@strange.example");
    run(p);
    assert_int_equal(count_in(&p->w, "carl@example.org"), 1);
    assert_int_equal(p->n_jobs, 1); /* the alias leads to it too: once */
    assert_true(has(p->jobs[0].prefix, "Delivered-To: out@example.org (posthouse "));
    assert_true(has(p->jobs[0].sender, "SRS0="));
    assert_true(has(p->jobs[0].sender, "=strange.example=s@example.org"));
    /* a bounce to that sender goes on to where the message came from; anybody else's is nobody */
    struct record_recipient back = { .address = str_z(p->jobs[0].sender) },
    forged = { .address = S("SRS0=aaaaaa=aa=x.example=y@example.org") };
    struct message_record bounce = { .session = "0123456789abcde", .number = 3, .received_us = test_wall(),
                                     .recipients = &back, .n_recipients = 1 };
    deliver(p, &bounce, "x\r\n");
    bounce.number = 4;
    bounce.recipients = &forged;
    deliver(p, &bounce, "x\r\n");
    run(p);
    assert_int_equal(p->n_jobs, 2);
    assert_string_equal(p->jobs[1].to, "s@strange.example");
    assert_string_equal(p->jobs[1].sender, "");
    report(p, &p->jobs[1], QUEUE_RELAYED, 250, "2.0.0", "ok");
    report(p, &p->jobs[0], QUEUE_RELAYED, 250, "2.0.0", "ok");
    run(p);
    /* it has been here before */
    struct record_recipient to = { .address = S("out@example.org") };
    str passed = S("OUT@example.org");
    struct message_record m = { .session = "0123456789abcde", .number = 2, .received_us = test_wall(),
                                .sender = S("anna@example.org"), .recipients = &to, .n_recipients = 1,
                                .delivered_to = &passed, .n_delivered_to = 1 };
    deliver(p, &m, "x\r\n");
    run(p);
    assert_int_equal(p->n_jobs, 2);
    assert_int_equal(p->n_dsn, 1);
    assert_true(has(p->dsn[0].text, "loop"));
    assert_true(has(p->events, "failed out@example.org;"));
}

static void test_changes(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    p->refuse = true;
    send_one(p, "a@far.example");
    send_one(p, "b@far.example");
    send_one(p, "c@other.example");
    send_one(p, "d@other.example");
    run(p);
    assert_true(has(ask(p, "do=hold domain=far.example by=root"), "{\"changed\":2,\"skipped\":0}"));
    assert_true(has(ask(p, "do=list state=held"), "a@far.example"));
    assert_true(has(ask(p, "do=drop recipient=c@other.example"), "{\"changed\":1,"));
    assert_true(has(ask(p, "do=bounce recipient=d@other.example text=\"not wanted\""), "{\"changed\":1,"));
    p->refuse = false;
    jump_ms = 2000;
    run(p);
    assert_int_equal(p->n_jobs, 0);
    assert_int_equal(p->n_dsn, 1);
    assert_string_equal(p->dsn[0].text, "not wanted");
    restart(p);
    run(p);
    assert_int_equal(p->n_jobs, 0); /* held over a restart */
    assert_true(has(ask(p, "do=release recipient=a@far.example"), "{\"changed\":1,"));
    run(p);
    assert_int_equal(p->n_jobs, 1);
    assert_true(has(ask(p, "do=drop recipient=a@far.example"), "{\"changed\":0,\"skipped\":1}")); /* being sent */
    report(p, &p->jobs[0], QUEUE_DEFERRED, 450, "4.0.0", "450 later");
    run(p);
    assert_true(has(ask(p, "do=retry recipient=@far.example state=waiting"), "{\"changed\":1,"));
    run(p);
    assert_int_equal(p->n_jobs, 2);
    report(p, &p->jobs[1], QUEUE_DEFERRED, 450, "4.0.0", "450 later");
    run(p);
    assert_true(has(ask(p, "do=redirect recipient=a@far.example to=[127.0.0.9]:2525"), "{\"changed\":1,"));
    run(p);
    assert_int_equal(p->n_jobs, 3);
    assert_string_equal(p->jobs[2].redirect, "[127.0.0.9]:2525");
    assert_string_equal(p->jobs[2].destination, "far.example");
    report(p, &p->jobs[2], QUEUE_RELAYED, 250, "2.0.0", "ok");
    run(p);
    assert_true(has(ask(p, "do=release"), "{\"changed\":1,"));
    run(p);
    assert_int_equal(p->n_jobs, 4);
    char question[64];
    snprintf(question, sizeof(question), "do=show id=%llu", (unsigned long long)p->jobs[3].message);
    report(p, &p->jobs[3], QUEUE_DEFERRED, 451, "4.3.0", "451 \"quoted\"\x01\xff");
    run(p);
    assert_true(has(ask(p, question), "\"outcome\":\"deferred\"") &&
                has(ask(p, question), "451 \\\"quoted\\\"\\u0001"));
    assert_true(has(ask(p, "do=nonsense"), "error") && has(ask(p, "do=list older=x"), "error"));
    store_close(TAKE(p->w.store));
    assert_int_equal(world_check(&p->w), 0);
}

static void test_pause(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    ask(p, "do=pause destination=far.example by=root");
    send_one(p, "a@far.example");
    send_one(p, "b@other.example");
    run(p);
    assert_int_equal(p->n_jobs, 1);
    assert_true(has(ask(p, "do=destinations destination=far.example"), "\"state\":\"paused\""));
    restart(p);
    run(p);
    assert_int_equal(p->n_jobs, 1); /* b again */
    ask(p, "do=resume destination=far.example");
    run(p);
    assert_int_equal(p->n_jobs, 2);
    assert_string_equal(p->jobs[1].to, "a@far.example");
}

static void test_pages(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    p->refuse = true;
    for (int i = 0; i < 300; i++) {
        char to[40];
        snprintf(to, sizeof(to), "u%d@far.example", i);
        append(&p->w, 1 + (unsigned)i % 60, S("x"), to);
    }
    deliver_all(&p->w, append(&p->w, 1, S("x"), "last@far.example"));
    char question[64] = "do=list";
    int lines = 0, pages = 0;
    for (const char *more = ""; more; pages++) {
        const char *text = ask(p, question);
        for (const char *at = text; (at = strstr(at, "\"recipient\"")); at++)
            lines++;
        more = strstr(text, "\"more\":");
        if (more)
            snprintf(question, sizeof(question), "do=list from=%.*s", (int)strcspn(more + 7, "}"), more + 7);
    }
    assert_int_equal(lines, 301);
    assert_true(pages > 1);
    assert_true(has(ask(p, "do=summary"), "\"waiting\":301"));
    assert_true(has(ask(p, "do=drop domain=far.example"), "{\"changed\":301,"));
    assert_true(has(ask(p, "do=summary"), "\"waiting\":0"));
}

/* What was only relayed is dead at once; what is still queued keeps its place over compaction. */
static void test_compaction(void **state)
{
    (void)state;
    static char big[60000];
    _cleanup_play_ struct play *p = play_begin();
    memset(big, 'x', sizeof(big));
    for (int i = 0; i < 60; i++) {
        append(&p->w, 1, str_of(big, sizeof(big)), i == 3 ? "kept@slow.example" : "x@far.example");
        if (i % 10 == 9)
            deliver_all(&p->w, append(&p->w, 1, S("y"), "x@far.example"));
    }
    for (size_t done = 0, next = 0; done < 65;) {
        run(p);
        size_t n = p->n_jobs;
        for (size_t i = next; i < n; i++)
            if (strcmp(p->jobs[i].to, "kept@slow.example") == 0)
                report(p, &p->jobs[i], QUEUE_DEFERRED, 450, "4.0.0", "later");
            else
                report(p, &p->jobs[i], QUEUE_RELAYED, 250, "2.0.0", "ok"), done++;
        next = n;
    }
    receive_log_close(TAKE(p->w.log));
    world_log(&p->w);
    assert_int_equal(store_log_attach(p->w.store, S("in"), receive_log_first_segment(p->w.log)), 0);
    run(p);
    assert_int_equal(store_compact(p->w.store, false, 7 * UINT64_C(86400000000)), 0);
    for (int i = 0; i < 2000 && store_compact_step(p->w.store, UINT64_MAX) >= 0; i++) {
        assert_int_equal(store_flush(p->w.store), 0);
        usleep(500);
    }
    struct store_compaction c;
    store_compaction(p->w.store, &c);
    assert_true(c.removed >= 3); /* retention or not */
    assert_int_equal(c.moved, 1);
    p->n_jobs = 0;
    jump_ms = 400000;
    run(p);
    assert_int_equal(p->n_jobs, 1);
    assert_string_equal(p->jobs[0].to, "kept@slow.example");
    assert_memory_equal(p->jobs[0].content, big, 31);
    restart(p);
    run(p);
    assert_int_equal(p->n_jobs, 1);
    assert_memory_equal(p->jobs[0].content, big, 31);
    store_close(TAKE(p->w.store));
    assert_int_equal(world_check(&p->w), 0);
}

/* Routes change while mail is queued and being sent: each recipient is somewhere once. */
static void test_reconfigured(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    send_one(p, "a@far.example");
    run(p);
    p->refuse = true;
    send_one(p, "b@far.example");
    run(p);
    assert_int_equal(p->n_jobs, 1);
    parse_conf(p, "route relay { next smtp [192.0.2.9] }\n");
    assert_int_equal(store_queue_configure(p->w.store, p->conf), 0);
    p->refuse = false;
    jump_ms = 1500;
    run(p);
    assert_int_equal(p->n_jobs, 2);
    assert_string_equal(p->jobs[1].to, "b@far.example");
    assert_string_equal(p->jobs[1].destination, "route relay");
    report(p, &p->jobs[0], QUEUE_DEFERRED, 450, "4.0.0", "450 later");
    report(p, &p->jobs[1], QUEUE_RELAYED, 250, "2.0.0", "ok");
    run(p);
    jump_ms = 360000;
    run(p);
    assert_int_equal(p->n_jobs, 3);
    assert_string_equal(p->jobs[2].to, "a@far.example");
    assert_string_equal(p->jobs[2].destination, "route relay");
    report(p, &p->jobs[2], QUEUE_RELAYED, 250, "2.0.0", "ok");
    run(p);
    jump_ms = 7200000;
    run(p);
    assert_int_equal(p->n_jobs, 3);
    assert_false(has(ask(p, "do=list"), "queue_id"));
}

/* A queued message whose segment is gone: `store check` says so. */
/* After a restart with a long queue, what comes then is sent before all of that is read; nothing is in memory twice. */
static void test_new_mail_while_loading(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    enum { MESSAGES = 80, EACH = 104 };
    char names[EACH][32];
    struct record_recipient list[EACH];
    struct message_record m = { .session = "0123456789abcde", .number = 1, .received_us = test_wall(),
                                .sender = S("anna@example.org"), .recipients = list, .n_recipients = EACH };
    for (int i = 0; i < EACH; i++) {
        snprintf(names[i], sizeof(names[i]), "x%d@far.example", i);
        list[i] = (struct record_recipient){ .address = str_z(names[i]) };
    }
    ask(p, "do=pause destination=far.example by=root");
    for (int i = 0; i < MESSAGES; i++)
        deliver(p, &m, "Subject: x\r\n\r\nhello\r\n");
    run(p);
    restart(p);
    assert_int_equal(store_queue_run(p->w.store), 0);
    send_one(p, "new@other.example");
    assert_int_equal(store_flush(p->w.store), 0);
    assert_int_equal(store_queue_run(p->w.store), 0);
    assert_int_equal(store_queue_wait(p->w.store), 0); /* it still reads */
    assert_int_equal(p->n_jobs, 1);
    assert_string_equal(p->jobs[0].to, "new@other.example");
    report(p, &p->jobs[0], QUEUE_DEFERRED, 450, "4.0.0", "later");
    run(p);
    struct store_queue_stats stats;
    store_queue_stats(p->w.store, &stats);
    assert_int_equal(stats.recipients, MESSAGES * EACH + 1);
    jump_ms = 400000;
    run(p);
    assert_int_equal(p->n_jobs, 2);
}

static void test_check(void **state)
{
    (void)state;
    char path[64];
    _cleanup_play_ struct play *p = play_begin();
    send_one(p, "a@far.example");
    run(p);
    store_close(TAKE(p->w.store));
    assert_int_equal(world_check(&p->w), 0);
    nth_segment(&p->w, "log/in", 0, path);
    assert_int_equal(unlinkat(p->w.fd, path, 0), 0);
    assert_true(world_check(&p->w) > 0);
    assert_true(has(p->w.last_finding, "queued message"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relayed),
        cmocka_unit_test(test_deferred_and_restart),
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_failed_and_dsn),
        cmocka_unit_test(test_double_bounce),
        cmocka_unit_test(test_notify),
        cmocka_unit_test(test_expiry_and_delay),
        cmocka_unit_test(test_one_notice_of_many_that_wait),
        cmocka_unit_test(test_one_notice_of_many_that_expire),
        cmocka_unit_test(test_attach_of_what_is_taken),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_reconfigured),
        cmocka_unit_test(test_new_mail_while_loading),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests_name("store_queue", tests, NULL, NULL);
}
