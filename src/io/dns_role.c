/* Role dns: see dns_role.h. Questions come as frames, go to libunbound (dns_resolver.h) and are answered once: by it,
 * or when their time is over. A question whose time is over stays with libunbound until that gives up, so those have
 * a ceiling of their own.
 *
 * Servers of /etc/resolv.conf were not chosen for us, and some hand out no signatures: then everything signed would be
 * bogus. After a bogus answer such a server is asked for the keys of the root; if it has none that fit, the DNS is
 * asked from its root instead, which needs nobody's trust. */
#include "io/dns_role.h"
#include <errno.h>
#include "io/dns_client.h"
#include "io/dns_resolver.h"
#include "io/event_flood.h"
#include "io/whole_file.h"

enum { OPEN_MAX = 2000, WITH_RESOLVER_MAX = 4000, FILE_MAX = 65536, TYPE_DNSKEY = 48, PROBE_AGAIN_MS = 600000 };

struct question {
    struct dns_role *dns;
    struct question *prev, *next;
    enum role_id peer;
    uint64_t request;
    enum dns_type type;
    bool late;          /* nobody waits for it any more */
    bool probe;         /* our own: has the server the keys of the root? */
    struct loop_timer limit;
    char name[DNS_NAME_MAX + 2];
};

struct dns_role {
    struct role *role;
    struct dns_resolver *resolver;
    struct dns_setup setup;                 /* as the configuration has it */
    struct buf anchors;                     /* of setup */
    bool not_chosen;                        /* the servers are those of /etc/resolv.conf */
    bool unfit;                             /* and they have no signatures: the root is asked instead */
    uint64_t next_probe;                    /* mono_ms */
    struct loop_timer change;               /* to the root: not inside a callback of the resolver that ends */
    struct buf next_anchors, next_resolv;   /* files that came for the next generation */
    bool have_anchors;
    struct question *all;
    struct event_flood flood;
    uint64_t open, late;
    uint64_t questions, timeouts, refused, state[DNS_BOGUS + 1];
};

static struct dns_role *self(struct role *r) { return r->self; }

static void send_answer(struct dns_role *d, enum role_id peer, uint64_t request, const struct dns_answer *a)
{
    struct buf answer = BUF(IPC_FRAME_MAX), b = BUF(IPC_FRAME_MAX);
    dns_answer_pack(&answer, a);
    if (peer == ROLE_MASTER) {
        role_answer(d->role, request, true, buf_str(&answer));
    } else {
        pack_u64(&b, request);
        buf_add(&b, buf_str(&answer));
        ipc_send(role_peer(d->role, peer), IPC_DNS_ANSWER, &b, -1);
    }
    buf_done(&answer);
    buf_done(&b);
}

static void free_question(struct question *q)
{
    struct dns_role *d = q->dns;
    if (q->prev)
        q->prev->next = q->next;
    else
        d->all = q->next;
    if (q->next)
        q->next->prev = q->prev;
    if (q->late)
        d->late--;
    else
        d->open--;
    loop_cancel(d->role->loop, &q->limit);
    free(q);
}

/* It stays with libunbound; what comes of it is of use in the cache alone. */
static void leave(struct question *q)
{
    if (q->late)
        return;
    loop_cancel(q->dns->role->loop, &q->limit);
    q->late = true;
    q->dns->open--;
    q->dns->late++;
}

static void log_bogus(struct dns_role *d, const struct question *q, str why)
{
    struct events *events = &d->role->events;
    if (!event_flood_allow(&d->flood, events, S("dns"), loop_now(d->role->loop)))
        return;
    struct buf *e = events_begin(events, EVENT_WARN, "dns_bogus");
    event_str(e, "name", str_z(q->name));
    event_str(e, "type", str_z(dns_type_name(q->type)));
    event_str(e, "why", why);
    events_end(events);
}

static void probe(struct dns_role *d);

static void answer(struct question *q, const struct dns_answer *a)
{
    struct dns_role *d = q->dns;
    if (q->probe) {
        if (a->state == DNS_BOGUS)
            loop_after(d->role->loop, &d->change, 1);
        return;
    }
    d->state[a->state]++;
    if (a->state == DNS_BOGUS)
        log_bogus(d, q, a->why);
    if (a->state == DNS_BOGUS && d->not_chosen && !d->unfit && loop_now(d->role->loop) >= d->next_probe)
        probe(d);
    send_answer(d, q->peer, q->request, a);
}

static void resolved(void *arg, const struct dns_answer *a)
{
    struct question *q = arg;
    if (!q->late)
        answer(q, a);
    free_question(q);
}

static void answer_not_now(struct question *q, str why)
{
    struct dns_answer a = { .state = DNS_TEMPORARY, .canonical = STR_NONE, .why = why };
    answer(q, &a);
}

static void limit_over(struct loop_timer *t)
{
    struct question *q = CONTAINER_OF(t, struct question, limit);
    q->dns->timeouts++;
    answer_not_now(q, S("the resolver did not answer in time"));
    leave(q);
}

