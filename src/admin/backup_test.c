/* The files and the manifest of a backup. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "admin/backup.h"
#include "base/hash.h"

static int folder(char path[64])
{
    snprintf(path, 64, "/tmp/posthouse-backup-XXXXXX");
    assert_non_null(mkdtemp(path));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int file(int dir, const char *name, str content, off_t size)
{
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    assert_int_equal(write(fd, content.p, content.n), content.n);
    assert_int_equal(ftruncate(fd, size), 0);
    return fd;
}

static void test_copy(void **state)
{
    (void)state;
    char path[64];
    struct backup_sum sum, again;
    struct stat st;
    int dir = folder(path);
    int fd = file(dir, "a", S("hello"), 5);
    assert_int_equal(backup_copy(fd, dir, "x/y/a", false, &sum), 0);
    assert_int_equal(sum.size, 5);
    assert_int_equal(sum.crc, crc32c(0, S("hello")));
    assert_int_equal(fstatat(dir, "x/y/a", &st, 0), 0);
    assert_true(st.st_size == 5 && (st.st_mode & 0777) == 0640);
    assert_int_equal(backup_copy(fd, dir, "x/y/a", false, &sum), -EEXIST);
    close(fd);
    fd = file(dir, "b", S("head"), 1 << 20); /* a preallocated segment */
    assert_int_equal(pwrite(fd, "tail", 4, 600000), 4);
    assert_int_equal(backup_copy(fd, dir, "trimmed", true, &sum), 0);
    assert_in_range(sum.size, 600004, (1 << 20) - 1);
    close(fd);
    fd = openat(dir, "trimmed", O_RDONLY | O_CLOEXEC);
    assert_int_equal(backup_sum(fd, &again), 0);
    assert_true(again.size == sum.size && again.crc == sum.crc);
    char tail[4];
    assert_int_equal(pread(fd, tail, 4, 600000), 4);
    assert_memory_equal(tail, "tail", 4);
    close(fd);
    fd = file(dir, "c", S(""), 1 << 20);
    assert_int_equal(backup_copy(fd, dir, "zeros", true, &sum), 0);
    assert_int_equal(sum.size, 0);
    close(fd);
    const char *const names[] = { "a", "b", "c", "trimmed", "zeros", "x/y/a" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlinkat(dir, names[i], 0);
    unlinkat(dir, "x/y", AT_REMOVEDIR);
    unlinkat(dir, "x", AT_REMOVEDIR);
    close(dir);
    assert_int_equal(rmdir(path), 0);
}

static void test_empty_folder(void **state)
{
    (void)state;
    char path[64];
    int dir = folder(path), fd;
    assert_int_equal(backup_open_empty(path, &fd), 0);
    close(fd);
    close(file(dir, ".hidden", S("x"), 1));
    assert_int_equal(backup_open_empty(path, &fd), -ENOTEMPTY);
    unlinkat(dir, ".hidden", 0);
    close(dir);
    rmdir(path);
}

static void test_paths(void **state)
{
    (void)state;
    const char *const good[] = { "a", "data/log/smtp-in/0.log", "a..b", ".a" };
    const char *const bad[] = { "", "/a", "a/", "a//b", "../a", "a/../b", "a/..", ".", "a\nb" };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(backup_path_valid(str_z(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(backup_path_valid(str_z(bad[i])));
}

static void test_manifest(void **state)
{
    (void)state;
    struct backup_line line;
    str rest = S("data my data\nfile 00c0ffee 12 data/a b\nend 1\n");
    assert_int_equal(backup_manifest_next(&rest, &line), 1);
    assert_true(line.kind == BACKUP_DATA && str_eq(line.path, S("my data")));
    assert_int_equal(backup_manifest_next(&rest, &line), 1);
    assert_true(line.kind == BACKUP_FILE && line.sum.crc == 0xc0ffee && line.sum.size == 12 &&
                str_eq(line.path, S("data/a b")));
    assert_int_equal(backup_manifest_next(&rest, &line), 1);
    assert_true(line.kind == BACKUP_END && line.count == 1);
    assert_int_equal(backup_manifest_next(&rest, &line), 0);
    const char *const bad[] = { "end 1", "file 0 1 ../x\n", "file 100000000 1 x\n", "file 0 x y\n", "file 0  x\n",
                                "file 0 1\n", "file 0 1 \n", "what\n", "end\n", "end x\n", "data \n", "\n",
                                "file 0 99999999999999999999 x\n" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        rest = str_z(bad[i]);
        assert_int_equal(backup_manifest_next(&rest, &line), -EBADMSG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_empty_folder),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_manifest),
    };
    return cmocka_run_group_tests_name("backup", tests, NULL, NULL);
}
