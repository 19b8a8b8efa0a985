/* One mbox (mboxrd, RFC 4155) that messages are appended to.
 *
 *     mbox_open() ... mbox_append() for each message ... mbox_sync() ... mbox_close()
 *
 * What is accepted: a regular file with one link, of ours, in a folder that safe_path.h finds safe; others may not
 * write to it. Its group may, only where that is the custom: the folder is not ours, is setgid or sticky, and its group
 * is the file's (0660 bob:mail in /var/mail). What is not there is made with 0600. It is empty or begins with "From ".
 *
 * Locks: fcntl (of the open file description) and the dotlock, both taken without waiting, both or none; so neither
 * order of another program can come to a deadlock. Where no file can be made beside the mbox there is fcntl alone, and
 * the result says so.
 *
 * A message is there whole or not at all: a failed write or sync is undone by ftruncate; a delivery that was killed is
 * undone by the next one (dotlock.h), if what stands behind the old end is that one message. A last line without its
 * end gets it. atime stays below mtime, by which shells and mail programs see that there is new mail. */
#pragma once
#include "mda/dotlock.h"
#include "mda/text.h"

struct mbox_file {
    str path;                    /* the caller's */
    int dir, fd;
    struct dotlock dotlock;
    bool fcntl_alone, created;
    uint64_t begun, size;        /* when it was opened, after mending what was killed; now */
    char mend[3];                /* what the last line lacks */
};
#define MBOX_FILE_CLOSED ((struct mbox_file){ .dir = -1, .fd = -1, .dotlock = DOTLOCK_FREE })

/* 0: open and locked. 1: somebody holds a lock, and *r says who, as a deferral. -1: *r is set. path: absolute, with a
 * NUL behind it, kept. */
int mbox_open(struct mbox_file *f, const struct mda_user *user, str path, struct mda_result *r);
/* Writes one message; not yet on the disk. 0, or -1 with *r set and nothing added. *out_bytes: its size. */
int mbox_append(struct mbox_file *f, struct text *text, const struct mda_message *m, struct mda_result *r,
                uint64_t *out_bytes);
/* All that was appended is on the disk (0), or is undone (-1, *r is set). on_disk: the caller has seen to it. */
int mbox_sync(struct mbox_file *f, bool on_disk, struct mda_result *r);
/* Gives the locks back. Safe on a closed one. What was not synced stays as it is. */
void mbox_close(struct mbox_file *f);
/* Takes back what was appended since it was opened. */
void mbox_undo(struct mbox_file *f);
