/* The queue and the aliases as the sendmail command shows them: see sendmail.h. */
#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include "admin/drop_folder.h"
#include "admin/queue.h"
#include "admin/sendmail.h"
#include "base/date.h"
#include "base/event.h"

enum { WORDS_MAX = 8 };

/* A command of this program with -c FILE, if a file was named. */
static int run(struct sendmail *s, admin_command *command, const char *const *words, int n)
{
    char *argv[WORDS_MAX + 3];
    int argc = 0;
    for (int i = 0; i < n && i < WORDS_MAX; i++)
        argv[argc++] = (char *)words[i];
    if (s->args.config) {
        argv[argc++] = (char *)"-c";
        argv[argc++] = (char *)s->args.config;
    }
    argv[argc] = NULL;
    return command(argc, argv);
}

/* What mailq prints, in the form that scripts know from sendmail and Postfix. */
struct listing { struct queue_command command; json_int_t id; unsigned requests; uint64_t bytes; };

static void print_head(struct listing *l, const char *id, uint64_t size, const char *when, const char *sender)
{
    _cleanup_buf_ struct buf line = BUF(8192);
    if (!l->requests)
        printf("-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n");
    print_safe(&line, str_z(sender));
    printf("%s%-11s %8llu %s  %.*s\n", l->requests ? "\n" : "", id, (unsigned long long)size, when,
           STR_ARG(buf_str(&line)));
    l->requests++;
    l->bytes += size;
}

static void put_time(char out[32], time_t t)
{
    struct tm tm;
    if (!localtime_r(&t, &tm) || !strftime(out, 32, "%a %b %e %H:%M:%S", &tm))
        memcpy(out, "?", 2);
}

/* One recipient: those of a message follow each other. An asterisk: being sent, an exclamation mark: held. */
static void print_recipient(struct queue_command *q, json_t *line)
{
    struct listing *l = CONTAINER_OF(q, struct listing, command);
    json_int_t id = json_integer_value(json_object_get(line, "queue_id"));
    const char *state = queue_text(line, "state"), *sender = queue_text(line, "sender");
    _cleanup_buf_ struct buf text = BUF(8192);
    char when[32] = "?", name[32];
    uint64_t us;
    if (str_eq(str_z(state), S("final")))
        return;
    if (!l->requests || id != l->id) {
        snprintf(name, sizeof(name), "%lld%s", (long long)id,
                 str_eq(str_z(state), S("sending")) ? "*" : str_eq(str_z(state), S("held")) ? "!" : "");
        if (date_parse_3339(str_z(queue_text(line, "received")), &us) == 0)
            put_time(when, (time_t)(us / 1000000));
        print_head(l, name, (uint64_t)json_integer_value(json_object_get(line, "size")), when,
                   *sender ? sender : "MAILER-DAEMON");
        l->id = id;
    }
    if (*queue_text(line, "reply")) {
        print_safe(&text, str_first(str_z(queue_text(line, "reply")), 500));
        printf("%44s(%.*s)\n", "", STR_ARG(buf_str(&text)));
        buf_clear(&text);
    }
    print_safe(&text, str_z(queue_text(line, "recipient")));
    printf("%44s %.*s\n", "", STR_ARG(buf_str(&text)));
}

/* Files that the server has not taken yet, where we may read the folder. */
static void list_drop(struct sendmail *s, struct listing *l)
{
    _cleanup_close_ int folder = admin_drop_folder_of(admin_config_path(s->args.config), NULL);
    int fd = folder < 0 ? -1 : openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return;
    for (const struct dirent *d; (d = readdir(dir));) {
        struct stat st;
        char when[32];
        if (d->d_name[0] == '.' || fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        const struct passwd *p = getpwuid(st.st_uid);
        put_time(when, st.st_mtime);
        print_head(l, d->d_name, (uint64_t)st.st_size, when, p ? p->pw_name : "?");
        printf("%44s(in the drop: the server has not taken it yet)\n", "");
    }
    closedir(dir);
}

int sendmail_list(struct sendmail *s)
{
    struct listing l = { .command = { .data.fd = -1 } };
    list_drop(s, &l);
    int e = admin_data_dir_of_server("mailq", admin_config_path(s->args.config), &l.command.data);
    if (!e)
        e = queue_ask(&l.command, S(" do=list"), print_recipient);
    admin_data_done(&l.command.data);
    if (l.requests)
        printf("\n-- %llu Kbytes in %u Request%s.\n", (unsigned long long)((l.bytes + 1023) / 1024), l.requests,
               l.requests == 1 ? "" : "s");
    else if (!e)
        printf("Mail queue is empty\n");
    return e;
}

int sendmail_retry(struct sendmail *s)
{
    const char *words[4] = { "queue", "retry" };
    int n = 2;
    if (s->args.retry_by != 'I')
        words[n++] = s->args.retry_by == 'R'   ? "--recipient"
                     : s->args.retry_by == 'S' ? "--sender"
                                               : "--younger";
    words[n++] = s->args.retry_by ? s->args.retry_what : "1000d";
    return run(s, cmd_queue, words, n);
}

int sendmail_verify(struct sendmail *s)
{
    int code = 0;
    if (!s->args.n_recipients) {
        admin_complain("sendmail: -bv needs an address");
        return EXIT_USAGE;
    }
    for (int i = 0; i < s->args.n_recipients; i++) {
        const char *const words[] = { "resolve", s->args.recipients[i] };
        int r = run(s, cmd_resolve, words, ARRAY_LEN(words));
        code = r == 1 ? EXIT_NOUSER : r ? r : code;
    }
    return code;
}

/* A server that is not there reads its aliases when it starts; who may not tell it has done what he could. */
int sendmail_aliases(struct sendmail *s)
{
    static const char *const words[] = { "reload" };
    int r = run(s, cmd_reload, words, 1);
    if (r != EXIT_UNAVAILABLE && r != EXIT_NOPERM)
        return r;
    fprintf(stderr, "posthouse: the aliases are read when the server starts, and at `posthouse reload`\n");
    return 0;
}
