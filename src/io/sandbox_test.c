/* The sandbox of each role: what is forbidden is tried in a child that has closed it, and what the role needs is used.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <crypt.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <iconv.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include "base/cleanup.h"
#include "io/role.h"
#include "io/sandbox.h"
#include "io/tls.h"
#include "io/tls_play.h"

/* What the child has when the sandbox closes. */
static struct {
    char top[64];
    int data, trace, beside; /* folders: the role's two, and one it has no right to */
    int file;                /* opened before, for reading and writing */
    int listener, client;    /* a listening socket, and one that could connect */
    int unix_pair[2];
    uint16_t port;
    int epoll;
    iconv_t converter;
    struct buf cert, key; /* PEM */
} with;

enum { DONE, REFUSED, KILLED, BROKEN };

static int beneath(const char *name)
{
    mkdirat(AT_FDCWD, name, 0700);
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void open_sockets(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    with.listener = socket(AF_INET, SOCK_STREAM, 0);
    with.client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(with.listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(with.listener, 8), 0);
    assert_int_equal(getsockname(with.listener, (struct sockaddr *)&a, &n), 0);
    with.port = ntohs(a.sin_port);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, with.unix_pair), 0);
}

/* A file of RFC 8536 that says: always CET. */
static void write_time_zone(void)
{
    static const char zone[] = "TZif\0"
                               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                               "\0\0\0\0"
                               "\0\0\0\0"
                               "\0\0\0\0"
                               "\0\0\0\0"
                               "\0\0\0\1"
                               "\0\0\0\4"
                               "\0\0\x0e\x10"
                               "\0"
                               "\0"
                               "CET";
    char name[128];
    snprintf(name, sizeof(name), ":%s/beside/zone", with.top);
    _cleanup_close_ int fd = open(name + 1, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, zone, sizeof(zone)), sizeof(zone));
    setenv("TZ", name, 1);
}

static int set_up(void **state)
{
    (void)state;
    char name[128];
    snprintf(with.top, sizeof(with.top), "/tmp/posthouse-sandbox-XXXXXX");
    assert_non_null(mkdtemp(with.top));
    snprintf(name, sizeof(name), "%s/data", with.top);
    with.data = beneath(name);
    snprintf(name, sizeof(name), "%s/trace", with.top);
    with.trace = beneath(name);
    snprintf(name, sizeof(name), "%s/beside", with.top);
    with.beside = beneath(name);
    with.file = openat(with.beside, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(with.file, "abcdef", 6), 6);
    close(openat(with.trace, "other.trace", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    with.converter = iconv_open("UTF-8", "ISO-2022-JP");
    with.epoll = epoll_create1(EPOLL_CLOEXEC);
    tls_play_pair("mx.example.org", NULL, &with.cert, &with.key);
    write_time_zone();
    open_sockets();
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st;
    (void)flag;
    (void)f;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    nftw(with.top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    const int open_now[] = { with.data,   with.trace,        with.beside,       with.file, with.listener,
                             with.client, with.unix_pair[0], with.unix_pair[1], with.epoll };
    for (size_t i = 0; i < ARRAY_LEN(open_now); i++)
        close(open_now[i]);
    iconv_close(with.converter);
    buf_done(&with.cert);
    buf_done(&with.key);
    unsetenv("TZ");
    return 0;
}

static void enter(enum role_id role)
{
    struct sandbox_want want = { .role = role, .data_dir = with.data, .trace_dir = with.trace, .drop_dir = -1 };
    struct sandbox s;
    if (role == ROLE_SMTP_IN || role == ROLE_ACCESS)
        tls_prepare();
    if (sandbox_enter(&want, &s) < 0 || !s.closed || !s.seccomp)
        _exit(BROKEN);
}

/* try() is 0 when it succeeded, else the errno. */
static int attempt(enum role_id role, int (*try)(void))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (int n = 1; n < 32; n++)
            signal(n, SIG_DFL); /* cmocka has handlers */
        enter(role);
        int e = try();
        _exit(e == 0 ? DONE : e == EPERM || e == EACCES || e == ENOSYS ? REFUSED : BROKEN);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSYS ? KILLED : BROKEN;
    return WEXITSTATUS(status);
}

#define TRY(name, expression) \
    static int try_##name(void) { return (long)(expression) < 0 ? errno : 0; }

static struct sockaddr_in somewhere(void)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                 .sin_port = htons(with.port) };
}

