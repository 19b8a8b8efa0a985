/* Reading the configuration and all it names from the disk. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "conf/conf_test.h"
#include <errno.h>

struct folder {
    char path[64];
    char main[80];
    struct arena a;
    struct buf bundle;
    struct conf_error error;
};

static void folder_init(struct folder *f)
{
    *f = (struct folder){ .path = "/tmp/posthouse-bundle-XXXXXX", .a = ARENA(CONF_MEMORY_MAX),
                          .bundle = BUF(CONF_BUNDLE_MAX) };
    assert_non_null(mkdtemp(f->path));
    snprintf(f->main, sizeof(f->main), "%s/p.conf", f->path);
}

static void put(const struct folder *f, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void folder_done(struct folder *f)
{
    static const char *const names[] = { "p.conf", "more",  "accounts", "people", "aliases",
                                         "list",   "list2", "t/a",      "t",      "fifo" };
    char path[200];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", f->path, names[i]);
        remove(path);
    }
    assert_int_equal(rmdir(f->path), 0);
    arena_done(&f->a);
    buf_done(&f->bundle);
}

static void make_folder(const struct folder *f, const char *name)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void has(const struct folder *f, const char *name, const char *want)
{
    str content;
    assert_int_equal(conf_bundle_file(buf_str(&f->bundle), str_z(name), &content), 1);
    assert_true(str_eq(content, str_z(want)));
}

static void test_everything_named(void **state)
{
    (void)state;
    struct folder f;
    str content;
    folder_init(&f);
    make_folder(&f, "t");
    put(&f, "p.conf",
        "include more\nlisten smtp *:25 {\n smtpd_client_restrictions check_client_access file:t/a, reject\n}\n");
    put(&f, "more", "accounts people; aliases \"aliases\"\nsecrets secrets\n");
    put(&f, "people", "a@x\n");
    put(&f, "aliases", "b@x: a@x, :include:list,\n  :include:list2\n");
    put(&f, "list", "c@x\n");
    put(&f, "list2", "");
    put(&f, "t/a", "192.0.2.1 OK\n");
    assert_int_equal(conf_bundle_read(&f.a, f.main, &f.bundle, &f.error), 0);
    assert_true(str_eq(conf_bundle_main(buf_str(&f.bundle)), str_z(f.main)));
    has(&f, f.main,
        "include more\nlisten smtp *:25 {\n smtpd_client_restrictions check_client_access file:t/a, reject\n}\n");
    has(&f, "more", "accounts people; aliases \"aliases\"\nsecrets secrets\n");
    has(&f, "people", "a@x\n");
    has(&f, "list", "c@x\n");
    has(&f, "list2", "");
    has(&f, "t/a", "192.0.2.1 OK\n");
    assert_int_equal(conf_bundle_file(buf_str(&f.bundle), S("accounts"), &content), 0);
    assert_int_equal(conf_bundle_file(buf_str(&f.bundle), S("secrets"), &content), 0);
    const struct conf *c;
    assert_int_equal(conf_parse(&f.a, buf_str(&f.bundle), &c, &f.error), 0);
    assert_true(str_eq(c->accounts, S("people")));
    folder_done(&f);
}

static void fails(struct folder *f, int want, const char *want_text)
{
    char text[400];
    buf_clear(&f->bundle);
    assert_int_equal(conf_bundle_read(&f->a, f->main, &f->bundle, &f->error), want);
    snprintf(text, sizeof(text), "%s%s", f->main, want_text);
    assert_string_equal(test_error(&f->a, &f->error), text);
}

static void test_missing(void **state)
{
    (void)state;
    struct folder f;
    folder_init(&f);
    fails(&f, -ENOENT, ": cannot read: No such file or directory");
    put(&f, "p.conf", "\ninclude more\n");
    fails(&f, -ENOENT, ":2: cannot read more: No such file or directory");
    put(&f, "p.conf", "smtpd_client_restrictions reject,\n\n check_helo_access file:t/a\n");
    fails(&f, -ENOENT, ":3: cannot read t/a: No such file or directory");
    put(&f, "p.conf", "accounts people\n");
    fails(&f, -ENOENT, ":1: cannot read people: No such file or directory");
    make_folder(&f, "t");
    put(&f, "p.conf", "accounts t\n");
    fails(&f, -EINVAL, ":1: cannot read t: not a regular file");
    put(&f, "p.conf", "run_as \"x\n");
    fails(&f, -EINVAL, ":1: a quoted word does not end on its line");
    put(&f, "p.conf", "aliases aliases\n");
    put(&f, "aliases", "x: y\nz: :include:list\n");
    buf_clear(&f.bundle);
    assert_int_equal(conf_bundle_read(&f.a, f.main, &f.bundle, &f.error), -ENOENT);
    assert_string_equal(test_error(&f.a, &f.error), "aliases:2: cannot read list: No such file or directory");
    folder_done(&f);
}

static void test_default_accounts(void **state)
{
    (void)state;
    struct folder f;
    folder_init(&f);
    put(&f, "p.conf", "domain x\n");
    assert_int_equal(conf_bundle_read(&f.a, f.main, &f.bundle, &f.error), 0);
    str content;
    assert_int_equal(conf_bundle_file(buf_str(&f.bundle), S("accounts"), &content), 0);
    put(&f, "accounts", "a@x\n");
    buf_clear(&f.bundle);
    assert_int_equal(conf_bundle_read(&f.a, f.main, &f.bundle, &f.error), 0);
    has(&f, "accounts", "a@x\n");
    folder_done(&f);
}

static void test_circle_and_fifo_end(void **state)
{
    (void)state;
    struct folder f;
    char path[200];
    folder_init(&f);
    put(&f, "p.conf", "include more\n");
    put(&f, "more", "include more\n");
    assert_int_equal(conf_bundle_read(&f.a, f.main, &f.bundle, &f.error), 0); /* conf_parse refuses it */
    put(&f, "p.conf", "include fifo\n");
    snprintf(path, sizeof(path), "%s/fifo", f.path);
    assert_int_equal(mkfifo(path, 0600), 0);
    fails(&f, -EINVAL, ":1: cannot read fifo: not a regular file");
    folder_done(&f);
}

static void test_ceiling(void **state)
{
    (void)state;
    struct folder f;
    folder_init(&f);
    put(&f, "p.conf", "# a configuration that does not fit\n");
    f.bundle.max = 100;
    fails(&f, -EFBIG, ": cannot read: the configuration and its files are too large together");
    folder_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_named), cmocka_unit_test(test_missing),
        cmocka_unit_test(test_default_accounts), cmocka_unit_test(test_circle_and_fifo_end),
        cmocka_unit_test(test_ceiling),
    };
    return cmocka_run_group_tests_name("conf_bundle", tests, NULL, NULL);
}
