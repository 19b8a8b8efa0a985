/* Event lines: see event.h. Invariants:
 * 1. A line has exactly one newline, its last byte: every value byte that could be read as structure is escaped.
 * 2. What event_str wrote, event_field gives back byte for byte.
 * 3. The usual value is one scan and one copy: ten events a message must not show in a profile. */
#include "base/event.h"
#include "base/codec.h"
#include "base/date.h"
#include <errno.h>

/* Bytes that need no quotes: printable ASCII but space, quote, equals and backslash. */
static const bool plain[256] = {
    ['!'] = true, ['#' ... '<'] = true, ['>' ... '['] = true, [']' ... '~'] = true,
};

/* Length of the well-formed UTF-8 sequence at p (RFC 3629), 0 if there is none; *out gets the code point. */
static size_t utf8_next(const uint8_t *p, size_t n, uint32_t *out)
{
    uint8_t c = p[0];
    if (c < 0x80) {
        *out = c;
        return 1;
    }
    size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || n < len)
        return 0;
    uint32_t code = c & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    bool overlong = code < (len == 4 ? 0x10000u : len == 3 ? 0x800u : 0x80u);
    if (overlong || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *out = code;
    return len;
}

bool utf8_valid(str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    uint32_t code;
    for (size_t i = 0; i < s.n;) {
        uint64_t eight;
        if (s.n - i >= 8 && (memcpy(&eight, p + i, 8), (eight & 0x8080808080808080) == 0)) {
            i += 8;
            continue;
        }
        size_t len = utf8_next(p + i, s.n - i, &code);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

/* Code points that move the cursor or turn the direction of what follows: C0, DEL and C1, line and paragraph separator,
 * the bidi controls (Unicode 15, Bidi_Control), and the invisible tag characters. */
static bool unsafe_code(uint32_t code)
{
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
        return true;
    if (code == 0x061c || code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e))
        return true;
    return (code >= 0x2066 && code <= 0x2069) || (code >= 0xe0000 && code <= 0xe007f);
}

static int add_hex_escapes(struct buf *b, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        char text[4] = { '\\', 'x', digits[p[i] >> 4], digits[p[i] & 15] };
        buf_add(b, str_of(text, sizeof(text)));
    }
    return b->failed;
}

int print_safe(struct buf *b, str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    size_t run = 0; /* start of the safe bytes not yet copied */
    for (size_t i = 0; i < s.n && !b->failed;) {
        uint32_t code = 0;
        size_t len = utf8_next(p + i, s.n - i, &code);
        if (len && !unsafe_code(code)) {
            i += len;
            continue;
        }
        buf_add(b, str_of(p + run, i - run));
        len = len ? len : 1;
        add_hex_escapes(b, p + i, len);
        i += len;
        run = i;
    }
    return buf_add(b, str_from(s, run));
}

/* The letter after the backslash for bytes that have a short escape, else 0. */
static char short_escape(char c)
{
    switch (c) {
    case '"': return '"';
    case '\\': return '\\';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return 0;
    }
}

static void add_quoted(struct buf *b, str s)
{
    buf_addc(b, '"');
    size_t run = 0;
    for (size_t i = 0; i < s.n && !b->failed; i++) {
        char letter = short_escape(s.p[i]);
        if (!letter)
            continue;
        char text[2] = { '\\', letter };
        print_safe(b, str_of(s.p + run, i - run));
        buf_add(b, str_of(text, 2));
        run = i + 1;
    }
    print_safe(b, str_from(s, run));
    buf_addc(b, '"');
}

static void add_key(struct buf *b, const char *key)
{
    str k = str_z(key);
    if (buf_reserve(b, k.n + 2) < 0)
        return;
    char *p = b->p + b->n;
    *p = ' ';
    memcpy(p + 1, k.p, k.n);
    p[k.n + 1] = '=';
    b->n += k.n + 2;
}

void event_str(struct buf *b, const char *key, str value)
{
    add_key(b, key);
    size_t i = 0;
    while (i < value.n && plain[(uint8_t)value.p[i]])
        i++;
    if (i == value.n && value.n)
        buf_add(b, value);
    else
        add_quoted(b, value);
}

void event_u64(struct buf *b, const char *key, uint64_t value)
{
    add_key(b, key);
    buf_addu(b, value);
}

