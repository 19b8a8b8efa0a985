/* Which notice is owed for which result: the rules of RFC 3461 5.2.2 to 5.2.7 as a table. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_queue_internal.h"

enum { N = QUEUE_NOTIFY_NEVER, S_ = QUEUE_NOTIFY_SUCCESS, F = QUEUE_NOTIFY_FAILURE, D = QUEUE_NOTIFY_DELAY };

/* -1: none. */
static int owed(enum queue_outcome outcome, int notify)
{
    return queue_owes((uint8_t)outcome, (uint8_t)notify, false, false) - 1;
}

static void test_failure(void **state)
{
    (void)state;
    for (int notify = 0; notify < 16; notify++) {
        int want = !notify || notify & F ? QUEUE_DSN_FAILED : -1;
        assert_int_equal(owed(QUEUE_FAILED, notify), want);
        assert_int_equal(owed(QUEUE_EXPIRED, notify), want);
    }
    assert_int_equal(owed(QUEUE_FAILED, N), -1);
    assert_int_equal(owed(QUEUE_FAILED, S_ | D), -1);
}

/* 5.2.5: with NOTIFY but without DELAY no word of a delay. */
static void test_delay(void **state)
{
    (void)state;
    for (int notify = 0; notify < 16; notify++)
        assert_int_equal(owed(QUEUE_DEFERRED, notify), !notify || notify & D ? QUEUE_DSN_DELAYED : -1);
    assert_int_equal(owed(QUEUE_DEFERRED, N), -1);
    assert_int_equal(owed(QUEUE_DEFERRED, S_ | F), -1);
}

static void test_success(void **state)
{
    (void)state;
    for (int notify = 0; notify < 16; notify++) {
        bool asked = notify & S_;
        assert_int_equal(owed(QUEUE_RELAYED, notify), -1); /* the next host took that over */
        assert_int_equal(owed(QUEUE_RELAYED_NO_DSN, notify), asked ? QUEUE_DSN_RELAYED : -1);
        assert_int_equal(owed(QUEUE_DELIVERED, notify), asked ? QUEUE_DSN_DELIVERED : -1);
        assert_int_equal(owed(QUEUE_EXPANDED, notify), asked ? QUEUE_DSN_EXPANDED : -1);
        assert_int_equal(owed(QUEUE_DROPPED, notify), -1);
    }
}

/* Of a message without a sender the postmaster hears, once, and of its failure alone; of that notice nobody hears. */
static void test_without_a_sender(void **state)
{
    (void)state;
    for (int outcome = 0; outcome < QUEUE_OUTCOMES; outcome++)
        for (int notify = 0; notify < 16; notify++) {
            bool failed = outcome == QUEUE_FAILED || outcome == QUEUE_EXPIRED;
            int got = queue_owes((uint8_t)outcome, (uint8_t)notify, true, false) - 1;
            assert_int_equal(got, failed ? QUEUE_DSN_FAILED : -1);
            assert_int_equal(queue_owes((uint8_t)outcome, (uint8_t)notify, true, true), 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_success),
        cmocka_unit_test(test_without_a_sender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
