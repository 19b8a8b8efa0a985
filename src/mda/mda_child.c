/* Children of role mda: see mda_job.h. A child counts as gone when its link is closed and it has been waited for, in
 * any order: what it wrote before its end is still read. All this is looked at once a turn, so no callback frees
 * anything. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "mda/mda_job.h"

/* A worker has so many jobs at a time; another for the same user is started, up to so many, when it has been silent
 * with jobs at hand for LATE_MS (a lock, a slow disk). */
enum { WORKER_JOBS = 128, OF_ONE_USER = 4, ONE_USERS_SHARE = 2, LATE_MS = 300, IDLE_MS = 60000, PATIENCE_MS = 10000 };

void mda_jobs_add(struct mda_jobs *l, struct mda_job *j)
{
    j->next = NULL;
    j->prev = l->last;
    *(l->last ? &l->last->next : &l->first) = j;
    l->last = j;
    l->n++;
}

void mda_jobs_take(struct mda_jobs *l, struct mda_job *j)
{
    *(j->prev ? &j->prev->next : &l->first) = j->next;
    *(j->next ? &j->next->prev : &l->last) = j->prev;
    j->prev = j->next = NULL;
    l->n--;
}

static void close_child(struct mda_child *c)
{
    c->closing = true;
    ipc_close(&c->link);
    loop_after(c->mda->role->loop, &c->timer, PATIENCE_MS);
}

/* Idle too long; or its link is closed and it does not end. */
static void timer_fire(struct loop_timer *t)
{
    struct mda_child *c = CONTAINER_OF(t, struct mda_child, timer);
    if (c->link.open && !c->jobs.n)
        close_child(c);
    else if (!c->link.open && c->pid > 0)
        kill(c->pid, SIGKILL);
}

static struct mda_job *find_job(struct mda_child *c, uint64_t id)
{
    for (struct mda_job *j = c->jobs.first; j; j = j->next)
        if (j->job.id == id)
            return j;
    return NULL;
}

static void settle(struct mda_child *c, struct mda_job *j, const struct mda_result *r)
{
    mda_jobs_take(&c->jobs, j);
    j->child = NULL;
    c->heard = loop_now(c->mda->role->loop);
    mda_job_result(c->mda, j, r);
}

/* A child is the user, who may do with his process what he likes: it is believed for its own jobs alone. */
static int frame(struct ipc_link *link, struct ipc_frame *f)
{
    struct mda_child *c = CONTAINER_OF(link, struct mda_child, link);
    struct mda_result r;
    uint64_t id;
    if (f->type != IPC_MDA_ANSWER || mda_answer_unpack(&f->in, &id, &r) < 0)
        return -EBADMSG;
    struct mda_job *j = find_job(c, id);
    if (!j)
        return -EBADMSG;
    settle(c, j, &r);
    if (!c->jobs.n && !c->runner)
        loop_after(c->mda->role->loop, &c->timer, IDLE_MS);
    return 0;
}

static void end_ready(struct loop_io *io, uint32_t events)
{
    struct mda_child *c = CONTAINER_OF(io, struct mda_child, end);
    (void)events;
    if (c->pid > 0 && waitpid(c->pid, &c->status, WNOHANG) == c->pid) {
        c->pid = 0;
        loop_unwatch(c->mda->role->loop, io);
    }
}

static void start_in_child(struct mda *m, const struct mda_account *a, bool runner, int link)
{
    static struct mda_child_config c;
    const struct conf *conf = m->role->config->conf;
    c = (struct mda_child_config){ .rights = m->rights,
                                   .account = a,
                                   .runner = runner,
                                   .best_effort = str_eq(conf->sandbox, S("best-effort")),
                                   .command_timeout_ms = conf->mda_command_timeout,
                                   .output_max = (size_t)conf->mda_output_max,
                                   .delimiter = conf->recipient_delimiter,
                                   .drop = m->role->drop_dir };
    mda_child_run(&c, link);
}

/* NULL: not possible now. */
static struct mda_child *start_child(struct mda *m, const struct mda_account *a, bool runner)
{
    int fd[2];
    struct mda_child *c = calloc(1, sizeof(*c));
    if (!c || ipc_pair(fd) < 0) {
        free(c);
        return NULL;
    }
    *c = (struct mda_child){ .mda = m, .uid = a->user.uid, .runner = runner, .end = { .fd = -1, .ready = end_ready },
                             .timer.fire = timer_fire, .link.frame = frame, .heard = loop_now(m->role->loop) };
    events_flush(&m->role->events);
    c->pid = fork();
    if (c->pid == 0)
        start_in_child(m, a, runner, fd[1]);
    close(fd[1]);
    if (c->pid < 0) {
        close(fd[0]);
        free(c);
        return NULL;
    }
    c->end.fd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    if (ipc_open(&c->link, m->role->loop, fd[0], ROLE_MDA, ROLE_MDA) < 0 || c->end.fd < 0 ||
        loop_watch(m->role->loop, &c->end, EPOLLIN) < 0) {
        ipc_close(&c->link);
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
        cleanup_close(&c->end.fd);
        free(c);
        return NULL;
    }
    c->next = m->children;
    m->children = c;
    *(runner ? &m->runners : &m->workers) += 1;
    *(runner ? &m->runners_started : &m->workers_started) += 1;
    return c;
}

/* How much it has to do counts, and whether it seems to be stuck. *out_n: how many there are. */
static struct mda_child *best_worker(struct mda *m, uint32_t uid, size_t *out_n)
{
    struct mda_child *best = NULL;
    *out_n = 0;
    for (struct mda_child *c = m->children; c; c = c->next) {
        if (c->runner || c->closing || !c->link.open || c->uid != uid)
            continue;
        ++*out_n;
        if (!best || c->jobs.n < best->jobs.n)
            best = c;
    }
    return best;
}

