/* The change feed: a mirror that begins with a snapshot and follows the feed is what a later snapshot says, whatever
 * happens: mail, flags, copies, expunges, compaction, an index that is made anew. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/mailboxes.h"
#include "store/store_internal.h"
#include "store/store_test_world.h"

#define ANNA "anna@example.org"
#define UIDS 4000

struct mirror {
    uint64_t mailbox, lsn, modseq;
    bool there[UIDS], gone;
    struct mailbox_entry at[UIDS]; /* texts are in the world's arena */
    str keywords[64], name;
    size_t n_keywords;
    unsigned items, of_kind[FEED_GONE + 1];
};

static struct mirror mirror;
static struct world *world_now;

static void keep(struct mailbox_entry e)
{
    assert_in_range(e.uid, 1, UIDS - 1);
    e.prefix = arena_dup(&world_now->a, e.prefix);
    e.log = arena_dup(&world_now->a, e.log);
    mirror.there[e.uid] = true;
    mirror.at[e.uid] = e;
}

static void follow_rows(struct feed_item *f)
{
    struct mailbox_entry e;
    uint32_t uid = 0, flags;
    uint64_t n;
    for (uint32_t i = 0; i < f->n; i++)
        if (f->kind == FEED_ARRIVED) {
            assert_true(feed_entry(f, &e) && e.modseq == f->modseq && e.uid > uid);
            uid = e.uid;
            assert_false(mirror.there[uid]);
            keep(e);
        } else if (f->kind == FEED_FLAGS) {
            assert_true(feed_flags(f, &uid, &flags, &n) && mirror.there[uid]);
            mirror.at[uid].flags = flags;
            mirror.at[uid].keywords = n;
            mirror.at[uid].modseq = f->modseq;
        } else if (f->kind == FEED_EXPUNGED) {
            assert_true(feed_uid(f, &uid) && mirror.there[uid]);
            mirror.there[uid] = false;
        } else {
            assert_true(feed_place(f, &uid, &n) && mirror.there[uid]);
            mirror.at[uid].log = arena_dup(&world_now->a, f->log);
            mirror.at[uid].position = (struct log_position){ f->segment, n };
        }
}

static void follow(void *arg, uint64_t mailbox, str item)
{
    struct feed_item f;
    (void)arg;
    assert_in_range(item.n, 1, FEED_ITEM_MAX);
    assert_int_equal(feed_decode(item, &f), 0);
    if (mailbox != mirror.mailbox || f.lsn <= mirror.lsn)
        return;
    mirror.items++;
    mirror.of_kind[f.kind]++;
    if (f.kind != FEED_PLACES) {
        assert_true(f.modseq >= mirror.modseq);
        mirror.modseq = f.modseq;
    }
    if (f.kind == FEED_KEYWORD) {
        assert_int_equal(f.bit, mirror.n_keywords);
        mirror.keywords[mirror.n_keywords++] = arena_dup(&world_now->a, f.name);
    }
    if (f.kind == FEED_RENAMED)
        mirror.name = arena_dup(&world_now->a, f.name);
    mirror.gone |= f.kind == FEED_GONE;
    follow_rows(&f);
}

static void snapshot_of(struct world *w, uint64_t mailbox, struct snapshot *out)
{
    int fd;
    assert_int_equal(store_snapshot(w->store, mailbox, &fd), 0);
    assert_int_equal(snapshot_open(fd, out), 0);
}

/* Watches anna's INBOX from now on. */
static void begin_mirror(struct world *w)
{
    struct store_mailbox box;
    struct snapshot s;
    struct mailbox_entry e;
    world_now = w;
    memset(&mirror, 0, sizeof(mirror));
    assert_int_equal(store_mailbox(w->store, S(ANNA), S("INBOX"), &box), 0);
    store_set_feed(w->store, follow, NULL);
    assert_int_equal(store_watch(w->store, box.id), 0);
    snapshot_of(w, box.id, &s);
    mirror.mailbox = box.id;
    mirror.lsn = s.lsn;
    mirror.modseq = s.modseq;
    mirror.n_keywords = s.n_keywords;
    for (size_t i = 0; i < s.n_keywords; i++)
        mirror.keywords[i] = arena_dup(&w->a, s.keywords[i]);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        keep(e);
    }
    snapshot_close(&s);
}

