/* STORE, EXPUNGE, COPY and MOVE against a store that the test plays, and the rules of when news are told. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"
#include "store/mailbox_role.h"

static const struct play_mail mail[] = { { "", "a" }, { "", "b" }, { "", "c" }, { "", "d" } }; /* UIDs 11 to 14 */

static void expect_ranges(struct role_play *p, const uint32_t *want, uint32_t n)
{
    assert_int_equal(unpack_u32(&p->in), n);
    for (uint32_t i = 0; i < 2 * n; i++)
        assert_int_equal(unpack_u32(&p->in), want[i]);
    assert_true(unpack_end(&p->in));
}

struct flag {
    uint8_t op;
    uint32_t system;
    uint64_t since;
    const char *keyword;
    uint32_t ranges[4], n;
    enum flag_early early;
};

/* The next FLAG must be that: its number. */
static uint64_t expect_flag(struct role_play *p, const struct flag *want)
{
    uint64_t request = play_request(p, IPC_FLAG);
    assert_int_equal(unpack_u64(&p->in), PLAY_MAILBOX);
    assert_int_equal(unpack_u8(&p->in), want->early);
    assert_int_equal(unpack_u8(&p->in), want->op);
    assert_int_equal(unpack_u32(&p->in), want->system);
    assert_int_equal(unpack_u64(&p->in), want->since);
    assert_int_equal(unpack_u32(&p->in), want->keyword ? 1 : 0);
    if (want->keyword)
        assert_true(str_eq(unpack_str(&p->in), str_z(want->keyword)));
    expect_ranges(p, want->ranges, want->n);
    return request;
}

static void flagged(struct role_play *p, uint64_t request, uint64_t lsn, uint32_t failed)
{
    struct buf b = play_answer(request, STORE_DONE);
    pack_u8(&b, 1);
    pack_u64(&b, lsn);
    pack_u64(&b, 0);
    pack_u32(&b, failed ? 1 : 0);
    if (failed)
        pack_u32(&b, failed);
    play_reply(p, IPC_FLAGGED, &b);
}

static void test_store(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    play_imap(&p, &d);
    client_send(&d, S("s EXAMINE INBOX\r\n"));
    client_until(&d, "s OK");
    /* what was so already is answered too */
    client_send(&c, S("a STORE 1:2,4 +FLAGS (\\Seen)\r\n"));
    uint64_t request = expect_flag(&p, &(struct flag){ 1, IMAP_SEEN, UINT64_MAX, NULL, { 11, 12, 14, 14 }, 2 });
    play_feed_flags(&p, 5, 12, IMAP_SEEN);
    flagged(&p, request, 5, 0);
    client_expect(&c, "* 1 FETCH (FLAGS (\\Recent))");
    client_expect(&c, "* 4 FETCH (FLAGS (\\Recent))");
    client_expect(&c, "* 2 FETCH (FLAGS (\\Seen \\Recent))");
    client_expect(&c, "a OK");
    client_talk(&d, "n NOOP\r\n", "* 2 FETCH (FLAGS (\\Seen))");
    client_expect(&d, "n OK");
    /* silent: nothing of what this did, but what others did */
    client_send(&c, S("b UID STORE 11 FLAGS.SILENT (\\Flagged Work)\r\n"));
    request = expect_flag(&p, &(struct flag){ 0, IMAP_FLAGGED, UINT64_MAX, "Work", { 11, 11 }, 1 });
    play_feed_flags(&p, 6, 13, IMAP_DRAFT);
    play_feed_flags(&p, 7, 11, IMAP_FLAGGED);
    flagged(&p, request, 7, 0);
    client_expect(&c, "* 3 FETCH (UID 13 FLAGS (\\Draft \\Recent))");
    client_expect(&c, "b OK");
    play_stop(&p);
}

