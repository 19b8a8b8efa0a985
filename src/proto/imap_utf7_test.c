/* imap_utf7.c: names on the wire and what they stand for, in both directions. */
#include <time.h>
#include "message/growth_test.h"
#include "proto/imap_write.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>

static void assert_buf(struct buf *b, str want)
{
    if (!str_eq(buf_str(b), want))
        print_error("got \"%.*s\", want \"%.*s\"\n", STR_ARG(buf_str(b)), STR_ARG(want));
    assert_int_equal(b->failed, 0);
    assert_int_equal(b->n, want.n);
    assert_memory_equal(b->p, want.p, want.n);
    buf_clear(b);
}

static void utf7(str wire, str name)
{
    _cleanup_buf_ struct buf b = BUF(1000);
    assert_int_equal(imap_utf7_decode(&b, wire), 0);
    assert_buf(&b, name);
    assert_int_equal(imap_utf7_encode(&b, name), 0);
    assert_buf(&b, wire);
}

static void test_utf7(void **state)
{
    (void)state;
    utf7(S("INBOX"), S("INBOX"));
    utf7(S("&-"), S("&"));
    utf7(S("a&-b&-&-"), S("a&b&&"));
    utf7(S("~peter/mail/&U,BTFw-/&ZeVnLIqe-"), S("~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97"
                                                 "/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"));
    utf7(S("&2D3eAA-"), S("\xf0\x9f\x98\x80"));
    utf7(S("&AOQ-&-"), S("\xc3\xa4&"));
    utf7(S("&AAo-"), S("\n"));
    utf7(S("&AP8A,w-x"), S("\xc3\xbf\xc3\xbfx"));
}

static void test_utf7_refused(void **state)
{
    static const char *const bad[] = {
        "&", "&AOQ", "&AOQA-", "&AO-", "&AOR-", "&AGE-", "&AOQ-&AOQ-", "&AOQAOQ-", "&2D0-", "&3gA-", "&2D0AOQ-",
        "&AOQ=-", "&/wA-", "\xc3\xa4", "a\tb", "&A-", "&AOQAYQ-",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_buf_ struct buf b = BUF(1000);
        buf_add(&b, S("kept"));
        if (imap_utf7_decode(&b, str_z(bad[i])) != -EBADMSG)
            fail_msg("%s is let pass", bad[i]);
        assert_buf(&b, S("kept"));
    }
}

static void test_utf7_of_broken_utf8(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(1000);
    imap_utf7_encode(&b, S("a\xff" "b\xc3"));
    assert_buf(&b, S("a&,,0-b&,,0-"));
    imap_utf7_encode(&b, S("\xed\xa0\x80"));
    assert_buf(&b, S("&,,3,,f,9-"));
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct buf scratch;

static void run_decode(str in)
{
    buf_clear(&scratch);
    imap_utf7_decode(&scratch, in);
}

static void run_encode(str in)
{
    buf_clear(&scratch);
    imap_utf7_encode(&scratch, in);
}

static void test_time(void **state)
{
    (void)state;
    scratch = BUF((size_t)1 << 28);
    struct growth decode = { seconds, run_decode }, encode = { seconds, run_encode };
    assert_true(growth(&decode, S(""), S("x&AOQ-"), S(""), 1000) < 2.4);
    assert_true(growth(&decode, S("&"), S("AOQA5ADk"), S("-"), 1000) < 2.4);
    assert_true(growth(&encode, S(""), S("\xc3\xa4\xff"), S(""), 1000) < 2.4);
    buf_done(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf7),
        cmocka_unit_test(test_utf7_refused),
        cmocka_unit_test(test_utf7_of_broken_utf8),
        cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
