/* Reading and writing mbox: see mbox.h. */
#include "admin/mbox.h"
#include <errno.h>
#include "base/date.h"
#include "proto/imap_command.h"

#define FROM S("From ")
#define KEYWORDS S("X-Keywords")
#define YEAR_MAX 9999

static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const struct { char letter; bool x; uint32_t flag; } letters[] = {
    { 'R', false, IMAP_SEEN }, { 'A', true, IMAP_ANSWERED }, { 'F', true, IMAP_FLAGGED }, { 'T', true, IMAP_DRAFT },
    { 'D', true, IMAP_DELETED },
};

/* The From_ line */

static bool is_day(str w)
{
    for (size_t i = 0; i < ARRAY_LEN(days); i++)
        if (str_ieq(w, str_of(days[i], 3)))
            return true;
    return false;
}

static bool is_year(str w, uint64_t *out)
{
    return w.n == 4 && str_u64(w, YEAR_MAX, out) == 0 && *out >= 1;
}

static bool is_zone(str w)
{
    return w.n == 5 && (w.p[0] == '+' || w.p[0] == '-') && str_u64(str_from(w, 1), 9959, &(uint64_t){ 0 }) == 0;
}

/* What stands behind the day of the week: "Nov 24 07:55:03 2026", with a zone before or behind the year, or none. */
static bool read_date(str rest, int64_t *out)
{
    str month = str_word(&rest), day = str_word(&rest), clock = str_word(&rest), zone = S("+0000"), w;
    uint64_t year = 0;
    for (int i = 0; i < 3 && (w = str_word(&rest)).n; i++) {
        if (is_zone(w))
            zone = w;
        else if (year)
            break;
        else
            is_year(w, &year);
    }
    char text[64];
    struct buf b = { .p = text, .cap = sizeof(text), .max = sizeof(text) };
    int offset;
    if (!year || month.n != 3 || day.n > 2 || clock.n > 8)
        return false;
    buf_addf(&b, "%.*s %.*s %04u %.*s %.*s", STR_ARG(day), STR_ARG(month), (unsigned)year, STR_ARG(clock),
             STR_ARG(zone));
    return !b.failed && date_parse_5322(buf_str(&b), out, &offset) == 0;
}

/* "From sender Tue Nov 24 07:55:03 2026". The sender may be anything, blanks too: the last date counts. */
static bool from_line(str line, int64_t *out)
{
    bool found = false;
    str rest = str_from(line, FROM.n);
    if (line.n > 4096)
        return false;
    for (str w; (w = str_word(&rest)).n;) {
        if (w.p[w.n - 1] == ',')
            w.n--;
        if (is_day(w) && read_date(rest, out))
            found = true;
    }
    return found;
}

/* The fields that are not the message's own */

/* A field of that name at the start of `header`: its whole length, else 0. */
static size_t field_here(str header, str name, bool folded, str *out_value)
{
    if (!str_istarts(header, name) || header.n <= name.n || header.p[name.n] != ':')
        return 0;
    size_t at = name.n + 1;
    for (;;) {
        ptrdiff_t lf = str_chr(str_from(header, at), '\n');
        at = lf < 0 ? header.n : at + (size_t)lf + 1;
        if (!folded || at >= header.n || !ascii_blank(header.p[at]))
            break;
    }
    *out_value = str_trim(str_of(header.p + name.n + 1, at - name.n - 1));
    return at;
}

/* The first field of that name, at *out_at. X-Keywords alone may be folded: a message that begins with a blank must not
 * become part of the last field that the writer made. */
static size_t find_field(str content, str name, size_t *out_at, str *out_value)
{
    for (size_t at = 0; at < content.n;) {
        str rest = str_from(content, at);
        size_t n = field_here(rest, name, str_eq(name, KEYWORDS), out_value);
        *out_at = at;
        if (n || str_starts(rest, S("\r\n")))
            return n;
        ptrdiff_t lf = str_chr(rest, '\n');
        at = lf < 0 ? content.n : at + (size_t)lf + 1;
    }
    return 0;
}

/* Takes the field out of the message; its value comes first to `value`. */
static bool take_field(struct mbox_reader *r, str name, struct buf *value)
{
    size_t at;
    str found;
    size_t n = find_field(buf_str(&r->content), name, &at, &found);
    if (!n)
        return false;
    buf_clear(value);
    for (size_t i = 0; i < found.n && value->n < MBOX_KEYWORDS_MAX; i++)
        buf_addc(value, found.p[i] == '\r' || found.p[i] == '\n' ? ' ' : found.p[i]);
    memmove(r->content.p + at, r->content.p + at + n, r->content.n - at - n);
    r->content.n -= n;
    return true;
}

