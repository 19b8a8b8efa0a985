/* `route NAME { … }`: each word of the block a row of a table, the routes in the order of the files. What is written is
 * documented in docs/routing.md, what comes out in route/route.h. */
#include "conf/conf_parser.h"
#include "message/address.h"
#include "message/address_scan.h"
#include <errno.h>

#define ROUTES_MAX 1000
#define CONCURRENCY_MAX 1000
#define SOCKET_PATH_MAX 107 /* what the kernel takes */

/* A route while it is read: what it does not say itself comes from the settings at the end. */
struct conf_route_draft {
    struct route r;
    struct conf_word name;
    bool has_next, has_fail, has_tls, has_source, has_concurrency, has_rate;
};

struct route_word {
    struct conf_route_word_info info;
    int (*read)(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d);
};

static int twice(struct conf_parser *p, const struct conf_word *w)
{
    return FAIL(p, w, "%.*s is set twice in this route", SHOW(w->text));
}

static int one_value(struct conf_parser *p, const struct conf_statement *s, const char *want)
{
    if (s->n != 2 || !s->words[1].text.n)
        return FAIL(p, &s->words[s->n > 2 ? 2 : 0], "%.*s takes one value: %s", SHOW(s->words[0].text), want);
    return 0;
}

/* A domain of the configuration as A-labels. -EINVAL: it is none. */
static int domain_name(struct conf_parser *p, str text, str *out)
{
    int r = domain_valid(text, 1) ? conf_domain_ascii(p->a, text, out) : -EINVAL;
    return r == 0 && !dns_name_valid(*out) ? -EINVAL : r;
}

/* Where the domain of a pattern begins: behind the @ or the dot; 0: it is no pattern. */
static size_t pattern_domain(str text)
{
    struct address a;
    const char *why;
    if (str_starts(text, S("@")) || str_starts(text, S(".")))
        return 1;
    return address_parse(text, false, true, &a, &why) == 0 ? (size_t)(a.domain.p - text.p) : 0;
}

static int pattern(struct conf_parser *p, const struct conf_word *w, bool sender, str *out)
{
    str domain = STR_NONE;
    size_t at = pattern_domain(w->text);
    str name = str_from(w->text, at);
    bool null = sender && str_eq(w->text, S("<>"));
    int r = null || !at ? -EINVAL : domain_name(p, name, &domain);
    if (r == -EINVAL && at && w->text.p[0] != '.' && domain_is_literal(name)) {
        domain = name;
        r = 0;
    }
    if (r == -EINVAL && !null)
        return FAIL(p, w,
                    "\"%.*s\" is not what a route can match; expected user@example.org, @example.org (the domain)%s "
                    ".example.org (domains below it)%s",
                    SHOW(w->text), sender ? "," : " or", sender ? " or <>" : "");
    if (r < 0 && !null)
        return r;
    str both = null ? w->text : arena_printf(p->a, "%.*s%.*s", (int)at, w->text.p, STR_ARG(domain));
    *out = arena_lower(p->a, both);
    return both.p && out->p ? 0 : -ENOMEM;
}

