/* The inside of the SMTP server engine, shared by smtp_server.c (lines, content, replies) and smtp_commands.c (what
 * each command does). Nobody else includes this. */
#pragma once
#include "proto/smtp_content.h"
#include "proto/smtp_reply.h"
#include "proto/smtp_server.h"

#define AUTH_LINE_MAX     12288u     /* RFC 4954 4.5: octets with CR LF */
#define HELO_MAX          255u       /* RFC 5321 4.5.3.1.2 */
#define OUTPUT_MAX        (1u << 20) /* far above SMTP_OUTPUT_HIGH and one reply: beyond it something is broken */
#define OUTPUT_LMTP_MAX   (16u << 20) /* the same, with a reply for each recipient */
#define OUTPUT_KEEP       256u       /* an empty output buffer larger than this is given back: idle sessions are many */
#define DISCARD_LINE_MAX  (1u << 20) /* of a line that is too long */
#define DISCARD_EXTRA_MAX (1u << 20) /* beyond size_max, of refused content */
#define RCPTMAX_MAX       999999u    /* RFC 9422 4.2: six digits */
#define OVERSHOOT_MAX     1000u /* recipients over the limit that are no errors yet: a list in one pipelined group */

enum smtp_mode { CONNECT, COMMAND, LONG_LINE, AUTH_LINE, DATA, BDAT, BDAT_SKIP, CLOSED, MODES };

enum smtp_wait {
    WAIT_NONE,
    WAIT_CONNECT,
    WAIT_HELO,
    WAIT_EHLO,
    WAIT_MAIL,
    WAIT_RCPT,
    WAIT_DATA,
    WAIT_BDAT,
    WAIT_CONTENT,
    WAIT_TLS,
    WAIT_AUTH,
    WAIT_XCLIENT,
};

struct smtp_transaction {
    uint64_t received;   /* octets of content handed out */
    uint64_t discarded;  /* octets of content thrown away since it was refused */
    uint32_t recipients; /* accepted ones */
    uint32_t overshoot;  /* refused because there were recipients_max of them */
    bool open;           /* MAIL was accepted */
    bool smtputf8;
    bool bdat;                  /* the first BDAT was accepted */
    enum smtp_reply_id refused; /* content is thrown away, and this answers its end; the owner has had SMTP_RESET */
    struct smtp_content content;
};

struct smtp_server {
    const struct smtp_server_config *config;
    str mechanisms;      /* of AUTH */
    struct buf out;
    struct buf scratch;  /* decoded values of the last event; wiped at the next call */
    struct buf farewell; /* a 421 that waits for the event it must not overtake */
    struct smtp_transaction tx;
    uint64_t chunk, chunk_size; /* octets of the BDAT chunk still to come, and all of them */
    uint32_t replies;           /* still due for the content that has ended */
    uint32_t skip_replies;      /* how often skip_reply is given */
    uint32_t errors, junk;
    uint32_t line_discarded;
    enum smtp_mode mode;
    enum smtp_wait wait;
    enum smtp_reply_id skip_reply; /* answers a BDAT whose content is skipped; NONE: was answered already */
    bool chunk_last;
    bool reset_due; /* SMTP_RESET is the next event */
    bool tls, authenticated, trusted, early;
    bool xclient; /* the client may use it */
    bool xclient_helo, xclient_esmtp; /* what the XCLIENT that waits says of HELO and PROTO */
    bool spoke; /* a command was seen */
    bool helo, esmtp;
    bool turned_away;   /* the greeting was a refusal: QUIT is all that is left (RFC 5321 3.1) */
    bool auth_long;     /* the line being thrown away belongs to AUTH */
    bool auth_exchange; /* ... and is a response, so the exchange ends with it */
};

/* Appends a reply; 421 and 521 close the session. */
void smtp_write_reply(struct smtp_server *s, int code, str enhanced, str text);
void smtp_say(struct smtp_server *s, enum smtp_reply_id id);
/* The same, as the end of a handler that has no event. Returns false. */
bool smtp_answer(struct smtp_server *s, enum smtp_reply_id id);
/* Puts an event that waits for the owner into ev. Returns true. */
bool smtp_ask(struct smtp_server *s, enum smtp_wait wait, enum smtp_event_kind kind, struct smtp_event *ev);
/* A reply of the engine to content that has ended: once, or with LMTP for each of `times` recipients. */
void smtp_say_times(struct smtp_server *s, enum smtp_reply_id id, uint32_t times);
/* How many replies the end of the content gets now: with LMTP one a recipient (RFC 2033 4.2), `last` told apart from
 * the end of a BDAT chunk (4.3). */
uint32_t smtp_replies_at_end(const struct smtp_server *s, bool last);
/* The only end of a transaction. `tell`: the owner does not know yet, SMTP_RESET follows. */
void smtp_transaction_end(struct smtp_server *s, bool tell);
/* How much refused content is thrown away before the session is closed. */
uint64_t smtp_discard_max(const struct smtp_server *s);
/* base64 into the scratch buffer. */
enum smtp_reply_id smtp_decode_response(struct smtp_server *s, str text);

/* Obeys one command line (without its end). True: ev holds an event. `more_behind`: further input has arrived already.
 */
bool smtp_command(struct smtp_server *s, str line, bool more_behind, struct smtp_event *ev);
