/* How messages are read: the store is asked for cards and segments once, asked again when a message has moved, and what
 * is damaged is told and not sent. The test is the store. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"
#include "message/card.h"
#include "store/cards_file.h"

#define HEAD "Subject: one\r\nFrom: a@x.example\r\n\r\n"
static const struct play_mail mail[] = { { "Return-Path: <>\r\n", HEAD "first\r\n" },
                                         { "", "Subject: two\r\n\r\nsecond\r\n" },
                                         { "", "\r\nno header\r\n" } }; /* UIDs 11 to 13 */

static void refuse_cards(struct role_play *p)
{
    struct buf b = play_answer(play_request(p, IPC_CARDS_GET), STORE_NONEXISTENT);
    assert_int_equal(unpack_u64(&p->in), PLAY_MAILBOX);
    assert_true(unpack_end(&p->in));
    pack_u8(&b, 0);
    play_reply(p, IPC_CARDS_FILE, &b);
}

/* The files of the cards that were given last. */
static int map = -1, cards = -1;
static uint64_t cards_end;

static void append_card(uint32_t uid, str content, bool damage)
{
    _cleanup_buf_ struct buf card = BUF(CARD_MAX);
    struct mime_parser *m = mime_new();
    char place[16];
    mime_feed(m, content);
    mime_end(m);
    assert_int_equal(card_encode(&card, m), 0);
    mime_free(m);
    put_u64(place, cards_end);
    put_u32(place + 8, (uint32_t)card.n);
    put_u32(place + 12, crc32c(0, buf_str(&card)) + damage);
    assert_int_equal(segment_pwrite(cards, buf_str(&card), cards_end), 0);
    assert_int_equal(segment_pwrite(map, str_of(place, 16), uid * 16), 0);
    cards_end += card.n;
}

static void close_cards(void)
{
    if (map >= 0)
        close(map);
    if (cards >= 0)
        close(cards);
    map = cards = -1;
    cards_end = 0;
}

static int teardown(void **state)
{
    (void)state;
    close_cards();
    return 0;
}

/* The cards of the messages, of which those from UID `upto` on are not there. damage: one has a wrong checksum. */
static void give_cards(struct role_play *p, uint32_t upto, uint32_t damage)
{
    close_cards();
    map = memfd_create("map", MFD_CLOEXEC);
    cards = memfd_create("cards", MFD_CLOEXEC);
    for (uint32_t uid = 11; uid < upto; uid++)
        append_card(uid, str_z(mail[uid - 11].content), uid == damage);
    uint64_t request = play_request(p, IPC_CARDS_GET);
    for (uint8_t which = 0; which < 2; which++) {
        struct buf b = play_answer(request, STORE_DONE);
        pack_u8(&b, which);
        play_send(p->peer[ROLE_STORE], IPC_CARDS_FILE, &b, which ? cards : map);
    }
}

static void begin(struct role_play *p, struct play_client *c)
{
    play_access(p, "");
    play_imap(p, c);
    play_selected(p, c, mail, ARRAY_LEN(mail));
}

static void test_content(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    begin(&p, &c);
    client_send(&c, S("a UID FETCH 11:12 BODY.PEEK[]\r\n"));
    refuse_cards(&p);
    play_give_segment(&p, play_segment(mail, 3));
    client_expect(&c, "* 1 FETCH (UID 11 BODY[] {59}");
    client_expect(&c, "Return-Path: <>");
    client_expect(&c, "Subject: one");
    client_until(&c, "first");
    client_expect(&c, ")");
    client_expect(&c, "* 2 FETCH (UID 12 BODY[] {24}");
    client_until(&c, "a OK");
    /* neither cards nor the segment are asked for again, whoever reads */
    play_imap(&p, &d);
    client_send(&d, S("s EXAMINE INBOX\r\n"));
    client_until(&d, "s OK");
    client_talk(&d, "b FETCH 1 (RFC822.SIZE BODY.PEEK[TEXT]<2.3> BODY[2] BODY.PEEK[HEADER]<14.9>)\r\n",
                "* 1 FETCH (RFC822.SIZE 59 BODY[TEXT]<2> {3}");
    client_expect(&d, "rst BODY[2] NIL BODY[HEADER]<14> {9}");
    client_expect(&d, ">");
    client_expect(&d, "Subjec)");
    client_until(&d, "b OK");
    /* a message without a card: its texts are made from its header */
    client_talk(&d, "c FETCH 3 (ENVELOPE BODY.PEEK[HEADER] BODY.PEEK[1])\r\n",
                "* 3 FETCH (ENVELOPE (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) BODY[HEADER] {2}");
    client_until(&d, " BODY[1] {11}");
    client_until(&d, "c OK");
    play_stop(&p);
}

