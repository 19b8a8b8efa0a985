/* From the journal to the index: an index that is gone, wrong or damaged; a journal that lost records. No mail is
 * lost. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/index.h"
#include "store/store_test_world.h"

static void snapshot_bytes(struct world *w, const char *account, struct buf *out)
{
    struct snapshot s;
    open_snapshot(w, account, &s);
    buf_add(out, str_of(s.map, s.size));
    snapshot_close(&s);
}

static void fill(struct world *w)
{
    uint64_t t = 0;
    const char *const who[] = { "anna@example.org", "bob@example.org", "both@example.org", "dora@b.example",
                                "nobody@b.example" };
    for (uint32_t i = 0; i < 100; i++)
        t = append(w, i, S("content of a message\r\n"), who[i % 5]);
    deliver_all(w, t);
}

static const uint32_t some_uids[] = { 3, 5, 8, 9, 1000 };

static void expunge_some(struct world *w)
{
    struct store_mailbox box;
    uint64_t ticket;
    assert_int_equal(store_mailbox(w->store, S("bob@example.org"), S("INBOX"), &box), 0);
    assert_int_equal(store_expunge(w->store, box.id, some_uids, 5, &ticket), 0);
    assert_true(store_durable(w->store) < ticket);
    assert_int_equal(store_flush(w->store), 0);
    assert_int_equal(store_durable(w->store), ticket);
    assert_int_equal(store_expunge(w->store, box.id, some_uids, 5, &ticket), 0);
    assert_true(store_idle(w->store)); /* all gone already */
}

enum how { GONE, GARBAGE, TRUNCATED, PAGE_GARBAGE, HOWS };

static void spoil_index(struct world *w, enum how how)
{
    struct stat st;
    char junk[4096];
    memset(junk, 0xa5, sizeof(junk));
    assert_int_equal(fstatat(w->fd, "index.db", &st, 0), 0);
    int fd = open_file(w, "index.db", O_RDWR);
    if (how == GONE)
        assert_int_equal(unlinkat(w->fd, "index.db", 0), 0);
    if (how == GARBAGE)
        assert_int_equal(pwrite(fd, junk, 4096, 0), 4096);
    if (how == TRUNCATED)
        assert_int_equal(ftruncate(fd, st.st_size / 2 / 4096 * 4096 + 100), 0);
    for (off_t at = 4096; how == PAGE_GARBAGE && at < st.st_size; at += 4096)
        assert_int_equal(pwrite(fd, junk, 4096, at), 4096);
    close(fd);
}

static void test_index_is_only_a_view(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    fill(&w);
    expunge_some(&w);
    struct buf before = BUF(1 << 24), after = BUF(1 << 24);
    snapshot_bytes(&w, "bob@example.org", &before);
    for (enum how how = GONE; how < HOWS; how++) {
        world_close(&w);
        assert_int_equal(world_check(&w), 0);
        spoil_index(&w, how);
        if (how != GONE)
            assert_true(world_check(&w) > 0);
        world_log(&w);
        world_store(&w);
        world_attach(&w);
        buf_clear(&after);
        snapshot_bytes(&w, "bob@example.org", &after);
        /* all but the LSN, which the attaching moved */
        assert_int_equal(before.n, after.n);
        assert_memory_equal(before.p, after.p, 16);
        assert_memory_equal(before.p + 24, after.p + 24, before.n - 24);
        assert_int_equal(store_flush(w.store), 0);
    }
    world_close(&w);
    assert_int_equal(world_check(&w), 0);
    assert_int_equal(store_rebuild(w.fd, &env_system, world_hear, &w), 0);
    assert_int_equal(world_check(&w), 0);
    buf_done(&before);
    buf_done(&after);
}

/* Twenty messages delivered, everything closed. Then the journal loses a record. */
static void delivered(struct world *w)
{
    world_begin(w);
    for (uint32_t i = 0; i < 20; i++)
        deliver_all(w, append(w, i, S("content\r\n"), i % 4 ? "anna@example.org" : "both@example.org"));
    world_close(w);
}

static void expect_all(struct world *w)
{
    assert_int_equal(store_turn(w->store), 0); /* gaps are filled when the store is idle */
    assert_int_equal(store_flush(w->store), 0);
    assert_int_equal(numbers_in(w, "anna@example.org"), (1 << 20) - 1);
    assert_int_equal(numbers_in(w, "bob@example.org"), 0x11111);
}

