/* Floods of commands whose answers nobody reads. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/smtp_test_driver.h"

/* Commands that are cheap to send and dear to answer stop at SMTP_OUTPUT_HIGH until somebody reads. */
static void test_output_is_bounded(void **state)
{
    (void)state;
    static const str cheap[] = { S("\r\n"), S("BDAT 0\r\n"), S("HELP\r\n"), S("EHLO c\r\n"), S("RSET\r\n") };
    struct smtp_server_config config = play_config;
    config.limits.errors_max = config.limits.commands_max = 0;
    for (size_t i = 0; i < ARRAY_LEN(cheap); ++i) {
        _cleanup_buf_ struct buf flood = BUF(1 << 20);
        buf_add(&flood, S("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@posthouse.test>\r\n"));
        while (flood.n < 60000)
            buf_add(&flood, cheap[i]);
        struct smtp_server *s = smtp_server_new(&config);
        struct smtp_event ev = { 0 };
        str in = buf_str(&flood);
        bool drained = false;
        while (in.n > 0 || ev.kind != SMTP_NEED_INPUT) {
            size_t used;
            smtp_server_next(s, in, &used, &ev);
            in = str_from(in, used);
            assert_true(smtp_server_output(s)->n < SMTP_OUTPUT_HIGH + 512);
            if (ev.kind == SMTP_NEED_DRAIN) {
                drained = true;
                size_t same;
                smtp_server_next(s, in, &same, &ev); /* and again, until something is written */
                assert_int_equal(ev.kind, SMTP_NEED_DRAIN);
                assert_int_equal(same, 0);
                buf_clear(smtp_server_output(s));
            } else if (ev.kind == SMTP_DATA) {
                smtp_server_reply(s, 354, STR_NONE, STR_NONE);
            } else if (ev.kind == SMTP_CONNECT) {
                smtp_server_reply(s, 220, STR_NONE, STR_NONE);
            } else if (ev.kind == SMTP_HELO || ev.kind == SMTP_MAIL || ev.kind == SMTP_RCPT) {
                smtp_server_reply(s, 250, STR_NONE, S("ok"));
            }
        }
        assert_true(drained);
        smtp_server_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_output_is_bounded) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
