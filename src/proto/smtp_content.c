/* The content scanner of DATA and BDAT: see smtp_content.h.
 *
 * Invariants:
 * 1. AT_START is reached by CR LF (or the DATA command) alone, never by a bare LF or CR: nothing else can make a dot
 * count.
 * 2. A CR is handed out only together with its LF; one at the end of the input is held back as AT_CR or AT_DOT_CR.
 * 3. Each call either uses up bytes or leaves AT_CR or AT_DOT_CR, so calls are linear in the input. */
#include "proto/smtp_content.h"
#include "base/cleanup.h"

enum { AT_MIDDLE, AT_START, AT_CR, AT_DOT, AT_DOT_CR };

/* memchr looks no farther than this at a time, so that many bare CRs do not each cost a walk over the whole input. */
#define WINDOW 2048

struct smtp_content smtp_content_begin(bool stuffed, bool normalize)
{
    return (struct smtp_content){ .at = AT_START, .stuffed = stuffed, .normalize = normalize };
}

static enum smtp_content_found bare(struct smtp_content *c, str *out_piece)
{
    c->at = AT_MIDDLE;
    if (!c->normalize)
        return SMTP_CONTENT_BARE;
    *out_piece = S("\r\n");
    return SMTP_CONTENT_PIECE;
}

/* A bare CR or LF stands at `where`: what is before it goes out first, then the byte itself is dealt with. */
static enum smtp_content_found bare_at(struct smtp_content *c, str in, size_t where, size_t *out_used, str *out_piece)
{
    c->at = AT_MIDDLE;
    if (where > 0) {
        *out_used = where;
        *out_piece = str_first(in, where);
        return SMTP_CONTENT_PIECE;
    }
    *out_used = 1;
    return bare(c, out_piece);
}

static enum smtp_content_found piece(struct smtp_content *c, str in, size_t n, uint8_t at, str *out_piece)
{
    c->at = at;
    *out_piece = str_first(in, n);
    return n > 0 ? SMTP_CONTENT_PIECE : SMTP_CONTENT_MORE;
}

/* The run of clean lines at the front of `in`, which is not empty and does not begin with a stuffed dot. */
static enum smtp_content_found run(struct smtp_content *c, str in, size_t *out_used, str *out_piece)
{
    size_t i = 0;
    *out_used = in.n;
    while (i < in.n) {
        size_t window = MIN(in.n - i, (size_t)WINDOW);
        const char *cr = memchr(in.p + i, '\r', window);
        size_t end = cr ? (size_t)(cr - in.p) : i + window;
        const char *lf = memchr(in.p + i, '\n', end - i);
        if (lf)
            return bare_at(c, in, (size_t)(lf - in.p), out_used, out_piece);
        i = end;
        if (!cr)
            continue;
        if (end + 1 == in.n)
            return piece(c, in, end, AT_CR, out_piece);
        if (in.p[end + 1] != '\n')
            return bare_at(c, in, end, out_used, out_piece);
        i = end + 2;
        if (i == in.n)
            return piece(c, in, i, AT_START, out_piece);
        if (c->stuffed && in.p[i] == '.') {
            *out_used = i + 1;
            return piece(c, in, i, AT_DOT, out_piece);
        }
    }
    return piece(c, in, in.n, AT_MIDDLE, out_piece);
}

/* Steps over what stands between pieces; true when a result is ready. */
static bool between(struct smtp_content *c, char next, size_t *out_used, str *out_piece, enum smtp_content_found *out)
{
    switch (c->at) {
    case AT_START:
        *out_used += c->stuffed && next == '.';
        c->at = c->stuffed && next == '.' ? AT_DOT : AT_MIDDLE;
        return false;
    case AT_DOT:
        *out_used += next == '\r';
        c->at = next == '\r' ? AT_DOT_CR : AT_MIDDLE; /* 4.5.2: a dot with more behind it is dropped */
        return false;
    case AT_CR:
        if (next != '\n') {
            *out = bare(c, out_piece);
            return true;
        }
        ++*out_used;
        c->at = AT_START;
        *out_piece = S("\r\n");
        *out = SMTP_CONTENT_PIECE;
        return true;
    case AT_DOT_CR:
        *out_used += next == '\n';
        *out = next == '\n' ? SMTP_CONTENT_DONE : bare(c, out_piece);
        return true;
    default:
        return false;
    }
}

enum smtp_content_found smtp_content_next(struct smtp_content *c, str in, size_t *out_used, str *out_piece)
{
    enum smtp_content_found found;
    size_t used = 0;
    *out_piece = STR_NONE;
    while (used < in.n && c->at != AT_MIDDLE) {
        if (between(c, in.p[used], &used, out_piece, &found)) {
            *out_used = used;
            return found;
        }
    }
    if (used == in.n) {
        *out_used = used;
        return SMTP_CONTENT_MORE;
    }
    size_t more = 0;
    found = run(c, str_from(in, used), &more, out_piece);
    *out_used = used + more;
    return found;
}

enum smtp_content_found smtp_content_finish(struct smtp_content *c, str *out_piece)
{
    *out_piece = STR_NONE;
    return c->at == AT_CR ? bare(c, out_piece) : SMTP_CONTENT_MORE;
}
