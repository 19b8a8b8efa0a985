/* The walk of a message and of an address, as people and programs get it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include "admin/trace_test.h"

static const char whole_walk[] =
    "Message " S1 ".1\n"
    "  from <alice@posthouse.test> to <bob@posthouse.test>, 2,153 bytes: accepted, placed in 1 mailbox, retrieved 1 "
    "time; "
    "1 recipient refused\n"
    "  2026-11-24 (UTC)\n"
    "  07:55:03.123  MSA   connection from 127.0.0.1 port 45678 on listener submission\n"
    "  07:55:03.124  MSA   encrypted with TLS1.3 TLS_AES_256_GCM_SHA384\n"
    "  07:55:03.125  MSA   logged in as alice@posthouse.test\n"
    "  07:55:03.126  MSA   RCPT <bob@posthouse.test>: permitted; smtpd_relay_restrictions: "
    "permit_sasl_authenticated=ok\n"
    "  07:55:03.127  MSA   RCPT <nobody@posthouse.test>: refused with 550 5.1.1 <nobody@posthouse.test>: no such "
    "mailbox here; "
    "rule (built in)\n"
    "  07:55:03.128  MSA   header checked, Date added, 2 addresses completed\n"
    "  07:55:03.129  MSA   250 after the sync: log smtp-in, segment 3, offset 4096, 2,153 bytes\n"
    "  07:55:03.129  store placed it in bob@posthouse.test/INBOX as UID 7\n"
    "  07:55:03.130  MSA   connection ended: quit; messages accepted: 1\n"
    "  07:56:03.124  POP3  retrieved by POP3 from 127.0.0.9: UID 7 of bob@posthouse.test, 2,153 bytes (session " POP
    ")\n";

static void test_whole_walk_by_every_name(void **state)
{
    static const char *const names[] = { S1 ".1", S1, "5h2v9k", "5H2V9K.1", "5h2v9kq8.1" };
    struct trace_room *r = *state;
    room_write_submission(r);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(room_ask(r, "trace", trace_print, names[i], 0, false), 0);
        assert_string_equal(r->out.p, whole_walk);
        assert_string_equal(r->complaint.p, "");
    }
}

static void test_what_is_no_name(void **state)
{
    struct trace_room *r = *state;
    room_write_submission(r);
    assert_int_equal(room_ask(r, "trace", trace_print, "5h2v9", 0, false), 64);
    assert_non_null(strstr(r->complaint.p, "an id has 26 letters, and the first 6 or more"));
    assert_int_equal(room_ask(r, "trace", trace_print, S1 "0", 0, false), 64);
    assert_int_equal(room_ask(r, "trace", trace_print, "guru\033[2J", 0, false), 64);
    assert_non_null(strstr(r->complaint.p, "guru\\x1b[2J is neither an address"));
    assert_int_equal(room_ask(r, "trace", trace_print, "5h2v9k.x", 0, false), 64);
    assert_string_equal(r->out.p, "");
}

static void test_nothing_found_says_what_was_searched(void **state)
{
    struct trace_room *r = *state;
    room_write_submission(r);
    assert_int_equal(room_ask(r, "trace", trace_print, "7zzzzz", 0, false), 1);
    assert_non_null(strstr(r->complaint.p, "trace: there is nothing about 7zzzzz in the traces ("));
    assert_non_null(strstr(r->complaint.p, "in 3 files, from 2026-11-24 07:55:03 UTC to 2026-11-24 07:56:03 UTC); "
                                           "they are kept for 14 days (trace_age) and up to 1 GiB (trace_size)"));
    assert_int_equal(room_ask(r, "trace", trace_print, S1 ".2", 0, false), 1);
    assert_int_equal(room_ask(r, "trace", trace_print, "carol@posthouse.test", 0, false), 1);
    assert_string_equal(r->out.p, "");
}

static void test_ambiguous_prefix_lists_the_sessions(void **state)
{
    struct trace_room *r = *state;
    room_write_submission(r);
    room_write(r, "smtp-in", 2, T0 + 9000000,
               ROWS(ROW("connect", "session", S2, "client", "127.0.0.1", "listener", "smtp")));
    assert_int_equal(room_ask(r, "trace", trace_print, "5h2v9k", 0, false), 1);
    assert_string_equal(r->out.p, S1 "  2026-11-24 07:55:03 UTC connect\n" S2 "  2026-11-24 07:55:12 UTC connect\n");
    assert_string_equal(r->complaint.p, "trace: 2 sessions begin with 5h2v9k (listed above); give more letters");
    assert_int_equal(room_ask(r, "trace", trace_print, "5h2v9k.1", 0, false), 0); /* only one of them has a message 1 */
    assert_string_equal(r->out.p, whole_walk);
    assert_int_equal(room_ask(r, "trace", trace_print, "5h2v9kz", 0, false), 0);
    assert_string_equal(r->out.p,
                        "Session " S2
                        "\n  2026-11-24 (UTC)\n  07:55:12.123  MTA   connection from 127.0.0.1 on listener smtp\n");
}

