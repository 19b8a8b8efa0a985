/* Where events go (DESIGN 1.5, 8.9): each is one logfmt line, written to the role's trace (append-only segments, not
 * synced, bounded in age and size) and, from `log_level` on, to standard error. Lines are gathered and written once a
 * turn of the loop. */
#pragma once
#include "base/event.h"
#include "io/loop.h"

struct events {
    const struct env *env;
    struct loop_turn turn;
    const char *role;
    enum event_level log_level;
    int trace_dir;               /* -1: no trace */
    int trace_fd;
    uint64_t trace_opened_us;
    uint64_t trace_written;      /* bytes in the open segment */
    uint64_t trace_size, trace_age_ms; /* bounds for this role */
    struct buf line, trace, log;
    enum event_level level;
    uint64_t dropped;            /* lines that could not be written */
};

void events_init(struct events *e, struct loop *l, const char *role);
/* Takes the folder over; segments are ROLE.NUMBER.trace. */
void events_set_trace(struct events *e, int dir_fd, uint64_t size, uint64_t age_ms);
void events_done(struct events *e); /* writes what is left */

/* Begins a line; add fields with event_str/event_u64 on the returned buffer, end with events_end. */
struct buf *events_begin(struct events *e, enum event_level level, const char *name);
void events_end(struct events *e);
/* Forgets the line that was begun. */
void events_drop(struct events *e);
void events_flush(struct events *e);
/* A whole event with one text. */
void events_say(struct events *e, enum event_level level, const char *name, str what);
bool event_level_parse(str s, enum event_level *out);
