/* How a role asks the DNS: a question goes to role dns, the one process that talks to resolvers (io/dns_role.h), and
 * its answer comes to a callback. Whatever goes wrong on the way (role dns away, no answer in time, too many questions)
 * is DNS_TEMPORARY, never a negative answer.
 *
 * A role has one client: dns_client_init() at its start, frames DNS_ANSWER to dns_client_frame(), the end of role dns
 * to dns_client_down(). */
#pragma once
#include "base/dns_rdata.h"
#include "base/map.h"
#include "io/role.h"

#define DNS_CLIENT_OPEN_MAX 1000  /* questions of one role at the same time; one more is DNS_TEMPORARY */
#define DNS_CLIENT_TIME_MAX 60000 /* ms; nothing waits longer, whatever was asked for */

struct dns_question;
struct dns_client { /* embedded in the role's own state */
    struct role *role;
    struct map open;         /* by type and name: identical questions are asked once */
    struct map by_request;
    uint64_t last_request;
    uint64_t asked, shared, timeouts, refusals; /* counters */
};

/* One who waits for an answer, embedded in its owner; zeroed is idle. Set done, leave the rest alone. */
struct dns_wait {
    /* The answer and all in it live until this returns. The wait is idle again: it may be asked anew, or freed. */
    void (*done)(struct dns_wait *w, const struct dns_answer *a);
    struct dns_client *client;      /* NULL: idle */
    struct dns_question *question;  /* NULL: refused, answered in the next turn */
    struct dns_wait *prev, *next;
    struct loop_timer limit;
    enum dns_state state; str why;  /* of a refusal */
};

void dns_client_init(struct dns_client *c, struct role *role);
/* Asks; done() is never called from inside. timeout_ms: at most DNS_CLIENT_TIME_MAX, 0 means that. A wait that is
 * asked while it waits forgets its former question. The name is text of A-labels (no U-labels), either case; one
 * that cannot exist in the DNS (dns_name_valid) is DNS_NXDOMAIN. */
void dns_ask(struct dns_client *c, struct dns_wait *w, str name, enum dns_type type, uint32_t timeout_ms);
/* The owner goes: done() will not be called. Safe on an idle wait. */
void dns_cancel(struct dns_wait *w);
static inline bool dns_waiting(const struct dns_wait *w) { return w->client != NULL; }

/* A frame DNS_ANSWER. 0, -EBADMSG. A request that nobody waits for is fine (it was cancelled, or its time was over). */
int dns_client_frame(struct dns_client *c, struct ipc_frame *f);
/* Role dns has gone: every open question is DNS_TEMPORARY. */
void dns_client_down(struct dns_client *c);
/* Cancels every wait and frees what the client has. */
void dns_client_done(struct dns_client *c);
