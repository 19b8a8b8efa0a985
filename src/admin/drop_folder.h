/* The drop of an instance (session/drop.h), for commands that put mail into it. */
#pragma once
#include "admin/data_dir.h"

/* Opened with O_PATH, for drop_begin(); -1: it is not there, or not for us. */
int admin_drop_folder(const struct admin_data *d);
/* The same of a configuration, without a complaint if it cannot be read. *out_size_max (may be NULL): its
 * message_size_limit, 0 unknown. */
int admin_drop_folder_of(const char *config_path, uint64_t *out_size_max);
