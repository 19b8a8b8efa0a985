/* The MIME parser: see mime.h. Lines of headers and, inside a multipart, lines of bodies are looked at one by one; a
 * body outside of all multiparts is only counted. Invariants:
 * 1. `cur` is the innermost open part; its ancestors are open, all others are closed.
 * 2. m->off is the start of the line being read, m->lf the number of line feeds before it.
 * 3. What depends on the cut of the input into pieces is in `carry` alone: the begin of an unfinished line. */
#include "message/mime.h"
#include <errno.h>
#include "message/header.h"
#include "message/mime_bounds.h"
#include "message/mime_params.h"

#define BODY_LINE_MAX 512    /* bytes of a body line that are kept: no delimiter is longer */
#define PARTS_KEPT 256       /* room for parts that a reset keeps */
#define BUF_KEPT 65536       /* bytes of a buffer that a reset keeps */

struct line {
    str text;            /* without its end; at most the bytes kept */
    uint64_t start, end; /* offsets */
    unsigned eol;        /* bytes of its end: 0 at the end of the input, 1 LF, 2 CRLF */
};

struct rule;

/* Where in `kept_text` the header of a part is. */
struct kept {
    uint32_t off, len;
    bool cut;
};

struct mime_parser {
    enum { HEADER, BODY, RAW } state; /* RAW: no boundary can come any more */
    uint64_t off, lf;
    uint64_t prev_start; /* of the line before the current one, and its end */
    unsigned prev_eol;
    bool open_end;       /* the last byte read was no line feed */
    bool limited;
    bool top;            /* in the top-level header */
    bool enclosed;       /* in the header of a message inside */
    struct {
        struct buf kept;
        uint64_t len;
        char last[2];
    } carry;

    struct mime_part *parts;
    struct kept *kept; /* as many */
    size_t n_parts, cap_parts, cur;
    struct arena arena;
    struct mime_bounds bounds;

    /* the header being read */
    struct {
        bool open;
        uint64_t off;
        uint32_t name_len;
        const struct rule *rule; /* NULL: of no interest */
        struct buf value;
    } field;
    uint32_t seen; /* bit of each rule that has had its field */
    bool disposition_name;
    struct buf boundary;
    struct mime_params params;
    struct buf scratch;

    struct buf header_text, kept_text;
    size_t n_fields;
    struct mime_field fields[MIME_HEADERS_MAX];
};

static struct mime_part *current(struct mime_parser *m)
{
    return &m->parts[m->cur];
}

static void opaque(struct mime_parser *m, struct mime_part *p)
{
    p->type = S("application");
    p->subtype = S("octet-stream");
    p->multipart = p->message = false;
    m->limited = true;
}

static bool parts_resize(struct mime_parser *m, size_t cap)
{
    struct mime_part *parts = realloc(m->parts, cap * sizeof(*parts));
    m->parts = parts ? parts : m->parts;
    struct kept *kept = parts ? realloc(m->kept, cap * sizeof(*kept)) : NULL;
    m->kept = kept ? kept : m->kept;
    if (parts)
        m->cap_parts = kept ? cap : MIN(cap, m->cap_parts);
    return kept;
}

/* Room for one more part. */
static bool part_room(struct mime_parser *m)
{
    if (m->n_parts < m->cap_parts)
        return true;
    size_t cap = m->cap_parts ? MIN(m->cap_parts * 2, (size_t)MIME_PARTS_MAX) : 16;
    return cap > m->n_parts && parts_resize(m, cap);
}

/* Opens a part whose header begins at `off`; the caller made sure of the room. */
static void part_open(struct mime_parser *m, size_t parent, uint64_t off)
{
    size_t i = m->n_parts++;
    bool root = i == parent;
    bool digest = !root && m->parts[parent].multipart && str_eq(m->parts[parent].subtype, S("digest"));
    m->parts[i] = (struct mime_part){
        .parent = (uint32_t)parent,
        .depth = root ? 0 : m->parts[parent].depth + 1,
        .header_off = off,
        .body_off = off,
        .end_off = off,
        .type = digest ? S("message") : S("text"), /* RFC 2046 5.1.5 */
        .subtype = digest ? S("rfc822") : S("plain"),
    };
    m->kept[i] = (struct kept){ .off = (uint32_t)m->kept_text.n };
    m->cur = i;
    m->state = HEADER;
    m->enclosed = !root && m->parts[parent].message;
    m->seen = 0;
    m->disposition_name = false;
    m->field.open = false;
    buf_clear(&m->boundary);
}

