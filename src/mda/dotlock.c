/* Lock files of mboxes: see dotlock.h. */
#include "mda/dotlock.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include "base/env.h"

#define SUFFIX S(".lock")
#define NOTE S("append ")

static void host_name(char out[HOST_NAME_MAX + 1])
{
    if (gethostname(out, HOST_NAME_MAX + 1) < 0)
        out[0] = '\0';
    out[HOST_NAME_MAX] = '\0';
}

static void head(struct buf *out)
{
    char host[HOST_NAME_MAX + 1];
    host_name(host);
    buf_addf(out, "%d:%s\n", (int)getpid(), host);
    buf_add(out, NOTE);
}

/* The lock file as it is found. */
struct found {
    struct stat st;
    char text[DOTLOCK_NOTE_MAX + HOST_NAME_MAX + 64];
    bool is_here, is_ours;       /* of this host; made by a delivery of ours */
    uint64_t pid;                /* 0: it names none */
    struct dotlock_note note;
};

static void read_note(struct found *f, str line)
{
    str size = str_from(line, NOTE.n), from = size;
    size = str_cut(&from, ' ');
    f->is_ours = str_starts(line, NOTE) && f->is_here && f->st.st_uid == geteuid();
    if (!f->is_ours || str_u64(size, INT64_MAX, &f->note.size) < 0 || from.n + 2 > sizeof(f->note.from))
        return;
    memcpy(f->note.from, from.p, from.n);
    memcpy(f->note.from + from.n, "\n", 2);
    f->note.is = from.n > 0;
}

/* 0, or negative errno: it cannot be read. */
static int look(int dir, const char *name, struct found *f)
{
    char host[HOST_NAME_MAX + 1];
    *f = (struct found){ .pid = 0 };
    host_name(host);
    if (fstatat(dir, name, &f->st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != f->st.st_ino)
        return 0;
    ssize_t n = read(fd, f->text, sizeof(f->text));
    str text = str_of(f->text, n > 0 ? (size_t)n : 0), first = str_cut(&text, '\n'), where = first;
    str pid = str_trim(str_cut(&where, ':'));
    where = str_trim(where);
    if (str_u64(pid, INT32_MAX, &f->pid) < 0)
        f->pid = 0;
    f->is_here = f->pid && (!where.n || str_eq(where, str_z(host)));
    f->st = st;
    read_note(f, str_chr(text, '\n') >= 0 ? str_cut(&text, '\n') : STR_NONE);
    return 0;
}

static bool is_stale(const struct found *f)
{
    int64_t age = (int64_t)(env_system.wall_us() / 1000000) - (int64_t)f->st.st_mtim.tv_sec;
    if (f->pid)
        return f->is_here && age > DOTLOCK_DEAD_S && kill((pid_t)f->pid, 0) < 0 && errno == ESRCH;
    return age > DOTLOCK_UNNAMED_S;
}

/* Only if it is still the file that was judged. Deliveries of ours do not come here at the same time: they hold the
 * mbox's fcntl lock. */
static bool break_lock(int dir, const char *name, const struct found *f)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == f->st.st_ino &&
           st.st_dev == f->st.st_dev && st.st_mtim.tv_sec == f->st.st_mtim.tv_sec &&
           st.st_mtim.tv_nsec == f->st.st_mtim.tv_nsec && unlinkat(dir, name, 0) == 0;
}

/* A lock that a killed delivery of ours has left becomes ours as it is: its note stays until the next one. */
static bool adopt(struct dotlock *l, const struct found *f)
{
    struct stat st;
    int fd = openat(l->dir, l->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == f->st.st_ino && st.st_dev == f->st.st_dev) {
        l->fd = fd;
        return true;
    }
    if (fd >= 0)
        close(fd);
    return false;
}

/* By a file without a name, which leaves nothing behind if we are killed. 0, -EEXIST, or why that is not possible. */
static int link_nameless(struct dotlock *l, str text)
{
    char path[64];
    _cleanup_close_ int fd = openat(l->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (write(fd, text.p, text.n) != (ssize_t)text.n)
        return -EIO;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, path, l->dir, l->name, AT_SYMLINK_FOLLOW) < 0)
        return -errno;
    l->fd = TAKE_FD(fd);
    return 0;
}

