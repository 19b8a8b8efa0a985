/* Quoted-printable and base64 of content as streams (RFC 2045 6.7, 6.8). CRLF is a line end of text in
 * quoted-printable; a CR or LF alone is encoded. No line is longer than 76 octets. */
#pragma once
#include "base/buf.h"

struct qp_encoder { /* zeroed is the start */
    uint32_t column;
    char held; /* a blank or CR, of which the next byte decides */
};
void qp_encode(struct qp_encoder *q, str piece, struct buf *out);
void qp_end(struct qp_encoder *q, struct buf *out);

#define BASE64_LINE 57 /* bytes that make a line of 76 */
struct base64_encoder {
    uint8_t n;
    char held[BASE64_LINE];
};
void base64_lines_encode(struct base64_encoder *b, str piece, struct buf *out);
void base64_lines_end(struct base64_encoder *b, struct buf *out); /* the last line without its end */
