/* Delivery into a Maildir: see maildir_file.h. */
#include "mda/maildir_file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include "base/env.h"
#include "mda/maildir_size.h"
#include "mda/safe_path.h"

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
enum { NAME_TRIES = 8, SWEEP_ONE_IN = 64, NAME_ROOM = NAME_MAX - 32 /* for ",S=" */ };

static int refuse(const struct maildir_dir *d, const char *what, const char *why, struct mda_result *r)
{
    mda_result_set(r, MDA_DEFERRED, 451, "4.2.0", "Maildir %.*s is refused: %s%s%s", STR_ARG(d->path), what,
                   *what ? " " : "it ", why);
    return -1;
}

static int no_use(const struct maildir_dir *d, int e, const char *what, struct mda_result *r)
{
    mda_result_errno(r, e, "Maildir %.*s %s", STR_ARG(d->path), what);
    return -1;
}

static int check(const struct maildir_dir *d, const struct mda_user *user, const char *what, int fd,
                 struct mda_result *r)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return no_use(d, errno, "cannot be looked at", r);
    if (st.st_uid != user->uid)
        return refuse(d, what, "belongs to somebody else", r);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return refuse(d, what, "may be written to by others than its owner", r);
    return 0;
}

/* A folder that is opened, or made if that may be. */
struct part { int dir; const char *name, *what; bool make, made; };

static int open_folder(const struct maildir_dir *d, const struct mda_user *user, struct part *p, struct mda_result *r)
{
    _cleanup_close_ int fd = openat(p->dir, p->name, OPEN_FOLDER);
    if (fd < 0 && errno == ENOENT && p->make) {
        if (mkdirat(p->dir, p->name, 0700) < 0 && errno != EEXIST)
            return no_use(d, errno, "cannot be made", r);
        p->made = true;
        fd = openat(p->dir, p->name, OPEN_FOLDER);
    }
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
        return refuse(d, p->what, "is no folder, or a symlink", r);
    if (fd < 0)
        return no_use(d, errno, "cannot be opened", r);
    return check(d, user, p->what, fd, r) < 0 ? -1 : TAKE_FD(fd);
}

