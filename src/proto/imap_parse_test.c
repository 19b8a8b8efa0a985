/* imap_parse() through imap_command.h: the frame of a command, strings, names, small commands, and the time of all. */
#include <malloc.h>
#include <time.h>
#include "message/growth_test.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/imap_parse_play.h"

static void test_frame(void **state)
{
    static const struct { const char *line; const char *tag; } bad[] = {
        { "", "" }, { "a", "a" }, { "a ", "a" }, { "a  ", "a" }, { " NOOP", "" }, { "a+ NOOP", "" }, { "a FOO", "a" },
        { "a UID", "a" }, { "a UID NOOP", "a" }, { "a UID FOO 1", "a" }, { "a UIDFETCH 1 FLAGS", "a" }, { "*", "" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_arena_ struct arena a = ARENA(1000);
        struct imap_command c;
        struct imap_parse_error error = { 0 };
        if (imap_parse(&a, str_z(bad[i].line), false, &c, &error) != -EBADMSG)
            fail_msg("%s is let pass", bad[i].line);
        assert_true(str_eq(c.tag, str_z(bad[i].tag)));
        assert_int_equal(c.verb, IMAP_VERBS);
        assert_true(error.text.n > 0);
    }
    PARSE("noop", "NOOP");
    PARSE("NOOP  ", "NOOP");
    PARSE("NOOP x", "BAD Unexpected text after the command");
}

static void test_strings(void **state)
{
    (void)state;
    PARSE("DELETE foo", "DELETE \"foo\"");
    PARSE("DELETE  foo ", "DELETE \"foo\"");
    PARSE("DELETE \"a \\\"b\\\\\"", "DELETE \"a \"b\\\"");
    PARSE("DELETE \"\"", "DELETE \"\"");
    PARSE("DELETE {3}\r\na b", "DELETE \"a b\"");
    PARSE("DELETE {3+}\na b", "DELETE \"a b\"");
    PARSE("DELETE {0}\r\n", "DELETE \"\"");
    PARSE("DELETE a]b", "DELETE \"a]b\"");
    PARSE("DELETE", "BAD An argument is missing");
    PARSE("DELETE ", "BAD An argument is missing");
    PARSE("DELETE \"a", "BAD A quoted string is not closed");
    PARSE("DELETE \"a\\", "BAD A backslash in a quoted string may only stand before \" and \\");
    PARSE("DELETE \"a\\x\"", "BAD A backslash in a quoted string may only stand before \" and \\");
    PARSE("DELETE \"a\r\nb\"", "BAD A quoted string holds CR, LF or NUL");
    PARSE("DELETE \"a\0b\"", "BAD A quoted string holds CR, LF or NUL");
    PARSE("DELETE {3}\r\na\0b", "BAD A literal holds NUL");
    PARSE("DELETE {3}\r\nab", "BAD A literal is cut short");
    PARSE("DELETE {3}", "BAD A literal is cut short");
    PARSE("DELETE {3}x", "BAD Expected the end of the line after the size of a literal");
    PARSE("DELETE {}", "BAD Expected a number");
    PARSE("DELETE {99999999999999999999}", "BAD A number is too large");
    PARSE("DELETE {3-}\r\nabc", "BAD Expected } after the size of a literal");
    PARSE("DELETE ~{3}\r\nabc", "BAD Unexpected text after the command");
    PARSE("DELETE a\xc3\xa4", "BAD Unexpected text after the command");
    PARSE("DELETE a*", "BAD Unexpected text after the command");
    PARSE("DELETE a\"b\"", "BAD Unexpected text after the command");
}

static void test_mailboxes(void **state)
{
    (void)state;
    PARSE("DELETE inBox", "DELETE \"INBOX\"");
    PARSE("DELETE inbox/", "DELETE \"INBOX\"");
    PARSE("DELETE inbox/X", "DELETE \"INBOX/X\"");
    PARSE("DELETE inboxes", "DELETE \"inboxes\"");
    PARSE("DELETE a/b/", "DELETE \"a/b\"");
    PARSE("DELETE /", "DELETE \"/\"");
    PARSE("DELETE &AOQ-", "DELETE \"\xc3\xa4\"");
    PARSE("DELETE a&b", "NO [CANNOT] A mailbox name is not modified UTF-7");
    PARSE("DELETE \"\xc3\xa4&AOQ-\"", "DELETE \"\xc3\xa4&AOQ-\"");
    parse_as(S("DELETE &AOQ-"), true, S("DELETE \"&AOQ-\""));
    PARSE("RENAME a b", "RENAME \"a\" \"b\"");
    PARSE("RENAME a", "BAD An argument is missing");
    PARSE("SUBSCRIBE {1}\r\na", "SUBSCRIBE \"a\"");
    PARSE("CREATE a/b/", "CREATE \"a/b\"");
    PARSE("CREATE a (USE (\\Sent))", "CREATE \"a\" use 6");
    PARSE("CREATE a (use (\\sent \\SENT))", "CREATE \"a\" use 6");
    PARSE("CREATE a (USE ())", "CREATE \"a\"");
    PARSE("CREATE a (USE (\\Foo))", "NO [USEATTR] Unknown use of a mailbox");
    PARSE("CREATE a (USE (\\Sent \\Junk))", "NO [USEATTR] A mailbox has one use at most");
    PARSE("CREATE a (FOO)", "BAD Unknown parameter of CREATE");
    PARSE("CREATE a (USE (Sent))", "BAD A use such as \\Sent begins with a backslash");
    PARSE("CREATE a (USE (\\Sent)", "BAD Expected ) after the parameters");
}

static void test_small_commands(void **state)
{
    (void)state;
    PARSE("LOGIN joe \"pass word\"", "LOGIN \"joe\" \"pass word\"");
    PARSE("LOGIN joe", "BAD An argument is missing");
    PARSE("AUTHENTICATE PLAIN", "AUTHENTICATE PLAIN 0 ");
    PARSE("AUTHENTICATE PLAIN ", "AUTHENTICATE PLAIN 0 ");
    PARSE("AUTHENTICATE PLAIN =", "AUTHENTICATE PLAIN 1 =");
    PARSE("AUTHENTICATE PLAIN AGEAYg==", "AUTHENTICATE PLAIN 1 AGEAYg==");
    PARSE("AUTHENTICATE PLAIN a b", "BAD Unexpected text after the command");
    PARSE("ID NIL", "ID ()");
    PARSE("ID ()", "ID ()");
    PARSE("ID (\"name\" \"x y\" \"os\" NIL)", "ID (\"name\" \"x y\" \"os\" NIL)");
    PARSE("ID (\"name\")", "BAD A name without a value");
    PARSE("ID (NIL \"x\")", "BAD Expected a string");
    PARSE("ENABLE condstore FOO utf8=accept", "ENABLE 5");
    PARSE("ENABLE QRESYNC IMAP4rev2", "ENABLE 10");
    PARSE("ENABLE", "BAD An argument is missing");
    PARSE("COMPRESS DEFLATE", "COMPRESS");
    PARSE("GETQUOTA \"\"", "GETQUOTA \"\"");
    PARSE("GETQUOTAROOT INBOX", "GETQUOTAROOT \"INBOX\"");
    PARSE("SETQUOTA \"\" (STORAGE 512 MESSAGE 5)", "SETQUOTA \"\"");
    PARSE("SETQUOTA \"\" ()", "SETQUOTA \"\"");
    PARSE("SETQUOTA \"\" (STORAGE x)", "BAD Expected a number");
    PARSE("EXPUNGE", "EXPUNGE");
    PARSE("UID EXPUNGE 1:2", "UID EXPUNGE 1:2");
    PARSE("EXPUNGE 1", "BAD Unexpected text after the command");
    PARSE("COPY 1,3:*,* foo", "COPY 1,3:0,0 \"foo\"");
    PARSE("UID MOVE $ foo", "UID MOVE $ \"foo\"");
    PARSE("COPY 0 foo", "BAD 0 is not a message number");
    PARSE("COPY 1, foo", "BAD Expected a number");
    PARSE("COPY 1: foo", "BAD Expected a number");
    PARSE("COPY 4294967296 foo", "BAD A number is too large");
    PARSE("COPY x foo", "BAD Expected a set of message numbers");
    PARSE("COPY 5:2,4294967295 x", "COPY 5:2,4294967295 \"x\"");
}

static void test_store(void **state)
{
    (void)state;
    PARSE("STORE 1 FLAGS (\\Seen $x)", "STORE 1 =(\\Seen $x)");
    PARSE("UID STORE 1:2 +FLAGS.SILENT (\\Deleted)", "UID STORE 1:2 +silent(\\Deleted)");
    PARSE("STORE 1 -flags \\seen \\FLAGGED foo", "STORE 1 -(\\Flagged \\Seen foo)");
    PARSE("STORE 1 FLAGS ()", "STORE 1 =()");
    PARSE("STORE 1 (UNCHANGEDSINCE 12) FLAGS.SILENT (\\Draft \\Answered \\Recent)",
          "STORE 1 =silent(\\Answered \\Draft) unchangedsince 12");
    PARSE("STORE 1 FLAGS (\\Foo)", "BAD Unknown system flag");
    PARSE("STORE 1 FLAGS", "BAD An argument is missing");
    PARSE("STORE 1 FLAG (x)", "BAD Expected FLAGS, +FLAGS or -FLAGS, or one of them with .SILENT");
    PARSE("STORE 1 (FOO 1) FLAGS (x)", "BAD Unknown modifier of STORE");
    PARSE("STORE 1 FLAGS (a b", "BAD A list is not closed with )");
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run_parse(str in)
{
    _cleanup_arena_ struct arena a = ARENA((size_t)1 << 31);
    struct imap_command c;
    struct imap_parse_error error;
    imap_parse(&a, in, false, &c, &error);
}

static void test_time(void **state)
{
    (void)state;
    struct growth g = { seconds, run_parse };
    mallopt(M_TRIM_THRESHOLD, 1 << 30); /* the parser's time, not the kernel's for fresh pages */
    mallopt(M_TOP_PAD, 64 << 20);
    mallopt(M_MMAP_MAX, 0);
    assert_true(growth(&g, S("a FETCH 1"), S(",1:*"), S(" FLAGS"), 1000) < 2.4);
    assert_true(growth(&g, S("a SEARCH ALL"), S(" OR SEEN (NOT DELETED)"), S(" ALL"), 1000) < 2.4);
    assert_true(growth(&g, S("a SEARCH ALL"), S(" BCC {1}\r\nx"), S(""), 1000) < 2.4);
    assert_true(growth(&g, S("a SEARCH SUBJECT \""), S("\\\""), S("\""), 1000) < 2.4);
    assert_true(growth(&g, S("a LIST \"\" ("), S("% "), S("%)"), 1000) < 2.4);
    assert_true(growth(&g, S("a FETCH 1 BODY[HEADER.FIELDS ("), S("x "), S("y)]"), 1000) < 2.4);
    assert_true(growth(&g, S("a FETCH 1 ("), S("FLAGS "), S("UID)"), 1000) < 2.4);
    assert_true(growth(&g, S("a FETCH 1 BODY["), S("1."), S("TEXT]"), 1000) < 2.4);
    assert_true(growth(&g, S("a STORE 1 FLAGS ("), S("x "), S("y)"), 1000) < 2.4);
    assert_true(growth(&g, S("a DELETE \""), S("&AOQ-x"), S("\""), 1000) < 2.4);
    assert_true(growth(&g, S("a NOOP"), S(" "), S("x"), 1000) < 2.4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_mailboxes),
        cmocka_unit_test(test_small_commands),
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
