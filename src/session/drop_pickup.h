/* Mail from the drop (session/drop.h): role smtp-in takes the files that are complete, gives each the walk of a message
 * that was submitted, and removes a file when what became of it is durable. A crash between the two brings a message
 * twice, never not at all. Shared by drop_pickup.c (the folder) and drop_intake.c (one message).
 *
 * Invariants: (1) one file is read at a time, a piece a turn; up to IN_FLIGHT_MAX wait for their sync. (2) A file that
 * cannot be a message is told of once, left alone, and removed after five days. (3) What cannot be delivered goes back
 * to its sender as a notice; what cannot be taken now stays where it is. */
#pragma once
#include <dirent.h>
#include "message/dsn.h"
#include "session/drop.h"
#include "session/smtp_session.h"

#define DROP_NAME_MAX 64 /* with its NUL: a longer name is none of ours */

struct drop_pickup { /* embedded; zeroed is closed */
    struct smtp_in *in;
    int folder;                  /* -1: there is none */
    struct loop_io watch;        /* inotify; without it the folder is looked through now and then all the same */
    struct loop_timer look, step;
    DIR *list;                   /* of the look under way */
    bool again;                  /* look once more after this one */
    bool told_of_wait;
    struct drop_run *reading, *waiting;
    size_t n_waiting;
    struct map bad;              /* names that were told of */
    uint64_t messages;
};

/* A file on its way. */
struct drop_run {
    struct drop_pickup *pickup;
    struct smtp_session *session; /* NULL after its end */
    char name[DROP_NAME_MAX];
    int fd;
    uint32_t uid;                /* of the owner */
    struct arena arena;
    struct drop_envelope envelope;
    str sender; bool smtputf8;   /* of the message, completed; in the arena */
    uint64_t head, at, end;      /* where the content begins; what was read; where it ends */
    struct drop_lines lines;
    struct buf piece;
    bool newline, eight_bit;     /* how the content ended so far; what it held */
    bool done;                   /* nothing is to be read any more */
    struct smtp_refusal refused; /* code 0: it was not */
    struct dsn_recipient *failed; size_t n_failed; /* that cannot be recipients */
    uint64_t ticket;             /* of the log: when that is durable the file goes */
    struct drop_run *next;
};

/* drop_pickup.c. folder is taken, -1: nothing is done. */
void drop_pickup_open(struct drop_pickup *p, struct smtp_in *in, int folder);
void drop_pickup_synced(struct drop_pickup *p); /* the log is durable up to its ticket */
bool drop_pickup_busy(const struct drop_pickup *p); /* something waits for its sync */
void drop_pickup_close(struct drop_pickup *p);

/* drop_intake.c */
/* Head and envelope are read, and the transaction begins. 0; -EBADMSG with *out_why: no message; -ENOMEM; -EAGAIN: not
 * now. run->end is the file's size. */
int drop_intake_begin(struct drop_run *run, const char **out_why);
/* The next piece. 1: there is more; 0: all is in the log, or refused for good (a notice is), run->ticket says what to
 * wait for; -EAGAIN: not now; -EBADMSG with *out_why: it is refused and has no sender who could be told. */
int drop_intake_more(struct drop_run *run, const char **out_why);
