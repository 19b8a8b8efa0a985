/* Strings of IMAP: see imap_text.h. */
#include "message/imap_text.h"
#include <errno.h>
#include "message/header.h"

/* Bytes that cannot be quoted, and those that cannot stand as they are. */
enum { NOT_QUOTED = 1, CHANGED = 2 };

static const uint8_t marks[256] = {
    ['\r'] = NOT_QUOTED, ['\n'] = NOT_QUOTED, [127 ... 255] = NOT_QUOTED, ['"'] = CHANGED, ['\\'] = CHANGED,
    ['\0'] = CHANGED,
};

/* With its quotes, nothing to be changed. */
static int put_plain(struct buf *out, str s)
{
    if (buf_reserve(out, s.n + 2) < 0)
        return out->failed;
    char *p = out->p + out->n;
    *p++ = '"';
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '"';
    out->n += s.n + 2;
    return 0;
}

int imap_text_string(struct buf *out, str s)
{
    uint8_t all = 0;
    for (size_t i = 0; i < s.n; i++)
        all |= marks[(unsigned char)s.p[i]];
    if (!all)
        return put_plain(out, s);
    bool quoted = !(all & NOT_QUOTED);
    if (quoted)
        buf_addc(out, '"');
    else
        buf_addf(out, "{%zu}\r\n", s.n);
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c != '\0' && !(quoted && (c == '"' || c == '\\')))
            continue;
        buf_add(out, str_of(s.p + from, i - from));
        from = c == '\0' ? i + 1 : i;
        buf_addc(out, c == '\0' ? '?' : '\\');
    }
    buf_add(out, str_from(s, from));
    if (quoted)
        buf_addc(out, '"');
    return out->failed;
}

int imap_text_nstring(struct buf *out, str s)
{
    return s.n ? imap_text_string(out, s) : buf_add(out, S("NIL"));
}

str imap_text_unfold(struct arena *a, str value)
{
    if (str_chr(value, '\n') >= 0 || str_chr(value, '\r') >= 0)
        return header_unfold(a, value);
    str s = str_trim(value);
    return s.p ? s : S("");
}

int imap_text_value(struct buf *out, str value)
{
    _cleanup_arena_ struct arena a = ARENA(value.n + 64);
    str s = imap_text_unfold(&a, value);
    return s.p ? imap_text_string(out, s) : -ENOMEM;
}

bool imap_text_field(str header, const struct mime_field *field, struct header_field *out)
{
    str line = str_first(str_from(header, field->off), field->len), value = str_from(line, field->name_len);
    while (value.n && ascii_blank(value.p[0]))
        value = str_from(value, 1);
    if (!value.n || value.p[0] != ':')
        return false;
    value.p++;
    value.n--;
    if (value.n && value.p[value.n - 1] == '\n')
        value.n--;
    if (value.n && value.p[value.n - 1] == '\r')
        value.n--;
    *out = (struct header_field){ .raw = line, .name = str_first(line, field->name_len), .value = value };
    return true;
}

bool imap_text_fields_known(const struct mime_parser *m)
{
    const struct mime_part *parts;
    const struct mime_field *fields;
    mime_parts(m, &parts);
    return mime_fields(m, &fields) < MIME_HEADERS_MAX && parts[0].body_off <= MIME_HEADER_TEXT_MAX;
}
