/* The event loop, with a clock of the test's own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include "base/buf.h"
#include "io/loop.h"

static uint64_t clock_ms;
static uint64_t test_ms(void) { return clock_ms; }
static const struct env test_env = { .mono_ms = test_ms };

static struct loop *l;
static struct buf said; /* what happened, a letter each */

static int setup(void **state)
{
    (void)state;
    clock_ms = 1000;
    said = BUF(65536);
    return loop_new(&test_env, &l);
}

static int teardown(void **state)
{
    (void)state;
    loop_free(l);
    buf_done(&said);
    return 0;
}

static void assert_said(const char *want)
{
    assert_int_equal(said.failed, 0);
    if (!str_eq(buf_str(&said), str_z(want)))
        fail_msg("want \"%s\", got \"%.*s\"", want, STR_ARG(buf_str(&said)));
}

struct clock { struct loop_timer timer; char name; struct clock *cancels, *starts; uint64_t ms; };

static void ring(struct loop_timer *t)
{
    struct clock *c = CONTAINER_OF(t, struct clock, timer);
    assert_int_equal(t->slot, 0);
    buf_addc(&said, c->name);
    if (c->cancels)
        loop_cancel(l, &c->cancels->timer);
    if (c->starts)
        assert_int_equal(loop_after(l, &c->starts->timer, c->ms), 0);
}

#define CLOCK(name_) { .timer.fire = ring, .name = (name_) }

static void test_timers_fire_in_order_of_their_time(void **state)
{
    (void)state;
    struct clock c[] = { CLOCK('c'), CLOCK('a'), CLOCK('d'), CLOCK('b') };
    loop_after(l, &c[0].timer, 30);
    loop_after(l, &c[1].timer, 10);
    loop_after(l, &c[2].timer, 40);
    loop_after(l, &c[3].timer, 20);
    clock_ms += 9;
    assert_int_equal(loop_once(l, 0), 0);
    assert_said("");
    clock_ms += 21;
    loop_once(l, 0);
    assert_said("abc");
    clock_ms += 1000;
    loop_once(l, 0);
    assert_said("abcd");
}

static void test_a_running_timer_is_moved_both_ways(void **state)
{
    (void)state;
    struct clock a = CLOCK('a'), b = CLOCK('b'), c = CLOCK('c');
    loop_after(l, &a.timer, 10);
    loop_after(l, &b.timer, 20);
    loop_after(l, &c.timer, 30);
    loop_after(l, &a.timer, 40);
    loop_after(l, &c.timer, 5);
    clock_ms += 50;
    loop_once(l, 0);
    assert_said("cba");
}

static void test_many_timers_against_a_sorted_list(void **state)
{
    (void)state;
    enum { N = 300 };
    static struct clock c[N];
    uint32_t seed = 7;
    for (int i = 0; i < N; i++) {
        c[i] = (struct clock)CLOCK('x');
        loop_after(l, &c[i].timer, (seed = seed * 1103515245 + 12345) >> 16 & 1023);
    }
    for (int i = 0; i < N; i += 3)
        loop_cancel(l, &c[i].timer);
    size_t running = N - N / 3;
    for (uint64_t left = 1024, fired = 0; left--; clock_ms++) {
        loop_once(l, 0);
        fired = said.n;
        size_t waiting = 0;
        for (int i = 0; i < N; i++) {
            waiting += c[i].timer.slot != 0;
            assert_true(!c[i].timer.slot || c[i].timer.due > clock_ms);
        }
        assert_int_equal(fired + waiting, running);
    }
    assert_int_equal(said.n, running);
}

static void test_timer_cancels_another_that_is_due(void **state)
{
    (void)state;
    struct clock b = CLOCK('b'), a = CLOCK('a');
    a.cancels = &b;
    loop_after(l, &a.timer, 1);
    loop_after(l, &b.timer, 2);
    clock_ms += 10;
    loop_once(l, 0);
    loop_once(l, 0);
    assert_said("a");
    loop_cancel(l, &b.timer); /* an idle one: nothing happens */
}

static void test_timer_starts_itself_again(void **state)
{
    (void)state;
    struct clock a = CLOCK('a');
    a.starts = &a;
    a.ms = 10;
    loop_after(l, &a.timer, 10);
    for (int i = 0; i < 5; i++, clock_ms += 10)
        loop_once(l, 0);
    assert_said("aaaa");
    loop_cancel(l, &a.timer);
}

struct wire { struct loop_io io; char name; struct wire *drops; bool closes; };

