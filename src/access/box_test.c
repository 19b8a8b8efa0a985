/* Sessions that share a mailbox, against a client that believes what it is told: after each telling its list of
 * messages is what the session's sequence numbers mean. Seeded. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "access/box.h"
#include "base/codec.h"
#include "base/pack.h"
#include "store/snapshot_format.h"

enum { ID = 7, CLIENTS = 3, ROUNDS = 4000, UIDS_MAX = 1 << 16 };

static struct boxes all;
static uint64_t lsn, forgotten, rng = 42;
static uint8_t truth_flags[UIDS_MAX]; /* by UID */
static bool truth_gone[UIDS_MAX];
static uint32_t next_uid;

static uint32_t dice(uint32_t n)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng >> 33) % n;
}

static void forget(void *arg, uint64_t id)
{
    (void)arg;
    forgotten = id;
}

static int empty_snapshot(void)
{
    char p[SNAPSHOT_HEADER] = "PHsnap2\n";
    int fd = memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    put_u64(p + 8, ID);
    put_u32(p + 24, 1);
    put_u32(p + 28, 1);
    put_u32(p + 56, 1);
    put_u64(p + 40, sizeof(p));
    put_u64(p + 64, sizeof(p));
    assert_int_equal(write(fd, p, sizeof(p)), sizeof(p));
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
    return fd;
}

static struct box *fresh(void)
{
    static const uint8_t key[16] = { 1 };
    boxes_init(&all, key, forget, NULL);
    lsn = forgotten = 0;
    next_uid = 1;
    memset(truth_gone, 0, sizeof(truth_gone));
    struct box *b = boxes_load(&all, ID, S("anna@example.org"), S("INBOX"), empty_snapshot());
    assert_non_null(b);
    assert_ptr_equal(boxes_find(&all, ID), b);
    return b;
}

static void send(struct buf *item)
{
    assert_int_equal(item->failed, 0);
    assert_int_equal(boxes_feed(&all, ID, buf_str(item)), 0);
    buf_done(item);
}

static void arrive(uint32_t n)
{
    struct buf b = BUF(1 << 20);
    lsn++;
    feed_begin(&b, FEED_ARRIVED, lsn, lsn);
    for (uint32_t i = 0; i < n; i++) {
        struct mailbox_entry e = { .uid = next_uid,
                                   .modseq = lsn,
                                   .log = S("smtp-in"),
                                   .prefix = S("Return-Path: <>\r\n"),
                                   .content_len = next_uid };
        e.size = e.prefix.n + e.content_len;
        truth_flags[next_uid] = 0;
        feed_put_entry(&b, &e);
        next_uid += 1 + dice(3);
    }
    feed_end(&b, 0, n);
    send(&b);
}

static void flag(uint32_t uid, uint8_t flags)
{
    struct buf b = BUF(1 << 20);
    lsn++;
    feed_begin(&b, FEED_FLAGS, lsn, lsn);
    feed_put_flags(&b, uid, flags, 0);
    feed_end(&b, 0, 1);
    send(&b);
    truth_flags[uid] = flags;
}

static void expunge(uint32_t uid)
{
    struct buf b = BUF(1 << 20);
    lsn++;
    feed_begin(&b, FEED_EXPUNGED, lsn, lsn);
    pack_u32(&b, uid);
    feed_end(&b, 0, 1);
    send(&b);
    truth_gone[uid] = true;
}

/* What a mail program knows. */
struct client {
    struct box_view view;
    uint32_t uid[UIDS_MAX], n;
    int16_t flags[UIDS_MAX]; /* by UID; -1 unknown */
};

static void forget_uid(struct client *c, uint32_t at)
{
    assert_true(at < c->n);
    memmove(c->uid + at, c->uid + at + 1, (c->n - at - 1) * sizeof(*c->uid));
    c->n--;
}