/* Ends part i at `end`; until here its `lines` held the line feeds before its body. */
static void part_end(struct mime_parser *m, size_t i, uint64_t end, uint64_t lf, bool open_end)
{
    struct mime_part *p = &m->parts[i];
    bool child = i + 1 < m->n_parts && m->parts[i + 1].parent == i;
    p->end_off = end;
    p->lines = end > p->body_off ? lf - p->lines + open_end : 0;
    if (p->multipart && !child) {
        p->type = S("text");
        p->subtype = S("plain");
    }
    p->multipart = p->multipart && child;
    p->message = p->message && child;
}

/* A copy that lives with the table; "" when the room for text is used up. */
static str keep(struct mime_parser *m, str s, bool lower)
{
    bool cut = s.n > MIME_VALUE_MAX;
    s = str_first(s, MIME_VALUE_MAX);
    if (s.n == 0)
        return S("");
    str copy = lower ? arena_lower(&m->arena, s) : arena_dup(&m->arena, s);
    m->limited |= cut || !copy.p;
    return copy.p ? copy : S("");
}

/* The value of a parameter, "" if absent; valid until the next call. */
static str param(struct mime_parser *m, str name, bool extended_first)
{
    buf_clear(&m->scratch);
    mime_params_get(&m->params, name, extended_first, &m->scratch);
    m->limited |= m->scratch.failed != 0;
    return buf_str(&m->scratch);
}

static bool token_valid(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 33 || s.p[i] > 126 || str_chr(S("()<>@,;:\\\"/[]?="), s.p[i]) >= 0)
            return false;
    return s.n > 0 && s.n <= 127; /* RFC 6838 4.2 */
}

static void content_type(struct mime_parser *m, str value)
{
    struct mime_part *p = current(m);
    mime_params_parse(value, &m->params);
    m->limited |= m->params.limited;
    str subtype = m->params.main, type = str_cut(&subtype, '/');
    if (!token_valid(type) || !token_valid(subtype))
        return; /* RFC 2045 5.2: as if the field were absent */
    p->type = keep(m, type, true);
    p->subtype = keep(m, subtype, true);
    if (p->type.n == 0 || p->subtype.n == 0)
        opaque(m, p);
    p->charset = keep(m, param(m, S("charset"), false), true);
    if (!m->disposition_name)
        p->filename = keep(m, param(m, S("name"), true), false);
    buf_clear(&m->boundary);
    mime_params_get(&m->params, S("boundary"), false, &m->boundary);
    while (m->boundary.n && ascii_blank(m->boundary.p[m->boundary.n - 1]))
        m->boundary.n--;
}

static void content_transfer_encoding(struct mime_parser *m, str value)
{
    mime_params_parse(value, &m->params);
    current(m)->encoding = keep(m, m->params.main, true);
}

static void content_disposition(struct mime_parser *m, str value)
{
    mime_params_parse(value, &m->params);
    m->limited |= m->params.limited;
    current(m)->disposition = keep(m, m->params.main, true);
    str name = param(m, S("filename"), true);
    if (name.n == 0)
        return;
    m->disposition_name = true;
    current(m)->filename = keep(m, name, false);
}

static void content_id(struct mime_parser *m, str value)
{
    current(m)->id = keep(m, str_trim(value), false);
}

static void content_description(struct mime_parser *m, str value)
{
    current(m)->description = keep(m, str_trim(value), false);
}

/* The fields of a header that matter. */
static const struct rule {
    str name;
    void (*apply)(struct mime_parser *m, str value); /* may be NULL */
    bool kept, many;                                 /* for IMAP; every field of that name counts */
} rules[] = {
    { S("Content-Type"), content_type, .kept = true },
    { S("Content-Transfer-Encoding"), content_transfer_encoding },
    { S("Content-Disposition"), content_disposition, .kept = true },
    { S("Content-ID"), content_id },
    { S("Content-Description"), content_description },
    { S("Content-MD5"), .kept = true },
    { S("Content-Language"), .kept = true },
    { S("Content-Location"), .kept = true },
    { S("Date"), .kept = true },
    { S("Subject"), .kept = true },
    { S("From"), .kept = true },
    { S("Sender"), .kept = true },
    { S("Reply-To"), .kept = true },
    { S("To"), .kept = true, .many = true },
    { S("Cc"), .kept = true, .many = true },
    { S("Bcc"), .kept = true, .many = true },
    { S("In-Reply-To"), .kept = true },
    { S("Message-ID"), .kept = true },
};

