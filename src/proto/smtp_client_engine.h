/* The inside of the SMTP client engine, shared by smtp_client.c (session), smtp_client_mail.c (transactions) and
 * smtp_client_caps.c (what EHLO says). Nobody else includes this. */
#pragma once
#include "proto/sasl_client.h"
#include "proto/smtp_client.h"
#include "proto/smtp_reply_reader.h"

#define COMMANDS_WAITING_MAX 32768u /* bytes of commands that wait to be written, before more are made */
#define OUTPUT_MAX (SMTP_CLIENT_PIECE_MAX * 3 + 4096u) /* a waiting piece, and one that doubles */
#define RCPTS_MAX 1000u
#define AUTH_REPLY_MAX 12288u /* RFC 4954 4 */

/* Bits, so that a verdict can name several. RCPT_LEFT_OUT stays: no command is made for it, no reply comes. */
enum {
    RCPT_OPEN = 1,
    RCPT_ACCEPTED = 2,
    RCPT_DECIDED = 4,
    RCPT_NEEDS_UTF8 = 8, /* an address that this peer cannot read */
    RCPT_BAD_ADDRESS = 16,
    RCPT_LEFT_OUT = 32,
};

struct smtp_client_tx {
    const struct smtp_client_mail *mail; /* NULL: none */
    uint8_t *rcpt;      /* state of each recipient; of its own */
    uint32_t accepted;
    uint32_t command;   /* next to be written: 0 MAIL, i + 1 RCPT of recipient i, n + 1 DATA */
    uint32_t reply;     /* the same for replies */
    bool mail_ok, mail_refused;
    bool swallow;       /* 354 came although there is no recipient: an empty message ends it (RFC 2920 3.1) */
    uint8_t refuse;     /* RCPT_NEEDS_UTF8, RCPT_BAD_ADDRESS: there are such, their results are due */
    bool utf8;          /* SMTPUTF8 was said */
    bool bdat;
    bool at_start, cr;  /* content: at the start of a line; a CR waits for its LF */
    uint64_t bytes;     /* of content given */
    uint32_t final_at;  /* LMTP: recipient whose reply to the content comes next */
    bool over;          /* all replies are in */
};

struct smtp_client {
    struct smtp_client_config config;
    struct smtp_client_caps caps;
    struct smtp_reply_reader reader;
    struct buf out, scratch;
    struct sasl_client *sasl;
    enum smtp_client_stage stage;
    uint32_t progress, transactions;
    bool tls, authenticated;
    bool helo;          /* HELO was said: EHLO was refused */
    bool auth_cancelled;
    bool rset_due;
    const char *lost;   /* the connection is gone */
    struct smtp_client_tx tx;
    struct {            /* a reply that decides recipients from `at` up to `end` that are in one of `states` */
        struct smtp_client_reply reply;
        uint32_t at, end;
        uint8_t states;
        bool too_many;
    } verdict;
    bool ended;
    struct smtp_client_end end;
};

/* Awaits the answer to what was just written. */
void smtp_client_await(struct smtp_client *c, enum smtp_client_stage stage);
/* The end of the session, with the reply just read or with words of our own. The first one counts. */
void smtp_client_end_reply(struct smtp_client *c, enum smtp_client_why why);
void smtp_client_end_words(struct smtp_client *c, enum smtp_client_why why, str status, str text);
struct smtp_client_reply smtp_client_reply_read(const struct smtp_client *c);

/* smtp_client_caps.c: a line of the answer to EHLO; the first one (with the host name) is not given. */
void smtp_client_caps_line(struct smtp_client_caps *caps, str line);

/* smtp_client_mail.c */
/* Recipients first..end in one of `states` get this reply. */
void smtp_client_decide(struct smtp_client *c, const struct smtp_client_reply *reply, uint32_t first, uint32_t end,
                        uint8_t states);
/* True: *out is a result that was due. */
bool smtp_client_result(struct smtp_client *c, struct smtp_client_event *out);
/* Writes the commands of the transaction that may go out now. */
void smtp_client_pump(struct smtp_client *c);
/* A reply to MAIL, RCPT, DATA or content was read. */
void smtp_client_mail_reply(struct smtp_client *c);
void smtp_client_tx_done(struct smtp_client_tx *tx);
