/* The journal: every change of state in one order, LSN 1, 2, 3 … (DESIGN 1.2). Only the store writes it. Reading
 * comes first: open, replay, then start, after which records can be written. */
#pragma once
#include "base/arena.h"
#include "store/segment.h"

struct journal;
struct journal_config {
    int dir_fd;              /* stays the caller's */
    uint64_t segment_size;
    const struct env *env;
};

/* Looks at the segments; changes nothing. */
int journal_open(const struct journal_config *config, struct journal **out);
void journal_free(struct journal *j); /* waits for the syncs under way; NULL is fine */

struct journal_entry {
    uint64_t lsn;
    str payload;             /* valid during the call */
    uint64_t segment, offset;
    bool damaged;            /* damage was walked round before this record, or LSNs are missing */
};
struct journal_replay {
    uint64_t after;          /* only records with a higher LSN are handed out */
    bool repair;             /* make what is read durable, cut an unfinished tail */
    int (*entry)(void *arg, const struct journal_entry *e);      /* a negative result ends the replay with it */
    void (*note)(void *arg, str what);                           /* damage, one sentence each */
    void *arg;
};
struct journal_found {
    uint64_t last;           /* highest LSN; lower than `after`: the tail was lost */
    bool damaged;            /* there is damage behind it */
};
/* Reads the segments as they are now; also allowed after journal_start(), without `repair`. 0 or negative errno. */
int journal_replay(struct journal *j, const struct journal_replay *r, struct journal_found *out);

/* Begins a new segment and the sync thread; removes segments without a record that are older. */
int journal_start(struct journal *j);
int journal_fd(const struct journal *j); /* eventfd, readable when a sync ended */
void journal_clear(struct journal *j);
/* Frames: lsn u64, length u32, payload, again and again. Written with one pwrite; the sync starts. Only one batch
 * at a time: the last LSN of the one before must be durable (so an interrupted write can only have damaged the last
 * batch). 0, -ENOSPC (nothing was written, try again), -EIO (dead). */
void journal_frame(struct buf *frames, uint64_t lsn, str payload);
/* Next frame of a run of them. False at the end. */
bool journal_frame_next(str *frames, uint64_t *out_lsn, str *out_payload);
int journal_write(struct journal *j, str frames);
uint64_t journal_durable(const struct journal *j);
int journal_failed(const struct journal *j);
uint64_t journal_syncs(const struct journal *j);
