/* Where a message goes next (DESIGN 1.4): one ordered table of routes chooses by sender and recipient, and a pure
 * function over facts (answers of the DNS) makes of the route a plan: which addresses to try in which order, or why
 * not. What the plan lacks it leaves as open questions and says WAIT; the caller answers, and calls again from the top.
 * The same call with the same facts gives the same plan.
 *
 * Domains and addresses that come in have their domain as A-labels (conf_domain_ascii, conf_address_ascii); case does
 * not matter. RFC 5321 5.1, RFC 7505. */
#pragma once
#include "base/arena.h"
#include "base/dns_rdata.h"
#include "route/route_net.h"

/* In order of strictness. What DNSSEC and policies published by the other side ask for stands between or above. */
enum route_tls {
    ROUTE_TLS_NONE,          /* never */
    ROUTE_TLS_OPPORTUNISTIC, /* if it is offered, whatever the certificate says; in clear text when it fails */
    ROUTE_TLS_MANDATORY,     /* encrypted or not at all; the certificate does not matter */
    ROUTE_TLS_VERIFIED,      /* encrypted, and the certificate is of the host's name and from a known authority */
    ROUTE_TLS_LEVELS
};
extern const char *const route_tls_name[ROUTE_TLS_LEVELS]; /* "none" "opportunistic" "mandatory" "verified" */

enum route_how { ROUTE_SMTP, ROUTE_LMTP };
extern const char *const route_how_name[ROUTE_LMTP + 1]; /* "smtp" "lmtp" */

/* A next hop as it is written: `mx` `mx NAME` `smtp NAME:587` (the MX of NAME) `smtp [NAME]:587` `lmtp [127.0.0.1]:24`
 * (no MX), `lmtp unix:/PATH`. */
struct route_hop {
    enum route_how how;
    bool mx;            /* ask for MX records first */
    str name;           /* lower case, A-labels; n == 0: the recipient's domain (mx is true then). Numeric address if
                           `numeric` */
    bool numeric;
    bool local;         /* name is the path of a Unix socket */
    uint8_t addr[16];   /* if numeric */
    uint16_t port;      /* 0: the default (route_options.port for SMTP, 24 for LMTP) */
};

/* Addresses in lower case: user@domain, @domain, .domain (all below it), <> (the empty sender). Sorted by str_cmp. */
struct route_patterns { const str *text; size_t n; };

#define ROUTE_HOPS_MAX 16
#define ROUTE_NAME_MAX 64     /* of a route: letters, digits, - and _ */
#define ROUTE_BUILT_IN "mx"   /* the name of the route at the end of every table */
#define ROUTE_LMTP_PORT 24

struct route {
    str name;
    struct route_patterns recipients, senders; /* n == 0: all */
    const struct route_hop *hops; size_t n_hops;
    str fail_status, fail_text; /* "5.7.1", text; n == 0: hops. "4.…" defers */
    enum route_tls tls;
    str auth;                   /* name of the credentials; n == 0: none */
    bool has_source4, has_source6;
    uint8_t source4[16], source6[16]; /* local addresses to send from; IPv4 as ::ffff:a.b.c.d */
    uint32_t concurrency;       /* most connections to one destination at the same time; at least 1 */
    uint32_t rate;              /* at most this many messages to one destination in rate_ms; 0: as many as there are */
    uint64_t rate_ms;
    str file; uint32_t line;    /* where it is written; "default" and 0: the built-in one */
};

/* The route of each message: the first that matches both sides, else the built-in one (mx of the recipient's
 * domain). */
struct route_table {
    const struct route *routes; size_t n;
    struct route built_in;
};

/* Fills in the route at the end of a table, with concurrency 20. */
void route_built_in(struct route *out);
/* sender: canonical address, n == 0 for <>. Never NULL. The time grows with the number of routes and the logarithm of
 * their patterns. */
const struct route *route_select(const struct route_table *t, str sender, str recipient);
/* By name, for what is queued already; NULL: there is none of that name now. */
const struct route *route_by_name(const struct route_table *t, str name);
/* The key of jobs that go the same way: "example.org" for the built-in route, "route NAME" for one whose hops are the
 * same for every domain, else "route NAME example.org". Lower case, the parts hold no blanks. A domain that is neither
 * a name nor an address literal becomes "?" and its bytes made harmless (route_plan refuses it). The buf's error. */
