/* Connections to destinations: the plan's addresses raced within one preference, the next preference when all of these
 * have failed (RFC 5321 5.1, RFC 8305), one job after the other while the connection is good. */
#include <errno.h>
#include "mta/push.h"

enum run_state { RUN_PLANNING, RUN_CONNECTING, RUN_SIGNING, RUN_SENDING, RUN_REPORTED, RUN_IDLE };
#define RACERS 2

struct racer {
    struct smtp_send send;
    struct push_run *run;
    const struct route_target *target;
    bool open;
};

struct push_run {
    struct push *push;
    struct push_destination *destination;
    enum run_state state;
    struct push_job *job;
    struct push_plan plan;
    struct push_sign sign;
    struct racer racer[RACERS];
    struct racer *winner;        /* NULL: no connection */
    size_t next_target;
    uint16_t group;
    unsigned messages;           /* given to this connection */
    bool retired;                /* says QUIT */
    struct loop_timer timer;     /* of the race, or of the rest between two jobs */
    uint64_t born;
    struct { uint16_t code; struct buf status, text, mta; } last; /* the newest failure on the way */
    struct push_run *prev, *next;
};

static struct racer *racer_of(struct smtp_send *s) { return CONTAINER_OF(s, struct racer, send); }

static void free_destination(struct push *p, struct push_destination *d)
{
    if (d->runs || d->waiting)
        return;
    map_take(&p->destinations, str_z(d->key));
    free(d->key);
    free(d);
}

static void end_run(struct push_run *run)
{
    struct push_destination *d = run->destination;
    for (size_t i = 0; i < RACERS; i++)
        smtp_send_close(&run->racer[i].send);
    loop_cancel(run->push->role->loop, &run->timer);
    push_plan_end(&run->plan);
    push_sign_end(&run->sign);
    buf_done(&run->last.status);
    buf_done(&run->last.text);
    buf_done(&run->last.mta);
    if (run->prev)
        run->prev->next = run->next;
    else
        d->runs = run->next;
    if (run->next)
        run->next->prev = run->prev;
    free_destination(run->push, d);
    free(run);
}

static void mta_text(struct buf *out, const struct route_target *t)
{
    buf_clear(out);
    if (t->local) {
        buf_addf(out, "unix:%.*s", STR_ARG(t->address));
        return;
    }
    if (!t->literal)
        buf_addf(out, "%.*s ", STR_ARG(t->host));
    buf_addf(out, "[%.*s]:%u", STR_ARG(t->address), t->port);
}

static void remember(struct push_run *run, const struct route_target *t, uint16_t code, str status, str text)
{
    run->last.code = code;
    buf_clear(&run->last.status);
    buf_clear(&run->last.text);
    buf_add(&run->last.status, status);
    buf_add(&run->last.text, text);
    if (t)
        mta_text(&run->last.mta, t);
}

static str keep(struct push_job *j, str s)
{
    str copy = arena_dup(&j->job.arena, s);
    return copy.p ? copy : STR_NONE;
}

static void note_deferral(struct push_run *run)
{
    const struct push_job *j = run->job;
    for (uint32_t i = 0; i < j->job.n; i++)
        if (j->job.results[i].outcome == SMTP_DEFERRED && j->job.results[i].code) {
            push_tried_note(run->push, j->job.message, run->winner->target);
            return;
        }
}

/* The job's results go to the store; the run waits for its word that they are in the journal. */
static void report(struct push_run *run)
{
    struct push_job *j = run->job;
    struct racer *w = run->winner;
    if (w) {
        struct buf mta = BUF(1024);
        mta_text(&mta, w->target);
        j->job.how.mta = keep(j, buf_str(&mta));
        j->job.how.tls = keep(j, str_z(w->send.tls_text));
        j->job.how.connect_ms = w->send.connect_ms;
        j->job.how.tls_ms = w->send.tls_ms;
        j->job.how.transfer_ms = w->send.transfer_ms;
        j->job.how.reused = run->messages > 1;
        run->push->reused += j->job.how.reused;
        buf_done(&mta);
        note_deferral(run);
    } else {
        j->job.how.mta = keep(j, buf_str(&run->last.mta));
    }
    run->state = RUN_REPORTED;
    push_job_report(run->push, j);
}