static void learn(struct client *c, uint32_t exists)
{
    assert_true(exists > c->n);
    for (; c->n < exists; c->n++) {
        size_t index = box_view_index(&c->view, c->n + 1);
        assert_true(index != SIZE_MAX);
        const struct box_message *m = &c->view.box->messages[index];
        c->uid[c->n] = m->uid;
        c->flags[m->uid] = m->flags;
    }
}

static void vanish(struct client *c, str set)
{
    while (set.n) {
        str range = str_cut(&set, ','), first = str_cut(&range, ':');
        uint64_t a, z;
        assert_int_equal(str_u64(first, UINT32_MAX, &a), 0);
        z = a;
        if (range.n)
            assert_int_equal(str_u64(range, UINT32_MAX, &z), 0);
        for (; a <= z; a++) {
            uint32_t at = 0;
            while (at < c->n && c->uid[at] != a)
                at++;
            forget_uid(c, at);
        }
    }
}

static uint8_t flags_in(str line)
{
    uint8_t f = 0;
    f |= str_find(line, S("\\Seen")) >= 0 ? IMAP_SEEN : 0;
    f |= str_find(line, S("\\Deleted")) >= 0 ? IMAP_DELETED : 0;
    f |= str_find(line, S("\\Flagged")) >= 0 ? IMAP_FLAGGED : 0;
    return f;
}

static void believe(struct client *c, str text)
{
    while (text.n) {
        str line = str_cut(&text, '\n'), rest = str_from(line, 2);
        line = str_trim(line);
        str word = str_word(&rest);
        uint64_t n;
        if (str_eq(word, S("VANISHED"))) {
            vanish(c, str_trim(rest));
            continue;
        }
        assert_int_equal(str_u64(word, UINT32_MAX, &n), 0);
        word = str_word(&rest);
        if (str_eq(word, S("EXISTS")))
            learn(c, (uint32_t)n);
        else if (str_eq(word, S("EXPUNGE")))
            forget_uid(c, (uint32_t)n - 1);
        else if (str_eq(word, S("FETCH")))
            c->flags[c->uid[n - 1]] = flags_in(rest);
        else
            assert_true(str_eq(word, S("RECENT")));
    }
}

static void check(const struct client *c, bool all_told)
{
    const struct box_view *v = &c->view;
    assert_int_equal(box_view_exists(v), c->n);
    for (uint32_t i = 0; i < c->n; i++) {
        size_t index = box_view_index(v, i + 1);
        assert_int_equal(v->box->messages[index].uid, c->uid[i]);
        assert_int_equal(box_view_seq(v, index), i + 1);
        if (!truth_gone[c->uid[i]])
            assert_int_equal(c->flags[c->uid[i]], truth_flags[c->uid[i]]);
        else
            assert_false(all_told);
    }
    assert_int_equal(box_view_index(v, c->n + 1), SIZE_MAX);
    if (!all_told)
        return;
    uint32_t there = 0;
    for (uint32_t u = 1; u < next_uid; u++)
        there += box_find(v->box, u) < v->box->n && v->box->messages[box_find(v->box, u)].uid == u && !truth_gone[u];
    assert_int_equal(there, c->n);
    assert_false(box_view_news(v));
}

static void tell(struct client *c, bool expunges)
{
    _cleanup_buf_ struct buf out = BUF(64 << 20);
    struct box_tell how = { .expunges = expunges, .vanished = dice(2), .uid = dice(2), .rev2 = dice(2) };
    assert_int_equal(box_view_tell(&c->view, &how, &out), 0);
    believe(c, buf_str(&out));
    check(c, expunges);
}

