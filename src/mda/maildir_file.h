/* One Maildir (https://cr.yp.to/proto/maildir.html) that messages are put into.
 *
 *     maildir_open() ... maildir_write() for each message ... maildir_sync_file() for each ... maildir_move()
 *     for each ... maildir_sync() ... maildir_close()
 *
 * Each is a file of its own, written in tmp/, on the disk before it is renamed into new/, and delivered when new/ is on
 * the disk. Its name is time.M(microsecond)P(process)Q(number).host,S=size. Nothing is locked.
 *
 * A Maildir that is not there is made, 0700, if its folder is ours; in a Maildir one whose name begins with a dot is a
 * Maildir++ folder and gets the file maildirfolder. What is there must be folders, not symlinks, of ours, that nobody
 * else may write to; the way to it is as safe_path.h says. maildirsize (Maildir++'s quota), if there, is honoured, and
 * counts what is delivered. What lies in tmp/ for more than 36 hours is removed now and then. */
#pragma once
#include <limits.h>
#include "mda/text.h"

#define MAILDIR_TMP_S (36 * 3600)

struct maildir_dir {
    str path;                    /* the caller's */
    int tmp, new;                /* folders; -1: closed */
    int quota;                   /* maildirsize, -1: none */
    uint64_t quota_bytes, quota_messages; /* left; UINT64_MAX: no limit */
};
#define MAILDIR_CLOSED ((struct maildir_dir){ .tmp = -1, .new = -1, .quota = -1 })

struct maildir_pending { int fd; uint64_t size; char name[NAME_MAX + 1]; }; /* one message in tmp/ (fd -1: none) */

/* 0, or -1 with *r set. path: absolute, with a NUL behind it, kept. */
int maildir_open(struct maildir_dir *d, const struct mda_user *user, str path, struct mda_result *r);
void maildir_close(struct maildir_dir *d);

/* Writes one into tmp/. 0, or -1 with *r set and nothing left behind. */
int maildir_write(struct maildir_dir *d, struct text *text, const struct mda_message *m, struct maildir_pending *out,
                  struct mda_result *r);
/* Lets the kernel begin to write it, so that many are on their way to the disk when the first is waited for. */
void maildir_push(const struct maildir_pending *p);
/* Waits until it is on the disk, unless the caller has seen to that; closes the file. 0, or -1: it is removed. */
int maildir_sync_file(struct maildir_dir *d, struct maildir_pending *p, bool on_disk, struct mda_result *r);
/* From tmp/ to new/, where its name gets ",S=size". 0, or -1: it is removed. */
int maildir_move(struct maildir_dir *d, struct maildir_pending *p, struct mda_result *r);
/* new/ is on the disk, and with it all that was moved (0); or -1: the caller drops each. */
int maildir_sync(struct maildir_dir *d, struct mda_result *r);
/* Counts it in maildirsize. */
void maildir_count(struct maildir_dir *d, const struct maildir_pending *p);
/* Removes it wherever it is; a finished one too. */
void maildir_drop(struct maildir_dir *d, struct maildir_pending *p);

/* Removes from tmp/ what is older than MAILDIR_TMP_S; how many. */
size_t maildir_sweep(int tmp_fd, int64_t now_s);
