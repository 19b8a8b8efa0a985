/* `posthouse restore DIR`: a backup becomes an instance again. Everything is checked against the manifest before
 * anything is written. The store is marked as restored: at its next start every UIDNEXT goes up (DESIGN 5.8). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "admin/admin.h"
#include "admin/backup.h"
#include "admin/instance.h"

struct restore {
    const char *from;
    int from_fd, config_fd, data_fd; /* config_fd -1: the configuration is there already */
    struct buf manifest;
    str rest;                        /* of the manifest, behind its first line */
    str data;                        /* data_directory, as it was */
    uint64_t outside;
};

static int read_manifest(struct restore *r)
{
    _cleanup_close_ int fd = openat(r->from_fd, BACKUP_MANIFEST, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > BACKUP_MANIFEST_MAX)
        return -EBADMSG;
    size_t size = (size_t)st.st_size, n = 0;
    char *p = buf_space(&r->manifest, size);
    if (size && !p)
        return -ENOMEM;
    for (ssize_t got = 1; n < size && got > 0; n += (size_t)got)
        if ((got = read(fd, p + n, size - n)) < 0)
            return -errno;
    str all = str_of(p, n), first = str_cut(&all, '\n');
    r->rest = all;
    return str_eq(first, BACKUP_FIRST_LINE) ? 0 : -EBADMSG;
}

