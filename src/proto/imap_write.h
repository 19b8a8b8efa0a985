/* Pieces of IMAP responses (RFC 9051 9), appended to a buf. Pure. */
#pragma once
#include "proto/imap_command.h"

#define IMAP_NAME_MAX 1000 /* bytes of a mailbox name in UTF-8 */

/* As a quoted string where that can carry it (no CR, LF, NUL, 8-bit unless utf8), else as a literal "{n}\r\n…". NULs
 * become 0x80-free '?'. */
int imap_put_string(struct buf *out, str s, bool utf8);
int imap_put_nstring(struct buf *out, str s, bool is_nil, bool utf8);
/* An astring: an atom if it is one, else imap_put_string(). */
int imap_put_astring(struct buf *out, str s, bool utf8);
/* A mailbox name: modified UTF-7 unless utf8. */
int imap_put_mailbox(struct buf *out, str name, bool utf8);
/* "(\\Seen $Forwarded)" */
int imap_put_flags(struct buf *out, uint32_t system, const str *keywords, size_t n);
/* " 1-Jan-2026 00:00:00 +0000" with quotes (date-time of RFC 9051 9). */
int imap_put_date(struct buf *out, int64_t unix_s, int zone_min);
/* Sorted numbers as a sequence set "1:3,5"; adds one at a time. Begin with zeroed; end writes what is open. */
struct imap_set_writer { struct buf *out; uint32_t first, last; bool any, open; };
void imap_set_add(struct imap_set_writer *w, uint32_t n);
void imap_set_end(struct imap_set_writer *w);

/* Modified UTF-7 (RFC 3501 5.1.3). Decoding: 0, or -EBADMSG (not canonical, not ASCII, lone surrogates, encodes
 * printable ASCII). Encoding takes any bytes; those that are no UTF-8 become U+FFFD. */
int imap_utf7_decode(struct buf *out, str name);
int imap_utf7_encode(struct buf *out, str name);
/* A name a mailbox may be created with: UTF-8, no controls, no '%' or '*', no empty level, no leading or trailing '/',
 * each level at most 255 bytes, 1000 in all, at most 50 levels. NULL if fine, else what is wrong (static). */
const char *imap_name_trouble(str name);
