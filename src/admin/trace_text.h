/* Events as sentences for a person, and as JSON for a program. All text of peers goes through print_safe. */
#pragma once
#include <jansson.h>
#include "admin/trace_read.h"

/* One event as a sentence without an end: "logged in as alice@posthouse.test". An event that has no sentence of its own
 * is shown by its fields. brief: without the rules that were looked at. */
void trace_sentence(struct buf *out, const struct trace_event *e, bool brief);

/* Fills a template: `{key}` is the value, `{key#}` a number in groups of three, `{key*}` all values in angle brackets
 * (the first five), `{a!b}` the value of a if b's differs, `{key?}` prints nothing. What stands in `[ ]` is dropped
 * when one of its keys is absent, empty or "0". Keys in `hidden` (may be NULL) count as absent. */
void trace_fill(struct buf *out, const char *pattern, const struct trace_event *e, const char *hidden);

/* Who speaks in an event, for the second column: MTA, MSA, POP3, store… `listener` is that of the session's connect, or
 * empty. */
str trace_agent(const struct trace_event *e, str listener);

void trace_put_clock(struct buf *out, uint64_t us);   /* 07:55:03.123 */
void trace_put_date(struct buf *out, uint64_t us);    /* 2026-11-24 */
void trace_put_moment(struct buf *out, uint64_t us);  /* 2026-11-24 07:55:03 UTC */
void trace_put_number(struct buf *out, uint64_t n);   /* 2,153 */
void trace_put_id(struct buf *out, const struct trace_line *line); /* S or S.n */

/* The fields of an event as an object; a key that repeats becomes an array, a key that is always a number an integer.
 * NULL: no memory. */
json_t *trace_event_json(const struct trace_event *e);
/* Appends j, indented, ASCII only, with a newline; gives j back. 0, or -ENOMEM also for j NULL. */
int trace_put_json(struct buf *out, json_t *j);
