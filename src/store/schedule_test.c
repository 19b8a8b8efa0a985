/* The schedule, alone: what is due when, and weeks of a simulated network with dead, slow, flapping and deferring
 * destinations, in which nobody waits for anybody else. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "base/cleanup.h"
#include "store/schedule.h"

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static const struct schedule_config standard = {
    .jobs_max = 1000, .window_first = 5, .backoff_min = 5 * MINUTE, .backoff_max = 4 * HOUR, .probe_min = MINUTE,
    .probe_max = HOUR, .lifetime = 5 * DAY, .bounce_lifetime = DAY, .delay_warning = 4 * HOUR,
};
static const struct schedule_limits twenty = { .concurrency = 20 };

static void cleanup_schedule(struct schedule **s) { schedule_free(*s); }
#define _cleanup_schedule_ _cleanup_(cleanup_schedule)

static uint32_t destination(struct schedule *s, const char *key)
{
    uint32_t id;
    assert_int_equal(schedule_destination(s, str_z(key), &twenty, 0, &id), 0);
    return id;
}

static void add(struct schedule *s, const char *key, uint64_t message, uint64_t due)
{
    const struct schedule_item i = { .message = message, .due = due, .born = due };
    assert_int_equal(schedule_add(s, destination(s, key), &i, 0), 0);
}

static struct schedule_state state_of(struct schedule *s, const char *key)
{
    struct schedule_state x;
    assert_true(schedule_find(s, str_z(key), &x));
    return x;
}

/* What one worker does waits for it, and what another does not. */
static void test_halted(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    const struct schedule_limits other = { .concurrency = 20, .window = 12, .worker = 1 };
    struct schedule_job j;
    uint32_t id;
    schedule_halt(s, 1, true, 0);
    assert_int_equal(schedule_destination(s, S("b"), &other, 0, &id), 0);
    for (uint64_t m = 1; m <= 15; m++) {
        const struct schedule_item i = { .message = m };
        assert_int_equal(schedule_add(s, id, &i, 0), 0);
    }
    add(s, "a", 100, 0);
    assert_true(schedule_next(s, 0, &j));
    assert_int_equal(j.message, 100);
    assert_false(schedule_next(s, 0, &j));
    assert_int_equal(schedule_wait(s, 0), UINT64_MAX);
    schedule_halt(s, 1, false, 1000);
    for (int i = 0; i < 12; i++) { /* as wide as its limits say it begins */
        assert_true(schedule_next(s, 1000, &j));
        assert_int_equal(j.destination, id);
    }
    assert_false(schedule_next(s, 1000, &j));
    schedule_halt(s, 1, true, 1000);
    schedule_done(s, id, SCHEDULE_GOOD, 1000);
    assert_false(schedule_next(s, 1000, &j));
    add(s, "a", 101, 0);
    assert_true(schedule_next(s, 1000, &j));
    assert_int_equal(j.message, 101);
}

static void test_retry_times(void **state)
{
    (void)state;
    uint64_t want[] = { 5, 10, 20, 40, 80, 160, 240, 240, 240 };
    for (uint32_t attempts = 1; attempts <= ARRAY_LEN(want); attempts++) {
        uint64_t least = UINT64_MAX, most = 0;
        for (uint64_t seed = 0; seed < 300; seed++) {
            uint64_t t = schedule_retry(&standard, attempts, seed);
            assert_in_range(t, want[attempts - 1] * MINUTE * 9 / 10, want[attempts - 1] * MINUTE * 11 / 10);
            assert_int_equal(t, schedule_retry(&standard, attempts, seed));
            least = MIN(least, t);
            most = MAX(most, t);
        }
        assert_true(most - least > want[attempts - 1] * MINUTE / 10); /* spread out */
    }
    assert_false(schedule_expired(&standard, 5 * DAY - 1, 100, false));
    assert_true(schedule_expired(&standard, 5 * DAY, 5, false));
    assert_false(schedule_expired(&standard, 500 * DAY, 4, false)); /* a clock that jumps gives nobody up */
    assert_true(schedule_expired(&standard, DAY, 5, true));
}

