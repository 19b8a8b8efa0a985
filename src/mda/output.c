/* The text of a message in a file: see output.h. */
#include "mda/output.h"

#define FROM S("From ")
#define YEAR_MAX 9999

/* What c-client and its kin keep in a header. From outside they would set UIDs, flags and lengths (X-IMAPbase with a
 * UID near 2^32 makes a mailbox unusable). Return-Path is the delivery's own (RFC 5321 4.4). */
static const struct { const char *name; uint8_t n; } metadata[] = {
#define FIELD(text) { text, sizeof(text) - 1 }
    FIELD("X-UID"), FIELD("X-UIDL"), FIELD("Status"), FIELD("X-Status"), FIELD("X-Keywords"), FIELD("X-IMAPbase"),
    FIELD("X-IMAP"), FIELD("Content-Length"), FIELD("Return-Path"),
#undef FIELD
};

enum verdict { MORE, KEEP, QUOTE, STRIP };

void output_begin(struct output *o, bool mboxrd, bool strip)
{
    *o = (struct output){ .mboxrd = mboxrd, .header = strip };
}

/* Is what a line begins with the name and colon of that field? whole: the line has no more. */
static enum verdict is_field(str head, str name, bool whole)
{
    if (!str_ieq(str_first(head, name.n), str_first(name, head.n)))
        return KEEP;
    size_t at = name.n;
    while (at < head.n && ascii_blank(head.p[at])) /* RFC 5322 4.5: blanks before the colon */
        at++;
    if (at < head.n)
        return head.p[at] == ':' ? STRIP : KEEP;
    return head.n >= OUTPUT_HEAD ? STRIP : whole ? KEEP : MORE;
}

static enum verdict judge_field(const struct output *o, str head, bool whole)
{
    if (ascii_blank(head.p[0]))
        return o->skipped ? STRIP : KEEP;
    enum verdict worst = KEEP;
    for (size_t i = 0; i < ARRAY_LEN(metadata); i++) {
        enum verdict v = is_field(head, str_of(metadata[i].name, metadata[i].n), whole);
        if (v == STRIP)
            return v;
        worst = v == MORE ? v : worst;
    }
    return worst;
}

static enum verdict judge(const struct output *o, str head, bool whole)
{
    if (head.n == 0)
        return whole ? KEEP : MORE;
    if (o->header && !o->gt) {
        enum verdict v = judge_field(o, head, whole);
        if (v != KEEP)
            return v;
    }
    if (!o->mboxrd || !str_starts(FROM, str_first(head, FROM.n)))
        return KEEP;
    return head.n >= FROM.n ? QUOTE : whole ? KEEP : MORE;
}

static void decided(struct output *o, enum verdict v, struct buf *out)
{
    if (v == QUOTE)
        buf_addc(out, '>'); /* the same wherever it stands among the '>'s of the line */
    o->skipped = v == STRIP;
    o->state = v == STRIP ? OUTPUT_SKIP : OUTPUT_PLAIN;
    if (v != STRIP)
        buf_add(out, str_of(o->head, o->head_n));
    o->head_n = 0;
}

/* Bytes at the start of a line; whole: it ends behind them. */
static void at_start(struct output *o, str run, bool whole, struct buf *out)
{
    size_t gt = 0;
    while (o->mboxrd && o->head_n == 0 && gt < run.n && run.p[gt] == '>')
        gt++;
    if (gt) {
        buf_add(out, str_first(run, gt));
        o->gt = true;
        run = str_from(run, gt);
    }
    if (o->head_n == 0 && (whole || run.n >= OUTPUT_HEAD)) {
        decided(o, judge(o, str_first(run, OUTPUT_HEAD), run.n <= OUTPUT_HEAD && whole), out);
    } else {
        str part = str_first(run, OUTPUT_HEAD - (size_t)o->head_n);
        if (part.n)
            memcpy(o->head + o->head_n, part.p, part.n);
        o->head_n += (uint8_t)part.n;
        run = str_from(run, part.n);
        enum verdict v = judge(o, str_of(o->head, o->head_n), whole && run.n == 0);
        if (v == MORE)
            return;
        decided(o, v, out);
    }
    if (o->state == OUTPUT_PLAIN)
        buf_add(out, run);
}