/* imap_flag_sync no, to one who asks for MODSEQ: the answer comes before the feed, which says nothing new then. */
static void test_store_before_it_is_durable(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "imap_flag_sync no\n");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    client_talk(&c, "e ENABLE CONDSTORE\r\n", "* ENABLED CONDSTORE");
    client_until(&c, "e OK");
    client_send(&c, S("a UID STORE 11:12 +FLAGS (\\Flagged)\r\n"));
    struct flag want = { 1, IMAP_FLAGGED, UINT64_MAX, NULL, { 11, 12 }, 1, FLAG_EARLY };
    uint64_t request = expect_flag(&p, &want);
    struct buf b = play_answer(request, STORE_DONE);
    pack_u8(&b, 1);
    pack_u64(&b, 50);
    pack_u64(&b, 50);
    pack_u32(&b, 0);
    play_reply(&p, IPC_FLAGGED, &b);
    client_expect(&c, "* 1 FETCH (UID 11 FLAGS (\\Flagged");
    client_expect(&c, "* 2 FETCH (UID 12 FLAGS (\\Flagged");
    client_expect(&c, "a OK");
    play_feed_flags(&p, 49, 11, IMAP_SEEN); /* of an older change: it is no longer so */
    play_feed_flags(&p, 50, 12, IMAP_FLAGGED);
    client_send(&c, S("b NOOP\r\n"));
    client_expect(&c, "b OK");
    client_send(&c, S("c UID STORE 11 +FLAGS (new)\r\n")); /* which bit it gets is the store's to say */
    want = (struct flag){ 1, 0, UINT64_MAX, "new", { 11, 11 }, 1, FLAG_DURABLE };
    request = expect_flag(&p, &want);
    flagged(&p, request, 51, 0);
    client_until(&c, "c OK");
    play_stop(&p);
}

/* A command whose answer comes behind all that the store has said before. */
static uint64_t ask_store(struct role_play *p, struct play_client *c, const char *tag)
{
    client_send(c, str_z(tag));
    client_send(c, S(" UID STORE 14 +FLAGS.SILENT (new)\r\n"));
    return expect_flag(p, &(struct flag){ 1, 0, UINT64_MAX, "new", { 14, 14 }, 1, FLAG_DURABLE });
}

/* To others: before the store has heard of it. What the feed says of earlier changes does not take it back; the other
 * session hears of it by the feed, this one does not hear of its own. */
static void test_store_ahead(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    play_access(&p, "imap_flag_sync no\n");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    play_imap(&p, &d);
    client_send(&d, S("s EXAMINE INBOX\r\n"));
    client_until(&d, "s OK");
    client_send(&c, S("a UID STORE 11:12 +FLAGS (\\Flagged)\r\n"));
    client_expect(&c, "* 1 FETCH (UID 11 FLAGS (\\Flagged");
    client_expect(&c, "* 2 FETCH (UID 12 FLAGS (\\Flagged");
    client_expect(&c, "a OK");
    client_talk(&c, "b UID STORE 11 +FLAGS.SILENT (\\Flagged)\r\n", "b OK"); /* nothing to do */
    client_talk(&c, "c UID STORE 13 FLAGS.SILENT (\\Draft)\r\n", "c OK");
    uint64_t first = expect_flag(&p, &(struct flag){ 1, IMAP_FLAGGED, UINT64_MAX, NULL, { 11, 12 }, 1, FLAG_AHEAD });
    uint64_t second = expect_flag(&p, &(struct flag){ 0, IMAP_DRAFT, UINT64_MAX, NULL, { 13, 13 }, 1, FLAG_AHEAD });
    uint64_t third = ask_store(&p, &c, "f");
    play_feed_flags(&p, 49, 11, IMAP_SEEN);
    flagged(&p, first, 50, 0);
    flagged(&p, second, 51, 0);
    flagged(&p, third, 0, 0);
    client_expect(&c, "* 1 FETCH (UID 11 FLAGS (\\Flagged \\Seen \\Recent))");
    client_expect(&c, "f OK");
    third = ask_store(&p, &c, "g");
    play_feed_flags(&p, 50, 11, IMAP_SEEN | IMAP_FLAGGED);
    play_feed_flags(&p, 50, 12, IMAP_FLAGGED);
    play_feed_flags(&p, 51, 13, IMAP_DRAFT);
    flagged(&p, third, 0, 0);
    client_expect(&c, "g OK");
    client_talk(&d, "n NOOP\r\n", "* 1 FETCH (FLAGS (\\Flagged \\Seen))");
    client_expect(&d, "* 2 FETCH (FLAGS (\\Flagged))");
    client_expect(&d, "* 3 FETCH (FLAGS (\\Draft))");
    client_expect(&d, "n OK");
    third = ask_store(&p, &c, "h");
    play_feed_flags(&p, 52, 12, 0); /* somebody else, later */
    flagged(&p, third, 0, 0);
    client_expect(&c, "* 2 FETCH (UID 12 FLAGS (\\Recent))");
    client_expect(&c, "h OK");
    play_stop(&p);
}