static void test_due_and_groups(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    struct schedule_job j;
    uint32_t d = destination(s, "a.example");
    for (uint32_t i = 0; i < 250; i++) {
        const struct schedule_item x = { .message = 7, .index = i, .group = i / 240, .due = 100 };
        assert_int_equal(schedule_add(s, d, &x, 0), 0);
    }
    assert_false(schedule_next(s, 99, &j));
    assert_int_equal(schedule_wait(s, 40), 60);
    uint32_t want[] = { 100, 100, 40, 10 }, next = 0;
    for (size_t k = 0; k < ARRAY_LEN(want); k++) {
        assert_true(schedule_next(s, 100, &j));
        assert_int_equal(j.message, 7);
        assert_int_equal(j.n, want[k]);
        for (uint32_t i = 0; i < j.n; i++)
            assert_int_equal(j.indexes[i], next++);
    }
    assert_false(schedule_next(s, 100, &j));
    assert_int_equal(schedule_items(s), 0);
    assert_int_equal(schedule_jobs(s), 4);
    assert_int_equal(state_of(s, "a.example").in_flight, 4);
}

static void test_window_grows_and_shrinks(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    struct schedule_job j;
    uint32_t d = destination(s, "a.example");
    for (uint64_t m = 1; m <= 3000; m++)
        add(s, "a.example", m, 0);
    for (int round = 0; round < 60; round++) {
        uint32_t open = 0;
        while (schedule_next(s, 1, &j))
            open++;
        assert_in_range(open, 5, 20);
        while (open--)
            schedule_done(s, d, SCHEDULE_GOOD, 1);
    }
    assert_in_range((int)state_of(s, "a.example").window, 20, 20);
    /* one failure among many successes: the window shrinks by little and comes back */
    for (int i = 0; i < 3; i++) {
        assert_true(schedule_next(s, 1, &j));
        schedule_done(s, d, SCHEDULE_SITE_FAILED, 1);
    }
    assert_in_range((int)state_of(s, "a.example").window, 18, 19);
    assert_false(state_of(s, "a.example").dead);
    for (int i = 0; i < 40; i++) {
        assert_true(schedule_next(s, 1, &j));
        schedule_done(s, d, SCHEDULE_NO_VERDICT, 1);
    }
    assert_in_range((int)state_of(s, "a.example").window, 18, 19);
}

static void test_dead_and_alive_again(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    struct schedule_job j;
    uint32_t d = destination(s, "dead.example");
    for (uint64_t m = 1; m <= 1000; m++)
        add(s, "dead.example", m, 0);
    uint64_t now = 1, failed = 0;
    for (; !state_of(s, "dead.example").dead; failed++) {
        assert_true(schedule_next(s, now, &j));
        schedule_done(s, d, SCHEDULE_SITE_FAILED, now);
    }
    assert_in_range(failed, 3, 6); /* a cohort */
    /* one probe at a time, with a pause that doubles up to an hour */
    uint64_t pauses[] = { 1, 2, 4, 8, 16, 32, 60, 60 };
    for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
        assert_false(schedule_next(s, now, &j));
        assert_int_equal(schedule_wait(s, now), pauses[i] * MINUTE);
        now += pauses[i] * MINUTE;
        assert_true(schedule_next(s, now, &j));
        struct schedule_job second;
        assert_false(schedule_next(s, now, &second));
        schedule_done(s, d, SCHEDULE_SITE_FAILED, now);
    }
    now += HOUR;
    assert_true(schedule_next(s, now, &j));
    schedule_done(s, d, SCHEDULE_GOOD, now);
    assert_false(state_of(s, "dead.example").dead);
    unsigned open = 0;
    while (schedule_next(s, now, &j))
        open++;
    assert_in_range(open, 1, 2); /* it begins small */
}

static void test_turns_and_priority(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    struct schedule_job j;
    for (uint64_t m = 1; m <= 50; m++) {
        add(s, "big.example", m, 0);
        if (m <= 2)
            add(s, "small.example", 100 + m, 0);
    }
    uint32_t small = destination(s, "small.example");
    bool seen = false;
    for (int i = 0; i < 3; i++) { /* not behind all of the big one */
        assert_true(schedule_next(s, 1, &j));
        seen = seen || j.destination == small;
    }
    assert_true(seen);
    uint32_t d = destination(s, "prio.example");
    for (uint64_t m = 0; m < 300; m++) {
        const struct schedule_item x = { .message = 1000 + m, .priority = (uint8_t)(m % 3) };
        assert_int_equal(schedule_add(s, d, &x, 1), 0);
    }
    unsigned first[3] = { 0 };
    for (int i = 0; i < 60;) {
        assert_true(schedule_next(s, 1, &j));
        schedule_done(s, j.destination, SCHEDULE_GOOD, 1);
        if (j.destination == d) {
            first[j.priority]++;
            i++;
        }
    }
    assert_in_range(first[1], 40, 50);
    assert_true(first[0] >= 5 && first[2] >= 5); /* nobody starves */
}

