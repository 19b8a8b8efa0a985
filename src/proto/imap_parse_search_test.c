/* imap_parse_search.c through imap_command.h: SEARCH, SORT and THREAD as trees of keys. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/imap_parse_play.h"

static void test_search(void **state)
{
    (void)state;
    PARSE("SEARCH ALL", "SEARCH (all)");
    PARSE("SEARCH UNSEEN 1:3", "SEARCH (and(not(flags 1))(set 1:3))");
    PARSE("UID SEARCH UID 5,7:* $", "UID SEARCH (and(uid 5,7:0)(set $))");
    PARSE("SEARCH NEW", "SEARCH (and(flags 32)(not(flags 1)))");
    PARSE("SEARCH OLD RECENT", "SEARCH (and(not(flags 32))(flags 32))");
    PARSE("SEARCH ANSWERED DELETED DRAFT FLAGGED SEEN",
          "SEARCH (and(flags 2)(flags 8)(flags 16)(flags 4)(flags 1))");
    PARSE("SEARCH UNANSWERED UNDELETED UNDRAFT UNFLAGGED",
          "SEARCH (and(not(flags 2))(not(flags 8))(not(flags 16))(not(flags 4)))");
    PARSE("SEARCH KEYWORD $x UNKEYWORD y", "SEARCH (and(keyword \"$x\")(not(keyword \"y\")))");
    PARSE("SEARCH OR NOT SEEN (FROM a TO \"b c\")", "SEARCH (or(not(flags 1))(and(from \"a\")(to \"b c\")))");
    PARSE("SEARCH SUBJECT a BODY b TEXT c CC d BCC {1}\r\ne HEADER X-y \"\"",
          "SEARCH (and(subject \"a\")(body \"b\")(text \"c\")(cc \"d\")(bcc \"e\")(header X-y: \"\"))");
    PARSE("SEARCH LARGER 5 SMALLER 0 OLDER 60 YOUNGER 4294967295",
          "SEARCH (and(larger 5)(smaller)(older 60)(younger 4294967295))");
    PARSE("SEARCH BEFORE 2-Jan-1970 ON \"3-jan-1970\" SINCE 01-Feb-1970 SENTBEFORE 31-Dec-1969 SENTON 2-Jan-1970 "
          "SENTSINCE 2-Jan-1970",
          "SEARCH (and(before day 1)(on day 2)(since day 31)(sentbefore day -1)(senton day 1)(sentsince day 1))");
    PARSE("SEARCH MODSEQ 620162338", "SEARCH modseq (modseq 620162338)");
    PARSE("SEARCH MODSEQ \"/flags/\\\\draft\" all 0", "SEARCH modseq (modseq 0)");
    PARSE("SEARCH EMAILID M1 THREADID T1", "SEARCH (and(emailid \"M1\")(threadid \"T1\"))");
    PARSE("SEARCH RETURN () ALL", "SEARCH return 4 (all)");
    PARSE("SEARCH RETURN (MIN MAX COUNT ALL SAVE) ALL", "SEARCH return 31 (all)");
    PARSE("SEARCH RETURN (SAVE) CHARSET UTF-8 SUBJECT {2}\r\n\xc3\xa4", "SEARCH return 16 (subject \"\xc3\xa4\")");
    PARSE("SEARCH CHARSET \"us-ascii\" (SEEN)", "SEARCH (and(flags 1))");
    PARSE("SEARCH CHARSET KOI8-R ALL", "NO [BADCHARSET (US-ASCII UTF-8)] Character set is not supported");
    PARSE("SEARCH SUBJECT {1}\r\n\xff", "BAD Text to search for is not UTF-8");
    PARSE("SEARCH OLDER 0", "BAD An age cannot be 0");
    PARSE("SEARCH ON 32-Jan-2026", "BAD There is no such date");
    PARSE("SEARCH ON 1-Foo-2026", "BAD There is no such date");
    PARSE("SEARCH ON 2026-01-01", "BAD Expected a date such as 1-Jan-2026");
    PARSE("SEARCH ON 1-Jan-26", "BAD Expected a date such as 1-Jan-2026");
    PARSE("SEARCH", "BAD An argument is missing");
    PARSE("SEARCH ()", "BAD Unknown search key");
    PARSE("SEARCH (SEEN", "BAD A list is not closed with )");
    PARSE("SEARCH OR SEEN", "BAD An argument is missing");
    PARSE("SEARCH FOO", "BAD Unknown search key");
    PARSE("SEARCH MODSEQ \"/flags/x\" foo 1", "BAD Expected priv, shared or all");
    PARSE("SEARCH RETURN (FOO) ALL", "BAD Unknown option of RETURN");
}

static void test_sort_and_thread(void **state)
{
    (void)state;
    PARSE("SORT (REVERSE DATE SUBJECT) UTF-8 ALL", "SORT sort -2 sort 5 (all)");
    PARSE("UID SORT (ARRIVAL CC FROM SIZE TO) US-ASCII SEEN 1",
          "UID SORT sort 0 sort 1 sort 3 sort 4 sort 6 (and(flags 1)(set 1))");
    PARSE("SORT () UTF-8 ALL", "BAD Unknown sort criterion");
    PARSE("SORT (REVERSE) UTF-8 ALL", "BAD Expected a space between arguments");
    PARSE("SORT (DATE) X ALL", "NO [BADCHARSET (US-ASCII UTF-8)] Character set is not supported");
    PARSE("SORT (DATE) UTF-8", "BAD An argument is missing");
    PARSE("UID THREAD REFERENCES UTF-8 ALL", "UID THREAD references (all)");
    PARSE("THREAD orderedsubject US-ASCII SEEN", "THREAD orderedsubject (flags 1)");
    PARSE("THREAD REFS UTF-8 ALL", "BAD Expected ORDEREDSUBJECT or REFERENCES");
}

static void test_depth(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1 << 20);
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct imap_command c;
    struct imap_parse_error error = { 0 };
    for (size_t depth = 60; depth < 70; depth++) {
        buf_clear(&b);
        buf_add(&b, S("a SEARCH"));
        for (size_t i = 1; i < depth; i++)
            buf_add(&b, S(" NOT"));
        buf_add(&b, S(" ALL"));
        int r = imap_parse(&a, buf_str(&b), false, &c, &error);
        assert_int_equal(r, depth <= 64 ? 0 : -EBADMSG);
    }
    assert_true(error.no);
    assert_string_equal(error.code, "LIMIT");
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1 << 20);
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    struct imap_command c;
    struct imap_parse_error error = { 0 };
    buf_add(&b, S("a SEARCH"));
    for (size_t i = 0; i < 10000; i++)
        buf_add(&b, S(" 1"));
    assert_int_equal(imap_parse(&a, buf_str(&b), false, &c, &error), -ENOMEM);
    assert_true(str_eq(c.tag, S("a")));
    assert_int_equal(c.verb, IMAP_SEARCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_sort_and_thread),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
