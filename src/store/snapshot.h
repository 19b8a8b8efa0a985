/* Reads a mailbox snapshot that the store handed out (a sealed memfd, DESIGN 5.6). */
#pragma once
#include "store/feed.h"

#define SNAPSHOT_KEYWORDS_MAX 64

struct snapshot {
    const char *map; size_t size;
    uint64_t mailbox, lsn, modseq;            /* modseq: the highest */
    uint32_t uidvalidity, uidnext, recent;    /* recent: messages from this UID on are \Recent */
    str keywords[SNAPSHOT_KEYWORDS_MAX]; size_t n_keywords;
    size_t n;
};

/* Maps it (closes fd in every case). 0, -EBADMSG, other negative errno. */
int snapshot_open(int fd, struct snapshot *out);
void snapshot_close(struct snapshot *s);
/* Entry i (< n), bounds checked. 0 or -EBADMSG. Its slices point into the map. */
int snapshot_entry(const struct snapshot *s, size_t i, struct mailbox_entry *out);
