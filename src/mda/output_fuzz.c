/* The text of a message in a file: any bytes, the same in one piece and octet by octet; in an mbox no line begins with
 * "From ", and unquoting gives what a plain file has. */
#include <stdlib.h>
#include "mda/output.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void convert(str text, size_t piece, bool mboxrd, bool strip, struct buf *out)
{
    struct output o;
    output_begin(&o, mboxrd, strip);
    for (; text.n; text = str_from(text, piece))
        output_write(&o, str_first(text, piece), out);
    output_end(&o, out);
    if (out->failed)
        abort();
}

static void unquote(str text, struct buf *out)
{
    while (text.n) {
        ptrdiff_t lf = str_chr(text, '\n');
        str line = lf < 0 ? text : str_first(text, (size_t)lf + 1);
        size_t gt = 0;
        while (gt < line.n && line.p[gt] == '>')
            gt++;
        bool from = str_starts(str_from(line, gt), S("From "));
        if (from && gt == 0)
            abort();
        buf_add(out, str_from(line, from));
        text = str_from(text, line.n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool strip = data[0] & 1;
    size_t max = size * 2 + 64;
    str text = str_of(data + 1, size - 1);
    _cleanup_buf_ struct buf plain = BUF(max), quoted = BUF(max), again = BUF(max), back = BUF(max);
    convert(text, text.n + 1, false, strip, &plain);
    convert(text, text.n + 1, true, strip, &quoted);
    if (quoted.n > text.n + text.n / 5 + 32)
        abort();
    convert(text, 1, true, strip, &again);
    if (!str_eq(buf_str(&quoted), buf_str(&again)))
        abort();
    buf_clear(&again);
    convert(text, (data[0] >> 1) + 1u, false, strip, &again);
    if (!str_eq(buf_str(&plain), buf_str(&again)))
        abort();
    unquote(buf_str(&quoted), &back);
    if (!str_eq(buf_str(&plain), buf_str(&back)))
        abort();
    return 0;
}
