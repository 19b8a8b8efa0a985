/* The envelope: what MAIL, RCPT and DATA are answered. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "message/srs.h"
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
    client_talk(&c, "RCPT TO:<away@example.org>\r\n", "250 2.1.5"); /* an alias to another host */
    client_talk(&c, "DATA\r\n", "354");
    client_talk(&c, "\r\nx\r\n.\r\n", "250");
    client_talk(&c, "DATA\r\n", "503"); /* the transaction is over */
    assert_int_equal(play_status(&p, "rejected"), 2);
    play_stop(&p);
}

static void over_quota(struct role_play *p, bool first, const char *account, bool over)
{
    struct buf b = BUF(1024);
    pack_u8(&b, first);
    pack_u32(&b, 1);
    pack_str(&b, str_z(account));
    pack_u8(&b, over);
    play_send(p->peer[ROLE_STORE], IPC_OVER_QUOTA, &b, -1);
    play_status(p, "messages"); /* it has been read */
}

static void test_full_mailboxes(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    over_quota(&p, false, "anna@example.org", true);
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250");
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "452 4.2.2 <anna@example.org>: the mailbox is full");
    client_talk(&c, "RCPT TO:<Anna+tag@Example.org>\r\n", "452 4.2.2");
    client_talk(&c, "RCPT TO:<info@example.org>\r\n", "452 4.2.2"); /* an alias that leads there alone */
    client_talk(&c, "RCPT TO:<bob@example.org>\r\n", "250");
    client_talk(&c, "RCPT TO:<away@example.org>\r\n", "250");
    assert_int_equal(play_status(&p, "deferred"), 3);
    over_quota(&p, false, "bob@example.org", true);
    client_talk(&c, "RCPT TO:<bob+x@example.org>\r\n", "452 4.2.2");
    over_quota(&p, false, "anna@example.org", false);
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "250");
    over_quota(&p, true, "anna@example.org", true); /* a new list: bob is not in it */
    client_talk(&c, "RCPT TO:<bob+x@example.org>\r\n", "250");
    client_talk(&c, "RCPT TO:<anna+x@example.org>\r\n", "452 4.2.2");
    play_peer(&p, ROLE_STORE); /* a new store begins without anybody */
    play_expect(&p, p.peer[ROLE_STORE], IPC_LOG_ATTACH);
    client_talk(&c, "RCPT TO:<anna+x@example.org>\r\n", "250");
    play_try_send(p.peer[ROLE_STORE], IPC_OVER_QUOTA, S("\0\1\0\0\0\377"), NULL, 0);
    play_closed(&p, p.peer[ROLE_STORE]);
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
    assert_int_equal(m.record.priority, RECORD_PRIORITY_NORMAL);
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

static void test_submission_wants_a_log_in_and_then_relays(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SUBMISSIONS);
    client_talk(&c, "MAIL FROM:<anna@example.org>\r\n", "530 5.7.0");
    play_log_in(&p, &c);
    client_talk(&c, "MAIL FROM:<anna@example.org>\r\n", "250");
    client_talk(&c, "RCPT TO:<bob>\r\n", "250"); /* the domain is added */
    client_talk(&c, "RCPT TO:<x@far.example>\r\n", "250");
    client_talk(&c, "RCPT TO:<nobody@example.org>\r\n", "550 5.1.1"); /* a log-in makes no mailbox */
    client_talk(&c, "DATA\r\n", "354");
    client_send(&c, S("From: anna@example.org\r\n\r\nx\r\n.\r\n"));
    play_read(&p, play_synced(&p), &m);
    client_expect(&c, "250");
    assert_int_equal(m.record.n_recipients, 2);
    assert_true(str_eq(m.record.recipients[1].address, S("x@far.example")));
    play_stop(&p);
}

