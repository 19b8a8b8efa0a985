/* Charsets: words that Python encoded, whole and cut anywhere, many streams at once, what cannot be decoded, and that
 * nothing is opened after charset_prepare(). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "base/event.h"
#include "message/charset.h"
#include "message/utf8.h"

#define T(f) cmocka_unit_test(f)
#define RAW(lit) { "" lit "", sizeof(lit) - 1 }

static const struct vector { const char *charset; str bytes, text; } vectors[] = {
    { "windows-1252", RAW("Gr\366\337e \226 \223na\357ve\224 caf\351 \200"), RAW("Größe – “naïve” café €") },
    { "ISO-8859-1", RAW("Gr\366\337e na\357ve"), RAW("Größe naïve") },
    { "iso-8859-2", RAW("\256lu\273ou\350k\375 k\371\362"), RAW("Žluťoučký kůň") },
    { "iso-8859-3", RAW("\370is revido \346\375"), RAW("ĝis revido ĉŭ") },
    { "iso-8859-4", RAW("\300\350\272\273 \363\357\266\361"), RAW("Āčēģ ķīļņ") },
    { "iso-8859-5", RAW("\277\340\330\322\325\342 \334\330\340"), RAW("Привет мир") },
    { "iso-8859-6", RAW("\345\321\315\310\307"), RAW("مرحبا") },
    { "iso-8859-7", RAW("\312\341\353\347\354\335\361\341"), RAW("Καλημέρα") },
    { "iso-8859-8", RAW("\371\354\345\355"), RAW("שלום") },
    { "iso-8859-9", RAW("\335stanbul \375\360\376"), RAW("İstanbul ığş") },
    { "iso-8859-10", RAW("\273\277\271 \305\300"), RAW("ŧŋđ ÅĀ") },
    { "tis-620", RAW("\312\307\321\312\264\325"), RAW("สวัสดี") },
    { "iso-8859-13", RAW("\300\376uolas \301\353"), RAW("Ąžuolas Įė") },
    { "iso-8859-14", RAW("\320\376 \242"), RAW("Ŵŷ ḃ") },
    { "iso-8859-15", RAW("\275uvre 5 \244"), RAW("œuvre 5 €") },
    { "iso-8859-16", RAW("\336ar\343 \272i"), RAW("Țară și") },
    { "windows-1250", RAW("Za\277\363\263\346 g\352\234l\271 \204x\224"), RAW("Zażółć gęślą „x”") },
    { "windows-1251", RAW("\321\372\345\370\374 \345\371\270 \271"), RAW("Съешь ещё №") },
    { "windows-1253", RAW("\305\353\353\334\344\341 \200"), RAW("Ελλάδα €") },
    { "windows-1254", RAW("\336iir \347\375\360 \200"), RAW("Şiir çığ €") },
    { "windows-1255", RAW("\371\354\345\355 \244"), RAW("שלום ₪") },
    { "windows-1256", RAW("\307\341\332\321\310\355\311 \201"), RAW("العربية پ") },
    { "windows-1257", RAW("A\350i\373 \360\341"), RAW("Ačiū šį") },
    { "windows-1258", RAW("\320\365n \376 \375"), RAW("Đơn ₫ ư") },
    { "windows-874", RAW("\300\322\311\322\344\267\302 \200"), RAW("ภาษาไทย €") },
    { "koi8-r", RAW("\360\322\311\327\305\324, \355\351\362"), RAW("Привет, МИР") },
    { "koi8-u", RAW("\267\326\301\313 \255\301\316\317\313"), RAW("Їжак ґанок") },
    { "ibm437", RAW("\245and\243 \260"), RAW("Ñandú ░") },
    { "ibm850", RAW("\307\270\321\235"), RAW("Ã©ÐØ") },
    { "ibm852", RAW("\246\240\237ek"), RAW("Žáček") },
    { "cp866", RAW("\217\340\250\242\245\342"), RAW("Привет") },
    { "macintosh", RAW("\201ngstr\232m \267 \322q\323"), RAW("Ångström ∑ “q”") },
    { "x-mac-cyrillic", RAW("\217\360\350\342\345\362"), RAW("Привет") },
    { "gb2312", RAW("\326\320\316\304\323\312\274\376 abc"), RAW("中文邮件 abc") },
    { "gbk", RAW("\267\261\363w\326\320\316\304 \326\354\351F\273\371"), RAW("繁體中文 朱镕基") },
    { "gb18030", RAW("\326\320\316\304 \2252\2026 \250\272\242\343"), RAW("中文 𠀀 ê€") },
    { "hz-gb-2312", RAW("~{VPND~} abc ~~ ~{SJ<~~}\nx"), RAW("中文 abc ~ 邮件\nx") },
    { "big5", RAW("\301c\305\351\244\244\244\345 a\263\\\245\\\273\\"), RAW("繁體中文 a許功蓋") },
    { "big5-hkscs", RAW("\255\273\264\344\235\356 \210b\235\357"), RAW("香港㗎 Ê̄嘅") },
    { "shift_jis", RAW("\223\372\226{\214\352\203\\\201[\203X \312\335\266\270 abc"), RAW("日本語ソース ﾊﾝｶｸ abc") },
    { "windows-31j", RAW("\207@\207\212 \201`"), RAW("①㈱ ～") },
    { "euc-jp", RAW("\306\374\313\334\270\354 \216\312\216\335 abc"), RAW("日本語 ﾊﾝ abc") },
    { "iso-2022-jp", RAW("\033$BF|K\\8l\033(B abc\n\033$B2q5D\033(B x"), RAW("日本語 abc\n会議 x") },
    { "iso-2022-jp-1", RAW("\033$(D0!0\"\033(B \033$B4A;z\033(B"), RAW("丂丄 漢字") },
    { "euc-kr", RAW("\276\310\263\347\307\317\274\274\277\344 abc"), RAW("안녕하세요 abc") },
    { "ks_c_5601-1987", RAW("\214c\271\346\260\242\307\317"), RAW("똠방각하") },
    { "iso-2022-kr", RAW("\033$)C\016>H3g\017 abc\n\0168^@O\017"), RAW("안녕 abc\n메일") },
    { "utf-16", RAW("\377\376B\000O\000M\000 \000\345e,g \000=\330\000\336"), RAW("BOM 日本 😀") },
    { "utf-16le", RAW("G\000r\000\374\000\337\000e\000 \000=\330\000\336"), RAW("Grüße 😀") },
    { "utf-16be", RAW("\000G\000r\000\374\000\337\000e\000 \330=\336\000"), RAW("Grüße 😀") },
    { "utf-7", RAW("Hi Mom +Jjo! +- +ZeVnLIqe +2D3eAA--x"), RAW("Hi Mom ☺! + 日本語 😀-x") },
    { "utf-8", RAW("na\303\257ve \346\227\245\346\234\254 \360\237\230\200"), RAW("naïve 日本 😀") },
    { "us-ascii", RAW("plain"), RAW("plain") },
    { "", RAW("plain \303\251"), RAW("plain é") },
    { "iso-2022-jp", RAW("\033(I6E\033(B a\033(J~\033$@F|\033(B"), RAW("ｶﾅ a~日") },
    { "viscii", RAW("Vi\xae" "t"), RAW("Việt") },
};

static struct buf convert(const char *charset, str bytes, size_t step)
{
    struct buf out = BUF(1 << 16);
    struct charset_stream c = { 0 };
    charset_begin(&c, str_z(charset));
    for (; bytes.n > 0; bytes = str_from(bytes, step))
        charset_feed(&c, &out, str_first(bytes, step));
    assert_int_equal(charset_end(&c, &out), 0);
    return out;
}

static void is(const char *charset, str bytes, str text)
{
    for (size_t step = 1; step < 40; step += step < 5 ? 1 : 7) {
        struct buf out = convert(charset, bytes, step);
        if (!str_eq(buf_str(&out), text))
            print_error("%s by %zu: %.*s, wanted %.*s\n", charset, step, STR_ARG(buf_str(&out)), STR_ARG(text));
        assert_true(str_eq(buf_str(&out), text));
        buf_done(&out);
    }
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        assert_true(charset_known(str_z(vectors[i].charset)));
        is(vectors[i].charset, vectors[i].bytes, vectors[i].text);
    }
}

static void test_names(void **state)
{
    (void)state;
    static const char *const known[] = { "UTF-8", "utf8", "US-ASCII", "", "Latin1", "ISO-8859-8-I", "KS_C_5601-1987",
                                         " gb2312 ", "x-sjis", "CP1252", "UNICODE-1-1-UTF-7" };
    static const char *const unknown[] = { "x-unknown", "utf-9", "iso-8859", "utf-8x", "utf-8 utf8", "\xff" };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        assert_true(charset_known(str_z(known[i])));
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        assert_false(charset_known(str_z(unknown[i])));
    assert_true(charset_same(S("utf8"), S("UTF-8")));
    assert_true(charset_same(S("x-unknown"), S("X-Unknown")));
    assert_false(charset_same(S("x-unknown"), S("x-other")));
    assert_false(charset_same(S("utf-8"), S("utf-7")));
}

#define BAD "\xef\xbf\xbd"

static void test_what_cannot_be_decoded(void **state)
{
    (void)state;
    is("x-unknown", S("a\xc3\xa4" "b"), S("a" BAD BAD "b"));
    is("utf-8", S("a\xff" "b\xe2\x82" "c\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xf0\x9f\x98"),
       S("a" BAD "b" BAD "c" BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD));
    is("utf-8", S("ends \xe2\x82"), S("ends " BAD));
    is("windows-1252", S("\x81\x80"), S(BAD "\xe2\x82\xac"));
    is("gb2312", S("\xff" "a\xd6\xd0\xd6"), S(BAD "a中" BAD));
    is("euc-kr", S("\xc8" "a\xc8\xff" "b"), S(BAD "a" BAD "b"));
    is("shift_jis", S("\xff\x93\xfa" "a"), S(BAD "日a"));
    is("iso-2022-jp", S("\x1b$BF|K\n|\x1b(Zx\x1b"), S("日" BAD "\n|" BAD "(Zx" BAD));
    is("iso-2022-jp", S("\x1b$BF|K\x1b(Ba\xff"), S("日" BAD "a" BAD));
    is("iso-2022-kr", S("\x1b$)C\x0e>H\x0fx\xb0\xa1"), S("안x" BAD BAD));
    is("hz-gb-2312", S("a~{VPND~}~~~xb"), S("a中文~" BAD "xb"));
    is("utf-16be", S("\xd8\x00\x00" "a\xdc\x00\x00"), S(BAD "a" BAD BAD));
    is("utf-16", S("\xff\xfe" "a\x00\x00\xd8"), S("a" BAD));
}

/* More than any buffer inside holds. */
static void test_long_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct buf bytes = BUF(1 << 20), text = BUF(1 << 20), out = BUF(1 << 20);
        bool mark = str_eq(str_z(vectors[i].charset), S("utf-16")); /* at the start only */
        for (size_t n = 0; n < 500 && !mark; n++) {
            buf_add(&bytes, vectors[i].bytes);
            buf_add(&text, vectors[i].text);
        }
        struct charset_stream c = { 0 };
        charset_begin(&c, str_z(vectors[i].charset));
        charset_feed(&c, &out, buf_str(&bytes));
        charset_end(&c, &out);
        assert_true(str_eq(buf_str(&out), buf_str(&text)));
        buf_done(&bytes);
        buf_done(&text);
        buf_done(&out);
    }
}

