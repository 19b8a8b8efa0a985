/* A value of any bytes stays within its field and its line, comes back unchanged, and a line of any bytes can be read
 * without harm. What print_safe lets through holds no control byte and is well-formed UTF-8. */
#include "base/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static bool printable(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return utf8_valid(s);
}

static void round_trip(str in)
{
    _cleanup_buf_ struct buf line = BUF(1 << 23), value = BUF(1 << 23);
    event_begin(&line, 1795506903123456, EVENT_INFO, "fuzz");
    event_str(&line, "first", in);
    event_u64(&line, "last", in.n);
    event_end(&line);
    check(line.failed == 0 && str_chr(buf_str(&line), '\n') == (ptrdiff_t)line.n - 1);
    check(printable(str_first(buf_str(&line), line.n - 1)));
    static const char *const keys[] = { "time", "level", "event", "first", "last" };
    str rest = buf_str(&line), key;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        buf_clear(&value);
        check(event_field(&rest, &key, &value) && str_eq(key, str_z(keys[i])));
        check(i != 3 || str_eq(buf_str(&value), in));
    }
    check(!event_field(&rest, &key, &value) && rest.n == 0);
    check(event_get(buf_str(&line), "first", &value) && str_eq(buf_str(&value), in));
}

/* Fields of a foreign line, written anew, read as the same fields. */
static void foreign_line(str in)
{
    _cleanup_buf_ struct buf value = BUF(1 << 22), line = BUF(1 << 24), again = BUF(1 << 22);
    str key;
    while (event_field(&in, &key, &value)) {
        char name[65];
        size_t n = MIN(key.n, (size_t)64);
        memcpy(name, key.p, n);
        name[n] = '\0';
        buf_clear(&line);
        event_str(&line, name, buf_str(&value));
        check(event_get(buf_str(&line), name, &again) && str_eq(buf_str(&value), buf_str(&again)));
        buf_clear(&value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str in = str_of(data, size);
    round_trip(in);
    foreign_line(in);
    _cleanup_buf_ struct buf safe = BUF(1 << 22);
    check(print_safe(&safe, in) == 0 && printable(buf_str(&safe)));
    return 0;
}
