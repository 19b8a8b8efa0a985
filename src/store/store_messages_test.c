/* Messages in mailboxes: flags and their conditions, expunging, copies, what vanished, and MODSEQs after lost
 * records. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/journal_record.h"
#include "store/store_mailboxes_world.h"

enum { SET, ADD, REMOVE };
enum { SEEN = 1, FLAGGED = 4, DELETED = 8 };
#define RANGE(a, b) ((struct store_uids){ (a), (b) })

/* A store whose INBOX has messages 1 to n. Its id. */
static uint64_t begin(struct world *w, uint32_t n)
{
    uint64_t ticket = 0;
    world_init(w);
    world_begin(w);
    for (uint32_t i = 1; i <= n; i++)
        ticket = append(w, i, S("Subject: x\r\n\r\ntext\r\n"), "anna@example.org");
    deliver_all(w, ticket);
    return id_of(w, "INBOX");
}

static uint64_t lsn_of(struct world *w)
{
    struct store_stats stats;
    store_stats(w->store, &stats);
    return stats.lsn;
}

static void recount_inbox(struct world *w)
{
    struct store_folder f = folder_named(w, "INBOX");
    recount(w, &f);
}

static void test_flags(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    uint64_t box = begin(&w, 4);
    struct mailbox_entry e = entry_of(&w, box, 1);
    uint64_t arrived = e.modseq;
    assert_true(e.flags == 0 && e.keywords == 0 && e.date_s == 1 && e.date_zone_min == 0);
    assert_int_equal(folder_named(&w, "INBOX").unseen, 4);
    assert_int_equal(flag_as(&w, box, ADD, SEEN, "$Forwarded", RANGE(1, 2)), STORE_DONE);
    assert_false(store_idle(w.store)); /* it does not wait */
    uint64_t lsn = lsn_of(&w);
    struct store_folder f = folder_named(&w, "INBOX");
    assert_true(f.unseen == 2 && f.modseq == lsn && f.deleted == 0);
    e = entry_of(&w, box, 2);
    assert_true(e.flags == SEEN && e.keywords == 1 && e.modseq == lsn);
    assert_int_equal(entry_of(&w, box, 3).modseq, arrived + 2);
    /* what is as wanted keeps its MODSEQ */
    assert_int_equal(flag_as(&w, box, ADD, SEEN, "$FORWARDED", RANGE(2, 3)), STORE_DONE);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(entry_of(&w, box, 2).modseq, lsn);
    assert_int_equal(entry_of(&w, box, 3).modseq, lsn_of(&w));
    /* a second keyword; set replaces both kinds, remove takes only what it names */
    assert_int_equal(flag_as(&w, box, SET, FLAGGED | DELETED, "Other", RANGE(1, UINT32_MAX)), STORE_DONE);
    assert_int_equal(flag_as(&w, box, REMOVE, FLAGGED | SEEN, "unknown", RANGE(4, 4)), STORE_DONE);
    f = folder_named(&w, "INBOX");
    assert_true(f.unseen == 4 && f.deleted == 4 && f.deleted_bytes == f.bytes);
    e = entry_of(&w, box, 1);
    assert_true(e.flags == (FLAGGED | DELETED) && e.keywords == 2);
    e = entry_of(&w, box, 4);
    assert_true(e.flags == DELETED && e.keywords == 2);
    assert_int_equal(flag_as(&w, box, REMOVE, 0, "OTHER", RANGE(4, 4)), STORE_DONE);
    assert_int_equal(flag_as(&w, box, SET, 0xffffffff, NULL, RANGE(1, 1)), STORE_DONE);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(entry_of(&w, box, 4).keywords, 0);
    assert_int_equal(entry_of(&w, box, 1).flags, 31); /* \Recent and unknown bits are not kept */
    /* of none, of no mailbox */
    lsn = folder_named(&w, "INBOX").modseq;
    assert_int_equal(flag_as(&w, box, ADD, SEEN, NULL, RANGE(5, UINT32_MAX)), STORE_DONE);
    assert_int_equal(folder_named(&w, "INBOX").modseq, lsn);
    assert_int_equal(flag_as(&w, 99, ADD, SEEN, NULL, RANGE(1, 1)), STORE_NONEXISTENT);
    assert_int_equal(flag_as(&w, box, 3, SEEN, NULL, RANGE(1, 1)), -EINVAL);
    assert_int_equal(flag_as(&w, box, ADD, SEEN, "", RANGE(1, 1)), -EINVAL);
    check_and_reopen(&w, true);
    struct store_folder g = folder_named(&w, "INBOX");
    recount(&w, &g);
    assert_int_equal(g.modseq, lsn);
}