static uint32_t flags_of(str value, bool x)
{
    uint32_t flags = 0;
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        if (letters[i].x == x && str_chr(value, letters[i].letter) >= 0)
            flags |= letters[i].flag;
    return flags;
}

/* Reading */

void mbox_reader_init(struct mbox_reader *r, size_t max_message, bool content_length)
{
    *r = (struct mbox_reader){ .content_length = content_length, .blank = true, .content = BUF(max_message),
                               .keywords = BUF(MBOX_KEYWORDS_MAX) };
}

void mbox_reader_done(struct mbox_reader *r)
{
    buf_done(&r->content);
    buf_done(&r->keywords);
}

static void begin_line(struct mbox_reader *r)
{
    r->line = r->content.n;
    r->line_n = 0;
}

static void begin_message(struct mbox_reader *r)
{
    buf_clear(&r->content);
    begin_line(r);
    r->message = r->next;
    r->state = MBOX_INSIDE;
    r->header = true;
    r->too_large = r->counted = r->blank = false;
    r->left = r->counted_end = 0;
}

/* What r->content holds up to `end` is the message, with what stands between it and the next. */
static size_t content_end(const struct mbox_reader *r, size_t end)
{
    bool blank = r->counted && end >= r->counted_end;
    for (size_t i = r->counted_end; blank && i < end; i++)
        blank = r->content.p[i] == '\r' || r->content.p[i] == '\n';
    if (blank)
        return r->counted_end;
    str content = str_first(buf_str(&r->content), end);
    return str_eq(content, S("\r\n")) || str_ends(content, S("\n\r\n")) ? end - 2 : end;
}

static void hand_out(struct mbox_reader *r, size_t end, struct mbox_message *out)
{
    struct mbox_message *m = &r->message;
    r->content.n = r->too_large ? 0 : content_end(r, end);
    m->too_large = r->too_large;
    _cleanup_buf_ struct buf value = BUF(MBOX_KEYWORDS_MAX + 1);
    buf_clear(&r->keywords);
    take_field(r, KEYWORDS, &r->keywords); /* before the others, which keep it apart from the message */
    if (take_field(r, S("Status"), &value))
        m->flags = flags_of(buf_str(&value), false);
    if (take_field(r, S("X-Status"), &value))
        m->flags |= flags_of(buf_str(&value), true);
    if (r->content_length)
        take_field(r, S("Content-Length"), &value);
    m->content = buf_str(&r->content);
    m->keywords = buf_str(&r->keywords);
    *out = *m;
}

/* Ends the line in CRLF, and takes a '>' that quotes. */
static void finish_line(struct mbox_reader *r, bool quoted)
{
    struct buf *b = &r->content;
    str head = str_of(r->head, MIN(r->line_n, sizeof(r->head)));
    r->blank = str_eq(head, S("\n")) || str_eq(head, S("\r\n"));
    if (!r->too_large) {
        str line = str_from(buf_str(b), r->line);
        size_t gt = 0;
        while (quoted && gt < line.n && line.p[gt] == '>')
            gt++;
        if (gt && str_starts(str_from(line, gt), FROM)) {
            memmove(b->p + r->line, b->p + r->line + 1, line.n - 1);
            line.n = --b->n - r->line;
        }
        if (str_ends(line, S("\n")))
            b->n -= str_ends(line, S("\r\n")) ? 2 : 1;
        buf_add(b, S("\r\n")); /* add() has left room */
    }
    begin_line(r);
}

/* The header is over: how long the body is, if that is believed. */
static void end_header(struct mbox_reader *r)
{
    size_t at;
    str value;
    r->header = false;
    if (!r->content_length || !find_field(buf_str(&r->content), S("Content-Length"), &at, &value) ||
        str_u64(value, INT64_MAX, &r->left) < 0)
        return;
    r->counted = true;
    r->counted_end = r->content.n;
}

