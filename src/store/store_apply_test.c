/* Expansion: who gets a message, once, under which prefix, and where it goes when an address leads nowhere. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_test_world.h"

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
    /* one target leads off this host: queued (store_queue_test.c) */
    deliver_all(&w, append(&w, 3, S("z"), "out@example.org"));
    assert_int_equal(count_in(&w, "carl@example.org"), 1);
    assert_int_equal(count_in(&w, "anna@example.org"), 1);
    assert_int_equal(w.notes, 0);
    struct store_stats stats;
    store_stats(w.store, &stats);
    assert_int_equal(stats.unplaced, 0);
    assert_int_equal(stats.messages, 4);
}

#define MANY 500

/* One alias with many targets: more than a list is searched for, each once. */
static void test_many_targets(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    struct buf accounts = BUF(1 << 20), aliases = BUF(1 << 20);
    buf_addf(&accounts, "%s", test_accounts);
    buf_addf(&aliases, "many@example.org: anna@example.org");
    for (int i = 0; i < MANY; i++) {
        buf_addf(&accounts, "u%d@example.org\n", i);
        buf_addf(&aliases, ", u%d@example.org, u%d@example.org", i, MANY - 1 - i);
    }
    buf_addc(&accounts, '\0');
    buf_addf(&aliases, "\n");
    buf_addc(&aliases, '\0');
    test_directory(&w, accounts.p, aliases.p);
    world_begin(&w);
    const char *const to[] = { "u7@example.org", "many@example.org", "U400@example.org", NULL };
    deliver_all(&w, append_to(&w, 1, S("x"), to));
    assert_int_equal(w.placed, MANY + 1);
    static const char *const some[] = { "u7@example.org", "u400@example.org", "u0@example.org", "u499@example.org",
                                        "anna@example.org" };
    for (size_t i = 0; i < ARRAY_LEN(some); i++)
        assert_int_equal(count_in(&w, some[i]), 1);
    buf_done(&accounts);
    buf_done(&aliases);
}

/* The receiving role reads hostile bytes: what it hands on must not be able to add lines to a message. */
static void test_prefix_is_one_line_each(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    const struct record_recipient to = { .address = S("anna@example.org") };
    struct message_record m = { .sender = S("a\r\nX-Evil: \0b\x7f@c"), .recipients = &to, .n_recipients = 1 };
    struct buf meta = BUF(4096);
    uint64_t ticket;
    struct log_position at;
    str content = S("x");
    assert_int_equal(message_record_encode(&meta, &m), 0);
    assert_int_equal(receive_log_append(w.log, &content, 1, buf_str(&meta), &ticket, &at), 0);
    deliver_all(&w, ticket);
    struct snapshot s;
    struct mailbox_entry e;
    open_snapshot(&w, "anna@example.org", &s);
    assert_int_equal(snapshot_entry(&s, 0, &e), 0);
    assert_true(str_eq(e.prefix, S("Return-Path: <a??X-Evil: ?b?@c>\r\nDelivered-To: anna@example.org\r\n")));
    snapshot_close(&s);
    buf_done(&meta);
}

static void test_no_directory_yet(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    struct store_config c = { .data_fd = w.fd, .segment_size = 65536, .env = &env_system };
    assert_int_equal(store_open(&c, &w.store), 0);
    assert_int_equal(store_log_attach(w.store, S("in"), 1), -EINVAL);
    store_set_directory(w.store, &w.directory);
    world_attach(&w);
}

/* A record that says nothing a store could read: kept, told, and no obstacle. */
static void test_undecodable(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    uint64_t ticket;
    struct log_position at;
    str content = S("x");
    assert_int_equal(receive_log_append(w.log, &content, 1, S("no fields at all"), &ticket, &at), 0);
    deliver_all(&w, append(&w, 2, S("y"), "anna@example.org"));
    assert_int_equal(w.notes, 1);
    assert_int_equal(count_in(&w, "anna@example.org"), 1);
    world_close(&w);
    world_begin(&w);
    assert_int_equal(w.notes, 1);
    assert_int_equal(count_in(&w, "anna@example.org"), 1);
    world_close(&w);
    assert_int_equal(world_check(&w), 1);
}

/* UIDVALIDITY rises even when the clock does not. */
static void test_uidvalidity(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct store_mailbox box;
    uint32_t last = 0;
    world_init(&w);
    for (int round = 0; round < 2; round++) {
        world_begin(&w);
        for (int i = 0; i < 20; i++) {
            char name[32];
            snprintf(name, sizeof(name), "Box %d %d", round, i);
            assert_int_equal(store_mailbox(w.store, S("anna@example.org"), str_z(name), &box), 0);
            assert_true(box.uidvalidity > last && box.uidnext == 1);
            last = box.uidvalidity;
        }
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expands),
        cmocka_unit_test(test_many_targets),
        cmocka_unit_test(test_prefix_is_one_line_each),
        cmocka_unit_test(test_no_directory_yet),
        cmocka_unit_test(test_undecodable),
        cmocka_unit_test(test_uidvalidity),
    };
    return cmocka_run_group_tests_name("store_apply", tests, NULL, NULL);
}
