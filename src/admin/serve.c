/* `posthouse serve`: the master's start, signals and end. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include "admin/admin.h"
#include "admin/master.h"

static void signal_ready(struct loop_io *io, uint32_t events)
{
    struct master *m = CONTAINER_OF(io, struct master, signal_io);
    struct signalfd_siginfo s;
    (void)events;
    while (read(io->fd, &s, sizeof(s)) == sizeof(s)) {
        if (s.ssi_signo == SIGCHLD)
            master_reap(m);
        else if (s.ssi_signo == SIGHUP)
            master_reload(m, NULL);
        else
            master_stop(m);
    }
}

static int watch_signals(struct master *m)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    m->signal_io = (struct loop_io){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .ready = signal_ready };
    return m->signal_io.fd < 0 ? -errno : loop_watch(m->loop, &m->signal_io, EPOLLIN);
}

static int open_base(struct master *m)
{
    char *copy = strdup(m->config_path);
    m->base_fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(copy);
    return m->base_fd < 0 ? -errno : 0;
}

static int read_configuration(struct master *m)
{
    _cleanup_buf_ struct buf error = BUF(8192);
    m->generation = 1;
    int r = compile_in_child(m->config_path, m->generation, &m->blob_fd, &error);
    if (r == 0)
        r = compiled_open(m->blob_fd, &m->config);
    if (r < 0)
        admin_complain("%.*s", STR_ARG(error.n ? buf_str(&error) : S("the configuration could not be compiled")));
    return r < 0 ? r : open_base(m);
}

static void raise_descriptor_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int set_up(struct master *m)
{
    if (read_configuration(m) < 0 || master_user(m) < 0)
        return EXIT_CONFIG;
    if (master_folders(m) < 0)
        return EXIT_CANTCREATE;
    master_drop_folder(m);
    if (master_bind(m) < 0)
        return EXIT_UNAVAILABLE;
    if (loop_new(&env_system, &m->loop) < 0 || watch_signals(m) < 0)
        return EXIT_IO;
    events_init(&m->events, m->loop, "master");
    if (master_watch_open(m) < 0)
        admin_complain("the TLS files cannot be watched; a renewed certificate counts after posthouse reload");
    if (master_control_open(m) < 0) {
        admin_complain("the control socket in the data folder cannot be made: %s", strerror(errno));
        return EXIT_CANTCREATE;
    }
    return 0;
}

int cmd_serve(int argc, char **argv)
{
    static struct master m;
    const char *config = NULL;
    const struct admin_option options[] = { { "-c", &config, NULL } };
    int e = admin_options("serve", &argc, argv, options, ARRAY_LEN(options));
    if (e)
        return e;
    m = (struct master){ .config_path = admin_config_path(config),
                         .data_fd = -1,
                         .drop_fd = -1,
                         .blob_fd = -1,
                         .base_fd = -1,
                         .started_us = env_system.wall_us() };
    raise_descriptor_limit();
    e = set_up(&m);
    if (e)
        return e;
    if (master_start(&m) < 0)
        m.status = EXIT_UNAVAILABLE;
    else
        loop_run(m.loop);
    unlinkat(m.data_fd, "control", 0);
    events_done(&m.events);
    return m.status;
}