static void refuse(struct dns_role *d, enum role_id peer, uint64_t request, str why)
{
    struct dns_answer a = { .state = DNS_TEMPORARY, .why = why };
    d->refused++;
    d->state[DNS_TEMPORARY]++;
    send_answer(d, peer, request, &a);
}

static void to_resolver(struct question *q)
{
    const char *why;
    if (dns_resolver_ask(q->dns->resolver, q->name, q->type, q, &why) == 0)
        return;
    if (!q->late)
        answer_not_now(q, str_z(why));
    free_question(q);
}

static int open_question(struct dns_role *d, struct question **out)
{
    bool room = d->open < OPEN_MAX && d->open + d->late < WITH_RESOLVER_MAX;
    struct question *q = room ? calloc(1, sizeof(*q)) : NULL;
    if (!q)
        return -ENOBUFS;
    *q = (struct question){ .dns = d, .next = d->all, .limit.fire = limit_over };
    if (d->all)
        d->all->prev = q;
    d->all = q;
    d->open++;
    *out = q;
    return 0;
}

static void probe(struct dns_role *d)
{
    struct question *q;
    if (open_question(d, &q) < 0)
        return;
    q->probe = true;
    q->type = (enum dns_type)TYPE_DNSKEY;
    q->name[0] = '.';
    d->next_probe = loop_now(d->role->loop) + PROBE_AGAIN_MS;
    loop_after(d->role->loop, &q->limit, d->role->config->conf->dns_timeout);
    to_resolver(q);
}

/* Fields of a question behind its number: name, type. */
static int ask(struct dns_role *d, enum role_id peer, uint64_t request, struct unpack *u, uint64_t limit_ms)
{
    str name = unpack_str(u);
    enum dns_type type = unpack_u16(u);
    if (!unpack_end(u) || !dns_name_valid(name) || !dns_type_name(type))
        return -EBADMSG;
    d->questions++;
    struct question *q;
    if (open_question(d, &q) < 0) {
        refuse(d, peer, request, S("too many questions to the DNS at the same time"));
        return 0;
    }
    q->peer = peer;
    q->request = request;
    q->type = type;
    memcpy(q->name, name.p, name.n);
    loop_after(d->role->loop, &q->limit, limit_ms);
    to_resolver(q);
    return 0;
}

/* A question of `posthouse dns`: a limit in ms, then as any other. */
static int ask_of_command(struct dns_role *d, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    struct unpack u = UNPACK(unpack_str(&f->in));
    if (!unpack_end(&f->in))
        return -EBADMSG;
    uint64_t limit = MIN((uint64_t)unpack_u32(&u), d->role->config->conf->dns_timeout);
    if (ask(d, ROLE_MASTER, request, &u, limit) < 0)
        refuse(d, ROLE_MASTER, request, S("this is no question"));
    return 0;
}

static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    struct dns_role *d = self(r);
    if (peer == ROLE_MASTER)
        return f->type == IPC_ASK ? ask_of_command(d, f) : -EBADMSG;
    if (f->type != IPC_DNS_ASK)
        return -EBADMSG;
    uint64_t request = unpack_u64(&f->in);
    return ask(d, peer, request, &f->in, r->config->conf->dns_timeout);
}

static void peer_down(struct role *r, enum role_id peer)
{
    struct dns_role *d = self(r);
    for (struct question *q = d->all; q; q = q->next)
        if (q->peer == peer && !q->probe)
            leave(q);
}

static int file(struct role *r, str name, int fd)
{
    struct dns_role *d = self(r);
    bool anchors = str_eq(name, S("trust_anchor"));
    struct buf *to = anchors ? &d->next_anchors : &d->next_resolv;
    if (!anchors && !str_eq(name, S("resolv_conf")))
        return 0;
    int e = whole_file_read(fd, to);
    d->have_anchors = anchors ? e == 0 : d->have_anchors;
    return 0;
}

static void complain(struct role *r, str what, str why)
{
    struct buf *e = events_begin(&r->events, EVENT_ERROR, "dns_setup");
    event_str(e, "text", what);
    event_str(e, "why", why);
    events_end(&r->events);
    events_flush(&r->events);
    _cleanup_buf_ struct buf text = BUF(4096);
    buf_addf(&text, "%.*s: %.*s", STR_ARG(what), STR_ARG(why));
    role_refuse(r, buf_str(&text));
}

/* A trust anchor that somebody asked for must be there; the default may be missing. */
static int find_anchors(struct dns_role *d, struct role *r)
{
    const struct conf *c = r->config->conf;
    _cleanup_buf_ struct buf value = BUF(4096);
    str from = S("default");
    uint32_t line;
    if (d->have_anchors || !c->trust_anchor.n)
        return 0;
    conf_setting_value(c, S("trust_anchor"), &value, &from, &line);
    if (str_eq(from, S("default"))) {
        events_say(&r->events, EVENT_INFO, "dns_not_validated",
                   S("there is no trust anchor (package dns-root-data), so DNS answers are not validated"));
        return 0;
    }
    complain(r, S("the file trust_anchor cannot be read, or is too large"), c->trust_anchor);
    return -ENOENT;
}