static int pattern_cmp(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static int patterns(struct conf_parser *p, const struct conf_statement *s, bool sender, struct route_patterns *out)
{
    struct conf_words list;
    if (out->n)
        return twice(p, &s->words[0]);
    int r = conf_list_value(p, s, &list);
    if (r == 0 && !list.n)
        r = FAIL(p, &s->words[0], "%.*s needs an address, @domain or .domain", SHOW(s->words[0].text));
    str *text = r < 0 ? NULL : ARENA_ARRAY(p->a, str, list.n);
    if (r == 0 && !text)
        r = -ENOMEM;
    for (size_t i = 0; r == 0 && i < list.n; i++)
        r = pattern(p, &list.word[i], sender, &text[i]);
    if (r < 0)
        return r;
    qsort(text, list.n, sizeof(*text), pattern_cmp);
    *out = (struct route_patterns){ text, list.n };
    return 0;
}

static int read_recipient(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d)
{
    return patterns(p, s, false, &d->r.recipients);
}

static int read_sender(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d)
{
    return patterns(p, s, true, &d->r.senders);
}

/* "[host]:port", "[192.0.2.1]", "[2001:db8::1]:24", "host:port", "host": brackets mean that there is no MX lookup. */
static int destination(struct conf_parser *p, const struct conf_word *w, struct route_hop *hop)
{
    str rest = w->text, host;
    uint64_t port = 0;
    bool brackets = str_starts(rest, S("["));
    ptrdiff_t close = str_chr(rest, ']'), colon = brackets ? close + 1 : str_chr(rest, ':');
    bool ported = colon > 0 && (size_t)colon < rest.n;
    bool good = !brackets || close > 0;
    if (good && ported)
        good = rest.p[colon] == ':' && str_u64(str_from(rest, (size_t)colon + 1), 65535, &port) == 0 && port > 0;
    if (!good)
        return FAIL(p, w, "\"%.*s\" is not a host; expected example.org, example.org:587, [relay.example.org]:587 or "
                    "[192.0.2.1]:24", SHOW(w->text));
    host = ported ? str_first(rest, (size_t)colon) : rest;
    if (brackets)
        host = str_of(host.p + 1, host.n - 2);
    hop->mx = !brackets;
    hop->port = (uint16_t)port;
    str numeric = str_istarts(host, S("IPv6:")) ? str_from(host, 5) : host;
    if (net_addr_parse(numeric, hop->addr) == 0) {
        hop->numeric = true;
        hop->name = arena_lower(p->a, numeric);
        if (!brackets)
            return FAIL(p, w, "\"%.*s\": an address stands in brackets, like [%.*s]", SHOW(w->text), SHOW(host));
        return hop->name.p ? 0 : -ENOMEM;
    }
    int r = domain_name(p, host, &hop->name);
    return r == -EINVAL ? FAIL(p, w, "\"%.*s\" is not a host name", SHOW(host)) : r;
}

static bool starts_hop(str word)
{
    return str_eq(word, S("smtp")) || str_eq(word, S("lmtp")) || str_eq(word, S("mx"));
}

/* The hop at words[*i], which moves on. */
static int read_hop(struct conf_parser *p, const struct conf_statement *s, size_t *i, struct route_hop *out)
{
    const struct conf_word *w = &s->words[(*i)++];
    str path;
    bool more = *i < s->n && !starts_hop(s->words[*i].text);
    *out = (struct route_hop){ .how = str_eq(w->text, S("lmtp")) ? ROUTE_LMTP : ROUTE_SMTP };
    if (!starts_hop(w->text))
        return FAIL(p, w, "next: \"%.*s\" cannot stand here; expected smtp HOST, lmtp HOST, mx or mx DOMAIN",
                    SHOW(w->text));
    if (out->how == ROUTE_LMTP && more && str_starts(s->words[*i].text, S("unix:"))) {
        w = &s->words[(*i)++];
        path = str_from(w->text, 5);
        if (!str_starts(path, S("/")) || path.n > SOCKET_PATH_MAX || address_has_control(path))
            return FAIL(p, w, "next: \"%.*s\" is not a Unix socket; expected unix:/PATH of at most %d bytes",
                        SHOW(w->text), SOCKET_PATH_MAX);
        out->local = true;
        out->name = path;
        return 0;
    }
    if (!str_eq(w->text, S("mx"))) {
        if (!more)
            return FAIL(p, w, "next: %.*s needs a host, like %.*s [relay.example.org]:%s", SHOW(w->text), SHOW(w->text),
                        out->how == ROUTE_LMTP ? "24" : "587");
        return destination(p, &s->words[(*i)++], out);
    }
    out->mx = true;
    if (!more)
        return 0;
    w = &s->words[(*i)++];
    int r = domain_name(p, w->text, &out->name);
    return r == -EINVAL ? FAIL(p, w, "next: \"%.*s\" is not a domain whose MX could be asked for", SHOW(w->text)) : r;
}

static int read_next(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d)
{
    size_t n = 0;
    int r = 0;
    if (d->has_next)
        return twice(p, &s->words[0]);
    if (s->n < 2)
        return FAIL(p, &s->words[0], "next needs a hop: smtp HOST, lmtp HOST, mx or mx DOMAIN");
    struct route_hop *hops = ARENA_ARRAY(p->a, struct route_hop, ROUTE_HOPS_MAX);
    if (!hops)
        return -ENOMEM;
    for (size_t i = 1; r == 0 && i < s->n; n++) {
        if (n == ROUTE_HOPS_MAX)
            return FAIL(p, &s->words[i], "next: more than %d hops", ROUTE_HOPS_MAX);
        r = read_hop(p, s, &i, &hops[n]);
    }
    d->r.hops = hops;
    d->r.n_hops = n;
    d->has_next = true;
    return r;
}

/* "5.7.1" of RFC 3463 2: class 4 or 5, then numbers of at most three digits. */
static bool status_valid(str s)
{
    str class = str_cut(&s, '.'), subject = str_cut(&s, '.');
    uint64_t v;
    return (str_eq(class, S("4")) || str_eq(class, S("5"))) && subject.n <= 3 && s.n <= 3 &&
           str_u64(subject, 999, &v) == 0 && str_u64(s, 999, &v) == 0;
}

static int read_fail(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d)
{
    if (d->has_fail)
        return twice(p, &s->words[0]);
    int r = one_value(p, s, "a status and a text, like \"5.7.1 We do not deliver there\"");
    if (r < 0)
        return r;
    str text = s->words[1].text, status = str_word(&text);
    bool given = status_valid(status);
    d->r.fail_status = given ? status : S("5.7.1");
    d->r.fail_text = str_trim(given ? text : s->words[1].text);
    d->has_fail = true;
    if (address_has_control(s->words[1].text) || !d->r.fail_text.n || d->r.fail_text.n > 400)
        return FAIL(p, &s->words[1], "fail: expected a line of at most 400 bytes of text behind the status");
    return 0;
}

/* Words of smtp_tls_security_level that mean one of ours. */
static const struct { const char *theirs; enum route_tls ours; } tls_of_postfix[] = {
    { "may", ROUTE_TLS_OPPORTUNISTIC }, { "encrypt", ROUTE_TLS_MANDATORY }, { "verify", ROUTE_TLS_VERIFIED },
    { "secure", ROUTE_TLS_VERIFIED },
};

static bool tls_level(str text, enum route_tls *out)
{
    for (int i = 0; i < ROUTE_TLS_LEVELS; i++)
        if (str_eq(text, str_z(route_tls_name[i]))) {
            *out = (enum route_tls)i;
            return true;
        }
    return false;
}

static int read_tls(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d)
{
    if (d->has_tls)
        return twice(p, &s->words[0]);
    int r = one_value(p, s, "none, opportunistic, mandatory or verified");
    if (r < 0)
        return r;
    const struct conf_word *w = &s->words[1];
    d->has_tls = true;
    if (tls_level(w->text, &d->r.tls))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(tls_of_postfix); i++)
        if (str_eq(w->text, str_z(tls_of_postfix[i].theirs)))
            return FAIL(p, w, "tls: what Postfix calls %s is %s here", tls_of_postfix[i].theirs,
                        route_tls_name[tls_of_postfix[i].ours]);
    return conf_unknown(p, w, "tls level", conf_nearest_of(route_tls_name, ROUTE_TLS_LEVELS, w->text));
}