static void test_keyword_limit(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct snapshot s;
    char name[300];
    uint64_t box = begin(&w, 1);
    for (int i = 0; i < KEYWORDS_MAX - 1; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        assert_int_equal(flag_as(&w, box, ADD, 0, name, RANGE(1, 1)), STORE_DONE);
    }
    /* two new ones where one has room: nothing is changed */
    const str both[] = { S("last"), S("K3"), S("one more") };
    struct store_uids all = RANGE(1, 9);
    struct buf failed = BUF(64);
    uint64_t ticket;
    struct store_flagging f = { .mailbox = box, .uids = &all, .n_uids = 1, .op = ADD, .system = SEEN, .keywords = both,
                                .n_keywords = 3, .unchanged_since = UINT64_MAX };
    assert_int_equal(store_flag(w.store, &f, &failed, &ticket), STORE_LIMIT);
    f.n_keywords = 2;
    assert_int_equal(store_flag(w.store, &f, &failed, &ticket), STORE_DONE);
    assert_int_equal(flag_as(&w, box, ADD, 0, "one more", RANGE(1, 1)), STORE_LIMIT);
    assert_int_equal(flag_as(&w, box, REMOVE, 0, "one more", RANGE(1, 1)), STORE_DONE);
    memset(name, 'x', sizeof(name));
    name[256] = '\0';
    assert_int_equal(flag_as(&w, box, ADD, 0, name, RANGE(1, 1)), -EINVAL);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(entry_of(&w, box, 1).keywords, UINT64_MAX);
    snapshot_of(&w, box, &s);
    assert_int_equal(s.n_keywords, KEYWORDS_MAX);
    assert_true(str_eq(s.keywords[3], S("k3")) && str_eq(s.keywords[63], S("last")));
    snapshot_close(&s);
    /* a copy takes along what the other mailbox has room for */
    assert_int_equal(make(&w, "a", 0), STORE_DONE);
    uint64_t a = id_of(&w, "a");
    struct store_copied made;
    struct store_copying how = { .from = box, .to = S("a") };
    struct buf pairs = BUF(64);
    deliver(&w, 2);
    assert_int_equal(flag_as(&w, box, ADD, 0, "k9", RANGE(2, 2)), STORE_DONE);
    assert_int_equal(copy_range(&w, how, RANGE(2, 2), &pairs, &made), STORE_DONE);
    assert_int_equal(store_flush(w.store), 0);
    snapshot_of(&w, a, &s);
    assert_true(s.n_keywords == 1 && str_eq(s.keywords[0], S("k9")));
    snapshot_close(&s);
    assert_int_equal(flag_as(&w, a, ADD, 0, "extra", RANGE(1, 1)), STORE_DONE);
    assert_int_equal(copy_range(&w, how, RANGE(1, 1), &pairs, &made), STORE_DONE);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(entry_of(&w, a, 2).keywords, UINT64_MAX & ~2ull); /* one of them had no room */
    buf_done(&pairs);
    buf_done(&failed);
    check_and_reopen(&w, true);
    assert_int_equal(entry_of(&w, a, 2).keywords, UINT64_MAX & ~2ull);
}

