/* `posthouse generate KIND`: what is made from the tables and never written by hand: the man pages posthouse(1) and
 * posthouse.conf(5), and completion for bash and zsh. */
#include <stdio.h>
#include "admin/admin.h"
#include "conf/conf.h"
#include "policy/policy.h"

static const struct { const char *name, *usage, *doc; } commands[] = {
#define COMMAND(name, function, usage, doc) { name, usage, doc },
#include "admin/commands.def"
#undef COMMAND
};

/* Text for roff: a backslash, a dash, and a dot or quote at the start of a line mean something there. */
static void roff(const char *text)
{
    bool start = true;
    for (const char *p = text; *p; p++) {
        if (start && (*p == '.' || *p == '\''))
            printf("\\&");
        if (*p == '\\')
            printf("\\e");
        else if (*p == '-')
            printf("\\-");
        else
            putchar(*p);
        start = *p == '\n';
    }
}

static void item(const char *head, const char *text)
{
    printf(".TP\n.B ");
    roff(head);
    putchar('\n');
    roff(text);
    putchar('\n');
}

static void man1(void)
{
    printf(".TH POSTHOUSE 1\n.SH NAME\nposthouse \\- all the agents of an Internet mail system in one program\n.SH "
           "SYNOPSIS\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        printf(".B posthouse\n");
        roff(commands[i].usage);
        printf("\n.br\n");
    }
    printf(".SH COMMANDS\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        item(commands[i].name, commands[i].doc);
    printf(".SH FILES\n");
    item("/etc/posthouse/posthouse.conf",
         "The configuration, unless -c FILE or $POSTHOUSE_CONFIG names another; see posthouse.conf(5).");
    printf(".SH EXIT STATUS\n");
    item("0", "Done.");
    item("1", "The answer is no: not found, findings, an address that leads nowhere.");
    item("64, 65, 69, 73, 74, 75, 77, 78", "Usage, data, not running, cannot create, input or output, not now, no "
                                           "permission, configuration; as in sysexits.h.");
    printf(".SH SEE ALSO\nposthouse.conf(5)\n");
}

static void man5(void)
{
    struct conf_setting_info s;
    struct policy_word_info w;
    struct conf_route_word_info route;
    printf(".TH POSTHOUSE.CONF 5\n.SH NAME\nposthouse.conf \\- configuration of posthouse\n.SH SYNTAX\n");
    roff("A statement is a name and its values on a line; # begins a comment; \"quotes\" keep blanks. Blocks stand in "
         "braces:\n");
    printf(".nf\n");
    roff("    domain NAME { postmaster ADDRESS; catch_all ADDRESS }\n    listen SERVICE ADDRESS:PORT { "
         "RESTRICTION-LIST WORD, WORD ... }\n    listen lmtp unix:PATH\n    route NAME { WORD VALUE; ... }\n"
         "    dkim DOMAIN SELECTOR FILE\n    include FILE\n");
    printf(".fi\n");
    roff("SERVICE is smtp, submission, submissions, lmtp, pop3, pop3s, imap or imaps. An unknown name is an error. "
         "posthouse "
         "config check reads a file as the server does.\n");
    printf(".SH SETTINGS\n");
    for (size_t i = 0; conf_setting_info(i, &s); i++) {
        printf(".TP\n.B %s\n.I %s\n", s.name, s.type);
        printf("(default: ");
        roff(s.deflt[0] ? s.deflt : "empty");
        printf(") ");
        roff(s.doc);
        putchar('\n');
    }
    printf(".SH RESTRICTIONS\n");
    roff("The words of smtpd_client_restrictions, smtpd_helo_restrictions, smtpd_sender_restrictions, "
         "smtpd_relay_restrictions, "
         "smtpd_recipient_restrictions and smtpd_data_restrictions.\n");
    for (size_t i = 0; policy_word_info(i, &w); i++)
        item(w.name, w.doc);
    printf(".SH ROUTES\n");
    roff("The words of a block route NAME { ... }: where mail to other hosts goes next. The first route whose "
         "recipient and sender match counts; without any, the MX of the recipient's domain.\n");
    for (size_t i = 0; conf_route_word_info(i, &route); i++) {
        printf(".TP\n.B %s\n.I ", route.name);
        roff(route.value);
        putchar('\n');
        roff(route.doc);
        putchar('\n');
    }
    printf(".SH SEE ALSO\nposthouse(1)\n");
}

static void command_words(void)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf(" %s", commands[i].name);
}

/* The second words and options of a command, as its usage line has them. */
static void usage_words(const char *usage)
{
    str rest = str_z(usage);
    str_word(&rest); /* the command itself */
    for (str w; (w = str_word(&rest)).n;)
        for (str part; w.n;) {
            part = str_cut(&w, '|');
            while (part.n && (part.p[0] == '[' || part.p[0] == '{'))
                part = str_from(part, 1);
            while (part.n && (part.p[part.n - 1] == ']' || part.p[part.n - 1] == '}'))
                part.n--;
            if (part.n && (part.p[0] == '-' || (part.p[0] >= 'a' && part.p[0] <= 'z')))
                printf(" %.*s", STR_ARG(part));
        }
}

static void settings_words(void)
{
    struct conf_setting_info s;
    for (size_t i = 0; conf_setting_info(i, &s); i++)
        printf(" %s", s.name);
}

static void bash(void)
{
    printf("# bash completion for posthouse\n_posthouse() {\n    local word=${COMP_WORDS[COMP_CWORD]} "
           "before=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"");
    command_words();
    printf("\" -- \"$word\"))\n        return\n    fi\n    case $before in\n    -c|--local) COMPREPLY=($(compgen -f -- "
           "\"$word\")); return ;;\n"
           "    explain) [ \"${COMP_WORDS[1]}\" = config ] && COMPREPLY=($(compgen -W \"");
    settings_words();
    printf("\" -- \"$word\")) && return ;;\n    esac\n    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        printf("    %s) COMPREPLY=($(compgen -W \"", commands[i].name);
        usage_words(commands[i].usage);
        printf("\" -- \"$word\")) ;;\n");
    }
    printf("    esac\n}\ncomplete -F _posthouse posthouse\n");
}

static void zsh(void)
{
    printf("#compdef posthouse\n# zsh completion for posthouse\nlocal -a commands\ncommands=(\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        printf("    '%s:", commands[i].name);
        for (const char *p = commands[i].doc; *p; p++) {
            if (*p == '\'')
                printf("'\\''");
            else if (*p == ':')
                printf("\\:");
            else
                putchar(*p);
        }
        printf("'\n");
    }
    printf(")\nif (( CURRENT == 2 )); then\n    _describe command commands\n    return\nfi\ncase $words[2] in\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        printf("    %s) compadd --", commands[i].name);
        usage_words(commands[i].usage);
        printf(" ;;\n");
    }
    printf("esac\n_files\n");
}

int cmd_generate(int argc, char **argv)
{
    static const struct {
        const char *kind;
        void (*make)(void);
    } kinds[] = { { "man1", man1 }, { "man5", man5 }, { "bash", bash }, { "zsh", zsh } };
    int e = admin_options("generate", &argc, argv, NULL, 0);
    if (e)
        return e;
    for (size_t i = 0; argc == 1 && i < ARRAY_LEN(kinds); i++)
        if (str_eq(str_z(argv[0]), str_z(kinds[i].kind))) {
            kinds[i].make();
            return 0;
        }
    admin_complain("generate takes one of man1, man5, bash, zsh");
    return EXIT_USAGE;
}