static void test_utf7_errors(void **state)
{
    (void)state;
    is("utf-7", S("a+b"), S("a" BAD));
    is("utf-7", S("+-+!+2AA-x\xff+"), S("+" BAD "!" BAD "x" BAD BAD));
    is("utf-7", S("+ZeVnLIqe +AEE."), S("日本語 A."));
}

/* Streams do not disturb each other, whatever their charset. */
static void test_streams_at_once(void **state)
{
    (void)state;
    enum { N = ARRAY_LEN(vectors) };
    struct charset_stream c[N] = { 0 };
    struct buf out[N];
    for (size_t i = 0; i < N; i++) {
        out[i] = BUF(4096);
        charset_begin(&c[i], str_z(vectors[i].charset));
    }
    for (size_t at = 0; at < 200; at++)
        for (size_t i = 0; i < N; i++)
            charset_feed(&c[i], &out[i], str_first(str_from(vectors[i].bytes, at), 1));
    for (size_t i = 0; i < N; i++) {
        charset_end(&c[i], &out[i]);
        assert_true(str_eq(buf_str(&out[i]), vectors[i].text));
        buf_done(&out[i]);
    }
}

/* Every pair of bytes in every charset: valid UTF-8 comes out, the same whole as in two pieces, and no more than is
 * promised. */