enum { CONTENT_RULES = 8 }; /* the first; the others are for the envelope of a message inside */

static const struct rule *rule_of(const struct mime_parser *m, str name)
{
    bool content = str_istarts(name, S("Content-"));
    size_t i = content ? 0 : CONTENT_RULES, end = content ? CONTENT_RULES : m->enclosed ? ARRAY_LEN(rules) : i;
    while (i < end && !str_ieq(name, rules[i].name))
        i++;
    if (i == end || (m->top && !rules[i].apply)) /* all of the top-level header is kept anyway */
        return NULL;
    return &rules[i];
}

static void keep_field(struct mime_parser *m, const struct rule *rule, str value)
{
    struct kept *kept = &m->kept[m->cur];
    size_t n = rule->name.n + 1 + value.n + 1;
    if (n > MIME_KEPT_MAX - m->kept_text.n || buf_reserve(&m->kept_text, n) < 0) {
        kept->cut = true;
        return;
    }
    buf_add(&m->kept_text, rule->name);
    buf_addc(&m->kept_text, ':');
    buf_add(&m->kept_text, value);
    buf_addc(&m->kept_text, '\n');
    kept->len += (uint32_t)n;
}

/* Adds to the value of the field being read, up to the limit. */
static void value_add(struct mime_parser *m, str text)
{
    size_t room = MIME_FIELD_MAX - m->field.value.n;
    m->limited |= text.n > room;
    m->kept[m->cur].cut |= text.n > room;
    buf_add(&m->field.value, str_first(text, room));
}

static void field_note(struct mime_parser *m, uint64_t end)
{
    if (m->n_fields == MIME_HEADERS_MAX || end > MIME_HEADER_TEXT_MAX) {
        m->limited = true;
        return;
    }
    m->fields[m->n_fields++] = (struct mime_field){
        .off = (uint32_t)m->field.off,
        .len = (uint32_t)(end - m->field.off),
        .name_len = m->field.name_len,
    };
}

static void field_end(struct mime_parser *m, uint64_t end)
{
    const struct rule *rule = m->field.rule;
    if (!m->field.open)
        return;
    m->field.open = false;
    if (m->top)
        field_note(m, end);
    if (!rule || (m->seen & 1u << (rule - rules) && !rule->many))
        return;
    m->seen |= 1u << (rule - rules);
    m->limited |= m->field.value.failed != 0;
    if (rule->kept && !m->top)
        keep_field(m, rule, buf_str(&m->field.value));
    if (rule->apply)
        rule->apply(m, buf_str(&m->field.value));
}

static void field_start(struct mime_parser *m, const struct line *l)
{
    str name, value;
    if (!header_split(l->text, &name, &value))
        return;
    m->field.open = true;
    m->field.off = l->start;
    m->field.name_len = (uint32_t)name.n;
    m->field.rule = rule_of(m, name);
    buf_clear(&m->field.value);
    if (m->field.rule)
        value_add(m, value);
}

/* RFC 2046 5.2.1 allows a message no other encoding. */
static bool identity(str encoding)
{
    static const str names[] = { S(""), S("7bit"), S("8bit"), S("binary") };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(encoding, names[i]))
            return true;
    return false;
}

/* The header of the current part ended before `off`, with `lf` line feeds before: now its type is known. */
static void header_end(struct mime_parser *m, uint64_t off, uint64_t lf)
{
    field_end(m, off);
    bool room = part_room(m);
    struct mime_part *p = current(m);
    m->top = false;
    p->body_off = off;
    p->lines = lf;
    p->multipart = str_eq(p->type, S("multipart"));
    p->message = str_eq(p->type, S("message")) && identity(p->encoding) &&
                 (str_eq(p->subtype, S("rfc822")) || str_eq(p->subtype, S("global")));
    bool fits = room && p->depth < MIME_DEPTH_MAX && !(p->multipart && m->boundary.failed);
    if ((p->multipart || p->message) && !fits)
        opaque(m, p);
}

/* Goes on behind the header: into the message inside, or to the lines of the body. */
static void body_start(struct mime_parser *m)
{
    struct mime_part *p = current(m);
    if (p->message) {
        part_open(m, m->cur, p->body_off);
        return;
    }
    if (p->multipart && m->boundary.n)
        mime_bounds_push(&m->bounds, buf_str(&m->boundary), (uint32_t)m->cur);
    m->state = m->bounds.n ? BODY : RAW;
}

