/* The command line. Every command is a row of commands.def and one function; exit codes are sysexits (0 done, 1 the
 * answer is no, 64 usage, 65 data, 69 not running, 73 cannot create, 75 not now, 77 no permission, 78 configuration).
 * Errors go to standard error in a sentence that says what happened, where, what was expected and what to do. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

enum {
    EXIT_USAGE = 64,
    EXIT_DATA = 65,
    EXIT_UNAVAILABLE = 69,
    EXIT_CANTCREATE = 73,
    EXIT_IO = 74,
    EXIT_TEMPFAIL = 75,
    EXIT_NOPERM = 77,
    EXIT_CONFIG = 78
};

/* argv[0] is the command's own name. */
typedef int admin_command(int argc, char **argv);
#define COMMAND(name, function, usage, doc) admin_command function;
#include "admin/commands.def"
#undef COMMAND

/* "posthouse: " + sentence + newline on standard error; control bytes made safe. */
void admin_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A tiny option reader used by every command: `--name value`, `--name=value`, `--flag`, `-c FILE`. Returns 0, or
 * EXIT_USAGE after a clear complaint that ends with the command's usage line. Positional arguments are moved to the
 * front of argv; *argc is their count. */
struct admin_option { const char *name; const char **value; bool *flag; }; /* value or flag; name with its dashes */
int admin_options(const char *command, int *argc, char **argv, const struct admin_option *options, size_t n);

/* The configuration file of a command: `-c FILE`, else $POSTHOUSE_CONFIG, else /etc/posthouse/posthouse.conf. */
const char *admin_config_path(const char *given);
