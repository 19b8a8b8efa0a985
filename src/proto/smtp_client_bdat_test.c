/* CHUNKING of the SMTP client (RFC 3030), and other servers that offer it without knowing BDAT. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/smtp_client_play.h"

static struct smtp_client_config config;
static struct smtp_client_rcpt rcpts[1200];
static struct smtp_client_mail mail;

#include "proto/smtp_client_tx_test.h"

static void chunk(struct client_play *p)
{
    mail.size = 12;
    mail.exact = true;
    ready(p, "250-PIPELINING\r\n250 CHUNKING\r\n");
    begin(p);
    said(p, "MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\n");
    SAYS(p, "250 ok\r\n");
    said(p, "");
    SAYS(p, "250 ok\r\n");
    said(p, "BDAT 12 LAST\r\n");
    content(p, ".x\r\n", false);
    content(p, "..\ny\n.\r\n", true);
    said(p, ".x\r\n..\ny\n.\r\n");
    SAYS(p, "250 ok\r\n");
    logged(p, "RESULT 0 relayed-no-dsn 250 2.0.0 [end of message] 250 ok\nDONE\n");
}
static void test_bdat(void **state) { (void)state; twice(chunk); }

static void chunk_wrong(struct client_play *p)
{
    mail.size = 12;
    mail.exact = true;
    ready(p, "250-PIPELINING\r\n250 CHUNKING\r\n");
    begin(p);
    SAYS(p, "250 ok\r\n250 ok\r\n");
    content(p, "short\r\n", true);
    logged(p, "RESULT 0 deferred 0 4.3.0 [message content] the content has another length than it should\nDONE\n"
              "END lost 0 4.3.0 [message content] the content has another length than it should\n");
    said(p, "MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nBDAT 12 LAST\r\n");
}
static void test_bdat_of_another_length(void **state) { (void)state; twice(chunk_wrong); }

static void bdat_unknown(struct client_play *p, const char *reply, bool early)
{
    mail.size = 12;
    mail.exact = true;
    ready(p, "250-PIPELINING\r\n250 CHUNKING\r\n");
    begin(p);
    SAYS(p, "250 ok\r\n250 ok\r\n");
    content(p, ".x\r\n", false);
    if (!early)
        content(p, "..\ny\n.\r\n", true);
    SAYS(p, reply);
}

static void chunk_unknown(struct client_play *p)
{
    bdat_unknown(p, "502 5.5.1 what?\r\n", false);
    logged(p, "RESULT 0 deferred 0 4.5.1 [end of message] the other server offers CHUNKING but knows no BDAT\nDONE\n"
              "END bdat 0 4.5.1 [end of message] the other server offers CHUNKING but knows no BDAT\n");
}

static void chunk_unknown_at_once(struct client_play *p)
{
    bdat_unknown(p, "500 what?\r\n", true);
    logged(p, "RESULT 0 deferred 0 4.5.1 [message content] the other server offers CHUNKING but knows no BDAT\nDONE\n"
              "END bdat 0 4.5.1 [message content] the other server offers CHUNKING but knows no BDAT\n");
}

static void chunk_refused(struct client_play *p)
{
    bdat_unknown(p, "554 5.6.0 no\r\n", false);
    logged(p, "RESULT 0 failed 554 5.6.0 [end of message] 554 5.6.0 no\nDONE\n");
}

static void chunk_unwanted(struct client_play *p)
{
    mail.size = 12;
    mail.exact = true;
    ready(p, "250-PIPELINING\r\n250 CHUNKING\r\n");
    begin(p);
    said(p, "MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n");
}

static void test_bdat_unknown(void **state)
{
    (void)state;
    twice(chunk_unknown);
    twice(chunk_unknown_at_once);
    twice(chunk_refused);
    config.no_chunking = true;
    twice(chunk_unwanted);
}

static void chunk_nobody(struct client_play *p)
{
    mail.size = 12;
    mail.exact = true;
    ready(p, "250-PIPELINING\r\n250 CHUNKING\r\n");
    begin(p);
    client_said(p);
    SAYS(p, "250 ok\r\n550 ok\r\n");
    said(p, "RSET\r\n");
}
static void test_no_bdat_for_nobody(void **state) { (void)state; twice(chunk_nobody); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_bdat),
        T(test_bdat_unknown),
        T(test_bdat_of_another_length),
        T(test_no_bdat_for_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
