/* Log and trace of a role: what is written where, rotation, bounds. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <sys/time.h>
#include "io/role_play.h"

static struct role_play world; /* its folder alone is used */
static struct loop *l;
static struct events e;
static int trace_dir, log_fd, saved_stderr;
static int64_t shift_s;

static uint64_t test_us(void) { return env_system.wall_us() + (uint64_t)shift_s * 1000000; }
static uint64_t test_ms(void) { return env_system.mono_ms(); }
static const struct env test_env = { .mono_ms = test_ms, .wall_us = test_us };

static int setup(void **state)
{
    (void)state;
    shift_s = 0;
    play_init(&world);
    assert_int_equal(mkdirat(world.dir_fd, "trace", 0700), 0);
    trace_dir = openat(world.dir_fd, "trace", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    log_fd = memfd_create("log", MFD_CLOEXEC);
    saved_stderr = dup(STDERR_FILENO);
    assert_int_equal(loop_new(&test_env, &l), 0);
    dup2(log_fd, STDERR_FILENO);
    events_init(&e, l, "smtp-in");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    events_done(&e);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(log_fd);
    close(trace_dir);
    loop_free(l);
    play_done(&world);
    return 0;
}

static void use_trace(uint64_t size, uint64_t age_ms) { events_set_trace(&e, dup(trace_dir), size, age_ms); }

static str file_text(int fd)
{
    static char text[1 << 20];
    ssize_t n = pread(fd, text, sizeof(text), 0);
    return str_of(text, (size_t)MAX(n, (ssize_t)0));
}

static str trace_text(const char *name)
{
    _cleanup_close_ int fd = openat(trace_dir, name, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? STR_NONE : file_text(fd);
}

static bool exists(const char *name) { return faccessat(trace_dir, name, F_OK, 0) == 0; }

static uint64_t trace_bytes(void)
{
    uint64_t sum = 0;
    DIR *d = fdopendir(openat(trace_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat st;
    for (struct dirent *f; (f = readdir(d));)
        if (str_ends(str_z(f->d_name), S(".trace")) && fstatat(trace_dir, f->d_name, &st, 0) == 0)
            sum += (uint64_t)st.st_size;
    closedir(d);
    return sum;
}

static size_t count(str text, str what)
{
    size_t n = 0;
    for (ptrdiff_t at; (at = str_find(text, what)) >= 0; n++)
        text = str_from(text, (size_t)at + what.n);
    return n;
}

static void say(enum event_level level, const char *name)
{
    struct buf *b = events_begin(&e, level, name);
    event_str(b, "key", S("a b"));
    events_end(&e);
}

static void test_trace_has_everything_the_log_has_its_level(void **state)
{
    (void)state;
    use_trace(1 << 20, 1000000000);
    say(EVENT_DEBUG, "quiet");
    say(EVENT_WARN, "loud");
    assert_int_equal(file_text(log_fd).n, 0); /* gathered until the end of the turn */
    loop_once(l, 0);
    str log = file_text(log_fd);
    assert_int_equal(count(log, S("\n")), 1);
    assert_int_equal(count(log, S("level=warn event=loud role=smtp-in key=\"a b\"\n")), 1);
    str trace = trace_text("smtp-in.00000001.trace");
    assert_int_equal(count(trace, S("\n")), 2);
    assert_int_equal(count(trace, S("event=quiet")), 1);
    assert_int_equal(e.dropped, 0);
}

static void test_log_level(void **state)
{
    (void)state;
    enum event_level level = EVENT_INFO;
    assert_true(event_level_parse(S("debug"), &level));
    assert_int_equal(level, EVENT_DEBUG);
    assert_true(event_level_parse(S("error"), &level));
    assert_int_equal(level, EVENT_ERROR);
    assert_false(event_level_parse(S("Error"), &level));
    assert_false(event_level_parse(S(""), &level));
    assert_int_equal(level, EVENT_ERROR);
    e.log_level = level;
    events_say(&e, EVENT_WARN, "below", S("x"));
    events_say(&e, EVENT_ERROR, "above", S("line\nbreak"));
    str log = file_text(log_fd);
    assert_int_equal(count(log, S("\n")), 1);
    assert_int_equal(count(log, S("event=above role=smtp-in text=\"line\\nbreak\"\n")), 1);
}

static void test_each_start_has_a_new_segment(void **state)
{
    (void)state;
    use_trace(1 << 20, 1000000000);
    say(EVENT_INFO, "first");
    events_flush(&e);
    use_trace(1 << 20, 1000000000);
    say(EVENT_INFO, "second");
    events_flush(&e);
    assert_int_equal(count(trace_text("smtp-in.00000001.trace"), S("event=first")), 1);
    assert_int_equal(count(trace_text("smtp-in.00000002.trace"), S("event=second")), 1);
}

static void flood(uint64_t bytes)
{
    static char text[60000];
    memset(text, 'x', sizeof(text));
    for (uint64_t n = 0; n < bytes; n += sizeof(text)) {
        struct buf *b = events_begin(&e, EVENT_DEBUG, "flood");
        event_str(b, "text", str_of(text, sizeof(text)));
        events_end(&e);
        if (n % (1 << 20) < sizeof(text))
            events_flush(&e);
    }
    events_flush(&e);
}

static void test_a_flood_stays_in_its_bounds(void **state)
{
    (void)state;
    use_trace(48 << 20, 1000000000);
    flood(130 << 20);
    assert_true(trace_bytes() <= (48 << 20) + (16 << 20) + (8 << 20));
    assert_false(exists("smtp-in.00000001.trace"));
    assert_int_equal(e.dropped, 0);
}

static void test_old_segments_go_when_a_new_one_begins(void **state)
{
    (void)state;
    static const char *const foreign[] = { "store.00000001.trace", "smtp-in.x.trace", "smtp-in.00000001.trace.gz",
                                           "note" };
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        close(openat(trace_dir, foreign[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    use_trace(1 << 20, 3600 * 1000);
    say(EVENT_INFO, "old");
    events_flush(&e);
    shift_s = 3000;
    use_trace(1 << 20, 3600 * 1000);
    assert_true(exists("smtp-in.00000001.trace"));
    shift_s = 4000;
    use_trace(1 << 20, 3600 * 1000);
    assert_false(exists("smtp-in.00000001.trace"));
    assert_true(exists("smtp-in.00000003.trace"));
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        assert_true(exists(foreign[i]));
}

/* More in one turn than is gathered: nothing is lost as long as it can be written. */
static void test_a_turn_with_very_much(void **state)
{
    (void)state;
    use_trace(1 << 30, 1000000000);
    e.log_level = EVENT_ERROR;
    static char text[50000];
    memset(text, 'y', sizeof(text));
    enum { N = 400 };
    for (int i = 0; i < N; i++) {
        struct buf *b = events_begin(&e, EVENT_INFO, "much");
        event_str(b, "text", str_of(text, sizeof(text)));
        events_end(&e);
    }
    loop_once(l, 0);
    assert_true(trace_bytes() >= (uint64_t)(N - e.dropped) * sizeof(text));
    assert_true(e.dropped <= 2); /* the line that found the buffer full */
}

static void test_a_line_that_is_too_long_is_counted(void **state)
{
    (void)state;
    static char text[(1 << 20) + 1000];
    memset(text, 'z', sizeof(text));
    use_trace(4 << 20, 1000000000);
    struct buf *b = events_begin(&e, EVENT_INFO, "long");
    event_str(b, "text", str_of(text, sizeof(text)));
    events_end(&e);
    say(EVENT_INFO, "next");
    loop_once(l, 0);
    assert_int_equal(e.dropped, 1);
    str trace = trace_text("smtp-in.00000001.trace");
    assert_int_equal(count(trace, S("event=")), 1);
    assert_int_equal(count(trace, S("event=next")), 1);
}

static void test_without_a_folder_it_only_logs(void **state)
{
    (void)state;
    say(EVENT_INFO, "one");
    loop_once(l, 0);
    assert_int_equal(count(file_text(log_fd), S("event=one")), 1);
    assert_int_equal(trace_bytes(), 0);
    flood(20 << 20); /* bounded in memory */
    assert_true(e.trace.n <= 8 << 20);
}

static void test_done_writes_what_is_left(void **state)
{
    (void)state;
    use_trace(1 << 20, 1000000000);
    say(EVENT_INFO, "last");
    events_done(&e);
    assert_int_equal(count(trace_text("smtp-in.00000001.trace"), S("event=last")), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_trace_has_everything_the_log_has_its_level),
        T(test_log_level),
        T(test_each_start_has_a_new_segment),
        T(test_a_flood_stays_in_its_bounds),
        T(test_old_segments_go_when_a_new_one_begins),
        T(test_a_turn_with_very_much),
        T(test_a_line_that_is_too_long_is_counted),
        T(test_without_a_folder_it_only_logs),
        T(test_done_writes_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