/* Ends the open parts inside `parent` (all, if it is SIZE_MAX) before the delimiter or the end of the input. */
static void close_inside(struct mime_parser *m, size_t parent, uint64_t end, uint64_t lf, bool open_end)
{
    size_t i = m->cur;
    while (i != parent) {
        part_end(m, i, end, lf, open_end);
        if (i == 0)
            break;
        i = m->parts[i].parent;
    }
}

/* If the line is a delimiter, ends what it ends and opens the next part. */
static bool delimiter(struct mime_parser *m, const struct line *l)
{
    bool last, whole = l->text.n + l->eol == l->end - l->start;
    int at = whole ? mime_bounds_match(&m->bounds, l->text, &last) : -1;
    if (at < 0)
        return false;
    if (!last && !part_room(m)) {
        m->limited = true;
        if (m->state == BODY && !current(m)->multipart)
            opaque(m, current(m));
        return false;
    }
    uint64_t lf = m->lf, end = l->start;
    if (m->state == HEADER)
        header_end(m, l->start, m->lf);
    bool cut = end >= current(m)->body_off + m->prev_eol; /* the line end before is the delimiter's */
    if (cut)
        end -= m->prev_eol;
    size_t parent = m->bounds.list[at].part;
    close_inside(m, parent, end, lf - (cut && m->prev_eol), cut && end > m->prev_start);
    mime_bounds_cut(&m->bounds, (size_t)at + !last);
    m->cur = parent;
    m->state = m->bounds.n ? BODY : RAW;
    if (!last)
        part_open(m, parent, l->end);
    return true;
}

static void header_line(struct mime_parser *m, const struct line *l)
{
    if (m->bounds.n && delimiter(m, l))
        return;
    if (l->text.n == 0) {
        field_end(m, l->start);
        header_end(m, l->end, m->lf + 1);
        body_start(m);
        return;
    }
    if (!ascii_blank(l->text.p[0])) {
        field_end(m, l->start);
        field_start(m, l);
    } else if (m->field.open && m->field.rule) {
        value_add(m, l->text);
    }
    if (m->field.open && m->field.rule && l->text.n + l->eol < l->end - l->start)
        m->limited = m->kept[m->cur].cut = true;
}

/* A line of `len` bytes, of which the first are `kept`. */
static void line(struct mime_parser *m, str kept, uint64_t len, unsigned eol)
{
    struct line l = { .text = kept, .start = m->off, .end = m->off + len, .eol = eol };
    if (kept.n == len)
        l.text.n -= eol;
    if (m->state == HEADER)
        header_line(m, &l);
    else if (kept.n > 2 && kept.p[0] == '-' && kept.p[1] == '-')
        delimiter(m, &l);
    m->prev_start = m->off;
    m->prev_eol = eol;
    m->off += len;
    m->lf += eol > 0;
    m->open_end = eol == 0;
}

static uint64_t count_lf(str s)
{
    typedef unsigned char v16 __attribute__((vector_size(16)));
    v16 lf;
    memset(&lf, '\n', sizeof(lf));
    uint64_t n = 0;
    size_t i = 0;
    while (s.n - i >= sizeof(lf)) {
        v16 sum = { 0 };
        for (size_t rounds = MIN((s.n - i) / sizeof(lf), (size_t)255); rounds > 0; rounds--, i += sizeof(lf)) {
            v16 v;
            memcpy(&v, s.p + i, sizeof(v));
            sum -= (v16)(v == lf);
        }
        for (size_t k = 0; k < sizeof(sum); k++)
            n += sum[k];
    }
    for (; i < s.n; i++)
        n += s.p[i] == '\n';
    return n;
}

static void raw(struct mime_parser *m, str piece)
{
    m->off += piece.n;
    m->lf += count_lf(piece);
    m->open_end = piece.p[piece.n - 1] != '\n';
}

static void carry_add(struct mime_parser *m, str fragment, size_t limit)
{
    size_t room = limit - MIN(limit, m->carry.kept.n);
    buf_add(&m->carry.kept, str_first(fragment, room));
    m->limited |= m->carry.kept.failed != 0;
    m->carry.len += fragment.n;
    m->carry.last[0] = fragment.n > 1 ? fragment.p[fragment.n - 2] : m->carry.last[1];
    m->carry.last[1] = fragment.p[fragment.n - 1];
}

