/* Queued messages in the index: rows come and go with the records, however these fall into transactions. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "store/index_queue.h"

#define NOW UINT64_C(1764000000000000)

static struct journal_queued three[] = {
    { .outcome = QUEUE_WAITING, .address = { "a@far.example", 13 } },
    { .outcome = QUEUE_WAITING, .address = { "b@far.example", 13 }, .notify = 4 },
    { .outcome = QUEUE_WAITING, .address = { "c@far.example", 13 }, .group = 1, .alias = { "out@here.example", 16 } },
};

static struct journal_record queued(uint64_t offset, size_t n)
{
    return (struct journal_record){
        .kind = JOURNAL_delivered,
        .delivered = { .log = S("in"), .segment = 1, .offset = offset, .end = offset + 96, .content_len = 16,
                       .meta_len = 16, .received_us = NOW, .session = "0123456789abcde", .number = 3,
                       .queue = { .present = true, .sender = S("s@here.example"), .envid = S("E"), .ret = 1,
                                  .priority = 2, .recipients = three, .n = n } },
    };
}

static struct journal_attempt list[4];

static struct journal_record attempted(uint64_t message, uint32_t index, uint8_t outcome, uint8_t owed,
                                       uint32_t attempts)
{
    list[0] = (struct journal_attempt){ .index = index, .outcome = outcome, .owed = owed, .attempts = attempts,
                                        .code = 450,
                                        .status = S("4.2.0"), .text = S("450 later"), .due_us = NOW + attempts };
    return (struct journal_record){ .kind = JOURNAL_attempted,
                                    .attempted = { .message = message, .at_us = NOW, .mta = S("mx"), .list = list,
                                                   .n = 1 } };
}

/* The same records in transactions of different lengths give the same index. */
struct two { struct index *one_each, *all_at_once; uint64_t lsn; };

static void begin(struct two *t)
{
    *t = (struct two){ 0 };
    assert_int_equal(index_open_temporary(&t->one_each), 0);
    assert_int_equal(index_open_temporary(&t->all_at_once), 0);
    assert_int_equal(index_begin(t->all_at_once), 0);
}

static uint64_t apply(struct two *t, struct journal_record r)
{
    r.lsn = ++t->lsn;
    assert_int_equal(index_begin(t->one_each), 0);
    assert_int_equal(index_apply(t->one_each, &r), 0);
    assert_int_equal(index_commit(t->one_each), 0);
    assert_int_equal(index_apply(t->all_at_once, &r), 0);
    return r.lsn;
}

static void say(void *arg, str sentence)
{
    (void)arg;
    print_error("%.*s\n", STR_ARG(sentence));
}

static void end(struct two *t)
{
    assert_int_equal(index_commit(t->all_at_once), 0);
    assert_int_equal(index_compare(t->one_each, t->all_at_once, say, NULL), 0);
    index_close(t->one_each);
    index_close(t->all_at_once);
}

static size_t load(struct index *ix, uint64_t lsn, struct index_queue_message *m, struct index_queue_recipient **l)
{
    static struct arena a;
    size_t n = 0;
    arena_done(&a);
    a = ARENA(1 << 20);
    return index_queue_load(ix, &a, lsn, m, l, &n) == 1 ? n : SIZE_MAX;
}

static uint64_t dead_bytes(struct index *ix)
{
    struct index_segment g = { 0 };
    return index_segment_next(ix, &g) == 1 ? g.dead : 0;
}

