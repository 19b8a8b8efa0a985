/* penalty.c through its header. */
#include <stdio.h>
#include "auth/penalty.h"
#include "base/cleanup.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static const uint8_t key[16] = { 7 };
static const struct penalty_client here = { .ip = { "\x7f\0\0\1", 4 } }, there = { .ip = { "\x7f\0\0\2", 4 } };

static void test_growth(void **state)
{
    (void)state;
    struct penalty *p = penalty_new(key);
    static const uint32_t failed[] = { 250, 500, 1000, 2000, 4000, 8000, 15000, 15000 };
    assert_int_equal(penalty_delay(p, &here, S("alice"), 0), 0);
    for (size_t i = 0; i < ARRAY_LEN(failed); i++) {
        assert_int_equal(penalty_fail(p, &here, S("alice"), i), failed[i]);
        assert_true(penalty_delay(p, &here, S("alice"), i) >= failed[i]);
    }
    for (size_t i = 0; i < 1000; i++)
        penalty_fail(p, &here, S("alice"), 100);
    assert_int_equal(penalty_delay(p, &here, S("alice"), 100), PENALTY_MAX_MS);
    assert_int_equal(penalty_delay(p, &there, S("alice"), 100), 0); /* the user elsewhere does not wait */
    penalty_free(p);
    penalty_free(NULL);
}

static void test_dictionary_from_one_network(void **state)
{
    (void)state;
    struct penalty *p = penalty_new(key);
    char name[16];
    for (size_t i = 0; i < 6; i++) {
        snprintf(name, sizeof(name), "user%zu", i);
        penalty_fail(p, &here, str_z(name), 0);
    }
    assert_int_equal(penalty_delay(p, &here, S("never-tried"), 0), PENALTY_MAX_MS);
    assert_int_equal(penalty_delay(p, &there, S("user0"), 0), 0);
    penalty_free(p);
}

static void test_decay(void **state)
{
    (void)state;
    struct penalty *p = penalty_new(key);
    penalty_fail(p, &here, S("alice"), 1000);
    penalty_fail(p, &here, S("alice"), 2000);
    assert_int_equal(penalty_delay(p, &here, S("alice"), 2000 + PENALTY_DECAY_MS - 1), 1000);
    assert_int_equal(penalty_delay(p, &here, S("alice"), 2000 + PENALTY_DECAY_MS), 0);
    assert_int_equal(penalty_fail(p, &here, S("alice"), 2000 + PENALTY_DECAY_MS), PENALTY_FLOOR_MS);
    assert_int_equal(penalty_delay(p, &here, S("alice"), 2000 + PENALTY_DECAY_MS), 500); /* counted anew */
    penalty_free(p);
}

static void test_success(void **state)
{
    (void)state;
    struct penalty *p = penalty_new(key);
    for (size_t i = 0; i < 3; i++)
        penalty_fail(p, &here, S("alice"), 0);
    penalty_ok(p, &here, S("ALICE"));
    assert_int_equal(penalty_delay(p, &here, S("alice"), 0), 2000); /* of the network */
    penalty_free(p);

    p = penalty_new(key);
    penalty_ok(p, &here, S("alice"));
    assert_int_equal(penalty_delay(p, &here, S("alice"), 0), 0);
    penalty_free(p);
}

static void test_trusted(void **state)
{
    (void)state;
    struct penalty *p = penalty_new(key);
    struct penalty_client trusted = { .ip = here.ip, .trusted = true };
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(penalty_fail(p, &trusted, S("alice"), 0), 0);
    assert_int_equal(penalty_delay(p, &trusted, S("alice"), 0), 0);
    assert_int_equal(penalty_delay(p, &here, S("alice"), 0), 0);
    penalty_free(p);
}

static void test_networks(void **state)
{
    (void)state;
    struct penalty *p = penalty_new(key);
    struct penalty_client a = { .ip = S("\x20\x01\x0d\xb8\0\0\0\1\0\0\0\0\0\0\0\1") };
    struct penalty_client same64 = { .ip = S("\x20\x01\x0d\xb8\0\0\0\1\xff\xff\0\0\0\0\0\2") };
    struct penalty_client other64 = { .ip = S("\x20\x01\x0d\xb8\0\0\0\2\0\0\0\0\0\0\0\1") };
    struct penalty_client mapped = { .ip = S("\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1") };
    struct penalty_client none = { .ip = STR_NONE };
    penalty_fail(p, &a, S("alice"), 0);
    assert_int_equal(penalty_delay(p, &same64, S("bob"), 0), 500);
    assert_int_equal(penalty_delay(p, &other64, S("alice"), 0), 0);
    penalty_fail(p, &mapped, S("alice"), 0);
    assert_int_equal(penalty_delay(p, &here, S("bob"), 0), 500);
    assert_int_equal(penalty_delay(p, &none, S("alice"), 0), 0);
    penalty_fail(p, &none, STR_NONE, 0);
    assert_int_equal(penalty_delay(p, &none, S("alice"), 0), 500);
    penalty_free(p);
}

/* Each failure from a new network takes two entries; the table never grows beyond its bound, the longest unheard goes.
 * */
static void test_bounded(void **state)
{
    (void)state;
    struct penalty *p = penalty_new(key);
    struct penalty_client first = { .ip = S("\xff\0\0\1") };
    penalty_fail(p, &first, S("alice"), 1);
    penalty_fail(p, &here, S("alice"), 1);
    for (uint32_t i = 0; i < PENALTY_TABLE_MAX / 2; i++) {
        uint8_t ip[4] = { 10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };
        struct penalty_client client = { .ip = str_of(ip, 4) };
        penalty_fail(p, &client, S("bob"), 2);
        if (i % 1000 == 0)
            penalty_fail(p, &here, S("alice"), 2);
    }
    assert_int_equal(penalty_delay(p, &first, S("alice"), 2), 0);
    assert_int_equal(penalty_delay(p, &here, S("alice"), 2), PENALTY_MAX_MS);
    struct penalty_client youngest = { .ip = S("\x0a\0\x7f\xff") };
    assert_int_equal(penalty_delay(p, &youngest, S("x"), 2), 500);
    penalty_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growth),  cmocka_unit_test(test_dictionary_from_one_network),
        cmocka_unit_test(test_decay),   cmocka_unit_test(test_success),
        cmocka_unit_test(test_trusted), cmocka_unit_test(test_networks),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
