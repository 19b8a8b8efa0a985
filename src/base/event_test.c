/* Event lines: what is written, that nothing a peer sends gets out of its value, and reading back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/event.h"

#define AT 1795506903123456 /* 2026-11-24T07:55:03.123456Z */

#define assert_buf(b, want) do { \
        struct buf *assert_b_ = (b); \
        buf_reserve(assert_b_, 1); \
        assert_b_->p[assert_b_->n] = '\0'; \
        assert_string_equal(assert_b_->p, want); \
        assert_int_equal(assert_b_->n, sizeof(want) - 1); \
    } while (0)

static void writes_one_line(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1000);
    event_begin(&b, AT, EVENT_INFO, "mail.received");
    event_str(&b, "from", S("<a@b.example>"));
    event_u64(&b, "size", 18446744073709551615u);
    event_str(&b, "subject", S("Hello world"));
    event_str(&b, "empty", STR_NONE);
    event_end(&b);
    assert_buf(&b, "time=2026-11-24T07:55:03.123456Z level=info event=mail.received from=<a@b.example>"
                   " size=18446744073709551615 subject=\"Hello world\" empty=\"\"\n");
}

static void each_level_and_time_is_right(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        enum event_level level;
        str line;
    } rows[] = {
        { AT, EVENT_DEBUG, S("time=2026-11-24T07:55:03.123456Z level=debug event=e\n") },
        { AT + 1, EVENT_WARN, S("time=2026-11-24T07:55:03.123457Z level=warn event=e\n") },
        { AT + 1000000, EVENT_ERROR, S("time=2026-11-24T07:55:04.123456Z level=error event=e\n") },
        { AT, EVENT_INFO, S("time=2026-11-24T07:55:03.123456Z level=info event=e\n") },
        { 0, EVENT_INFO, S("time=1970-01-01T00:00:00.000000Z level=info event=e\n") },
        { 9, EVENT_INFO, S("time=1970-01-01T00:00:00.000009Z level=info event=e\n") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_buf_ struct buf b = BUF(1000);
        event_begin(&b, rows[i].us, rows[i].level, "e");
        event_end(&b);
        assert_true(str_eq(buf_str(&b), rows[i].line));
    }
}

