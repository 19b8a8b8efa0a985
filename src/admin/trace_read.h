/* Reading the traces (DESIGN 1.5): the segments ROLE.NUMBER.trace of all roles, mapped, and searched without an index.
 * A search looks for bytes first and parses only lines that hold them, so a gibibyte takes about a second. Nothing here
 * trusts the files: a damaged line is not found, or ends where the damage begins. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/codec.h"

#define TRACE_LINES_MAX 65536     /* lines that one search keeps */
#define TRACE_PREFIX_MIN 6        /* letters of a session that are enough (DESIGN 8.7) */

struct trace_segment {
    char role[32];
    uint64_t number;
    const char *p; size_t n;      /* whole lines only */
    size_t mapped;
    uint64_t begin_us, end_us;    /* times of the first and last line */
};

struct trace {
    struct trace_segment *segment; /* the one that ends latest first */
    size_t n, cap;
    uint64_t bytes, begin_us, end_us; /* of all; 0 without lines */
};

/* Maps all segments of a folder; files of other names are passed over. 0, or negative errno. */
int trace_open(int dir_fd, struct trace *out);
void trace_done(struct trace *t);
#define _cleanup_trace_ _cleanup_(trace_done)

/* What the user typed: a session S, a message S.n, or the beginning of either. */
struct trace_name {
    char text[B32_ID_LEN]; size_t n; /* lower case; n < B32_ID_LEN: a prefix */
    bool has_number; uint32_t number;
};
/* "abcdef" or "abcdef.3" in either case, i l as 1, o as 0. 0, -EINVAL (not letters of an id, not a number after the
 * dot), -ERANGE (fewer than TRACE_PREFIX_MIN letters, or more than an id has). */
int trace_name_parse(str s, struct trace_name *out);

struct trace_line {
    str text;                     /* in the mapped segment, with its newline */
    uint64_t time_us;
    char session[B32_ID_LEN];     /* of the id by which it was found: its session=, or for a retrieval its message= */
    uint32_t number;              /* of the message; 0: the session as a whole (connect, tls, auth…) */
    uint32_t tagged;              /* the number as written: an `auth` after a refused MAIL has that message's */
};
struct trace_lines { struct trace_line *line; size_t n, cap; bool truncated; /* more than TRACE_LINES_MAX */ };
void trace_lines_done(struct trace_lines *l);
#define _cleanup_trace_lines_ _cleanup_(trace_lines_done)

int trace_lines_add(struct trace_lines *l, const struct trace_line *line); /* 0 or -ENOMEM */

/* Every line whose session= or message= begins with the name's letters, in the order of time; with a number only those
 * of that message and of the sessions as a whole. 0 or -ENOMEM. */
int trace_find_id(const struct trace *t, const struct trace_name *name, struct trace_lines *out);
/* The lines of many messages and of their sessions as a whole, in one pass. Segments that end a day before since_us are
 * left out. */
int trace_find_messages(const struct trace *t, const struct trace_lines *messages, uint64_t since_us,
                        struct trace_lines *out);

/* Looks for lines that have `address` as sender, recipient, account or user, ASCII case ignored. `wanted` sees the line
 * and the name of its event before anything is parsed; `found` gets what is left. Segments come latest first, lines of
 * one in the order of time; `enough` (may be NULL) is asked before each further segment with the time of its last
 * line. */
struct trace_visitor {
    bool (*wanted)(void *arg, str line, str event);
    void (*found)(void *arg, const struct trace_line *line, str event);
    bool (*enough)(void *arg, uint64_t end_us);
    void *arg;
};
void trace_find_address(const struct trace *t, str address, const struct trace_visitor *v);

/* The name of a line's event, empty if it has none. */
str trace_line_event(str line);

/* A line taken apart. Values are decoded, in the arena. */
struct trace_field { str key, value; };
struct trace_event { uint64_t time_us; str name; const struct trace_field *field; size_t n; };
/* 0 or -ENOMEM. A damaged line gives the fields before the damage. */
int trace_event_read(struct arena *a, const struct trace_line *line, struct trace_event *out);
/* the first of that key; n == 0: not there, or empty */
str trace_get(const struct trace_event *e, const char *key);
bool trace_is(const struct trace_event *e, const char *key, str value);
/* The next field of that key from *at on (start with 0). */
bool trace_next(const struct trace_event *e, const char *key, size_t *at, str *out_value);
