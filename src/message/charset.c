/* Charsets to UTF-8: see charset.h. Charsets of one byte go by tables; those of several bytes by iconv, whose handles
 * are without state between two calls, so that streams can share them; shifts (ISO-2022, HZ, UTF-7) are undone here. */
#include "message/charset.h"
#include "message/charset_shift.h"
#include "message/utf8.h"
#include <errno.h>
#include <iconv.h>

#define KEEP_MAX 8 /* more than the longest character of any charset here */

static const struct charset_row {
    enum charset_kind kind;
    const char *iconv_name, *names;
} rows[] = {
#define CHARSET(kind, converter, names) { CHARSET_##kind, converter, names },
#include "message/charset.def"
#undef CHARSET
};
#define ROWS ARRAY_LEN(rows)
#define NONE ((iconv_t)-1)

struct table {
    bool ascii;         /* bytes up to 127 are themselves */
    char text[256][4];  /* UTF-8 of each byte */
    uint8_t len[256];
};

#define NAMES_MAX 512

struct names {
    size_t n;
    struct { str name; int row; } list[NAMES_MAX];
};

struct converters {
    bool ready;
    iconv_t handle[ROWS];
    struct table *table[ROWS];
};

/* What iconv gave, kept for the life of the process: the sandbox lets nothing be opened later. */
static struct converters *kept_converters(void)
{
    static struct converters all;
    return &all;
}

static struct table *table_make(iconv_t handle)
{
    struct table *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->ascii = true;
    for (unsigned byte = 0; byte < 256; byte++) {
        char in = (char)byte, *from = &in, to[16], *at = to;
        size_t from_n = 1, room = sizeof(to);
        iconv(handle, NULL, NULL, NULL, NULL);
        size_t r = iconv(handle, &from, &from_n, &at, &room);
        if (r != (size_t)-1)
            iconv(handle, NULL, NULL, &at, &room); /* a letter that might have been followed by its mark */
        size_t len = (size_t)(at - to);
        if (r == (size_t)-1 || len == 0 || len > sizeof(t->text[0]))
            len = utf8_write(to, UTF8_REPLACEMENT);
        memcpy(t->text[byte], to, len);
        t->len[byte] = (uint8_t)len;
        t->ascii = t->ascii && (byte > 127 || (len == 1 && to[0] == in));
    }
    return t;
}

static void row_open(struct converters *all, size_t i)
{
    all->handle[i] = NONE;
    if (rows[i].kind < CHARSET_SINGLE || rows[i].kind > CHARSET_LAST_ICONV)
        return;
    for (size_t k = 0; k < i; k++)
        if (str_eq(str_z(rows[k].iconv_name), str_z(rows[i].iconv_name)))
            all->handle[i] = all->handle[k];
    if (all->handle[i] == NONE)
        all->handle[i] = iconv_open("UTF-8", rows[i].iconv_name);
    if (rows[i].kind != CHARSET_SINGLE || all->handle[i] == NONE)
        return;
    all->table[i] = table_make(all->handle[i]);
    iconv_close(all->handle[i]);
    all->handle[i] = NONE;
}

void charset_prepare(void)
{
    struct converters *all = kept_converters();
    for (size_t i = 0; i < ROWS && !all->ready; i++)
        row_open(all, i);
    all->ready = true;
}

static const struct converters *converters(void)
{
    charset_prepare();
    return kept_converters();
}

static bool usable(size_t i)
{
    if (rows[i].kind < CHARSET_SINGLE || rows[i].kind > CHARSET_LAST_ICONV)
        return true;
    const struct converters *all = converters();
    return rows[i].kind == CHARSET_SINGLE ? all->table[i] != NULL : all->handle[i] != NONE;
}

/* The names of all rows, split once. */
static const struct names *all_names(void)
{
    static struct names all;
    if (all.n > 0)
        return &all;
    for (size_t i = 0; i < ROWS; i++) {
        str names = str_z(rows[i].names);
        for (str name = str_word(&names); name.n > 0 && all.n < NAMES_MAX; name = str_word(&names)) {
            all.list[all.n].row = (int)i;
            all.list[all.n++].name = name;
        }
    }
    return &all;
}

