/* The MSA in a live role: what it repairs in a header, and whose From it refuses. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "msa/msa.h"
#include "session/smtp_play.h"

static int run(void)
{
    static const struct smtp_agent mta = { .name = "mta" };
    return smtp_in_run(&mta, &msa_agent);
}

static void start(struct role_play *p, struct play_client *c)
{
    _cleanup_buf_ struct buf cert = { 0 }, key = { 0 };
    play_init(p);
    play_listen(p, "smtp");
    play_listen(p, "submission");
    play_listen(p, "submissions");
    play_fork(p, run);
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    play_file(p, "tls_certificate", buf_str(&cert));
    play_file(p, "tls_key", buf_str(&key));
    play_begin(p, "log");
    play_peer(p, ROLE_STORE);
    play_peer(p, ROLE_AUTH);
    play_start(p);
    play_expect(p, p->peer[ROLE_STORE], IPC_LOG_ATTACH);
    play_greeted(p, c, PLAY_SUBMISSIONS);
    play_log_in(p, c);
}

static void submit(struct play_client *c, const char *header, const char *want)
{
    client_talk(c, "MAIL FROM:<anna@example.org>\r\n", "250");
    client_talk(c, "RCPT TO:<bob@example.org>\r\n", "250");
    client_talk(c, "DATA\r\n", "354");
    client_send(c, str_z(header));
    client_talk(c, "\r\nbody\r\n.\r\n", want);
}

static bool has(const struct play_message *m, const char *text)
{
    return str_find(buf_str(&m->content), str_z(text)) >= 0;
}

static void test_a_bare_message_is_completed(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    start(&p, &c);
    submit(&c, "Subject: x\r\nTo: bob\r\nBcc: carl@example.org\r\n", "250");
    play_read(&p, play_synced(&p), &m);
    assert_true(has(&m, "\r\nFrom: "));
    assert_true(has(&m, "anna@example.org"));
    assert_true(has(&m, "\r\nDate: "));
    assert_true(has(&m, "\r\nMessage-ID: <"));
    assert_true(has(&m, "@mx.example.org>"));
    assert_true(has(&m, "bob@example.org"));
    assert_false(has(&m, "carl"));
    assert_true(str_ends(buf_str(&m.content), S("\r\n\r\nbody\r\n")));
    play_stop(&p);
}

static void test_what_is_complete_stays_as_it_is(void **state)
{
    (void)state;
    static const char header[] = "From: Anna <anna+tag@example.org>\r\nDate: Tue, 24 Nov 2026 07:55:03 +0000\r\n"
                                 "Message-ID: <1@example.org>\r\nSubject:  odd   blanks\r\n";
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    start(&p, &c);
    submit(&c, header, "250");
    play_read(&p, play_synced(&p), &m);
    assert_true(has(&m, header));
    play_stop(&p);
}

static void test_authors(void **state)
{
    (void)state;
    static const struct { const char *header, *want; } cases[] = {
        { "From: bob@example.org\r\n", "550 5.7.1 From: <bob@example.org> does not belong to anna@example.org" },
        { "From: anna@example.org, bob@example.org\r\nSender: anna@example.org\r\n", "550 5.7.1" },
        { "From: anna@example.org\r\nSender: bob@example.org\r\n", "550 5.7.1 Sender: <bob@example.org>" },
        { "From: anna@example.org\r\nFrom: anna@example.org\r\n", "550 5.6.0" },
        { "From: x@far.example\r\n", "550 5.7.1" },
        { "From: not an address\r\n", "550 5.6.0" },
        { "From: anna@example.org\r\nResent-From: bob@example.org\r\n",
          "550 5.7.1 Resent-From: <bob@example.org> does not belong to anna@example.org" },
        { "From: anna@example.org\r\nresent-from: anna@example.org, x@far.example\r\n", "550 5.7.1" },
        { "Resent-From: anna@example.org\r\nResent-From: bob@example.org\r\nFrom: anna@example.org\r\n", "550 5.7.1" },
        { "From: anna@example.org\r\nResent-From: anna\r\nResent-Sender: bob\r\n", "550 5.7.1" },
        { "From: anna@example.org\r\nResent-From: ,,,\r\n", "550 5.6.0" },
        { "From: anna@example.org\r\nResent-From: Anna <anna+b@example.org>\r\nResent-Sender: anna\r\n", "250" },
        { "From: Anna <ANNA@Example.org>\r\n", "250" },
        { "From: info@example.org\r\n", "250" }, /* an alias that leads to her alone */
        { "From: anna\r\n", "250" },
    };
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    start(&p, &c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        submit(&c, cases[i].header, cases[i].want);
    assert_int_equal(play_status(&p, "messages"), 4);
    play_stop(&p);
}

static void test_the_row(void **state)
{
    (void)state;
    assert_string_equal(msa_agent.name, "msa");
    assert_true(msa_agent.msa);
    assert_non_null(msa_agent.header);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bare_message_is_completed),
        cmocka_unit_test(test_what_is_complete_stays_as_it_is),
        cmocka_unit_test(test_authors),
        cmocka_unit_test(test_the_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
