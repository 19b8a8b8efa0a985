/* The explanation of refusals, for each kind, and what is said when there is none. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include "admin/trace_test.h"

static void write_relay_refusal(struct trace_room *r, const char *file, const char *line, const char *rule)
{
    room_write(
        r, "smtp-in", 1, T0,
        ROWS(ROW("connect", "session", S1, "client", "192.0.2.1", "port", "9", "listener", "smtp"),
             ROW("rcpt", "session", S1 ".1", "verdict", "reject", "sender", "x@y.test", "recipient", "bob@example.org",
                 "code", "554", "enhanced", "5.7.1", "text", "<bob@example.org>: Relay access denied", "client",
                 "192.0.2.1", "helo", "mx.y.test", "account", "", "checks",
                 "smtpd_sender_restrictions: check_sender_access=warn smtpd_relay_restrictions: "
                 "permit_mynetworks=dunno reject_unauth_destination=reject",
                 "rule", rule, "list", "smtpd_relay_restrictions", "file", file, "line", line, "facts",
                 "table access/senders x@y.test: REJECT No; table thanks; address bob@example.org: foreign; "
                 "owner alice@posthouse.test x@y.test: may not send",
                 "change", "if the client logged in (AUTH on port 587 or 465), the message would be accepted", "change",
                 "if 192.0.2.1 were in mynetworks, the message would be accepted")));
}

static void test_refusal_by_a_rule(void **state)
{
    static const char *const names[] = { S1 ".1", S1, "5h2v9k", "bob@example.org", "X@Y.test" };
    struct trace_room *r = *state;
    write_relay_refusal(r, "posthouse.conf", "4", "reject_unauth_destination");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(room_ask(r, "explain", explain_print, names[i], 0, false), 0);
        assert_string_equal(r->complaint.p, "");
        assert_string_equal(r->out.p,
            "When         2026-11-24 07:55:03 UTC, message " S1 ".1\n"
            "Refused      the recipient <bob@example.org> of a message from <x@y.test>\n"
            "Client       192.0.2.1, which greeted as mx.y.test, not logged in\n"
            "Reply        554 5.7.1 <bob@example.org>: Relay access denied\n"
            "Rule         reject_unauth_destination in smtpd_relay_restrictions\n"
            "             Refuse a recipient in a domain that is not ours with 554 5.7.1: the guard against relaying.\n"
            "Written at   posthouse.conf, line 4:\n"
            "               reject_unauth_destination\n"
            "\n"
            "What was known\n"
            "  - the table access/senders says of x@y.test: REJECT No; table thanks\n"
            "  - bob@example.org is in a domain that is not one of this host's\n"
            "  - the account alice@posthouse.test may not send as x@y.test\n"
            "\n"
            "Rules looked at, in order\n"
            "  smtpd_sender_restrictions:\n"
            "    check_sender_access                would have refused, but only warns\n"
            "  smtpd_relay_restrictions:\n"
            "    permit_mynetworks                  no opinion\n"
            "    reject_unauth_destination          refused\n"
            "\n"
            "What would change it\n"
            "  - if the client logged in (AUTH on port 587 or 465), the message would be accepted\n"
            "  - if 192.0.2.1 were in mynetworks, the message would be accepted\n");
    }
}

static void test_the_place_of_a_rule(void **state)
{
    static const struct { const char *file, *line, *rule, *want;
    } rows[] = {
        { "default", "0", "reject",
          "Written at   nowhere: it is the default of this listener, and the configuration does not set the list\n" },
        { "posthouse.conf", "3", "reject",
          "Written at   posthouse.conf, line 3 (changed since then), today:\n"
          "               smtpd_relay_restrictions permit_mynetworks,\n" },
        { "./posthouse.conf", "4", "reject_unauth_destination", "Written at   ./posthouse.conf, line 4:\n" },
        { "posthouse.conf", "99", "reject",
          "Written at   posthouse.conf, line 99 (the configuration of today has no such line)\n" },
        { "/etc/passwd", "1", "reject",
          "Written at   /etc/passwd, line 1 (the configuration of today has no such line)\n" },
    };
    struct trace_room *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unlinkat(r->dir, "smtp-in.00000001.trace", 0);
        write_relay_refusal(r, rows[i].file, rows[i].line, rows[i].rule);
        assert_int_equal(room_ask(r, "explain", explain_print, S1, 0, false), 0);
        assert_non_null(strstr(r->out.p, rows[i].want));
    }
}

static void test_refusals_without_a_list(void **state)
{
    struct trace_room *r = *state;
    room_write_submission(r);
    assert_int_equal(room_ask(r, "explain", explain_print, "nobody@posthouse.test", 0, false), 0);
    assert_string_equal(r->out.p,
        "When         2026-11-24 07:55:03 UTC, message " S1 ".1\n"
        "Refused      the recipient <nobody@posthouse.test> of a message from <alice@posthouse.test>\n"
        "Client       127.0.0.1, logged in as alice@posthouse.test\n"
        "Reply        550 5.1.1 <nobody@posthouse.test>: no such mailbox here\n"
        "Rule         none of a list: the server itself checks this\n"
        "\n"
        "What would change it\n"
        "  - make the account (posthouse account add)\n");
    assert_int_equal(room_ask(r, "explain", explain_print, S1 ".1", 0, false), 0);
    assert_non_null(
        strstr(r->out.p, "\n1 message was accepted, the last at 2026-11-24 07:55:03 UTC: posthouse trace " S1 ".1\n"));
    room_write(
        r, "smtp-in", 2, T0 + 1000000,
        ROWS(ROW("refused", "session", S2 ".1", "sender", "z@y.test", "recipient", "a@b.test", "code", "452",
                 "enhanced", "4.3.1", "text", "Not enough disk space; try again later", "size", "1000", "account", ""),
             ROW("auth", "session", POP, "user", "eve@posthouse.test", "client", "192.0.2.7", "result", "wrong")));
    assert_int_equal(room_ask(r, "explain", explain_print, S2, 0, false), 0);
    assert_string_equal(r->out.p,
        "When         2026-11-24 07:55:04 UTC, message " S2 ".1\n"
        "Refused      the message of <z@y.test> to <a@b.test>, after its content (1,000 bytes)\n"
        "Reply        452 4.3.1 Not enough disk space; try again later\n"
        "             (4xx: for now; the sending server tries again by itself)\n"
        "\n"
        "What would change it\n"
        "  - more free space on the disk of data_directory, or a smaller `min_free`\n");
    assert_int_equal(room_ask(r, "explain", explain_print, "eve@posthouse.test", 0, false), 0);
    assert_string_equal(r->out.p,
                        "When         2026-11-24 07:55:04 UTC, session " POP "\n"
                        "Refused      the log-in as eve@posthouse.test\n"
                        "Client       192.0.2.7\n"
                        "Reply        the user name or the password is wrong (SMTP: 535 5.7.8, POP3: -ERR [AUTH])\n"
                        "\n"
                        "What would change it\n"
                        "  - the right password (`posthouse account passwd eve@posthouse.test` sets a new one), or an "
                        "account of that name "
                        "(`posthouse account add eve@posthouse.test`)\n");
}

static void test_accepted_is_said(void **state)
{
    struct trace_room *r = *state;
    room_write_submission(r);
    assert_int_equal(room_ask(r, "explain", explain_print, "bob@posthouse.test", 0, false), 0);
    assert_string_equal(
        r->out.p,
        "Nothing was refused. 1 message was accepted, the last at 2026-11-24 07:55:03 UTC: posthouse trace " S1 ".1\n");
}

/* Of a message that got through, an earlier failed log-in of its connection is no refusal; without a message it is. */
static void test_log_in_and_message(void **state)
{
    struct trace_room *r = *state;
    room_write(r, "smtp-in", 1, T0,
               ROWS(ROW("auth", "session", S1, "user", "a@b.test", "client", "::1", "result", "wrong"),
                    ROW("received", "session", S1 ".1", "sender", "a@b.test", "recipient", "c@d.test", "size", "1")));
    assert_int_equal(room_ask(r, "explain", explain_print, S1 ".1", 0, false), 0);
    assert_int_equal(strncmp(r->out.p, "Nothing was refused. 1 message", 30), 0);
    assert_int_equal(room_ask(r, "explain", explain_print, S1, 0, false), 0);
    assert_non_null(strstr(r->out.p, "Refused      the log-in as a@b.test\n"));
    room_write(r, "smtp-in", 1, T0,
               ROWS(ROW("auth", "session", S2 ".1", "user", "x", "client", "::1", "result", "wrong")));
    assert_int_equal(room_ask(r, "explain", explain_print, S2 ".1", 0, false), 0);
    assert_non_null(strstr(r->out.p, "Refused      the log-in as x\n"));
}

