/* The queue of a store: from the receive log to jobs, from results to the journal, over restarts, with the DSN that are
 * owed; and nothing stays on the disk of what was only relayed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_queue_play.h"

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
    store_queue_detach(p->w.store, QUEUE_SENDS);
    run(p);
    const struct queue_attached kept = { .job = p->jobs[1].id, .message = p->jobs[1].message,
                                         .indexes = p->jobs[1].indexes, .n = 1 };
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_SENDS, &kept, 1, true), 0);
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
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_SENDS, again, 2, true), 0);
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

/* What an administrator returns: one notice of a message, too. */
static void test_one_notice_of_many_returned(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    const char *const three[] = { "a@far.example", "b@far.example", "c@other.example", NULL };
    p->refuse = true;
    send_to(p, three, 0, "anna@example.org");
    send_to(p, three, 0, "carl@example.org");
    run(p);
    assert_true(has(ask(p, "do=bounce younger=86400 text=\"not wanted\""), "{\"changed\":6,"));
    run(p);
    assert_int_equal(p->n_dsn, 2);
    assert_int_equal(p->dsn[0].n, 3);
    assert_int_equal(p->dsn[1].n, 3);
    assert_string_not_equal(p->dsn[0].to, p->dsn[1].to);
    make_dsn(p, 0, "");
    make_dsn(p, 1, "");
    p->refuse = false;
    jump_ms = 90000;
    run(p);
    assert_int_equal(p->n_jobs, 0);
    assert_int_equal(p->n_dsn, 2);
    assert_false(has(ask(p, "do=list"), "queue_id"));
}

/* A sender that lies: the same recipient in two jobs, or twice in one, has one result. */
static void test_attach_of_what_is_taken(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = play_begin();
    send_to(p, (const char *const[]){ "a@far.example", "b@far.example", "c@other.example", NULL }, 0,
            "anna@example.org");
    run(p);
    assert_int_equal(p->n_jobs, 2);
    const struct job_copy *far = &p->jobs[p->jobs[0].n == 1], *other = &p->jobs[p->jobs[0].n == 2];
    const uint32_t three[] = { 0, 0, 0 }, free_one[] = { 0, 1, 2, 7 };
    const struct queue_attached lies[] = { { .job = 1, .message = far->message, .indexes = three, .n = 3 },
                                           { .job = 2, .message = far->message, .indexes = free_one, .n = 4 },
                                           { .job = 3, .message = 12345, .indexes = free_one, .n = 4 } };
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_SENDS, lies, 3, false), 0);
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
    store_queue_detach(p->w.store, QUEUE_SENDS); /* held by nobody: the same index twice in one job */
    const struct queue_attached twice = { .job = 9, .message = far->message, .indexes = (const uint32_t[]){ 2, 2, 2 },
                                          .n = 3 };
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_SENDS, NULL, 0, true), 0);
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_SENDS, &twice, 1, true), 0);
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
        cmocka_unit_test(test_one_notice_of_many_returned),
        cmocka_unit_test(test_attach_of_what_is_taken),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_reconfigured),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests_name("store_queue", tests, NULL, NULL);
}
