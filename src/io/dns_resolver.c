/* Questions to libunbound: see dns_resolver.h. */
#include "io/dns_resolver.h"
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unbound.h>
#include "conf/conf.h"

enum { CLASS_IN = 1, RCODE_NXDOMAIN = 3, ANCHOR_MAX = 8192, RANKS_MAX = 65536 };

/* Caches and buffers have ceilings; a server that is down is tried again within seconds. A resolver on loopback, and
 * what its operator makes of names that RFC 6761 and 6303 keep from the public DNS, is the operator's business. */
static const struct {
    const char *name, *value;
} always[] = {
    { "module-config:", "validator iterator" },
    { "edns-buffer-size:", "1232" },
    { "msg-cache-size:", "16m" },
    { "rrset-cache-size:", "16m" },
    { "key-cache-size:", "4m" },
    { "neg-cache-size:", "1m" },
    { "infra-cache-numhosts:", "10000" },
    { "infra-host-ttl:", "60" },
    { "infra-keep-probing:", "yes" },
    { "cache-max-negative-ttl:", "900" },
    { "val-bogus-ttl:", "30" },
    { "outgoing-range:", "1024" },
    { "outgoing-num-tcp:", "100" },
    { "prefetch:", "no" },
    { "use-syslog:", "no" },
    { "do-not-query-localhost:", "no" },
};
/* Removed when others are asked; the last is no zone: it makes libunbound read all that was set, so that what is wrong
 * with it shows now. */
static const char *const removed[] = {
    "test.", "home.arpa.", "127.in-addr.arpa.",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.", "posthouse.invalid.",
};

struct dns_resolver {
    struct ub_ctx *ctx;
    struct loop *loop;
    struct loop_io io;
    dns_resolver_fn *done;
    struct asked *open;
};

struct asked { /* libunbound hands one pointer back */
    struct dns_resolver *resolver;
    struct asked *prev, *next;
    enum dns_type type;
    void *arg;
};

void dns_setup_add(struct dns_setup *s, const char *address, uint16_t port)
{
    if (s->n_servers < DNS_SERVERS_MAX)
        snprintf(s->server[s->n_servers++], DNS_SERVER_TEXT_MAX, "%s@%u", address, port);
}

void dns_setup_resolv_conf(struct dns_setup *s, str text)
{
    while (text.n) {
        str line = str_trim(str_cut(&text, '\n'));
        char address[CONF_ADDRESS_MAX];
        uint16_t port = 53;
        if (!str_eq(str_word(&line), S("nameserver")))
            continue;
        str word = str_word(&line);
        if (str_chr(word, '@') < 0 && conf_server_parse(word, address, &port))
            dns_setup_add(s, address, port);
    }
}

bool dns_setup_same(const struct dns_setup *a, const struct dns_setup *b)
{
    bool same = a->n_servers == b->n_servers && str_eq(a->anchors, b->anchors);
    for (size_t i = 0; same && i < a->n_servers; i++)
        same = str_eq(str_z(a->server[i]), str_z(b->server[i]));
    return same;
}

static int set_options(struct ub_ctx *ctx, const struct dns_setup *setup)
{
    int e = 0;
    for (size_t i = 0; e == 0 && i < ARRAY_LEN(always); i++)
        e = ub_ctx_set_option(ctx, always[i].name, always[i].value);
    if (e == 0 && setup->n_servers)
        e = ub_ctx_set_option(ctx, "unblock-lan-zones:", "yes");
    if (e == 0 && setup->n_servers)
        e = ub_ctx_set_option(ctx, "insecure-lan-zones:", "yes");
    for (size_t i = 0; e == 0 && i < setup->n_servers; i++)
        e = ub_ctx_set_fwd(ctx, setup->server[i]);
    return e;
}

/* One record may go over several lines in brackets. */
static int add_anchors(struct ub_ctx *ctx, str text)
{
    _cleanup_buf_ struct buf record = BUF(ANCHOR_MAX);
    int e = 0;
    while (text.n && e == 0) {
        str line = str_cut(&text, '\n'), rest = line;
        line = str_trim(str_cut(&rest, ';'));
        if (!record.n && (!line.n || line.p[0] == '#'))
            continue;
        buf_add(&record, line);
        bool open = str_chr(buf_str(&record), '(') >= 0 && str_chr(buf_str(&record), ')') < 0;
        buf_addc(&record, open ? ' ' : '\0');
        if (open)
            continue;
        e = record.failed ? UB_SYNTAX : ub_ctx_add_ta(ctx, record.p);
        buf_clear(&record);
    }
    return record.n ? UB_SYNTAX : e;
}

static void ready(struct loop_io *io, uint32_t events)
{
    struct dns_resolver *r = CONTAINER_OF(io, struct dns_resolver, io);
    (void)events;
    ub_process(r->ctx);
}

static void free_resolver(struct dns_resolver **r) { dns_resolver_free(*r); }

int dns_resolver_new(struct loop *l, const struct dns_setup *setup, dns_resolver_fn *done, struct dns_resolver **out,
                     const char **out_why)
{
    _cleanup_(free_resolver) struct dns_resolver *r = calloc(1, sizeof(*r));
    struct ub_ctx *ctx = r ? ub_ctx_create() : NULL;
    *out_why = "no memory";
    if (!ctx)
        return -ENOMEM;
    *r = (struct dns_resolver){ .ctx = ctx, .loop = l, .io = { .ready = ready }, .done = done };
    ub_ctx_debugout(ctx, NULL);
    int e = ub_ctx_async(ctx, 1);
    if (e == 0)
        e = set_options(ctx, setup);
    if (e == 0)
        e = add_anchors(ctx, setup->anchors);
    for (size_t i = setup->n_servers ? 0 : ARRAY_LEN(removed) - 1; e == 0 && i < ARRAY_LEN(removed); i++)
        e = ub_ctx_zone_remove(ctx, removed[i]);
    if (e != 0) {
        *out_why = ub_strerror(e);
        return e == UB_NOMEM ? -ENOMEM : -EINVAL;
    }
    r->io.fd = ub_fd(ctx);
    int w = loop_watch(l, &r->io, EPOLLIN);
    if (w < 0)
        return w;
    *out = TAKE(r);
    return 0;
}

