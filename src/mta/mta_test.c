/* The MTA keeps the header of a message byte for byte: no agent function stands between client and log. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "mta/mta.h"
#include "session/smtp_play.h"

static int run(void) { return smtp_in_run(&mta_agent, &mta_agent); }

static void test_a_header_passes_byte_for_byte(void **state)
{
    (void)state;
    static const char message[] =
        "from:nobody  at all\r\nBcc: carl@example.org\r\nFrom: x\r\nFrom: y\r\nno field here\r\n\r\nbody\r\n";
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_message_ struct play_message m = { 0 };
    play_init(&p);
    play_listen(&p, "smtp");
    play_fork(&p, run);
    play_begin(&p, "log");
    play_peer(&p, ROLE_STORE);
    play_start(&p);
    play_expect(&p, p.peer[ROLE_STORE], IPC_LOG_ATTACH);
    play_greeted(&p, &c, PLAY_SMTP);
    client_talk(&c, "MAIL FROM:<>\r\n", "250");
    client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "250");
    client_talk(&c, "DATA\r\n", "354");
    client_send(&c, str_z(message));
    client_talk(&c, ".\r\n", "250");
    play_read(&p, play_synced(&p), &m);
    str content = buf_str(&m.content);
    assert_true(str_starts(content, S("Received: ")));
    assert_true(str_ends(content, str_z(message)));
    str trace = str_first(content, content.n - strlen(message));
    for (ptrdiff_t at; (at = str_find(trace, S("\r\n"))) >= 0; trace = str_from(trace, (size_t)at + 2))
        assert_true((size_t)at + 2 == trace.n ||
                    ascii_blank(trace.p[at + 2])); /* one field, folded, and nothing else */
    assert_int_equal(trace.n, 0);
    play_stop(&p);
}

static void test_the_row(void **state)
{
    (void)state;
    assert_string_equal(mta_agent.name, "mta");
    assert_false(mta_agent.msa);
    assert_null(mta_agent.header);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_header_passes_byte_for_byte),
        cmocka_unit_test(test_the_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
