/* The card of a message: see card.h. Format 1: version, flags, then numbers in groups of seven bits, least
 * significant first, the high bit set on all but the last byte, as short as they can be: size, header length, and if
 * not minimal the number of fields and each of them (gap since the one before, length, length of its name), the
 * number of parts and each of them (flags, parent, distance from the header of the part before, length of header,
 * length of body, lines, eight strings with length). */
#include "message/card.h"
#include <errno.h>
#include "base/pack.h"

#define VERSION 1
enum { MINIMAL = 1, LIMITED = 2 };   /* flags of the card */
enum { MULTIPART = 1, MESSAGE = 2 }; /* flags of a part */

#define FIELD_BYTES 3 /* the least that a field takes, and a part */
#define PART_BYTES 14

/* Where the strings of a part are. */
static const size_t part_strings[] = {
    offsetof(struct mime_part, type),     offsetof(struct mime_part, subtype),     offsetof(struct mime_part, charset),
    offsetof(struct mime_part, encoding), offsetof(struct mime_part, disposition), offsetof(struct mime_part, filename),
    offsetof(struct mime_part, id),       offsetof(struct mime_part, description),
};

static void put_number(struct buf *b, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        pack_u8(b, (uint8_t)(v | 128));
    pack_u8(b, (uint8_t)v);
}

static uint64_t get_number(struct unpack *u)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = unpack_u8(u);
        v |= (uint64_t)(byte & 127) << shift;
        if (byte & 128)
            continue;
        u->bad |= (byte == 0 && shift > 0) || (shift == 63 && byte > 1);
        return v;
    }
    u->bad = true;
    return 0;
}

static void put_text(struct buf *b, str s)
{
    put_number(b, s.n);
    buf_add(b, s);
}

static str get_text(struct unpack *u)
{
    uint64_t n = get_number(u);
    u->bad |= n > u->in.n;
    if (u->bad)
        return STR_NONE;
    str s = str_of(u->in.p, n);
    u->in = str_of(u->in.p + n, u->in.n - n);
    return s;
}

static void put_fields(struct buf *b, const struct card *c)
{
    uint32_t end = 0;
    put_number(b, c->n_fields);
    for (size_t i = 0; i < c->n_fields; i++) {
        put_number(b, c->fields[i].off - end);
        put_number(b, c->fields[i].len);
        put_number(b, c->fields[i].name_len);
        end = c->fields[i].off + c->fields[i].len;
    }
}

static void put_parts(struct buf *b, const struct card *c)
{
    uint64_t before = 0;
    put_number(b, c->n_parts);
    for (size_t i = 0; i < c->n_parts; i++) {
        const struct mime_part *p = &c->parts[i];
        pack_u8(b, (uint8_t)((p->multipart ? MULTIPART : 0) | (p->message ? MESSAGE : 0)));
        put_number(b, p->parent);
        put_number(b, p->header_off - before);
        put_number(b, p->body_off - p->header_off);
        put_number(b, p->end_off - p->body_off);
        put_number(b, p->lines);
        for (size_t k = 0; k < ARRAY_LEN(part_strings); k++)
            put_text(b, *(const str *)((const char *)p + part_strings[k]));
        before = p->header_off;
    }
}

static void put_card(struct buf *b, const struct card *c, bool minimal)
{
    pack_u8(b, VERSION);
    pack_u8(b, (uint8_t)((minimal ? MINIMAL : 0) | (c->limited ? LIMITED : 0)));
    put_number(b, c->size);
    put_number(b, c->header_len);
    if (minimal)
        return;
    put_fields(b, c);
    put_parts(b, c);
}

int card_write(struct buf *out, const struct card *c)
{
    _cleanup_buf_ struct buf b = BUF(CARD_MAX);
    put_card(&b, c, c->minimal);
    if (b.failed == -ENOBUFS) {
        buf_clear(&b);
        put_card(&b, c, true);
    }
    return b.failed ? b.failed : buf_add(out, buf_str(&b));
}

int card_encode(struct buf *out, const struct mime_parser *m)
{
    struct card c = { .size = mime_size(m), .limited = mime_limited(m) };
    c.n_fields = mime_fields(m, &c.fields);
    c.n_parts = mime_parts(m, &c.parts);
    c.header_len = c.parts[0].body_off;
    return card_write(out, &c);
}

int card_minimal(struct buf *out, uint64_t size)
{
    const struct mime_part whole = { .end_off = size, .type = S("text"), .subtype = S("plain") };
    return card_write(out, &(struct card){ .size = size, .limited = true, .n_parts = 1, .parts = &whole });
}

/* Room for n things of which each takes at least `least` bytes of the input. */
static void *table(struct arena *a, struct unpack *u, uint64_t n, size_t least, size_t each)
{
    if (u->bad || n > u->in.n / least) {
        u->bad = true;
        return NULL;
    }
    return arena_alloc(a, n * each);
}

