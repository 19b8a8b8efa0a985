/* Delivery into Maildirs: the files, their names, what is made, refused and undone, quotas, the sweep. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <sys/resource.h>
#include "base/env.h"
#include "mda/maildir_file.h"
#include "mda/maildir_size.h"
#include "mda/mda_play.h"

#define TEXT "Return-Path: <ann@a.example>\nSubject: x\n\nFrom y\nlast\n"
#define MAIL S("Subject: x\r\nX-UID: 5\r\n\r\nFrom y\r\nlast")

static struct mda_result deliver(struct mda_play *p, const char *mechanism)
{
    struct mda_result r;
    mda_play_deliver(p, MAIL, mechanism, &r);
    return r;
}

/* The files of a folder; the name of the last is kept. */
static size_t count(const struct mda_play *p, const char *folder, char *out_name, size_t size)
{
    DIR *d = opendir(mda_play_path(p, folder));
    size_t n = 0;
    for (const struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        n++;
        if (out_name)
            snprintf(out_name, size, "%s/%s", folder, e->d_name);
    }
    if (d)
        closedir(d);
    return n;
}

static void is_deferred(struct mda_play *p, const char *mechanism, const char *status, const char *why)
{
    struct mda_result r = deliver(p, mechanism);
    if (r.outcome != MDA_DEFERRED || !mda_play_says(&r, why) || !str_eq(str_z(r.status), str_z(status)))
        fail_msg("%s: %s %s, wanted %s %s", mechanism, r.status, r.text, status, why);
}

static void test_delivery(void **state)
{
    (void)state;
    struct mda_play p;
    struct stat st;
    char name[600], end[32];
    mda_play_begin(&p);
    struct mda_result r = deliver(&p, "maildir:~/Maildir/");
    assert_int_equal(r.outcome, MDA_DELIVERED);
    assert_string_equal(r.status, "2.0.0");
    assert_int_equal(count(&p, "Maildir/new", name, sizeof(name)), 1);
    assert_int_equal(count(&p, "Maildir/tmp", NULL, 0), 0);
    mda_play_is(mda_play_read(&p, name), TEXT);
    assert_int_equal(r.bytes, sizeof(TEXT) - 1);
    snprintf(end, sizeof(end), ",S=%zu", sizeof(TEXT) - 1);
    assert_true(str_ends(str_z(name), str_z(end)));
    assert_true(mda_play_says(&r, strrchr(name, '/') + 1));
    static const char *const folders[] = { "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp" };
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        assert_int_equal(stat(mda_play_path(&p, folders[i]), &st), 0);
        assert_int_equal(st.st_mode, S_IFDIR | 0700);
    }
    assert_int_equal(stat(mda_play_path(&p, name), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    for (int i = 0; i < 10; i++)
        assert_int_equal(deliver(&p, "maildir:~/Maildir").outcome, MDA_DELIVERED);
    assert_int_equal(count(&p, "Maildir/new", NULL, 0), 11);
    mda_play_end(&p);
}

static void test_folders(void **state)
{
    (void)state;
    struct mda_play p;
    mda_play_begin(&p);
    assert_int_equal(deliver(&p, "maildir:~/.hidden").outcome, MDA_DELIVERED); /* the home is no Maildir */
    assert_int_equal(access(mda_play_path(&p, ".hidden/maildirfolder"), F_OK), -1);
    is_deferred(&p, "maildir:~/Maildir/.Work", "4.2.0", "cannot be reached");
    assert_int_equal(deliver(&p, "maildir:~/Maildir").outcome, MDA_DELIVERED);
    assert_int_equal(deliver(&p, "maildir:~/Maildir/.Work").outcome, MDA_DELIVERED);
    assert_int_equal(access(mda_play_path(&p, "Maildir/.Work/maildirfolder"), F_OK), 0);
    assert_int_equal(count(&p, "Maildir/.Work/new", NULL, 0), 1);
    /* one that was half made is completed */
    assert_int_equal(mkdir(mda_play_path(&p, "half"), 0700), 0);
    assert_int_equal(mkdir(mda_play_path(&p, "half/tmp"), 0700), 0);
    assert_int_equal(deliver(&p, "maildir:~/half").outcome, MDA_DELIVERED);
    assert_int_equal(access(mda_play_path(&p, "half/cur"), F_OK), 0);
    mda_play_end(&p);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    struct mda_play p;
    mda_play_begin(&p);
    assert_int_equal(deliver(&p, "maildir:~/Maildir").outcome, MDA_DELIVERED);
    assert_int_equal(symlink("Maildir", mda_play_path(&p, "planted")), 0);
    is_deferred(&p, "maildir:~/planted", "4.2.0", "symlink");
    mda_play_write(&p, "file", S(""));
    is_deferred(&p, "maildir:~/file", "4.2.0", "no folder");
    assert_int_equal(chmod(mda_play_path(&p, "Maildir"), 0770), 0);
    is_deferred(&p, "maildir:~/Maildir", "4.2.0", "by others");
    assert_int_equal(chmod(mda_play_path(&p, "Maildir"), 0700), 0);
    assert_int_equal(chmod(mda_play_path(&p, "Maildir/new"), 0707), 0);
    is_deferred(&p, "maildir:~/Maildir", "4.2.0", "new may be written to");
    assert_int_equal(rmdir(mda_play_path(&p, "Maildir/cur")), 0);
    assert_int_equal(rename(mda_play_path(&p, "Maildir/new"), mda_play_path(&p, "elsewhere")), 0);
    assert_int_equal(symlink("../elsewhere", mda_play_path(&p, "Maildir/new")), 0);
    is_deferred(&p, "maildir:~/Maildir", "4.2.0", "symlink");
    if (geteuid() == 0) {
        assert_int_equal(deliver(&p, "maildir:~/his").outcome, MDA_DELIVERED);
        assert_int_equal(chown(mda_play_path(&p, "his"), 12345, 12345), 0);
        is_deferred(&p, "maildir:~/his", "4.2.0", "somebody else");
    }
    mda_play_end(&p);
}

static void test_full_disk_is_undone(void **state)
{
    (void)state;
    struct mda_play p;
    struct rlimit old, limit;
    struct mda_result r;
    mda_play_begin(&p);
    assert_int_equal(deliver(&p, "maildir:~/Maildir").outcome, MDA_DELIVERED);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){ .rlim_cur = 10, .rlim_max = old.rlim_max };
    struct mda_message m = mda_play_message(MAIL);
    struct mechanism into = { .kind = MECHANISM_MAILDIR, .path = S("~/Maildir") };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    mda_batch_deliver(&p.config, &m, &into, &r);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(r.outcome, MDA_DEFERRED);
    assert_string_equal(r.status, "4.2.2");
    m.length++; /* the content is shorter than that */
    mda_batch_deliver(&p.config, &m, &into, &r);
    assert_int_equal(r.outcome, MDA_DEFERRED);
    close(m.fd);
    assert_int_equal(count(&p, "Maildir/new", NULL, 0), 1);
    assert_int_equal(count(&p, "Maildir/tmp", NULL, 0), 0);
    mda_play_end(&p);
}

