/* Fuzzes cards: what is decoded is encoded to the same bytes, all offsets are inside the content, and the texts read
 * alone are those of the whole card. */
#include "message/card.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 24);
    _cleanup_buf_ struct buf again = BUF(CARD_MAX);
    struct card c;
    struct card_text text;
    int r = card_text_read(str_of(data, size), &text);
    if (r == 0 && text.present && (text.envelope.n < 2 || text.base_len > text.subject.n))
        __builtin_trap();
    if (card_decode(&a, str_of(data, size), &c) < 0)
        return 0;
    if (r < 0 || text.present != c.text.present || text.references.p != c.text.references.p)
        __builtin_trap();
    for (size_t i = 0; i < c.n_parts; i++)
        if (c.parts[i].end_off > c.size || c.parts[i].parent > i)
            __builtin_trap();
    if (card_write(&again, &c) < 0 || !str_eq(buf_str(&again), str_of(data, size)))
        __builtin_trap();
    return 0;
}
