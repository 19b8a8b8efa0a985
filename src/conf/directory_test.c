/* The small questions, and damage. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "conf/directory_test.h"

static void test_small_questions(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, names);
    assert_true(directory_is_local_domain(&w.d, S("Example.ORG")));
    assert_false(directory_is_local_domain(&w.d, S("example.or")));
    assert_false(directory_is_local_domain(&w.d, S("")));
    assert_true(directory_has_account(&w.d, S("ANNA@example.org")));
    assert_false(directory_has_account(&w.d, S("anna+x@example.org")));
    assert_false(directory_has_account(&w.d, S("info@example.org")));
    str s;
    assert_true(directory_account(&w.d, 0, &s));
    assert_true(str_eq(s, S("anna@example.org")));
    assert_true(directory_account(&w.d, 5, &s));
    assert_true(str_eq(s, S("with.dots@example.org")));
    assert_false(directory_account(&w.d, 6, &s));
}

/* Any byte of the blob may be wrong: no read outside (the sanitizer looks), no endless loop. */
static void test_damage(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    must_compile(&w, CONF, people, names);
    char *copy = malloc(w.blob.n);
    assert_non_null(copy);
    for (size_t i = 0; i < w.blob.n; i++) {
        memcpy(copy, w.blob.p, w.blob.n);
        copy[i] ^= (char)0xff;
        struct directory d;
        if (directory_open(str_of(copy, w.blob.n), &d) < 0)
            continue;
        struct directory_result r;
        _cleanup_arena_ struct arena a = ARENA(1u << 20);
        str s;
        directory_resolve(&d, &a, S("both@example.org"), &r);
        directory_resolve(&d, &a, S("abuse+x@b.example"), &r);
        directory_may_send(&d, &a, S("anna@example.org"), S("info@example.org"));
        directory_allowed_senders(&d, &a, S("anna@example.org"));
        for (size_t n = 0; n < 10 && directory_account(&d, n, &s); n++)
            directory_has_account(&d, s);
    }
    free(copy);
    struct directory d;
    for (size_t n = 0; n < w.blob.n; n++)
        assert_int_equal(directory_open(str_first(buf_str(&w.blob), n), &d), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_questions),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}