static void test_session_with_several_messages(void **state)
{
    struct trace_room *r = *state;
    room_write(
        r, "smtp-in", 1, T0,
        ROWS(ROW("connect", "session", S1, "client", "::1", "port", "9", "listener", "smtp"),
             ROW("mail", "session", S1 ".1", "verdict", "defer", "sender", "", "code", "452", "enhanced", "4.3.1",
                 "text", "Full"),
             ROW("auth", "session", S1 ".1", "user", "x", "result", "wrong"),
             ROW("rcpt", "session", S1 ".2", "verdict", "permit", "sender", "", "recipient", "b@c.test", "checks", ""),
             ROW("refused", "session", S1 ".2", "sender", "", "recipient", "b@c.test", "recipient", "d@c.test", "code",
                 "550", "enhanced", "5.6.0", "text", "No", "size", "12")));
    assert_int_equal(room_ask(r, "trace", trace_print, S1, 0, false), 0);
    assert_string_equal(r->out.p,
        "Session " S1 "\n"
        "  2026-11-24 (UTC)\n"
        "  07:55:03.123  MTA   connection from ::1 port 9 on listener smtp\n"
        "  07:55:03.125  MTA   log-in as x failed: wrong user name or password\n"
        "\n"
        "Message " S1 ".1\n"
        "  from <>: sender refused\n"
        "  2026-11-24 (UTC)\n"
        "  07:55:03.124  MTA   MAIL <>: refused with 452 4.3.1 Full\n"
        "\n"
        "Message " S1 ".2\n"
        "  from <> to <b@c.test>, <d@c.test>, 12 bytes: refused after its content\n"
        "  2026-11-24 (UTC)\n"
        "  07:55:03.126  MTA   RCPT <b@c.test>: permitted\n"
        "  07:55:03.127  MTA   message of 12 bytes refused with 550 5.6.0 No\n");
}

static void test_bytes_of_peers_are_harmless(void **state)
{
    struct trace_room *r = *state;
    room_write(r, "smtp-in", 1, T0,
               ROWS(ROW("connect", "session", S1, "client", "127.0.0.1", "listener", "smtp"),
                    ROW("helo", "session", S1, "verdict", "reject", "code", "504", "text", "no", "helo",
                        "\033]0;x\007 \xe2\x80\xae\n" S2),
                    ROW("odd_event", "session", S1, "helo",
                        "a\xff"
                        "b session=" S2 " message=" S2 ".1")));
    assert_int_equal(room_ask(r, "trace", trace_print, S1, 0, false), 0);
    assert_non_null(strstr(r->out.p, "greeting \\x1b]0;x\\x07 \\xe2\\x80\\xae\\x0a" S2 " refused with 504 no\n"));
    assert_non_null(strstr(r->out.p, "odd_event helo=a\\xffb session=" S2 " message=" S2 ".1\n"));
    assert_int_equal(room_ask(r, "trace", trace_print, S2, 0, false), 1); /* an id in a peer's text is no id */
    assert_int_equal(room_ask(r, "trace", trace_print, S1, 0, true), 0);
    for (const char *p = r->out.p; *p; p++)
        assert_true(*p == '\n' || (*p >= ' ' && *p <= '~'));
    json_t *j = json_loads(r->out.p, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_array_get(j, 2), "helo")),
                        "a\\xffb session=" S2 " message=" S2 ".1");
    json_decref(j);
}

static void test_json_of_a_message(void **state)
{
    struct trace_room *r = *state;
    room_write_submission(r);
    room_write(r, "smtp-in", 2, T0 + 9000000,
               ROWS(ROW("refused", "session", S2 ".1", "recipient", "a@b", "recipient", "c@d", "recipient", "e@f",
                        "code", "550", "text", "1")));
    assert_int_equal(room_ask(r, "trace", trace_print, S1 ".1", 0, true), 0);
    json_t *j = json_loads(r->out.p, 0, NULL), *e = json_array_get(j, 6);
    assert_int_equal(json_array_size(j), 10);
    assert_string_equal(json_string_value(json_object_get(e, "event")), "received");
    assert_string_equal(json_string_value(json_object_get(e, "time")), "2026-11-24T07:55:03.129000Z");
    assert_string_equal(json_string_value(json_object_get(e, "session")), S1 ".1");
    assert_int_equal(json_integer_value(json_object_get(e, "size")), 2153);
    json_decref(j);
    assert_int_equal(room_ask(r, "trace", trace_print, S2, 0, true), 0);
    j = json_loads(r->out.p, 0, NULL);
    json_t *recipients = json_object_get(json_array_get(j, 0), "recipient");
    assert_int_equal(json_array_size(recipients), 3);
    assert_string_equal(json_string_value(json_array_get(recipients, 2)), "e@f");
    assert_string_equal(json_string_value(json_object_get(json_array_get(j, 0), "text")), "1"); /* text stays text */
    json_decref(j);
}