static void test_maildirsize(void **state)
{
    (void)state;
    struct mda_play p;
    char line[64];
    mda_play_begin(&p);
    assert_int_equal(deliver(&p, "maildir:~/Maildir").outcome, MDA_DELIVERED);
    mda_play_write(&p, "Maildir/maildirsize", S("100000S,3C\n100 1\n"));
    assert_int_equal(deliver(&p, "maildir:~/Maildir").outcome, MDA_DELIVERED);
    snprintf(line, sizeof(line), "100000S,3C\n100 1\n%zu 1\n", sizeof(TEXT) - 1);
    mda_play_is(mda_play_read(&p, "Maildir/maildirsize"), line);
    assert_int_equal(deliver(&p, "maildir:~/Maildir/.Sub").outcome, MDA_DELIVERED); /* the same quota */
    is_deferred(&p, "maildir:~/Maildir", "4.2.2", "full");
    is_deferred(&p, "maildir:~/Maildir/.Sub", "4.2.2", "full");
    /* it was counted anew, all three are there */
    snprintf(line, sizeof(line), "100000S,3C\n%zu 3\n", 3 * (sizeof(TEXT) - 1));
    mda_play_is(mda_play_read(&p, "Maildir/maildirsize"), line);
    mda_play_write(&p, "Maildir/maildirsize", S("10S\n9999 1\n-9990 -1\n"));
    is_deferred(&p, "maildir:~/Maildir", "4.2.2", "full");
    mda_play_write(&p, "Maildir/maildirsize", S("10S\nwhat is this\n"));
    assert_int_equal(deliver(&p, "maildir:~/Maildir").outcome, MDA_DELIVERED); /* no quota is known */
    mda_play_end(&p);
}

static void test_size_parse(void **state)
{
    (void)state;
    struct maildir_size s;
    assert_true(maildir_size_parse(S("1000S,5C\n 100 1\n-20 -1 \n\n0 0\n"), &s));
    assert_int_equal(s.max_bytes, 1000);
    assert_int_equal(s.max_messages, 5);
    assert_int_equal(s.bytes, 80);
    assert_int_equal(s.messages, 0);
    assert_int_equal(s.lines, 3);
    assert_true(maildir_size_parse(S(""), &s));
    assert_int_equal(s.max_bytes, 0);
    static const char *const wrong[] = { "5X", "S", "1S,\n", "99999999999999999999S", "1S\nx 1", "1S\n1", "1S\n--1 1",
                                         "1S\n4611686018427387903 1\n4611686018427387903 1\n4611686018427387903 1\n" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(maildir_size_parse(str_z(wrong[i]), &s), i == 2 ? true : false);
}

static void test_sweep(void **state)
{
    (void)state;
    struct mda_play p;
    int64_t now = (int64_t)(env_system.wall_us() / 1000000);
    mda_play_begin(&p);
    assert_int_equal(deliver(&p, "maildir:~/Maildir").outcome, MDA_DELIVERED);
    mda_play_write(&p, "Maildir/tmp/old", S("x"));
    mda_play_write(&p, "Maildir/tmp/young", S("x"));
    struct timespec t[2] = { { .tv_sec = now - MAILDIR_TMP_S - 10 }, { .tv_sec = now - MAILDIR_TMP_S - 10 } };
    assert_int_equal(utimensat(AT_FDCWD, mda_play_path(&p, "Maildir/tmp/old"), t, 0), 0);
    int fd = open(mda_play_path(&p, "Maildir/tmp"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(maildir_sweep(fd, now), 1);
    assert_int_equal(maildir_sweep(fd, now), 0);
    close(fd);
    assert_int_equal(access(mda_play_path(&p, "Maildir/tmp/young"), F_OK), 0);
    mda_play_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivery),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_full_disk_is_undone),
        cmocka_unit_test(test_maildirsize),
        cmocka_unit_test(test_size_parse),
        cmocka_unit_test(test_sweep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