/* A failure before any server took the message: of the destination (site) or of this message alone. */
static void give_up(struct push_run *run, bool site, uint8_t outcome)
{
    run->job->job.how.site_failed = site;
    loop_cancel(run->push->role->loop, &run->timer);
    job_results(&run->job->job, outcome, run->last.code, buf_str(&run->last.status), buf_str(&run->last.text));
    report(run);
}

static void up(struct smtp_send *s);
static void result(struct smtp_send *s, const struct smtp_client_result *r);
static void done(struct smtp_send *s);
static void down(struct smtp_send *s, const struct smtp_send_end *end);

static const struct smtp_send_events events = { .up = up, .result = result, .done = done, .down = down };

static const struct push_credentials *credentials_of(const struct push *p, str name)
{
    for (const struct push_credentials *c = p->credentials; name.n && c; c = c->next)
        if (str_eq(c->name, name))
            return c;
    return NULL;
}

/* 0; a negative result is as good as a connection that failed. */
static int open_target(struct push_run *run, struct racer *w, const struct route_target *t, bool clear)
{
    static const enum smtp_send_tls level[ROUTE_TLS_LEVELS] = {
        [ROUTE_TLS_NONE] = SMTP_SEND_TLS_NONE,
        [ROUTE_TLS_OPPORTUNISTIC] = SMTP_SEND_TLS_OPPORTUNISTIC,
        [ROUTE_TLS_MANDATORY] = SMTP_SEND_TLS_MANDATORY,
        [ROUTE_TLS_VERIFIED] = SMTP_SEND_TLS_VERIFIED,
    };
    const struct route *r = run->plan.route;
    const struct push_credentials *c = credentials_of(run->push, r->auth);
    char source[NET_ADDR_TEXT];
    struct smtp_send_target to = {
        .address = t->address,
        .port = t->port,
        .host = t->literal ? STR_NONE : t->host,
        .lmtp = t->how == ROUTE_LMTP,
        .tls_at_once = t->port == 465,
        .tls = clear ? SMTP_SEND_TLS_NONE : level[t->tls],
        .no_chunking = push_no_chunking(run->push, t),
        .user = c ? c->user : STR_NONE,
        .secret = c ? c->secret : STR_NONE,
    };
    if (r->auth.n && !c) {
        remember(run, t, 0, S("4.3.5"), S("the credentials that the route names are not in relay_credentials"));
        return -ENOENT;
    }
    if (!t->local && (t->v6 ? r->has_source6 : r->has_source4))
        to.source = net_addr_print(t->v6 ? r->source6 : r->source4, source);
    w->run = run;
    w->target = t;
    int e = smtp_send_open(&w->send, run->push->role->loop, &run->push->send, &to, &events);
    w->open = e == 0;
    if (e < 0)
        remember(run, t, 0, S("4.3.0"), S("this host has no memory for another connection now"));
    return e;
}

/* 4.3.x in our own words: this host is short of something, which says nothing of the other. */
static bool own_trouble(const struct push_run *run)
{
    return run->last.code == 0 && str_starts(buf_str(&run->last.status), S("4.3."));
}

static void connect_more(struct push_run *run);

/* 0 or negative: not even begun. */
static int send_message(struct push_run *run)
{
    struct push_job *j = run->job;
    run->state = RUN_SENDING;
    run->messages++;
    j->send = (struct smtp_send_message){
        .sender = j->job.sender,
        .envid = j->job.envid,
        .ret = (enum smtp_ret)MIN(j->job.ret, SMTP_RET_HDRS),
        .body = j->job.body ? SMTP_SEND_BODY_8BIT : SMTP_SEND_BODY_UNKNOWN,
        .smtputf8 = j->job.smtputf8,
        /* what a Unix socket takes does not leave this host (RFC 8689 1: relaying) */
        .requiretls = j->job.requiretls && !run->winner->target->local,
        .prefix = j->signature.n ? j->signature : j->job.prefix,
        .fd = j->job.fd,
        .offset = j->job.offset,
        .length = j->job.length,
        .rcpts = j->job.rcpts,
        .n = j->job.n,
    };
    return smtp_send_message(&run->winner->send, &j->send);
}

static void signed_or_not(struct push_sign *s, const struct push_sign_problem *problem)
{
    struct push_run *run = CONTAINER_OF(s, struct push_run, sign);
    if (problem) {
        remember(run, run->winner->target, 0, problem->status, problem->text);
        give_up(run, false, problem->outcome);
        return;
    }
    if (send_message(run) < 0) {
        remember(run, run->winner->target, 0, S("4.3.0"), S("the message could not be handed to the connection"));
        smtp_send_close(&run->winner->send);
        run->winner->open = false;
        run->winner = NULL;
        give_up(run, false, SMTP_DEFERRED);
    }
}