static void test_unchanged_since(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    uint64_t box = begin(&w, 6), ticket;
    uint64_t since = folder_named(&w, "INBOX").modseq;
    assert_int_equal(flag_as(&w, box, ADD, FLAGGED, NULL, RANGE(3, 4)), STORE_DONE); /* only staged, but it counts */
    struct store_uids list[] = { RANGE(1, 3), RANGE(4, 5), RANGE(6, 9) };
    struct buf failed = BUF(64);
    struct store_flagging f = { .mailbox = box, .uids = list, .n_uids = 3, .op = ADD, .system = SEEN,
                                .unchanged_since = since };
    buf_add(&failed, S("mine"));
    assert_int_equal(store_flag(w.store, &f, &failed, &ticket), STORE_DONE);
    assert_int_equal(failed.n, 4 + 8);
    assert_int_equal(get_u32(failed.p + 4), 3);
    assert_int_equal(get_u32(failed.p + 8), 4);
    settle(&w, ticket);
    for (uint32_t uid = 1; uid <= 6; uid++)
        assert_int_equal(entry_of(&w, box, uid).flags, uid == 3 || uid == 4 ? FLAGGED : SEEN);
    /* none passes: nothing to wait for */
    buf_clear(&failed);
    f.unchanged_since = 0;
    assert_int_equal(store_flag(w.store, &f, &failed, &ticket), STORE_DONE);
    assert_int_equal(failed.n, 6 * 4);
    assert_true(store_idle(w.store) && ticket <= store_durable(w.store));
    /* what lies between the ranges of the call stays out */
    list[0] = RANGE(1, 1);
    list[1] = RANGE(6, 6);
    f.n_uids = 2;
    f.op = SET;
    f.system = DELETED;
    f.unchanged_since = lsn_of(&w);
    buf_clear(&failed);
    assert_int_equal(store_flag(w.store, &f, &failed, &ticket), STORE_DONE);
    settle(&w, ticket);
    assert_int_equal(failed.n, 0);
    assert_int_equal(folder_named(&w, "INBOX").deleted, 2);
    assert_int_equal(entry_of(&w, box, 2).flags, SEEN);
    buf_done(&failed);
}

static size_t range_text(char *out, uint32_t first, uint32_t last)
{
    return (size_t)(first == last ? snprintf(out, 16, "%u ", first) : snprintf(out, 32, "%u:%u ", first, last));
}

/* The ranges as text. */
static const char *vanished_since(struct world *w, uint64_t box, uint64_t since, uint32_t after, size_t max, char *out)
{
    struct buf b = BUF(1 << 20);
    int n = store_vanished(w->store, box, since, after, max, &b);
    assert_true(n >= 0 && (size_t)n * 8 == b.n);
    *out = '\0';
    for (size_t i = 0, at = 0; i < b.n; i += 8)
        at += range_text(out + at, get_u32(b.p + i), get_u32(b.p + i + 4));
    buf_done(&b);
    return out;
}

/* So many at a time: where to go on, until nothing is left. */
static void test_expunge_in_pieces(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    uint64_t box = begin(&w, 10), ticket;
    static const struct store_uids all = { 3, 9 };
    static const uint32_t nexts[] = { 6, 9, 0 };
    struct store_expunging e = { .mailbox = box, .uids = &all, .n_uids = 1, .max = 2 };
    uint32_t next = 77;
    assert_int_equal(flag_as(&w, box, ADD, DELETED, NULL, RANGE(1, 3)), STORE_DONE);
    assert_int_equal(flag_as(&w, box, ADD, DELETED, NULL, RANGE(5, 6)), STORE_DONE);
    assert_int_equal(flag_as(&w, box, ADD, DELETED, NULL, RANGE(8, 10)), STORE_DONE);
    for (size_t i = 0; i < ARRAY_LEN(nexts); i++) {
        assert_int_equal(store_expunge_some(w.store, &e, &ticket, &next), STORE_DONE);
        settle(&w, ticket);
        assert_int_equal(next, nexts[i]);
    }
    struct store_folder f = folder_named(&w, "INBOX");
    assert_true(f.messages == 5 && f.deleted == 3); /* 1, 2 and 10 were not meant */
    recount_inbox(&w);
}

