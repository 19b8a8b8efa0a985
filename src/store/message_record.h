/* What is stored beside the content of a message: the envelope and the session that brought it (DESIGN 5.2), the
 * verdict for each recipient, and the card. Encoded as tagged, length-prefixed fields; unknown tags with the
 * must-understand bit (0x80) are refused, others skipped; duplicates are refused. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct record_recipient {
    str address;          /* canonical, as accepted at RCPT */
    str orcpt;            /* of RCPT, "type;address", decoded; empty: none */
    uint8_t notify;       /* 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY; 0: not given */
    uint8_t verdict;      /* 0 accept, 1 junk, 2 quarantine */
};

/* Whose turn comes first among messages to one destination: a person's letter, then what is relayed, then mail to many
 * and notices. Every fourth turn is the next lower one's (schedule.h). */
enum { RECORD_PRIORITY_NORMAL, RECORD_PRIORITY_HIGH, RECORD_PRIORITY_LOW };

struct message_record {
    uint8_t session[16];  /* trace id S … */
    uint32_t number;      /* … and n: "S.n" */
    uint64_t received_us; /* wall clock at the end of the content */
    str client_addr, client_name, helo, tls, account, listener, protocol;
    str sender;           /* canonical, empty for <> */
    str envid; uint8_t ret, body, priority; /* ret: 1 FULL, 2 HDRS; body: 0 7bit, 1 8bitmime; priority: 1 high, 2 low */
    bool smtputf8, requiretls;
    bool native;          /* into the recipients' own mailboxes, whatever aliases and mechanisms say */
    uint64_t generation;  /* of the directory that judged it */
    const struct record_recipient *recipients; size_t n_recipients;
    str card;
    uint64_t dsn_of, dsn_event; /* it is the DSN of that event (store_queue.h); 0: is none */
    const str *delivered_to; size_t n_delivered_to; /* what Delivered-To lines signed by this host name */
    /* Of APPEND (log "access"): into that mailbox of `account`, with these flags and that INTERNALDATE. It has no
     * recipients. 0: it came by mail. */
    uint64_t append_mailbox;
    uint32_t append_flags; /* system flags as proto/imap_command.h has them */
    const str *append_keywords; size_t n_append_keywords;
    int64_t append_date_s; int16_t append_zone_min;
};

int message_record_encode(struct buf *out, const struct message_record *m);
/* 0, -EBADMSG, -ENOMEM. Slices point into `in`, arrays are in the arena. */
int message_record_decode(struct arena *a, str in, struct message_record *out);