static void test_come_and_go(void **state)
{
    (void)state;
    struct two t;
    struct index_queue_message m;
    struct index_queue_recipient *l;
    begin(&t);
    uint64_t one = apply(&t, queued(64, 3)), two = apply(&t, queued(160, 1));
    assert_int_equal(load(t.one_each, one, &m, &l), 3);
    assert_true(m.position.offset == 64 && m.content_len == 16 && m.received_us == NOW && m.number == 3 &&
                m.priority == 2);
    assert_true(str_eq(m.sender, S("s@here.example")) && str_eq(m.envid, S("E")) && str_eq(m.log, S("in")));
    assert_true(str_eq(l[1].address, S("b@far.example")) && l[1].notify == 4 && l[1].due_us == 0);
    assert_true(l[2].group == 1 && str_eq(l[2].alias, S("out@here.example")) && l[2].index == 2);
    apply(&t, attempted(two, 0, QUEUE_RELAYED, 0, 1));
    assert_int_equal(load(t.one_each, two, &m, &l), SIZE_MAX);
    assert_int_equal(dead_bytes(t.one_each), 96);
    apply(&t, attempted(one, 0, QUEUE_RELAYED, 0, 1));
    apply(&t, attempted(one, 2, QUEUE_FAILED, 0, 1));
    assert_int_equal(load(t.one_each, one, &m, &l), 1);
    apply(&t, attempted(one, 1, QUEUE_DEFERRED, 0, 1));
    assert_int_equal(load(t.one_each, one, &m, &l), 1);
    assert_true(l->index == 1 && l->outcome == QUEUE_DEFERRED && l->attempts == 1 && l->due_us == NOW + 1);
    assert_true(str_eq(l->text, S("450 later")) && str_eq(l->mta, S("mx")) && l->at_us == NOW);
    apply(&t, attempted(one, 1, QUEUE_DROPPED, 0, 2));
    assert_int_equal(load(t.one_each, one, &m, &l), SIZE_MAX);
    assert_int_equal(dead_bytes(t.one_each), 192);
    apply(&t, attempted(one, 1, QUEUE_RELAYED, 0, 3)); /* of nobody */
    assert_int_equal(dead_bytes(t.one_each), 192);
    end(&t);
}

static int count_attempt(void *arg, const struct index_queue_attempt *a)
{
    uint32_t *sum = arg;
    *sum += a->attempts;
    return 0;
}

static void test_owed(void **state)
{
    (void)state;
    struct two t;
    struct index_queue_message m;
    struct index_queue_recipient *l;
    uint64_t event = 0, of;
    uint8_t owed;
    begin(&t);
    uint64_t one = apply(&t, queued(64, 2));
    for (uint32_t i = 1; i <= 9; i++)
        apply(&t, attempted(one, 0, QUEUE_DEFERRED, i == 5 ? QUEUE_DSN_DELAYED + 1 : 0, i));
    uint32_t sum = 0;
    assert_int_equal(index_queue_attempts(t.one_each, one, count_attempt, &sum), 0);
    assert_int_equal(sum, 5 + 6 + 7 + 8 + 9); /* the last five */
    assert_int_equal(index_queue_owed(t.one_each, &event, &of, &owed), 1);
    assert_true(of == one && owed == QUEUE_DSN_DELAYED + 1 && event == queue_event(one + 5, 0));
    struct journal_record made = queued(160, 0);
    made.delivered.queue.dsn_of = one;
    made.delivered.queue.dsn_event = event;
    apply(&t, made);
    event = 0;
    assert_int_equal(index_queue_owed(t.one_each, &event, &of, &owed), 0);
    assert_int_equal(load(t.one_each, one, &m, &l), 2); /* still queued */
    assert_true(l[0].delay_told && !l[0].owed);
    uint64_t failed = apply(&t, attempted(one, 0, QUEUE_FAILED, QUEUE_DSN_FAILED + 1, 10));
    apply(&t, attempted(one, 1, QUEUE_RELAYED, 0, 1));
    assert_int_equal(load(t.one_each, one, &m, &l), 1);
    assert_true(l->state == QUEUE_STATE_FINAL && l->event == queue_event(failed, 0));
    struct journal_record other = queued(256, 0);
    other.delivered.queue.dsn_of = one;
    other.delivered.queue.dsn_event = queue_event(failed, 1); /* of another event: nothing */
    apply(&t, other);
    assert_int_equal(load(t.one_each, one, &m, &l), 1);
    other = queued(352, 0);
    other.delivered.queue.dsn_of = one;
    other.delivered.queue.dsn_event = queue_event(failed, 0);
    apply(&t, other);
    assert_int_equal(load(t.one_each, one, &m, &l), SIZE_MAX);
    end(&t);
}

static struct journal_record changed(uint64_t message, enum queue_op op)
{
    static const uint32_t second[] = { 1 };
    return (struct journal_record){ .kind = JOURNAL_queue_changed, .queue_changed = {
        .op = (uint8_t)op, .message = message, .at_us = NOW + 77, .host = S("[::1]"), .indexes = second, .n = 1 } };
}

static int count_due(void *arg, const struct index_queue_item *i)
{
    (void)i;
    ++*(unsigned *)arg;
    return 0;
}

