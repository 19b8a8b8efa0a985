/* The engine as LMTP, and XCLIENT, as their owner sees them: which replies are due, and what is forgotten. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/smtp_test_driver.h"

#define BEGIN                                                                                                          \
    "LHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@posthouse.test>\r\nRCPT TO:<nobody@posthouse.test>\r\n"          \
    "RCPT TO:<bob@posthouse.test>\r\nRCPT TO:<carol@posthouse.test>\r\n"

static struct smtp_server_config config;
static struct smtp_server *s;
static str in;

static int setup(void **state)
{
    (void)state;
    config = play_config;
    config.lmtp = true;
    s = smtp_server_new(&config);
    return s ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    smtp_server_free(s);
    return 0;
}

static struct smtp_event pull(void)
{
    struct smtp_event ev;
    size_t used;
    smtp_server_next(s, in, &used, &ev);
    in = str_from(in, used);
    return ev;
}

static void pull_kind(enum smtp_event_kind kind)
{
    assert_int_equal(pull().kind, kind);
}

static void answer(int code, const char *text)
{
    smtp_server_reply(s, code, S("2.0.0"), str_z(text));
}

static void say(const char *text)
{
    in = str_z(text);
}

static void output_is(const char *want)
{
    struct buf *out = smtp_server_output(s);
    if (!str_eq(buf_str(out), str_z(want)))
        fail_msg("have:\n%.*s\nwant:\n%s", STR_ARG(buf_str(out)), want);
    buf_clear(out);
}

/* Three accepted recipients of four. */
static void open_transaction(void)
{
    static const int codes[] = { 220, 250, 250, 250, 550, 250, 250 };
    say(BEGIN);
    for (size_t i = 0; i < ARRAY_LEN(codes); ++i) {
        pull();
        assert_int_equal(smtp_server_replies_due(s), 1);
        answer(codes[i], "text");
        assert_int_equal(smtp_server_replies_due(s), 0);
    }
    pull_kind(SMTP_NEED_INPUT);
    buf_clear(smtp_server_output(s));
}

static void test_a_verdict_for_each_recipient(void **state)
{
    (void)state;
    open_transaction();
    say("DATA\r\nx\r\n.\r\nNOOP\r\n");
    pull_kind(SMTP_DATA);
    answer(354, "go");
    pull_kind(SMTP_CONTENT);
    pull_kind(SMTP_CONTENT_END);
    assert_int_equal(smtp_server_replies_due(s), 3);
    answer(250, "for alice");
    pull_kind(SMTP_NEED_REPLY); /* input behind it waits for all of them */
    assert_int_equal(smtp_server_replies_due(s), 2);
    answer(452, "bob is over quota");
    answer(250, "for\ncarol");
    assert_int_equal(smtp_server_replies_due(s), 0);
    answer(250, "for nobody");
    pull_kind(SMTP_NEED_INPUT);
    output_is("354 go\r\n250 2.0.0 for alice\r\n452 2.0.0 bob is over quota\r\n250-2.0.0 for\r\n250 2.0.0 carol\r\n"
              "250 2.0.0 Ok\r\n");
    say("MAIL FROM:<>\r\n"); /* the transaction is over */
    pull_kind(SMTP_MAIL);
}

static void test_a_shutdown_between_replies(void **state)
{
    (void)state;
    open_transaction();
    say("DATA\r\n.\r\nNOOP\r\n");
    pull_kind(SMTP_DATA);
    answer(354, "go");
    pull_kind(SMTP_CONTENT_END);
    answer(250, "one");
    smtp_server_shutdown(s, S("4.3.2"), S("bye"));
    pull_kind(SMTP_NEED_REPLY);
    answer(250, "two");
    answer(250, "three");
    pull_kind(SMTP_CLOSE);
    output_is("354 go\r\n250 2.0.0 one\r\n250 2.0.0 two\r\n250 2.0.0 three\r\n421 4.3.2 mx.posthouse.test bye\r\n");
}

static void test_421_ends_it_at_once(void **state)
{
    (void)state;
    open_transaction();
    say("DATA\r\n.\r\nNOOP\r\n");
    pull_kind(SMTP_DATA);
    answer(354, "go");
    pull_kind(SMTP_CONTENT_END);
    answer(250, "one");
    answer(421, "two");
    answer(250, "three");
    pull_kind(SMTP_CLOSE);
    output_is("354 go\r\n250 2.0.0 one\r\n421 2.0.0 mx.posthouse.test two\r\n");
}

/* A message refused to many is one error, not as many as it has recipients. */
static void test_a_refused_message_is_one_error(void **state)
{
    (void)state;
    config.limits.errors_max = 4;
    open_transaction(); /* one so far */
    say("DATA\r\n.\r\n");
    pull_kind(SMTP_DATA);
    answer(354, "go");
    pull_kind(SMTP_CONTENT_END);
    for (int i = 0; i < 3; ++i)
        answer(550, "no");
    pull_kind(SMTP_NEED_INPUT);
    buf_clear(smtp_server_output(s));
    say("MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@posthouse.test>\r\nRCPT TO:<bob@posthouse.test>\r\n"
        "DATA\r\n\n\r\n.\r\n");
    for (int i = 0; i < 3; ++i) {
        pull();
        answer(250, "ok");
    }
    pull_kind(SMTP_DATA);
    answer(354, "go");
    pull_kind(SMTP_RESET);
    pull_kind(SMTP_NEED_INPUT);
    say("NONSENSE\r\n");
    pull_kind(SMTP_CLOSE);
}

