/* What every command shares: complaints, options, and which configuration file is meant. See admin.h. After
 * admin_options the positional arguments stand in argv[0] to argv[*argc - 1]; the command's own name, argv[0] before,
 * is gone. */
#include <stdio.h>
#include "admin/admin.h"
#include "base/event.h"

#define COMPLAINT_MAX (64u << 10)

struct command_line { const char *name, *usage; };
static const struct command_line command_lines[] = {
#define COMMAND(name, function, usage, doc) { name, usage },
#include "admin/commands.def"
#undef COMMAND
};

void admin_complain(const char *fmt, ...)
{
    _cleanup_buf_ struct buf text = BUF(COMPLAINT_MAX);
    _cleanup_buf_ struct buf line = BUF(COMPLAINT_MAX * 4 + 16);
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    buf_add(&line, S("posthouse: "));
    print_safe(&line, text.failed ? S("an error whose description does not fit in memory") : buf_str(&text));
    buf_addc(&line, '\n');
    fflush(stdout);
    fwrite(line.p, 1, line.n, stderr);
}

static int usage(const char *command)
{
    for (size_t i = 0; i < ARRAY_LEN(command_lines); i++)
        if (str_eq(str_z(command_lines[i].name), str_z(command)))
            fprintf(stderr, "usage: posthouse %s\n", command_lines[i].usage);
    return EXIT_USAGE;
}

/* The option that `arg` names: `--name`, `--name=value`, `-c`, `-cvalue`. *out_value: the value in the same word, or
 * NULL. */
static const struct admin_option *find(const char *arg, const struct admin_option *options, size_t n,
                                       const char **out_value)
{
    str word = str_z(arg);
    *out_value = NULL;
    if (!str_starts(word, S("--"))) {
        for (size_t i = 0; i < n; i++)
            if (strlen(options[i].name) == 2 && options[i].name[1] == arg[1]) {
                *out_value = word.n > 2 ? arg + 2 : NULL;
                return &options[i];
            }
        return NULL;
    }
    str name = str_cut(&word, '=');
    for (size_t i = 0; i < n; i++)
        if (str_eq(name, str_z(options[i].name))) {
            *out_value = arg[name.n] == '=' ? arg + name.n + 1 : NULL;
            return &options[i];
        }
    return NULL;
}

/* Takes the option at argv[*i]; moves *i over its value. */
static int take_option(const char *command, int argc, char **argv, int *i, const struct admin_option *options, size_t n)
{
    const char *arg = argv[*i], *value;
    const struct admin_option *o = find(arg, options, n, &value);
    if (!o) {
        if (!str_eq(str_z(arg), S("--help")) && !str_eq(str_z(arg), S("-h")))
            admin_complain("%s: there is no option %s", command, arg);
        return usage(command);
    }
    if (o->flag) {
        if (value) {
            admin_complain("%s: %s takes no value, but was given one: %s", command, o->name, arg);
            return usage(command);
        }
        *o->flag = true;
        return 0;
    }
    if (!value && *i + 1 < argc)
        value = argv[++*i];
    if (!value) {
        admin_complain("%s: %s wants a value after it", command, o->name);
        return usage(command);
    }
    *o->value = value;
    return 0;
}

int admin_options(const char *command, int *argc, char **argv, const struct admin_option *options, size_t n)
{
    int kept = 0;
    bool open = true; /* until "--" */
    for (int i = 1; i < *argc; i++) {
        if (open && str_eq(str_z(argv[i]), S("--"))) {
            open = false;
        } else if (open && argv[i][0] == '-' && argv[i][1]) {
            int r = take_option(command, *argc, argv, &i, options, n);
            if (r)
                return r;
        } else {
            argv[kept++] = argv[i];
        }
    }
    *argc = kept;
    return 0;
}

const char *admin_config_path(const char *given)
{
    if (given)
        return given;
    const char *env = getenv("POSTHOUSE_CONFIG");
    return env && *env ? env : "/etc/posthouse/posthouse.conf";
}
