/* base64 (RFC 4648 section 4), hex, Crockford's base32 for trace ids. Decoders are strict: no white space, canonical
 * padding. */
#pragma once
#include "base/buf.h"

int base64_encode(struct buf *out, str in); /* one line, padded; the buf's error */
/* 0, or -EBADMSG (not base64: nothing appended), or the buf's error. Non-zero trailing bits are refused. */
int base64_decode(struct buf *out, str in);

int hex_encode(struct buf *out, str in); /* lower case */
int hex_decode(struct buf *out, str in); /* either case; -EBADMSG */
int hex_value(char c); /* 0 to 15; -1: not a hex digit */

/* 16 bytes as 26 letters of lower-case Crockford base32, first letter holds 3 bits. */
#define B32_ID_LEN 26
void b32_id_encode(const uint8_t id[16], char out[B32_ID_LEN]);
/* 0 or -EBADMSG; reads either case, i l as 1, o as 0. */
int b32_id_decode(str text, uint8_t out_id[16]);
