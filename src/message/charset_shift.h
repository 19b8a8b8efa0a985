/* Charsets with shifts, byte by byte (inner header of charset.c): ISO-2022-JP (RFC 1468, 2237), ISO-2022-KR (RFC 1557)
 * and HZ (RFC 1843) become the EUC charset that iconv converts without state; UTF-7 (RFC 2152) and UTF-16 (RFC 2781)
 * become UTF-8 at once. */
#pragma once
#include "message/charset.h"

enum charset_kind {
    CHARSET_UTF8,
    CHARSET_SINGLE, /* from here to LAST_ICONV with a converter */
    CHARSET_MULTI,
    CHARSET_HZ,     /* from here on with shifts */
    CHARSET_ISO2022JP,
    CHARSET_ISO2022KR,
    CHARSET_LAST_ICONV = CHARSET_ISO2022KR,
    CHARSET_UTF16,
    CHARSET_UTF16LE,
    CHARSET_UTF16BE,
    CHARSET_UTF7,
};

struct charset_shift {
    struct charset_stream *stream;
    struct buf *out;
    void (*flush)(void *shift, str text); /* converts whole characters of the EUC charset to out */
    size_t n;
    char text[1024];
};

void charset_shift_feed(struct charset_shift *s, enum charset_kind kind, str piece);
void charset_shift_end(struct charset_shift *s, enum charset_kind kind);
