/* SELECT and what leaves a mailbox, against a store that the test plays: snapshots, held mailboxes, QRESYNC. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"

static const struct play_mail mail[] = { { "", "a" }, { "", "b" }, { "", "c" }, { "", "d" } }; /* UIDs 11 to 14 */

static void test_what_select_says(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    client_send(&c, S("s SELECT INBOX\r\n"));
    play_opens(&p, STORE_DONE, play_snapshot(mail, 4));
    client_expect(&c, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)");
    client_expect(&c, "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)]");
    client_expect(&c, "* 4 EXISTS");
    client_expect(&c, "* 4 RECENT");
    client_expect(&c, "* OK [UNSEEN 1]");
    client_expect(&c, "* OK [UIDVALIDITY 1234]");
    client_expect(&c, "* OK [UIDNEXT 15]");
    client_expect(&c, "* OK [HIGHESTMODSEQ 1]");
    client_expect(&c, "* OK [MAILBOXID (M0000000000000005)]");
    client_expect(&c, "s OK [READ-WRITE]");
    play_expect(&p, p.peer[ROLE_STORE], IPC_RECENT_SEEN);
    assert_int_equal(unpack_str(&p.in).n, 26);
    assert_int_equal(unpack_u64(&p.in), PLAY_MAILBOX);
    assert_int_equal(unpack_u32(&p.in), 15);
    client_send(&c, S("e EXAMINE nowhere\r\n"));
    play_opens(&p, STORE_NONEXISTENT, -1);
    client_expect(&c, "* OK [CLOSED]");
    client_expect(&c, "e NO [NONEXISTENT]");
    client_talk(&c, "f FETCH 1 FLAGS\r\n", "f BAD"); /* none is selected any more */
    client_send(&c, S("g EXAMINE INBOX\r\n"));
    assert_true(str_eq(client_expect(&c, "* FLAGS"), S("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)")));
    client_expect(&c, "* OK [PERMANENTFLAGS ()]");
    client_expect(&c, "* 4 EXISTS");
    client_expect(&c, "* 0 RECENT");
    client_until(&c, "g OK [READ-ONLY]");
    client_talk(&c, "h STORE 1 FLAGS (\\Seen)\r\n", "h NO [READ-ONLY]");
    client_talk(&c, "i CLOSE\r\n", "i OK"); /* without an expunge */
    play_stop(&p);
}

/* The answer "held" (another session came first) crosses with the role letting it go: asked again, with the mailbox
 * forgotten first. */
static void test_held_but_gone(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    client_send(&c, S("s SELECT INBOX\r\n"));
    play_opens(&p, STORE_DONE, -1);
    play_expect(&p, p.peer[ROLE_STORE], IPC_MAILBOX_FORGET);
    assert_int_equal(unpack_u64(&p.in), PLAY_MAILBOX);
    play_opens(&p, STORE_DONE, play_snapshot(mail, 1));
    client_until(&c, "s OK [READ-WRITE]");
    client_send(&c, S("t LOGOUT\r\n"));
    client_until(&c, "t OK");
    play_stop(&p);
}

static void test_a_damaged_snapshot(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    client_send(&c, S("s SELECT INBOX\r\n"));
    play_opens(&p, STORE_DONE, memfd_create("none", MFD_CLOEXEC));
    client_expect(&c, "s NO [SERVERBUG]");
    client_send(&c, S("s SELECT INBOX\r\n"));
    play_opens(&p, MAILBOX_TROUBLE, -1);
    client_expect(&c, "s NO [SERVERBUG]");
    play_stop(&p);
}

/* A feed for a mailbox that nobody has here: the store is told once more to forget it. */
static void test_a_feed_for_nobody(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_access(&p, "");
    play_feed_flags(&p, 1, 11, 1);
    play_expect(&p, p.peer[ROLE_STORE], IPC_MAILBOX_FORGET);
    play_stop(&p);
}

