/* Segments, names and searches of the trace reader. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <time.h>
#include "admin/trace_test.h"

static void put_file(struct trace_room *r, const char *name, str text)
{
    int fd = openat(r->dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
    close(fd);
}

static void test_names(void **state)
{
    struct trace_name n;
    (void)state;
    assert_int_equal(trace_name_parse(S("OIL2Vq.17"), &n), 0);
    assert_memory_equal(n.text, "0112vq", 6);
    assert_int_equal(n.n, 6);
    assert_true(n.has_number && n.number == 17);
    assert_int_equal(trace_name_parse(S(S1), &n), 0);
    assert_int_equal(n.n, 26);
    assert_false(n.has_number);
    assert_int_equal(trace_name_parse(S("abcde"), &n), -ERANGE);
    assert_int_equal(trace_name_parse(S(""), &n), -ERANGE);
    assert_int_equal(trace_name_parse(S(S1 "a"), &n), -ERANGE);
    assert_int_equal(trace_name_parse(S("abcdeu"), &n), -EINVAL);
    assert_int_equal(trace_name_parse(S("abcdef."), &n), -EINVAL);
    assert_int_equal(trace_name_parse(S("abcdef.1.2"), &n), -EINVAL);
    assert_int_equal(trace_name_parse(S("abcdef.4294967296"), &n), -EINVAL);
}

static void test_segments(void **state)
{
    struct trace_room *r = *state;
    room_write_submission(r);
    room_write(r, "smtp-in", 2, T0 + 10000000, ROWS(ROW("connect", "session", S2)));
    put_file(r, "smtp-in.00000003.trace", S(""));                     /* just begun */
    put_file(r, "store.00000002.trace", S("time=2026-11-24T07:5"));   /* no whole line yet */
    put_file(r, "notes.txt", S("session=" S1 "\n"));
    put_file(r, "x.trace", S("session=" S1 "\n"));
    put_file(r, "a-role-with-a-name-much-too-long-for-it.1.trace", S("session=" S1 "\n"));
    assert_int_equal(mkdirat(r->dir, "dir.1.trace", 0700), 0);
    assert_int_equal(symlinkat("/etc/passwd", r->dir, "link.1.trace"), 0);
    assert_int_equal(trace_open(r->dir, &r->trace), 0);
    assert_int_equal(r->trace.n, 5);
    assert_string_equal(r->trace.segment[0].role, "access"); /* latest first */
    assert_string_equal(r->trace.segment[1].role, "smtp-in");
    assert_int_equal(r->trace.segment[1].number, 2);
    assert_string_equal(r->trace.segment[2].role, "smtp-in");
    assert_string_equal(r->trace.segment[3].role, "store");
    assert_int_equal(r->trace.segment[4].n, 0);
    assert_int_equal(r->trace.begin_us, T0);
    assert_int_equal(r->trace.end_us, T0 + 60001000);
}

static size_t count_id(struct trace_room *r, const char *name)
{
    struct trace_name n;
    struct trace_lines l;
    assert_int_equal(trace_name_parse(str_z(name), &n), 0);
    assert_int_equal(trace_find_id(&r->trace, &n, &l), 0);
    size_t found = l.n;
    for (size_t i = 1; i < l.n; i++)
        assert_true(l.line[i - 1].time_us <= l.line[i].time_us);
    trace_lines_done(&l);
    return found;
}

static void test_damage_hides_only_itself(void **state)
{
    struct trace_room *r = *state;
    put_file(r, "smtp-in.1.trace", S(
        "time=2026-11-24T07:55:03.000000Z level=info event=mail role=smtp-in session=" S1 ".1 verdict=permit\n"
        "\n"
        "session=" S1 ".1\n"                                      /* no time, no event: still a line */
        "time=x level=info event=mail session=\"" S1 ".1\n"       /* the quote never ends */
        "garbage \xff\x00 " S1 " session=" S1 ".1 \n"
        "level=info event=mail session=" S1 "x1\n"                /* not an id */
        "level=info event=mail session=" S1 ".1 sender=\"a\\q\"\n" /* a wrong escape after the id */
        "time=2026-11-24T07:55:04.000000Z level=info event=mail role=smtp-in session=" S1 ".1 cut"));
    assert_int_equal(trace_open(r->dir, &r->trace), 0);
    assert_int_equal(count_id(r, S1), 3);
    assert_int_equal(count_id(r, S1 ".2"), 0);
}