static const char *const argv_true[] = { "/bin/true", NULL };

TRY(open_passwd, open("/etc/passwd", O_RDONLY))
TRY(open_memory, open("/proc/self/mem", O_RDWR))
TRY(open_beside, openat(with.beside, "file", O_RDONLY))
TRY(open_above, openat(with.trace, "../beside/file", O_RDONLY))
TRY(write_beside, openat(with.beside, "new", O_WRONLY | O_CREAT, 0600))
TRY(write_tmp, open("/tmp/posthouse-sandbox-hole", O_WRONLY | O_CREAT, 0600))
TRY(list_root, open("/", O_RDONLY | O_DIRECTORY))
TRY(read_trace, openat(with.trace, "other.trace", O_RDONLY))
TRY(remove_beside, unlinkat(with.beside, "file", 0))
TRY(truncate_path, truncate("/etc/passwd", 1 << 30))
TRY(rename_file, renameat(with.trace, "other.trace", with.trace, "x"))
TRY(rename_away, renameat(with.trace, "other.trace", with.beside, "x"))
TRY(link_file, linkat(with.trace, "other.trace", with.trace, "x", 0))
TRY(symlink_file, symlinkat("/etc/passwd", with.trace, "x"))
TRY(chmod_file, fchmodat(with.trace, "other.trace", 04777, 0))
TRY(device, mknodat(with.trace, "null", S_IFCHR | 0600, 0x103))
TRY(fork, fork())
TRY(clone3, syscall(SYS_clone3, NULL, 0))
TRY(exec, execve(argv_true[0], (char **)argv_true, NULL))
TRY(exec_file, syscall(SYS_execveat, with.file, "", argv_true, NULL, AT_EMPTY_PATH))
TRY(socket_tcp, socket(AF_INET, SOCK_STREAM, 0))
TRY(socket_udp, socket(AF_INET6, SOCK_DGRAM, 0))
TRY(socket_unix, socket(AF_UNIX, SOCK_STREAM, 0))
TRY(socket_netlink, socket(AF_NETLINK, SOCK_RAW, 0))
TRY(connect, ({
        struct sockaddr_in a = somewhere();
        connect(with.client, (struct sockaddr *)&a, sizeof(a));
    }))
TRY(bind, ({
        struct sockaddr_in a = somewhere();
        a.sin_port = 0;
        bind(with.client, (struct sockaddr *)&a, sizeof(a));
    }))
TRY(listen, listen(with.client, 1))
TRY(fast_open, ({
        struct sockaddr_in a = somewhere();
        sendto(with.client, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&a, sizeof(a));
    }))
TRY(fast_open_message, ({
        struct sockaddr_in a = somewhere();
        struct iovec iov = { (char *)"x", 1 };
        struct msghdr m = { .msg_name = &a, .msg_namelen = sizeof(a), .msg_iov = &iov, .msg_iovlen = 1 };
        sendmsg(with.client, &m, MSG_FASTOPEN);
    }))
TRY(trace_parent, ptrace(PTRACE_SEIZE, getppid(), NULL, NULL))
TRY(trace_me, ptrace(PTRACE_TRACEME, 0, NULL, NULL))
TRY(read_parent, ({
        char c;
        struct iovec a = { &c, 1 }, b = { &with, 1 };
        process_vm_readv(getppid(), &a, 1, &b, 1, 0);
    }))