/* The field behind `end`, which must not go past `max`. */
static void get_field(struct unpack *u, uint64_t end, uint64_t max, struct mime_field *out)
{
    uint64_t gap = get_number(u), len = get_number(u), name_len = get_number(u);
    u->bad |= gap > max || len > max || end + gap + len > max || name_len == 0 || name_len >= len;
    *out = (struct mime_field){ .off = (uint32_t)(end + gap), .len = (uint32_t)len, .name_len = (uint32_t)name_len };
}

static int get_fields(struct arena *a, struct unpack *u, struct card *c)
{
    uint64_t n = get_number(u), end = 0, max = MIN(c->header_len, (uint64_t)MIME_HEADER_TEXT_MAX);
    u->bad |= n > MIME_HEADERS_MAX;
    struct mime_field *fields = table(a, u, n, FIELD_BYTES, sizeof(*fields));
    if (!fields)
        return u->bad ? -EBADMSG : -ENOMEM;
    for (size_t i = 0; i < n && !u->bad; i++) {
        get_field(u, end, max, &fields[i]);
        end = fields[i].off + fields[i].len;
    }
    c->fields = fields;
    c->n_fields = n;
    return u->bad ? -EBADMSG : 0;
}

static void get_part(struct unpack *u, uint64_t before, uint64_t size, struct mime_part *out)
{
    uint8_t flags = unpack_u8(u);
    uint64_t parent = get_number(u), gap = get_number(u), header = get_number(u), body = get_number(u);
    u->bad |= flags > MESSAGE || parent >= MIME_PARTS_MAX;
    u->bad |= gap > size - before || header > size - before - gap || body > size - before - gap - header;
    *out = (struct mime_part){
        .parent = (uint32_t)parent,
        .header_off = before + gap,
        .body_off = before + gap + header,
        .end_off = before + gap + header + body,
        .lines = get_number(u),
        .multipart = flags == MULTIPART,
        .message = flags == MESSAGE,
    };
    u->bad |= out->lines > body;
    for (size_t k = 0; k < ARRAY_LEN(part_strings); k++)
        *(str *)((char *)out + part_strings[k]) = get_text(u);
}

/* Part i against those before it: in its parent's body, behind the part it follows there. Walking up from the part
 * before to the parent leaves the path of open parts, so all walks together are linear. */
static bool part_placed(struct mime_part *parts, size_t i)
{
    struct mime_part *p = &parts[i];
    size_t at = i - 1;
    if (p->parent >= i)
        return false;
    uint64_t behind = 0;
    for (; at != p->parent; at = parts[at].parent) {
        if (at == 0)
            return false;
        behind = parts[at].end_off;
    }
    const struct mime_part *parent = &parts[at];
    bool only = i - 1 == at; /* the first child */
    p->depth = parent->depth + 1;
    return (parent->multipart || (parent->message && only)) && p->depth <= MIME_DEPTH_MAX &&
           p->header_off >= parent->body_off && p->header_off >= behind && p->end_off <= parent->end_off;
}

static bool root_placed(const struct mime_part *root, const struct card *c)
{
    return root->parent == 0 && root->header_off == 0 && root->body_off == c->header_len && root->end_off == c->size;
}

static int get_parts(struct arena *a, struct unpack *u, struct card *c)
{
    uint64_t n = get_number(u), before = 0;
    u->bad |= n == 0 || n > MIME_PARTS_MAX;
    struct mime_part *parts = table(a, u, n, PART_BYTES, sizeof(*parts));
    if (!parts)
        return u->bad ? -EBADMSG : -ENOMEM;
    for (size_t i = 0; i < n && !u->bad; i++) {
        get_part(u, before, c->size, &parts[i]);
        u->bad |= i == 0 ? !root_placed(&parts[0], c) : !part_placed(parts, i);
        before = parts[i].header_off;
    }
    for (size_t i = 0; i < n && !u->bad; i++)
        u->bad |= (parts[i].multipart || parts[i].message) && (i + 1 == n || parts[i + 1].parent != i);
    c->parts = parts;
    c->n_parts = n;
    return u->bad ? -EBADMSG : 0;
}

int card_decode(struct arena *a, str in, struct card *out)
{
    struct unpack u = UNPACK(in);
    uint8_t version = unpack_u8(&u), flags = unpack_u8(&u);
    struct card c = { .size = get_number(&u), .minimal = flags & MINIMAL, .limited = flags & LIMITED };
    c.header_len = get_number(&u);
    if (u.bad || in.n > CARD_MAX || version != VERSION || flags > (MINIMAL | LIMITED) || c.header_len > c.size)
        return -EBADMSG;
    int r = c.minimal ? 0 : get_fields(a, &u, &c);
    if (r == 0 && !c.minimal)
        r = get_parts(a, &u, &c);
    if (r < 0 || !unpack_end(&u))
        return r < 0 ? r : -EBADMSG;
    *out = c;
    return 0;
}
