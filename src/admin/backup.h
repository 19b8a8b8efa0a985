/* A backup is a folder: `manifest`, and below `config/`, `outside/` and `data/` the files it names. The manifest is
 * written last: a folder without one is no backup.
 *
 *     posthouse-backup 1
 *     data PATH                       data_directory as the configuration has it
 *     file CRC32C SIZE PATH           eight hexadecimal digits; decimal
 *     end COUNT                       of files */
#pragma once
#include "base/buf.h"

#define BACKUP_FIRST_LINE S("posthouse-backup 1")
#define BACKUP_MANIFEST "manifest"
#define BACKUP_MANIFEST_MAX ((size_t)1 << 28)
#define BACKUP_PATH_MAX 1024

struct backup_sum { uint64_t size; uint32_t crc; };

/* Copies an open file to `path` below to_dir, which must not exist, with its mode, and for root its owner; folders on
 * the way are made. Zeros at its end are left out if `trim`. Made durable. 0 or negative errno. */
int backup_copy(int from_fd, int to_dir, const char *path, bool trim, struct backup_sum *out);
/* Reads it to its end. */
int backup_sum(int fd, struct backup_sum *out);
/* Makes the folders that lead to `path`. */
int backup_make_way(int dir_fd, const char *path);
/* Gives the folder the mode, and for root the owner, of an open one. */
int backup_like(int model_fd, int dir_fd, const char *path);
/* Relative, without empty parts, `.` and `..`. */
bool backup_path_valid(str path);
/* Opens a folder, which is made if it is missing and must be empty. -ENOTEMPTY. */
int backup_open_empty(const char *path, int *out_fd);

struct backup_line {
    enum { BACKUP_FILE, BACKUP_DATA, BACKUP_END } kind;
    struct backup_sum sum;
    str path;
    uint64_t count;
};
/* Next line of a manifest behind its first one. 1, 0 at the end, -EBADMSG. */
int backup_manifest_next(str *rest, struct backup_line *out);
