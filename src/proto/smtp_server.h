/* The server's side of SMTP as a pure machine: bytes in, events and reply bytes out (RFC 5321, 1870, 2034, 2920, 3030,
 * 3207, 4954, 6152, 6531, 9422). One engine serves port 25 (MTA), 587/465 (MSA) and LMTP (RFC 2033). No socket, clock,
 * disk.
 *
 * The owner keeps the input buffer. Loop:
 *     ev = smtp_server_next(s, input, &used);   drop `used` bytes from the front of the input
 * until SMTP_NEED_INPUT, SMTP_NEED_REPLY or SMTP_NEED_DRAIN; write out smtp_server_output(s) whenever it is not empty.
 * Feeding the input whole or byte by byte gives the same events (adjacent SMTP_CONTENT joined; SMTP_NEED_DRAIN and
 * ev.early aside) and the same output.
 *
 * Events marked (reply) stop the engine until smtp_server_reply() is called; that may be later: pipelined input waits.
 * The engine itself answers everything that needs no decision: syntax errors, wrong order, HELP, NOOP, RSET, VRFY,
 * limits. */
#pragma once
#include "base/buf.h"
#include "message/address.h"

/* The engine stops at SMTP_OUTPUT_HIGH bytes of unwritten output; one more reply, or with lmtp one for each recipient,
 * is what it may have beyond that. */
#define SMTP_OUTPUT_HIGH ((size_t)16 * 1024)

struct smtp_limits {
    uint32_t line_max;       /* octets of a command line with CRLF; 2048 (also for 0) covers RFC 5321 4.5.3.1.4 and
                                the extensions. AUTH lines have their own, 12288 (RFC 4954 4). What is longer is
                                thrown away: 500 5.5.2 or 5.5.6; over 1 MiB 421 */
    uint32_t recipients_max; /* accepted per transaction; then 452 4.5.3 (the first 1000 are no errors). 0: none.
                                Up to 999999 it is announced: LIMITS RCPTMAX (RFC 9422) */
    uint32_t errors_max;     /* 5xx/4xx replies per session; then 421 4.7.0 and SMTP_CLOSE. 0: no limit (trusted) */
    uint32_t commands_max;   /* commands that move no mail (NOOP, RSET, VRFY, HELP, EHLO…) between two messages; then
                                421. 0: none */
    uint64_t size_max;       /* message_size_limit: SIZE, 552 5.3.4 */
};

struct smtp_server_config {
    str hostname;            /* in greeting and replies */
    bool msa;                /* submission: domainless addresses allowed, with `auth` MAIL needs it to succeed (530) */
    bool lmtp;               /* RFC 2033: LHLO instead of HELO and EHLO, a reply for each recipient after content */
    bool starttls;           /* offer STARTTLS (while TLS is not on) */
    bool auth;               /* offer AUTH, only when TLS is on; understand AUTH= of MAIL */
    str auth_mechanisms;     /* "PLAIN LOGIN SCRAM-SHA-256" */
    bool smtputf8, chunking;
    bool dsn;                /* offer DSN (RFC 3461) */
    bool normalize_newlines; /* bare LF or CR in content: turn into CRLF; otherwise refuse at its end, 550 5.6.11 */
    struct smtp_limits limits;
};

