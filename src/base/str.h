/* A slice of bytes, passed by value, never owning, never NUL-terminated. Text from outside is a str from its first
 * byte. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include "base/banned.h"

typedef struct str {
    const char *p; /* may be NULL when n is 0 */
    size_t n;
} str;

#define S(lit) ((str){ "" lit "", sizeof(lit) - 1 })
#define STR_NONE ((str){ NULL, 0 })
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : "" /* for "%.*s" */

static inline str str_of(const void *p, size_t n) { return (str){ p, n }; }
static inline str str_z(const char *z) { return (str){ z, z ? strlen(z) : 0 }; } /* only for text of our own */

static inline bool str_eq(str a, str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
static inline char ascii_upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 32) : c; }
static inline bool ascii_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool ascii_alpha(char c) { return (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z'); }
static inline bool ascii_alnum(char c) { return ascii_digit(c) || ascii_alpha(c); }
static inline bool ascii_blank(char c) { return c == ' ' || c == '\t'; }

/* Comparisons that ignore ASCII case and nothing else. */
bool str_ieq(str a, str b);
int str_cmp(str a, str b);

static inline bool str_starts(str s, str prefix)
{
    return prefix.n == 0 || (s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0);
}
bool str_istarts(str s, str prefix);
bool str_ends(str s, str suffix);
bool str_iends(str s, str suffix);

/* The part from `from` on; the first n bytes; both clamp to the slice. */
static inline str str_from(str s, size_t from) { return from < s.n ? str_of(s.p + from, s.n - from) : STR_NONE; }
static inline str str_first(str s, size_t n) { return n < s.n ? str_of(s.p, n) : s; }

bool str_ascii(str s); /* no byte above 127 */

/* Index of the first (last) byte c, or -1. */
ptrdiff_t str_chr(str s, char c);
ptrdiff_t str_rchr(str s, char c);
/* Index of the first occurrence of `needle`, or -1. */
ptrdiff_t str_find(str s, str needle);

/* Without spaces and tabs (and CR, LF) at both ends. */
str str_trim(str s);

/* Splits at the first c: returns what is before it, leaves in *s what is after; without c, the whole, leaving none. */
str str_cut(str *s, char c);

/* Next run of non-blank bytes; leaves the rest in *s; n == 0 at the end. */
str str_word(str *s);

/* A decimal number of the whole slice, at most max. 0, or -EINVAL (not all digits, empty) or -ERANGE. */
int str_u64(str s, uint64_t max, uint64_t *out);

/* Copies into a NUL-terminated heap string (caller frees), NULL without memory or if s holds a NUL. */
char *str_dupz(str s);