/* The time of day is computed anew once a second in each thread; between, only the microseconds change. */
static void add_time(struct buf *b, uint64_t wall_us)
{
    static _Thread_local struct {
        uint64_t second;
        char text[DATE_3339_LEN];
    } last = { .second = UINT64_MAX };
    uint64_t second = wall_us / 1000000;
    if (second != last.second) {
        date_put_3339(last.text, wall_us);
        last.second = second;
    }
    uint32_t us = (uint32_t)(wall_us % 1000000);
    for (size_t i = DATE_3339_LEN - 1; i-- > DATE_3339_LEN - 7; us /= 10)
        last.text[i] = (char)('0' + us % 10);
    buf_add(b, str_of(last.text, DATE_3339_LEN));
}

void event_begin(struct buf *b, uint64_t wall_us, enum event_level level, const char *name)
{
    static const str levels[] = {
        [EVENT_DEBUG] = S(" level=debug"),
        [EVENT_INFO] = S(" level=info"),
        [EVENT_WARN] = S(" level=warn"),
        [EVENT_ERROR] = S(" level=error"),
    };
    buf_add(b, S("time="));
    add_time(b, wall_us);
    buf_add(b, levels[level]);
    event_str(b, "event", str_z(name));
}

void event_end(struct buf *b)
{
    buf_addc(b, '\n');
}

/* How much of s is a value as written: plain bytes, or a string in quotes; 0 if neither (a value is never empty). */
static size_t written_value(str s)
{
    size_t i = 0;
    if (s.n == 0 || s.p[0] != '"') {
        while (i < s.n && plain[(uint8_t)s.p[i]])
            i++;
        return i;
    }
    for (i = 1; i < s.n && s.p[i] != '"' && s.p[i] != '\n'; i++)
        if (s.p[i] == '\\')
            i++;
    return i < s.n && s.p[i] == '"' ? i + 1 : 0;
}

/* Takes one `key=value` with the blank before and the newline after it, the value still as written. */
static bool next_field(str *line, str *out_key, str *out_written)
{
    str s = *line;
    while (s.n && s.p[0] == ' ')
        s = str_from(s, 1);
    size_t key = 0;
    while (key < s.n && plain[(uint8_t)s.p[key]])
        key++;
    if (key == 0 || key == s.n || s.p[key] != '=') {
        if (s.n == 0 || s.p[0] == '\n')
            *line = str_from(s, 1);
        return false;
    }
    str rest = str_from(s, key + 1);
    size_t n = written_value(rest);
    str after = str_from(rest, n);
    if (n == 0 || (after.n && after.p[0] != ' ' && after.p[0] != '\n'))
        return false;
    *out_key = str_first(s, key);
    *out_written = str_first(rest, n);
    *line = str_eq(after, S("\n")) ? STR_NONE : after;
    return true;
}

/* The byte that the escape at p (after the backslash) stands for; returns how long the escape is, 0 if it is none. */
static size_t unescape(str s, char *out)
{
    static const char letters[] = "\"\\nrt", bytes[] = "\"\\\n\r\t";
    ptrdiff_t at = s.n ? str_chr(str_of(letters, 5), s.p[0]) : -1;
    if (at >= 0) {
        *out = bytes[at];
        return 1;
    }
    if (s.n < 3 || s.p[0] != 'x' || hex_value(s.p[1]) < 0 || hex_value(s.p[2]) < 0)
        return 0;
    *out = (char)(hex_value(s.p[1]) << 4 | hex_value(s.p[2]));
    return 3;
}

static bool decode_value(str written, struct buf *value)
{
    if (written.p[0] != '"')
        return buf_add(value, written) == 0;
    str s = str_of(written.p + 1, written.n - 2);
    while (s.n) {
        ptrdiff_t at = str_chr(s, '\\');
        buf_add(value, at < 0 ? s : str_first(s, (size_t)at));
        if (at < 0)
            break;
        char c;
        str escape = str_from(s, (size_t)at + 1);
        size_t n = unescape(escape, &c);
        if (n == 0)
            return false;
        buf_addc(value, c);
        s = str_from(escape, n);
    }
    return value->failed == 0;
}

bool event_field(str *line, str *out_key, struct buf *value)
{
    str rest = *line, key, written;
    bool found = next_field(&rest, &key, &written);
    if (found && !decode_value(written, value))
        return false;
    *line = rest;
    if (found)
        *out_key = key;
    return found;
}

bool event_get(str line, const char *key, struct buf *value)
{
    str wanted = str_z(key), found, written;
    buf_clear(value);
    while (next_field(&line, &found, &written))
        if (str_eq(found, wanted))
            return decode_value(written, value);
    return false;
}
