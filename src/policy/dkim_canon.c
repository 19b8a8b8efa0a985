/* Canonical forms: see dkim_canon.h. */
#include "policy/dkim_canon.h"
#include "message/header.h"

struct staging {
    struct dkim_sink *out;
    size_t n;
    char p[4096];
};

static void flush(struct staging *s)
{
    if (s->n)
        s->out->write(s->out, str_of(s->p, s->n));
    s->n = 0;
}

static inline void put(struct staging *s, char c)
{
    if (s->n == sizeof(s->p))
        flush(s);
    s->p[s->n++] = c;
}

/* A byte that counts: what was held back before it counts too. */
static inline void content(struct dkim_body *b, struct staging *s, char c)
{
    for (; b->crlfs; b->crlfs--) {
        put(s, '\r');
        put(s, '\n');
    }
    if (b->blank)
        put(s, ' ');
    b->blank = false;
    b->any = true;
    put(s, c);
}

static inline void byte(struct dkim_body *b, struct staging *s, char c)
{
    bool cr = b->cr;
    b->cr = false;
    if (c == '\n') {
        b->blank = false; /* RFC 6376 3.4.4 a */
        b->crlfs++;
        return;
    }
    if (cr)
        content(b, s, '\r');
    if (c == '\r')
        b->cr = true;
    else if (b->how == DKIM_RELAXED && ascii_blank(c))
        b->blank = true;
    else
        content(b, s, c);
}

void dkim_body_feed(struct dkim_body *b, str piece, struct dkim_sink *out)
{
    struct staging s __attribute__((uninitialized));
    s.out = out;
    s.n = 0;
    for (size_t i = 0; i < piece.n; i++)
        byte(b, &s, piece.p[i]);
    flush(&s);
}

/* Empty lines at the end do not count, and one CRLF ends it; without any content the simple form is that CRLF and the
 * relaxed form nothing (RFC 6376 3.4.3, 3.4.4). */
void dkim_body_end(struct dkim_body *b, struct dkim_sink *out)
{
    struct staging s __attribute__((uninitialized));
    s.out = out;
    s.n = 0;
    if (b->cr)
        content(b, &s, '\r');
    if (b->any || b->how == DKIM_SIMPLE) {
        put(&s, '\r');
        put(&s, '\n');
    }
    flush(&s);
    *b = (struct dkim_body){ .how = b->how };
}

static int simple(str raw, struct buf *out)
{
    while (raw.n && (raw.p[raw.n - 1] == '\n' || raw.p[raw.n - 1] == '\r'))
        raw.n--;
    for (size_t i = 0; i < raw.n; i++) {
        if (raw.p[i] == '\n' && (i == 0 || raw.p[i - 1] != '\r'))
            buf_addc(out, '\r');
        buf_addc(out, raw.p[i]);
    }
    return buf_add(out, S("\r\n"));
}

/* Unfolded, runs of white space as one space, none at the ends (RFC 6376 3.4.2). */
static int relaxed(str raw, struct buf *out)
{
    str name, value;
    if (!header_split(raw, &name, &value))
        return simple(raw, out);
    for (size_t i = 0; i < name.n; i++)
        buf_addc(out, ascii_lower(name.p[i]));
    buf_addc(out, ':');
    size_t begin = out->n;
    bool blank = false;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        bool crlf = c == '\r' && i + 1 < value.n && value.p[i + 1] == '\n';
        if (c == '\n' || crlf)
            continue; /* of a fold */
        if (ascii_blank(c)) {
            blank = true;
            continue;
        }
        if (blank && out->n > begin)
            buf_addc(out, ' ');
        blank = false;
        buf_addc(out, c);
    }
    return buf_add(out, S("\r\n"));
}

int dkim_header_canon(enum dkim_canon how, str raw, struct buf *out)
{
    return how == DKIM_RELAXED ? relaxed(raw, out) : simple(raw, out);
}
