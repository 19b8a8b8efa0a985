/* The system's clocks and random numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <time.h>
#include "base/env.h"

static void monotonic_clock_goes_forward(void **state)
{
    (void)state;
    uint64_t before = env_system.mono_ms();
    nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
    uint64_t passed = env_system.mono_ms() - before;
    assert_in_range(passed, 19, 10000);
}

static void wall_clock_is_in_microseconds_since_1970(void **state)
{
    (void)state;
    uint64_t us = env_system.wall_us();
    time_t now = time(NULL);
    assert_in_range(us / 1000000, now - 2, now + 2);
}

static void random_fills_all_and_differs(void **state)
{
    (void)state;
    uint8_t a[1001] = { 0 }, b[1001] = { 0 };
    env_system.random(a, 1000);
    env_system.random(b, 1000);
    assert_memory_not_equal(a, b, 1000);
    assert_memory_not_equal(a + 984, b + 984, 16);
    assert_int_equal(a[1000], 0);
    env_system.random(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_clock_goes_forward),
        cmocka_unit_test(wall_clock_is_in_microseconds_since_1970),
        cmocka_unit_test(random_fills_all_and_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
