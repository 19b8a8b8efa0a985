/* `posthouse quickstart` as a user meets it: each test runs the command in a child, in a folder of its own, and looks
 * at what is on disk afterwards. As root the roles' user is `nobody`, so that no test makes a user. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "admin/admin.h"
#include "auth/password.h"
#include "conf/accounts.h"
#include "conf/conf.h"
#include "conf/directory.h"

#define NOBODY 65534

static char room[64]; /* folder of the running test */
static char said[16384];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(room, sizeof(room), "/tmp/quickstart-test-XXXXXX");
    return mkdtemp(room) && chmod(room, 0755) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(room, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
    static char path[4][512];
    static unsigned turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", room, name);
    return path[turn];
}

struct how { uid_t uid; bool no_room, interrupted; };

/* Runs the command and keeps what it said on both outputs; returns its exit status. "--local NAME" is put first. */
static int quickstart(struct how how, const char *name, const char *a, const char *b)
{
    char local[512], *argv[] = { "quickstart", "--local", local, (char *)a, (char *)b, NULL, NULL, NULL };
    int argc = a ? 5 : 3;
    snprintf(local, sizeof(local), "%s/%s", room, name);
    if (!a || !str_eq(str_z(a), S("--user")))
        if (geteuid() == 0 && !how.uid) {
            argv[argc++] = "--user";
            argv[argc++] = "nobody";
        }
    int out[2]; /* a pipe holds more than the command ever says */
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        sigset_t stop;
        sigemptyset(&stop);
        sigaddset(&stop, SIGTERM);
        dup2(out[1], 1);
        dup2(out[1], 2);
        if (how.uid && setuid(how.uid) < 0)
            _exit(99);
        if (how.no_room) { /* every write to a file fails with EFBIG */
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &none);
        }
        if (how.interrupted) {
            sigprocmask(SIG_BLOCK, &stop, NULL);
            raise(SIGTERM);
        }
        int r = cmd_quickstart(argc, argv);
        fflush(stdout);
        exit(r);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    close(out[1]);
    ssize_t n = read(out[0], said, sizeof(said) - 1);
    close(out[0]);
    said[MAX(n, 0)] = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static int make(const char *name, const char *a, const char *b)
{
    return quickstart((struct how){ 0 }, name, a, b);
}

