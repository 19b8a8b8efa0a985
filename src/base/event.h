/* One event a line in logfmt: `time=… level=… event=… key=value`. The same line is the log, the trace and the source of
 * the metrics. Values are written so that no byte of a peer can start a new key or line: anything but plain printable
 * ASCII without space, quote, equals and backslash is put in quotes with \" \\ \n \r \t and \xNN; valid UTF-8 letters
 * pass inside quotes; C1 controls, bidi controls and line separators do not. The level and the keys are ours. */
#pragma once
#include "base/buf.h"

enum event_level { EVENT_DEBUG, EVENT_INFO, EVENT_WARN, EVENT_ERROR };

void event_begin(struct buf *b, uint64_t wall_us, enum event_level level, const char *name);
void event_str(struct buf *b, const char *key, str value);
void event_u64(struct buf *b, const char *key, uint64_t value);
void event_end(struct buf *b); /* the newline */

/* Reads a line back: the next key, and its value decoded and appended to `value` (cleared by the caller). *line moves
 * on, past the newline after the last field. False at the end, and when the line is damaged: then *line stays and is
 * not empty. */
bool event_field(str *line, str *out_key, struct buf *value);
/* The value of one key, decoded into `value` (cleared first). False: not there. */
bool event_get(str line, const char *key, struct buf *value);

/* Text of a peer made safe for a terminal: control bytes, C1, bidi controls, line separators and broken UTF-8 as \xNN.
 * The buf's error. */
int print_safe(struct buf *b, str s);
/* True if s is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool utf8_valid(str s);
