/* Lines of `secrets`, and changes of both files: order of the writes, rights, repair after a crash. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "conf/accounts.h"
#include <errno.h>

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define HASH "$y$j8T$saltsaltsalt$hashhashhash./"
#define LINE(address) address " " HASH " scram-sha-256:65536:c2FsdA==:" KEY ":" KEY

struct folder {
    char path[64], accounts[80], secrets[80];
};

static void folder_init(struct folder *f)
{
    *f = (struct folder){ .path = "/tmp/posthouse-accounts-XXXXXX" };
    assert_non_null(mkdtemp(f->path));
    snprintf(f->accounts, sizeof(f->accounts), "%s/accounts", f->path);
    snprintf(f->secrets, sizeof(f->secrets), "%s/secrets", f->path);
}

/* The folder holds what it should and nothing else. */
static void folder_done(struct folder *f)
{
    char lock[100];
    struct stat st;
    snprintf(lock, sizeof(lock), "%s.lock", f->accounts);
    if (stat(lock, &st) == 0)
        assert_int_equal(st.st_mode & 07777, 0600);
    unlink(lock);
    unlink(f->accounts);
    unlink(f->secrets);
    assert_int_equal(rmdir(f->path), 0);
}

static void put(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void holds(const char *path, const char *want, mode_t mode)
{
    char text[4096];
    struct stat st;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[n] = '\0';
    assert_string_equal(text, want);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static int change(const struct folder *f, enum account_change what, const char *address, const char *line)
{
    const char *file = NULL;
    int r = accounts_change(f->accounts, f->secrets, what, str_z(address), line ? str_z(line) : STR_NONE, &file);
    assert_non_null(file);
    return r;
}

static void test_secret_lines(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(65536);
    struct account_secret s;
    assert_int_equal(account_secret_parse(&a, S(LINE("a@x") "\n"), &s), 0);
    assert_true(str_eq(s.address, S("a@x")));
    assert_true(str_eq(s.hash, S(HASH)));
    assert_true(str_eq(s.salt, S("salt")));
    assert_int_equal(s.iterations, 65536);
    assert_int_equal(s.stored_key.n, 32);
    assert_int_equal(s.stored_key.p[31], 31);
    struct buf b = BUF(4096);
    assert_int_equal(account_secret_format(&b, &s), 0);
    assert_true(str_eq(buf_str(&b), S(LINE("a@x") "\n")));
    buf_done(&b);
    assert_int_equal(account_secret_parse(&a, S("a@x " HASH), &s), 0); /* no SCRAM keys */
    assert_int_equal(s.iterations, 0);
    assert_int_equal(account_secret_parse(&a, S("  # comment"), &s), 0);
    assert_int_equal(s.address.n, 0);
    assert_int_equal(account_secret_parse(&a, S(""), &s), 0);
    assert_int_equal(s.address.n, 0);
}

static void test_broken_secret_lines(void **state)
{
    (void)state;
    static const char *const line[] = {
        "a@x",
        "a@x " HASH " sha:1",
        LINE("a@x") " more",
        "a@x " HASH " scram-sha-256:1:c2FsdA==:" KEY ":" KEY,
        "a@x " HASH " scram-sha-256:99999999:c2FsdA==:" KEY ":" KEY,
        "a@x " HASH " scram-sha-256:65536::" KEY ":" KEY,
        "a@x " HASH " scram-sha-256:65536:c2FsdA==:c2FsdA==:" KEY,
        "a@x " HASH " scram-sha-256:65536:c2FsdA==:" KEY,
        "a@x " HASH " scram-sha-256:65536:c2FsdA:" KEY ":" KEY,
        "a@x\x01 " HASH,
        "a@x " HASH " scram-sha-256:65536:c2FsdA==:" KEY ":" KEY ":",
    };
    _cleanup_arena_ struct arena a = ARENA(65536);
    struct account_secret s = { .iterations = 77 };
    for (size_t i = 0; i < ARRAY_LEN(line); i++)
        if (account_secret_parse(&a, str_z(line[i]), &s) != -EBADMSG || s.iterations != 77)
            fail_msg("%s", line[i]);
}

static void test_life_of_an_account(void **state)
{
    (void)state;
    struct folder f;
    folder_init(&f);
    assert_int_equal(change(&f, ACCOUNT_ADD, "a@x", LINE("a@x") "\n"), 0);
    holds(f.accounts, "a@x\n", 0644);
    holds(f.secrets, LINE("a@x") "\n", 0600);
    assert_int_equal(change(&f, ACCOUNT_ADD, "b@x", LINE("b@x")), 0);
    assert_int_equal(change(&f, ACCOUNT_ADD, "A@x", LINE("A@x")), -EEXIST);
    holds(f.accounts, "a@x\nb@x\n", 0644);
    assert_int_equal(change(&f, ACCOUNT_PASSWD, "a@x", "a@x $y$new"), 0);
    holds(f.secrets, "a@x $y$new\n" LINE("b@x") "\n", 0600);
    assert_int_equal(change(&f, ACCOUNT_PASSWD, "c@x", LINE("c@x")), -ENOENT);
    assert_int_equal(change(&f, ACCOUNT_REMOVE, "a@x", NULL), 0);
    assert_int_equal(change(&f, ACCOUNT_REMOVE, "a@x", NULL), -ENOENT);
    holds(f.accounts, "b@x\n", 0644);
    holds(f.secrets, LINE("b@x") "\n", 0600);
    folder_done(&f);
}

static void test_rest_of_the_files_stays(void **state)
{
    (void)state;
    struct folder f;
    folder_init(&f);
    put(f.accounts, "# people\n\nB@x senders=c@y  # odd\n  d@x", 0640);
    put(f.secrets, "# keys\nb@x old\nd@x old", 0644);
    assert_int_equal(change(&f, ACCOUNT_PASSWD, "b@x", "b@x new"), 0);
    holds(f.accounts, "# people\n\nB@x senders=c@y  # odd\n  d@x\n", 0640);
    holds(f.secrets, "# keys\nb@x new\nd@x old\n", 0600);
    assert_int_equal(change(&f, ACCOUNT_ADD, "e@x", "e@x h"), 0);
    holds(f.accounts, "# people\n\nB@x senders=c@y  # odd\n  d@x\ne@x\n", 0640);
    assert_int_equal(change(&f, ACCOUNT_REMOVE, "D@X", NULL), 0);
    holds(f.accounts, "# people\n\nB@x senders=c@y  # odd\ne@x\n", 0640);
    holds(f.secrets, "# keys\nb@x new\ne@x h\n", 0600);
    folder_done(&f);
}

/* What a crash between the two renames leaves, and that the same command ends the work. */
static void test_repair(void **state)
{
    (void)state;
    struct folder f;
    folder_init(&f);
    put(f.accounts, "", 0644);
    put(f.secrets, "a@x half\n", 0600);
    assert_int_equal(change(&f, ACCOUNT_ADD, "a@x", "a@x whole"), 0);
    holds(f.accounts, "a@x\n", 0644);
    holds(f.secrets, "a@x whole\n", 0600);
    put(f.accounts, "", 0644); /* removal: the account went first */
    assert_int_equal(change(&f, ACCOUNT_REMOVE, "a@x", NULL), 0);
    holds(f.secrets, "", 0600);
    put(f.accounts, "b@x\n", 0644); /* an account without a secret gets one by passwd */
    assert_int_equal(change(&f, ACCOUNT_PASSWD, "b@x", "b@x h"), 0);
    holds(f.secrets, "b@x h\n", 0600);
    char left[120];
    snprintf(left, sizeof(left), "%s.new", f.secrets); /* a new file that was never renamed */
    put(left, "garbage", 0644);
    assert_int_equal(change(&f, ACCOUNT_PASSWD, "b@x", "b@x i"), 0);
    holds(f.secrets, "b@x i\n", 0600);
    assert_int_equal(access(left, F_OK), -1);
    folder_done(&f);
}

static void test_refused(void **state)
{
    (void)state;
    struct folder f;
    folder_init(&f);
    assert_int_equal(change(&f, ACCOUNT_ADD, "a@x", "b@x hash"), -EINVAL);
    assert_int_equal(change(&f, ACCOUNT_ADD, "a@x\nroot@x", "a@x hash"), -EINVAL);
    assert_int_equal(change(&f, ACCOUNT_ADD, "a@x", "a@x hash\nb@x hash"), -EINVAL);
    assert_int_equal(change(&f, ACCOUNT_ADD, "", ""), -EINVAL);
    assert_int_equal(change(&f, ACCOUNT_ADD, "a@x quota=1\nroot@x", "a@x hash"), -EINVAL);
    assert_int_equal(change(&f, ACCOUNT_PASSWD, "a@x quota=1", "a@x hash"), -EINVAL);
    assert_int_equal(change(&f, ACCOUNT_REMOVE, "a@x quota=1", ""), -EINVAL);
    assert_int_equal(change(&f, ACCOUNT_ADD, "#x", "#x hash"), -EINVAL);
    assert_int_equal(change(&f, ACCOUNT_REMOVE, "a@x", "a@x hash"), -EINVAL);
    assert_int_equal(change(&f, ACCOUNT_REMOVE, "a@x", NULL), -ENOENT);
    assert_int_equal(access(f.secrets, F_OK), -1);
    folder_done(&f);
}

/* If the second file cannot be written the first is whole and harmless: a secret without an account. */
static void test_second_write_fails(void **state)
{
    (void)state;
    struct folder f;
    const char *file;
    folder_init(&f);
    char elsewhere[100], obstacle[120];
    snprintf(elsewhere, sizeof(elsewhere), "%s/other", f.path);
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    snprintf(f.secrets, sizeof(f.secrets), "%s/other/s", f.path);
    snprintf(obstacle, sizeof(obstacle), "%s.new", f.accounts); /* a folder where the new file should go */
    assert_int_equal(mkdir(obstacle, 0700), 0);
    assert_true(accounts_change(f.accounts, f.secrets, ACCOUNT_ADD, S("a@x"), S("a@x h"), &file) < 0);
    assert_ptr_equal(file, f.accounts);
    holds(f.secrets, "a@x h\n", 0600);
    assert_int_equal(access(f.accounts, F_OK), -1);
    rmdir(obstacle);
    assert_int_equal(change(&f, ACCOUNT_ADD, "a@x", "a@x h"), 0);
    unlink(f.secrets);
    rmdir(elsewhere);
    folder_done(&f);
}

/* Several processes at once: the lock makes them one after another, so no addition is lost. */
static void test_lock(void **state)
{
    (void)state;
    struct folder f;
    folder_init(&f);
    enum { N = 8 };
    pid_t child[N];
    for (int i = 0; i < N; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] == 0) {
            char address[16], line[32];
            const char *file;
            snprintf(address, sizeof(address), "u%d@x", i);
            snprintf(line, sizeof(line), "u%d@x h", i);
            _exit(accounts_change(f.accounts, f.secrets, ACCOUNT_ADD, str_z(address), str_z(line), &file) ? 1 : 0);
        }
    }
    for (int i = 0; i < N; i++) {
        int status;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    for (int i = 0; i < N; i++) {
        char address[16];
        snprintf(address, sizeof(address), "u%d@x", i);
        assert_int_equal(change(&f, ACCOUNT_REMOVE, address, NULL), 0);
    }
    holds(f.accounts, "", 0644);
    holds(f.secrets, "", 0600);
    folder_done(&f);
}

static void test_symbolic_link(void **state)
{
    (void)state;
    struct folder f;
    char real[100];
    struct stat st;
    folder_init(&f);
    snprintf(real, sizeof(real), "%s/real", f.path);
    put(real, "a@x\n", 0600);
    assert_int_equal(symlink("real", f.accounts), 0);
    assert_int_equal(change(&f, ACCOUNT_ADD, "b@x", "b@x h"), 0);
    holds(real, "a@x\nb@x\n", 0600);
    assert_int_equal(lstat(f.accounts, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    unlink(real);
    folder_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret_lines),
        cmocka_unit_test(test_broken_secret_lines),
        cmocka_unit_test(test_life_of_an_account),
        cmocka_unit_test(test_rest_of_the_files_stays),
        cmocka_unit_test(test_repair),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_second_write_fails),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_symbolic_link),
    };
    umask(022);
    return cmocka_run_group_tests_name("accounts", tests, NULL, NULL);
}
