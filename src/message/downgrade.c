/* 8-bit content for a 7-bit peer: see downgrade.h.
 *
 * The part table is laid out as a row of spans: header of a part, body of a leaf, and what lies between (preamble,
 * delimiters, epilogue). The second look counts bytes above 127 in each, the last pass walks the same row and does to
 * each span what its part needs. */
#include "message/downgrade.h"
#include <errno.h>
#include "message/mime.h"
#include "message/quoted_printable.h"

enum span_kind { SPAN_HEADER, SPAN_BODY, SPAN_BETWEEN };
struct span {
    uint64_t end;
    uint32_t part;
    enum span_kind kind;
};

enum action {
    KEEP,
    MASK,        /* bytes above 127 are noise that no reader looks at: '?' */
    MEND,        /* quoted-printable that has them all the same: encode these alone */
    RELABEL,     /* the encoding becomes 7bit */
    TO_QP,
    TO_BASE64,
};

struct part_state {
    uint64_t high; /* bytes above 127 of its body */
    enum action action;
};

#define NAME_KEPT 40 /* of a header line: longer than any name that is looked for */

struct downgrade {
    struct mime_parser *mime;
    enum { LOOK, READ, COUNT, CONVERT } pass;
    bool high, header_high;
    const struct mime_part *parts;
    size_t n;
    struct part_state *state;
    struct span *spans;
    size_t n_spans;
    uint64_t size;

    /* the walk along the spans */
    uint64_t pos;
    size_t at;
    bool open;       /* the span at `at` was begun */
    struct {
        char kept[NAME_KEPT];
        size_t n;
        bool begun;  /* its first bytes have been judged, the rest follows them */
        bool drop;   /* this field is left out */
        bool empty_line, has_type, has_version;
    } header;
    struct qp_encoder qp;
    struct base64_encoder base64;
};

struct downgrade *downgrade_new(void)
{
    return calloc(1, sizeof(struct downgrade));
}

void downgrade_free(struct downgrade *d)
{
    if (!d)
        return;
    mime_free(d->mime);
    free(d->state);
    free(d->spans);
    free(d);
}

static size_t high_bytes(str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; ++i)
        n += (unsigned char)s.p[i] >> 7;
    return n;
}

/* Layout */

static bool leaf(const struct mime_part *p)
{
    return !p->multipart && !p->message;
}

static void add_span(struct downgrade *d, enum span_kind kind, uint32_t part, uint64_t end)
{
    uint64_t from = d->n_spans ? d->spans[d->n_spans - 1].end : 0;
    if (end > from || kind == SPAN_HEADER) /* an absent header is where fields may have to be added */
        d->spans[d->n_spans++] = (struct span){ MAX(end, from), part, kind };
}

static void close_part(struct downgrade *d, uint32_t part)
{
    add_span(d, leaf(&d->parts[part]) ? SPAN_BODY : SPAN_BETWEEN, part, d->parts[part].end_off);
}

static bool lay_out(struct downgrade *d)
{
    uint32_t open[MIME_DEPTH_MAX + 2];
    size_t depth = 0;
    d->n = mime_parts(d->mime, &d->parts);
    d->size = mime_size(d->mime);
    d->state = calloc(d->n, sizeof(*d->state));
    d->spans = calloc(d->n * 3 + 1, sizeof(*d->spans));
    if (!d->state || !d->spans)
        return false;
    for (uint32_t i = 0; i < d->n; ++i) {
        while (depth > 0 && open[depth - 1] != d->parts[i].parent)
            close_part(d, open[--depth]);
        if (i > 0)
            add_span(d, SPAN_BETWEEN, d->parts[i].parent, d->parts[i].header_off);
        add_span(d, SPAN_HEADER, i, d->parts[i].body_off);
        open[depth++] = i;
    }
    while (depth > 0)
        close_part(d, open[--depth]);
    add_span(d, SPAN_BETWEEN, 0, d->size);
    return true;
}

/* Counting */

static void count(struct downgrade *d, str piece)
{
    while (piece.n > 0 && d->at < d->n_spans) {
        const struct span *s = &d->spans[d->at];
        str part = str_first(piece, (size_t)MIN(s->end - d->pos, (uint64_t)piece.n));
        size_t n = high_bytes(part);
        if (s->kind == SPAN_HEADER)
            d->header_high |= n > 0;
        else if (s->kind == SPAN_BODY)
            d->state[s->part].high += n;
        d->pos += part.n;
        piece = str_from(piece, part.n);
        d->at += d->pos == s->end;
    }
}