/* By a file of a unique name; NFS may say "no" to a link that was made, so its count decides. */
static int link_named(struct dotlock *l, str text)
{
    char name[HOST_NAME_MAX + 64], host[HOST_NAME_MAX + 1];
    struct stat st;
    uint32_t random;
    host_name(host);
    env_system.random(&random, sizeof(random));
    snprintf(name, sizeof(name), ".lk%08x.%d.%s", random, (int)getpid(), host);
    for (char *p = name; *p; p++)
        *p = *p == '/' ? '_' : *p;
    _cleanup_close_ int fd = openat(l->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = write(fd, text.p, text.n) == (ssize_t)text.n ? 0 : -ENOSPC;
    if (r == 0 && linkat(l->dir, name, l->dir, l->name, 0) < 0)
        r = -errno;
    if (fstat(fd, &st) == 0 && st.st_nlink == 2)
        r = 0;
    unlinkat(l->dir, name, 0);
    if (r == 0)
        l->fd = TAKE_FD(fd);
    return r;
}

static int make(struct dotlock *l)
{
    char room[HOST_NAME_MAX + 64];
    struct buf text = { .p = room, .cap = sizeof(room), .max = sizeof(room) };
    head(&text);
    buf_addc(&text, '\n');
    int r = link_nameless(l, buf_str(&text));
    return r == 0 || r == -EEXIST ? r : link_named(l, buf_str(&text));
}

static enum dotlock_answer busy(const struct dotlock *l, const struct found *f, char *out_who, size_t size)
{
    if (f->pid)
        snprintf(out_who, size, "%s of process %u%s", l->name, (unsigned)f->pid, f->is_here ? "" : " of another host");
    else
        snprintf(out_who, size, "%s of user %u", l->name, (unsigned)f->st.st_uid);
    return DOTLOCK_BUSY;
}

enum dotlock_answer dotlock_take(struct dotlock *l, int dir, const char *mbox, struct dotlock_note *out_left,
                                 char *out_who, size_t size)
{
    *l = (struct dotlock){ .dir = dir, .fd = -1 };
    out_left->is = false;
    if (str_z(mbox).n + SUFFIX.n > NAME_MAX)
        return DOTLOCK_NONE;
    snprintf(l->name, sizeof(l->name), "%s.lock", mbox);
    for (int i = 0; i < 3; i++) {
        struct found f;
        int r = make(l);
        if (r == 0)
            return DOTLOCK_HELD;
        int there = look(dir, l->name, &f);
        if (there == -ENOENT && r == -EEXIST)
            continue; /* it went in this moment */
        if (there < 0)
            return DOTLOCK_NONE;
        if (f.is_ours && adopt(l, &f)) {
            *out_left = f.note;
            return DOTLOCK_HELD;
        }
        if (!is_stale(&f) || !break_lock(dir, l->name, &f))
            return busy(l, &f, out_who, size);
    }
    snprintf(out_who, size, "%s, which comes and goes", l->name);
    return DOTLOCK_BUSY;
}

void dotlock_write_note(struct dotlock *l, uint64_t size, str from)
{
    char room[DOTLOCK_NOTE_MAX + HOST_NAME_MAX + 64];
    struct buf text = { .p = room, .cap = sizeof(room), .max = sizeof(room) };
    if (l->fd < 0 || from.n >= DOTLOCK_NOTE_MAX)
        return;
    head(&text);
    buf_addu(&text, size);
    buf_addc(&text, ' ');
    buf_add(&text, from);
    if (!text.failed && pwrite(l->fd, text.p, text.n, 0) < 0)
        return; /* then a killed append is undone by nobody, and what is left of it is a shorter message */
}

void dotlock_release(struct dotlock *l)
{
    struct stat mine, there;
    if (l->fd < 0)
        return;
    if (fstat(l->fd, &mine) == 0 && fstatat(l->dir, l->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) /* nobody has broken it */
        unlinkat(l->dir, l->name, 0);
    close(l->fd);
    l->fd = -1;
}
