/* Replies as a client reads them (RFC 5321 4.2): lines of three digits, the last one without a hyphen. Whatever a peer
 * sends, the memory is bounded. Fed in any pieces the result is the same. */
#pragma once
#include "base/buf.h"

#define SMTP_REPLY_LINE_KEPT 1024  /* bytes of a line that are looked at; 512 are allowed */
#define SMTP_REPLY_TEXT_KEPT 2000  /* bytes of a reply's text; what comes later is left out */
#define SMTP_REPLY_BYTES_MAX 65536 /* a longer reply is none */

struct smtp_reply_reader {
    uint32_t bytes;       /* of this reply so far */
    uint16_t code;        /* of its last whole line: that one counts when they differ */
    uint32_t lines;       /* of this reply so far */
    bool over;            /* it is whole, the next byte begins another */
    bool line_over;       /* the next byte begins another line */
    struct buf line;      /* being read, without its end */
    struct buf text;      /* lines read, joined by '\n', control characters made '?' */
    char status_text[12]; /* of the last line that has one: "5.1.1" */
    uint8_t status_n;
};

enum smtp_reply_read {
    SMTP_REPLY_MORE, /* the input is used up */
    SMTP_REPLY_LINE, /* a line that is not the last: smtp_reply_reader_line() */
    SMTP_REPLY_WHOLE,
    SMTP_REPLY_BAD,  /* no SMTP reply, or too long */
};

struct smtp_reply_reader smtp_reply_reader_begin(void);
void smtp_reply_reader_done(struct smtp_reply_reader *r);
/* Takes from the front of `in`: *out_used bytes are done with. Ends behind each line. */
enum smtp_reply_read smtp_reply_reader_feed(struct smtp_reply_reader *r, str in, size_t *out_used);
/* Text behind the code of the line just read, at most SMTP_REPLY_LINE_KEPT bytes. */
str smtp_reply_reader_line(const struct smtp_reply_reader *r);
/* The enhanced status code of a whole reply (RFC 2034): the peer's if it fits the code, else one made from the code
 * (RFC 3463, 5248). "" for a 3xx. */
str smtp_reply_reader_status(const struct smtp_reply_reader *r);
