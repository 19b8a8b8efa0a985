/* The encoding of the change feed: see feed.h.
 *
 * An item: kind u8, lsn u64, modseq u64, n u32; then for FEED_PLACES log str, segment u64; then n of: an entry; uid
 * u32, flags u32, keywords u64; uid u32; uid u32, offset u64. FEED_KEYWORD has bit u8, name str; FEED_RENAMED name str.
 * An entry: uid u32, flags u32, keywords u64, modseq u64, segment u64, offset u64, content_len u64, meta_len u32,
 * date_s u64, zone u16, session 16, number u32, log str, prefix str. */
#include "store/feed.h"
#include <errno.h>

enum { COUNT_AT = 1 + 8 + 8, ENTRY_MIN = 4 + 4 + 5 * 8 + 4 + 8 + 2 + 16 + 4 + 4 + 4, KEYWORD_BITS = 64 };

static const uint8_t row_size[] = { [FEED_FLAGS] = 4 + 4 + 8, [FEED_EXPUNGED] = 4, [FEED_PLACES] = 4 + 8 };

static bool unpack_entry(struct unpack *u, struct mailbox_entry *e)
{
    e->uid = unpack_u32(u);
    e->flags = unpack_u32(u);
    e->keywords = unpack_u64(u);
    e->modseq = unpack_u64(u);
    e->position.segment = unpack_u64(u);
    e->position.offset = unpack_u64(u);
    e->content_len = unpack_u64(u);
    e->meta_len = unpack_u32(u);
    e->date_s = (int64_t)unpack_u64(u);
    e->date_zone_min = (int16_t)unpack_u16(u);
    if (u->bad || u->in.n < sizeof(e->session))
        return false;
    memcpy(e->session, u->in.p, sizeof(e->session));
    u->in = str_from(u->in, sizeof(e->session));
    e->number = unpack_u32(u);
    e->log = unpack_str(u);
    e->prefix = unpack_str(u);
    e->size = e->prefix.n + e->content_len;
    return !u->bad && e->size >= e->content_len;
}

static bool rows_fit(const struct feed_item *f)
{
    struct unpack u = f->in;
    struct mailbox_entry e;
    if (f->kind != FEED_ARRIVED)
        return f->in.in.n == (size_t)f->n * row_size[f->kind];
    if (f->n > u.in.n / ENTRY_MIN)
        return false;
    for (uint32_t i = 0; i < f->n; i++)
        if (!unpack_entry(&u, &e))
            return false;
    return unpack_end(&u);
}

int feed_decode(str item, struct feed_item *out)
{
    struct unpack u = UNPACK(item);
    uint8_t kind = unpack_u8(&u);
    struct feed_item f = { .lsn = unpack_u64(&u) };
    f.modseq = unpack_u64(&u);
    f.n = unpack_u32(&u);
    if (u.bad || kind > FEED_GONE)
        return -EBADMSG;
    f.kind = kind;
    bool named = kind == FEED_KEYWORD || kind == FEED_RENAMED;
    if (kind == FEED_PLACES) {
        f.log = unpack_str(&u);
        f.segment = unpack_u64(&u);
    }
    if (kind == FEED_KEYWORD)
        f.bit = unpack_u8(&u);
    if (named)
        f.name = unpack_str(&u);
    f.in = u;
    if (u.bad || f.bit >= KEYWORD_BITS)
        return -EBADMSG;
    if (named || kind == FEED_GONE ? f.n || !unpack_end(&u) : !rows_fit(&f))
        return -EBADMSG;
    *out = f;
    return 0;
}

bool feed_entry(struct feed_item *f, struct mailbox_entry *out)
{
    struct mailbox_entry e = { 0 };
    if (f->kind != FEED_ARRIVED || !unpack_entry(&f->in, &e))
        return false;
    *out = e;
    return true;
}

bool feed_flags(struct feed_item *f, uint32_t *out_uid, uint32_t *out_flags, uint64_t *out_keywords)
{
    uint32_t uid = unpack_u32(&f->in), flags = unpack_u32(&f->in);
    uint64_t keywords = unpack_u64(&f->in);
    if (f->kind != FEED_FLAGS || f->in.bad)
        return false;
    *out_uid = uid;
    *out_flags = flags;
    *out_keywords = keywords;
    return true;
}

bool feed_uid(struct feed_item *f, uint32_t *out_uid)
{
    uint32_t uid = unpack_u32(&f->in);
    if (f->kind != FEED_EXPUNGED || f->in.bad)
        return false;
    *out_uid = uid;
    return true;
}

bool feed_place(struct feed_item *f, uint32_t *out_uid, uint64_t *out_offset)
{
    uint32_t uid = unpack_u32(&f->in);
    uint64_t offset = unpack_u64(&f->in);
    if (f->kind != FEED_PLACES || f->in.bad)
        return false;
    *out_uid = uid;
    *out_offset = offset;
    return true;
}

void feed_begin(struct buf *out, enum feed_kind kind, uint64_t lsn, uint64_t modseq)
{
    pack_u8(out, (uint8_t)kind);
    pack_u64(out, lsn);
    pack_u64(out, modseq);
    pack_u32(out, 0);
}

void feed_put_entry(struct buf *out, const struct mailbox_entry *e)
{
    pack_u32(out, e->uid);
    pack_u32(out, e->flags);
    pack_u64(out, e->keywords);
    pack_u64(out, e->modseq);
    pack_u64(out, e->position.segment);
    pack_u64(out, e->position.offset);
    pack_u64(out, e->content_len);
    pack_u32(out, e->meta_len);
    pack_u64(out, (uint64_t)e->date_s);
    pack_u16(out, (uint16_t)e->date_zone_min);
    buf_add(out, str_of(e->session, sizeof(e->session)));
    pack_u32(out, e->number);
    pack_str(out, e->log);
    pack_str(out, e->prefix);
}

void feed_put_flags(struct buf *out, uint32_t uid, uint32_t flags, uint64_t keywords)
{
    pack_u32(out, uid);
    pack_u32(out, flags);
    pack_u64(out, keywords);
}

void feed_put_uid(struct buf *out, uint32_t uid)
{
    pack_u32(out, uid);
}

void feed_put_segment(struct buf *out, str log, uint64_t segment)
{
    pack_str(out, log);
    pack_u64(out, segment);
}

void feed_put_place(struct buf *out, uint32_t uid, uint64_t offset)
{
    pack_u32(out, uid);
    pack_u64(out, offset);
}

void feed_put_keyword(struct buf *out, uint8_t bit, str name)
{
    pack_u8(out, bit);
    pack_str(out, name);
}

void feed_put_name(struct buf *out, str name)
{
    pack_str(out, name);
}

void feed_end(struct buf *out, size_t begin, uint32_t n)
{
    if (!out->failed)
        put_u32(out->p + begin + COUNT_AT, n);
}