static void test_owner_refuses_the_last_chunk(void **state)
{
    (void)state;
    open_transaction();
    say("BDAT 4 LAST\r\nQUITNOOP\r\n");
    pull_kind(SMTP_DATA);
    answer(451, "no");
    pull_kind(SMTP_RESET);
    pull_kind(SMTP_NEED_INPUT);
    output_is("451 2.0.0 no\r\n451 2.0.0 no\r\n451 2.0.0 no\r\n250 2.0.0 Ok\r\n");
}

static void test_owner_refuses_data(void **state)
{
    (void)state;
    open_transaction();
    say("DATA\r\nNOOP\r\n");
    pull_kind(SMTP_DATA);
    answer(451, "no");
    pull_kind(SMTP_RESET);
    pull_kind(SMTP_NEED_INPUT);
    output_is("451 2.0.0 no\r\n250 2.0.0 Ok\r\n");
}

/* 10000 replies are more than the output of an SMTP session may hold. */
static void test_replies_of_many_recipients_are_held(void **state)
{
    (void)state;
    config.limits.recipients_max = 20000;
    say("LHLO c\r\nMAIL FROM:<>\r\n");
    static const int codes[] = { 220, 250, 250 };
    for (size_t i = 0; i < ARRAY_LEN(codes); ++i) {
        pull();
        answer(codes[i], "text");
    }
    for (int i = 0; i < 10000; ++i) {
        say("RCPT TO:<alice@posthouse.test>\r\n");
        pull_kind(SMTP_RCPT);
        answer(250, "ok");
        buf_clear(smtp_server_output(s));
    }
    say("DATA\r\n.\r\nNOOP\r\n");
    pull_kind(SMTP_DATA);
    answer(354, "go");
    pull_kind(SMTP_CONTENT_END);
    char text[151] = { 0 };
    memset(text, 'x', 150);
    for (int i = 0; i < 10000; ++i)
        answer(250, text);
    pull_kind(SMTP_NEED_DRAIN);
    assert_int_equal(smtp_server_output(s)->n, 8 + 10000 * 162);
    buf_clear(smtp_server_output(s));
    pull_kind(SMTP_NEED_INPUT);
    output_is("250 2.0.0 Ok\r\n");
}

/* XCLIENT */

static void test_xclient_begins_anew(void **state)
{
    (void)state;
    config.lmtp = false;
    config.limits.errors_max = 3;
    smtp_server_set_xclient(s, true);
    say("EHLO c\r\nNONSENSE\r\nNONSENSE\r\nXCLIENT ADDR=192.0.2.7\r\n");
    pull_kind(SMTP_CONNECT);
    answer(220, "hello");
    pull_kind(SMTP_HELO);
    answer(250, "");
    struct smtp_event ev = pull();
    assert_int_equal(ev.kind, SMTP_XCLIENT);
    assert_true(str_eq(ev.xclient.value[SMTP_XCLIENT_ADDR], S("192.0.2.7")));
    buf_clear(smtp_server_output(s));
    answer(220, "taken");
    output_is("");
    pull_kind(SMTP_CONNECT);
    answer(220, "hello again");
    say("MAIL FROM:<>\r\nNONSENSE\r\nXCLIENT HELO=h PROTO=ESMTP\r\n"); /* errors of another client do not count */
    pull_kind(SMTP_XCLIENT);
    output_is("220 2.0.0 hello again\r\n503 5.5.1 Send HELO or EHLO first\r\n500 5.5.2 Command not recognized\r\n");
    answer(220, "taken");
    pull_kind(SMTP_CONNECT);
    answer(220, "hello");
    say("MAIL FROM:<>\r\n");
    pull_kind(SMTP_MAIL);
}

static void test_refused_xclient_changes_nothing(void **state)
{
    (void)state;
    smtp_server_set_xclient(s, true);
    say("LHLO c\r\nXCLIENT ADDR=x\r\nMAIL FROM:<>\r\n");
    pull_kind(SMTP_CONNECT);
    answer(220, "hello");
    pull_kind(SMTP_HELO);
    answer(250, "");
    pull_kind(SMTP_XCLIENT);
    answer(501, "no address");
    pull_kind(SMTP_MAIL);
}

static void test_refused_greeting_after_xclient(void **state)
{
    (void)state;
    smtp_server_set_xclient(s, true);
    say("XCLIENT ADDR=192.0.2.7\r\nLHLO c\r\nQUIT\r\n");
    pull_kind(SMTP_CONNECT);
    answer(220, "hello");
    pull_kind(SMTP_XCLIENT);
    buf_clear(smtp_server_output(s));
    answer(220, "taken");
    pull_kind(SMTP_CONNECT);
    answer(554, "not you");
    pull_kind(SMTP_CLOSE);
    output_is("554 2.0.0 not you\r\n503 5.5.1 No service for you here; send QUIT\r\n221 2.0.0 Bye\r\n");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_verdict_for_each_recipient), T(test_a_shutdown_between_replies), T(test_421_ends_it_at_once),
        T(test_a_refused_message_is_one_error), T(test_owner_refuses_the_last_chunk), T(test_owner_refuses_data),
        T(test_replies_of_many_recipients_are_held), T(test_xclient_begins_anew),
        T(test_refused_xclient_changes_nothing), T(test_refused_greeting_after_xclient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
