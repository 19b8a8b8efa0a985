/* What becomes an item of the change feed and how items are put together. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/index.h"
#include "store/index_watch.h"

struct heard {
    unsigned n;
    uint64_t mailbox[64];
    struct feed_item item[64];
    size_t longest;
};

static void hear(void *arg, uint64_t mailbox, str item)
{
    struct heard *h = arg;
    assert_in_range(h->n, 0, 63);
    h->mailbox[h->n] = mailbox;
    h->longest = MAX(h->longest, item.n);
    assert_int_equal(feed_decode(item, &h->item[h->n++]), 0);
}

static void begin(struct index **ix, struct index_watch **w)
{
    assert_int_equal(index_open_temporary(ix), 0);
    assert_int_equal(index_watch_new(w), 0);
    index_set_watch(*ix, *w, 10);
    assert_int_equal(index_watch_add(*w, 1), 0);
    assert_int_equal(index_watch_add(*w, 2), 0);
}

static struct heard tell(struct index_watch *w)
{
    struct heard h = { 0 };
    index_watch_tell(w, hear, &h);
    return h;
}

static void end(struct index *ix, struct index_watch *w)
{
    index_close(ix);
    index_watch_free(w);
}

static void is(const struct heard *h, unsigned i, uint64_t mailbox, enum feed_kind kind, uint64_t lsn, uint32_t n)
{
    assert_in_range(i, 0, h->n - 1);
    assert_true(h->mailbox[i] == mailbox && h->item[i].kind == kind && h->item[i].lsn == lsn && h->item[i].n == n);
}

static void test_grouping(void **state)
{
    (void)state;
    struct index *ix;
    struct index_watch *w;
    begin(&ix, &w);
    struct mailbox_entry e = { .uid = 1, .modseq = 111, .log = S("in"), .prefix = S("P") };
    assert_int_equal(index_watch_arrived(ix, 1, 11, &e), 0);
    assert_int_equal(index_watch_arrived(ix, 2, 11, &e), 0); /* another mailbox */
    e.modseq = 112;
    assert_int_equal(index_watch_arrived(ix, 2, 12, &e), 0); /* another record */
    for (uint32_t uid = 3; uid < 6; uid++)
        assert_int_equal(index_watch_expunged(ix, 2, 13, 113, uid), 0);
    assert_int_equal(index_watch_keyword(ix, 2, 14, 114, 0, S("a")), 0);
    assert_int_equal(index_watch_keyword(ix, 2, 14, 114, 1, S("b")), 0);
    assert_int_equal(index_watch_flags(ix, 2, 14, 114, &e), 0);
    assert_int_equal(index_watch_flags(ix, 2, 14, 114, &e), 0);
    assert_int_equal(index_watch_place(ix, 2, 15, 7, S("store"), (struct log_position){ 9, 64 }), 0);
    assert_int_equal(index_watch_place(ix, 2, 15, 8, S("store"), (struct log_position){ 9, 128 }), 0);
    assert_int_equal(index_watch_renamed(ix, 1, 16, 116, S("x")), 0);
    assert_int_equal(index_watch_gone(ix, 1, 17, 117), 0);
    struct heard h = tell(w);
    assert_int_equal(h.n, 10);
    is(&h, 0, 1, FEED_ARRIVED, 11, 1);
    is(&h, 1, 2, FEED_ARRIVED, 11, 1);
    is(&h, 2, 2, FEED_ARRIVED, 12, 1);
    is(&h, 3, 2, FEED_EXPUNGED, 13, 3);
    is(&h, 4, 2, FEED_KEYWORD, 14, 0);
    is(&h, 5, 2, FEED_KEYWORD, 14, 0);
    is(&h, 6, 2, FEED_FLAGS, 14, 2);
    is(&h, 7, 2, FEED_PLACES, 15, 2);
    is(&h, 8, 1, FEED_RENAMED, 16, 0);
    is(&h, 9, 1, FEED_GONE, 17, 0);
    assert_int_equal(tell(w).n, 0); /* told once */
    end(ix, w);
}

static void test_not_told(void **state)
{
    (void)state;
    struct index *ix;
    struct index_watch *w;
    begin(&ix, &w);
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_watch_expunged(ix, 1, 11, 11, 5), 0);
    index_rollback(ix);
    assert_int_equal(tell(w).n, 0);
    assert_int_equal(index_watch_expunged(ix, 3, 11, 11, 5), 0);  /* not watched */
    assert_int_equal(index_watch_expunged(ix, 1, 10, 10, 5), 0);  /* before the watch */
    index_watch_drop(w, 2);
    assert_int_equal(index_watch_gone(ix, 2, 11, 11), 0);
    assert_false(index_watched(ix, 2) || index_watched(ix, 3));
    assert_true(index_watched(ix, 1));
    assert_int_equal(tell(w).n, 0);
    index_set_watch(ix, NULL, 0);
    assert_false(index_watched(ix, 1));
    assert_int_equal(index_watch_gone(ix, 1, 11, 11), 0);
    end(ix, w);
}

static void test_long_items_are_split(void **state)
{
    (void)state;
    struct index *ix;
    struct index_watch *w;
    uint32_t n = 0;
    char prefix[700] = "";
    struct mailbox_entry e = { .modseq = 11, .log = S("in"), .prefix = { prefix, sizeof(prefix) } };
    begin(&ix, &w);
    for (e.uid = 1; e.uid <= 1000; e.uid++)
        assert_int_equal(index_watch_arrived(ix, 1, 11, &e), 0);
    for (uint32_t uid = 1; uid <= 20000; uid++)
        assert_int_equal(index_watch_expunged(ix, 1, 12, 12, uid), 0);
    struct heard h = tell(w);
    assert_in_range(h.longest, FEED_ITEM_MAX - 1000, FEED_ITEM_MAX);
    for (unsigned i = 0; i < h.n; i++)
        n += h.item[i].n;
    assert_int_equal(n, 21000);
    assert_in_range(h.n, 17 + 2, 24);
    end(ix, w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grouping),
        cmocka_unit_test(test_not_told),
        cmocka_unit_test(test_long_items_are_split),
    };
    return cmocka_run_group_tests_name("index_watch", tests, NULL, NULL);
}
