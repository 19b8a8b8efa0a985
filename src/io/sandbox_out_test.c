/* The sandbox of the roles that may open sockets (smtp-out, dns), and of role keys, which may do nothing: see
 * sandbox_test.c for the others. Each attempt is a child of its own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "io/role.h"
#include "io/sandbox.h"

static struct { int trace, listener; uint16_t port; } with;

enum { DONE, REFUSED, KILLED, BROKEN };

static int set_up(void **state)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    (void)state;
    with.trace = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    with.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(with.listener, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(with.listener, 4), 0);
    assert_int_equal(getsockname(with.listener, (struct sockaddr *)&a, &n), 0);
    with.port = a.sin_port;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(with.trace);
    close(with.listener);
    return 0;
}

static int attempt(enum role_id role, int (*try)(void))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sandbox_want want = { .role = role, .data_dir = -1, .trace_dir = -1 };
        struct sandbox s;
        for (int n = 1; n < 32; n++)
            signal(n, SIG_DFL);
        if (sandbox_enter(&want, &s) < 0 || !s.closed || !s.seccomp)
            _exit(BROKEN);
        int e = try();
        _exit(e == 0 ? DONE : e == EPERM || e == EACCES || e == ENOSYS ? REFUSED : BROKEN);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) == SIGSYS ? KILLED : BROKEN : WEXITSTATUS(status);
}

#define TRY(name, expression) \
    static int try_##name(void) { return (long)(expression) < 0 ? errno : 0; }

static int open_connection(bool from_a_port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0 || (from_a_port && bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0))
        return -1;
    a.sin_port = with.port;
    return connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno != EINPROGRESS ? -1 : fd;
}

static int ask_by_udp(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = with.port };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return fd < 0 ? -1 : (int)sendto(fd, "x", 1, 0, (struct sockaddr *)&a, sizeof(a));
}

static const char *const argv_true[] = { "/bin/true", NULL };

TRY(tcp, open_connection(false))
TRY(tcp_from_an_address, open_connection(true))
TRY(tcp6, socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0))
TRY(udp, ask_by_udp())
TRY(unix_socket, socket(AF_UNIX, SOCK_STREAM, 0))
TRY(unix_datagrams, socket(AF_UNIX, SOCK_DGRAM, 0))
TRY(netlink, socket(AF_NETLINK, SOCK_RAW, 0))
TRY(raw, socket(AF_INET, SOCK_RAW, IPPROTO_ICMP))
TRY(listen_there, listen(with.listener, 1))
TRY(accept_there, accept4(with.listener, NULL, NULL, 0))
TRY(open_passwd, open("/etc/passwd", O_RDONLY))
TRY(write_tmp, open("/tmp/posthouse-sandbox-hole", O_WRONLY | O_CREAT, 0600))
TRY(write_there, pwrite(with.trace, "x", 1, 0))
TRY(fork_one, fork())
TRY(exec, execve(argv_true[0], (char **)argv_true, NULL))
TRY(trace_parent, ptrace(PTRACE_SEIZE, getppid(), NULL, NULL))
TRY(signal_parent, kill(getppid(), 0))

#ifdef __SANITIZE_ADDRESS__
enum { PTRACE = REFUSED }; /* the leak check needs some of it */
#else
enum { PTRACE = KILLED };
#endif

static void expect(enum role_id role, const char *name, int (*try)(void), int expected)
{
    static const char *const words[] = { "done", "refused", "killed", "broken" };
    int got = attempt(role, try);
    if (got != expected)
        fail_msg("%s %s: %s, expected %s", role_name[role], name, words[got], words[expected]);
}

/* What none of the three may. */
static void forbids(enum role_id role)
{
    expect(role, "unix datagrams", try_unix_datagrams, REFUSED);
    expect(role, "netlink", try_netlink, REFUSED);
    expect(role, "raw", try_raw, REFUSED);
    expect(role, "listen", try_listen_there, KILLED);
    expect(role, "accept", try_accept_there, REFUSED);
    expect(role, "open", try_open_passwd, REFUSED);
    expect(role, "write a file", try_write_tmp, REFUSED);
    expect(role, "write segments", try_write_there, REFUSED);
    expect(role, "fork", try_fork_one, REFUSED);
    expect(role, "exec", try_exec, KILLED);
    expect(role, "ptrace", try_trace_parent, PTRACE);
    expect(role, "signal", try_signal_parent, REFUSED);
}

static void test_smtp_out(void **state)
{
    (void)state;
    forbids(ROLE_SMTP_OUT);
    expect(ROLE_SMTP_OUT, "udp", try_udp, REFUSED);
    expect(ROLE_SMTP_OUT, "tcp", try_tcp, DONE);
    expect(ROLE_SMTP_OUT, "unix socket", try_unix_socket, DONE); /* LMTP */
    expect(ROLE_SMTP_OUT, "tcp from an address", try_tcp_from_an_address, DONE);
    expect(ROLE_SMTP_OUT, "tcp6", try_tcp6, DONE);
}

static void test_dns(void **state)
{
    (void)state;
    forbids(ROLE_DNS);
    expect(ROLE_DNS, "unix socket", try_unix_socket, REFUSED);
    expect(ROLE_DNS, "udp", try_udp, DONE);
    expect(ROLE_DNS, "tcp", try_tcp, DONE);
}

static void test_keys(void **state)
{
    static const struct { const char *name; int (*try)(void); int expected;
    } all[] = {
        { "tcp", try_tcp, KILLED },
        { "udp", try_udp, KILLED },
        { "unix", try_unix_socket, KILLED },
        { "listen", try_listen_there, KILLED },
        { "open", try_open_passwd, REFUSED },
        { "exec", try_exec, KILLED },
        { "write", try_write_tmp, REFUSED },
        { "fork", try_fork_one, REFUSED },
        { "ptrace", try_trace_parent, PTRACE },
        { "write segments", try_write_there, REFUSED },
        { "signal", try_signal_parent, REFUSED },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        expect(ROLE_KEYS, all[i].name, all[i].try, all[i].expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_smtp_out), cmocka_unit_test(test_dns),
                                        cmocka_unit_test(test_keys) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
