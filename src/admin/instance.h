/* An instance as a command sees it: its configuration, directory and folders. */
#pragma once
#include "admin/compile.h"

struct instance {
    const char *path;             /* of the configuration file */
    struct buf blob;
    struct arena arena;
    const struct conf *conf;
    struct directory directory;
    char *folder;                 /* of the configuration file */
    int data_fd;                  /* data folder, -1: there is none yet */
};

/* Compiles the configuration at `given` (or where admin_config_path says). 0, or an exit code after a complaint. */
int instance_load(const char *given, struct instance *out);
void instance_done(struct instance *i);
/* A path of the configuration, made absolute or relative to the working folder; in the arena, NUL-terminated. */
const char *instance_path(struct instance *i, str path);
/* Tells the running server to read configuration and accounts anew. 0 done; 1 no server runs; else an exit code after a
 * complaint. */
int instance_reload(struct instance *i);
