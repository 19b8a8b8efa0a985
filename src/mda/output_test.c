/* The text of a message in a file: ends of lines, fields that are left out, mboxrd; whole and octet by octet. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <time.h>
#include "mda/output.h"

static void convert(str text, size_t piece, bool mboxrd, bool strip, struct buf *out)
{
    struct output o;
    output_begin(&o, mboxrd, strip);
    for (; text.n; text = str_from(text, piece))
        output_write(&o, str_first(text, piece), out);
    output_end(&o, out);
}

static void is(str text, bool mboxrd, const char *wanted)
{
    for (size_t piece = 1; piece <= text.n + 1; piece++) {
        _cleanup_buf_ struct buf out = BUF(1 << 20);
        convert(text, piece, mboxrd, true, &out);
        if (!str_eq(buf_str(&out), str_z(wanted)))
            fail_msg("in pieces of %zu got \"%.*s\", wanted \"%s\"", piece, STR_ARG(buf_str(&out)), wanted);
    }
}

static void test_line_ends(void **state)
{
    (void)state;
    is(S("A: b\r\n\r\none\r\n\r\ntwo\r\n"), false, "A: b\n\none\n\ntwo\n");
    is(S("A: b\r\n\r\na\rb\r\r\n\r"), false, "A: b\n\na\rb\r\n\r\n");
    is(S("A: b\r\n\r\nno end"), false, "A: b\n\nno end\n");
    is(S("A: b\n\nlf\n"), true, "A: b\n\nlf\n");
    is(S(""), true, "");
    is(S("\r\n"), true, "\n");
    is(S("\r"), true, "\r\n");
}

static void test_metadata_goes(void **state)
{
    (void)state;
    is(S("A: b\r\nx-uid: 99\r\n 4294967295\r\n\tmore\r\nB: c\r\nSTATUS: RO\r\nX-Status:A\r\nX-Keywords: a\r\n"
         "X-IMAPbase: 1 2\r\nX-IMAP: 1\r\nContent-Length \t: 5\r\nReturn-Path: <x>\r\nC: d\r\n\r\nStatus: RO\r\n"),
       false, "A: b\nB: c\nC: d\n\nStatus: RO\n");
    is(S("X-UID\r\nX-UIDs: 1\r\nX-U: 1\r\nStatuses: 1\r\nX-UID ok: 1\r\nContent-Length\r\n\r\n"), true,
       "X-UID\nX-UIDs: 1\nX-U: 1\nStatuses: 1\nX-UID ok: 1\nContent-Length\n\n");
    is(S("Status                                                    : 1\r\nA: b\r\n"), false, "A: b\n");
    is(S("Status: 1"), true, "");
    is(S("Status: 1\r\n folded, no end"), true, "");
    is(S(" first\r\nStatus: 1\r\n\r\n"), true, " first\n\n");
    is(S(">\r\nStatus: 1\r\n\r\nStatus: 2\r\n"), true, ">\n\nStatus: 2\n"); /* an empty line it is not */
}

static void test_mboxrd(void **state)
{
    (void)state;
    is(S("From x\r\nA: b\r\n>From y\r\n\r\nFrom \r\n>>From me\r\nFrom\r\nfrom me\r\n From me\r\n>\r\n>Fro"), true,
       ">From x\nA: b\n>>From y\n\n>From \n>>>From me\nFrom\nfrom me\n From me\n>\n>Fro\n");
    is(S("A: b\r\n\r\nFrom x\r\n"), false, "A: b\n\nFrom x\n");
    is(S("A: b\r\n\r\nFrom "), true, "A: b\n\n>From \n");
    is(S("A: b\r\n\r\nFr\rom \r\n\rFrom \r\n"), true, "A: b\n\nFr\rom \n\rFrom \n");
}

static void test_prefix(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf out = BUF(1000);
    output_prefix(&out, true, S("a@b.example"), S("Delivered-To: x\r\nFrom y\r\n"));
    output_prefix(&out, false, S(""), S(""));
    output_prefix(&out, false, S("x\ny"), S("X: y\r\nreturn-path: <z>\r\n"));
    output_from_line(&out, S("a b\tc"), 1795507203);
    output_from_line(&out, S(""), -1);
    output_from_line(&out, S("x"), INT64_MAX);
    assert_true(str_eq(buf_str(&out),
                       S("Return-Path: <a@b.example>\nDelivered-To: x\n>From y\nReturn-Path: <>\n"
                         "X: y\nreturn-path: <z>\nFrom a-b-c Tue Nov 24 08:00:03 2026\n"
                         "From MAILER-DAEMON Wed Dec 31 23:59:59 1969\nFrom x Thu Jan  1 00:00:00 1970\n")));
}

static double seconds_for(size_t lines, const char *line)
{
    _cleanup_buf_ struct buf text = BUF((size_t)64 << 20), out = BUF((size_t)64 << 20);
    for (size_t i = 0; i < lines; i++)
        buf_add(&text, str_z(line));
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    convert(buf_str(&text), 65536, true, true, &out);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

static void test_is_linear(void **state)
{
    (void)state;
    static const char *const lines[] = { ">", "X-UID: 1\r\n", " folded\r\n", "From \r\n", ">>>>From \r\n", "\r" };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        double once = 1, twice = 3;
        for (int k = 0; k < 5 && twice / once >= 2.4; k++) {
            once = seconds_for(400000, lines[i]);
            twice = seconds_for(800000, lines[i]);
        }
        assert_true(twice / once < 2.4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_ends), cmocka_unit_test(test_metadata_goes), cmocka_unit_test(test_mboxrd),
        cmocka_unit_test(test_prefix),    cmocka_unit_test(test_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
