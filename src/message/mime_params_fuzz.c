/* Fuzzes MIME parameters: slices stay in the input, a value is never longer than it. */
#include "message/mime_params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(str s, const uint8_t *data, size_t size)
{
    return s.n == 0 || ((const uint8_t *)s.p >= data && s.n <= size && (const uint8_t *)s.p + s.n <= data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mime_params p;
    mime_params_parse(str_of(data, size), &p);
    if (p.n > MIME_PARAMS_MAX || !inside(p.main, data, size))
        __builtin_trap();
    for (size_t i = 0; i < p.n; i++) {
        _cleanup_buf_ struct buf b = BUF(1 << 20);
        str name = p.list[i].name, stem = name;
        stem = str_cut(&stem, '*');
        if (!inside(name, data, size) || !inside(p.list[i].value, data, size))
            __builtin_trap();
        mime_params_get(&p, stem, i & 1, &b);
        if (b.n > size || b.failed)
            __builtin_trap();
    }
    return 0;
}
