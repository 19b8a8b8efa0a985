/* Dates of mail and of logs: RFC 5322 3.3 and 4.3, appendix A, RFC 3339 5.8. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include "base/date.h"

static void writes_mail_dates(void **state)
{
    (void)state;
    static const struct {
        int64_t at;
        int offset;
        str text;
    } rows[] = {
        { 0, 0, S("Thu, 1 Jan 1970 00:00:00 +0000") },
        { 1795506903, 0, S("Tue, 24 Nov 2026 07:55:03 +0000") },
        { 1795506903, 330, S("Tue, 24 Nov 2026 13:25:03 +0530") },
        { 1795506903, -570, S("Mon, 23 Nov 2026 22:25:03 -0930") },
        { 951782399, 0, S("Mon, 28 Feb 2000 23:59:59 +0000") },
        { 951782400, 0, S("Tue, 29 Feb 2000 00:00:00 +0000") },
        { 951868800, 0, S("Wed, 1 Mar 2000 00:00:00 +0000") },
        { 4107542400, 0, S("Mon, 1 Mar 2100 00:00:00 +0000") },
        { -1, 0, S("Wed, 31 Dec 1969 23:59:59 +0000") },
        { -62135596800, 0, S("Mon, 1 Jan 0001 00:00:00 +0000") },
        { 253402300799, 0, S("Fri, 31 Dec 9999 23:59:59 +0000") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_buf_ struct buf b = BUF(100);
        assert_int_equal(date_format_5322(&b, rows[i].at, rows[i].offset), 0);
        buf_addc(&b, '\0');
        assert_string_equal(b.p, rows[i].text.p);
    }
}

static void refuses_what_no_mail_date_can_say(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(100);
    assert_int_equal(date_format_5322(&b, 253402300800, 0), -ERANGE);
    assert_int_equal(date_format_5322(&b, 253402300799, 1), -ERANGE);
    assert_int_equal(date_format_5322(&b, -62135596800, -1), -ERANGE);
    assert_int_equal(date_format_5322(&b, INT64_MAX, 5999), -ERANGE);
    assert_int_equal(date_format_5322(&b, INT64_MIN, -5999), -ERANGE);
    assert_int_equal(date_format_5322(&b, 0, 6000), -ERANGE);
    assert_int_equal(date_format_5322(&b, 0, -6000), -ERANGE);
    assert_int_equal(b.n, 0);
    assert_int_equal(b.failed, 0);
}

static void calendar_agrees_with_the_c_library(void **state)
{
    (void)state;
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int64_t at = -62135596800; at < 253402300000; at += 86400LL * 97 + 12345) {
        time_t t = at;
        struct tm tm;
        char want[64];
        gmtime_r(&t, &tm);
        snprintf(want, sizeof(want), "%.3s, %d %.3s %04d %02d:%02d:%02d +0000", days + tm.tm_wday * 3, tm.tm_mday,
                 months + tm.tm_mon * 3, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        _cleanup_buf_ struct buf b = BUF(100);
        assert_int_equal(date_format_5322(&b, at, 0), 0);
        buf_addc(&b, '\0');
        assert_string_equal(b.p, want);
        int64_t back;
        int offset;
        if (tm.tm_year >= 0) {
            assert_int_equal(date_parse_5322(str_of(b.p, b.n - 1), &back, &offset), 0);
            assert_true(back == at);
        }
    }
}

static void reads_mail_dates(void **state)
{
    (void)state;
    static const struct {
        str text;
        int64_t at;
        int offset;
    } rows[] = {
        { S("Fri, 21 Nov 1997 09:55:06 -0600"), 880127706, -360 }, /* appendix A.1.1 */
        { S("21 Nov 97 09:55:06 GMT"), 880106106, 0 }, /* A.6.2 */
        { S("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600"), 880127706, -360 }, /* A.6.3 */
        { S("Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n"
            "               -0330 (Newfoundland Time)"), -27723480, -210 }, /* A.5 */
        { S("21 Nov 1997 09:55 +0000"), 880106100, 0 },
        { S("fri,21 nOV 1997 09:55:06 est"), 880124106, -300 },
        { S("21 Nov 1997 09:55:06 PDT"), 880131306, -420 },
        { S("21 Nov 1997 09:55:06 CST"), 880127706, -360 },
        { S("21 Nov 1997 09:55:06 Z"), 880106106, 0 },
        { S("21 Nov 1997 09:55:06 A"), 880106106, 0 }, /* 4.3: military letters were used wrongly too often */
        { S("21 Nov 1997 09:55:06 CEST"), 880106106, 0 },
        { S("21 Nov 1997 09:55:06"), 880106106, 0 },
        { S("21 Nov 1997 09:55:06 -0000"), 880106106, 0 },
        { S("21 Nov 1997 09:55:06 +9959"), 879746166, 5999 },
        { S("1 Jan 49 00:00:00 +0000"), 2493072000, 0 },
        { S("1 Jan 50 00:00:00 +0000"), -631152000, 0 },
        { S("1 Jan 100 00:00:00 +0000"), 946684800, 0 },
        { S("29 Feb 2000 00:00:00 +0000"), 951782400, 0 },
        { S("31 Dec 2016 23:59:60 +0000"), 1483228800, 0 }, /* a leap second */
        { S("Mon, 21 Nov 1997 9:55:06 +0000"), 880106106, 0 },
        { S("Fri 21 Nov 1997 09:55:06 +0000"), 880106106, 0 },
        { S("(a (nested \\) one)) Fri (x), 21 (x) Nov (x) 1997 (x) 09 (x) : 55 : 06 (x) +0000 (UTC)"), 880106106, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t at = -7;
        int offset = -7;
        assert_int_equal(date_parse_5322(rows[i].text, &at, &offset), 0);
        assert_int_equal(at, rows[i].at);
        assert_int_equal(offset, rows[i].offset);
    }
}

