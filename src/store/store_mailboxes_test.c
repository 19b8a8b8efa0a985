/* The tree of an account's mailboxes: making, naming, subscribing, listing, counting. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_mailboxes_world.h"

static void begin(struct world *w)
{
    world_init(w);
    world_begin(w);
}

static void test_create(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct names n;
    begin(&w);
    assert_int_equal(make(&w, "a/b/c", 0), STORE_DONE);
    assert_string_equal(folder_names(&w, &n), "a a/b a/b/c ");
    assert_int_equal(make(&w, "a/b", 0), STORE_EXISTS);
    assert_int_equal(make(&w, "A", 6), STORE_DONE); /* case matters */
    assert_int_equal(make(&w, "B", 6), STORE_USE_TAKEN);
    assert_int_equal(folder_named(&w, "A").use, 6);
    assert_int_equal(folder_named(&w, "a").use, 0);
    char name[1100];
    memset(name, 'x', sizeof(name));
    name[1025] = '\0';
    assert_int_equal(make(&w, name, 0), -EINVAL);
    name[1024] = '\0';
    assert_int_equal(make(&w, name, 0), STORE_DONE);
    struct store_folder f;
    assert_int_equal(store_folder(w.store, ANNA, S("no"), &f), 0);
    assert_int_equal(store_folder(w.store, S("bob@example.org"), S("a"), &f), 0);
    check_and_reopen(&w, false);
    assert_int_equal(folder_named(&w, "A").use, 6);
}

static void test_limit(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    begin(&w);
    uint64_t id, ticket;
    char name[32];
    for (int i = 0; i < MAILBOXES_MAX - 1; i += 100) { /* a hundred levels at once are a hundred mailboxes */
        struct buf path = BUF(1024);
        for (int k = 0; k < 100 && i + k < MAILBOXES_MAX - 1; k++)
            buf_addf(&path, "%s%d", k ? "/" : "", k ? k : i);
        assert_int_equal(store_create(w.store, ANNA, buf_str(&path), 0, &id, &ticket), STORE_DONE);
        buf_done(&path);
    }
    assert_int_equal(make(&w, "two/levels", 0), STORE_LIMIT);
    assert_int_equal(move_name(&w, "0/1/2", "two/levels/here"), STORE_LIMIT);
    assert_int_equal(make(&w, "one", 0), STORE_DONE);
    assert_int_equal(make(&w, "other", 0), STORE_LIMIT);
    for (int i = 0; i < MAILBOXES_MAX; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        if (i % 1000 == 0 || i > MAILBOXES_MAX - 2)
            assert_int_equal(store_subscribe(w.store, ANNA, str_z(name), true, &ticket), STORE_DONE);
    }
    assert_int_equal(store_flush(w.store), 0);
}

static void test_delete(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct names n;
    struct store_stats before, after;
    begin(&w);
    deliver(&w, 1);
    deliver(&w, 2);
    uint64_t inbox = id_of(&w, "INBOX");
    struct store_copied made;
    struct buf pairs = BUF(1024);
    assert_int_equal(make(&w, "a/b", 0), STORE_DONE);
    uint64_t a = id_of(&w, "a");
    struct store_uids all = { 1, UINT32_MAX };
    struct store_copying how = { .from = inbox, .to = S("a"), .move = true };
    assert_int_equal(copy_range(&w, how, all, &pairs, &made), STORE_DONE);
    store_stats(w.store, &before);
    assert_int_equal(drop(&w, "no"), STORE_NONEXISTENT);
    assert_int_equal(drop(&w, "INBOX"), STORE_CANNOT);
    uint32_t old = folder_named(&w, "a").uidvalidity;
    assert_int_equal(drop(&w, "a"), STORE_DONE);
    assert_string_equal(folder_names(&w, &n), "INBOX a/b ");
    store_stats(w.store, &after);
    assert_int_equal(after.messages, 0);
    assert_int_equal(after.mailboxes, before.mailboxes - 1);
    int fd;
    assert_int_equal(store_snapshot(w.store, a, &fd), -ENOENT);
    assert_int_equal(flag_as(&w, a, 1, 1, NULL, all), STORE_NONEXISTENT);
    assert_int_equal(make(&w, "a", 0), STORE_DONE); /* another one, that has never been seen */
    assert_true(id_of(&w, "a") != a && folder_named(&w, "a").uidvalidity > old);
    assert_int_equal(folder_named(&w, "a").uidnext, 1);
    buf_done(&pairs);
    check_and_reopen(&w, true);
    assert_string_equal(folder_names(&w, &n), "INBOX a a/b ");
}

