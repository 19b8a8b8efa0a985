/* Parameters of MIME fields: see mime_params.h. */
#include "message/mime_params.h"
#include "message/address_scan.h"

static bool is_space(char c)
{
    return ascii_blank(c) || c == '\r' || c == '\n';
}

static bool ends_token(char c)
{
    return is_space(c) || c == ';' || c == '"' || c == '=';
}

/* A value without quotes ends at a blank or semicolon. Agents send names of files with bare blanks, so the words up
 * to the next semicolon belong to it too, unless an equals sign says that only a semicolon was forgotten; a comment
 * ends it. */
static str bare_value(str in, size_t *i)
{
    size_t from = *i, end = from;
    while (end < in.n && in.p[end] != ';' && !is_space(in.p[end]))
        end++;
    size_t far = end;
    while (far < in.n && in.p[far] != ';' && in.p[far] != '=' && !(in.p[far] == '(' && is_space(in.p[far - 1])))
        far++;
    if (far < in.n && in.p[far] == '=')
        far = end;
    *i = far;
    return str_trim(str_of(in.p + from, far - from));
}

static str quoted_value(str in, size_t *i)
{
    bool closed;
    size_t from = *i + 1;
    *i = address_skip_quoted(in, *i, &closed);
    return str_of(in.p + from, *i - from - closed);
}

/* One parameter or one piece of rubbish at *i; true for a parameter. */
static bool param(str in, size_t *i, struct mime_param *out)
{
    size_t from = *i;
    while (*i < in.n && !ends_token(in.p[*i]) && in.p[*i] != '(')
        (*i)++;
    out->name = str_of(in.p + from, *i - from);
    *i = address_skip_cfws(in, *i);
    if (*i < in.n && in.p[*i] == '"')
        *i = address_skip_quoted(in, *i, NULL);
    if (*i == in.n || in.p[*i] != '=')
        return false;
    *i = address_skip_cfws(in, *i + 1);
    out->quoted = *i < in.n && in.p[*i] == '"';
    out->value = out->quoted ? quoted_value(in, i) : bare_value(in, i);
    return out->name.n > 0;
}

