/* The instance a command works on: its configuration, and the data folder that the configuration names. */
#pragma once
#include "conf/conf.h"

struct admin_data {
    const char *path;        /* of the configuration file, as given */
    struct arena arena;      /* conf lives here */
    struct buf bundle;       /* conf points into it; see conf_bundle_file */
    const struct conf *conf;
    int fd;                  /* the data folder */
};

/* Reads the configuration and opens its data_directory, which stands relative to the configuration's folder. 0, or
 * after a complaint in the name of `command` an exit code (EXIT_CONFIG, EXIT_NOPERM, EXIT_UNAVAILABLE: nothing there
 * yet, EXIT_IO). */
int admin_data_dir(const char *command, const char *config_path, struct admin_data *out);
/* The same for commands that only ask the running server, which may well run while the file on disk is broken: then the
 * data folder is taken to be where the default puts it. */
int admin_data_dir_of_server(const char *command, const char *config_path, struct admin_data *out);
/* A folder in the data folder ("trace"), open for reading. The same exit codes. */
int admin_data_subdir(const struct admin_data *d, const char *command, const char *name, int *out_fd);
/* Accepts a half-opened or zeroed one whose fd is -1. */
void admin_data_done(struct admin_data *d);
#define _cleanup_admin_data_ _cleanup_(admin_data_done)
