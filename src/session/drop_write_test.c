/* Writing into the drop: straight into a folder, and what stays behind on failure. The helper is tested by
 * tests/sendmail_test.py. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "io/whole_file.h"
#include "session/drop.h"

static const struct drop_recipient one = { .address = { "anna", 4 } };
static const struct drop_envelope envelope = { .recipients = &one, .n_recipients = 1 };
static char folder_path[64];

static int make_folder(void)
{
    snprintf(folder_path, sizeof(folder_path), "/tmp/posthouse-drop-XXXXXX");
    assert_non_null(mkdtemp(folder_path));
    int fd = open(folder_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int count(int folder)
{
    int n = 0;
    DIR *d = fdopendir(openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void test_a_file(void **state)
{
    (void)state;
    struct drop_writer w;
    struct stat st;
    _cleanup_close_ int folder = make_folder();
    assert_int_equal(drop_begin(&w, folder, &envelope), 0);
    assert_int_equal(fstatat(folder, w.name, &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600); /* nobody takes it yet */
    assert_int_equal(drop_add(&w, S("Subject: x\n\none\r")), 0);
    assert_int_equal(drop_add(&w, S("\ntwo")), 0);
    assert_int_equal(drop_end(&w), 0);
    assert_int_equal(fstatat(folder, w.name, &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0744);
    _cleanup_close_ int fd = openat(folder, w.name, O_RDONLY | O_CLOEXEC);
    _cleanup_buf_ struct buf b = BUF(65536);
    assert_int_equal(whole_file_read(fd, &b), 0);
    size_t length;
    assert_int_equal(drop_head_length(buf_str(&b), &length), 0);
    assert_true(str_eq(str_from(buf_str(&b), length), S("Subject: x\r\n\r\none\r\ntwo")));
    drop_cancel(&w); /* nothing any more */
    assert_int_equal(count(folder), 1);
    unlinkat(folder, w.name, 0);
    rmdir(folder_path);
}

static void test_cancelled(void **state)
{
    (void)state;
    struct drop_writer w, none = { 0 };
    _cleanup_close_ int folder = make_folder();
    assert_int_equal(drop_begin(&w, folder, &envelope), 0);
    assert_int_equal(drop_add(&w, S("text\n")), 0);
    assert_int_equal(count(folder), 1);
    drop_cancel(&w);
    drop_cancel(&none);
    assert_int_equal(count(folder), 0);
    assert_int_equal(drop_begin(&w, folder, &(struct drop_envelope){ 0 }), -EINVAL);
    assert_int_equal(drop_write(folder, &envelope, S("P: x\n"), -1, 0, 5), -EBADF);
    assert_int_equal(count(folder), 0);
    rmdir(folder_path);
}

static void test_no_helper(void **state)
{
    (void)state;
    struct drop_writer w;
    setenv("POSTHOUSE_DROP_HELPER", "/nonexistent/helper", 1);
    assert_int_equal(drop_begin(&w, -1, &envelope), -ENOENT);
    assert_non_null(strstr(w.why, "/nonexistent/helper"));
    setenv("POSTHOUSE_DROP_HELPER", "/bin/false", 1);
    int r = drop_begin(&w, -1, &envelope);
    assert_int_equal(r == 0 ? drop_end(&w) : r, -EIO);
    unsetenv("POSTHOUSE_DROP_HELPER");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_no_helper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
