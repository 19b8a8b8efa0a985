/* Lines of `secrets` with bytes that would end a line or a word: each is refused, or reads back as it was written, and
 * is never the line of another account, nor two lines. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "conf/accounts.h"

static const str hostile[] = { S("\n"), S("\r"), S("\t"), S("\0"), S(" "), S("\xff"), S(":"), S("#"), S("\x1b"),
                               S("\x7f"), S("="), S("\nroot@posthouse.test $y$") };

/* Formats and reads back; true if the line was accepted. */
static bool keeps(struct arena *a, const struct account_secret *s)
{
    _cleanup_buf_ struct buf b = BUF(1 << 16);
    struct account_secret back;
    if (account_secret_format(&b, s) < 0)
        return false;
    assert_int_equal(str_chr(buf_str(&b), '\n'), (ptrdiff_t)b.n - 1);
    if (account_secret_parse(a, buf_str(&b), &back) < 0)
        return false;
    assert_true(back.address.n == 0 || (str_eq(back.address, s->address) && str_eq(back.hash, s->hash)));
    assert_true(back.address.n == 0 || (str_eq(back.salt, s->salt) && str_eq(back.stored_key, s->stored_key)));
    return back.address.n > 0;
}

static void test_lines(void **state)
{
    (void)state;
    static const char key[33] = "0123\n567 9\t1\r34\0006789:12345=7890#";
    struct account_secret good = { .address = S("a@b.test"), .hash = S("$y$j9T$x$y"), .salt = S("salt"),
                                   .iterations = 4096,
                                   .stored_key = { key, 32 }, .server_key = { key, 32 } };
    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        _cleanup_arena_ struct arena a = ARENA(1 << 20);
        struct account_secret in_address = good, in_hash = good, in_salt = good;
        in_address.address = arena_printf(&a, "a%.*sb@c.test", STR_ARG(hostile[i]));
        in_hash.hash = arena_printf(&a, "$y$%.*s$z", STR_ARG(hostile[i]));
        in_salt.salt = hostile[i];
        bool printable = hostile[i].p[0] > ' ' && hostile[i].p[0] < 0x7f;
        if (!printable && hostile[i].p[0] != '\0') { /* printf ends at a NUL */
            bool high = hostile[i].p[0] < 0;
            assert_true(high || (!keeps(&a, &in_address) && !keeps(&a, &in_hash)));
        }
        keeps(&a, &in_address);
        keeps(&a, &in_hash);
        assert_true(keeps(&a, &in_salt)); /* base64 */
    }
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    good.address = S("a\0b@c.test");
    assert_false(keeps(&a, &good));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_lines) };
    return cmocka_run_group_tests_name("accounts_hostile", tests, NULL, NULL);
}
