/* Tests of fixup.c: what an MSA may repair, and nothing else. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include <errno.h>
#include "message/address.h"
#include "message/fixup.h"
#include "message/growth_test.h"

#define FULL "Date: Tue, 24 Nov 2026 07:55:03 +0000\r\nMessage-ID: <1@b>\r\n"

static const struct fixup_input base = {
    .sender = S("jane@example.org"),
    .account = S("account@example.org"),
    .default_domain = S("example.org"),
    .message_id = S("id@example.org"),
    .unix_s = 1795506903,
};

static struct arena arena = { .max = 1 << 24 };
static struct fixup_result result;

static void check_input(struct fixup_input in, str header, const char *want)
{
    _cleanup_buf_ struct buf out = BUF(1 << 22);
    arena_clear(&arena);
    in.header = header;
    assert_int_equal(fixup_header(&arena, &in, &out, &result), 0);
    buf_addc(&out, '\0');
    assert_string_equal(out.p, want);
}

static void check(str header, const char *want)
{
    check_input(base, header, want);
}

static void check_box(const struct mailbox *m, const char *local, const char *domain)
{
    assert_non_null(m);
    assert_true(str_eq(m->local, str_z(local)));
    assert_true(str_eq(m->domain, str_z(domain)));
}

static void test_nothing_to_do(void **state)
{
    static const char all[] = "X : y\r\nFrom:Jane \t(c)\r\n <jane@EXAMPLE.org>\r\nno field\r\nTO: g: a@b;\r\n" FULL;
    (void)state;
    check(str_z(all), all);
    assert_false(result.added_date || result.added_message_id || result.added_from || result.completed ||
                 result.removed_bcc);
    assert_false(result.from_broken || result.many_from_fields);
    check_box(result.from, "jane", "EXAMPLE.org");
    assert_null(result.from->next);
    assert_null(result.sender);
}

static void test_adds_missing_fields(void **state)
{
    struct fixup_input in = base;
    (void)state;
    check(S("Subject: x\r\n"), "Subject: x\r\nDate: Tue, 24 Nov 2026 07:55:03 +0000\r\nMessage-ID: <id@example.org>\r\n"
                               "From: <jane@example.org>\r\n");
    assert_true(result.added_date && result.added_message_id && result.added_from);
    check_box(result.from, "jane", "example.org");
    in.sender = STR_NONE;
    check_input(in, S(FULL), FULL "From: <account@example.org>\r\n");
    in.sender = S("a@b\r\nX: y");
    check_input(in, S(FULL), FULL "From: <account@example.org>\r\n");
    check_input(in, S("cut"), "cut\r\nDate: Tue, 24 Nov 2026 07:55:03 +0000\r\nMessage-ID: <id@example.org>\r\n"
                              "From: <account@example.org>\r\n");
    in.account = S("a\nb@c");
    check_input(in, S(FULL), FULL);
    assert_false(result.added_from);
    assert_null(result.from);
}

static void test_completes_domains(void **state)
{
    struct fixup_input in = base;
    (void)state;
    check(
        S(FULL
          "From: jane\r\nSender: \"J. D.\" <joe (x) >\r\nReply-To: a . b (c)\r\nTo: g: \"x y\", z@q;, Jo\r\n\t<jo>\r\n"
          "Cc: <@r:route>\r\nX: jane\r\n"),
        FULL "From: jane@example.org\r\nSender: \"J. D.\" <joe@example.org (x) >\r\nReply-To: a . b@example.org (c)\r\n"
             "To: g: \"x y\"@example.org, z@q;, Jo\r\n\t<jo@example.org>\r\nCc: <@r:route@example.org>\r\nX: jane\r\n");
    assert_true(result.completed);
    check_box(result.from, "jane", "example.org");
    check_box(result.sender, "joe", "example.org");
    in.default_domain = STR_NONE;
    check_input(in, S(FULL "From: jane\r\n"), FULL "From: jane\r\n");
    assert_false(result.completed);
    check_box(result.from, "jane", "");
    check(S(FULL "From: a@b\r\nTo: Two Words, jane\r\n"), FULL "From: a@b\r\nTo: Two Words, jane@example.org\r\n");
}

static void test_removes(void **state)
{
    (void)state;
    check(S("Bcc: a@b,\r\n c@d\r\nFrom: a@b\r\nBCC : e@f\r\nReturn-Path: <g@h>\r\nresent-bcc: i\r\nX-Bcc: j\r\n" FULL),
          "From: a@b\r\nX-Bcc: j\r\n" FULL);
    assert_true(result.removed_bcc);
}

static void test_who_sent_it_again(void **state)
{
    (void)state;
    check(S("Resent-From: a@b, c\r\nRESENT-SENDER: d@e\r\n" FULL "From: f@g\r\n"),
          "Resent-From: a@b, c\r\nRESENT-SENDER: d@e\r\n" FULL "From: f@g\r\n");
    const struct mailbox *m = result.resent;
    check_box(m, "a", "b");
    check_box(m->next, "c", "example.org");
    check_box(m->next->next, "d", "e");
    assert_null(m->next->next->next);
    assert_false(result.resent_broken);
    check(S(FULL "From: f@g\r\nResent-From: a@b\r\nResent-From: ,\r\n"),
          FULL "From: f@g\r\nResent-From: a@b\r\nResent-From: ,\r\n");
    assert_true(result.resent_broken);
    assert_false(result.from_broken);
}

static void test_who_it_claims_to_be_from(void **state)
{
    (void)state;
    check(S(FULL "From: a@b, g: c@d;\r\nfrom : e\r\n"), FULL "From: a@b, g: c@d;\r\nfrom : e@example.org\r\n");
    assert_true(result.many_from_fields);
    assert_false(result.from_broken);
    const struct mailbox *m = result.from;
    check_box(m, "a", "b");
    assert_int_equal(m->next->kind, MAILBOX_GROUP_START);
    check_box(m->next->next, "c", "d");
    check_box(m->next->next->next->next, "e", "example.org");
    static const char *const broken[] = {
        "", "Jane Doe", "<>", "x: ;", "boss@b <me@c>", "me@c, \"boss <b@b>", "me@c> <boss@b"
    };
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        _cleanup_buf_ struct buf h = BUF(1000), want = BUF(1000);
        buf_addf(&h, FULL "From: %s\r\n", broken[i]);
        buf_addf(&want, FULL "From: %s\r\n%c", broken[i], 0);
        check(buf_str(&h), want.p);
        assert_true(result.from_broken);
        assert_false(result.added_from);
    }
}

static size_t longest_line(str s)
{
    size_t longest = 0;
    while (s.n)
        longest = MAX(longest, str_cut(&s, '\n').n);
    return longest;
}

static void test_long_lines(void **state)
{
    char domain[255];
    struct fixup_input in = base;
    (void)state;
    memset(domain, 'd', sizeof(domain));
    in.default_domain = str_of(domain, sizeof(domain));
    for (size_t n = 600; n <= 990; n++) {
        for (int order = 0; order < 3; order++) {
            _cleanup_buf_ struct buf h = BUF(4096), out = BUF(1 << 18);
            buf_add(&h, S(FULL "From: a@b\r\nTo: "));
            size_t start = h.n - 4;
            if (order == 0)
                buf_add(&h, S("jane ("));
            while (h.n - start < n)
                buf_add(&h, order == 2 ? S("x,") : S("x"));
            buf_add(&h, order == 0 ? S(")\r\n") : S(", jane\r\n"));
            if (order == 1)
                buf_add(&h, S(" \r\n"));
            arena_clear(&arena);
            in.header = buf_str(&h);
            assert_int_equal(fixup_header(&arena, &in, &out, &result), 0);
            assert_true(longest_line(buf_str(&out)) <= 999); /* with its CR */
            assert_true(result.completed);
        }
    }
}

