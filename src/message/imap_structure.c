/* BODYSTRUCTURE and BODY (RFC 9051 7.5.2, RFC 3501 7.4.2): see imap_text.h and card_text.h. What the grammar wants and
 * a message lacks is made up: a message/rfc822 whose content could not be read (encoded, or empty) has an empty
 * envelope and one text part; a text part without charset has us-ascii (RFC 2045 5.2). */
#include <errno.h>
#include "message/address_scan.h"
#include "message/imap_text.h"
#include "message/mime_params.h"

enum { VALUE_MAX = MIME_FIELD_MAX * 3, USUAL_BYTES = 120 };

struct structure {
    struct buf *out;
    const struct mime_part *parts;
    size_t n;
    const struct mime_parser *m; /* NULL: only the part table is there */
    struct buf name, value;
    struct mime_params params;
};

/* What the fields of one part say; slices of its header. */
struct fields {
    str type, disposition, md5, language, location;
};

static void note_field(const struct header_field *f, struct fields *out)
{
    const struct {
        str name;
        str *value;
    } known[] = {
        { S("Content-Type"), &out->type },     { S("Content-Disposition"), &out->disposition },
        { S("Content-MD5"), &out->md5 },       { S("Content-Language"), &out->language },
        { S("Content-Location"), &out->location },
    };
    if (!str_istarts(f->name, S("Content-")))
        return;
    for (size_t k = 0; k < ARRAY_LEN(known); k++)
        if (!known[k].value->p && str_ieq(f->name, known[k].name))
            *known[k].value = f->value;
}

static void find_fields(const struct structure *s, size_t i, struct fields *out)
{
    struct header_field f;
    const struct mime_field *fields = NULL;
    str header = STR_NONE;
    if (s->m)
        mime_part_header(s->m, i, &header);
    if (i == 0 && s->m && imap_text_fields_known(s->m)) {
        size_t n = mime_fields(s->m, &fields);
        for (size_t k = 0; k < n; k++)
            if (imap_text_field(header, &fields[k], &f))
                note_field(&f, out);
        return;
    }
    while (header_next(&header, &f))
        note_field(&f, out);
}

static void space(struct structure *s)
{
    buf_addc(s->out, ' ');
}

static void put_nstring(struct structure *s, str v)
{
    space(s);
    imap_text_nstring(s->out, v);
}

static void put_number(struct structure *s, uint64_t v)
{
    space(s);
    buf_addu(s->out, v);
}

static void put_unfolded(struct structure *s, str value)
{
    if (imap_text_value(s->out, value) == -ENOMEM)
        s->out->failed = -ENOMEM;
}

/* The value of a field, NIL if it is empty. */
static void put_value(struct structure *s, str value)
{
    space(s);
    if (str_trim(value).n == 0)
        buf_add(s->out, S("NIL"));
    else
        put_unfolded(s, value);
}

static void put_param(struct structure *s, size_t *n, str name, str value)
{
    buf_addc(s->out, (*n)++ == 0 ? '(' : ' ');
    imap_text_string(s->out, name);
    space(s);
    imap_text_string(s->out, value);
}

/* The parameters of s->params; `text`: with a charset in any case. */
static void put_params(struct structure *s, bool text)
{
    size_t n = 0, at = 0;
    bool charset = false;
    while (mime_params_next(&s->params, &at, &s->name, &s->value)) {
        charset |= str_ieq(buf_str(&s->name), S("charset"));
        put_param(s, &n, buf_str(&s->name), buf_str(&s->value));
    }
    if (text && !charset)
        put_param(s, &n, S("charset"), S("us-ascii"));
    buf_add(s->out, n ? S(")") : S("NIL"));
}

/* A parameter that the part table knows. */
static void known_param(struct structure *s, str name, str value)
{
    if (value.n)
        s->params.list[s->params.n++] = (struct mime_param){ .name = name, .value = value };
}

/* Parameters of the content type, if the field is that which counts. */
static void put_type_params(struct structure *s, const struct mime_part *p, const struct fields *f)
{
    mime_params_parse(f->type, &s->params);
    str subtype = s->params.main, type = str_cut(&subtype, '/');
    if (!str_ieq(type, p->type) || !str_ieq(subtype, p->subtype)) {
        s->params.n = 0;
        known_param(s, S("charset"), p->charset);
        if (p->disposition.n == 0)
            known_param(s, S("name"), p->filename);
    }
    space(s);
    put_params(s, str_eq(p->type, S("text")));
}

static void put_disposition(struct structure *s, const struct mime_part *p, const struct fields *f)
{
    mime_params_parse(f->disposition, &s->params);
    if (s->params.main.n == 0)
        known_param(s, S("filename"), p->filename);
    str kind = s->params.main.n ? s->params.main : p->disposition;
    space(s);
    if (kind.n == 0) {
        buf_add(s->out, S("NIL"));
        return;
    }
    buf_addc(s->out, '(');
    imap_text_string(s->out, kind);
    space(s);
    put_params(s, false);
    buf_addc(s->out, ')');
}

/* The next language tag of a list (RFC 3282), empty at its end. */
static str language(str *rest)
{
    while (rest->n) {
        size_t i = address_skip_cfws(*rest, 0), from = i;
        while (i < rest->n && rest->p[i] != ',' && rest->p[i] != '(')
            i++;
        str tag = str_trim(str_of(rest->p + from, i - from));
        while (i < rest->n && rest->p[i] != ',')
            i = rest->p[i] == '(' ? address_skip_comment(*rest, i, NULL) : i + 1;
        *rest = str_from(*rest, i + 1);
        if (tag.n)
            return tag;
    }
    return STR_NONE;
}

