/* A domain, a route of up to three hops and answers of the DNS from the input. Whatever they are: planning ends; the
 * plan is the same when made again; no target is in a special network or our own, unless the configuration names it
 * outright; groups follow hops and preferences; limits hold; texts have no control bytes. */
#include "base/cleanup.h"
#include "route/route.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input { const uint8_t *p; size_t n; };

static void check(bool truth)
{
    if (!truth)
        __builtin_trap();
}

static uint8_t byte(struct input *in)
{
    if (!in->n)
        return 0;
    in->n--;
    return *in->p++;
}

/* One of a few names, so that answers meet; or bytes as they come. */
static str name(struct input *in, struct arena *a)
{
    uint8_t b = byte(in);
    if (b < 240)
        return arena_printf(a, "h%u.example", b % 12u);
    if (b == 240)
        return S(".");
    if (b == 241)
        return S("10.0.0.1");
    size_t n = MIN((size_t)byte(in), in->n);
    str s = arena_dup(a, str_of(in->p, n));
    in->p += n;
    in->n -= n;
    return s;
}

static str address(struct input *in, struct arena *a, enum dns_type type)
{
    static const uint8_t first[] = { 5, 5, 5, 10, 127, 192, 169, 0, 224, 100 };
    static const uint8_t first6[] = { 0x2a, 0x2a, 0x20, 0xfe, 0xfc, 0, 0xff };
    uint8_t out[16] = { 0 };
    uint8_t b = byte(in);
    bool v6 = type == DNS_TYPE_AAAA;
    out[0] = v6 ? first6[b % sizeof(first6)] : first[b % sizeof(first)];
    out[1] = byte(in);
    out[v6 ? 15 : 3] = byte(in) % 16;
    if (v6 && b > 250)
        out[10] = out[11] = 0xff;
    return arena_dup(a, str_of(out, b == 250 ? 5 : v6 ? 16 : 4));
}

static void answer(struct input *in, struct route_facts *f, struct route_fact *fact)
{
    static const enum dns_state states[] = { DNS_OK,     DNS_OK,       DNS_OK,        DNS_OK,
                                             DNS_NODATA, DNS_NXDOMAIN, DNS_TEMPORARY, DNS_BOGUS };
    struct dns_record r[DNS_RECORDS_MAX];
    uint8_t b = byte(in);
    struct dns_answer a = { .state = states[b % 8], .secure = b & 64, .canonical = fact->name, .records = r };
    if (a.state == DNS_OK)
        a.n = byte(in) % (DNS_RECORDS_MAX + 1u) % (b & 32 ? 129 : 6);
    if (b & 128)
        a.canonical = name(in, f->arena);
    if (a.state > DNS_NODATA)
        a.why = name(in, f->arena);
    for (size_t i = 0; i < a.n; i++) {
        r[i].number = byte(in) % 4;
        r[i].data = fact->type == DNS_TYPE_MX ? name(in, f->arena) : address(in, f->arena, fact->type);
    }
    route_fact_answer(f, fact, &a);
}

static void no_controls(str s)
{
    for (size_t i = 0; i < s.n; i++)
        check((unsigned char)s.p[i] >= ' ' && s.p[i] != 127);
}

static void check_hop(const struct route_plan *p, const struct route_hop *hop)
{
    size_t n = 0, hosts = 0;
    const struct route_target *last = NULL;
    for (size_t i = 0; i < p->n_targets; i++) {
        const struct route_target *t = &p->targets[i];
        if (t->hop != hop)
            continue;
        n++;
        hosts += !last || last->host_index != t->host_index;
        check(!last || last + 1 == t); /* a hop's targets are neighbours */
        check(!last || (last->group == t->group) == (last->preference == t->preference));
        check(!last || last->preference <= t->preference);
        last = t;
    }
    check(n <= ROUTE_ADDRESSES_MAX && hosts <= ROUTE_HOSTS_MAX);
}