/* Message i of session S1 to bob, each in its own segment, a minute apart. */
static void write_many(struct trace_room *r, unsigned n)
{
    for (unsigned i = 1; i <= n; i++) {
        char id[64];
        snprintf(id, sizeof(id), "%s.%u", S1, i);
        room_write(r, "smtp-in", i, T0 + i * UINT64_C(60000000),
                   ROWS(ROW("rcpt", "session", id, "verdict", "permit", "sender", "a@x.test", "recipient",
                            "Bob@posthouse.test", "checks", "l: r=ok"),
                        ROW("rcpt", "session", id, "verdict", "permit", "sender", "a@x.test", "recipient",
                            "notbob@posthouse.test", "checks", "l: r=ok"),
                        ROW("received", "session", id, "sender", "a@x.test", "recipient", "Bob@posthouse.test", "size",
                            "5", "log", "smtp-in", "segment", "1", "offset", "0")));
    }
}

static void test_address_shows_the_last_ones(void **state)
{
    struct trace_room *r = *state;
    write_many(r, 12);
    room_write(r, "smtp-in", 13, T0, ROWS(
        ROW("auth", "session", S2 ".4", "user", "BOB@Posthouse.test", "client", "::1", "result", "wrong"),
        ROW("auth", "session", POP, "user", "bob@posthouse.test", "client", "::1", "result", "ok")));
    assert_int_equal(room_ask(r, "trace", trace_print, "bob@posthouse.TEST", 2, false), 0);
    assert_string_equal(r->out.p,
        "Message " S1 ".11\n"
        "  from <a@x.test> to <Bob@posthouse.test>, 5 bytes: accepted, not yet placed by the store\n"
        "  2026-11-24 (UTC)\n"
        "  08:06:03.123  SMTP  RCPT <Bob@posthouse.test>: permitted\n"
        "  08:06:03.124  SMTP  RCPT <notbob@posthouse.test>: permitted\n"
        "  08:06:03.125  SMTP  250 after the sync: log smtp-in, segment 1, offset 0, 5 bytes\n"
        "\n"
        "Message " S1 ".12\n"
        "  from <a@x.test> to <Bob@posthouse.test>, 5 bytes: accepted, not yet placed by the store\n"
        "  2026-11-24 (UTC)\n"
        "  08:07:03.123  SMTP  RCPT <Bob@posthouse.test>: permitted\n"
        "  08:07:03.124  SMTP  RCPT <notbob@posthouse.test>: permitted\n"
        "  08:07:03.125  SMTP  250 after the sync: log smtp-in, segment 1, offset 0, 5 bytes\n");
    assert_int_equal(room_ask(r, "trace", trace_print, "bob@posthouse.test", 0, false), 0);
    assert_null(strstr(r->out.p, S1 ".7\n"));
    assert_int_equal(strncmp(r->out.p, "Message " S1 ".8\n", 8 + 26 + 3), 0);
    assert_int_equal(room_ask(r, "trace", trace_print, "bob@posthouse.test", 100, false), 0);
    /* the oldest: a refused log-in; the good one is none */
    assert_int_equal(strncmp(r->out.p, "Session " S2 "\n", 8 + 26 + 1), 0);
    assert_non_null(strstr(r->out.p, "log-in as BOB@Posthouse.test failed"));
    assert_null(strstr(r->out.p, POP));
}

static void test_address_in_no_domain_of_plain_letters(void **state)
{
    struct trace_room *r = *state;
    room_write(r, "smtp-in", 1, T0,
               ROWS(ROW("rcpt", "session", S1 ".1", "verdict", "permit", "sender", "\"a b\"@x.test", "recipient",
                        "b\xc3\xbc@x.test", "checks", ""),
                    ROW("rcpt", "session", S2 ".1", "verdict", "permit", "sender", "q@y.test", "recipient", "z@y.test",
                        "text", "sender=\"a b\"@x.test")));
    assert_int_equal(room_ask(r, "trace", trace_print, "\"a b\"@x.test", 0, false), 0);
    assert_non_null(strstr(r->out.p, "Message " S1 ".1\n"));
    assert_null(strstr(r->out.p, S2));
    assert_int_equal(room_ask(r, "trace", trace_print, "b\xc3\xbc@x.test", 0, false), 0);
    assert_int_equal(room_ask(r, "trace", trace_print, "\xc3\xbc@x.test", 0, false), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole_walk_by_every_name, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_name, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_found_says_what_was_searched, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_ambiguous_prefix_lists_the_sessions, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_session_with_several_messages, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_bytes_of_peers_are_harmless, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_json_of_a_message, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_address_shows_the_last_ones, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_address_in_no_domain_of_plain_letters, room_set_up, room_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
