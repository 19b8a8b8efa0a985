/* Appending to an mbox: see mbox_file.h. */
#include "mda/mbox_file.h"
#include <errno.h>
#include <fcntl.h>
#include "base/env.h"
#include "mda/output.h"
#include "mda/safe_path.h"

#define FROM S("From ")
#define OPEN_FLAGS (O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
enum { TAIL_AT_ONCE = 65536, OPEN_TRIES = 5 };

static int refuse(const struct mbox_file *f, const char *why, struct mda_result *r)
{
    mda_result_set(r, MDA_DEFERRED, 451, "4.2.0", "mbox %.*s is refused: %s", STR_ARG(f->path), why);
    return -1;
}

static int no_use(const struct mbox_file *f, int e, const char *what, struct mda_result *r)
{
    mda_result_errno(r, e, "mbox %.*s %s", STR_ARG(f->path), what);
    return -1;
}

static int check_file(const struct mbox_file *f, const struct mda_user *user, const struct stat *st,
                      const struct stat *dir, struct mda_result *r)
{
    if (!S_ISREG(st->st_mode))
        return refuse(f, "it is no regular file", r);
    if (st->st_nlink > 1)
        return refuse(f, "it has more than one name (hard links)", r);
    if (st->st_nlink == 0)
        return refuse(f, "it was removed just now", r);
    if (st->st_uid != user->uid)
        return refuse(f, "it belongs to somebody else", r);
    if (st->st_mode & S_IWOTH)
        return refuse(f, "everybody may write to it", r);
    bool custom = dir->st_uid != user->uid && dir->st_mode & (S_ISGID | S_ISVTX) && dir->st_gid == st->st_gid;
    if (st->st_mode & S_IWGRP && !custom)
        return refuse(f, "its group may write to it", r);
    return 0;
}

/* Opens it, or makes it. */
static int open_file(struct mbox_file *f, const char *name, struct mda_result *r)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        /* O_NOATIME: our look at its ends must not hide new mail. Only the owner may ask for it. */
        f->fd = openat(f->dir, name, OPEN_FLAGS | O_NOATIME);
        if (f->fd < 0 && errno == EPERM)
            f->fd = openat(f->dir, name, OPEN_FLAGS);
        if (f->fd < 0 && errno == ENOENT) {
            f->fd = openat(f->dir, name, OPEN_FLAGS | O_CREAT | O_EXCL, 0600);
            f->created = f->fd >= 0;
        }
        if (f->fd >= 0 || errno != EEXIST)
            break;
    }
    if (f->fd >= 0)
        return 0;
    if (errno == ELOOP)
        return refuse(f, "it is a symlink", r);
    return no_use(f, errno, f->created ? "cannot be made" : "cannot be opened", r);
}

