/* The client's side of SMTP and LMTP as a pure machine: the peer's bytes in, events and bytes to write out (RFC 5321,
 * 1870, 2033, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 8689, 9422). Counterpart of smtp_server.h. No socket,
 * clock, disk.
 *
 * The owner keeps the input buffer. Loop:
 *     ev = smtp_client_next(c, input, &used);   drop `used` bytes from the front of the input
 * until SMTP_CLIENT_NEED_INPUT, _NEED_TLS, _READY, _NEED_CONTENT or _END; write out smtp_client_output(c) whenever it
 * is not empty, and call next() again when it has been written: a long list of recipients comes in portions. Feeding
 * the input whole or byte by byte gives the same events and the same output.
 *
 * A session: greeting, EHLO (HELO if that is refused), STARTTLS, EHLO, AUTH; then SMTP_CLIENT_READY. Then any number of
 * transactions, one after the other: smtp_client_send(), a RESULT for each recipient, DONE, READY again (RSET is sent
 * where one is owed). Its end is SMTP_CLIENT_END, once; recipients without a result get one before it. */
#pragma once
#include "base/buf.h"

#define SMTP_CLIENT_TEXT_MAX  2000  /* of a reply's text, the rest is left out */
#define SMTP_CLIENT_REPLY_MAX 65536 /* a longer reply ends the session */
#define SMTP_CLIENT_PIECE_MAX 65536 /* of content; asked for when no more than this waits to be written */

enum smtp_client_event_kind {
    SMTP_CLIENT_NEED_INPUT,   /* everything in the input is used up or an incomplete line */
    SMTP_CLIENT_NEED_TLS,     /* STARTTLS was answered by 220: handshake, then smtp_client_tls_started(). */
    SMTP_CLIENT_READY,        /* smtp_client_send() or smtp_client_quit() may be called; come back with input too: the
                                 peer may say 421 or close */
    SMTP_CLIENT_NEED_CONTENT, /* smtp_client_content() until its end; come back with input too */
    SMTP_CLIENT_RESULT,       /* ev.result: what became of one recipient */
    SMTP_CLIENT_DONE,         /* the transaction is over, all recipients have their result */
    SMTP_CLIENT_END,          /* the session is over: write the output, close. ev.end says why */
};

/* Where in the session something happened; also which timeout applies (RFC 5321 4.5.3.2). */
enum smtp_client_stage {
    SMTP_STAGE_CONNECT,  /* never of the engine: for its owner */
    SMTP_STAGE_GREETING, /* 5 min */
    SMTP_STAGE_HELO,     /* 5 min: EHLO, HELO, LHLO */
    SMTP_STAGE_STARTTLS, /* 5 min: the command */
    SMTP_STAGE_TLS,      /* the handshake */
    SMTP_STAGE_AUTH,     /* 5 min */
    SMTP_STAGE_IDLE,     /* READY: nothing is awaited */
    SMTP_STAGE_MAIL,     /* 5 min */
    SMTP_STAGE_RCPT,     /* 5 min for each recipient */
    SMTP_STAGE_DATA,     /* 2 min for 354 */
    SMTP_STAGE_CONTENT,  /* 3 min for each block */
    SMTP_STAGE_FINAL,    /* 10 min for the reply to the final dot; with LMTP for each recipient */
    SMTP_STAGE_RSET,     /* 20 s */
    SMTP_STAGE_QUIT,     /* 5 s are enough */
    SMTP_STAGES
};
/* "EHLO", "MAIL FROM", "end of content" …: for a sentence "in reply to …". */
str smtp_client_stage_text(enum smtp_client_stage stage);

/* A reply of the peer, or a sentence of our own (code 0). Slices are good until the next call of next(). */
struct smtp_client_reply {
    uint16_t code;                /* 200 to 599 of the peer; 0: our own words */
    str status;                   /* "5.1.1": the peer's, else made from the code (RFC 3463); "" for a 3xx */
    str text;                     /* the whole reply as sent, lines with their codes joined by '\n', control
                                     characters made '?', at most SMTP_CLIENT_TEXT_MAX bytes; of our own words: a
                                     sentence */
    enum smtp_client_stage stage;
};

/* As JOB_RESULT has it. */
enum smtp_outcome {
    SMTP_RELAYED,        /* the peer has the message, and the DSN parameters with it */
    SMTP_RELAYED_NO_DSN, /* the peer has it but knows no DSN (RFC 3461 5.2.7: `relayed` may be owed) */
    SMTP_DEFERRED,
    SMTP_FAILED,
};

struct smtp_client_result {
    uint32_t index;      /* of the recipient */
    enum smtp_outcome outcome;
    bool too_many;       /* deferred only because the transaction had enough recipients (452 4.5.3 or 552 to RCPT while
                            others were accepted, RFC 5321 4.5.3.1.10): send it in the next transaction */
    struct smtp_client_reply reply;
};

enum smtp_client_why {
    SMTP_END_QUIT,       /* we said QUIT and the peer answered or closed */
    SMTP_END_REPLY,      /* the peer refused us or is closing (421): ev.end.reply */
    SMTP_END_LOST,       /* the peer closed (smtp_client_lost) */
    SMTP_END_PROTOCOL,   /* what it said is no SMTP */
    SMTP_END_TLS,        /* no STARTTLS offered, or it was refused, or input behind its 220 */
    SMTP_END_AUTH,       /* no mechanism in common, or refused */
    SMTP_END_MEMORY,
    SMTP_END_BDAT,       /* CHUNKING was offered, BDAT answered with 500 or 502: what followed it was read as commands.
                            The message is deferred; send it with no_chunking (RFC 3030 2) */
};
struct smtp_client_end {
    enum smtp_client_why why;
    struct smtp_client_reply reply; /* of the peer, or our sentence; its stage is where it ended */
};

