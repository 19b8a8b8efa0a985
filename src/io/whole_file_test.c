/* Files of every size around the pieces in which they are read, and around the ceiling. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "io/whole_file.h"

/* A file of n bytes, and where its descriptor stands is its end. */
static int file_of(size_t n)
{
    int fd = memfd_create("whole", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < n; i++) {
        char c = (char)(i % 251);
        assert_int_equal(write(fd, &c, 1), 1);
    }
    return fd;
}

static void test_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 8191, 8192, 20000 };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        _cleanup_close_ int fd = file_of(sizes[i]);
        _cleanup_buf_ struct buf out = BUF(1 << 20);
        buf_add(&out, S("of before"));
        for (int again = 0; again < 2; again++) {
            assert_int_equal(whole_file_read(fd, &out), 0);
            assert_int_equal(out.n, sizes[i]);
            for (size_t k = 0; k < out.n; k++)
                assert_int_equal(out.p[k], (char)(k % 251));
        }
    }
}

static void test_ceiling(void **state)
{
    (void)state;
    for (size_t max = 4095; max <= 10001; max += max < 4098 ? 1 : 5903) {
        for (size_t over = 0; over < 2; over++) {
            _cleanup_close_ int fd = file_of(max + over);
            _cleanup_buf_ struct buf out = BUF(max);
            assert_int_equal(whole_file_read(fd, &out), over ? -ENOBUFS : 0);
            assert_int_equal(out.n, max);
        }
    }
}

static void test_errors(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf out = BUF(100), none = BUF(0);
    _cleanup_close_ int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = file_of(1);
    assert_int_equal(whole_file_read(-1, &out), -EBADF);
    assert_int_equal(whole_file_read(folder, &out), -EISDIR);
    assert_int_equal(whole_file_read(fd, &none), -ENOBUFS);
    assert_int_equal(whole_file_read(fd, &out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
