/* Reads a message as a stream (RFC 5322, 2045, 2046) and notes where its headers and MIME parts lie: a flat table of
 * parts with offsets relative to the content's first byte. Push parser: feed any pieces, the table is the same.
 * Never fails on bad input; beyond its limits a part is opaque (application/octet-stream) and `limited` is set.
 * Linear in the input, memory bounded by the limits below whatever the input. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

#define MIME_DEPTH_MAX 100
#define MIME_PARTS_MAX 10000
#define MIME_HEADERS_MAX 1000        /* header fields noted of the top-level header */
#define MIME_HEADER_TEXT_MAX 262144  /* bytes of the top-level header kept for the card */

#define MIME_BOUNDARY_MAX 250        /* RFC 2046 5.1.1 allows 70; a multipart with a longer one is opaque */
#define MIME_FIELD_MAX 65536         /* bytes of one field that are read; the rest is ignored */
#define MIME_VALUE_MAX 1024          /* bytes of filename, id, description; the rest is cut */
#define MIME_TEXT_MAX 262144         /* bytes of all strings of the table; what comes later is "" or opaque */
#define MIME_KEPT_MAX 262144         /* bytes of all header fields kept of parts (mime_part_header) */

/* Parts come in the order of their headers: the children of a part directly behind it, each inside its parent's body.
 * - A delimiter line is "--", a boundary, perhaps "--", and blanks, nothing else; the innermost open multipart goes
 *   first. The line end before it belongs to it. Any outer delimiter closes the inner multiparts, and a header without
 *   its empty line.
 * - `multipart` and `message` mean that there are children (one, for a message: the root of the message inside). A
 *   multipart without boundary parameter or whose boundary never comes becomes text/plain (RFC 2045 5.2); a message in
 *   base64 or quoted-printable keeps its type but is a leaf.
 * - Of fields given twice in one header the first counts.
 * - Lines end in LF; a last line without one counts. */
struct mime_part {
    uint32_t parent;     /* index; the root is its own parent */
    uint32_t depth;      /* 0 for the root, at most MIME_DEPTH_MAX */
    uint64_t header_off, body_off, end_off; /* header [header_off, body_off), body [body_off, end_off) */
    uint64_t lines;      /* lines of the body */
    str type, subtype;   /* lower case; default text/plain (message/rfc822 in multipart/digest) */
    str charset, encoding, disposition; /* lower case, "" if absent */
    str filename;        /* of Content-Disposition, else the name of Content-Type; RFC 2231 decoded, charset kept */
    str id, description; /* raw value of the field without folding, "" if absent */
    bool multipart, message;
};

/* A field of the top-level header with its CRLF, relative to content. Lines that are no field (header.h) are not
 * noted. */
struct mime_field { uint32_t off, len; uint32_t name_len; };

struct mime_parser; /* opaque */
struct mime_parser *mime_new(void); /* NULL without memory */
void mime_free(struct mime_parser *m);
void mime_feed(struct mime_parser *m, str piece);
void mime_end(struct mime_parser *m); /* no more input */
void mime_reset(struct mime_parser *m); /* ready for the next message, keeping memory */

/* After mime_end; what they point to is the parser's until mime_reset or mime_free. There is always a root. */
size_t mime_parts(const struct mime_parser *m, const struct mime_part **out_parts);
size_t mime_fields(const struct mime_parser *m, const struct mime_field **out_fields);
str mime_header_text(const struct mime_parser *m); /* the first MIME_HEADER_TEXT_MAX bytes of the top-level header */
/* What is kept of the header of part i for IMAP, as header text without folding: Content-Type, -Disposition, -MD5,
 * -Language and -Location; of the root of an enclosed message also the fields of its envelope (RFC 9051 7.5.2). Of the
 * root: mime_header_text(). False: some of it is missing (MIME_KEPT_MAX, MIME_FIELD_MAX). */
bool mime_part_header(const struct mime_parser *m, size_t i, str *out_header);
uint64_t mime_size(const struct mime_parser *m);
bool mime_limited(const struct mime_parser *m);
