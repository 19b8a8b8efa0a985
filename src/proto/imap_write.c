/* Pieces of IMAP responses: see imap_write.h. */
#include "proto/imap_write.h"
#include "base/date.h"
#include "base/event.h"
#include "proto/imap_lex.h"
#include <errno.h>

static bool can_be_quoted(str s, bool utf8)
{
    bool high = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\r' || s.p[i] == '\n')
            return false;
        high |= (uint8_t)s.p[i] > 0x7f;
    }
    return !high || (utf8 && utf8_valid(s));
}

/* s with a backslash before " and \ where `escape`, and with '?' for NUL, which no string can hold. */
static void put_bytes(struct buf *out, str s, bool escape)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool special = escape && (s.p[i] == '"' || s.p[i] == '\\');
        if (!special && s.p[i] != '\0')
            continue;
        buf_add(out, str_of(s.p + from, i - from));
        from = special ? i : i + 1;
        buf_addc(out, special ? '\\' : '?');
    }
    buf_add(out, str_from(s, from));
}

int imap_put_string(struct buf *out, str s, bool utf8)
{
    if (can_be_quoted(s, utf8)) {
        buf_addc(out, '"');
        put_bytes(out, s, true);
        return buf_addc(out, '"');
    }
    buf_addc(out, '{');
    buf_addu(out, s.n);
    buf_add(out, S("}\r\n"));
    put_bytes(out, s, false);
    return out->failed;
}

int imap_put_nstring(struct buf *out, str s, bool is_nil, bool utf8)
{
    return is_nil ? buf_add(out, S("NIL")) : imap_put_string(out, s, utf8);
}

int imap_put_astring(struct buf *out, str s, bool utf8)
{
    if (imap_is_atom(s) && !str_ieq(s, S("NIL")))
        return buf_add(out, s);
    return imap_put_string(out, s, utf8);
}

int imap_put_mailbox(struct buf *out, str name, bool utf8)
{
    if (utf8 || (str_ascii(name) && str_chr(name, '&') < 0))
        return imap_put_astring(out, name, utf8);
    _cleanup_buf_ struct buf b = BUF(name.n * 8 + 8);
    int r = imap_utf7_encode(&b, name);
    if (r < 0)
        return out->failed = out->failed ? out->failed : r;
    return imap_put_astring(out, buf_str(&b), false);
}

int imap_put_flags(struct buf *out, uint32_t system, const str *keywords, size_t n)
{
    static const struct { str name; uint32_t flag; } names[] = {
        { S("\\Answered "), IMAP_ANSWERED }, { S("\\Flagged "), IMAP_FLAGGED }, { S("\\Deleted "), IMAP_DELETED },
        { S("\\Seen "), IMAP_SEEN },         { S("\\Draft "), IMAP_DRAFT },     { S("\\Recent "), IMAP_RECENT },
    };
    size_t start = out->n;
    buf_addc(out, '(');
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (system & names[i].flag)
            buf_add(out, names[i].name);
    for (size_t i = 0; i < n; i++) {
        if (!imap_is_atom(keywords[i])) /* would break the response */
            continue;
        buf_add(out, keywords[i]);
        buf_addc(out, ' ');
    }
    if (!out->failed && out->n > start + 1)
        out->n--;
    return buf_addc(out, ')');
}

/* From the date of RFC 5322, "Thu, 1 Jan 2026 00:00:00 +0000": the day has two places, padded with a space. */
int imap_put_date(struct buf *out, int64_t unix_s, int zone_min)
{
    _cleanup_buf_ struct buf b = BUF(64);
    int r = date_format_5322(&b, unix_s, zone_min);
    if (r == -ERANGE)
        r = date_format_5322(&b, 0, 0);
    if (r < 0)
        return out->failed = out->failed ? out->failed : r;
    str rest = buf_str(&b);
    str_cut(&rest, ' ');
    str day = str_cut(&rest, ' '), month = str_cut(&rest, ' '), year = str_cut(&rest, ' ');
    if (day.n == 2 && day.p[0] == '0')
        day = str_from(day, 1);
    buf_add(out, day.n == 1 ? S("\" ") : S("\""));
    return buf_addf(out, "%.*s-%.*s-%.*s %.*s\"", STR_ARG(day), STR_ARG(month), STR_ARG(year), STR_ARG(rest));
}

static void put_range(struct imap_set_writer *w)
{
    if (w->any)
        buf_addc(w->out, ',');
    w->any = true;
    buf_addu(w->out, w->first);
    if (w->last == w->first)
        return;
    buf_addc(w->out, ':');
    buf_addu(w->out, w->last);
}

void imap_set_add(struct imap_set_writer *w, uint32_t n)
{
    if (w->open && (n == w->last || (w->last < UINT32_MAX && n == w->last + 1))) {
        w->last = n;
        return;
    }
    imap_set_end(w);
    w->first = w->last = n;
    w->open = true;
}

void imap_set_end(struct imap_set_writer *w)
{
    if (w->open)
        put_range(w);
    w->open = false;
}

/* C0 and C1 controls, DEL, line and paragraph separator (RFC 6855 3), in valid UTF-8. */
static bool has_control(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        str rest = str_from(s, i);
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && (uint8_t)rest.p[1] < 0xa0))
            return true;
        if (str_starts(rest, S("\xe2\x80\xa8")) || str_starts(rest, S("\xe2\x80\xa9")))
            return true;
    }
    return false;
}

const char *imap_name_trouble(str name)
{
    if (name.n == 0)
        return "A mailbox needs a name";
    if (name.n > IMAP_NAME_MAX)
        return "The name is longer than 1000 bytes";
    if (!utf8_valid(name))
        return "The name is not UTF-8";
    if (has_control(name))
        return "The name holds control characters";
    if (str_chr(name, '%') >= 0 || str_chr(name, '*') >= 0)
        return "A name cannot hold % or *";
    size_t levels = 0;
    for (str rest = name; rest.p; levels++) {
        str level = str_cut(&rest, '/');
        if (level.n == 0 || (rest.n == 0 && level.p + level.n < name.p + name.n))
            return "A level of the name is empty";
        if (level.n > 255)
            return "A level of the name is longer than 255 bytes";
    }
    return levels > 50 ? "The name has more than 50 levels" : NULL;
}
