/* Searching the text of a part: see part_text.h. Text goes in chunks through the decoder, the charset and the folding
 * into a window that keeps what a match may still need. In the window two bytes of the needle, the rarest, are looked
 * for, 16 places at a time. A text made so that this compares too much (aaaa…) is searched by Knuth, Morris and Pratt's
 * way from there on, which never looks at a byte twice. */
#include "message/part_text.h"
#include "message/fold.h"
#include <endian.h>

#define CHUNK 8192
#define DECODED_MAX (CHUNK + sizeof(((struct part_decoder *)0)->keep))
#define TEXT_MAX (CHARSET_GROWTH * (DECODED_MAX + sizeof(((struct charset_stream *)0)->keep)))
#define BUDGET 4 /* bytes compared for each byte of text before the way is changed */

struct text_search {
    str needle;         /* folded, of our own */
    uint16_t *border;   /* [i]: the longest proper border of the first i + 1 bytes */
    size_t a, b;        /* places of the two bytes in the needle, a <= b */
    struct part_decoder decoder;
    struct charset_stream charset;
    bool decoding, converting, found;
    struct buf decoded, text; /* of one chunk */
    unsigned n_cut;
    char cut[4];        /* a character of UTF-8 that began at the end of a chunk */
    char *window;
    size_t cap, n;      /* bytes of window; used */
    size_t tried;       /* no match begins before it */
    uint64_t compared, seen; /* in this text */
    bool linear;        /* the way was changed */
    size_t matched;     /* by it */
};

/* How often a byte comes in folded text, roughly: a small rank is rare. */
static unsigned rank(uint8_t c)
{
    static const char common[] = "zqxjkvbpygfwmucldrhsnioate ";
    const char *at = c ? memchr(common, c, sizeof(common) - 1) : NULL;
    if (at)
        return 20 + (unsigned)(at - common);
    if (c >= 0xc0) /* the first byte tells the script, so it is in every word of it */
        return 60;
    return c >= 0x80 ? 15 : c == '\r' || c == '\n' ? 25 : 10;
}

static void choose_bytes(struct text_search *t)
{
    size_t first = 0, second = t->needle.n - 1;
    for (size_t i = 0; i < t->needle.n; i++)
        if (rank((uint8_t)t->needle.p[i]) < rank((uint8_t)t->needle.p[first]))
            first = i;
    if (second == first)
        second = 0;
    for (size_t i = 0; i < t->needle.n; i++)
        if (i != first && rank((uint8_t)t->needle.p[i]) < rank((uint8_t)t->needle.p[second]))
            second = i;
    t->a = MIN(first, second);
    t->b = MAX(first, second);
}

static void borders(struct text_search *t)
{
    size_t k = 0;
    t->border[0] = 0;
    for (size_t i = 1; i < t->needle.n; i++) {
        while (k > 0 && t->needle.p[i] != t->needle.p[k])
            k = t->border[k - 1];
        k += t->needle.p[i] == t->needle.p[k];
        t->border[i] = (uint16_t)k;
    }
}

struct text_search *text_search_new(str needle)
{
    if (needle.n > TEXT_SEARCH_NEEDLE_MAX)
        return NULL;
    size_t chunk = MAX((size_t)CHUNK, needle.n);
    size_t cap = needle.n + FOLD_ROOM(chunk);
    struct text_search *t = calloc(1, sizeof(*t) + needle.n);
    if (!t)
        return NULL;
    char *copy = (char *)(t + 1);
    if (needle.n > 0)
        memcpy(copy, needle.p, needle.n);
    t->needle = str_of(copy, needle.n);
    t->decoded = BUF(DECODED_MAX);
    t->text = BUF(TEXT_MAX);
    t->cap = cap;
    t->window = malloc(cap);
    t->border = calloc(needle.n + 1, sizeof(*t->border));
    if (!t->window || !t->border || buf_reserve(&t->decoded, DECODED_MAX) < 0 || buf_reserve(&t->text, TEXT_MAX) < 0) {
        text_search_free(t);
        return NULL;
    }
    if (needle.n > 0) {
        choose_bytes(t);
        borders(t);
    }
    text_search_begin(t, PART_IDENTITY, STR_NONE);
    return t;
}

void text_search_free(struct text_search *t)
{
    if (!t)
        return;
    buf_done(&t->decoded);
    buf_done(&t->text);
    free(t->window);
    free(t->border);
    free(t);
}

void text_search_begin(struct text_search *t, enum part_encoding encoding, str charset)
{
    part_decode_begin(&t->decoder, encoding);
    charset_begin(&t->charset, charset);
    t->decoding = encoding == PART_BASE64 || encoding == PART_QUOTED_PRINTABLE;
    t->converting = !charset_is_utf8(&t->charset);
    t->found = t->needle.n == 0;
    t->n_cut = 0;
    t->n = t->tried = t->matched = 0;
    t->compared = t->seen = 0;
    t->linear = false;
}

/* Does the needle stand at p? Counts what it compares. */
static bool stands_at(struct text_search *t, const char *p)
{
    size_t i = 0;
    while (i + 8 <= t->needle.n && memcmp(p + i, t->needle.p + i, 8) == 0)
        i += 8;
    while (i < t->needle.n && p[i] == t->needle.p[i])
        i++;
    t->compared += i + 1;
    return i == t->needle.n;
}

typedef uint8_t vector __attribute__((vector_size(16)));

