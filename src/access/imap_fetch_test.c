/* FETCH against a store that the test plays: what is asked of it besides content, and the arithmetic of sections. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"

#define MIXED \
    "Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" \
    "--b\r\n\r\ntext\r\n" \
    "--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAGFiYw==\r\n" \
    "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nbody\r\n--b--\r\n"
static const struct play_mail mail[] = { { "X-Prefix: yes\r\n", "Subject: one\r\n\r\n0123456789\r\n" }, { "", MIXED } };

/* Message 1 is read, so that segment and cards have been asked for. The card of the second comes from its record. */
static void begin(struct role_play *p, struct play_client *c)
{
    play_access(p, "");
    play_imap(p, c);
    play_selected(p, c, mail, 2);
    client_send(c, S("r FETCH 1 BODY.PEEK[]\r\n"));
    struct buf b = play_answer(play_request(p, IPC_CARDS_GET), STORE_NONEXISTENT);
    pack_u8(&b, 0);
    play_reply(p, IPC_CARDS_FILE, &b);
    play_give_segment(p, play_segment(mail, 2));
    client_until(c, "r OK");
}

/* What the store said before has been heard: the answer to a question behind it has come. */
static void settle(struct role_play *p, struct play_client *c)
{
    client_send(c, S("q GETQUOTA \"\"\r\n"));
    struct buf b = play_answer(play_request(p, IPC_QUOTA_GET), MAILBOX_TROUBLE);
    for (int i = 0; i < 4; i++)
        pack_u64(&b, 0);
    play_reply(p, IPC_QUOTA, &b);
    client_until(c, "q NO");
}

static void ask(struct play_client *c, const char *items, const char *first, const char *second)
{
    _cleanup_buf_ struct buf b = BUF(1024);
    buf_addf(&b, "a FETCH 1 (%s)\r\n", items);
    client_send(c, buf_str(&b));
    client_expect(c, first);
    if (second)
        client_expect(c, second);
    client_until(c, "a OK");
}

/* Prefix and content are one text: 15 octets of the one, 28 of the other. */
static void test_partial(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    ask(&c, "BODY.PEEK[]<0.8>", "* 1 FETCH (BODY[]<0> {8}", "X-Prefix)");
    ask(&c, "BODY.PEEK[]<10.14>", "* 1 FETCH (BODY[]<10> {14}", "yes");
    ask(&c, "BODY.PEEK[]<15.7>", "* 1 FETCH (BODY[]<15> {7}", "Subject)");
    ask(&c, "BODY.PEEK[]<40.100>", "* 1 FETCH (BODY[]<40> {3}", "9");
    ask(&c, "BODY.PEEK[]<43.1>", "* 1 FETCH (BODY[]<43> \"\")", NULL);
    ask(&c, "BODY.PEEK[]<4000000000.1>", "* 1 FETCH (BODY[]<4000000000> \"\")", NULL);
    ask(&c, "BODY.PEEK[TEXT]<1.2>", "* 1 FETCH (BODY[TEXT]<1> {2}", "12)");
    ask(&c, "BODY.PEEK[1]<9.9>", "* 1 FETCH (BODY[1]<9> {3}", "9");
    ask(&c, "BODY.PEEK[HEADER]<15.12>", "* 1 FETCH (BODY[HEADER]<15> {12}", "Subject: one)");
    ask(&c, "BODY.PEEK[HEADER.FIELDS (subject)]<9.3>", "* 1 FETCH (BODY[HEADER.FIELDS (subject)]<9> {3}", "one)");
    ask(&c, "BODY.PEEK[HEADER.FIELDS (X-Prefix)]", "* 1 FETCH (BODY[HEADER.FIELDS (X-Prefix)] {17}", "X-Prefix: yes");
    ask(&c, "BODY.PEEK[HEADER.FIELDS.NOT (X-Prefix)]", "* 1 FETCH (BODY[HEADER.FIELDS.NOT (X-Prefix)] {16}",
        "Subject: one");
    ask(&c, "BINARY.SIZE[] BINARY.SIZE[1] BINARY.SIZE[2] BODY.PEEK[1.1] BODY.PEEK[1.HEADER]",
        "* 1 FETCH (BINARY.SIZE[] 43 BINARY.SIZE[1] 12 BINARY.SIZE[2] 0 BODY[1.1] NIL BODY[1.HEADER] NIL)", NULL);
    play_stop(&p);
}

