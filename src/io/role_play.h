/* For tests of roles: a role runs in a child process, the test plays the master, the neighbours and the clients. Every
 * wait is bounded. Included after cmocka.h. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "io/role.h"
#include "io/tls_play.h"

#define PLAY_PATIENCE_MS 20000
#define PLAY_SERVICES    8

struct role_play {
    char dir[128];
    int dir_fd;
    pid_t pid;
    int master;              /* our end of the role's link to its master */
    int peer[ROLE_COUNT];    /* our ends of its links to neighbours, -1 none */
    uint64_t generation;
    int listen_fd[PLAY_SERVICES];
    uint16_t port[PLAY_SERVICES];
    size_t n_listeners;
    struct buf settings;     /* of the configuration, without listeners */
    const char *accounts, *aliases;
    char frame[2 + IPC_FRAME_MAX]; /* the last one received */
    struct unpack in;
    int fd;
};

static inline int play_remove(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st;
    (void)flag;
    (void)f;
    return remove(path);
}

static inline void play_init(struct role_play *p)
{
    *p = (struct role_play){ .master = -1,
                             .fd = -1,
                             .settings = BUF(65536),
                             .accounts = "anna@example.org\nbob@example.org\n",
                             .aliases = "info@example.org: anna@example.org\naway@example.org: x@far.example\n" };
    const char *tmp = getenv("TMPDIR");
    snprintf(p->dir, sizeof(p->dir), "%s/posthouse-role-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    p->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(p->dir_fd >= 0);
    for (int i = 0; i < ROLE_COUNT; i++)
        p->peer[i] = -1;
    buf_add(&p->settings,
            S("hostname mx.example.org\naliases aliases\ndomain example.org { postmaster anna@example.org }\n"));
}

/* A listening socket on a free port; the line goes into the configuration. */
static inline size_t play_listen(struct role_play *p, const char *service)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    size_t i = p->n_listeners++;
    assert_true(i < PLAY_SERVICES);
    p->listen_fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(p->listen_fd[i], (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(p->listen_fd[i], 64), 0);
    assert_int_equal(getsockname(p->listen_fd[i], (struct sockaddr *)&a, &n), 0);
    p->port[i] = ntohs(a.sin_port);
    buf_addf(&p->settings, "listen %s 127.0.0.1:%u\n", service, p->port[i]);
    return i;
}

static inline int play_try_send(int to, unsigned type, str payload, const int *fds, size_t n_fds)
{
    char frame[2 + IPC_FRAME_MAX + 64] = { (char)type, 0 };
    union { char space[CMSG_SPACE(4 * sizeof(int))]; struct cmsghdr align; } control = { 0 };
    struct iovec iov = { .iov_base = frame, .iov_len = payload.n + 2 };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    assert_true(payload.n + 2 <= sizeof(frame));
    if (payload.n)
        memcpy(frame + 2, payload.p, payload.n);
    if (n_fds) {
        m.msg_control = control.space;
        m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    for (;;) {
        if (sendmsg(to, &m, MSG_NOSIGNAL) >= 0)
            return 0;
        struct pollfd wait = { .fd = to, .events = POLLOUT };
        if (errno != EAGAIN || poll(&wait, 1, PLAY_PATIENCE_MS) != 1)
            return -errno;
    }
}

/* The payload is emptied for the next. */
static inline void play_send(int to, enum ipc_type type, struct buf *payload, int fd)
{
    assert_int_equal(play_try_send(to, type, payload ? buf_str(payload) : STR_NONE, &fd, fd >= 0), 0);
    if (payload)
        buf_done(payload);
}

/* Bytes of the next frame into p->frame; 0: the other side has closed; -EAGAIN: nothing came. */
static inline ssize_t play_receive(struct role_play *p, int from, int patience_ms)
{
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
    struct iovec iov = { .iov_base = p->frame, .iov_len = sizeof(p->frame) };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)
    };
    struct pollfd wait = { .fd = from, .events = POLLIN };
    if (p->fd >= 0)
        close(TAKE_FD(p->fd));
    if (poll(&wait, 1, patience_ms) != 1)
        return -EAGAIN;
    ssize_t n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n < 0 && errno != ECONNRESET ? -errno : 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        memcpy(&p->fd, CMSG_DATA(c), sizeof(int));
    p->in = UNPACK(str_of(p->frame + 2, (size_t)n - 2));
    return n;
}

/* The next frame must be of this type; its fields are in p->in. */
static inline void play_expect(struct role_play *p, int from, enum ipc_type type)
{
    ssize_t n = play_receive(p, from, PLAY_PATIENCE_MS);
    if (n < 2)
        fail_msg("%s was expected, but %s", ipc_name[type], n == 0 ? "the link was closed" : "nothing came");
    if ((uint8_t)p->frame[0] != type)
        fail_msg("%s was expected, but %s came", ipc_name[type], ipc_name[(uint8_t)p->frame[0]]);
}

