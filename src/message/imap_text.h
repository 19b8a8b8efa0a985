/* What IMAP is told of a message (RFC 9051 7.5.2, RFC 3501 7.4.2), as text: strings, ENVELOPE, BODYSTRUCTURE. Valid for
 * whatever the message holds: a string of 7-bit text without CR, LF and NUL is quoted, any other a literal; a NUL, for
 * which IMAP has no place, becomes "?". See also message/card_text.h. */
#pragma once
#include "message/card_text.h"
#include "message/header.h"

/* A string; NIL if it is empty; the value of a field, unfolded (-ENOMEM too). */
int imap_text_string(struct buf *out, str s);
int imap_text_nstring(struct buf *out, str s);
int imap_text_value(struct buf *out, str value);
/* As header_unfold(), but what needs no change is a slice of value. */
str imap_text_unfold(struct arena *a, str value);
/* A field that the parser noted, of mime_header_text(): what header_next() would find there. False: it is cut off. */
bool imap_text_field(str header, const struct mime_field *field, struct header_field *out);
/* The parser noted all fields of the top-level header. */
bool imap_text_fields_known(const struct mime_parser *m);

/* As imap_envelope_put(). `brief`: of each list the first 16 addresses, of each string the first 200 bytes. */
int imap_envelope_text(struct buf *out, str header, bool brief);
/* The same of a header of which the fields of the envelope are known: first value and number of each. */
enum envelope_member {
    ENVELOPE_DATE, ENVELOPE_SUBJECT, ENVELOPE_FROM, ENVELOPE_SENDER, ENVELOPE_REPLY_TO, ENVELOPE_TO, ENVELOPE_CC,
    ENVELOPE_BCC, ENVELOPE_IN_REPLY_TO, ENVELOPE_MESSAGE_ID, ENVELOPE_MEMBERS,
};
struct envelope_fields { str value[ENVELOPE_MEMBERS]; size_t times[ENVELOPE_MEMBERS]; };
/* Which one a field of that name is; ENVELOPE_MEMBERS: none. */
enum envelope_member imap_envelope_member(str name);
int imap_envelope_known(struct buf *out, str header, const struct envelope_fields *fields, bool brief);
#define IMAP_ENVELOPE_EMPTY S("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)")

/* BODYSTRUCTURE with extension data from the finished parser. Fields of parts that the parser could not keep are left
 * out. 0, or the buf's error. */
int imap_structure_text(struct buf *out, const struct mime_parser *m);