struct smtp_client_event {
    enum smtp_client_event_kind kind;
    struct smtp_client_result result;
    struct smtp_client_end end;
};

/* What EHLO said, of the last EHLO. */
struct smtp_client_caps {
    bool esmtp, pipelining, eightbitmime, smtputf8, chunking, dsn, starttls, enhanced_codes, requiretls;
    bool size;
    uint64_t size_max;                          /* 0: offered without a limit */
    bool auth_plain, auth_login, auth_scram256; /* mechanisms we know */
    uint32_t mail_max, rcpt_max, rcpt_domain_max; /* LIMITS (RFC 9422), 0: none */
};

struct smtp_client_config { /* slices must outlive the engine */
    str hostname;               /* of EHLO */
    bool lmtp;
    bool starttls;              /* use STARTTLS when offered */
    bool starttls_required;     /* and end (SMTP_END_TLS) when it is not offered or refused */
    bool tls;                   /* the connection has TLS from its first byte (port 465) */
    str user, secret, nonce;    /* AUTH when user is not empty; nonce: 18 or more unpredictable bytes for SCRAM */
    bool auth_in_clear;         /* AUTH without TLS too */
    bool no_chunking;           /* DATA, whatever EHLO offers */
};

/* DSN parameters of RFC 3461 4: bits of NOTIFY; 0: not given. */
enum { SMTP_NOTIFY_NEVER = 1, SMTP_NOTIFY_SUCCESS = 2, SMTP_NOTIFY_FAILURE = 4, SMTP_NOTIFY_DELAY = 8 };
enum smtp_ret { SMTP_RET_NONE, SMTP_RET_FULL, SMTP_RET_HDRS };

struct smtp_client_rcpt {
    str address;    /* local@domain, without brackets */
    str orcpt;      /* "rfc822;bob@example.org": type and address, the address not encoded; "" none */
    uint8_t notify;
};

struct smtp_client_mail { /* it and what it points to must live until SMTP_CLIENT_DONE or _END */
    str sender;             /* "" is <> */
    str envid;              /* not encoded, "" none */
    enum smtp_ret ret;
    uint64_t size;          /* octets of content, for SIZE; 0 unknown */
    bool exact;             /* `size` is exact: BDAT may be used */
    bool body_8bit;         /* BODY=8BITMIME where offered. Whether content must be converted for a peer that does not
                               offer it is the owner's affair, before it calls */
    bool smtputf8;          /* needs SMTPUTF8: with a peer that does not offer it all recipients fail, 5.6.7; without
                               it only those whose address is not ASCII */
    bool requiretls;        /* RFC 8689: with a peer that does not offer it over TLS all recipients fail, 5.7.30 */
    const struct smtp_client_rcpt *rcpts;
    uint32_t n;             /* 1 to smtp_client_fit() */
};

struct smtp_client; /* opaque */

/* config is copied, what it points to not. NULL without memory. */
struct smtp_client *smtp_client_new(const struct smtp_client_config *config);
void smtp_client_free(struct smtp_client *c); /* wipes secrets */

/* Next event. `in` is all unused input; *out_used tells how many bytes from its front are done with. */
void smtp_client_next(struct smtp_client *c, str in, size_t *out_used, struct smtp_client_event *out);

/* Bytes not yet written; buf_drop() what was sent. */
struct buf *smtp_client_output(struct smtp_client *c);

/* The handshake succeeded: what was known of the peer is forgotten, EHLO is said again (RFC 3207 4.2). */
void smtp_client_tls_started(struct smtp_client *c);

/* Begins a transaction; only after READY. 0, -EINVAL (not ready, no or too many recipients), -ENOMEM. */
int smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *mail);

/* Adds content after NEED_CONTENT: pieces of at most SMTP_CLIENT_PIECE_MAX; `last` ends it (the piece may be empty).
 * Dots are stuffed, bare CR or LF become CRLF and the last line gets its end; with BDAT the bytes go as they are.
 * Ignored when no content is due. */
void smtp_client_content(struct smtp_client *c, str piece, bool last);

/* The owner cannot give the rest of the content (disk): the session ends, recipients are deferred with `why` (static
 * text). The final dot is never sent. */
void smtp_client_abort(struct smtp_client *c, const char *why);

/* Says QUIT; END follows. Only after READY, ignored otherwise. */
void smtp_client_quit(struct smtp_client *c);

/* The connection is gone, or the owner gives up on it (why: static text, "timed out", "connection closed"): undecided
 * recipients are deferred, then END. Replies that wait in the input are still read first. */
void smtp_client_lost(struct smtp_client *c, const char *why);

const struct smtp_client_caps *smtp_client_caps(const struct smtp_client *c);
/* How many of these recipients, from the first on, one transaction may have: at most 1000, less by LIMITS RCPTMAX and
 * RCPTDOMAINMAX; at least 1 of n > 0. */
uint32_t smtp_client_fit(const struct smtp_client *c, const struct smtp_client_rcpt *rcpts, uint32_t n);
/* Another transaction is possible (LIMITS MAILMAX). */
bool smtp_client_reusable(const struct smtp_client *c);
/* END is due or was given. */
bool smtp_client_ended(const struct smtp_client *c);
/* What is awaited now. */
enum smtp_client_stage smtp_client_phase(const struct smtp_client *c);
/* Changes with each reply and each command that waits for one: when it does, the timeout begins anew. */
uint32_t smtp_client_progress(const struct smtp_client *c);
