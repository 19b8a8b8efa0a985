/* Questions to the store, with a role that has nothing but its link to it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/store_call.h"
#include "io/role_play.h"

static struct role role;
static struct store_calls calls;
static struct store_call one, two;
static struct role_play p; /* for receiving */
static int store;
static unsigned answers, lost, frames_wanted;
static uint32_t last;

static bool on_answer(struct store_call *c, struct ipc_frame *f)
{
    assert_false(store_call_waits(c));
    answers++;
    lost += f == NULL;
    if (f)
        last = unpack_u32(&f->in);
    return f && answers < frames_wanted;
}

static int on_frame(struct ipc_link *link, struct ipc_frame *f)
{
    (void)link;
    return store_calls_frame(&calls, f);
}

static void on_down(struct ipc_link *link)
{
    (void)link;
    store_calls_down(&calls);
}

static int setup(void **state)
{
    (void)state;
    int pair[2];
    role = (struct role){ .env = &env_system };
    p = (struct role_play){ .fd = -1 };
    assert_int_equal(loop_new(&env_system, &role.loop), 0);
    assert_int_equal(ipc_pair(pair), 0);
    store = pair[0];
    role.peer[ROLE_STORE] = (struct ipc_link){ .frame = on_frame, .down = on_down };
    assert_int_equal(ipc_open(&role.peer[ROLE_STORE], role.loop, pair[1], ROLE_ACCESS, ROLE_STORE), 0);
    store_calls_init(&calls, &role);
    one = (struct store_call){ .answer = on_answer };
    two = one;
    answers = lost = last = 0;
    frames_wanted = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_calls_done(&calls);
    ipc_close(&role.peer[ROLE_STORE]);
    loop_free(role.loop);
    if (store >= 0)
        close(store);
    return 0;
}

static uint64_t ask(struct store_call *c)
{
    struct buf b;
    store_call_begin(&calls, c, &b, S("session"));
    uint64_t request = c->request;
    assert_int_equal(store_call_send(c, IPC_QUOTA_GET, &b), 0);
    loop_once(role.loop, 0);
    assert_true(play_receive(&p, store, PLAY_PATIENCE_MS) > 0);
    return request;
}

static void reply(uint64_t request, uint32_t value)
{
    struct buf b = BUF(100);
    pack_u64(&b, request);
    pack_u32(&b, value);
    play_send(store, IPC_QUOTA, &b, -1);
    loop_once(role.loop, 100);
}

static void test_each_gets_its_own(void **state)
{
    (void)state;
    uint64_t a = ask(&one), b = ask(&two);
    assert_int_not_equal(a, b);
    reply(b, 22);
    assert_true(store_call_waits(&one) && !store_call_waits(&two));
    assert_int_equal(last, 22);
    reply(a, 11);
    assert_int_equal(last, 11);
    reply(a, 12); /* nobody waits any more */
    assert_int_equal(answers, 2);
}

static void test_several_frames(void **state)
{
    (void)state;
    frames_wanted = 3;
    uint64_t a = ask(&one);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_true(store_call_waits(&one));
        reply(a, i);
    }
    assert_int_equal(last, 3);
    assert_false(store_call_waits(&one));
}

static void test_cancelled(void **state)
{
    (void)state;
    uint64_t a = ask(&one);
    store_call_cancel(&one);
    store_call_cancel(&one);
    reply(a, 5);
    assert_int_equal(answers, 0);
}

static void test_store_goes(void **state)
{
    (void)state;
    ask(&one);
    ask(&two);
    close(TAKE_FD(store));
    loop_once(role.loop, 100);
    assert_int_equal(lost, 2);
    struct buf b;
    store_call_begin(&calls, &one, &b, S("session"));
    assert_true(store_call_send(&one, IPC_QUOTA_GET, &b) < 0);
    assert_false(store_call_waits(&one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_gets_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_goes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
