/* A message on its way to the log: what is stored, when it is acknowledged, what is refused, what is held in memory. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/loop_mark.h"
#include "session/smtp_play.h"
#include "session/smtp_session.h"

static void begin(struct play_client *c)
{
    client_talk(c, "MAIL FROM:<x@far.example>\r\n", "250 2.1.0");
    client_talk(c, "RCPT TO:<anna@example.org>\r\n", "250 2.1.5");
    client_talk(c, "DATA\r\n", "354");
}

static void test_a_message_is_stored_as_it_came(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    begin(&c);
    client_send(&c, S("Subject: x\r\nReceived: from a by b\r\n\r\n..dot\r\nend without more\r\n.\r\n"));
    play_read(&p, play_synced(&p), &m);
    str reply = client_expect(&c, "250 2.0.0 Message accepted as ");
    str content = buf_str(&m.content),
        body = S("Subject: x\r\nReceived: from a by b\r\n\r\n.dot\r\nend without more\r\n");
    assert_true(str_ends(content, body));
    assert_true(str_starts(content, S("Received: from client.example ")));
    assert_true(str_find(content, S("127.0.0.1")) > 0);
    assert_true(str_find(content, S("by mx.example.org")) > 0);
    assert_true(str_find(content, S("with ESMTP")) > 0);
    assert_true(str_find(content, S("for <anna@example.org>")) > 0);
    assert_true(str_find(content, str_from(reply, reply.n - 28)) > 0); /* the trace id */
    assert_true(str_eq(m.record.sender, S("x@far.example")));
    assert_true(str_eq(m.record.helo, S("client.example")));
    assert_true(str_eq(m.record.listener, S("smtp")));
    assert_true(str_eq(m.record.account, S("")));
    assert_int_equal(m.record.n_recipients, 1);
    assert_true(str_eq(m.record.recipients[0].address, S("anna@example.org")));
    assert_int_equal(m.record.generation, 1);
    assert_int_equal(m.record.number, 1);
    assert_true(m.record.card.n > 0);
    assert_int_equal(play_status(&p, "messages"), 1);
    play_stop(&p);
}

static void test_two_messages_in_one_session(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    begin(&c);
    client_talk(&c, "\r\none\r\n.\r\n", "250");
    play_synced(&p);
    client_talk(&c, "MAIL FROM:<>\r\n", "250");
    client_talk(&c, "RCPT TO:<Anna@EXAMPLE.org>\r\n", "250");
    client_talk(&c, "RCPT TO:<bob+tag@example.org>\r\n", "250");
    client_talk(&c, "DATA\r\n", "354");
    client_send(&c, S("\r\ntwo\r\n.\r\n"));
    play_read(&p, play_synced(&p), &m);
    client_expect(&c, "250");
    assert_true(str_ends(buf_str(&m.content), S("\r\n\r\ntwo\r\n")));
    assert_int_equal(str_find(buf_str(&m.content), S("for <")), -1); /* not who else gets it */
    assert_int_equal(m.record.number, 2);
    assert_int_equal(m.record.n_recipients, 2);
    assert_true(str_eq(m.record.sender, S("")));
    client_talk(&c, "QUIT\r\n", "221");
    client_expect_end(&c);
    play_stop(&p);
}

static void test_a_large_message_gets_a_segment_of_its_own(void **state)
{
    (void)state;
    enum { LINES = 20000 };
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    _cleanup_buf_ struct buf body = BUF(4 << 20);
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    begin(&c);
    buf_add(&body, S("Subject: large\r\n\r\n"));
    for (int i = 0; i < LINES; i++)
        buf_addf(&body, "line %d of a large message\r\n", i);
    client_send(&c, buf_str(&body));
    client_send(&c, S(".\r\n"));
    struct log_position at = play_synced(&p);
    client_expect(&c, "250");
    play_read(&p, at, &m);
    assert_true(str_ends(buf_str(&m.content), buf_str(&body)));
    begin(&c);
    client_send(&c, S("\r\nsmall\r\n.\r\n"));
    assert_int_not_equal(play_synced(&p).segment, at.segment);
    client_expect(&c, "250");
    play_stop(&p);
}

static void refused(struct role_play *p, struct play_client *c, str content, const char *want)
{
    begin(c);
    client_send(c, content);
    client_talk(c, "\r\n.\r\n", want);
    play_quiet(p, p->peer[ROLE_STORE], 20);
}

