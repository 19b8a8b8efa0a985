/* Fuzzes charsets: the first byte names one. Valid UTF-8 comes out, the same whole, byte by byte and in pieces, and no
 * more than is promised. */
#include "base/event.h"
#include "message/charset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {
    "utf-8", "x-none", "iso-8859-1", "iso-8859-8", "windows-1258", "viscii", "koi8-r", "gb18030", "hz-gb-2312", "big5",
    "big5-hkscs", "shift_jis", "euc-jp", "iso-2022-jp", "euc-kr", "iso-2022-kr", "utf-16", "utf-16le", "utf-7",
};

static void convert(str charset, str text, size_t step, struct buf *out)
{
    struct charset_stream c = { 0 };
    charset_begin(&c, charset);
    for (; text.n > 0; text = str_from(text, step))
        charset_feed(&c, out, str_first(text, step));
    if (charset_end(&c, out) < 0)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    str charset = str_z(names[data[0] % ARRAY_LEN(names)]), text = str_of(data + 1, size - 1);
    _cleanup_buf_ struct buf whole = BUF(CHARSET_GROWTH * size);
    convert(charset, text, size, &whole);
    if (!utf8_valid(buf_str(&whole)))
        __builtin_trap();
    for (size_t step = 1; step < 20; step += 3) {
        _cleanup_buf_ struct buf cut = BUF(CHARSET_GROWTH * size);
        convert(charset, text, step, &cut);
        if (!str_eq(buf_str(&whole), buf_str(&cut)))
            __builtin_trap();
    }
    return 0;
}
