/* imap_list_match.c: patterns of LIST, against a table and against the definition. */
#include <time.h>
#include "message/growth_test.h"
#include "proto/imap_write.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void test_list_match(void **state)
{
    static const struct { const char *pattern, *name; bool match; } table[] = {
        { "*", "", true },          { "", "", true },             { "", "a", false },
        { "*", "a/b", true },       { "%", "a", true },           { "%", "a/b", false },
        { "%/%", "a/b", true },     { "%/%", "a/b/c", false },    { "a/%", "a/b", true },
        { "a/%", "a", false },      { "a*", "a/b", true },        { "*b", "a/b", true },
        { "*b", "a/bc", false },    { "%b*", "abc/d", true },     { "%b*", "a/b", false },
        { "%%", "ab", true },       { "%*", "a/b", true },        { "*%", "a/b", true },
        { "a%b%c", "axxbyyc", true }, { "a%b%c", "axxb/yyc", false }, { "*a%", "a/xa/b", false },
        { "*a%b", "xa/a1b", true }, { "inbox", "INBOX", true },   { "InBox/%", "INBOX/a", true },
        { "inbox/A", "INBOX/a", false }, { "inbox", "Inbox1", false }, { "I%x", "INBOX", true },
        { "a", "A", false },        { "abc", "ab", false },       { "ab", "abc", false },
        { "*/x/%", "a/x/x/b", true }, { "%x%", "xx", true },      { "a%", "a", true },
        { "%a", "aba", true },      { "%a/%", "ba/", true },      { "%/a", "/a", true },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (imap_list_match(str_z(table[i].pattern), str_z(table[i].name)) != table[i].match)
            fail_msg("%s and %s", table[i].pattern, table[i].name);
}

/* By definition: what a wildcard takes is tried out. */
static bool match_slowly(str pattern, str name)
{
    if (pattern.n == 0)
        return name.n == 0;
    char c = pattern.p[0];
    if (c != '*' && c != '%')
        return name.n && name.p[0] == c && match_slowly(str_from(pattern, 1), str_from(name, 1));
    for (size_t i = 0; i <= name.n; i++) {
        if (match_slowly(str_from(pattern, 1), str_from(name, i)))
            return true;
        if (c == '%' && i < name.n && name.p[i] == '/')
            return false;
    }
    return false;
}

/* All patterns of up to 5 and names of up to 5 letters of a small alphabet. */
static void test_list_match_model(void **state)
{
    static const char pattern_letters[] = "*%a/", name_letters[] = "ab/";
    (void)state;
    for (size_t n = 0; n <= 5; n++)
        for (unsigned p = 0; p < 1u << (2 * n); p++) {
            char pattern[5];
            for (size_t i = 0; i < n; i++)
                pattern[i] = pattern_letters[p >> (2 * i) & 3];
            for (unsigned m = 0, names = 243; m < names; m++) {
                char name[5];
                for (unsigned i = 0, rest = m; i < 5; i++, rest /= 3)
                    name[i] = name_letters[rest % 3];
                str a = str_of(pattern, n), b = str_of(name, m % 6);
                if (imap_list_match(a, b) != match_slowly(a, b))
                    fail_msg("%.*s and %.*s", STR_ARG(a), STR_ARG(b));
            }
        }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* No name is longer, so only the pattern can grow. */
static void run_match(str pattern)
{
    static char name[IMAP_NAME_MAX];
    memset(name, 'a', sizeof(name));
    imap_list_match(pattern, str_of(name, sizeof(name)));
}

static void test_time(void **state)
{
    (void)state;
    struct growth match = { seconds, run_match };
    assert_true(growth(&match, S(""), S("*%"), S(""), 1000) < 2.4);
    assert_true(growth(&match, S(""), S("*a%b"), S(""), 1000) < 2.4);
}

static void test_long_names(void **state)
{
    (void)state;
    static char name[IMAP_NAME_MAX + 1];
    memset(name, 'a', sizeof(name));
    assert_true(imap_list_match(S("*a%a*"), str_of(name, IMAP_NAME_MAX)));
    assert_true(imap_list_match(str_of(name, IMAP_NAME_MAX), str_of(name, IMAP_NAME_MAX)));
    assert_false(imap_list_match(S("*"), str_of(name, IMAP_NAME_MAX + 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_match),
        cmocka_unit_test(test_list_match_model),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
