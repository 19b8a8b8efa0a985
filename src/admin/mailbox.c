/* `posthouse mailbox`: what a postmaster asks of mailboxes and does to them. See mailbox.h. */
#include "admin/mailbox.h"
#include <stdio.h>
#include "base/event.h"
#include "proto/imap_command.h"
#include "proto/imap_write.h"

enum { QUESTION_MAX = 16384, LINE_MAX_BYTES = 65536 };

static int print_json(void *arg, const json_t *line)
{
    (void)arg;
    json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    putchar('\n');
    return 0;
}

static void print(struct buf *out)
{
    fwrite(out->p, 1, out->n, stdout);
    buf_done(out);
}

static void put_use(struct buf *out, const json_t *line)
{
    json_int_t use = mailbox_number(line, "use");
    if (use > IMAP_USE_NONE && use < IMAP_USES)
        buf_addf(out, "  %.*s", STR_ARG(imap_use_name((enum imap_use)use)));
}

static int print_row(void *arg, const json_t *line)
{
    struct buf out = BUF(LINE_MAX_BYTES);
    size_t *rows = arg;
    if (!(*rows)++)
        printf("%9s %9s %12s %11s %8s    %s\n", "MESSAGES", "UNSEEN", "BYTES", "UIDVALIDITY", "UIDNEXT", "NAME");
    if (mailbox_number(line, "id"))
        buf_addf(&out,
                 "%9" JSON_INTEGER_FORMAT " %9" JSON_INTEGER_FORMAT " %12" JSON_INTEGER_FORMAT
                 " %11" JSON_INTEGER_FORMAT " %8" JSON_INTEGER_FORMAT,
                 mailbox_number(line, "messages"), mailbox_number(line, "unseen"), mailbox_number(line, "bytes"),
                 mailbox_number(line, "uidvalidity"), mailbox_number(line, "uidnext"));
    else
        buf_addf(&out, "%53s", "(no mailbox)");
    buf_add(&out, mailbox_number(line, "subscribed") ? S("  * ") : S("    "));
    print_safe(&out, str_z(mailbox_text(line, "name")));
    put_use(&out, line);
    buf_addc(&out, '\n');
    print(&out);
    return 0;
}

static int print_status(void *arg, const json_t *line)
{
    static const char *const keys[] = {
        "id", "uidvalidity", "uidnext", "messages", "unseen", "recent", "deleted", "bytes", "deleted_bytes", "modseq",
        "used_bytes", "used_messages", "quota_bytes", "quota_messages",
    };
    struct buf out = BUF(LINE_MAX_BYTES);
    (void)arg;
    buf_add(&out, S("account         "));
    print_safe(&out, str_z(mailbox_text(line, "account")));
    buf_add(&out, S("\nname            "));
    print_safe(&out, str_z(mailbox_text(line, "name")));
    put_use(&out, line);
    buf_addf(&out, "\nsubscribed      %s\n", mailbox_number(line, "subscribed") ? "yes" : "no");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        json_int_t n = mailbox_number(line, keys[i]);
        if (str_starts(str_z(keys[i]), S("quota")) && !n)
            buf_addf(&out, "%-15s none\n", keys[i]);
        else
            buf_addf(&out, "%-15s %" JSON_INTEGER_FORMAT "\n", keys[i], n);
    }
    print(&out);
    return 0;
}

static int usage(const char *word, const char *what)
{
    admin_complain("mailbox %s takes %s; see posthouse help mailbox", word, what);
    return EXIT_USAGE;
}

static int do_list(struct mailbox_command *c, int argc, char **argv)
{
    _cleanup_buf_ struct buf question = BUF(QUESTION_MAX);
    size_t rows = 0;
    if (argc != 1)
        return usage("list", "an account");
    mailbox_question(&question, "list", argv[0], NULL);
    int e = mailbox_ask(c, buf_str(&question), c->json ? print_json : print_row, &rows);
    if (!e && !c->json && !rows)
        printf("No mailboxes: nothing has come in yet, and nobody has logged in.\n");
    return e;
}

static int do_status(struct mailbox_command *c, int argc, char **argv)
{
    _cleanup_buf_ struct buf question = BUF(QUESTION_MAX);
    if (argc != 2)
        return usage("status", "an account and a mailbox");
    mailbox_question(&question, "status", argv[0], argv[1]);
    return mailbox_ask(c, buf_str(&question), c->json ? print_json : print_status, NULL);
}

/* create, delete, rename: names are the last two of argv, the second one may be NULL. */
static int change(struct mailbox_command *c, const char *word, const char *account, const char *name, const char *to)
{
    _cleanup_buf_ struct buf question = BUF(QUESTION_MAX);
    const char *made = to ? to : str_eq(str_z(word), S("create")) ? name : NULL;
    const char *trouble = made ? imap_name_trouble(str_z(made)) : NULL;
    if (trouble) {
        admin_complain("mailbox %s: a mailbox cannot be called %s: %s", word, made, trouble);
        return EXIT_USAGE;
    }
    mailbox_question(&question, word, account, name);
    if (to)
        event_str(&question, "to", str_z(to));
    return mailbox_ask(c, buf_str(&question), NULL, NULL);
}

static int do_create(struct mailbox_command *c, int argc, char **argv)
{
    return argc == 2 ? change(c, "create", argv[0], argv[1], NULL) : usage("create", "an account and a name");
}

static int do_delete(struct mailbox_command *c, int argc, char **argv)
{
    return argc == 2 ? change(c, "delete", argv[0], argv[1], NULL) : usage("delete", "an account and a mailbox");
}

static int do_rename(struct mailbox_command *c, int argc, char **argv)
{
    return argc == 3 ? change(c, "rename", argv[0], argv[1], argv[2])
                     : usage("rename", "an account, a mailbox and its new name");
}

static const struct {
    const char *word;
    int (*run)(struct mailbox_command *c, int argc, char **argv);
} words[] = {
    { "list", do_list },          { "status", do_status },      { "check", mailbox_check },
    { "export", mailbox_export }, { "import", mailbox_import }, { "create", do_create },
    { "delete", do_delete },      { "rename", do_rename },
};

static int run(struct mailbox_command *c, int argc, char **argv)
{
    for (size_t i = 0; argc && i < ARRAY_LEN(words); i++)
        if (str_eq(str_z(argv[0]), str_z(words[i].word)))
            return words[i].run(c, argc - 1, argv + 1);
    admin_complain(argc ? "mailbox: \"%s\" is no word of it; see posthouse help mailbox"
                        : "mailbox%s wants a word: list, status, check, export, import, create, delete or rename",
                   argc ? argv[0] : "");
    return EXIT_USAGE;
}

int cmd_mailbox(int argc, char **argv)
{
    struct mailbox_command c = { .data.fd = -1, .log_fd = -1, .segment.fd = -1 };
    const struct admin_option options[] = {
        { "-c", &c.config, NULL },       { "--json", NULL, &c.json },
        { "--mbox", &c.mbox, NULL },     { "--maildir", &c.maildir, NULL },
        { "--no-cards", NULL, &c.no_cards }, { "--content-length", NULL, &c.content_length },
    };
    int e = admin_options("mailbox", &argc, argv, options, ARRAY_LEN(options));
    if (!e)
        e = admin_data_dir_of_server("mailbox", admin_config_path(c.config), &c.data);
    if (!e)
        e = run(&c, argc, argv);
    if (c.segment.fd >= 0)
        close(c.segment.fd);
    if (c.log_fd >= 0)
        close(c.log_fd);
    admin_data_done(&c.data);
    return e;
}