static void test_rate_and_pause(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    const struct schedule_limits slow = { .concurrency = 20, .rate = 60, .rate_ms = 60000 };
    struct schedule_job j;
    uint32_t d;
    assert_int_equal(schedule_destination(s, S("r.example"), &slow, 0, &d), 0);
    for (uint64_t m = 1; m <= 100; m++) {
        const struct schedule_item x = { .message = m };
        assert_int_equal(schedule_add(s, d, &x, 0), 0);
    }
    unsigned n = 0;
    for (uint64_t now = 0; now < 30000; now += 10)
        while (schedule_next(s, now, &j)) {
            schedule_done(s, d, SCHEDULE_GOOD, now);
            n++;
        }
    assert_in_range(n, 30, 31);
    schedule_pause(s, d, true);
    assert_false(schedule_next(s, 50000, &j));
    assert_int_equal(schedule_wait(s, 50000), UINT64_MAX);
    schedule_pause(s, d, false);
    assert_true(schedule_next(s, 50000, &j));
    assert_false(schedule_next(s, 50000, &j)); /* the rate still holds */
    assert_int_equal(schedule_wait(s, 50000), 1000);
}

static void test_scarce_jobs(void **state)
{
    (void)state;
    struct schedule_config few = standard;
    few.jobs_max = 20;
    _cleanup_schedule_ struct schedule *s = schedule_new(&few);
    struct schedule_job j;
    char key[32];
    for (uint64_t m = 1; m <= 4000; m++) {
        snprintf(key, sizeof(key), "slow%u.example", (unsigned)(m % 4));
        add(s, key, m, 0);
    }
    unsigned open = 0;
    while (schedule_next(s, 1, &j))
        open++;
    assert_in_range(open, 15, 16); /* a quarter is kept free … */
    add(s, "other.example", 9999, 0);
    assert_true(schedule_next(s, 1, &j)); /* … for who has none */
    assert_int_equal(j.message, 9999);
}

/* Hundreds of hosts that hang do not keep mail from one that answers. */
static void test_scarce_jobs_are_for_who_answers(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    struct schedule_job j;
    char key[32];
    add(s, "good.example", 1, 0);
    assert_true(schedule_next(s, 1, &j));
    schedule_done(s, j.destination, SCHEDULE_GOOD, 2);
    for (uint64_t m = 2; m <= 3000; m++) {
        snprintf(key, sizeof(key), "hangs%u.example", (unsigned)m);
        add(s, key, m, 2);
    }
    unsigned open = 0;
    while (schedule_next(s, 3, &j))
        open++;
    assert_int_equal(open, 875);
    assert_int_equal(schedule_wait(s, 3), UINT64_MAX);
    add(s, "good.example", 9999, 3);
    assert_int_equal(schedule_wait(s, 3), 0);
    assert_true(schedule_next(s, 3, &j));
    assert_int_equal(j.message, 9999);
    schedule_done(s, j.destination, SCHEDULE_SITE_FAILED, 4); /* it is one of the others now */
    add(s, "good.example", 10000, 4);
    assert_false(schedule_next(s, 5, &j));
}

struct told { unsigned expired, delayed; uint64_t message; };
static void tell(void *arg, enum schedule_told what, uint32_t d, const struct schedule_item *i)
{
    struct told *t = arg;
    (void)d;
    t->expired += what == SCHEDULE_EXPIRED;
    t->delayed += what == SCHEDULE_DELAYED;
    t->message = i->message;
}

