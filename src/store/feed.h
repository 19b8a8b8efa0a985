/* What the store tells a role that watches a mailbox: items of the change feed, and the entries of a snapshot. One
 * encoding for both (base/pack.h). Items of one mailbox come in the order of their MODSEQ; a snapshot with LSN A
 * already has every item with lsn <= A. An item fits a frame (FEED_ITEM_MAX): long ones are split. */
#pragma once
#include "base/buf.h"
#include "base/pack.h"
#include "store/segment.h"

#define FEED_ITEM_MAX 48000

struct mailbox_entry {      /* a message in a mailbox */
    uint32_t uid;
    uint32_t flags;         /* IMAP_SEEN … */
    uint64_t keywords;      /* bits: the mailbox's keywords in order */
    uint64_t modseq;
    uint64_t size;          /* prefix + content: what clients see */
    str prefix;             /* Return-Path and Delivered-To lines of this placement */
    str log; struct log_position position; /* of the record header */
    uint64_t content_len; uint32_t meta_len;
    int64_t date_s; int16_t date_zone_min; /* INTERNALDATE */
    uint8_t session[16]; uint32_t number;  /* trace id: also EMAILID */
};

enum feed_kind {
    FEED_ARRIVED,  /* entries, ascending UIDs above all before */
    FEED_FLAGS,    /* (uid, flags, keywords) as they are now, all with this MODSEQ */
    FEED_EXPUNGED, /* uids */
    FEED_PLACES,   /* compaction moved content: (uid, offset) now in log, segment */
    FEED_KEYWORD,  /* keyword number `bit` has this name; before its first use */
    FEED_RENAMED,  /* name */
    FEED_GONE      /* the mailbox was deleted */
};

struct feed_item {
    enum feed_kind kind;
    uint64_t lsn, modseq;
    uint32_t n;          /* of what follows; read with the functions below */
    str log; uint64_t segment; /* FEED_PLACES */
    uint8_t bit; str name;     /* FEED_KEYWORD, FEED_RENAMED */
    struct unpack in;    /* the rest */
};
/* 0 or -EBADMSG; looks at all of it: reading n afterwards does not fail. Slices point into `item`. */
int feed_decode(str item, struct feed_item *out);
/* The next of n; false when there is none, or the item is of another kind. */
bool feed_entry(struct feed_item *f, struct mailbox_entry *out);
bool feed_flags(struct feed_item *f, uint32_t *out_uid, uint32_t *out_flags, uint64_t *out_keywords);
bool feed_uid(struct feed_item *f, uint32_t *out_uid);
bool feed_place(struct feed_item *f, uint32_t *out_uid, uint64_t *out_offset);

/* Writing, for the store. feed_begin(); for FEED_PLACES feed_put_segment(); what the kind has, n times; feed_end() with
 * the place in `out` where feed_begin() was called. FEED_KEYWORD, FEED_RENAMED and FEED_GONE have n 0. A failure is the
 * buf's. */
void feed_begin(struct buf *out, enum feed_kind kind, uint64_t lsn, uint64_t modseq);
void feed_put_entry(struct buf *out, const struct mailbox_entry *e); /* size is not written: prefix + content */
void feed_put_flags(struct buf *out, uint32_t uid, uint32_t flags, uint64_t keywords);
void feed_put_uid(struct buf *out, uint32_t uid);
void feed_put_segment(struct buf *out, str log, uint64_t segment);
void feed_put_place(struct buf *out, uint32_t uid, uint64_t offset);
void feed_put_keyword(struct buf *out, uint8_t bit, str name);
void feed_put_name(struct buf *out, str name);
void feed_end(struct buf *out, size_t begin, uint32_t n);