static void test_error_of_the_buf(void **state)
{
    _cleanup_buf_ struct buf out = BUF(10);
    struct fixup_input in = base;
    (void)state;
    in.header = S("Subject: something\r\n");
    arena_clear(&arena);
    assert_int_equal(fixup_header(&arena, &in, &out, &result), -ENOBUFS);
}

static void run(str s)
{
    _cleanup_buf_ struct buf out = BUF((size_t)1 << 28);
    struct fixup_input in = base;
    struct fixup_result r;
    in.header = s;
    arena_clear(&arena);
    fixup_header(&arena, &in, &out, &r);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const struct growth parsing = { seconds, run };

static void test_linear(void **state)
{
    static const struct {
        str head, unit;
    } cases[] = {
        { S("To: "), S("a,") },      { S("To: "), S("a@b,") },        { S("From: "), S("a,") },
        { S("From: "), S("(") },     { S("To: a"), S("\r\n ,a") },    { S(""), S("To: a\r\n") },
        { S(""), S("From: a\r\n") }, { S(""), S("X: a\r\n") },        { S(""), S("x\r\n") },
        { S("To: "), S("a\r,") },    { S("To: "), S("a (x)\",\",") }, { S(""), S("Bcc: a\r\n b\r\n") },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double ratio = growth(&parsing, cases[i].head, cases[i].unit, S(""), 60000);
        if (ratio >= 3.0)
            print_message("case %zu: ratio %.2f\n", i, ratio);
        assert_true(ratio < 3.0);
    }
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_adds_missing_fields),
        cmocka_unit_test(test_completes_domains),
        cmocka_unit_test(test_removes),
        cmocka_unit_test(test_who_it_claims_to_be_from),
        cmocka_unit_test(test_who_sent_it_again),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_error_of_the_buf),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
