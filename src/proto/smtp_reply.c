/* Replies as bytes: see smtp_reply.h. */
#include "proto/smtp_reply.h"

const struct smtp_canned smtp_canned[SMTP_REPLIES] = {
#define SMTP_REPLY(name, code, enhanced, text) [SMTP_REPLY_##name] = { code, S(enhanced), S(text) },
#include "proto/smtp_replies.def"
#undef SMTP_REPLY
};

#define REPLY_LINE_MAX 512 /* RFC 5321 4.5.3.1.5, with code and CR LF */

static char printable(char c, bool utf8)
{
    unsigned char u = (unsigned char)c;
    return (u >= ' ' && u < 127) || c == '\t' || (u > 127 && utf8) ? c : '?';
}

/* How much of text fits: cut at a blank if there is one in the last quarter, never inside a UTF-8 sequence. */
static size_t fitting(str text, size_t room)
{
    if (text.n <= room)
        return text.n;
    ptrdiff_t blank = str_rchr(str_first(text, room), ' ');
    size_t n = blank >= 0 && (size_t)blank > room / 4 * 3 ? (size_t)blank : room;
    while (n > room / 2 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
        --n;
    return n;
}

static void write_line(struct buf *out, int code, char separator, str enhanced, str text, bool utf8)
{
    buf_addu(out, (uint64_t)code);
    buf_addc(out, separator);
    buf_add(out, enhanced);
    if (enhanced.n > 0)
        buf_addc(out, ' ');
    char *to = buf_space(out, text.n);
    for (size_t i = 0; to && i < text.n; ++i)
        to[i] = printable(text.p[i], utf8);
    buf_add(out, S("\r\n"));
}

void smtp_reply_write(struct buf *out, int code, str enhanced, str text, bool utf8)
{
    size_t room = REPLY_LINE_MAX - 6 - (enhanced.n ? enhanced.n + 1 : 0);
    if (text.n == 0)
        text = code < 400 ? S("Ok") : code < 500 ? S("Try again later") : S("Refused");
    do {
        str line = str_cut(&text, '\n');
        do {
            size_t n = fitting(line, room);
            str part = str_first(line, n);
            line = str_from(line, n + (n < line.n && line.p[n] == ' '));
            write_line(out, code, line.n || text.n ? '-' : ' ', enhanced, part, utf8);
        } while (line.n > 0);
    } while (text.n > 0);
}
