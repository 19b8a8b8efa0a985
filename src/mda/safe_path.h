/* Opens folders on the way to a mailbox and refuses what others could have put there.
 *
 * The rule. The home of the user is trusted as it is. Below it, and from / on for other paths, each folder must belong
 * to us or to root, and nobody else may be able to rename what is in it: it is not writable by group and others, or
 * sticky; one that the group may write to is accepted if it is setgid (Debian's /var/mail, 2775 root:mail) or if its
 * group is our own primary one (the usual "user private group"). A symlink in the middle must belong to root or us;
 * the last name is never followed. */
#pragma once
#include <sys/stat.h>
#include "mda/mda.h"

#define SAFE_PATH_MAX 4000

/* "~/x" made absolute, in the arena. STR_NONE: no memory, no home, or too long (*r is set, deferred). */
str safe_path_expand(struct arena *a, const struct mda_user *user, str path, struct mda_result *r);
/* The folder in which `path` (absolute, a NUL behind it) lies, opened to be worked in (O_PATH), its stat, and the last
 * name, a part of path. -1 and *r set (deferred) if it is not there or not safe. */
int safe_path_parent(const struct mda_user *user, str path, const char **out_name, struct stat *out_st,
                     struct mda_result *r);
/* A deferral that says what errno e means for whoever reads it: 4.3.1 disk full, 4.2.2 quota, else 4.2.0. */
void mda_result_errno(struct mda_result *r, int e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