static void test_sweep(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    struct schedule_job j;
    struct told t = { 0 };
    for (uint64_t m = 1; m <= 100; m++)
        add(s, "dead.example", m, 1);
    uint64_t now = 1;
    for (; now < 4 * HOUR - MINUTE; now += MINUTE) {
        while (schedule_next(s, now, &j))
            schedule_done(s, j.destination, SCHEDULE_SITE_FAILED, now);
        schedule_sweep(s, now, tell, &t);
    }
    assert_int_equal(t.delayed, 0);
    now += 2 * MINUTE;
    schedule_sweep(s, now, tell, &t);
    uint64_t left = schedule_items(s);
    assert_int_equal(t.delayed, left); /* each once */
    schedule_sweep(s, now + MINUTE, tell, &t);
    assert_int_equal(t.delayed, left);
    assert_int_equal(t.expired, 0);
    schedule_sweep(s, 5 * DAY + 2, tell, &t);
    assert_int_equal(t.expired, left);
    assert_int_equal(schedule_items(s), 0);
    assert_false(schedule_next(s, 6 * DAY, &j));
    schedule_sweep(s, 6 * DAY, tell, &t);
    struct schedule_state x;
    assert_false(schedule_find(s, S("dead.example"), &x)); /* forgotten */
}

static enum schedule_choice odd_ones(void *arg, uint32_t d, uint64_t message, uint32_t index)
{
    (void)arg;
    (void)d;
    (void)index;
    return message % 2 ? SCHEDULE_TAKE : message % 4 ? SCHEDULE_NOW : SCHEDULE_KEEP;
}

static void test_walk(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    struct schedule_job j;
    for (uint64_t m = 1; m <= 40; m++)
        add(s, "a.example", m, m <= 20 ? 0 : HOUR);
    schedule_walk(s, 1, odd_ones, NULL);
    assert_int_equal(schedule_items(s), 20);
    unsigned n = 0;
    while (schedule_next(s, 1, &j)) {
        assert_true(j.message % 2 == 0 && (j.message <= 20 || j.message % 4 == 2));
        schedule_done(s, j.destination, SCHEDULE_GOOD, 1);
        n++;
    }
    assert_int_equal(n, 15);
    assert_int_equal(schedule_wait(s, 1), HOUR - 1);
}

#define MANY 100000

static void test_memory(void **state)
{
    (void)state;
    _cleanup_schedule_ struct schedule *s = schedule_new(&standard);
    char key[40];
    for (uint64_t m = 0; m < MANY; m++) {
        snprintf(key, sizeof(key), "domain%u.example", (unsigned)(m % 1000));
        add(s, key, m, m % 3600 * SECOND);
    }
    assert_int_equal(schedule_items(s), MANY);
    print_message("%zu bytes a recipient\n", schedule_memory(s) / MANY);
    assert_true(schedule_memory(s) / MANY < 100);
}

/* A network for weeks: every destination behaves by its kind and a seed. */
enum kind { WELL, DEAD, FLAPPING, DEFERRING, SLOW, KINDS };
struct letter { uint64_t born, first_try, end; uint32_t attempts; enum kind kind; bool given_up, delayed; };
struct net {
    struct schedule *s;
    uint64_t now, seed;
    struct letter *letters;
    struct { uint64_t end; struct schedule_job j; bool used; } open[1000];
    size_t n_open;
    unsigned jobs;
};

static uint64_t next_random(struct net *n)
{
    n->seed = n->seed * 6364136223846793005u + 1442695040888963407u;
    return n->seed >> 33;
}

static void name_of(enum kind k, unsigned i, char out[40])
{
    static const char *const names[] = { "well", "dead", "flapping", "deferring", "slow" };
    snprintf(out, 40, "%s%u.example", names[k], i);
}

static void settle(struct net *n, const struct schedule_job *j, bool site_failed, bool deferred)
{
    for (uint32_t i = 0; i < j->n; i++) {
        struct letter *l = &n->letters[j->message];
        uint64_t age = n->now - l->born;
        l->attempts = j->attempts[i] + 1;
        l->delayed = l->delayed || age >= standard.delay_warning;
        if (!site_failed && !deferred) {
            l->end = n->now;
        } else if (schedule_expired(&standard, age, l->attempts, false)) {
            l->end = n->now;
            l->given_up = true;
        } else {
            const struct schedule_item x = { .message = j->message, .index = j->indexes[i], .born = l->born,
                                             .attempts = l->attempts, .warned = l->delayed,
                                             .due = n->now + schedule_retry(&standard, l->attempts, j->message) };
            assert_int_equal(schedule_add(n->s, j->destination, &x, n->now), 0);
        }
    }
    schedule_done(n->s, j->destination, site_failed ? SCHEDULE_SITE_FAILED : SCHEDULE_GOOD, n->now);
}

