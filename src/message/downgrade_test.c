/* 8-bit content made 7-bit. Every message goes through whole and byte by byte, with the same result. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "message/downgrade_play.h"
#include "message/growth_test.h"

#define T(f) cmocka_unit_test(f)
#define HIGH "\xc3\xa9"
#define ASCII "plenty of plain text around it "

static void converted(const char *message, enum downgrade_need need, const char *result)
{
    struct buf whole = BUF(1 << 20), bytewise = BUF(1 << 20);
    str m = str_z(message);
    assert_int_equal(downgrade_play(m, m.n, &whole), need);
    assert_int_equal(downgrade_play(m, 1, &bytewise), need);
    assert_true(str_eq(buf_str(&whole), buf_str(&bytewise)));
    if (!str_eq(buf_str(&whole), str_z(result)))
        print_error("is:\n%.*s\nshould be:\n%s\n", STR_ARG(buf_str(&whole)), result);
    assert_true(str_eq(buf_str(&whole), str_z(result)));
    buf_done(&whole);
    buf_done(&bytewise);
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    converted("Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\nplain\r\n", DOWNGRADE_NOT_NEEDED, "");
    converted("", DOWNGRADE_NOT_NEEDED, "");
}

static void test_without_mime(void **state)
{
    (void)state;
    converted("Subject: x\r\n\r\n" ASCII HIGH "=\t\r\nmore \r\n", DOWNGRADE_CONVERT,
              "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
              "Content-Transfer-Encoding: quoted-printable\r\n\r\n" ASCII "=C3=A9=3D=09\r\nmore=20\r\n");
}

static void test_mostly_8bit_text(void **state)
{
    (void)state;
    converted("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding:\r\n 8bit\r\n"
              "X: y\r\n\r\n" HIGH HIGH HIGH "\r\n",
              DOWNGRADE_CONVERT,
              "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nX: y\r\n"
              "Content-Transfer-Encoding: base64\r\n\r\nw6nDqcOpDQo=\r\n");
}

static void test_only_the_parts_that_need_it(void **state)
{
    (void)state;
    converted("MIME-Version: 1.0\r\ncontent-transfer-encoding: 8bit\r\n"
              "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
              "preamble " HIGH "\r\n--b\r\nContent-Type: text/plain\r\n\r\nplain  \r\n"
              "--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\r\n" HIGH
              "\r\n--b\r\n\r\n" ASCII HIGH "\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAA" HIGH "AA\r\n"
              "--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41" HIGH "\r\n--b--\r\n",
              DOWNGRADE_CONVERT,
              "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
              "Content-Transfer-Encoding: 7bit\r\n\r\n"
              "preamble ??\r\n--b\r\nContent-Type: text/plain\r\n\r\nplain  \r\n"
              "--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nDQrDqQ=="
              "\r\n--b\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable"
              "\r\n\r\n" ASCII "=C3=A9\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAA??AA\r\n"
              "--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41=C3=A9\r\n--b--\r\n");
}

static void test_message_in_a_message(void **state)
{
    (void)state;
    converted("MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
              "Subject: inside\r\n\r\n" ASCII HIGH "\r\n",
              DOWNGRADE_CONVERT,
              "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
              "Subject: inside\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
              "Content-Transfer-Encoding: quoted-printable\r\n\r\n" ASCII "=C3=A9\r\n");
}

static void test_what_cannot_be_converted(void **state)
{
    (void)state;
    converted("Subject: " HIGH "\r\n\r\nx\r\n", DOWNGRADE_HEADER, "");
    converted("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; name=" HIGH
              "\r\n\r\nx\r\n--b--\r\n",
              DOWNGRADE_HEADER, "");
    converted("Content-Transfer-Encoding: x-uuencode\r\n\r\n" HIGH "\r\n", DOWNGRADE_IMPOSSIBLE, "");
    converted("Content-Type: message/delivery-status\r\n\r\n" HIGH "\r\n", DOWNGRADE_IMPOSSIBLE, "");
}

static void test_long_lines_are_wrapped(void **state)
{
    (void)state;
    struct buf m = BUF(1 << 16), out = BUF(1 << 16), back = BUF(1 << 16);
    buf_add(&m, S("A: b\r\n\r\n" HIGH));
    for (int i = 0; i < 5000; ++i)
        buf_addc(&m, i % 7 ? 'x' : ' ');
    buf_add(&m, S("\r\n"));
    assert_int_equal(downgrade_play(buf_str(&m), 100, &out), DOWNGRADE_CONVERT);
    str body = str_from(buf_str(&out), (size_t)str_find(buf_str(&out), S("\r\n\r\n")) + 4);
    assert_true(downgrade_play_unquote(body, &back)); /* checks the length of lines */
    assert_true(str_eq(buf_str(&back), str_from(buf_str(&m), 8)));
    buf_done(&m);
    buf_done(&out);
    buf_done(&back);
}

static void test_other_bytes_than_before(void **state)
{
    (void)state;
    struct downgrade *d = downgrade_new();
    struct buf out = BUF(1 << 16);
    assert_true(downgrade_feed(d, S("x"), &out) < 0);
    for (int i = 0; i < 3; ++i) {
        downgrade_scan(d, S("A: b\r\n\r\n" HIGH "\r\n"));
        assert_int_equal(downgrade_scanned(d), i == 2 ? DOWNGRADE_CONVERT : DOWNGRADE_AGAIN);
    }
    assert_int_equal(downgrade_feed(d, S("A: b\r\n\r\n"), &out), 0);
    assert_true(downgrade_end(d, &out) < 0);
    assert_true(downgrade_feed(d, S(HIGH "\r\n" HIGH), &out) < 0);
    downgrade_free(d);
    buf_done(&out);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(str message)
{
    struct buf out = BUF((size_t)1 << 28);
    downgrade_play(message, 8192, &out);
    buf_done(&out);
}

static void test_linear(void **state)
{
    (void)state;
    const struct growth g = { seconds, run };
    assert_true(growth(&g, S("A: b\r\n\r\n" HIGH), S("=" HIGH " \r"), S("\r\n"), 20000) < 2.4);
    assert_true(growth(&g, S("Content-Type: multipart/mixed; boundary=b\r\n\r\n"), S("--b\r\nA: b\r\n\r\n" HIGH "\r\n"),
                       S("--b--\r\n"), 1000) < 2.4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_nothing_to_do),
        T(test_without_mime),
        T(test_mostly_8bit_text),
        T(test_only_the_parts_that_need_it),
        T(test_message_in_a_message),
        T(test_what_cannot_be_converted),
        T(test_long_lines_are_wrapped),
        T(test_other_bytes_than_before),
        T(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