static void compare(struct world *w)
{
    struct snapshot s;
    struct mailbox_entry e;
    size_t n = 0;
    snapshot_of(w, mirror.mailbox, &s);
    assert_int_equal(s.modseq, mirror.modseq);
    assert_int_equal(s.n_keywords, mirror.n_keywords);
    for (size_t i = 0; i < s.n_keywords; i++)
        assert_true(str_eq(s.keywords[i], mirror.keywords[i]));
    for (uint32_t uid = 0; uid < UIDS; uid++)
        n += mirror.there[uid];
    assert_int_equal(s.n, n);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        const struct mailbox_entry *m = &mirror.at[e.uid];
        assert_true(mirror.there[e.uid] && e.flags == m->flags && e.keywords == m->keywords && e.modseq == m->modseq);
        assert_true(e.size == m->size && str_eq(e.prefix, m->prefix) && str_eq(e.log, m->log));
        assert_true(e.position.segment == m->position.segment && e.position.offset == m->position.offset);
        assert_true(e.content_len == m->content_len && e.meta_len == m->meta_len && e.number == m->number);
        assert_true(e.date_s == m->date_s && e.date_zone_min == m->date_zone_min);
        assert_memory_equal(e.session, m->session, 16);
    }
    snapshot_close(&s);
}

static uint64_t flag(struct world *w, uint64_t mailbox, struct journal_uids uids, uint32_t system, str keyword)
{
    struct journal_record r = { .kind = JOURNAL_flagged, .flagged = {
        .mailbox = mailbox, .op = FLAG_SET, .system = system, .keywords = &keyword, .n_keywords = keyword.n > 0,
        .uids = &uids, .n_uids = 1 } };
    assert_int_equal(store_stage(w->store, &r), 0);
    return r.lsn;
}

static void expunge(struct world *w, uint32_t first, uint32_t last)
{
    uint32_t uids[UIDS], n = 0;
    uint64_t ticket;
    for (uint32_t uid = first; uid <= last; uid++)
        uids[n++] = uid;
    assert_int_equal(store_expunge(w->store, mirror.mailbox, uids, n, &ticket), 0);
}

static void deliver(struct world *w, uint32_t n, const char *to)
{
    uint64_t ticket = 0;
    for (uint32_t i = 0; i < n; i++)
        ticket = append(w, i, S("Subject: x\r\n\r\nhello\r\n"), to);
    deliver_all(w, ticket);
}

static void test_follows(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct journal_uids all = { 1, UINT32_MAX };
    world_init(&w);
    world_begin(&w);
    deliver(&w, 10, "both@example.org");
    begin_mirror(&w);
    deliver(&w, 900, ANNA);
    deliver(&w, 30, "both@example.org");
    compare(&w);
    assert_int_equal(mirror.of_kind[FEED_ARRIVED], 930);
    flag(&w, mirror.mailbox, all, 1, STR_NONE);
    flag(&w, mirror.mailbox, (struct journal_uids){ 5, 9 }, 9, S("$Forwarded"));
    flag(&w, mirror.mailbox, (struct journal_uids){ 5, 6 }, 0, S("$Junk"));
    flag(&w, mirror.mailbox, (struct journal_uids){ 5, 6 }, 0, S("$junk")); /* no change */
    assert_int_equal(store_flush(w.store), 0);
    compare(&w);
    assert_int_equal(mirror.of_kind[FEED_KEYWORD], 2);
    assert_int_equal(mirror.of_kind[FEED_FLAGS], 3);
    expunge(&w, 3, 700);
    flag(&w, mirror.mailbox, all, 2, STR_NONE);
    deliver(&w, 3, ANNA);
    compare(&w);
    store_unwatch(w.store, mirror.mailbox);
    unsigned items = mirror.items;
    deliver(&w, 3, ANNA);
    assert_int_equal(mirror.items, items);
}

