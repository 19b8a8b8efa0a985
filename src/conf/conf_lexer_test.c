/* Words and statements, and their printing back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "conf/conf_private.h"
#include <errno.h>

/* The statements of a text as "a|b;" "a|b{" "}", ended by "." with the number of the last line. */
static void reads(const char *text, const char *want)
{
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    _cleanup_buf_ struct buf b = BUF(65536);
    struct conf_lexer l = conf_lexer_init(S("f"), str_z(text));
    struct conf_statement s;
    struct conf_error e;
    do {
        assert_int_equal(conf_lexer_next(&l, &a, &s, &e), 0);
        for (size_t i = 0; i < s.n; i++) {
            buf_add(&b, i ? S("|") : STR_NONE);
            buf_add(&b, s.words[i].text);
        }
        buf_add(&b, s.kind == CONF_STATEMENT_PLAIN ? S(";") : s.kind == CONF_STATEMENT_OPEN ? S("{")
                    : s.kind == CONF_STATEMENT_CLOSE ? S("}") : STR_NONE);
    } while (s.kind != CONF_STATEMENT_END);
    buf_addf(&b, ".%u%c", l.line, 0);
    assert_string_equal(b.p, want);
}

static void test_statements(void **state)
{
    (void)state;
    reads("", ".1");
    reads("a", "a;.1");
    reads("a b\tc\n", "a|b|c;.2");
    reads("\n\n a b ;; c;\n", "a|b;c;.4");
    reads("a{b}c", "a{b;}c;.1");
    reads("a { b ; c\n }\n", "a{b;c;}.3");
    reads("a,b , c", "a|b|c;.1");
    reads("a b,\n\n # x\n  c\nd", "a|b|c;d;.5");
    reads("a \\\n b \\\r\n c\n", "a|b|c;.4");
    reads("a#b #c { \n", "a#b;.2");
    reads("a \"\" \"b c\" \"\\\"\\\\#;{\"\n", "a||b c|\"\\#;{;.2");
    reads("\"a\"{}", "a{}.1");
    reads("a\r\nb\r\n", "a;b;.3");
    reads("\xef\xbb\xbf" "a\n", "a;.2");
    reads("a [::1]:25 *:25 <> @x\n", "a|[::1]:25|*:25|<>|@x;.2");
}

static void test_lines_and_commas(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    struct conf_lexer l = conf_lexer_init(S("f"), S("\na b,\nc d\n"));
    struct conf_statement s;
    struct conf_error e;
    assert_int_equal(conf_lexer_next(&l, &a, &s, &e), 0);
    assert_int_equal(s.line, 2);
    assert_int_equal(s.n, 4);
    assert_int_equal(s.words[2].line, 3);
    assert_true(s.words[1].comma);
    assert_false(s.words[0].comma || s.words[2].comma || s.words[3].comma);
}

static void test_print(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    _cleanup_buf_ struct buf b = BUF(65536);
    static const char text[] = "a \"b c\", \"\" \"#x\" x#y \"\\\"\\\\\" \"a,b\", \"{\"";
    struct conf_lexer l = conf_lexer_init(S("f"), str_z(text));
    struct conf_statement s;
    struct conf_error e;
    assert_int_equal(conf_lexer_next(&l, &a, &s, &e), 0);
    conf_words_print(&b, s.words, s.n);
    assert_true(str_eq(buf_str(&b), str_z(text)));
}

static void test_nul_is_no_end(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    static const str text[] = { { "a \0b", 4 }, { "\0", 1 }, { "a \"\0", 4 }, { "a,\0", 3 }, { "a \\\0", 4 } };
    struct conf_statement s;
    struct conf_error e;
    for (size_t i = 0; i < ARRAY_LEN(text); i++) {
        struct conf_lexer l = conf_lexer_init(S("f"), text[i]);
        assert_int_equal(conf_lexer_next(&l, &a, &s, &e), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statements), cmocka_unit_test(test_lines_and_commas), cmocka_unit_test(test_print),
        cmocka_unit_test(test_nul_is_no_end),
    };
    return cmocka_run_group_tests_name("conf_lexer", tests, NULL, NULL);
}
