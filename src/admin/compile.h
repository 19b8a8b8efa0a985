/* Configuration and directory compiled into one immutable blob of a generation (DESIGN 4). */
#pragma once
#include "conf/conf.h"
#include "conf/directory.h"
#include "session/smtp_policy.h"

/* Everything that can be wrong with a configuration is found here: syntax, values, tables, restriction lists, an open
 * relay, accounts, aliases. On success *out holds two packed strings: bundle, directory. 0, or negative with *out_error
 * (a sentence with file and line). */
int compile_configuration(const char *path, uint64_t generation, struct buf *out, struct buf *out_error);

/* The same in a child process, so that the caller parses nothing: *out_fd is a sealed memfd with the blob. */
int compile_in_child(const char *path, uint64_t generation, int *out_fd, struct buf *out_error);

/* A blob opened for reading: the configuration and directory in it. */
struct compiled { char *map; size_t size; struct arena arena; const struct conf *conf; struct directory directory; };
int compiled_open(int fd, struct compiled *out);
void compiled_close(struct compiled *c);
