/* Memory that lives as long as the protocol object it belongs to, freed in one call. Has a ceiling like a buf. */
#pragma once
#include "base/cleanup.h"
#include "base/str.h"

struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used, max; /* bytes handed out; ceiling */
};

#define ARENA(max_) ((struct arena){ .max = (max_) })

void arena_done(struct arena *a);
#define _cleanup_arena_ _cleanup_(arena_done)
/* Forgets everything but keeps the first block for reuse if it is small. */
void arena_clear(struct arena *a);

/* n zeroed bytes aligned for any type; NULL at the ceiling or without memory. */
void *arena_alloc(struct arena *a, size_t n);
/* n times `size` bytes; NULL also when the product overflows. */
void *arena_alloc_array(struct arena *a, size_t size, size_t n);
/* A copy of s; p is NULL on failure and only then. The copy is followed by a NUL that is not counted. */
str arena_dup(struct arena *a, str s);
/* The same in ASCII lower case. */
str arena_lower(struct arena *a, str s);
str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_alloc_array((a), sizeof(type), (n)))
