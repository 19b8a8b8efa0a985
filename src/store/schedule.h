/* When which queued recipient is tried (DESIGN 1.4, 2): a pure function of what is known and of a time that is given.
 * No disk, no clock. Times are milliseconds of one clock of the caller's that does not jump.
 *
 * Recipients wait until they are due, then in line at their destination. A destination has a window: so many jobs may
 * be open for it at the same time. It grows and shrinks by what becomes of them, as Postfix's SCHEDULER_README has it:
 * a success adds 1/window, a failure of the site takes 1/window, and only a whole one counts (hysteresis). When as many
 * jobs as the window is wide failed without one success, the destination is dead: then one probe at a time, with a
 * pause that doubles, while its recipients wait and cost nothing. Destinations take turns, so that none delays another.
 * The last quarter of all jobs is for those that have none, and half of it for those that answered when last tried.
 *
 * Of a destination's recipients the higher priority goes first, but every fourth turn is the next lower's. */
#pragma once
#include "base/str.h"

struct schedule;

struct schedule_config {
    uint64_t first_job;        /* jobs are numbered from here: never twice by two processes */
    uint32_t jobs_max;         /* open at the same time, over all destinations */
    uint32_t window_first;     /* of a destination not seen before; 5 */
    uint64_t backoff_min, backoff_max; /* between attempts: doubles from one to the other */
    uint64_t probe_min, probe_max;     /* between probes of a dead destination */
    uint64_t lifetime, bounce_lifetime; /* of a message; bounce: with sender <> */
    uint64_t delay_warning;    /* 0: none */
};
#define SCHEDULE_ATTEMPTS_MIN 5 /* nobody is given up before, whatever the clock says */
#define SCHEDULE_JOB_MAX 100    /* recipients of a job */
#define SCHEDULE_PRIORITIES 3   /* 0 normal, 1 high, 2 low */
#define SCHEDULE_WORKERS 2

/* Milliseconds until the next attempt, after `attempts` of them: with up to a tenth more or less, by the seed. */
uint64_t schedule_retry(const struct schedule_config *c, uint32_t attempts, uint64_t seed);
/* Is a recipient to be given up after its last attempt failed for now? */
bool schedule_expired(const struct schedule_config *c, uint64_t age, uint32_t attempts, bool bounce);

/* config is copied. NULL without memory. */
struct schedule *schedule_new(const struct schedule_config *config);
void schedule_free(struct schedule *s);
void schedule_configure(struct schedule *s, const struct schedule_config *config);

struct schedule_limits {
    uint32_t concurrency, rate; uint64_t rate_ms; /* rate 0: none */
    uint32_t window;           /* to begin with; 0: window_first */
    uint8_t worker;            /* below SCHEDULE_WORKERS: who does its jobs */
};
/* The number of a destination; its limits are those given last. 0 or -ENOMEM. A destination that has been idle may be
 * forgotten by schedule_sweep(): ask each time. */
int schedule_destination(struct schedule *s, str key, const struct schedule_limits *limits, uint64_t now,
                         uint32_t *out);
void schedule_pause(struct schedule *s, uint32_t destination, bool pause);
/* That worker is not there (any more): no job for it until it is. At the beginning all are there. */
void schedule_halt(struct schedule *s, uint8_t worker, bool halt, uint64_t now);

struct schedule_item {
    uint64_t message;
    uint32_t index;
    uint32_t group;            /* items of one message, group and destination may share a job */
    uint64_t due, born;        /* born: when the message was received */
    uint32_t attempts;
    uint8_t priority;
    bool warned;               /* no warning of delay any more */
    bool bounce;               /* lifetime of a bounce */
};
/* 0 or -ENOMEM. */
int schedule_add(struct schedule *s, uint32_t destination, const struct schedule_item *item, uint64_t now);

struct schedule_job {
    uint64_t id;
    uint32_t destination;
    uint64_t message;
    uint32_t group, n;
    uint32_t indexes[SCHEDULE_JOB_MAX], attempts[SCHEDULE_JOB_MAX];
    bool warned[SCHEDULE_JOB_MAX];
    uint64_t born;
    uint8_t priority;
    bool bounce;
};
/* The next job that may be opened now; its items leave the schedule. False: none. */
bool schedule_next(struct schedule *s, uint64_t now, struct schedule_job *out);
/* Milliseconds until schedule_next() may have something without a call before; UINT64_MAX: never. */
uint64_t schedule_wait(const struct schedule *s, uint64_t now);

/* A job that was opened elsewhere counts from now on; schedule_done() ends it. */
void schedule_opened(struct schedule *s, uint32_t destination);

enum schedule_verdict {
    SCHEDULE_GOOD,      /* the site answered */
    SCHEDULE_SITE_FAILED,
    SCHEDULE_NO_VERDICT /* the job came back: nothing is known of the site */
};
/* A job is over. Its items are added again by the caller, if they are. */
void schedule_done(struct schedule *s, uint32_t destination, enum schedule_verdict verdict, uint64_t now);

/* Once a minute or so. Tells of items that waited in line so long that they are given up (they leave the schedule) or
 * that a warning is due (once), and forgets idle destinations. */
enum schedule_told { SCHEDULE_EXPIRED, SCHEDULE_DELAYED };
void schedule_sweep(struct schedule *s, uint64_t now,
                    void (*tell)(void *arg, enum schedule_told what, uint32_t destination,
                                 const struct schedule_item *item), void *arg);

/* Asks for every waiting item what is to become of it. */
enum schedule_choice { SCHEDULE_KEEP, SCHEDULE_TAKE, SCHEDULE_NOW /* due at once */ };
void schedule_walk(struct schedule *s, uint64_t now,
                   enum schedule_choice (*choose)(void *arg, uint32_t destination, uint64_t message, uint32_t index),
                   void *arg);

struct schedule_state {
    uint32_t id;
    str key;
    double window;
    uint32_t in_flight, limit;
    uint64_t waiting, ready;   /* ready: due, of those waiting */
    bool dead, paused;
    uint32_t probes;           /* that failed since it is dead */
    uint64_t probe_at;         /* if dead */
};
/* The destination behind *at (begin with 0). False at the end. */
bool schedule_destinations(const struct schedule *s, uint32_t *at, struct schedule_state *out);
/* One of them. False: there is none of that key. */
bool schedule_find(const struct schedule *s, str key, struct schedule_state *out);
uint64_t schedule_items(const struct schedule *s);
uint32_t schedule_jobs(const struct schedule *s);
size_t schedule_memory(const struct schedule *s); /* bytes allocated */
