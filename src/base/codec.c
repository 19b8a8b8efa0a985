/* base64, hex and the base32 of trace ids: see codec.h. */
#include "base/codec.h"
#include <errno.h>

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char hex_digits[] = "0123456789abcdef";
static const char base32_digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

int base64_encode(struct buf *out, str in)
{
    if (in.n > SIZE_MAX / 2)
        return out->failed = -ENOBUFS;
    size_t need = (in.n + 2) / 3 * 4;
    int r = buf_reserve(out, need);
    if (r < 0)
        return r;
    const uint8_t *p = (const uint8_t *)in.p;
    char *o = out->p + out->n;
    size_t left = in.n;
    for (; left >= 3; left -= 3, p += 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *o++ = base64_digits[v >> 18];
        *o++ = base64_digits[v >> 12 & 63];
        *o++ = base64_digits[v >> 6 & 63];
        *o++ = base64_digits[v & 63];
    }
    if (left) {
        uint32_t v = (uint32_t)p[0] << 16 | (left == 2 ? (uint32_t)p[1] << 8 : 0);
        *o++ = base64_digits[v >> 18];
        *o++ = base64_digits[v >> 12 & 63];
        *o++ = left == 2 ? base64_digits[v >> 6 & 63] : '=';
        *o++ = '=';
    }
    out->n += need;
    return 0;
}

/* Values of the bytes from '+' to 'z'; -1: not a digit of base64. */
static const int8_t base64_values[80] = {
    62, -1, -1, -1, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, -1, -1, -1, -1, -1,
    -1, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,
    18, 19, 20, 21, 22, 23, 24, 25, -1, -1, -1, -1, -1, -1, 26, 27, 28, 29, 30, 31,
    32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51,
};

static int base64_value(char c)
{
    unsigned at = (unsigned)(uint8_t)c - '+';
    return at < sizeof(base64_values) ? base64_values[at] : -1;
}

/* The last group, which may be padded; the bits that padding leaves over must be zero (RFC 4648 3.5). */
static int decode_group(const char *p, size_t digits, char *out)
{
    int32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        int d = i < digits ? base64_value(p[i]) : 0;
        if (d < 0)
            return -EBADMSG;
        v = v << 6 | d;
    }
    if (v & (digits == 2 ? 0xffff : digits == 3 ? 0xff : 0))
        return -EBADMSG;
    out[0] = (char)(v >> 16);
    if (digits > 2)
        out[1] = (char)(v >> 8);
    if (digits > 3)
        out[2] = (char)v;
    return (int)digits - 1;
}

int base64_decode(struct buf *out, str in)
{
    if (in.n % 4)
        return -EBADMSG;
    int r = buf_reserve(out, in.n / 4 * 3 - (str_ends(in, S("==")) ? 2 : str_ends(in, S("=")) ? 1 : 0));
    if (r < 0 || in.n == 0)
        return r;
    size_t pad = in.p[in.n - 1] != '=' ? 0 : in.p[in.n - 2] != '=' ? 1 : 2;
    size_t n = out->n;
    for (size_t i = 0; i < in.n; i += 4) {
        r = decode_group(in.p + i, i + 4 < in.n ? 4 : 4 - pad, out->p + n);
        if (r < 0)
            return r;
        n += (size_t)r;
    }
    out->n = n;
    return 0;
}

int hex_encode(struct buf *out, str in)
{
    if (in.n > SIZE_MAX / 2)
        return out->failed = -ENOBUFS;
    int r = buf_reserve(out, in.n * 2);
    if (r < 0)
        return r;
    for (size_t i = 0; i < in.n; i++) {
        out->p[out->n++] = hex_digits[(uint8_t)in.p[i] >> 4];
        out->p[out->n++] = hex_digits[(uint8_t)in.p[i] & 15];
    }
    return 0;
}

int hex_value(char c)
{
    if (ascii_digit(c))
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(struct buf *out, str in)
{
    if (in.n % 2)
        return -EBADMSG;
    int r = buf_reserve(out, in.n / 2);
    if (r < 0)
        return r;
    for (size_t i = 0; i < in.n; i += 2) {
        int high = hex_value(in.p[i]), low = hex_value(in.p[i + 1]);
        if (high < 0 || low < 0)
            return -EBADMSG;
        out->p[out->n + i / 2] = (char)(high << 4 | low);
    }
    out->n += in.n / 2;
    return 0;
}

void b32_id_encode(const uint8_t id[16], char out[B32_ID_LEN])
{
    unsigned __int128 v = 0;
    for (size_t i = 0; i < 16; i++)
        v = v << 8 | id[i];
    for (size_t i = B32_ID_LEN; i-- > 0; v >>= 5)
        out[i] = base32_digits[v & 31];
}

static int base32_value(char c)
{
    c = ascii_lower(c);
    c = c == 'o' ? '0' : c == 'i' || c == 'l' ? '1' : c;
    ptrdiff_t at = str_chr(str_of(base32_digits, 32), c);
    return (int)at;
}

int b32_id_decode(str text, uint8_t out_id[16])
{
    if (text.n != B32_ID_LEN || base32_value(text.p[0]) > 7)
        return -EBADMSG;
    unsigned __int128 v = 0;
    for (size_t i = 0; i < B32_ID_LEN; i++) {
        int d = base32_value(text.p[i]);
        if (d < 0)
            return -EBADMSG;
        v = v << 5 | (unsigned)d;
    }
    for (size_t i = 16; i-- > 0; v >>= 8)
        out_id[i] = (uint8_t)v;
    return 0;
}
