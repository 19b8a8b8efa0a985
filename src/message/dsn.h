/* Delivery status notifications (RFC 3461 to 3464, 6522, 6533): the message that tells a sender what became of his, in
 * words for people, in fields for programs, and with the message or its header behind. Pure: the caller appends the
 * original between dsn_begin() and dsn_end(). */
#pragma once
#include "base/buf.h"

enum dsn_kind { DSN_FAILED, DSN_DELAYED, DSN_RELAYED, DSN_DELIVERED, DSN_EXPANDED, DSN_KINDS };

struct dsn_recipient {
    str address;        /* where it was to go */
    str original;       /* of the envelope; empty: the same */
    str orcpt;          /* "type;address", not encoded; empty: none */
    str status;         /* "5.1.1" */
    str mta;            /* who said it: "mx.example.net [192.0.2.1]:25"; empty: this host */
    uint16_t code;      /* of the other host's reply; 0: our own words */
    str text;           /* the whole reply, lines joined by '\n', or our words */
    int64_t at_s;       /* of the last attempt; 0 unknown */
    int64_t until_s;    /* DSN_DELAYED: how long it is tried */
};

struct dsn {
    enum dsn_kind kind;
    str hostname;       /* of this host */
    str from;           /* address it comes from: nobody reads answers to it */
    str postmaster;     /* address of a person of this host; empty: none is named */
    str to;             /* the sender of the original */
    str message_id;     /* local@domain for this message */
    str original_id;    /* Message-ID field of the original with its brackets; empty: none */
    str original_subject; /* value of its Subject, unfolded; empty: none */
    str trace_id;       /* "S.n" of the original */
    str envid;          /* not encoded; empty: none */
    str boundary;       /* 1 to 60 letters and digits that nobody can foresee */
    int64_t now_s, arrival_s;
    int offset_min;
    bool smtputf8;      /* the original needs SMTPUTF8, and so does this (RFC 6533) */
    bool whole;         /* the original follows whole, else its header alone */
    bool last_resort;   /* to the postmaster, about a message without a sender */
    const struct dsn_recipient *recipients; size_t n;
};

/* The message up to where the original begins. The buf's error. No line of it is longer than 998 octets; control bytes
 * of others come out escaped. */
int dsn_begin(struct buf *out, const struct dsn *d);
int dsn_end(struct buf *out, const struct dsn *d);
/* What a person can do about it: a sentence for each kind of status, empty if we know none. */
str dsn_advice(str status);