static void structure_in_values_is_quoted(void **state)
{
    (void)state;
    static const struct {
        str value, written;
    } rows[] = {
        { S("plain-!#$%&'()*+,./:;<>?@[]^_`{|}~"), S(" k=plain-!#$%&'()*+,./:;<>?@[]^_`{|}~") },
        { S("a b"), S(" k=\"a b\"") },
        { S("a=b"), S(" k=\"a=b\"") },
        { S("\""), S(" k=\"\\\"\"") },
        { S("\\"), S(" k=\"\\\\\"") },
        { S("x\r\ntime=1 event=forged"), S(" k=\"x\\r\\ntime=1 event=forged\"") },
        { S("\t\0\x1b[2J\x7f"), S(" k=\"\\t\\x00\\x1b[2J\\x7f\"") },
        { S("Gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x98\x80"),
          S(" k=\"Gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x98\x80\"") },
        { S("\xc2\x9b" "2J"), S(" k=\"\\xc2\\x9b2J\"") }, /* C1 CSI */
        { S("a\xe2\x80\xae" "b"), S(" k=\"a\\xe2\\x80\\xaeb\"") }, /* right-to-left override */
        { S("\xe2\x80\xa8\xe2\x81\xa6\xd8\x9c"), S(" k=\"\\xe2\\x80\\xa8\\xe2\\x81\\xa6\\xd8\\x9c\"") },
        { S("\xff\xc3(\xed\xa0\x80\xc0\xaf"), S(" k=\"\\xff\\xc3(\\xed\\xa0\\x80\\xc0\\xaf\"") },
        { S("\xf3\xa0\x81\x81"), S(" k=\"\\xf3\\xa0\\x81\\x81\"") }, /* an invisible tag letter */
        { S("\xe2\x82"), S(" k=\"\\xe2\\x82\"") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_buf_ struct buf b = BUF(1000), back = BUF(1000);
        event_str(&b, "k", rows[i].value);
        assert_true(str_eq(buf_str(&b), rows[i].written));
        str line = buf_str(&b), key;
        assert_true(event_field(&line, &key, &back));
        assert_true(str_eq(key, S("k")));
        assert_true(str_eq(buf_str(&back), rows[i].value));
    }
}

static void every_byte_comes_back(void **state)
{
    (void)state;
    for (int i = 0; i < 65536; i++) {
        char bytes[2] = { (char)(i >> 8), (char)i };
        char line_text[64];
        struct buf b = BUF(sizeof(line_text)), back = BUF(2);
        event_str(&b, "k", str_of(bytes, 2));
        event_end(&b);
        assert_int_equal(b.failed, 0);
        assert_int_equal(str_chr(buf_str(&b), '\n'), b.n - 1);
        assert_true(event_get(buf_str(&b), "k", &back));
        assert_true(str_eq(buf_str(&back), str_of(bytes, 2)));
        buf_done(&b);
        buf_done(&back);
    }
}

static void reads_field_by_field(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf v = BUF(100);
    str line = S("a=1 b=\"x \\\"y\\\" \\x41\"  c=\"\"\n"), key;
    assert_true(event_field(&line, &key, &v));
    assert_true(str_eq(key, S("a")));
    assert_buf(&v, "1");
    buf_clear(&v);
    assert_true(event_field(&line, &key, &v));
    assert_true(str_eq(key, S("b")));
    assert_buf(&v, "x \"y\" A");
    buf_clear(&v);
    assert_true(event_field(&line, &key, &v));
    assert_true(str_eq(key, S("c")));
    assert_buf(&v, "");
    assert_false(event_field(&line, &key, &v));
    assert_int_equal(line.n, 0);
    assert_false(event_field(&line, &key, &v));
}

static void gets_one_key(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf v = BUF(100);
    str line = S("event=e text=\"to=evil \" to=b too=c\n");
    assert_true(event_get(line, "to", &v));
    assert_buf(&v, "b");
    assert_true(event_get(line, "text", &v));
    assert_buf(&v, "to=evil ");
    assert_false(event_get(line, "t", &v));
    assert_false(event_get(line, "evil", &v));
    assert_false(event_get(STR_NONE, "t", &v));
    assert_false(event_get(S("a=1\nto=2\n"), "x", &v));
}

static void damaged_lines_end_reading(void **state)
{
    (void)state;
    static const str bad[] = {
        S("=1"), S("a"), S("a b=1"), S("a="), S("a= b=1"), S("a=\"x"), S("a=\"x\\\""), S("a=\"x\"y"), S("a=x\"y"),
        S("a=\"\\q\""), S("a=\"\\x4\""), S("a=\"\\xgg\""), S("a=\"\\"), S("a=b=c"), S("a=\"x\ny\""), S("\"a\"=1"),
        S("a=\x01"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_buf_ struct buf v = BUF(100);
        str line = bad[i], key = STR_NONE;
        assert_false(event_field(&line, &key, &v));
        assert_true(line.n > 0);
        assert_null(key.p);
    }
}

static void full_buffer_is_told(void **state)
{
    (void)state;
    for (size_t max = 0; max < 75; max++) {
        _cleanup_buf_ struct buf b = BUF(max);
        event_begin(&b, AT, EVENT_INFO, "name");
        event_str(&b, "k", S("a\x01" "b"));
        event_u64(&b, "n", 5);
        event_end(&b);
        assert_int_equal(b.failed, max < 70 ? -ENOBUFS : 0);
    }
    _cleanup_buf_ struct buf v = BUF(2);
    str line = S("a=123"), key;
    assert_false(event_field(&line, &key, &v));
    assert_int_equal(v.failed, -ENOBUFS);
}

static void text_is_safe_to_print(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1000);
    assert_int_equal(print_safe(&b, S("a \"b\"\\\n\x1b]0;x\x07\xc2\x85\xe2\x80\xaeGr\xc3\xbc\xc3\x9f" "e\xff")), 0);
    assert_buf(&b, "a \"b\"\\\\x0a\\x1b]0;x\\x07\\xc2\\x85\\xe2\\x80\\xaeGr\xc3\xbc\xc3\x9f" "e\\xff");
    struct buf small = BUF(3);
    assert_int_equal(print_safe(&small, S("\x01")), -ENOBUFS);
    buf_done(&small);
}

static void knows_utf8(void **state)
{
    (void)state;
    static const str good[] = {
        S(""), S("ascii text that is longer than eight"), S("\xc2\x80"), S("\xdf\xbf"), S("\xe0\xa0\x80"),
        S("\xed\x9f\xbf"), S("\xee\x80\x80"), S("\xf0\x90\x80\x80"), S("\xf4\x8f\xbf\xbf"),
        S("1234567\xc3\xbc" "1234567"), S("\0"),
    };
    static const str bad[] = {
        S("\x80"), S("\xc0\x80"), S("\xc1\xbf"), S("\xc2"), S("\xe0\x9f\xbf"), S("\xed\xa0\x80"), S("\xed\xbf\xbf"),
        S("\xe2\x82"), S("\xf0\x8f\xbf\xbf"), S("\xf4\x90\x80\x80"), S("\xf5\x80\x80\x80"), S("\xff"),
        S("12345678\xc3"), S("\xc3\xc3"),
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(utf8_valid(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(utf8_valid(bad[i]));
    assert_true(utf8_valid(STR_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_one_line), cmocka_unit_test(each_level_and_time_is_right),
        cmocka_unit_test(structure_in_values_is_quoted), cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(reads_field_by_field), cmocka_unit_test(gets_one_key),
        cmocka_unit_test(damaged_lines_end_reading), cmocka_unit_test(full_buffer_is_told),
        cmocka_unit_test(text_is_safe_to_print), cmocka_unit_test(knows_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
