/* mbox files: variants, flags, hostile text, and that what is written is read back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "admin/mbox.h"
#include "proto/imap_command.h"

struct found { char content[2048], keywords[128]; size_t n; uint32_t flags; int64_t date; bool has_date, too_large; };
struct reading { struct found list[8]; size_t n; int end; };

static void keep(struct reading *r, const struct mbox_message *m)
{
    assert_true(r->n < ARRAY_LEN(r->list));
    struct found *f = &r->list[r->n++];
    assert_true(m->content.n < sizeof(f->content) && m->keywords.n < sizeof(f->keywords));
    if (m->content.n)
        memcpy(f->content, m->content.p, m->content.n);
    if (m->keywords.n)
        memcpy(f->keywords, m->keywords.p, m->keywords.n);
    f->n = m->content.n;
    f->flags = m->flags;
    f->date = m->date_s;
    f->has_date = m->has_date;
    f->too_large = m->too_large;
}

static struct reading read_pieces(str file, size_t piece, size_t max, bool content_length)
{
    struct mbox_reader r;
    struct mbox_message m;
    struct reading out = { 0 };
    mbox_reader_init(&r, max, content_length);
    for (size_t at = 0; at < file.n && out.end == 0; at += piece) {
        str in = str_first(str_from(file, at), piece);
        while ((out.end = mbox_read(&r, &in, false, &m)) == 1)
            keep(&out, &m);
        assert_true(out.end < 0 || in.n == 0);
    }
    str none = STR_NONE;
    while (out.end >= 0 && (out.end = mbox_read(&r, &none, true, &m)) == 1)
        keep(&out, &m);
    mbox_reader_done(&r);
    return out;
}

/* Whole and octet by octet are the same. */
static struct reading read_all(str file, bool content_length)
{
    struct reading a = read_pieces(file, file.n + 1, 1 << 20, content_length),
                   b = read_pieces(file, 1, 1 << 20, content_length);
    assert_memory_equal(&a, &b, sizeof(a));
    return a;
}

static void is(const struct found *f, const char *content)
{
    if (strlen(content) != f->n || memcmp(f->content, content, f->n))
        fail_msg("got \"%s\", wanted \"%s\"", f->content, content);
}

static void test_two(void **state)
{
    (void)state;
    struct reading r = read_all(S("From a@x Tue Nov 24 07:55:03 2026\nSubject: 1\n\nhello\n\n"
                                  "From b y@x Tue Nov 24 07:55:04 2026 +0100\r\nSubject: 2\r\n\r\nyou\r\n"), false);
    assert_int_equal(r.end, 0);
    assert_int_equal(r.n, 2);
    is(&r.list[0], "Subject: 1\r\n\r\nhello\r\n");
    is(&r.list[1], "Subject: 2\r\n\r\nyou\r\n");
    assert_true(r.list[0].has_date && r.list[0].date == 1795506903);
    assert_int_equal(r.list[1].date, 1795506904 - 3600);
}

