/* The hash table against a plain array, its ceiling, and walks that take what they see. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/map.h"
#include <stdio.h>

static const uint8_t key[16] = "0123456789abcdef";

static str name(char *out, int i)
{
    int n = snprintf(out, 16, "key-%d", i);
    return str_of(out, (size_t)n);
}

static void agrees_with_an_array(void **state)
{
    (void)state;
    static char values[300];
    bool there[300] = { false };
    struct map m;
    char text[16];
    size_t n = 0;
    uint32_t dice = 1;
    map_init(&m, 300, key);
    for (int step = 0; step < 20000; step++) {
        dice = dice * 1664525 + 1013904223;
        int i = (int)(dice >> 8) % 300;
        if (dice >> 31) {
            void *old = &old;
            assert_int_equal(map_set(&m, name(text, i), &values[i], &old), 0);
            assert_ptr_equal(old, there[i] ? &values[i] : NULL);
            n += !there[i];
            there[i] = true;
        } else {
            assert_ptr_equal(map_take(&m, name(text, i)), there[i] ? &values[i] : NULL);
            n -= there[i];
            there[i] = false;
        }
        assert_int_equal(m.n, n);
    }
    for (int i = 0; i < 300; i++)
        assert_ptr_equal(map_get(&m, name(text, i)), there[i] ? &values[i] : NULL);
    map_done(&m);
}

static void keys_are_bytes_and_copied(void **state)
{
    (void)state;
    struct map m;
    int a, b, c;
    char text[] = "a\0b";
    map_init(&m, 10, key);
    assert_int_equal(map_set(&m, str_of(text, 3), &a, NULL), 0);
    assert_int_equal(map_set(&m, str_of(text, 1), &b, NULL), 0);
    assert_int_equal(map_set(&m, STR_NONE, &c, NULL), 0);
    text[0] = 'x';
    assert_ptr_equal(map_get(&m, S("a\0b")), &a);
    assert_ptr_equal(map_get(&m, S("a")), &b);
    assert_ptr_equal(map_get(&m, S("")), &c);
    assert_null(map_get(&m, S("A")));
    map_done(&m);
}

static void ceiling(void **state)
{
    (void)state;
    struct map m;
    int v, w;
    void *old = &w;
    map_init(&m, 2, key);
    assert_null(map_get(&m, S("a")));
    assert_null(map_take(&m, S("a")));
    assert_int_equal(map_set(&m, S("a"), &v, NULL), 0);
    assert_int_equal(map_set(&m, S("b"), &v, NULL), 0);
    assert_int_equal(map_set(&m, S("c"), &v, &old), -ENOSPC);
    assert_ptr_equal(old, &w);
    assert_int_equal(map_set(&m, S("a"), &w, &old), 0); /* replacing is no growth */
    assert_ptr_equal(old, &v);
    assert_ptr_equal(map_take(&m, S("b")), &v);
    assert_int_equal(map_set(&m, S("c"), &v, NULL), 0);
    map_done(&m);
    assert_null(map_get(&m, S("c")));
}

static void walks_in_order(void **state)
{
    (void)state;
    struct map m;
    char text[16];
    int values[100];
    map_init(&m, 100, key);
    size_t at = 0;
    str k;
    assert_null(map_next(&m, &at, &k));
    assert_null(map_next(&m, &at, &k));
    for (int i = 0; i < 100; i++)
        assert_int_equal(map_set(&m, name(text, i), &values[i], NULL), 0);
    at = 0;
    for (int i = 0; i < 100; i++) {
        assert_ptr_equal(map_next(&m, &at, &k), &values[i]);
        assert_true(str_eq(k, name(text, i)));
    }
    assert_null(map_next(&m, &at, &k));
    assert_null(map_next(&m, &at, NULL));
    map_done(&m);
}

static void walk_may_take_what_it_sees(void **state)
{
    (void)state;
    struct map m;
    char text[16];
    int values[100];
    map_init(&m, 100, key);
    for (int i = 0; i < 100; i++)
        map_set(&m, name(text, i), &values[i], NULL);
    size_t at = 0;
    str k;
    int seen = 0;
    for (void *v; (v = map_next(&m, &at, &k)); seen++) {
        assert_ptr_equal(v, &values[seen]);
        if (seen % 3)
            assert_ptr_equal(map_take(&m, k), v);
    }
    assert_int_equal(seen, 100);
    assert_int_equal(m.n, 34);
    at = 0;
    while (map_next(&m, &at, &k))
        map_take(&m, k);
    assert_int_equal(m.n, 0);
    at = 0;
    assert_null(map_next(&m, &at, &k));
    map_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_an_array), cmocka_unit_test(keys_are_bytes_and_copied),
        cmocka_unit_test(ceiling), cmocka_unit_test(walks_in_order), cmocka_unit_test(walk_may_take_what_it_sees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
