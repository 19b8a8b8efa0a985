/* For tests of commands: an instance in a folder of its own, commands in a child process with what they say caught, and
 * a whole server whose roles are this test program run anew (a test that starts one hands its arguments to
 * admin_play_role first). Included after cmocka.h. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "access/access_role.h"
#include "admin/admin.h"
#include "admin/control.h"
#include "auth/auth_role.h"
#include "auth/keys_role.h"
#include "base/event.h"
#include "cards/cards_role.h"
#include "io/dns_role.h"
#include "io/role_play.h"
#include "mda/mda_role.h"
#include "msa/msa.h"
#include "mta/mta.h"
#include "mta/push_role.h"
#include "store/store_role.h"

struct admin_play {
    char dir[128], conf[160];
    int dir_fd;
    uint16_t port[2];        /* smtp, pop3 */
    char out[65536], err[65536]; /* of the last command */
    pid_t server;
    int server_out;
};

/* Roles of a server that a test started. Does not return if the program was started as one. */
static inline void admin_play_role(int argc, char **argv)
{
    if (argc != 3 || !str_eq(str_z(argv[1]), S("role")))
        return;
    str n = str_z(argv[2]);
    if (str_eq(n, S("smtp-in")))
        _exit(smtp_in_run(&mta_agent, &msa_agent));
    if (str_eq(n, S("store")))
        _exit(store_role_run());
    if (str_eq(n, S("cards")))
        _exit(cards_role_run());
    if (str_eq(n, S("smtp-out")))
        _exit(push_role_run());
    if (str_eq(n, S("keys")))
        _exit(keys_role_run());
    if (str_eq(n, S("mda")))
        _exit(mda_role_run());
    if (str_eq(n, S("dns")))
        _exit(dns_role_run());
    _exit(str_eq(n, S("access")) ? access_role_run() : auth_role_run());
}

