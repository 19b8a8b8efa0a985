/* imap_parse_append.c through imap_command.h; what is between messages is in imap_server_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/imap_parse_play.h"

static void test_append(void **state)
{
    (void)state;
    PARSE("APPEND x {5}", "APPEND \"x\" () 5");
    PARSE("APPEND x (\\Seen) \"24-Nov-2025 12:30:00 -0330\" ~{5+}", "APPEND \"x\" (\\Seen) 1764000000-210 ~5");
    PARSE("APPEND x \" 1-Jan-1970 00:00:00 +0000\" {5}", "APPEND \"x\" () 0+0 5");
    PARSE("APPEND x \"1-Jan-1970 00:00:00 +0000\" {5}", "APPEND \"x\" () 0+0 5");
    PARSE("APPEND x UTF8 (~{5}", "APPEND \"x\" () ~utf8 5");
    PARSE("APPEND x {5}\r\nhello {3}\r\nabc", "APPEND \"x\" () 5");
    PARSE("APPEND x UTF8 (~{1}\r\na) (x) {1}", "APPEND \"x\" () ~utf8 1");
    PARSE("APPEND {1}\r\nx {5}\r\nhel", "BAD A literal is cut short");
    PARSE("APPEND x UTF8 (~{1}\r\na", "BAD Expected ) after the message");
    PARSE("APPEND x UTF8 ({1}", "BAD Expected a literal such as ~{5} after UTF8");
    PARSE("APPEND x {5}\r\nhello y", "BAD Expected flags, a date or a literal with the message");
    PARSE("APPEND x \"31-Feb-2026 00:00:00 +0000\" {5}", "BAD There is no such date");
    PARSE("APPEND x \"1-Jan-2026\" {5}", "BAD Expected a date and time such as \" 1-Jan-2026 00:00:00 +0000\"");
    PARSE("APPEND x \" 1-Jan-2026 00:00:00 0000\" {5}",
          "BAD Expected a date and time such as \" 1-Jan-2026 00:00:00 +0000\"");
    PARSE("APPEND x", "BAD An argument is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
