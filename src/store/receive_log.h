/* The receive log of one role (DESIGN 1.1, 5.1 to 5.4): messages are appended once and made durable by one fdatasync
 * shared by all that finished meanwhile. One thread of its own syncs (the next sync starts when the last returned, no
 * timer) and prepares segments ahead of need. All other calls belong to the role's loop thread.
 *
 * A message is durable when receive_log_synced() has reached its ticket; only then may 250 be sent. */
#pragma once
#include "store/segment.h"

struct receive_log; /* opaque */
struct receive_log_config {
    int dir_fd;              /* folder of this log; stays the caller's */
    uint64_t segment_size;
    const struct env *env;
    uint64_t memory_max;     /* bytes staged but not yet written, 64 MiB */
};

int receive_log_open(const struct receive_log_config *config, struct receive_log **out);
/* Waits for the syncs under way and stops the thread. */
void receive_log_close(struct receive_log *l);
int receive_log_fd(
    const struct receive_log *l); /* eventfd: readable when syncs ended; receive_log_progress() clears it */
uint64_t receive_log_first_segment(const struct receive_log *l); /* every lower one was sealed by an earlier process */

/* Stages a whole message (content may be in several pieces: head, body). Copied. *out_ticket is set. 0, -ENOSPC (disk
 * or staged memory), -EIO after a failed write or sync. */
int receive_log_append(struct receive_log *l, const str *pieces, size_t n, str meta, uint64_t *out_ticket,
                       struct log_position *out_position);
/* Writes what was staged with one pwrite; call once at the end of each turn of the loop. */
int receive_log_flush(struct receive_log *l);

/* A message too large to hold goes to a segment of its own from the first byte. */
struct log_stream;
int receive_log_stream_begin(struct receive_log *l, struct log_stream **out);
int receive_log_stream_write(struct log_stream *s, str piece);
/* Flushes, so that lower tickets are written first. Frees s in both cases. */
int receive_log_stream_finish(struct log_stream *s, str meta, uint64_t *out_ticket, struct log_position *out_position);
void receive_log_stream_abort(struct log_stream *s); /* removes the file; NULL is fine; before the log closes */

uint64_t receive_log_synced(const struct receive_log *l);
/* After the eventfd fired: what became durable since the last call, as (segment, end offset), for the store. Returns
 * how many (at most n; call again while it returns n), or -EIO when a sync failed: then nothing more is acknowledged,
 * every waiting message gets 451 and the role restarts (a sync is never retried). */
int receive_log_progress(struct receive_log *l, struct log_position *out, size_t n);
/* All segments of this process with their durable end, for a store that comes back. Same calling. */
size_t receive_log_state(const struct receive_log *l, struct log_position *out, size_t n);
struct receive_log_stats { uint64_t appended, synced_batches, bytes; };
void receive_log_stats(const struct receive_log *l, struct receive_log_stats *out);