/* \Seen is asked for when content was read and is not set yet; the reply waits for it. */
static void test_seen(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    play_feed_flags(&p, 10, 11, 0);
    play_feed_flags(&p, 11, 12, 0);
    settle(&p, &c);
    client_send(&c, S("a FETCH 1:2 BODY[TEXT]<0.1>\r\n"));
    uint64_t request = play_request(&p, IPC_FLAG);
    assert_int_equal(unpack_u64(&p.in), PLAY_MAILBOX);
    assert_int_equal(unpack_u8(&p.in), 0);
    assert_int_equal(unpack_u8(&p.in), 1);
    assert_int_equal(unpack_u32(&p.in), IMAP_SEEN);
    assert_true(unpack_u64(&p.in) == UINT64_MAX);
    assert_int_equal(unpack_u32(&p.in), 0);
    assert_int_equal(unpack_u32(&p.in), 1); /* one range: they are neighbours */
    assert_int_equal(unpack_u32(&p.in), 11);
    assert_int_equal(unpack_u32(&p.in), 12);
    assert_true(unpack_end(&p.in));
    play_feed_flags(&p, 12, 11, IMAP_SEEN);
    struct buf b = play_answer(request, STORE_DONE);
    pack_u8(&b, 1);
    pack_u64(&b, 12);
    pack_u64(&b, 0);
    pack_u32(&b, 0);
    play_reply(&p, IPC_FLAGGED, &b);
    client_expect(&c, "* 1 FETCH (BODY[TEXT]<0> {1}");
    client_until(&c, "* 1 FETCH (FLAGS (\\Seen");
    client_expect(&c, "a OK");
    client_talk(&c, "b FETCH 1 (BODY[] BODY.PEEK[TEXT])\r\n", "* 1 FETCH"); /* it is set: nothing is asked */
    client_until(&c, "b OK");
    play_stop(&p);
}

/* VANISHED (EARLIER) in several frames, cut to what was asked for; and without a history all that is not there. */
static void test_vanished(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    client_until(&c, (client_send(&c, S("e ENABLE QRESYNC\r\n")), "e OK"));
    for (int all = 0; all < 2; all++) {
        client_send(&c, S("a UID FETCH 2:3,5:12 FLAGS (CHANGEDSINCE 7 VANISHED)\r\n"));
        uint64_t request = play_request(&p, IPC_VANISHED_GET);
        assert_int_equal(unpack_u64(&p.in), PLAY_MAILBOX);
        assert_int_equal(unpack_u64(&p.in), 7);
        assert_int_equal(unpack_u32(&p.in), 0);
        assert_true(unpack_end(&p.in));
        static const uint32_t ranges[][2] = { { 1, 6 }, { 9, 9 }, { 13, 20 } };
        for (uint8_t i = 0; i < (all ? 1 : 3); i++) {
            struct buf b = play_answer(request, STORE_DONE);
            pack_u8(&b, all || i == 2);
            pack_u8(&b, (uint8_t)all);
            pack_u32(&b, all ? 0 : 1);
            for (int k = 0; k < 2 && !all; k++)
                pack_u32(&b, ranges[i][k]);
            play_reply(&p, IPC_VANISHED, &b);
        }
        client_expect(&c, all ? "* VANISHED (EARLIER) 2:3,5:10" : "* VANISHED (EARLIER) 2:3,5:6,9");
        client_expect(&c, "a OK"); /* no message has changed */
    }
    play_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partial),
        cmocka_unit_test(test_seen),
        cmocka_unit_test(test_vanished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
