/* The store through its header: delivery, expansion, restarts, rebuilding, expunging, damage. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
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
    struct snapshot_entry e;
    open_snapshot(&w, "anna@example.org", &s);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.uidnext, 3);
    assert_true(s.uidvalidity > 1000000000);
    assert_int_equal(snapshot_entry(&s, 1, &e), 0);
    assert_int_equal(e.uid, 2);
    assert_int_equal(e.number, 2);
    assert_int_equal(e.received_us, 2000000);
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

static void test_expands(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    const char *const many[] = { "both@example.org", "bob@example.org", "anna@example.org", NULL };
    deliver_all(&w, append_to(&w, 1, S("x"), many));
    assert_int_equal(count_in(&w, "anna@example.org"), 1);
    assert_int_equal(count_in(&w, "bob@example.org"), 1);
    /* no such address: postmaster of that domain */
    deliver_all(&w, append(&w, 2, S("y"), "nobody@b.example"));
    assert_int_equal(count_in(&w, "bob@example.org"), 2);
    /* one target leads off this host */
    deliver_all(&w, append(&w, 3, S("z"), "out@example.org"));
    assert_int_equal(count_in(&w, "carl@example.org"), 1);
    assert_int_equal(count_in(&w, "anna@example.org"), 2);
    assert_int_equal(w.notes, 0);
    /* a domain that is not ours any more: kept, counted, told */
    deliver_all(&w, append(&w, 4, S("z"), "x@gone.example"));
    struct store_stats stats;
    store_stats(w.store, &stats);
    assert_int_equal(stats.unplaced, 1);
    assert_int_equal(w.notes, 1);
    assert_int_equal(stats.messages, 5);
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
        struct snapshot_entry e;
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

static void ignore(void *arg, bool finding, str sentence)
{
    if (getenv("STORE_TEST_NOTES"))
        fprintf(stderr, "%s: %.*s\n", finding ? "FINDING" : "check", STR_ARG(sentence));
    if (finding)
        snprintf(arg, 512, "%.*s", STR_ARG(sentence));
}

static int check(struct world *w)
{
    return store_check(w->fd, &env_system, ignore, w->last_note);
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
        assert_int_equal(check(&w), 0);
        spoil_index(&w, how);
        if (how != GONE)
            assert_true(check(&w) > 0);
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
    assert_int_equal(check(&w), 0);
    assert_int_equal(store_rebuild(w.fd, &env_system, ignore, w.last_note), 0);
    assert_int_equal(check(&w), 0);
    buf_done(&before);
    buf_done(&after);
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
    spoil_index(&w, GONE);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    deliver_all(&w, append(&w, 2, S("two"), "carl@example.org"));
    struct snapshot s;
    struct snapshot_entry e;
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
    assert_int_equal(check(&w), 0);
    assert_int_equal(store_rebuild(w.fd, &env_system, ignore, w.last_note), -EBUSY);
    w.store = first;
}

static void test_two_logs(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    assert_int_equal(store_log_attach(w.store, S("../in"), 1), -EINVAL);
    assert_int_equal(store_log_attach(w.store, S("second"), 1), 0);
    deliver_all(&w, append(&w, 1, S("one"), "anna@example.org"));
    struct receive_log *first = TAKE(w.log);
    int first_fd = w.log_fd;
    w.log_fd = world_dir(&w, "second");
    world_log(&w);
    assert_int_equal(store_log_attach(w.store, S("second"), receive_log_first_segment(w.log)), 0);
    uint64_t ticket = append(&w, 2, S("two"), "anna@example.org");
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, ticket);
    struct log_position p;
    assert_int_equal(receive_log_progress(w.log, &p, 1), 1);
    assert_int_equal(store_log_synced(w.store, S("unknown"), p), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(store_log_synced(w.store, S("second"), p), 0);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(count_in(&w, "anna@example.org"), 2);
    receive_log_close(first);
    close(first_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivers),
        cmocka_unit_test(test_expands),
        cmocka_unit_test(test_restart_continues),
        cmocka_unit_test(test_index_is_only_a_view),
        cmocka_unit_test(test_uids_are_never_reused),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_two_logs),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