static void find_servers(struct dns_role *d, const struct conf *c, struct dns_setup *out)
{
    for (size_t i = 0; i < c->resolver.n; i++) {
        char address[CONF_ADDRESS_MAX];
        uint16_t port = 53;
        if (conf_server_parse(c->resolver.word[i].text, address, &port))
            dns_setup_add(out, address, port);
    }
    if (!c->resolver.n)
        dns_setup_resolv_conf(out, buf_str(&d->next_resolv));
}

/* The new resolver takes over what is open. */
static int set_up(struct dns_role *d, struct role *r, const struct dns_setup *setup)
{
    struct dns_resolver *fresh = NULL;
    const char *why;
    int e = dns_resolver_new(r->loop, setup, resolved, &fresh, &why);
    if (e < 0) {
        complain(r, S("libunbound does not take these servers or this trust anchor"), str_z(why));
        return e;
    }
    dns_resolver_free(d->resolver);
    d->resolver = fresh;
    for (struct question *q = d->all, *next; q; q = next) {
        next = q->next;
        if (q->late)
            free_question(q);
        else
            to_resolver(q);
    }
    return 0;
}

static void ask_the_root(struct loop_timer *t)
{
    struct dns_role *d = CONTAINER_OF(t, struct dns_role, change);
    struct dns_setup root = { .anchors = d->setup.anchors };
    if (!d->not_chosen || d->unfit || set_up(d, d->role, &root) < 0)
        return;
    d->unfit = true;
    events_say(&d->role->events, EVENT_WARN, "dns_resolver_unfit",
               S("the servers of /etc/resolv.conf hand out no DNSSEC signatures, so the DNS is asked from its root; "
                 "name a validating server with the setting resolver, or set trust_anchor to \"\" to do without"));
}

/* Takes the files of this generation over. */
static void settle(struct dns_role *d, const struct dns_setup *setup, bool not_chosen)
{
    d->setup = *setup;
    d->not_chosen = not_chosen;
    d->unfit = false;
    d->next_probe = 0;
    loop_cancel(d->role->loop, &d->change);
    buf_done(&d->anchors);
    d->anchors = d->next_anchors;
    d->next_anchors = BUF(FILE_MAX);
}

static int configure(struct role *r)
{
    struct dns_role *d = self(r);
    struct dns_setup setup = { 0 };
    d->role = r;
    int e = find_anchors(d, r);
    if (e == 0 && d->have_anchors && r->config->conf->trust_anchor.n)
        setup.anchors = buf_str(&d->next_anchors);
    find_servers(d, r->config->conf, &setup);
    bool not_chosen = !r->config->conf->resolver.n && setup.n_servers;
    bool changed = !d->resolver || !dns_setup_same(&setup, &d->setup) || not_chosen != d->not_chosen;
    if (e == 0 && changed)
        e = set_up(d, r, &setup);
    if (e == 0 && changed)
        settle(d, &setup, not_chosen);
    d->have_anchors = false;
    buf_clear(&d->next_resolv);
    return e;
}

static int start(struct role *r)
{
    (void)r;
    return 0;
}

static void status(struct role *r, struct buf *out)
{
    static const char *const key[] = { "answers_ok", "answers_nodata", "answers_nxdomain", "answers_temporary",
                                       "answers_bogus" };
    struct dns_role *d = self(r);
    _cleanup_buf_ struct buf servers = BUF(DNS_SERVERS_MAX * DNS_SERVER_TEXT_MAX);
    event_u64(out, "questions", d->questions);
    for (size_t i = 0; i < ARRAY_LEN(key); i++)
        event_u64(out, key[i], d->state[i]);
    event_u64(out, "timeouts", d->timeouts);
    event_u64(out, "refused", d->refused);
    event_u64(out, "open_questions", d->open);
    event_u64(out, "late_questions", d->late);
    event_str(out, "validates", d->setup.anchors.n ? S("yes") : S("no"));
    for (size_t i = 0; i < d->setup.n_servers; i++)
        buf_addf(&servers, "%s%s", i ? " " : "", d->setup.server[i]);
    event_str(out, "resolver", servers.n && !d->unfit ? buf_str(&servers) : S("the root of the DNS"));
}

static void stop(struct role *r)
{
    struct dns_role *d = self(r);
    dns_resolver_free(TAKE(d->resolver));
    loop_stop(r->loop);
}

int dns_role_run(void)
{
    static const struct role_ops ops = { .id = ROLE_DNS,
                                         .start = start,
                                         .configure = configure,
                                         .file = file,
                                         .frame = frame,
                                         .peer_down = peer_down,
                                         .status = status,
                                         .stop = stop };
    static struct dns_role d;
    uint8_t key[16];
    env_system.random(key, sizeof(key));
    event_flood_init(&d.flood, key);
    d.change.fire = ask_the_root;
    d.anchors = d.next_anchors = d.next_resolv = BUF(FILE_MAX);
    return role_run(&ops, &d);
}
