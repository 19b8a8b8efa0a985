/* Strings of IMAP: see imap_text.h. */
#include "message/imap_text.h"
#include <errno.h>
#include "message/header.h"

static bool quotable(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 126 || s.p[i] == '\r' || s.p[i] == '\n')
            return false;
    return true;
}

int imap_text_string(struct buf *out, str s)
{
    bool quoted = quotable(s);
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

int imap_text_value(struct buf *out, str value)
{
    _cleanup_arena_ struct arena a = ARENA(value.n + 64);
    str s = header_unfold(&a, value);
    return s.p ? imap_text_string(out, s) : -ENOMEM;
}
