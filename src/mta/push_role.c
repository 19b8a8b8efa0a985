/* Role smtp-out: see push_role.h. */
#include "mta/push_role.h"
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include "mta/push.h"
#include "io/whole_file.h"

enum { NETWORKS_MEMORY = 4 << 20 };
enum { DESTINATIONS_MAX = 100000, JOBS_MAX = 100000, QUESTIONS_MAX = 16, CA_MAX = 4 << 20 };
enum { DRAIN_MS = 6000, DRAIN_STEP_MS = 20 };

static struct push_interfaces interfaces;

static struct push *self(struct role *r) { return r->self; }

/* The addresses of this host, which the sandbox does not let us ask for later. */
static void list_interfaces(void)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *i = all; i && interfaces.n < PUSH_INTERFACES_MAX; i = i->ifa_next) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)i->ifa_addr;
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)i->ifa_addr;
        uint8_t *to = interfaces.addr[interfaces.n];
        if (v4 && v4->sin_family == AF_INET && route_address_from(str_of(&v4->sin_addr, 4), to) == 0)
            interfaces.n++;
        else if (v4 && v4->sin_family == AF_INET6 && route_address_from(str_of(&v6->sin6_addr, 16), to) == 0)
            interfaces.n++;
    }
    freeifaddrs(all);
}

static void prepare(void)
{
    tls_prepare();
    list_interfaces();
}

/* Lines `name user secret`; a secret may hold blanks. */
static int read_credentials(struct push *p, int fd)
{
    int r = whole_file_read(fd, &p->credentials_text);
    arena_done(&p->credentials_arena);
    p->credentials_arena = ARENA(PUSH_CREDENTIALS_MAX);
    p->credentials = NULL;
    for (str rest = buf_str(&p->credentials_text); r == 0 && rest.n;) {
        str line = str_trim(str_cut(&rest, '\n'));
        if (!line.n || line.p[0] == '#')
            continue;
        struct push_credentials *c = ARENA_NEW(&p->credentials_arena, struct push_credentials);
        if (!c)
            break;
        c->name = str_word(&line);
        c->user = str_word(&line);
        c->secret = str_trim(line);
        c->next = p->credentials;
        p->credentials = c;
    }
    return 0;
}

static int file(struct role *r, str name, int fd)
{
    struct push *p = self(r);
    if (str_eq(name, S("relay_credentials")))
        return read_credentials(p, fd);
    if (str_eq(name, S("smtp_tls_CAfile")))
        whole_file_read(fd, &p->ca_file);
    return 0;
}

/* Contexts are made anew with each generation: what was opened with the old ones keeps its reference. */
static void make_contexts(struct push *p)
{
    const char *why = NULL;
    SSL_CTX_free(TAKE(p->send.tls));
    SSL_CTX_free(TAKE(p->send.tls_verified));
    if (tls_client_context(STR_NONE, &why, &p->send.tls) < 0 ||
        (p->ca_file.n && tls_client_context(buf_str(&p->ca_file), &why, &p->send.tls_verified) < 0))
        events_say(&p->role->events, EVENT_ERROR, "tls_client", why ? str_z(why) : S("no memory"));
}

static int read_networks(struct push *p, const struct conf_words *words)
{
    arena_done(&p->networks_arena);
    p->networks_arena = ARENA(NETWORKS_MEMORY);
    struct net *list = ARENA_ARRAY(&p->networks_arena, struct net, words->n + 1);
    size_t n = 0;
    for (size_t i = 0; list && i < words->n; i++)
        n += net_parse(words->word[i].text, &list[n]) == 0;
    p->mynetworks = (struct nets){ list, n };
    return list ? 0 : -ENOMEM;
}

static int configure(struct role *r)
{
    struct push *p = self(r);
    p->role = r;
    p->send.hostname = r->config->conf->hostname;
    p->send.timeouts.connect = (uint32_t)MIN(r->config->conf->smtp_connect_timeout, 600000u);
    make_contexts(p);
    return read_networks(p, &r->config->conf->mynetworks);
}

static int start(struct role *r)
{
    struct push *p = self(r);
    uint8_t key[16];
    r->env->random(key, sizeof(key));
    map_init(&p->destinations, DESTINATIONS_MAX, key);
    map_init(&p->jobs, JOBS_MAX, key);
    memcpy(p->tried_key, key, sizeof(key));
    dns_client_init(&p->dns, r);
    if (role_peer(r, ROLE_STORE)->open)
        push_jobs_attach(p);
    return 0;
}

struct question { /* `posthouse route` */
    struct push_plan plan;
    uint64_t request;
    bool json;
    char *sender, *recipient;
};

static void free_question(struct question *q)
{
    if (!q)
        return;
    push_plan_end(&q->plan);
    free(q->sender);
    free(q->recipient);
    free(q);
}