static void test_nothing_found(void **state)
{
    struct trace_room *r = *state;
    room_write_submission(r);
    assert_int_equal(room_ask(r, "explain", explain_print, "carol@posthouse.test", 0, false), 1);
    assert_string_equal(r->out.p, "");
    assert_non_null(
        strstr(r->complaint.p,
               "explain: no refusal of and no message with the address carol@posthouse.test is in the traces ("));
    assert_non_null(strstr(r->complaint.p, "they are kept for 14 days (trace_age)"));
    assert_int_equal(room_ask(r, "explain", explain_print, POP, 0, false), 1); /* a session without any */
    assert_non_null(strstr(r->complaint.p, "What there is, shows `posthouse trace " POP "`"));
}

static void test_the_last_of_many(void **state)
{
    struct trace_room *r = *state;
    for (unsigned i = 1; i <= 9; i++) { /* segments of falling number hold rising times: order is by time */
        char id[64], text[16];
        snprintf(id, sizeof(id), "%s.%u", S1, i);
        snprintf(text, sizeof(text), "No%u", i);
        room_write(r, "smtp-in", 10 - i, T0 + i * UINT64_C(60000000),
                   ROWS(ROW("rcpt", "session", id, "verdict", "reject", "sender", "", "recipient", "b@c.test", "code",
                            "550", "text", text)));
    }
    assert_int_equal(room_ask(r, "explain", explain_print, "b@c.test", 0, false), 0);
    assert_string_equal(r->out.p,
        "When         2026-11-24 08:04:03 UTC, message " S1 ".9\n"
        "Refused      the recipient <b@c.test> of a message from <>\n"
        "Reply        550 No9\n"
        "\n"
        "8 other refusals, the last 5 of them (each can be explained by its id or its recipient):\n"
        "  2026-11-24 08:03:03 UTC  " S1 ".8  RCPT <b@c.test>: refused with 550 No8\n"
        "  2026-11-24 08:02:03 UTC  " S1 ".7  RCPT <b@c.test>: refused with 550 No7\n"
        "  2026-11-24 08:01:03 UTC  " S1 ".6  RCPT <b@c.test>: refused with 550 No6\n"
        "  2026-11-24 08:00:03 UTC  " S1 ".5  RCPT <b@c.test>: refused with 550 No5\n"
        "  2026-11-24 07:59:03 UTC  " S1 ".4  RCPT <b@c.test>: refused with 550 No4\n");
}

static void test_json(void **state)
{
    struct trace_room *r = *state;
    write_relay_refusal(r, "posthouse.conf", "4", "reject_unauth_destination");
    assert_int_equal(room_ask(r, "explain", explain_print, "x@y.test", 0, true), 0);
    json_t *j = json_loads(r->out.p, 0, NULL), *refusal = json_object_get(j, "refusal");
    assert_int_equal(json_integer_value(json_object_get(refusal, "code")), 554);
    assert_int_equal(json_array_size(json_object_get(refusal, "change")), 2);
    assert_string_equal(json_string_value(json_object_get(j, "configuration_line")), "reject_unauth_destination");
    assert_true(json_is_null(json_object_get(j, "accepted")));
    assert_int_equal(json_integer_value(json_object_get(j, "refusals")), 1);
    assert_int_equal(json_integer_value(json_object_get(j, "acceptances")), 0);
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refusal_by_a_rule, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_the_place_of_a_rule, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_refusals_without_a_list, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_accepted_is_said, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_log_in_and_message, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_found, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_the_last_of_many, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_json, room_set_up, room_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
