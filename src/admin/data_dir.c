/* Configuration and data folder for commands: see data_dir.h. */
#include "admin/data_dir.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "admin/admin.h"

void admin_data_done(struct admin_data *d)
{
    if (d->fd >= 0)
        close(TAKE_FD(d->fd));
    buf_done(&d->bundle);
    arena_done(&d->arena);
}

static int exit_code(int error)
{
    return error == ENOENT || error == ENOTDIR ? EXIT_UNAVAILABLE
           : error == EACCES || error == EPERM ? EXIT_NOPERM
                                               : EXIT_IO;
}

static int read_configuration(const char *command, struct admin_data *d)
{
    struct conf_error e = { 0 };
    int r = conf_bundle_read(&d->arena, d->path, &d->bundle, &e);
    if (r == 0)
        r = conf_parse(&d->arena, buf_str(&d->bundle), &d->conf, &e);
    if (r == 0)
        return 0;
    _cleanup_buf_ struct buf text = BUF(1u << 16);
    if (!e.text.n)
        e = (struct conf_error){ .file = str_z(d->path), .text = str_z(strerror(-r)) };
    conf_error_print(&text, &e);
    admin_complain(
        "%s: the configuration cannot be read: %.*s. Name the file of your instance with -c FILE or $POSTHOUSE_CONFIG",
        command, STR_ARG(buf_str(&text)));
    return r == -EACCES || r == -EPERM ? EXIT_NOPERM : EXIT_CONFIG;
}

static int open_data(const char *command, struct admin_data *d, str data_directory)
{
    str path = str_z(d->path);
    ptrdiff_t slash = str_rchr(path, '/');
    str folder = slash < 0 ? S(".") : slash == 0 ? S("/") : str_first(path, (size_t)slash);
    _cleanup_free_ char *config_folder = str_dupz(folder), *data = str_dupz(data_directory);
    if (!config_folder || !data)
        return EXIT_IO;
    _cleanup_close_ int at = open(config_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at >= 0)
        d->fd = openat(at, data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd >= 0)
        return 0;
    int error = errno;
    admin_complain("%s: the data folder %s (data_directory in %s) cannot be opened: %s%s", command, data, d->path,
                   strerror(error),
                   error == ENOENT   ? ". The server makes it when it starts for the first time"
                   : error == EACCES ? ". Run the command as root or as the user of the instance"
                                     : "");
    return exit_code(error);
}

int admin_data_dir(const char *command, const char *config_path, struct admin_data *out)
{
    *out = (struct admin_data){
        .path = config_path, .arena = ARENA(CONF_MEMORY_MAX), .bundle = BUF(CONF_BUNDLE_MAX), .fd = -1
    };
    int r = read_configuration(command, out);
    if (r == 0)
        r = open_data(command, out, out->conf->data_directory);
    if (r)
        admin_data_done(out);
    return r;
}

int admin_data_dir_of_server(const char *command, const char *config_path, struct admin_data *out)
{
    struct conf_error e;
    *out = (struct admin_data){
        .path = config_path, .arena = ARENA(CONF_MEMORY_MAX), .bundle = BUF(CONF_BUNDLE_MAX), .fd = -1
    };
    int r = conf_bundle_read(&out->arena, config_path, &out->bundle, &e);
    if (r == 0)
        r = conf_parse(&out->arena, buf_str(&out->bundle), &out->conf, &e);
    if (r == -ENOENT && access(config_path, F_OK) < 0)
        r = read_configuration(command, out); /* complains */
    else
        r = open_data(command, out, r == 0 ? out->conf->data_directory : S("data"));
    if (r)
        admin_data_done(out);
    return r;
}

int admin_data_subdir(const struct admin_data *d, const char *command, const char *name, int *out_fd)
{
    int fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        *out_fd = fd;
        return 0;
    }
    int error = errno;
    admin_complain("%s: the folder %s in the data folder of %s cannot be opened: %s%s", command, name, d->path,
                   strerror(error),
                   error == ENOENT   ? ". The server makes it when it starts for the first time"
                   : error == EACCES ? ". Run the command as root or as the user of the instance"
                                     : "");
    return exit_code(error);
}
