/* Fuzzes searching: three bytes choose encoding, charset and how long the needle is, which comes next (or is cut from
 * the text itself); the answer is that of a naive search in the whole text, decoded, converted and folded, however the
 * text is cut. */
#include "message/fold.h"
#include "message/part_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const charsets[] = {
    "utf-8", "us-ascii", "iso-8859-1", "gb2312", "utf-16le", "x-none", "iso-2022-jp",
};

static void naive_text(enum part_encoding encoding, str charset, str text, struct buf *folded)
{
    _cleanup_buf_ struct buf decoded = BUF(text.n), converted = BUF(CHARSET_GROWTH * text.n + 8);
    struct part_decoder d = { 0 };
    struct charset_stream c = { 0 };
    part_decode_begin(&d, encoding);
    part_decode_feed(&d, &decoded, text);
    part_decode_end(&d, &decoded);
    charset_begin(&c, charset);
    charset_feed(&c, &converted, buf_str(&decoded));
    charset_end(&c, &converted);
    if (fold_utf8(folded, buf_str(&converted)) < 0)
        __builtin_trap();
}

static bool search(struct text_search *t, str text, size_t step)
{
    for (; text.n > 0; text = str_from(text, step))
        if (text_search_feed(t, str_first(text, step)))
            return true;
    return text_search_end(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    enum part_encoding encoding = data[0] % (PART_UNKNOWN + 1);
    str charset = str_z(charsets[data[1] % ARRAY_LEN(charsets)]), text = str_of(data + 3, size - 3);
    size_t needle_n = data[2] / 2;
    _cleanup_buf_ struct buf needle = BUF(1 << 16), folded = BUF(16 * size);
    if (data[2] & 1) {
        fold_utf8(&needle, str_first(text, needle_n));
        text = str_from(text, needle_n);
    }
    naive_text(encoding, charset, text, &folded);
    if (!(data[2] & 1))
        buf_add(&needle, str_first(str_from(buf_str(&folded), folded.n / 2), needle_n % 16));
    bool want = str_find(buf_str(&folded), buf_str(&needle)) >= 0;
    struct text_search *t = text_search_new(buf_str(&needle));
    for (size_t step = 1; t && step < 2 * size; step = step * 2 + 1) {
        text_search_begin(t, encoding, charset);
        if (search(t, text, step) != want)
            __builtin_trap();
    }
    text_search_free(t);
    return 0;
}
