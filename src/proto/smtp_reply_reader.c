/* Replies as a client reads them: see smtp_reply_reader.h. */
#include "proto/smtp_reply_reader.h"

struct smtp_reply_reader smtp_reply_reader_begin(void)
{
    return (struct smtp_reply_reader){ .line = BUF(SMTP_REPLY_LINE_KEPT), .text = BUF(SMTP_REPLY_TEXT_KEPT) };
}

void smtp_reply_reader_done(struct smtp_reply_reader *r)
{
    buf_done(&r->line);
    buf_done(&r->text);
}

static void begin_reply(struct smtp_reply_reader *r)
{
    buf_clear(&r->text);
    r->bytes = 0;
    r->status_n = 0;
    r->lines = 0;
    r->over = false;
}

static void keep(struct buf *to, str s)
{
    buf_add(to, str_first(s, to->max - to->n));
}

/* class "." subject "." detail, the class that of the code (RFC 2034 4, 3463 2); 0 if there is none. */
static uint8_t status_length(str text, uint16_t code)
{
    size_t at = 2, digits[2];
    if (text.n < 5 || text.p[0] != '0' + code / 100 || text.p[1] != '.')
        return 0;
    for (int part = 0; part < 2; ++part) {
        size_t from = at;
        while (at < text.n && at - from < 4 && ascii_digit(text.p[at]))
            ++at;
        digits[part] = at - from;
        if (part == 0 && (at >= text.n || text.p[at++] != '.'))
            return 0;
    }
    bool ends = at == text.n || ascii_blank(text.p[at]);
    return ends && digits[0] >= 1 && digits[0] <= 3 && digits[1] >= 1 && digits[1] <= 3 ? (uint8_t)at : 0;
}

static void keep_text(struct smtp_reply_reader *r)
{
    if (r->lines > 0)
        keep(&r->text, S("\n"));
    size_t from = r->text.n;
    keep(&r->text, buf_str(&r->line));
    for (size_t i = from; i < r->text.n; ++i) {
        unsigned char c = (unsigned char)r->text.p[i];
        if ((c < ' ' && c != '\t') || c == 127)
            r->text.p[i] = '?';
    }
}

static enum smtp_reply_read line_over(struct smtp_reply_reader *r)
{
    str line = buf_str(&r->line);
    if (line.n > 0 && line.p[line.n - 1] == '\r') {
        r->line.n--;
        line.n--;
    }
    bool code = line.n >= 3 && line.p[0] >= '2' && line.p[0] <= '5' && ascii_digit(line.p[1]) && ascii_digit(line.p[2]);
    if (!code || (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
        return SMTP_REPLY_BAD;
    r->code = (uint16_t)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'));
    keep_text(r);
    r->lines++;
    str text = str_from(line, 4);
    uint8_t n = status_length(text, r->code);
    if (n > 0) {
        memcpy(r->status_text, text.p, n);
        r->status_n = n;
    }
    r->over = line.n == 3 || line.p[3] == ' ';
    return r->over ? SMTP_REPLY_WHOLE : SMTP_REPLY_LINE;
}

str smtp_reply_reader_line(const struct smtp_reply_reader *r)
{
    return str_from(buf_str(&r->line), 4);
}

enum smtp_reply_read smtp_reply_reader_feed(struct smtp_reply_reader *r, str in, size_t *out_used)
{
    *out_used = 0;
    if (in.n == 0)
        return SMTP_REPLY_MORE;
    if (r->over)
        begin_reply(r);
    if (r->line_over)
        buf_clear(&r->line);
    r->line_over = false;
    ptrdiff_t lf = str_chr(in, '\n');
    size_t n = lf >= 0 ? (size_t)lf + 1 : in.n;
    size_t room = SMTP_REPLY_BYTES_MAX - r->bytes;
    *out_used = MIN(n, room + 1);
    r->bytes += (uint32_t)*out_used;
    if (*out_used > room)
        return SMTP_REPLY_BAD;
    keep(&r->line, str_first(in, lf >= 0 ? n - 1 : n));
    if (r->line.failed)
        return SMTP_REPLY_BAD;
    if (lf < 0)
        return SMTP_REPLY_MORE;
    r->line_over = true;
    return line_over(r);
}

/* What a code means where the peer gave no enhanced one (RFC 5248 2.4 and Postfix's usage). */
static const struct {
    uint16_t code;
    str status;
} plain_status[] = {
    { 421, S("4.3.2") }, { 450, S("4.2.0") }, { 451, S("4.3.0") }, { 452, S("4.3.1") }, { 454, S("4.7.0") },
    { 455, S("4.5.4") }, { 500, S("5.5.2") }, { 501, S("5.5.4") }, { 502, S("5.5.1") }, { 503, S("5.5.1") },
    { 504, S("5.5.4") }, { 521, S("5.3.2") }, { 530, S("5.7.0") }, { 534, S("5.7.9") }, { 535, S("5.7.8") },
    { 551, S("5.1.6") }, { 552, S("5.2.2") }, { 553, S("5.1.3") }, { 555, S("5.5.4") }, { 556, S("5.1.10") },
};

str smtp_reply_reader_status(const struct smtp_reply_reader *r)
{
    if (r->status_n > 0 && r->status_text[0] == '0' + r->code / 100)
        return str_of(r->status_text, r->status_n);
    for (size_t i = 0; i < ARRAY_LEN(plain_status); ++i)
        if (plain_status[i].code == r->code)
            return plain_status[i].status;
    static const str general[10] = { [2] = S("2.0.0"), [4] = S("4.0.0"), [5] = S("5.0.0") };
    return general[r->code / 100 % 10];
}
