/* The queue of a store: recipients that lead off this host (DESIGN 2). What `delivered` records queue becomes due by
 * the schedule (schedule.h), is leased as jobs to who sends, comes back as results, is journalled, tried again or
 * ended; DSN that are owed are asked for until they are made. Calls belong to the role's loop thread.
 *
 * A job's items are nobody else's until its result is in the journal. A result that is durable is told by `done`, and
 * only then may the connection that carried it begin its next message: so no message is sent twice but where the final
 * reply was never seen. */
#pragma once
#include "conf/conf.h"
#include "store/journal_queue.h"
#include "store/schedule.h"
#include "store/store.h"

/* Who does jobs: what leads off this host and what role mda delivers are leased apart. */
enum queue_worker { QUEUE_SENDS, QUEUE_DELIVERS, QUEUE_WORKERS };

struct queue_job_recipient { uint32_t index; str address, orcpt; uint8_t notify; str original; };
struct queue_job {
    uint64_t id, message;
    const uint8_t *session; uint32_t number;
    uint32_t attempt;          /* the first is 1 */
    str route, destination, redirect;
    uint64_t offset, content_len; /* of the content, in fd */
    str prefix, sender, envid;
    uint8_t ret, body;
    bool smtputf8, requiretls;
    str via, user;             /* a mechanism (route/mechanism.h) and its system user; n == 0: by `route` */
    enum queue_worker worker;  /* who does it */
    uint64_t received_us;
    str client_address, client_name, client_helo, client_protocol, sasl_user; /* read for commands alone */
    const struct queue_job_recipient *recipients; size_t n;
    int fd;                    /* the queue's */
};

struct queue_result { uint32_t index; uint8_t outcome; uint16_t code; str status, text; }; /* outcome: first four */
struct queue_report {
    uint64_t job;
    enum queue_worker from;
    bool site_failed, reused;
    str mta, tls;
    uint32_t connect_ms, tls_ms, transfer_ms;
    const struct queue_result *list; size_t n;
};

struct queue_dsn_recipient {
    str address, original, orcpt; /* original: of the envelope */
    uint8_t outcome;           /* enum queue_outcome */
    uint16_t code;             /* 0: said by us */
    str status, mta, text;
    uint64_t at_us, until_us;  /* of the last attempt; until when it is tried, if it is delayed */
};
struct queue_dsn {
    uint64_t message, event;
    uint8_t kind;              /* enum queue_dsn_kind */
    str to, envid;
    uint8_t ret;
    bool last_resort;          /* for the postmaster: the message that failed had no sender */
    const uint8_t *session; uint32_t number;
    uint64_t arrival_us;
    str sender;                /* of the message it is about */
    bool smtputf8;
    uint64_t offset, content_len;
    const struct queue_dsn_recipient *recipients; size_t n;
    int fd;                    /* the queue's */
};

/* For log and trace. Names: queued, sent, delivered (by a local mechanism), deferred, failed, expired, held, released,
 * retried, redirected, dropped, dsn_owed. */
struct queue_event {
    const char *name;
    const uint8_t *session; uint32_t number;
    uint64_t message;
    str recipient, sender, destination, alias, via;
    str mta, tls, status, text, by;
    uint16_t code;
    uint32_t attempt;
    uint64_t due_us;           /* deferred: when next */
    bool has_times, reused;
    uint32_t connect_ms, tls_ms, transfer_ms;
    const char *dsn;           /* dsn_owed: which; NULL none */
};

struct queue_hooks {
    bool (*job)(void *arg, const struct queue_job *j); /* false: nobody to take it now */
    void (*done)(void *arg, enum queue_worker worker, uint64_t job);
    bool (*dsn)(void *arg, const struct queue_dsn *d); /* false: nobody to make it now */
    void (*event)(void *arg, const struct queue_event *e);
    void *arg;
};

/* Begins to send; the hooks may be called from here on, from store_turn(), store_publish() and the calls below. Comes
 * before the first store_log_attach(). */
int store_queue_start(struct store *s, const struct queue_hooks *hooks);
/* Routes and times of this configuration from now on; it must live until the next call. Before or after the start. */
int store_queue_configure(struct store *s, const struct conf *c);
/* Milliseconds until store_queue_run() has something to do, UINT64_MAX: only after another call. */
uint64_t store_queue_wait(struct store *s);
/* Leases what may be leased, asks for DSN, and does what is done once a minute. Errors as store_turn(). */
int store_queue_run(struct store *s);

/* A worker has come (again): jobs still with it, and whether these are all. It gets no job before. */
struct queue_attached { uint64_t job, message; const uint32_t *indexes; size_t n; };
int store_queue_attach(struct store *s, enum queue_worker worker, const struct queue_attached *list, size_t n,
                       bool last);
/* It is gone: its jobs are due again after a second, but for those it attaches. */
void store_queue_detach(struct store *s, enum queue_worker worker);
/* A job's result: staged. Of a job that is not known: told as done at once; of another worker's: ignored. Errors as
 * store_turn(). */
int store_queue_result(struct store *s, const struct queue_report *r);
/* Is a result staged that somebody waits for? */
bool store_queue_hurry(const struct store *s);
/* Who makes DSN has come (again): all are asked for anew. */
void store_queue_dsn_attach(struct store *s);

struct store_queue_stats {
    uint64_t recipients;       /* in memory: due within the hour, or being sent */
    uint64_t jobs, destinations, dsn_owed;
    uint64_t queued, sent, deferred, failed, expired; /* ever, of this process */
};
void store_queue_stats(const struct store *s, struct store_queue_stats *out);
