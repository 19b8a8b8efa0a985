/* The table of routes: which one a message takes, and the key under which its jobs are grouped. See route.h. */
#include "route/route.h"
#include "base/cleanup.h"
#include <errno.h>

const char *const route_tls_name[ROUTE_TLS_LEVELS] = {
    [ROUTE_TLS_NONE] = "none",
    [ROUTE_TLS_OPPORTUNISTIC] = "opportunistic",
    [ROUTE_TLS_MANDATORY] = "mandatory",
    [ROUTE_TLS_VERIFIED] = "verified",
};
const char *const route_how_name[ROUTE_LMTP + 1] = { [ROUTE_SMTP] = "smtp", [ROUTE_LMTP] = "lmtp" };

void route_built_in(struct route *out)
{
    static const struct route_hop mx = { .how = ROUTE_SMTP, .mx = true };
    *out = (struct route){ .name = S(ROUTE_BUILT_IN), .hops = &mx, .n_hops = 1, .tls = ROUTE_TLS_OPPORTUNISTIC,
                           .concurrency = 20, .file = S("default") };
}

static bool has(const struct route_patterns *p, str text)
{
    size_t low = 0, high = p->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = str_cmp(text, p->text[mid]);
        if (d == 0)
            return true;
        if (d < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return false;
}

/* The address, its domain, and each domain above it. */
static bool matches(const struct route_patterns *p, str address)
{
    if (!p->n)
        return true;
    if (!address.n)
        return has(p, S("<>"));
    ptrdiff_t at = str_rchr(address, '@');
    if (has(p, address))
        return true;
    if (at < 0)
        return false;
    str domain = str_from(address, (size_t)at);
    if (has(p, domain))
        return true;
    for (size_t i = 1; i < domain.n; i++)
        if (domain.p[i] == '.' && has(p, str_from(domain, i)))
            return true;
    return false;
}

#define ADDRESS_MAX 512 /* more than an address may have (RFC 5321 4.5.3.1) */

static str lower(str s, char out[ADDRESS_MAX])
{
    if (s.n > ADDRESS_MAX)
        return s;
    for (size_t i = 0; i < s.n; i++)
        out[i] = ascii_lower(s.p[i]);
    return str_of(out, s.n);
}

const struct route *route_select(const struct route_table *t, str sender, str recipient)
{
    char from[ADDRESS_MAX], to[ADDRESS_MAX];
    sender = lower(sender, from);
    recipient = lower(recipient, to);
    for (size_t i = 0; i < t->n; i++)
        if (matches(&t->routes[i].recipients, recipient) && matches(&t->routes[i].senders, sender))
            return &t->routes[i];
    return &t->built_in;
}

const struct route *route_by_name(const struct route_table *t, str name)
{
    for (size_t i = 0; i < t->n; i++)
        if (str_eq(t->routes[i].name, name))
            return &t->routes[i];
    return str_eq(name, S(ROUTE_BUILT_IN)) ? &t->built_in : NULL;
}

static bool by_domain(const struct route *r)
{
    for (size_t i = 0; i < r->n_hops; i++)
        if (!r->hops[i].name.n)
            return true;
    return false;
}

static void add_domain(struct buf *out, str domain)
{
    uint8_t addr[16];
    bool literal = route_literal_parse(domain, addr) == 0;
    if (str_ends(domain, S(".")))
        domain.n--;
    bool good = literal || dns_name_valid(domain);
    if (!good)
        buf_addc(out, '?');
    for (size_t i = 0; i < domain.n && i < DNS_NAME_MAX; i++) {
        char c = ascii_lower(domain.p[i]);
        buf_addc(out, good || ascii_alnum(c) || c == '.' || c == '-' ? c : '_');
    }
}

int route_destination(struct buf *out, const struct route *r, str domain)
{
    bool built_in = str_eq(r->name, S(ROUTE_BUILT_IN));
    if (!built_in) {
        buf_add(out, S("route "));
        buf_add(out, r->name);
    }
    if (!built_in && by_domain(r))
        buf_addc(out, ' ');
    if (by_domain(r))
        add_domain(out, domain);
    return out->failed;
}

bool route_destination_parse(str key, str *out_route, str *out_domain)
{
    str rest = key, first = str_cut(&rest, ' ');
    if (!first.n || str_chr(rest, ' ') != str_rchr(rest, ' '))
        return false;
    if (first.n == key.n) {
        *out_route = S(ROUTE_BUILT_IN);
        *out_domain = key;
        return true;
    }
    bool two = str_chr(rest, ' ') >= 0;
    str name = str_cut(&rest, ' ');
    if (!str_eq(first, S("route")) || !name.n || (two && !rest.n))
        return false;
    *out_route = name;
    *out_domain = rest;
    return true;
}
