/* The hosts of a hop: MX records in their order, what is cut from them, and the addresses behind the names (RFC 5321
 * 5.1). See route_plan.h. */
#include "base/cleanup.h"
#include "base/hash.h"
#include "route/route_plan.h"
#include <stdlib.h>

/* The same for the same seed, whatever order the DNS gives. */
static uint64_t order_of(const struct route_planner *p, str bytes)
{
    uint8_t key[16] = "posthouse route";
    memcpy(key, &p->options->seed, sizeof(p->options->seed));
    return siphash24(key, bytes);
}

static bool own_name(const struct route_planner *p, str name)
{
    for (size_t i = 0; i < p->options->own.n_names; i++)
        if (str_ieq(p->options->own.names[i], name))
            return true;
    return false;
}

static bool loopback(const uint8_t addr[16])
{
    static const uint8_t v6[16] = { [15] = 1 };
    return net_addr_v4(addr) ? addr[12] == 127 : memcmp(addr, v6, 16) == 0;
}

static bool unspecified(const uint8_t addr[16])
{
    static const uint8_t zero[16];
    return memcmp(addr, zero, net_addr_v4(addr) ? 0 : 16) == 0 && memcmp(addr + 12, zero, 4) == 0;
}

bool route_own_address(const struct route_planner *p, const uint8_t addr[16])
{
    for (size_t i = 0; i < p->options->own.n_endpoints; i++) {
        const struct route_endpoint *e = &p->options->own.endpoints[i];
        bool same = unspecified(e->addr) ? loopback(addr) && net_addr_v4(e->addr) == net_addr_v4(addr)
                                         : memcmp(e->addr, addr, 16) == 0;
        if (same && (!e->port || e->port == p->port))
            return true;
    }
    return false;
}

/* What the configuration names outright may lie in any network. */
const char *route_forbidden(const struct route_planner *p, const uint8_t addr[16])
{
    const char *what = p->hop->mx ? route_address_special(addr) : NULL;
    return what && !nets_hold(&p->options->private_allowed, addr) ? what : NULL;
}

void route_refuse_loop(struct route_planner *p)
{
    route_refuse(p, 550, "5.4.6", "mail for %.*s would come back to this host", STR_ARG(p->name));
}

static int named_cmp(const void *a, const void *b)
{
    const struct route_named *x = a, *y = b;
    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return x->order != y->order ? (x->order < y->order ? -1 : 1) : str_cmp(x->name, y->name);
}

static const char *unfit(str name)
{
    uint8_t addr[16];
    if (str_eq(name, S(".")))
        return "is the root, beside other MX records";
    if (net_addr_parse(name, addr) == 0)
        return "is an address, where a name belongs";
    return dns_name_valid(name) ? NULL : "is not a host name";
}

/* The first `n` are sorted: a name that stands twice counts where it is preferred. */
static bool listed(const struct route_named *named, size_t n, str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(named[i].name, name))
            return true;
    return false;
}

/* Drops our own name with everything that is not preferred to it (RFC 5321 5.1), repetitions, and what nobody will look
 * up. */
static size_t cut_list(struct route_planner *p, struct route_named *named, size_t n)
{
    size_t kept = 0, end = n;
    for (size_t i = 0; i < end; i++)
        if (own_name(p, named[i].name)) {
            route_note(p, "%.*s is this host: MX records of preference %u and above are left out",
                       STR_ARG(named[i].name), named[i].preference);
            while (i > 0 && named[i - 1].preference == named[i].preference)
                i--;
            end = i;
        }
    if (n && !end)
        route_refuse_loop(p);
    for (size_t i = 0; i < end && kept < ROUTE_LOOKUPS_MAX; i++)
        if (!listed(named, kept, named[i].name))
            named[kept++] = named[i];
    return kept;
}

static size_t read_records(struct route_planner *p, const struct dns_answer *a, struct route_named *out)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n && n < DNS_RECORDS_MAX; i++) {
        str name = a->records[i].data;
        const char *why = unfit(name);
        if (why)
            route_note(p, "MX %.*s %s", STR_ARG(str_first(name, DNS_NAME_MAX)), why);
        else
            out[n++] = (struct route_named){ name, a->records[i].number, order_of(p, name) };
    }
    if (n)
        qsort(out, n, sizeof(*out), named_cmp);
    if (n > ROUTE_MX_MAX)
        route_note(p, "%zu MX records: only the first %d are looked at", n, ROUTE_MX_MAX);
    if (!n)
        route_refuse(p, 550, "5.4.4", "none of the MX records of %.*s names a host", STR_ARG(p->name));
    return MIN(n, (size_t)ROUTE_MX_MAX);
}

size_t route_mx_hosts(struct route_planner *p, struct route_named *out, bool *out_secure)
{
    const struct route_fact *fact = route_need(p->facts, DNS_TYPE_MX, p->name);
    const struct dns_answer *a = &fact->answer;
    if (route_unknown(p, fact))
        return 0;
    *out_secure = a->secure;
    if (a->state == DNS_NXDOMAIN) {
        route_refuse(p, 550, "5.1.2", "there is no domain %.*s in the DNS", STR_ARG(p->name));
        return 0;
    }
    if (a->state == DNS_OK && a->n == 1 && str_eq(a->records[0].data, S("."))) { /* RFC 7505 3 */
        route_refuse(p, 556, "5.1.10", "%.*s does not accept mail (null MX)", STR_ARG(p->name));
        p->final = p->hop == p->route->hops && !p->hop->name.n;
        return 0;
    }
    if (a->state == DNS_OK)
        return cut_list(p, out, read_records(p, a, out));
    route_note(p, "%.*s has no MX record: mail goes to the host of that name", STR_ARG(p->name));
    p->implicit = true;
    out[0] = (struct route_named){ .name = p->name };
    return 1;
}