static void check_plan(const struct route *r, const struct route_options *o, const struct route_plan *p)
{
    check((p->action == ROUTE_GO) == (p->n_targets > 0));
    check(p->action == ROUTE_GO || p->action == ROUTE_WAIT || (p->status.n && p->text.n && p->code >= 400));
    check(p->action != ROUTE_FAIL || (p->code >= 500 && p->status.p[0] == '5'));
    check(p->action != ROUTE_DEFER || (p->code == 451 && p->status.p[0] == '4'));
    no_controls(p->text);
    for (size_t i = 0; i < p->n_notes; i++)
        no_controls(p->notes[i]);
    for (size_t i = 0; i < p->n_targets; i++) {
        const struct route_target *t = &p->targets[i];
        check(!t->hop->mx || !route_address_special(t->addr) || nets_hold(&o->private_allowed, t->addr));
        check(t->port != o->own.endpoints[0].port || memcmp(t->addr, o->own.endpoints[0].addr, 16) != 0);
        check(i == 0 ? t->group == 0 : t->group == p->targets[i - 1].group || t->group == p->targets[i - 1].group + 1);
        check(t->group < p->n_groups && t->hop >= r->hops && t->hop < r->hops + r->n_hops);
    }
    for (size_t i = 0; i < r->n_hops; i++)
        check_hop(p, &r->hops[i]);
}

static void check_same(const struct route_plan *a, const struct route_plan *b)
{
    check(a->action == b->action && a->n_targets == b->n_targets && str_eq(a->text, b->text));
    for (size_t i = 0; i < a->n_targets; i++)
        check(memcmp(a->targets[i].addr, b->targets[i].addr, 16) == 0 &&
              str_eq(a->targets[i].host, b->targets[i].host) && a->targets[i].group == b->targets[i].group);
}

static void check_key(const struct route *r, str domain)
{
    _cleanup_buf_ struct buf key = BUF(ROUTE_DESTINATION_MAX);
    str route, back;
    if (!domain.n)
        return;
    check(route_destination(&key, r, domain) == 0);
    check(route_destination_parse(buf_str(&key), &route, &back) && str_eq(route, r->name));
    no_controls(buf_str(&key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(64 << 20);
    _cleanup_buf_ struct buf text = BUF(1 << 20);
    struct input in = { data, size };
    static const struct net ten = { { [10] = 0xff, [11] = 0xff, 10 }, 104 };
    static const struct route_endpoint own = { { [10] = 0xff, [11] = 0xff, 5, 1, 0, 1 }, 25 };
    static const str own_name = { "h3.example", 10 };
    struct route_hop hops[3] = { { .mx = true } };
    struct route r;
    route_built_in(&r);
    uint8_t b = byte(&in);
    struct route_options o = { .own = { &own_name, b & 1, &own, 1 },
                               .private_allowed = { &ten, (b >> 1) & 1 },
                               .seed = b };
    if (b & 4) {
        r.name = S("r");
        r.hops = hops;
        r.n_hops = 1 + (b >> 3) % 3;
        for (size_t i = 0; i < r.n_hops; i++) {
            uint8_t k = byte(&in);
            hops[i] =
                (struct route_hop){ .mx = k & 1, .how = k & 2 ? ROUTE_LMTP : ROUTE_SMTP, .port = k & 4 ? 2525 : 0 };
            if (!(k & 1) || k & 8)
                hops[i].name = arena_printf(&a, "h%u.example", k >> 4);
        }
    }
    str domain = name(&in, &a);
    struct route_facts f = { .arena = &a };
    struct route_plan p, again;
    for (int rounds = 0; route_plan(&r, domain, &f, &o, &p), p.action == ROUTE_WAIT; rounds++) {
        struct route_fact *fact = route_fact_open(&f, NULL);
        check(fact && rounds < 200);
        answer(&in, &f, fact); /* one at a time: order must not matter for the end */
    }
    check_plan(&r, &o, &p);
    route_plan(&r, domain, &f, &o, &again);
    check_same(&p, &again);
    check_key(&r, domain);
    struct route_explained x = { domain, domain, &r, &f, &p };
    check(route_explain(&text, &x, b & 1) == 0);
    return 0;
}
