/* Case folding and base subjects: see fold.h. The folding of a character is asked of libunistring once and kept in
 * pages of 256; of a page where nothing folds (most of them, all of the Chinese ones) only that is kept. */
#include "message/fold.h"
#include "message/encoded_word.h"
#include "message/utf8.h"
#include <endian.h>
#include <unicase.h>

#define PAGES (0x110000 >> 8)
#define FOLDING_PAGES 48 /* those where something folds, 25 in Unicode 14; more of them would be slow */
#define PLAIN_MAX 2048   /* bytes of a field body that is not folded piece by piece */
#define FOLDED_MAX 7     /* bytes of one folded character, 6 in Unicode 14 */

/* A folded character as one number, in memory (little-endian) its bytes, then how many they are. */
struct fold { uint64_t bits; };

static size_t fold_length(struct fold f)
{
    return (size_t)(f.bits >> 8 * FOLDED_MAX);
}

static struct fold fold_make(const uint8_t *text, size_t n)
{
    uint64_t f = 0;
    memcpy(&f, text, n);
    return (struct fold){ le64toh(f) | (uint64_t)n << 8 * FOLDED_MAX };
}

enum { PAGE_NEW, PAGE_SAME, PAGE_SLOW, PAGE_FIRST };

struct fold_cache {
    uint8_t page[PAGES]; /* one of the above; from PAGE_FIRST on an index of folds */
    size_t used;
    struct fold folds[FOLDING_PAGES][256];
};

/* A pure function's answers, kept. */
static struct fold_cache *cache(void)
{
    static struct fold_cache kept;
    return &kept;
}

static struct fold fold_ask(uint32_t code)
{
    uint8_t in[UTF8_MAX], out[32];
    size_t in_n = utf8_write((char *)in, code), out_n = sizeof(out);
    uint8_t *r = u8_casefold(in, in_n, NULL, NULL, out, &out_n);
    bool fits = r == out && out_n <= FOLDED_MAX; /* no: out of memory, or Unicode has grown */
    struct fold f = fits ? fold_make(out, out_n) : fold_make(in, in_n);
    if (r != out)
        free(r);
    return f;
}

static uint8_t page_fill(struct fold_cache *c, uint32_t page)
{
    struct fold folds[256] = { 0 };
    bool same = true;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t code = page << 8 | i;
        uint8_t text[UTF8_MAX];
        if (code >= 0xd800 && code < 0xe000)
            continue;
        folds[i] = fold_ask(code);
        same = same && folds[i].bits == fold_make(text, utf8_write((char *)text, code)).bits;
    }
    if (same)
        return c->page[page] = PAGE_SAME;
    if (c->used == FOLDING_PAGES)
        return c->page[page] = PAGE_SLOW;
    memcpy(c->folds[c->used], folds, sizeof(folds));
    return c->page[page] = (uint8_t)(PAGE_FIRST + c->used++);
}

/* Writes 8 bytes, of which the number returned counts. */
static size_t fold_code(struct fold_cache *c, char *out, const uint8_t *p, size_t len, uint32_t code)
{
    uint8_t page = c->page[code >> 8];
    if (page == PAGE_NEW)
        page = page_fill(c, code >> 8);
    if (page == PAGE_SAME) {
        for (size_t i = 0; i < len; i++)
            out[i] = (char)p[i];
        return len;
    }
    struct fold f = page == PAGE_SLOW ? fold_ask(code) : c->folds[page - PAGE_FIRST][code & 255];
    uint64_t bytes = htole64(f.bits);
    memcpy(out, &bytes, sizeof(bytes));
    return fold_length(f);
}

typedef uint8_t vector __attribute__((vector_size(16)));