static void carry_line(struct mime_parser *m)
{
    bool lf = m->carry.last[1] == '\n', crlf = lf && m->carry.len > 1 && m->carry.last[0] == '\r';
    line(m, buf_str(&m->carry.kept), m->carry.len, (unsigned)lf + crlf);
    buf_clear(&m->carry.kept);
    m->carry.len = 0;
}

/* Reads up to the end of the line or of the piece; returns the rest of the piece. */
static str feed_line(struct mime_parser *m, str piece)
{
    const char *lf = memchr(piece.p, '\n', piece.n);
    size_t n = lf ? (size_t)(lf - piece.p) + 1 : piece.n;
    str fragment = str_first(piece, n);
    size_t limit = m->state == HEADER ? MIME_FIELD_MAX : BODY_LINE_MAX;
    if (m->top)
        buf_add(&m->header_text, str_first(fragment, MIME_HEADER_TEXT_MAX - m->header_text.n));
    if (lf && m->carry.len == 0) {
        unsigned eol = n > 1 && lf[-1] == '\r' ? 2 : 1;
        line(m, str_first(fragment, limit), n, eol);
    } else {
        carry_add(m, fragment, limit);
        if (lf)
            carry_line(m);
    }
    return str_from(piece, n);
}

void mime_feed(struct mime_parser *m, str piece)
{
    while (piece.n && m->state != RAW)
        piece = feed_line(m, piece);
    if (piece.n)
        raw(m, piece);
}

void mime_end(struct mime_parser *m)
{
    if (m->carry.len)
        carry_line(m);
    if (m->state == HEADER)
        header_end(m, m->off, m->lf);
    close_inside(m, SIZE_MAX, m->off, m->lf, m->open_end);
    m->limited |= m->header_text.failed != 0;
}

static void shrink(struct buf *b)
{
    if (b->cap > BUF_KEPT)
        buf_release(b);
    buf_clear(b);
}

void mime_reset(struct mime_parser *m)
{
    if (m->cap_parts > PARTS_KEPT)
        parts_resize(m, PARTS_KEPT);
    arena_clear(&m->arena);
    mime_bounds_clear(&m->bounds);
    shrink(&m->carry.kept);
    shrink(&m->field.value);
    shrink(&m->header_text);
    shrink(&m->kept_text);
    m->carry.len = 0;
    m->off = m->lf = m->prev_start = 0;
    m->prev_eol = 0;
    m->open_end = m->limited = false;
    m->top = true;
    m->n_parts = m->n_fields = 0;
    part_open(m, 0, 0);
}

struct mime_parser *mime_new(void)
{
    struct mime_parser *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->arena = ARENA(MIME_TEXT_MAX);
    m->carry.kept = BUF(MIME_FIELD_MAX);
    m->field.value = BUF(MIME_FIELD_MAX);
    m->boundary = BUF(MIME_BOUNDARY_MAX);
    m->scratch = BUF(MIME_VALUE_MAX);
    m->header_text = BUF(MIME_HEADER_TEXT_MAX);
    m->kept_text = BUF(MIME_KEPT_MAX);
    if (!part_room(m)) {
        mime_free(m);
        return NULL;
    }
    mime_reset(m);
    return m;
}

void mime_free(struct mime_parser *m)
{
    if (!m)
        return;
    arena_done(&m->arena);
    buf_done(&m->carry.kept);
    buf_done(&m->field.value);
    buf_done(&m->boundary);
    buf_done(&m->scratch);
    buf_done(&m->header_text);
    buf_done(&m->kept_text);
    free(m->parts);
    free(m->kept);
    free(m);
}

size_t mime_parts(const struct mime_parser *m, const struct mime_part **out_parts)
{
    *out_parts = m->parts;
    return m->n_parts;
}

size_t mime_fields(const struct mime_parser *m, const struct mime_field **out_fields)
{
    *out_fields = m->fields;
    return m->n_fields;
}

str mime_header_text(const struct mime_parser *m)
{
    return buf_str(&m->header_text);
}

bool mime_part_header(const struct mime_parser *m, size_t i, str *out_header)
{
    const struct kept *kept = &m->kept[i];
    *out_header = i == 0 ? buf_str(&m->header_text) : str_first(str_from(buf_str(&m->kept_text), kept->off), kept->len);
    return i == 0 ? m->parts[0].body_off <= MIME_HEADER_TEXT_MAX : !kept->cut;
}

uint64_t mime_size(const struct mime_parser *m)
{
    return m->off;
}

bool mime_limited(const struct mime_parser *m)
{
    return m->limited;
}