static bool name_valid(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
            return false;
    return s.n > 0 && s.n <= ROUTE_NAME_MAX;
}

static int read_auth(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d)
{
    if (d->r.auth.n)
        return twice(p, &s->words[0]);
    int r = one_value(p, s, "the name of a line in the file relay_credentials");
    if (r == 0 && !name_valid(s->words[1].text))
        r = FAIL(p, &s->words[1], "auth: \"%.*s\" is not a name; expected letters, digits, - and _",
                 SHOW(s->words[1].text));
    if (r == 0)
        d->r.auth = s->words[1].text;
    return r;
}

static void set_source(struct route *r, const uint8_t addr[16])
{
    bool v4 = net_addr_v4(addr);
    memcpy(v4 ? r->source4 : r->source6, addr, 16);
    *(v4 ? &r->has_source4 : &r->has_source6) = true;
}

static int read_source(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d)
{
    if (d->has_source)
        return twice(p, &s->words[0]);
    if (s->n < 2)
        return FAIL(p, &s->words[0], "source needs an address of this host");
    d->has_source = true;
    for (size_t i = 1; i < s->n; i++) {
        const struct conf_word *w = &s->words[i];
        uint8_t addr[16];
        if (net_addr_parse(w->text, addr) < 0)
            return FAIL(p, w, "source: \"%.*s\" is not a numeric address", SHOW(w->text));
        if (net_addr_v4(addr) ? d->r.has_source4 : d->r.has_source6)
            return FAIL(p, w, "source: expected one IPv4 and one IPv6 address at most");
        set_source(&d->r, addr);
    }
    return 0;
}

