/* Header fields as slices: see header.h. */
#include "message/header.h"

/* ftext (RFC 5322 3.6.8) */
static bool name_valid(str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] < 33 || name.p[i] > 126)
            return false;
    return name.n > 0;
}

static str without_eol(str line)
{
    if (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

bool header_split(str line, str *out_name, str *out_value)
{
    ptrdiff_t colon = str_chr(line, ':');
    if (colon < 0)
        return false;
    str name = str_first(line, (size_t)colon);
    while (name.n && ascii_blank(name.p[name.n - 1]))
        name.n--;
    if (!name_valid(name))
        return false;
    *out_name = name;
    *out_value = without_eol(str_of(line.p + colon + 1, line.n - (size_t)colon - 1));
    return true;
}

/* Length of the line at `from` with its LF. */
static size_t line_length(str s, size_t from)
{
    ptrdiff_t lf = str_chr(str_from(s, from), '\n');
    return lf < 0 ? s.n - from : (size_t)lf + 1;
}

bool header_next(str *header, struct header_field *out)
{
    str h = *header;
    if (h.n == 0 || h.p[0] == '\n' || str_starts(h, S("\r\n")))
        return false;
    size_t first = line_length(h, 0), n = first;
    while (n < h.n && ascii_blank(h.p[n]))
        n += line_length(h, n);
    *out = (struct header_field){ .raw = str_first(h, n) };
    if (header_split(str_first(h, first), &out->name, &out->value))
        out->value = without_eol(str_of(out->value.p, n - (size_t)(out->value.p - h.p)));
    *header = str_from(h, n);
    return true;
}

bool header_find(str header, str name, struct header_field *out)
{
    struct header_field f;
    while (header_next(&header, &f)) {
        if (!str_ieq(f.name, name))
            continue;
        *out = f;
        return true;
    }
    return false;
}

str header_unfold(struct arena *a, str value)
{
    char *p = arena_alloc(a, value.n + 1);
    size_t n = 0;
    if (!p)
        return STR_NONE;
    for (size_t i = 0; i < value.n; i++) {
        bool crlf = value.p[i] == '\r' && i + 1 < value.n && value.p[i + 1] == '\n';
        bool eol = crlf || value.p[i] == '\n' || value.p[i] == '\r';
        i += crlf;
        bool fold = eol && value.p[i] == '\n' && i + 1 < value.n && ascii_blank(value.p[i + 1]);
        if (!fold)
            p[n++] = eol ? ' ' : value.p[i];
    }
    return str_trim(str_of(p, n));
}