/* In one batch, before anything is durable. */
static void test_names_that_are_staged(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct names n;
    uint64_t id, ticket, again;
    begin(&w);
    assert_int_equal(store_create(w.store, ANNA, S("x"), 0, &id, &ticket), STORE_DONE);
    assert_int_equal(store_delete(w.store, ANNA, S("x"), &ticket), STORE_DONE);
    assert_int_equal(store_create(w.store, ANNA, S("x"), 0, &again, &ticket), STORE_DONE);
    assert_true(again > id);
    /* mail for INBOX while another mailbox is about to become INBOX */
    assert_int_equal(store_create(w.store, ANNA, S("y"), 0, &id, &ticket), STORE_DONE);
    assert_int_equal(store_rename(w.store, ANNA, S("y"), S("INBOX"), &ticket), STORE_DONE);
    deliver(&w, 1);
    assert_string_equal(folder_names(&w, &n), "INBOX x ");
    assert_int_equal(id_of(&w, "INBOX"), id);
    assert_int_equal(folder_named(&w, "INBOX").messages, 1);
    check_and_reopen(&w, true);
    assert_int_equal(folder_named(&w, "INBOX").messages, 1);
}

static void test_rename(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct names n;
    begin(&w);
    assert_int_equal(make(&w, "a/b/c", 0), STORE_DONE);
    assert_int_equal(make(&w, "a0", 0), STORE_DONE); /* beside it, not below */
    assert_int_equal(make(&w, "z", 5), STORE_DONE);
    uint64_t c = id_of(&w, "a/b/c");
    assert_int_equal(move_name(&w, "a", "a/b/d"), STORE_CANNOT);
    assert_int_equal(move_name(&w, "a", "a"), STORE_EXISTS);
    assert_int_equal(move_name(&w, "a", "z"), STORE_EXISTS);
    assert_int_equal(move_name(&w, "q", "r"), STORE_NONEXISTENT);
    assert_int_equal(move_name(&w, "a", "p/q"), STORE_DONE);
    assert_string_equal(folder_names(&w, &n), "a0 p p/q p/q/b p/q/b/c z ");
    assert_int_equal(id_of(&w, "p/q/b/c"), c);
    assert_int_equal(move_name(&w, "z", "Z"), STORE_DONE);
    assert_int_equal(folder_named(&w, "Z").use, 5);
    /* a child's new name is taken */
    assert_int_equal(make(&w, "m/b", 0), STORE_DONE);
    assert_int_equal(drop(&w, "m"), STORE_DONE);
    assert_int_equal(move_name(&w, "p/q", "m"), STORE_EXISTS);
    /* up the tree, over names of its own */
    assert_int_equal(make(&w, "u/u/u", 0), STORE_DONE);
    uint64_t deep = id_of(&w, "u/u/u"), middle = id_of(&w, "u/u");
    assert_int_equal(drop(&w, "u"), STORE_DONE);
    assert_int_equal(move_name(&w, "u/u", "u"), STORE_DONE);
    assert_int_equal(id_of(&w, "u"), middle);
    assert_int_equal(id_of(&w, "u/u"), deep);
    assert_int_equal(id_of(&w, "u/u/u"), 0);
    char name[1100];
    memset(name, 'x', sizeof(name));
    name[1020] = '\0';
    assert_int_equal(move_name(&w, "p", name), STORE_CANNOT); /* p/q/b/c would be too long */
    check_and_reopen(&w, true);
    assert_string_equal(folder_names(&w, &n), "Z a0 m/b p p/q p/q/b p/q/b/c u u/u ");
}