/* The addresses of one family in random order, at most ROUTE_ADDRESSES_MAX. */
struct family {
    struct { uint64_t order; uint8_t addr[16]; } at[ROUTE_ADDRESSES_MAX];
    size_t n;
};

static void add_address(struct family *f, uint64_t order, const uint8_t addr[16])
{
    size_t i = f->n;
    while (i > 0 && f->at[i - 1].order > order)
        i--;
    if (i == ROUTE_ADDRESSES_MAX || (i > 0 && f->at[i - 1].order == order)) /* the same address again */
        return;
    f->n = MIN(f->n + 1, (size_t)ROUTE_ADDRESSES_MAX);
    memmove(&f->at[i + 1], &f->at[i], (f->n - 1 - i) * sizeof(f->at[0]));
    f->at[i].order = order;
    memcpy(f->at[i].addr, addr, 16);
}

enum found { FOUND, FOUND_NONE, FOUND_OWN, FOUND_OPEN };

/* One answer of addresses. FOUND_OWN: one of them is ours. *out_forbidden: one that may not be tried. */
static enum found read_addresses(struct route_planner *p, str host, const struct dns_answer *a, struct family *out,
                                 str *out_forbidden)
{
    char text[NET_ADDR_TEXT];
    for (size_t i = 0; a->state == DNS_OK && i < a->n; i++) {
        uint8_t addr[16];
        if (route_address_from(a->records[i].data, addr) < 0) {
            route_note(p, "%.*s has an address record that is none", STR_ARG(host));
            continue;
        }
        const char *what = route_forbidden(p, addr);
        if (route_own_address(p, addr) && !(what && loopback(addr))) /* everybody's loopback address is no MX of ours */
            return FOUND_OWN;
        if (!what) {
            add_address(out, order_of(p, str_of(addr, 16)), addr);
            continue;
        }
        route_note(p, "%.*s has the address %.*s, %s", STR_ARG(host), STR_ARG(net_addr_print(addr, text)), what);
        if (!out_forbidden->n)
            *out_forbidden = arena_printf(p->facts->arena, "%s, %s", text, what);
    }
    return a->state == DNS_OK && own_name(p, a->canonical) ? FOUND_OWN : FOUND;
}

/* Why there is nothing to try at that host. */
static void refuse_host(struct route_planner *p, str host, const struct route_fact *const facts[2], str forbidden)
{
    bool gone = facts[0]->answer.state == DNS_NXDOMAIN || facts[1]->answer.state == DNS_NXDOMAIN;
    bool unknown = false;
    for (int i = 0; i < 2; i++)
        unknown = route_unknown(p, facts[i]) || unknown;
    if (unknown)
        return;
    if (forbidden.n)
        route_refuse(p, 550, "5.4.4", "%.*s: the mail host %.*s has the address %.*s", STR_ARG(p->name), STR_ARG(host),
                     STR_ARG(forbidden));
    else if (p->implicit)
        route_refuse(p, 550, gone ? "5.1.2" : "5.4.4", "%.*s has neither MX records nor an address", STR_ARG(p->name));
    else
        route_refuse(p, 550, "5.4.4", "%.*s: the mail host %.*s %s", STR_ARG(p->name), STR_ARG(host),
                     gone ? "does not exist" : "has no address");
    if (!forbidden.n && !p->implicit)
        route_note(p, "%.*s %s", STR_ARG(host), gone ? "does not exist" : "has no address");
}

static enum found resolve_host(struct route_planner *p, const struct route_named *named, bool secure,
                               struct route_host *out)
{
    const struct route_fact *facts[2] = { route_need(p->facts, DNS_TYPE_AAAA, named->name),
                                          route_need(p->facts, DNS_TYPE_A, named->name) };
    struct family families[2] = { 0 };
    str forbidden = STR_NONE;
    if (!facts[0]->answered || !facts[1]->answered) {
        p->waiting = true;
        return FOUND_OPEN;
    }
    *out = (struct route_host){ .name = named->name, .preference = named->preference, .secure = secure };
    for (int i = 0; i < 2; i++) {
        const struct dns_answer *a = &facts[i]->answer;
        if (read_addresses(p, named->name, a, &families[i], &forbidden) == FOUND_OWN)
            return FOUND_OWN;
        if (families[i].n && !a->secure)
            out->secure = false;
    }
    for (size_t i = 0; i < ROUTE_ADDRESSES_MAX; i++)
        for (int f = 0; f < 2; f++)
            if (i < families[f].n && out->n_addr < ROUTE_ADDRESSES_MAX)
                memcpy(out->addr[out->n_addr++], families[f].at[i].addr, 16);
    if (!out->n_addr)
        refuse_host(p, named->name, facts, forbidden);
    return out->n_addr ? FOUND : FOUND_NONE;
}

size_t route_resolve_hosts(struct route_planner *p, const struct route_named *named, size_t n, bool secure,
                           struct route_host *out)
{
    size_t used = 0, open = 0;
    for (size_t i = 0; i < n && used + open < ROUTE_HOSTS_MAX; i++) {
        enum found found = resolve_host(p, &named[i], secure, &out[used]);
        used += found == FOUND;
        open += found == FOUND_OPEN;
        if (found != FOUND_OWN)
            continue;
        route_note(p, "%.*s is this host: MX records of preference %u and above are left out", STR_ARG(named[i].name),
                   named[i].preference);
        while (used && out[used - 1].preference == named[i].preference)
            used--;
        if (!used && !open)
            route_refuse_loop(p);
        break;
    }
    return used;
}
