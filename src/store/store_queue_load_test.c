/* A long queue is read from the index in steps; what is new does not wait for its end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_queue_play.h"

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

/* A job that is lost while all is read anew, before its row was come to: its recipient is in memory once. */
static void test_a_job_lost_while_loading(void **state)
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
    send_one(p, "new@other.example");
    run(p);
    assert_int_equal(p->n_jobs, 1);
    assert_int_equal(store_queue_configure(p->w.store, p->conf), 0);
    assert_int_equal(store_queue_run(p->w.store), 0);
    assert_int_equal(store_queue_wait(p->w.store), 0); /* it still reads */
    store_queue_detach(p->w.store, QUEUE_SENDS);
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_SENDS, NULL, 0, true), 0);
    run(p);
    jump_ms = 62000;
    run(p);
    struct store_queue_stats stats;
    store_queue_stats(p->w.store, &stats);
    assert_int_equal(stats.recipients, MESSAGES * EACH + 1);
    assert_int_equal(p->n_jobs, 2);
    assert_string_equal(p->jobs[1].to, "new@other.example");
    assert_int_equal(p->jobs[1].n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_new_mail_while_loading),
                                        cmocka_unit_test(test_a_job_lost_while_loading) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