static void test_all_pairs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct buf whole = BUF(1 << 20), cut = BUF(1 << 20), pairs = BUF(1 << 18);
        for (unsigned pair = 0; pair < 65536; pair += pair % 256 == 255 ? 1 : 3)
            buf_addf(&pairs, "%c%c.", (int)(pair >> 8), (int)(pair & 255));
        struct charset_stream c = { 0 };
        charset_begin(&c, str_z(vectors[i].charset));
        charset_feed(&c, &whole, buf_str(&pairs));
        charset_end(&c, &whole);
        for (str rest = buf_str(&pairs); rest.n > 0; rest = str_from(rest, 7))
            charset_feed(&c, &cut, str_first(rest, 7));
        charset_end(&c, &cut);
        assert_true(str_eq(buf_str(&whole), buf_str(&cut)));
        assert_true(utf8_valid(buf_str(&whole)));
        assert_true(whole.n <= CHARSET_GROWTH * pairs.n);
        buf_done(&whole);
        buf_done(&cut);
        buf_done(&pairs);
    }
}

static void test_nothing_is_opened_later(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        charset_prepare();
        bool fine = setrlimit(RLIMIT_NOFILE, &none) == 0 && open("/dev/null", O_RDONLY) < 0;
        for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
            struct buf out = convert(vectors[i].charset, vectors[i].bytes, 3);
            fine = fine && str_eq(buf_str(&out), vectors[i].text);
            buf_done(&out);
        }
        _exit(fine ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_utf8(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code += code < 0x3000 ? 1 : 17) {
        char text[UTF8_MAX];
        uint32_t back = 0;
        if (code >= 0xd800 && code < 0xe000)
            continue;
        int len = (int)utf8_write(text, code);
        assert_int_equal(utf8_read((uint8_t *)text, UTF8_MAX, &back), len);
        assert_int_equal(back, code);
        for (int n = 1; n < len; n++)
            assert_int_equal(utf8_read((uint8_t *)text, (size_t)n, &back), 0);
    }
    assert_int_equal(utf8_ascii_run(S("0123456789\xff")), 10);
    assert_int_equal(utf8_ascii_run(S("\xff")), 0);
    assert_int_equal(utf8_ascii_run(STR_NONE), 0);
}

static void test_ceiling(void **state)
{
    (void)state;
    struct buf out = BUF(4);
    struct charset_stream c = { 0 };
    charset_begin(&c, S("gb2312"));
    assert_int_equal(charset_feed(&c, &out, S("\xd6\xd0\xce\xc4")), -ENOBUFS);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_nothing_is_opened_later), /* first: nothing was prepared yet */
        T(test_vectors),
        T(test_names),
        T(test_what_cannot_be_decoded),
        T(test_long_text),
        T(test_utf7_errors),
        T(test_streams_at_once),
        T(test_all_pairs),
        T(test_utf8),
        T(test_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
