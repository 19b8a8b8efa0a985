/* Threads for password checks: answers come to the loop, in any order, and the queue is bounded. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "auth/hash_pool.h"
#include "auth/password.h"
#include "base/cleanup.h"

enum { THREADS = 2, WAITING_MAX = 8 };

static struct loop *l;
static struct hash_pool *pool; /* lives as long as the process */
static unsigned finished;
static struct arena a;
static struct account_secret secret;

static void done(struct hash_job *job)
{
    (void)job;
    finished++;
}

static int setup(void **state)
{
    (void)state;
    a = ARENA(1 << 20);
    assert_int_equal(loop_new(&env_system, &l), 0);
    pool = hash_pool_new(l, THREADS, WAITING_MAX, done);
    assert_non_null(pool);
    return password_make(&a, &env_system, S("anna@example.org"), S("secret"), &secret);
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&a);
    return 0;
}

static void run_until(unsigned n)
{
    for (int i = 0; i < 1000 && finished < n; i++)
        loop_once(l, 100);
    assert_int_equal(finished, n);
}

static void test_right_and_wrong(void **state)
{
    (void)state;
    struct hash_job jobs[4] = {
        { .secret = &secret, .password = S("secret") }, { .secret = &secret, .password = S("Secret") },
        { .secret = &secret, .password = S("") }, { .secret = &secret, .password = S("secret") },
    };
    finished = 0;
    for (int i = 0; i < 4; i++)
        assert_int_equal(hash_pool_add(pool, &jobs[i]), 0);
    run_until(4);
    assert_true(jobs[0].ok && jobs[3].ok);
    assert_false(jobs[1].ok || jobs[2].ok);
    assert_int_equal(hash_pool_waiting(pool), 0);
}

static void test_the_queue_is_bounded(void **state)
{
    (void)state;
    enum { N = 40 };
    struct hash_job jobs[N];
    unsigned taken = 0;
    finished = 0;
    for (int i = 0; i < N; i++) {
        jobs[i] = (struct hash_job){ .secret = &secret, .password = S("wrong") };
        int r = hash_pool_add(pool, &jobs[i]);
        assert_true(r == 0 || r == -EBUSY);
        taken += r == 0;
        assert_true(hash_pool_waiting(pool) <= WAITING_MAX);
    }
    assert_true(taken >= WAITING_MAX && taken <= WAITING_MAX + 2 * THREADS);
    run_until(taken);
    struct hash_job after = { .secret = &secret, .password = S("secret") };
    assert_int_equal(hash_pool_add(pool, &after), 0);
    run_until(taken + 1);
    assert_true(after.ok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_and_wrong),
        cmocka_unit_test(test_the_queue_is_bounded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