static void free_asked(struct asked *q)
{
    if (q->prev)
        q->prev->next = q->next;
    else
        q->resolver->open = q->next;
    if (q->next)
        q->next->prev = q->prev;
    free(q);
}

void dns_resolver_free(struct dns_resolver *r)
{
    if (!r)
        return;
    loop_unwatch(r->loop, &r->io);
    ub_ctx_delete(r->ctx);
    while (r->open)
        free_asked(r->open);
    free(r);
}

static int compare_ranks(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Fills in the usable records, those of the lowest number first; says in `a->why` if it left some out. */
static void take_records(const struct ub_result *res, enum dns_type type, struct dns_record *records,
                         struct buf *data, struct dns_answer *a)
{
    _cleanup_free_ uint64_t *rank = NULL;
    size_t n = 0, all = 0;
    uint16_t number;
    while (res->data[all] && all < RANKS_MAX)
        all++;
    rank = calloc(all ? all : 1, sizeof(*rank));
    a->records = records;
    if (!rank || buf_reserve(data, DNS_DATA_MAX) < 0) {
        a->state = DNS_TEMPORARY;
        a->why = S("no memory");
        return;
    }
    for (size_t i = 0; i < all; i++) {
        buf_clear(data);
        if (dns_rdata_decode(type, str_of(res->data[i], (size_t)res->len[i]), &number, data) == 0)
            rank[n++] = (uint64_t)number << 32 | i;
    }
    qsort(rank, n, sizeof(*rank), compare_ranks);
    buf_clear(data);
    for (size_t i = 0; i < n && a->n < DNS_RECORDS_MAX; i++) {
        size_t from = data->n, at = (uint32_t)rank[i];
        if (dns_rdata_decode(type, str_of(res->data[at], (size_t)res->len[at]), &number, data) == 0)
            records[a->n++] = (struct dns_record){ number, str_from(buf_str(data), from) };
        data->failed = 0;
    }
    if (a->n < all)
        a->why = a->n ? S("some of the records are damaged or too many and were left out")
                      : S("there are records, but none that can be used");
}

static str rcode_text(int rcode)
{
    switch (rcode) {
    case 1:
        return S("the resolver says FORMERR: it did not understand the question");
    case 2:
        return S("the resolver says SERVFAIL: it could not find an answer");
    case 4:
        return S("the resolver says NOTIMP");
    case 5:
        return S("the resolver says REFUSED");
    default:
        return S("the resolver could not find an answer");
    }
}

static void judge(int error, const struct ub_result *res, struct dns_answer *a)
{
    if (error != 0) {
        *a = (struct dns_answer){ .state = DNS_TEMPORARY, .why = str_z(ub_strerror(error)) };
        return;
    }
    str canonical = str_z(res->canonname ? res->canonname : res->qname);
    if (str_ends(canonical, S(".")))
        canonical.n--;
    *a = (struct dns_answer){ .secure = res->secure && !res->bogus, .ttl = (uint32_t)MAX(res->ttl, 0) };
    a->canonical = dns_name_valid(canonical) ? canonical : STR_NONE;
    if (res->bogus) {
        a->state = DNS_BOGUS;
        a->why = res->why_bogus ? str_z(res->why_bogus) : S("the signatures do not fit");
    } else if (res->rcode == RCODE_NXDOMAIN) {
        a->state = DNS_NXDOMAIN;
    } else if (res->rcode != 0) {
        a->state = DNS_TEMPORARY;
        a->why = res->why_bogus ? str_z(res->why_bogus) : rcode_text(res->rcode);
    } else {
        a->state = res->havedata ? DNS_OK : DNS_NODATA;
    }
}

static void lower(str s)
{
    char *p = (char *)s.p; /* of the result, which is ours */
    for (size_t i = 0; i < s.n; i++)
        p[i] = ascii_lower(p[i]);
}

static void resolved(void *arg, int error, struct ub_result *res)
{
    struct asked *q = arg;
    struct dns_answer a;
    struct dns_record records[DNS_RECORDS_MAX];
    _cleanup_buf_ struct buf data = BUF(DNS_DATA_MAX);
    judge(error, res, &a);
    if (error == 0)
        lower(a.canonical);
    if (a.state == DNS_OK)
        take_records(res, q->type, records, &data, &a);
    q->resolver->done(q->arg, &a);
    if (res)
        ub_resolve_free(res);
    free_asked(q);
}

int dns_resolver_ask(struct dns_resolver *r, const char *name, enum dns_type type, void *arg, const char **out_why)
{
    struct asked *q = malloc(sizeof(*q));
    *out_why = "no memory";
    if (!q)
        return -ENOMEM;
    *q = (struct asked){ .resolver = r, .next = r->open, .type = type, .arg = arg };
    if (r->open)
        r->open->prev = q;
    r->open = q;
    int e = ub_resolve_async(r->ctx, name, (int)type, CLASS_IN, q, resolved, NULL);
    if (e == 0)
        return 0;
    free_asked(q);
    *out_why = ub_strerror(e);
    return e == UB_NOMEM ? -ENOMEM : -EIO;
}