static int read_concurrency(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d)
{
    uint64_t v;
    if (d->has_concurrency)
        return twice(p, &s->words[0]);
    int r = one_value(p, s, "a number of connections");
    if (r == 0 && (str_u64(s->words[1].text, CONCURRENCY_MAX, &v) < 0 || v == 0))
        r = FAIL(p, &s->words[1], "concurrency: \"%.*s\" is not a number from 1 to %d", SHOW(s->words[1].text),
                 CONCURRENCY_MAX);
    if (r < 0)
        return r;
    d->r.concurrency = (uint32_t)v;
    d->has_concurrency = true;
    return 0;
}

static int read_rate(struct conf_parser *p, const struct conf_statement *s, struct conf_route_draft *d)
{
    uint64_t count = 0, ms = 0;
    const char *want;
    if (d->has_rate)
        return twice(p, &s->words[0]);
    int r = one_value(p, s, "messages in a time, like 100/m");
    if (r < 0)
        return r;
    const struct conf_word *w = &s->words[1];
    str unit = w->text, number = str_cut(&unit, '/');
    str time = unit.n && ascii_digit(unit.p[0]) ? unit : arena_printf(p->a, "1%.*s", SHOW(unit));
    if (!time.p)
        return -ENOMEM;
    if (!unit.n || str_u64(number, 1000000, &count) < 0 || !count ||
        !conf_value_number(CONF_TYPE_DURATION, time, &ms, &want) || !ms)
        return FAIL(p, w, "rate: \"%.*s\" is not messages in a time, like 100/m, 5/s or 1000/6h", SHOW(w->text));
    d->r.rate = (uint32_t)count;
    d->r.rate_ms = ms;
    d->has_rate = true;
    return 0;
}

static const struct route_word words[] = {
    { { "recipient", "ADDRESS | @DOMAIN | .DOMAIN ...",
        "Recipients it is for; .DOMAIN means all domains below DOMAIN." },
      read_recipient },
    { { "sender", "ADDRESS | @DOMAIN | .DOMAIN | <> ...",
        "Envelope senders it is for; <> is the empty one of bounces." },
      read_sender },
    { { "next", "smtp HOST | lmtp HOST | mx | mx DOMAIN ...",
        "Next hops, each for when those before it cannot be reached. HOST is [NAME] or [ADDRESS], whose MX is not "
        "asked for, or a NAME whose MX is; :PORT may follow. mx: the MX of the recipient's domain." },
      read_next },
    { { "fail", "\"STATUS TEXT\"",
        "Instead of next: mail goes back with this, like \"5.7.1 No mail there\"; 4.x.x: it waits." },
      read_fail },
    { { "tls", "none | opportunistic | mandatory | verified",
        "Encryption. Default: smtp_tls_security_level; with auth: verified." },
      read_tls },
    { { "auth", "NAME", "Logs in with the line NAME of the file relay_credentials." }, read_auth },
    { { "source", "IPV4 IPV6", "Addresses of this host to send from. Default: smtp_bind_address, smtp_bind_address6." },
      read_source },
    { { "concurrency", "NUMBER", "Connections to one destination. Default: smtp_destination_concurrency_limit." },
      read_concurrency },
    { { "rate", "NUMBER/TIME",
        "Messages to one destination in a time, like 100/m. Default: smtp_destination_rate_delay." },
      read_rate },
};

