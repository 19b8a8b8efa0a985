/* Loading an instance: see instance.h. */
#include "admin/instance.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include "admin/admin.h"
#include "admin/control.h"

enum { RELOAD_PATIENCE_S = 15 };

static int parse(struct instance *i, struct buf *error)
{
    int r = compile_configuration(i->path, 0, &i->blob, error);
    if (r < 0)
        return r;
    struct conf_error e;
    struct unpack u = UNPACK(buf_str(&i->blob));
    str bundle = unpack_str(&u), directory = unpack_str(&u);
    r = conf_parse(&i->arena, bundle, &i->conf, &e);
    return r < 0 ? r : directory_open(directory, &i->directory);
}

int instance_load(const char *given, struct instance *out)
{
    _cleanup_buf_ struct buf error = BUF(8192);
    *out = (struct instance){ .path = admin_config_path(given),
                              .blob = BUF(2UL * CONF_BUNDLE_MAX),
                              .arena = ARENA(CONF_MEMORY_MAX),
                              .data_fd = -1 };
    int r = parse(out, &error);
    if (r < 0) {
        admin_complain("%.*s", STR_ARG(error.n ? buf_str(&error) : str_z(strerror(-r))));
        instance_done(out);
        return EXIT_CONFIG;
    }
    char *copy = strdup(out->path);
    out->folder = copy ? strdup(dirname(copy)) : NULL;
    free(copy);
    if (out->folder)
        out->data_fd = open(instance_path(out, out->conf->data_directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

void instance_done(struct instance *i)
{
    buf_done(&i->blob);
    arena_done(&i->arena);
    free(i->folder);
    if (i->data_fd >= 0)
        close(i->data_fd);
    *i = (struct instance){ .data_fd = -1 };
}

const char *instance_path(struct instance *i, str path)
{
    if (path.n && path.p[0] == '/')
        return arena_dup(&i->arena, path).p;
    return arena_printf(&i->arena, "%s/%.*s", i->folder, STR_ARG(path)).p;
}

int instance_reload(struct instance *i)
{
    _cleanup_buf_ struct buf text = BUF(CONTROL_ANSWER_MAX);
    bool ok = false;
    int r = i->data_fd < 0 ? -ENOENT : control_ask(i->data_fd, CONTROL_RELOAD, RELOAD_PATIENCE_S, &ok, &text);
    if (r == -ENOENT || r == -ECONNREFUSED)
        return 1;
    if (r < 0) {
        admin_complain("the server did not answer: %s", strerror(-r));
        return r == -EACCES || r == -EPERM ? EXIT_NOPERM : EXIT_UNAVAILABLE;
    }
    if (!ok) {
        admin_complain("%.*s", STR_ARG(buf_str(&text)));
        return EXIT_CONFIG;
    }
    return 0;
}
