/* imap_parse_list.c through imap_command.h: LIST, STATUS, SELECT. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/imap_parse_play.h"

static void test_select(void **state)
{
    (void)state;
    PARSE("SELECT x", "SELECT \"x\"");
    PARSE("EXAMINE x (CONDSTORE)", "EXAMINE \"x\" condstore");
    PARSE("SELECT x (QRESYNC (67890007 20050715194045000))", "SELECT \"x\" qresync 67890007 20050715194045000");
    PARSE("SELECT x (QRESYNC (1 2 41,43:211))", "SELECT \"x\" qresync 1 2 known 41,43:211");
    PARSE("SELECT x (CONDSTORE QRESYNC (1 2 1:9 (1:2 3,5)))",
          "SELECT \"x\" condstore qresync 1 2 known 1:9 match 1:2 3,5");
    PARSE("SELECT x (QRESYNC (1 2 (1 3)))", "SELECT \"x\" qresync 1 2 match 1 3");
    PARSE("SELECT x (QRESYNC (1 2 1:*))", "BAD The sets of QRESYNC hold numbers only");
    PARSE("SELECT x (QRESYNC (1))", "BAD Expected a space between arguments");
    PARSE("SELECT x (QRESYNC (1 2) QRESYNC (1 2))", "BAD QRESYNC is there twice");
    PARSE("SELECT x (FOO)", "BAD Unknown parameter of SELECT");
    PARSE("SELECT x ()", "BAD Unknown parameter of SELECT");
    PARSE("SELECT x y", "BAD Expected a list of parameters");
}

static void test_list(void **state)
{
    (void)state;
    PARSE("LIST \"\" \"\"", "LIST \"\" (\"\")");
    PARSE("LIST \"\" *", "LIST \"\" (\"*\")");
    PARSE("LIST a/ %/b&AOQ-]", "LIST \"a/\" (\"%/b\xc3\xa4]\")");
    PARSE("XLIST \"\" \"*\"", "XLIST \"\" (\"*\")");
    PARSE("LSUB \"\" {1}\r\n%", "LSUB \"\" (\"%\")");
    PARSE("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (a* \"b\")", "LIST \"\" (\"a*\" \"b\") select 5 return 0 status 0");
    PARSE("LIST () \"\" *", "LIST \"\" (\"*\") select 0 return 0 status 0");
    PARSE("list (special-use) \"\" \"*\" return (special-use children subscribed)",
          "LIST \"\" (\"*\") select 8 return 25 status 0");
    PARSE("LIST \"\" % RETURN (STATUS (MESSAGES SIZE) CHILDREN)", "LIST \"\" (\"%\") select 0 return 48 status 33");
    PARSE("LIST \"\" % RETURN ()", "LIST \"\" (\"%\") select 0 return 0 status 0");
    PARSE("LIST (RECURSIVEMATCH) \"\" *", "BAD RECURSIVEMATCH needs SUBSCRIBED");
    PARSE("LIST (FOO) \"\" *", "BAD Unknown selection option");
    PARSE("LIST \"\" () RETURN ()", "BAD Expected an atom or a string");
    PARSE("LIST \"\" (a", "BAD A list is not closed with )");
    PARSE("LIST \"\" (a\"b\")", "BAD Expected a space or ) in a list");
    PARSE("LIST \"\" % RETURN (FOO)", "BAD Unknown option of RETURN");
    PARSE("LIST \"\" % RETURN", "BAD An argument is missing");
    PARSE("LIST \"\" % FOO", "BAD Expected RETURN or the end of the command");
    PARSE("LSUB \"\" % RETURN ()", "BAD Unexpected text after the command");
    PARSE("STATUS x (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE RECENT HIGHESTMODSEQ APPENDLIMIT MAILBOXID "
          "DELETED-STORAGE)", "STATUS \"x\" 2047");
    PARSE("STATUS x ()", "BAD Unknown status item");
    PARSE("STATUS x MESSAGES", "BAD Expected a list of status items");
    PARSE("STATUS x (FOO)", "BAD Unknown status item");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_select),
        cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