/* Makes room for one more. */
static void close_an_idle_one(struct mda *m)
{
    for (struct mda_child *c = m->children; c; c = c->next)
        if (!c->runner && !c->closing && c->link.open && !c->jobs.n) {
            close_child(c);
            return;
        }
}

static struct mda_child *worker_for(struct mda *m, const struct mda_account *a)
{
    size_t n;
    struct mda_child *c = best_worker(m, a->user.uid, &n);
    bool late = c && c->jobs.n && loop_now(m->role->loop) - c->heard > LATE_MS;
    if (c && !(late && n < OF_ONE_USER))
        return c->jobs.n < WORKER_JOBS ? c : NULL;
    if (m->workers >= m->role->config->conf->mda_workers_max) {
        if (!c)
            close_an_idle_one(m);
        return c && c->jobs.n < WORKER_JOBS ? c : NULL;
    }
    return start_child(m, a, false);
}

static void give(struct mda_child *c, struct mda_jobs *from, struct mda_job *j)
{
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    struct loop *loop = c->mda->role->loop;
    mda_jobs_take(from, j);
    j->waiting = false;
    if (!c->jobs.n)
        c->heard = loop_now(loop);
    if (!c->closing)
        loop_cancel(loop, &c->timer);
    mda_jobs_add(&c->jobs, j);
    j->child = c;
    mda_order_pack(&b, j);
    ipc_send(&c->link, IPC_MDA_ORDER, &b, j->job.fd); /* a link that breaks is seen to by bury() */
    close(TAKE_FD(j->job.fd));
}

static size_t runners_of(const struct mda *m, uint32_t uid)
{
    size_t n = 0;
    for (const struct mda_child *c = m->children; c; c = c->next)
        n += c->runner && c->uid == uid;
    return n;
}

/* Of the commands at a time one user may have a part: one whose commands hang keeps nobody else's waiting. */
static void give_out(struct mda *m)
{
    for (struct mda_job *j = m->files.first, *next; j; j = next) {
        next = j->next;
        struct mda_child *c = worker_for(m, &j->account);
        if (c)
            give(c, &m->files, j);
    }
    const size_t most = m->role->config->conf->mda_commands_max;
    for (struct mda_job *j = m->runs.first, *next; j && m->runners < most; j = next) {
        next = j->next;
        if (runners_of(m, j->account.user.uid) >= MAX(most / ONE_USERS_SHARE, (size_t)1))
            continue;
        struct mda_child *c = start_child(m, &j->account, true);
        if (!c)
            break;
        give(c, &m->runs, j);
    }
}

static void say_why(const struct mda_child *c, struct mda_result *r)
{
    if (c->pid == 0 && WIFEXITED(c->status) && WEXITSTATUS(c->status) == MDA_CHILD_WRONG_USER)
        mda_result_set(r, MDA_DEFERRED, 451, "4.3.5", "the process that delivers could not become the user");
    else if (c->pid == 0 && WIFEXITED(c->status) && WEXITSTATUS(c->status) == MDA_CHILD_NO_SANDBOX)
        mda_result_set(r, MDA_DEFERRED, 451, "4.3.5", "the process that delivers could not close its sandbox");
    else if (c->pid == 0 && WIFSIGNALED(c->status))
        mda_result_set(r, MDA_DEFERRED, 451, "4.3.0", "the process that delivers was ended by signal %d",
                       WTERMSIG(c->status));
    else
        mda_result_set(r, MDA_DEFERRED, 451, "4.3.0", "the process that delivers has ended");
}

static void complain(const struct mda_child *c)
{
    struct buf *e = events_begin(&c->mda->role->events, EVENT_WARN, "delivery_process_died");
    event_u64(e, "uid", c->uid);
    event_u64(e, "jobs", c->jobs.n);
    event_u64(e, "signal", WIFSIGNALED(c->status) ? (uint64_t)WTERMSIG(c->status) : 0);
    event_u64(e, "status", WIFEXITED(c->status) ? (uint64_t)WEXITSTATUS(c->status) : 0);
    events_end(&c->mda->role->events);
}

/* Gone: what it had at hand waits for another time. */
static void bury(struct mda *m, struct mda_child **at)
{
    struct mda_child *c = *at;
    struct mda_result r;
    say_why(c, &r);
    if (c->jobs.n) {
        m->workers_died++;
        complain(c);
    }
    while (c->jobs.first)
        settle(c, c->jobs.first, &r);
    *at = c->next;
    *(c->runner ? &m->runners : &m->workers) -= 1;
    loop_cancel(m->role->loop, &c->timer);
    close(c->end.fd);
    free(c);
}

void mda_children_turn(struct mda *m)
{
    for (struct mda_child **at = &m->children; *at;) {
        struct mda_child *c = *at;
        if (!c->link.open && c->pid == 0) {
            bury(m, at);
            continue;
        }
        if (!c->link.open && !c->closing) /* it hung up, or said what it must not */
            close_child(c);
        at = &c->next;
    }
    if (!m->role->stopping && m->role->config)
        give_out(m);
}

void mda_children_stop(struct mda *m, bool now, bool kill_all)
{
    for (struct mda_child *c = m->children; c; c = c->next) {
        if (c->link.open && !c->jobs.n)
            close_child(c);
        if (c->link.open && now && c->runner && !c->ending) {
            c->ending = true; /* it sees the end, stops its command, and still says what has become of the message */
            shutdown(c->link.io.fd, SHUT_WR);
        }
        if (kill_all && c->pid > 0)
            kill(c->pid, SIGKILL);
    }
}
