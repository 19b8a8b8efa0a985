/* Inside of role mda. A *job* is one message for one recipient by one mechanism, leased by the store; a *child* is a
 * process that is the user: a *worker* writes files and stays (mda_worker.h), a *runner* does one job that runs
 * programs, and ends.
 *
 *   mda_role.c    the role: frames of the store, results, status
 *   mda_child.c   children: started, given jobs, ended, buried
 *   mda_wire.c    frames between dispatcher and child
 *   mda_user.c    users
 *   mda_worker.c  what a child does
 *
 * A job whose result is not in the journal yet outlives the store: see session/job.h. */
#pragma once
#include "base/map.h"
#include "io/role.h"
#include "mda/mda_user.h"
#include "session/job.h"

struct mda_child;

struct mda_job {
    struct job job;
    struct mda_account account;
    struct mechanism mechanism;   /* the first of job.via */
    struct mda_child *child;      /* it is at work */
    bool waiting, reported;
    struct mda_job *prev, *next;  /* of the child, or of those that wait */
};

struct mda_jobs { struct mda_job *first, *last; size_t n; };
void mda_jobs_add(struct mda_jobs *l, struct mda_job *j);
void mda_jobs_take(struct mda_jobs *l, struct mda_job *j);

struct mda_child {
    struct mda *mda;
    struct ipc_link link;
    struct loop_io end;           /* pidfd */
    struct loop_timer timer;      /* idle; or, once the link is closed, patience until it is killed */
    pid_t pid;                    /* 0: waited for */
    int status;                   /* of its end */
    uint32_t uid;
    bool runner, closing, ending; /* closing: gets no more jobs; ending: it was asked to stop what it does */
    uint64_t heard;               /* loop_now() of its last result, or of its first job since it was idle */
    struct mda_jobs jobs;
    struct mda_child *next;
};

struct mda {
    struct role *role;
    struct mda_rights rights;
    struct map jobs;              /* 8 bytes of its number -> struct mda_job */
    struct mda_jobs files, runs;  /* that wait for a child */
    struct mda_child *children;
    size_t workers, runners;
    struct loop_turn turn;
    struct loop_timer patience;   /* at the end … */
    uint64_t stop_at;             /* … which began at */
    uint64_t delivered, deferred, failed, workers_started, runners_started, workers_died;
};

/* The job's result goes to the store; the job stays until JOB_DONE. */
void mda_job_result(struct mda *m, struct mda_job *j, const struct mda_result *result);

/* mda_child.c: gives the waiting jobs out, starts and buries children. At the end of each turn. */
void mda_children_turn(struct mda *m);
/* Workers at rest are ended. With `now`, commands are ended too; with `kill`, all that is left is killed. */
void mda_children_stop(struct mda *m, bool now, bool kill);

/* mda_wire.c: frames between the dispatcher and a child (messages.def). */
struct mda_order { /* what a child reads; all slices point into the frame */
    uint64_t job;
    struct mda_message message;   /* without fd */
    str via;
};
void mda_order_pack(struct buf *b, const struct mda_job *j);
int mda_order_unpack(struct unpack *in, struct mda_order *out);      /* 0 or -EBADMSG */
void mda_answer_pack(struct buf *b, uint64_t job, const struct mda_result *r);
int mda_answer_unpack(struct unpack *in, uint64_t *out_job, struct mda_result *out);

/* mda_worker.c: what a child is from its start on; link: its socket. */
struct mda_child_config {
    struct mda_rights rights;
    const struct mda_account *account;
    bool runner, best_effort;     /* best_effort: as the setting sandbox */
    uint64_t command_timeout_ms;
    size_t output_max;
    str delimiter;
    int drop;                     /* the drop's folder, -1: unknown */
};
_Noreturn void mda_child_run(const struct mda_child_config *c, int link);
#define MDA_CHILD_WRONG_USER 77   /* exit status: it could not become its user */
#define MDA_CHILD_NO_SANDBOX 71