TRY(signal_parent, syscall(SYS_kill, getppid(), 0))
TRY(signal_thread, syscall(SYS_tgkill, 1, 1, 0))
TRY(io_uring, syscall(SYS_io_uring_setup, 1, NULL))
TRY(bpf, syscall(SYS_bpf, 0, NULL, 0))
TRY(namespaces, unshare(CLONE_NEWUSER))
TRY(mounts, mount("none", "/mnt", "tmpfs", 0, NULL))
TRY(become_root, setresuid(0, 0, 0))
TRY(executable_memory, mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
TRY(executable_file, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, with.file, 0))
TRY(make_executable, mprotect((void *)((uintptr_t)&with & ~4095ul), 4096, PROT_READ | PROT_EXEC))
TRY(terminal, syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"))
TRY(keys, syscall(SYS_keyctl, 0, 0))
TRY(limits, ({
        struct rlimit r = { 1, 1 };
        syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &r, NULL);
    }))
#ifndef __SANITIZE_ADDRESS__
TRY(dumpable, prctl(PR_SET_DUMPABLE, 1))
#endif
#ifdef __x86_64__
TRY(other_architecture, syscall(0x40000000 + SYS_getpid)) /* x32 */
#endif

#ifdef __SANITIZE_ADDRESS__
enum { PTRACE = REFUSED }; /* the leak check needs some of it */
#else
enum { PTRACE = KILLED };
#endif

static const struct {
    const char *name;
    int (*try)(void);
    int expected;
} forbidden[] = {
#define ROW(name, expected) \
    { \
#name, try_##name, expected \
    }
    ROW(open_passwd, REFUSED),
    ROW(open_memory, REFUSED),
    ROW(open_beside, REFUSED),
    ROW(open_above, REFUSED),
    ROW(write_beside, REFUSED),
    ROW(write_tmp, REFUSED),
    ROW(list_root, REFUSED),
    ROW(read_trace, REFUSED),
    ROW(remove_beside, REFUSED),
    ROW(truncate_path, REFUSED),
    ROW(rename_file, REFUSED),
    ROW(rename_away, REFUSED),
    ROW(link_file, REFUSED),
    ROW(symlink_file, REFUSED),
    ROW(chmod_file, REFUSED),
    ROW(device, KILLED),
    ROW(fork, REFUSED),
    ROW(clone3, REFUSED),
    ROW(exec, KILLED),
    ROW(exec_file, KILLED),
    ROW(socket_tcp, KILLED),
    ROW(socket_udp, KILLED),
    ROW(socket_unix, KILLED),
    ROW(socket_netlink, KILLED),
    ROW(connect, KILLED),
    ROW(bind, KILLED),
    ROW(listen, KILLED),
    ROW(fast_open, REFUSED),
    ROW(fast_open_message, REFUSED),
    ROW(trace_parent, PTRACE),
    ROW(trace_me, PTRACE),
    ROW(read_parent, KILLED),
    ROW(signal_parent, REFUSED),
    ROW(signal_thread, REFUSED),
    ROW(io_uring, KILLED),
    ROW(bpf, KILLED),
    ROW(namespaces, KILLED),
    ROW(mounts, KILLED),
    ROW(become_root, KILLED),
    ROW(executable_memory, REFUSED),
    ROW(executable_file, REFUSED),
    ROW(make_executable, REFUSED),
    ROW(terminal, REFUSED),
    ROW(keys, KILLED),
    ROW(limits, REFUSED),
#ifndef __SANITIZE_ADDRESS__
    ROW(dumpable, REFUSED),
#endif
#ifdef __x86_64__
    ROW(other_architecture, KILLED),
#endif
};

static const char *const outcome[] = { "done", "refused", "killed", "failed otherwise" };

static void expect(enum role_id role, const char *name, int (*try)(void), int expected)
{
    int got = attempt(role, try);
    if (got != expected)
        fail_msg("%s: %s was %s, expected %s", role_name[role], name, outcome[MIN(got, (int)BROKEN)],
                 outcome[expected]);
}

static void forbids(enum role_id role)
{
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
        if (role != ROLE_STORE || forbidden[i].try != try_rename_file) /* it renames in its own folders */
            expect(role, forbidden[i].name, forbidden[i].try, forbidden[i].expected);
}

