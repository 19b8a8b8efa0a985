/* Fuzzes the Received field with text of a peer in every place: it stays one field with short lines that begin as
 * written. */
#include "message/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str in = str_of(data, size);
    struct received r = { .unix_s = 1795506903 };
    str *const places[] = { &r.helo, &r.client_name, &r.client_addr, &r.by, &r.protocol, &r.tls, &r.id, &r.for_addr };
    _cleanup_buf_ struct buf b = BUF(1 << 16);
    struct header_field f;
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        *places[i] = str_cut(&in, '\n');
    if (received_write(&b, &r) < 0)
        __builtin_trap();
    str h = buf_str(&b);
    if (!header_next(&h, &f) || h.n || !str_eq(f.name, S("Received")))
        __builtin_trap();
    str lines = f.raw;
    size_t n = 0;
    for (; lines.n; n++) {
        str line = str_cut(&lines, '\n');
        if (line.n > 999 || line.n == 0 || line.p[line.n - 1] != '\r' || str_chr(line, '\r') != (ptrdiff_t)line.n - 1)
            __builtin_trap();
    }
    if (n != 4 + (str_find(f.raw, S("\r\n\tfor <")) >= 0))
        __builtin_trap();
    return 0;
}
