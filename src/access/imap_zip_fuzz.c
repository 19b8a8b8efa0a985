/* What a client sends as DEFLATE: the same plain text and the same end whether it comes whole or byte by byte, with
 * rests between or without, and never more of it at once than the ceiling. */
#include <assert.h>
#include <errno.h>
#include "access/imap_session.h"

enum { PLAIN_MAX = 4 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* 0, or the error at the end of it. */
static int inflate_all(str wire, size_t piece, bool rest, struct buf *plain)
{
    struct imap_zip *z = imap_zip_new();
    struct buf held = BUF(1 << 20);
    size_t at = 0;
    int r = 0;
    while (r >= 0 && plain->n < PLAIN_MAX && (r > 0 || at < wire.n)) {
        size_t used;
        buf_add(&held, str_first(str_from(wire, at), piece));
        at += MIN(piece, wire.n - at);
        r = imap_zip_read(z, buf_str(&held), &used);
        assert(used <= held.n && imap_zip_input(z)->n <= IMAP_ZIP_INPUT_HIGH + 16384);
        buf_drop(&held, used);
        buf_add(plain, buf_str(imap_zip_input(z)));
        buf_clear(imap_zip_input(z));
        if (rest)
            imap_zip_rest(z);
    }
    buf_done(&held);
    imap_zip_free(z);
    return r < 0 ? r : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct { size_t piece; bool rest; } ways[] = { { 1, false }, { 1, true }, { 100, true } };
    str wire = str_of(data, n);
    struct buf whole = BUF(PLAIN_MAX * 2);
    if (n > 65536)
        return 0;
    int r = inflate_all(wire, n, false, &whole);
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct buf pieces = BUF(PLAIN_MAX * 2);
        int e = inflate_all(wire, ways[i].piece, ways[i].rest, &pieces);
        if (whole.n < PLAIN_MAX)
            assert(r == e && str_eq(buf_str(&whole), buf_str(&pieces)));
        buf_done(&pieces);
    }
    buf_done(&whole);
    return 0;
}