static void answer_vanished(struct role_play *p, uint64_t since, uint32_t after, bool last, bool all, uint32_t uid)
{
    struct buf b = play_answer(play_request(p, IPC_VANISHED_GET), STORE_DONE);
    assert_int_equal(unpack_u64(&p->in), PLAY_MAILBOX);
    assert_int_equal(unpack_u64(&p->in), since);
    assert_int_equal(unpack_u32(&p->in), after);
    assert_true(unpack_end(&p->in));
    pack_u8(&b, last);
    pack_u8(&b, all);
    pack_u32(&b, uid ? 1 : 0);
    if (uid) {
        pack_u32(&b, uid);
        pack_u32(&b, uid + 1);
    }
    play_reply(p, IPC_VANISHED, &b);
}

static void resync(struct play_client *c, const char *parameters)
{
    _cleanup_buf_ struct buf line = BUF(4096);
    buf_addf(&line, "q SELECT INBOX (QRESYNC (%s))\r\n", parameters);
    client_send(c, buf_str(&line));
}

static void test_qresync(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    client_send(&c, S("e ENABLE QRESYNC\r\n"));
    client_until(&c, "e OK");
    play_selected(&p, &c, mail, 4);
    play_feed_flags(&p, 9, 12, 1);
    /* two pages; what the session still sees (11) and what never was (from 15 on) is not told */
    resync(&c, "1234 8");
    answer_vanished(&p, 8, 0, 0, 0, 3);
    answer_vanished(&p, 8, 4, 1, 0, 10);
    client_until(&c, "* VANISHED (EARLIER) 3:4,10");
    client_expect(&c, "* 2 FETCH (UID 12 FLAGS (\\Seen) MODSEQ (9))");
    client_expect(&c, "q OK");
    /* known UIDs bound both; the history is too short: all that are not there */
    resync(&c, "1234 8 2:3,9:11");
    answer_vanished(&p, 8, 0, 1, 1, 0);
    client_until(&c, "* VANISHED (EARLIER) 2:3,9:10");
    client_expect(&c, "q OK");
    /* numbers that still fit say that nothing vanished up to there */
    resync(&c, "1234 8 1:14 (1:2,4 11:12,14)");
    answer_vanished(&p, 8, 0, 1, 1, 0);
    client_until(&c, "* 2 FETCH");
    client_expect(&c, "q OK");
    resync(&c, "1234 8 1:14 (1,3 11,12)");
    answer_vanished(&p, 8, 0, 1, 1, 0);
    client_until(&c, "* 2 FETCH");
    client_expect(&c, "q OK");
    /* another mailbox of that name: nothing is asked */
    resync(&c, "77 8");
    client_until(&c, "q OK");
    play_stop(&p);
}

static void test_close_expunges(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    client_send(&c, S("c CLOSE\r\n"));
    uint64_t request = play_request(&p, IPC_EXPUNGE_DELETED);
    assert_int_equal(unpack_u64(&p.in), PLAY_MAILBOX);
    assert_int_equal(unpack_u32(&p.in), 0);
    play_feed_expunged(&p, 3, 12);
    struct buf b = play_answer(request, STORE_DONE);
    pack_u32(&b, 0);
    play_reply(&p, IPC_EXPUNGE_DONE, &b);
    client_expect(&c, "c OK"); /* nothing of 12 */
    client_send(&c, S("s SELECT INBOX\r\n"));
    client_until(&c, "* 3 EXISTS");
    client_until(&c, "s OK");
    client_talk(&c, "u UNSELECT\r\n", "u OK");
    play_stop(&p);
}

static void test_the_mailbox_is_deleted(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    struct buf item = BUF(FEED_ITEM_MAX);
    play_access(&p, "");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    feed_begin(&item, FEED_GONE, 5, 5);
    play_feed(&p, &item, 0);
    client_expect(&c, "* BYE");
    client_expect_end(&c);
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_select_says),
        cmocka_unit_test(test_held_but_gone),
        cmocka_unit_test(test_a_damaged_snapshot),
        cmocka_unit_test(test_a_feed_for_nobody),
        cmocka_unit_test(test_qresync),
        cmocka_unit_test(test_close_expunges),
        cmocka_unit_test(test_the_mailbox_is_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
