/* The world behind one table: clock and random today; a simulator or a test puts its own in. Pure code never calls it:
 * it gets time as an argument. */
#pragma once
#include "base/str.h"

struct env {
    uint64_t (*mono_ms)(void);  /* monotonic milliseconds, for every timer */
    uint64_t (*wall_us)(void);  /* microseconds since 1970, for dates and due times */
    void (*random)(void *p, size_t n); /* unpredictable bytes; never fails (aborts at start if the kernel has none) */
};

extern const struct env env_system;