static void begin_message(struct push_run *run)
{
    run->state = RUN_SIGNING;
    run->sign.done = signed_or_not;
    push_sign_begin(&run->sign, run->push, run->job, smtp_send_caps(&run->winner->send)->eightbitmime);
}

static void up(struct smtp_send *s)
{
    struct racer *w = racer_of(s);
    struct push_run *run = w->run;
    run->born = loop_now(run->push->role->loop);
    loop_cancel(run->push->role->loop, &run->timer);
    for (size_t i = 0; i < RACERS; i++)
        if (&run->racer[i] != w && run->racer[i].open) {
            smtp_send_close(&run->racer[i].send);
            run->racer[i].open = false;
        }
    run->winner = w;
    run->push->connections++;
    run->push->tls += s->tls_text[0] != '\0';
    begin_message(run);
}

static void result(struct smtp_send *s, const struct smtp_client_result *r)
{
    struct push_job *j = racer_of(s)->run->job;
    job_result(&j->job, r->index, (uint8_t)r->outcome, r->reply.code, r->reply.status, r->reply.text);
    if (r->index < j->job.n)
        j->job.results[r->index].too_late = r->reply.stage >= SMTP_STAGE_CONTENT;
}

/* The peer had closed an idle connection, or says so now: no word on this message. */
static bool stale(const struct push_run *run)
{
    const struct push_job *j = run->job;
    if (run->messages < 2 || smtp_send_ready(&run->winner->send) || j->again)
        return false;
    for (uint32_t i = 0; i < j->job.n; i++) {
        const struct job_result *r = &j->job.results[i];
        if (r->outcome != SMTP_DEFERRED || r->too_late || (r->code != 0 && r->code != 421))
            return false;
    }
    return true;
}

static void plan_ready(struct push_plan *p);
static void begin_plan(struct push_run *run);

/* The connection went while the message was being signed: once more with a fresh one. */
static void lost_while_signing(struct push_run *run)
{
    push_sign_end(&run->sign);
    if (run->job->again) {
        give_up(run, !own_trouble(run), SMTP_DEFERRED);
        return;
    }
    run->job->again = true;
    push_plan_end(&run->plan);
    begin_plan(run);
}

static void begin_plan(struct push_run *run)
{
    struct push_job *j = run->job;
    const struct conf *c = run->push->role->config->conf;
    const struct route *route = route_by_name(&c->routes, j->job.route);
    str name, domain = STR_NONE;
    uint64_t seed = get_u64((const char *)j->job.session) ^ j->job.number;
    run->state = RUN_PLANNING;
    run->winner = NULL;
    run->messages = 0;
    run->next_target = run->group = 0;
    run->plan.done = plan_ready;
    if (j->job.via.n)
        route = push_route_via(&j->job.arena, j->job.via);
    else if (route && j->job.redirect.n)
        route = push_route_to(&j->job.arena, route, j->job.redirect);
    if (!route || (!j->job.via.n && !route_destination_parse(j->job.destination, &name, &domain))) {
        remember(run, NULL, 0, S("4.3.5"), j->job.via.n
                     ? S("the mechanism does not name a host or socket that mail could be sent to")
                     : S("the route of this message is no longer in the configuration"));
        give_up(run, false, SMTP_DEFERRED);
        return;
    }
    push_plan_begin(&run->plan, run->push, route, domain, seed);
}

/* All recipients of the message have their result. */
static void done(struct smtp_send *s)
{
    struct push_run *run = racer_of(s)->run;
    struct push_job *j = run->job;
    if (stale(run)) {
        memset(j->job.results, 0, j->job.n * sizeof(*j->job.results));
        j->again = true;
        run->winner->open = false;
        smtp_send_close(s);
        push_plan_end(&run->plan);
        begin_plan(run);
        return;
    }
    report(run);
}