static bool says_8bit(const struct mime_part *p)
{
    return str_eq(p->encoding, S("8bit")) || str_eq(p->encoding, S("binary"));
}

/* False: it cannot be done. */
static bool decide(const struct downgrade *d, uint32_t i, enum action *out)
{
    const struct mime_part *p = &d->parts[i];
    uint64_t high = d->state[i].high, n = p->end_off - p->body_off;
    *out = KEEP;
    if (high == 0 || !leaf(p)) {
        *out = says_8bit(p) ? RELABEL : KEEP;
        return true;
    }
    if (str_eq(p->encoding, S("quoted-printable"))) {
        *out = MEND;
        return true;
    }
    if (str_eq(p->encoding, S("base64"))) {
        *out = MASK;
        return true;
    }
    if (p->encoding.n > 0 && !says_8bit(p) && !str_eq(p->encoding, S("7bit")))
        return false;
    if (str_eq(p->type, S("message"))) /* RFC 2046 5.2: these have to be 7bit */
        return false;
    *out = str_eq(p->type, S("text")) && high * 6 <= n ? TO_QP : TO_BASE64;
    return true;
}

static enum downgrade_need decide_all(struct downgrade *d)
{
    if (d->header_high)
        return DOWNGRADE_HEADER;
    for (uint32_t i = 0; i < d->n; ++i)
        if (!decide(d, i, &d->state[i].action))
            return DOWNGRADE_IMPOSSIBLE;
    d->pass = CONVERT;
    d->pos = 0;
    d->at = 0;
    return DOWNGRADE_CONVERT;
}

void downgrade_scan(struct downgrade *d, str piece)
{
    if (d->pass == LOOK)
        d->high = d->high || high_bytes(piece) > 0;
    else if (d->pass == READ)
        mime_feed(d->mime, piece);
    else if (d->pass == COUNT)
        count(d, piece);
}

enum downgrade_need downgrade_scanned(struct downgrade *d)
{
    if (d->pass == COUNT)
        return decide_all(d);
    if (!d->high)
        return DOWNGRADE_NOT_NEEDED;
    if (d->pass == LOOK) { /* most messages never come here, and a parser is large */
        d->mime = mime_new();
        d->pass = READ;
        return d->mime ? DOWNGRADE_AGAIN : DOWNGRADE_IMPOSSIBLE;
    }
    mime_end(d->mime);
    if (mime_limited(d->mime) || !lay_out(d))
        return DOWNGRADE_IMPOSSIBLE;
    d->pass = COUNT;
    return DOWNGRADE_AGAIN;
}

bool downgrade_header_8bit(const struct downgrade *d)
{
    return d->header_high;
}

/* Converting: headers */

static bool changes_header(enum action a)
{
    return a == RELABEL || a == TO_QP || a == TO_BASE64;
}

static void add_fields(struct downgrade *d, uint32_t part, struct buf *out)
{
    enum action a = d->state[part].action;
    bool root = part == 0 || d->parts[d->parts[part].parent].message;
    if (!changes_header(a))
        return;
    if (root && !d->header.has_version)
        buf_add(out, S("MIME-Version: 1.0\r\n"));
    if (a != RELABEL && !d->header.has_type) /* RFC 1428 3 */
        buf_add(out, S("Content-Type: text/plain; charset=unknown-8bit\r\n"));
    buf_add(out, S("Content-Transfer-Encoding: "));
    buf_add(out, a == TO_QP ? S("quoted-printable\r\n") : a == TO_BASE64 ? S("base64\r\n") : S("7bit\r\n"));
}

static bool named(str line, str name)
{
    return str_istarts(line, name) && line.n > name.n && (line.p[name.n] == ':' || ascii_blank(line.p[name.n]));
}

/* Enough of a line is there to say which field it begins. */
static void judge_line(struct downgrade *d, uint32_t part, struct buf *out)
{
    str line = str_of(d->header.kept, d->header.n);
    d->header.begun = true;
    if (str_eq(line, S("\r\n")) || str_eq(line, S("\n"))) {
        d->header.empty_line = true;
        d->header.drop = false;
        add_fields(d, part, out);
    } else if (!ascii_blank(line.p[0])) {
        d->header.has_type |= named(line, S("Content-Type"));
        d->header.has_version |= named(line, S("MIME-Version"));
        d->header.drop = changes_header(d->state[part].action) && named(line, S("Content-Transfer-Encoding"));
    }
    if (!d->header.drop)
        buf_add(out, line);
}

