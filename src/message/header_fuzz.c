/* Fuzzes header fields: the raw fields and what is left are the input, and unfolding leaves no line end. */
#include "message/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    str header = str_of(data, size);
    struct header_field f;
    const char *at = header.p;
    while (header_next(&header, &f)) {
        if (f.raw.p != at || f.raw.n == 0 || (f.name.n && f.name.p != at))
            __builtin_trap();
        at += f.raw.n;
        str v = header_unfold(&a, f.value);
        if (str_chr(v, '\n') >= 0 || str_chr(v, '\r') >= 0 || v.n > f.value.n)
            __builtin_trap();
    }
    if (header.n && header.p != at)
        __builtin_trap();
    return 0;
}