/* The store did not do it: nobody goes on with a mailbox that is not true. */
static void test_store_ahead_refused(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "imap_flag_sync no\n");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    client_talk(&c, "a STORE 1 FLAGS.SILENT (\\Draft)\r\n", "a OK");
    struct flag want = { 0, IMAP_DRAFT, UINT64_MAX, NULL, { 11, 11 }, 1, FLAG_AHEAD };
    struct buf b = play_answer(expect_flag(&p, &want), MAILBOX_TROUBLE);
    pack_u8(&b, 1);
    pack_u64(&b, 0);
    pack_u64(&b, 0);
    pack_u32(&b, 0);
    play_reply(&p, IPC_FLAGGED, &b);
    client_until(&c, "* BYE");
    play_stop(&p);
}

static void test_conditional_store(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    client_send(&c, S("a STORE 1:3 (UNCHANGEDSINCE 4) -FLAGS.SILENT (\\Seen)\r\n"));
    uint64_t request = expect_flag(&p, &(struct flag){ 2, IMAP_SEEN, 4, NULL, { 11, 13 }, 1 });
    play_feed_flags(&p, 6, 11, 0);
    flagged(&p, request, 6, 12);
    client_expect(&c, "* 1 FETCH (MODSEQ (6))");
    client_expect(&c, "a OK [MODIFIED 2]");
    client_send(&c, S("b UID STORE 12 (UNCHANGEDSINCE 4) FLAGS ()\r\n"));
    request = expect_flag(&p, &(struct flag){ 0, 0, 4, NULL, { 12, 12 }, 1 });
    flagged(&p, request, 0, 12);
    client_expect(&c, "b OK [MODIFIED 12]");
    client_send(&c, S("c STORE 1 +FLAGS ($X)\r\n"));
    struct buf b = play_answer(expect_flag(&p, &(struct flag){ 1, 0, UINT64_MAX, "$X", { 11, 11 }, 1 }), STORE_LIMIT);
    pack_u8(&b, 1);
    pack_u64(&b, 0);
    pack_u64(&b, 0);
    pack_u32(&b, 0);
    play_reply(&p, IPC_FLAGGED, &b);
    client_expect(&c, "c NO [LIMIT]");
    client_talk(&c, "d STORE 9 FLAGS ()\r\n", "d BAD");
    client_talk(&c, "e UID STORE 99 FLAGS ()\r\n", "e OK");
    play_stop(&p);
}

static void test_expunges_wait_where_numbers_must_stay(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    play_feed_expunged(&p, 5, 12);
    client_send(&c, S("a STORE 3 +FLAGS.SILENT (\\Seen)\r\n"));
    flagged(&p, expect_flag(&p, &(struct flag){ 1, IMAP_SEEN, UINT64_MAX, NULL, { 13, 13 }, 1 }), 0, 0);
    client_expect(&c, "a OK");
    client_talk(&c, "b NOOP\r\n", "* 2 EXPUNGE");
    client_expect(&c, "b OK");
    client_send(&c, S("c UID EXPUNGE 11,13\r\n"));
    uint64_t request = play_request(&p, IPC_EXPUNGE_DELETED);
    assert_int_equal(unpack_u64(&p.in), PLAY_MAILBOX);
    expect_ranges(&p, (const uint32_t[]){ 11, 11, 13, 13 }, 2);
    play_feed_expunged(&p, 6, 13);
    struct buf b = play_answer(request, STORE_DONE);
    pack_u32(&b, 0);
    play_reply(&p, IPC_EXPUNGE_DONE, &b);
    client_expect(&c, "* 2 EXPUNGE");
    client_expect(&c, "c OK");
    client_talk(&c, "d UID EXPUNGE 99\r\n", "d OK"); /* not: all */
    play_quiet(&p, p.peer[ROLE_STORE], 100);
    play_stop(&p);
}

