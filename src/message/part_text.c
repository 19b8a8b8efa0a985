/* Transfer encodings (RFC 2045 6) of message parts, undone as streams: see part_text.h. */
#include "message/part_text.h"
#include <endian.h>

#define BLANKS_MAX 76 /* at the end of a quoted line; no proper line has more */
#define TAIL_MAX (BLANKS_MAX + 2)

static const struct { str name; enum part_encoding encoding; } encodings[] = {
    { { "", 0 }, PART_IDENTITY }, { { "7bit", 4 }, PART_IDENTITY }, { { "8bit", 4 }, PART_IDENTITY },
    { { "binary", 6 }, PART_IDENTITY }, { { "base64", 6 }, PART_BASE64 },
    { { "quoted-printable", 16 }, PART_QUOTED_PRINTABLE },
};

enum part_encoding part_encoding_of(str name)
{
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++)
        if (str_eq(encodings[i].name, name))
            return encodings[i].encoding;
    return PART_UNKNOWN;
}

void part_decode_begin(struct part_decoder *d, enum part_encoding encoding)
{
    *d = (struct part_decoder){ .encoding = encoding };
}

#define DIGIT 0x40 /* with it comes the value of a digit of base64; 0: passed over */
#define PAD 0x80
static const uint8_t digits[256] = {
    ['='] = PAD,
#define D(c, v) [c] = DIGIT | v
    D('A', 0), D('B', 1), D('C', 2), D('D', 3), D('E', 4), D('F', 5), D('G', 6), D('H', 7), D('I', 8), D('J', 9),
    D('K', 10), D('L', 11), D('M', 12), D('N', 13), D('O', 14), D('P', 15), D('Q', 16), D('R', 17), D('S', 18),
    D('T', 19), D('U', 20), D('V', 21), D('W', 22), D('X', 23), D('Y', 24), D('Z', 25), D('a', 26), D('b', 27),
    D('c', 28), D('d', 29), D('e', 30), D('f', 31), D('g', 32), D('h', 33), D('i', 34), D('j', 35), D('k', 36),
    D('l', 37), D('m', 38), D('n', 39), D('o', 40), D('p', 41), D('q', 42), D('r', 43), D('s', 44), D('t', 45),
    D('u', 46), D('v', 47), D('w', 48), D('x', 49), D('y', 50), D('z', 51), D('0', 52), D('1', 53), D('2', 54),
    D('3', 55), D('4', 56), D('5', 57), D('6', 58), D('7', 59), D('8', 60), D('9', 61), D('+', 62), D('/', 63),
#undef D
};

/* The bytes of a group that padding or the end cut short. */
static size_t base64_flush(struct part_decoder *d, char *out)
{
    size_t n = d->n_bits / 8;
    uint32_t bits = d->bits << (24 - d->n_bits);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(bits >> (16 - 8 * i));
    d->bits = d->n_bits = 0;
    return n;
}

/* `out` has room for 3/4 of the piece and 4 bytes more. */
static size_t base64_run(struct part_decoder *d, char *out, str piece)
{
    const uint8_t *p = (const uint8_t *)piece.p, *end = p + piece.n;
    char *o = out;
    while (p < end) {
        while (d->n_bits == 0 && end - p >= 4) {
            uint32_t a = digits[p[0]], b = digits[p[1]], c = digits[p[2]], e = digits[p[3]];
            if (!(a & b & c & e & DIGIT))
                break;
            uint32_t bits = (a & 63) << 26 | (b & 63) << 20 | (c & 63) << 14 | (e & 63) << 8;
            uint32_t big = htobe32(bits);
            memcpy(o, &big, sizeof(big));
            o += 3;
            p += 4;
        }
        if (p == end)
            break;
        uint8_t v = digits[*p++];
        if (v == PAD) {
            o += base64_flush(d, o);
        } else if (v & DIGIT) {
            d->bits = d->bits << 6 | (v & 63);
            d->n_bits += 6;
        }
        if (d->n_bits == 24)
            o += base64_flush(d, o);
    }
    return (size_t)(o - out);
}

/* Blanks from `at` on; where they end. */
static size_t skip_blanks(str s, size_t at)
{
    while (at < s.n && ascii_blank(s.p[at]))
        at++;
    return at;
}

/* How long the line end at `at` is: 1 or 2; 0: it is none; -1: what is there does not tell. */
static int line_end(str s, size_t at, bool last)
{
    if (at == s.n)
        return last ? 0 : -1;
    if (s.p[at] == '\n')
        return 1;
    if (s.p[at] != '\r')
        return 0;
    if (at + 1 == s.n)
        return last ? 0 : -1;
    return s.p[at + 1] == '\n' ? 2 : 0;
}

#define HEX 0x10 /* with it comes the value of a hex digit */
static const uint8_t hex[256] = {
#define D(c, v) [c] = HEX | v
    D('0', 0), D('1', 1), D('2', 2), D('3', 3), D('4', 4), D('5', 5), D('6', 6), D('7', 7), D('8', 8), D('9', 9),
    D('A', 10), D('B', 11), D('C', 12), D('D', 13), D('E', 14), D('F', 15), D('a', 10), D('b', 11), D('c', 12),
    D('d', 13), D('e', 14), D('f', 15),
#undef D
};

/* Reads at an equals sign that is followed by something but no two hex digits: a soft line break, or itself. How much
 * was read; 0: more is needed. */
