/* Floods are collapsed, everybody else is heard, and the summary names the flooder. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "io/event_flood.h"

static void test_one_client_is_collapsed(void **state)
{
    (void)state;
    static const uint8_t key[16] = { 1 };
    struct event_flood f;
    struct events e;
    struct loop *l;
    size_t allowed = 0;
    assert_int_equal(loop_new(&env_system, &l), 0);
    events_init(&e, l, "test");
    event_flood_init(&f, key);
    for (int i = 0; i < EVENT_FLOOD_MAX + 50; i++)
        allowed += event_flood_allow(&f, &e, S("192.0.2.1"), 1000);
    assert_int_equal(allowed, EVENT_FLOOD_MAX);
    assert_true(event_flood_allow(&f, &e, S("192.0.2.2"), 1000));
    assert_int_equal(e.trace.n, 0);
    assert_true(event_flood_allow(&f, &e, S("192.0.2.1"), 1000 + EVENT_FLOOD_WINDOW_MS));
    assert_true(str_find(buf_str(&e.trace), S("client=192.0.2.1 lines_left_out=50")) > 0);
    assert_true(str_find(buf_str(&e.trace), S("192.0.2.2")) < 0);
    buf_clear(&e.log);
    event_flood_done(&f);
    events_done(&e);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_client_is_collapsed) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
