/* Transfer encodings as streams: see quoted_printable.h. */
#include "message/quoted_printable.h"
#include "base/codec.h"

#define LINE_MAX_ 76

static void room_for(struct qp_encoder *q, uint32_t n, struct buf *out)
{
    if (q->column + n < LINE_MAX_) /* the last column is kept for a soft line break */
        return;
    buf_add(out, S("=\r\n"));
    q->column = 0;
}

static void plain(struct qp_encoder *q, char c, struct buf *out)
{
    room_for(q, 1, out);
    buf_addc(out, c);
    q->column++;
}

static void encoded(struct qp_encoder *q, char c, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    unsigned char u = (unsigned char)c;
    char text[3] = { '=', digits[u >> 4], digits[u & 15] };
    room_for(q, 3, out);
    buf_add(out, str_of(text, 3));
    q->column += 3;
}

/* What was held is followed by c. True: c is used up with it. */
static bool settle(struct qp_encoder *q, char c, struct buf *out)
{
    char held = q->held;
    q->held = 0;
    if (held == '\r' && c == '\n') {
        buf_add(out, S("\r\n"));
        q->column = 0;
        return true;
    }
    if (held == '\r' || (held && c == '\r')) /* a blank at the end of a line would get lost */
        encoded(q, held, out);
    else if (held)
        plain(q, held, out);
    return false;
}

void qp_encode(struct qp_encoder *q, str piece, struct buf *out)
{
    for (size_t i = 0; i < piece.n; ++i) {
        char c = piece.p[i];
        if (q->held && settle(q, c, out))
            continue;
        if (c == ' ' || c == '\t' || c == '\r')
            q->held = c;
        else if ((unsigned char)c < 33 || (unsigned char)c > 126 || c == '=')
            encoded(q, c, out);
        else
            plain(q, c, out);
    }
}

void qp_end(struct qp_encoder *q, struct buf *out)
{
    if (q->held)
        encoded(q, q->held, out);
    *q = (struct qp_encoder){ 0 };
}

void base64_lines_encode(struct base64_encoder *b, str piece, struct buf *out)
{
    while (piece.n > 0) {
        if (b->n == BASE64_LINE) { /* only when there is more, so that the end is not an empty line */
            base64_encode(out, str_of(b->held, b->n));
            buf_add(out, S("\r\n"));
            b->n = 0;
        }
        str part = str_first(piece, (size_t)BASE64_LINE - b->n);
        memcpy(b->held + b->n, part.p, part.n);
        b->n = (uint8_t)(b->n + part.n);
        piece = str_from(piece, part.n);
    }
}

void base64_lines_end(struct base64_encoder *b, struct buf *out)
{
    base64_encode(out, str_of(b->held, b->n));
    b->n = 0;
}
