/* Files that are snapshots, and files that only look like it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/mman.h>
#include "base/pack.h"
#include "store/store_test_world.h"

static int file_of(const char *p, size_t n, int seals)
{
    int fd = memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(segment_pwrite(fd, str_of(p, n), 0), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void test_refuses(void **state)
{
    (void)state;
    char p[64 + 96 + 3] = "PHsnap\r\n";
    const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    struct snapshot s;
    struct snapshot_entry e;
    put_u64(p + 32, 1);
    put_u64(p + 40, sizeof(p));
    put_u32(p + 64 + 68, 3);
    put_u64(p + 64 + 72, 160);
    put_u64(p + 64 + 8, 3);
    assert_int_equal(snapshot_open(file_of(p, sizeof(p), 0), &s), -EBADMSG); /* could shrink */
    assert_int_equal(snapshot_open(file_of(p, sizeof(p) - 1, sealed), &s), -EBADMSG);
    assert_int_equal(snapshot_open(file_of(p, 10, sealed), &s), -EBADMSG);
    assert_int_equal(snapshot_open(file_of(p, sizeof(p), sealed), &s), 0);
    assert_int_equal(snapshot_entry(&s, 0, &e), 0);
    assert_int_equal(e.prefix.n, 3);
    assert_int_equal(snapshot_entry(&s, 1, &e), -EBADMSG);
    snapshot_close(&s);
    static const struct { size_t at; uint64_t value; } bad[] = {
        { 64 + 72, 161 }, { 64 + 72, UINT64_MAX }, { 64 + 72, 1ull << 63 }, { 64 + 8, 4 }, { 64 + 80, UINT64_MAX },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char q[sizeof(p)];
        memcpy(q, p, sizeof(p));
        put_u64(q + bad[i].at, bad[i].value);
        assert_int_equal(snapshot_open(file_of(q, sizeof(q), sealed), &s), 0);
        assert_int_equal(snapshot_entry(&s, 0, &e), -EBADMSG);
        snapshot_close(&s);
    }
    put_u64(p + 32, 2); /* more entries than fit */
    assert_int_equal(snapshot_open(file_of(p, sizeof(p), sealed), &s), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
