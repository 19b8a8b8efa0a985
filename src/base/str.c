/* Slices of bytes: see str.h. */
#include "base/str.h"
#include <errno.h>
#include <stdlib.h>

bool str_istarts(str s, str prefix)
{
    if (s.n < prefix.n)
        return false;
    for (size_t i = 0; i < prefix.n; i++)
        if (ascii_lower(s.p[i]) != ascii_lower(prefix.p[i]))
            return false;
    return true;
}

bool str_ieq(str a, str b)
{
    return a.n == b.n && str_istarts(a, b);
}

int str_cmp(str a, str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int r = n ? memcmp(a.p, b.p, n) : 0;
    return r ? r : (a.n > b.n) - (a.n < b.n);
}

bool str_ends(str s, str suffix)
{
    return s.n >= suffix.n && str_eq(str_from(s, s.n - suffix.n), suffix);
}

bool str_iends(str s, str suffix)
{
    return s.n >= suffix.n && str_ieq(str_from(s, s.n - suffix.n), suffix);
}

ptrdiff_t str_chr(str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

ptrdiff_t str_rchr(str s, char c)
{
    const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

ptrdiff_t str_find(str s, str needle)
{
    if (needle.n == 0)
        return 0;
    const char *at = s.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
    return at ? at - s.p : -1;
}

static bool is_space(char c)
{
    return ascii_blank(c) || c == '\r' || c == '\n';
}

str str_trim(str s)
{
    while (s.n && is_space(s.p[0]))
        s = str_of(s.p + 1, s.n - 1);
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

str str_cut(str *s, char c)
{
    ptrdiff_t at = str_chr(*s, c);
    str head = at < 0 ? *s : str_first(*s, (size_t)at);
    *s = at < 0 ? STR_NONE : str_from(*s, (size_t)at + 1);
    return head;
}

str str_word(str *s)
{
    size_t i = 0;
    while (i < s->n && is_space(s->p[i]))
        i++;
    size_t from = i;
    while (i < s->n && !is_space(s->p[i]))
        i++;
    str word = str_of(s->n ? s->p + from : NULL, i - from);
    *s = str_from(*s, i);
    return word;
}

int str_u64(str s, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    bool over = false;
    if (s.n == 0)
        return -EINVAL;
    for (size_t i = 0; i < s.n; i++) {
        if (!ascii_digit(s.p[i]))
            return -EINVAL;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        over = over || v > (UINT64_MAX - digit) / 10 || v * 10 + digit > max;
        v = over ? v : v * 10 + digit;
    }
    if (over)
        return -ERANGE;
    *out = v;
    return 0;
}

char *str_dupz(str s)
{
    if (str_chr(s, '\0') >= 0)
        return NULL;
    char *z = malloc(s.n + 1);
    if (!z)
        return NULL;
    if (s.n)
        memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return z;
}

bool str_ascii(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 127)
            return false;
    return true;
}
