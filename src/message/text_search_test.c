/* Searching parts: what is found and what is not, across pieces, in every encoding and some charsets, against a naive
 * search, and in linear time. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/fold.h"
#include "message/growth_test.h"
#include "message/part_text.h"
#include "message/quoted_printable.h"

#define T(f) cmocka_unit_test(f)
#define RAW(lit) { "" lit "", sizeof(lit) - 1 }

static struct text_search *search_new(str needle)
{
    struct buf folded = BUF(1 << 20);
    assert_int_equal(fold_utf8(&folded, needle), 0);
    struct text_search *t = text_search_new(buf_str(&folded));
    assert_non_null(t);
    buf_done(&folded);
    return t;
}

struct part { enum part_encoding encoding; const char *charset; str text; };

static bool found(struct text_search *t, struct part part, size_t step)
{
    text_search_begin(t, part.encoding, str_z(part.charset));
    for (str rest = part.text; rest.n > 0; rest = str_from(rest, step))
        if (text_search_feed(t, str_first(rest, step)))
            return text_search_end(t);
    return text_search_end(t);
}

static void is(str needle, struct part part, bool want)
{
    struct text_search *t = search_new(needle);
    for (size_t step = 1; step <= part.text.n + 1; step++) {
        if (found(t, part, step) != want)
            print_error("%.*s in %.*s by %zu\n", STR_ARG(needle), STR_ARG(part.text), step);
        assert_int_equal(found(t, part, step), want);
    }
    text_search_free(t);
}

#define PLAIN(text) (struct part){ PART_IDENTITY, "utf-8", S(text) }

static void test_plain(void **state)
{
    (void)state;
    is(S("world"), PLAIN("Hello WORLD, how are you?"), true);
    is(S("WORLD"), PLAIN("Hello world"), true);
    is(S("word"), PLAIN("Hello world"), false);
    is(S("hello"), PLAIN("hello"), true);
    is(S("hello!"), PLAIN("hello"), false);
    is(S("h"), PLAIN("xh"), true);
    is(S(""), PLAIN(""), true);
    is(S("x"), PLAIN(""), false);
    is(S("aab"), PLAIN("aaaaab"), true);
    is(S("you are"), PLAIN("you\r\nare"), false);
    is(S("you are"), PLAIN("you  are"), false);
    is(S("you\r\nare"), PLAIN("YOU\r\nARE"), true);
    is(S("<b>"), PLAIN("<html><B>x</B>"), true);
}

static void test_unicode(void **state)
{
    (void)state;
    is(S("straße"), PLAIN("Die STRASSE ist lang"), true);
    is(S("strasse"), PLAIN("Die Straße ist lang"), true);
    is(S("kelvin"), PLAIN("273 \u212Aelvin"), true);
    is(S("set fire"), PLAIN("\u017Fet \uFB01re"), true);
    is(S("fi"), PLAIN("f\u200bi"), false);
    is(S("привет"), PLAIN("Всем ПРИВЕТ!"), true);
    is(S("会議"), PLAIN("明日の会議は中止です"), true);
    is(S("議会"), PLAIN("明日の会議は中止です"), false);
    is(S("😀"), PLAIN("x😀"), true);
    is(S("\ufffd"), PLAIN("a\xff"), true);
    is(S("\ufffd"), PLAIN("a\xe2\x82"), true);
    is(S("ab"), PLAIN("a\xe2\x82" "b"), false);
    /* the second half of one character and the first of the next are none */
    is(S("\xa4\xc3"), PLAIN("ää"), false);
}

