/* Reads a mailbox snapshot that the store handed out (a sealed memfd, DESIGN 5.6). */
#pragma once
#include "store/segment.h"

struct snapshot { const char *map; size_t size; uint64_t mailbox, lsn; uint32_t uidvalidity, uidnext; size_t n; };
struct snapshot_entry {
    uint32_t uid;
    uint64_t size;          /* prefix + content */
    str prefix;             /* Return-Path and Delivered-To lines of this placement */
    str log; struct log_position position; /* of the record header */
    uint64_t content_len; uint32_t meta_len;
    uint64_t received_us;
    uint8_t session[16]; uint32_t number; /* trace id */
};

/* Maps it (closes fd in every case). 0, -EBADMSG, other negative errno. */
int snapshot_open(int fd, struct snapshot *out);
void snapshot_close(struct snapshot *s);
/* Entry i (< n), bounds checked. 0 or -EBADMSG. */
int snapshot_entry(const struct snapshot *s, size_t i, struct snapshot_entry *out);
