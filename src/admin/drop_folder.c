/* Where the drop of an instance is: see drop_folder.h. */
#include "admin/drop_folder.h"
#include <errno.h>
#include <fcntl.h>
#include "admin/admin.h"
#include "session/drop.h"

enum { AS_FOLDER = O_PATH | O_DIRECTORY | O_CLOEXEC };

/* Relative to the folder of the configuration file. */
static int open_beside(const char *config_path, str name)
{
    str path = str_z(config_path);
    ptrdiff_t slash = str_rchr(path, '/');
    _cleanup_free_ char *folder = str_dupz(slash < 0 ? S(".") : str_first(path, (size_t)slash + 1));
    _cleanup_free_ char *z = str_dupz(name);
    _cleanup_close_ int at = folder ? open(folder, AS_FOLDER) : -1;
    return at < 0 || !z ? -1 : openat(at, z, AS_FOLDER);
}

static int open_drop(const char *config_path, const struct conf *c)
{
    if (c->drop_directory.n)
        return open_beside(config_path, c->drop_directory);
    _cleanup_close_ int data = open_beside(config_path, c->data_directory);
    return data < 0 ? -1 : openat(data, DROP_FOLDER, AS_FOLDER);
}

int admin_drop_folder(const struct admin_data *d)
{
    return d->conf ? open_drop(d->path, d->conf) : d->fd < 0 ? -1 : openat(d->fd, DROP_FOLDER, AS_FOLDER);
}

int admin_drop_folder_of(const char *config_path, uint64_t *out_size_max)
{
    _cleanup_arena_ struct arena arena = ARENA(CONF_MEMORY_MAX);
    _cleanup_buf_ struct buf bundle = BUF(CONF_BUNDLE_MAX);
    struct conf_error error = { 0 };
    const struct conf *c;
    if (conf_bundle_read(&arena, config_path, &bundle, &error) < 0 ||
        conf_parse(&arena, buf_str(&bundle), &c, &error) < 0)
        return -1;
    if (out_size_max)
        *out_size_max = c->message_size_limit;
    return open_drop(config_path, c);
}