bool conf_route_word_info(size_t i, struct conf_route_word_info *out)
{
    if (i >= ARRAY_LEN(words))
        return false;
    *out = words[i].info;
    return true;
}

static int inner(struct conf_parser *p, const struct conf_statement *s, void *arg)
{
    const char *names[ARRAY_LEN(words)];
    const struct conf_word *name = &s->words[0];
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_eq(name->text, str_z(words[i].info.name)))
            return words[i].read(p, s, arg);
        names[i] = words[i].info.name;
    }
    return conf_unknown(p, name, "word in a route:", conf_nearest_of(names, ARRAY_LEN(names), name->text));
}

static int check(struct conf_parser *p, const struct conf_route_draft *d)
{
    const struct conf_word *w = &d->name;
    if (!d->has_next && !d->has_fail)
        return FAIL(p, w, "route %.*s says nothing; expected next or fail", SHOW(w->text));
    if (d->has_next && d->has_fail)
        return FAIL(p, w, "route %.*s has both next and fail; expected one of them", SHOW(w->text));
    if (d->r.auth.n && d->has_tls && d->r.tls == ROUTE_TLS_OPPORTUNISTIC)
        return FAIL(p, w, "route %.*s: auth with opportunistic TLS would show the password to whoever takes TLS away; "
                    "expected tls mandatory or verified", SHOW(w->text));
    for (size_t i = 0; i < p->n_routes; i++) {
        const struct conf_route_draft *other = &p->routes[i];
        if (str_eq(other->name.text, w->text))
            return FAIL(p, w, "route %.*s stands twice; first at %.*s:%u", SHOW(w->text), SHOW(other->name.file),
                        other->name.line);
    }
    const struct conf_route_draft *last = p->n_routes ? &p->routes[p->n_routes - 1] : NULL;
    if (last && !last->r.recipients.n && !last->r.senders.n)
        return FAIL(p, w, "route %.*s is never reached: %.*s (%.*s:%u) takes everything", SHOW(w->text),
                    SHOW(last->name.text), SHOW(last->name.file), last->name.line);
    return 0;
}

int conf_route(struct conf_parser *p, struct conf_lexer *l, const struct conf_statement *s)
{
    const struct conf_word *name = &s->words[0];
    if (s->n != 2 || s->kind != CONF_STATEMENT_OPEN)
        return FAIL(p, name, "expected route NAME { … }");
    const struct conf_word *w = &s->words[1];
    if (!name_valid(w->text))
        return FAIL(p, w, "route: \"%.*s\" is not a name; expected at most %d letters, digits, - and _", SHOW(w->text),
                    ROUTE_NAME_MAX);
    if (str_eq(w->text, S(ROUTE_BUILT_IN)))
        return FAIL(p, w,
                    "route: \"" ROUTE_BUILT_IN "\" is the route for all that no other takes; expected another name");
    if (p->n_routes == ROUTES_MAX)
        return FAIL(p, w, "more than %d routes", ROUTES_MAX);
    struct conf_route_draft d = { .r = { .name = w->text, .file = w->file, .line = w->line }, .name = *w };
    int r = conf_read_block(p, l, name, inner, &d);
    if (r == 0)
        r = check(p, &d);
    if (r < 0)
        return r;
    struct conf_route_draft *grown = conf_grow(p->a, p->routes, p->n_routes, &p->cap_routes, sizeof(d));
    if (!grown)
        return -ENOMEM;
    p->routes = grown;
    p->routes[p->n_routes++] = d;
    return 0;
}

