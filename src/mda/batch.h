/* Messages delivered into files: mbox, Maildir, standard output. A batch writes many and waits for the disk once:
 *
 *     mda_batch_new(&user, …)
 *     loop: mda_batch_add() for each message that is at hand … mda_batch_finish(): now every result is final
 *     mda_batch_free()
 *
 * add() writes; finish() syncs the files, renames what goes into Maildirs, syncs the folders, unlocks, and sets the
 * results. What fails has left nothing behind, and MDA_DEFERRED: a disk, a right or a configuration is mended by
 * people, never a reason to bounce (so no delivery into a file ever fails for good). What was delivered is on the disk
 * when finish() returns.
 *
 * An mbox that another program has locked is put aside, and tried again from finish() when all else is done, until
 * lock_wait_ms are over. Nothing is held meanwhile. The content of such a message is read only then: message, what it
 * points to and its descriptor must live until finish() returns.
 *
 * One thread; blocks while it reads and writes. Memory: 512 KiB and what the messages at hand take for their names;
 * descriptors: at most MDA_BATCH_FILES. SIGXFSZ is ignored from mda_batch_new() on. */
#pragma once
#include "mda/mda.h"

#define MDA_BATCH_FILES 256 /* files written and not yet synced, of all kinds; more: finished in between */

struct mda_batch;

struct mda_batch_config {
    const struct mda_user *user;  /* who we are, copied */
    uint32_t lock_wait_ms;        /* 0: 30 s. A role that has others waiting takes less */
    int stdout_fd;                /* of the mechanism stdout; -1: it is refused */
};

/* 0 or -ENOMEM. */
int mda_batch_new(const struct mda_batch_config *config, struct mda_batch **out);
void mda_batch_free(struct mda_batch *b); /* what was not finished is undone; NULL is fine */

/* Takes one message for one mechanism of kind mbox, maildir or stdout (others: a failure at once). mechanism's texts
 * are copied; *result is set before finish() returns, at the latest. */
void mda_batch_add(struct mda_batch *b, const struct mda_message *m, const struct mechanism *mechanism,
                   struct mda_result *result);
void mda_batch_finish(struct mda_batch *b);

/* One message at once: new, add, finish, free. */
void mda_batch_deliver(const struct mda_batch_config *config, const struct mda_message *m,
                       const struct mechanism *mechanism, struct mda_result *result);
