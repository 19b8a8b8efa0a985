/* What the files of the planner share. */
#pragma once
#include "route/route.h"

/* The fact, asked if it is not there yet. Never NULL. */
const struct route_fact *route_need(struct route_facts *f, enum dns_type type, str name);

/* A host as MX records or the configuration name it. */
struct route_named {
    str name;
    uint16_t preference;
    uint64_t order; /* random */
};

/* One host of a hop, with the addresses that may be tried. */
struct route_host {
    str name;
    uint16_t preference;
    bool secure, literal;
    uint8_t addr[ROUTE_ADDRESSES_MAX][16]; /* IPv6 and IPv4 in turn */
    size_t n_addr;
};

/* Why a message cannot go; code 0: no reason. */
struct route_no { int code; str status, text; };

#define ROUTE_NOTES_MAX 64
struct route_planner {
    const struct route *route;
    str domain;
    struct route_facts *facts;
    const struct route_options *options;
    const struct route_hop *hop; /* at work */
    str name;                    /* its domain or host */
    uint16_t port;
    bool implicit;               /* there is no MX record: the domain itself is the host */
    struct route_target *targets; size_t n_targets;
    uint16_t n_groups, n_hosts;
    str *notes; size_t n_notes;
    struct route_no defer, fail; /* the first of each */
    bool waiting, final, full;   /* final: `fail` counts whatever else there is; full: no memory */
};

/* Adds a note. */
void route_note(struct route_planner *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A reason against the hop at work (5xx: for good); only the first of each class is kept. A hop whose name the
 * configuration gives is never a reason to fail: it can be repaired while the mail waits. */
void route_refuse(struct route_planner *p, int code, const char *status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Waits for a fact that is open, and defers for one that could not be had. True if it was such. */
bool route_unknown(struct route_planner *p, const struct route_fact *fact);

/* The hosts that MX records (or the lack of them) name into out[DNS_RECORDS_MAX], in the order to try them, cut at
 * ourselves: at most ROUTE_LOOKUPS_MAX. 0 after a reason or while waiting. */
size_t route_mx_hosts(struct route_planner *p, struct route_named *out, bool *out_secure);
/* Those that can be tried, with their addresses, into out[ROUTE_HOSTS_MAX]. 0 after a reason or while waiting. */
size_t route_resolve_hosts(struct route_planner *p, const struct route_named *named, size_t n, bool secure,
                           struct route_host *out);
/* True if the address is one of ours with the port of the hop at work. */
bool route_own_address(const struct route_planner *p, const uint8_t addr[16]);
/* NULL, or what is special about an address that the hop at work may not lead to. */
const char *route_forbidden(const struct route_planner *p, const uint8_t addr[16]);
void route_refuse_loop(struct route_planner *p);