static void put_language(struct structure *s, str value)
{
    str tag = language(&value), next = language(&value);
    if (next.n == 0) {
        put_value(s, tag);
        return;
    }
    buf_add(s->out, S(" ("));
    put_unfolded(s, tag);
    for (; next.n; next = language(&value))
        put_value(s, next);
    buf_addc(s->out, ')');
}

static void put_extension(struct structure *s, const struct mime_part *p, const struct fields *f)
{
    put_disposition(s, p, f);
    put_language(s, f->language);
    put_value(s, f->location);
}

/* Sizes are 32-bit numbers there (body-fld-octets); line counts are not larger. */
static void put_size(struct structure *s, const struct mime_part *p)
{
    put_number(s, MIN(p->end_off - p->body_off, (uint64_t)UINT32_MAX));
}

static void put_type(struct structure *s, str type, str subtype)
{
    buf_addc(s->out, '(');
    imap_text_string(s->out, type);
    space(s);
    imap_text_string(s->out, subtype);
}

/* Type up to size of a part without children or with a message in it. */
static void put_basic(struct structure *s, const struct mime_part *p, const struct fields *f)
{
    bool misnamed = str_eq(p->type, S("multipart")) || p->type.n == 0 || p->subtype.n == 0;
    put_type(s, misnamed ? S("application") : p->type, misnamed ? S("octet-stream") : p->subtype);
    put_type_params(s, p, f);
    put_nstring(s, p->id);
    put_nstring(s, p->description);
    put_nstring(s, p->encoding.n ? p->encoding : S("7bit"));
    put_size(s, p);
}

static bool is_message(const struct mime_part *p)
{
    return str_eq(p->type, S("message")) && (str_eq(p->subtype, S("rfc822")) || str_eq(p->subtype, S("global")));
}

static size_t put_part(struct structure *s, size_t i);

/* Envelope, structure and lines of the message in part i. */
static void put_message(struct structure *s, size_t i)
{
    const struct mime_part *p = &s->parts[i];
    str header = STR_NONE;
    bool inside = p->message && i + 1 < s->n && s->parts[i + 1].parent == i;
    bool known = inside && s->m && mime_part_header(s->m, i + 1, &header);
    space(s);
    if (!known)
        buf_add(s->out, IMAP_ENVELOPE_EMPTY);
    else if (imap_envelope_text(s->out, header, false) == -ENOMEM)
        s->out->failed = -ENOMEM;
    space(s);
    if (inside) {
        put_part(s, i + 1);
    } else {
        buf_add(s->out, S("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\""));
        put_size(s, p);
        put_number(s, p->lines);
        buf_add(s->out, S(" NIL NIL NIL NIL)"));
    }
    put_number(s, p->lines);
}

static size_t put_leaf(struct structure *s, size_t i, const struct fields *f)
{
    const struct mime_part *p = &s->parts[i];
    size_t next = i + 1;
    put_basic(s, p, f);
    if (is_message(p))
        put_message(s, i);
    else if (str_eq(p->type, S("text")) && p->subtype.n)
        put_number(s, p->lines);
    put_value(s, f->md5);
    put_extension(s, p, f);
    buf_addc(s->out, ')');
    while (next < s->n && s->parts[next].parent >= i)
        next++;
    return next;
}

static size_t put_multipart(struct structure *s, size_t i, const struct fields *f)
{
    const struct mime_part *p = &s->parts[i];
    size_t next = i + 1;
    buf_addc(s->out, '(');
    while (next < s->n && s->parts[next].parent == i && !s->out->failed)
        next = put_part(s, next);
    space(s);
    imap_text_string(s->out, p->subtype.n ? p->subtype : S("mixed"));
    put_type_params(s, p, f);
    put_extension(s, p, f);
    buf_addc(s->out, ')');
    return next;
}

/* Part i with all inside; the index behind it. No deeper than MIME_DEPTH_MAX. */
static size_t put_part(struct structure *s, size_t i)
{
    struct fields f = { 0 };
    find_fields(s, i, &f);
    bool multipart = s->parts[i].multipart && i + 1 < s->n && s->parts[i + 1].parent == i;
    return multipart ? put_multipart(s, i, &f) : put_leaf(s, i, &f);
}

static int put_structure(struct buf *out, const struct mime_parser *m, const struct mime_part *parts, size_t n)
{
    struct structure s; /* its parameters are filled field by field: they are many */
    s.out = out;
    s.parts = parts;
    s.n = n;
    s.m = m;
    s.params.n = 0;
    s.name = BUF(VALUE_MAX);
    s.value = BUF(VALUE_MAX);
    buf_reserve(&s.name, USUAL_BYTES);
    buf_reserve(&s.value, USUAL_BYTES);
    if (n)
        put_part(&s, 0);
    buf_done(&s.name);
    buf_done(&s.value);
    return out->failed;
}

int imap_structure_text(struct buf *out, const struct mime_parser *m)
{
    const struct mime_part *parts;
    size_t n = mime_parts(m, &parts);
    return put_structure(out, m, parts, n);
}

int imap_structure_plain(struct buf *out, const struct mime_part *parts, size_t n)
{
    static const struct mime_part nothing = { .type = S("text"), .subtype = S("plain") };
    return n ? put_structure(out, NULL, parts, n) : put_structure(out, NULL, &nothing, 1);
}