/* A part of a line, without its end. */
static void take(struct output *o, str run, bool whole, struct buf *out)
{
    if (o->state == OUTPUT_START)
        at_start(o, run, whole, out);
    else if (o->state == OUTPUT_PLAIN)
        buf_add(out, run);
}

static void line_end(struct output *o, bool empty, struct buf *out)
{
    if (o->state != OUTPUT_SKIP)
        buf_addc(out, '\n');
    if (empty)
        o->header = false;
    o->state = OUTPUT_START;
    o->gt = false;
}

static void end_line(struct output *o, str run, struct buf *out)
{
    bool empty = o->state == OUTPUT_START && o->head_n == 0 && run.n == 0 && !o->gt;
    take(o, run, true, out);
    line_end(o, empty, out);
}

/* A body of which no line needs a look. */
static void plain_write(struct output *o, str piece, struct buf *out)
{
    while (piece.n) {
        ptrdiff_t at = str_chr(piece, '\r');
        size_t n = at < 0 ? piece.n : (size_t)at;
        buf_add(out, str_first(piece, n));
        if (n)
            o->state = piece.p[n - 1] == '\n' ? OUTPUT_START : OUTPUT_PLAIN;
        if (at < 0)
            return;
        piece = str_from(piece, n + 1);
        if (!piece.n) {
            o->cr = true;
        } else if (piece.p[0] != '\n') {
            buf_addc(out, '\r');
            o->state = OUTPUT_PLAIN;
        }
    }
}

void output_write(struct output *o, str piece, struct buf *out)
{
    if (o->cr && piece.n) {
        o->cr = false;
        if (piece.p[0] != '\n')
            take(o, S("\r"), false, out);
    }
    while (piece.n) {
        if (!o->header && !o->mboxrd && o->state != OUTPUT_SKIP && o->head_n == 0) {
            plain_write(o, piece, out);
            return;
        }
        ptrdiff_t lf = str_chr(piece, '\n');
        str run = lf < 0 ? piece : str_first(piece, (size_t)lf);
        bool cr = run.n && run.p[run.n - 1] == '\r';
        run.n -= cr;
        if (lf >= 0) {
            end_line(o, run, out);
        } else {
            o->cr = cr;
            if (run.n)
                take(o, run, false, out);
        }
        piece = lf < 0 ? STR_NONE : str_from(piece, (size_t)lf + 1);
    }
}

void output_end(struct output *o, struct buf *out)
{
    str run = o->cr ? S("\r") : STR_NONE;
    o->cr = false;
    if (o->state != OUTPUT_START || o->head_n || o->gt || run.n)
        end_line(o, run, out);
}

static bool has_return_path(str lines)
{
    while (lines.n)
        if (is_field(str_cut(&lines, '\n'), S("Return-Path"), true) == STRIP)
            return true;
    return false;
}

void output_prefix(struct buf *out, bool mboxrd, str sender, str prefix)
{
    struct output o;
    output_begin(&o, mboxrd, false);
    if (!has_return_path(prefix)) {
        buf_add(out, S("Return-Path: <"));
        for (size_t i = 0; i < sender.n; i++)
            buf_addc(out, (unsigned char)sender.p[i] < ' ' || sender.p[i] == 0x7f ? '-' : sender.p[i]);
        buf_add(out, S(">\n"));
    }
    output_write(&o, prefix, out);
    output_end(&o, out);
}

void output_from_line(struct buf *out, str sender, int64_t unix_s)
{
    static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    time_t t = (time_t)unix_s;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || tm.tm_year + 1900 < 1 || tm.tm_year + 1900 > YEAR_MAX) {
        t = 0;
        gmtime_r(&t, &tm);
    }
    buf_add(out, FROM);
    for (size_t i = 0; i < sender.n; i++)
        buf_addc(out, (unsigned char)sender.p[i] <= ' ' || sender.p[i] == 0x7f ? '-' : sender.p[i]);
    buf_addf(out, "%s %s %s %2d %02d:%02d:%02d %04d\n", sender.n ? "" : "MAILER-DAEMON", days[tm.tm_wday],
             months[tm.tm_mon], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_year + 1900);
}