static void test_dates(void **state)
{
    (void)state;
    const struct { str line; int64_t date; } cases[] = {
        { S("From x Thu Jan  1 00:00:00 1970"), 0 },
        { S("From - Thu Jan 01 00:00 1970"), 0 },
        { S("From \"a b Mon Tue\"@x Thu Jan 1 00:00:01 1970"), 1 },
        { S("From x Thu Jan  1 01:00:00 MET 1970"), 3600 },
        { S("From x Thu Jan  1 01:00:00 +0100 1970"), 0 },
        { S("From x Thu Jan  1 01:00:00 1970 -0100"), 7200 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_buf_ struct buf b = BUF(4096);
        buf_addf(&b, "From first\n\nbody\n\n%.*s\nA: b\n\n", STR_ARG(cases[i].line));
        struct reading r = read_all(buf_str(&b), false);
        assert_int_equal(r.n, 2);
        assert_false(r.list[0].has_date);
        assert_true(r.list[1].has_date && r.list[1].date == cases[i].date);
    }
}

/* A line of a body that nobody quoted, and one that is quoted once too often. */
static void test_from_in_bodies(void **state)
{
    (void)state;
    struct reading r = read_all(S("From a Tue Nov 24 07:55:03 2026\nA: b\n\nFrom now on\n\nFrom then till now\n"
                                  ">From a\n>>From b\n>Frost\n\n"), false);
    assert_int_equal(r.n, 1);
    is(&r.list[0], "A: b\r\n\r\nFrom now on\r\n\r\nFrom then till now\r\nFrom a\r\n>From b\r\n>Frost\r\n");
}

static void test_flags(void **state)
{
    (void)state;
    struct reading r = read_all(S("From a Tue Nov 24 07:55:03 2026\nA: b\nstatus: RO\nX-Status: AFTD\n"
                                  "X-Keywords: one\n two\nStatus: mine\nX-Keywords:\nC: d\n\nStatus: no\n"), false);
    assert_int_equal(r.n, 1);
    is(&r.list[0], "A: b\r\nStatus: mine\r\nX-Keywords:\r\nC: d\r\n\r\nStatus: no\r\n");
    assert_int_equal(r.list[0].flags, IMAP_SEEN | IMAP_ANSWERED | IMAP_FLAGGED | IMAP_DRAFT | IMAP_DELETED);
    assert_string_equal(r.list[0].keywords, "one   two");
    r = read_all(S("From a\nStatus: O\n\n"), false);
    assert_int_equal(r.n, 1);
    is(&r.list[0], "");
    assert_int_equal(r.list[0].flags, 0);
}

static void test_content_length(void **state)
{
    (void)state;
    str file = S("From a Tue Nov 24 07:55:03 2026\nContent-Length: 45\nA: b\n\n"
                 "\nFrom b Tue Nov 24 07:55:03 2026\n>From\nnot\nx\n\n"
                 "From c Tue Nov 24 07:55:03 2026\nContent-Length: 2\n\ny\n");
    struct reading r = read_all(file, true);
    assert_int_equal(r.n, 2);
    is(&r.list[0], "A: b\r\n\r\n\r\nFrom b Tue Nov 24 07:55:03 2026\r\n>From\r\nnot\r\nx\r\n");
    is(&r.list[1], "\r\ny\r\n");
    r = read_all(file, false); /* nobody asked for it: text of a message says nothing of its length */
    assert_int_equal(r.n, 3);
    is(&r.list[2], "Content-Length: 2\r\n\r\ny\r\n");
    r = read_all(S("From a\nContent-Length: 99999999999\n\nx\n\nFrom b Tue Nov 24 07:55:03 2026\n\n"), true);
    assert_int_equal(r.n, 1);
}

static void test_wrong(void **state)
{
    (void)state;
    struct reading r = read_all(S("Subject: no mbox\n\nFrom a Tue Nov 24 07:55:03 2026\n"), false);
    assert_int_equal(r.end, -EBADMSG);
    assert_int_equal(r.n, 0);
    r = read_all(STR_NONE, false);
    assert_int_equal(r.end, 0);
    r = read_all(S("\n\r\nFrom a\nx"), false);
    assert_int_equal(r.n, 1);
    is(&r.list[0], "x\r\n");
}

/* One that is too large is named, and the next one is read. */
static void test_too_large(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1 << 20);
    buf_addf(&b, "From a\nA: b\n\n%0*d\n%0*d\n\nFrom b Tue Nov 24 07:55:03 2026\nC: d\n\n", 3000, 0, 20000, 0);
    for (size_t piece = 1; piece < 40000; piece = piece * 7 + 1) {
        struct reading r = read_pieces(buf_str(&b), piece, 5000, false);
        assert_int_equal(r.n, 2);
        assert_true(r.list[0].too_large && r.list[0].n == 0 && !r.list[1].too_large);
        is(&r.list[1], "C: d\r\n");
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    static const char *const messages[] = {
        "A: b\r\n\r\nFrom x\r\n>From y\r\n>>From z\r\nFro\r\n>\r\n>Fr\r\n\r\n\r\n",
        "Status: R\r\nX-Status: D\r\nX-Keywords: k\r\n\r\n",
        "", "\r\n", "From a\r\n",
        "A: b\r\n\r\n\r\nFrom a@b Tue Nov 24 07:55:03 2026\r\nSubject: smuggled\r\n\r\n", "A: b\rc\r\n",
        " folded\r\n\r\n",
    };
    for (size_t piece = 1; piece < 200; piece *= 3) {
        _cleanup_buf_ struct buf b = BUF(1 << 20);
        for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
            struct mbox_writer w;
            mbox_write_begin(&w, &b, S("a b\n@x"), (int64_t)i * 1000000000, (uint32_t)i, i & 1 ? S("$x y") : STR_NONE);
            for (str rest = str_z(messages[i]); rest.n; rest = str_from(rest, piece))
                mbox_write(&w, str_first(rest, piece));
            mbox_write_end(&w);
        }
        assert_int_equal(b.failed, 0);
        struct reading r = read_all(buf_str(&b), false);
        assert_int_equal(r.n, ARRAY_LEN(messages));
        for (size_t i = 0; i < r.n; i++) {
            is(&r.list[i], messages[i]);
            assert_int_equal(r.list[i].flags, i);
            assert_string_equal(r.list[i].keywords, i & 1 ? "$x y" : "");
            assert_int_equal(r.list[i].date, (int64_t)i * 1000000000);
        }
    }
}

static void test_written(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1 << 20);
    struct mbox_writer w;
    mbox_write_begin(&w, &b, STR_NONE, INT64_MAX, IMAP_SEEN | IMAP_DRAFT | IMAP_DELETED, STR_NONE);
    mbox_write(&w, S("A: b\r\n\r\nFrom here"));
    mbox_write_end(&w);
    str wanted = S("From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n"
                   "X-Keywords: \nStatus: RO\nX-Status: TD\nA: b\n\n>From here\n\n");
    if (!str_eq(buf_str(&b), wanted))
        fail_msg("%.*s", STR_ARG(buf_str(&b)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two),      cmocka_unit_test(test_dates),          cmocka_unit_test(test_from_in_bodies),
        cmocka_unit_test(test_flags),    cmocka_unit_test(test_content_length), cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_too_large), cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