static unsigned due(struct index *ix, uint64_t until)
{
    unsigned n = 0;
    struct index_queue_due at = { 0 };
    int r;
    while ((r = index_queue_due(ix, &at, until, 2, count_due, &n)) == 2)
        ;
    assert_true(r >= 0);
    return n;
}

static void test_changed(void **state)
{
    (void)state;
    struct two t;
    struct index_queue_message m;
    struct index_queue_recipient *l;
    begin(&t);
    uint64_t one = apply(&t, queued(64, 3));
    assert_int_equal(due(t.one_each, 0), 3);
    apply(&t, changed(one, QUEUE_HOLD));
    assert_int_equal(due(t.one_each, NOW + 100), 2);
    assert_int_equal(load(t.one_each, one, &m, &l), 3);
    assert_true(l[1].state == QUEUE_STATE_HELD && l[0].state == QUEUE_STATE_DUE);
    apply(&t, changed(one, QUEUE_RETRY)); /* not what is held */
    assert_int_equal(due(t.one_each, NOW + 100), 2);
    apply(&t, changed(one, QUEUE_RELEASE));
    assert_int_equal(due(t.one_each, NOW + 76), 2);
    assert_int_equal(due(t.one_each, NOW + 77), 3);
    apply(&t, changed(one, QUEUE_REDIRECT));
    assert_int_equal(load(t.one_each, one, &m, &l), 3);
    assert_true(str_eq(l[1].redirect, S("[::1]")) && l[0].redirect.n == 0);
    end(&t);
}

static void test_relocated(void **state)
{
    (void)state;
    struct two t;
    struct index_queue_message m;
    struct index_queue_recipient *l;
    struct journal_move move = { .from = 64, .to = 64, .length = 96 };
    begin(&t);
    uint64_t one = apply(&t, queued(64, 1));
    apply(&t, (struct journal_record){ .kind = JOURNAL_relocated, .relocated = {
        .log = S("in"), .segment = 1, .to_log = S("store"), .to_segment = 4, .end = 160, .moves = &move, .n = 1 } });
    assert_int_equal(load(t.one_each, one, &m, &l), 1);
    assert_true(str_eq(m.log, S("store")) && m.position.segment == 4 && m.position.offset == 64);
    assert_int_equal(dead_bytes(t.one_each), 96);
    apply(&t, attempted(one, 0, QUEUE_RELAYED, 0, 1));
    struct index_segment g = { 0 };
    assert_int_equal(index_segment_next(t.one_each, &g), 1);
    assert_int_equal(index_segment_next(t.one_each, &g), 1); /* and the copy is dead too */
    assert_int_equal(g.dead, 96);
    end(&t);
}

static void test_rollback(void **state)
{
    (void)state;
    struct index *ix;
    assert_int_equal(index_open_temporary(&ix), 0);
    struct journal_record r = queued(64, 1);
    r.lsn = 1;
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_apply(ix, &r), 0);
    assert_int_equal(index_queue_has(ix, 1), 1);
    index_rollback(ix);
    assert_int_equal(index_queue_has(ix, 1), 0);
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_apply(ix, &r), 0);
    assert_int_equal(index_commit(ix), 0);
    assert_int_equal(index_queue_has(ix, 1), 1);
    uint64_t lsn;
    assert_int_equal(index_queue_next(ix, 0, &lsn), 1);
    assert_int_equal(lsn, 1);
    assert_int_equal(index_queue_next(ix, 1, &lsn), 0);
    index_close(ix);
}

static int remember(void *arg, str destination)
{
    snprintf(arg, 64, "%.*s", STR_ARG(destination));
    return 0;
}

static void test_paused(void **state)
{
    (void)state;
    struct two t;
    char text[64] = "";
    begin(&t);
    struct journal_record r = { .kind = JOURNAL_destination_paused,
                                .destination_paused = { .paused = true, .destination = S("far.example") } };
    apply(&t, r);
    apply(&t, r);
    assert_int_equal(index_queue_paused(t.one_each, remember, text), 0);
    assert_string_equal(text, "far.example");
    r.destination_paused.paused = false;
    apply(&t, r);
    text[0] = '\0';
    assert_int_equal(index_queue_paused(t.one_each, remember, text), 0);
    assert_string_equal(text, "");
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_come_and_go),
        cmocka_unit_test(test_owed),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_relocated),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_paused),
    };
    return cmocka_run_group_tests_name("index_queue", tests, NULL, NULL);
}