static void test_cards(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    client_send(&c, S("a FETCH 1 (ENVELOPE BODY.PEEK[HEADER.FIELDS (Subject)])\r\n"));
    give_cards(&p, 13, 12);
    client_expect(&c, "* 1 FETCH (ENVELOPE (NIL \"one\" ((NIL NIL \"a\" \"x.example\"))");
    client_expect(&c, "Subject: one");
    client_until(&c, "a OK"); /* without the message itself */
    /* a damaged card is as none: the message is asked */
    client_send(&c, S("b FETCH 2 ENVELOPE\r\n"));
    play_give_segment(&p, play_segment(mail, 3));
    client_expect(&c, "* 2 FETCH (ENVELOPE (NIL \"two\" ");
    client_until(&c, "b OK");
    /* and so is a message whose card did not come yet */
    client_talk(&c, "c FETCH 3 ENVELOPE\r\n", "* 3 FETCH (ENVELOPE (NIL NIL ");
    client_until(&c, "c OK");
    /* a line that this host put there is not among those of the card */
    client_talk(&c, "d FETCH 1 BODY.PEEK[HEADER.FIELDS (Return-Path)]\r\n",
                "* 1 FETCH (BODY[HEADER.FIELDS (Return-Path)] {19}");
    client_until(&c, "d OK");
    play_stop(&p);
}

/* What was read once is in memory: the same for each session, and not read again when the file is damaged later. A card
 * that was damaged or missing when it was looked for is looked for again. */
static void test_columns(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    begin(&p, &c);
    client_send(&c, S("a FETCH 1:3 (ENVELOPE BODYSTRUCTURE)\r\n"));
    give_cards(&p, 13, 12);
    play_give_segment(&p, play_segment(mail, 3));
    client_expect(&c, "* 1 FETCH (ENVELOPE (NIL \"one\" ");
    client_expect(&c, "* 2 FETCH (ENVELOPE (NIL \"two\" "); /* damaged: from its content */
    client_expect(&c, "* 3 FETCH (ENVELOPE (NIL NIL ");
    client_until(&c, "a OK");
    client_talk(&c, "b THREAD REFERENCES UTF-8 ALL\r\n", "* THREAD (1)(2)(3)");
    client_until(&c, "b OK");
    /* the card of the third comes, and one of the second that is intact; of the first there is none any more */
    append_card(12, S("Subject: mended\r\n\r\n"), false);
    append_card(13, S("Subject: late\r\n\r\n"), false);
    assert_int_equal(segment_pwrite(map, str_of((char[16]){ 0 }, 16), 11 * 16), 0);
    assert_int_equal(segment_pwrite(cards, S("damage damage damage"), 0), 0);
    play_imap(&p, &d);
    client_send(&d, S("s EXAMINE INBOX\r\n"));
    client_until(&d, "s OK");
    for (int again = 0; again < 2; again++) {
        client_talk(&d, "c FETCH 1:3 ENVELOPE\r\n", "* 1 FETCH (ENVELOPE (NIL \"one\" ");
        client_expect(&d, "* 2 FETCH (ENVELOPE (NIL \"mended\" ");
        client_expect(&d, "* 3 FETCH (ENVELOPE (NIL \"late\" ");
        client_until(&d, "c OK");
        client_talk(&d, "e SEARCH OR SUBJECT \"Late\" FROM \"a@x\"\r\n", "* SEARCH 1 3");
        client_until(&d, "e OK");
    }
    play_stop(&p);
}

