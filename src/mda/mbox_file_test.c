/* Appending to an mbox: the text, what is refused, both locks in either order, what is undone. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "base/env.h"
#include "mda/mbox_file.h"
#include "mda/mda_play.h"

#define TEXT "From ann@a.example Tue Nov 24 08:00:00 2026\nReturn-Path: <ann@a.example>\n" \
             "Subject: x\n\n>From y\nlast\n\n"
#define MAIL S("Subject: x\r\nStatus: RO\r\n\r\nFrom y\r\nlast")

static struct mda_result deliver(struct mda_play *p, const char *mechanism)
{
    struct mda_result r;
    mda_play_deliver(p, MAIL, mechanism, &r);
    return r;
}

static void is_deferred(struct mda_play *p, const char *mechanism, const char *status, const char *why)
{
    struct mda_result r = deliver(p, mechanism);
    if (r.outcome != MDA_DEFERRED || !mda_play_says(&r, why) || !str_eq(str_z(r.status), str_z(status)))
        fail_msg("%s: %s %s, wanted %s %s", mechanism, r.status, r.text, status, why);
}

static void test_append(void **state)
{
    (void)state;
    struct mda_play p;
    struct stat st;
    mda_play_begin(&p);
    struct mda_result r = deliver(&p, "mbox:~/box");
    assert_int_equal(r.outcome, MDA_DELIVERED);
    assert_string_equal(r.status, "2.0.0");
    assert_true(mda_play_says(&r, "/box"));
    assert_int_equal(stat(mda_play_path(&p, "box"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(st.st_atim.tv_sec < st.st_mtim.tv_sec);
    mda_play_is(mda_play_read(&p, "box"), TEXT);
    assert_int_equal(r.bytes, sizeof(TEXT) - 1);
    assert_int_equal(deliver(&p, mda_play_path(&p, "box")).outcome, MDA_DELIVERED);
    mda_play_is(mda_play_read(&p, "box"), TEXT TEXT);
    assert_int_equal(access(mda_play_path(&p, "box.lock"), F_OK), -1);
    assert_int_equal(deliver(&p, "/dev/null").outcome, MDA_DELIVERED);
    mda_play_end(&p);
}

static void test_ends_are_mended(void **state)
{
    (void)state;
    struct mda_play p;
    mda_play_begin(&p);
    mda_play_write(&p, "box", S("From x\n\nbody"));
    assert_int_equal(deliver(&p, "mbox:~/box").outcome, MDA_DELIVERED);
    mda_play_is(mda_play_read(&p, "box"), "From x\n\nbody\n\n" TEXT);
    mda_play_write(&p, "box", S("From x\n\nbody\n"));
    assert_int_equal(deliver(&p, "mbox:~/box").outcome, MDA_DELIVERED);
    mda_play_is(mda_play_read(&p, "box"), "From x\n\nbody\n\n" TEXT);
    mda_play_write(&p, "box", S("a letter"));
    is_deferred(&p, "mbox:~/box", "4.2.0", "no mbox");
    mda_play_write(&p, "box", S("From"));
    is_deferred(&p, "mbox:~/box", "4.2.0", "no mbox");
    mda_play_end(&p);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    struct mda_play p;
    mda_play_begin(&p);
    mda_play_write(&p, "real", S(""));
    assert_int_equal(symlink("real", mda_play_path(&p, "planted")), 0);
    is_deferred(&p, "mbox:~/planted", "4.2.0", "symlink");
    assert_int_equal(symlink("nowhere", mda_play_path(&p, "dangling")), 0);
    is_deferred(&p, "mbox:~/dangling", "4.2.0", "symlink");
    assert_int_equal(link(mda_play_path(&p, "real"), mda_play_path(&p, "second")), 0);
    is_deferred(&p, "mbox:~/second", "4.2.0", "hard links");
    assert_int_equal(mkdir(mda_play_path(&p, "folder"), 0700), 0);
    is_deferred(&p, "mbox:~/folder", "4.2.0", "cannot be opened");
    assert_int_equal(mkfifo(mda_play_path(&p, "fifo"), 0600), 0);
    is_deferred(&p, "mbox:~/fifo", "4.2.0", "no regular file");
    is_deferred(&p, "mbox:/dev/zero", "4.2.0", "no regular file");
    mda_play_write(&p, "group", S(""));
    assert_int_equal(chmod(mda_play_path(&p, "group"), 0660), 0);
    is_deferred(&p, "mbox:~/group", "4.2.0", "group may write");
    assert_int_equal(chmod(mda_play_path(&p, "group"), 0602), 0);
    is_deferred(&p, "mbox:~/group", "4.2.0", "everybody may write");
    is_deferred(&p, "mbox:~/not/there", "4.2.0", "cannot be reached");
    assert_int_equal(chmod(mda_play_path(&p, "folder"), 0707), 0);
    is_deferred(&p, "mbox:~/folder/box", "4.3.5", "by everybody");
    mda_play_is(mda_play_read(&p, "real"), "");
    p.user.home = STR_NONE;
    is_deferred(&p, "mbox:~/box", "4.3.5", "no home");
    p.user.home = S("/tmp/posthouse-mda-no-such-home");
    is_deferred(&p, "mbox:~/box", "4.2.0", "cannot be reached");
    mda_play_end(&p);
}

static void test_foreign_owners(void **state)
{
    (void)state;
    struct mda_play p;
    if (geteuid() != 0)
        skip();
    mda_play_begin(&p);
    mda_play_write(&p, "box", S(""));
    assert_int_equal(chown(mda_play_path(&p, "box"), 12345, 0), 0);
    is_deferred(&p, "mbox:~/box", "4.2.0", "somebody else");
    /* a folder of somebody else, and a symlink of his in the way */
    assert_int_equal(mkdir(mda_play_path(&p, "his"), 0755), 0);
    assert_int_equal(chown(mda_play_path(&p, "his"), 12345, 0), 0);
    is_deferred(&p, "mbox:~/his/box", "4.3.5", "somebody else");
    assert_int_equal(mkdir(mda_play_path(&p, "mine"), 0755), 0);
    assert_int_equal(symlink("mine", mda_play_path(&p, "way")), 0);
    assert_int_equal(deliver(&p, "mbox:~/way/box").outcome, MDA_DELIVERED);
    assert_int_equal(lchown(mda_play_path(&p, "way"), 12345, 0), 0);
    is_deferred(&p, "mbox:~/way/box", "4.3.5", "symlink of somebody else");
    /* the custom of /var/mail: 0660 bob:mail in a folder that is root's and setgid */
    assert_int_equal(mkdir(mda_play_path(&p, "mail"), 0755), 0);
    assert_int_equal(chown(mda_play_path(&p, "mail"), 0, 8), 0);
    assert_int_equal(chmod(mda_play_path(&p, "mail"), 02775), 0);
    mda_play_write(&p, "mail/box", S(""));
    assert_int_equal(chown(mda_play_path(&p, "mail/box"), 12345, 8), 0);
    assert_int_equal(chmod(mda_play_path(&p, "mail/box"), 0660), 0);
    assert_int_equal(chmod(p.home, 0755), 0);
    p.user.uid = 12345;
    assert_int_equal(deliver(&p, "mbox:~/mail/box").outcome, MDA_DELIVERED);
    assert_int_equal(chown(mda_play_path(&p, "mail/box"), 12345, 9), 0);
    is_deferred(&p, "mbox:~/mail/box", "4.2.0", "group may write");
    mda_play_end(&p);
}

