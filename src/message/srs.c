/* Sender rewriting: see srs.h. */
#include "message/srs.h"
#include <errno.h>
#include "base/hash.h"

enum { HASH_LETTERS = 6, DAY_LETTERS = 2, DAYS = 1024, LOCAL_MAX = 64, TEXT_MAX = 1024 };

static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567"; /* RFC 4648 6; case does not matter */

static int letter_value(char c)
{
    ptrdiff_t at = str_chr(str_of(letters, 32), ascii_lower(c));
    return (int)at;
}

static void put_hash(char out[HASH_LETTERS], const uint8_t key[16], str text)
{
    char lower[TEXT_MAX];
    text = str_first(text, sizeof(lower));
    for (size_t i = 0; i < text.n; i++)
        lower[i] = ascii_lower(text.p[i]);
    uint64_t h = siphash24(key, str_of(lower, text.n));
    for (size_t i = 0; i < HASH_LETTERS; i++, h >>= 5)
        out[i] = letters[h & 31];
}

static bool hash_right(const uint8_t key[16], str hash, str text)
{
    char want[HASH_LETTERS], got[HASH_LETTERS];
    if (hash.n != HASH_LETTERS || text.n > TEXT_MAX)
        return false;
    put_hash(want, key, text);
    for (size_t i = 0; i < HASH_LETTERS; i++)
        got[i] = ascii_lower(hash.p[i]);
    return const_time_eq(str_of(want, HASH_LETTERS), str_of(got, HASH_LETTERS));
}

static uint32_t day_of(int64_t unix_s) { return (uint32_t)((uint64_t)unix_s / 86400 % DAYS); }

static bool split(str address, str *out_local, str *out_domain)
{
    ptrdiff_t at = str_rchr(address, '@');
    if (at <= 0 || (size_t)at + 1 == address.n)
        return false;
    *out_local = str_first(address, (size_t)at);
    *out_domain = str_from(address, (size_t)at + 1);
    return true;
}

/* The rest behind the hash: what is signed. */
static void put_rest(struct buf *rest, str local, str domain, int64_t unix_s)
{
    uint32_t day = day_of(unix_s);
    if (str_istarts(local, S("SRS1="))) { /* hash=first==… : the first host is kept, its successor is not needed */
        str_cut(&local, '=');
        str_cut(&local, '=');
        buf_add(rest, local);
    } else if (str_istarts(local, S("SRS0="))) {
        buf_add(rest, domain);
        buf_add(rest, S("="));
        buf_add(rest, str_from(local, 4));
    } else {
        buf_addc(rest, letters[day >> 5]);
        buf_addc(rest, letters[day & 31]);
        buf_addc(rest, '=');
        buf_add(rest, domain);
        buf_addc(rest, '=');
        buf_add(rest, local);
    }
}

int srs_forward(struct buf *out, const uint8_t key[16], str sender, str domain, int64_t unix_s)
{
    _cleanup_buf_ struct buf rest = BUF(TEXT_MAX);
    char hash[HASH_LETTERS];
    str local, from;
    if (!split(sender, &local, &from) || str_chr(local, '"') >= 0)
        return -EINVAL;
    bool twice = str_istarts(local, S("SRS0=")) || str_istarts(local, S("SRS1="));
    put_rest(&rest, local, from, unix_s);
    if (rest.failed || rest.n + HASH_LETTERS + 6 > LOCAL_MAX)
        return rest.failed == -ENOMEM ? -ENOMEM : -E2BIG;
    put_hash(hash, key, buf_str(&rest));
    buf_add(out, twice ? S("SRS1=") : S("SRS0="));
    buf_add(out, str_of(hash, HASH_LETTERS));
    buf_addc(out, '=');
    buf_add(out, buf_str(&rest));
    buf_addc(out, '@');
    return buf_add(out, domain);
}

bool srs_is(str address) { return str_istarts(address, S("SRS0=")) || str_istarts(address, S("SRS1=")); }

/* tt=domain=local of an SRS0. */
static int reverse_first(struct buf *out, str rest, int64_t unix_s)
{
    str day = str_cut(&rest, '='), domain = str_cut(&rest, '=');
    int high = day.n == DAY_LETTERS ? letter_value(day.p[0]) : -1;
    int low = day.n == DAY_LETTERS ? letter_value(day.p[1]) : -1;
    if (high < 0 || low < 0 || !domain.n || !rest.n)
        return -EKEYREJECTED;
    if ((day_of(unix_s) + DAYS - (uint32_t)(high << 5 | low)) % DAYS > SRS_DAYS)
        return -ETIME;
    buf_add(out, rest);
    buf_addc(out, '@');
    return buf_add(out, domain);
}

/* first==rest of an SRS1: back to the host that began. */
static int reverse_later(struct buf *out, str rest)
{
    str first = str_cut(&rest, '=');
    if (!first.n || rest.n < 2 || rest.p[0] != '=')
        return -EKEYREJECTED;
    buf_add(out, S("SRS0"));
    buf_add(out, rest);
    buf_addc(out, '@');
    return buf_add(out, first);
}

int srs_reverse(struct buf *out, const uint8_t key[16], str address, int64_t unix_s)
{
    str local, domain;
    if (!srs_is(address) || !split(address, &local, &domain))
        return -ENOENT;
    bool later = local.p[3] == '1';
    str rest = str_from(local, 5);
    str hash = str_cut(&rest, '=');
    if (!hash_right(key, hash, rest))
        return -EKEYREJECTED;
    return later ? reverse_later(out, rest) : reverse_first(out, rest, unix_s);
}
