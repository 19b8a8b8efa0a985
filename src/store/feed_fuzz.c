/* Decoding an item of the change feed. Oracle: what decodes can be read to its end, and encodes to the same bytes. */
#include <stdlib.h>
#include "store/feed.h"

#define CHECK(c) do { if (!(c)) abort(); } while (0)

static void copy_row(struct feed_item *f, struct buf *out)
{
    struct mailbox_entry e;
    uint32_t uid, flags;
    uint64_t n;
    if (f->kind == FEED_ARRIVED) {
        CHECK(feed_entry(f, &e) && e.size == e.prefix.n + e.content_len);
        feed_put_entry(out, &e);
    } else if (f->kind == FEED_FLAGS) {
        CHECK(feed_flags(f, &uid, &flags, &n));
        feed_put_flags(out, uid, flags, n);
    } else if (f->kind == FEED_EXPUNGED) {
        CHECK(feed_uid(f, &uid));
        feed_put_uid(out, uid);
    } else {
        CHECK(f->kind == FEED_PLACES && feed_place(f, &uid, &n));
        feed_put_place(out, uid, n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct feed_item f;
    struct buf out = BUF(1 << 22);
    if (feed_decode(str_of(data, n), &f) < 0)
        return 0;
    feed_begin(&out, f.kind, f.lsn, f.modseq);
    if (f.kind == FEED_PLACES)
        feed_put_segment(&out, f.log, f.segment);
    if (f.kind == FEED_KEYWORD)
        feed_put_keyword(&out, f.bit, f.name);
    if (f.kind == FEED_RENAMED)
        feed_put_name(&out, f.name);
    for (uint32_t i = 0; i < f.n; i++)
        copy_row(&f, &out);
    feed_end(&out, 0, f.n);
    CHECK(!out.failed && str_eq(buf_str(&out), str_of(data, n)));
    buf_done(&out);
    return 0;
}
