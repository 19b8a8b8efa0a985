/* Tests of srs.c: there and back, what is not ours, age. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "message/srs.h"

static const uint8_t key[16] = { 1, 2, 3 }, other[16] = { 9 };
enum { DAY = 86400 };
static const int64_t now = 1795506903;

static str forward(struct buf *b, str sender, int64_t at)
{
    buf_clear(b);
    assert_int_equal(srs_forward(b, key, sender, S("ours.example"), at), 0);
    return buf_str(b);
}

static void expect_back(str address, str want, int64_t at)
{
    _cleanup_buf_ struct buf back = BUF(1024);
    assert_int_equal(srs_reverse(&back, key, address, at), 0);
    assert_int_equal(back.n, want.n);
    assert_memory_equal(back.p, want.p, want.n);
}

static void test_there_and_back(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1024);
    str a = forward(&b, S("user@example.net"), now);
    assert_true(srs_is(a));
    assert_true(str_ends(a, S("=example.net=user@ours.example")));
    expect_back(a, S("user@example.net"), now);
    expect_back(a, S("user@example.net"), now + 20 * DAY);
    for (size_t i = 0; i < b.n; i++)
        b.p[i] = ascii_lower(b.p[i]); /* hosts that change case */
    expect_back(buf_str(&b), S("user@example.net"), now);
    expect_back(forward(&b, S("a=b=c+d@example.net"), now), S("a=b=c+d@example.net"), now);
}

static void test_chain(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1024), c = BUF(1024);
    str first = S("SRS0=abcd=ef=example.net=user@first.example");
    str a = forward(&b, first, now);
    assert_true(str_starts(a, S("SRS1=")));
    expect_back(a, first, now + 1000 * DAY); /* the first host looks at the age */
    assert_int_equal(srs_forward(&c, other, a, S("third.example"), now), 0);
    assert_true(str_find(buf_str(&c), S("=first.example==abcd=ef=example.net=user@third.example")) > 0);
}

static void test_refused(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1024), back = BUF(1024);
    str a = forward(&b, S("user@example.net"), now);
    assert_int_equal(srs_reverse(&back, other, a, now), -EKEYREJECTED);
    assert_int_equal(srs_reverse(&back, key, a, now + 22 * DAY), -ETIME);
    assert_int_equal(srs_reverse(&back, key, a, now - DAY), -ETIME);
    for (size_t i = 5; i < b.n - 13; i++) {
        b.p[i] ^= 1;
        assert_true(srs_reverse(&back, key, buf_str(&b), now) < 0);
        b.p[i] ^= 1;
    }
    assert_int_equal(srs_reverse(&back, key, S("user@example.net"), now), -ENOENT);
    for (const char *bad = "SRS0=SRS1==@x"; *bad; bad++)
        assert_true(srs_reverse(&back, key, str_z(bad), now) < 0);
    assert_true(srs_reverse(&back, key, S("SRS0=@ours.example"), now) < 0);
    assert_int_equal(back.n, 0);
}

static void test_too_long(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1024);
    str longest = S("a-rather-long-name-of-a-person@a-rather-long-domain.example");
    assert_int_equal(srs_forward(&b, key, longest, S("ours.example"), now), -E2BIG);
    assert_int_equal(srs_forward(&b, key, S("nobody"), S("ours.example"), now), -EINVAL);
    assert_int_equal(srs_forward(&b, key, S("\"a b\"@example.net"), S("ours.example"), now), -EINVAL);
    assert_int_equal(b.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_chain),
                                        cmocka_unit_test(test_refused), cmocka_unit_test(test_too_long) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
