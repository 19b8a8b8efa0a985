/* Jobs of the store and their results as frames (io/messages.def), for the roles that do them: smtp-out and mda. A job
 * is one message for some recipients of one destination, leased by role store. Its result is sent once and kept until
 * JOB_DONE says that it is in the journal; on a new link to the store every job at hand is announced (JOB_ATTACH), and
 * results that were not confirmed are sent again. */
#pragma once
#include "base/arena.h"
#include "io/ipc.h"
#include "proto/smtp_client.h"

#define JOB_RECIPIENTS_MAX 1000
#define JOB_MEMORY (1u << 20)

/* What became of a recipient. The numbers are those of JOB_RESULT. */
enum job_outcome { JOB_RELAYED, JOB_RELAYED_NO_DSN, JOB_DEFERRED, JOB_FAILED };

struct job_result { /* of one recipient; texts in the job's arena */
    bool known;
    bool too_late;               /* content had been given: the other side may have the message, whatever it said */
    uint8_t outcome;             /* enum job_outcome */
    uint16_t code;               /* 0: said by us */
    str status, text;
};

struct job {
    struct arena arena;          /* all texts */
    uint64_t id, message;
    uint8_t session[16];         /* name of the trace: session.number */
    uint32_t number, attempt;    /* attempt: the first is 1 */
    str route, destination, redirect;
    str via;                     /* a mechanism (route/mechanism.h); n == 0: by `route` */
    str user;                    /* of `via`: the system user; n == 0: the setting mda_user */
    str prefix, sender, envid;   /* prefix: header lines before the content, each with CRLF */
    uint64_t offset, length;     /* of the content in fd */
    uint8_t ret, body;
    bool smtputf8, requiretls;
    uint64_t received_us;        /* wall clock when this host took the message */
    str client_address, client_name, client_helo, client_protocol, sasl_user; /* jobs of "|" and "forward" alone; n ==
                                    0: not known */
    struct smtp_client_rcpt *rcpts;
    uint32_t *index;             /* of each recipient, as the store counts */
    str *original;               /* of each: the envelope's recipient; n == 0: the same as the address */
    struct job_result *results;
    uint32_t n;                  /* recipients; of a local mechanism one */
    int fd;                      /* the job's; -1: there was no descriptor left to receive it */
    struct { bool site_failed, reused; str mta, tls; uint32_t connect_ms, tls_ms, transfer_ms; } how;
};

/* Reads a frame JOB into *out, and takes its descriptor. 0, -EBADMSG or -ENOMEM, after which there is nothing to
 * free. */
int job_read(struct ipc_frame *f, struct job *out);
/* Frees what belongs to it, not the struct. */
void job_end(struct job *j);
/* Remembers what became of recipient i; the first word counts. Texts are copied and cut. */
void job_result(struct job *j, uint32_t i, uint8_t outcome, uint16_t code, str status, str text);
/* The same for all that have none. */
void job_results(struct job *j, uint8_t outcome, uint16_t code, str status, str text);
/* Sends JOB_RESULT. */
void job_report(struct ipc_link *store, const struct job *j);

/* Announces jobs on a new link: begin, one call for each job, end. No job comes before the end. */
struct job_attach { struct ipc_link *store; struct buf jobs; uint32_t n; };
void job_attach_begin(struct job_attach *a, struct ipc_link *store);
void job_attach_add(struct job_attach *a, const struct job *j);
void job_attach_end(struct job_attach *a);
