/* Fuzzes encoded words: valid UTF-8 comes out, no more than is promised; and text put into words in many ways comes
 * back. */
#include "base/codec.h"
#include "base/event.h"
#include "message/encoded_word.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Words of `step` bytes each, every second in base64: characters are cut. */
static void encode(str text, size_t step, struct buf *out)
{
    for (bool base64 = false; text.n > 0; text = str_from(text, step), base64 = !base64) {
        str part = str_first(text, step);
        buf_add(out, base64 ? S("=?utf-8*en?b?") : S("=?UTF-8?q?"));
        if (base64)
            base64_encode(out, part);
        for (size_t i = 0; i < part.n && !base64; i++)
            if (ascii_alnum(part.p[i]))
                buf_addc(out, part.p[i]);
            else
                buf_addf(out, "=%02X", (unsigned char)part.p[i]);
        buf_add(out, S("?=\r\n "));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = str_of(data, size);
    _cleanup_buf_ struct buf out = BUF(ENCODED_WORD_GROWTH * size);
    if (encoded_words_decode(&out, text) < 0 || !utf8_valid(buf_str(&out)))
        __builtin_trap();
    for (size_t step = 1; utf8_valid(text) && size > 0 && step < 12; step += 5) {
        _cleanup_buf_ struct buf words = BUF(64 * size + 64), back = BUF(64 * size + 64);
        encode(text, step, &words);
        if (encoded_words_decode(&back, buf_str(&words)) < 0 || words.failed)
            __builtin_trap();
        if (!str_eq(str_first(buf_str(&back), size), text) || back.n != size + 3) /* and the last line end */
            __builtin_trap();
    }
    return 0;
}
