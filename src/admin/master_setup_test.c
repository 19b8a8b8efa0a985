/* What the master prepares: user, folders, sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include "admin/master.h"

/* A master with the configuration of p, set up to before its folders. */
static void load(struct admin_play *p, struct master *m)
{
    _cleanup_buf_ struct buf error = BUF(8192);
    *m = (struct master){ .config_path = p->conf, .data_fd = -1, .blob_fd = -1, .base_fd = dup(p->dir_fd) };
    assert_int_equal(compile_in_child(p->conf, 1, &m->blob_fd, &error), 0);
    assert_int_equal(compiled_open(m->blob_fd, &m->config), 0);
}

static void unload(struct master *m)
{
    for (size_t i = 0; i < m->n_sockets; i++)
        close(m->sockets[i].fd);
    if (m->data_fd >= 0)
        close(m->data_fd);
    close(m->base_fd);
    close(m->blob_fd);
    compiled_close(&m->config);
}

#define QUIETLY(p, call) do { \
    int saved_ = dup(STDERR_FILENO), err_ = memfd_create("err", 0); \
    dup2(err_, STDERR_FILENO); \
    call; \
    fflush(stderr); \
    dup2(saved_, STDERR_FILENO); \
    close(saved_); \
    play_catch(err_, (p)->err, sizeof((p)->err)); \
} while (0)

static void test_folders(void **state)
{
    (void)state;
    static const char *const names[] = { "data",         "data/log",   "data/log/smtp-in", "data/log/access",
                                         "data/journal", "data/trace", "data/auth" };
    _cleanup_admin_ struct admin_play p;
    struct master m;
    struct stat st;
    admin_play_init(&p);
    for (int again = 0; again < 2; again++) {
        pid_t before = again ? 0 : fork(); /* a start before this one, which ends and so gives up its lock */
        if (before > 0) {
            int status;
            assert_int_equal(waitpid(before, &status, 0), before);
            assert_int_equal(status, 0);
            continue;
        }
        load(&p, &m);
        assert_int_equal(master_user(&m), 0);
        assert_int_equal(master_folders(&m), 0);
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            assert_int_equal(fstatat(p.dir_fd, names[i], &st, AT_SYMLINK_NOFOLLOW), 0);
            assert_int_equal(st.st_mode & 07777, 0700);
            assert_int_equal(st.st_uid, m.uid);
        }
        if (!again)
            _exit(0);
    }
    _cleanup_close_ int log = master_role_folder(&m, ROLE_SMTP_IN), store = master_role_folder(&m, ROLE_STORE);
    _cleanup_close_ int appended = master_role_folder(&m, ROLE_ACCESS);
    assert_true(log >= 0 && store >= 0 && appended >= 0);
    assert_int_equal(master_role_folder(&m, ROLE_SMTP_OUT), -1);
    _cleanup_close_ int accounts = master_open_file(&m, S("accounts"));
    assert_true(accounts >= 0);
    assert_int_equal(master_open_file(&m, STR_NONE), -1);
    assert_int_equal(master_open_file(&m, S("not there")), -1);
    unload(&m);
}

static void test_users(void **state)
{
    (void)state;
    static const struct { const char *line, *want;
    } bad[] = {
        { "run_as no-such-user-here\n", "there is no user" },
        { "run_as root\n", "do not run as root" },
        { "", "run_as is not set" },
    };
    _cleanup_admin_ struct admin_play p;
    char text[1024];
    struct master m;
    admin_play_init(&p);
    load(&p, &m);
    assert_int_equal(master_user(&m), 0);
    assert_true(m.uid != 0);
    assert_int_equal(m.drop, geteuid() == 0);
    unload(&m);
    for (size_t i = 0; geteuid() == 0 && i < ARRAY_LEN(bad); i++) {
        snprintf(text, sizeof(text), "%sdomain example.org { postmaster anna@example.org }\nlisten smtp 127.0.0.1:%u\n",
                 bad[i].line, p.port[0]);
        play_write(&p, "posthouse.conf", text);
        load(&p, &m);
        int r = 0;
        QUIETLY(&p, r = master_user(&m));
        assert_true(r < 0);
        play_says(p.err, bad[i].want);
        unload(&m);
    }
}

static void test_sockets(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    struct master m, second;
    int r = 0;
    admin_play_init(&p);
    load(&p, &m);
    assert_int_equal(master_bind(&m), 0);
    assert_int_equal(m.n_sockets, 2);
    assert_int_equal(fcntl(m.sockets[1].fd, F_GETFD), FD_CLOEXEC);
    load(&p, &second);
    QUIETLY(&p, r = master_bind(&second));
    assert_int_equal(r, -EADDRINUSE);
    play_says(p.err, "posthouse.conf:");
    play_says(p.err, "ss -ltnp");
    unload(&second);
    unload(&m);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
