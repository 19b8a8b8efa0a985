/* Encoded words (RFC 2047, with the language of RFC 2231 5) to UTF-8. Lenient, for mail as it is: a word counts
 * wherever it stands, also inside of quotes and of other text, and whatever its length; blanks in it are text in "Q"
 * and passed over in "B"; raw bytes above 127 between words are UTF-8 if they are valid, else windows-1252. White space
 * between two words goes (6.2), a character may be cut by it. A word whose charset is not known or that is not whole
 * stays as it is written. Pure, but for charsets (message/charset.h). */
#pragma once
#include "base/buf.h"

/* Appends the text, valid UTF-8, line ends and control characters as they come. At most ENCODED_WORD_GROWTH bytes for
 * each byte of text. Linear. 0 or the buf's error. */
#define ENCODED_WORD_GROWTH 3
int encoded_words_decode(struct buf *out, str text);

/* Reads a word at the start of text: its length, 0 if there is none. Slices of text; the charset without language. */
struct encoded_word { str charset, text; bool base64; };
size_t encoded_word_read(str text, struct encoded_word *out);
