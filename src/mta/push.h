/* Inside of role smtp-out. A *job* is one message for some recipients of one destination, leased by the store; a *run*
 * is one connection to that destination, from the plan of the way there until it is closed; it carries one job at a
 * time and waits for JOB_DONE before it takes the next.
 *
 *   push_role.c  the role: frames, files, status, `posthouse route`
 *   push_job.c   jobs and their results (session/job.h)
 *   push_plan.c  a route's plan, with the answers of the DNS
 *   push_tried.c which host is asked first the next time, which one knows no BDAT
 *   push_run.c   connecting, sending, reuse
 *   push_sign.c  DKIM signatures
 *
 * A job whose result is not in the journal yet outlives the store: on a new link to it every job is announced
 * (JOB_ATTACH), and results that were not confirmed are sent again. */
#pragma once
#include "base/map.h"
#include "io/dns_client.h"
#include "io/role.h"
#include "route/route.h"
#include "session/job.h"
#include "session/smtp_send.h"

#define PUSH_RACE_MS 250        /* RFC 8305 5: Connection Attempt Delay */
#define PUSH_IDLE_MS 5000       /* an unused connection is kept so long */
#define PUSH_LIFE_MS 300000     /* an older one is not used again */
#define PUSH_CREDENTIALS_MAX 65536

struct push_credentials { str name, user, secret; struct push_credentials *next; };

struct push_sign;

#define PUSH_INTERFACES_MAX 64
struct push_interfaces { uint8_t addr[PUSH_INTERFACES_MAX][16]; size_t n; }; /* addresses of this host at the start */

#define PUSH_TRIED 16384 /* messages that were put off, of which the host is known */
struct push_tried { uint64_t message, target; };
#define PUSH_NO_CHUNKING 256 /* hosts that offered CHUNKING and knew no BDAT */

struct push {
    struct role *role;
    const struct push_interfaces *interfaces;
    struct dns_client dns;
    struct smtp_send_config send;
    struct nets mynetworks;      /* of the configuration, in … */
    struct arena networks_arena;
    struct map destinations;     /* key -> struct push_destination */
    struct map jobs;             /* 8 bytes of its number -> struct push_job */
    unsigned questions;          /* of `posthouse route`, under way */
    struct loop_timer patience;  /* at the end, for what is being sent … */
    uint64_t patience_until;     /* … loop_now() */
    struct buf ca_file, credentials_text;
    struct arena credentials_arena;
    struct push_credentials *credentials;
    struct push_tried tried[PUSH_TRIED]; /* by a hash of the message */
    uint8_t tried_key[16];
    uint64_t no_chunking[PUSH_NO_CHUNKING]; /* their numbers, by themselves */
    struct push_sign *signing;   /* all that are under way */
    uint64_t last_sign, dkim_signed;
    uint64_t connections, failed_connections, tls, reused, relayed, deferred, failed;
};

/* A plan in the making. Zeroed is idle; push_plan_end() frees it. */
struct push_plan {
    struct push *push;
    struct role_config *config;  /* the generation the route is of */
    const struct route *route;
    struct arena arena;
    str domain;
    struct route_facts facts;
    struct route_options options;
    unsigned open;
    struct push_answer *answers;
    struct route_plan result;
    void (*done)(struct push_plan *p);
};

/* Asks what the plan needs; done() is called when result.action is not ROUTE_WAIT, maybe from inside. */
void push_plan_begin(struct push_plan *p, struct push *push, const struct route *route, str domain, uint64_t seed);
/* The same route to another host (`posthouse queue redirect`), without its log-in, in the arena; NULL: no name of a
 * host. */
const struct route *push_route_to(struct arena *a, const struct route *r, str host);
/* The way of a mechanism smtp: or lmtp:, in the arena; NULL: it is none, or there is no memory. */
const struct route *push_route_via(struct arena *a, str mechanism);
void push_plan_end(struct push_plan *p);

struct push_job {
    struct job job;
    str signature;               /* DKIM-Signature fields for this connection and `prefix`; empty: not signed */
    struct smtp_send_message send;
    struct push_run *run;        /* NULL: its result is out, or it waits for a connection */
    bool again;                  /* it met a connection that had died while idle, and has got a fresh one */
    bool reported;
    struct push_job *next;       /* waiting for a connection of its destination */
};

/* Takes the frame's descriptor. NULL with *out_error -EBADMSG or -ENOMEM. */
struct push_job *push_job_read(struct ipc_frame *f, int *out_error);
void push_job_free(struct push_job *j);
void push_job_report(struct push *p, struct push_job *j); /* sends JOB_RESULT */
void push_jobs_attach(struct push *p);                     /* a new link to the store */

enum push_sign_reading { SIGN_HEADER, SIGN_SCAN, SIGN_BODY, SIGN_CONVERTED };
struct push_sign_problem { uint8_t outcome; str status, text; }; /* texts good in done() only */

/* A job's DKIM signatures in the making. Set done; zeroed but for that is idle. */
struct push_sign {
    /* problem NULL: job->signature is there, or empty: the message goes as it is. Else it must not go. Maybe called
     * from inside of push_sign_begin(). */
    void (*done)(struct push_sign *s, const struct push_sign_problem *problem);
    struct push *push;           /* NULL: idle */
    struct push_job *job;
    struct role_config *config;
    const struct conf_dkim *keys;
    size_t n_keys;
    bool eightbit;               /* the other server takes 8-bit content */
    enum push_sign_reading reading;
    uint64_t at;                 /* of the content */
    struct dkim_message *message;
    struct downgrade *downgrade;
    struct buf converted;
    struct arena arena;
    str domain;
    int64_t time_s;
    uint64_t request;            /* 0: not asked yet */
    unsigned retries;
    struct loop_timer timer, limit;
    struct push_sign *prev, *next;
};

void push_sign_begin(struct push_sign *s, struct push *p, struct push_job *j, bool eightbit);
void push_sign_end(struct push_sign *s);              /* forgets it; safe on an idle one */
int push_sign_frame(struct push *p, struct ipc_frame *f); /* SIGNED */
void push_sign_up(struct push *p);                    /* a new link to role keys */

/* A number for an address and port, never 0. */
uint64_t push_tried_number(const struct push *p, const struct route_target *t);
/* It put the message off. */
void push_tried_note(struct push *p, uint64_t message, const struct route_target *t);
/* The number of who did last; 0: nobody, or it is forgotten. */
uint64_t push_tried_by(struct push *p, uint64_t message);
/* It offered CHUNKING and knew no BDAT: mail goes to it by DATA while this process remembers. */
void push_no_chunking_note(struct push *p, const struct route_target *t);
bool push_no_chunking(const struct push *p, const struct route_target *t);
/* Moves that target before the others of its preference. */
void push_tried_first(struct push *p, uint64_t target, struct arena *a, struct route_plan *plan);

struct push_destination {
    char *key;
    struct push_run *runs;
    struct push_job *waiting, **waiting_end;
};

/* Sends it, over a connection at hand or a new one. The job is this room's until push_job_done(). */
void push_job_take(struct push *p, struct push_job *j);
/* JOB_DONE. */
void push_job_done(struct push *p, uint64_t id);
/* Ends all that is not in the middle of a message. How many are. */
size_t push_runs_drain(struct push *p);
void push_runs_close(struct push *p);
size_t push_runs_count(const struct push *p);
