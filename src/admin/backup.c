/* `posthouse backup DIR` (DESIGN 5.11). The journal is copied first: what it speaks of was durable in the receive logs
 * before, and is copied after it. What came later is in the logs alone, and is delivered again by the restored store.
 * While this runs no segment is removed. */
#include "admin/backup.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "admin/admin.h"
#include "admin/instance.h"
#include "store/store.h"

struct backup {
    struct instance *instance;
    int dir_fd, config_fd;
    struct buf manifest;
    uint64_t files, bytes;
    bool terminal;
};

static void progress(const struct backup *b, bool end)
{
    if (b->terminal)
        fprintf(stderr, "\r%llu files, %llu MB%s", (unsigned long long)b->files,
                (unsigned long long)(b->bytes >> 20), end ? "\n" : "");
}

static int add_line(struct backup *b, const char *path, const struct backup_sum *sum)
{
    b->files++;
    b->bytes += sum->size;
    progress(b, false);
    return buf_addf(&b->manifest, "file %08x %llu %s\n", sum->crc, (unsigned long long)sum->size, path);
}

/* A whole number of records and nothing behind: nobody writes to it any more. */
static bool is_sealed(int fd)
{
    struct segment_reader r;
    struct record_header h;
    bool damage;
    int k = segment_reader_open(fd, &r);
    if (k < 0 || r.size == SEGMENT_HEADER_SIZE)
        return false;
    while ((k = segment_reader_next(&r, false, &h, &damage)) == 1)
        ;
    return k == 0 && r.at == r.size;
}

static int take_segment(struct backup *b, int from_dir, const char *folder, uint64_t number)
{
    char name[32], path[BACKUP_PATH_MAX];
    struct backup_sum sum;
    segment_name(number, name);
    snprintf(path, sizeof(path), "data/%s/%s", folder, name);
    _cleanup_close_ int fd = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno; /* its writer gave it up */
    bool sealed = is_sealed(fd);
    int r;
    if (sealed && linkat(from_dir, name, b->dir_fd, path, 0) == 0)
        r = backup_sum(fd, &sum);
    else
        r = backup_copy(fd, b->dir_fd, path, !sealed, &sum);
    return r < 0 ? r : add_line(b, path, &sum);
}