static void refuses_what_is_no_mail_date(void **state)
{
    (void)state;
    static const str bad[] = {
        S(""), S("Fri,"), S("21"), S("21 Nov"), S("21 Nov 1997"), S("21 Nov 1997 09"), S("21 Nov 1997 09:"),
        S("Foo, 21 Nov 1997 09:55:06 +0000"), S("21 Nev 1997 09:55:06 +0000"), S("0 Nov 1997 09:55:06 +0000"),
        S("31 Nov 1997 09:55:06 +0000"), S("29 Feb 1900 09:55:06 +0000"), S("29 Feb 1997 09:55:06 +0000"),
        S("21 Nov 1899 09:55:06 +0000"), S("21 Nov 19970 09:55:06 +0000"), S("21 Nov 7 09:55:06 +0000"),
        S("21 Nov 1997 24:55:06 +0000"), S("21 Nov 1997 09:60:06 +0000"), S("21 Nov 1997 09:55:61 +0000"),
        S("21 Nov 1997 009:55:06 +0000"), S("21 Nov 1997 09:5:06 +0000"), S("21 Nov 1997 09:55:6 +0000"),
        S("21 Nov 1997 09:55:06 +00"), S("21 Nov 1997 09:55:06 +00000"), S("21 Nov 1997 09:55:06 +0060"),
        S("21 Nov 1997 09:55:06 +0000 x"), S("21 Nov 1997 09:55:06 +0000 (open"), S("(open 21 Nov 1997 09:55:06 +0000"),
        S("21 Nov 1997 09:55:06 +0000 (open\\"), S("21 Nov 1997 09:55:06 +0000)"), S("1997-11-21T09:55:06Z"),
        S("21 Nov 1997 09:55:06 +0000\0"), S("99999999999999999999 Nov 1997 09:55:06 +0000"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t at = -7;
        int offset = -7;
        assert_int_equal(date_parse_5322(bad[i], &at, &offset), -EBADMSG);
        assert_int_equal(at, -7);
        assert_int_equal(offset, -7);
    }
}

static void writes_log_dates(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(200);
    date_format_3339(&b, 1795506903123456);
    date_format_3339(&b, 0);
    date_format_3339(&b, UINT64_MAX);
    buf_addc(&b, '\0');
    assert_string_equal(b.p, "2026-11-24T07:55:03.123456Z1970-01-01T00:00:00.000000Z9999-12-31T23:59:59.999999Z");
}

static void reads_log_dates(void **state)
{
    (void)state;
    static const struct {
        str text;
        uint64_t us;
    } rows[] = {
        { S("2026-11-24T07:55:03.123456Z"), 1795506903123456 },
        { S("1985-04-12T23:20:50.52Z"), 482196050520000 }, /* RFC 3339 5.8 */
        { S("1996-12-19T16:39:57-08:00"), 851042397000000 },
        { S("1990-12-31T23:59:60Z"), 662688000000000 },
        { S("1990-12-31T15:59:60-08:00"), 662688000000000 },
        { S("1970-01-01t00:00:00z"), 0 },
        { S("1970-01-01T00:00:00.1234567890123456789z"), 123456 },
        { S("9999-12-31T23:59:59.999999Z"), 253402300799999999 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t us = 7;
        assert_int_equal(date_parse_3339(rows[i].text, &us), 0);
        assert_int_equal(us, rows[i].us);
    }
}

static void refuses_what_is_no_log_date(void **state)
{
    (void)state;
    static const str bad[] = {
        S(""), S("2026-11-24"), S("2026-11-24T07:55:03"), S("2026-11-24 07:55:03Z"), S("2026-11-24T07:55Z"),
        S("2026-11-24T07:55:03.Z"), S("2026-11-24T07:55:03Z "), S("26-11-24T07:55:03Z"), S("2026-13-24T07:55:03Z"),
        S("2026-02-29T07:55:03Z"), S("2026-11-24T24:00:00Z"), S("2026-11-24T07:55:03+0100"),
        S("2026-11-24T07:55:03+24:00"), S("2026-11-24T07:55:03+01:60"), S("1969-12-31T23:59:59Z"),
        S("1970-01-01T00:00:00+00:01"), S("2026-1-24T07:55:03Z"), S("12026-11-24T07:55:03Z"), S("0000-00-00T00:00:00Z"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t us = 7;
        assert_int_equal(date_parse_3339(bad[i], &us), -EBADMSG);
        assert_int_equal(us, 7);
    }
}

static void asks_the_local_zone(void **state)
{
    (void)state;
    setenv("TZ", "EST5EDT,M3.2.0,M11.1.0", 1);
    tzset();
    assert_int_equal(date_local_offset_min(1795506903), -300);
    assert_int_equal(date_local_offset_min(1784000000), -240);
    setenv("TZ", "UTC0", 1);
    tzset();
    assert_int_equal(date_local_offset_min(1795506903), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_mail_dates),
        cmocka_unit_test(refuses_what_no_mail_date_can_say),
        cmocka_unit_test(calendar_agrees_with_the_c_library),
        cmocka_unit_test(reads_mail_dates),
        cmocka_unit_test(refuses_what_is_no_mail_date),
        cmocka_unit_test(writes_log_dates),
        cmocka_unit_test(reads_log_dates),
        cmocka_unit_test(refuses_what_is_no_log_date),
        cmocka_unit_test(asks_the_local_zone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
