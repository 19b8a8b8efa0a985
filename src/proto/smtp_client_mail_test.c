/* Transactions of the SMTP client. Every scenario is played with the input whole and byte by byte, and must give the
 * same. The last tests play against our own server engine. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "proto/smtp_client_commands.h"
#include "proto/smtp_params.h"
#include "proto/smtp_test_driver.h"
#include "proto/smtp_client_play.h"

/* Behind the headers: others give these names to arguments. */
static struct smtp_client_config config;
static struct smtp_client_rcpt rcpts[1200];
static struct smtp_client_mail mail;

#include "proto/smtp_client_tx_test.h"

static void simple(struct client_play *p)
{
    ready(p, "250 ok\r\n");
    begin(p);
    said(p, "MAIL FROM:<me@example.net>\r\n");
    SAYS(p, "250 ok\r\n");
    said(p, "RCPT TO:<a@example.org>\r\n");
    SAYS(p, "250 ok\r\n");
    said(p, "DATA\r\n");
    assert_int_equal(smtp_client_phase(p->c), SMTP_STAGE_DATA);
    SAYS(p, "354 go\r\n");
    assert_int_equal(smtp_client_phase(p->c), SMTP_STAGE_CONTENT);
    content(p, "Subject: x\r\n\r\n.dot\r\n..\r\nend", true);
    said(p, "Subject: x\r\n\r\n..dot\r\n...\r\nend\r\n.\r\n");
    assert_int_equal(smtp_client_phase(p->c), SMTP_STAGE_FINAL);
    SAYS(p, "250-2.0.0 queued\r\n250 2.0.0 as 1\r\n");
    logged(p, "RESULT 0 relayed-no-dsn 250 2.0.0 [end of message] 250-2.0.0 queued\n250 2.0.0 as 1\nDONE\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
    begin(p);
    said(p, "MAIL FROM:<me@example.net>\r\n");
}
static void test_one_by_one(void **state) { (void)state; twice(simple); }

static void pipelined(struct client_play *p)
{
    mail.n = 3;
    ready(p, "250-PIPELINING\r\n250 DSN\r\n");
    begin(p);
    said(p, "MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"
            "RCPT TO:<c@example.com>\r\nDATA\r\n");
    SAYS(p, "250 ok\r\n250 ok\r\n550 5.1.1 no b\r\n452 4.2.2 full\r\n354 go\r\n");
    logged(p, "RESULT 1 failed 550 5.1.1 [RCPT TO] 550 5.1.1 no b\n"
              "RESULT 2 deferred 452 4.2.2 [RCPT TO] 452 4.2.2 full\n");
    content(p, "x\r\n", true);
    said(p, "x\r\n.\r\n");
    SAYS(p, "250 ok\r\n");
    logged(p, "RESULT 0 relayed 250 2.0.0 [end of message] 250 ok\nDONE\n");
    said(p, "");
}
static void test_pipelined(void **state) { (void)state; twice(pipelined); }

static void all_refused(struct client_play *p)
{
    mail.n = 2;
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    client_said(p);
    SAYS(p, "250 ok\r\n550 a\r\n550 b\r\n354 go\r\n");
    said(p, ".\r\n");
    logged(p, "RESULT 0 failed 550 5.0.0 [RCPT TO] 550 a\nRESULT 1 failed 550 5.0.0 [RCPT TO] 550 b\n");
    SAYS(p, "250 taken all the same\r\n");
    said(p, "");
    logged(p, "DONE\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
}
static void test_354_without_a_recipient(void **state) { (void)state; twice(all_refused); }

static void all_refused_503(struct client_play *p)
{
    mail.n = 2;
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    client_said(p);
    SAYS(p, "250 ok\r\n450 a\r\n550 b\r\n503 no\r\n");
    said(p, "RSET\r\n");
    logged(p, "RESULT 0 deferred 450 4.2.0 [RCPT TO] 450 a\nRESULT 1 failed 550 5.0.0 [RCPT TO] 550 b\nDONE\n");
    assert_int_equal(smtp_client_send(p->c, &mail), -EINVAL);
    SAYS(p, "250 reset\r\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
}
static void test_rset_when_nobody_is_taken(void **state) { (void)state; twice(all_refused_503); }

static void unpipelined_refused(struct client_play *p)
{
    mail.n = 2;
    ready(p, "250 ok\r\n");
    begin(p);
    SAYS(p, "250 ok\r\n");
    SAYS(p, "550 a\r\n");
    client_said(p);
    SAYS(p, "550 b\r\n");
    said(p, "RSET\r\n");
    SAYS(p, "500 what?\r\n");
    said(p, "QUIT\r\n");
    assert_int_equal(p->last.end.why, SMTP_END_REPLY);
}
static void test_no_data_for_nobody(void **state) { (void)state; twice(unpipelined_refused); }

static void mail_refused(struct client_play *p)
{
    mail.n = 2;
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    SAYS(p, "550 5.7.1 not\r\n");
    logged(p, "RESULT 0 failed 550 5.7.1 [MAIL FROM] 550 5.7.1 not\n"
              "RESULT 1 failed 550 5.7.1 [MAIL FROM] 550 5.7.1 not\n");
    SAYS(p, "503 a\r\n503 b\r\n");
    logged(p, "");
    SAYS(p, "503 c\r\n");
    logged(p, "DONE\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
}
static void test_sender_refused(void **state) { (void)state; twice(mail_refused); }

static void mail_refused_alone(struct client_play *p)
{
    ready(p, "250 ok\r\n");
    begin(p);
    SAYS(p, "451 later\r\n");
    said(p, "MAIL FROM:<me@example.net>\r\n");
    logged(p, "RESULT 0 deferred 451 4.3.0 [MAIL FROM] 451 later\nDONE\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
}
static void test_sender_refused_without_pipelining(void **state) { (void)state; twice(mail_refused_alone); }

static void data_refused(struct client_play *p)
{
    ready(p, "250 ok\r\n");
    begin(p);
    SAYS(p, "250 ok\r\n");
    SAYS(p, "250 ok\r\n");
    client_said(p);
    SAYS(p, "451-4.7.1 greylisted\r\n451 4.7.1 5 minutes\r\n");
    said(p, "RSET\r\n");
    logged(p, "RESULT 0 deferred 451 4.7.1 [DATA] 451-4.7.1 greylisted\n451 4.7.1 5 minutes\nDONE\n");
}
static void test_data_deferred(void **state) { (void)state; twice(data_refused); }

static void to_content(struct client_play *p, const char *capabilities)
{
    ready(p, capabilities);
    begin(p);
    SAYS(p, "250 ok\r\n");
    for (uint32_t i = 0; i < mail.n; ++i)
        SAYS(p, "250 ok\r\n");
    SAYS(p, "354 go\r\n");
    client_said(p);
    assert_int_equal(p->last.kind, SMTP_CLIENT_NEED_CONTENT);
}

static void final_refused(struct client_play *p)
{
    mail.n = 2;
    to_content(p, "250 ok\r\n");
    content(p, "x\r\n", true);
    SAYS(p, "554-5.7.1 spam\r\n554 5.7.1 go\r\n");
    logged(p, "RESULT 0 failed 554 5.7.1 [end of message] 554-5.7.1 spam\n554 5.7.1 go\n"
              "RESULT 1 failed 554 5.7.1 [end of message] 554-5.7.1 spam\n554 5.7.1 go\nDONE\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
}
static void test_refused_at_the_end(void **state) { (void)state; twice(final_refused); }

static void dropped(struct client_play *p)
{
    mail.n = 2;
    to_content(p, "250 ok\r\n");
    content(p, "x\r\n", true);
    SAYS(p, "250-almo");
    smtp_client_lost(p->c, "connection lost");
    SAYS(p, "");
    logged(p, "RESULT 0 deferred 0 4.4.2 [end of message] connection lost\n"
              "RESULT 1 deferred 0 4.4.2 [end of message] connection lost\nDONE\n"
              "END lost 0 4.4.2 [end of message] connection lost\n");
}
static void test_lost_before_the_last_reply(void **state) { (void)state; twice(dropped); }

static void reply_in_content(struct client_play *p)
{
    to_content(p, "250 ok\r\n");
    content(p, "x\r\n", false);
    SAYS(p, "552 5.3.4 enough\r\n");
    logged(p, "RESULT 0 failed 552 5.3.4 [message content] 552 5.3.4 enough\nDONE\n"
              "END reply 552 5.3.4 [message content] 552 5.3.4 enough\n");
    said(p, "x\r\n");
}
static void test_refused_in_the_middle(void **state) { (void)state; twice(reply_in_content); }

static void ok_in_content(struct client_play *p)
{
    to_content(p, "250 ok\r\n");
    content(p, "x\r\n", false);
    SAYS(p, "250 have it\r\n");
    logged(p, "RESULT 0 deferred 0 4.5.0 [message content] the other server's reply does not fit what was said\nDONE\n"
              "END protocol 0 4.5.0 [message content] the other server's reply does not fit what was said\n");
}
static void test_accepted_too_early(void **state) { (void)state; twice(ok_in_content); }

static void closing(struct client_play *p)
{
    mail.n = 3;
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    SAYS(p, "250 ok\r\n250 ok\r\n550 no\r\n421 bye\r\n");
    logged(p, "RESULT 1 failed 550 5.0.0 [RCPT TO] 550 no\nRESULT 0 deferred 421 4.3.2 [RCPT TO] 421 bye\n"
              "RESULT 2 deferred 421 4.3.2 [RCPT TO] 421 bye\nDONE\nEND reply 421 4.3.2 [RCPT TO] 421 bye\n");
}
static void test_421_in_the_middle(void **state) { (void)state; twice(closing); }

static void too_many(struct client_play *p)
{
    mail.n = 3;
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    SAYS(p, "250 ok\r\n250 ok\r\n452 4.5.3 too many\r\n552 too many\r\n354 go\r\n");
    content(p, "", true);
    SAYS(p, "250 ok\r\n");
    logged(p, "RESULT 1 deferred too-many 452 4.5.3 [RCPT TO] 452 4.5.3 too many\n"
              "RESULT 2 deferred too-many 552 5.2.2 [RCPT TO] 552 too many\n"
              "RESULT 0 relayed-no-dsn 250 2.0.0 [end of message] 250 ok\nDONE\n");
}
static void test_too_many_recipients(void **state) { (void)state; twice(too_many); }

static void full_mailbox(struct client_play *p)
{
    mail.n = 3;
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    SAYS(p, "250 ok\r\n250 ok\r\n552 5.2.2 full\r\n452 4.3.1 disk\r\n");
    logged(p, "RESULT 1 failed 552 5.2.2 [RCPT TO] 552 5.2.2 full\n"
              "RESULT 2 deferred 452 4.3.1 [RCPT TO] 452 4.3.1 disk\n");
}
static void test_full_mailbox_is_another_thing(void **state) { (void)state; twice(full_mailbox); }

static void wrong_reply(struct client_play *p)
{
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    SAYS(p, "250 ok\r\n354 ok\r\n");
    logged(p, "RESULT 0 deferred 0 4.5.0 [RCPT TO] the other server's reply does not fit what was said\nDONE\n"
              "END protocol 0 4.5.0 [RCPT TO] the other server's reply does not fit what was said\n");
}
static void test_354_to_rcpt(void **state) { (void)state; twice(wrong_reply); }

/* Parameters */

static void parameters(struct client_play *p)
{
    mail.size = 1234;
    mail.envid = S("a+b=c d");
    mail.ret = SMTP_RET_HDRS;
    mail.body_8bit = true;
    mail.smtputf8 = true;
    mail.n = 3;
    rcpts[0].notify = SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY;
    rcpts[0].orcpt = S("rfc822;x+y@example.org");
    rcpts[1].notify = SMTP_NOTIFY_NEVER;
    rcpts[2].orcpt = S("utf-8;\xc3\xa9+@example.org");
    ready(p, "250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n");
    begin(p);
    said(p, "MAIL FROM:<me@example.net> SIZE=1234 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+3Dc+20d\r\n"
            "RCPT TO:<a@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@example.org\r\n"
            "RCPT TO:<b@example.org> NOTIFY=NEVER\r\n"
            "RCPT TO:<c@example.com> ORCPT=utf-8;\xc3\xa9\\x{2B}@example.org\r\nDATA\r\n");
}
static void test_parameters(void **state) { (void)state; twice(parameters); }

static void no_parameters(struct client_play *p)
{
    mail.size = 1234;
    mail.envid = S("x");
    mail.ret = SMTP_RET_FULL;
    mail.body_8bit = true;
    mail.sender = S("");
    rcpts[0].notify = SMTP_NOTIFY_NEVER;
    rcpts[0].orcpt = S("rfc822;x@example.org");
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    said(p, "MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n");
}
static void test_only_what_is_offered(void **state) { (void)state; twice(no_parameters); }

static void refused_here(struct client_play *p, const char *capabilities, const char *text)
{
    ready(p, capabilities);
    begin(p);
    said(p, "");
    logged(p, text);
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
}

static void too_large(struct client_play *p)
{
    mail.size = 1001;
    refused_here(p, "250 SIZE 1000\r\n",
                 "RESULT 0 failed 0 5.3.4 [MAIL FROM] the message is larger than the other server takes\nDONE\n");
}
static void test_too_large(void **state) { (void)state; twice(too_large); }

static void needs_utf8(struct client_play *p)
{
    mail.smtputf8 = true;
    refused_here(p, "250 8BITMIME\r\n",
                 "RESULT 0 failed 0 5.6.7 [MAIL FROM] the message needs SMTPUTF8 (addresses or header fields that are "
                 "not plain ASCII), which the other server does not offer\nDONE\n");
}
static void test_smtputf8_not_offered(void **state) { (void)state; twice(needs_utf8); }

static void requires_tls(struct client_play *p)
{
    mail.requiretls = true;
    refused_here(p, "250 REQUIRETLS\r\n",
                 "RESULT 0 failed 0 5.7.30 [MAIL FROM] the sender demands TLS all the way (REQUIRETLS), which the "
                 "other server does not offer\nDONE\n");
}
static void test_requiretls_in_clear(void **state) { (void)state; twice(requires_tls); }

static void some_addresses(struct client_play *p)
{
    mail.n = 3;
    rcpts[0].address = S("\xc3\xa9@example.org");
    rcpts[2].address = S("x@example.org>\r\nRSET");
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    said(p, "MAIL FROM:<me@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    logged(p, "RESULT 0 failed 0 5.6.7 [RCPT TO] the other server cannot take addresses that are not plain ASCII (no "
              "SMTPUTF8)\nRESULT 2 failed 0 5.1.3 [RCPT TO] this is no valid address\n");
    SAYS(p, "250 ok\r\n250 ok\r\n354 go\r\n");
    content(p, "x\r\n", true);
    SAYS(p, "250 ok\r\n");
    logged(p, "RESULT 1 relayed-no-dsn 250 2.0.0 [end of message] 250 ok\nDONE\n");
}
static void test_addresses_that_cannot_be_said(void **state) { (void)state; twice(some_addresses); }

static void no_address(struct client_play *p)
{
    rcpts[0].address = S("x@example.org\r\nRSET");
    refused_here(p, "250 PIPELINING\r\n", "RESULT 0 failed 0 5.1.3 [RCPT TO] this is no valid address\nDONE\n");
}
static void test_nobody_to_be_asked_for(void **state) { (void)state; twice(no_address); }

static void bad_sender(struct client_play *p)
{
    mail.sender = S("x@example.org>\r\nRSET");
    refused_here(p, "250 ok\r\n", "RESULT 0 failed 0 5.1.7 [MAIL FROM] the sender's address is not valid\nDONE\n");
}
static void test_sender_that_cannot_be_said(void **state) { (void)state; twice(bad_sender); }

/* LMTP */

static void lmtp(struct client_play *p)
{
    mail.n = 3;
    to_content(p, "250 PIPELINING\r\n");
    content(p, "x\r\n", true);
    SAYS(p, "250 2.1.5 a\r\n");
    logged(p, "RESULT 0 relayed-no-dsn 250 2.1.5 [end of message] 250 2.1.5 a\n");
    SAYS(p, "552 5.2.2 b\r\n");
    smtp_client_lost(p->c, "connection lost");
    SAYS(p, "");
    logged(p, "RESULT 1 failed 552 5.2.2 [end of message] 552 5.2.2 b\n"
              "RESULT 2 deferred 0 4.4.2 [end of message] connection lost\nDONE\n"
              "END lost 0 4.4.2 [end of message] connection lost\n");
}
static void test_lmtp_replies_for_each(void **state)
{
    (void)state;
    config.lmtp = true;
    twice(lmtp);
}

static void lmtp_some(struct client_play *p)
{
    mail.n = 3;
    ready(p, "250 PIPELINING\r\n");
    begin(p);
    SAYS(p, "250 ok\r\n550 a\r\n250 ok\r\n550 c\r\n354 go\r\n");
    content(p, "x\r\n", true);
    client_said(p);
    SAYS(p, "250 b\r\n");
    logged(p, "RESULT 0 failed 550 5.0.0 [RCPT TO] 550 a\nRESULT 2 failed 550 5.0.0 [RCPT TO] 550 c\n"
              "RESULT 1 relayed-no-dsn 250 2.0.0 [end of message] 250 b\nDONE\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
    said(p, "");
}
static void test_lmtp_counts_accepted_recipients(void **state)
{
    (void)state;
    config.lmtp = true;
    twice(lmtp_some);
}

/* Content */

static void line_ends(struct client_play *p)
{
    to_content(p, "250 ok\r\n");
    content(p, "a\nb\rc\r\r\n\n.d\r", false);
    content(p, "\n.e\r\n", false);
    content(p, ".", false);
    content(p, "f\n.\n", false);
    content(p, "g\r", true);
    said(p, "a\r\nb\r\nc\r\n\r\n\r\n..d\r\n..e\r\n..f\r\n..\r\ng\r\n.\r\n");
}
static void test_only_crlf_ends_a_line(void **state) { (void)state; twice(line_ends); }

static void no_content(struct client_play *p)
{
    to_content(p, "250 ok\r\n");
    content(p, "", true);
    said(p, ".\r\n");
}
static void test_empty_content(void **state) { (void)state; twice(no_content); }

static void aborted(struct client_play *p)
{
    to_content(p, "250 ok\r\n");
    content(p, "half\r\n", false);
    smtp_client_abort(p->c, "disk");
    SAYS(p, "");
    said(p, "half\r\n");
    logged(p, "RESULT 0 deferred 0 4.3.0 [message content] disk\nDONE\nEND lost 0 4.3.0 [message content] disk\n");
}
static void test_half_a_message_is_not_ended(void **state) { (void)state; twice(aborted); }

static void test_content_waits_for_the_writer(void **state)
{
    (void)state;
    struct client_play p;
    static char block[SMTP_CLIENT_PIECE_MAX];
    client_play_init(&p, &config, 1000);
    to_content(&p, "250 ok\r\n");
    memset(block, '\n', sizeof(block));
    smtp_client_content(p.c, str_of(block, sizeof(block)), false);
    size_t used = 0;
    smtp_client_next(p.c, STR_NONE, &used, &p.last);
    assert_int_equal(p.last.kind, SMTP_CLIENT_NEED_INPUT);
    assert_int_equal(smtp_client_output(p.c)->n, 2 * sizeof(block));
    buf_drop(smtp_client_output(p.c), sizeof(block));
    smtp_client_next(p.c, STR_NONE, &used, &p.last);
    assert_int_equal(p.last.kind, SMTP_CLIENT_NEED_CONTENT);
    smtp_client_content(p.c, str_of(block, sizeof(block)), true);
    smtp_client_next(p.c, STR_NONE, &used, &p.last);
    assert_int_equal(p.last.kind, SMTP_CLIENT_NEED_INPUT);
    client_play_done(&p);
}

/* Many recipients */

static void test_recipients_come_in_portions(void **state)
{
    (void)state;
    struct client_play p;
    static char local[1000][300];
    client_play_init(&p, &config, 1000);
    for (unsigned i = 0; i < 1000; ++i) {
        int n = snprintf(local[i], sizeof(local[i]), "%060u@", i);
        for (int k = 0; k < 3; ++k)
            n += snprintf(local[i] + n, sizeof(local[i]) - (size_t)n, "%060u.", k);
        snprintf(local[i] + n, sizeof(local[i]) - (size_t)n, "example");
        rcpts[i].address = str_z(local[i]);
    }
    mail.n = 1000;
    ready(&p, "250 PIPELINING\r\n");
    assert_int_equal(smtp_client_fit(p.c, rcpts, 1000), 1000);
    assert_int_equal(smtp_client_send(p.c, &mail), 0);
    size_t used = 0;
    smtp_client_next(p.c, STR_NONE, &used, &p.last);
    assert_true(smtp_client_output(p.c)->n < 34000);
    SAYS(&p, "");
    assert_true(str_ends(client_said(&p), S("DATA\r\n")));
    SAYS(&p, "250 ok\r\n");
    for (unsigned i = 0; i < 1000; ++i)
        SAYS(&p, i == 3 ? "250 ok\r\n" : "550 no\r\n");
    SAYS(&p, "354 go\r\n");
    content(&p, "x", true);
    SAYS(&p, "250 ok\r\n");
    assert_int_equal(p.last.kind, SMTP_CLIENT_READY);
    mail.n = 1001;
    assert_int_equal(smtp_client_send(p.c, &mail), -EINVAL);
    client_play_done(&p);
}

static void limits(struct client_play *p)
{
    ready(p, "250 LIMITS MAILMAX=2 RCPTMAX=2 RCPTDOMAINMAX=1\r\n");
    assert_int_equal(smtp_client_fit(p->c, rcpts, 3), 2);
    assert_int_equal(smtp_client_fit(p->c, rcpts + 1, 2), 1);
    assert_int_equal(smtp_client_fit(p->c, rcpts, 1), 1);
    for (int i = 0; i < 2; ++i) {
        assert_true(smtp_client_reusable(p->c));
        begin(p);
        SAYS(p, "550 no\r\n");
    }
    assert_false(smtp_client_reusable(p->c));
}
static void test_limits(void **state) { (void)state; twice(limits); }

/* Encodings */

static void test_xtext_both_ways(void **state)
{
    (void)state;
    struct buf all = BUF(256), text = BUF(1024), back = BUF(1024);
    for (int i = 0; i < 256; ++i)
        buf_addc(&all, (char)i);
    assert_int_equal(smtp_xtext_encode(&text, buf_str(&all)), 0);
    for (size_t i = 0; i < text.n; ++i)
        assert_true(text.p[i] > 32 && text.p[i] < 127 && text.p[i] != '=');
    assert_int_equal(smtp_xtext_decode(&back, buf_str(&text)), 0);
    assert_true(str_eq(buf_str(&all), buf_str(&back)));
    buf_done(&all);
    buf_done(&text);
    buf_done(&back);
}

static void orcpt(const char *in, bool utf8, const char *out)
{
    struct buf b = BUF(1024);
    assert_int_equal(smtp_orcpt_encode(&b, str_z(in), utf8), out != NULL);
    same(buf_str(&b), out ? out : "");
    buf_done(&b);
}

static void test_orcpt(void **state)
{
    (void)state;
    orcpt("rfc822;a b@c", false, "rfc822;a+20b@c");
    orcpt("utf-8;a\\\xe2\x82\xac@c", false, "utf-8;a\\x{5C}\\x{20AC}@c");
    orcpt("utf-8;a\xf0\x9f\x98\x80@c", true, "utf-8;a\xf0\x9f\x98\x80@c");
    orcpt("utf-8;a\xff@c", true, NULL);
    orcpt("utf-8;a\xc3", true, NULL);
    orcpt("rfc822;\xc3\xa9@c", true, NULL);
    orcpt("a@b", false, NULL);
    orcpt("x y;a@b", false, NULL);
    orcpt("rfc822;", false, NULL);
}

/* Against our own server: what it takes is what was sent. */

static void exchange(struct client_play *c, struct play *s)
{
    for (bool more = true; more;) {
        client_play_run(c);
        str to_server = client_said(c);
        play_feed(s, to_server);
        more = s->out.n > 0;
        client_play_feed(c, buf_str(&s->out));
        buf_clear(&s->out);
    }
}

static void against_server(bool chunking, bool lmtp_too, const char *text, const char *taken)
{
    struct smtp_server_config server_config = play_config;
    struct client_play c;
    struct play s;
    server_config.chunking = chunking;
    server_config.lmtp = config.lmtp = lmtp_too;
    server_config.starttls = false;
    play_init(&s, &server_config);
    client_play_init(&c, &config, 7);
    rcpts[0].address = S("alice@posthouse.test");
    rcpts[1].address = S("nobody@posthouse.test");
    rcpts[2].address = S("bob@posthouse.test");
    mail.n = 3;
    mail.size = strlen(text);
    mail.exact = true;
    exchange(&c, &s);
    assert_int_equal(c.last.kind, SMTP_CLIENT_READY);
    for (int i = 0; i < 2; ++i) {
        buf_clear(&s.log);
        assert_int_equal(smtp_client_send(c.c, &mail), 0);
        exchange(&c, &s);
        assert_int_equal(c.last.kind, SMTP_CLIENT_NEED_CONTENT);
        str rest = str_z(text);
        while (rest.n > 3) {
            smtp_client_content(c.c, str_first(rest, 3), false);
            rest = str_from(rest, 3);
        }
        smtp_client_content(c.c, rest, true);
        exchange(&c, &s);
        assert_int_equal(c.last.kind, SMTP_CLIENT_READY);
        assert_true(str_find(buf_str(&s.log), str_z(taken)) >= 0);
        assert_int_equal(s.messages, i + 1);
        assert_true(str_ends(buf_str(&c.log), S("DONE\n")));
    }
    client_play_done(&c);
    play_done(&s);
}

static void test_our_own_server(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; ++kind) {
        const char *text = "Subject: x\r\n\r\n.\r\n..\r\n.x\r\nlast\r\n";
        against_server(kind & 1, kind & 2, text, "CONTENT 31:Subject: x\r\n\r\n.\r\n..\r\n.x\r\nlast\r\n\nEND");
    }
    against_server(false, false, ".\n.\r.", "CONTENT 9:.\r\n.\r\n.\r\n\nEND");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_one_by_one),
        T(test_pipelined),
        T(test_354_without_a_recipient),
        T(test_rset_when_nobody_is_taken),
        T(test_no_data_for_nobody),
        T(test_sender_refused),
        T(test_sender_refused_without_pipelining),
        T(test_data_deferred),
        T(test_refused_at_the_end),
        T(test_lost_before_the_last_reply),
        T(test_refused_in_the_middle),
        T(test_accepted_too_early),
        T(test_421_in_the_middle),
        T(test_too_many_recipients),
        T(test_full_mailbox_is_another_thing),
        T(test_354_to_rcpt),
        T(test_parameters),
        T(test_only_what_is_offered),
        T(test_too_large),
        T(test_smtputf8_not_offered),
        T(test_requiretls_in_clear),
        T(test_addresses_that_cannot_be_said),
        T(test_nobody_to_be_asked_for),
        T(test_sender_that_cannot_be_said),
        T(test_lmtp_replies_for_each),
        T(test_lmtp_counts_accepted_recipients),
        T(test_only_crlf_ends_a_line),
        T(test_empty_content),
        T(test_half_a_message_is_not_ended),
        T(test_content_waits_for_the_writer),
        T(test_recipients_come_in_portions),
        T(test_limits),
        T(test_xtext_both_ways),
        T(test_orcpt),
        T(test_our_own_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
