/* Any bytes as a message for the sendmail command: whole and byte by byte the same, and recipients that can be written
 * down. */
#include <stdlib.h>
#include "admin/sendmail_text.h"

static void feed(struct sendmail_text *t, str in, size_t piece, struct buf *out)
{
    int r = 0;
    for (str rest = in; rest.n && r == 0; rest = str_from(rest, piece))
        r = sendmail_text_feed(t, str_first(rest, piece), out);
    if (r < 0 || sendmail_text_end(t, out) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 60000)
        return 0;
    str in = str_of(data + 1, size - 1), bad;
    struct sendmail_text whole = SENDMAIL_TEXT(data[0] & 1), bytes = SENDMAIL_TEXT(data[0] & 1);
    _cleanup_buf_ struct buf a = BUF(1 << 20), b = BUF(1 << 20), head = BUF(DROP_HEAD_MAX);
    _cleanup_arena_ struct arena arena = ARENA(64 << 20);
    struct sendmail_list l = { .arena = &arena };
    feed(&whole, in, in.n, &a);
    feed(&bytes, in, 1, &b);
    if (!str_eq(buf_str(&a), buf_str(&b)) || !str_eq(buf_str(&whole.header), buf_str(&bytes.header)))
        abort();
    if (sendmail_list_header(&l, buf_str(&whole.header), &bad) == 0 && l.n) {
        const struct drop_envelope e = { .recipients = l.list, .n_recipients = l.n };
        if (drop_encode(&head, &e) < 0)
            abort();
    }
    sendmail_text_done(&whole);
    sendmail_text_done(&bytes);
    return 0;
}
