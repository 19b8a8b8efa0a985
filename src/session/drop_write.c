/* Writing into the drop (see drop.h): straight into the folder, or through the helper, whose group may.
 *
 * A file is created for its owner alone, written, made complete by its mode, synced, and then the folder. Where the
 * folder cannot be opened for reading it cannot be synced by itself; there the helper does what it can
 * (src/drop/posthouse-drop.c). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "base/codec.h"
#include "base/env.h"
#include "base/pack.h"
#include "session/drop.h"

enum { PIECE_MAX = 65536, FLUSH_AT = 32768, NAME_BYTES = 16 };

static int fail(struct drop_writer *w, int error, const char *what)
{
    if (!w->failed) {
        w->failed = error;
        snprintf(w->why, sizeof(w->why), "%s: %s", what, strerror(-error));
    }
    return w->failed;
}

static void close_all(struct drop_writer *w)
{
    int *fds[] = { &w->fd, &w->folder, &w->answer };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (*fds[i] >= 0)
            close(TAKE_FD(*fds[i]));
    buf_done(&w->out);
}

/* 0: a file of ours is open in the folder. */
static int create(struct drop_writer *w, int folder)
{
    uint8_t id[NAME_BYTES];
    env_system.random(id, sizeof(id));
    b32_id_encode(id, w->name);
    w->name[B32_ID_LEN] = '\0';
    int fd = openat(folder, w->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    w->folder = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    if (w->folder < 0) {
        int error = errno;
        close(fd);
        unlinkat(folder, w->name, 0);
        return -error;
    }
    w->fd = fd;
    return 0;
}

static int pair(int fds[2]) { return pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0; }

const char *drop_helper(void)
{
    static const char *const places[] = { "/usr/lib/posthouse/posthouse-drop",
                                          "/usr/local/lib/posthouse/posthouse-drop" };
    const char *given = secure_getenv("POSTHOUSE_DROP_HELPER");
    if (given && given[0] == '/')
        return given;
    return places[access(places[0], X_OK) < 0 && access(places[1], X_OK) == 0];
}

/* The helper reads the file from its standard input and says its name on its standard output. */
static int start_helper(struct drop_writer *w)
{
    char *argv[] = { (char *)"posthouse-drop", NULL };
    int in[2] = { -1, -1 }, out[2] = { -1, -1 };
    posix_spawn_file_actions_t actions;
    int r = pair(in);
    if (r == 0)
        r = pair(out);
    if (r == 0 && posix_spawn_file_actions_init(&actions) != 0)
        r = -ENOMEM;
    if (r == 0) {
        posix_spawn_file_actions_adddup2(&actions, in[0], 0);
        posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        r = -posix_spawn(&w->helper, drop_helper(), &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    if (r == 0) {
        w->fd = TAKE_FD(in[1]);
        w->answer = TAKE_FD(out[0]);
    } else {
        w->helper = 0;
    }
    int rest[] = { in[0], in[1], out[0], out[1] };
    for (size_t i = 0; i < ARRAY_LEN(rest); i++)
        if (rest[i] >= 0)
            close(rest[i]);
    return r;
}

int drop_begin(struct drop_writer *w, int folder, const struct drop_envelope *e)
{
    *w = (struct drop_writer){ .out = BUF(DROP_HEAD_MAX + 4 * PIECE_MAX), .folder = -1, .fd = -1, .answer = -1 };
    int r = drop_encode(&w->out, e);
    if (r < 0) {
        fail(w, r, "the envelope of the message cannot be written down");
        close_all(w);
        return r;
    }
    r = folder >= 0 ? create(w, folder) : -EACCES;
    if (r == -EACCES || r == -EPERM || r == -EROFS)
        r = start_helper(w);
    if (r < 0) {
        fail(w, r, w->name[0] || folder >= 0 ? "the drop of this host does not take the message" : drop_helper());
        close_all(w);
    }
    return r;
}

static int write_whole(int fd, str s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno != EINTR)
            return -errno;
        s = str_from(s, n > 0 ? (size_t)n : 0);
    }
    return 0;
}

/* As the helper reads them: it must see where the message ends, and not only that its caller has. */
static int write_pieces(int fd, str s)
{
    char length[4];
    int r = 0;
    while (s.n && r == 0) {
        str piece = str_first(s, PIECE_MAX);
        put_u32(length, (uint32_t)piece.n);
        r = write_whole(fd, str_of(length, sizeof(length)));
        if (r == 0)
            r = write_whole(fd, piece);
        s = str_from(s, PIECE_MAX);
    }
    return r;
}

/* last: for the helper the end is part of it. */
static int write_out(struct drop_writer *w, bool last)
{
    /* a helper that has ended must not end its caller */
    const struct timespec none = { 0 };
    sigset_t pipe, before, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    int r = w->helper ? write_pieces(w->fd, buf_str(&w->out)) : write_whole(w->fd, buf_str(&w->out));
    if (r == 0 && last && w->helper)
        r = write_whole(w->fd, S("\0\0\0\0"));
    if (r == -EPIPE && !was_pending)
        while (sigtimedwait(&pipe, NULL, &none) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    buf_clear(&w->out);
    return r < 0 && r != -EPIPE ? fail(w, r, "the message could not be written into the drop") : r;
}

int drop_add(struct drop_writer *w, str piece)
{
    while (!w->failed && piece.n) {
        int r = drop_lines_feed(&w->lines, str_first(piece, PIECE_MAX), &w->out);
        if (r < 0)
            return fail(w, r, "no memory for the message");
        piece = str_from(piece, PIECE_MAX);
        r = w->out.n >= FLUSH_AT ? write_out(w, false) : 0;
        if (r == -EPIPE) /* its exit status says why */
            return drop_end(w);
    }
    return w->failed;
}

/* The file's owner may execute it: it is complete. */
static int complete(struct drop_writer *w)
{
    if (fchmod(w->fd, 0744) < 0 || fsync(w->fd) < 0)
        return -errno;
    _cleanup_close_ int folder = openat(w->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder < 0 || fsync(folder) == 0 || errno == EINVAL ? 0 : -errno;
}

/* What the helper has to say, and its exit status. Without the end of the message it throws it away. */
static int end_helper(struct drop_writer *w)
{
    size_t n = 0;
    int status;
    close(TAKE_FD(w->fd));
    for (ssize_t got = 1; got > 0 && n < sizeof(w->name) - 1;) {
        got = read(w->answer, w->name + n, sizeof(w->name) - 1 - n);
        n += got > 0 ? (size_t)got : 0;
        got = got < 0 && errno == EINTR ? 1 : got;
    }
    str line = str_trim(str_of(w->name, n));
    w->name[line.n] = '\0';
    while (waitpid(w->helper, &status, 0) < 0)
        if (errno != EINTR)
            return -ECHILD;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && line.n == B32_ID_LEN)
        return 0;
    w->name[0] = '\0';
    if (!WIFEXITED(status))
        return -EINTR;
    switch (WEXITSTATUS(status)) {
    case 65: return -EBADMSG;
    case 69: return -EFBIG;
    case 73: return -ENOENT;
    case 74: return -ENOSPC;
    case 77: return -EACCES;
    case 126: case 127: return -ENOENT;
    default: return -EIO;
    }
}

int drop_end(struct drop_writer *w)
{
    if (w->fd < 0)
        return w->failed ? w->failed : fail(w, -EBADF, "nothing was begun");
    int r = w->failed ? w->failed : write_out(w, true);
    if (w->helper) {
        int e = end_helper(w);
        r = r == 0 || r == -EPIPE ? e : r;
    } else {
        if (r == 0)
            r = complete(w);
        if (r < 0)
            unlinkat(w->folder, w->name, 0);
    }
    if (r < 0)
        fail(w, r, "the drop of this host does not take the message");
    close_all(w);
    return w->failed;
}

void drop_cancel(struct drop_writer *w)
{
    if (!w->out.max || w->fd < 0)
        return;
    w->failed = w->failed ? w->failed : -ECANCELED;
    if (w->helper)
        end_helper(w);
    else
        unlinkat(w->folder, w->name, 0);
    close_all(w);
}

int drop_write(int folder, const struct drop_envelope *e, str prefix, int fd, uint64_t offset, uint64_t length)
{
    struct drop_writer w;
    _cleanup_buf_ struct buf piece = BUF(PIECE_MAX);
    char *p = buf_space(&piece, PIECE_MAX);
    if (!p)
        return -ENOMEM;
    int r = drop_begin(&w, folder, e);
    if (r < 0)
        return r;
    r = drop_add(&w, prefix);
    for (uint64_t done = 0; r == 0 && done < length;) {
        ssize_t n = pread(fd, p, (size_t)MIN(length - done, (uint64_t)PIECE_MAX), (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            r = n < 0 ? -errno : -EIO;
        else
            r = drop_add(&w, str_of(p, (size_t)n));
        done += n > 0 ? (uint64_t)n : 0;
    }
    if (r == 0)
        return drop_end(&w);
    drop_cancel(&w);
    return r;
}
