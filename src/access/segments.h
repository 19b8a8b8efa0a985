/* Inside of role access: descriptors of segments that the store handed out, shared by the sessions of all protocols.
 * Who reads holds its segment, so that the descriptor stays open though the cache lets it go. One that compaction has
 * removed gives its room back when nobody holds it any more. */
#pragma once
#include "access/store_call.h"
#include "store/segment.h"

/* A long message has a segment of its own, so a mailbox may be in thousands; to ask the store for each, each time,
 * would cost more than to read them. */
#define SEGMENTS_OPEN_MAX 2048

struct access_segment {
    char log[65];
    uint64_t number, used;
    uint64_t serial;    /* of this descriptor, never given twice */
    uint32_t holds;     /* the cache's own is one of them */
    int fd;
    bool has_key;
    uint8_t key[16];
};

struct segments {
    struct role *role;
    struct store_calls *calls;
    struct access_segment *kept[SEGMENTS_OPEN_MAX]; size_t n;
    size_t max, sweep_at; /* max: a quarter of the descriptors that the role may have, if that is less */
    uint64_t last_serial;
    struct loop_timer sweep;
};
void segments_init(struct segments *all, struct role *role, struct store_calls *calls);
void segments_done(struct segments *all); /* what is held stays until it is released */

/* The segment if it is at hand (release it later), else NULL: ask the store. */
struct access_segment *segments_hold(struct segments *all, str log, uint64_t number);
void segments_release(struct access_segment *g); /* NULL is fine */

struct segment_wait { /* embedded in what waits; zeroed is idle */
    struct store_call call;
    struct segments *all;
    char log[65];
    uint64_t number;
    /* The segment (release it later), or NULL: the store does not have it, or has gone. */
    void (*got)(struct segment_wait *w, struct access_segment *g);
};
/* Asks the store for it; several may wait for the same one. 0, or negative: `got` will not be called. */
int segments_ask(struct segments *all, struct segment_wait *w, str session, str log, uint64_t number);
static inline bool segment_waits(const struct segment_wait *w) { return store_call_waits(&w->call); }
static inline void segment_wait_cancel(struct segment_wait *w) { store_call_cancel(&w->call); }

/* The record header at `offset`, whose RECORD_HEADER_SIZE bytes are `head`: is it the one that was stored there? */
bool segment_record_at(struct access_segment *g, str head, uint64_t offset, struct record_header *out);
