/* The secrets file in memory: what is found, what damaged lines do. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>
#include "auth/secrets.h"

static const uint8_t map_key[16] = "0123456789abcdef";
static struct secrets s;
static size_t damaged;

static int read_text(str text)
{
    _cleanup_close_ int fd = memfd_create("secrets", MFD_CLOEXEC);
    assert_int_equal(write(fd, text.p, text.n), (ssize_t)text.n);
    damaged = 99;
    return secrets_read(&s, fd, map_key, &damaged);
}

/* The hash of an address, "" if it is not there. */
static str hash_of(struct arena *a, const char *address)
{
    struct account_secret out;
    int r = secrets_get(&s, a, str_z(address), &out);
    assert_true(r == 0 || r == 1);
    return r ? out.hash : S("");
}

static void test_lines(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(65536);
    assert_int_equal(
        read_text(S("# secrets\n\nAnna@Example.org $y$one\nbob@example.org $y$two\ncarl@example.org $y$three")), 0);
    assert_int_equal(damaged, 0);
    assert_int_equal(s.lines.n, 3);
    assert_true(str_eq(hash_of(&a, "anna@example.org"), S("$y$one")));
    assert_true(str_eq(hash_of(&a, "ANNA@example.ORG"), S("$y$one")));
    assert_true(str_eq(hash_of(&a, "carl@example.org"), S("$y$three")));
    assert_true(str_eq(hash_of(&a, "dora@example.org"), S("")));
    assert_true(str_eq(hash_of(&a, ""), S("")));
    secrets_done(&s);
}

static void test_the_last_line_of_an_address_counts(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(65536);
    assert_int_equal(read_text(S("anna@example.org $y$old\nANNA@example.org $y$new\n")), 0);
    assert_int_equal(s.lines.n, 1);
    assert_true(str_eq(hash_of(&a, "anna@example.org"), S("$y$new")));
    secrets_done(&s);
}

static void test_damaged_lines_are_skipped_and_counted(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(65536);
    _cleanup_buf_ struct buf text = BUF(1 << 20);
    buf_add(&text,
            S("nohash\nanna@example.org $y$one\nx@example.org $y$a scram-sha-1:1:a:b:c\ny@example.org $y$a \1\n"));
    buf_add(&text, S("long@example.org "));
    memset(buf_space(&text, 20000), 'a', 20000);
    buf_add(&text, S("\nbob@example.org $y$two\n"));
    assert_int_equal(read_text(buf_str(&text)), 0);
    assert_int_equal(damaged, 4);
    assert_int_equal(s.lines.n, 2);
    assert_true(str_eq(hash_of(&a, "bob@example.org"), S("$y$two")));
    assert_true(str_eq(hash_of(&a, "x@example.org"), S("")));
    secrets_done(&s);
}

static void test_what_was_found_outlives_the_file(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(65536);
    struct account_secret out;
    assert_int_equal(read_text(S("anna@example.org $y$one\n")), 0);
    assert_int_equal(secrets_get(&s, &a, S("anna@example.org"), &out), 1);
    secrets_done(&s);
    assert_true(str_eq(out.hash, S("$y$one")));
    assert_true(str_eq(out.address, S("anna@example.org")));
}

static void test_no_memory_and_no_file(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena none = ARENA(8);
    struct account_secret out;
    assert_int_equal(read_text(S("anna@example.org $y$one\n")), 0);
    assert_int_equal(secrets_get(&s, &none, S("anna@example.org"), &out), -ENOMEM);
    secrets_done(&s);
    assert_int_equal(secrets_read(&s, -1, map_key, &damaged), -EBADF);
    secrets_done(&s);
    assert_int_equal(read_text(S("")), 0);
    assert_int_equal(s.lines.n, 0);
    secrets_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_the_last_line_of_an_address_counts),
        cmocka_unit_test(test_damaged_lines_are_skipped_and_counted),
        cmocka_unit_test(test_what_was_found_outlives_the_file),
        cmocka_unit_test(test_no_memory_and_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
