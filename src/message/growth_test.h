/* For the tests of this room: how the time of a parser grows with its input. The clock is the test's; the least of
 * several runs counts, so that other work on the machine does not. */
#pragma once
#include "base/buf.h"

struct growth {
    double (*seconds)(void); /* processor time so far */
    void (*run)(str input);
};

static inline double growth_time(const struct growth *g, str input)
{
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        double from = g->seconds();
        g->run(input);
        double s = g->seconds() - from;
        best = s < best ? s : best;
    }
    return best;
}

static inline double growth_time_of(const struct growth *g, str head, str unit, str tail, size_t n)
{
    _cleanup_buf_ struct buf b = BUF((size_t)1 << 28);
    buf_add(&b, head);
    for (size_t i = 0; i < n; i++)
        buf_add(&b, unit);
    buf_add(&b, tail);
    return b.failed ? 1e9 : growth_time(g, buf_str(&b));
}

/* T(2n) / T(n) for `head`, n times `unit`, `tail`: the least of three trials. n is raised until the time can be
 * measured well or the input has 16 MiB. */
static inline double growth(const struct growth *g, str head, str unit, str tail, size_t n)
{
    double least = 1e9;
    for (int trial = 0; trial < 3 && least >= 2.4; trial++) {
        double once = growth_time_of(g, head, unit, tail, n);
        while (once < 0.002 && n * unit.n < (size_t)1 << 24) {
            n *= 2;
            once = growth_time_of(g, head, unit, tail, n);
        }
        double twice = growth_time_of(g, head, unit, tail, 2 * n);
        least = twice / once < least ? twice / once : least;
    }
    return least;
}
