/* The real world behind struct env: the kernel's clocks and random numbers. */
#include <sys/random.h>
#include <time.h>
#include "base/env.h"
#include <errno.h>
#include <stdlib.h>

static uint64_t system_mono_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t system_wall_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Ids and MAC keys without random bytes would be worse than no process, so this aborts. */
static void system_random(void *p, size_t n)
{
    char *at = p;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        at += got;
        n -= (size_t)got;
    }
}

const struct env env_system = {
    .mono_ms = system_mono_ms,
    .wall_us = system_wall_us,
    .random = system_random,
};
