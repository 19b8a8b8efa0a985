/* Bounded buffers: see buf.h. */
#include "base/buf.h"
#include <errno.h>
#include <stdio.h>

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){ 0 };
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = 0;
}

void buf_release(struct buf *b)
{
    size_t max = b->max;
    buf_done(b);
    b->max = max;
}

int buf_reserve(struct buf *b, size_t more)
{
    if (b->failed)
        return b->failed;
    if (more <= b->cap - b->n && b->p)
        return 0;
    if (more > b->max || b->n > b->max - more)
        return b->failed = -ENOBUFS;
    size_t want = b->n + more;
    size_t cap = b->cap ? b->cap * 2 : 64;
    cap = MAX(cap, want);
    cap = MIN(cap, b->max);
    char *p = realloc(b->p, cap + 1); /* one byte over for the NUL that vsnprintf must write */
    if (!p)
        return b->failed = -ENOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

int buf_add(struct buf *b, str s)
{
    int r = buf_reserve(b, s.n);
    if (r < 0)
        return r;
    if (s.n)
        memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
    return 0;
}

int buf_addc(struct buf *b, char c)
{
    return buf_add(b, str_of(&c, 1));
}

int buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0)
        return b->failed = -EINVAL;
    int r = buf_reserve(b, (size_t)n);
    if (r < 0)
        return r;
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    b->n += (size_t)n;
    return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = buf_vaddf(b, fmt, ap);
    va_end(ap);
    return r;
}

int buf_addu(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t i = sizeof(digits);
    do
        digits[--i] = (char)('0' + v % 10);
    while (v /= 10);
    return buf_add(b, str_of(digits + i, sizeof(digits) - i));
}

char *buf_space(struct buf *b, size_t n)
{
    if (buf_reserve(b, n) < 0)
        return NULL;
    char *at = b->p + b->n;
    memset(at, 0, n);
    b->n += n;
    return at;
}

void buf_drop(struct buf *b, size_t n)
{
    n = MIN(n, b->n);
    if (n && n < b->n)
        memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}
