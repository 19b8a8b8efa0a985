/* What the journal says about queued messages: recipients that lead off this host or are delivered by a mechanism, what
 * became of each attempt, what an administrator did. A queued message is known by the LSN of its `delivered` record, a
 * recipient by its place in the list of that record. Part of journal_record.h. */
#pragma once
#include "base/str.h"

/* What became of a recipient. The first four are those of JOB_RESULT. */
enum queue_outcome {
    QUEUE_RELAYED,        /* the next host took it, and the DSN with it */
    QUEUE_RELAYED_NO_DSN, /* taken by a host that knows no DSN (RFC 3461 5.2.2) */
    QUEUE_DEFERRED,
    QUEUE_FAILED,
    QUEUE_EXPIRED,
    QUEUE_DELIVERED,      /* into a mailbox of this host, or by a mechanism of it */
    QUEUE_EXPANDED,       /* an alias with several targets (RFC 3461 5.2.7.3 c) */
    QUEUE_WAITING,        /* not tried yet; of an attempt: none was made, only a DSN is owed */
    QUEUE_DROPPED,
    QUEUE_OUTCOMES
};

/* Kinds of DSN, as in DSN_MAKE; owed ones are counted from 1 that 0 may stand for none. */
enum queue_dsn_kind { QUEUE_DSN_FAILED, QUEUE_DSN_DELAYED, QUEUE_DSN_RELAYED, QUEUE_DSN_DELIVERED, QUEUE_DSN_EXPANDED,
                      QUEUE_DSN_KINDS };

/* NOTIFY and RET as they are in message records. */
enum { QUEUE_NOTIFY_NEVER = 1, QUEUE_NOTIFY_SUCCESS = 2, QUEUE_NOTIFY_FAILURE = 4, QUEUE_NOTIFY_DELAY = 8 };

struct journal_queued {
    uint8_t outcome;  /* QUEUE_WAITING, or what it was already when the message was expanded and a DSN is owed */
    uint8_t owed;     /* enum queue_dsn_kind + 1, or 0 */
    uint8_t part;     /* of the DSN's event, see queue_event() */
    uint8_t notify;
    uint32_t group;   /* recipients of one group have the same sender and alias: they may share a job */
    str address;      /* where it goes */
    str original;     /* the envelope's recipient; empty: address */
    str orcpt;
    str sender;       /* rewritten because it is forwarded; empty: the message's */
    str alias;        /* our address that forwards; empty: the envelope named `address` itself */
    str status, text; /* of an outcome that is not QUEUE_WAITING */
    str via, user;    /* a mechanism (route/mechanism.h) and the system user as whom; via n == 0: by the routes */
};

struct journal_queue {  /* part of `delivered` */
    bool present;
    str sender, envid;
    uint8_t ret, body, priority;
    bool smtputf8, requiretls;
    bool last_resort;   /* it tells the postmaster of a DSN that failed: if this fails too, nobody is told */
    uint64_t dsn_of, dsn_event; /* the message is the DSN of that event, which is made with this; 0: is none */
    const struct journal_queued *recipients;
    size_t n;
};

struct journal_attempt {
    uint32_t index;
    uint8_t outcome;    /* never QUEUE_EXPANDED; QUEUE_DELIVERED: by a local mechanism */
    uint8_t owed, part; /* as above */
    uint16_t code;      /* 0: said by us, not by the other host */
    uint32_t attempts;  /* so far, with this one */
    uint64_t due_us;    /* QUEUE_DEFERRED: wall clock of the next */
    str status, text;
};

struct journal_attempted {
    uint64_t message, at_us;
    str mta, tls;       /* who answered */
    const struct journal_attempt *list;
    size_t n;
};

enum queue_op { QUEUE_HOLD = 1, QUEUE_RELEASE, QUEUE_RETRY, QUEUE_REDIRECT, QUEUE_OPS };

struct journal_queue_changed {
    uint8_t op;         /* enum queue_op */
    uint64_t message, at_us;
    str by, host;       /* host: of QUEUE_REDIRECT; empty: no longer */
    const uint32_t *indexes; /* n == 0: all that are not final */
    size_t n;
};

struct journal_destination_paused {
    bool paused;
    str destination, by;
    uint64_t at_us;
};

/* An event of DSN: what a DSN tells of. One record may owe several, each of which fits in a frame. */
static inline uint64_t queue_event(uint64_t lsn, uint8_t part) { return lsn << 8 | part; }
static inline bool queue_is_final(uint8_t outcome)
{
    return outcome != QUEUE_DEFERRED && outcome != QUEUE_WAITING;
}