static int open_from(const struct restore *r, str path)
{
    char text[BACKUP_PATH_MAX];
    memcpy(text, path.p, path.n);
    text[path.n] = '\0';
    int fd = openat(r->from_fd, text, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static bool complain_of(str path, const char *what)
{
    admin_complain("restore: %.*s %s", STR_ARG(path), what);
    return false;
}

static bool check_file(const struct restore *r, const struct backup_line *line)
{
    _cleanup_close_ int fd = open_from(r, line->path);
    struct backup_sum sum;
    if (fd < 0 || backup_sum(fd, &sum) < 0)
        return complain_of(line->path, "cannot be read");
    if (sum.size != line->sum.size || sum.crc != line->sum.crc)
        return complain_of(line->path, "is not what the manifest says: the backup is damaged");
    return true;
}

/* The manifest is whole, and every file is what it says. */
static bool check_all(struct restore *r)
{
    struct backup_line line;
    str rest = r->rest;
    uint64_t files = 0;
    bool ended = false, good = true;
    int k;
    while ((k = backup_manifest_next(&rest, &line)) == 1 && !ended) {
        ended = line.kind == BACKUP_END && line.count == files && rest.n == 0;
        if (line.kind == BACKUP_DATA)
            r->data = line.path;
        if (line.kind != BACKUP_FILE)
            continue;
        files++;
        good = check_file(r, &line) && good;
        r->outside += str_starts(line.path, S("outside/"));
    }
    if (k != 0 || !ended)
        return complain_of(str_z(BACKUP_MANIFEST), "is damaged");
    return good;
}

static int copy_file(const struct restore *r, const struct backup_line *line)
{
    bool data = str_starts(line->path, S("data/"));
    int to = data ? r->data_fd : str_starts(line->path, S("config/")) ? r->config_fd : -1;
    if (to < 0)
        return 0;
    _cleanup_close_ int fd = open_from(r, line->path);
    _cleanup_free_ char *path = str_dupz(str_from(line->path, data ? 5 : 7));
    struct backup_sum sum;
    if (fd < 0 || !path)
        return fd < 0 ? fd : -ENOMEM;
    int k = backup_copy(fd, to, path, false, &sum);
    if (k < 0)
        return k;
    /* the folder it is in, of those that belong to the roles */
    char *slash = strrchr(path, '/');
    if (!data || !slash)
        return 0;
    *slash = '\0';
    ptrdiff_t last = str_rchr(line->path, '/');
    _cleanup_close_ int folder = open_from(r, str_first(line->path, (size_t)last));
    return folder < 0 ? folder : backup_like(folder, to, path);
}

static int like_data(const struct restore *r, const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "data/%s", name);
    _cleanup_close_ int fd = openat(r->from_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? 0 : backup_like(fd, r->data_fd, name);
}

static int mark_restored(const struct restore *r)
{
    _cleanup_close_ int model = openat(r->from_fd, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = openat(r->data_fd, "restored", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;
    if (fd < 0 || model < 0 || fstat(model, &st) < 0)
        return -errno;
    if (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) < 0)
        return -errno;
    int k = backup_like(model, r->data_fd, ".");
    return k == 0 && (fsync(fd) < 0 || fsync(r->data_fd) < 0) ? -errno : k;
}

static int finish(const struct restore *r)
{
    int k = like_data(r, "log");
    if (k == 0 && (syncfs(r->data_fd) < 0 || (r->config_fd >= 0 && syncfs(r->config_fd) < 0)))
        k = -errno;
    return k;
}

static int copy_all(struct restore *r)
{
    struct backup_line line;
    str rest = r->rest;
    /* first the mark: a restore that was interrupted must not pass for the original */
    int k = mark_restored(r);
    while (k == 0 && backup_manifest_next(&rest, &line) == 1)
        if (line.kind == BACKUP_FILE) {
            k = copy_file(r, &line);
            if (k < 0)
                complain_of(line.path, strerror(-k));
        }
    if (k == 0)
        k = finish(r);
    if (k < 0)
        admin_complain("restore: it is not whole: %s", strerror(-k));
    return k;
}

static int open_data(int at, const char *path, int *out_fd)
{
    int r = backup_make_way(at, path);
    if (r == 0 && mkdirat(at, path, 0700) < 0 && errno != EEXIST)
        r = -errno;
    *out_fd = r < 0 ? -1 : openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return r < 0 ? r : *out_fd < 0 ? -errno : 0;
}

static int to_new_instance(struct restore *r, const char *to)
{
    bool inside = backup_path_valid(r->data);
    _cleanup_free_ char *data = str_dupz(inside ? r->data : S("data"));
    int k = backup_open_empty(to, &r->config_fd);
    if (k == 0 && fchmod(r->config_fd, 0755) < 0)
        k = -errno;
    if (k == 0)
        k = data ? open_data(r->config_fd, data, &r->data_fd) : -ENOMEM;
    if (k < 0) {
        admin_complain("restore: %s: %s", to, k == -ENOTEMPTY ? "the folder is not empty" : strerror(-k));
        return EXIT_CANTCREATE;
    }
    if (!inside)
        admin_complain("restore: data_directory was %.*s; the data is in %s/data, so set data_directory data",
                       STR_ARG(r->data), to);
    return copy_all(r) < 0 ? EXIT_IO : 0;
}

static int to_configuration(struct restore *r, const char *config)
{
    struct instance i;
    struct stat st;
    int e = instance_load(config, &i);
    if (e)
        return e;
    const char *path = instance_path(&i, i.conf->data_directory);
    int k = path ? open_data(AT_FDCWD, path, &r->data_fd) : -ENOMEM;
    if (k == 0 && (fstatat(r->data_fd, "journal", &st, 0) == 0 || fstatat(r->data_fd, "log", &st, 0) == 0))
        k = -ENOTEMPTY;
    if (k < 0) {
        admin_complain("restore: the data folder %s: %s", path ? path : "",
                       k == -ENOTEMPTY ? "there is mail in it already; move it away first" : strerror(-k));
        e = EXIT_CANTCREATE;
    } else {
        e = copy_all(r) < 0 ? EXIT_IO : 0;
    }
    instance_done(&i);
    return e;
}

static int run(struct restore *r, const char *to, const char *config)
{
    r->from_fd = open(r->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int k = r->from_fd < 0 ? -errno : read_manifest(r);
    if (k < 0) {
        admin_complain("restore: %s is no whole backup: %s", r->from,
                       k == -EBADMSG ? "its manifest is damaged or of another version" : strerror(-k));
        return k == -EACCES || k == -EPERM ? EXIT_NOPERM : EXIT_DATA;
    }
    if (!check_all(r))
        return EXIT_DATA;
    int e = to ? to_new_instance(r, to) : to_configuration(r, config);
    if (e == 0 && r->outside)
        admin_complain("restore: %llu files that lay outside of the configuration's folder are in %s/outside; put "
                       "them back by hand where they are missing", (unsigned long long)r->outside, r->from);
    return e;
}

int cmd_restore(int argc, char **argv)
{
    const char *config = NULL, *to = NULL;
    const struct admin_option options[] = { { "-c", &config, NULL }, { "--to", &to, NULL } };
    struct restore r = { .from_fd = -1, .config_fd = -1, .data_fd = -1, .manifest = BUF(BACKUP_MANIFEST_MAX) };
    int e = admin_options("restore", &argc, argv, options, ARRAY_LEN(options));
    if (e)
        return e;
    if (argc != 1 || !to == !config) {
        admin_complain("restore takes the backup's folder, and --to INSTANCE or -c FILE; see posthouse help restore");
        return EXIT_USAGE;
    }
    r.from = argv[0];
    e = run(&r, to, config);
    const int fds[] = { r.from_fd, r.config_fd, r.data_fd };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    buf_done(&r.manifest);
    return e;
}
