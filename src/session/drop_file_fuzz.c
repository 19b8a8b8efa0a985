/* Any bytes as a file of the drop: what is decoded can be encoded and decoded to the same; line ends are idempotent. */
#include <stdlib.h>
#include "session/drop.h"

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void head(str in)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 22);
    _cleanup_buf_ struct buf once = BUF(DROP_HEAD_MAX + 4096), twice = BUF(DROP_HEAD_MAX + 4096);
    struct drop_envelope e, again;
    if (drop_decode(&a, in, &e) < 0)
        return;
    check(drop_encode(&once, &e) == 0 && drop_decode(&a, buf_str(&once), &again) == 0);
    check(drop_encode(&twice, &again) == 0 && str_eq(buf_str(&once), buf_str(&twice)));
}

static void lines(str in)
{
    _cleanup_buf_ struct buf once = BUF(1 << 24), twice = BUF(1 << 24), bytes = BUF(1 << 24);
    struct drop_lines a = { 0 }, b = { 0 }, c = { 0 };
    drop_lines_feed(&a, in, &once);
    drop_lines_feed(&b, buf_str(&once), &twice);
    for (size_t i = 0; i < in.n; i++)
        drop_lines_feed(&c, str_of(in.p + i, 1), &bytes);
    check(str_eq(buf_str(&once), buf_str(&twice)) && str_eq(buf_str(&once), buf_str(&bytes)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str in = str_of(data, size);
    _cleanup_buf_ struct buf framed = BUF(1 << 24);
    const uint32_t n = (uint32_t)size;
    buf_add(&framed, S("PHDROP1\n"));
    for (int i = 0; i < 4; i++)
        buf_addc(&framed, (char)(n >> 8 * i));
    buf_add(&framed, in);
    head(in);
    head(buf_str(&framed));
    lines(in);
    return 0;
}