static void test_expunge_and_vanished(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char text[256];
    uint64_t box = begin(&w, 10), ticket;
    uint64_t first = folder_named(&w, "INBOX").modseq;
    assert_int_equal(store_expunge_deleted(w.store, box, NULL, 0, &ticket), STORE_DONE);
    assert_true(ticket <= store_durable(w.store));
    assert_int_equal(flag_as(&w, box, ADD, DELETED, NULL, RANGE(2, 5)), STORE_DONE);
    assert_int_equal(flag_as(&w, box, ADD, DELETED, NULL, RANGE(9, 9)), STORE_DONE);
    struct store_uids some[] = { RANGE(1, 2), RANGE(4, 4), RANGE(10, UINT32_MAX) };
    assert_int_equal(store_expunge_deleted(w.store, box, some, 3, &ticket), STORE_DONE); /* flags only staged */
    settle(&w, ticket);
    struct store_folder f = folder_named(&w, "INBOX");
    assert_true(f.messages == 8 && f.deleted == 3 && f.modseq == ticket && f.recent == 8);
    assert_string_equal(vanished_since(&w, box, first, 0, 99, text), "2 4 ");
    uint64_t second = f.modseq;
    assert_int_equal(store_expunge_deleted(w.store, box, NULL, 0, &ticket), STORE_DONE);
    settle(&w, ticket);
    recount_inbox(&w);
    assert_string_equal(vanished_since(&w, box, second, 0, 99, text), "3 5 9 ");
    assert_string_equal(vanished_since(&w, box, first, 0, 99, text), "2:5 9 ");
    assert_string_equal(vanished_since(&w, box, 0, 3, 99, text), "4:5 9 ");
    assert_string_equal(vanished_since(&w, box, 0, 0, 1, text), "2:5 ");
    assert_string_equal(vanished_since(&w, box, 0, 5, 1, text), "9 ");
    assert_string_equal(vanished_since(&w, box, 0, 9, 1, text), "");
    assert_string_equal(vanished_since(&w, box, ticket, 0, 99, text), "");
    assert_string_equal(vanished_since(&w, box, UINT64_MAX, 0, 99, text), "");
    /* POP3's way, some of them gone already */
    const uint32_t uids[] = { 6, 7, 2, 99 };
    assert_int_equal(store_expunge(w.store, box, uids, 4, &ticket), 0);
    settle(&w, ticket);
    assert_string_equal(vanished_since(&w, box, 0, 0, 99, text), "2:7 9 ");
    struct buf b = BUF(64);
    assert_int_equal(store_vanished(w.store, 99, 0, 0, 9, &b), -ENOENT);
    assert_int_equal(store_expunge_deleted(w.store, 99, NULL, 0, &ticket), STORE_NONEXISTENT);
    buf_done(&b);
    check_and_reopen(&w, true);
    assert_string_equal(vanished_since(&w, box, 0, 0, 99, text), "2:7 9 ");
}

static void test_history_is_bounded(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    const uint32_t n = 70000;
    uint32_t *uids = calloc(n, sizeof(*uids));
    uint64_t box = begin(&w, n), ticket = 0;
    struct buf b = BUF(1 << 22);
    for (uint32_t i = 1; i <= n / 1000; i++) { /* every other message: a range each */
        for (uint32_t k = 0; k < 500; k++)
            uids[k] = (i - 1) * 1000 + 2 * k + 1;
        assert_int_equal(store_expunge(w.store, box, uids, 500, &ticket), 0);
        settle(&w, ticket);
    }
    assert_int_equal(store_vanished(w.store, box, 0, 0, 1 << 20, &b), -ERANGE);
    int r = store_vanished(w.store, box, ticket - 20, 0, 1 << 20, &b);
    assert_int_equal(r, 20 * 500);
    assert_int_equal(get_u32(b.p), (n / 1000 - 20) * 1000 + 1);
    buf_done(&b);
    free(uids);
    check_and_reopen(&w, true);
}

static int copy_as(struct world *w, uint64_t from, struct store_uids uids, const char *to, bool move, struct buf *pairs)
{
    struct store_copied made;
    buf_clear(pairs);
    int r = copy_range(w, (struct store_copying){ .from = from, .to = str_z(to), .move = move }, uids, pairs, &made);
    if (r == STORE_DONE && pairs->n) {
        struct store_folder f;
        settle(w, made.ticket);
        f = folder_named(w, to);
        assert_true(f.id == made.to && f.uidvalidity == made.uidvalidity && f.modseq == made.ticket);
        recount(w, &f);
    }
    return r;
}

