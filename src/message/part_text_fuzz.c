/* Fuzzes transfer encodings: no more comes out than went in, the same whole and in pieces, and what the encoders write
 * comes back. */
#include "message/part_text.h"
#include "message/quoted_printable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(enum part_encoding encoding, str text, size_t step, struct buf *out)
{
    struct part_decoder d = { 0 };
    part_decode_begin(&d, encoding);
    for (; text.n > 0; text = str_from(text, step))
        part_decode_feed(&d, out, str_first(text, step));
    if (part_decode_end(&d, out) < 0)
        __builtin_trap();
}

static void check(enum part_encoding encoding, str text, const str *want)
{
    _cleanup_buf_ struct buf whole = BUF(text.n);
    decode(encoding, text, text.n, &whole);
    if (want && !str_eq(*want, buf_str(&whole)))
        __builtin_trap();
    for (size_t step = 1; step < 200; step = step * 2 + 1) {
        _cleanup_buf_ struct buf cut = BUF(text.n);
        decode(encoding, text, step, &cut);
        if (!str_eq(buf_str(&whole), buf_str(&cut)))
            __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = str_of(data, size);
    check(PART_IDENTITY, text, &text);
    check(PART_BASE64, text, NULL);
    check(PART_QUOTED_PRINTABLE, text, NULL);
    _cleanup_buf_ struct buf b64 = BUF(4 * size + 64), qp = BUF(8 * size + 64);
    struct base64_encoder e = { 0 };
    struct qp_encoder q = { 0 };
    base64_lines_encode(&e, text, &b64);
    base64_lines_end(&e, &b64);
    check(PART_BASE64, buf_str(&b64), &text);
    qp_encode(&q, text, &qp);
    qp_end(&q, &qp);
    check(PART_QUOTED_PRINTABLE, buf_str(&qp), &text);
    return 0;
}
