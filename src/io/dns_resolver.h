/* libunbound behind one table of questions: whom to ask, what to trust, and an answer for each question. It resolves in
 * a thread of its own, which starts with the first question; callbacks come from the role's loop. */
#pragma once
#include "base/dns_rdata.h"
#include "io/loop.h"

#define DNS_SERVERS_MAX 8
#define DNS_SERVER_TEXT_MAX 64

struct dns_setup {
    char server[DNS_SERVERS_MAX][DNS_SERVER_TEXT_MAX]; /* "192.0.2.53@53" */
    size_t n_servers;   /* 0: the servers of the DNS itself, from its root */
    str anchors;        /* text of a trust anchor file; empty: nothing is validated */
};

/* Adds a server if there is room. */
void dns_setup_add(struct dns_setup *s, const char *address, uint16_t port);
/* The nameserver lines of a resolv.conf. */
void dns_setup_resolv_conf(struct dns_setup *s, str text);
bool dns_setup_same(const struct dns_setup *a, const struct dns_setup *b);

struct dns_resolver;
/* arg is what dns_resolver_ask() got. The answer lives until this returns. */
typedef void dns_resolver_fn(void *arg, const struct dns_answer *a);

/* 0, -ENOMEM, or -EINVAL with *out_why (static or from libunbound): a trust anchor or server that cannot be. */
int dns_resolver_new(struct loop *l, const struct dns_setup *setup, dns_resolver_fn *done, struct dns_resolver **out,
                     const char **out_why);
/* Questions that are still open are not answered any more. */
void dns_resolver_free(struct dns_resolver *r);
/* Answers once, never from inside. name: valid, NUL-terminated. 0 or negative errno; *out_why then says why. */
int dns_resolver_ask(struct dns_resolver *r, const char *name, enum dns_type type, void *arg, const char **out_why);
