/* From a route to addresses: the pure plan of route/route.h, with the DNS asked for what it lacks. */
#include <errno.h>
#include "mta/push.h"
#include "route/mechanism.h"

enum { PLAN_MEMORY = 1 << 20, DNS_PATIENCE_MS = 20000 };

struct push_answer { /* one question under way */
    struct dns_wait wait;
    struct push_plan *plan;
    struct route_fact *fact;
    struct push_answer *next;
};

static void go_on(struct push_plan *p);

static void answered(struct dns_wait *w, const struct dns_answer *a)
{
    struct push_answer *q = CONTAINER_OF(w, struct push_answer, wait);
    struct push_plan *p = q->plan;
    route_fact_answer(&p->facts, q->fact, a);
    if (--p->open == 0)
        go_on(p);
}

static void ask(struct push_plan *p, struct route_fact *fact)
{
    struct push_answer *q = ARENA_NEW(&p->arena, struct push_answer);
    if (!q) {
        fact->answered = true;
        fact->answer = (struct dns_answer){ .state = DNS_TEMPORARY, .why = S("no memory") };
        return;
    }
    *q = (struct push_answer){ .wait.done = answered, .plan = p, .fact = fact, .next = p->answers };
    p->answers = q;
    p->open++;
    dns_ask(&p->push->dns, &q->wait, fact->name, fact->type, DNS_PATIENCE_MS);
}

static void go_on(struct push_plan *p)
{
    do {
        route_plan(p->route, p->domain, &p->facts, &p->options, &p->result);
        if (p->result.action != ROUTE_WAIT) {
            p->done(p);
            return;
        }
        for (struct route_fact *f = NULL; (f = route_fact_open(&p->facts, f));)
            ask(p, f);
    } while (p->open == 0); /* nothing could be asked: the facts say so now */
}

/* The addresses at which this host itself would answer. */
static void add_own(struct push_plan *p)
{
    const struct conf *c = p->config->conf;
    const struct push_interfaces *here = p->push->interfaces;
    str *names = ARENA_ARRAY(&p->arena, str, 1);
    struct route_endpoint *at = ARENA_ARRAY(&p->arena, struct route_endpoint, c->n_listeners * (here->n + 1));
    size_t n = 0;
    if (!names || !at)
        return;
    names[0] = arena_lower(&p->arena, c->hostname);
    for (size_t i = 0; i < c->n_listeners; i++) {
        const struct conf_listener *l = &c->listeners[i];
        if (l->service != CONF_SMTP || net_addr_parse(l->address, at[n].addr) < 0)
            continue;
        bool all = str_eq(l->address, S("0.0.0.0")) || str_eq(l->address, S("::"));
        at[n++].port = l->port;
        for (size_t k = 0; all && k < here->n; k++) {
            memcpy(at[n].addr, here->addr[k], 16);
            at[n++].port = l->port;
        }
    }
    p->options.own.names = names;
    p->options.own.n_names = 1;
    p->options.own.endpoints = at;
    p->options.own.n_endpoints = n;
}

/* "[192.0.2.1]:2525", "192.0.2.1", "[relay.example.net]:587" (no MX), "example.net" (its MX). */
static int read_host(struct arena *a, str text, struct route_hop *out)
{
    char address[CONF_ADDRESS_MAX];
    uint64_t port = 0;
    ptrdiff_t colon = str_rchr(text, ':');
    *out = (struct route_hop){ .how = ROUTE_SMTP };
    if (conf_server_parse(text, address, &out->port)) {
        out->numeric = true;
        out->name = arena_lower(a, str_z(address));
        return net_addr_parse(str_z(address), out->addr) < 0 || !out->name.p ? -EINVAL : 0;
    }
    if (colon >= 0 && str_u64(str_from(text, (size_t)colon + 1), UINT16_MAX, &port) < 0)
        return -EINVAL;
    str host = colon >= 0 ? str_first(text, (size_t)colon) : text;
    out->port = (uint16_t)port;
    out->mx = !(str_starts(host, S("[")) && str_ends(host, S("]")));
    if (!out->mx)
        host = str_of(host.p + 1, host.n - 2);
    if (!out->mx && net_addr_parse(host, out->addr) == 0) {
        out->numeric = true;
        out->name = arena_lower(a, host);
        return out->name.p ? 0 : -ENOMEM;
    }
    return host.n ? conf_domain_ascii(a, host, &out->name) : -EINVAL;
}

const struct route *push_route_to(struct arena *a, const struct route *r, str host)
{
    struct route *copy = ARENA_NEW(a, struct route);
    struct route_hop *hop = ARENA_NEW(a, struct route_hop);
    if (!copy || !hop || read_host(a, host, hop) < 0)
        return NULL;
    *copy = *r;
    copy->hops = hop;
    copy->n_hops = 1;
    copy->auth = STR_NONE; /* the password is for the hosts that the route names */
    copy->fail_status = copy->fail_text = STR_NONE;
    return copy;
}

/* A host of a mechanism: named by the administrator, so it may lie in any network, and there is no MX. */
static int via_hop(struct arena *a, const struct mechanism *m, struct route_hop *out)
{
    *out = (struct route_hop){ .how = m->kind == MECHANISM_LMTP ? ROUTE_LMTP : ROUTE_SMTP, .port = m->port };
    if (m->path.n) {
        out->local = true;
        out->name = m->path;
        return m->path.p[0] == '/' ? 0 : -EINVAL;
    }
    if (m->kind == MECHANISM_SMTP && !m->port)
        out->port = 25;
    str host = str_ieq(m->host, S("localhost")) ? S("127.0.0.1") : m->host; /* the DNS need not know it */
    out->numeric = net_addr_parse(host, out->addr) == 0;
    out->name = arena_lower(a, host);
    return !out->name.p ? -ENOMEM : out->numeric ? 0 : conf_domain_ascii(a, host, &out->name);
}

const struct route *push_route_via(struct arena *a, str mechanism)
{
    struct mechanism m;
    const char *why;
    struct route *route = ARENA_NEW(a, struct route);
    struct route_hop *hop = ARENA_NEW(a, struct route_hop);
    if (!route || !hop || !mechanism_parse(mechanism, &m, &why) ||
        (m.kind != MECHANISM_SMTP && m.kind != MECHANISM_LMTP) || via_hop(a, &m, hop) < 0)
        return NULL;
    route_built_in(route);
    route->hops = hop;
    route->n_hops = 1;
    return route;
}

void push_plan_begin(struct push_plan *p, struct push *push, const struct route *route, str domain, uint64_t seed)
{
    void (*done)(struct push_plan *) = p->done;
    *p = (struct push_plan){ .push = push, .config = role_config_ref(push->role->config), .arena = ARENA(PLAN_MEMORY),
                             .route = route, .done = done };
    p->facts.arena = &p->arena;
    p->domain = arena_dup(&p->arena, domain);
    p->options.seed = seed;
    p->options.port = (uint16_t)p->config->conf->smtp_tcp_port;
    p->options.private_allowed = p->config->conf->private_allowed;
    add_own(p);
    go_on(p);
}

void push_plan_end(struct push_plan *p)
{
    for (struct push_answer *q = p->answers; q; q = q->next)
        dns_cancel(&q->wait);
    arena_done(&p->arena);
    if (p->config)
        role_config_unref(p->config);
    *p = (struct push_plan){ .done = p->done };
}
