/* The planner: the hops of a route one after the other, each into groups of targets or a reason why not. See route.h.
 *
 * Invariants:
 * 1. A run reads route, facts and options, and writes only its plan and new open questions: the same input, the same
 *    plan.
 * 2. While a question is open the plan is WAIT: no target is tried before it is known which one comes first.
 * 3. A temporary answer of the DNS defers; it never fails a message (RFC 5321 5.1).
 * 4. Without memory the plan is DEFER. */
#include "route/route_plan.h"
#include "base/cleanup.h"
#include "base/event.h"
#include <stdarg.h>
#include <stdio.h>

#define TEXT_MAX 480

/* Text for people: what a stranger chose in it is made harmless. */
static str text_of(struct route_planner *p, const char *fmt, va_list ap)
{
    char raw[TEXT_MAX];
    _cleanup_buf_ struct buf safe = BUF(TEXT_MAX * 4);
    int n = vsnprintf(raw, sizeof(raw), fmt, ap);
    print_safe(&safe, str_of(raw, MIN((size_t)MAX(n, 0), sizeof(raw) - 1)));
    str text = arena_dup(p->facts->arena, buf_str(&safe));
    if (!text.p || safe.failed)
        p->full = true;
    return text;
}

void route_note(struct route_planner *p, const char *fmt, ...)
{
    va_list ap;
    if (p->n_notes == ROUTE_NOTES_MAX)
        return;
    if (!p->notes)
        p->notes = ARENA_ARRAY(p->facts->arena, str, ROUTE_NOTES_MAX);
    if (!p->notes) {
        p->full = true;
        return;
    }
    va_start(ap, fmt);
    p->notes[p->n_notes++] = text_of(p, fmt, ap);
    va_end(ap);
}

void route_refuse(struct route_planner *p, int code, const char *status, const char *fmt, ...)
{
    bool soft = code < 500 || p->hop->name.n;
    struct route_no *no = soft ? &p->defer : &p->fail;
    va_list ap;
    if (no->code)
        return;
    va_start(ap, fmt);
    *no = (struct route_no){ .code = soft ? 451 : code,
                             .status = arena_printf(p->facts->arena, "%c%s", soft ? '4' : '5', status + 1),
                             .text = text_of(p, fmt, ap) };
    va_end(ap);
    if (!no->status.p)
        p->full = true;
}

bool route_unknown(struct route_planner *p, const struct route_fact *fact)
{
    const struct dns_answer *a = &fact->answer;
    const char *type = dns_type_name(fact->type);
    str why = a->why.n ? str_first(a->why, 200) : S("no answer");
    if (!fact->answered) {
        p->waiting = true;
        return true;
    }
    if (a->state == DNS_TEMPORARY)
        route_refuse(p, 451, "4.4.3", "the DNS does not say the %s of %.*s now: %.*s", type, STR_ARG(fact->name),
                     STR_ARG(why));
    else if (a->state == DNS_BOGUS)
        route_refuse(p, 451, "4.4.3", "the %s of %.*s fails DNSSEC validation: %.*s", type, STR_ARG(fact->name),
                     STR_ARG(why));
    return a->state == DNS_TEMPORARY || a->state == DNS_BOGUS;
}

static bool have_target(const struct route_planner *p, size_t from, const uint8_t addr[16])
{
    for (size_t i = from; i < p->n_targets; i++)
        if (memcmp(p->targets[i].addr, addr, 16) == 0)
            return true;
    return false;
}

static void add_target(struct route_planner *p, const struct route_host *h, const uint8_t addr[16])
{
    char text[NET_ADDR_TEXT];
    struct route_target t = { .group = (uint16_t)(p->n_groups - 1), .preference = h->preference,
                              .host_index = (uint16_t)(p->n_hosts - 1), .hop = p->hop, .how = p->hop->how,
                              .tls = p->route->tls, .host = h->name, .literal = h->literal, .secure = h->secure,
                              .v6 = !net_addr_v4(addr), .port = p->port };
    memcpy(t.addr, addr, 16);
    t.address = arena_dup(p->facts->arena, net_addr_print(addr, text));
    if (!p->targets)
        p->targets = ARENA_ARRAY(p->facts->arena, struct route_target, p->route->n_hops * ROUTE_ADDRESSES_MAX);
    if (!p->targets || !t.address.p)
        p->full = true;
    else
        p->targets[p->n_targets++] = t;
}

/* One group a preference. Few hosts may have many addresses each, many hosts few. */
static void add_hosts(struct route_planner *p, const struct route_host *hosts, size_t n)
{
    size_t first = p->n_targets, each = n ? MAX((size_t)ROUTE_ADDRESSES_MAX / n, (size_t)2) : 0;
    int64_t preference = -1;
    for (size_t i = 0; i < n; i++) {
        bool counted = false;
        for (size_t j = 0; j < hosts[i].n_addr && j < each && p->n_targets - first < ROUTE_ADDRESSES_MAX; j++) {
            if (have_target(p, first, hosts[i].addr[j]))
                continue;
            p->n_groups = (uint16_t)(p->n_groups + (preference != hosts[i].preference));
            p->n_hosts = (uint16_t)(p->n_hosts + !counted);
            preference = hosts[i].preference;
            counted = true;
            add_target(p, &hosts[i], hosts[i].addr[j]);
        }
    }
}

