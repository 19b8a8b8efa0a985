/* The inside of smtp_send.h, shared by smtp_send.c (the connection) and smtp_send_mail.c (a message on it). Nobody else
 * includes this. */
#pragma once
#include "io/connect.h"
#include "message/downgrade.h"
#include "session/smtp_send.h"

#define BLOCK SMTP_CLIENT_PIECE_MAX

struct smtp_send_private {
    struct smtp_send *s;
    struct connect connect;
    union connect_address to;
    struct buf text;           /* what the target's slices point to */
    struct smtp_send_target target;
    uint8_t nonce[24];
    uint64_t since;            /* loop_now(): connecting, the handshake, or the message */
    uint32_t progress;         /* of the engine, when the timer was set */
    bool timer_set;
    bool was_up, ready;
    bool handshaking;
    bool failed_on_tls;        /* the connection was lost by the handshake */
    char words[160];           /* a sentence made here, for `lost` */
    bool down_due;             /* done() was called for the message that the end of the connection cut */
    int open_error;            /* connecting failed at once */

    /* the message under way */
    const struct smtp_send_message *message;
    enum { MAIL_NONE, MAIL_SCAN, MAIL_BEGIN, MAIL_SEND, MAIL_OVER } step;
    struct smtp_client_mail mail;
    struct smtp_client_rcpt *rcpts; /* of the transaction */
    uint32_t *left, n_left;    /* recipients without a result; the first mail.n are in the transaction, and those that
                                  it has decided are UINT32_MAX */
    struct downgrade *downgrade; /* content is looked at, or converted */
    bool convert;
    uint64_t at;               /* content read so far, counted from the prefix */
    struct buf block;          /* content read, to be given to the engine */
    struct buf converted;
};

/* Begins or goes on with the message: looks at content, begins the next transaction. */
void smtp_send_mail_step(struct smtp_send *s);
/* Gives the engine more content. */
void smtp_send_mail_content(struct smtp_send *s);
void smtp_send_mail_result(struct smtp_send *s, const struct smtp_client_result *r);
/* A transaction is over. */
void smtp_send_mail_done(struct smtp_send *s);
/* The connection is over: what has no result gets this one. */
void smtp_send_mail_lost(struct smtp_send *s, const struct smtp_client_reply *reply);
void smtp_send_mail_free(struct smtp_send_private *p);