static size_t entries_in_room(void)
{
    size_t n = 0;
    DIR *d = opendir(room);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static str slurp(struct arena *a, const char *name)
{
    int fd = open(path_of(name), O_RDONLY);
    assert_true(fd >= 0);
    char *p = arena_alloc(a, 65536);
    ssize_t n = read(fd, p, 65536);
    close(fd);
    assert_true(n >= 0);
    return str_of(p, (size_t)n);
}

static void assert_mode(const char *name, mode_t mode, bool of_roles)
{
    struct stat st;
    assert_int_equal(stat(path_of(name), &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
    assert_int_equal(st.st_uid, geteuid() == 0 && of_roles ? NOBODY : geteuid());
}

static void test_whole_instance(void **state)
{
    (void)state;
    assert_int_equal(make("ph", NULL, NULL), 0);
    assert_int_equal(entries_in_room(), 1);
    assert_mode("ph", 0755, false);
    assert_mode("ph/posthouse.conf", 0644, false);
    assert_mode("ph/aliases", 0644, false);
    assert_mode("ph/accounts", 0600, true);
    assert_mode("ph/secrets", 0600, true);
    assert_mode("ph/accounts.txt", 0600, false);
    assert_mode("ph/data", 0700, true);
    assert_mode("ph/tls", 0755, false);
    assert_mode("ph/tls/ca.pem", 0644, false);
    assert_mode("ph/tls/server.pem", 0644, false);
    assert_mode("ph/tls/server.key", 0600, true);
    struct stat st;
    assert_int_equal(stat(path_of("ph/.system-user"), &st), -1); /* no user was made */
    assert_non_null(strstr(said, "/ph/accounts.txt"));
    assert_non_null(strstr(said, "smtp://127.0.0.1:20025"));
}

/* The files are what the server will read, so they are read as it will. */
static void test_configuration_is_valid(void **state)
{
    (void)state;
    static const struct { enum conf_service service; unsigned port; } want[] = {
        { CONF_SMTP, 31025 }, { CONF_SUBMISSION, 31587 }, { CONF_SUBMISSIONS, 31465 },
        { CONF_LMTP, 31024 }, { CONF_POP3, 31110 }, { CONF_POP3S, 31995 },
        { CONF_IMAP, 31143 },  { CONF_IMAPS, 31993 },
    };
    assert_int_equal(make("ph", "--base-port", "31000"), 0);
    struct arena a = ARENA(8u << 20);
    struct buf bundle = BUF(1u << 20), blob = BUF(1u << 20);
    struct conf_error error = { 0 };
    const struct conf *c = NULL;
    assert_int_equal(conf_bundle_read(&a, path_of("ph/posthouse.conf"), &bundle, &error), 0);
    assert_int_equal(conf_parse(&a, buf_str(&bundle), &c, &error), 0);
    assert_true(str_eq(c->hostname, S("mail.posthouse.test")));
    assert_true(str_eq(c->run_as, geteuid() == 0 ? S("nobody") : S("")));
    assert_int_equal(c->mynetworks.n, 0);
    assert_int_equal(c->trusted_clients.n, 2);
    assert_int_equal(c->lmtp_networks.n, 2);
    assert_int_equal(c->n_domains, 1);
    assert_int_equal(c->n_listeners, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(c->listeners[i].service, want[i].service);
        assert_int_equal(c->listeners[i].port, want[i].port);
        assert_true(str_eq(c->listeners[i].address, S("127.0.0.1")));
    }
    assert_int_equal(directory_compile(&a, buf_str(&bundle), c, 1, &blob, &error), 0);
    struct directory d;
    assert_int_equal(directory_open(buf_str(&blob), &d), 0);
    assert_true(directory_has_account(&d, S("carol@posthouse.test")));
    struct directory_result found = { 0 };
    assert_int_equal(directory_resolve(&d, &a, S("postmaster@posthouse.test"), &found), 0);
    assert_int_equal(found.n_targets, 1);
    assert_true(str_eq(found.targets->address, S("alice@posthouse.test")));
    buf_done(&blob);
    buf_done(&bundle);
    arena_done(&a);
}

static void test_ipv6_and_domain(void **state)
{
    (void)state;
    assert_int_equal(make("ph", "--listen", "::1"), 0);
    struct arena a = ARENA(1u << 20);
    assert_true(str_find(slurp(&a, "ph/posthouse.conf"), S("listen pop3s [::1]:20995")) > 0);
    assert_int_equal(make("other", "--domain", "Mail.Example.ORG"), 0);
    assert_true(str_find(slurp(&a, "other/posthouse.conf"), S("\ndomain mail.example.org\n")) > 0);
    assert_true(str_starts(slurp(&a, "other/accounts"), S("alice@mail.example.org\n")));
    arena_done(&a);
}

static bool readable_password(str s)
{
    if (s.n != 23)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (i % 6 == 5 ? s.p[i] != '-' : s.p[i] < 'a' || s.p[i] > 'z')
            return false;
    return true;
}

static void test_accounts_have_secrets_and_different_passwords(void **state)
{
    (void)state;
    static const char *const names[] = { "alice@posthouse.test", "bob@posthouse.test", "carol@posthouse.test" };
    assert_int_equal(make("ph", NULL, NULL), 0);
    struct arena a = ARENA(1u << 20);
    str lines = slurp(&a, "ph/accounts.txt"), secrets = slurp(&a, "ph/secrets"), before = STR_NONE;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        str line = str_cut(&lines, '\n'), address = str_word(&line), password = str_word(&line);
        assert_true(str_eq(address, str_z(names[i])));
        assert_true(readable_password(password));
        assert_false(str_eq(password, before));
        assert_int_equal(str_find(secrets, password), -1);
        before = password;
        struct account_secret s;
        str secret_line = str_cut(&secrets, '\n');
        assert_int_equal(account_secret_parse(&a, secret_line, &s), 0);
        assert_true(str_eq(s.address, address));
        assert_true(password_check(&s, password));
    }
    assert_int_equal(lines.n, 0);
    arena_done(&a);
}

static void test_a_folder_in_use_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path_of("ph"), 0700), 0);
    FILE *f = fopen(path_of("ph/letter"), "w");
    fputs("mine", f);
    fclose(f);
    assert_int_equal(make("ph", NULL, NULL), EXIT_CANTCREATE);
    assert_non_null(strstr(said, "not an empty folder"));
    assert_int_equal(entries_in_room(), 1);
    struct arena a = ARENA(1u << 20);
    assert_true(str_eq(slurp(&a, "ph/letter"), S("mine")));
    assert_int_equal(make("ph/letter", NULL, NULL), EXIT_CANTCREATE); /* a file */
    assert_int_equal(make("no/such/ph", NULL, NULL), EXIT_CANTCREATE);
    assert_non_null(strstr(said, "No such file"));
    arena_done(&a);
}

