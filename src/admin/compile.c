/* Compiling a configuration: see compile.h. */
#include "admin/compile.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { ERROR_MAX = 4096 };

static int check_lists(struct arena *a, const struct conf *c, struct buf *out_error)
{
    struct policy_rules *rules;
    struct smtp_nets nets;
    struct policy_error e;
    int r = smtp_policy_compile(a, c, &rules, &nets, &e);
    if (r < 0)
        conf_error_print(out_error, &(struct conf_error){ .file = e.file, .line = e.line, .text = e.text });
    return r;
}

static int check_files(const struct conf *c, struct buf *out_error)
{
    const char *what = !c->n_listeners ? "no `listen` statement: the server would serve nobody"
                     : !c->n_domains ? "no `domain` statement: the server would have no mailboxes"
                     : c->tls_certificate.n && !c->tls_key.n ? "tls_certificate is set but tls_key is not"
                     : NULL;
    if (!what)
        return 0;
    conf_error_print(out_error, &(struct conf_error){ .file = c->main_file, .text = str_z(what) });
    return -EINVAL;
}

int compile_configuration(const char *path, uint64_t generation, struct buf *out, struct buf *out_error)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX * 4UL);
    _cleanup_buf_ struct buf bundle = BUF(CONF_BUNDLE_MAX), directory = BUF(CONF_BUNDLE_MAX);
    struct conf_error e = { 0 };
    const struct conf *c;
    int r = conf_bundle_read(&a, path, &bundle, &e);
    if (r == 0)
        r = conf_parse(&a, buf_str(&bundle), &c, &e);
    if (r == 0) {
        r = check_files(c, out_error);
        if (r == 0)
            r = check_lists(&a, c, out_error);
        if (r < 0)
            return r;
        r = directory_compile(&a, buf_str(&bundle), c, generation, &directory, &e);
    }
    if (r < 0) {
        if (!e.text.n)
            e = (struct conf_error){ .file = str_z(path), .text = str_z(strerror(-r)) };
        conf_error_print(out_error, &e);
        return r;
    }
    pack_str(out, buf_str(&bundle));
    pack_str(out, buf_str(&directory));
    return out->failed;
}

static bool write_all(int fd, str s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s = str_from(s, (size_t)n);
    }
    return true;
}

static _Noreturn void child(const char *path, uint64_t generation, int memfd, int error_fd)
{
    struct buf blob = BUF(2UL * CONF_BUNDLE_MAX), error = BUF(ERROR_MAX);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int r = compile_configuration(path, generation, &blob, &error);
    if (r == 0 && !write_all(memfd, buf_str(&blob)))
        r = -EIO;
    if (r < 0)
        write_all(error_fd, error.n ? buf_str(&error) : S("the configuration could not be compiled: no memory"));
    _exit(r < 0 ? 1 : 0);
}

static void read_error(int fd, struct buf *out)
{
    while (buf_reserve(out, 512) == 0) {
        ssize_t n = read(fd, out->p + out->n, out->cap - out->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        out->n += (size_t)n;
    }
}

int compile_in_child(const char *path, uint64_t generation, int *out_fd, struct buf *out_error)
{
    int pipe_fd[2], status;
    _cleanup_close_ int memfd = memfd_create("posthouse-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memfd < 0 || pipe2(pipe_fd, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        child(path, generation, memfd, pipe_fd[1]);
    close(pipe_fd[1]);
    if (pid > 0)
        read_error(pipe_fd[0], out_error);
    close(pipe_fd[0]);
    if (pid < 0)
        return -errno;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return -EINVAL;
    if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return -errno;
    *out_fd = TAKE_FD(memfd);
    return 0;
}

int compiled_open(int fd, struct compiled *out)
{
    struct conf_error e;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *out = (struct compiled){ .size = (size_t)st.st_size, .arena = ARENA(CONF_MEMORY_MAX) };
    out->map = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (out->map == MAP_FAILED) {
        out->map = NULL;
        return -errno;
    }
    struct unpack u = UNPACK(str_of(out->map, out->size));
    str bundle = unpack_str(&u), directory = unpack_str(&u);
    int r = unpack_end(&u) ? conf_parse(&out->arena, bundle, &out->conf, &e) : -EBADMSG;
    if (r == 0)
        r = directory_open(directory, &out->directory);
    if (r < 0)
        compiled_close(out);
    return r;
}

void compiled_close(struct compiled *c)
{
    if (c->map)
        munmap(c->map, c->size);
    arena_done(&c->arena);
    *c = (struct compiled){ 0 };
}