static bool is_maildir(int dir)
{
    struct stat st;
    return fstatat(dir, "cur", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) &&
           fstatat(dir, "new", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int sync_folder(int dir)
{
    _cleanup_close_ int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fsync(fd) < 0 ? -errno : 0;
}

/* A new Maildir: new/ comes last, so that one which has it is complete; all of it is on the disk. */
static int make_rest(struct maildir_dir *d, const struct mda_user *user, int parent, int dir, bool is_sub,
                     struct mda_result *r)
{
    struct part cur = { dir, "cur", "cur", true, false }, new = { dir, "new", "new", true, false };
    int fd = open_folder(d, user, &cur, r);
    if (fd < 0)
        return -1;
    close(fd);
    if (is_sub) {
        fd = openat(dir, "maildirfolder", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
            return no_use(d, errno, "gets no file maildirfolder", r);
        close(fd);
    }
    d->new = open_folder(d, user, &new, r);
    if (d->new < 0)
        return -1;
    int e = fsync(dir) < 0 ? -errno : sync_folder(parent);
    return e < 0 ? no_use(d, e, "cannot be brought to the disk", r) : 0;
}

static void open_quota(struct maildir_dir *d, int parent, int dir, bool is_sub)
{
    struct maildir_size s;
    int root = is_sub ? openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : dir;
    d->quota_bytes = d->quota_messages = UINT64_MAX;
    if (root < 0)
        return;
    d->quota = maildir_size_open(root, (int64_t)(env_system.wall_us() / 1000000), &s);
    if (is_sub)
        close(root);
    if (d->quota < 0)
        return;
    if (s.max_bytes)
        d->quota_bytes = (int64_t)s.max_bytes > s.bytes ? s.max_bytes - (uint64_t)MAX(s.bytes, (int64_t)0) : 0;
    if (s.max_messages)
        d->quota_messages =
            (int64_t)s.max_messages > s.messages ? s.max_messages - (uint64_t)MAX(s.messages, (int64_t)0) : 0;
}

static int open_parts(struct maildir_dir *d, const struct mda_user *user, int parent, const char *name, bool may_make,
                      struct mda_result *r)
{
    bool is_sub = name[0] == '.' && is_maildir(parent);
    struct part base = { parent, name, "", may_make, false };
    _cleanup_close_ int dir = open_folder(d, user, &base, r);
    if (dir < 0)
        return -1;
    struct part tmp = { dir, "tmp", "tmp", true, false }, new = { dir, "new", "new", false, false };
    struct stat st;
    d->tmp = open_folder(d, user, &tmp, r);
    if (d->tmp < 0)
        return -1;
    if (base.made || tmp.made || fstatat(dir, "new", &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (make_rest(d, user, parent, dir, is_sub, r) < 0)
            return -1;
    } else {
        d->new = open_folder(d, user, &new, r);
        if (d->new < 0)
            return -1;
    }
    open_quota(d, parent, dir, is_sub);
    return 0;
}

static void sweep_now_and_then(int tmp)
{
    uint8_t random;
    env_system.random(&random, sizeof(random));
    if (random % SWEEP_ONE_IN == 0)
        maildir_sweep(tmp, (int64_t)(env_system.wall_us() / 1000000));
}

int maildir_open(struct maildir_dir *d, const struct mda_user *user, str path, struct mda_result *r)
{
    struct stat st;
    const char *name;
    *d = MAILDIR_CLOSED;
    d->path = path;
    _cleanup_close_ int parent = safe_path_parent(user, path, &name, &st, r);
    if (parent < 0)
        return -1;
    if (open_parts(d, user, parent, name, st.st_uid == user->uid, r) < 0) {
        maildir_close(d);
        return -1;
    }
    sweep_now_and_then(d->tmp);
    return 0;
}

void maildir_close(struct maildir_dir *d)
{
    const int fds[] = { d->tmp, d->new, d->quota };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    d->tmp = d->new = d->quota = -1;
}

/* Writing */

/* "/" and ":" of a host's name as the rule has it, what else is odd as '_'. */
static void add_host(struct buf *out)
{
    char host[HOST_NAME_MAX + 1];
    if (gethostname(host, sizeof(host)) < 0)
        host[0] = '\0';
    host[HOST_NAME_MAX] = '\0';
    for (const char *c = *host ? host : "localhost"; *c; c++)
        if (*c == '/' || *c == ':')
            buf_add(out, *c == '/' ? S("\\057") : S("\\072"));
        else
            buf_addc(out, *c <= ' ' || *c == 0x7f || *c == ',' ? '_' : *c);
}

static int open_unique(struct maildir_dir *d, struct maildir_pending *p)
{
    static uint32_t number; /* of the process: with its id and the moment no two are alike */
    for (int i = 0; i < NAME_TRIES; i++) {
        uint64_t now = env_system.wall_us();
        struct buf b = { .p = p->name, .cap = NAME_ROOM, .max = NAME_ROOM };
        buf_addf(&b, "%llu.M%uP%dQ%u.", (unsigned long long)(now / 1000000), (unsigned)(now % 1000000), (int)getpid(),
                 ++number);
        add_host(&b);
        p->name[b.n] = '\0';
        p->fd = openat(d->tmp, p->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (p->fd >= 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return -errno;
}

int maildir_write(struct maildir_dir *d, struct text *text, const struct mda_message *m, struct maildir_pending *out,
                  struct mda_result *r)
{
    struct maildir_pending *p = out;
    p->fd = -1;
    if (d->quota >= 0 && (!d->quota_messages || m->length > d->quota_bytes)) {
        mda_result_set(r, MDA_DEFERRED, 452, "4.2.2", "Maildir %.*s is full (quota of maildirsize)", STR_ARG(d->path));
        return -1;
    }
    int e = open_unique(d, p);
    if (e < 0)
        return no_use(d, e, "takes no new file", r);
    struct text_file f = { .sink.write = text_file_write, .fd = p->fd };
    e = text_write(text, m, TEXT_PLAIN, STR_NONE, &f.sink);
    if (e < 0) {
        maildir_drop(d, p);
        return no_use(d, e, f.sink.failed ? "cannot be written" : "waits, for the message cannot be read", r);
    }
    p->size = f.sink.bytes;
    if (d->quota >= 0) {
        d->quota_messages -= d->quota_messages != UINT64_MAX;
        d->quota_bytes -= d->quota_bytes == UINT64_MAX ? 0 : MIN(d->quota_bytes, p->size);
    }
    return 0;
}

void maildir_push(const struct maildir_pending *p)
{
    if (p->fd >= 0 && sync_file_range(p->fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0)
        return; /* fsync comes all the same */
}

int maildir_sync_file(struct maildir_dir *d, struct maildir_pending *p, bool on_disk, struct mda_result *r)
{
    int e = !on_disk && fsync(p->fd) < 0 ? errno : 0;
    if (close(p->fd) < 0 && !e && errno != EINTR)
        e = errno; /* NFS tells of a full disk here */
    p->fd = -1;
    if (!e)
        return 0;
    maildir_drop(d, p);
    return no_use(d, e, "cannot be brought to the disk", r);
}

int maildir_move(struct maildir_dir *d, struct maildir_pending *p, struct mda_result *r)
{
    char name[NAME_MAX + 1];
    snprintf(name, sizeof(name), "%.*s,S=%llu", NAME_ROOM, p->name, (unsigned long long)p->size);
    if (renameat(d->tmp, p->name, d->new, name) == 0) {
        memcpy(p->name, name, sizeof(name));
        return 0;
    }
    int e = errno;
    maildir_drop(d, p);
    return no_use(d, e, "takes no new message", r);
}

int maildir_sync(struct maildir_dir *d, struct mda_result *r)
{
    return fsync(d->new) < 0 ? no_use(d, errno, "cannot be brought to the disk", r) : 0;
}

void maildir_count(struct maildir_dir *d, const struct maildir_pending *p)
{
    char line[48];
    if (d->quota < 0)
        return;
    int n = snprintf(line, sizeof(line), "%llu 1\n", (unsigned long long)p->size);
    if (write(d->quota, line, (size_t)n) != n)
        return; /* who counts anew will find it */
}

void maildir_drop(struct maildir_dir *d, struct maildir_pending *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    if (d->tmp >= 0)
        unlinkat(d->tmp, p->name, 0);
    if (d->new >= 0)
        unlinkat(d->new, p->name, 0);
}

size_t maildir_sweep(int tmp_fd, int64_t now_s)
{
    int fd = openat(tmp_fd, ".", OPEN_FOLDER);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    size_t n = 0;
    if (!dir && fd >= 0)
        close(fd);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        struct stat st;
        if (e->d_name[0] != '.' && fstatat(tmp_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            now_s - (int64_t)st.st_mtim.tv_sec > MAILDIR_TMP_S && unlinkat(tmp_fd, e->d_name, 0) == 0)
            n++;
    }
    if (dir)
        closedir(dir);
    return n;
}
