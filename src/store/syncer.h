/* The sync thread that a receive log and the journal share (DESIGN 5.4): it makes segments ready ahead of need
 * (preallocated, header written, file and folder synced) and makes written ones durable. The next fdatasync starts
 * when the last returned: no timer; whatever was marked meanwhile shares it. If a sync fails the syncer is dead:
 * nothing is reached any more.
 *
 * All calls belong to one thread, the owner's; the thread inside is the only other one. Once a file is marked with
 * `seal` it belongs to the syncer, which truncates it to its end and closes it. */
#pragma once
#include "store/segment.h"

struct syncer;
struct syncer_config {
    int dir_fd;              /* stays the caller's */
    uint8_t kind;            /* of struct segment_header */
    uint64_t segment_size;   /* preallocated */
    uint64_t first_number;   /* of the first segment made ready */
    unsigned pool;           /* segments kept ready */
    const struct env *env;
};

struct segment_file {
    uint64_t number, size;   /* size: preallocated bytes */
    uint8_t key[16];
    int fd;                  /* read and write */
};

int syncer_new(const struct syncer_config *config, struct syncer **out);
/* Finishes the syncs asked for, stops the thread, removes segments that were made ready and never used, but not the
 * one with the highest number: numbers are never given out twice. NULL is fine. */
void syncer_free(struct syncer *s);
int syncer_fd(const struct syncer *s);      /* eventfd: readable when a sync ended */
void syncer_clear(struct syncer *s);        /* makes it unreadable */

/* The next ready segment; waits for the thread if there is none. -ENOSPC, -EIO after a failed sync, other negative
 * errno. */
int syncer_take(struct syncer *s, struct segment_file **out);
/* The file is written up to `end`: make it durable, then count `ticket` (never lower than the last one) as reached. */
void syncer_mark(struct syncer *s, struct segment_file *f, uint64_t end, bool seal, uint64_t ticket);
/* Gives a taken file up that holds nothing of worth: removed, or emptied if it has the highest number. */
void syncer_drop(struct syncer *s, struct segment_file *f);

uint64_t syncer_reached(const struct syncer *s);
int syncer_failed(const struct syncer *s);  /* 0, or -EIO when a sync failed */
uint64_t syncer_batches(const struct syncer *s);
/* The next file that became durable further than told before. False: no more. */
bool syncer_ready(struct syncer *s, struct log_position *out);
/* All files with their durable end, i from 0; false past the end. Order is unspecified. */
bool syncer_state(struct syncer *s, size_t i, struct log_position *out);

/* fdatasync, or what a test puts in its place to see a sync fail. */
extern int (*syncer_fdatasync)(int fd);
