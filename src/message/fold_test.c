/* Folding: the whole of it against Python's, fields with encoded words, blanks, and base subjects (RFC 5256 2.1). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/event.h"
#include "message/fold.h"
#include "message/growth_test.h"
#include "message/utf8.h"

#define T(f) cmocka_unit_test(f)

static void utf8_is(str in, str want)
{
    struct buf out = BUF(1 << 16);
    assert_int_equal(fold_utf8(&out, in), 0);
    if (!str_eq(buf_str(&out), want))
        print_error("is: %.*s\n", STR_ARG(buf_str(&out)));
    assert_true(str_eq(buf_str(&out), want));
    buf_done(&out);
}

static void test_utf8(void **state)
{
    (void)state;
    utf8_is(S(""), S(""));
    utf8_is(S("AZaz[@`{ 09"), S("azaz[@`{ 09"));
    utf8_is(S("A rather LONG line, longer THAN sixteen bytes"), S("a rather long line, longer than sixteen bytes"));
    utf8_is(S("Straße MASSE ẞ"), S("strasse masse ss"));
    utf8_is(S("ΑΣΣ ας"), S("ασσ ασ"));
    utf8_is(S("ПРИВЕТ Ёж"), S("привет ёж"));
    utf8_is(S("\u212Aelvin \u017Fet \uFB01n \u0130 \u0149"), S("kelvin set fin i\u0307 \u02bcn"));
    utf8_is(S("日本語 한국어 😀 Ⅷ Ａｂ"), S("日本語 한국어 😀 ⅷ ａｂ"));
    utf8_is(S("\U00010400x"), S("\U00010428x"));
    utf8_is(S("A  B\t\r\nC"), S("a  b\t\r\nc"));
    utf8_is(S("A\xff" "B\xe2\x82" "C\xf0\x9f\x98"), S("a\ufffd" "b\ufffd" "c\ufffd"));
    utf8_is(str_of("A\0B", 3), str_of("a\0b", 3));
}

/* Blocks whose folding no newer Unicode changes: the FNV-1a sum of what Python makes of them. */
static void test_blocks_as_python_folds_them(void **state)
{
    (void)state;
    static const uint32_t blocks[][2] = {
        { 0, 0x377 }, { 0x400, 0x52f }, { 0x531, 0x556 }, { 0x10a0, 0x10c5 }, { 0x1e00, 0x1eff }, { 0x2100, 0x214f },
        { 0x2160, 0x2188 }, { 0x24b6, 0x24e9 }, { 0x3000, 0x30ff }, { 0xfb00, 0xfb06 }, { 0xff21, 0xff5a },
        { 0x10400, 0x1044f }, { 0x1f600, 0x1f64f },
    };
    struct buf in = BUF(1 << 16), out = BUF(1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        for (uint32_t code = blocks[i][0]; code <= blocks[i][1]; code++) {
            char text[UTF8_MAX];
            buf_add(&in, str_of(text, utf8_write(text, code)));
        }
    assert_int_equal(fold_utf8(&out, buf_str(&in)), 0);
    uint64_t sum = 0xcbf29ce484222325;
    for (size_t i = 0; i < out.n; i++)
        sum = (sum ^ (uint8_t)out.p[i]) * 0x100000001b3;
    assert_int_equal(sum, 0xebc672e39d9654d6);
    buf_done(&in);
    buf_done(&out);
}

static void test_pieces(void **state)
{
    (void)state;
    static const char text[] = "Größe ΑΣΣ ПРИВЕТ мир, A LONG run OF plain ASCII here, 日本語 😀 \xff\xe2\x82 \uFB03";
    str all = str_of(text, sizeof(text) - 1);
    struct buf whole = BUF(4096);
    fold_utf8(&whole, all);
    for (size_t step = 4; step < 40; step++) {
        char out[FOLD_ROOM(sizeof(text)) + 64];
        size_t n = 0, at = 0;
        while (at < all.n) {
            size_t used;
            bool last = all.n - at <= step;
            n += fold_piece(out + n, str_first(str_from(all, at), step), last, &used);
            assert_true(used > 0 && used + 3 >= MIN(step, all.n - at));
            at += used;
        }
        assert_true(str_eq(str_of(out, n), buf_str(&whole)));
    }
    buf_done(&whole);
}

static void header_is(str in, str want)
{
    struct buf out = BUF(1 << 16);
    assert_int_equal(fold_header(&out, in), 0);
    if (!str_eq(buf_str(&out), want))
        print_error("is: %.*s\n", STR_ARG(buf_str(&out)));
    assert_true(str_eq(buf_str(&out), want));
    buf_done(&out);
}

static void test_header(void **state)
{
    (void)state;
    header_is(S(""), S(""));
    header_is(S(" \r\n"), S(""));
    header_is(S(" Hello,\r\n\t  World \r\n"), S("hello, world"));
    header_is(S(" =?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?utf-8?B?QVVT?= BERLIN\r\n"), S("grüsseaus berlin"));
    header_is(S("=?iso-8859-1?q?=C4=0D=0A_=20B?="), S("ä b"));
    header_is(S("Gr\xfc\xdf" "e \xc3\x84"), S("grüsse ä"));
    header_is(S("=?x-none?q?A?="), S("=?x-none?q?a?="));
}

static void test_blanks(void **state)
{
    (void)state;
    struct buf out = BUF(64);
    assert_int_equal(fold_blanks(&out, S("  a\t b\r\n c ")), 0);
    assert_true(str_eq(buf_str(&out), S(" a b c ")));
    buf_clear(&out);
    assert_int_equal(fold_blanks(&out, S("plain")), 0);
    assert_true(str_eq(buf_str(&out), S("plain")));
    buf_done(&out);
}

static void test_ceiling(void **state)
{
    (void)state;
    struct buf out = BUF(8);
    assert_int_equal(fold_header(&out, S("more than eight")), -ENOBUFS);
    buf_clear(&out);
    assert_int_equal(fold_utf8(&out, S("more than eight")), -ENOBUFS);
    buf_clear(&out);
    assert_int_equal(fold_header(&out, S("at most8")), 0);
    buf_done(&out);
}

static void base_is(const char *subject, const char *base, bool reply)
{
    uint32_t off = 99, len = 99;
    bool is_reply = !reply;
    str s = str_z(subject);
    base_subject(s, &off, &len, &is_reply);
    assert_true(off <= s.n && len <= s.n - off);
    str is = str_of(s.p + off, len);
    if (!str_eq(is, str_z(base)) || is_reply != reply)
        print_error("%s: %.*s %d\n", subject, STR_ARG(is), is_reply);
    assert_true(str_eq(is, str_z(base)));
    assert_int_equal(is_reply, reply);
}

static void test_base_subject(void **state)
{
    (void)state;
    base_is("", "", false);
    base_is("hello", "hello", false);
    base_is(" hello ", "hello", false);
    base_is("re: hello", "hello", true);
    base_is("re:hello", "hello", true);
    base_is("re : hello", "hello", true);
    base_is("fw: hello", "hello", true);
    base_is("fwd: hello", "hello", true);
    base_is("re: fwd: re: hello", "hello", true);
    base_is("re[2]: hello", "hello", true);
    base_is("re [2] : hello", "hello", true);
    base_is("hello (fwd)", "hello", true);
    base_is("hello (fwd) (fwd) ", "hello", true);
    base_is("hello (fwd", "hello (fwd", false);
    base_is("[list] hello", "hello", false);
    base_is("[list] re: hello", "hello", true);
    base_is("[a] [b][c] re: [d] re: hello", "hello", true);
    base_is("[list]", "[list]", false);
    base_is("[a] [b]", "[b]", false);
    base_is("re: [b]", "[b]", true);
    base_is("[fwd: hello]", "hello", true);
    base_is("[fwd: [fwd: re: hello (fwd)]]", "hello", true);
    base_is("[fwd: hello] more", "more", false);
    base_is("[fwd:]", "", true);
    base_is("[fwd:", "[fwd:", false);
    base_is("re: [fwd: [list] hello] (fwd)", "hello", true);
    base_is("re:", "", true);
    base_is("re", "re", false);
    base_is("regarding: hello", "regarding: hello", false);
    base_is("re [x: hello", "re [x: hello", false);
    base_is("[un[closed] re: x", "[un[closed] re: x", false);
    base_is("(fwd)", "", true);
    base_is("aw: hello", "aw: hello", false); /* only what the RFC names */
}

/* The rules as RFC 5256 states them, one step at a time, slowly. */
static str slow_base(str s)
{
    for (;;) {
        str before = s;
        while (str_ends(s, S(" ")) || str_ends(s, S("(fwd)")))
            s.n -= str_ends(s, S(" ")) ? 1 : 5;
        if (str_starts(s, S("[fwd:")) && str_ends(s, S("]")) && str_chr(str_of(s.p + 5, s.n - 6), '[') < 0 &&
            str_chr(str_of(s.p + 5, s.n - 6), ']') < 0)
            s = str_of(s.p + 5, s.n - 6);
        else if (str_starts(s, S(" ")))
            s = str_from(s, 1);
        else if (str_starts(s, S("re:")))
            s = str_from(s, 3);
        else if (str_starts(s, S("[x]")) && s.n > 3 && !str_eq(str_trim(str_from(s, 3)), STR_NONE))
            s = str_from(s, 3);
        if (str_eq(before, s))
            return s;
    }
}

static void test_base_subjects_made_of_parts(void **state)
{
    (void)state;
    static const char *const parts[] = { "re:", " ", "[x]", "word", "(fwd)" };
    for (unsigned code = 0; code < 15625; code++) { /* six parts each */
        struct buf subject = BUF(256);
        for (unsigned k = 0, rest = code; k < 6; k++, rest /= 5)
            buf_add(&subject, str_z(parts[rest % 5]));
        uint32_t off, len;
        bool reply;
        base_subject(buf_str(&subject), &off, &len, &reply);
        assert_true(str_eq(str_of(subject.p + off, len), slow_base(buf_str(&subject))));
        buf_done(&subject);
    }
}

static double seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void run_base(str subject)
{
    uint32_t off, len;
    bool reply;
    base_subject(subject, &off, &len, &reply);
}

static void run_header(str field)
{
    struct buf out = BUF(1 << 28);
    fold_header(&out, field);
    buf_done(&out);
}

static void test_linear(void **state)
{
    (void)state;
    const struct growth base = { seconds, run_base }, header = { seconds, run_header };
    assert_true(growth(&base, S(""), S("[x]"), S(""), 10000) < 2.4);
    assert_true(growth(&base, S(""), S("re:"), S(""), 10000) < 2.4);
    assert_true(growth(&base, S(""), S("[fwd:"), S(""), 10000) < 2.4);
    assert_true(growth(&base, S(""), S("re [x"), S(""), 10000) < 2.4);
    assert_true(growth(&base, S("x"), S(" (fwd)"), S(""), 10000) < 2.4);
    assert_true(growth(&header, S(""), S("=?"), S(""), 3000) < 2.4);
    assert_true(growth(&header, S(""), S("=?utf-8?q?"), S(""), 3000) < 2.4);
    assert_true(growth(&header, S(""), S("=?utf-8?q?x?= "), S(""), 3000) < 2.4);
    assert_true(growth(&header, S(""), S("\xff"), S(""), 3000) < 2.4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_utf8),
        T(test_blocks_as_python_folds_them),
        T(test_pieces),
        T(test_header),
        T(test_blanks),
        T(test_ceiling),
        T(test_base_subject),
        T(test_base_subjects_made_of_parts),
        T(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
