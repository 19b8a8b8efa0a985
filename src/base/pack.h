/* Records and frames between roles: little-endian numbers and length-prefixed byte strings, never lines of text, so
 * nothing a peer sends can start a new field. Writing appends to a buf; reading never goes past its slice, and the
 * first short read sticks in `bad`, so one look at the end is enough. */
#pragma once
#include "base/buf.h"

void pack_u8(struct buf *b, uint8_t v);
void pack_u16(struct buf *b, uint16_t v);
void pack_u32(struct buf *b, uint32_t v);
void pack_u64(struct buf *b, uint64_t v);
void pack_str(struct buf *b, str s); /* u32 length, bytes */

struct unpack {
    str in;
    bool bad;
};

#define UNPACK(s) ((struct unpack){ .in = (s) })

uint8_t unpack_u8(struct unpack *u);
uint16_t unpack_u16(struct unpack *u);
uint32_t unpack_u32(struct unpack *u);
uint64_t unpack_u64(struct unpack *u);
str unpack_str(struct unpack *u); /* points into the input */
/* True when all was read and nothing was short. */
bool unpack_end(const struct unpack *u);

/* Numbers at a place in memory. */
void put_u32(char *p, uint32_t v);
void put_u64(char *p, uint64_t v);
uint32_t get_u32(const char *p);
uint64_t get_u64(const char *p);