static int lock_fcntl(struct mbox_file *f, struct mda_result *r)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(f->fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return no_use(f, errno, "cannot be locked", r);
    lock = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
    bool known = fcntl(f->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0;
    char who[64] = "another delivery";
    if (known)
        snprintf(who, sizeof(who), "process %d", (int)lock.l_pid);
    mda_result_set(r, MDA_DEFERRED, 451, "4.2.0", "mbox %.*s is locked (fcntl) by %s", STR_ARG(f->path), who);
    return 1;
}

static int lock_dot(struct mbox_file *f, const char *name, struct dotlock_note *out_left, struct mda_result *r)
{
    char who[400];
    enum dotlock_answer answer = dotlock_take(&f->dotlock, f->dir, name, out_left, who, sizeof(who));
    f->fcntl_alone = answer == DOTLOCK_NONE;
    if (answer != DOTLOCK_BUSY)
        return 0;
    mda_result_set(r, MDA_DEFERRED, 451, "4.2.0", "mbox %.*s is locked by %s", STR_ARG(f->path), who);
    return 1;
}

/* Is what begins at `at` that From_ line and no other behind it? Quoting lets no line of a message begin so. */
static bool is_one_message(int fd, uint64_t at, uint64_t end, str from)
{
    _cleanup_free_ char *block = malloc(TAIL_AT_ONCE + 8);
    size_t kept = 0; /* of the block before, so that "\nFrom " cannot hide between two */
    bool first = true;
    if (!block)
        return false;
    while (at < end) {
        ssize_t n = pread(fd, block + kept, TAIL_AT_ONCE, (off_t)at);
        if (n <= 0)
            return false;
        str text = str_of(block, kept + (size_t)n);
        str seen = str_first(text, from.n);
        if (first && !str_eq(seen, str_first(from, seen.n))) /* it may be torn within its first line */
            return false;
        if (str_find(text, S("\nFrom ")) >= 0)
            return false;
        first = false;
        at += (uint64_t)n;
        kept = MIN(text.n, (size_t)6);
        memmove(block, text.p + text.n - kept, kept);
    }
    return true;
}

/* Takes away what a killed delivery has left. 0 or negative errno. */
static int undo_left(struct mbox_file *f, const struct dotlock_note *left)
{
    uint64_t at = left->size;
    char c;
    if (!left->is || at >= f->size)
        return 0;
    while (at < f->size && at - left->size < 2 && pread(f->fd, &c, 1, (off_t)at) == 1 && c == '\n')
        at++; /* what mended the end before it */
    if (at < f->size && !is_one_message(f->fd, at, f->size, str_z(left->from)))
        return 0;
    if (ftruncate(f->fd, (off_t)left->size) < 0)
        return -errno;
    f->size = left->size;
    return 0;
}

static int look_at_ends(struct mbox_file *f, struct mda_result *r)
{
    char begin[5], end[2] = { 0 };
    f->mend[0] = '\0';
    if (f->size == 0)
        return 0;
    if (pread(f->fd, begin, sizeof(begin), 0) != (ssize_t)sizeof(begin) || !str_eq(str_of(begin, 5), FROM))
        return refuse(f, "it is not empty and does not begin with \"From \", so it is no mbox", r);
    if (pread(f->fd, end, 2, (off_t)f->size - 2) != 2)
        return no_use(f, EIO, "cannot be read", r);
    const char *mend = end[1] != '\n' ? "\n\n" : end[0] != '\n' ? "\n" : "";
    memcpy(f->mend, mend, str_z(mend).n + 1);
    return 0;
}

/* Locked: is it still what the name stands for, and where does it end? 2: no, open it again. */
static int look_again(struct mbox_file *f, const struct mda_user *user, const char *name, const struct stat *dir,
                      struct mda_result *r)
{
    struct stat st, there;
    if (fstat(f->fd, &st) < 0)
        return no_use(f, errno, "cannot be looked at", r);
    if (fstatat(f->dir, name, &there, AT_SYMLINK_NOFOLLOW) < 0 || there.st_ino != st.st_ino ||
        there.st_dev != st.st_dev)
        return 2;
    f->size = (uint64_t)st.st_size;
    return check_file(f, user, &st, dir, r);
}

static int open_once(struct mbox_file *f, const struct mda_user *user, struct mda_result *r)
{
    struct dotlock_note left;
    struct stat st, dir;
    const char *name;
    f->dir = safe_path_parent(user, f->path, &name, &dir, r);
    if (f->dir < 0 || open_file(f, name, r) < 0)
        return -1;
    if (fstat(f->fd, &st) < 0)
        return no_use(f, errno, "cannot be looked at", r);
    if (check_file(f, user, &st, &dir, r) < 0)
        return -1;
    int e = lock_fcntl(f, r);
    if (e == 0)
        e = lock_dot(f, name, &left, r);
    if (e == 0)
        e = look_again(f, user, name, &dir, r);
    if (e != 0)
        return e;
    int undone = undo_left(f, &left);
    if (undone < 0)
        return no_use(f, undone, "has a torn message of a killed delivery at its end, which cannot be removed", r);
    f->begun = f->size;
    return look_at_ends(f, r);
}

int mbox_open(struct mbox_file *f, const struct mda_user *user, str path, struct mda_result *r)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        *f = MBOX_FILE_CLOSED;
        f->path = path;
        int e = open_once(f, user, r);
        if (e == 0)
            return 0;
        mbox_close(f);
        if (e != 2)
            return e;
    }
    mda_result_set(r, MDA_DEFERRED, 451, "4.2.0", "mbox %.*s is replaced all the time", STR_ARG(path));
    return 1;
}

int mbox_append(struct mbox_file *f, struct text *text, const struct mda_message *m, struct mda_result *r,
                uint64_t *out_bytes)
{
    struct text_file a = { .sink.write = text_file_write, .fd = f->fd };
    _cleanup_buf_ struct buf from = BUF(DOTLOCK_NOTE_MAX);
    output_from_line(&from, m->sender, text_time(m));
    if (!from.failed)
        dotlock_write_note(&f->dotlock, f->size, buf_str(&from));
    int e = text_write(text, m, TEXT_MBOX, str_z(f->mend), &a.sink);
    if (e < 0) {
        if (ftruncate(f->fd, (off_t)f->size) < 0)
            return no_use(f, errno, "has a part of a message at its end that cannot be removed", r);
        return no_use(f, e, a.sink.failed ? "cannot be written" : "waits, for the message cannot be read", r);
    }
    *out_bytes = a.sink.bytes;
    f->size += a.sink.bytes;
    f->mend[0] = '\0';
    return 0;
}

void mbox_undo(struct mbox_file *f)
{
    if (f->fd >= 0 && f->size > f->begun && ftruncate(f->fd, (off_t)f->begun) == 0)
        f->size = f->begun;
}

static void keep_atime_below(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_atim.tv_sec < st.st_mtim.tv_sec)
        return;
    struct timespec times[2] = { { .tv_sec = st.st_mtim.tv_sec - 1 }, { .tv_nsec = UTIME_OMIT } };
    if (futimens(fd, times) < 0)
        return; /* a courtesy */
}

/* A new name is on the disk only when its folder is. A folder that may not be read (1733) cannot be synced. */
static int sync_folder(const struct mbox_file *f)
{
    _cleanup_close_ int fd = openat(f->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0 : -errno;
    return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

int mbox_sync(struct mbox_file *f, bool on_disk, struct mda_result *r)
{
    keep_atime_below(f->fd);
    int e = on_disk ? 0 : fsync(f->fd) < 0 ? -errno : f->created ? sync_folder(f) : 0;
    if (e == 0) {
        f->begun = f->size;
        f->created = false;
        return 0;
    }
    mbox_undo(f);
    return no_use(f, e, "cannot be brought to the disk", r);
}

void mbox_close(struct mbox_file *f)
{
    dotlock_release(&f->dotlock);
    if (f->fd >= 0)
        close(f->fd);
    if (f->dir >= 0)
        close(f->dir);
    f->fd = f->dir = -1;
}
