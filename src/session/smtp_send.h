/* One connection that sends mail: SMTP or LMTP to one address, with TLS and AUTH, any number of messages one after the
 * other. Joins proto/smtp_client.h to a socket. The owner chooses the address, the TLS level and what to do with the
 * results; nothing is retried here.
 *
 *     smtp_send_open() ... up() ... smtp_send_message() ... result() for each recipient ... done() ...
 *     smtp_send_message() ... smtp_send_quit() ... down()
 *
 * Callbacks come from the loop, never from inside a call of the owner. down() comes once, after which the object is
 * closed and may be freed or opened again, inside down() too. In up(), done() and down() the owner may call anything;
 * in result() nothing of this header. Memory: about 4 KiB idle, at most 256 KiB of output while content is sent, 128
 * KiB of input. */
#pragma once
#include "io/conn.h"
#include "proto/smtp_client.h"

enum smtp_send_tls {
    SMTP_SEND_TLS_NONE,          /* no STARTTLS, in clear */
    SMTP_SEND_TLS_OPPORTUNISTIC, /* STARTTLS where offered, any certificate */
    SMTP_SEND_TLS_MANDATORY,     /* any certificate, but never in clear */
    SMTP_SEND_TLS_VERIFIED,      /* the certificate names target.host and leads to a known CA (RFC 6125, 7817) */
};

/* Milliseconds; 0: what RFC 5321 4.5.3.2 says (connect 30 s, handshake 60 s, RSET 20 s, QUIT 5 s). A whole phase must
 * be over by then: bytes that drip in win nothing. Content: for each block of 64 KiB. */
struct smtp_send_timeouts {
    uint32_t connect, greeting, helo, starttls, tls, auth, mail, rcpt, data, content, final, rset, quit;
};

struct smtp_send_config { /* one for all connections of a role; must outlive them */
    str hostname;             /* of EHLO */
    SSL_CTX *tls;             /* tls_client_context(): levels opportunistic and mandatory; NULL: no TLS */
    SSL_CTX *tls_verified;    /* the same with CAs: level verified */
    struct smtp_send_timeouts timeouts;
};

struct smtp_send_target { /* copied, with what it points to */
    str address;              /* numeric IPv4 or IPv6, without brackets, or the path of a Unix socket */
    uint16_t port;
    str host;                 /* its name, for SNI and the certificate; "" none (SNI left out, cannot be verified) */
    str source;               /* numeric source address, "" any */
    bool lmtp;
    bool tls_at_once;         /* TLS from the first byte (port 465) */
    enum smtp_send_tls tls;
    bool no_chunking;         /* DATA, whatever EHLO offers */
    str user, secret;         /* AUTH when user is not empty: only over TLS, or with level none to 127.0.0.0/8 or ::1 */
};

enum smtp_send_body {
    SMTP_SEND_BODY_UNKNOWN,   /* not declared: may hold bytes above 127 all the same */
    SMTP_SEND_BODY_8BIT,      /* came with BODY=8BITMIME */
    SMTP_SEND_BODY_7BIT,      /* surely none: never looked at */
};

struct smtp_send_message { /* it, what it points to and fd must live until done() or smtp_send_close() */
    str sender;               /* "" is <> */
    str envid;
    enum smtp_ret ret;
    enum smtp_send_body body;
    bool smtputf8;            /* the client asked for SMTPUTF8. To a peer without it the message goes all the same if
                                 addresses and headers are ASCII; else 5.6.7 */
    bool requiretls;          /* RFC 8689 */
    str prefix;               /* header lines before the content, each with CRLF */
    int fd;                   /* content: [offset, offset + length) of this file, read by pread() */
    uint64_t offset, length;
    const struct smtp_client_rcpt *rcpts;
    uint32_t n;               /* any number: split into transactions as the peer's limits ask */
};

/* Why the connection ended. */
struct smtp_send_end {
    bool was_up;              /* it had reached up(): otherwise the site has failed */
    bool polite;              /* smtp_send_quit(), or the peer closed an idle connection */
    bool try_clear;           /* opportunistic TLS failed on a fresh connection: open another with SMTP_SEND_TLS_NONE */
    bool no_chunking;         /* it offers CHUNKING and knows no BDAT: open the next one with target.no_chunking */
    struct smtp_client_reply reply; /* code 0: text is our own sentence ("connection refused", "timed out …"). Good in
                                       down() only. status is set: "4.3.0" this host has no
                                       descriptor or memory left, "4.4.1" no connection, "4.4.2" lost, "4.7.5" TLS */
};

struct smtp_send;
struct smtp_send_events {
    void (*up)(struct smtp_send *s);
    /* Each recipient once; the slices are good in it only. */
    void (*result)(struct smtp_send *s, const struct smtp_client_result *r);
    void (*done)(struct smtp_send *s);  /* all recipients have their result. smtp_send_ready() tells whether another
                                           message may follow; else down() comes */
    void (*down)(struct smtp_send *s, const struct smtp_send_end *end); /* a message under way had its results and its
                                                                           done() before */
};

struct smtp_send { /* embedded in its owner; zeroed is closed. Fields up to the blank line may be read */
    char tls_text[96];        /* "TLS1.3 TLS_AES_256_GCM_SHA384", "" in clear */
    bool tls_verified;
    uint32_t connect_ms, tls_ms; /* how long they took; 0 before */
    uint32_t messages;        /* begun so far: above 1 the connection was reused */
    uint32_t transfer_ms;     /* of the last message: from smtp_send_message() to its last result */

    const struct smtp_send_config *config;
    const struct smtp_send_events *events;
    struct loop *loop;
    struct conn conn;
    struct loop_timer timer, step;
    struct smtp_client *engine;
    struct smtp_send_private *p;
};

/* Begins to connect. 0, or -EINVAL (addresses), -ENOMEM, and nothing is to be closed; what goes wrong later comes as
 * down(). */
int smtp_send_open(struct smtp_send *s, struct loop *l, const struct smtp_send_config *config,
                   const struct smtp_send_target *target, const struct smtp_send_events *events);
/* A message may be sent now: up() was called and none is under way, and the peer's MAILMAX is not reached. */
bool smtp_send_ready(const struct smtp_send *s);
/* Begins to send. 0, -EINVAL (not ready, no recipients), -ENOMEM. */
int smtp_send_message(struct smtp_send *s, const struct smtp_send_message *m);
/* Says QUIT if nothing is under way and waits a little for the answer, then down(). */
void smtp_send_quit(struct smtp_send *s);
/* Closes at once, without any callback; safe on a closed one. */
void smtp_send_close(struct smtp_send *s);
/* What the peer said it can, of the last EHLO; NULL before up(). */
const struct smtp_client_caps *smtp_send_caps(const struct smtp_send *s);
