/* The card of a message: see card.h. Numbers stand in groups of seven bits, least significant first, the high bit set
 * on all but the last byte, as short as they can be.
 *
 * Format 1: version, flags, size, header length, and if not minimal the number of fields and each of them (gap since
 * the one before, length, length of its name), the number of parts and each of them (flags, parent, distance from the
 * header of the part before, length of header, length of body, lines, eight strings with length).
 * Format 2: between header length and fields the texts: flags, the date if there is one (its sign in the lowest bit),
 * where the base of the subject is and how long, thirteen strings with length. A card without texts has format 1. */
#include "message/card.h"
#include <errno.h>
#include "base/pack.h"

enum { BARE = 1, WITH_TEXTS = 2 };   /* formats */
enum { MINIMAL = 1, LIMITED = 2 };   /* flags of the card */
enum { MULTIPART = 1, MESSAGE = 2 }; /* flags of a part */
enum { HEADERS_CUT = 1, HAS_DATE = 2, REPLY = 4 }; /* flags of the texts */

#define USUAL_BYTES 2048 /* few cards are larger */
#define FIELD_BYTES 3 /* the least that a field takes, and a part */
#define PART_BYTES 14

/* Where the strings of a part are. */
static const size_t part_strings[] = {
    offsetof(struct mime_part, type),     offsetof(struct mime_part, subtype),     offsetof(struct mime_part, charset),
    offsetof(struct mime_part, encoding), offsetof(struct mime_part, disposition), offsetof(struct mime_part, filename),
    offsetof(struct mime_part, id),       offsetof(struct mime_part, description),
};

/* Where the strings of the texts are. */
static const size_t text_strings[] = {
    offsetof(struct card_text, envelope),   offsetof(struct card_text, structure),
    offsetof(struct card_text, headers),    offsetof(struct card_text, subject),
    offsetof(struct card_text, from),       offsetof(struct card_text, to),
    offsetof(struct card_text, cc),         offsetof(struct card_text, bcc),
    offsetof(struct card_text, from_key),   offsetof(struct card_text, to_key),
    offsetof(struct card_text, cc_key),     offsetof(struct card_text, message_id),
    offsetof(struct card_text, references),
};

static void put_byte(struct buf *b, uint8_t v)
{
    if (b->n < b->cap && !b->failed)
        b->p[b->n++] = (char)v;
    else
        pack_u8(b, v);
}

static void put_number(struct buf *b, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        put_byte(b, (uint8_t)(v | 128));
    put_byte(b, (uint8_t)v);
}