static int row_of(str charset)
{
    charset = str_trim(charset);
    if (charset.n == 0)
        return 0;
    const struct names *all = all_names();
    for (size_t i = 0; i < all->n; i++)
        if (all->list[i].name.n == charset.n && str_ieq(all->list[i].name, charset))
            return usable((size_t)all->list[i].row) ? all->list[i].row : -1;
    return -1;
}

bool charset_known(str charset)
{
    return row_of(charset) >= 0;
}

bool charset_same(str a, str b)
{
    if (str_ieq(a, b))
        return true;
    int row = row_of(a);
    return row >= 0 && row == row_of(b);
}

bool charset_is_utf8(const struct charset_stream *c)
{
    return c->converter >= 0 && rows[c->converter].kind == CHARSET_UTF8;
}

bool charset_may_join(const struct charset_stream *c)
{
    return c->converter < 0 || (rows[c->converter].kind != CHARSET_UTF7 && rows[c->converter].kind != CHARSET_HZ);
}

uint32_t charset_windows_1252(uint8_t byte)
{
    static const uint16_t c1[32] = { /* five bytes are not assigned; browsers take them for controls */
        0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0x008d,
        0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a,
        0x0153, 0x009d, 0x017e, 0x0178,
    };
    return byte >= 0x80 && byte < 0xa0 ? c1[byte - 0x80] : byte;
}

void charset_begin(struct charset_stream *c, str charset)
{
    *c = (struct charset_stream){ .converter = row_of(charset) };
}

static void put_code(struct buf *out, uint32_t code)
{
    char text[UTF8_MAX];
    buf_add(out, str_of(text, utf8_write(text, code)));
}

/* All but a character at the end that may go on. Returns how much was read. */
static size_t utf8_convert(struct buf *out, str in)
{
    const uint8_t *p = (const uint8_t *)in.p;
    size_t i = 0, good = 0;
    while (i < in.n) {
        uint32_t code;
        i += utf8_ascii_run(str_from(in, i));
        int len = i < in.n ? utf8_read(p + i, in.n - i, &code) : 0;
        if (len == 0)
            break;
        if (len < 0) {
            buf_add(out, str_of(in.p + good, i - good));
            put_code(out, UTF8_REPLACEMENT);
            good = i + (size_t)-len;
        }
        i += (size_t)(len < 0 ? -len : len);
    }
    buf_add(out, str_of(in.p + good, i - good));
    return i;
}

/* How many bytes at p stand for no character. Byte by byte the answer must be the same: it may look at two only. */
static size_t bad_length(iconv_t handle, char *p, size_t n)
{
    char to[16], *at = to;
    size_t one = 1, room = sizeof(to);
    iconv(handle, NULL, NULL, NULL, NULL);
    bool begins = iconv(handle, &p, &one, &at, &room) == (size_t)-1 && errno == EINVAL;
    return begins && n > 1 && (unsigned char)p[1] > 127 ? 2 : 1;
}

/* The same where shifts were undone: a pair, three bytes in the third set of EUC-JP, is bad as a whole. */
static size_t bad_pair(const char *p, size_t n)
{
    size_t len = (unsigned char)p[0] == 0x8f ? 3 : (unsigned char)p[0] > 127 ? 2 : 1;
    return MIN(len, n);
}

/* As utf8_convert, for charsets of several bytes. */
static size_t iconv_convert(iconv_t handle, struct buf *out, str in, bool pairs)
{
    char *p = (char *)in.p; /* iconv takes a char ** and does not write there */
    size_t left = in.n;
    iconv(handle, NULL, NULL, NULL, NULL);
    while (left > 0) {
        char to[2048], *at = to;
        size_t room = sizeof(to);
        size_t r = iconv(handle, &p, &left, &at, &room);
        int error = r == (size_t)-1 ? errno : 0;
        if (error != E2BIG)
            iconv(handle, NULL, NULL, &at, &room); /* the second of two characters that one pair stands for */
        buf_add(out, str_of(to, (size_t)(at - to)));
        if (error == EINVAL)
            break;
        if (error == EILSEQ) {
            size_t bad = pairs ? bad_pair(p, left) : bad_length(handle, p, left);
            put_code(out, UTF8_REPLACEMENT);
            iconv(handle, NULL, NULL, NULL, NULL);
            p += bad;
            left -= bad;
        }
    }
    return in.n - left;
}