/* A store that comes again may have another mailbox of that number. */
static void test_other_mailbox(void **state)
{
    (void)state;
    static const struct play_mail others[] = { { "", "Subject: other\r\n\r\n" } };
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    begin(&p, &c);
    client_send(&c, S("a FETCH 1 ENVELOPE\r\n"));
    give_cards(&p, 14, 0);
    client_expect(&c, "* 1 FETCH (ENVELOPE (NIL \"one\" ");
    client_until(&c, "a OK");
    close(TAKE_FD(p.peer[ROLE_STORE]));
    client_until(&c, "* BYE");
    play_store(&p);
    play_imap(&p, &d);
    play_selected(&p, &d, others, 1);
    client_send(&d, S("b FETCH 1 ENVELOPE\r\n"));
    give_cards(&p, 11, 0);
    play_give_segment(&p, play_segment(others, 1));
    client_expect(&d, "* 1 FETCH (ENVELOPE (NIL \"other\" ");
    client_until(&d, "b OK");
    play_stop(&p);
}

/* Compaction takes a segment away: the feed has said where the message is now before the store refuses the old one. */
static void test_moved(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    client_send(&c, S("a FETCH 2 BODY.PEEK[TEXT]\r\n"));
    refuse_cards(&p);
    uint64_t request = play_request(&p, IPC_SEGMENT_GET);
    struct buf item = BUF(FEED_ITEM_MAX);
    feed_begin(&item, FEED_PLACES, 9, 9);
    pack_str(&item, S("smtp-in"));
    pack_u64(&item, 8);
    pack_u32(&item, 12);
    pack_u64(&item, play_place(mail, 1));
    play_feed(&p, &item, 1);
    struct buf b = play_answer(request, 0);
    play_reply(&p, IPC_SEGMENT, &b);
    request = play_request(&p, IPC_SEGMENT_GET);
    assert_true(str_eq(unpack_str(&p.in), S("smtp-in")));
    assert_int_equal(unpack_u64(&p.in), 8);
    int fd = play_segment(mail, 3);
    b = play_answer(request, 1);
    play_send(p.peer[ROLE_STORE], IPC_SEGMENT, &b, fd);
    close(fd);
    client_expect(&c, "* 2 FETCH (BODY[TEXT] {8}");
    client_until(&c, "a OK");
    play_stop(&p);
}

static void test_not_there(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    client_send(&c, S("a FETCH 1 BODY.PEEK[]\r\n"));
    refuse_cards(&p);
    play_give_segment(&p, -1);
    play_give_segment(&p, -1); /* asked once more, then given up */
    client_expect(&c, "a NO [UNAVAILABLE]");
    /* one that was expunged meanwhile, before this session heard of it */
    client_send(&c, S("b FETCH 1:2 (FLAGS BODY.PEEK[])\r\n"));
    play_expect(&p, p.peer[ROLE_STORE], IPC_SEGMENT_GET);
    uint64_t request = unpack_u64(&p.in);
    play_feed_expunged(&p, 9, 11);
    struct buf b = play_answer(request, 0);
    play_reply(&p, IPC_SEGMENT, &b);
    play_give_segment(&p, -1);
    play_give_segment(&p, play_segment(mail, 3));
    client_expect(&c, "* 2 FETCH (FLAGS ");
    client_until(&c, "b NO [EXPUNGEISSUED]");
    client_talk(&c, "n NOOP\r\n", "* 1 EXPUNGE");
    client_until(&c, "n OK");
    play_stop(&p);
}

static void test_damage(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    int fd = play_segment(mail, 3);
    assert_int_equal(segment_pwrite(fd, S("X"), play_place(mail, 1) + RECORD_HEADER_SIZE + 20), 0);
    assert_int_equal(segment_pwrite(fd, S("X"), play_place(mail, 2) + 8), 0);
    client_send(&c, S("a FETCH 1:3 (RFC822.SIZE BODY.PEEK[])\r\n"));
    refuse_cards(&p);
    play_give_segment(&p, fd);
    client_expect(&c, "* 1 FETCH (RFC822.SIZE 59 BODY[] {59}");
    client_until(&c, "* 2 FETCH (RFC822.SIZE 24 BODY[] NIL)");
    client_expect(&c, "* 3 FETCH (RFC822.SIZE 13 BODY[] NIL)");
    client_expect(&c, "a NO [CORRUPTION]");
    play_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content),
        cmocka_unit_test_teardown(test_cards, teardown),
        cmocka_unit_test_teardown(test_columns, teardown),
        cmocka_unit_test_teardown(test_other_mailbox, teardown),
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_not_there),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