static size_t qp_equals(str s, bool last, char **o)
{
    size_t blanks = skip_blanks(s, 1);
    if (blanks - 1 <= BLANKS_MAX) {
        int end = line_end(s, blanks, last);
        if (end < 0)
            return 0;
        if (end > 0 || blanks == s.n)
            return blanks + (size_t)end;
    }
    if (s.n == 2 && !last && hex[(uint8_t)s.p[1]])
        return 0;
    *(*o)++ = '='; /* no hex digits: qp_escapes() was here */
    return 1;
}

/* "=XX" as often as it comes. */
static size_t qp_escapes(str s, char **o)
{
    size_t i = 0;
    while (s.n - i >= 3 && s.p[i] == '=') {
        unsigned high = hex[(uint8_t)s.p[i + 1]], low = hex[(uint8_t)s.p[i + 2]];
        if (!(high & low & HEX))
            break;
        *(*o)++ = (char)((high << 4 | (low & 15)) & 0xff);
        i += 3;
    }
    return i;
}

typedef uint8_t vector __attribute__((vector_size(16)));

/* Copies what stands before the next equals sign or line feed. */
static size_t qp_plain(str s, char *o)
{
    size_t i = 0;
    for (; s.n - i >= sizeof(vector); i += sizeof(vector)) {
        vector v;
        uint64_t hit[2];
        memcpy(&v, s.p + i, sizeof(v));
        vector special = (vector)((v == '=') | (v == '\n'));
        memcpy(o + i, &v, sizeof(v));
        memcpy(hit, &special, sizeof(hit));
        if (hit[0] | hit[1])
            break;
    }
    for (; i < s.n && s.p[i] != '=' && s.p[i] != '\n'; i++)
        o[i] = s.p[i];
    return i;
}

/* How many blanks stand before `end`, none before `from`. */
static size_t blanks_before(const char *from, const char *end)
{
    size_t n = 0;
    while (n < BLANKS_MAX && end - n > from && ascii_blank(end[-1 - (ptrdiff_t)n]))
        n++;
    return n;
}

/* Where the output ends when a line feed comes: blanks at the end of a line go (6.7 rule 3), but not those that were
 * written as "=20", before `literal`. */
static char *qp_line_end(char *literal, char *o)
{
    bool cr = o > literal && o[-1] == '\r';
    o -= cr;
    o -= blanks_before(literal, o);
    if (cr)
        *o++ = '\r';
    return o;
}

/* `out` has room for the input. What is left at its end waits for more, at most TAIL_MAX bytes. */
static size_t qp_run(str s, bool last, char *out, size_t *out_used)
{
    char *o = out, *literal = out;
    size_t i = 0;
    for (;;) {
        size_t run = qp_plain(str_from(s, i), o);
        i += run;
        o += run;
        if (i == s.n)
            break;
        if (s.p[i] == '\n') {
            o = qp_line_end(literal, o);
            *o++ = s.p[i++];
            continue;
        }
        str rest = str_from(s, i);
        size_t used = qp_escapes(rest, &o);
        if (used == 0)
            used = rest.n == 1 && !last ? 0 : qp_equals(rest, last, &o);
        *out_used = i;
        if (used == 0)
            return (size_t)(o - out);
        literal = o;
        i += used;
    }
    size_t cr = !last && o > literal && o[-1] == '\r';
    size_t held = cr + blanks_before(literal, o - cr);
    *out_used = last ? i : i - held;
    return (size_t)(o - out) - held;
}

#define CHUNK 4096

static void qp_feed(struct part_decoder *d, struct buf *out, str piece, bool last)
{
    char in[TAIL_MAX + 128], bytes[CHUNK];
    do {
        size_t had = d->kept, used, n;
        str s = str_first(piece, CHUNK);
        if (had > 0) { /* what waited, with what comes next */
            size_t more = MIN(piece.n, (size_t)128);
            memcpy(in, d->keep, had);
            if (more > 0)
                memcpy(in + had, piece.p, more);
            s = str_of(in, had + more);
        }
        bool at_end = s.n - had == piece.n;
        n = qp_run(s, last && at_end, bytes, &used);
        buf_add(out, str_of(bytes, n));
        d->kept = 0;
        if (used < had || at_end) {
            d->kept = (unsigned)(s.n - used);
            if (d->kept > 0)
                memcpy(d->keep, s.p + used, d->kept);
            used = s.n;
        }
        piece = str_from(piece, used - had);
    } while (piece.n > 0);
}

static void base64_feed(struct part_decoder *d, struct buf *out, str piece)
{
    char bytes[CHUNK / 4 * 3 + 8];
    while (piece.n > 0) {
        size_t n = base64_run(d, bytes, str_first(piece, CHUNK));
        buf_add(out, str_of(bytes, n));
        piece = str_from(piece, CHUNK);
    }
}

int part_decode_feed(struct part_decoder *d, struct buf *out, str piece)
{
    if (piece.n == 0)
        return out->failed;
    if (d->encoding == PART_BASE64)
        base64_feed(d, out, piece);
    else if (d->encoding == PART_QUOTED_PRINTABLE)
        qp_feed(d, out, piece, false);
    else
        buf_add(out, piece);
    return out->failed;
}

int part_decode_end(struct part_decoder *d, struct buf *out)
{
    char bytes[4];
    if (d->encoding == PART_BASE64)
        buf_add(out, str_of(bytes, base64_flush(d, bytes)));
    else if (d->encoding == PART_QUOTED_PRINTABLE)
        qp_feed(d, out, STR_NONE, true);
    part_decode_begin(d, d->encoding);
    return out->failed;
}
