/* 8-bit content for a peer without 8BITMIME (RFC 6152 3): the leaf parts that hold bytes above 127 become
 * quoted-printable or base64 (RFC 2045 6), whichever is shorter for text; parts around them that said 8bit or binary
 * say 7bit. message/rfc822 is entered. A message without MIME fields gets them (charset unknown-8bit, RFC 1428 3).
 * Lines over 998 octets are wrapped where a part is converted anyway. What needs no change passes byte by byte.
 *
 * Pure, and streaming in passes, because the field that names an encoding stands before what it encodes:
 *     downgrade_scan() all pieces, downgrade_scanned(); as long as it is DOWNGRADE_AGAIN the same once more (twice at
 *     most); then, on DOWNGRADE_CONVERT, downgrade_feed() the same bytes again, downgrade_end().
 * Header lines that its owner writes before the content are no part of it. Memory: the part table of mime.h. */
#pragma once
#include "base/buf.h"

enum downgrade_need {
    DOWNGRADE_NOT_NEEDED,  /* all bytes are below 128 */
    DOWNGRADE_AGAIN,       /* there are others: the structure is to be read, then what lies where is to be counted */
    DOWNGRADE_CONVERT,
    DOWNGRADE_HEADER,      /* a header field has bytes above 127: cannot be converted (5.6.3; with SMTPUTF8 5.6.7) */
    DOWNGRADE_IMPOSSIBLE,  /* the structure cannot be read within the limits of mime.h, or a part is in an encoding that
                              is none: 5.6.3 */
};

struct downgrade;
struct downgrade *downgrade_new(void); /* NULL without memory */
void downgrade_free(struct downgrade *d);
void downgrade_scan(struct downgrade *d, str piece);
/* Ends a pass. */
enum downgrade_need downgrade_scanned(struct downgrade *d);
/* After the last DOWNGRADE_AGAIN: bytes above 127 stand in the header of the message or of a part. */
bool downgrade_header_8bit(const struct downgrade *d);
/* The last pass: appends to out at most 16 times the piece and 4096 bytes. 0, or the buf's error, or -EBADMSG (other
 * bytes than before). */
int downgrade_feed(struct downgrade *d, str piece, struct buf *out);
int downgrade_end(struct downgrade *d, struct buf *out);
