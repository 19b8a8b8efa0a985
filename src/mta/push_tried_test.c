/* The memory of who put a message off, and the order of targets that it makes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "mta/push.h"

static struct push push;

static const struct route_target four[] = {
    { .address = S("192.0.2.1"), .port = 25, .group = 1 },
    { .address = S("192.0.2.2"), .port = 25, .group = 1 },
    { .address = S("192.0.2.3"), .port = 25, .group = 2 },
    { .address = S("192.0.2.3"), .port = 26, .group = 2 },
};

static void expect_order(uint64_t target, const char *order)
{
    struct arena a = ARENA(65536);
    struct route_plan plan = { .action = ROUTE_GO, .targets = four, .n_targets = ARRAY_LEN(four) };
    char got[8] = "";
    push_tried_first(&push, target, &a, &plan);
    assert_int_equal(plan.n_targets, ARRAY_LEN(four));
    for (size_t i = 0; i < plan.n_targets; i++)
        got[i] = (char)(plan.targets[i].port == 26 ? '4' : plan.targets[i].address.p[8]);
    assert_string_equal(got, order);
    arena_done(&a);
}

static void test_first_of_its_preference(void **state)
{
    (void)state;
    expect_order(0, "1234");
    expect_order(push_tried_number(&push, &four[0]), "1234");
    expect_order(push_tried_number(&push, &four[1]), "2134");
    expect_order(push_tried_number(&push, &four[2]), "1234");
    expect_order(push_tried_number(&push, &four[3]), "1243");
    expect_order(12345, "1234");
}

static void test_memory(void **state)
{
    (void)state;
    size_t known = 0;
    assert_int_equal(push_tried_by(&push, 7), 0);
    push_tried_note(&push, 7, &four[0]);
    assert_int_equal(push_tried_by(&push, 7), push_tried_number(&push, &four[0]));
    push_tried_note(&push, 7, &four[3]);
    assert_int_equal(push_tried_by(&push, 7), push_tried_number(&push, &four[3]));
    for (uint64_t m = 1; m <= 100000; m++)
        push_tried_note(&push, m, &four[1]);
    for (uint64_t m = 1; m <= 100000; m++) {
        uint64_t by = push_tried_by(&push, m);
        assert_true(by == 0 || by == push_tried_number(&push, &four[1]));
        known += by != 0;
    }
    assert_in_range(known, PUSH_TRIED / 2, PUSH_TRIED); /* one a place */
}

static void test_no_chunking(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_false(push_no_chunking(&push, &four[i]));
    push_no_chunking_note(&push, &four[1]);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(push_no_chunking(&push, &four[i]), i == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_of_its_preference),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_no_chunking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
