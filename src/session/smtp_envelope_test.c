/* The envelope: what MAIL, RCPT and DATA are answered. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "session/smtp_play.h"

static void test_recipients(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "503 5.5.1");
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250 2.1.0");
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "250 2.1.5 Recipient ok");
    client_talk(&c, "RCPT TO:<ANNA@Example.ORG>\r\n", "250 2.1.5");
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "250 2.1.5 Recipient ok (already named)");
    client_talk(&c, "RCPT TO:<info@example.org>\r\n", "250 2.1.5");
    client_talk(&c, "RCPT TO:<postmaster@example.org>\r\n", "250 2.1.5");
    client_talk(&c, "RCPT TO:<Postmaster>\r\n", "250 2.1.5"); /* RFC 5321 4.5.1 */
    client_talk(&c, "RCPT TO:<nobody@example.org>\r\n", "550 5.1.1 <nobody@example.org>: ");
    client_talk(&c, "RCPT TO:<x@far.example>\r\n", "554 5.7.1");
    client_talk(&c, "RCPT TO:<away@example.org>\r\n", "550 5.4.4 <away@example.org>: leads to another host");
    client_talk(&c, "DATA\r\n", "354");
    client_talk(&c, "\r\nx\r\n.\r\n", "250");
    client_talk(&c, "DATA\r\n", "503"); /* the transaction is over */
    assert_int_equal(play_status(&p, "rejected"), 3);
    play_stop(&p);
}

static void test_a_transaction_leaves_nothing_behind(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<first@far.example> BODY=8BITMIME\r\n", "250");
    client_talk(&c, "RCPT TO:<bob@example.org>\r\n", "250");
    client_talk(&c, "RSET\r\n", "250");
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "503");
    client_talk(&c, "MAIL FROM:<second@far.example>\r\n", "250");
    client_talk(&c, "RCPT TO:<bob@example.org>\r\n", "250");
    client_talk(&c, "EHLO again.example\r\n", "250");
    client_talk(&c, "MAIL FROM:<third@far.example>\r\n", "250");
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "250");
    client_talk(&c, "DATA\r\n", "354");
    client_send(&c, S("\r\nx\r\n.\r\n"));
    play_read(&p, play_synced(&p), &m);
    client_expect(&c, "250");
    assert_true(str_eq(m.record.sender, S("third@far.example")));
    assert_true(str_eq(m.record.helo, S("again.example")));
    assert_false(m.record.body);
    assert_int_equal(m.record.n_recipients, 1);
    assert_true(str_eq(m.record.recipients[0].address, S("anna@example.org")));
    assert_int_equal(m.record.number, 3); /* each MAIL begins a message */
    play_stop(&p);
}

static void test_size_and_room(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "message_size_limit 1M\n");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<x@far.example> SIZE=2000000\r\n", "552 5.3.4");
    client_talk(&c, "MAIL FROM:<x@far.example> SIZE=1000\r\n", "250");
    buf_add(&p.settings, S("min_free 999999G\n"));
    play_configure(&p);
    play_expect(&p, p.master, IPC_APPLIED);
    _cleanup_client_ struct play_client d = { .fd = -1 };
    play_greeted(&p, &d, PLAY_SMTP);
    client_talk(&d, "MAIL FROM:<x@far.example>\r\n", "452 4.3.1 Not enough disk space");
    client_talk(&d, "RCPT TO:<anna@example.org>\r\n", "503");
    play_stop(&p);
}

/* The marks of a store that served the process before may be higher than what this one has appended. */
static void test_a_mark_of_the_store_from_before_stops_nobody(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    struct buf b = BUF(16);
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    pack_u64(&b, 1u << 30);
    play_send(p.peer[ROLE_STORE], IPC_LOG_APPLIED, &b, -1);
    play_quiet(&p, p.peer[ROLE_STORE], 30);
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250");
    play_stop(&p);
}

/* DESIGN 4: a transaction keeps the generation it began with; the next one has the new. */
static void test_a_transaction_keeps_its_generation(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250");
    p.accounts = "anna@example.org\nnew@example.org\n";
    play_configure(&p);
    play_expect(&p, p.master, IPC_APPLIED);
    client_talk(&c, "RCPT TO:<bob@example.org>\r\n", "250");
    client_talk(&c, "RCPT TO:<new@example.org>\r\n", "550 5.1.1");
    client_talk(&c, "DATA\r\n", "354");
    client_send(&c, S("\r\nx\r\n.\r\n"));
    play_read(&p, play_synced(&p), &m);
    assert_int_equal(m.record.generation, 1);
    client_expect(&c, "250");
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250");
    client_talk(&c, "RCPT TO:<bob@example.org>\r\n", "550 5.1.1");
    client_talk(&c, "RCPT TO:<new@example.org>\r\n", "250");
    play_stop(&p);
}

static void test_submission_wants_a_log_in_and_then_relays_only_to_mailboxes(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSIONS);
    client_talk(&c, "MAIL FROM:<anna@example.org>\r\n", "530 5.7.0");
    play_log_in(&p, &c);
    client_talk(&c, "MAIL FROM:<anna@example.org>\r\n", "250");
    client_talk(&c, "RCPT TO:<bob>\r\n", "250"); /* the domain is added */
    client_talk(&c, "RCPT TO:<x@far.example>\r\n", "550 5.4.4");
    play_stop(&p);
}

static void test_a_policy_of_the_listener_is_asked(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "smtpd_sender_restrictions reject\n");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250"); /* smtpd_delay_reject */
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "554 5.7.1");
    play_stop(&p);
}

static void test_many_recipients(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "smtpd_recipient_limit 500\n");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250");
    for (int i = 0; i < 502; i++) {
        char line[64];
        snprintf(line, sizeof(line), "RCPT TO:<anna+%d@example.org>\r\n", i);
        client_talk(&c, line, i < 500 ? "250" : "452 4.5.3");
    }
    client_talk(&c, "DATA\r\n", "354");
    client_send(&c, S("\r\nx\r\n.\r\n"));
    play_read(&p, play_synced(&p), &m);
    client_expect(&c, "250");
    assert_int_equal(m.record.n_recipients, 500);
    play_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipients),
        cmocka_unit_test(test_a_transaction_leaves_nothing_behind),
        cmocka_unit_test(test_size_and_room),
        cmocka_unit_test(test_a_mark_of_the_store_from_before_stops_nobody),
        cmocka_unit_test(test_a_transaction_keeps_its_generation),
        cmocka_unit_test(test_submission_wants_a_log_in_and_then_relays_only_to_mailboxes),
        cmocka_unit_test(test_a_policy_of_the_listener_is_asked),
        cmocka_unit_test(test_many_recipients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
