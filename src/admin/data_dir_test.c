/* Finding the data folder from a configuration file, and the commands trace and explain from their words to their exit
 * codes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin.h"
#include "admin/trace_test.h"

static char said[4096], printed[65536];

static int redirect(int fd, FILE *to)
{
    fflush(fd == 1 ? stdout : stderr);
    int saved = dup(fd);
    dup2(fileno(to), fd);
    return saved;
}

static void back(int fd, int saved, FILE *from, char *text, size_t size)
{
    fflush(fd == 1 ? stdout : stderr);
    dup2(saved, fd);
    close(saved);
    rewind(from);
    text[fread(text, 1, size - 1, from)] = '\0';
    fclose(from);
}

static int run(admin_command *command, int argc, char **argv)
{
    FILE *out = tmpfile(), *error = tmpfile();
    int saved_out = redirect(1, out), saved_error = redirect(2, error);
    int code = command(argc, argv);
    back(1, saved_out, out, printed, sizeof(printed));
    back(2, saved_error, error, said, sizeof(said));
    return code;
}
#define RUN(command, ...) ({ \
    char *argv_[] = { "x", __VA_ARGS__, NULL }; \
    run(command, (int)ARRAY_LEN(argv_) - 1, argv_); \
})

static char config[128];

/* The room as an instance: ROOM/posthouse.conf, data_directory in ROOM/var/lib, the traces of a submission in it. */
static void make_instance(struct trace_room *r, const char *text, bool with_data)
{
    snprintf(config, sizeof(config), "%s/posthouse.conf", r->path);
    int fd = openat(r->dir, "posthouse.conf", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    if (!with_data)
        return;
    assert_int_equal(mkdirat(r->dir, "var", 0700), 0);
    assert_int_equal(mkdirat(r->dir, "var/lib", 0700), 0);
    assert_int_equal(mkdirat(r->dir, "var/lib/trace", 0700), 0);
    struct trace_room traces = { .dir = openat(r->dir, "var/lib/trace", O_RDONLY | O_DIRECTORY) };
    room_write_submission(&traces);
    close(traces.dir);
}

static void test_commands(void **state)
{
    struct trace_room *r = *state;
    make_instance(r, CONF_TEXT "data_directory var/lib\n", true);
    assert_int_equal(RUN(cmd_trace, "-c", config, S1), 0);
    assert_int_equal(strncmp(printed, "Message " S1 ".1\n", 8 + 26 + 3), 0);
    assert_string_equal(said, "");
    assert_int_equal(RUN(cmd_trace, "-c", config, "--json", "--last=2", "bob@posthouse.test"), 0);
    assert_int_equal(strncmp(printed, "[\n  {\n", 6), 0);
    assert_int_equal(RUN(cmd_explain, "-c", config, "nobody@posthouse.test"), 0);
    assert_non_null(strstr(printed, "Reply        550 5.1.1"));
    assert_int_equal(RUN(cmd_explain, "-c", config, "carol@posthouse.test"), 1);
    assert_string_equal(printed, "");
    assert_int_equal(strncmp(said, "posthouse: explain: no refusal", 30), 0);
}

static void test_words_of_the_commands(void **state)
{
    struct trace_room *r = *state;
    make_instance(r, CONF_TEXT "data_directory var/lib\n", true);
    assert_int_equal(RUN(cmd_trace, "-c", config), EXIT_USAGE);
    assert_int_equal(RUN(cmd_trace, "-c", config, S1, S1), EXIT_USAGE);
    assert_int_equal(RUN(cmd_trace, "-c", config, S1, "--last", "0"), EXIT_USAGE);
    assert_non_null(strstr(said, "--last wants a number from 1 to 1000, not 0"));
    assert_int_equal(RUN(cmd_trace, "-c", config, S1, "--last", "5x"), EXIT_USAGE);
    assert_int_equal(RUN(cmd_explain, "-c", config, S1, "--last", "5"), EXIT_USAGE);
    assert_int_equal(RUN(cmd_trace, "-c", config, "hello"), EXIT_USAGE);
}

static void test_what_can_be_missing(void **state)
{
    struct trace_room *r = *state;
    assert_int_equal(RUN(cmd_trace, "-c", "/nonexistent/posthouse.conf", S1), EXIT_CONFIG);
    assert_non_null(strstr(said, "/nonexistent/posthouse.conf"));
    assert_non_null(strstr(said, "-c FILE"));
    make_instance(r, "hostnam x\n", false);
    assert_int_equal(RUN(cmd_trace, "-c", config, S1), EXIT_CONFIG);
    assert_non_null(strstr(said, "posthouse.conf:1: "));
    make_instance(r, CONF_TEXT "data_directory var/lib\n", false);
    assert_int_equal(RUN(cmd_trace, "-c", config, S1), EXIT_UNAVAILABLE);
    assert_non_null(strstr(said, "var/lib"));
    assert_non_null(strstr(said, "The server makes it when it starts for the first time"));
    make_instance(r, CONF_TEXT "data_directory var/lib\n", true);
    assert_int_equal(unlinkat(r->dir, "var/lib/trace/store.00000001.trace", 0), 0);
    assert_int_equal(unlinkat(r->dir, "var/lib/trace/access.00000001.trace", 0), 0);
    assert_int_equal(unlinkat(r->dir, "var/lib/trace/smtp-in.00000001.trace", 0), 0);
    assert_int_equal(RUN(cmd_trace, "-c", config, S1), 1); /* no trace yet */
    assert_non_null(strstr(said, "in the traces (0 bytes in 0 files); they are kept for"));
    assert_int_equal(unlinkat(r->dir, "var/lib/trace", AT_REMOVEDIR), 0);
    assert_int_equal(RUN(cmd_trace, "-c", config, S1), EXIT_UNAVAILABLE);
}

static void test_paths(void **state)
{
    struct trace_room *r = *state;
    struct admin_data d;
    char text[256], here[256];
    make_instance(r, CONF_TEXT "data_directory var/lib\n", true);
    assert_non_null(getcwd(here, sizeof(here)));
    assert_int_equal(chdir(r->path), 0);
    assert_int_equal(admin_data_dir("x", "posthouse.conf", &d), 0); /* a path without a folder */
    assert_true(str_eq(d.conf->hostname, S("mail.posthouse.test")));
    admin_data_done(&d);
    assert_int_equal(chdir(here), 0);
    snprintf(text, sizeof(text), CONF_TEXT "data_directory %s/var\n", r->path);
    make_instance(r, text, false);
    assert_int_equal(admin_data_dir("x", config, &d), 0); /* an absolute data_directory */
    int fd;
    assert_int_equal(admin_data_subdir(&d, "x", "lib", &fd), 0);
    close(fd);
    admin_data_done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commands, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_words_of_the_commands, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_what_can_be_missing, room_set_up, room_tear_down),
        cmocka_unit_test_setup_teardown(test_paths, room_set_up, room_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
