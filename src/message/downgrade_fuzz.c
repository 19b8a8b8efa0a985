/* Any message, whole and in pieces, is converted to the same; the result is 7-bit, has the same parts, and each of them
 * decodes to what it was. */
#include "message/downgrade_play.h"

static const struct mime_part *parse(struct mime_parser *m, str message, size_t *out_n)
{
    const struct mime_part *parts;
    mime_feed(m, message);
    mime_end(m);
    *out_n = mime_parts(m, &parts);
    return parts;
}

static str body(str message, const struct mime_part *p)
{
    return str_first(str_from(message, p->body_off), p->end_off - p->body_off);
}

static bool has_high(str s)
{
    for (size_t i = 0; i < s.n; ++i)
        if ((unsigned char)s.p[i] > 127)
            return true;
    return false;
}

static void check_leaf(str before, str after, const struct mime_part *was, const struct mime_part *is)
{
    struct buf back = BUF(1u << 24);
    str from = body(before, was), to = body(after, is);
    bool encoded = has_high(from) && !str_eq(was->encoding, is->encoding);
    if (encoded && str_eq(is->encoding, S("quoted-printable"))) {
        if (!downgrade_play_unquote(to, &back))
            abort();
    } else if (encoded) {
        if (!downgrade_play_unbase64(to, &back))
            abort();
    } else if (!has_high(from)) {
        buf_add(&back, to);
    } else {
        buf_add(&back, from); /* mended or masked: not to be compared */
    }
    if (!str_eq(buf_str(&back), from))
        abort();
    buf_done(&back);
}

static void check(str before, str after)
{
    struct mime_parser *a = mime_new(), *b = mime_new();
    size_t n = 0, m = 0;
    const struct mime_part *was = parse(a, before, &n), *is = parse(b, after, &m);
    if (n != m || mime_limited(b))
        abort();
    for (size_t i = 0; i < n; ++i) {
        if (was[i].multipart != is[i].multipart || was[i].message != is[i].message || was[i].parent != is[i].parent)
            abort();
        if (!was[i].multipart && !was[i].message)
            check_leaf(before, after, &was[i], &is[i]);
    }
    mime_free(a);
    mime_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str message = str_of(data, size);
    struct buf whole = BUF(1u << 24), pieces = BUF(1u << 24);
    enum downgrade_need need = downgrade_play(message, size + 1, &whole);
    if (downgrade_play(message, 3, &pieces) != need || !str_eq(buf_str(&whole), buf_str(&pieces)))
        abort();
    if (has_high(buf_str(&whole)) || (need == DOWNGRADE_NOT_NEEDED && has_high(message)))
        abort();
    if (need == DOWNGRADE_CONVERT)
        check(message, buf_str(&whole));
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
