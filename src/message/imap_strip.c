/* BODY out of BODYSTRUCTURE (RFC 9051 7.5.2): a walk over the text by the grammar of its section 9, which leaves out
 * the extension data. Text that does not fit the grammar is refused; nothing is taken on trust. */
#include <errno.h>
#include "message/imap_text.h"

enum { BODIES_DEEP = MIME_DEPTH_MAX + 2, LISTS_DEEP = 16 };

struct strip {
    str in;
    size_t at;
    bool bad;
};

static bool next_is(struct strip *s, char c)
{
    return !s->bad && s->at < s->in.n && s->in.p[s->at] == c;
}

static void expect(struct strip *s, char c)
{
    s->bad |= !next_is(s, c);
    s->at += !s->bad;
}

static void quoted(struct strip *s)
{
    expect(s, '"');
    while (!s->bad && !next_is(s, '"')) {
        s->at += next_is(s, '\\') ? 2 : 1;
        s->bad |= s->at >= s->in.n;
    }
    expect(s, '"');
}

static void literal(struct strip *s)
{
    uint64_t n;
    str number = str_from(s->in, s->at + 1);
    size_t digits = 0;
    while (digits < number.n && digits < 20 && ascii_digit(number.p[digits]))
        digits++;
    s->bad |= str_u64(str_first(number, digits), s->in.n, &n) < 0;
    s->at += 1 + digits;
    expect(s, '}');
    expect(s, '\r');
    expect(s, '\n');
    s->bad |= s->bad || n > s->in.n - s->at;
    s->at += s->bad ? 0 : n;
}

/* NIL or a number. */
static void atom(struct strip *s)
{
    size_t from = s->at;
    while (s->at < s->in.n && ascii_alnum(s->in.p[s->at]))
        s->at++;
    str word = str_of(s->in.p + from, s->at - from);
    uint64_t n;
    s->bad |= !str_ieq(word, S("NIL")) && str_u64(word, INT64_MAX, &n) < 0;
}

static void element(struct strip *s, unsigned depth);

static void list(struct strip *s, unsigned depth)
{
    s->bad |= depth == LISTS_DEEP;
    expect(s, '(');
    while (!s->bad && !next_is(s, ')')) {
        element(s, depth + 1);
        if (next_is(s, ' '))
            s->at++;
    }
    expect(s, ')');
}

/* Anything: a string, NIL, a number or a list of such. */
static void element(struct strip *s, unsigned depth)
{
    if (next_is(s, '"'))
        quoted(s);
    else if (next_is(s, '{'))
        literal(s);
    else if (next_is(s, '('))
        list(s, depth);
    else
        atom(s);
}

/* A blank and an element. */
static str next_element(struct strip *s)
{
    expect(s, ' ');
    size_t from = s->at;
    element(s, 0);
    return s->bad ? STR_NONE : str_of(s->in.p + from, s->at - from);
}

/* Copies what was read since `from`. */
static void copy(const struct strip *s, struct buf *out, size_t from)
{
    if (!s->bad)
        buf_add(out, str_of(s->in.p + from, s->at - from));
}

static void body(struct strip *s, struct buf *out, unsigned depth);

/* Envelope, body and lines of a message inside. */
static void message(struct strip *s, struct buf *out, unsigned depth)
{
    size_t from = s->at;
    next_element(s);
    expect(s, ' ');
    copy(s, out, from);
    body(s, out, depth + 1);
    from = s->at;
    next_element(s);
    copy(s, out, from);
}

/* From the type on. */
static void single(struct strip *s, struct buf *out, unsigned depth)
{
    size_t from = s->at;
    element(s, 0);
    str type = s->bad ? STR_NONE : str_of(s->in.p + from, s->at - from), subtype = next_element(s);
    for (int i = 0; i < 5 && !s->bad; i++) /* parameters, id, description, encoding, size */
        next_element(s);
    if (str_ieq(type, S("\"text\"")))
        next_element(s);
    copy(s, out, from);
    if (str_ieq(type, S("\"message\"")) && (str_ieq(subtype, S("\"rfc822\"")) || str_ieq(subtype, S("\"global\""))))
        message(s, out, depth);
}

static void body(struct strip *s, struct buf *out, unsigned depth)
{
    size_t from = s->at;
    s->bad |= depth == BODIES_DEEP;
    expect(s, '(');
    copy(s, out, from);
    if (next_is(s, '(')) {
        while (next_is(s, '('))
            body(s, out, depth + 1);
        from = s->at;
        next_element(s);
        copy(s, out, from);
    } else {
        single(s, out, depth);
    }
    while (next_is(s, ' ')) /* extension data */
        next_element(s);
    from = s->at;
    expect(s, ')');
    copy(s, out, from);
}

int imap_structure_strip(struct buf *out, str structure)
{
    struct strip s = { .in = structure };
    size_t at = out->n;
    body(&s, out, 0);
    if (!s.bad && s.at == structure.n)
        return out->failed;
    out->n = MIN(at, out->n);
    return -EBADMSG;
}
