/* The control socket: see control.h. The path goes through /proc/self/fd, so the 108 bytes of sun_path are always
 * enough. */
#include "admin/control.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include "base/pack.h"

static struct sockaddr_un address(int data_fd)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/control", data_fd);
    return a;
}

int control_listen(int data_fd, unsigned uid, int *out_fd)
{
    struct sockaddr_un a = address(data_fd);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    unlinkat(data_fd, "control", 0);
    mode_t old = umask(0177);
    int r = bind(fd, (struct sockaddr *)&a, sizeof(a));
    int e = errno;
    umask(old);
    if (r < 0)
        return -e;
    if (uid != (unsigned)-1 && fchownat(data_fd, "control", uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (listen(fd, 16) < 0)
        return -errno;
    *out_fd = TAKE_FD(fd);
    return 0;
}

static int ask(int data_fd, str question, unsigned timeout_s, bool *out_ok, struct buf *out_text)
{
    struct sockaddr_un a = address(data_fd);
    struct timeval limit = { .tv_sec = timeout_s };
    _cleanup_buf_ struct buf answer = BUF(CONTROL_ANSWER_MAX + 16);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return -errno;
    if (send(fd, question.p, question.n, MSG_NOSIGNAL) != (ssize_t)question.n ||
        buf_reserve(&answer, CONTROL_ANSWER_MAX + 16) < 0)
        return -errno;
    ssize_t n = recv(fd, answer.p, answer.cap, 0);
    if (n <= 0)
        return n < 0 ? (errno == EAGAIN ? -ETIMEDOUT : -errno) : -ECONNRESET;
    struct unpack u = UNPACK(str_of(answer.p, (size_t)n));
    *out_ok = unpack_u8(&u);
    buf_add(out_text, unpack_str(&u));
    return unpack_end(&u) ? 0 : -EBADMSG;
}

int control_ask(int data_fd, enum control_command command, unsigned timeout_s, bool *out_ok, struct buf *out_text)
{
    char question = (char)command;
    return ask(data_fd, str_of(&question, 1), timeout_s, out_ok, out_text);
}

int control_ask_role(int data_fd, enum role_id role, str question, unsigned timeout_s, bool *out_ok,
                     struct buf *out_text)
{
    _cleanup_buf_ struct buf b = BUF(CONTROL_QUESTION_MAX);
    pack_u8(&b, CONTROL_ROLE);
    pack_u8(&b, (uint8_t)role);
    buf_add(&b, question);
    return b.failed ? b.failed : ask(data_fd, buf_str(&b), timeout_s, out_ok, out_text);
}