static uint64_t expect_copy(struct role_play *p, uint8_t move, const uint32_t *ranges, uint32_t n)
{
    uint64_t request = play_request(p, IPC_COPY);
    assert_int_equal(unpack_u64(&p->in), PLAY_MAILBOX);
    assert_int_equal(unpack_u8(&p->in), move);
    assert_true(str_eq(unpack_str(&p->in), S("Work")));
    expect_ranges(p, ranges, n);
    return request;
}

static void copied(struct role_play *p, uint64_t request, uint8_t last, const uint32_t *runs, uint32_t n)
{
    struct buf b = play_answer(request, STORE_DONE);
    pack_u8(&b, last);
    pack_u32(&b, 99);
    pack_u32(&b, n);
    for (uint32_t i = 0; i < 3 * n; i++)
        pack_u32(&b, runs[i]);
    play_reply(p, IPC_COPIED, &b);
}

static void test_copy_and_move(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    client_send(&c, S("a COPY 1:2,4 Work\r\n"));
    uint64_t request = expect_copy(&p, 0, (const uint32_t[]){ 11, 12, 14, 14 }, 2);
    copied(&p, request, 0, (const uint32_t[]){ 11, 1, 1 }, 1); /* in two frames, runs that go on */
    copied(&p, request, 1, (const uint32_t[]){ 12, 2, 1, 14, 3, 1 }, 2);
    client_expect(&c, "a OK [COPYUID 99 11:12,14 1:3]");
    client_send(&c, S("b MOVE 2:3 Work\r\n"));
    request = expect_copy(&p, 1, (const uint32_t[]){ 12, 13 }, 1);
    play_feed_expunged(&p, 5, 12);
    play_feed_expunged(&p, 6, 13);
    copied(&p, request, 1, (const uint32_t[]){ 12, 7, 2 }, 1);
    client_expect(&c, "* OK [COPYUID 99 12:13 7:8]");
    client_expect(&c, "* 3 EXPUNGE");
    client_expect(&c, "* 2 EXPUNGE");
    client_expect(&c, "b OK");
    client_send(&c, S("c COPY 1 Work\r\n"));
    struct buf b = play_answer(expect_copy(&p, 0, (const uint32_t[]){ 11, 11 }, 1), STORE_NONEXISTENT);
    pack_u8(&b, 1);
    pack_u32(&b, 0);
    pack_u32(&b, 0);
    play_reply(&p, IPC_COPIED, &b);
    client_expect(&c, "c NO [TRYCREATE]");
    play_stop(&p);
}

/* More news than the output holds: they come in pieces, the reply behind them. */
static void test_a_flood_of_news(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    static struct play_mail many[MANY];
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    for (size_t i = 0; i < MANY; i++)
        many[i] = (struct play_mail){ "", "x" };
    play_imap(&p, &c);
    play_selected(&p, &c, many, MANY);
    for (uint64_t lsn = 1; lsn <= 10; lsn++) {
        struct buf item = BUF(FEED_ITEM_MAX);
        feed_begin(&item, FEED_FLAGS, lsn, lsn);
        for (uint32_t i = 0; i < MANY; i++)
            feed_put_flags(&item, 11 + i, IMAP_SEEN | IMAP_FLAGGED | IMAP_ANSWERED | IMAP_DRAFT, 0);
        play_feed(&p, &item, MANY);
    }
    client_send(&c, S("a UID STORE 11:* +FLAGS (\\Seen)\r\n"));
    flagged(&p, expect_flag(&p, &(struct flag){ 1, IMAP_SEEN, UINT64_MAX, NULL, { 11, MANY + 10 }, 1 }), 0, 0);
    for (unsigned i = 1; i <= 2 * MANY; i++) {
        char want[64];
        snprintf(want, sizeof(want), "* %u FETCH (UID %u FLAGS (\\Answered", (i - 1) % MANY + 1, (i - 1) % MANY + 11);
        client_expect(&c, want);
    }
    client_expect(&c, "a OK");
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_store_before_it_is_durable),
        cmocka_unit_test(test_store_ahead),
        cmocka_unit_test(test_store_ahead_refused),
        cmocka_unit_test(test_conditional_store),
        cmocka_unit_test(test_expunges_wait_where_numbers_must_stay),
        cmocka_unit_test(test_copy_and_move),
        cmocka_unit_test(test_a_flood_of_news),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
