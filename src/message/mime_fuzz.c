/* Fuzzes the MIME parser: the same table whole, byte by byte and in odd pieces; the parts nest; the fields are those
 * that header.c finds; the card holds the table. */
#include "message/card.h"
#include "message/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void feed(struct mime_parser *m, str content, size_t piece)
{
    mime_reset(m);
    for (size_t i = 0; i < content.n; i += piece)
        mime_feed(m, str_first(str_from(content, i), piece));
    mime_end(m);
    require(mime_size(m) == content.n);
}

static void check_nesting(const struct mime_part *parts, size_t n, str content)
{
    for (size_t i = 0; i < n; i++) {
        const struct mime_part *p = &parts[i], *up = &parts[p->parent];
        require(p->header_off <= p->body_off && p->body_off <= p->end_off && p->end_off <= content.n);
        require(p->type.n && p->subtype.n && !(p->multipart && p->message));
        uint64_t lines = 0;
        for (uint64_t k = p->body_off; k < p->end_off; k++)
            lines += content.p[k] == '\n' || k + 1 == p->end_off;
        require(p->lines == lines);
        require(i == 0 || (p->parent < i && up->body_off <= p->header_off && p->end_off <= up->end_off &&
                           p->depth == up->depth + 1));
        require(i == 0 || up->multipart || up->message);
    }
}

static void check_fields(const struct mime_parser *m, str content)
{
    const struct mime_field *fields;
    size_t n = mime_fields(m, &fields), i = 0;
    struct header_field f;
    str header = content;
    while (header_next(&header, &f)) {
        if (f.name.n == 0)
            continue;
        require(i < n && f.raw.p == content.p + fields[i].off && f.raw.n == fields[i].len &&
                f.name.n == fields[i].name_len);
        i++;
    }
    require(i == n);
}

static void encode(struct buf *out, const struct mime_parser *m)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 24);
    _cleanup_buf_ struct buf again = BUF(CARD_MAX);
    struct card c;
    buf_clear(out);
    require(card_encode(out, m) == 0);
    require(card_decode(&a, buf_str(out), &c) == 0);
    require(card_write(&again, &c) == 0 && str_eq(buf_str(&again), buf_str(out)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mime_parser *m;
    static const size_t pieces[] = { SIZE_MAX / 2, 1, 3, 17 };
    _cleanup_buf_ struct buf whole = BUF(CARD_MAX), parted = BUF(CARD_MAX);
    str content = str_of(data, size);
    const struct mime_part *parts;
    if (!m)
        m = mime_new();
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        feed(m, content, pieces[i]);
        encode(i ? &parted : &whole, m);
        require(i == 0 || str_eq(buf_str(&whole), buf_str(&parted)));
    }
    size_t n = mime_parts(m, &parts);
    check_nesting(parts, n, content);
    if (!mime_limited(m))
        check_fields(m, content);
    return 0;
}