static void single_convert(const struct table *t, struct buf *out, str in)
{
    while (in.n > 0 && out->failed == 0) {
        size_t run = t->ascii ? utf8_ascii_run(in) : 0;
        if (run > 0)
            buf_add(out, str_first(in, run));
        in = str_from(in, run);
        char to[1024 + 4];
        size_t n = 0, i = 0;
        while (i < in.n && n < 1024 && !(t->ascii && i + 8 < in.n && (unsigned char)in.p[i] < 128 &&
                                         utf8_ascii_run(str_of(in.p + i, 8)) == 8)) {
            uint8_t byte = (uint8_t)in.p[i++];
            memcpy(to + n, t->text[byte], 4);
            n += t->len[byte];
        }
        buf_add(out, str_of(to, n));
        in = str_from(in, i);
    }
}

static void unknown_convert(struct buf *out, str in)
{
    while (in.n > 0) {
        size_t run = utf8_ascii_run(in);
        buf_add(out, str_first(in, run));
        in = str_from(in, run);
        if (in.n > 0)
            put_code(out, UTF8_REPLACEMENT);
        in = str_from(in, 1);
    }
}

static size_t convert_some(const struct charset_stream *c, struct buf *out, str in)
{
    if (charset_is_utf8(c))
        return utf8_convert(out, in);
    return iconv_convert(converters()->handle[c->converter], out, in, false);
}

/* First the character that began in an earlier piece, byte by byte, then the rest. */
static void stateless_feed(struct charset_stream *c, struct buf *out, str piece)
{
    while (c->kept > 0 && piece.n > 0) {
        c->keep[c->kept++] = piece.p[0];
        piece = str_from(piece, 1);
        size_t used = convert_some(c, out, str_of(c->keep, c->kept));
        if (c->kept - used > KEEP_MAX) /* no converter wants that much */
            used = c->kept;
        memmove(c->keep, c->keep + used, c->kept - used);
        c->kept -= (unsigned)used;
    }
    str rest = str_from(piece, piece.n > 0 ? convert_some(c, out, piece) : 0);
    rest = str_first(rest, KEEP_MAX);
    if (rest.n > 0)
        memcpy(c->keep, rest.p, rest.n);
    if (rest.n > 0)
        c->kept = (unsigned)rest.n;
}

static void shift_flush(void *arg, str text)
{
    struct charset_shift *s = arg;
    while (text.n > 0) { /* whole characters: what iconv wants more of is broken */
        size_t used = iconv_convert(converters()->handle[s->stream->converter], s->out, text, true);
        text = str_from(text, used);
        if (text.n > 0)
            put_code(s->out, UTF8_REPLACEMENT);
        text = str_from(text, 1);
    }
}

static void shift_feed(struct charset_stream *c, struct buf *out, str piece, bool last)
{
    struct charset_shift s = { .stream = c, .out = out, .flush = shift_flush };
    charset_shift_feed(&s, rows[c->converter].kind, piece);
    if (last)
        charset_shift_end(&s, rows[c->converter].kind);
}

int charset_feed(struct charset_stream *c, struct buf *out, str piece)
{
    if (c->converter < 0)
        unknown_convert(out, piece);
    else if (rows[c->converter].kind == CHARSET_SINGLE)
        single_convert(converters()->table[c->converter], out, piece);
    else if (rows[c->converter].kind > CHARSET_MULTI)
        shift_feed(c, out, piece, false);
    else
        stateless_feed(c, out, piece);
    return out->failed;
}

int charset_end(struct charset_stream *c, struct buf *out)
{
    if (c->converter >= 0 && rows[c->converter].kind > CHARSET_MULTI)
        shift_feed(c, out, STR_NONE, true);
    if (c->kept > 0)
        put_code(out, UTF8_REPLACEMENT);
    *c = (struct charset_stream){ .converter = c->converter };
    return out->failed;
}
