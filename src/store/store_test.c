/* The store through its header: delivery, restarts, expunging, its lock. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/index.h"
#include <sqlite3.h>
#include "store/index_sql.h"
#include "store/store_internal.h"
#include "store/store_test_world.h"

static void test_delivers(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    append(&w, 1, S("Subject: one\r\n\r\nfirst\r\n"), "anna@example.org");
    deliver_all(&w, append(&w, 2, S("Subject: two\r\n\r\nsecond\r\n"), "Anna+tag@Example.org"));
    assert_int_equal(w.placed, 2);
    struct snapshot s;
    struct mailbox_entry e;
    open_snapshot(&w, "anna@example.org", &s);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.uidnext, 3);
    assert_true(s.uidvalidity > 1000000000);
    assert_int_equal(snapshot_entry(&s, 1, &e), 0);
    assert_int_equal(e.uid, 2);
    assert_int_equal(e.number, 2);
    assert_int_equal(e.date_s, 2);
    assert_memory_equal(e.session, "0123456789abcde", 16);
    assert_true(str_eq(e.prefix, S("Return-Path: <sender@far.example>\r\nDelivered-To: anna@example.org\r\n")));
    assert_true(str_eq(e.log, S("in")));
    assert_true(str_eq(content_of(&w, &e), S("Subject: two\r\n\r\nsecond\r\n")));
    assert_int_equal(e.size, e.prefix.n + 24);
    assert_int_equal(snapshot_entry(&s, 2, &e), -EBADMSG);
    snapshot_close(&s);
    assert_int_equal(w.notes, 0);
    struct store_stats stats;
    store_stats(w.store, &stats);
    assert_int_equal(stats.placed, 2);
    assert_int_equal(stats.messages, 2);
    assert_int_equal(stats.mailboxes, 1);
    assert_int_equal(stats.backlog_bytes, 0);
}

static void test_restart_continues(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    uint32_t uidvalidity = 0;
    for (uint32_t round = 0; round < 4; round++) {
        world_log(&w);
        world_store(&w);
        world_attach(&w);
        uint64_t t = 0;
        for (uint32_t i = 0; i < 20; i++)
            t = append(&w, round * 20 + i, S("hello"), "anna@example.org");
        if (round % 2)
            deliver_all(&w, t);
        world_close(&w); /* in even rounds the store never heard of them */
    }
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    assert_int_equal(store_flush(w.store), 0);
    struct snapshot s;
    open_snapshot(&w, "anna@example.org", &s);
    assert_int_equal(s.n, 80);
    for (size_t i = 0; i < s.n; i++) {
        struct mailbox_entry e;
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        assert_int_equal(e.uid, i + 1);
        assert_int_equal(e.number, i);
    }
    uidvalidity = s.uidvalidity;
    snapshot_close(&s);
    /* told again of what it knows: nothing happens */
    world_attach(&w);
    world_attach(&w);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(count_in(&w, "anna@example.org"), 80);
    struct store_mailbox box;
    assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &box), 0);
    assert_int_equal(box.uidvalidity, uidvalidity);
    assert_int_equal(w.notes, 0);
}

static void test_uids_are_never_reused(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    deliver_all(&w, append(&w, 1, S("one"), "carl@example.org"));
    struct store_mailbox box;
    uint64_t ticket;
    const uint32_t uid = 1;
    assert_int_equal(store_mailbox(w.store, S("carl@example.org"), S("INBOX"), &box), 0);
    assert_int_equal(store_expunge(w.store, box.id, &uid, 1, &ticket), 0);
    assert_int_equal(store_flush(w.store), 0);
    world_close(&w);
    assert_int_equal(index_discard(w.fd), 0);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    deliver_all(&w, append(&w, 2, S("two"), "carl@example.org"));
    struct snapshot s;
    struct mailbox_entry e;
    open_snapshot(&w, "carl@example.org", &s);
    assert_int_equal(s.n, 1);
    assert_int_equal(snapshot_entry(&s, 0, &e), 0);
    assert_int_equal(e.uid, 2);
    snapshot_close(&s);
    assert_int_equal(w.notes, 0);
}

