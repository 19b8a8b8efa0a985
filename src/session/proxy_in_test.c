/* PROXY headers on sockets: nothing behind the header is taken from the socket, however it arrives. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "session/proxy_in.h"

#define HEADER "PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n"

static struct loop *l;
static struct conn c;
static int other;
static struct proxy_header header;
static enum proxy_in result;
static const char *why;
static unsigned calls;

static void on(struct conn *conn)
{
    calls++;
    if (proxy_in_waits(conn))
        result = proxy_in_read(conn, &header, &why);
}

static int setup(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(loop_new(&env_system, &l), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    other = pair[0];
    c = (struct conn){ .on = on };
    result = PROXY_IN_WAIT;
    why = NULL;
    calls = 0;
    assert_int_equal(conn_open(&c, l, pair[1], NULL), 0);
    memcpy(c.address, "127.0.0.4", 10);
    proxy_in_begin(&c);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    conn_close(&c);
    loop_free(l);
    if (other >= 0)
        close(other);
    return 0;
}

static void arrive(str bytes)
{
    assert_int_equal(send(other, bytes.p, bytes.n, 0), bytes.n);
    assert_true(loop_once(l, 1000) >= 0);
}

static void test_the_rest_stays_in_the_socket(void **state)
{
    (void)state;
    char rest[20];
    arrive(S(HEADER "\x16\x03\x01rest"));
    assert_int_equal(result, PROXY_IN_DONE);
    assert_true(header.known);
    assert_string_equal(c.address, "192.0.2.7");
    assert_int_equal(c.port, 4711);
    assert_int_equal(c.in.n, 0);
    assert_false(proxy_in_waits(&c));
    assert_int_equal(recv(c.io.fd, rest, sizeof(rest), 0), 7);
    assert_memory_equal(rest, "\x16\x03\x01rest", 7);
}

static void test_byte_by_byte_without_spinning(void **state)
{
    (void)state;
    str bytes = S(HEADER);
    for (size_t i = 0; i < bytes.n; i++) {
        assert_int_equal(result, PROXY_IN_WAIT);
        arrive(str_of(bytes.p + i, 1));
        assert_true(loop_once(l, 0) >= 0); /* what was seen was taken: nothing more is reported */
        assert_int_equal(calls, i + 1);
    }
    assert_int_equal(result, PROXY_IN_DONE);
    arrive(S("EHLO x\r\n"));
    assert_true(str_eq(buf_str(&c.in), S("EHLO x\r\n"))); /* an ordinary connection from now on */
}

static void test_the_proxy_speaks_for_itself(void **state)
{
    (void)state;
    arrive(S("PROXY UNKNOWN\r\n"));
    assert_int_equal(result, PROXY_IN_DONE);
    assert_false(header.known);
    assert_string_equal(c.address, "127.0.0.4");
}

static void test_mapped_address_is_ipv4(void **state)
{
    (void)state;
    arrive(S("PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n"));
    assert_int_equal(result, PROXY_IN_DONE);
    assert_string_equal(c.address, "192.0.2.9");
}

static void test_no_header(void **state)
{
    (void)state;
    arrive(S("EHLO x\r\n"));
    assert_int_equal(result, PROXY_IN_BAD);
    assert_non_null(why);
    assert_string_equal(c.address, "127.0.0.4");
}

static void test_end_within_the_header(void **state)
{
    (void)state;
    arrive(S("PROXY TCP4 "));
    assert_int_equal(result, PROXY_IN_WAIT);
    close(TAKE_FD(other));
    assert_true(loop_once(l, 1000) >= 0);
    assert_int_equal(result, PROXY_IN_BAD);
    assert_true(c.eof);
}

static void test_more_than_a_header_can_be(void **state)
{
    (void)state;
    char bytes[4000];
    memset(bytes, 'x', sizeof(bytes));
    memcpy(bytes, "\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", 16);
    arrive(str_of(bytes, sizeof(bytes)));
    assert_int_equal(result, PROXY_IN_BAD);
    assert_true(c.in.n <= CONN_HEADER_MAX);
}

static void test_clients_that_are_said(void **state)
{
    (void)state;
    static const char *const wrong[] = { "", "x", "192.0.2", "192.0.2.256", "192.0.2.1 ", "fe80::1%lo",
                                         "1:2:3:4:5:6:7:8:9", "192.0.2.1, 192.0.2.2" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(conn_set_client(&c, str_z(wrong[i]), 1), -EINVAL);
    assert_int_equal(conn_set_client(&c, S("192.0.2.1\0"), 1), -EINVAL);
    assert_string_equal(c.address, "127.0.0.4");
    assert_int_equal(conn_set_client(&c, S("2001:DB8:0:0::1"), 7), 0);
    assert_string_equal(c.address, "2001:db8::1");
    assert_int_equal(c.port, 7);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_the_rest_stays_in_the_socket), T(test_byte_by_byte_without_spinning),
        T(test_the_proxy_speaks_for_itself), T(test_mapped_address_is_ipv4), T(test_no_header),
        T(test_end_within_the_header), T(test_more_than_a_header_can_be), T(test_clients_that_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
