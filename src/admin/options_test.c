/* Options, complaints and the path of the configuration, through admin.h. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "admin/admin.h"

/* What `call` writes to standard error, as text. */
#define STDERR_OF(text, call) do { \
    fflush(stderr); \
    int saved_ = dup(2); \
    FILE *file_ = tmpfile(); \
    dup2(fileno(file_), 2); \
    call; \
    fflush(stderr); \
    dup2(saved_, 2); \
    close(saved_); \
    rewind(file_); \
    (text)[fread(text, 1, sizeof(text) - 1, file_)] = 0; \
    fclose(file_); \
} while (0)

static int parse(int argc, char **argv, int *out_argc, const char **config, const char **last, bool *json)
{
    const struct admin_option options[] = {
        { "-c", config, NULL }, { "--last", last, NULL }, { "--json", NULL, json },
    };
    *out_argc = argc;
    return admin_options("trace", out_argc, argv, options, 3);
}
#define PARSE(...) \
    char *argv[] = { "trace", __VA_ARGS__, NULL }; \
    int argc = 0; \
    const char *config = NULL, *last = NULL; \
    bool json = false; \
    char said[2048] = ""; \
    int r = -1; \
    STDERR_OF(said, r = parse((int)ARRAY_LEN(argv) - 1, argv, &argc, &config, &last, &json))

static void test_options_and_positionals_mix(void **state)
{
    (void)state;
    PARSE("first", "-c", "a.conf", "--json", "second", "--last=5", "-");
    assert_int_equal(r, 0);
    assert_int_equal(argc, 3);
    assert_string_equal(argv[0], "first");
    assert_string_equal(argv[1], "second");
    assert_string_equal(argv[2], "-");
    assert_string_equal(config, "a.conf");
    assert_string_equal(last, "5");
    assert_true(json);
    assert_string_equal(said, "");
}

static void test_value_forms(void **state)
{
    (void)state;
    PARSE("-cb.conf", "--last", "--json");
    assert_int_equal(r, 0);
    assert_string_equal(config, "b.conf");
    assert_string_equal(last, "--json"); /* a value is whatever comes next */
    assert_false(json);
    assert_int_equal(argc, 0);
}

static void test_empty_value(void **state)
{
    (void)state;
    PARSE("--last=");
    assert_int_equal(r, 0);
    assert_string_equal(last, "");
}

static void test_double_dash_ends_options(void **state)
{
    (void)state;
    PARSE("--", "--json", "-c");
    assert_int_equal(r, 0);
    assert_int_equal(argc, 2);
    assert_string_equal(argv[0], "--json");
    assert_false(json);
    assert_null(config);
}

static void test_unknown_option(void **state)
{
    (void)state;
    PARSE("--jsonx");
    assert_int_equal(r, EXIT_USAGE);
    assert_non_null(strstr(said, "--jsonx"));
    assert_non_null(strstr(said, "usage: posthouse trace ID|ADDRESS"));
}

static void test_missing_value(void **state)
{
    (void)state;
    PARSE("x", "--last");
    assert_int_equal(r, EXIT_USAGE);
    assert_non_null(strstr(said, "--last wants a value"));
}

static void test_flag_with_value(void **state)
{
    (void)state;
    PARSE("--json=yes");
    assert_int_equal(r, EXIT_USAGE);
    assert_false(json);
    assert_non_null(strstr(said, "takes no value"));
}

static void test_help_shows_usage_without_complaint(void **state)
{
    (void)state;
    PARSE("--help");
    assert_int_equal(r, EXIT_USAGE);
    assert_int_equal(strncmp(said, "usage: posthouse trace", 22), 0);
}

static void test_complaint_is_one_safe_line(void **state)
{
    (void)state;
    char said[256];
    STDERR_OF(said, admin_complain("bad %s", "\x1b[2Jname\nposthouse: forged"));
    assert_int_equal(strncmp(said, "posthouse: bad ", 15), 0);
    assert_null(strchr(said, 0x1b));
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void test_config_path(void **state)
{
    (void)state;
    unsetenv("POSTHOUSE_CONFIG");
    assert_string_equal(admin_config_path(NULL), "/etc/posthouse/posthouse.conf");
    assert_string_equal(admin_config_path("x.conf"), "x.conf");
    setenv("POSTHOUSE_CONFIG", "/y.conf", 1);
    assert_string_equal(admin_config_path(NULL), "/y.conf");
    assert_string_equal(admin_config_path("x.conf"), "x.conf");
    setenv("POSTHOUSE_CONFIG", "", 1);
    assert_string_equal(admin_config_path(NULL), "/etc/posthouse/posthouse.conf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_and_positionals_mix),
        cmocka_unit_test(test_value_forms),
        cmocka_unit_test(test_empty_value),
        cmocka_unit_test(test_double_dash_ends_options),
        cmocka_unit_test(test_unknown_option),
        cmocka_unit_test(test_missing_value),
        cmocka_unit_test(test_flag_with_value),
        cmocka_unit_test(test_help_shows_usage_without_complaint),
        cmocka_unit_test(test_complaint_is_one_safe_line),
        cmocka_unit_test(test_config_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
