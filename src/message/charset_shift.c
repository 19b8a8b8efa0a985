/* Shifts: see charset_shift.h. The state between two bytes is in the stream: mode, and what is kept of an escape
 * sequence or of a pair; for UTF-16 and UTF-7 bits and the first half of a surrogate pair. */
#include "message/charset_shift.h"
#include "message/utf8.h"

#define ESC '\x1b'
#define SO '\x0e'
#define SI '\x0f'

enum mode { MODE_ASCII, MODE_PAIRS, MODE_KANA, MODE_PAIRS_0212 };
enum utf16_mode { UTF16_START, UTF16_BIG, UTF16_LITTLE };
enum utf7_mode { UTF7_DIRECT, UTF7_PLUS, UTF7_BASE64 };

static void flush(struct charset_shift *s)
{
    if (s->n > 0)
        s->flush(s, str_of(s->text, s->n));
    s->n = 0;
}

static void put(struct charset_shift *s, char c)
{
    s->text[s->n++] = c;
}

static void put_code(struct charset_shift *s, uint32_t code)
{
    char text[UTF8_MAX];
    flush(s);
    buf_add(s->out, str_of(text, utf8_write(text, code)));
}

static bool is_94(char c)
{
    return c > 0x20 && c < 0x7f;
}

/* Half a pair that its other half did not follow. */
static void drop_half(struct charset_shift *s)
{
    if (s->stream->high)
        put_code(s, UTF8_REPLACEMENT);
    s->stream->high = 0;
}

/* A byte outside of escape sequences. */
static void set_byte(struct charset_shift *s, char c)
{
    struct charset_stream *st = s->stream;
    if (!is_94(c))
        drop_half(s);
    if ((unsigned char)c > 127) {
        put_code(s, UTF8_REPLACEMENT);
    } else if (!is_94(c) || st->mode == MODE_ASCII) {
        put(s, c);
        if (c == '\n') /* each line begins in ASCII */
            st->mode = MODE_ASCII;
    } else if (st->mode == MODE_KANA) {
        put(s, '\x8e');
        put(s, (char)(c | 0x80));
    } else if (st->high == 0) {
        st->high = (unsigned char)c;
    } else {
        if (st->mode == MODE_PAIRS_0212)
            put(s, '\x8f');
        put(s, (char)(st->high | 0x80));
        put(s, (char)(c | 0x80));
        st->high = 0;
    }
}

static void shift_to(struct charset_shift *s, int mode)
{
    drop_half(s);
    s->stream->mode = (uint8_t)mode;
}

static const struct escape { str text; int mode; } escapes_jp[] = {
    { { "\x1b(B", 3 }, MODE_ASCII },        { { "\x1b(J", 3 }, MODE_ASCII }, { { "\x1b(H", 3 }, MODE_ASCII },
    { { "\x1b(I", 3 }, MODE_KANA },         { { "\x1b$@", 3 }, MODE_PAIRS }, { { "\x1b$B", 3 }, MODE_PAIRS },
    { { "\x1b$(D", 4 }, MODE_PAIRS_0212 },  { { NULL, 0 }, 0 },
}, escapes_kr[] = {
    { { "\x1b$)C", 4 }, MODE_ASCII },       { { NULL, 0 }, 0 },
};

static void iso2022_byte(struct charset_shift *s, bool korean, char c);

/* A byte of an escape sequence. One that is none is text but for its ESC. */
static void escape_byte(struct charset_shift *s, bool korean, char c)
{
    struct charset_stream *st = s->stream;
    st->keep[st->kept++] = c;
    str have = str_of(st->keep, st->kept);
    for (const struct escape *e = korean ? escapes_kr : escapes_jp; e->text.n > 0; e++) {
        if (!str_starts(e->text, have))
            continue;
        if (e->text.n == have.n) {
            shift_to(s, e->mode);
            st->kept = 0;
        }
        return;
    }
    char text[4];
    size_t n = MIN(have.n - 1, sizeof(text));
    memcpy(text, st->keep + 1, n);
    st->kept = 0;
    drop_half(s);
    put_code(s, UTF8_REPLACEMENT);
    for (size_t i = 0; i < n; i++)
        iso2022_byte(s, korean, text[i]);
}

static void iso2022_byte(struct charset_shift *s, bool korean, char c)
{
    if (s->stream->kept > 0 || c == ESC)
        escape_byte(s, korean, c);
    else if (korean && (c == SO || c == SI))
        shift_to(s, c == SO ? MODE_PAIRS : MODE_ASCII);
    else
        set_byte(s, c);
}

