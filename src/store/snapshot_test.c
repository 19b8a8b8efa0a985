/* Files that are snapshots, and files that only look like it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/mman.h>
#include "base/pack.h"
#include "store/snapshot_format.h"
#include "store/store_test_world.h"

#define ENTRY SNAPSHOT_HEADER

static int file_of(const char *p, size_t n, int seals)
{
    int fd = memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(segment_pwrite(fd, str_of(p, n), 0), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void test_keywords(void **state)
{
    (void)state;
    char p[SNAPSHOT_HEADER + 16] = "PHsnap2\n";
    const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    struct snapshot s;
    put_u64(p + 40, sizeof(p));
    put_u32(p + 60, 2);
    put_u64(p + 64, SNAPSHOT_HEADER);
    put_u32(p + 72, 15);
    put_u32(p + SNAPSHOT_HEADER, 3);
    memcpy(p + SNAPSHOT_HEADER + 4, "one", 3);
    put_u32(p + SNAPSHOT_HEADER + 7, 4);
    memcpy(p + SNAPSHOT_HEADER + 11, "four", 4);
    assert_int_equal(snapshot_open(file_of(p, sizeof(p), sealed), &s), 0);
    assert_int_equal(s.n_keywords, 2);
    assert_true(str_eq(s.keywords[0], S("one")) && str_eq(s.keywords[1], S("four")));
    snapshot_close(&s);
    static const struct { size_t at; uint32_t value; } bad[] = {
        { 60, 1 }, { 60, 3 }, { 60, 65 }, { 60, UINT32_MAX }, { 64, SNAPSHOT_HEADER + 2 }, { 68, 1u << 31 }, { 72, 14 },
        { 72, UINT32_MAX }, { SNAPSHOT_HEADER + 7, UINT32_MAX },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char q[sizeof(p)];
        memcpy(q, p, sizeof(p));
        put_u32(q + bad[i].at, bad[i].value);
        assert_int_equal(snapshot_open(file_of(q, sizeof(q), sealed), &s), -EBADMSG);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    char p[ENTRY + SNAPSHOT_ENTRY + 3] = "PHsnap2\n";
    const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    struct snapshot s;
    struct mailbox_entry e;
    put_u64(p + 32, 1);
    put_u64(p + 40, sizeof(p));
    put_u64(p + 48, 9);
    put_u32(p + 56, 4);
    put_u32(p + ENTRY + 92, 8);
    put_u64(p + ENTRY + 40, (uint64_t)-2);
    put_u64(p + ENTRY + 96, 1ull << 63);
    put_u64(p + ENTRY + 104, 9);
    put_u32(p + ENTRY + 112, 0xfffe);
    put_u32(p + ENTRY + 68, 3);
    put_u64(p + ENTRY + 72, ENTRY + SNAPSHOT_ENTRY);
    put_u64(p + ENTRY + 8, 3);
    assert_int_equal(snapshot_open(file_of(p, sizeof(p), 0), &s), -EBADMSG); /* could shrink */
    assert_int_equal(snapshot_open(file_of(p, sizeof(p) - 1, sealed), &s), -EBADMSG);
    assert_int_equal(snapshot_open(file_of(p, 10, sealed), &s), -EBADMSG);
    assert_int_equal(snapshot_open(file_of(p, sizeof(p), sealed), &s), 0);
    assert_int_equal(snapshot_entry(&s, 0, &e), 0);
    assert_int_equal(e.prefix.n, 3);
    assert_true(s.modseq == 9 && s.recent == 4 && s.n_keywords == 0);
    assert_true(e.flags == 8 && e.keywords == 1ull << 63 && e.modseq == 9 && e.date_s == -2 && e.date_zone_min == -2);
    assert_int_equal(snapshot_entry(&s, 1, &e), -EBADMSG);
    snapshot_close(&s);
    static const struct { size_t at; uint64_t value; } bad[] = {
        { ENTRY + 72, ENTRY + SNAPSHOT_ENTRY + 1 },
        { ENTRY + 72, UINT64_MAX },
        { ENTRY + 72, 1ull << 63 },
        { ENTRY + 8, 4 },
        { ENTRY + 80, UINT64_MAX },
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
        cmocka_unit_test(test_keywords),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