static void test_what_is_refused_is_not_stored(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_buf_ struct buf hops = BUF(65536);
    play_smtp(&p, "message_size_limit 300K\n");
    play_greeted(&p, &c, PLAY_SMTP);
    refused(&p, &c, S(" continues nothing\r\n\r\nx"), "550 5.6.0");
    for (int i = 0; i <= HOPCOUNT_MAX; i++)
        buf_add(&hops, S("received: by x\r\n"));
    refused(&p, &c, buf_str(&hops), "554 5.4.6");
    refused(&p, &c, S("\r\nbare\nnewline"), "550 5.6.11");
    _cleanup_buf_ struct buf big = BUF(1 << 20);
    memset(buf_space(&big, 400000), 'a', 400000);
    refused(&p, &c, buf_str(&big), "552 5.3.4");
    assert_int_equal(play_status(&p, "messages"), 0);
    begin(&c);
    client_talk(&c, "\r\nfine\r\n.\r\n", "250");
    play_stop(&p);
}

/* One more, ours, and it is as many as may be. */
static void test_hops_at_the_limit(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    begin(&c);
    for (int i = 0; i < HOPCOUNT_MAX - 1; i++)
        client_send(&c, S("Received: by x\r\n"));
    client_talk(&c, "\r\nx\r\n.\r\n", "250");
    play_stop(&p);
}

/* The master says it; 0: no longer. */
static void careful(struct role_play *p, uint64_t ms)
{
    struct buf b = BUF(16);
    pack_u64(&b, ms);
    play_send(p->master, IPC_CAREFUL, &b, -1);
    buf_done(&b);
    assert_int_equal(play_status(p, "careful_s"), ms / 1000);
}

static void test_a_careful_role_makes_no_card(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_buf_ struct buf hops = BUF(65536);
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    for (int round = 0; round < 3; round++) {
        _cleanup_message_ struct play_message m = { 0 };
        careful(&p, round == 1 ? 600000 : 0);
        begin(&c);
        client_send(&c, S("Subject: x\r\nReceived : by y\r\n\r\nhello\r\n.\r\n"));
        play_read(&p, play_synced(&p), &m);
        client_expect(&c, "250");
        assert_true(str_ends(buf_str(&m.content), S("Received : by y\r\n\r\nhello\r\n")));
        assert_int_equal(m.record.card.n == 0, round == 1);
    }
    careful(&p, 600000);
    for (int i = 0; i < HOPCOUNT_MAX; i++)
        buf_add(&hops, S("received\t: by x\r\n"));
    refused(&p, &c, buf_str(&hops), "554 5.4.6");
    begin(&c);
    client_send(&c, str_from(buf_str(&hops), 17));
    client_talk(&c, "\r\nReceived: by z\r\n.\r\n", "250"); /* no field, but a line of the body */
    play_stop(&p);
}

/* What an address of ours has forwarded already stands in the record; nobody else can say so. */
static void test_marks_of_this_host(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    _cleanup_buf_ struct buf lines = BUF(1 << 20);
    const uint8_t key[17] = "0123456789abcdef", other[17] = "fedcba9876543210";
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    loop_mark_write(&lines, key, S("list@example.org"));
    for (int round = 0; round < 2; round++) {
        play_message_done(&m);
        if (round == 1)
            play_file(&p, "host_key", str_of(key, 16));
        play_status(&p, "messages");
        begin(&c);
        client_send(&c, buf_str(&lines));
        client_send(&c, S("Delivered-To: info@example.org\r\n"
                         "Delivered-To: bob@example.org (posthouse 0123456789abcdef)\r\n"));
        buf_clear(&lines);
        loop_mark_write(&lines, other, S("anna@example.org")); /* of another host */
        client_send(&c, buf_str(&lines));
        buf_clear(&lines);
        loop_mark_write(&lines, key, S("info@example.org"));
        client_send(&c, S("Subject: x\r\n\r\n"));
        client_send(&c, buf_str(&lines)); /* in the body it is none */
        client_send(&c, S(".\r\n"));
        play_read(&p, play_synced(&p), &m);
        client_expect(&c, "250");
        assert_int_equal(m.record.n_delivered_to, round);
        buf_clear(&lines);
        loop_mark_write(&lines, key, S("List@example.org"));
    }
    assert_true(str_eq(m.record.delivered_to[0], S("List@example.org")));
    buf_clear(&lines);
    for (int i = 0; i < 200; i++) {
        char address[64];
        snprintf(address, sizeof(address), "a%d@example.org", i);
        loop_mark_write(&lines, key, str_z(address));
    }
    begin(&c);
    client_send(&c, buf_str(&lines));
    client_send(&c, S("\r\nx\r\n.\r\n"));
    play_message_done(&m);
    play_read(&p, play_synced(&p), &m);
    client_expect(&c, "250");
    assert_in_range(m.record.n_delivered_to, 10, 199); /* as many as are kept, and no more */
    play_stop(&p);
}

