/* The way to a mailbox: see safe_path.h. */
#include "mda/safe_path.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>

enum { SYMLINKS_MAX = 16, PATH_ROOM = 2 * SAFE_PATH_MAX };
#define OPEN_FOLDER (O_PATH | O_NOFOLLOW | O_CLOEXEC)

void mda_result_errno(struct mda_result *r, int e, const char *fmt, ...)
{
    static const struct { int e; uint16_t code; const char *status; } rows[] = {
        { ENOSPC, 452, "4.3.1" }, { EDQUOT, 452, "4.2.2" }, { EFBIG, 452, "4.2.2" }, { ENOMEM, 451, "4.3.0" },
        { EMFILE, 451, "4.3.0" }, { ENFILE, 451, "4.3.0" }, { EIO, 451, "4.3.0" },
    };
    char what[800];
    uint16_t code = 451;
    const char *status = "4.2.0";
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    e = e < 0 ? -e : e;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].e == e) {
            code = rows[i].code;
            status = rows[i].status;
        }
    mda_result_set(r, MDA_DEFERRED, code, status, "%s: %s", what, strerror(e));
}

str safe_path_expand(struct arena *a, const struct mda_user *user, str path, struct mda_result *r)
{
    str home = user->home;
    bool relative = str_starts(path, S("~/"));
    if (relative && !str_starts(home, S("/"))) {
        mda_result_set(r, MDA_DEFERRED, 451, "4.3.5", "%.*s: the user %.*s has no home", STR_ARG(path),
                       STR_ARG(user->name));
        return STR_NONE;
    }
    if (path.n + home.n > SAFE_PATH_MAX || (!relative && !str_starts(path, S("/"))) || str_chr(path, '\0') >= 0) {
        mda_result_set(r, MDA_DEFERRED, 451, "4.3.5", "%.*s is no absolute path, or too long", STR_ARG(path));
        return STR_NONE;
    }
    str out = relative ? arena_printf(a, "%.*s/%.*s", STR_ARG(home), STR_ARG(str_from(path, 2))) : arena_dup(a, path);
    while (out.n > 1 && out.p[out.n - 1] == '/')
        out.n--;
    out = arena_dup(a, out);
    if (!out.p)
        mda_result_errno(r, ENOMEM, "%.*s", STR_ARG(path));
    return out;
}

struct walk {
    const struct mda_user *user;
    str path;                /* for texts */
    struct mda_result *r;
    int fd;                  /* where we are */
    int symlinks;
    struct buf rest;         /* to be walked */
};

static void walk_done(struct walk *w)
{
    if (w->fd >= 0)
        close(w->fd);
    buf_done(&w->rest);
}

static int refuse(struct walk *w, str name, const char *why)
{
    mda_result_set(w->r, MDA_DEFERRED, 451, "4.3.5", "%.*s is refused: \"%.*s\" in it %s", STR_ARG(w->path),
                   STR_ARG(name), why);
    return -1;
}

static int no_way(struct walk *w, int e)
{
    mda_result_errno(w->r, e, "%.*s cannot be reached", STR_ARG(w->path));
    return -1;
}

static bool is_trusted(const struct mda_user *user, uid_t uid)
{
    return uid == 0 || uid == user->uid;
}

static int check_folder(struct walk *w, str name, const struct stat *st)
{
    if (!S_ISDIR(st->st_mode))
        return no_way(w, ENOTDIR);
    if (!is_trusted(w->user, st->st_uid))
        return refuse(w, name, "belongs to somebody else");
    if (st->st_mode & S_IWOTH && !(st->st_mode & S_ISVTX))
        return refuse(w, name, "may be written to by everybody");
    if (st->st_mode & S_IWGRP && !(st->st_mode & (S_ISVTX | S_ISGID)) && st->st_gid != w->user->gid)
        return refuse(w, name, "may be written to by its group");
    return 0;
}

static void step_to(struct walk *w, int fd)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = fd;
}