static void finish_open(struct net *n)
{
    for (size_t i = 0; i < n->n_open;) {
        if (n->open[i].end > n->now) {
            i++;
            continue;
        }
        struct schedule_job j = n->open[i].j;
        n->open[i] = n->open[--n->n_open];
        enum kind k = n->letters[j.message].kind;
        bool up = k != DEAD && (k != FLAPPING || n->now / (6 * HOUR) % 2);
        settle(n, &j, !up, k == DEFERRING && next_random(n) % 4 != 0);
    }
}

static void open_jobs(struct net *n)
{
    struct schedule_job j;
    while (schedule_next(n->s, n->now, &j)) {
        struct letter *l = &n->letters[j.message];
        l->first_try = l->first_try ? l->first_try : n->now;
        uint64_t takes = l->kind == SLOW ? 10 * MINUTE : l->kind == DEAD ? 30 * SECOND : SECOND;
        assert_true(n->n_open < ARRAY_LEN(n->open));
        n->open[n->n_open].j = j;
        n->open[n->n_open++].end = n->now + takes;
        n->jobs++;
    }
}

static void swept(void *arg, enum schedule_told what, uint32_t d, const struct schedule_item *i)
{
    struct net *n = arg;
    (void)d;
    struct letter *l = &n->letters[i->message];
    if (what == SCHEDULE_DELAYED)
        l->delayed = true;
    else
        l->end = n->now, l->given_up = true;
}

#define LETTERS 40000

static void check_letters(const struct net *n, uint64_t last_born)
{
    for (unsigned m = 1; m < LETTERS; m++) {
        const struct letter *l = &n->letters[m];
        if (l->born + 6 * DAY > last_born)
            continue;
        assert_true(l->end != 0); /* nobody is forgotten */
        if (l->kind == DEAD) {
            assert_true(l->given_up && l->delayed);
            assert_in_range(l->end - l->born, 5 * DAY, 5 * DAY + 5 * HOUR);
            continue;
        }
        assert_false(l->given_up);
        if (l->kind == WELL) { /* no dead, slow or deferring one delays it */
            assert_true(l->attempts == 1);
            assert_in_range(l->end - l->born, 0, MINUTE);
        }
        if (l->kind == FLAPPING)
            assert_in_range(l->end - l->born, 0, 6 * HOUR + 5 * HOUR);
    }
}

static void test_weeks(void **state)
{
    (void)state;
    static struct letter letters[LETTERS];
    static struct net n;
    char key[40];
    n = (struct net){ .s = schedule_new(&standard), .seed = 42, .letters = letters, .now = DAY };
    uint64_t next_letter = n.now, last_born = 0, next_sweep = n.now;
    unsigned m = 1;
    while (n.now < DAY + 21 * DAY) {
        for (; m < LETTERS && next_letter <= n.now; m++) {
            enum kind k = (enum kind)(next_random(&n) % KINDS);
            name_of(k, (unsigned)next_random(&n) % 6, key);
            letters[m] = (struct letter){ .born = n.now, .kind = k };
            add(n.s, key, m, n.now);
            last_born = n.now;
            next_letter += next_random(&n) % (90 * SECOND);
        }
        finish_open(&n);
        open_jobs(&n);
        if (n.now >= next_sweep) {
            schedule_sweep(n.s, n.now, swept, &n);
            next_sweep = n.now + MINUTE;
        }
        n.now += n.n_open || m < LETTERS ? SECOND * 5 : MINUTE;
    }
    check_letters(&n, last_born);
    print_message("%u messages, %u jobs in 21 days\n", m - 1, n.jobs);
    schedule_free(n.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry_times),
        cmocka_unit_test(test_halted),
        cmocka_unit_test(test_due_and_groups),
        cmocka_unit_test(test_window_grows_and_shrinks),
        cmocka_unit_test(test_dead_and_alive_again),
        cmocka_unit_test(test_turns_and_priority),
        cmocka_unit_test(test_rate_and_pause),
        cmocka_unit_test(test_scarce_jobs),
        cmocka_unit_test(test_scarce_jobs_are_for_who_answers),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_weeks),
    };
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
