/* Replies as a client reads them: codes, status, bounds, and every cut of the input. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/smtp_reply_reader.h"

#define T(f) cmocka_unit_test(f)

static enum smtp_reply_read feed(struct smtp_reply_reader *r, str bytes, size_t step, size_t *out_used)
{
    enum smtp_reply_read read = SMTP_REPLY_MORE;
    *out_used = 0;
    while (*out_used < bytes.n && (read == SMTP_REPLY_MORE || read == SMTP_REPLY_LINE)) {
        size_t n = 0;
        read = smtp_reply_reader_feed(r, str_first(str_from(bytes, *out_used), step), &n);
        assert_true(n > 0 && n <= step);
        *out_used += n;
    }
    return read;
}

/* The reply, whole and in pieces of each size; what is behind it is not read. */
static void reads(const char *bytes, uint16_t code, const char *status, const char *text)
{
    for (size_t step = 1; step < 20; ++step) {
        struct smtp_reply_reader r = smtp_reply_reader_begin();
        size_t n = strlen(bytes), used = 0;
        for (int i = 0; i < 2; ++i) {
            struct buf b = BUF(4096);
            buf_add(&b, str_of(bytes, n));
            buf_add(&b, S("250 next"));
            assert_int_equal(feed(&r, buf_str(&b), step, &used), SMTP_REPLY_WHOLE);
            assert_int_equal(used, n);
            assert_int_equal(r.code, code);
            assert_true(str_eq(smtp_reply_reader_status(&r), str_z(status)));
            assert_true(str_eq(buf_str(&r.text), str_z(text)));
            buf_done(&b);
        }
        smtp_reply_reader_done(&r);
    }
}

static void test_replies(void **state)
{
    (void)state;
    reads("250 ok\r\n", 250, "2.0.0", "250 ok");
    reads("250\r\n", 250, "2.0.0", "250");
    reads("250 \n", 250, "2.0.0", "250 ");
    reads("354 2.0.0 go\r\n", 354, "", "354 2.0.0 go");
    reads("550-a\r\n550-\r\n550 b\r\n", 550, "5.0.0", "550-a\n550-\n550 b");
    reads("550-5.1.1 a\r\n550 b\r\n", 550, "5.1.1", "550-5.1.1 a\n550 b");
    reads("250-5.1.1 a\r\n450 b\r\n", 450, "4.2.0", "250-5.1.1 a\n450 b");
}

static void test_status(void **state)
{
    (void)state;
    reads("550 5.1.1\r\n", 550, "5.1.1", "550 5.1.1");
    reads("550 5.123.321\tx\r\n", 550, "5.123.321", "550 5.123.321\tx");
    reads("550 4.1.1 x\r\n", 550, "5.0.0", "550 4.1.1 x");
    reads("550 5.1.1234 x\r\n", 550, "5.0.0", "550 5.1.1234 x");
    reads("550 5.1234.1 x\r\n", 550, "5.0.0", "550 5.1234.1 x");
    reads("550 5.1. x\r\n", 550, "5.0.0", "550 5.1. x");
    reads("550 5..1 x\r\n", 550, "5.0.0", "550 5..1 x");
    reads("550 5.1.1x\r\n", 550, "5.0.0", "550 5.1.1x");
    reads("556 no mail\r\n", 556, "5.1.10", "556 no mail");
    reads("421 x\r\n", 421, "4.3.2", "421 x");
    reads("499 x\r\n", 499, "4.0.0", "499 x");
}

static void bad(const char *bytes)
{
    for (size_t step = 1; step < 10; ++step) {
        struct smtp_reply_reader r = smtp_reply_reader_begin();
        size_t used = 0;
        assert_int_equal(feed(&r, str_z(bytes), step, &used), SMTP_REPLY_BAD);
        smtp_reply_reader_done(&r);
    }
}

static void test_no_replies(void **state)
{
    (void)state;
    bad("\r\n");
    bad("25\r\n");
    bad("2500 x\r\n");
    bad("150 x\r\n");
    bad("650 x\r\n");
    bad("25a x\r\n");
    bad(" 250 x\r\n");
    bad("250-x\r\n\r\n");
    bad("HTTP/1.1 400 Bad Request\r\n");
}

static void test_length(void **state)
{
    (void)state;
    for (uint32_t more = 0; more < 2; ++more) {
        struct smtp_reply_reader r = smtp_reply_reader_begin();
        struct buf b = BUF(SMTP_REPLY_BYTES_MAX + 1);
        size_t used = 0;
        buf_add(&b, S("250 "));
        while (b.n < SMTP_REPLY_BYTES_MAX - 1 + more)
            buf_addc(&b, 'x');
        buf_addc(&b, '\n');
        assert_int_equal(feed(&r, buf_str(&b), 1000, &used), more ? SMTP_REPLY_BAD : SMTP_REPLY_WHOLE);
        assert_true(r.text.n <= SMTP_REPLY_TEXT_KEPT && r.line.n <= SMTP_REPLY_LINE_KEPT);
        buf_done(&b);
        smtp_reply_reader_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_replies),
        T(test_status),
        T(test_no_replies),
        T(test_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