static inline void play_closed(struct role_play *p, int from)
{
    assert_int_equal(play_receive(p, from, PLAY_PATIENCE_MS), 0);
}
static inline void play_quiet(struct role_play *p, int from, int ms)
{
    assert_int_equal(play_receive(p, from, ms), -EAGAIN);
}

/* Compiles the configuration into a memfd as the master sends it. */
static inline int play_blob(struct role_play *p)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    _cleanup_buf_ struct buf bundle = BUF(1 << 20), directory = BUF(1 << 20), blob = BUF(4 << 20);
    struct conf_error e = { 0 };
    const struct conf *c = NULL;
    conf_bundle_begin(&bundle, S("posthouse.conf"));
    conf_bundle_add(&bundle, S("posthouse.conf"), buf_str(&p->settings));
    conf_bundle_add(&bundle, S("accounts"), str_z(p->accounts));
    conf_bundle_add(&bundle, S("aliases"), str_z(p->aliases));
    if (conf_parse(&a, buf_str(&bundle), &c, &e) < 0 ||
        directory_compile(&a, buf_str(&bundle), c, p->generation, &directory, &e) < 0)
        fail_msg("%.*s:%u: %.*s", STR_ARG(e.file), e.line, STR_ARG(e.text));
    pack_str(&blob, buf_str(&bundle));
    pack_str(&blob, buf_str(&directory));
    int fd = memfd_create("play", MFD_CLOEXEC);
    assert_true(fd >= 0 && write(fd, blob.p, blob.n) == (ssize_t)blob.n);
    return fd;
}

/* A generation: blob and APPLY. The role's answer is the caller's to expect. */
static inline void play_configure(struct role_play *p)
{
    p->generation++;
    struct buf b = BUF(64);
    _cleanup_close_ int blob = play_blob(p);
    pack_u64(&b, p->generation);
    play_send(p->master, IPC_CONFIG, &b, blob);
    b = BUF(64);
    pack_u64(&b, p->generation);
    play_send(p->master, IPC_APPLY, &b, -1);
}

static inline void play_file(struct role_play *p, const char *name, str content)
{
    struct buf b = BUF(256);
    _cleanup_close_ int fd = memfd_create("file", MFD_CLOEXEC);
    assert_true(fd >= 0 && write(fd, content.p, content.n) == (ssize_t)content.n);
    pack_str(&b, str_z(name));
    play_send(p->master, IPC_FILE, &b, fd);
}

