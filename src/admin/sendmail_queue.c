/* The queue and the aliases as the sendmail command shows them: see sendmail.h. */
#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include "admin/admin.h"
#include "admin/drop_folder.h"
#include "admin/sendmail.h"

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

/* Files that the server has not taken yet. False: the folder cannot be read by us. */
static bool list_drop(struct sendmail *s)
{
    _cleanup_close_ int folder = admin_drop_folder_of(admin_config_path(s->args.config), NULL);
    int fd = folder < 0 ? -1 : openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return false;
    for (const struct dirent *d; (d = readdir(dir));) {
        struct stat st;
        struct tm tm;
        char when[64] = "?";
        if (d->d_name[0] == '.' || fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        const struct passwd *p = getpwuid(st.st_uid);
        if (localtime_r(&st.st_mtime, &tm))
            strftime(when, sizeof(when), "%a %b %e %H:%M:%S", &tm);
        printf("%-27s %8lld %s  %s\n    (in the drop: the server has not taken it yet)\n", d->d_name,
               (long long)st.st_size, when, p ? p->pw_name : "?");
    }
    closedir(dir);
    return true;
}

int sendmail_list(struct sendmail *s)
{
    static const char *const words[] = { "queue", "list" };
    list_drop(s);
    fflush(stdout);
    return run(s, cmd_queue, words, ARRAY_LEN(words));
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
