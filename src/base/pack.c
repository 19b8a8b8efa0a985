/* Typed, length-prefixed fields: see pack.h. */
#include "base/pack.h"
#include <endian.h>
#include <errno.h>

void put_u32(char *p, uint32_t v) { v = htole32(v); memcpy(p, &v, 4); }
void put_u64(char *p, uint64_t v) { v = htole64(v); memcpy(p, &v, 8); }
uint32_t get_u32(const char *p) { uint32_t v; memcpy(&v, p, 4); return le32toh(v); }
uint64_t get_u64(const char *p) { uint64_t v; memcpy(&v, p, 8); return le64toh(v); }

void pack_u8(struct buf *b, uint8_t v) { buf_addc(b, (char)v); }

void pack_u16(struct buf *b, uint16_t v)
{
    v = htole16(v);
    buf_add(b, str_of(&v, 2));
}

void pack_u32(struct buf *b, uint32_t v)
{
    v = htole32(v);
    buf_add(b, str_of(&v, 4));
}

void pack_u64(struct buf *b, uint64_t v)
{
    v = htole64(v);
    buf_add(b, str_of(&v, 8));
}

void pack_str(struct buf *b, str s)
{
    if (s.n > UINT32_MAX) {
        b->failed = b->failed ? b->failed : -ENOBUFS;
        return;
    }
    pack_u32(b, (uint32_t)s.n);
    buf_add(b, s);
}

static const char *need(struct unpack *u, size_t n)
{
    if (u->bad || u->in.n < n) {
        u->bad = true;
        return NULL;
    }
    const char *p = u->in.p;
    u->in = str_of(p + n, u->in.n - n);
    return p;
}

uint8_t unpack_u8(struct unpack *u)
{
    const char *p = need(u, 1);
    return p ? (uint8_t)*p : 0;
}

uint16_t unpack_u16(struct unpack *u)
{
    const char *p = need(u, 2);
    uint16_t v = 0;
    if (p)
        memcpy(&v, p, 2);
    return le16toh(v);
}

uint32_t unpack_u32(struct unpack *u)
{
    const char *p = need(u, 4);
    return p ? get_u32(p) : 0;
}

uint64_t unpack_u64(struct unpack *u)
{
    const char *p = need(u, 8);
    return p ? get_u64(p) : 0;
}

str unpack_str(struct unpack *u)
{
    uint32_t n = unpack_u32(u);
    const char *p = need(u, n);
    return p ? str_of(p, n) : STR_NONE;
}

bool unpack_end(const struct unpack *u)
{
    return !u->bad && u->in.n == 0;
}
