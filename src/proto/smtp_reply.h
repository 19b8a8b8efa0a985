/* Replies as bytes (RFC 5321 4.2), and the table of those that the engine gives by itself. */
#pragma once
#include "base/buf.h"

enum smtp_reply_id {
    SMTP_REPLY_NONE,
#define SMTP_REPLY(name, code, enhanced, text) SMTP_REPLY_##name,
#include "proto/smtp_replies.def"
#undef SMTP_REPLY
    SMTP_REPLIES
};

struct smtp_canned {
    int code;
    str enhanced, text;
};
extern const struct smtp_canned smtp_canned[SMTP_REPLIES];

/* Appends a reply: one line for each line of text, the enhanced code (may be empty) on each, lines cut to 512 octets
 * with CR LF. Control characters become '?', bytes above 127 too unless utf8 (RFC 6531 3.7.4.1). Empty text becomes a
 * word that fits. */
void smtp_reply_write(struct buf *out, int code, str enhanced, str text, bool utf8);
