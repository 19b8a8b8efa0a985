/* Text made comparable for SEARCH, SORT and THREAD: UTF-8, encoded words decoded, white space runs made one blank, full
 * Unicode case folding (libunistring; ASCII on a fast path). Pure, but for charsets (message/charset.h). */
#pragma once
#include "base/buf.h"

/* Folds text of a header field (encoded words, any bytes) for searching and sorting; and plain UTF-8 text (no encoded
 * words), as for a search string. Linear. A field loses the white space at its ends; the white space of plain text
 * stays as it is, since a search in bodies minds it: fold_blanks() makes a folded search string fit for folded fields.
 * What is no UTF-8 becomes U+FFFD. 0 or the buf's error. */
int fold_header(struct buf *out, str field_body);
int fold_utf8(struct buf *out, str text);
/* Appends folded text with each run of white space (blank, tab, CR, LF) made one blank, also at its ends. */
int fold_blanks(struct buf *out, str folded);
/* The base subject of folded text: offset and length in it, and whether it is a reply or forward. */
void base_subject(str folded, uint32_t *out_off, uint32_t *out_len, bool *out_reply);

/* Folds a piece of UTF-8 text to `out`, which has room for FOLD_ROOM(piece.n) bytes; returns how many it wrote. Unless
 * it is the last piece, a character at its end that may go on in the next is left: *out_used is what was read. */
#define FOLD_ROOM(n) (3 * (n) + 16)
size_t fold_piece(char *out, str piece, bool last, size_t *out_used);