/* Who may relay is the rules' affair: here a network. */
static void test_foreign_recipients_of_a_permitted_client(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "mynetworks 127.0.0.0/8\nsmtpd_relay_restrictions permit_mynetworks reject_unauth_destination\n");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250");
    client_talk(&c, "RCPT TO:<y@elsewhere.example>\r\n", "250");
    client_talk(&c, "RCPT TO:<y@[192.0.2.1]>\r\n", "250");
    client_talk(&c, "RCPT TO:<nobody@example.org>\r\n", "550 5.1.1");
    play_stop(&p);
}

/* LMTP is for mailboxes (RFC 2033 1), whatever the rules permit. */
static void test_lmtp_delivers_here_alone(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_init(&p);
    size_t lmtp = play_listen(&p, "lmtp");
    p.settings.n--; /* the line of the listener gets a block */
    buf_add(&p.settings, S(" {\n smtpd_relay_restrictions permit_mynetworks reject\n}\n"
                            "mynetworks 127.0.0.0/8\nlmtp_networks 127.0.0.0/8\n"));
    play_fork(&p, play_smtp_run);
    play_begin(&p, "log");
    play_peer(&p, ROLE_STORE);
    play_peer(&p, ROLE_AUTH);
    play_start(&p);
    client_open(&c, p.port[lmtp]);
    client_expect(&c, "220");
    client_talk(&c, "LHLO client.example\r\n", "250");
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250");
    client_talk(&c, "RCPT TO:<y@elsewhere.example>\r\n", "550 5.7.1 <y@elsewhere.example>: LMTP delivers");
    client_talk(&c, "RCPT TO:<away@example.org>\r\n", "250"); /* ours, and what it stands for is the store's affair */
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "250");
    play_stop(&p);
}

static const char host_key[] = "0123456789abcdef";

static void give_host_key(struct role_play *p)
{
    play_file(p, "host_key", str_of(host_key, 16));
    play_status(p, "messages"); /* it has come */
}

static void say_rcpt(struct play_client *c, const char *address, const char *want)
{
    char line[300];
    snprintf(line, sizeof(line), "RCPT TO:<%s>\r\n", address);
    client_talk(c, line, want);
}

/* The bounce of forwarded mail comes back to the sender that this host wrote; nobody else may use it. */
static void test_rewritten_senders_take_bounces_alone(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_buf_ struct buf good = BUF(300), old = BUF(300), other = BUF(300);
    const uint8_t *key = (const uint8_t *)host_key;
    int64_t now = (int64_t)time(NULL);
    assert_int_equal(srs_forward(&good, key, S("al@far.example"), S("example.org"), now), 0);
    assert_int_equal(srs_forward(&old, key, S("al@far.example"), S("example.org"), now - (SRS_DAYS + 2) * 86400), 0);
    key = (const uint8_t *)"fedcba9876543210";
    assert_int_equal(srs_forward(&other, key, S("al@far.example"), S("example.org"), now), 0);
    buf_addc(&good, 0);
    buf_addc(&old, 0);
    buf_addc(&other, 0);
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<>\r\n", "250");
    say_rcpt(&c, good.p, "550 5.1.1"); /* without the key */
    give_host_key(&p);
    say_rcpt(&c, good.p, "250");
    say_rcpt(&c, old.p, "550 5.1.1");
    say_rcpt(&c, other.p, "550 5.1.1");
    client_talk(&c, "RSET\r\n", "250");
    client_talk(&c, "MAIL FROM:<spammer@far.example>\r\n", "250");
    say_rcpt(&c, good.p, "550 5.1.1");
    client_talk(&c, "RCPT TO:<SRS0=x=y=far.example=al@example.org>\r\n", "550 5.1.1");
    play_stop(&p);
}