static void test_encodings(void **state)
{
    (void)state;
    static const struct part parts[] = {
        { PART_BASE64, "utf-8", RAW("R3LDvMOfZSBhdXMgTcO8\r\nbmNoZW4=") },
        { PART_QUOTED_PRINTABLE, "utf-8", RAW("Gr=C3=BC=C3=9Fe aus M=C3=BC=\r\nnchen") },
        { PART_QUOTED_PRINTABLE, "iso-8859-1", RAW("Gr=FC=DFe aus M=FC=\r\nnchen") },
        { PART_IDENTITY, "windows-1252", RAW("Gr\xfc\xdf" "e aus M\xfcnchen") },
        { PART_BASE64, "utf-16le", RAW("RwByAPwA3wBlACAAYQB1AHMAIABNAPwAbgBjAGgAZQBuAA==") },
        { PART_IDENTITY, "utf-7", RAW("Gr+APwA3w-e aus M+APw-nchen") },
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        is(S("GRÜSSE AUS MÜNCHEN"), parts[i], true);
        is(S("MÜNCHENS"), parts[i], false);
        is(S("n"), parts[i], true);
    }
    is(S("bmNo"), parts[0], false); /* the encoding is no text */
    is(S("ni hao"), (struct part){ PART_BASE64, "gb2312", S("xOO6wyBOSSBIQU8=") }, true);
    is(S("你好"), (struct part){ PART_BASE64, "gb2312", S("xOO6wyBOSSBIQU8=") }, true);
    is(S("日本"), (struct part){ PART_IDENTITY, "iso-2022-jp", S("\x1b$BF|K\\\x1b(B") }, true);
    is(S("é"), (struct part){ PART_IDENTITY, "x-none", S("\xc3\xa9 abc") }, false);
    is(S("abc"), (struct part){ PART_IDENTITY, "x-none", S("\xc3\xa9 ABC") }, true);
    is(S("a=20b"), (struct part){ PART_UNKNOWN, "utf-8", S("a=20b") }, true);
}

static bool naive(str text, str needle)
{
    struct buf folded = BUF(1 << 22);
    fold_utf8(&folded, text);
    bool there = str_find(buf_str(&folded), needle) >= 0;
    buf_done(&folded);
    return there;
}

/* Texts and needles of few different letters, so that much nearly matches, cut in random pieces. */
static void test_against_a_naive_search(void **state)
{
    (void)state;
    static const char *const letters[] = { "a", "B", "a", "ß", "Ж", "日", "\u212A", "\xff" };
    uint32_t seed = 7;
    for (unsigned round = 0; round < 4000; round++) {
        struct buf text = BUF(1 << 16), needle = BUF(1 << 16);
        unsigned kinds = 1 + round % ARRAY_LEN(letters);
        size_t n = round % 16 ? 200 : 20000;
#define RANDOM(k) ((seed = seed * 1664525 + 1013904223) >> 12) % (k)
        for (size_t i = 0; i < n; i++)
            buf_add(&text, str_z(letters[RANDOM(kinds)]));
        size_t from = RANDOM(text.n), len = 1 + RANDOM(round % 3 ? 12 : 300);
        fold_utf8(&needle, str_first(str_from(buf_str(&text), from), len));
        if (round % 2)
            buf_add(&needle, str_z(letters[RANDOM(2)]));
        struct text_search *t = text_search_new(buf_str(&needle));
        assert_non_null(t);
        bool want = naive(buf_str(&text), buf_str(&needle));
        struct part part = { PART_IDENTITY, "utf-8", buf_str(&text) };
        assert_int_equal(found(t, part, 1 + RANDOM(50)), want);
        assert_int_equal(found(t, part, n), want);
        text_search_free(t);
        buf_done(&text);
        buf_done(&needle);
    }
}

static void test_long_needles(void **state)
{
    (void)state;
    struct buf text = BUF(1 << 20);
    for (size_t i = 0; text.n < 300000; i++)
        buf_addf(&text, "line %zu\r\n", i);
    str whole = buf_str(&text);
    static const size_t lengths[] = { 8191, 8192, 8193, 20000, 65535, 65536 };
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct text_search *t = text_search_new(str_of(whole.p + 100000, lengths[i]));
        assert_non_null(t);
        assert_true(found(t, (struct part){ PART_IDENTITY, "", whole }, 1000));
        assert_true(found(t, (struct part){ PART_IDENTITY, "", whole }, whole.n));
        assert_true(found(t, (struct part){ PART_IDENTITY, "", str_first(whole, 100000 + lengths[i]) }, whole.n));
        assert_false(found(t, (struct part){ PART_IDENTITY, "", str_first(whole, 99999 + lengths[i]) }, whole.n));
        text_search_free(t);
    }
    assert_null(text_search_new(str_first(whole, TEXT_SEARCH_NEEDLE_MAX + 1)));
    text_search_free(NULL);
    buf_done(&text);
}

/* The rarest bytes of it, at both ends, stand everywhere in a text of "zazaza", and so does the most of the rest. */
static void bad_needle_make(struct buf *needle, size_t n)
{
    while (needle->n < n)
        buf_addc(needle, needle->n % 2 == 0 ? 'z' : needle->n == n / 2 + 1 ? 'b' : 'a');
}

