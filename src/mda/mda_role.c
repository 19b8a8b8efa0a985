/* Role mda: see mda_role.h and mda_job.h. */
#include "mda/mda_role.h"
#include <errno.h>
#include <sys/prctl.h>
#include "mda/mda_job.h"

enum { JOBS_MAX = 100000 };
/* The end: files are written out, commands get a moment and are then told to stop; the master waits ten seconds. */
enum { COMMANDS_MS = 1500, KILL_MS = 6000, GIVE_UP_MS = 7000, STEP_MS = 20 };

static struct mda *self(struct role *r) { return r->self; }

static str key_of(uint64_t *id) { return str_of(id, sizeof(*id)); }

static void free_job(struct mda_job *j)
{
    mda_account_done(&j->account);
    job_end(&j->job);
    free(j);
}

static void report(struct mda *m, const struct mda_job *j)
{
    job_report(role_peer(m->role, ROLE_STORE), &j->job);
}

void mda_job_result(struct mda *m, struct mda_job *j, const struct mda_result *result)
{
    uint8_t outcome = result->outcome == MDA_DELIVERED ? JOB_RELAYED :
                      result->outcome == MDA_DEFERRED  ? JOB_DEFERRED : JOB_FAILED;
    m->delivered += result->outcome == MDA_DELIVERED;
    m->deferred += result->outcome == MDA_DEFERRED;
    m->failed += result->outcome == MDA_FAILED;
    job_results(&j->job, outcome, result->code, str_z(result->status), str_z(result->text));
    j->reported = true;
    report(m, j);
}

/* What the mechanism asks for: a worker, a runner, or an answer at once. */
static void place(struct mda *m, struct mda_job *j)
{
    struct mda_result r = { 0 };
    const char *why = "";
    str list = j->job.via, first = mechanism_next(&list);
    if (j->job.n != 1 || j->job.fd < 0)
        mda_result_set(&r, MDA_DEFERRED, 451, "4.3.0", "%s", j->job.fd < 0 ? "no descriptor was left for the message" :
                                                             "a job of role mda has one recipient");
    else if (!mechanism_parse(first, &j->mechanism, &why) || !mechanism_is_local(j->mechanism.kind))
        mda_result_set(&r, MDA_DEFERRED, 451, "4.3.5", "the mechanism is not right: %s",
                       *why ? why : "role mda does not do it");
    else if (mda_account_find(&m->rights, j->job.user, &j->account, &r) == 0) {
        bool runs = j->mechanism.kind == MECHANISM_COMMAND || j->mechanism.kind == MECHANISM_FORWARD;
        j->waiting = true;
        mda_jobs_add(runs ? &m->runs : &m->files, j);
        return;
    }
    mda_job_result(m, j, &r);
}

static int take_job(struct mda *m, struct ipc_frame *f)
{
    struct mda_job *j = calloc(1, sizeof(*j));
    if (!j)
        return -ENOMEM;
    int r = job_read(f, &j->job);
    bool known = r == 0 && map_get(&m->jobs, key_of(&j->job.id)); /* it is at work, or its result is on the way */
    if (r == 0 && !known)
        r = map_set(&m->jobs, key_of(&j->job.id), j, NULL);
    if (r < 0 || known) {
        job_end(&j->job);
        free(j);
        return r;
    }
    place(m, j);
    return 0;
}

static int job_done(struct mda *m, struct ipc_frame *f)
{
    uint64_t id = unpack_u64(&f->in);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    struct mda_job *j = map_get(&m->jobs, key_of(&id));
    if (j && j->reported) {
        map_take(&m->jobs, key_of(&id));
        free_job(j);
    }
    return 0;
}

static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    (void)peer; /* messages.def has seen to it that only the store says this */
    if (f->type == IPC_JOB)
        return take_job(self(r), f);
    return f->type == IPC_JOB_DONE ? job_done(self(r), f) : -EBADMSG;
}

/* First on each link: what is at work, and what has come of it. */
static void attach(struct mda *m)
{
    struct job_attach a;
    struct mda_job *j;
    job_attach_begin(&a, role_peer(m->role, ROLE_STORE));
    for (size_t at = 0; (j = map_next(&m->jobs, &at, NULL));)
        job_attach_add(&a, &j->job);
    job_attach_end(&a);
    for (size_t at = 0; (j = map_next(&m->jobs, &at, NULL));)
        if (j->reported)
            report(m, j);
}

static void peer_up(struct role *r, enum role_id peer)
{
    if (peer == ROLE_STORE)
        attach(self(r));
}

static void turn_end(struct loop_turn *t)
{
    mda_children_turn(CONTAINER_OF(t, struct mda, turn));
}

static int configure(struct role *r)
{
    struct mda *m = self(r);
    m->role = r;
    m->rights.min_uid = r->config->conf->mda_min_uid;
    m->rights.standard = r->config->conf->mda_user;
    return 0;
}

static int start(struct role *r)
{
    struct mda *m = self(r);
    uint8_t key[16];
    prctl(PR_SET_DUMPABLE, 0);
    struct mda_rights read;
    mda_rights_read(&read);
    m->rights.own = read.own;
    m->rights.switches = read.switches;
    r->env->random(key, sizeof(key));
    map_init(&m->jobs, JOBS_MAX, key);
    m->turn.end = turn_end;
    loop_at_turn_end(r->loop, &m->turn);
    if (role_peer(r, ROLE_STORE)->open)
        attach(m);
    return 0;
}

static void status(struct role *r, struct buf *out)
{
    const struct mda *m = self(r);
    event_u64(out, "jobs", m->jobs.n);
    event_u64(out, "delivery_workers", m->workers);
    event_u64(out, "delivery_commands", m->runners);
    event_u64(out, "other_users", m->rights.switches);
    event_u64(out, "delivered", m->delivered);
    event_u64(out, "deferred", m->deferred);
    event_u64(out, "failed", m->failed);
    event_u64(out, "workers_started", m->workers_started);
    event_u64(out, "commands_started", m->runners_started);
    event_u64(out, "workers_died", m->workers_died);
}

static void still_there(struct loop_timer *t)
{
    struct mda *m = CONTAINER_OF(t, struct mda, patience);
    uint64_t since = loop_now(m->role->loop) - m->stop_at;
    mda_children_stop(m, since >= COMMANDS_MS, since >= KILL_MS);
    if (!m->children || since >= GIVE_UP_MS)
        loop_stop(m->role->loop);
    else
        loop_after(m->role->loop, t, STEP_MS);
}

/* What has not begun is given out again after the next start. */
static void stop(struct role *r)
{
    struct mda *m = self(r);
    m->patience.fire = still_there;
    m->stop_at = loop_now(r->loop);
    still_there(&m->patience);
}

static const struct role_ops ops = { .id = ROLE_MDA, .unconfined = true, .start = start, .configure = configure,
                                     .frame = frame, .peer_up = peer_up, .status = status, .stop = stop };

int mda_role_run(void)
{
    static struct mda m;
    return role_run(&ops, &m);
}
