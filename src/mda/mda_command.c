/* A message handed to a command: see mda_command.h. The process is watched by its pidfd, so it is certain whose end is
 * seen; writing, reading and waiting are one loop (pump), called with what is still to be written. */
#include "mda/mda_command.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include "mda/safe_path.h"
#include "mda/text.h"

enum { TIMEOUT_MS = 1000000, TERM_MS = 2000, AFTER_MS = 200, WORDS_MEMORY = 65536, ENVIRONMENT_MAX = 40 };
enum { DESCRIPTORS = 1024, OUTPUT_MAX = 65536, PIPE_READS = 16 };

enum ended { RUNNING, ENDED, TIMED_OUT, CANCELLED };

struct command {
    struct text_sink sink;
    const struct mda_command_config *config;
    uint64_t until_ms;
    pid_t pid;
    int pid_fd, in, out;         /* in: what it reads, -1 when it is closed or it will read no more */
    struct buf output;
    enum ended ended;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* What Postfix passes too, and the letters of other scripts, which no shell minds. */
static bool harmless(unsigned char c)
{
    return ascii_alnum((char)c) || c >= 0x80 || (c && strchr("!@%-_=+:,./", c));
}

static bool add_variable(struct arena *a, char **environment, size_t *n, const char *name, str value, bool outside)
{
    str line = arena_printf(a, "%s=%.*s", name, STR_ARG(value));
    if (!line.p || *n + 1 >= ENVIRONMENT_MAX)
        return false;
    char *text = (char *)line.p;
    for (size_t i = strlen(name) + 1; outside && i < line.n; i++)
        if (!harmless((unsigned char)text[i]))
            text[i] = '_';
    environment[(*n)++] = text;
    environment[*n] = NULL;
    return true;
}

/* The part of the local part behind the delimiter. */
static str extension_of(str local, str delimiter)
{
    ptrdiff_t at = delimiter.n ? str_chr(local, delimiter.p[0]) : -1;
    return at > 0 ? str_from(local, (size_t)at + 1) : STR_NONE;
}

static bool make_environment(struct arena *a, const struct mda_command_config *c, const struct mda_message *m,
                             char **environment)
{
    const struct mda_user *u = c->user;
    str original = m->original.n ? m->original : m->recipient, rest = m->recipient, local = str_cut(&rest, '@');
    ptrdiff_t at = str_rchr(original, '@');
    str extension = extension_of(at < 0 ? original : str_first(original, (size_t)at), c->delimiter);
    const char *tz = getenv("TZ");
    const struct { const char *name; str value; bool outside; } all[] = {
        { "PATH", S(MDA_COMMAND_PATH), false },  { "HOME", u->home, false },      { "USER", u->name, false },
        { "SHELL", u->shell.n ? u->shell : S("/bin/sh"), false },                 { "LOGNAME", u->name, false },
        { "LANG", S("C.UTF-8"), false },         { "SENDER", m->sender, true },   { "RECIPIENT", m->recipient, true },
        { "ORIGINAL_RECIPIENT", original, true }, { "LOCAL", local, true },       { "DOMAIN", rest, true },
        { "EXTENSION", extension, true },        { "ENVID", m->envid, true },
        { "CLIENT_ADDRESS", m->client_address, true },    { "CLIENT_HOSTNAME", m->client_name, true },
        { "CLIENT_HELO", m->client_helo, true }, { "CLIENT_PROTOCOL", m->client_protocol, true },
        { "SASL_USERNAME", m->sasl_user, true },
    };
    size_t n = 0;
    bool fine = !tz || add_variable(a, environment, &n, "TZ", str_z(tz), false);
    for (size_t i = 0; fine && i < ARRAY_LEN(all); i++)
        fine = add_variable(a, environment, &n, all[i].name, all[i].value, all[i].outside);
    return fine;
}

/* The program's path, in the arena; NULL and *out_error. */
static const char *find_program(struct arena *a, const struct mda_user *u, const char *word, int *out_error)
{
    str name = str_z(word), folders = S(MDA_COMMAND_PATH), path;
    *out_error = ENOENT;
    if (str_starts(name, S("/")))
        return word;
    if (str_starts(name, S("~/")) && u->home.n) {
        path = arena_printf(a, "%.*s%.*s", STR_ARG(u->home), STR_ARG(str_from(name, 1)));
        *out_error = ENOMEM;
        return path.p;
    }
    if (str_chr(name, '/') >= 0) {
        *out_error = EINVAL;
        return NULL;
    }
    while (folders.n) {
        str folder = str_cut(&folders, ':');
        path = arena_printf(a, "%.*s/%.*s", STR_ARG(folder), STR_ARG(name));
        if (path.p && access(path.p, X_OK) == 0)
            return path.p;
    }
    return NULL;
}

struct child { const char *path; char **words, **environment; char *home; int in, out, failure; };

/* Between fork and execve. */
static _Noreturn void become_command(const struct child *c, pid_t parent)
{
    struct rlimit files = { DESCRIPTORS, DESCRIPTORS }, core = { 0, RLIM_INFINITY }, had;
    sigset_t none;
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    umask(077);
    if (getrlimit(RLIMIT_NOFILE, &had) == 0) {
        files.rlim_cur = MIN(files.rlim_cur, had.rlim_max);
        files.rlim_max = had.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (getrlimit(RLIMIT_CORE, &had) == 0) {
        core.rlim_max = had.rlim_max;
        setrlimit(RLIMIT_CORE, &core);
    }
    int failed = 0;
    if (dup2(c->in, 0) < 0 || dup2(c->out, 1) < 0 || dup2(c->out, 2) < 0 ||
        syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        failed = errno;
    if (!failed && (!c->home || chdir(c->home) < 0) && chdir("/") < 0)
        failed = errno;
    if (!failed) {
        execve(c->path, c->words, c->environment);
        failed = errno;
    }
    ssize_t n = write(c->failure, &failed, sizeof(failed));
    _exit(n == sizeof(failed) ? 126 : 127);
}

/* A pipe whose ends are above 2, so that no dup2 of the child meets one of them. 0 or errno. */
static int open_pipe(int out[2])
{
    int low[2], r = 0;
    if (pipe2(low, O_CLOEXEC) < 0)
        return errno;
    for (int i = 0; i < 2; i++) {
        out[i] = fcntl(low[i], F_DUPFD_CLOEXEC, 3);
        r = out[i] < 0 ? errno : r;
        close(low[i]);
    }
    return r;
}

/* The pipe's other end is closed by execve, or brings the errno of what failed. */
static int read_failure(int fd)
{
    int failed = 0;
    ssize_t n;
    do
        n = read(fd, &failed, sizeof(failed));
    while (n < 0 && errno == EINTR);
    return n == sizeof(failed) ? failed : 0;
}

/* The process is there; is it the program? 0 or errno, when it has been waited for. */
static int watch(struct command *c, int failure)
{
    int failed = read_failure(failure);
    if (!failed) {
        c->pid_fd = (int)syscall(SYS_pidfd_open, c->pid, 0);
        failed = c->pid_fd < 0 ? errno : 0;
    }
    if (failed) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
        return failed;
    }
    fcntl(c->in, F_SETFL, O_WRONLY | O_NONBLOCK);
    fcntl(c->out, F_SETFL, O_RDONLY | O_NONBLOCK);
    return 0;
}

/* 0 when it runs; else the errno of what failed. */
static int start(struct command *c, struct child *child)
{
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, failure[2] = { -1, -1 };
    pid_t self = getpid();
    int failed = open_pipe(in);
    if (!failed)
        failed = open_pipe(out);
    if (!failed)
        failed = open_pipe(failure);
    child->in = in[0];
    child->out = out[1];
    child->failure = failure[1];
    c->in = in[1];
    c->out = out[0];
    if (!failed && (c->pid = fork()) == 0)
        become_command(child, self);
    if (!failed && c->pid < 0)
        failed = errno;
    cleanup_close(&in[0]);
    cleanup_close(&out[1]);
    cleanup_close(&failure[1]);
    if (!failed)
        failed = watch(c, failure[0]);
    cleanup_close(&failure[0]);
    return failed;
}

/* What it prints: the beginning is kept, all of it is read; a pipe's worth at once, for some programs never stop. */
static void read_output(struct command *c)
{
    char bytes[4096] __attribute__((uninitialized));
    ssize_t n = 0;
    for (size_t i = 0; i < PIPE_READS && c->out >= 0 && (n = read(c->out, bytes, sizeof(bytes))) >= 0; i++) {
        buf_add(&c->output, str_first(str_of(bytes, (size_t)n), c->output.max - c->output.n));
        if (n == 0)
            close(TAKE_FD(c->out));
    }
    if (c->out >= 0 && n < 0 && errno != EAGAIN && errno != EINTR)
        close(TAKE_FD(c->out));
}

static void write_input(struct command *c, str *rest)
{
    ssize_t n = write(c->in, rest->p, rest->n);
    if (n > 0)
        *rest = str_from(*rest, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        close(TAKE_FD(c->in)); /* it has read enough */
}

/* Goes on until `rest` is written or will not be read, or, with nothing to write, until the process has ended. */
static void pump(struct command *c, str rest, bool to_the_end)
{
    while (c->ended == RUNNING && (to_the_end || (rest.n && c->in >= 0))) {
        uint64_t now = now_ms();
        if (now >= c->until_ms) {
            c->ended = TIMED_OUT;
            return;
        }
        struct pollfd fds[] = { { .fd = c->pid_fd, .events = POLLIN },
                                { .fd = c->out, .events = POLLIN },
                                { .fd = rest.n ? c->in : -1, .events = POLLOUT },
                                { .fd = c->config->cancel_fd, .events = POLLIN } };
        if (poll(fds, ARRAY_LEN(fds), (int)MIN(c->until_ms - now, (uint64_t)INT_MAX)) < 0)
            continue;
        if (fds[1].revents)
            read_output(c);
        if (fds[2].revents)
            write_input(c, &rest);
        if (fds[3].revents)
            c->ended = CANCELLED;
        else if (fds[0].revents)
            c->ended = ENDED;
    }
}

static int sink_write(struct text_sink *sink, str bytes)
{
    struct command *c = CONTAINER_OF(sink, struct command, sink);
    pump(c, bytes, false);
    return 0; /* what it does not want to read is no failure */
}

/* Ends the whole group, first kindly. The leader is not waited for yet, so its number is still its own. */
static void end_group(struct command *c)
{
    struct pollfd wait = { .fd = c->pid_fd, .events = POLLIN };
    kill(-c->pid, SIGTERM);
    poll(&wait, 1, TERM_MS);
    kill(-c->pid, SIGKILL);
}

/* A child of its own may hold the output open: no more than a moment is lost to it. */
static void read_the_rest(struct command *c)
{
    uint64_t until = now_ms() + AFTER_MS;
    read_output(c);
    for (uint64_t now; c->out >= 0 && (now = now_ms()) < until;) {
        struct pollfd wait = { .fd = c->out, .events = POLLIN };
        if (poll(&wait, 1, (int)(until - now)) > 0)
            read_output(c);
    }
}

static void hand_over(struct command *c, const struct mda_message *m, struct mda_result *out)
{
    struct text text;
    int status = 0;
    text_init(&text);
    int e = text_write(&text, m, TEXT_FROM, STR_NONE, &c->sink);
    text_done(&text);
    if (e < 0 && c->ended == RUNNING)
        c->ended = CANCELLED; /* with half a message it must not succeed */
    cleanup_close(&c->in);
    c->in = -1;
    pump(c, STR_NONE, true);
    if (c->ended != ENDED)
        end_group(c);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    read_the_rest(c);
    if (c->ended == TIMED_OUT)
        mda_result_set(out, MDA_DEFERRED, 451, "4.3.0", "the command did not end within %llu s and was stopped",
                       (unsigned long long)(c->config->timeout_ms ? c->config->timeout_ms : TIMEOUT_MS) / 1000);
    else if (c->ended == CANCELLED && e < 0)
        mda_result_errno(out, -e, "the message could not be read");
    else if (c->ended == CANCELLED)
        mda_result_set(out, MDA_DEFERRED, 451, "4.3.2", "the server is stopping, and so was the command");
    else
        mda_command_verdict(out, status, buf_str(&c->output));
    out->bytes = c->sink.bytes;
}

static void cannot(struct mda_result *out, const char *program, int failed)
{
    mda_result_set(out, MDA_DEFERRED, 451, "4.3.5", "the command %s cannot be run: %s", program,
                   failed == EINVAL ? "its name must begin with / or ~/, or have no slash" : strerror(failed));
}

void mda_command_run(const struct mda_command_config *config, const struct mda_message *m, str command,
                     struct mda_result *out)
{
    _cleanup_arena_ struct arena a = ARENA(WORDS_MEMORY);
    char *environment[ENVIRONMENT_MAX] = { NULL };
    const char *why = "";
    size_t n = 0;
    int failed = 0;
    *out = (struct mda_result){ 0 };
    struct child child = { .words = mechanism_words(&a, command, &n, &why), .environment = environment };
    if (!child.words) {
        mda_result_set(out, MDA_DEFERRED, 451, "4.3.5", "the command is not right: %s", *why ? why : "no memory");
        return;
    }
    child.path = find_program(&a, config->user, child.words[0], &failed);
    child.home = (char *)arena_dup(&a, config->user->home).p;
    if (!child.path || !make_environment(&a, config, m, environment)) {
        cannot(out, child.words[0], child.path ? ENOMEM : failed);
        return;
    }
    size_t kept = config->output_max ? MIN(config->output_max, (size_t)OUTPUT_MAX) : MDA_COMMAND_OUTPUT;
    struct command c = { .sink.write = sink_write, .config = config, .pid_fd = -1, .in = -1, .out = -1,
                         .output = BUF(kept),
                         .until_ms = now_ms() + (config->timeout_ms ? config->timeout_ms : TIMEOUT_MS) };
    struct sigaction ignore = { .sa_handler = SIG_IGN }, before;
    sigaction(SIGPIPE, &ignore, &before);
    failed = start(&c, &child);
    if (failed)
        cannot(out, child.path, failed);
    else
        hand_over(&c, m, out);
    sigaction(SIGPIPE, &before, NULL);
    cleanup_close(&c.in);
    cleanup_close(&c.out);
    cleanup_close(&c.pid_fd);
    buf_done(&c.output);
}