/* Tries the places whose bytes match (hits has 0xff at them) from `at` on. */
static bool try_hits(struct text_search *t, const char *at, const uint64_t hits[2])
{
    for (size_t k = 0; k < 2; k++) {
        uint64_t rest = le64toh(hits[k]);
        while (rest) {
            unsigned bit = (unsigned)__builtin_ctzll(rest) & ~7u;
            if (stands_at(t, at + 8 * k + bit / 8))
                return true;
            rest &= ~(0xffull << bit);
        }
    }
    return false;
}

/* Tries the places [t->tried, last]; stops early when too much was compared. */
static bool scan(struct text_search *t, size_t last)
{
    char a = t->needle.p[t->a], b = t->needle.p[t->b];
    size_t i = t->tried;
    bool found = false;
    for (; i + sizeof(vector) <= last + 1 && !found; i += sizeof(vector)) {
        vector x, y;
        uint64_t hits[2];
        memcpy(&x, t->window + i + t->a, sizeof(x));
        memcpy(&y, t->window + i + t->b, sizeof(y));
        vector both = (vector)((x == (uint8_t)a) & (y == (uint8_t)b));
        memcpy(hits, &both, sizeof(hits));
        if ((hits[0] | hits[1]) == 0)
            continue;
        found = try_hits(t, t->window + i, hits);
        if (t->compared > BUDGET * (t->seen + i) + 65536 + t->needle.n) {
            t->linear = true;
            t->tried = i + sizeof(vector);
            return found;
        }
    }
    for (; i <= last && !found; i++)
        found = t->window[i + t->a] == a && t->window[i + t->b] == b && stands_at(t, t->window + i);
    t->tried = i;
    return found;
}

/* Knuth, Morris, Pratt from `at` on. */
static bool scan_linear(struct text_search *t, size_t at)
{
    size_t k = t->matched;
    for (; at < t->n && k < t->needle.n; at++) {
        while (k > 0 && t->window[at] != t->needle.p[k])
            k = t->border[k - 1];
        k += t->window[at] == t->needle.p[k];
    }
    t->matched = k;
    return k == t->needle.n;
}

/* Searches what was added to the window. */
static void search(struct text_search *t)
{
    if (!t->linear && t->n >= t->needle.n && t->tried <= t->n - t->needle.n)
        t->found = scan(t, t->n - t->needle.n);
    if (t->linear && !t->found) {
        t->found = scan_linear(t, t->tried);
        t->tried = t->n;
    }
}

/* Folds a chunk of UTF-8 into the window; how much of it. */
static size_t fold_in(struct text_search *t, str chunk, bool last)
{
    if (t->cap - t->n < FOLD_ROOM(chunk.n)) { /* keep what may begin a match */
        t->n -= t->tried;
        memmove(t->window, t->window + t->tried, t->n);
        t->seen += t->tried;
        t->tried = 0;
    }
    size_t used;
    t->n += fold_piece(t->window + t->n, chunk, last, &used);
    return used;
}

static void utf8_feed(struct text_search *t, str piece, bool last)
{
    size_t chunk = MAX((size_t)CHUNK, t->needle.n);
    while (!t->found && (t->n_cut > 0 && (last || piece.n > 0))) {
        char joined[8];
        size_t had = t->n_cut, more = MIN(piece.n, sizeof(joined) - had);
        memcpy(joined, t->cut, had);
        if (more > 0)
            memcpy(joined + had, piece.p, more);
        size_t used = fold_in(t, str_of(joined, had + more), last && more == piece.n);
        t->n_cut = 0;
        if (used < had) { /* still not whole, and that was all */
            t->n_cut = (unsigned)(had + more - used);
            memcpy(t->cut, joined + used, t->n_cut);
            used = had + more;
        }
        piece = str_from(piece, used - had);
        search(t);
        if (t->n_cut > 0)
            return;
    }
    while (!t->found && piece.n > 0) {
        size_t n = MIN(chunk, piece.n);
        size_t used = fold_in(t, str_first(piece, n), last && n == piece.n);
        search(t);
        piece = str_from(piece, used);
        if (used < n && piece.n < sizeof(t->cut)) {
            memcpy(t->cut, piece.p, piece.n);
            t->n_cut = (unsigned)piece.n;
            return;
        }
    }
}

static void convert_feed(struct text_search *t, str bytes, bool last)
{
    if (!t->converting) {
        utf8_feed(t, bytes, last);
        return;
    }
    buf_clear(&t->text);
    charset_feed(&t->charset, &t->text, bytes);
    if (last)
        charset_end(&t->charset, &t->text);
    utf8_feed(t, buf_str(&t->text), last);
}

bool text_search_feed(struct text_search *t, str piece)
{
    if (!t->decoding && !t->converting) {
        utf8_feed(t, piece, false);
        return t->found;
    }
    while (piece.n > 0 && !t->found) {
        str bytes = str_first(piece, CHUNK);
        if (t->decoding) {
            buf_clear(&t->decoded);
            part_decode_feed(&t->decoder, &t->decoded, bytes);
            bytes = buf_str(&t->decoded);
        }
        convert_feed(t, bytes, false);
        piece = str_from(piece, CHUNK);
    }
    return t->found;
}

bool text_search_end(struct text_search *t)
{
    if (t->found)
        return true;
    buf_clear(&t->decoded);
    if (t->decoding)
        part_decode_end(&t->decoder, &t->decoded);
    convert_feed(t, buf_str(&t->decoded), true);
    return t->found;
}
