/* The thread of compaction (DESIGN 5.10): it copies records of one segment to a new one and makes that durable, or
 * removes a segment, so that the store's loop never waits for the disk. One job at a time. It works a fifth of the
 * time, unless it is in a hurry. All calls belong to the loop's thread. */
#pragma once
#include "store/journal_record.h"
#include "store/segment.h"

struct compactor;
/* The thread starts with the first job. */
int compactor_new(const struct env *env, struct compactor **out);
void compactor_free(struct compactor *c); /* waits for a step, not for the whole job; NULL is fine */

struct compactor_job {
    int dir_fd;              /* of the segment; the caller's, open until the job is done */
    uint64_t number;
    /* Copy: the record at each move's `from`, in rising order (one record may be there several times), to `to` of
     * segment to_number, made in to_fd. NULL: remove the segment, unless it has the highest number in its folder,
     * or may_be_last. */
    struct journal_move *moves;
    size_t n;
    int to_fd;
    uint64_t to_number;
    bool hurry, may_be_last;
    uint64_t end;            /* result of a copy: of the new segment */
    int result;              /* 0; -EBADMSG: a record is damaged; -EBUSY: highest number; -ENOSPC, other errno. After a
                                failure there is no new segment */
};

/* Starts a job (none is under way); it stays the caller's. 0 or negative errno. */
int compactor_start(struct compactor *c, struct compactor_job *job);
bool compactor_busy(struct compactor *c);