static void test_an_empty_folder_is_used(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path_of("ph"), 0700), 0);
    assert_int_equal(make("ph//", NULL, NULL), 0);
    assert_mode("ph/posthouse.conf", 0644, false);
    assert_int_equal(make("new/", NULL, NULL), 0);
    assert_mode("new/posthouse.conf", 0644, false);
    assert_int_equal(entries_in_room(), 2);
}

static void test_wrong_values_make_nothing(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        { "--base-port", "64541" }, { "--base-port", "-1" }, { "--base-port", "x" },
        { "--domain", "a b" }, { "--domain", "" }, { "--domain", "a..b" }, { "--domain", "x.test\nrun_as root" },
        { "--domain", "b\xc3\xbc" "cher.test" }, { "--domain", "10.0.0.1" },
        { "--listen", "localhost" }, { "--listen", "127.0.0.1:25" }, { "--port", "1" }, { "extra", "word" },
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(make("ph", wrong[i][0], wrong[i][1]), EXIT_USAGE);
        assert_int_equal(strncmp(said, "posthouse: quickstart: ", 23), 0);
        assert_int_equal(entries_in_room(), 0);
    }
    assert_int_equal(make("ph", "--base-port", "64540"), 0);
}

static void test_a_failure_leaves_nothing(void **state)
{
    (void)state;
    assert_int_equal(quickstart((struct how){ .no_room = true }, "ph", NULL, NULL), EXIT_CANTCREATE);
    assert_int_equal(entries_in_room(), 0);
    assert_int_equal(quickstart((struct how){ .interrupted = true }, "ph", NULL, NULL), EXIT_CANTCREATE);
    assert_non_null(strstr(said, "interrupted"));
    assert_int_equal(entries_in_room(), 0);
}

static void test_as_an_ordinary_user(void **state)
{
    (void)state;
    struct how nobody = { .uid = geteuid() == 0 ? NOBODY : 0 };
    if (nobody.uid)
        assert_int_equal(quickstart(nobody, "ph", NULL, NULL), EXIT_NOPERM); /* the room is root's */
    assert_int_equal(chmod(room, 0777), 0);
    assert_int_equal(quickstart(nobody, "ph", NULL, NULL), 0);
    struct stat st;
    assert_int_equal(stat(path_of("ph/secrets"), &st), 0);
    assert_int_equal(st.st_uid, nobody.uid ? nobody.uid : geteuid());
    struct arena a = ARENA(1u << 20);
    assert_int_equal(str_find(slurp(&a, "ph/posthouse.conf"), S("run_as")), -1);
    arena_done(&a);
    assert_int_equal(quickstart(nobody, "other", "--user", "root"), EXIT_NOPERM);
    assert_int_equal(entries_in_room(), 1);
}

static void test_root_is_careful(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(make("ph", "--user", "root"), EXIT_USAGE);
    assert_int_equal(make("ph", "--user", "no-such-user"), EXIT_USAGE);
    assert_int_equal(mkdir(path_of("closed"), 0700), 0);
    assert_int_equal(make("closed/ph", NULL, NULL), EXIT_NOPERM);
    assert_non_null(strstr(said, "/closed (mode 0700)"));
    assert_int_equal(chmod(path_of("closed"), 0711), 0);
    assert_int_equal(make("closed/ph", NULL, NULL), 0);
    assert_int_equal(entries_in_room(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole_instance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_configuration_is_valid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ipv6_and_domain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_accounts_have_secrets_and_different_passwords, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_folder_in_use_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_empty_folder_is_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_values_make_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failure_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_as_an_ordinary_user, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_root_is_careful, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
