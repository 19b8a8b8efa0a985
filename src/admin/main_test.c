/* The program as it is linked: commands by name, help, exit codes. It stands beside the folder of this test. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"

static char program[512];

static int setup(void **state)
{
    (void)state;
    char self[400];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    str folder = str_of(self, n > 0 ? (size_t)n : 0);
    for (int up = 0; up < 2; up++)
        folder = str_first(folder, (size_t)MAX(str_rchr(folder, '/'), (ptrdiff_t)0));
    snprintf(program, sizeof(program), "%.*s/posthouse", STR_ARG(folder));
    return 0;
}

static char said[65536], complained[65536];

static int run(char **argv)
{
    int out = memfd_create("out", 0), err = memfd_create("err", 0), status;
    if (access(program, X_OK) < 0)
        skip();
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        alarm(20);
        execv(program, argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    play_catch(out, said, sizeof(said));
    play_catch(err, complained, sizeof(complained));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
#define RUN(...) run((char *[]){ (char *)"posthouse", __VA_ARGS__, NULL })

static void test_help_names_every_command(void **state)
{
    (void)state;
    static const struct { const char *name, *usage; } commands[] = {
#define COMMAND(name, function, usage, doc) { name, usage },
#include "admin/commands.def"
#undef COMMAND
    };
    assert_int_equal(RUN("help"), 0);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        play_says(said, commands[i].name);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        assert_int_equal(RUN("help", (char *)commands[i].name), 0);
        play_says(said, commands[i].usage);
    }
    assert_int_equal(RUN("--help"), 0);
    assert_int_equal(RUN("help", "nothing"), EXIT_USAGE);
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(RUN("version"), 0);
    play_says(said, "posthouse ");
    assert_int_equal(RUN("--version"), 0);
    assert_int_equal(RUN("no-such-command"), EXIT_USAGE);
    play_says(complained, "there is no command \"no-such-command\"");
    assert_int_equal(run((char *[]){ (char *)"posthouse", NULL }), EXIT_USAGE);
    assert_int_equal(RUN("role", "nobody"), EXIT_USAGE);
    assert_int_equal(RUN("role"), EXIT_USAGE);
}

/* Started by hand, without a master's link, a role ends at once. */
static void test_a_role_without_a_master(void **state)
{
    (void)state;
    for (int id = ROLE_MASTER + 1; id < ROLE_COUNT; id++)
        assert_int_equal(RUN("role", (char *)role_name[id]), 1);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help_names_every_command),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_role_without_a_master),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