static void test_rename_inbox(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct names n;
    begin(&w);
    deliver(&w, 1);
    uint64_t lsn = deliver(&w, 2);
    uint64_t inbox = id_of(&w, "INBOX");
    assert_int_equal(flag_as(&w, inbox, 1, 1, "word", (struct store_uids){ 2, 2 }), STORE_DONE);
    assert_int_equal(move_name(&w, "INBOX", "old/mail"), STORE_DONE);
    assert_int_equal(move_name(&w, "INBOX", "old"), STORE_EXISTS);
    assert_string_equal(folder_names(&w, &n), "INBOX old old/mail ");
    assert_int_equal(id_of(&w, "INBOX"), inbox);
    struct store_folder f = folder_named(&w, "INBOX"), g = folder_named(&w, "old/mail");
    assert_true(f.messages == 0 && f.uidnext == 3 && f.modseq > lsn && f.bytes == 0);
    assert_true(g.messages == 2 && g.uidnext == 3 && g.unseen == 1 && g.recent == 2);
    assert_int_equal(entry_of(&w, g.id, 2).flags, 1);
    assert_int_equal(entry_of(&w, g.id, 2).keywords, 1);
    recount(&w, &g);
    check_and_reopen(&w, true);
    assert_int_equal(folder_named(&w, "old/mail").messages, 2);
}

static void test_prepare(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct names n;
    struct store_stats before, after;
    begin(&w);
    assert_int_equal(make(&w, "Mine", 6), STORE_DONE);
    assert_int_equal(make(&w, "Junk", 0), STORE_DONE);
    assert_int_equal(store_account_prepare(w.store, ANNA), STORE_DONE);
    assert_string_equal(folder_names(&w, &n), "*Archive *Drafts *INBOX Junk Mine *Trash ");
    assert_int_equal(folder_named(&w, "Trash").use, 7);
    assert_int_equal(folder_named(&w, "Drafts").use, 3);
    assert_int_equal(folder_named(&w, "Archive").use, 2);
    /* once for ever */
    assert_int_equal(drop(&w, "Trash"), STORE_DONE);
    store_stats(w.store, &before);
    assert_int_equal(store_account_prepare(w.store, ANNA), STORE_DONE);
    store_stats(w.store, &after);
    assert_int_equal(after.lsn, before.lsn);
    assert_string_equal(folder_names(&w, &n), "*Archive *Drafts *INBOX Junk Mine *Trash? ");
    check_and_reopen(&w, true);
    assert_int_equal(store_account_prepare(w.store, ANNA), STORE_DONE);
    assert_int_equal(id_of(&w, "Trash"), 0);
}

static int stop_at_two(void *arg, const struct store_folder *f)
{
    (void)f;
    return ++*(int *)arg == 2 ? -ECANCELED : 0;
}

static void test_subscriptions_and_pages(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct names n = { 0 };
    uint64_t ticket;
    begin(&w);
    assert_int_equal(make(&w, "b", 0), STORE_DONE);
    assert_int_equal(make(&w, "d", 0), STORE_DONE);
    const char *const names[] = { "a", "b", "c" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(store_subscribe(w.store, ANNA, str_z(names[i]), true, &ticket), STORE_DONE);
        settle(&w, ticket);
    }
    assert_string_equal(folder_names(&w, &n), "*a? *b *c? d ");
    assert_int_equal(store_subscribe(w.store, ANNA, S("b"), true, &ticket), STORE_DONE);
    assert_true(ticket <= store_durable(w.store)); /* nothing to wait for */
    assert_int_equal(store_subscribe(w.store, ANNA, S("none"), false, &ticket), STORE_DONE);
    assert_int_equal(store_subscribe(w.store, ANNA, S("a"), false, &ticket), STORE_DONE);
    settle(&w, ticket);
    n = (struct names){ 0 };
    assert_int_equal(store_folders(w.store, ANNA, STR_NONE, 2, add_name, &n), 2);
    assert_string_equal(n.text, "*b *c? ");
    n = (struct names){ 0 };
    assert_int_equal(store_folders(w.store, ANNA, S("c"), 2, add_name, &n), 1);
    assert_string_equal(n.text, "d ");
    int count = 0;
    assert_int_equal(store_folders(w.store, ANNA, STR_NONE, 9, stop_at_two, &count), -ECANCELED);
    assert_int_equal(store_folders(w.store, S("bob@example.org"), STR_NONE, 9, add_name, &n), 0);
    assert_true(folder_named(&w, "b").subscribed && !folder_named(&w, "d").subscribed);
    /* a subscription is of a name: it outlives the mailbox, and does not follow it */
    assert_int_equal(move_name(&w, "b", "e"), STORE_DONE);
    assert_string_equal(folder_names(&w, &n), "*b? *c? d e ");
    check_and_reopen(&w, true);
    assert_string_equal(folder_names(&w, &n), "*b? *c? d e ");
}