enum smtp_event_kind {
    SMTP_NEED_INPUT,    /* everything in the input is used up or an incomplete line */
    SMTP_NEED_REPLY,    /* waiting for smtp_server_reply (or tls_started, auth_*) */
    SMTP_NEED_DRAIN,    /* SMTP_OUTPUT_HIGH bytes or more wait in the output: write some, then call again */
    SMTP_CONNECT,       /* (reply) first event of a session, and again after XCLIENT: 220 (text empty: "HOST ESMTP
                           Posthouse"), or 421/521 to close, or another 4xx/5xx: then only QUIT is obeyed (RFC 5321
                           3.1) */
    SMTP_HELO,          /* (reply) ev.text: HELO/EHLO/LHLO argument (1 to 255 printable ASCII octets), ev.esmtp. A 250
                           reply's text is ignored: the engine writes the list. A transaction that was open ends with
                           it: SMTP_RESET comes next */
    SMTP_MAIL,          /* (reply) ev.path, ev.mail; order and SIZE were checked */
    SMTP_RCPT,          /* (reply) ev.path */
    SMTP_DATA,          /* (reply) all recipients are in; content is about to begin (DATA, or the first BDAT:
                           ev.bdat). 354 goes on (for BDAT nothing is written); anything else refuses and ends the
                           transaction: SMTP_RESET comes next, the content of BDAT is skipped by the engine */
    SMTP_CONTENT,       /* ev.data: next piece of content, never empty, without dot-stuffing, with no line end but
                           CRLF (with BDAT the last line may lack it), at most size_max in all; valid until the next
                           call */
    SMTP_CONTENT_END,   /* (reply) the message is complete; whatever the reply, the transaction is over, without
                           SMTP_RESET. With lmtp it takes a reply for each accepted RCPT, in their order:
                           smtp_server_replies_due() calls of smtp_server_reply() */
    SMTP_RESET,         /* the transaction has ended without a message (RSET, EHLO, refused content, too large, BDAT
                           error): forget it. Comes as soon as that is certain; content still to come is swallowed, up
                           to size_max + 1 MiB, then 421 */
    SMTP_STARTTLS,      /* 220 is in the output: write it, do the handshake, call smtp_server_tls_started. The owner
                           must drop everything received so far but unused (RFC 3207 4.2): the engine consumed the
                           command only */
    SMTP_AUTH,          /* (auth) ev.text mechanism (upper case, one of the offered), ev.data decoded initial
                           response, ev.has_data */
    SMTP_AUTH_RESPONSE, /* (auth) ev.data decoded response. With ev.cancelled the exchange is over, the engine has
                           answered and nothing is awaited: "*" (501 5.7.0), no base64 (501 5.5.2), line too long (500
                           5.5.6) */
    SMTP_CLOSE,         /* write the output, close the connection (QUIT or 421) */
    SMTP_XCLIENT,       /* (reply) ev.xclient: the client says whose session this is. 220 takes it: all state but TLS
                           is as before the greeting, nothing is written, and SMTP_CONNECT comes next (HELO of the
                           command stays in force); anything else refuses and changes nothing */
};

/* Attributes of XCLIENT as Postfix's XCLIENT_README has them. What was not given, or given as [UNAVAILABLE] or
 * [TEMPUNAVAIL], is empty; `given` tells the two apart. Values are printable ASCII of at most 255 octets; numbers and
 * PROTO were checked, addresses and names were not. */
enum smtp_xclient_name {
    SMTP_XCLIENT_NAME, SMTP_XCLIENT_ADDR, SMTP_XCLIENT_PORT, SMTP_XCLIENT_PROTO, SMTP_XCLIENT_HELO,
    SMTP_XCLIENT_DESTADDR, SMTP_XCLIENT_DESTPORT, SMTP_XCLIENT_NAMES
};
struct smtp_xclient {
    str value[SMTP_XCLIENT_NAMES]; /* ADDR and DESTADDR without "IPV6:" */
    bool given[SMTP_XCLIENT_NAMES];
    uint16_t port;                 /* of PORT, 0 unknown */
};

struct smtp_mail_params {
    uint64_t size;  /* SIZE=, 0 unknown */
    bool body_8bit; /* BODY=8BITMIME */
    bool smtputf8;  /* SMTPUTF8 */
    str auth;       /* AUTH= decoded xtext, n == 0 none; "<>" kept */
    uint8_t ret;    /* RET= (RFC 3461 4.3): 1 FULL, 2 HDRS; 0 not given */
    str envid;      /* ENVID= (4.4) decoded: 1 to 100 printable ASCII octets; n == 0 none */
};

/* Of RCPT (RFC 3461 4.1, 4.2; RFC 6533 3). */
enum { SMTP_DSN_NEVER = 1, SMTP_DSN_SUCCESS = 2, SMTP_DSN_FAILURE = 4, SMTP_DSN_DELAY = 8 };
struct smtp_rcpt_params {
    uint8_t notify; /* NOTIFY=: bits; 0 not given */
    str orcpt;      /* ORCPT= "type;address", the address decoded, at most 500 octets; n == 0 none */
};

