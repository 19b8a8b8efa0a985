/* UTF-8 (RFC 3629) character by character, for text that may be broken or end inside a character. */
#pragma once
#include "base/buf.h"

#define UTF8_MAX 4
#define UTF8_REPLACEMENT 0xfffdu

/* Reads at p, which has n > 0 bytes. The length of a character and the character; or -k: its first k bytes are none,
 * to be shown as one U+FFFD (Unicode 3.9, maximal subparts: an ASCII byte is never among them); or 0: what is there
 * may become a character with more bytes. */
static inline int utf8_read(const uint8_t *p, size_t n, uint32_t *out_code)
{
    uint32_t lead = p[0];
    if (lead < 0x80) {
        *out_code = lead;
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4)
        return -1;
    uint32_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;  /* overlong forms */
    uint32_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf; /* surrogates, above U+10FFFF */
    int len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    uint32_t code = lead & (0x7fu >> len);
    for (int i = 1; i < len; i++) {
        if ((size_t)i == n)
            return 0;
        if (p[i] < low || p[i] > high)
            return -i;
        code = code << 6 | (p[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    *out_code = code;
    return len;
}

/* Writes a character (no surrogate, at most U+10FFFF); its length. */
static inline size_t utf8_write(char out[UTF8_MAX], uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)((0xf00u >> len) | code);
    return len;
}

/* How many bytes at the start of s are ASCII. */
static inline size_t utf8_ascii_run(str s)
{
    size_t i = 0;
    for (uint64_t eight; s.n - i >= sizeof(eight); i += sizeof(eight)) {
        memcpy(&eight, s.p + i, sizeof(eight));
        if (eight & 0x8080808080808080u)
            break;
    }
    while (i < s.n && (unsigned char)s.p[i] < 0x80)
        i++;
    return i;
}
