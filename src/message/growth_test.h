/* For the tests of this room: how the time of a parser grows with its input. Processor time, the least of several
 * runs, so that other work on the machine does not count. */
#pragma once
#include <time.h>
#include "base/buf.h"

static inline double growth_seconds(void (*run)(str input), str input)
{
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        run(input);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        best = s < best ? s : best;
    }
    return best;
}

static inline double growth_seconds_of(void (*run)(str input), str head, str unit, str tail, size_t n)
{
    _cleanup_buf_ struct buf b = BUF((size_t)1 << 28);
    buf_add(&b, head);
    for (size_t i = 0; i < n; i++)
        buf_add(&b, unit);
    buf_add(&b, tail);
    return b.failed ? 1e9 : growth_seconds(run, buf_str(&b));
}

/* T(2n) / T(n) for `head`, n times `unit`, `tail`: the least of three trials. n is raised until the time can be measured
 * well or the input has 16 MiB. */
static inline double growth(void (*run)(str input), str head, str unit, str tail, size_t n)
{
    double least = 1e9;
    for (int trial = 0; trial < 3 && least >= 2.4; trial++) {
        double once = growth_seconds_of(run, head, unit, tail, n);
        while (once < 0.002 && n * unit.n < (size_t)1 << 24) {
            n *= 2;
            once = growth_seconds_of(run, head, unit, tail, n);
        }
        double twice = growth_seconds_of(run, head, unit, tail, 2 * n);
        least = twice / once < least ? twice / once : least;
    }
    return least;
}