static void test_messages_in_one_pass(void **state)
{
    struct trace_room *r = *state;
    struct trace_lines want = { 0 }, got;
    struct trace_line m = { .number = 1, .tagged = 1 };
    memcpy(m.session, S1, B32_ID_LEN);
    room_write_submission(r);
    room_write(r, "smtp-in", 2, T0, ROWS(
        ROW("rcpt", "session", S1 ".2", "verdict", "permit"),   /* another message of the session */
        ROW("rcpt", "session", S1 ".11", "verdict", "permit"),
        ROW("odd", "session", S1 ".1", "message", S1 ".1"),     /* both: once */
        ROW("odd", "session", S2, "text", "x session=" S1 ".1 message=" S1 ".1")));
    assert_int_equal(trace_open(r->dir, &r->trace), 0);
    assert_int_equal(trace_lines_add(&want, &m), 0);
    assert_int_equal(trace_find_messages(&r->trace, &want, T0, &got), 0);
    assert_int_equal(got.n, 11);
    trace_lines_done(&got);
    assert_int_equal(trace_find_messages(&r->trace, &want, T0 + UINT64_C(200000000000), &got), 0);
    assert_int_equal(got.n, 0); /* everything ended a day before */
    trace_lines_done(&got);
    trace_lines_done(&want);
}

static void test_a_line_taken_apart(void **state)
{
    struct trace_room *r = *state;
    struct trace_event e;
    struct trace_line l = { .text = S("time=t event=refused recipient=a recipient=\"b c\" empty=\"\"\n"),
                            .time_us = 5 };
    str value;
    size_t at = 0;
    assert_int_equal(trace_event_read(&r->arena, &l, &e), 0);
    assert_int_equal(e.n, 5);
    assert_true(str_eq(e.name, S("refused")) && e.time_us == 5);
    assert_true(trace_next(&e, "recipient", &at, &value) && str_eq(value, S("a")));
    assert_true(trace_next(&e, "recipient", &at, &value) && str_eq(value, S("b c")));
    assert_false(trace_next(&e, "recipient", &at, &value));
    assert_int_equal(trace_get(&e, "empty").n, 0);
    assert_true(trace_is(&e, "recipient", S("a")));
}

struct visits { size_t wanted, found, asked; };
static bool see(void *arg, str line, str event)
{
    (void)line;
    ((struct visits *)arg)->wanted++;
    return str_eq(event, S("rcpt"));
}
static void find(void *arg, const struct trace_line *line, str event)
{
    (void)line;
    (void)event;
    ((struct visits *)arg)->found++;
}
static bool ask(void *arg, uint64_t end_us)
{
    (void)end_us;
    return ++((struct visits *)arg)->asked > 2;
}

static void test_address_visits(void **state)
{
    struct trace_room *r = *state;
    struct visits v = { 0 };
    room_write_submission(r);
    assert_int_equal(trace_open(r->dir, &r->trace), 0);
    trace_find_address(&r->trace, S("ALICE@posthouse.test"), &(struct trace_visitor){ see, find, NULL, &v });
    assert_int_equal(v.wanted, 4); /* auth, two rcpt, received: text and the other domains are not even looked at */
    assert_int_equal(v.found, 2);
    v = (struct visits){ 0 };
    trace_find_address(&r->trace, S("lice@posthouse.test"), &(struct trace_visitor){ see, find, NULL, &v });
    assert_int_equal(v.wanted, 0);
    trace_find_address(&r->trace, S("alice@posthouse.test"), &(struct trace_visitor){ see, find, ask, &v });
    assert_int_equal(v.asked, 3);
    assert_int_equal(v.found, 2); /* the store's segment, the oldest, was not opened */
}

static double seconds_for(struct trace_room *r, size_t n)
{
    static const char unit[] = " session=" S1 "\" x@posthouse.test =bob@posthouse.test ";
    struct buf b = BUF(64u << 20);
    struct visits v = { 0 };
    struct timespec from, to;
    struct trace_name name;
    struct trace_lines l;
    for (size_t i = 0; i < n; i++)
        buf_add(&b, str_of(unit, sizeof(unit) - 1));
    buf_addc(&b, '\n');
    put_file(r, "smtp-in.1.trace", buf_str(&b));
    buf_done(&b);
    trace_done(&r->trace);
    assert_int_equal(trace_open(r->dir, &r->trace), 0);
    trace_name_parse(S(S1), &name);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    trace_find_address(&r->trace, S("bob@posthouse.test"), &(struct trace_visitor){ see, find, NULL, &v });
    assert_int_equal(trace_find_id(&r->trace, &name, &l), 0);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    trace_lines_done(&l);
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

/* One endless line full of what is looked for costs no more than its length. */
static void test_linear(void **state)
{
    struct trace_room *r = *state;
    seconds_for(r, 100000);
    double once = seconds_for(r, 100000), twice = seconds_for(r, 200000);
    assert_true(twice < 2.4 * once + 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_segments, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_damage_hides_only_itself, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_messages_in_one_pass, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_a_line_taken_apart, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_address_visits, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_linear, room_set_up, room_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