static void test_copy_and_move(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char text[256];
    uint64_t box = begin(&w, 5);
    struct buf pairs = BUF(1024);
    assert_int_equal(make(&w, "a", 0), STORE_DONE);
    uint64_t a = id_of(&w, "a");
    assert_int_equal(flag_as(&w, a, ADD, 0, "first", RANGE(1, 1)), STORE_DONE);
    assert_int_equal(flag_as(&w, box, ADD, SEEN, "word", RANGE(2, 2)), STORE_DONE);
    const uint32_t gone = 3;
    uint64_t ticket;
    assert_int_equal(store_expunge(w.store, box, &gone, 1, &ticket), 0); /* only staged, but it counts */
    assert_int_equal(copy_as(&w, box, RANGE(1, 4), "a", false, &pairs), STORE_DONE);
    assert_int_equal(pairs.n, 3 * 8);
    assert_true(get_u32(pairs.p) == 1 && get_u32(pairs.p + 4) == 1 && get_u32(pairs.p + 16) == 4 &&
                get_u32(pairs.p + 20) == 3);
    struct mailbox_entry e = entry_of(&w, box, 2), c = entry_of(&w, a, 2);
    assert_true(c.flags == SEEN && e.keywords == 1 && c.keywords == 2 && c.size == e.size && c.number == e.number);
    assert_true(c.date_s == e.date_s && c.position.offset == e.position.offset && c.modseq > e.modseq);
    assert_int_equal(folder_named(&w, "INBOX").messages, 4);
    /* move: gone there, told as vanished */
    uint64_t since = folder_named(&w, "INBOX").modseq;
    assert_int_equal(copy_as(&w, box, RANGE(2, 4), "a", true, &pairs), STORE_DONE);
    assert_int_equal(pairs.n, 2 * 8);
    assert_true(get_u32(pairs.p + 4) == 4 && get_u32(pairs.p + 12) == 5);
    assert_string_equal(vanished_since(&w, box, since, 0, 9, text), "2 4 ");
    struct store_folder f = folder_named(&w, "INBOX");
    assert_true(f.messages == 2 && f.modseq == folder_named(&w, "a").modseq);
    recount(&w, &f);
    /* into itself */
    assert_int_equal(copy_as(&w, a, RANGE(1, 2), "a", true, &pairs), STORE_DONE);
    assert_true(get_u32(pairs.p + 4) == 6 && get_u32(pairs.p + 12) == 7);
    assert_int_equal(folder_named(&w, "a").messages, 5);
    /* nothing there; no such mailbox; another's */
    assert_int_equal(copy_as(&w, box, RANGE(2, 4), "a", true, &pairs), STORE_DONE);
    assert_int_equal(pairs.n, 0);
    assert_int_equal(copy_as(&w, box, RANGE(1, 1), "none", false, &pairs), STORE_NONEXISTENT);
    assert_int_equal(copy_as(&w, 77, RANGE(1, 1), "a", false, &pairs), STORE_NONEXISTENT);
    struct store_copied made;
    struct store_copying how = { .account = S("bob@example.org"), .from = box, .to = S("INBOX") };
    struct store_mailbox bobs;
    assert_int_equal(store_mailbox(w.store, S("bob@example.org"), S("INBOX"), &bobs), 0);
    assert_int_equal(copy_range(&w, how, RANGE(1, 1), &pairs, &made), STORE_NONEXISTENT);
    check_and_reopen(&w, true);
    /* the last one that has the message goes, its bytes are dead then and not before */
    struct store_stats s;
    store_stats(w.store, &s);
    assert_int_equal(s.messages, 2 + 5);
    assert_int_equal(flag_as(&w, a, ADD, DELETED, NULL, RANGE(1, UINT32_MAX)), STORE_DONE);
    assert_int_equal(store_expunge_deleted(w.store, a, NULL, 0, &ticket), STORE_DONE);
    check_and_reopen(&w, false);
    assert_int_equal(folder_named(&w, "a").messages, 0);
    buf_done(&pairs);
}

static void test_recent(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    uint64_t box = begin(&w, 3), ticket;
    uint64_t modseq = folder_named(&w, "INBOX").modseq;
    assert_int_equal(folder_named(&w, "INBOX").recent, 3);
    assert_int_equal(store_seen_recent(w.store, box, 3), STORE_DONE);
    assert_false(store_idle(w.store));
    assert_int_equal(folder_named(&w, "INBOX").recent, 1);
    assert_int_equal(folder_named(&w, "INBOX").modseq, modseq); /* no change that a client waits for */
    assert_int_equal(store_seen_recent(w.store, box, 2), STORE_DONE);
    assert_true(store_idle(w.store)); /* known already */
    assert_int_equal(store_seen_recent(w.store, box, 1000), STORE_DONE);
    assert_int_equal(folder_named(&w, "INBOX").recent, 0);
    deliver(&w, 4); /* a UID above what was claimed to be seen is \Recent still */
    assert_int_equal(folder_named(&w, "INBOX").recent, 1);
    const uint32_t uids[] = { 1, 4 };
    assert_int_equal(store_expunge(w.store, box, uids, 2, &ticket), 0);
    assert_int_equal(folder_named(&w, "INBOX").recent, 0);
    assert_int_equal(store_seen_recent(w.store, 99, 5), STORE_DONE);
    check_and_reopen(&w, true);
    assert_int_equal(folder_named(&w, "INBOX").recent, 0);
}

