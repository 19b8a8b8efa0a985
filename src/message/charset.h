/* Text of any charset to UTF-8, for searching and for encoded words. glibc's iconv loads its converters lazily, so a
 * role calls charset_prepare() before its sandbox closes; it opens the converters of charset.def (aliases there), about
 * 40, keeps those of East Asia and makes tables of the rest. After that nothing is opened. A program that never called
 * it, as a unit test, prepares with the first charset that needs it. Unknown charsets (and those whose converter this
 * machine lacks): bytes above 127 become U+FFFD. Not for threads. */
#pragma once
#include "base/buf.h"

void charset_prepare(void);
/* Is it known (ASCII case ignored)? us-ascii and utf-8 always are, and "", which is us-ascii. */
bool charset_known(str charset);

/* A stream: pieces may end inside a character. What cannot be decoded becomes U+FFFD; what comes out is valid UTF-8 in
 * whole characters. Text said to be in us-ascii is read as UTF-8. One byte of text makes at most CHARSET_GROWTH bytes.
 * _feed and _end return the buf's error. Streams may be open at the same time. */
#define CHARSET_GROWTH 3
struct charset_stream { /* zero, then _begin */
    int converter; /* row of charset.def, or -1: unknown */
    unsigned kept;
    char keep[16];
    uint8_t mode;  /* of a charset with shifts */
    uint8_t n_bits;
    uint32_t bits, high;
};
void charset_begin(struct charset_stream *c, str charset);
int charset_feed(struct charset_stream *c, struct buf *out, str piece);
int charset_end(struct charset_stream *c, struct buf *out);

/* Nothing to convert: the text is UTF-8 as it stands, or broken UTF-8. */
bool charset_is_utf8(const struct charset_stream *c);
/* May text of the same charset go on in another encoded word? Not where each begins anew (UTF-7, HZ). */
bool charset_may_join(const struct charset_stream *c);
/* The same charset, whatever its name? */
bool charset_same(str a, str b);
/* The character of a byte above 127 in windows-1252, for text whose charset nobody named. */
uint32_t charset_windows_1252(uint8_t byte);