int route_destination(struct buf *out, const struct route *r, str domain);
#define ROUTE_DESTINATION_MAX 400 /* bytes of a key */
/* Which route and domain a key stands for: the domain is n == 0 if the key has none. False: not a key. Points into
 * the key (or is static). */
bool route_destination_parse(str key, str *out_route, str *out_domain);

/* Facts: questions to the DNS with their answers. */
struct route_fact {
    enum dns_type type;
    str name;                   /* lower case, in the arena */
    bool answered;
    struct dns_answer answer;   /* the caller's to fill in, in the arena of the facts (route_fact_answer copies) */
    struct route_fact *next;    /* in the order asked */
};
#define ROUTE_FACTS_MAX 256     /* one more is treated as an answer that could not be had */
struct route_facts {
    struct arena *arena;
    struct route_fact *first, *last;
    size_t n;
};
/* The first that is not answered yet, after `at` (NULL: from the start); NULL: none. */
struct route_fact *route_fact_open(const struct route_facts *f, const struct route_fact *at);
/* Copies the answer into the facts' arena. 0 or -ENOMEM (the fact is answered all the same, as DNS_TEMPORARY). */
int route_fact_answer(struct route_facts *f, struct route_fact *fact, const struct dns_answer *a);

/* What this host is, to see mail that would come back. Wildcard listeners are given as the addresses they stand for; an
 * unspecified address (0.0.0.0, ::) stands for the loopback addresses alone. */
struct route_own {
    const str *names; size_t n_names; /* hostname, lower case */
    const struct route_endpoint { uint8_t addr[16]; uint16_t port; } *endpoints; /* listeners; port 0: every port */
    size_t n_endpoints;
};

struct route_options {
    struct route_own own;
    struct nets private_allowed; /* special networks that MX records and address literals may point to */
    uint16_t port;                     /* of SMTP; 0: 25 */
    uint64_t seed; /* random order among equals, the same for the same seed: keep it for a message, and its second try
                      begins with the same address (which greylisting wants) */
};

#define ROUTE_MX_MAX 100       /* MX records looked at */
#define ROUTE_HOSTS_MAX 5      /* hosts of one hop in a plan */
#define ROUTE_ADDRESSES_MAX 10 /* addresses of one hop in a plan */
#define ROUTE_LOOKUPS_MAX 20   /* hosts of one hop whose addresses are asked for */

struct route_target {
    uint16_t group;       /* 0, 1, …: the next group is for when all of this one have failed */
    uint16_t preference;  /* of the MX record; 0 without */
    uint16_t host_index;  /* targets of one host are neighbours and have the same number; to be raced (RFC 8305) */
    const struct route_hop *hop;
    enum route_how how;
    enum route_tls tls;
    str host;             /* name for greeting, SNI and verification: the MX host as it was named; "[192.0.2.1]" for a
                             literal */
    bool literal;         /* host is an address */
    bool secure;          /* DNSSEC vouches for the whole way here: MX and address */
    uint8_t addr[16];     /* IPv4 as ::ffff:a.b.c.d */
    bool v6;
    bool local;           /* address and host are the path of a Unix socket; addr and port do not count */
    str address;          /* as text */
    uint16_t port;
};

enum route_action { ROUTE_GO, ROUTE_WAIT, ROUTE_DEFER, ROUTE_FAIL };

struct route_plan {
    enum route_action action;
    const struct route *route;
    const struct route_target *targets; size_t n_targets; /* ROUTE_GO: at least one */
    uint16_t n_groups;
    int code;             /* ROUTE_DEFER, ROUTE_FAIL: 451, 550, 556 */
    str status, text;     /* "5.1.10", "example.org does not accept mail (null MX)": UTF-8 without control bytes */
    const str *notes; size_t n_notes; /* what was left out and why, for the explanation: "mx2.example.org: …" */
};

/* Everything in *out lives in the facts' arena; each call leaves some there. No memory: ROUTE_DEFER with 451 4.3.0.
 * domain: of the recipient, or an address literal. */
void route_plan(const struct route *r, str domain, struct route_facts *facts, const struct route_options *options,
                struct route_plan *out);

/* `posthouse route`: the route, the facts and the plan as text for people, or as one JSON object. The buf's error. */
struct route_explained {
    str sender, recipient;
    const struct route *route;
    const struct route_facts *facts;
    const struct route_plan *plan;
};
int route_explain(struct buf *out, const struct route_explained *x, bool json);
/* True if such a text tells of targets. */
bool route_explanation_goes(str text);
