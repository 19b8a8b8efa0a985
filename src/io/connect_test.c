/* Outgoing connections: addresses, source, refusal, deadline, giving up. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/buf.h"
#include "io/connect.h"

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static struct loop *l;
static struct connect c;
static union connect_address to;
static int listening, got_fd, got_error;
static unsigned calls;

static void done(struct connect *x, int fd, int error)
{
    assert_ptr_equal(x, &c);
    assert_null(c.loop);
    calls++;
    got_fd = fd;
    got_error = error;
}

static int setup(void **state)
{
    (void)state;
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    calls = 0;
    got_fd = -1;
    c = (struct connect){ .done = done };
    listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listening, 0), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&a, &n), 0);
    assert_int_equal(connect_address_parse(S("127.0.0.1"), ntohs(a.sin_port), &to), 0);
    assert_int_equal(loop_new(&env_system, &l), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    connect_cancel(&c);
    loop_free(l);
    close(listening);
    if (got_fd >= 0)
        close(got_fd);
    return 0;
}

static void wait_for_it(void)
{
    for (int i = 0; i < 200 && calls == 0; ++i)
        loop_once(l, 10);
    assert_int_equal(calls, 1);
}

static void test_connects_from_the_source(void **state)
{
    (void)state;
    struct sockaddr_in a;
    socklen_t n = sizeof(a);
    assert_int_equal(connect_begin(&c, l, &to, S("127.0.0.7"), 1000), 0);
    wait_for_it();
    assert_int_equal(got_error, 0);
    assert_int_equal(getsockname(got_fd, (struct sockaddr *)&a, &n), 0);
    assert_int_equal(ntohl(a.sin_addr.s_addr), 0x7f000007);
    connect_cancel(&c);
}

static void test_a_unix_socket(void **state)
{
    (void)state;
    char path[] = "/tmp/posthouse-connect-XXXXXX";
    assert_non_null(mkdtemp(path));
    _cleanup_buf_ struct buf name = BUF(200);
    buf_addf(&name, "%s/s", path);
    union connect_address there;
    assert_int_equal(connect_address_parse(buf_str(&name), 25, &there), 0);
    assert_int_equal(connect_begin(&c, l, &there, STR_NONE, 1000), -ENOENT);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, &there.sa, sizeof(there.local)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(connect_begin(&c, l, &there, STR_NONE, 1000), 0);
    wait_for_it();
    assert_int_equal(got_error, 0);
    close(fd);
    unlink(there.local.sun_path);
    rmdir(path);
    char longest[200];
    memset(longest, '/', sizeof(longest));
    assert_int_equal(connect_address_parse(str_of(longest, 107), 0, &there), 0);
    assert_int_equal(connect_address_parse(str_of(longest, 108), 0, &there), -EINVAL);
    assert_int_equal(connect_address_parse(str_of("/a\0b", 4), 0, &there), -EINVAL);
}

static void test_refused(void **state)
{
    (void)state;
    close(listening);
    listening = -1;
    assert_int_equal(connect_begin(&c, l, &to, STR_NONE, 1000), 0);
    wait_for_it();
    assert_int_equal(got_fd, -1);
    assert_int_equal(got_error, -ECONNREFUSED);
}

static void test_deadline(void **state)
{
    (void)state;
    int queue[3];
    for (int i = 0; i < 3; ++i) { /* fills the listener's queue: the next one gets no answer */
        queue[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(queue[i], &to.sa, sizeof(to.v4));
    }
    loop_once(l, 50);
    assert_int_equal(connect_begin(&c, l, &to, STR_NONE, 50), 0);
    wait_for_it();
    assert_int_equal(got_error, -ETIMEDOUT);
    for (int i = 0; i < 3; ++i)
        close(queue[i]);
}

static void test_given_up(void **state)
{
    (void)state;
    assert_int_equal(connect_begin(&c, l, &to, STR_NONE, 1), 0);
    connect_cancel(&c);
    loop_once(l, 20);
    loop_once(l, 20);
    assert_int_equal(calls, 0);
}

static void test_addresses(void **state)
{
    (void)state;
    union connect_address a;
    assert_int_equal(connect_address_parse(S("2001:db8::1"), 25, &a), 0);
    assert_int_equal(a.sa.sa_family, AF_INET6);
    assert_int_equal(ntohs(a.v6.sin6_port), 25);
    assert_int_equal(connect_address_parse(S(""), 25, &a), -EINVAL);
    assert_int_equal(connect_address_parse(S("[::1]"), 25, &a), -EINVAL);
    assert_int_equal(connect_address_parse(S("127.0.0.1\0x"), 25, &a), -EINVAL);
    assert_int_equal(connect_address_parse(S("mx.example.org"), 25, &a), -EINVAL);
    assert_int_equal(connect_begin(&c, l, &to, S("::1"), 50), -EINVAL);
    assert_int_equal(connect_begin(&c, l, &to, S("192.0.2.1"), 50), -EADDRNOTAVAIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_connects_from_the_source),
        T(test_a_unix_socket),
        T(test_refused),
        T(test_deadline),
        T(test_given_up),
        T(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