/* What the symlink (open) says comes before the rest. */
static int follow(struct walk *w, str name, int link, const struct stat *st)
{
    char target[SAFE_PATH_MAX];
    ssize_t n = readlinkat(link, "", target, sizeof(target));
    if (!is_trusted(w->user, st->st_uid))
        return refuse(w, name, "is a symlink of somebody else");
    if (n <= 0 || (size_t)n >= sizeof(target) || ++w->symlinks > SYMLINKS_MAX)
        return no_way(w, n < 0 ? errno : ELOOP);
    _cleanup_buf_ struct buf rest = w->rest;
    w->rest = BUF(PATH_ROOM);
    buf_add(&w->rest, str_of(target, (size_t)n));
    buf_addc(&w->rest, '/');
    buf_add(&w->rest, buf_str(&rest));
    if (w->rest.failed)
        return no_way(w, ENAMETOOLONG);
    if (target[0] != '/')
        return 0;
    int root = open("/", OPEN_FOLDER | O_DIRECTORY);
    if (root < 0)
        return no_way(w, errno);
    step_to(w, root);
    return 0;
}

static int step(struct walk *w, str name)
{
    char z[NAME_MAX + 1];
    if (name.n > NAME_MAX)
        return no_way(w, ENAMETOOLONG);
    memcpy(z, name.p, name.n);
    z[name.n] = '\0';
    struct stat st;
    _cleanup_close_ int fd = openat(w->fd, z, OPEN_FOLDER);
    if (fd < 0 || fstat(fd, &st) < 0)
        return no_way(w, errno);
    if (S_ISLNK(st.st_mode))
        return follow(w, str_z(z), fd, &st);
    if (check_folder(w, str_z(z), &st) < 0)
        return -1;
    step_to(w, TAKE_FD(fd));
    return 0;
}

static int walk(struct walk *w)
{
    while (w->rest.n) {
        str rest = buf_str(&w->rest), name = str_cut(&rest, '/');
        char z[NAME_MAX + 1];
        size_t used = w->rest.n - rest.n;
        if (name.n > NAME_MAX)
            return no_way(w, ENAMETOOLONG);
        if (name.n)
            memcpy(z, name.p, name.n);
        name = str_of(z, name.n);
        buf_drop(&w->rest, used);
        if (name.n && step(w, name) < 0)
            return -1;
    }
    return 0;
}

/* Where the walk begins: the home, which is opened as it is, or the root. */
static int begin(struct walk *w, str folder)
{
    str home = w->user->home;
    while (home.n && home.p[home.n - 1] == '/')
        home.n--;
    bool below = home.n && str_starts(folder, home) && (folder.n == home.n || folder.p[home.n] == '/');
    char z[SAFE_PATH_MAX + 1] = "/";
    if (below) {
        memcpy(z, home.p, home.n);
        z[home.n] = '\0';
    }
    struct stat st;
    w->fd = open(z, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->fd < 0 || fstat(w->fd, &st) < 0)
        return no_way(w, errno);
    if (below && check_folder(w, home, &st) < 0)
        return -1;
    buf_add(&w->rest, below ? str_from(folder, home.n) : folder);
    return w->rest.failed ? no_way(w, w->rest.failed) : 0;
}

int safe_path_parent(const struct mda_user *user, str path, const char **out_name, struct stat *out_st,
                     struct mda_result *r)
{
    _cleanup_(walk_done) struct walk w = { .user = user, .path = path, .r = r, .fd = -1, .rest = BUF(PATH_ROOM) };
    ptrdiff_t slash = str_rchr(path, '/');
    str name = slash < 0 ? STR_NONE : str_from(path, (size_t)slash + 1);
    if (!name.n || str_eq(name, S(".")) || str_eq(name, S("..")) || path.n > SAFE_PATH_MAX) {
        mda_result_set(r, MDA_DEFERRED, 451, "4.3.5", "%.*s names no file", STR_ARG(path));
        return -1;
    }
    struct stat st;
    if (begin(&w, str_first(path, (size_t)slash)) < 0 || walk(&w) < 0)
        return -1;
    if (fstat(w.fd, &st) < 0)
        return no_way(&w, errno);
    *out_name = name.p;
    *out_st = st;
    return TAKE_FD(w.fd);
}
