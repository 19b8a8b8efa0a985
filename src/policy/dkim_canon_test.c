/* Canonical forms: the examples of RFC 6376 3.4.5 and what lies at the edges, whole and byte by byte. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "policy/dkim_canon.h"

struct catcher {
    struct dkim_sink sink;
    struct buf got;
};

static void catch_piece(struct dkim_sink *s, str piece)
{
    struct catcher *c = CONTAINER_OF(s, struct catcher, sink);
    assert_int_equal(buf_add(&c->got, piece), 0);
}

static void body_is(enum dkim_canon how, const char *in, const char *want)
{
    for (size_t step = 1; step <= strlen(in) + 1; step++) {
        struct catcher c = { .sink.write = catch_piece, .got = BUF(65536) };
        struct dkim_body b = { .how = how };
        for (str rest = str_z(in); rest.n; rest = str_from(rest, step))
            dkim_body_feed(&b, str_first(rest, step), &c.sink);
        dkim_body_end(&b, &c.sink);
        if (!str_eq(buf_str(&c.got), str_z(want)))
            fail_msg("%s (step %zu) became \"%.*s\", not \"%s\"", in, step, STR_ARG(buf_str(&c.got)), want);
        buf_done(&c.got);
    }
}

static void bodies(void **state)
{
    (void)state;
    body_is(DKIM_RELAXED, " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n");
    body_is(DKIM_SIMPLE, " C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n");
    body_is(DKIM_RELAXED, "", "");
    body_is(DKIM_SIMPLE, "", "\r\n");
    body_is(DKIM_RELAXED, "\r\n\r\n", "");
    body_is(DKIM_SIMPLE, "\r\n\r\n", "\r\n");
    body_is(DKIM_RELAXED, " \t\r\n \r\n", "");
    body_is(DKIM_SIMPLE, " \r\n", " \r\n");
    body_is(DKIM_RELAXED, "x", "x\r\n");
    body_is(DKIM_SIMPLE, "x", "x\r\n");
    body_is(DKIM_RELAXED, "x \t", "x\r\n");
    body_is(DKIM_RELAXED, "\r\n\r\n a\r\n\r\nb", "\r\n\r\n a\r\n\r\nb\r\n");
    body_is(DKIM_SIMPLE, "\r\n\r\na\r\n", "\r\n\r\na\r\n");
}

static void line_ends(void **state)
{
    (void)state;
    for (int how = DKIM_RELAXED; how <= DKIM_SIMPLE; how++) {
        body_is((enum dkim_canon)how, "a\nb\n\n", "a\r\nb\r\n");
        body_is((enum dkim_canon)how, "a\rb\r\n", "a\rb\r\n");
        body_is((enum dkim_canon)how, "a\r\r\n", "a\r\r\n");
        body_is((enum dkim_canon)how, "a\r", "a\r\r\n");
        body_is((enum dkim_canon)how, "\r", "\r\r\n");
    }
    body_is(DKIM_RELAXED, "a \r b\n", "a \r b\r\n");
}

static void header_is(enum dkim_canon how, const char *in, const char *want)
{
    struct buf out = BUF(65536);
    assert_int_equal(dkim_header_canon(how, str_z(in), &out), 0);
    if (!str_eq(buf_str(&out), str_z(want)))
        fail_msg("%s became \"%.*s\", not \"%s\"", in, STR_ARG(buf_str(&out)), want);
    buf_done(&out);
}

static void headers(void **state)
{
    (void)state;
    header_is(DKIM_RELAXED, "A: X\r\n", "a:X\r\n");
    header_is(DKIM_RELAXED, "B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n");
    header_is(DKIM_SIMPLE, "B : Y\t\r\n\tZ  \r\n", "B : Y\t\r\n\tZ  \r\n");
    header_is(DKIM_RELAXED, "Subject:\r\n", "subject:\r\n");
    header_is(DKIM_RELAXED, "Subject:  \r\n \t x", "subject:x\r\n");
    header_is(DKIM_RELAXED, "S:a\n b\n", "s:a b\r\n");
    header_is(DKIM_SIMPLE, "S:a\n b\n", "S:a\r\n b\r\n");
    header_is(DKIM_RELAXED, "S: a\rb \r\n", "s:a\rb\r\n");
    header_is(DKIM_RELAXED, "no field", "no field\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies), cmocka_unit_test(line_ends), cmocka_unit_test(headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