const char *conf_route_text_wanted(enum conf_row row, str text)
{
    uint8_t addr[16];
    enum route_tls tls;
    if (row == CONF_ROW_smtp_tls_security_level)
        return tls_level(text, &tls) ? NULL
                                     : "none, opportunistic, mandatory or verified (Postfix's may, encrypt and verify)";
    bool v4 = row == CONF_ROW_smtp_bind_address;
    if (!text.n || (net_addr_parse(text, addr) == 0 && net_addr_v4(addr) == v4))
        return NULL;
    return v4 ? "an IPv4 address of this host" : "an IPv6 address of this host";
}

static const struct net everywhere[] = { { { [10] = 0xff, [11] = 0xff }, 96 }, { { 0 }, 0 } };

static int private_destinations(struct conf_parser *p)
{
    const struct conf_words *list = &p->conf->c.allow_private_destinations;
    struct net *nets = ARENA_ARRAY(p->a, struct net, list->n);
    if (!nets)
        return -ENOMEM;
    if (list->n == 1 && str_eq(list->word[0].text, S("yes")))
        p->conf->c.private_allowed = (struct nets){ everywhere, ARRAY_LEN(everywhere) };
    if (!list->n || (list->n == 1 && (str_eq(list->word[0].text, S("yes")) || str_eq(list->word[0].text, S("no")))))
        return 0;
    for (size_t i = 0; i < list->n; i++)
        if (net_parse(list->word[i].text, &nets[i]) < 0)
            return FAIL(p, &list->word[i],
                        "allow_private_destinations: \"%.*s\" cannot be; expected yes, no, or networks "
                        "like 10.0.0.0/8, fd00::/8",
                        SHOW(list->word[i].text));
    p->conf->c.private_allowed = (struct nets){ nets, list->n };
    return 0;
}

/* What a route does not say itself. */
static void fill(const struct conf *c, struct conf_route_draft *d)
{
    uint8_t addr[16];
    enum route_tls tls = ROUTE_TLS_OPPORTUNISTIC;
    tls_level(c->smtp_tls_security_level, &tls);
    if (!d->has_tls)
        d->r.tls = d->r.auth.n ? ROUTE_TLS_VERIFIED : tls;
    if (!d->has_concurrency)
        d->r.concurrency = (uint32_t)MIN(c->smtp_destination_concurrency_limit, (uint64_t)CONCURRENCY_MAX);
    if (!d->has_rate && c->smtp_destination_rate_delay) {
        d->r.rate = 1;
        d->r.rate_ms = c->smtp_destination_rate_delay;
    }
    if (!d->has_source && net_addr_parse(c->smtp_bind_address, addr) == 0)
        set_source(&d->r, addr);
    if (!d->has_source && net_addr_parse(c->smtp_bind_address6, addr) == 0)
        set_source(&d->r, addr);
}

int conf_route_finish(struct conf_parser *p)
{
    struct route_table *t = &p->conf->c.routes;
    struct route *routes = ARENA_ARRAY(p->a, struct route, p->n_routes);
    struct conf_route_draft built_in = { 0 };
    if (!routes)
        return -ENOMEM;
    for (size_t i = 0; i < p->n_routes; i++) {
        const struct conf_route_draft *d = &p->routes[i];
        if (d->r.auth.n && !p->conf->c.relay_credentials.n)
            return FAIL(p, &d->name,
                        "route %.*s: auth needs the setting relay_credentials, the file with user and password",
                        SHOW(d->name.text));
        fill(&p->conf->c, &p->routes[i]);
        routes[i] = p->routes[i].r;
    }
    route_built_in(&built_in.r);
    fill(&p->conf->c, &built_in);
    *t = (struct route_table){ .routes = routes, .n = p->n_routes, .built_in = built_in.r };
    return private_destinations(p);
}