static void down(struct smtp_send *s, const struct smtp_send_end *end)
{
    struct racer *w = racer_of(s);
    struct push_run *run = w->run;
    w->open = false;
    if (end->no_chunking)
        push_no_chunking_note(run->push, w->target);
    if (run->winner == w) { /* what it carried has its results */
        run->winner = NULL;
        if (run->state == RUN_IDLE) {
            end_run(run);
        } else if (run->state == RUN_SIGNING) {
            remember(run, w->target, end->reply.code, end->reply.status, end->reply.text);
            lost_while_signing(run);
        }
        return;
    }
    run->push->failed_connections++;
    remember(run, w->target, end->reply.code, end->reply.status, end->reply.text);
    if (!end->try_clear || open_target(run, w, w->target, true) < 0)
        connect_more(run);
}

static struct racer *free_racer(struct push_run *run)
{
    for (size_t i = 0; i < RACERS; i++)
        if (!run->racer[i].open)
            return &run->racer[i];
    return NULL;
}

static bool racing(const struct push_run *run) { return run->racer[0].open || run->racer[1].open; }

/* Starts the next address of this preference; the next preference only when none of this is under way or left. */
static void connect_more(struct push_run *run)
{
    const struct route_plan *plan = &run->plan.result;
    for (;;) {
        struct racer *w = free_racer(run);
        const struct route_target *t =
            run->next_target < plan->n_targets ? &plan->targets[run->next_target] : NULL;
        if (!w || (racing(run) && (!t || t->group != run->group)))
            return;
        if (!t) {
            give_up(run, !own_trouble(run), SMTP_DEFERRED);
            return;
        }
        run->group = t->group;
        run->next_target++;
        if (open_target(run, w, t, false) == 0) {
            loop_after(run->push->role->loop, &run->timer, PUSH_RACE_MS);
            return;
        }
    }
}

static void race(struct loop_timer *t) { connect_more(CONTAINER_OF(t, struct push_run, timer)); }

static void plan_ready(struct push_plan *p)
{
    struct push_run *run = CONTAINER_OF(p, struct push_run, plan);
    const struct route_plan *plan = &p->result;
    if (plan->action != ROUTE_GO) {
        remember(run, NULL, 0, plan->status, plan->text);
        give_up(run, plan->action == ROUTE_DEFER, plan->action == ROUTE_DEFER ? SMTP_DEFERRED : SMTP_FAILED);
        return;
    }
    push_tried_first(run->push, push_tried_by(run->push, run->job->job.message), &p->arena, &p->result);
    run->state = RUN_CONNECTING;
    run->timer.fire = race;
    connect_more(run);
}

static void give_job(struct push_run *run, struct push_job *j)
{
    run->job = j;
    j->run = run;
    if (run->winner)
        begin_message(run);
    else
        begin_plan(run);
}

static struct push_run *new_run(struct push *p, struct push_destination *d)
{
    struct push_run *run = calloc(1, sizeof(*run));
    if (!run)
        return NULL;
    run->push = p;
    run->destination = d;
    run->last.status = BUF(64);
    run->last.text = BUF(4096);
    run->last.mta = BUF(1024);
    run->next = d->runs;
    if (d->runs)
        d->runs->prev = run;
    d->runs = run;
    return run;
}

static bool usable(const struct push_run *run)
{
    return run->winner && !run->retired && run->plan.config == run->push->role->config &&
           loop_now(run->push->role->loop) - run->born < PUSH_LIFE_MS && smtp_send_ready(&run->winner->send);
}

/* A run at rest for the next job, that goes to who put it off before. *out_soon: how many will be there in a moment. */
static struct push_run *find_run(struct push_destination *d, const struct push_job *j, size_t *out_soon)
{
    *out_soon = 0;
    for (struct push_run *run = d->runs; run; run = run->next) {
        uint64_t tried = push_tried_by(run->push, j->job.message);
        if (tried && run->winner && push_tried_number(run->push, run->winner->target) != tried)
            continue;
        if (run->state == RUN_IDLE && usable(run))
            return run;
        *out_soon += run->state == RUN_REPORTED && usable(run);
    }
    return NULL;
}

static void assign(struct push *p, struct push_destination *d)
{
    size_t soon, waiting = 0;
    for (const struct push_job *j = d->waiting; j; j = j->next)
        waiting++;
    while (d->waiting) {
        struct push_run *run = find_run(d, d->waiting, &soon);
        if (!run && waiting <= soon)
            return;
        if (!run)
            run = new_run(p, d);
        if (!run)
            return; /* the next job or the end of one comes here again */
        struct push_job *j = d->waiting;
        d->waiting = j->next;
        if (!d->waiting)
            d->waiting_end = &d->waiting;
        j->next = NULL;
        waiting--;
        loop_cancel(p->role->loop, &run->timer);
        give_job(run, j);
    }
}