static struct store_usage limit;

static void limit_of(void *arg, str account, struct store_usage *out)
{
    assert_ptr_equal(arg, &limit);
    if (str_eq(account, ANNA))
        *out = limit;
}

static void test_quota(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct store_usage u;
    struct buf pairs = BUF(1024);
    struct store_copied made;
    begin(&w);
    deliver(&w, 1);
    deliver(&w, 2);
    assert_int_equal(make(&w, "a", 0), STORE_DONE);
    assert_int_equal(store_usage(w.store, ANNA, &u), 0);
    assert_true(u.messages == 2 && u.bytes == folder_named(&w, "INBOX").bytes && u.bytes > 0);
    assert_int_equal(store_usage(w.store, S("bob@example.org"), &u), 0);
    assert_true(u.messages == 0 && u.bytes == 0);
    assert_true(store_quota_allows(w.store, ANNA, UINT64_MAX, UINT64_MAX));
    store_set_quota(w.store, limit_of, &limit);
    assert_true(store_quota_allows(w.store, ANNA, UINT64_MAX, UINT64_MAX)); /* 0 is none */
    limit.messages = 4;
    assert_true(store_quota_allows(w.store, ANNA, UINT64_MAX, 2));
    assert_false(store_quota_allows(w.store, ANNA, 0, 3));
    uint64_t inbox = id_of(&w, "INBOX");
    struct store_uids all = { 1, UINT32_MAX };
    struct store_copying how = { .from = inbox, .to = S("a") };
    assert_int_equal(copy_range(&w, how, all, &pairs, &made), STORE_DONE);
    assert_int_equal(pairs.n, 16);
    /* what is staged counts */
    assert_false(store_quota_allows(w.store, ANNA, 0, 1));
    assert_int_equal(copy_range(&w, how, all, &pairs, &made), STORE_OVER_QUOTA);
    assert_int_equal(pairs.n, 16);
    /* who moves needs no more room */
    how.move = true;
    assert_int_equal(copy_range(&w, how, all, &pairs, &made), STORE_DONE);
    limit = (struct store_usage){ .bytes = 1000000 };
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(store_usage(w.store, ANNA, &u), 0);
    assert_int_equal(u.messages, 4);
    assert_true(store_quota_allows(w.store, ANNA, 1000000 - u.bytes, UINT64_MAX));
    assert_false(store_quota_allows(w.store, ANNA, 1000001 - u.bytes, 0));
    limit.bytes = u.bytes - 1; /* over it already */
    assert_false(store_quota_allows(w.store, ANNA, 0, 0));
    deliver(&w, 3); /* delivery is never refused */
    assert_int_equal(folder_named(&w, "INBOX").messages, 1);
    limit = (struct store_usage){ 0 };
    buf_done(&pairs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_names_that_are_staged),
        cmocka_unit_test(test_rename),
        cmocka_unit_test(test_rename_inbox),
        cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_subscriptions_and_pages),
        cmocka_unit_test(test_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
