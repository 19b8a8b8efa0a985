/* Whatever the decoders accept, the encoders write back in exactly one way; whatever is encoded, decodes to itself. */
#include "base/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void both_ways(str in, int (*encode)(struct buf *, str), int (*decode)(struct buf *, str), bool one_case)
{
    _cleanup_buf_ struct buf coded = BUF(1 << 22), plain = BUF(1 << 22);
    check(encode(&coded, in) == 0 && decode(&plain, buf_str(&coded)) == 0);
    check(str_eq(buf_str(&plain), in));
    buf_clear(&coded);
    buf_clear(&plain);
    if (decode(&plain, in) < 0) {
        check(plain.n == 0 && !plain.failed);
        return;
    }
    check(encode(&coded, buf_str(&plain)) == 0);
    check(one_case ? str_eq(buf_str(&coded), in) : str_ieq(buf_str(&coded), in));
}

static void trace_id(str in)
{
    uint8_t id[16], again[16];
    char text[B32_ID_LEN];
    if (b32_id_decode(in, id) < 0)
        return;
    b32_id_encode(id, text);
    check(b32_id_decode(str_of(text, B32_ID_LEN), again) == 0 && memcmp(id, again, 16) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str in = str_of(data, size);
    both_ways(in, base64_encode, base64_decode, true);
    both_ways(in, hex_encode, hex_decode, false);
    trace_id(in);
    trace_id(str_first(in, B32_ID_LEN));
    return 0;
}