static void check_walk(const struct client *c)
{
    uint32_t a = 1 + dice(c->n), z = 1 + dice(c->n), low = MIN(a, z), high = MAX(a, z), seq;
    struct imap_range r[] = { { a, z }, { 0, 0 } };
    struct imap_set set = { .ranges = r, .n = 2 };
    struct box_range *ranges;
    size_t n, index;
    assert_int_equal(box_view_resolve(&c->view, &set, false, &ranges, &n), 0);
    struct box_walk w = { .view = &c->view, .ranges = ranges, .n = n };
    for (uint32_t expect = low; expect <= high; expect++) {
        assert_true(box_walk_next(&w, &index, &seq));
        assert_int_equal(seq, expect);
        assert_int_equal(c->view.box->messages[index].uid, c->uid[seq - 1]);
    }
    if (high < c->n) { /* "*" */
        assert_true(box_walk_next(&w, &index, &seq));
        assert_int_equal(seq, c->n);
    }
    assert_false(box_walk_next(&w, &index, &seq));
    free(ranges);
}

static void open_client(struct client *c, struct box *b)
{
    c->n = 0;
    c->view = (struct box_view){ 0 };
    assert_int_equal(box_view_open(&c->view, b, dice(2)), 0);
    if (box_view_exists(&c->view))
        learn(c, (uint32_t)box_view_exists(&c->view));
    check(c, true);
}

static void do_something(void)
{
    uint32_t uid = next_uid > 1 ? 1 + dice(next_uid - 1) : 1;
    struct box *b = boxes_find(&all, ID);
    size_t at = box_find(b, uid);
    bool there = at < b->n && b->messages[at].uid == uid && !truth_gone[uid];
    switch (dice(4)) {
    case 0: arrive(1 + dice(5)); return;
    case 1:
    case 2:
        if (there)
            expunge(uid);
        return;
    default:
        if (there)
            flag(uid, (uint8_t)(dice(2) * IMAP_SEEN | dice(2) * IMAP_FLAGGED));
        return;
    }
}

static void test_model(void **state)
{
    (void)state;
    static struct client clients[CLIENTS];
    struct box *b = fresh();
    for (size_t i = 0; i < CLIENTS; i++)
        open_client(&clients[i], b);
    for (int round = 0; round < ROUNDS; round++) {
        struct client *c = &clients[dice(CLIENTS)];
        do_something();
        if (dice(3) == 0)
            tell(c, dice(2));
        if (dice(40) == 0) { /* often all are closed but one, so that it is tidied */
            for (size_t i = 0; i < CLIENTS; i++)
                if (&clients[i] != c)
                    box_view_close(&clients[i].view, 0);
            tell(c, true);
            for (size_t i = 0; i < CLIENTS; i++)
                if (&clients[i] != c)
                    open_client(&clients[i], b);
        }
        if (c->n)
            check_walk(c);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        tell(&clients[i], true);
        box_view_close(&clients[i].view, 0);
    }
    boxes_done(&all);
}

static void expect_resolved(const struct box_view *v, bool uid, struct imap_range in, const char *uids)
{
    struct imap_set set = { .ranges = &in, .n = 1 };
    struct box_range *ranges;
    size_t n, index;
    uint32_t seq;
    char text[256] = "";
    assert_int_equal(box_view_resolve(v, &set, uid, &ranges, &n), 0);
    struct box_walk w = { .view = v, .ranges = ranges, .n = n };
    while (box_walk_next(&w, &index, &seq))
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u ", v->box->messages[index].uid);
    assert_string_equal(text, uids);
    free(ranges);
}

static void arrive_one(uint32_t uid)
{
    next_uid = uid;
    arrive(1);
}