static inline void play_write(struct admin_play *p, const char *name, const char *text)
{
    _cleanup_close_ int fd = openat(p->dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static inline uint16_t play_free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    return ntohs(a.sin_port);
}

/* posthouse.conf with these lines at its end. */
static inline void play_conf(struct admin_play *p, const char *more)
{
    char text[8192];
    snprintf(text, sizeof(text),
             "hostname mx.example.org\n%saliases aliases\ndomain example.org { postmaster anna@example.org }\n"
             "listen smtp 127.0.0.1:%u\nlisten pop3 127.0.0.1:%u\n%s",
             geteuid() == 0 ? "run_as nobody\n" : "", p->port[0], p->port[1], more);
    play_write(p, "posthouse.conf", text);
}

static inline void admin_play_init(struct admin_play *p)
{
    *p = (struct admin_play){ .server_out = -1 };
    const char *tmp = getenv("TMPDIR");
    snprintf(p->dir, sizeof(p->dir), "%s/posthouse-admin-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->conf, sizeof(p->conf), "%s/posthouse.conf", p->dir);
    assert_int_equal(chmod(p->dir, 0711), 0); /* the user of the roles finds its way to the data */
    p->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(p->dir_fd >= 0);
    p->port[0] = play_free_port();
    p->port[1] = play_free_port();
    play_write(p, "accounts", "anna@example.org\nbob@example.org\n");
    play_write(p, "aliases", "info@example.org: anna@example.org\naway@example.org: x@far.example\n");
    play_write(p, "secrets", "");
    play_conf(p, "");
}

static inline void admin_play_done(struct admin_play *p)
{
    if (p->server > 0) {
        kill(p->server, SIGKILL);
        waitpid(p->server, NULL, 0);
    }
    if (p->server_out >= 0)
        close(p->server_out);
    close(p->dir_fd);
    nftw(p->dir, play_remove, 16, FTW_DEPTH | FTW_PHYS);
}
#define _cleanup_admin_ _cleanup_(admin_play_done)

static inline void play_catch(int fd, char *out, size_t n)
{
    ssize_t got = pread(fd, out, n - 1, 0);
    out[MAX(got, (ssize_t)0)] = '\0';
    close(fd);
}

/* Runs a command on this instance: its exit code; `input` is its standard input. Arguments end with NULL; -c is added.
 */
static inline int play_command(struct admin_play *p, admin_command *run, const char *input, char **argv)
{
    int in = memfd_create("in", 0), out = memfd_create("out", 0), err = memfd_create("err", 0), status, argc = 0;
    char *args[16];
    for (; argv[argc]; argc++)
        args[argc] = argv[argc];
    args[argc++] = (char *)"-c";
    args[argc++] = p->conf;
    args[argc] = NULL;
    assert_int_equal(pwrite(in, input, strlen(input), 0), (ssize_t)strlen(input));
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        alarm(60);
        int r = run(argc, args);
        fflush(NULL);
        _exit(r);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(in);
    play_catch(out, p->out, sizeof(p->out));
    play_catch(err, p->err, sizeof(p->err));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
#define COMMAND_ON(p, run, input, ...) play_command((p), (run), (input), (char *[]){ __VA_ARGS__, NULL })

static inline void play_says(const char *text, const char *want)
{
    if (str_find(str_z(text), str_z(want)) < 0)
        fail_msg("\"%s\" was expected in \"%s\"", want, text);
}

/* Starts the server of this instance and waits for its ready line. Its standard error goes to DIR/stderr. */
static inline void play_serve(struct admin_play *p)
{
    int pair[2];
    char line[1024] = "";
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    fflush(NULL);
    p->server = fork();
    assert_true(p->server >= 0);
    if (p->server == 0) {
        char *argv[] = { (char *)"serve", (char *)"-c", p->conf, NULL };
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(pair[1], STDOUT_FILENO);
        dup2(openat(p->dir_fd, "stderr", O_WRONLY | O_CREAT | O_APPEND, 0600), STDERR_FILENO);
        _exit(cmd_serve(3, argv));
    }
    close(pair[1]);
    p->server_out = pair[0];
    struct pollfd wait = { .fd = pair[0], .events = POLLIN };
    if (poll(&wait, 1, PLAY_PATIENCE_MS) != 1 || read(pair[0], line, sizeof(line) - 1) <= 0) {
        _cleanup_close_ int fd = openat(p->dir_fd, "stderr", O_RDONLY | O_CLOEXEC);
        play_catch(dup(fd), p->err, sizeof(p->err));
        fail_msg("the server did not start: %s", p->err);
    }
    play_says(line, "posthouse is ready: smtp 127.0.0.1:");
}

/* Its exit code after `how`. */
static inline int play_end_server(struct admin_play *p, int how)
{
    int status;
    kill(p->server, how);
    for (int i = 0; i < PLAY_PATIENCE_MS / 10; i++) {
        if (waitpid(p->server, &status, WNOHANG) == p->server) {
            p->server = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        usleep(10000);
    }
    return -1;
}

static inline int play_data_fd(struct admin_play *p)
{
    int fd = openat(p->dir_fd, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* A field of a role's line of the status; 0 if the role does not answer. */
static inline uint64_t play_field(struct admin_play *p, const char *role, const char *key)
{
    _cleanup_buf_ struct buf text = BUF(CONTROL_ANSWER_MAX), value = BUF(1024);
    _cleanup_close_ int data = play_data_fd(p);
    bool ok = false;
    uint64_t n = 0;
    assert_int_equal(control_ask(data, CONTROL_STATUS, 10, &ok, &text), 0);
    for (str rest = buf_str(&text); rest.n;) {
        str line = str_cut(&rest, '\n');
        if (event_get(line, "role", &value) && str_eq(buf_str(&value), str_z(role)) && event_get(line, key, &value))
            assert_int_equal(str_u64(buf_str(&value), UINT64_MAX, &n), 0);
    }
    return n;
}
