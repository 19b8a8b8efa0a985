/* posthouse: one program, all the agents of an Internet mail system. The first word chooses the command (commands.def);
 * `role NAME` is how the master starts a role and is not for people. */
#include <stdio.h>
#include "access/access_role.h"
#include "admin/admin.h"
#include "auth/auth_role.h"
#include "auth/keys_role.h"
#include "cards/cards_role.h"
#include "io/dns_role.h"
#include "io/ipc.h"
#include "mda/mda_role.h"
#include "msa/msa.h"
#include "mta/mta.h"
#include "mta/push_role.h"
#include "store/store_role.h"

#ifndef POSTHOUSE_VERSION
#define POSTHOUSE_VERSION "0.1.0"
#endif

static const struct { const char *name; admin_command *run; const char *usage, *doc; } commands[] = {
#define COMMAND(name, function, usage, doc) { name, function, usage, doc },
#include "admin/commands.def"
#undef COMMAND
};

static int run_role(const char *name)
{
    str n = str_z(name);
    if (str_eq(n, str_z(role_name[ROLE_SMTP_IN])))
        return smtp_in_run(&mta_agent, &msa_agent);
    if (str_eq(n, str_z(role_name[ROLE_STORE])))
        return store_role_run();
    if (str_eq(n, str_z(role_name[ROLE_ACCESS])))
        return access_role_run();
    if (str_eq(n, str_z(role_name[ROLE_AUTH])))
        return auth_role_run();
    if (str_eq(n, str_z(role_name[ROLE_SMTP_OUT])))
        return push_role_run();
    if (str_eq(n, str_z(role_name[ROLE_DNS])))
        return dns_role_run();
    if (str_eq(n, str_z(role_name[ROLE_KEYS])))
        return keys_role_run();
    if (str_eq(n, str_z(role_name[ROLE_CARDS])))
        return cards_role_run();
    if (str_eq(n, str_z(role_name[ROLE_MDA])))
        return mda_role_run();
    admin_complain("there is no role \"%s\"", name);
    return EXIT_USAGE;
}

int cmd_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("posthouse %s\n", POSTHOUSE_VERSION);
    return 0;
}

static int help_all(FILE *out)
{
    fprintf(out, "posthouse: all the agents of an Internet mail system in one program\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-12s%s\n", commands[i].name, commands[i].doc);
    fprintf(out, "\nThe configuration file is given with -c FILE or in $POSTHOUSE_CONFIG; else it is "
                 "/etc/posthouse/posthouse.conf.\n"
                 "`posthouse help COMMAND` shows how a command is used.\n");
    return 0;
}

int cmd_help(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(commands); i++)
        if (str_eq(str_z(argv[1]), str_z(commands[i].name))) {
            printf("usage: posthouse %s\n%s\n", commands[i].usage, commands[i].doc);
            return 0;
        }
    if (argc > 1) {
        admin_complain("there is no command \"%s\"; posthouse help lists them", argv[1]);
        return EXIT_USAGE;
    }
    return help_all(stdout);
}

/* Links to this program by which scripts call it. */
static bool is_sendmail(const char *argv0)
{
    str name = str_z(argv0);
    ptrdiff_t slash = str_rchr(name, '/');
    name = str_from(name, (size_t)(slash + 1));
    return str_eq(name, S("sendmail")) || str_eq(name, S("mailq")) || str_eq(name, S("newaliases"));
}

int main(int argc, char **argv)
{
    if (argc > 0 && is_sendmail(argv[0]))
        return cmd_sendmail(argc, argv);
    if (argc < 2) {
        help_all(stderr);
        return EXIT_USAGE;
    }
    str name = str_z(argv[1]);
    if (str_eq(name, S("role")) && argc == 3)
        return run_role(argv[2]);
    if (str_eq(name, S("--help")) || str_eq(name, S("-h")))
        name = S("help");
    if (str_eq(name, S("--version")))
        name = S("version");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq(name, str_z(commands[i].name)))
            return commands[i].run(argc - 1, argv + 1);
    admin_complain("there is no command \"%s\"; posthouse help lists them", argv[1]);
    return EXIT_USAGE;
}