/* Folds 16 bytes as if all were ASCII; how many at their start are. */
static size_t fold_sixteen(char *out, const uint8_t *p)
{
    vector v;
    memcpy(&v, p, sizeof(v));
    vector upper = (vector)((v - 'A') < 26);
    vector folded = v + (upper & 32);
    memcpy(out, &folded, sizeof(folded));
    uint64_t half[2];
    memcpy(half, p, sizeof(half));
    half[0] &= 0x8080808080808080u;
    half[1] &= 0x8080808080808080u;
    if ((half[0] | half[1]) == 0)
        return 16;
    const uint8_t *at = p;
    while (*at < 0x80)
        at++;
    return (size_t)(at - p);
}

/* Characters of two and three bytes that stand together: how much was read; *out moves on by what was written. It stops
 * at whatever is no such character. */
static size_t fold_run(struct fold_cache *c, const uint8_t *p, size_t n, char **out)
{
    char *o = *out;
    size_t i = 0;
    while (n - i >= 3) {
        uint32_t a = p[i], b = p[i + 1], d = p[i + 2];
        if (a >= 0xc2 && a < 0xe0 && (b & 0xc0) == 0x80) {
            o += fold_code(c, o, p + i, 2, (a & 0x1f) << 6 | (b & 0x3f));
            i += 2;
        } else if (a > 0xe0 && a < 0xf0 && a != 0xed && (b & 0xc0) == 0x80 && (d & 0xc0) == 0x80) {
            o += fold_code(c, o, p + i, 3, (a & 0x0f) << 12 | (b & 0x3f) << 6 | (d & 0x3f));
            i += 3;
        } else if (a < 0x80 && (b >= 0x80 || d >= 0x80)) { /* a blank between two words */
            *o++ = ascii_lower((char)a);
            i++;
        } else {
            break;
        }
    }
    *out = o;
    return i;
}

size_t fold_piece(char *out, str piece, bool last, size_t *out_used)
{
    struct fold_cache *c = cache();
    const uint8_t *p = (const uint8_t *)piece.p;
    size_t i = 0, n = piece.n;
    char *o = out;
    while (i < n) {
        if (p[i] < 0x80 && n - i >= 16) {
            size_t run = fold_sixteen(o, p + i);
            i += run;
            o += run;
            continue;
        }
        if (p[i] < 0x80) {
            *o++ = ascii_lower((char)p[i++]);
            continue;
        }
        size_t run = fold_run(c, p + i, n - i, &o);
        i += run;
        if (run > 0)
            continue;
        uint32_t code;
        int len = utf8_read(p + i, n - i, &code);
        if (len == 0 && !last)
            break;
        if (len > 0) {
            o += fold_code(c, o, p + i, (size_t)len, code);
            i += (size_t)len;
        } else {
            o += utf8_write(o, UTF8_REPLACEMENT);
            i += len < 0 ? (size_t)-len : n - i;
        }
    }
    *out_used = i;
    return (size_t)(o - out);
}

int fold_utf8(struct buf *out, str text)
{
    char folded[FOLD_ROOM(1024)];
    while (text.n > 0 && out->failed == 0) {
        size_t used, n = fold_piece(folded, str_first(text, 1024), text.n <= 1024, &used);
        buf_add(out, str_of(folded, n));
        text = str_from(text, used);
    }
    return out->failed;
}

static bool is_white(char c)
{
    return ascii_blank(c) || c == '\r' || c == '\n';
}

int fold_blanks(struct buf *out, str folded)
{
    size_t i = 0;
    while (i < folded.n) {
        size_t from = i;
        while (i < folded.n && !is_white(folded.p[i]))
            i++;
        buf_add(out, str_of(folded.p + from, i - from));
        if (i < folded.n)
            buf_addc(out, ' ');
        while (i < folded.n && is_white(folded.p[i]))
            i++;
    }
    return out->failed;
}