TRY(accept, accept4(with.listener, NULL, NULL, SOCK_NONBLOCK))
TRY(make_folder, mkdirat(with.data, "folder", 0700))
TRY(make_file, openat(with.data, "file", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600))
TRY(allocate, fallocate(with.file, 0, 0, 4096))
TRY(shorten, ftruncate(with.file, 0))
TRY(anonymous_file, memfd_create("x", MFD_CLOEXEC))
TRY(remove_file, unlinkat(with.data, "key", 0))
TRY(thread, syscall(SYS_clone, CLONE_THREAD | CLONE_NEWUSER, NULL, NULL, NULL, NULL))

static void test_smtp_in_is_closed(void **state)
{
    (void)state;
    forbids(ROLE_SMTP_IN);
    expect(ROLE_SMTP_IN, "make_folder", try_make_folder, REFUSED);
    expect(ROLE_SMTP_IN, "anonymous_file", try_anonymous_file, REFUSED);
    expect(ROLE_SMTP_IN, "thread", try_thread, REFUSED);
}

static void test_store_is_closed(void **state)
{
    (void)state;
    forbids(ROLE_STORE);
    expect(ROLE_STORE, "accept", try_accept, REFUSED);
}

static void test_access_is_closed(void **state)
{
    (void)state;
    forbids(ROLE_ACCESS);
    expect(ROLE_ACCESS, "make_folder", try_make_folder, REFUSED);
    expect(ROLE_ACCESS, "anonymous_file", try_anonymous_file, REFUSED);
    expect(ROLE_ACCESS, "thread", try_thread, REFUSED);
}

TRY(alarm, setitimer(ITIMER_REAL, &(struct itimerval){ .it_value.tv_sec = 9 }, NULL))

static void test_cards_is_closed(void **state)
{
    (void)state;
    forbids(ROLE_CARDS);
    expect(ROLE_CARDS, "make_file", try_make_file, REFUSED);
    expect(ROLE_CARDS, "allocate", try_allocate, REFUSED);
    expect(ROLE_CARDS, "shorten", try_shorten, REFUSED);
    expect(ROLE_CARDS, "alarm", try_alarm, REFUSED);
}

static void test_auth_is_closed(void **state)
{
    (void)state;
    close(openat(with.data, "key", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    forbids(ROLE_AUTH);
    expect(ROLE_AUTH, "accept", try_accept, REFUSED);
    expect(ROLE_AUTH, "make_folder", try_make_folder, REFUSED);
    expect(ROLE_AUTH, "remove_file", try_remove_file, REFUSED);
    expect(ROLE_AUTH, "shorten", try_shorten, REFUSED);
}

/* What a role uses. */

#define NEED(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, strerror(errno)); \
            return EINVAL; \
        } \
    } while (0)

static int listing(int dir)
{
    int n = 0, fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static int use_trace(void)
{
    struct stat st;
    int fd = openat(with.trace, "1.trace", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_EXCL, 0640);
    NEED(fd >= 0 && write(fd, "event\n", 6) == 6);
    NEED(fstatat(with.trace, "1.trace", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == 6);
    NEED(listing(with.trace) >= 3);
    NEED(unlinkat(with.trace, "1.trace", 0) == 0);
    return 0;
}

/* A frame with a descriptor, through the loop. */
static int use_frames(void)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } c = { 0 };
    char text[8];
    struct iovec iov = { (char *)"frame", 5 }, in = { text, sizeof(text) };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.space, .msg_controllen = sizeof(c.space) };
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &with.file, sizeof(int));
    NEED(sendmsg(with.unix_pair[0], &m, MSG_NOSIGNAL) == 5);
    m.msg_iov = &in;
    NEED(recvmsg(with.unix_pair[1], &m, MSG_CMSG_CLOEXEC) == 5);
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
    NEED(pread(fd, text, 3, 3) == 3 && memcmp(text, "def", 3) == 0);
    NEED(fcntl(fd, F_DUPFD_CLOEXEC, 3) > fd && close(fd) == 0);
    return 0;
}