static void explained(struct push_plan *plan)
{
    struct question *q = CONTAINER_OF(plan, struct question, plan);
    struct push *p = plan->push;
    struct buf text = BUF(ROLE_ANSWER_MAX);
    struct route_explained x = { .sender = str_z(q->sender), .recipient = str_z(q->recipient), .route = plan->route,
                                 .facts = &plan->facts, .plan = &plan->result };
    route_explain(&text, &x, q->json);
    role_answer(p->role, q->request, !text.failed, text.failed ? S("the plan is too long to show") : buf_str(&text));
    buf_done(&text);
    p->questions--;
    free_question(q);
}

/* Question: str sender, str recipient, u8 json. */
static int ask(struct push *p, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    struct unpack in = UNPACK(unpack_str(&f->in));
    str sender = unpack_str(&in), recipient = unpack_str(&in);
    bool json = unpack_u8(&in);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    ptrdiff_t at = str_rchr(recipient, '@');
    struct question *q = unpack_end(&in) && at >= 0 && p->questions < QUESTIONS_MAX ? calloc(1, sizeof(*q)) : NULL;
    if (q) {
        q->sender = str_dupz(sender);
        q->recipient = str_dupz(recipient);
    }
    if (!q || !q->sender || !q->recipient) {
        free_question(q);
        role_answer(p->role, request, false,
                    at < 0 ? S("not an address: it has no @") : S("too many questions at once"));
        return 0;
    }
    q->request = request;
    q->json = json;
    q->plan.done = explained;
    p->questions++;
    push_plan_begin(&q->plan, p, route_select(&p->role->config->conf->routes, sender, recipient),
                    str_from(recipient, (size_t)at + 1), 0);
    return 0;
}

static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    struct push *p = self(r);
    int error = -EBADMSG;
    if (peer == ROLE_DNS)
        return dns_client_frame(&p->dns, f);
    if (peer == ROLE_KEYS)
        return push_sign_frame(p, f);
    if (f->type == IPC_ASK)
        return ask(p, f);
    if (f->type == IPC_JOB) {
        struct push_job *j = push_job_read(f, &error);
        if (j)
            push_job_take(p, j);
        return j ? 0 : error;
    }
    if (f->type != IPC_JOB_DONE)
        return -EBADMSG;
    uint64_t id = unpack_u64(&f->in);
    push_job_done(p, id);
    return unpack_end(&f->in) ? 0 : -EBADMSG;
}

static void peer_up(struct role *r, enum role_id peer)
{
    if (peer == ROLE_STORE)
        push_jobs_attach(self(r));
    if (peer == ROLE_KEYS)
        push_sign_up(self(r));
}

static void peer_down(struct role *r, enum role_id peer)
{
    if (peer == ROLE_DNS)
        dns_client_down(&self(r)->dns);
}

static void status(struct role *r, struct buf *out)
{
    const struct push *p = self(r);
    event_u64(out, "connections_open", push_runs_count(p));
    event_u64(out, "jobs", p->jobs.n);
    event_u64(out, "connections", p->connections);
    event_u64(out, "failed_connections", p->failed_connections);
    event_u64(out, "tls", p->tls);
    event_u64(out, "reused", p->reused);
    event_u64(out, "relayed", p->relayed);
    event_u64(out, "deferred", p->deferred);
    event_u64(out, "failed", p->failed);
    event_u64(out, "dkim_signed", p->dkim_signed);
    event_u64(out, "dns_asked", p->dns.asked);
    event_u64(out, "dns_shared", p->dns.shared);
    event_u64(out, "dns_timeouts", p->dns.timeouts);
}

static void finish(struct push *p)
{
    loop_cancel(p->role->loop, &p->patience);
    push_runs_close(p);
    dns_client_done(&p->dns);
    loop_stop(p->role->loop);
}

static void still_sending(struct loop_timer *t)
{
    struct push *p = CONTAINER_OF(t, struct push, patience);
    if (push_runs_drain(p) == 0 || loop_now(p->role->loop) >= p->patience_until)
        finish(p);
    else
        loop_after(p->role->loop, t, DRAIN_STEP_MS);
}

/* A transfer whose last reply is still to come would be a duplicate later: it is waited for, a little. The rest is
 * given out again after the next start. */
static void stop(struct role *r)
{
    struct push *p = self(r);
    p->patience.fire = still_sending;
    p->patience_until = loop_now(r->loop) + DRAIN_MS;
    still_sending(&p->patience);
}

static const struct role_ops ops = { .id = ROLE_SMTP_OUT, .prepare = prepare, .start = start, .configure = configure,
                                     .file = file, .frame = frame, .peer_up = peer_up, .peer_down = peer_down,
                                     .status = status, .stop = stop };

int push_role_run(void)
{
    static struct push p;
    p = (struct push){ .ca_file = BUF(CA_MAX), .credentials_text = BUF(PUSH_CREDENTIALS_MAX) };
    p.interfaces = &interfaces;
    return role_run(&ops, &p);
}