/* A process that holds locks until it is told to end. which: 'f' fcntl, 'd' dotlock, or both in the order named. */
static pid_t hold(const struct mda_play *p, const char *which, int tell[2])
{
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(tell), 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (const char *w = which; *w; w++) {
            if (*w == 'd') {
                char text[32];
                snprintf(text, sizeof(text), "%d\n", (int)getpid());
                mda_play_write(p, "box.lock", str_z(text));
            } else {
                int fd = open(mda_play_path(p, "box"), O_RDWR | O_CREAT, 0600);
                struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
                if (fd < 0 || fcntl(fd, F_SETLK, &l) < 0)
                    _exit(1);
            }
        }
        close(tell[1]);
        if (write(ready[1], "x", 1) != 1 || read(tell[0], &c, 1) < 0)
            _exit(1);
        if (which[0] == 'd' || which[1] == 'd')
            unlink(mda_play_path(p, "box.lock"));
        _exit(0);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    close(ready[1]);
    close(tell[0]);
    return pid;
}

static void test_locks_in_either_order(void **state)
{
    (void)state;
    static const char *const orders[] = { "f", "d", "fd", "df" };
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        struct mda_play p;
        int tell[2];
        char who[64];
        mda_play_begin(&p);
        mda_play_write(&p, "box", S(TEXT));
        pid_t pid = hold(&p, orders[i], tell);
        struct mda_result r = deliver(&p, "mbox:~/box");
        assert_int_equal(r.outcome, MDA_DEFERRED);
        assert_string_equal(r.status, "4.2.0");
        snprintf(who, sizeof(who), "process %d", (int)pid);
        assert_true(mda_play_says(&r, who));
        mda_play_is(mda_play_read(&p, "box"), TEXT);
        assert_int_equal(access(mda_play_path(&p, "box.lock"), F_OK), str_chr(str_z(orders[i]), 'd') >= 0 ? 0 : -1);
        /* it goes while we wait */
        p.config.lock_wait_ms = 20000;
        pid_t teller = fork();
        if (teller == 0) {
            usleep(200000);
            _exit(0);
        }
        close(teller > 0 ? tell[1] : -1); /* the child has the other end of the pipe until it is over */
        assert_int_equal(deliver(&p, "mbox:~/box").outcome, MDA_DELIVERED);
        assert_int_equal(waitpid(teller, NULL, 0), teller);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        mda_play_is(mda_play_read(&p, "box"), TEXT TEXT);
        mda_play_end(&p);
    }
}