struct smtp_event {
    enum smtp_event_kind kind;
    str text, data;
    bool esmtp, bdat, has_data, cancelled;
    bool early;          /* HELO, MAIL, RCPT, DATA: since the connection or TLS began, bytes were waiting behind a
                            command that must end a pipelined group, or behind any command without EHLO, or before the
                            greeting (RFC 2920 3.1), or a command line ended in a bare LF: for
                            reject_unauth_pipelining. The one thing that depends on how the input was cut */
    struct address path; /* MAIL, RCPT: parts point into ev.text; local.n == 0 && domain.n == 0 is <> */
    struct smtp_mail_params mail;
    struct smtp_rcpt_params rcpt;
    struct smtp_xclient xclient;
};

struct smtp_server; /* opaque, about 250 bytes plus its output, which is given back when it is empty */

/* config must outlive it. NULL without memory. */
struct smtp_server *smtp_server_new(const struct smtp_server_config *config);
void smtp_server_free(struct smtp_server *s);

/* Next event. `in` is all unused input; *out_used tells how many bytes from its front are done with (also set with
 * SMTP_NEED_INPUT). Slices in the event point into `in` or the engine and are valid until the next call. */
void smtp_server_next(struct smtp_server *s, str in, size_t *out_used, struct smtp_event *out);

/* Answers the event that waits. text may hold '\n': a multi-line reply. enhanced "" for none (greeting, HELO, 354).
 * Control characters in text are replaced by '?', as are bytes above 127 outside a SMTPUTF8 transaction; long lines are
 * folded at 512 octets. Codes 421 and 521 also end the session (SMTP_CLOSE next); 421 gets the host name in front.
 * Ignored when nothing waits. */
void smtp_server_reply(struct smtp_server *s, int code, str enhanced, str text);

/* How many replies the event that waits still takes: 1; with lmtp at SMTP_CONTENT_END one for each accepted RCPT; 0
 * when nothing waits. */
uint32_t smtp_server_replies_due(const struct smtp_server *s);

/* Answers SMTP_AUTH / SMTP_AUTH_RESPONSE: send a challenge (334, base64 is done here) ... */
void smtp_server_auth_challenge(struct smtp_server *s, str challenge);
/* ... or end it: 235 2.7.0 when ok, else the given reply (535 5.7.8, 454 4.7.0, 501 5.5.2 …). */
void smtp_server_auth_done(struct smtp_server *s, bool ok, int code, str enhanced, str text);

/* The handshake succeeded: all state is as after the greeting (no HELO, no transaction, no AUTH). Also for implicit
 * TLS, before the first next(). */
void smtp_server_tls_started(struct smtp_server *s);

/* Offers these instead of those of the config: they may depend on the client's TLS. Live as long as the engine. */
void smtp_server_set_mechanisms(struct smtp_server *s, str mechanisms);

/* For trusted clients: errors_max and commands_max do not count. May be called at any time. */
void smtp_server_set_trusted(struct smtp_server *s, bool trusted);

/* Offers XCLIENT (not to everybody: who may use it speaks for any client); 550 5.7.0 otherwise. */
void smtp_server_set_xclient(struct smtp_server *s, bool allowed);

/* Ends the session with 421 at the next call of next() (timeouts 4.4.2, shutdown 4.3.2); while an event waits, after
 * its reply. */
void smtp_server_shutdown(struct smtp_server *s, str enhanced, str text);

/* Reply bytes not yet written; buf_drop() what was sent. */
struct buf *smtp_server_output(struct smtp_server *s);

/* Which timeout applies now (RFC 5321 4.5.3.2): command, content block, or none while an event waits for the owner. */
enum smtp_phase { SMTP_PHASE_COMMAND, SMTP_PHASE_CONTENT, SMTP_PHASE_WORKING };
enum smtp_phase smtp_server_phase(const struct smtp_server *s);