static void submit(struct play_client *c, str header, const char *want)
{
    client_talk(c, "MAIL FROM:<anna@example.org>\r\n", "250");
    client_talk(c, "RCPT TO:<bob@example.org>\r\n", "250");
    client_talk(c, "DATA\r\n", "354");
    client_send(c, header);
    client_talk(c, "\r\nbody\r\n.\r\n", want);
}

static void test_the_agent_judges_and_repairs_the_header(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSIONS);
    play_log_in(&p, &c);
    submit(&c, S("From: anna\r\n"), "250");
    play_read(&p, play_synced(&p), &m);
    assert_true(str_ends(buf_str(&m.content), S("\r\nX-Account: anna@example.org\r\nFrom: anna\r\n\r\nbody\r\n")));
    assert_true(str_find(buf_str(&m.content), S("with ESMTPSA")) > 0);
    assert_true(str_eq(m.record.account, S("anna@example.org")));
    assert_int_equal(m.record.priority, RECORD_PRIORITY_HIGH);
    submit(&c, S("From: evil\r\n"), "550 5.7.1 Not yours");
    play_message_done(&m);
    client_talk(&c, "MAIL FROM:<anna@example.org>\r\n", "250"); /* all header, without an empty line */
    client_talk(&c, "RCPT TO:<bob@example.org>\r\n", "250");
    client_talk(&c, "DATA\r\n", "354");
    client_send(&c, S("From: anna\r\n.\r\n"));
    play_read(&p, play_synced(&p), &m);
    client_expect(&c, "250");
    assert_true(str_ends(buf_str(&m.content), S("\r\nX-Account: anna@example.org\r\nFrom: anna\r\n")));
    play_stop(&p);
}

static void test_a_submitted_header_has_a_ceiling(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_buf_ struct buf big = BUF(1 << 20);
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSIONS);
    play_log_in(&p, &c);
    for (int i = 0; i < 9000; i++)
        buf_addf(&big, "X-Field-%d: abcdefghijklmnopqrstuvwxyz\r\n", i);
    submit(&c, buf_str(&big), "552 5.3.4");
    submit(&c, str_first(buf_str(&big), (size_t)str_find(buf_str(&big), S("X-Field-5000"))), "250");
    play_stop(&p);
}

/* What a refused header had written must not stay in the account of held memory, or every later message is streamed to
 * a segment of its own. */
static void test_a_refused_header_gives_its_memory_back(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSIONS);
    play_log_in(&p, &c);
    submit(&c, S("From: anna\r\n"), "250");
    struct log_position first = play_synced(&p);
    submit(&c, S("From: evil\r\n"), "550");
    for (int i = 0; i < 3; i++) {
        submit(&c, S("From: anna\r\n"), "250");
        assert_int_equal(play_synced(&p).segment, first.segment);
    }
    play_stop(&p);
}

static void test_the_store_is_told_of_each(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    for (int i = 0; i < 20; i++) {
        begin(&c);
        client_talk(&c, "\r\nx\r\n.\r\n", "250");
        play_synced(&p);
    }
    play_stop(&p);
}

static void test_a_client_that_leaves_in_the_middle(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_smtp(&p, "");
    static char block[200000];
    memset(block, 'a', sizeof(block));
    for (size_t i = 0; i < 3; i++) {
        _cleanup_client_ struct play_client c = { .fd = -1 };
        play_greeted(&p, &c, PLAY_SMTP);
        begin(&c);
        client_send(&c, str_of(block, i * sizeof(block) / 2)); /* held, streamed */
    }
    for (int i = 0; i < 100 && play_status(&p, "sessions"); i++)
        usleep(10000);
    assert_int_equal(play_status(&p, "sessions"), 0);
    assert_int_equal(play_status(&p, "messages"), 0);
    play_quiet(&p, p.peer[ROLE_STORE], 20);
    play_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_is_stored_as_it_came),
        cmocka_unit_test(test_two_messages_in_one_session),
        cmocka_unit_test(test_a_large_message_gets_a_segment_of_its_own),
        cmocka_unit_test(test_what_is_refused_is_not_stored),
        cmocka_unit_test(test_hops_at_the_limit),
        cmocka_unit_test(test_a_careful_role_makes_no_card),
        cmocka_unit_test(test_marks_of_this_host),
        cmocka_unit_test(test_the_agent_judges_and_repairs_the_header),
        cmocka_unit_test(test_a_submitted_header_has_a_ceiling),
        cmocka_unit_test(test_a_refused_header_gives_its_memory_back),
        cmocka_unit_test(test_the_store_is_told_of_each),
        cmocka_unit_test(test_a_client_that_leaves_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
