/* Modified UTF-7 (RFC 3501 5.1.3): printable ASCII stands for itself, "&-" for '&', and "&…-" for runs of everything
 * else, as UTF-16 in base64 with ',' for '/' and without padding. Only the one canonical form is read, so that no two
 * spellings mean the same mailbox. */
#include "proto/imap_write.h"
#include <errno.h>

#define REPLACEMENT 0xfffdu

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static bool direct(char c)
{
    return c >= 0x20 && c <= 0x7e;
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (ascii_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == ',' ? 63 : -1;
}

static void put_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_addc(out, (char)c);
        return;
    }
    if (c < 0x800) {
        buf_addc(out, (char)(0xc0 | c >> 6));
    } else {
        if (c < 0x10000) {
            buf_addc(out, (char)(0xe0 | c >> 12));
        } else {
            buf_addc(out, (char)(0xf0 | c >> 18));
            buf_addc(out, (char)(0x80 | (c >> 12 & 0x3f)));
        }
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
    }
    buf_addc(out, (char)(0x80 | (c & 0x3f)));
}

/* One unit of UTF-16; *high is the half of a pair that waits for the other. */
static int put_unit(struct buf *out, uint32_t unit, uint32_t *high)
{
    bool is_high = unit >= 0xd800 && unit < 0xdc00, is_low = unit >= 0xdc00 && unit < 0xe000;
    if (is_low != (*high != 0) || (unit < 0x80 && direct((char)unit)))
        return -EBADMSG;
    if (is_low)
        put_utf8(out, 0x10000 + ((*high - 0xd800) << 10) + (unit - 0xdc00));
    else if (!is_high)
        put_utf8(out, unit);
    *high = is_high ? unit : 0;
    return 0;
}

/* What stands between '&' and '-', at least one digit; *at moves behind the '-'. */
static int decode_run(struct buf *out, str name, size_t *at)
{
    uint32_t bits = 0, high = 0;
    unsigned n = 0;
    size_t i = *at;
    for (; i < name.n && name.p[i] != '-'; i++) {
        int value = digit_value(name.p[i]);
        if (value < 0)
            return -EBADMSG;
        bits = bits << 6 | (uint32_t)value;
        n += 6;
        if (n < 16)
            continue;
        n -= 16;
        if (put_unit(out, bits >> n & 0xffff, &high) < 0)
            return -EBADMSG;
        bits &= (1u << n) - 1;
    }
    if (i == name.n || high || n >= 6 || bits)
        return -EBADMSG;
    *at = i + 1;
    /* another run behind this one would have been part of it */
    bool again = *at + 1 < name.n && name.p[*at] == '&' && name.p[*at + 1] != '-';
    return again ? -EBADMSG : 0;
}

int imap_utf7_decode(struct buf *out, str name)
{
    size_t start = out->n;
    int r = 0;
    for (size_t i = 0; i < name.n && r == 0;) {
        char c = name.p[i++];
        if (!direct(c)) {
            r = -EBADMSG;
        } else if (c != '&') {
            buf_addc(out, c);
        } else if (i < name.n && name.p[i] == '-') {
            buf_addc(out, '&');
            i++;
        } else {
            r = decode_run(out, name, &i);
        }
    }
    r = r < 0 ? r : out->failed;
    if (r < 0)
        out->n = start;
    return r;
}

/* The next character of UTF-8; bytes that are none count one by one. */
static uint32_t next_utf8(str s, size_t *at)
{
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    uint8_t first = (uint8_t)s.p[(*at)++];
    size_t more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2
                  : first >= 0xf0 && first < 0xf5 ? 3 : 4;
    if (more == 4 || s.n - *at < more)
        return REPLACEMENT;
    uint32_t c = more ? first & (0x3fu >> more) : first;
    for (size_t i = 0; i < more; i++) {
        uint8_t byte = (uint8_t)s.p[*at + i];
        if (byte >> 6 != 2)
            return REPLACEMENT;
        c = c << 6 | (byte & 0x3f);
    }
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return REPLACEMENT;
    *at += more;
    return c;
}

struct encoder { struct buf *out; uint32_t bits; unsigned n; bool inside; };

static void encode_unit(struct encoder *e, uint32_t unit)
{
    if (!e->inside)
        buf_addc(e->out, '&');
    e->inside = true;
    e->bits = e->bits << 16 | unit;
    for (e->n += 16; e->n >= 6; e->n -= 6)
        buf_addc(e->out, digits[e->bits >> (e->n - 6) & 0x3f]);
    e->bits &= (1u << e->n) - 1;
}

static void encode_end(struct encoder *e)
{
    if (!e->inside)
        return;
    if (e->n)
        buf_addc(e->out, digits[e->bits << (6 - e->n) & 0x3f]);
    buf_addc(e->out, '-');
    *e = (struct encoder){ .out = e->out };
}

int imap_utf7_encode(struct buf *out, str name)
{
    struct encoder e = { .out = out };
    for (size_t i = 0; i < name.n;) {
        uint32_t c = next_utf8(name, &i);
        if (c < 0x80 && direct((char)c)) {
            encode_end(&e);
            buf_add(out, c == '&' ? S("&-") : str_of(&(char){ (char)c }, 1));
        } else if (c < 0x10000) {
            encode_unit(&e, c);
        } else {
            encode_unit(&e, 0xd800 + ((c - 0x10000) >> 10));
            encode_unit(&e, 0xdc00 + ((c - 0x10000) & 0x3ff));
        }
    }
    encode_end(&e);
    return out->failed;
}
