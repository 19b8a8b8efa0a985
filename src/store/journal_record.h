/* What a journal record says: a tagged union, encoded as a kind byte and packed fields. Decoding trusts nothing:
 * counts are checked against the bytes that are there before anything is allocated. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "store/journal_mailbox.h"
#include "store/journal_queue.h"

enum journal_kind {
#define JOURNAL_RECORD(code, name) JOURNAL_##name = code,
#include "store/journal_records.def"
#undef JOURNAL_RECORD
};

struct journal_mailbox_created {
    uint64_t id;
    str account, name;
    uint32_t uidvalidity;
};

struct journal_placement {
    uint64_t mailbox;
    uint32_t uid;
    str account;     /* owner of the mailbox */
    str prefix;      /* lines that this recipient sees before the content */
    str recipient;   /* of the envelope; empty: the same as account */
    str reason;      /* why it went to postmaster; else empty */
};

struct journal_unplaced {
    str recipient, reason;
};

/* One message of a receive log, expanded once and placed: all of it or nothing. */
struct journal_delivered {
    str log;
    uint64_t segment, offset, end; /* end: of the record in the receive log */
    uint64_t content_len;
    uint32_t meta_len;
    uint64_t received_us;
    uint8_t session[16];
    uint32_t number;
    bool again;      /* fills a gap that damage left: not in the order of the log */
    bool no_card;    /* its record has none */
    const struct journal_placement *placed;
    size_t n_placed;
    const struct journal_unplaced *unplaced;
    size_t n_unplaced;
    struct journal_queue queue; /* records of the first version have none */
    struct journal_append append;
};

/* A stretch of a receive log that gives no message: damage, or a record that cannot be read. */
struct journal_skipped {
    str log;
    uint64_t segment, offset, end;
    bool again;
    str reason;
};

/* A segment of an earlier process that was read to its end and never changes again. */
struct journal_sealed {
    str log;
    uint64_t segment, end;
};

struct journal_expunged {
    uint64_t mailbox;
    const uint32_t *uids;
    size_t n;
    uint64_t at_us;  /* wall clock; records of the first version have none: 0 */
};

/* Records were lost: every UIDNEXT goes up by so much, that no UID is ever given twice. */
struct journal_jumped {
    uint32_t by;
};

struct journal_move {
    uint64_t mailbox;
    uint32_t uid;
    uint64_t from, to; /* offsets of the record's header */
    uint64_t length;   /* of the whole record */
};

/* Compaction copied these messages to a segment of another log, which is durable and sealed at `end`. */
struct journal_relocated {
    str log;
    uint64_t segment;
    str to_log;
    uint64_t to_segment, end;
    const struct journal_move *moves; /* in the order of `to` */
    size_t n;
};

struct journal_record {
    enum journal_kind kind;
    uint64_t lsn; /* not encoded: the sequence of the record's header */
    union {
#define JOURNAL_RECORD(code, name) struct journal_##name name;
#include "store/journal_records.def"
#undef JOURNAL_RECORD
    };
};

/* The buf's error. */
int journal_record_encode(struct buf *out, const struct journal_record *r);
/* 0; -EBADMSG; -EPROTO (a kind of a newer version that must be understood); -ENOENT (one that may be passed over);
 * -ENOMEM. Slices point into `in`, arrays are in the arena. */
int journal_record_decode(struct arena *a, str in, uint64_t lsn, struct journal_record *out);