/* Text that is ASCII without encoded words, in one pass. */
static int fold_plain(struct buf *out, str text)
{
    if (buf_reserve(out, text.n) < 0)
        return out->failed;
    char *p = out->p + out->n;
    for (size_t i = 0; i < text.n; i++) {
        char c = ascii_lower(text.p[i]);
        bool white = is_white(c);
        while (white && i + 1 < text.n && is_white(text.p[i + 1]))
            i++;
        *p++ = white ? ' ' : c;
    }
    out->n = (size_t)(p - out->p);
    return 0;
}

int fold_header(struct buf *out, str field_body)
{
    if (field_body.n <= PLAIN_MAX && str_ascii(field_body) && str_find(field_body, S("=?")) < 0)
        return fold_plain(out, str_trim(field_body));
    _cleanup_buf_ struct buf text = BUF(ENCODED_WORD_GROWTH * field_body.n);
    _cleanup_buf_ struct buf blanks = BUF(ENCODED_WORD_GROWTH * field_body.n);
    buf_reserve(&text, field_body.n); /* what is decoded is seldom longer */
    buf_reserve(&blanks, field_body.n);
    if (encoded_words_decode(&text, field_body) < 0 || fold_blanks(&blanks, str_trim(buf_str(&text))) < 0)
        return out->failed = out->failed ? out->failed : text.failed ? text.failed : blanks.failed;
    return fold_utf8(out, buf_str(&blanks));
}

/* subj-blob: "[" *BLOBCHAR "]" *WSP. Its length at the start of s, 0 if there is none. */
static size_t blob_length(str s)
{
    if (s.n == 0 || s.p[0] != '[')
        return 0;
    size_t i = 1;
    while (i < s.n && s.p[i] != '[' && s.p[i] != ']')
        i++;
    if (i == s.n || s.p[i] != ']')
        return 0;
    for (i++; i < s.n && ascii_blank(s.p[i]); i++)
        ;
    return i;
}

/* subj-refwd: ("re" / ("fw" ["d"])) *WSP [subj-blob] ":" */
static size_t refwd_length(str s)
{
    size_t i = str_starts(s, S("fwd")) ? 3 : str_starts(s, S("re")) || str_starts(s, S("fw")) ? 2 : 0;
    if (i == 0)
        return 0;
    while (i < s.n && ascii_blank(s.p[i]))
        i++;
    i += blob_length(str_from(s, i));
    return i < s.n && s.p[i] == ':' ? i + 1 : 0;
}

/* Step 2: subj-trailer. */
static str without_trailers(str s, bool *reply)
{
    for (;;) {
        while (s.n > 0 && ascii_blank(s.p[s.n - 1]))
            s.n--;
        if (!str_ends(s, S("(fwd)")))
            return s;
        s.n -= 5;
        *reply = true;
    }
}

/* Steps 3 to 5: subj-leader, and blobs that leave something. Blobs before no refwd are all there is to take away: what
 * follows them was looked at, so nothing is read twice. */
static str without_leaders(str s, bool *reply)
{
    for (;;) {
        while (s.n > 0 && ascii_blank(s.p[0]))
            s = str_from(s, 1);
        str rest = s, before_last = s;
        for (size_t n = blob_length(rest); n > 0; n = blob_length(rest)) {
            before_last = rest;
            rest = str_from(rest, n);
        }
        size_t refwd = refwd_length(rest);
        if (refwd == 0)
            return rest.n > 0 ? rest : before_last;
        *reply = true;
        s = str_from(rest, refwd);
    }
}

void base_subject(str folded, uint32_t *out_off, uint32_t *out_len, bool *out_reply)
{
    bool reply = false;
    str s = folded;
    for (;;) {
        s = without_leaders(without_trailers(s, &reply), &reply);
        if (s.n < 6 || !str_starts(s, S("[fwd:")) || s.p[s.n - 1] != ']') /* step 6 */
            break;
        s = str_of(s.p + 5, s.n - 6);
        reply = true;
    }
    *out_off = s.n > 0 ? (uint32_t)(s.p - folded.p) : 0;
    *out_len = (uint32_t)s.n;
    *out_reply = reply;
}