static void hz_byte(struct charset_shift *s, char c)
{
    struct charset_stream *st = s->stream;
    if (st->kept == 0 && c == '~' && st->high == 0) {
        st->keep[st->kept++] = c;
        return;
    }
    if (st->kept == 0) {
        set_byte(s, c);
        return;
    }
    st->kept = 0;
    if (c == '{' || c == '}')
        shift_to(s, c == '{' ? MODE_PAIRS : MODE_ASCII);
    else if (c == '~' && st->mode == MODE_ASCII)
        put(s, '~');
    else if (c != '\n' || st->mode != MODE_ASCII) { /* "~" before a line end joins the lines */
        put_code(s, UTF8_REPLACEMENT);
        set_byte(s, c);
    }
}

/* Half of a surrogate pair that is alone is no character. */
static void utf16_unit(struct charset_shift *s, uint32_t unit)
{
    struct charset_stream *st = s->stream;
    uint32_t high = st->high;
    st->high = 0;
    bool low = unit >= 0xdc00 && unit < 0xe000;
    if (high && low) {
        put_code(s, 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
        return;
    }
    if (high || low)
        put_code(s, UTF8_REPLACEMENT);
    if (unit >= 0xd800 && unit < 0xdc00)
        st->high = unit;
    else if (!low)
        put_code(s, unit);
}

/* Without a mark at the start UTF-16 is big-endian (RFC 2781 4.3). */
static void utf16_byte(struct charset_shift *s, enum charset_kind kind, char c)
{
    struct charset_stream *st = s->stream;
    st->keep[st->kept++] = c;
    if (st->kept < 2)
        return;
    st->kept = 0;
    uint32_t big = (uint32_t)(uint8_t)st->keep[0] << 8 | (uint8_t)st->keep[1];
    uint32_t little = (uint32_t)(uint8_t)st->keep[1] << 8 | (uint8_t)st->keep[0];
    if (st->mode == UTF16_START) {
        bool is_little = kind == CHARSET_UTF16LE || (kind == CHARSET_UTF16 && little == 0xfeff);
        st->mode = is_little ? UTF16_LITTLE : UTF16_BIG;
        if ((is_little ? little : big) == 0xfeff)
            return;
    }
    utf16_unit(s, st->mode == UTF16_LITTLE ? little : big);
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The end of a base64 run: half a pair is lost, and left-over bits other than padding. */
static void utf7_leave(struct charset_shift *s)
{
    struct charset_stream *st = s->stream;
    if (st->high || st->n_bits >= 6 || (st->bits & ((1u << st->n_bits) - 1)))
        put_code(s, UTF8_REPLACEMENT);
    st->high = st->bits = st->n_bits = 0;
    st->mode = UTF7_DIRECT;
}

static void utf7_byte(struct charset_shift *s, char c)
{
    struct charset_stream *st = s->stream;
    int digit = st->mode == UTF7_DIRECT ? -1 : base64_digit(c);
    if (digit >= 0) {
        st->mode = UTF7_BASE64;
        st->bits = (st->bits << 6 | (uint32_t)digit) & 0x3fffff;
        st->n_bits = (uint8_t)(st->n_bits + 6);
        if (st->n_bits < 16)
            return;
        st->n_bits = (uint8_t)(st->n_bits - 16);
        utf16_unit(s, st->bits >> st->n_bits & 0xffff);
        return;
    }
    if (st->mode == UTF7_PLUS) {
        st->mode = UTF7_DIRECT;
        put_code(s, c == '-' ? '+' : UTF8_REPLACEMENT);
    } else if (st->mode == UTF7_BASE64) {
        utf7_leave(s);
    } else if (c == '+') {
        st->mode = UTF7_PLUS;
        return;
    } else {
        put_code(s, (unsigned char)c > 127 ? UTF8_REPLACEMENT : (unsigned char)c);
        return;
    }
    if (c != '-') /* which ends the run and is no text */
        utf7_byte(s, c);
}

static void one_byte(struct charset_shift *s, enum charset_kind kind, char c)
{
    if (kind == CHARSET_HZ)
        hz_byte(s, c);
    else if (kind == CHARSET_ISO2022JP || kind == CHARSET_ISO2022KR)
        iso2022_byte(s, kind == CHARSET_ISO2022KR, c);
    else if (kind == CHARSET_UTF7)
        utf7_byte(s, c);
    else
        utf16_byte(s, kind, c);
}

void charset_shift_feed(struct charset_shift *s, enum charset_kind kind, str piece)
{
    for (size_t i = 0; i < piece.n; i++) {
        if (s->n + 16 > sizeof(s->text)) /* one byte makes less */
            flush(s);
        one_byte(s, kind, piece.p[i]);
    }
    flush(s);
}

void charset_shift_end(struct charset_shift *s, enum charset_kind kind)
{
    struct charset_stream *st = s->stream;
    if (kind == CHARSET_UTF7 && st->mode == UTF7_BASE64)
        utf7_leave(s);
    else if (kind == CHARSET_UTF7 && st->mode == UTF7_PLUS)
        put_code(s, UTF8_REPLACEMENT);
    drop_half(s);
}