static void copy(struct world *w, uint64_t from, uint64_t to, bool move, struct journal_run run)
{
    struct journal_record r = { .kind = JOURNAL_copied, .copied = { .from = from, .to = to, .move = move, .at_us = 1,
                                                                    .runs = &run, .n_runs = 1 } };
    assert_int_equal(store_stage(w->store, &r), 0);
    assert_int_equal(store_flush(w->store), 0);
}

/* Into the watched mailbox and out of it; so many that one item does not hold them. */
static void test_copies_and_the_end(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct store_mailbox other;
    world_init(&w);
    world_begin(&w);
    deliver(&w, 1, ANNA);
    begin_mirror(&w);
    assert_int_equal(store_mailbox(w.store, S("bob@example.org"), S("INBOX"), &other), 0);
    deliver(&w, 1500, "bob@example.org");
    flag(&w, other.id, (struct journal_uids){ 10, 20 }, 16, S("Word"));
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(mirror.items, 0);
    copy(&w, other.id, mirror.mailbox, false, (struct journal_run){ 1, 100, 1500 });
    compare(&w);
    assert_in_range(mirror.of_kind[FEED_ARRIVED], 2, 10);
    assert_int_equal(mirror.of_kind[FEED_KEYWORD], 1);
    copy(&w, mirror.mailbox, other.id, true, (struct journal_run){ 200, 2000, 700 });
    compare(&w);
    assert_int_equal(mirror.of_kind[FEED_EXPUNGED], 1);
    struct journal_rename name = { .id = mirror.mailbox, .name = S("Old") };
    struct journal_record r = { .kind = JOURNAL_mailbox_renamed, .mailbox_renamed = { .renames = &name, .n = 1 } };
    assert_int_equal(store_stage(w.store, &r), 0);
    r = (struct journal_record){ .kind = JOURNAL_mailbox_deleted,
                                 .mailbox_deleted = { .id = mirror.mailbox, .at_us = 1 } };
    assert_int_equal(store_stage(w.store, &r), 0);
    assert_false(mirror.gone);
    assert_int_equal(store_flush(w.store), 0);
    assert_true(mirror.gone && str_eq(mirror.name, S("Old")));
}

static void test_compaction(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    w.segment_size = 65536;
    world_begin(&w);
    deliver(&w, 1000, "both@example.org");
    begin_mirror(&w);
    expunge(&w, 100, 950);
    assert_int_equal(store_flush(w.store), 0);
    uint64_t bob = mirror.mailbox; /* the other's too, so that places become free */
    struct store_mailbox box;
    assert_int_equal(store_mailbox(w.store, S("bob@example.org"), S("INBOX"), &box), 0);
    mirror.mailbox = box.id;
    expunge(&w, 90, 930);
    mirror.mailbox = bob;
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(store_compact(w.store, true, 0), 0);
    for (int r = 1; r == 1;) {
        r = store_compact_step(w.store, UINT64_MAX);
        assert_true(r >= 0);
        assert_int_equal(store_turn(w.store), 0);
        usleep(200);
    }
    assert_int_equal(store_flush(w.store), 0);
    assert_true(mirror.of_kind[FEED_PLACES] > 0);
    compare(&w);
}

/* What is durable but not applied when the index turns out to be damaged is told once. */
static void test_index_made_anew(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    deliver(&w, 20, ANNA);
    begin_mirror(&w);
    deliver(&w, 2, ANNA);
    uint64_t lsn = flag(&w, mirror.mailbox, (struct journal_uids){ 3, 8 }, 5, S("$Seen-by-me"));
    assert_int_equal(store_turn(w.store), 0);
    while (journal_durable(w.store->journal) < lsn)
        usleep(200);
    assert_int_equal(mirror.of_kind[FEED_FLAGS], 0);
    assert_int_equal(store_reindex(w.store), 0);
    assert_int_equal(mirror.of_kind[FEED_FLAGS], 1);
    assert_int_equal(store_flush(w.store), 0);
    compare(&w);
    deliver(&w, 2, ANNA);
    assert_true(mirror.of_kind[FEED_FLAGS] == 1 && mirror.of_kind[FEED_ARRIVED] == 4);
    compare(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows),
        cmocka_unit_test(test_copies_and_the_end),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_index_made_anew),
    };
    return cmocka_run_group_tests_name("store_feed", tests, NULL, NULL);
}