/* RFC 3461 4: the parameters reach the queue. */
static void test_dsn_parameters_reach_the_record(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<x@far.example> RET=HDRS ENVID=a+2Bb+3Dc BODY=8BITMIME\r\n", "250");
    client_talk(&c, "RCPT TO:<anna@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;al+2Bx@far.example\r\n", "250");
    client_talk(&c, "RCPT TO:<bob@example.org> NOTIFY=NEVER\r\n", "250");
    client_talk(&c, "RCPT TO:<info@example.org> NOTIFY=FAILURE\r\n", "250");
    client_talk(&c, "RCPT TO:<postmaster@example.org>\r\n", "250");
    client_talk(&c, "DATA\r\n", "354");
    client_send(&c, S("\r\nx\r\n.\r\n"));
    {
        _cleanup_message_ struct play_message m = { 0 };
        play_read(&p, play_synced(&p), &m);
        const struct record_recipient *r = m.record.recipients;
        client_expect(&c, "250");
        assert_true(str_eq(m.record.envid, S("a+b=c")));
        assert_int_equal(m.record.ret, 2);
        assert_int_equal(m.record.body, 1);
        assert_int_equal(m.record.n_recipients, 4);
        assert_int_equal(r[0].notify, 2 | 8);
        assert_true(str_eq(r[0].orcpt, S("rfc822;al+x@far.example")));
        assert_int_equal(r[1].notify, 1);
        assert_int_equal(r[2].notify, 4);
        assert_int_equal(r[3].notify, 0);
        assert_int_equal(r[3].orcpt.n, 0);
        assert_int_equal(m.record.dsn_of, 0);
    }
    client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250"); /* nothing of it stays */
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "250");
    client_talk(&c, "DATA\r\n", "354");
    client_send(&c, S("\r\nx\r\n.\r\n"));
    _cleanup_message_ struct play_message m = { 0 };
    play_read(&p, play_synced(&p), &m);
    client_expect(&c, "250");
    assert_int_equal(m.record.envid.n, 0);
    assert_int_equal(m.record.ret, 0);
    assert_int_equal(m.record.recipients[0].notify, 0);
    play_stop(&p);
}

/* RFC 3461 5.4 */
static void test_the_longest_dsn_parameters(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_buf_ struct buf line = BUF(4096);
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    buf_add(&line, S("MAIL FROM:<x@far.example> RET=FULL ENVID="));
    for (int i = 0; i < 100; i++)
        buf_addc(&line, 'e');
    buf_add(&line, S("\r\n"));
    client_send(&c, buf_str(&line));
    client_expect(&c, "250");
    buf_clear(&line);
    buf_add(&line, S("RCPT TO:<anna@example.org> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;"));
    for (int i = 0; i < 500 - 7; i++)
        buf_addc(&line, 'o');
    buf_add(&line, S("\r\n"));
    client_send(&c, buf_str(&line));
    client_expect(&c, "250");
    buf_clear(&line);
    buf_add(&line, S("RCPT TO:<bob@example.org>"));
    while (line.n < 1034)
        buf_addc(&line, ' ');
    buf_add(&line, S("\r\n"));
    client_send(&c, buf_str(&line));
    client_expect(&c, "250");
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
        cmocka_unit_test(test_full_mailboxes),
        cmocka_unit_test(test_a_transaction_leaves_nothing_behind),
        cmocka_unit_test(test_size_and_room),
        cmocka_unit_test(test_a_mark_of_the_store_from_before_stops_nobody),
        cmocka_unit_test(test_a_transaction_keeps_its_generation),
        cmocka_unit_test(test_submission_wants_a_log_in_and_then_relays),
        cmocka_unit_test(test_foreign_recipients_of_a_permitted_client),
        cmocka_unit_test(test_lmtp_delivers_here_alone),
        cmocka_unit_test(test_rewritten_senders_take_bounces_alone),
        cmocka_unit_test(test_dsn_parameters_reach_the_record),
        cmocka_unit_test(test_the_longest_dsn_parameters),
        cmocka_unit_test(test_a_policy_of_the_listener_is_asked),
        cmocka_unit_test(test_many_recipients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