static inline void play_folder(struct role_play *p, const char *name, const char *path)
{
    struct buf b = BUF(256);
    mkdirat(p->dir_fd, path, 0700);
    _cleanup_close_ int fd = openat(p->dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    pack_str(&b, str_z(name));
    play_send(p->master, IPC_FOLDER, &b, fd);
}

/* A new neighbour; the one before is cut off. */
static inline void play_peer(struct role_play *p, enum role_id id)
{
    int pair[2];
    struct buf b = BUF(16);
    assert_int_equal(ipc_pair(pair), 0);
    if (p->peer[id] >= 0)
        close(p->peer[id]);
    p->peer[id] = pair[0];
    pack_u8(&b, (uint8_t)id);
    play_send(p->master, IPC_PEER, &b, pair[1]);
    close(pair[1]);
}

/* Starts the process; it has nothing yet. Its standard error goes to DIR/stderr. */
static inline void play_fork(struct role_play *p, int (*run)(void))
{
    int pair[2];
    assert_int_equal(ipc_pair(pair), 0);
    fflush(NULL);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        int err = openat(p->dir_fd, "stderr", O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(err, STDERR_FILENO);
        int link = fcntl(pair[1], F_DUPFD, 100);
        for (int fd = 3; fd < 100; fd++)
            close(fd);
        dup2(link, ROLE_CONTROL_FD);
        close(link);
        _exit(run());
    }
    close(pair[1]);
    p->master = pair[0];
}

/* All that a role gets before START; then START and READY. peers: until ROLE_MASTER. */
static inline void play_begin(struct role_play *p, const char *data)
{
    play_configure(p);
    if (data)
        play_folder(p, "data", data);
    play_folder(p, "trace", "trace");
    for (size_t i = 0; i < p->n_listeners; i++) {
        struct buf b = BUF(16);
        pack_u32(&b, (uint32_t)i);
        play_send(p->master, IPC_LISTEN, &b, p->listen_fd[i]);
    }
}

static inline void play_start(struct role_play *p)
{
    play_send(p->master, IPC_START, NULL, -1);
    play_expect(p, p->master, IPC_APPLIED);
    play_expect(p, p->master, IPC_READY);
}

/* The value of a counter in the role's status. */
static inline uint64_t play_status(struct role_play *p, const char *key)
{
    struct buf b = BUF(16);
    _cleanup_buf_ struct buf value = BUF(256);
    uint64_t n = 0;
    pack_u64(&b, 77);
    play_send(p->master, IPC_STATUS, &b, -1);
    play_expect(p, p->master, IPC_STATUS_REPLY);
    assert_int_equal(unpack_u64(&p->in), 77);
    str fields = unpack_str(&p->in);
    assert_true(unpack_end(&p->in));
    if (!event_get(fields, key, &value) || str_u64(buf_str(&value), UINT64_MAX, &n) < 0)
        fail_msg("no counter %s in: %.*s", key, STR_ARG(fields));
    return n;
}

static inline void play_show_stderr(struct role_play *p)
{
    char text[65536];
    _cleanup_close_ int fd = openat(p->dir_fd, "stderr", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, 0);
    fprintf(stderr, "%.*s", (int)MAX(n, (ssize_t)0), text);
}

/* Waits for the end of the process: its exit status, or 128 + signal. */
static inline int play_wait(struct role_play *p)
{
    int status = 0;
    for (int i = 0; i < PLAY_PATIENCE_MS / 5; i++) {
        if (waitpid(p->pid, &status, WNOHANG) == p->pid) {
            p->pid = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        usleep(5000);
    }
    return -1;
}

static inline void play_stop(struct role_play *p)
{
    play_send(p->master, IPC_STOP, NULL, -1);
    int status = play_wait(p);
    if (status != 0)
        play_show_stderr(p);
    assert_int_equal(status, 0);
}

static inline void play_done(struct role_play *p)
{
    if (p->pid > 0) {
        kill(p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
    }
    for (int i = 0; i < ROLE_COUNT; i++)
        if (p->peer[i] >= 0)
            close(p->peer[i]);
    for (size_t i = 0; i < p->n_listeners; i++)
        close(p->listen_fd[i]);
    if (p->fd >= 0)
        close(p->fd);
    if (p->master >= 0)
        close(p->master);
    close(p->dir_fd);
    buf_done(&p->settings);
    nftw(p->dir, play_remove, 16, FTW_DEPTH | FTW_PHYS);
}
#define _cleanup_play_ _cleanup_(play_done)

/* A client on loopback, in clear or TLS. */
struct play_client { int fd; SSL *ssl; char in[131072]; size_t n; };

static inline void client_open(struct play_client *c, uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(port) };
    struct timeval limit = { .tv_sec = PLAY_PATIENCE_MS / 1000 };
    *c = (struct play_client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof(a)), 0);
}

static inline void client_close(struct play_client *c)
{
    SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    *c = (struct play_client){ .fd = -1 };
}
#define _cleanup_client_ _cleanup_(client_close)

static inline void client_tls(struct play_client *c)
{
    c->ssl = tls_play_connect(c->fd, 0);
    assert_non_null(c->ssl);
}

static inline void client_send(struct play_client *c, str s)
{
    while (s.n) {
        ssize_t n = c->ssl ? SSL_write(c->ssl, s.p, (int)s.n) : send(c->fd, s.p, s.n, MSG_NOSIGNAL);
        assert_true(n > 0);
        s = str_from(s, (size_t)n);
    }
}

/* The next line without CRLF; "" (p NULL) at the end of the connection or when nothing comes. Valid until the next
 * call. */
static inline str client_line(struct play_client *c)
{
    static char line[8192];
    for (;;) {
        ptrdiff_t at = str_find(str_of(c->in, c->n), S("\r\n"));
        if (at >= 0) {
            size_t n = MIN((size_t)at, sizeof(line));
            memcpy(line, c->in, n);
            memmove(c->in, c->in + at + 2, c->n - (size_t)at - 2);
            c->n -= (size_t)at + 2;
            return str_of(line, n);
        }
        char *to = c->in + c->n;
        size_t room = sizeof(c->in) - c->n;
        ssize_t n = c->ssl ? SSL_read(c->ssl, to, (int)room) : recv(c->fd, to, room, 0);
        if (n <= 0)
            return STR_NONE;
        c->n += (size_t)n;
    }
}

/* Reads one reply of SMTP (all its lines) or one line of POP3, which must begin with `want`. */
static inline str client_expect(struct play_client *c, const char *want)
{
    str line = client_line(c);
    while (line.n > 3 && ascii_digit(line.p[0]) && line.p[3] == '-')
        line = client_line(c);
    if (!str_starts(line, str_z(want)) || (!line.p && *want))
        fail_msg("\"%s\" was expected, but the server said \"%.*s\"", want, STR_ARG(line));
    return line;
}

static inline str client_talk(struct play_client *c, const char *say, const char *want)
{
    client_send(c, str_z(say));
    return client_expect(c, want);
}

static inline void client_expect_end(struct play_client *c)
{
    str line = client_line(c);
    if (line.p)
        fail_msg("the end was expected, but the server said \"%.*s\"", STR_ARG(line));
}
