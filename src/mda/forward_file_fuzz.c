/* .forward: any bytes; what is read can be written down again, quoted, and read as the same. */
#include <stdlib.h>
#include "mda/forward_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A mechanism in quotes, which hold everything. */
static void put(struct buf *out, const struct forward_target *t)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < t->text.n; i++) {
        if (t->text.p[i] == '"' || t->text.p[i] == '\\')
            buf_addc(out, '\\');
        buf_addc(out, t->text.p[i]);
    }
    buf_add(out, S("\"\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20), b = ARENA(1 << 20);
    _cleanup_buf_ struct buf again = BUF(4 * FORWARD_FILE_MAX);
    struct forward_target *t, *u;
    struct forward_error e;
    size_t n, m, mechanisms = 0;
    if (forward_parse(&a, str_of(data, size), &t, &n, &e) < 0)
        return 0;
    if (n > FORWARD_TARGETS_MAX)
        abort();
    for (size_t i = 0; i < n; i++) {
        if (!t[i].text.n || str_chr(t[i].text, '\n') >= 0 || str_chr(t[i].text, '\0') >= 0 || t[i].line == 0)
            abort();
        if (t[i].kind == FORWARD_MECHANISM) {
            put(&again, &t[i]);
            mechanisms++;
        }
    }
    if (again.n > FORWARD_FILE_MAX)
        return 0;
    if (forward_parse(&b, buf_str(&again), &u, &m, &e) < 0 || m != mechanisms)
        abort();
    for (size_t i = 0, k = 0; i < n; i++)
        if (t[i].kind == FORWARD_MECHANISM && !str_eq(t[i].text, u[k++].text))
            abort();
    return 0;
}