static struct push_destination *destination_of(struct push *p, const struct push_job *j)
{
    _cleanup_buf_ struct buf key = BUF(8192);
    buf_addf(&key, "%.*s %.*s", STR_ARG(j->job.destination), STR_ARG(j->job.redirect));
    struct push_destination *d = map_get(&p->destinations, buf_str(&key));
    if (d)
        return d;
    d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->waiting_end = &d->waiting;
    d->key = str_dupz(buf_str(&key));
    if (!d->key || key.failed || map_set(&p->destinations, buf_str(&key), d, NULL) < 0) {
        free(d->key);
        free(d);
        return NULL;
    }
    return d;
}

static str job_key(const uint64_t *id) { return str_of(id, sizeof(*id)); }

void push_job_take(struct push *p, struct push_job *j)
{
    struct push_destination *d = NULL;
    if (map_get(&p->jobs, job_key(&j->job.id))) { /* a store that forgot it had given this one */
        push_job_free(j);
        return;
    }
    if (map_set(&p->jobs, job_key(&j->job.id), j, NULL) < 0) { /* far more than the store gives out: it comes again */
        job_results(&j->job, SMTP_DEFERRED, 0, S("4.3.2"), S("role smtp-out has no room for more; it tries again"));
        push_job_report(p, j);
        push_job_free(j);
        return;
    }
    d = destination_of(p, j);
    if (!d || j->job.fd < 0) {
        job_results(&j->job, SMTP_DEFERRED, 0, S("4.3.2"), S("role smtp-out has no room for more; it tries again"));
        push_job_report(p, j);
        return;
    }
    *d->waiting_end = j;
    d->waiting_end = &j->next;
    assign(p, d);
}

/* What has rested long enough, or is not to be used again, takes its leave; down() ends the run. */
static void retire(struct push_run *run)
{
    run->retired = true;
    smtp_send_quit(&run->winner->send);
}

static void rest_over(struct loop_timer *t) { retire(CONTAINER_OF(t, struct push_run, timer)); }

static void rest(struct push_run *run)
{
    struct push *p = run->push;
    struct push_destination *d = run->destination;
    if (!run->winner) {
        assign(p, d);
        end_run(run);
        return;
    }
    run->state = RUN_IDLE;
    if (!usable(run)) {
        assign(p, d);
        retire(run);
        return;
    }
    run->timer.fire = rest_over;
    loop_after(p->role->loop, &run->timer, PUSH_IDLE_MS);
    assign(p, d);
}

void push_job_done(struct push *p, uint64_t id)
{
    struct push_job *j = map_get(&p->jobs, job_key(&id));
    if (!j || !j->reported)
        return;
    struct push_run *run = j->run;
    map_take(&p->jobs, job_key(&id));
    push_job_free(j);
    if (run) {
        run->job = NULL;
        rest(run);
    }
}

size_t push_runs_drain(struct push *p)
{
    struct push_destination *d;
    size_t sending = 0;
    for (size_t at = 0; (d = map_next(&p->destinations, &at, NULL));) {
        d->waiting = NULL;
        for (struct push_run *run = d->runs, *next; run; run = next) {
            next = run->next;
            if (run->state == RUN_SENDING)
                sending++;
            else if (run->state != RUN_REPORTED)
                end_run(run);
        }
    }
    return sending;
}

void push_runs_close(struct push *p)
{
    struct push_destination *d;
    struct push_job *j;
    for (size_t at = 0; (d = map_next(&p->destinations, &at, NULL));) {
        d->waiting = NULL;
        for (struct push_run *run = d->runs, *next; run; run = next) {
            next = run->next;
            end_run(run); /* the last one frees the destination */
        }
    }
    for (size_t at = 0; (j = map_next(&p->jobs, &at, NULL));) {
        map_take(&p->jobs, job_key(&j->job.id));
        push_job_free(j);
    }
}

size_t push_runs_count(const struct push *p)
{
    const struct push_destination *d;
    size_t n = 0;
    for (size_t at = 0; (d = map_next(&p->destinations, &at, NULL));)
        for (const struct push_run *run = d->runs; run; run = run->next)
            n++;
    return n;
}