/* The line is complete. 1: it begins the next message, and the one before was handed out. */
static int line_done(struct mbox_reader *r, struct mbox_message *out)
{
    str head = str_of(r->head, MIN(r->line_n, sizeof(r->head)));
    bool first = r->state == MBOX_BEFORE;
    if (r->blank && str_starts(head, FROM)) {
        struct mbox_message next = { 0 };
        next.has_date = r->line_n <= sizeof(r->head) && from_line(head, &next.date_s);
        if (first || next.has_date) {
            r->next = next;
            if (first) {
                begin_message(r);
                return 0;
            }
            hand_out(r, r->line, out);
            r->state = MBOX_BETWEEN;
            return 1;
        }
    }
    if (first) { /* empty lines before the first message */
        bool wrong = str_trim(head).n > 0;
        buf_clear(&r->content);
        begin_line(r);
        r->state = wrong ? MBOX_WRONG : MBOX_BEFORE;
        return wrong ? -EBADMSG : 0;
    }
    finish_line(r, true);
    if (r->header && r->blank)
        end_header(r);
    return 0;
}

static int add(struct mbox_reader *r, str piece)
{
    if (r->line_n < sizeof(r->head)) {
        str part = str_first(piece, sizeof(r->head) - r->line_n);
        memcpy(r->head + r->line_n, part.p, part.n);
    }
    r->line_n += piece.n;
    if (!r->too_large && piece.n + 2 > r->content.max - r->content.n) { /* 2: a line end that is lacking */
        r->too_large = true;
        buf_clear(&r->content);
        r->line = 0;
    }
    return r->too_large ? 0 : buf_add(&r->content, piece);
}

/* Bytes of a body whose length is known: nothing in them counts but line ends. */
static int take_counted(struct mbox_reader *r, str *in)
{
    str piece = str_first(*in, (size_t)MIN(r->left, (uint64_t)in->n));
    ptrdiff_t lf = str_chr(piece, '\n');
    if (lf >= 0)
        piece = str_first(piece, (size_t)lf + 1);
    int e = add(r, piece);
    *in = str_from(*in, piece.n);
    r->left -= piece.n;
    if (e == 0 && (lf >= 0 || r->left == 0))
        finish_line(r, false);
    if (r->left == 0) {
        r->counted_end = r->content.n;
        r->blank = true;
    }
    return e;
}

static int take_line(struct mbox_reader *r, str *in, struct mbox_message *out)
{
    ptrdiff_t lf = str_chr(*in, '\n');
    str piece = lf < 0 ? *in : str_first(*in, (size_t)lf + 1);
    *in = str_from(*in, piece.n);
    int e = add(r, piece);
    return e == 0 && lf >= 0 ? line_done(r, out) : e;
}

/* The file is over: what is left is the last line, and the last message. */
static int at_end(struct mbox_reader *r, struct mbox_message *out)
{
    int e = 0;
    if (r->line_n && r->left)
        finish_line(r, false);
    else if (r->line_n)
        e = line_done(r, out);
    if (e != 0)
        return e;
    if (r->state == MBOX_INSIDE)
        hand_out(r, r->content.n, out);
    bool any = r->state == MBOX_INSIDE;
    r->state = MBOX_OVER;
    return any;
}

int mbox_read(struct mbox_reader *r, str *in, bool end, struct mbox_message *out)
{
    int e = 0;
    if (r->state == MBOX_WRONG)
        return -EBADMSG;
    if (r->state == MBOX_OVER)
        return 0;
    if (r->state == MBOX_BETWEEN)
        begin_message(r);
    while (in->n && e == 0)
        e = r->left ? take_counted(r, in) : take_line(r, in, out);
    return e == 0 && end ? at_end(r, out) : e;
}

/* Writing */

void mbox_write_begin(struct mbox_writer *w, struct buf *out, str sender, int64_t date_s, uint32_t flags, str keywords)
{
    w->out = out;
    output_begin(&w->text, true, false);
    output_from_line(out, sender, date_s);
    buf_addf(out, "X-Keywords: %.*s\nStatus: %sO\nX-Status: ", STR_ARG(keywords), flags & IMAP_SEEN ? "R" : "");
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        if (letters[i].x && flags & letters[i].flag)
            buf_addc(out, letters[i].letter);
    buf_addc(out, '\n');
}

void mbox_write(struct mbox_writer *w, str piece)
{
    output_write(&w->text, piece, w->out);
}

void mbox_write_end(struct mbox_writer *w)
{
    output_end(&w->text, w->out);
    buf_addc(w->out, '\n');
}
