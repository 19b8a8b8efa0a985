/* Decoding a message's meta part. Oracle: what decodes encodes to something that decodes to the same encoding. */
#include <stdlib.h>
#include "store/message_record.h"

#define CHECK(c) do { if (!(c)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a = ARENA(1 << 22);
    struct buf first = BUF(1 << 22), second = BUF(1 << 22);
    struct message_record m, again;
    if (message_record_decode(&a, str_of(data, n), &m) == 0) {
        CHECK(message_record_encode(&first, &m) == 0);
        CHECK(message_record_decode(&a, buf_str(&first), &again) == 0);
        CHECK(message_record_encode(&second, &again) == 0);
        CHECK(str_eq(buf_str(&first), buf_str(&second)));
    }
    buf_done(&first);
    buf_done(&second);
    arena_done(&a);
    return 0;
}
