/* Arenas: see arena.h. Blocks double from 1 KiB to 64 KiB; a larger wish gets a block of its own. */
#include "base/arena.h"
#include <stdarg.h>
#include <stdio.h>

/* A block larger than this is not worth holding on to between uses. */
#define KEEP_MAX 4096

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(16) char data[];
};

static void free_blocks(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;
        free(b);
        b = next;
    }
}

void arena_done(struct arena *a)
{
    free_blocks(a->head);
    *a = (struct arena){ .max = a->max };
}

/* An idle object should be small: of the blocks only the first and smallest stays, and only if it is small. */
void arena_clear(struct arena *a)
{
    struct arena_block *b = a->head, *next;
    for (; b && (b->next || b->cap > KEEP_MAX); b = next) {
        next = b->next;
        free(b);
    }
    if (b)
        b->used = 0;
    a->head = b;
    a->used = 0;
}

static struct arena_block *new_block(struct arena *a, size_t n)
{
    size_t cap = a->head ? MIN(a->head->cap * 2, (size_t)65536) : 1024;
    cap = MAX(cap, n);
    struct arena_block *b = malloc(sizeof(*b) + cap);
    if (!b)
        return NULL;
    *b = (struct arena_block){ .next = a->head, .cap = cap };
    a->head = b;
    return b;
}

/* n bytes at a multiple of `align`, a power of two. What alignment wastes counts as used, so `max` bounds what is
 * held. */
static void *take(struct arena *a, size_t n, size_t align)
{
    struct arena_block *b = a->head;
    size_t pad = b ? -b->used & (align - 1) : 0;
    if (n > a->max || a->used > a->max - n)
        return NULL;
    if (!b || b->cap - b->used < pad || b->cap - b->used - pad < n) {
        pad = 0;
        b = new_block(a, n);
        if (!b)
            return NULL;
    }
    void *at = b->data + b->used + pad;
    b->used += pad + n;
    a->used += pad + n;
    return at;
}

void *arena_alloc(struct arena *a, size_t n)
{
    void *at = take(a, n, 16);
    return at ? memset(at, 0, n) : NULL;
}

void *arena_alloc_array(struct arena *a, size_t size, size_t n)
{
    size_t total;
    return __builtin_mul_overflow(size, n, &total) ? NULL : arena_alloc(a, total);
}

str arena_dup(struct arena *a, str s)
{
    char *p = s.n < SIZE_MAX ? take(a, s.n + 1, 1) : NULL;
    if (!p)
        return STR_NONE;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return str_of(p, s.n);
}

str arena_lower(struct arena *a, str s)
{
    str copy = arena_dup(a, s);
    char *p = (char *)copy.p;
    for (size_t i = 0; i < copy.n; i++)
        p[i] = ascii_lower(p[i]);
    return copy;
}

str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : take(a, (size_t)n + 1, 1);
    if (!p)
        return STR_NONE;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return str_of(p, (size_t)n);
}