static int use_time_and_converter(void)
{
    char in[] = "\x1b$B$\"\x1b(B", out[16] = "", *from = in, *to = out;
    size_t n_in = sizeof(in) - 1, n_out = sizeof(out);
    time_t t = 1700000000;
    struct tm tm = { 0 };
    NEED(localtime_r(&t, &tm) && tm.tm_year == 123 && tm.tm_gmtoff == 3600 && strcmp(tm.tm_zone, "CET") == 0);
    NEED(with.converter != (iconv_t)-1 && iconv(with.converter, &from, &n_in, &to, &n_out) == 0);
    NEED(strcmp(out, "\xe3\x81\x82") == 0);
    NEED(iconv_open("UTF-8", "EUC-KR") == (iconv_t)-1); /* comes too late, and is told so */
    uint8_t bytes[8];
    env_system.random(bytes, sizeof(bytes));
    NEED(env_system.mono_ms() && env_system.wall_us());
    void *big = malloc(300 << 20);
    NEED(big);
    free(big);
    return 0;
}

static void *add_one(void *arg)
{
    int *n = arg;
    uint64_t one = 1;
    char name[CRYPT_OUTPUT_SIZE];
    struct crypt_data data = { 0 };
    snprintf(name, sizeof(name), "%s", crypt_r("tarim-nosuf", "$y$j8T$abcdefghijklmnop$", &data));
    *n += name[0] == '$' && write(n[1], &one, sizeof(one)) == sizeof(one);
    return NULL;
}

