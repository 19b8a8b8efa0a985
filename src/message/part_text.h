/* The text of a message part for searching: transfer encoding undone (base64, quoted-printable, identity), charset
 * converted, case folded, fed in pieces; and the same without folding, for BINARY (RFC 3516). Runs at memory speed: a
 * part in US-ASCII or UTF-8 without encoding is folded in place without copies where it is ASCII. */
#pragma once
#include "message/charset.h"
#include "message/mime.h"

enum part_encoding { PART_IDENTITY, PART_BASE64, PART_QUOTED_PRINTABLE, PART_UNKNOWN };
enum part_encoding part_encoding_of(str name); /* lower case; 7bit, 8bit, binary and "" are identity */

/* Decodes a transfer encoding piece by piece. Bad input never fails: what is no base64 is passed over, and base64 may
 * go on after its padding; an equals sign of quoted-printable that means nothing is text; of the blanks at the end of a
 * quoted line the last 76 go. PART_UNKNOWN is taken as it stands. The output is never longer than the input. _feed and
 * _end return the buf's error. */
struct part_decoder { enum part_encoding encoding; uint32_t bits; unsigned n_bits; unsigned kept; char keep[80]; };
void part_decode_begin(struct part_decoder *d, enum part_encoding encoding);
int part_decode_feed(struct part_decoder *d, struct buf *out, str piece);
int part_decode_end(struct part_decoder *d, struct buf *out);

/* Looks for a folded needle (fold_utf8) in text that comes in pieces: decoded, converted, folded. A match may straddle
 * pieces. HTML is searched as it stands, tags included. White space of both is taken as it stands: a needle with a
 * blank is not found across a line end. The empty needle is found in anything. Linear whatever the text and the needle.
 * Holds about 70 KiB and seven times the needle. */
#define TEXT_SEARCH_NEEDLE_MAX 65536
struct text_search;
struct text_search *text_search_new(str needle); /* copied; NULL without memory or if longer than NEEDLE_MAX */
void text_search_free(struct text_search *t);
/* Starts with a new text; the same search may look through any number of them. */
void text_search_begin(struct text_search *t, enum part_encoding encoding, str charset);
/* True as soon as it was found (then the rest need not be fed, and if it is, the answer stays true). */
bool text_search_feed(struct text_search *t, str piece);
bool text_search_end(struct text_search *t);
