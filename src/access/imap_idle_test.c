/* IDLE and NOOP: what is told when, and the sign of life. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"

static const struct play_mail mail[] = { { "", "a" }, { "", "b" }, { "", "c" }, { "", "d" } }; /* UIDs 11 to 14 */

static void test_idle(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "imap_keepalive 1s\n");
    play_imap(&p, &c);
    play_selected(&p, &c, mail, 4);
    client_talk(&c, "a IDLE\r\n", "+");
    play_feed_arrived(&p, 5, 15);
    client_expect(&c, "* 5 EXISTS");
    client_expect(&c, "* 5 RECENT");
    play_feed_flags(&p, 6, 15, IMAP_SEEN);
    client_expect(&c, "* 5 FETCH (FLAGS (\\Seen \\Recent))");
    play_feed_expunged(&p, 7, 11);
    client_expect(&c, "* 1 EXPUNGE");
    struct buf item = BUF(FEED_ITEM_MAX); /* a keyword's first use */
    feed_begin(&item, FEED_KEYWORD, 8, 8);
    pack_u8(&item, 0);
    pack_str(&item, S("$New"));
    play_feed(&p, &item, 0);
    play_feed_flags(&p, 9, 12, 0);
    client_expect(&c, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $New)");
    client_expect(&c, "* OK [PERMANENTFLAGS (");
    client_expect(&c, "* 1 FETCH (FLAGS (\\Recent))");
    client_expect(&c, "* OK Still here");
    client_talk(&c, "DONE\r\n", "a OK");
    play_feed_expunged(&p, 10, 12);
    client_talk(&c, "b CAPABILITY\r\n", "* CAPABILITY"); /* no news without a command that may tell them */
    client_expect(&c, "b OK");
    client_talk(&c, "c NOOP\r\n", "* 1 EXPUNGE");
    client_expect(&c, "c OK");
    play_stop(&p);
}

static void test_without_a_mailbox(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "imap_keepalive 0\n");
    play_imap(&p, &c);
    client_talk(&c, "a IDLE\r\n", "+");
    client_talk(&c, "DONE\r\n", "a OK");
    client_talk(&c, "b IDLE\r\n", "+");
    client_talk(&c, "rubbish\r\n", "b BAD");
    play_stop(&p);
}

/* Each session has its own picture: who idles hears at once, the other at its next command. */
static void test_two_sessions(void **state)
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
    client_talk(&c, "a IDLE\r\n", "+");
    play_feed_expunged(&p, 5, 12);
    client_expect(&c, "* 2 EXPUNGE");
    play_feed_arrived(&p, 6, 20);
    client_expect(&c, "* 4 EXISTS");
    client_expect(&c, "* 4 RECENT");
    client_talk(&d, "n NOOP\r\n", "* 2 EXPUNGE");
    client_expect(&d, "* 4 EXISTS");
    client_until(&d, "n OK");
    client_talk(&d, "m NOOP\r\n", "m OK");
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_without_a_mailbox),
        cmocka_unit_test(test_two_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