static void set_age(const struct mda_play *p, const char *name, int64_t seconds)
{
    int64_t then = (int64_t)(env_system.wall_us() / 1000000) - seconds;
    struct timespec t[2] = { { .tv_sec = then }, { .tv_sec = then } };
    assert_int_equal(utimensat(AT_FDCWD, mda_play_path(p, name), t, 0), 0);
}

static void test_stale_dotlocks(void **state)
{
    (void)state;
    struct mda_play p;
    char dead[32], alive[32];
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    snprintf(dead, sizeof(dead), "%d\n", (int)pid);
    snprintf(alive, sizeof(alive), "%d\n", (int)getpid());
    const struct { str text; int64_t age; bool broken; } rows[] = {
        { str_z(dead), 30, false }, { str_z(dead), 700, true }, { str_z(alive), 9000, false },
        { S("77777777:another.host.example"), 90000, false }, { S(""), 700, false }, { S(""), 2000, true },
        { S("0"), 2000, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        mda_play_begin(&p);
        p.config.lock_wait_ms = 30;
        mda_play_write(&p, "box.lock", rows[i].text);
        set_age(&p, "box.lock", rows[i].age);
        assert_int_equal(deliver(&p, "mbox:~/box").outcome, rows[i].broken ? MDA_DELIVERED : MDA_DEFERRED);
        assert_int_equal(access(mda_play_path(&p, "box.lock"), F_OK), rows[i].broken ? -1 : 0);
        mda_play_end(&p);
    }
}

/* What a delivery that was killed leaves: its lock with the note, and a part of its message. */
static void leave(const struct mda_play *p, uint64_t size, const char *from)
{
    char text[512], host[65] = "";
    gethostname(host, sizeof(host) - 1);
    snprintf(text, sizeof(text), "%d:%s\nappend %llu %s", 2000000000, host, (unsigned long long)size, from);
    mda_play_write(p, "box.lock", str_z(text));
}

static void test_killed_append_is_undone(void **state)
{
    (void)state;
    static const char from[] = "From torn@x Tue Nov 24 08:00:00 2026\n";
    static const struct { const char *tail; bool kept; } rows[] = {
        { "From torn@x Tue Nov 24 08:00:00 2026\nSubject: half", false },
        { "From torn", false },
        { "\n\nFrom torn@x Tue Nov 24 08:00:00 2026\n", false },
        { "\n", false },
        { "From torn@x Tue Nov 24 08:00:00 2026\nA: b\n\nx\n\n", false }, /* whole, but nobody was told */
        { "From torn@x Tue Nov 24 08:00:00 2026\nA: b\n\nx\n\nFrom other Tue Nov 24 08:00:01 2026\n\ny\n\n", true },
        { "From else@x Tue Nov 24 08:00:00 2026\nA: b\n\nx\n\n", true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct mda_play p;
        _cleanup_buf_ struct buf box = BUF(4096);
        mda_play_begin(&p);
        buf_add(&box, S(TEXT));
        buf_add(&box, str_z(rows[i].tail));
        mda_play_write(&p, "box", buf_str(&box));
        leave(&p, sizeof(TEXT) - 1, from);
        assert_int_equal(deliver(&p, "mbox:~/box").outcome, MDA_DELIVERED);
        if (!rows[i].kept) {
            buf_clear(&box);
            buf_add(&box, S(TEXT));
        }
        buf_add(&box, S(TEXT));
        assert_true(str_eq(mda_play_read(&p, "box"), buf_str(&box)));
        assert_int_equal(access(mda_play_path(&p, "box.lock"), F_OK), -1);
        mda_play_end(&p);
    }
}

static void test_a_note_of_a_stranger_is_none(void **state)
{
    (void)state;
    struct mda_play p;
    if (geteuid() != 0)
        skip();
    mda_play_begin(&p);
    mda_play_write(&p, "box", S(TEXT));
    leave(&p, 0, "From ann@a.example Tue Nov 24 08:00:00 2026\n");
    assert_int_equal(chown(mda_play_path(&p, "box.lock"), 12345, 0), 0);
    p.config.lock_wait_ms = 30;
    assert_int_equal(deliver(&p, "mbox:~/box").outcome, MDA_DEFERRED);
    mda_play_is(mda_play_read(&p, "box"), TEXT);
    mda_play_end(&p);
}

static void test_full_disk_is_undone(void **state)
{
    (void)state;
    struct mda_play p;
    struct rlimit old, limit;
    struct mda_result r;
    mda_play_begin(&p);
    mda_play_write(&p, "box", S(TEXT));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t n = 0; n < 2; n++) {
        limit = (struct rlimit){ .rlim_cur = sizeof(TEXT) - 1 + n * 20, .rlim_max = old.rlim_max };
        assert_int_equal(deliver(&p, "mbox:~/other").outcome, MDA_DELIVERED); /* ignores SIGXFSZ from now on */
        unlink(mda_play_path(&p, "other"));
        struct mda_message m = mda_play_message(MAIL);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        struct mechanism box = { .kind = MECHANISM_MBOX, .path = S("~/box") };
        mda_batch_deliver(&p.config, &m, &box, &r);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        close(m.fd);
        assert_int_equal(r.outcome, MDA_DEFERRED);
        assert_string_equal(r.status, "4.2.2");
        assert_int_equal(r.code, 452);
        mda_play_is(mda_play_read(&p, "box"), TEXT);
    }
    mda_play_end(&p);
}

static void test_content_that_breaks_off(void **state)
{
    (void)state;
    struct mda_play p;
    struct mda_result r;
    _cleanup_buf_ struct buf large = BUF(2 << 20);
    mda_play_begin(&p);
    mda_play_write(&p, "box", S(TEXT));
    for (int i = 0; i < 50000; i++)
        buf_add(&large, S("some line of text\r\n"));
    struct mda_message m = mda_play_message(buf_str(&large));
    struct mechanism box = { .kind = MECHANISM_MBOX, .path = S("~/box") };
    m.length++;
    mda_batch_deliver(&p.config, &m, &box, &r);
    assert_int_equal(r.outcome, MDA_DEFERRED);
    mda_play_is(mda_play_read(&p, "box"), TEXT);
    m.length--;
    mda_batch_deliver(&p.config, &m, &box, &r);
    assert_int_equal(r.outcome, MDA_DELIVERED);
    assert_int_equal(mda_play_read(&p, "box").n, sizeof(TEXT) - 1 + r.bytes);
    close(m.fd);
    mda_play_end(&p);
}

static void test_folder_without_a_lock_file(void **state)
{
    (void)state;
    struct mda_play p;
    if (geteuid() != 0)
        skip();
    mda_play_begin(&p);
    assert_int_equal(mkdir(mda_play_path(&p, "mail"), 0755), 0);
    mda_play_write(&p, "mail/box", S(""));
    assert_int_equal(chmod(p.home, 0755), 0);
    assert_int_equal(chown(mda_play_path(&p, "mail/box"), 12345, 12345), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct mda_result r;
        if (setresgid(12345, 12345, 12345) < 0 || setresuid(12345, 12345, 12345) < 0)
            _exit(1);
        p.user.uid = p.user.gid = 12345;
        mda_play_deliver(&p, MAIL, "mbox:~/mail/box", &r);
        _exit(r.outcome == MDA_DELIVERED && mda_play_says(&r, "fcntl alone") ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    mda_play_is(mda_play_read(&p, "mail/box"), TEXT);
    mda_play_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_ends_are_mended),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_foreign_owners),
        cmocka_unit_test(test_locks_in_either_order),
        cmocka_unit_test(test_stale_dotlocks),
        cmocka_unit_test(test_killed_append_is_undone),
        cmocka_unit_test(test_a_note_of_a_stranger_is_none),
        cmocka_unit_test(test_full_disk_is_undone),
        cmocka_unit_test(test_content_that_breaks_off),
        cmocka_unit_test(test_folder_without_a_lock_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