void mime_params_parse(str value, struct mime_params *out)
{
    out->n = 0;
    out->limited = false;
    size_t i = address_skip_cfws(value, 0), from = i;
    while (i < value.n && !ends_token(value.p[i]) && value.p[i] != '(')
        i++;
    out->main = str_of(value.n ? value.p + from : NULL, i - from);
    for (;;) {
        size_t next = address_skip_cfws(value, i);
        while (next < value.n && value.p[next] == ';')
            next = address_skip_cfws(value, next + 1);
        i = next;
        if (i == value.n)
            return;
        if (out->n == MIME_PARAMS_MAX) {
            out->limited = true;
            return;
        }
        if (param(value, &i, &out->list[out->n]))
            out->n++;
    }
}

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Appends a value, percent octets decoded if it is extended; clips at the ceiling of out. */
static void put_value(struct buf *out, const struct mime_param *param, bool extended, str v)
{
    for (size_t i = 0; i < v.n; i++) {
        char c = v.p[i];
        if (c == '\r' || c == '\n')
            continue;
        if (param->quoted && c == '\\' && i + 1 < v.n)
            c = v.p[++i];
        int high = extended && c == '%' && i + 2 < v.n ? hex_digit(v.p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(v.p[i + 2]) : -1;
        if (low >= 0) {
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (buf_addc(out, c) < 0)
            return;
    }
}

/* The text of charset'language'text. */
static str without_charset(str v)
{
    str rest = v;
    str_cut(&rest, '\'');
    bool two = str_chr(rest, '\'') >= 0;
    str_cut(&rest, '\'');
    return two ? rest : v;
}

/* The forms in which a parameter was given. */
struct forms {
    const struct mime_param *plain, *whole; /* name=, name*= */
    const struct mime_param *piece[MIME_PARAMS_MAX]; /* name*N=, name*N*= */
};

/* Notes p as a form of the parameter whose name `suffix` follows; the first of each form counts. */
static void sort_form(struct forms *f, const struct mime_param *p, str suffix)
{
    uint64_t index;
    const struct mime_param **slot = NULL;
    if (suffix.n == 0)
        slot = &f->plain;
    else if (str_eq(suffix, S("*")))
        slot = &f->whole;
    else if (suffix.p[0] == '*') {
        str digits = str_from(suffix, 1);
        if (str_ends(digits, S("*")))
            digits.n--;
        bool zero_led = digits.n > 1 && digits.p[0] == '0';
        if (!zero_led && str_u64(digits, MIME_PARAMS_MAX - 1, &index) == 0)
            slot = &f->piece[index];
    }
    if (slot && !*slot)
        *slot = p;
}

static void find_forms(const struct mime_params *p, str base, struct forms *f)
{
    for (size_t i = 0; i < p->n; i++)
        if (str_istarts(p->list[i].name, base))
            sort_form(f, &p->list[i], str_from(p->list[i].name, base.n));
}

static void put_pieces(struct buf *out, const struct forms *f)
{
    for (size_t i = 0; i < MIME_PARAMS_MAX && f->piece[i] && !out->failed; i++) {
        bool extended = str_ends(f->piece[i]->name, S("*"));
        str v = f->piece[i]->value;
        put_value(out, f->piece[i], extended, extended && i == 0 ? without_charset(v) : v);
    }
}

bool mime_params_get(const struct mime_params *p, str name, bool extended_first, struct buf *out)
{
    struct forms f = { 0 };
    find_forms(p, name, &f);
    if (f.plain && !(extended_first && (f.whole || f.piece[0])))
        put_value(out, f.plain, false, f.plain->value);
    else if (f.whole)
        put_value(out, f.whole, true, without_charset(f.whole->value));
    else if (f.piece[0])
        put_pieces(out, &f);
    return f.plain || f.whole || f.piece[0];
}

static str base_name(str name)
{
    ptrdiff_t star = str_chr(name, '*');
    return star > 0 ? str_first(name, (size_t)star) : name;
}

/* Joined pieces of which some are extended, as one value of RFC 2231 4: what was sent plainly is escaped. */
static void put_escaped(struct buf *out, const struct mime_param *param)
{
    _cleanup_buf_ struct buf plain = BUF(out->max);
    put_value(&plain, param, false, param->value);
    for (size_t i = 0; i < plain.n; i++) {
        unsigned char c = (unsigned char)plain.p[i];
        if (c > 32 && c < 127 && str_chr(S("*'%()<>@,;:\\\"/[]?="), (char)c) < 0)
            buf_addc(out, (char)c);
        else
            buf_addf(out, "%%%02X", c);
    }
}

static void put_joined(struct buf *out, const struct forms *f, bool extended)
{
    for (size_t i = 0; i < MIME_PARAMS_MAX && f->piece[i] && !out->failed; i++) {
        bool escaped = str_ends(f->piece[i]->name, S("*"));
        if (extended && i == 0 && !escaped)
            buf_add(out, S("''"));
        if (extended && !escaped)
            put_escaped(out, f->piece[i]);
        else
            put_value(out, f->piece[i], false, f->piece[i]->value);
    }
}

static bool any_extended(const struct forms *f)
{
    for (size_t i = 0; i < MIME_PARAMS_MAX && f->piece[i]; i++)
        if (str_ends(f->piece[i]->name, S("*")))
            return true;
    return false;
}

/* The parameter that `param` begins: not if it is a repetition, a further piece, or a piece beside the whole. */
static bool begins(const struct mime_param *param, str base, const struct forms *f, struct buf *name, struct buf *value)
{
    if (param != f->plain && param != f->whole && param != f->piece[0])
        return false;
    bool extended = param == f->whole || (param == f->piece[0] && any_extended(f));
    if (param == f->piece[0] && (extended ? f->whole : f->plain))
        return false;
    buf_add(name, base);
    if (extended)
        buf_addc(name, '*');
    if (param == f->piece[0])
        put_joined(value, f, extended);
    else
        put_value(value, param, false, param->value);
    return true;
}

bool mime_params_next(const struct mime_params *p, size_t *at, struct buf *name, struct buf *value)
{
    buf_clear(name);
    buf_clear(value);
    while (*at < p->n) {
        const struct mime_param *param = &p->list[(*at)++];
        str base = base_name(param->name);
        struct forms f = { 0 };
        find_forms(p, base, &f);
        if (begins(param, base, &f, name, value))
            return true;
    }
    return false;
}