/* The same when so much nearly matches that the way of searching is changed. */
static void test_long_needles_that_nearly_match(void **state)
{
    (void)state;
    static const size_t steps[] = { 1, 100, 5000, 1 << 20 };
    struct buf text = BUF(1 << 20), needle = BUF(1 << 16);
    while (text.n < 100000)
        buf_add(&text, S("za"));
    bad_needle_make(&needle, 1001);
    struct text_search *t = text_search_new(buf_str(&needle));
    assert_non_null(t);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct part part = { PART_IDENTITY, "utf-8", buf_str(&text) };
        part.text.n = 100000;
        assert_false(found(t, part, steps[i]));
        buf_add(&text, str_from(buf_str(&needle), 500)); /* what comes before stands there already */
        part.text = buf_str(&text);
        assert_true(found(t, part, steps[i]));
        part.text.n--;
        assert_false(found(t, part, steps[i]));
        text.n = 100000;
    }
    text_search_free(t);
    buf_done(&text);
    buf_done(&needle);
}

/* One search looks through many texts; what the last one left behind does not count. */
static void test_again(void **state)
{
    (void)state;
    struct text_search *t = search_new(S("ab"));
    text_search_begin(t, PART_BASE64, S("utf-16"));
    assert_false(text_search_feed(t, S("//5h")));
    text_search_begin(t, PART_IDENTITY, S("utf-8"));
    assert_false(text_search_feed(t, S("xa")));
    text_search_begin(t, PART_IDENTITY, S("utf-8"));
    assert_false(text_search_feed(t, S("b")));
    assert_false(text_search_end(t));
    text_search_begin(t, PART_IDENTITY, S("utf-8"));
    assert_true(text_search_feed(t, S("xab")));
    assert_true(text_search_feed(t, S("more")));
    assert_true(text_search_end(t));
    text_search_free(t);
}

static double seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static str bad_needle;

static void run_plain(str text)
{
    struct text_search *t = text_search_new(bad_needle);
    assert_false(found(t, (struct part){ PART_IDENTITY, "utf-8", text }, 65536));
    text_search_free(t);
}

static void run_quoted(str text)
{
    struct text_search *t = text_search_new(bad_needle);
    assert_false(found(t, (struct part){ PART_QUOTED_PRINTABLE, "gbk", text }, 1000));
    text_search_free(t);
}

static void test_linear(void **state)
{
    (void)state;
    struct buf needle = BUF(1 << 16);
    bad_needle_make(&needle, 30001);
    bad_needle = buf_str(&needle);
    const struct growth plain = { seconds, run_plain }, quoted = { seconds, run_quoted };
    assert_true(growth(&plain, S(""), S("za"), S(""), 1 << 19) < 2.4);
    assert_true(growth(&plain, S(""), S("zazazazazazazazazazazazazazazbz"), S(""), 1 << 16) < 2.4);
    assert_true(growth(&quoted, S(""), S("= "), S(""), 1 << 16) < 2.4);
    assert_true(growth(&quoted, S("="), S(" "), S(""), 1 << 16) < 2.4);
    assert_true(growth(&quoted, S(""), S("\xff"), S(""), 1 << 16) < 2.4);
    buf_done(&needle);
}

/* A needle that matches nearly everywhere costs no more than thirty times another one. */
static void test_no_bad_needle(void **state)
{
    (void)state;
    struct buf text = BUF(1 << 24), needle = BUF(1 << 16);
    while (text.n < 1 << 22)
        buf_add(&text, S("zazazazazazazaza"));
    bad_needle_make(&needle, 60001);
    const struct growth plain = { seconds, run_plain };
    bad_needle = S("bbbbbbbbbbbbb");
    double fast = growth_time(&plain, buf_str(&text));
    bad_needle = buf_str(&needle);
    double slow = growth_time(&plain, buf_str(&text));
    if (slow > 30 * fast + 0.05)
        print_error("%f s, %f s\n", fast, slow);
    assert_true(slow <= 30 * fast + 0.05);
    buf_done(&text);
    buf_done(&needle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_plain),
        T(test_unicode),
        T(test_encodings),
        T(test_against_a_naive_search),
        T(test_long_needles),
        T(test_long_needles_that_nearly_match),
        T(test_again),
        T(test_linear),
        T(test_no_bad_needle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
