/* A role's receive log at work: opened in the role's folder, written once a turn of the loop, and its synced positions
 * reported to the store, which places from them (DESIGN 1.1, 4). Shared by smtp-in and access. */
#pragma once
#include "io/role.h"
#include "store/receive_log.h"

struct log_writer { /* embedded; zeroed is closed */
    struct role *role;
    str name;                /* of the log, as the store knows it; static */
    struct receive_log *log;
    struct loop_io io;
    bool dirty;              /* something was staged: written by log_writer_flush() */
    bool dead;               /* a write or sync has failed: nothing more is acknowledged, the role restarts */
    uint64_t reported;       /* bytes announced to the store as durable … */
    uint64_t applied;        /* … and applied by it, since it was attached */
    /* What is durable has grown, or the log is dead: answer whoever waits. Called before the store is told, because the
     * store can take the processor as soon as it is. */
    void (*synced)(struct log_writer *w);
    void (*told)(struct log_writer *w); /* after that, unless the log is dead; may close the log; may be NULL */
};

/* Opens the log in role->data_dir; name, synced and told are set before. Says in an event why it cannot. 0 or negative
 * errno. */
int log_writer_open(struct log_writer *w, struct role *role);
void log_writer_attach(struct log_writer *w); /* the store is there (again) */
/* LOG_APPLIED. 0 or -EBADMSG. */
int log_writer_applied(struct log_writer *w, struct ipc_frame *f);
/* At the end of a turn: one write for all that was staged in it, then the sync thread takes over. */
void log_writer_flush(struct log_writer *w);
void log_writer_close(struct log_writer *w); /* not open is fine */
/* Bytes that the store has not placed yet. */
static inline uint64_t log_writer_backlog(const struct log_writer *w)
{
    return w->reported > w->applied ? w->reported - w->applied : 0;
}