static void test_lock(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_store(&w);
    struct store *first = TAKE(w.store);
    assert_int_equal(world_try_store(&w), -EBUSY);
    /* a running server: the index is left out */
    assert_int_equal(world_check(&w), 0);
    assert_int_equal(store_rebuild(w.fd, &env_system, world_hear, &w), -EBUSY);
    w.store = first;
}

/* The index may grow to as many pages as it has and no further: to SQLite this is a full disk. */
static void full(struct world *w, bool is_full)
{
    sqlite3 *db = w->store->index->db;
    sqlite3_stmt *s;
    char set[64];
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA page_count", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    snprintf(set, sizeof(set), "PRAGMA max_page_count = %d", is_full ? sqlite3_column_int(s, 0) : 1 << 20);
    sqlite3_finalize(s);
    assert_int_equal(sqlite3_exec(db, set, NULL, NULL, NULL), SQLITE_OK);
}

/* So many messages for anna are in the journal, but not in the index, which is full. */
static void stuck_with(struct world *w, uint32_t first, uint32_t n_messages)
{
    struct log_position p[8];
    uint64_t ticket = 0;
    int n;
    for (uint32_t i = 0; i < n_messages; i++)
        ticket = append(w, first + i, S("x\r\n"), "anna@example.org");
    assert_int_equal(receive_log_flush(w->log), 0);
    wait_synced(w->log, ticket);
    while ((n = receive_log_progress(w->log, p, 8)) > 0)
        for (int i = 0; i < n; i++)
            assert_int_equal(store_log_synced(w->store, S("in"), p[i]), 0);
    assert_int_equal(store_turn(w->store), 0);
    while (store_syncing(w->store))
        usleep(200);
    assert_false(store_stuck(w->store));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_publish(w->store), 0);
        assert_true(store_stuck(w->store));
        assert_int_equal(store_turn(w->store), 0);
    }
}

/* The journal has the records, the index has no room for them. */
static void test_no_room_for_the_index(void **state)
{
    (void)state;
    enum { N = 500 };
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    full(&w, true);
    stuck_with(&w, 1, N);
    assert_true(store_stuck(w.store));
    assert_false(store_idle(w.store));
    assert_int_equal(w.placed, 0);
    assert_int_equal(w.notes, 1); /* said once */
    assert_string_equal(w.last_note, "there is no room on the disk for journal or index: messages wait");
    full(&w, false);
    assert_int_equal(store_turn(w.store), 0);
    assert_false(store_stuck(w.store));
    assert_int_equal(w.placed, N);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(count_in(&w, "anna@example.org"), N);
    world_close(&w);
    assert_int_equal(world_check(&w), 0);
}

/* What the index has shown but not committed is lost with the transaction in which there was no room for the next; it
 * is there again at once, with the UIDs that it was shown with. */
static void test_no_room_beside_what_was_shown(void **state)
{
    (void)state;
    enum { N = 500 };
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    assert_int_equal(store_settle(w.store), 0);
    deliver_all(&w, append(&w, 1, S("shown\r\n"), "anna@example.org"));
    assert_true(index_held(w.store->index)); /* it came just now */
    assert_int_equal(numbers_in(&w, "anna@example.org"), 2);
    full(&w, true);
    stuck_with(&w, 2, N);
    assert_true(index_held(w.store->index));
    assert_int_equal(count_in(&w, "anna@example.org"), 1);
    assert_int_equal(numbers_in(&w, "anna@example.org"), 2);
    assert_int_equal(w.placed, 1);
    full(&w, false);
    assert_int_equal(store_turn(w.store), 0);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(count_in(&w, "anna@example.org"), N + 1);
    assert_int_equal(w.placed, N + 1);
    world_close(&w);
    assert_int_equal(world_check(&w), 0);
    world_begin(&w);
    assert_int_equal(count_in(&w, "anna@example.org"), N + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivers),
        cmocka_unit_test(test_restart_continues),
        cmocka_unit_test(test_uids_are_never_reused),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_no_room_for_the_index),
        cmocka_unit_test(test_no_room_beside_what_was_shown),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
