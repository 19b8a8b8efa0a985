/* Snapshots that the store writes: large ones, empty ones, sealed ones. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/mman.h>
#include "store/store_internal.h"
#include "store/store_test_world.h"

#define MANY 30000

/* Straight into the index: as many messages as would take long to deliver. */
static void fill_index(struct world *w)
{
    struct index *ix;
    struct journal_record r = { .kind = JOURNAL_mailbox_created, .lsn = 1,
                                .mailbox_created = { .id = 1, .account = S("a@b"),
                                .name = S("INBOX"), .uidvalidity = 77 } };
    assert_int_equal(index_open(w->fd, &ix), 0);
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_apply(ix, &r), 0);
    for (uint32_t i = 0; i < MANY; i++) {
        char prefix[64];
        int n = snprintf(prefix, sizeof(prefix), "Return-Path: <%u@x>\r\n", i / 3);
        struct journal_placement p = { .mailbox = 1, .uid = i * 2 + 1, .prefix = str_of(prefix, (size_t)n) };
        r = (struct journal_record){ .kind = JOURNAL_delivered, .lsn = i + 2, .delivered = {
            .log = i % 2 ? S("in") : S("append"), .segment = i, .offset = 64, .end = 100 + i, .content_len = i,
            .meta_len = 7, .received_us = i * 5000000ull, .number = i, .placed = &p, .n_placed = 1 } };
        assert_int_equal(index_apply(ix, &r), 0);
    }
    assert_int_equal(index_commit(ix), 0);
    index_close(ix);
}

static void test_many(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct snapshot s;
    struct mailbox_entry e;
    int fd;
    world_init(&w);
    fill_index(&w);
    struct index *ix;
    assert_int_equal(index_open(w.fd, &ix), 0);
    assert_int_equal(index_state(ix)->messages, MANY);
    assert_int_equal(store_snapshot_of(ix, 1, &fd), 0);
    index_close(ix);
    assert_int_equal(snapshot_open(fd, &s), 0);
    assert_int_equal(s.n, MANY);
    assert_true(s.mailbox == 1 && s.uidvalidity == 77 && s.uidnext == MANY * 2 && s.lsn == MANY + 1);
    for (uint32_t i = 0; i < MANY; i++) {
        char prefix[64];
        int n = snprintf(prefix, sizeof(prefix), "Return-Path: <%u@x>\r\n", i / 3);
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        assert_true(e.uid == i * 2 + 1 && e.number == i && e.position.segment == i && e.position.offset == 64);
        assert_true(e.content_len == i && e.meta_len == 7 && e.date_s == i * 5ll && e.size == i + (uint32_t)n);
        assert_true(str_eq(e.prefix, str_of(prefix, (size_t)n)));
        assert_true(str_eq(e.log, i % 2 ? S("in") : S("append")));
    }
    snapshot_close(&s);
}

static void test_empty_and_sealed(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct store_mailbox box;
    struct snapshot s;
    int fd;
    world_init(&w);
    world_store(&w);
    assert_int_equal(store_snapshot(w.store, 99, &fd), -ENOENT);
    assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &box), 0);
    assert_int_equal(box.uidnext, 1);
    assert_int_equal(store_snapshot(w.store, box.id, &fd), 0);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(snapshot_open(fd, &s), 0);
    assert_true(s.n == 0 && s.uidvalidity == box.uidvalidity && s.mailbox == box.id);
    snapshot_close(&s);
    snapshot_close(&s);
    assert_int_equal(store_mailbox(w.store, S(""), S("INBOX"), &box), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_empty_and_sealed),
    };
    return cmocka_run_group_tests_name("store_snapshot", tests, NULL, NULL);
}