static int use_thread(void)
{
    int arg[2] = { 0, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    struct epoll_event event = { .events = EPOLLIN };
    pthread_t t;
    uint64_t got;
    NEED(arg[1] >= 0 && epoll_ctl(with.epoll, EPOLL_CTL_ADD, arg[1], &event) == 0);
    NEED(prctl(PR_SET_NAME, "worker") == 0);
    NEED(pthread_create(&t, NULL, add_one, arg) == 0);
    NEED(epoll_wait(with.epoll, &event, 1, 60000) == 1);
    NEED(pthread_join(t, NULL) == 0 && arg[0] == 1);
    NEED(read(arg[1], &got, sizeof(got)) == sizeof(got) && got == 1);
    return 0;
}

static int use_log(void)
{
    char text[4];
    struct statvfs fs;
    int fd = openat(with.data, "1.log", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    NEED(fd >= 0);
    NEED(fallocate(fd, 0, 0, 65536) == 0 || errno == EOPNOTSUPP);
    NEED(pwrite(fd, "mail", 4, 8) == 4 && fdatasync(fd) == 0 && fsync(with.data) == 0);
    NEED(sync_file_range(fd, 0, 4096, SYNC_FILE_RANGE_WRITE) == 0);
    NEED(ftruncate(fd, 12) == 0 && pread(fd, text, 4, 8) == 4 && memcmp(text, "mail", 4) == 0);
    NEED(fstatvfs(with.data, &fs) == 0 && fs.f_frsize);
    NEED(listing(with.data) >= 3);
    NEED(openat(with.data, "1.log", O_RDONLY | O_CLOEXEC) >= 0);
    NEED(unlinkat(with.data, "1.log", 0) == 0);
    return 0;
}

static int use_client(void)
{
    char text[8];
    int one = 1, fd = accept4(with.listener, NULL, NULL, SOCK_CLOEXEC);
    socklen_t n = sizeof(one);
    NEED(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
    NEED(getsockopt(fd, SOL_SOCKET, SO_ERROR, &one, &n) == 0);
    NEED(recv(fd, text, 5, 0) == 5 && memcmp(text, "hello", 5) == 0);
    NEED(send(fd, "220 ", 4, MSG_NOSIGNAL) == 4);
    NEED(shutdown(fd, SHUT_RDWR) == 0);
    return 0;
}

static int use_sqlite(void)
{
    char path[64];
    sqlite3 *db;
    snprintf(path, sizeof(path), "/proc/self/fd/%d/index.db", with.data);
    NEED(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK);
    NEED(sqlite3_exec(db,
                      "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA temp_store=MEMORY;"
                      "CREATE TABLE t(a, b); BEGIN; INSERT INTO t VALUES(1, randomblob(100000)); COMMIT;"
                      "CREATE TABLE u AS SELECT * FROM t ORDER BY b; PRAGMA wal_checkpoint(TRUNCATE);",
                      NULL, NULL, NULL) == SQLITE_OK);
    NEED(sqlite3_close(db) == SQLITE_OK);
    NEED(unlinkat(with.data, "index.db", 0) == 0);
    return 0;
}

static int use_store(void)
{
    int fd = memfd_create("mailbox", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    NEED(fd >= 0 && ftruncate(fd, 4096) == 0 && pwrite(fd, "x", 1, 0) == 1);
    NEED(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0);
    int lock = openat(with.data, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    NEED(lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0);
    NEED(mkdirat(with.data, "log", 0700) == 0 || errno == EEXIST);
    return 0;
}

static int use_access(void)
{
    off_t at = 0;
    int fd = accept4(with.listener, NULL, NULL, SOCK_CLOEXEC);
    NEED(fd >= 0 && sendfile(fd, with.file, &at, 6) == 6);
    NEED(mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_POPULATE, with.file, 0) != MAP_FAILED);
    return 0;
}

static int use_key(void)
{
    char key[4];
    int fd = openat(with.data, "unknown", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    NEED(fd >= 0 && write(fd, "salt", 4) == 4);
    fd = openat(with.data, "unknown", O_RDONLY | O_CLOEXEC);
    NEED(fd >= 0 && pread(fd, key, 4, 0) == 4);
    return 0;
}

/* A renewed certificate, and a handshake with it. */
static int use_tls(void)
{
    const char *why = NULL;
    SSL_CTX *server_ctx, *client_ctx = SSL_CTX_new(TLS_client_method());
    BIO *a, *b;
    NEED(client_ctx && tls_server_context(buf_str(&with.cert), buf_str(&with.key), &why, &server_ctx) == 0);
    SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
    NEED(server && client && BIO_new_bio_pair(&a, 65536, &b, 65536) == 1);
    SSL_set_bio(server, a, a);
    SSL_set_bio(client, b, b);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (int i = 0; i < 10; i++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    NEED(SSL_is_init_finished(server) && SSL_is_init_finished(client));
    char text[8];
    NEED(SSL_write(client, "hello", 5) == 5 && SSL_read(server, text, sizeof(text)) == 5);
    return 0;
}

static void uses(enum role_id role, int (*const *use)(void), size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int got = attempt(role, use[i]);
        if (got != DONE)
            fail_msg("%s: use %zu was %s", role_name[role], i, outcome[MIN(got, (int)BROKEN)]);
    }
}
#define USES(role, ...) \
    uses(role, (int (*const[])(void)){ __VA_ARGS__ }, sizeof((void *[]){ __VA_ARGS__ }) / sizeof(void *))

/* A client that waits to be accepted. */
static int knock(void)
{
    struct sockaddr_in a = somewhere();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(send(fd, "hello", 5, 0), 5);
    return fd;
}

static void test_smtp_in_works(void **state)
{
    (void)state;
    _cleanup_close_ int client = knock();
    USES(ROLE_SMTP_IN, use_trace, use_frames, use_time_and_converter, use_thread, use_log, use_client, use_tls);
}

static void test_store_works(void **state)
{
    (void)state;
    USES(ROLE_STORE, use_trace, use_frames, use_time_and_converter, use_thread, use_log, use_sqlite, use_store);
}

static void test_access_works(void **state)
{
    (void)state;
    _cleanup_close_ int client = knock(), second = knock();
    USES(ROLE_ACCESS, use_trace, use_frames, use_time_and_converter, use_thread, use_log, use_client, use_access,
         use_tls);
}

TRY(limit_cpu, setitimer(ITIMER_PROF, &(struct itimerval){ .it_value.tv_sec = 9 }, NULL))

static void test_cards_works(void **state)
{
    (void)state;
    USES(ROLE_CARDS, use_frames, use_time_and_converter, try_limit_cpu);
}

static void test_auth_works(void **state)
{
    (void)state;
    USES(ROLE_AUTH, use_trace, use_frames, use_time_and_converter, use_thread, use_key);
}

/* A thread that ran before is inside too. */
static pthread_barrier_t gate;

static void *late_socket(void *arg)
{
    pthread_barrier_wait(&gate);
    socket(AF_INET, SOCK_STREAM, 0);
    return arg;
}

static void test_threads_of_before_are_inside(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pthread_t t;
        pthread_barrier_init(&gate, NULL, 2);
        if (pthread_create(&t, NULL, late_socket, NULL) != 0)
            _exit(BROKEN);
        enter(ROLE_SMTP_IN);
        pthread_barrier_wait(&gate);
        pthread_join(t, NULL);
        _exit(DONE);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

/* A kernel without these calls; seccomp itself is asked for by prctl too. */
static void take_away(bool seccomp, bool landlock)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    if (seccomp) {
        seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(seccomp), 0);
        seccomp_rule_add(f, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP));
    }
    if (landlock)
        seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SYS_landlock_create_ruleset, 0);
    if (seccomp_load(f) < 0)
        _exit(99);
    seccomp_release(f);
}

struct result {
    int r;
    struct sandbox s;
    bool no_new_privs;
};

static void enter_without(bool seccomp, bool landlock, bool best_effort, struct result *out)
{
    int fd[2], status;
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sandbox_want want = {
            .role = ROLE_STORE, .data_dir = with.data, .trace_dir = with.trace, .best_effort = best_effort
        };
        struct result result = { 0 };
        take_away(seccomp, landlock);
        result.no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
        result.r = sandbox_enter(&want, &result.s);
        _exit(write(fd[1], &result, sizeof(result)) != sizeof(result));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(fd[0], out, sizeof(*out)), sizeof(*out));
    close(fd[0]);
    close(fd[1]);
}

static void test_without_seccomp(void **state)
{
    (void)state;
    struct result got;
    enter_without(true, false, false, &got);
    assert_true(got.r < 0 && !got.s.closed && !got.s.seccomp);
    assert_string_equal(got.s.why, "this kernel has no seccomp filters");
    enter_without(true, false, true, &got);
    assert_int_equal(got.r, 0);
    assert_true(got.s.closed && !got.s.seccomp && got.s.landlock > 0);
    assert_string_equal(got.s.why, "this kernel has no seccomp filters");
}

static void test_without_landlock(void **state)
{
    (void)state;
    struct result got;
    enter_without(false, true, false, &got);
    assert_int_equal(got.r, 0);
    assert_true(got.s.closed && got.s.seccomp);
    assert_int_equal(got.s.landlock, 0);
    assert_string_equal(got.s.why, "this kernel has no Landlock");
    enter_without(false, false, false, &got);
    assert_int_equal(got.r, 0);
    assert_true(got.s.landlock > 0);
    assert_null(got.s.why);
}

static void test_rules_that_cannot_be_set(void **state)
{
    (void)state;
    struct sandbox_want want = { .role = ROLE_STORE, .data_dir = with.unix_pair[0], .trace_dir = with.trace };
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct sandbox s;
        _exit(!(sandbox_enter(&want, &s) < 0 && !s.closed &&
                strcmp(s.why, "the rules of Landlock could not be set") == 0));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_smtp_in_is_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_store_is_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_access_is_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_auth_is_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cards_is_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_smtp_in_works, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_store_works, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_access_works, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_auth_works, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cards_works, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads_of_before_are_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_seccomp, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_landlock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rules_that_cannot_be_set, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
