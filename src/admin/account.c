/* `posthouse account`: add, passwd, remove, list. The files are changed under their lock; a running server is told, and
 * the command returns when every role knows. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <termios.h>
#include "admin/admin.h"
#include "admin/instance.h"
#include "auth/password.h"
#include "base/env.h"
#include "message/address.h"

enum { PASSWORD_LINE_MAX = 1024 };

/* A line without its newline; echo off on a terminal. 0 or -1. */
static int read_password(const char *prompt, char line[PASSWORD_LINE_MAX], str *out)
{
    struct termios old;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &old) == 0;
    if (terminal) {
        struct termios quiet = old;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
        fprintf(stderr, "%s: ", prompt);
    }
    char *got = fgets(line, PASSWORD_LINE_MAX, stdin);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
        fputc('\n', stderr);
    }
    if (!got)
        return -1;
    *out = str_z(line);
    while (out->n && (out->p[out->n - 1] == '\n' || out->p[out->n - 1] == '\r'))
        out->n--;
    return 0;
}

/* Asks twice on a terminal; one line with --password-stdin or from a pipe. */
static int ask_password(bool from_stdin, char line[PASSWORD_LINE_MAX], str *out)
{
    char again[PASSWORD_LINE_MAX];
    str second;
    if (read_password("New password", line, out) < 0) {
        admin_complain("no password was given; type it, or pass it on standard input with --password-stdin");
        return EXIT_DATA;
    }
    if (from_stdin || !isatty(STDIN_FILENO))
        return 0;
    if (read_password("The same again", again, &second) < 0 || !str_eq(*out, second)) {
        admin_complain("the two passwords differ; nothing was changed");
        return EXIT_DATA;
    }
    explicit_bzero(again, sizeof(again));
    return 0;
}

static int make_secret(struct instance *i, str address, bool from_stdin, struct buf *out_line)
{
    char line[PASSWORD_LINE_MAX] = { 0 };
    struct account_secret secret;
    str password;
    int e = ask_password(from_stdin, line, &password);
    if (e)
        return e;
    int r = password_make(&i->arena, &env_system, address, password, &secret);
    explicit_bzero(line, sizeof(line));
    if (r == 0)
        r = account_secret_format(out_line, &secret);
    if (r < 0) {
        admin_complain(r == -EINVAL ? "a password has 1 to %d bytes and no NUL" : "the password could not be hashed",
                       PASSWORD_MAX);
        return EXIT_DATA;
    }
    return 0;
}

static int check_address(struct instance *i, const char *given, str *out)
{
    struct address a;
    const char *why;
    if (address_parse(str_z(given), false, true, &a, &why) < 0) {
        admin_complain("\"%s\" is not an address (%s); a full address is expected, as in alice@example.org", given,
                       why);
        return EXIT_DATA;
    }
    *out = address_canonical(&i->arena, &a);
    *out = arena_lower(&i->arena, *out);
    if (!directory_is_local_domain(&i->directory, a.domain)) {
        admin_complain("%.*s is not a domain of this host; write `domain %.*s` into %s first", STR_ARG(a.domain),
                       STR_ARG(a.domain), i->path);
        return EXIT_DATA;
    }
    return 0;
}

static int complain_change(const struct instance *i, enum account_change change, str address, int r, const char *file)
{
    (void)i;
    if (r == -EEXIST)
        admin_complain("the account %.*s is there already; posthouse account passwd changes its password",
                       STR_ARG(address));
    else if (r == -ENOENT && change != ACCOUNT_ADD)
        admin_complain("there is no account %.*s; posthouse account list shows all", STR_ARG(address));
    else
        admin_complain("%s: %s; nothing was changed", file ? file : "accounts", strerror(-r));
    return r == -EEXIST || r == -ENOENT ? EXIT_DATA : r == -EACCES || r == -EPERM ? EXIT_NOPERM : EXIT_CANTCREATE;
}

/* What is to be changed, as the command line says. */
struct request { enum account_change what; const char *address, *quota; bool from_stdin; };

/* The account's line: its address, and what else is known of it. */
static int account_line(struct instance *i, const struct request *q, str address, str *out)
{
    const char *want;
    uint64_t size;
    *out = address;
    if (!q->quota)
        return 0;
    if (!conf_size(str_z(q->quota), &size, &want)) {
        admin_complain("--quota %s: this is not %s", q->quota, want);
        return EXIT_USAGE;
    }
    *out = arena_printf(&i->arena, "%.*s quota=%s", STR_ARG(address), q->quota);
    return out->p ? 0 : EXIT_IO;
}

static int change(struct instance *i, const struct request *q)
{
    static const char *const done[] = { "added", "changed", "removed" };
    _cleanup_buf_ struct buf line = BUF(8192);
    const char *file = NULL;
    enum account_change what = q->what;
    str address, account = STR_NONE;
    int e = check_address(i, q->address, &address);
    if (!e)
        e = account_line(i, q, address, &account);
    if (!e && what != ACCOUNT_REMOVE)
        e = make_secret(i, address, q->from_stdin, &line);
    if (e)
        return e;
    int r = accounts_change(instance_path(i, i->conf->accounts), instance_path(i, i->conf->secrets), what, account,
                            buf_str(&line), &file);
    if (r < 0)
        return complain_change(i, what, address, r, file);
    e = instance_reload(i);
    if (e > 1)
        return e;
    printf("%.*s is %s%s.\n", STR_ARG(address), done[what], e == 1 ? "; no server runs" : ", and the server knows");
    return 0;
}

static int list(const struct instance *i, bool json)
{
    json_t *all = json_array();
    str address;
    for (size_t at = 0; directory_account(&i->directory, at, &address); at++) {
        if (json)
            json_array_append_new(all, json_pack("{s:o}", "address", json_stringn(address.p, address.n)));
        else
            printf("%.*s\n", STR_ARG(address));
    }
    if (json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(all);
    return 0;
}

int cmd_account(int argc, char **argv)
{
    static const struct { const char *verb; enum account_change change; } verbs[] = {
        { "add", ACCOUNT_ADD }, { "passwd", ACCOUNT_PASSWD }, { "remove", ACCOUNT_REMOVE } };
    const char *config = NULL;
    struct request q = { 0 };
    bool json = false;
    const struct admin_option options[] = { { "-c", &config, NULL },
                                            { "--password-stdin", NULL, &q.from_stdin },
                                            { "--quota", &q.quota, NULL },
                                            { "--json", NULL, &json } };
    struct instance i;
    int e = admin_options("account", &argc, argv, options, ARRAY_LEN(options));
    if (e)
        return e;
    str verb = argc > 0 ? str_z(argv[0]) : STR_NONE;
    bool is_list = str_eq(verb, S("list")) && argc == 1;
    size_t v = 0;
    while (v < ARRAY_LEN(verbs) && !str_eq(verb, str_z(verbs[v].verb)))
        v++;
    if (!is_list && (v == ARRAY_LEN(verbs) || argc != 2 || (q.quota && verbs[v].change != ACCOUNT_ADD))) {
        admin_complain("account takes add, passwd or remove and an address, or list; see posthouse help account");
        return EXIT_USAGE;
    }
    e = instance_load(config, &i);
    if (e)
        return e;
    if (!is_list) {
        q.what = verbs[v].change;
        q.address = argv[1];
    }
    e = is_list ? list(&i, json) : change(&i, &q);
    instance_done(&i);
    return e;
}