static void test_journal_flip(void **state)
{
    (void)state;
    static const size_t records[] = { 0, 1, 2, 3, 10, 19, 21 }; /* 0, 1: the mailboxes' creation */
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        _cleanup_world_ struct world w;
        char path[64];
        struct store_mailbox box, was;
        world_init(&w);
        delivered(&w);
        nth_segment(&w, "journal", 0, path);
        struct record_header h = nth_record(&w, path, records[i]);
        flip(&w, path, h.offset + RECORD_HEADER_SIZE + 9);
        assert_true(world_check(&w) > 0);
        /* with its index the store does not even need that record */
        world_begin(&w);
        expect_all(&w);
        assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &was), 0);
        world_close(&w);
        /* without, it delivers again what the journal lost, with UIDs that nobody had */
        assert_int_equal(index_discard(w.fd), 0);
        w.notes = 0;
        world_begin(&w);
        assert_true(w.notes > 0);
        expect_all(&w);
        assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &box), 0);
        assert_true(box.uidnext > 1 << 20 || box.uidvalidity > was.uidvalidity);
        assert_true(w.notes <= 10); /* one a gap, not one a message */
        world_close(&w);
        /* and from then on it is as any other */
        assert_int_equal(index_discard(w.fd), 0);
        world_begin(&w);
        expect_all(&w);
        uint32_t uidnext = box.uidnext;
        assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &box), 0);
        assert_int_equal(box.uidnext, uidnext);
        world_close(&w);
    }
}

static void test_journal_end_lost(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    world_init(&w);
    delivered(&w);
    nth_segment(&w, "journal", 0, path);
    struct record_header h = nth_record(&w, path, 15);
    int fd = open_file(&w, path, O_WRONLY);
    assert_int_equal(ftruncate(fd, (off_t)h.offset + 20), 0);
    close(fd);
    assert_true(world_check(&w) > 0);
    world_begin(&w);
    assert_non_null(strstr(w.last_note, "UIDNEXT"));
    expect_all(&w);
    world_close(&w);
    assert_int_equal(world_check(&w), 0);
}

static void test_journal_tail_unfinished(void **state)
{
    (void)state;
    for (uint64_t cut = 0; cut < 250; cut += 31) {
        _cleanup_world_ struct world w;
        char path[64], zeros[4096] = { 0 };
        world_init(&w);
        world_begin(&w);
        deliver_all(&w, append(&w, 0, S("content\r\n"), "anna@example.org"));
        world_close(&w);
        /* a second record that the index never saw: written by hand into what looks like preallocated room */
        nth_segment(&w, "journal", 0, path);
        struct record_header h = nth_record(&w, path, 1);
        char record[4096];
        uint64_t length = record_end(&h) - h.offset;
        int fd = open_file(&w, path, O_RDWR);
        assert_int_equal(segment_pread(fd, record, length, h.offset), length);
        record[0] ^= 1;
        assert_int_equal(segment_pwrite(fd, str_of(record, MIN(cut, length)), record_end(&h)), 0);
        assert_int_equal(segment_pwrite(fd, str_of(zeros, sizeof(zeros)), record_end(&h) + MIN(cut, length)), 0);
        close(fd);
        world_begin(&w);
        assert_int_equal(w.notes, 0);
        deliver_all(&w, append(&w, 1, S("content\r\n"), "anna@example.org"));
        assert_int_equal(numbers_in(&w, "anna@example.org"), 3);
        world_close(&w);
        assert_int_equal(world_check(&w), 0);
    }
}

static void test_journal_gone(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    world_init(&w);
    delivered(&w);
    for (;;) { /* all of it */
        nth_segment(&w, "journal", 0, path);
        struct stat st;
        assert_int_equal(unlinkat(w.fd, path, 0), 0);
        uint64_t *list;
        size_t n;
        int dir = open_file(&w, "journal", O_RDONLY | O_DIRECTORY);
        assert_int_equal(segment_list(dir, &list, &n), 0);
        close(dir);
        free(list);
        if (n < 2)
            break;
        assert_int_equal(fstatat(w.fd, "journal", &st, 0), 0);
    }
    world_begin(&w);
    expect_all(&w);
}

/* Pages of the index go bad while it is open and in use. */
static void test_index_goes_bad(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    for (uint32_t i = 0; i < 60; i++)
        deliver_all(&w, append(&w, i, S("content\r\n"), "anna@example.org"));
    world_close(&w);
    struct stat st;
    char junk[4096];
    memset(junk, 0x5a, sizeof(junk));
    assert_int_equal(fstatat(w.fd, "index.db", &st, 0), 0);
    for (off_t at = 4 * 4096; at < st.st_size; at += 4096) { /* the front, with the schema, stays good */
        int fd = open_file(&w, "index.db", O_RDWR);
        assert_int_equal(pwrite(fd, junk, 4096, at), 4096);
        close(fd);
        world_begin(&w);
        deliver_all(&w, append(&w, 60, S("content\r\n"), "carl@example.org"));
        assert_int_equal(numbers_in(&w, "anna@example.org"), (1ull << 60) - 1);
        world_close(&w);
    }
    assert_true(w.notes > 0);
    assert_int_equal(world_check(&w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_is_only_a_view),
        cmocka_unit_test(test_journal_flip),
        cmocka_unit_test(test_journal_end_lost),
        cmocka_unit_test(test_journal_tail_unfinished),
        cmocka_unit_test(test_journal_gone),
        cmocka_unit_test(test_index_goes_bad),
    };
    return cmocka_run_group_tests_name("store_replay", tests, NULL, NULL);
}
