/* The children of role mda: see mda_worker.h. They are forks of the dispatcher, so the first thing each does is to
 * close what it has inherited and to become its user. */
#include "mda/mda_worker.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "mda/batch.h"

enum { LINK_FD = 3, DROP_FD = 4, STDOUT_FD = 1, LOCK_WAIT_MS = 5000 };

struct order_at_hand { /* of a worker: its message, kept until its batch is finished */
    struct arena arena;
    uint64_t job;
    struct mda_message message;
    struct mechanism mechanism;
    struct mda_result result;
    struct order_at_hand *next;
};

struct child {
    const struct mda_child_config *config;
    struct loop *loop;
    struct ipc_link link;
    struct loop_turn turn;
    struct order_at_hand *first, **last;
    struct mda_batch *batch;
};

static void answer(struct child *c, uint64_t job, const struct mda_result *r)
{
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    mda_answer_pack(&b, job, r);
    ipc_send(&c->link, IPC_MDA_ANSWER, &b, -1);
}

static void refuse(struct child *c, uint64_t job, const char *why)
{
    struct mda_result r;
    mda_result_set(&r, MDA_DEFERRED, 451, "4.3.0", "%s", why);
    answer(c, job, &r);
}

static void keep(struct arena *a, str *s, bool *failed)
{
    *s = arena_dup(a, *s);
    *failed = *failed || !s->p;
}

static bool keep_message(struct arena *a, struct mda_message *m, str *via)
{
    str *const all[] = { &m->prefix, &m->sender, &m->recipient, &m->original, &m->session, &m->envid, via };
    bool failed = false;
    m->client_address = m->client_name = m->client_helo = m->client_protocol = m->sasl_user = STR_NONE;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        keep(a, all[i], &failed);
    return !failed;
}

/* A worker takes what is at hand; the turn's end delivers it. */
static int take(struct child *c, struct mda_order *o, int fd)
{
    struct order_at_hand *h = calloc(1, sizeof(*h));
    const char *why = "";
    if (!h)
        return -ENOMEM;
    h->arena = ARENA(2 * IPC_FRAME_MAX);
    h->job = o->job;
    h->message = o->message;
    bool kept = keep_message(&h->arena, &h->message, &o->via);
    if (!kept || !mechanism_parse(o->via, &h->mechanism, &why)) {
        refuse(c, o->job, kept ? why : "no memory");
        arena_done(&h->arena);
        free(h);
        return 0;
    }
    h->message.fd = fcntl(fd, F_DUPFD_CLOEXEC, LINK_FD);
    mda_batch_add(c->batch, &h->message, &h->mechanism, &h->result);
    *c->last = h;
    c->last = &h->next;
    return 0;
}

static void turn_end(struct loop_turn *t)
{
    struct child *c = CONTAINER_OF(t, struct child, turn);
    if (!c->first)
        return;
    mda_batch_finish(c->batch);
    while (c->first) {
        struct order_at_hand *h = c->first;
        c->first = h->next;
        answer(c, h->job, &h->result);
        if (h->message.fd >= 0)
            close(h->message.fd);
        arena_done(&h->arena);
        free(h);
    }
    c->last = &c->first;
}

static int frame(struct ipc_link *link, struct ipc_frame *f)
{
    struct child *c = CONTAINER_OF(link, struct child, link);
    struct mda_order o;
    if (f->type != IPC_MDA_ORDER || mda_order_unpack(&f->in, &o) < 0)
        return -EBADMSG;
    if (f->fd < 0) {
        refuse(c, o.job, "no descriptor was left for the message");
        return 0;
    }
    if (!c->config->runner)
        return take(c, &o, f->fd);
    struct mda_result r;
    o.message.fd = f->fd;
    mda_run_order(c->config, &o.message, o.via, link->io.fd, &r);
    answer(c, o.job, &r);
    loop_stop(c->loop);
    return 0;
}

static void down(struct ipc_link *link)
{
    loop_stop(CONTAINER_OF(link, struct child, link)->loop);
}

/* Nothing but the standard descriptors, the link, and the drop or none. */
static int keep_only(int link, int drop)
{
    int high_link = fcntl(link, F_DUPFD_CLOEXEC, DROP_FD + 1), high_drop = -1;
    if (drop >= 0)
        high_drop = fcntl(drop, F_DUPFD_CLOEXEC, DROP_FD + 1);
    if (high_link < 0 || dup3(high_link, LINK_FD, O_CLOEXEC) < 0)
        return -errno;
    bool has_drop = high_drop >= 0 && dup3(high_drop, DROP_FD, O_CLOEXEC) == DROP_FD;
    return syscall(SYS_close_range, has_drop ? DROP_FD + 1u : DROP_FD, ~0u, 0u) < 0 ? -errno : has_drop;
}

static int close_sandbox(const struct mda_child_config *c)
{
    struct sandbox sandbox;
    struct sandbox_want want = { .role = ROLE_MDA, .trace_dir = -1, .best_effort = c->best_effort,
                                 .data_dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) };
    int r = want.data_dir < 0 ? -errno : sandbox_enter(&want, &sandbox);
    cleanup_close(&want.data_dir);
    return r;
}

static int run(struct child *c)
{
    c->last = &c->first;
    c->link.frame = frame;
    c->link.down = down;
    c->turn.end = turn_end;
    loop_at_turn_end(c->loop, &c->turn);
    if (ipc_open(&c->link, c->loop, LINK_FD, ROLE_MDA, ROLE_MDA) < 0)
        return 1;
    return loop_run(c->loop) < 0;
}

_Noreturn void mda_child_run(const struct mda_child_config *config, int link)
{
    static struct mda_child_config own;
    static struct child c;
    own = *config;
    c.config = &own;
    prctl(PR_SET_NAME, own.runner ? "ph-mda-run" : "ph-mda-file");
    prctl(PR_SET_PDEATHSIG, 0); /* it ends when its link does, behind the message at hand */
    int has_drop = keep_only(link, own.runner ? own.drop : -1);
    own.drop = has_drop > 0 ? DROP_FD : -1;
    if (has_drop < 0 || mda_account_become(&own.rights, own.account) < 0)
        _exit(MDA_CHILD_WRONG_USER);
    prctl(PR_SET_DUMPABLE, 0); /* the memory holds the names of others */
    umask(077);
    struct mda_batch_config batch = { .user = &own.account->user, .lock_wait_ms = LOCK_WAIT_MS,
                                      .stdout_fd = STDOUT_FD };
    if (loop_new(&env_system, &c.loop) < 0 || (!own.runner && mda_batch_new(&batch, &c.batch) < 0))
        _exit(1);
    if (!own.runner && close_sandbox(&own) < 0)
        _exit(MDA_CHILD_NO_SANDBOX);
    _exit(run(&c));
}