/* Restored from a backup: clients may know of changes that never happened here. */
static void test_jump(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct buf b = BUF(64);
    uint64_t box = begin(&w, 2), ticket;
    const uint32_t one = 1;
    assert_int_equal(store_expunge(w.store, box, &one, 1, &ticket), 0);
    assert_int_equal(store_flush(w.store), 0);
    uint64_t before = folder_named(&w, "INBOX").modseq;
    world_close(&w);
    close(openat(w.fd, "restored", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    world_begin(&w);
    struct store_folder f = folder_named(&w, "INBOX");
    assert_true(f.modseq > before + (1ull << 40) && f.uidnext > 1 << 20);
    assert_int_equal(entry_of(&w, box, 2).modseq, f.modseq); /* its flags are told anew */
    assert_int_equal(store_vanished(w.store, box, before, 0, 9, &b), -ERANGE);
    assert_int_equal(store_vanished(w.store, box, before + (1ull << 30), 0, 9, &b), -ERANGE);
    assert_int_equal(store_vanished(w.store, box, f.modseq, 0, 9, &b), 0);
    /* nothing is unchanged since before */
    struct store_uids all = RANGE(1, UINT32_MAX);
    struct store_flagging g = { .mailbox = box, .uids = &all, .n_uids = 1, .op = ADD, .system = SEEN,
                                .unchanged_since = before };
    assert_int_equal(store_flag(w.store, &g, &b, &ticket), STORE_DONE);
    assert_int_equal(b.n, 4);
    uint64_t lsn = deliver(&w, 3);
    assert_int_equal(folder_named(&w, "INBOX").modseq, lsn + (1ull << 40));
    assert_int_equal(store_expunge(w.store, box, &(uint32_t){ 2 }, 1, &ticket), 0);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(store_vanished(w.store, box, f.modseq, 0, 9, &b), 1);
    buf_done(&b);
    check_and_reopen(&w, true);
    recount_inbox(&w);
}

/* What was told before it was durable may be lost with its MODSEQ, which is not given again. */
static void test_told_early(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct buf failed = BUF(64);
    struct store_uids all = RANGE(1, UINT32_MAX);
    struct store_flagging g = { .uids = &all, .n_uids = 1, .op = ADD, .system = SEEN, .unchanged_since = UINT64_MAX };
    uint64_t ticket;
    g.mailbox = begin(&w, 2);
    assert_int_equal(store_tell_early(w.store), 0);
    assert_int_equal(store_flag(w.store, &g, &failed, &ticket), STORE_DONE);
    assert_int_equal(store_flush(w.store), 0);
    uint64_t told = store_modseq(w.store, ticket);
    assert_int_equal(folder_named(&w, "INBOX").modseq, told);
    world_close(&w); /* in order */
    world_begin(&w);
    assert_int_equal(folder_named(&w, "INBOX").modseq, told);
    assert_int_equal(store_tell_early(w.store), 0);
    g.system = 4;
    assert_int_equal(store_flag(w.store, &g, &failed, &ticket), STORE_DONE);
    told = store_modseq(w.store, ticket);
    world_close(&w); /* before it was written */
    world_begin(&w);
    struct store_folder f = folder_named(&w, "INBOX");
    assert_true(f.modseq > told && f.uidnext == 4);
    assert_int_equal(entry_of(&w, g.mailbox, 1).flags, SEEN);
    world_close(&w);
    world_begin(&w);
    assert_int_equal(folder_named(&w, "INBOX").modseq, f.modseq); /* once is enough */
    check_and_reopen(&w, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_keyword_limit),
        cmocka_unit_test(test_unchanged_since),
        cmocka_unit_test(test_expunge_in_pieces),
        cmocka_unit_test(test_expunge_and_vanished),
        cmocka_unit_test(test_history_is_bounded),
        cmocka_unit_test(test_copy_and_move),
        cmocka_unit_test(test_recent),
        cmocka_unit_test(test_jump),
        cmocka_unit_test(test_told_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
