/* kill -9 at random moments: a child appends and delivers and tells each number that became durable; afterwards
 * every told one must be in each recipient's mailbox exactly once, and nothing may be there twice. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include "store/store_test_world.h"

#define ROUNDS 10
#define NUMBERS 200000

static char text[200000];

struct told {
    uint64_t ticket;
    uint32_t number;
};

static uint64_t send_one(struct world *w, uint32_t number)
{
    str content = str_of(text, 1 + number * 7919 % 3000);
    if (number % 50 != 49)
        return append(w, number, content, number % 3 ? "anna@example.org" : "both@example.org");
    const char *const to[] = { "anna@example.org", NULL };
    struct buf meta = BUF(65536);
    struct log_stream *s;
    struct log_position at;
    uint64_t ticket = 0;
    encode_meta(&meta, number, to);
    assert_int_equal(receive_log_stream_begin(w->log, &s), 0);
    assert_int_equal(receive_log_stream_write(s, str_of(text, sizeof(text))), 0);
    assert_int_equal(receive_log_stream_finish(s, buf_str(&meta), &ticket, &at), 0);
    buf_done(&meta);
    return ticket;
}

/* One turn of a loop that is role and store at once. */
static void turn(struct world *w)
{
    struct log_position p[8];
    int n = receive_log_progress(w->log, p, 8);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++)
        assert_int_equal(store_log_synced(w->store, S("in"), p[i]), 0);
    assert_int_equal(store_turn(w->store), 0);
}

static void child(struct world *w, uint32_t number, int out)
{
    static struct told told[1024];
    size_t first = 0, n = 0;
    world_log(w);
    world_store(w);
    world_attach(w);
    for (;;) {
        for (uint32_t i = number % 13; i <= 13 && n < ARRAY_LEN(told); i++) {
            told[(first + n++) % ARRAY_LEN(told)] = (struct told){ .ticket = send_one(w, number), .number = number };
            number++;
        }
        assert_int_equal(receive_log_flush(w->log), 0);
        struct pollfd p[2] = { { .fd = receive_log_fd(w->log), .events = POLLIN },
                               { .fd = store_fd(w->store), .events = POLLIN } };
        poll(p, 2, 5);
        for (; n && told[first].ticket <= receive_log_synced(w->log); n--) {
            if (write(out, &told[first].number, 4) != 4)
                _exit(1);
            first = (first + 1) % ARRAY_LEN(told);
        }
        turn(w);
    }
}

static uint8_t promised[NUMBERS], seen[NUMBERS];

/* Returns one more than the highest number that may have been used. */
static uint32_t collect(int in, uint32_t next)
{
    uint32_t number;
    while (read(in, &number, 4) == 4) {
        assert_true(number < NUMBERS);
        promised[number] = 1;
        next = MAX(next, number + 1);
    }
    return next + 2000; /* what the child had in hand beyond */
}

static void account_for(struct world *w, const char *account, bool all)
{
    struct snapshot s;
    struct mailbox_entry e;
    uint32_t uid = 0;
    memset(seen, 0, sizeof(seen));
    open_snapshot(w, account, &s);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        assert_true(e.uid > uid && e.uid < s.uidnext);
        uid = e.uid;
        assert_int_equal(seen[e.number]++, 0);
    }
    snapshot_close(&s);
    for (uint32_t i = 0; i < NUMBERS; i++)
        if (promised[i] && (all || (i % 3 == 0 && i % 50 != 49)))
            assert_int_equal(seen[i], 1);
}

static void test_kill(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    uint32_t next = 0;
    unsigned seed = 20261124;
    world_init(&w);
    w.segment_size = 65536;
    memset(text, 'k', sizeof(text));
    for (int round = 0; round < ROUNDS; round++) {
        int pipe_fd[2], status;
        assert_int_equal(pipe(pipe_fd), 0);
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            close(pipe_fd[0]);
            child(&w, next, pipe_fd[1]);
        }
        close(pipe_fd[1]);
        struct pollfd p = { .fd = pipe_fd[0], .events = POLLIN };
        if (round % 4) /* every fourth time it may be killed while it starts */
            poll(&p, 1, 20000);
        usleep((unsigned)rand_r(&seed) % 250000);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        next = collect(pipe_fd[0], next);
        close(pipe_fd[0]);
        world_log(&w);
        world_store(&w);
        world_attach(&w);
        assert_int_equal(store_flush(w.store), 0);
        account_for(&w, "anna@example.org", true);
        account_for(&w, "bob@example.org", false);
        assert_int_equal(w.notes, 0);
        world_close(&w);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < NUMBERS; i++)
        n += promised[i];
    assert_true(n >= ROUNDS / 2); /* else nothing was tried */
}

static void say(void *arg, bool finding, str sentence)
{
    (void)arg;
    if (finding)
        print_error("%.*s\n", STR_ARG(sentence));
}

/* The same once more, with the offline check at the end instead of a store. */
static void test_check_after_kill(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    w.segment_size = 65536;
    for (int round = 0; round < 3; round++) {
        int pipe_fd[2];
        assert_int_equal(pipe(pipe_fd), 0);
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            child(&w, (uint32_t)round * 10000, pipe_fd[1]);
        close(pipe_fd[1]);
        usleep(150000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(pipe_fd[0]);
        assert_int_equal(store_check(w.fd, &env_system, say, NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_check_after_kill),
    };
    return cmocka_run_group_tests_name("store_kill", tests, NULL, NULL);
}