static void plan_address(struct route_planner *p, const uint8_t addr[16])
{
    char text[NET_ADDR_TEXT];
    struct route_host h = { .literal = true, .n_addr = 1 };
    memcpy(h.addr[0], addr, 16);
    net_addr_print(addr, text);
    h.name = arena_printf(p->facts->arena, "[%s%s]", net_addr_v4(addr) ? "" : "IPv6:", text);
    const char *what = route_forbidden(p, addr);
    if (!h.name.p)
        p->full = true;
    else if (route_own_address(p, addr))
        route_refuse_loop(p);
    else if (what)
        route_refuse(p, 550, "5.4.4", "%s is %s", text, what);
    else
        add_hosts(p, &h, 1);
}

static void plan_socket(struct route_planner *p, str path)
{
    const struct route_host h = { .name = path, .literal = true, .n_addr = 1 };
    size_t n = p->n_targets;
    add_hosts(p, &h, 1);
    if (p->n_targets == n)
        return;
    p->targets[n].local = true;
    p->targets[n].address = path;
    p->targets[n].tls = ROUTE_TLS_NONE; /* nobody is between */
    p->targets[n].secure = p->targets[n].v6 = false;
    p->targets[n].port = 0;
}

/* A domain of the recipient that the DNS need not be asked about. */
static bool plan_literal(struct route_planner *p)
{
    uint8_t addr[16];
    if (route_literal_parse(p->name, addr) == 0) {
        plan_address(p, addr);
        return true;
    }
    bool bare = net_addr_parse(p->name, addr) == 0;
    if (bare || !dns_name_valid(p->name))
        route_refuse(p, 550, "5.1.2", "\"%.*s\" is not a domain name%s", STR_ARG(p->name),
                     bare ? "; an address stands in brackets" : "");
    return bare || !dns_name_valid(p->name);
}

static void plan_hop(struct route_planner *p, const struct route_hop *hop)
{
    struct route_named named[DNS_RECORDS_MAX];
    struct route_host hosts[ROUTE_HOSTS_MAX];
    bool secure = true;
    size_t n = 1;
    p->hop = hop;
    p->implicit = false;
    p->name = hop->name.n ? hop->name : p->domain;
    p->port = hop->port                ? hop->port
              : hop->how == ROUTE_LMTP ? ROUTE_LMTP_PORT
              : p->options->port       ? p->options->port
                                       : 25;
    if (hop->local) {
        plan_socket(p, hop->name);
        return;
    }
    if (hop->numeric) {
        plan_address(p, hop->addr);
        return;
    }
    if (plan_literal(p))
        return;
    if (hop->mx)
        n = route_mx_hosts(p, named, &secure);
    else
        named[0] = (struct route_named){ .name = p->name };
    add_hosts(p, hosts, route_resolve_hosts(p, named, n, secure, hosts));
}

static void say_no(struct route_plan *out, const struct route_no *no)
{
    out->action = no->code < 500 ? ROUTE_DEFER : ROUTE_FAIL;
    out->code = no->code;
    out->status = no->status;
    out->text = no->text;
}

static void conclude(const struct route_planner *p, struct route_plan *out)
{
    static const struct route_no no_memory = { 451, { "4.3.0", 5 }, { "out of memory, try again later", 30 } };
    *out = (struct route_plan){ .route = p->route, .notes = p->notes, .n_notes = p->n_notes };
    if (p->full)
        say_no(out, &no_memory);
    else if (p->final)
        say_no(out, &p->fail);
    else if (p->waiting)
        out->action = ROUTE_WAIT;
    else if (p->n_targets) {
        out->targets = p->targets;
        out->n_targets = p->n_targets;
        out->n_groups = p->n_groups;
    } else {
        say_no(out, p->defer.code ? &p->defer : &p->fail);
    }
}

void route_plan(const struct route *r, str domain, struct route_facts *facts, const struct route_options *options,
                struct route_plan *out)
{
    struct route_planner p = { .route = r, .domain = domain, .facts = facts, .options = options };
    if (str_ends(p.domain, S(".")) && p.domain.n > 1)
        p.domain.n--;
    p.domain = arena_lower(facts->arena, p.domain);
    p.full = !p.domain.p;
    bool soft = str_starts(r->fail_status, S("4"));
    if (!r->n_hops)
        p.fail = (struct route_no){ soft ? 451 : 550, r->fail_status, r->fail_text };
    for (size_t i = 0; !p.full && !p.final && i < r->n_hops; i++)
        plan_hop(&p, &r->hops[i]);
    conclude(&p, out);
}