static void wire_ready(struct loop_io *io, uint32_t events)
{
    struct wire *w = CONTAINER_OF(io, struct wire, io);
    assert_true(events & EPOLLIN);
    buf_addc(&said, w->name);
    eventfd_t n;
    eventfd_read(io->fd, &n);
    if (w->drops) {
        loop_unwatch(l, &w->drops->io);
        if (w->closes)
            close(TAKE_FD(w->drops->io.fd));
        memset(w->drops, 0xa5, sizeof(*w->drops)); /* as if its owner had freed it */
        w->drops = NULL;
    }
}

static void wire_open(struct wire *w, char name)
{
    *w = (struct wire){ .io = { .fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC), .ready = wire_ready }, .name = name };
    assert_int_equal(loop_watch(l, &w->io, EPOLLIN), 0);
}

static void test_unwatch_strikes_out_a_pending_event(void **state)
{
    (void)state;
    struct wire a, b;
    wire_open(&a, 'a');
    wire_open(&b, 'b');
    int fd[2] = { a.io.fd, b.io.fd };
    struct wire copy_a = a, copy_b = b;
    a.drops = &b; /* whichever comes first drops the other, whose event is in the same batch */
    b.drops = &a;
    loop_once(l, 0);
    assert_int_equal(said.n, 1);
    bool a_first = said.p[0] == 'a';
    loop_once(l, 0);
    assert_int_equal(said.n, 1);
    loop_unwatch(l, a_first ? &copy_a.io : &copy_b.io);
    close(fd[0]);
    close(fd[1]);
}

static void test_watch_changes_what_is_watched(void **state)
{
    (void)state;
    struct wire a;
    wire_open(&a, 'a');
    assert_int_equal(loop_watch(l, &a.io, 0), 0);
    loop_once(l, 0);
    assert_said("");
    assert_int_equal(loop_watch(l, &a.io, EPOLLIN), 0);
    loop_once(l, 0);
    assert_said("a");
    loop_unwatch(l, &a.io);
    loop_unwatch(l, &a.io);
    eventfd_write(a.io.fd, 1);
    loop_once(l, 0);
    assert_said("a");
    close(a.io.fd);
    assert_int_equal(loop_watch(l, &a.io, EPOLLIN), -EBADF);
    assert_false(a.io.added);
}

struct hook { struct loop_turn turn; char name; };
static void hook_end(struct loop_turn *t) { buf_addc(&said, CONTAINER_OF(t, struct hook, turn)->name); }

static void test_hooks_come_last_the_newest_first(void **state)
{
    (void)state;
    struct hook one = { .turn.end = hook_end, .name = '1' }, two = { .turn.end = hook_end, .name = '2' };
    struct clock t = CLOCK('t');
    struct wire w;
    wire_open(&w, 'w');
    loop_at_turn_end(l, &one.turn);
    loop_at_turn_end(l, &two.turn);
    loop_after(l, &t.timer, 0);
    loop_once(l, 0);
    assert_said("wt21");
    loop_once(l, 0);
    assert_said("wt2121");
    loop_unwatch(l, &w.io);
    close(w.io.fd);
}

static void stop_ring(struct loop_timer *t)
{
    (void)t;
    buf_addc(&said, 's');
    loop_stop(l);
}

static void test_run_ends_with_stop_and_its_turn(void **state)
{
    (void)state;
    struct hook hook = { .turn.end = hook_end, .name = 'e' };
    struct loop_timer t = { .fire = stop_ring };
    loop_at_turn_end(l, &hook.turn);
    loop_after(l, &t, 0);
    assert_int_equal(loop_run(l), 0);
    assert_said("se");
}

static void test_now_is_the_start_of_the_turn(void **state)
{
    (void)state;
    assert_int_equal(loop_now(l), 1000);
    clock_ms = 1234;
    assert_int_equal(loop_now(l), 1000);
    loop_once(l, 0);
    assert_int_equal(loop_now(l), 1234);
    assert_ptr_equal(loop_env(l), &test_env);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_timers_fire_in_order_of_their_time),
        T(test_a_running_timer_is_moved_both_ways),
        T(test_many_timers_against_a_sorted_list),
        T(test_timer_cancels_another_that_is_due),
        T(test_timer_starts_itself_again),
        T(test_unwatch_strikes_out_a_pending_event),
        T(test_watch_changes_what_is_watched),
        T(test_hooks_come_last_the_newest_first),
        T(test_run_ends_with_stop_and_its_turn),
        T(test_now_is_the_start_of_the_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
