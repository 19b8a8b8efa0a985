/* What IMAP is told of a message (RFC 9051 7.5.2, RFC 3501 7.4.2), as text: strings, ENVELOPE, BODYSTRUCTURE. Valid for
 * whatever the message holds: a string of 7-bit text without CR, LF and NUL is quoted, any other a literal; a NUL, for
 * which IMAP has no place, becomes "?". See also message/card_text.h. */
#pragma once
#include "message/card_text.h"

/* A string; NIL if it is empty; the value of a field, unfolded (-ENOMEM too). */
int imap_text_string(struct buf *out, str s);
int imap_text_nstring(struct buf *out, str s);
int imap_text_value(struct buf *out, str value);

/* As imap_envelope_put(). `brief`: of each list the first 16 addresses, of each string the first 200 bytes. */
int imap_envelope_text(struct buf *out, str header, bool brief);
#define IMAP_ENVELOPE_EMPTY S("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)")

/* BODYSTRUCTURE with extension data from the finished parser. Fields of parts that the parser could not keep are left
 * out. 0, or the buf's error. */
int imap_structure_text(struct buf *out, const struct mime_parser *m);