static void header_bytes(struct downgrade *d, uint32_t part, str piece, struct buf *out)
{
    while (piece.n > 0) {
        ptrdiff_t lf = str_chr(piece, '\n');
        size_t n = lf >= 0 ? (size_t)lf + 1 : piece.n;
        if (!d->header.begun)
            n = MIN(n, NAME_KEPT - d->header.n);
        bool line_over = piece.p[n - 1] == '\n';
        if (d->header.begun) {
            if (!d->header.drop)
                buf_add(out, str_first(piece, n));
        } else {
            memcpy(d->header.kept + d->header.n, piece.p, n);
            d->header.n += n;
            if (line_over || d->header.n == NAME_KEPT)
                judge_line(d, part, out);
        }
        if (line_over) {
            d->header.begun = false;
            d->header.n = 0;
        }
        piece = str_from(piece, n);
    }
}

static void header_over(struct downgrade *d, uint32_t part, struct buf *out)
{
    if (d->header.n > 0 && !d->header.begun)
        judge_line(d, part, out);
    if (!d->header.empty_line && changes_header(d->state[part].action)) {
        add_fields(d, part, out);
        buf_add(out, S("\r\n"));
    }
}

/* Converting: bodies */

static void mask(str piece, bool mend, struct buf *out)
{
    while (piece.n > 0) {
        size_t n = 0;
        while (n < piece.n && (unsigned char)piece.p[n] < 128)
            ++n;
        buf_add(out, str_first(piece, n));
        if (n < piece.n && mend)
            buf_addf(out, "=%02X", (unsigned char)piece.p[n]);
        else if (n < piece.n)
            buf_addc(out, '?');
        piece = str_from(piece, n + 1);
    }
}

static void body_bytes(struct downgrade *d, enum action a, str piece, struct buf *out)
{
    switch (a) {
    case TO_QP: qp_encode(&d->qp, piece, out); return;
    case TO_BASE64: base64_lines_encode(&d->base64, piece, out); return;
    case MASK: mask(piece, false, out); return;
    case MEND: mask(piece, true, out); return;
    default: buf_add(out, piece); return;
    }
}

static void body_over(struct downgrade *d, enum action a, struct buf *out)
{
    if (a == TO_QP)
        qp_end(&d->qp, out);
    if (a == TO_BASE64)
        base64_lines_end(&d->base64, out);
    if (a == TO_BASE64 && d->pos == d->size)
        buf_add(out, S("\r\n"));
}

static void span_bytes(struct downgrade *d, const struct span *s, str piece, struct buf *out)
{
    if (s->kind == SPAN_HEADER)
        header_bytes(d, s->part, piece, out);
    else if (s->kind == SPAN_BODY)
        body_bytes(d, d->state[s->part].action, piece, out);
    else
        mask(piece, false, out);
}

static void span_over(struct downgrade *d, const struct span *s, struct buf *out)
{
    if (s->kind == SPAN_HEADER)
        header_over(d, s->part, out);
    else if (s->kind == SPAN_BODY)
        body_over(d, d->state[s->part].action, out);
}

int downgrade_feed(struct downgrade *d, str piece, struct buf *out)
{
    if (d->pass != CONVERT)
        return -EBADMSG;
    while (d->at < d->n_spans && (piece.n > 0 || d->pos == d->spans[d->at].end)) {
        const struct span *s = &d->spans[d->at];
        str part = str_first(piece, (size_t)MIN(s->end - d->pos, (uint64_t)piece.n));
        if (!d->open && s->kind == SPAN_HEADER)
            memset(&d->header, 0, sizeof(d->header));
        d->open = true;
        span_bytes(d, s, part, out);
        d->pos += part.n;
        piece = str_from(piece, part.n);
        if (d->pos < s->end)
            break;
        span_over(d, s, out);
        d->open = false;
        d->at++;
    }
    return piece.n > 0 ? -EBADMSG : out->failed;
}

int downgrade_end(struct downgrade *d, struct buf *out)
{
    int r = downgrade_feed(d, STR_NONE, out);
    return r < 0 ? r : d->pos != d->size ? -EBADMSG : 0;
}
