/* The text of a message on standard input, and the recipients in it: see sendmail_text.h. */
#include "admin/sendmail_text.h"
#include <errno.h>
#include "message/address.h"
#include "message/header.h"

enum { DUPLICATES_MAX = 1000 };

void sendmail_text_done(struct sendmail_text *t)
{
    buf_done(&t->raw);
    buf_done(&t->header);
}

/* The last line of the header is complete: does the header go on behind it? */
static int header_line(struct sendmail_text *t, struct buf *out)
{
    str line = str_from(buf_str(&t->header), t->line), name, value;
    bool first = t->line == 0;
    if (first && str_starts(line, S("From "))) {
        buf_clear(&t->header);
        return 0;
    }
    if (header_split(line, &name, &value) || (!first && ascii_blank(line.p[0]))) {
        t->line = t->header.n;
        return 0;
    }
    t->header_done = true;
    if (!str_eq(line, S("\r\n")))
        buf_add(out, S("\r\n"));
    buf_add(out, line);
    t->header.n = t->line;
    return out->failed;
}

static int put(struct sendmail_text *t, str piece, struct buf *out)
{
    while (piece.n && !t->header_done) {
        ptrdiff_t end = str_chr(piece, '\n');
        str part = end < 0 ? piece : str_first(piece, (size_t)end + 1);
        if (t->header.n + part.n > SENDMAIL_HEADER_MAX)
            return -EFBIG;
        buf_add(&t->header, part);
        piece = str_from(piece, part.n);
        int r = t->header.failed ? t->header.failed : end < 0 ? 0 : header_line(t, out);
        if (r < 0)
            return r;
    }
    return buf_add(out, piece);
}

/* A dot alone in its line is the end, which may come in pieces. */
static int lines(struct sendmail_text *t, str s, struct buf *out)
{
    static const char end[] = ".\r\n";
    size_t from = 0, i = 0;
    int r = 0;
    if (t->keep_dots)
        return put(t, s, out);
    while (i < s.n && r == 0) {
        if (t->inside) {
            ptrdiff_t at = str_chr(str_from(s, i), '\n');
            i = at < 0 ? s.n : i + (size_t)at + 1;
            t->inside = at < 0;
            continue;
        }
        if (t->held == 0 && i > from) { /* what is before this line is no end */
            r = put(t, str_of(s.p + from, i - from), out);
            from = i;
            continue;
        }
        if (s.p[i] == end[t->held]) {
            i++;
            from = i;
            t->ended = ++t->held == sizeof(end) - 1;
            if (t->ended)
                return 0;
            continue;
        }
        r = put(t, str_of(end, t->held), out);
        t->held = 0;
        t->inside = true;
    }
    return r == 0 && i > from ? put(t, str_of(s.p + from, i - from), out) : r;
}

int sendmail_text_feed(struct sendmail_text *t, str piece, struct buf *out)
{
    if (t->ended)
        return 0;
    buf_clear(&t->raw);
    int r = drop_lines_feed(&t->lines, piece, &t->raw);
    return r < 0 ? r : lines(t, buf_str(&t->raw), out);
}

int sendmail_text_end(struct sendmail_text *t, struct buf *out)
{
    bool dot = t->held > 0; /* a dot alone, then nothing */
    t->held = 0;
    t->ended = true;
    if (!dot && !t->header_done && t->header.n > t->line) {
        buf_add(&t->header, S("\r\n"));
        int r = t->header.failed ? t->header.failed : header_line(t, out);
        if (r < 0)
            return r;
    }
    t->header_done = true;
    return out->failed;
}

/* local@domain as an envelope has it: quoted if it must be. p NULL: no memory; n == 0: it cannot be an address. */
static str envelope_address(struct arena *a, const struct mailbox *m)
{
    struct address parsed;
    const char *why;
    const char *at = m->domain.n ? "@" : "";
    str plain = arena_printf(a, "%.*s%s%.*s", STR_ARG(m->local), at, STR_ARG(m->domain));
    if (!plain.p || address_parse(plain, true, true, &parsed, &why) == 0)
        return plain.p ? address_canonical(a, &parsed) : plain;
    _cleanup_buf_ struct buf quoted = BUF(4096);
    buf_addc(&quoted, '"');
    for (size_t i = 0; i < m->local.n; i++) {
        if (m->local.p[i] == '"' || m->local.p[i] == '\\')
            buf_addc(&quoted, '\\');
        buf_addc(&quoted, m->local.p[i]);
    }
    buf_addf(&quoted, "\"%s%.*s", at, STR_ARG(m->domain));
    if (quoted.failed || address_parse(buf_str(&quoted), true, true, &parsed, &why) < 0)
        return S("");
    return address_canonical(a, &parsed);
}

static bool is_there(const struct sendmail_list *l, str address)
{
    for (size_t i = 0; i < MIN(l->n, (size_t)DUPLICATES_MAX); i++)
        if (str_eq(l->list[i].address, address))
            return true;
    return false;
}

static int add(struct sendmail_list *l, str address)
{
    if (is_there(l, address))
        return 0;
    if (l->n == DROP_RECIPIENTS_MAX)
        return -E2BIG;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 16;
        struct drop_recipient *more = ARENA_ARRAY(l->arena, struct drop_recipient, cap);
        if (!more)
            return -ENOMEM;
        if (l->n)
            memcpy(more, l->list, l->n * sizeof(*more));
        l->list = more;
        l->cap = cap;
    }
    l->list[l->n++] = (struct drop_recipient){ .address = address };
    return 0;
}

int sendmail_list_add(struct sendmail_list *l, str value, str *out_bad)
{
    bool broken = false;
    const struct mailbox *m = address_list_parse(l->arena, value, DROP_RECIPIENTS_MAX + 1, &broken);
    if (!m && str_trim(value).n) {
        *out_bad = value;
        return -EINVAL;
    }
    int r = 0;
    for (; m && r == 0; m = m->next) {
        if (m->kind != MAILBOX_ADDRESS)
            continue;
        str address = envelope_address(l->arena, m);
        if (!address.n) {
            *out_bad = m->local;
            return address.p ? -EINVAL : -ENOMEM;
        }
        r = add(l, address);
    }
    return r;
}

int sendmail_list_header(struct sendmail_list *l, str header, str *out_bad)
{
    static const char *const names[2][3] = { { "To", "Cc", "Bcc" }, { "Resent-To", "Resent-Cc", "Resent-Bcc" } };
    struct header_field f;
    bool resent = false;
    for (str rest = header; !resent && header_next(&rest, &f);)
        for (size_t i = 0; i < 3; i++)
            resent = resent || str_ieq(f.name, str_z(names[1][i]));
    int r = 0;
    for (str rest = header; r == 0 && header_next(&rest, &f);)
        for (size_t i = 0; i < 3 && r == 0; i++)
            if (str_ieq(f.name, str_z(names[resent][i])))
                r = sendmail_list_add(l, f.value, out_bad);
    return r;
}

int sendmail_address(struct arena *a, str text, str *out)
{
    struct sendmail_list l = { .arena = a };
    str bad;
    text = str_trim(text);
    if (!text.n || str_eq(text, S("<>"))) {
        *out = STR_NONE;
        return 0;
    }
    int r = sendmail_list_add(&l, text, &bad);
    if (r < 0 || l.n != 1)
        return r < 0 ? r : -EINVAL;
    *out = l.list[0].address;
    return 0;
}