static uint64_t get_number(struct unpack *u)
{
    uint64_t v = 0;
    if (!u->bad && u->in.n && !((unsigned char)*u->in.p & 128)) { /* most have one byte */
        v = (unsigned char)*u->in.p;
        u->in = str_of(u->in.p + 1, u->in.n - 1);
        return v;
    }
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
    if (s.n)
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

static void put_texts(struct buf *b, const struct card_text *t)
{
    pack_u8(b, (uint8_t)((t->headers_cut ? HEADERS_CUT : 0) | (t->has_date ? HAS_DATE : 0) | (t->reply ? REPLY : 0)));
    if (t->has_date)
        put_number(b, (uint64_t)t->date_s << 1 ^ (uint64_t)(t->date_s >> 63));
    put_number(b, t->base_off);
    put_number(b, t->base_len);
    for (size_t k = 0; k < ARRAY_LEN(text_strings); k++)
        put_text(b, *(const str *)((const char *)t + text_strings[k]));
}

enum detail { SMALLEST, TABLES, TEXTS };

static void put_card(struct buf *b, const struct card *c, enum detail detail)
{
    pack_u8(b, detail == TEXTS ? WITH_TEXTS : BARE);
    pack_u8(b, (uint8_t)((detail == SMALLEST ? MINIMAL : 0) | (c->limited ? LIMITED : 0)));
    put_number(b, c->size);
    put_number(b, c->header_len);
    if (detail == TEXTS)
        put_texts(b, &c->text);
    if (detail == SMALLEST)
        return;
    put_fields(b, c);
    put_parts(b, c);
}

int card_write(struct buf *out, const struct card *c)
{
    _cleanup_buf_ struct buf b = BUF(CARD_MAX);
    buf_reserve(&b, USUAL_BYTES);
    enum detail detail = c->minimal ? SMALLEST : c->text.present ? TEXTS : TABLES;
    put_card(&b, c, detail);
    while (b.failed == -ENOBUFS && detail > SMALLEST) {
        buf_clear(&b);
        put_card(&b, c, --detail);
    }
    if (b.failed || out->p || out->failed || b.cap > out->max)
        return b.failed ? b.failed : buf_add(out, buf_str(&b));
    b.max = out->max; /* nothing was in it: it takes these bytes as they are */
    *out = b;
    b = BUF(0);
    return 0;
}

int card_encode(struct buf *out, const struct mime_parser *m)
{
    _cleanup_buf_ struct buf hold = BUF(CARD_TEXT_MAX);
    struct card c = { .size = mime_size(m), .limited = mime_limited(m) };
    c.n_fields = mime_fields(m, &c.fields);
    c.n_parts = mime_parts(m, &c.parts);
    c.header_len = c.parts[0].body_off;
    buf_reserve(&hold, USUAL_BYTES);
    int r = card_text_make(&hold, m, &c.text);
    return r < 0 ? r : card_write(out, &c);
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

static bool in_brackets(str s)
{
    return s.n > 1 && s.p[0] == '(' && s.p[s.n - 1] == ')';
}

static void get_texts(struct unpack *u, struct card_text *out)
{
    uint8_t flags = unpack_u8(u);
    *out = (struct card_text){
        .present = true, .headers_cut = flags & HEADERS_CUT, .has_date = flags & HAS_DATE, .reply = flags & REPLY,
    };
    if (out->has_date) {
        uint64_t date = get_number(u);
        out->date_s = (int64_t)(date >> 1 ^ -(date & 1));
    }
    uint64_t off = get_number(u), len = get_number(u);
    for (size_t k = 0; k < ARRAY_LEN(text_strings); k++)
        *(str *)((char *)out + text_strings[k]) = get_text(u);
    u->bad |= flags > (HEADERS_CUT | HAS_DATE | REPLY) || off > out->subject.n || len > out->subject.n - off;
    u->bad |= !in_brackets(out->envelope) || !in_brackets(out->structure);
    u->bad |= out->references.n && !str_ends(out->references, S("\n"));
    out->base_off = (uint32_t)off;
    out->base_len = (uint32_t)len;
}

/* What stands before the tables. */
static int get_begin(struct unpack *u, struct card *out)
{
    size_t n = u->in.n;
    uint8_t version = unpack_u8(u), flags = unpack_u8(u);
    *out = (struct card){ .size = get_number(u), .minimal = flags & MINIMAL, .limited = flags & LIMITED };
    out->header_len = get_number(u);
    if (u->bad || n > CARD_MAX || version < BARE || version > WITH_TEXTS || flags > (MINIMAL | LIMITED) ||
        out->header_len > out->size || (out->minimal && version != BARE))
        return -EBADMSG;
    if (version == WITH_TEXTS)
        get_texts(u, &out->text);
    return u->bad ? -EBADMSG : 0;
}

int card_text_read(str in, struct card_text *out)
{
    struct unpack u = UNPACK(in);
    struct card c;
    int r = get_begin(&u, &c);
    if (r == 0)
        *out = c.text;
    return r;
}

int card_decode(struct arena *a, str in, struct card *out)
{
    struct unpack u = UNPACK(in);
    struct card c;
    int r = get_begin(&u, &c);
    if (r == 0 && !c.minimal)
        r = get_fields(a, &u, &c);
    if (r == 0 && !c.minimal)
        r = get_parts(a, &u, &c);
    if (r < 0 || !unpack_end(&u))
        return r < 0 ? r : -EBADMSG;
    *out = c;
    return 0;
}
