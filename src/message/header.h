/* Header fields of RFC 5322 2.2 as slices, and the lines that agents add or repair. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct header_field {
    str raw;   /* with its CRLF and continuation lines */
    str name;  /* as written, without trailing blanks before the colon */
    str value; /* after the colon, still folded, without the last CRLF */
};

/* Next field of *header (moves on). False at the empty line or the end. A line that is no field is returned with
 * name.n == 0 (RFC 5322 2.2 violated; the caller decides). */
bool header_next(str *header, struct header_field *out);
/* Name and value of a line (the first of a field, its end included or not). False if it is no field: no colon, or a
 * name that is not printable ASCII (RFC 5322 3.6.8; blanks before the colon are obsolete but read, 4.5). */
bool header_split(str line, str *out_name, str *out_value);
/* First field of that name, false if absent. */
bool header_find(str header, str name, struct header_field *out);
/* Value without folding (CRLF before blank removed) and trimmed, in the arena. Any other CR or LF becomes a space. */
str header_unfold(struct arena *a, str value);

/* Received (RFC 5321 4.4): everything that one hop says of a message. Text of the peer is made harmless: a HELO that
 * is no domain or address literal is written "unknown", as is a client name that is no domain; a client address that
 * is none leaves the client out, a for_addr that is none leaves the clause out; from tls and the other words only
 * printable ASCII without brackets and blanks (in tls: with blanks) is taken. No line is longer than RFC 5322 2.1.1
 * allows. */
struct received {
    str helo, client_name, client_addr; /* client_name n == 0: "unknown"; "::1" is written [IPv6:::1] */
    str by, protocol;                   /* "ESMTPSA" … RFC 3848 */
    str tls;                            /* "TLS1.3 TLS_AES_256_GCM_SHA384", n == 0 none */
    str id, for_addr;                   /* trace id, written <id@by>; for only with one recipient (n == 0: left out) */
    int64_t unix_s;
    int offset_min;
};
int received_write(struct buf *out, const struct received *r); /* folded, ends with CRLF; 0 or the buf's error */
