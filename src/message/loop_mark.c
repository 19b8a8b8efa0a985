/* Delivered-To with a mark: see loop_mark.h. */
#include "message/loop_mark.h"
#include "base/codec.h"
#include "base/hash.h"

enum { MARK_HEX = 16, ADDRESS_LONGEST = 512 };

static void put_mark(char out[MARK_HEX], const uint8_t key[16], str address)
{
    char text[ADDRESS_LONGEST + 1];
    address = str_first(address, ADDRESS_LONGEST);
    text[0] = 'L'; /* another use of the key than SRS */
    for (size_t i = 0; i < address.n; i++)
        text[i + 1] = ascii_lower(address.p[i]);
    uint64_t h = siphash24(key, str_of(text, address.n + 1));
    for (size_t i = 0; i < MARK_HEX; i++, h >>= 4)
        out[i] = "0123456789abcdef"[h & 15];
}

int loop_mark_write(struct buf *out, const uint8_t key[16], str address)
{
    char mark[MARK_HEX];
    for (size_t i = 0; i < address.n; i++)
        if ((unsigned char)address.p[i] < ' ' || address.p[i] == 0x7f)
            return 0;
    if (address.n > ADDRESS_LONGEST)
        return 0;
    put_mark(mark, key, address);
    return buf_addf(out, "Delivered-To: %.*s (posthouse %.*s)\r\n", STR_ARG(address), MARK_HEX, mark);
}

bool loop_mark_read(const uint8_t key[16], str value, str *out_address)
{
    static const char before[] = " (posthouse ";
    char mark[MARK_HEX];
    value = str_trim(value);
    size_t tail = sizeof(before) - 1 + MARK_HEX + 1;
    if (value.n <= tail || value.n - tail > ADDRESS_LONGEST)
        return false;
    str address = str_first(value, value.n - tail), rest = str_from(value, value.n - tail);
    put_mark(mark, key, address);
    if (!str_starts(rest, str_z(before)) || !str_ends(rest, S(")")) ||
        !const_time_eq(str_of(rest.p + sizeof(before) - 1, MARK_HEX), str_of(mark, MARK_HEX)))
        return false;
    *out_address = address;
    return true;
}