static void test_sets(void **state)
{
    (void)state;
    struct box_view v = { 0 };
    struct box *b = fresh();
    struct box_range *ranges;
    size_t n;
    assert_int_equal(box_view_open(&v, b, false), 0);
    expect_resolved(&v, false, (struct imap_range){ 1, 0 }, ""); /* programs say it to an empty mailbox */
    box_view_close(&v, 0);
    for (uint32_t i = 1; i <= 5; i++)
        arrive_one(i * 10);
    assert_int_equal(box_view_open(&v, b, false), 0);
    expect_resolved(&v, false, (struct imap_range){ 1, 0 }, "10 20 30 40 50 ");
    expect_resolved(&v, false, (struct imap_range){ 0, 2 }, "20 30 40 50 "); /* "*:2" */
    expect_resolved(&v, true, (struct imap_range){ 15, 41 }, "20 30 40 ");
    expect_resolved(&v, true, (struct imap_range){ 41, 15 }, "20 30 40 ");
    expect_resolved(&v, true, (struct imap_range){ 999, 0 }, "50 "); /* "999:*" has the last one, RFC 9051 9 */
    expect_resolved(&v, true, (struct imap_range){ 11, 19 }, "");
    struct imap_range bad = { 6, 6 };
    struct imap_set set = { .ranges = &bad, .n = 1 };
    assert_int_equal(box_view_resolve(&v, &set, false, &ranges, &n), -ERANGE);
    bad = (struct imap_range){ 2, UINT32_MAX };
    assert_int_equal(box_view_resolve(&v, &set, false, &ranges, &n), -ERANGE);
    box_view_close(&v, 0);
    boxes_done(&all);
}

/* RFC 7162 3.1.3: the session that asked for silence hears the MODSEQ alone; others hear all. */
static void test_silent(void **state)
{
    (void)state;
    struct box_view mine = { 0 }, other = { 0 };
    struct box *b = fresh();
    arrive_one(1);
    assert_int_equal(box_view_open(&mine, b, false), 0);
    assert_int_equal(box_view_open(&other, b, false), 0);
    flag(1, IMAP_SEEN);
    mine.silent_lsn = lsn;
    _cleanup_buf_ struct buf out = BUF(4096);
    assert_int_equal(box_view_tell(&mine, &(struct box_tell){ .uid = true, .modseq = true }, &out), 0);
    buf_addc(&out, 0);
    assert_string_equal(out.p, "* 1 FETCH (UID 1 MODSEQ (2))\r\n");
    buf_clear(&out);
    assert_int_equal(box_view_tell(&other, &(struct box_tell){ .uid = true, .modseq = true }, &out), 0);
    buf_addc(&out, 0);
    assert_string_equal(out.p, "* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (2))\r\n"); /* it came before this session */
    box_view_close(&mine, 0);
    box_view_close(&other, 0);
    boxes_done(&all);
}

/* Kept after its last session, current all the time, forgotten when it was long unused. */
static void test_unused(void **state)
{
    (void)state;
    struct box_view v = { 0 };
    struct box *b = fresh();
    assert_int_equal(box_view_open(&v, b, false), 0);
    box_view_close(&v, 1000);
    arrive_one(5);
    expunge(5);
    arrive_one(6);
    boxes_sweep(&all, 1000 + BOX_UNUSED_MS - 1);
    assert_ptr_equal(boxes_find(&all, ID), b);
    assert_int_equal(box_view_open(&v, b, false), 0);
    assert_int_equal(box_view_exists(&v), 1);
    assert_int_equal(b->n, 1); /* what is gone was taken out */
    box_view_close(&v, 2000);
    boxes_sweep(&all, 2000 + BOX_UNUSED_MS);
    assert_null(boxes_find(&all, ID));
    assert_int_equal(forgotten, ID);
    boxes_done(&all);
}

static int told;
static void count(struct box_view *v)
{
    (void)v;
    told++;
}

static void test_gone(void **state)
{
    (void)state;
    struct box_view v = { .changed = count };
    struct box *b = fresh();
    told = 0;
    assert_int_equal(box_view_open(&v, b, false), 0);
    struct buf item = BUF(100);
    lsn++;
    feed_begin(&item, FEED_GONE, lsn, lsn);
    send(&item);
    assert_int_equal(told, 1);
    assert_true(b->gone && box_view_news(&v));
    box_view_close(&v, 0);
    boxes_done(&all);
}

