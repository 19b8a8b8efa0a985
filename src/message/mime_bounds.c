/* Open boundaries: see mime_bounds.h. */
#include "message/mime_bounds.h"
#include "base/cleanup.h"

#define FNV_START 2166136261u

static uint32_t fnv(uint32_t h, str s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    return h;
}

static size_t bucket_of(uint32_t hash)
{
    return (hash ^ hash >> 16) % ARRAY_LEN(((struct mime_bounds *)NULL)->bucket);
}

void mime_bounds_clear(struct mime_bounds *b)
{
    b->n = 0;
    memset(b->bucket, 0, sizeof(b->bucket));
}

void mime_bounds_push(struct mime_bounds *b, str boundary, uint32_t part)
{
    const struct mime_bound *outer = b->n ? &b->list[b->n - 1] : NULL;
    struct mime_bound *e = &b->list[b->n];
    uint32_t hash = fnv(FNV_START, boundary);
    uint32_t *bucket = &b->bucket[bucket_of(hash)];
    *e = (struct mime_bound){ .part = part, .hash = hash, .below = *bucket, .len = (uint32_t)boundary.n };
    e->off = outer ? outer->off + outer->len : 0;
    memcpy(b->text + e->off, boundary.p, boundary.n);
    *bucket = (uint32_t)++b->n;
}

void mime_bounds_cut(struct mime_bounds *b, size_t n)
{
    while (b->n > n) {
        const struct mime_bound *e = &b->list[--b->n];
        b->bucket[bucket_of(e->hash)] = e->below;
    }
}

/* The innermost of that text, counted from 1, 0 if none. */
static uint32_t lookup(const struct mime_bounds *b, str text, uint32_t hash)
{
    uint32_t at = b->bucket[bucket_of(hash)];
    while (at) {
        const struct mime_bound *e = &b->list[at - 1];
        if (e->hash == hash && str_eq(str_of(b->text + e->off, e->len), text))
            break;
        at = e->below;
    }
    return at;
}

int mime_bounds_match(const struct mime_bounds *b, str line, bool *out_last)
{
    if (!b->n || !str_starts(line, S("--")))
        return -1;
    str text = str_from(line, 2);
    while (text.n && ascii_blank(text.p[text.n - 1])) /* transport-padding */
        text.n--;
    if (text.n == 0 || text.n > MIME_BOUNDARY_MAX + 2)
        return -1;
    bool dashed = text.n > 2 && str_ends(text, S("--"));
    str stem = dashed ? str_first(text, text.n - 2) : text;
    uint32_t hash = fnv(FNV_START, stem);
    uint32_t closing = dashed ? lookup(b, stem, hash) : 0;
    uint32_t opening = lookup(b, text, dashed ? fnv(hash, S("--")) : hash);
    *out_last = closing > opening;
    return (int)MAX(closing, opening) - 1;
}
