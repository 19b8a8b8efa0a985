/* Decoding journal records. Oracle: what decodes encodes to something that decodes to the same encoding; memory
 * stays in proportion to the input. */
#include <errno.h>
#include <stdlib.h>
#include "store/journal_record.h"

#define CHECK(c) do { if (!(c)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a = ARENA(1 << 24);
    struct buf first = BUF(1 << 22), second = BUF(1 << 22);
    struct journal_record r, again;
    int k = journal_record_decode(&a, str_of(data, n), 1, &r);
    CHECK(k == 0 || k == -EBADMSG || k == -EPROTO || k == -ENOENT);
    CHECK(a.used <= 64 + n * 16);
    if (k == 0) {
        CHECK(journal_record_encode(&first, &r) == 0);
        CHECK(journal_record_decode(&a, buf_str(&first), 1, &again) == 0);
        CHECK(journal_record_encode(&second, &again) == 0);
        CHECK(str_eq(buf_str(&first), buf_str(&second)));
    }
    buf_done(&first);
    buf_done(&second);
    arena_done(&a);
    return 0;
}
