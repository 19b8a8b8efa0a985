/* What the sendmail command reads: lines as they come, up to a dot alone or the end; the header, which -t looks for
 * recipients in, apart from the rest. Pure; fed whole or in pieces, the same comes out. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "session/drop.h"

#define SENDMAIL_HEADER_MAX ((size_t)262144)

struct sendmail_text { /* SENDMAIL_TEXT(keep_dots) */
    struct drop_lines lines;
    struct buf raw, header;  /* header: complete once header_done, lines end in CRLF */
    size_t line;             /* of the header: where its last line begins */
    bool keep_dots, header_done, ended;
    bool inside;             /* not at the beginning of a line … */
    size_t held;             /* … or at it, and so much of ".\r\n" was seen */
};
#define SENDMAIL_TEXT(dots) \
    ((struct sendmail_text){ .raw = BUF(1 << 20), .header = BUF(SENDMAIL_HEADER_MAX + 4096), .keep_dots = (dots) })

/* Appends to out what does not belong to the header: the empty line and what follows. A first line as mbox files have
 * it ("From …") goes; where a line is no field the header ends without an empty line, and gets one. After `ended` the
 * rest of the input means nothing. piece: at most 64 KiB. 0; -EFBIG: the header is too large; a buf's error. */
int sendmail_text_feed(struct sendmail_text *t, str piece, struct buf *out);
int sendmail_text_end(struct sendmail_text *t, struct buf *out); /* the input has ended */
void sendmail_text_done(struct sendmail_text *t);

/* Recipients: a list that grows in an arena. */
struct sendmail_list { struct arena *arena; struct drop_recipient *list; size_t n, cap; };
/* Adds every address of a list as it stands in a header or on the command line. 0, -ENOMEM, -E2BIG (over
 * DROP_RECIPIENTS_MAX), -EINVAL with *out_bad, the piece that is no address. */
int sendmail_list_add(struct sendmail_list *l, str value, str *out_bad);
/* Those of To, Cc and Bcc, or of Resent-To, Resent-Cc and Resent-Bcc if there are any (RFC 5322 3.6.6). The same. */
int sendmail_list_header(struct sendmail_list *l, str header, str *out_bad);
/* One address (sender): canonical where it has a domain; n == 0 for "<>" and "". -EINVAL: it is none, or more than one.
 */
int sendmail_address(struct arena *a, str text, str *out);