/* A feed that contradicts itself: the mailbox is no longer believed. */
static void test_hostile_feed(void **state)
{
    (void)state;
    struct box *b = fresh();
    arrive_one(5);
    struct buf item = BUF(1000);
    lsn++;
    feed_begin(&item, FEED_ARRIVED, lsn, lsn);
    feed_put_entry(&item, &(struct mailbox_entry){ .uid = 5, .log = S("smtp-in") });
    feed_end(&item, 0, 1);
    assert_int_equal(boxes_feed(&all, ID, buf_str(&item)), -EBADMSG);
    assert_null(boxes_find(&all, ID));
    assert_int_equal(boxes_feed(&all, ID, S("x")), -EBADMSG);
    (void)b;
    buf_done(&item);
    boxes_done(&all);
}

static void test_slow_view_is_given_up(void **state)
{
    (void)state;
    static struct box_view v;
    struct box *b = fresh();
    arrive_one(1);
    assert_int_equal(box_view_open(&v, b, false), 0);
    for (size_t i = 0; i < 3000000 && !v.lost; i++)
        flag(1, (uint8_t)(i & 1));
    assert_true(v.lost);
    _cleanup_buf_ struct buf out = BUF(100);
    assert_int_equal(box_view_tell(&v, &(struct box_tell){ 0 }, &out), -ESTALE);
    box_view_close(&v, 0);
    boxes_done(&all);
}

/* Changes of flags are told as the output takes them, each message once, with the flags it has then. */
static void test_news_in_pieces(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    struct box_view v = { 0 };
    struct box_tell how = { .expunges = true, .uid = true };
    struct box *b = fresh();
    for (uint32_t uid = 1; uid <= MANY; uid++)
        arrive_one(uid);
    assert_int_equal(box_view_open(&v, b, false), 0);
    for (unsigned times = 0; times < 4; times++)
        for (uint32_t uid = MANY; uid; uid--)
            flag(uid, times % 2 ? IMAP_SEEN : IMAP_FLAGGED);
    size_t lines = 0, pieces = 0;
    do {
        _cleanup_buf_ struct buf out = BUF(80 * 1024);
        assert_int_equal(box_view_tell(&v, &how, &out), 0);
        for (size_t i = 0; i < out.n; i++)
            lines += out.p[i] == '\n';
        if (++pieces == 1)
            for (uint32_t uid = 1; uid <= 40; uid++)
                expunge(uid); /* box_tidy must wait */
    } while (box_view_more(&v));
    assert_int_equal(lines, MANY + 40);
    assert_true(pieces > 2);
    assert_int_equal(box_view_exists(&v), MANY - 40);
    assert_int_equal(b->n, MANY - 40);
    box_view_close(&v, 0);
    boxes_done(&all);
}

static int snapshot_of(uint64_t id)
{
    char p[SNAPSHOT_HEADER];
    int from = empty_snapshot(), fd = memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(pread(from, p, sizeof(p), 0), sizeof(p));
    close(from);
    put_u64(p + 8, id);
    assert_int_equal(write(fd, p, sizeof(p)), sizeof(p));
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
    return fd;
}

/* Whoever selects mailbox after mailbox does not use up the descriptors; those in use stay. */
static void test_kept(void **state)
{
    (void)state;
    struct box_view v = { 0 };
    struct box *b = fresh();
    assert_int_equal(box_view_open(&v, b, false), 0);
    for (uint64_t id = 100; id < 100 + 2 * BOXES_KEPT_MAX; id++) {
        char name[32];
        snprintf(name, sizeof(name), "m%u", (unsigned)id);
        assert_non_null(boxes_load(&all, id, S("anna@example.org"), str_z(name), snapshot_of(id)));
        assert_true(all.by_id.n <= BOXES_KEPT_MAX);
    }
    assert_ptr_equal(boxes_find(&all, ID), b);
    assert_non_null(boxes_find(&all, 99 + 2 * BOXES_KEPT_MAX));
    assert_int_not_equal(forgotten, 0);
    box_view_close(&v, 0);
    boxes_done(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_unused),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_hostile_feed),
        cmocka_unit_test(test_slow_view_is_given_up),
        cmocka_unit_test(test_news_in_pieces),
        cmocka_unit_test(test_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