static int take_segments(struct backup *b, const char *folder)
{
    char path[BACKUP_PATH_MAX];
    _cleanup_free_ uint64_t *list = NULL;
    size_t n = 0;
    snprintf(path, sizeof(path), "data/%s/x", folder);
    int r = backup_make_way(b->dir_fd, path);
    path[strlen(path) - 2] = '\0';
    _cleanup_close_ int fd = openat(b->instance->data_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (r == 0)
        r = backup_like(fd, b->dir_fd, path);
    if (r == 0)
        r = segment_list(fd, &list, &n);
    for (size_t i = 0; i < n && r == 0; i++)
        r = take_segment(b, fd, folder, list[i]);
    return r;
}

static void cleanup_folder(DIR **d)
{
    if (*d)
        closedir(*d);
}

static int take_logs(struct backup *b)
{
    int fd = openat(b->instance->data_fd, "log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_(cleanup_folder) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return error == ENOENT ? 0 : -error;
    }
    int r = backup_make_way(b->dir_fd, "data/log/x");
    if (r == 0)
        r = backup_like(fd, b->dir_fd, "data/log");
    for (const struct dirent *e; r == 0 && (e = readdir(d));) {
        char folder[300];
        struct stat st;
        if (e->d_name[0] == '.' || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
            continue;
        snprintf(folder, sizeof(folder), "log/%s", e->d_name);
        r = take_segments(b, folder);
    }
    return r;
}

static int take_file(struct backup *b, int from_dir, const char *name, const char *path)
{
    struct backup_sum sum;
    _cleanup_close_ int fd = openat(from_dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = backup_copy(fd, b->dir_fd, path, false, &sum);
    return r < 0 ? r : add_line(b, path, &sum);
}

static int take_auth(struct backup *b)
{
    _cleanup_close_ int fd = openat(b->instance->data_fd, "auth", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = fd < 0 ? -errno : take_file(b, fd, "unknown-users.key", "data/auth/unknown-users.key");
    if (r == 0)
        r = backup_like(fd, b->dir_fd, "data/auth");
    if (r == 0 || r == -ENOENT)
        r = take_file(b, b->instance->data_fd, "host.key", "data/host.key");
    return r == -ENOENT ? 0 : r;
}

/* A file that the configuration names; one that was taken already is not taken twice. */
static int take_named(struct backup *b, str name)
{
    bool absolute = name.n && name.p[0] == '/';
    _cleanup_free_ char *from = str_dupz(name);
    char path[BACKUP_PATH_MAX];
    struct stat st;
    if (!from)
        return -ENOMEM;
    if (!name.n || !backup_path_valid(absolute ? str_from(name, 1) : name) || name.n + 16 > sizeof(path)) {
        if (name.n)
            admin_complain("backup: %s is not taken along: a path that goes through `..`", from);
        return 0;
    }
    snprintf(path, sizeof(path), "%s%s", absolute ? "outside" : "config/", from);
    if (fstatat(b->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    int r = take_file(b, b->config_fd, from, path);
    if (r == -ENOENT) /* a default that nobody made */
        return 0;
    if (r < 0)
        admin_complain("backup: %s: %s", from, strerror(-r));
    return r;
}

static int take_configuration(struct backup *b)
{
    const struct conf *c = b->instance->conf;
    struct unpack u = UNPACK(buf_str(&b->instance->blob));
    str bundle = unpack_str(&u), main = conf_bundle_main(bundle);
    ptrdiff_t slash = str_rchr(str_z(b->instance->path), '/');
    int r = take_named(b, str_from(str_z(b->instance->path), (size_t)(slash + 1)));
    u = UNPACK(str_from(bundle, (size_t)(main.p + main.n - bundle.p)));
    while (r == 0 && u.in.n && !u.bad) {
        str name = unpack_str(&u);
        unpack_str(&u);
        if (!str_eq(name, main))
            r = take_named(b, name);
    }
    const str more[] = { c->secrets, c->tls_certificate, c->tls_key };
    for (size_t i = 0; i < ARRAY_LEN(more) && r == 0; i++)
        r = take_named(b, more[i]);
    for (size_t i = 0; i < c->n_dkim && r == 0; i++)
        r = take_named(b, c->dkim[i].key);
    if (r == 0 && !str_starts(c->trust_anchor, S("/"))) /* an absolute one is that of a package */
        r = take_named(b, c->trust_anchor);
    return r;
}

static int write_manifest(struct backup *b)
{
    buf_addf(&b->manifest, "end %llu\n", (unsigned long long)b->files);
    if (b->manifest.failed)
        return -ENOMEM;
    if (syncfs(b->dir_fd) < 0) /* folders and links; each file is durable already */
        return -errno;
    _cleanup_close_ int fd = openat(b->dir_fd, BACKUP_MANIFEST ".new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = segment_pwrite(fd, buf_str(&b->manifest), 0);
    if (r == 0 && (fsync(fd) < 0 || renameat(b->dir_fd, BACKUP_MANIFEST ".new", b->dir_fd, BACKUP_MANIFEST) < 0 ||
                   fsync(b->dir_fd) < 0))
        r = -errno;
    return r;
}

static int run(struct backup *b)
{
    const struct conf *c = b->instance->conf;
    _cleanup_close_ int hold = -1;
    buf_addf(&b->manifest, "%.*s\ndata %.*s\n", STR_ARG(BACKUP_FIRST_LINE), STR_ARG(c->data_directory));
    int r = take_configuration(b);
    if (r < 0)
        return r;
    r = store_hold_compaction(b->instance->data_fd, &hold);
    if (r == 0)
        r = take_segments(b, "journal");
    if (r == 0)
        r = take_logs(b);
    if (r == 0)
        r = take_auth(b);
    if (r == 0)
        r = backup_like(b->instance->data_fd, b->dir_fd, "data");
    return r == 0 ? write_manifest(b) : r;
}

static int to_folder(struct instance *i, const char *target)
{
    struct backup b = { .instance = i, .dir_fd = -1, .config_fd = -1, .manifest = BUF(BACKUP_MANIFEST_MAX),
                        .terminal = isatty(STDERR_FILENO) };
    if (i->data_fd < 0) {
        admin_complain("there is no data folder yet: the server has never run with %s", i->path);
        return EXIT_UNAVAILABLE;
    }
    int r = backup_open_empty(target, &b.dir_fd);
    if (r < 0) {
        admin_complain("backup: %s: %s", target,
                       r == -ENOTEMPTY ? "the folder is not empty; a backup wants one of its own" : strerror(-r));
        return EXIT_CANTCREATE;
    }
    b.config_fd = open(i->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = b.config_fd < 0 ? -errno : run(&b);
    progress(&b, true);
    if (b.config_fd >= 0)
        close(b.config_fd);
    close(b.dir_fd);
    buf_done(&b.manifest);
    if (r < 0) {
        admin_complain("the backup in %s is not whole: %s", target, strerror(-r));
        return r == -EACCES || r == -EPERM ? EXIT_NOPERM : EXIT_IO;
    }
    printf("%llu files, %llu bytes in %s\n", (unsigned long long)b.files, (unsigned long long)b.bytes, target);
    return 0;
}

int cmd_backup(int argc, char **argv)
{
    const char *config = NULL;
    const struct admin_option options[] = { { "-c", &config, NULL } };
    struct instance i;
    int e = admin_options("backup", &argc, argv, options, ARRAY_LEN(options));
    if (e)
        return e;
    if (argc != 1) {
        admin_complain("backup takes the folder to write to; see posthouse help backup");
        return EXIT_USAGE;
    }
    e = instance_load(config, &i);
    if (e)
        return e;
    e = to_folder(&i, argv[0]);
    instance_done(&i);
    return e;
}
