/* Encoded words: see encoded_word.h. */
#include "message/encoded_word.h"
#include "base/codec.h"
#include "message/charset.h"
#include "message/part_text.h"
#include "message/utf8.h"

#define CHARSET_NAME_MAX 64

static bool is_white(char c)
{
    return ascii_blank(c) || c == '\r' || c == '\n';
}

/* The next question mark ends each of the three parts, so a scan that fails is never repeated beyond it. */
size_t encoded_word_read(str text, struct encoded_word *out)
{
    if (!str_starts(text, S("=?")))
        return 0;
    str rest = str_from(text, 2);
    ptrdiff_t mark = str_chr(str_first(rest, CHARSET_NAME_MAX + 1), '?');
    if (mark <= 0 || rest.n < (size_t)mark + 3 || rest.p[mark + 2] != '?')
        return 0;
    char method = ascii_lower(rest.p[mark + 1]);
    str charset = str_first(rest, (size_t)mark);
    for (size_t i = 0; i < charset.n; i++)
        if ((unsigned char)charset.p[i] <= ' ' || (unsigned char)charset.p[i] > 126)
            return 0;
    if (method != 'q' && method != 'b')
        return 0;
    rest = str_from(rest, (size_t)mark + 3);
    ptrdiff_t end = str_chr(rest, '?');
    if (end < 0 || rest.n < (size_t)end + 2 || rest.p[end + 1] != '=')
        return 0;
    *out = (struct encoded_word){ .text = str_first(rest, (size_t)end), .base64 = method == 'b' };
    out->charset = str_cut(&charset, '*');
    return (size_t)(rest.p + end + 2 - text.p);
}

static void q_decode(struct charset_stream *c, struct buf *out, str text)
{
    char bytes[512];
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        char b = text.p[i];
        int high = b == '=' && i + 2 < text.n ? hex_value(text.p[i + 1]) : -1;
        int low = high >= 0 ? hex_value(text.p[i + 2]) : -1;
        if (low >= 0) {
            b = (char)(high << 4 | low);
            i += 2;
        }
        bytes[n++] = b == '_' && low < 0 ? ' ' : b;
        if (n == sizeof(bytes) || i + 1 >= text.n) {
            charset_feed(c, out, str_of(bytes, n));
            n = 0;
        }
    }
}

static void b_decode(struct charset_stream *c, struct buf *out, str text)
{
    struct part_decoder d = { 0 };
    part_decode_begin(&d, PART_BASE64);
    while (text.n > 0) {
        _cleanup_buf_ struct buf bytes = BUF(4096);
        part_decode_feed(&d, &bytes, str_first(text, 2048));
        text = str_from(text, 2048);
        if (text.n == 0)
            part_decode_end(&d, &bytes);
        charset_feed(c, out, buf_str(&bytes));
    }
}

static void raw_put(struct buf *out, str text)
{
    while (text.n > 0) {
        size_t run = utf8_ascii_run(text);
        buf_add(out, str_first(text, run));
        text = str_from(text, run);
        if (text.n == 0)
            break;
        uint32_t code;
        int len = utf8_read((const uint8_t *)text.p, text.n, &code);
        if (len <= 0) {
            code = charset_windows_1252((uint8_t)text.p[0]);
            len = 1;
        }
        char utf8[UTF8_MAX];
        buf_add(out, str_of(utf8, utf8_write(utf8, code)));
        text = str_from(text, (size_t)len);
    }
}

/* The words from the start of text on that nothing but white space parts: a character cut between two of one charset is
 * put together. Returns where the last one ends. */
static size_t words_put(struct buf *out, str text)
{
    struct encoded_word w, next;
    struct charset_stream c = { 0 };
    size_t at = encoded_word_read(text, &w);
    bool open = false;
    for (;;) {
        if (!open)
            charset_begin(&c, w.charset);
        (w.base64 ? b_decode : q_decode)(&c, out, w.text);
        size_t white = at;
        while (white < text.n && is_white(text.p[white]))
            white++;
        size_t len = encoded_word_read(str_from(text, white), &next);
        bool known = len > 0 && charset_known(next.charset);
        open = known && charset_same(w.charset, next.charset) && charset_may_join(&c);
        if (!open)
            charset_end(&c, out);
        if (!known)
            return at;
        at = white + len;
        w = next;
    }
}

/* Where a word may begin, or the end. */
static size_t next_start(str text)
{
    size_t at = 0;
    for (;;) {
        ptrdiff_t equals = str_chr(str_from(text, at), '=');
        if (equals < 0)
            return text.n;
        at += (size_t)equals;
        if (at + 1 < text.n && text.p[at + 1] == '?')
            return at;
        at++;
    }
}

int encoded_words_decode(struct buf *out, str text)
{
    while (text.n > 0) {
        size_t at = next_start(text);
        raw_put(out, str_first(text, at));
        text = str_from(text, at);
        struct encoded_word w;
        size_t len = encoded_word_read(text, &w);
        if (len > 0 && charset_known(w.charset)) {
            text = str_from(text, words_put(out, text));
        } else {
            raw_put(out, str_first(text, 2));
            text = str_from(text, 2);
        }
    }
    return out->failed;
}
