/* What `posthouse deliver` reads: ends of lines, the mbox line, hops, this host's marks, limits, large messages. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include "admin/deliver_input.h"
#include "message/loop_mark.h"

static const uint8_t key[16] = "0123456789abcdef";
static const str bob = S("bob@b.example");

/* Reads text from a file of its own. */
static int read_text(str text, uint64_t max, struct deliver_input *in)
{
    int fd = memfd_create("input", MFD_CLOEXEC);
    for (str rest = text; rest.n;) {
        ssize_t n = write(fd, rest.p, rest.n);
        assert_true(n > 0);
        rest = str_from(rest, (size_t)n);
    }
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    int r = deliver_read(fd, max, key, &bob, 1, in);
    close(fd);
    return r;
}

static void is(str text, const char *wanted)
{
    char got[256];
    struct deliver_input in;
    assert_int_equal(read_text(text, 1000, &in), 0);
    assert_int_equal(in.length, str_z(wanted).n);
    assert_int_equal(pread(in.fd, got, sizeof(got), 0), in.length);
    assert_memory_equal(got, wanted, in.length);
    close(in.fd);
}

static void test_lines(void **state)
{
    (void)state;
    is(S(""), "");
    is(S("A: b\n\nx"), "A: b\r\n\r\nx\r\n");
    is(S("A: b\r\n\r\nx\r\n"), "A: b\r\n\r\nx\r\n");
    is(S("a\rb\r\r\n\r"), "a\rb\r\r\n\r\r\n");
    is(S("From me Tue\nA: b\n\nFrom x\n"), "A: b\r\n\r\nFrom x\r\n");
    is(S(">From me Tue\nA: b\n"), "A: b\r\n");
    is(S("From me Tue"), "");
    is(S("\nFrom x"), "\r\nFrom x\r\n");
}

static void test_circles(void **state)
{
    (void)state;
    struct deliver_input in;
    _cleanup_buf_ struct buf text = BUF(4096);
    buf_add(&text, S("From x Tue\nRECEIVED: by a\nreceived: by b\n by c\nDelivered-To: bob@b.example\n\n"
                   "Received: d\n"));
    assert_int_equal(read_text(buf_str(&text), 4096, &in), 0);
    assert_int_equal(in.received, 2);
    assert_false(in.loops); /* no mark of ours */
    close(in.fd);
    buf_clear(&text);
    loop_mark_write(&text, key, S("jane@b.example"));
    assert_int_equal(read_text(buf_str(&text), 4096, &in), 0);
    assert_false(in.loops);
    close(in.fd);
    loop_mark_write(&text, key, bob);
    assert_int_equal(read_text(buf_str(&text), 4096, &in), 0);
    assert_true(in.loops);
    close(in.fd);
}

static void test_large(void **state)
{
    (void)state;
    enum { LINES = 700000 };
    struct deliver_input in;
    char end[8];
    _cleanup_buf_ struct buf text = BUF(16 << 20);
    for (int i = 0; i < LINES; i++)
        buf_add(&text, S("12345678\n"));
    assert_int_equal(read_text(buf_str(&text), UINT64_MAX, &in), 0);
    assert_int_equal(in.length, LINES * 10);
    assert_int_equal(pread(in.fd, end, sizeof(end), LINES * 10 - 4), 4);
    assert_memory_equal(end, "78\r\n", 4);
    close(in.fd);
    assert_int_equal(read_text(buf_str(&text), LINES * 10 - 1, &in), -E2BIG);
    close(in.fd);
    assert_int_equal(deliver_read(-1, 1000, NULL, NULL, 0, &in), -EBADF);
    close(in.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines), cmocka_unit_test(test_circles), cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
