/* A growing run of bytes with a ceiling that must be named. The first failure (ceiling or memory) sticks: later adds do
 * nothing, and one look at `failed` at the end is enough. */
#pragma once
#include <stdarg.h>
#include "base/cleanup.h"
#include "base/str.h"

struct buf {
    char *p;
    size_t n, cap, max;
    int failed; /* 0, -ENOBUFS (ceiling), -ENOMEM */
};

#define BUF(max_) ((struct buf){ .max = (max_) })

void buf_done(struct buf *b);
#define _cleanup_buf_ _cleanup_(buf_done)

/* Makes room for `more` bytes beyond n. 0, -ENOBUFS, -ENOMEM. */
int buf_reserve(struct buf *b, size_t more);
/* Empties; keeps the memory; forgets a failure. */
void buf_clear(struct buf *b);
/* Gives the memory back while keeping the ceiling. */
void buf_release(struct buf *b);

int buf_add(struct buf *b, str s);
int buf_addc(struct buf *b, char c);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
int buf_addu(struct buf *b, uint64_t v); /* decimal, faster than addf */
/* Appends n zero bytes and returns where they start, NULL on failure. */
char *buf_space(struct buf *b, size_t n);
/* Removes the first n bytes (moves the rest down). */
void buf_drop(struct buf *b, size_t n);

static inline str buf_str(const struct buf *b) { return str_of(b->p, b->n); }
