/* Jobs of the store and their results, as frames (io/messages.def). */
#include <errno.h>
#include "mta/push.h"

enum { TEXT_MAX = 2000, STATUS_MAX = 16, ATTACH_MAX = 40000 };

void push_job_free(struct push_job *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    arena_done(&j->arena);
    free(j);
}

static str keep(struct arena *a, str s, bool *out_failed)
{
    str copy = arena_dup(a, s);
    *out_failed = *out_failed || !copy.p;
    return copy;
}

static int read_recipients(struct push_job *j, struct unpack *in, bool *out_failed)
{
    j->n = unpack_u32(in);
    if (in->bad || j->n == 0 || j->n > PUSH_RECIPIENTS_MAX)
        return -EBADMSG;
    j->rcpts = ARENA_ARRAY(&j->arena, struct smtp_client_rcpt, j->n);
    j->index = ARENA_ARRAY(&j->arena, uint32_t, j->n);
    j->results = ARENA_ARRAY(&j->arena, struct push_result, j->n);
    if (!j->rcpts || !j->index || !j->results)
        return -ENOMEM;
    for (uint32_t i = 0; i < j->n && !in->bad; i++) {
        j->index[i] = unpack_u32(in);
        j->rcpts[i].address = keep(&j->arena, unpack_str(in), out_failed);
        j->rcpts[i].orcpt = keep(&j->arena, unpack_str(in), out_failed);
        j->rcpts[i].notify = unpack_u8(in);
    }
    return unpack_end(in) ? 0 : -EBADMSG;
}

static int read_fields(struct push_job *j, struct unpack *in)
{
    bool failed = false;
    struct arena *a = &j->arena;
    j->id = unpack_u64(in);
    j->message = unpack_u64(in);
    str session = unpack_str(in);
    j->number = unpack_u32(in);
    j->attempt = unpack_u32(in);
    j->route = keep(a, unpack_str(in), &failed);
    j->destination = keep(a, unpack_str(in), &failed);
    j->redirect = keep(a, unpack_str(in), &failed);
    j->offset = unpack_u64(in);
    j->length = unpack_u64(in);
    j->prefix = keep(a, unpack_str(in), &failed);
    j->sender = keep(a, unpack_str(in), &failed);
    j->envid = keep(a, unpack_str(in), &failed);
    j->ret = unpack_u8(in);
    j->body = unpack_u8(in);
    j->smtputf8 = unpack_u8(in);
    j->requiretls = unpack_u8(in);
    if (in->bad || session.n != sizeof(j->session))
        return -EBADMSG;
    memcpy(j->session, session.p, session.n);
    int r = read_recipients(j, in, &failed);
    return r < 0 ? r : failed ? -ENOMEM : 0;
}

struct push_job *push_job_read(struct ipc_frame *f, int *out_error)
{
    struct push_job *j = calloc(1, sizeof(*j));
    *out_error = -ENOMEM;
    if (!j)
        return NULL;
    *j = (struct push_job){ .arena = ARENA(PUSH_JOB_MEMORY), .fd = -1 };
    *out_error = read_fields(j, &f->in);
    j->fd = TAKE_FD(f->fd);
    if (*out_error == 0 && j->fd < 0 && !f->fd_lost)
        *out_error = -EBADMSG;
    if (*out_error == 0)
        return j;
    push_job_free(j);
    return NULL;
}

/* How much of each reply goes into the one frame that tells of all recipients. */
static size_t text_max(const struct push_job *j)
{
    enum { OF_THE_JOB = 1024, OF_A_RECIPIENT = 4 + 1 + 2 + 4 + STATUS_MAX + 4 };
    return MIN((size_t)TEXT_MAX, (size_t)(IPC_FRAME_MAX - OF_THE_JOB) / j->n - OF_A_RECIPIENT);
}

void push_job_result(struct push_job *j, uint32_t i, uint8_t outcome, uint16_t code, str status, str text)
{
    if (i >= j->n || j->results[i].known)
        return;
    str kept = arena_dup(&j->arena, str_first(text, text_max(j)));
    j->results[i] = (struct push_result){ .known = true, .outcome = outcome, .code = code,
                                          .status = arena_dup(&j->arena, str_first(status, STATUS_MAX)),
                                          .text = kept.p ? kept : S("(no memory for the reply)") };
}

void push_job_results(struct push_job *j, uint8_t outcome, uint16_t code, str status, str text)
{
    for (uint32_t i = 0; i < j->n; i++)
        push_job_result(j, i, outcome, code, status, text);
}

static void count(struct push *p, const struct push_job *j)
{
    for (uint32_t i = 0; i < j->n; i++) {
        p->relayed += j->results[i].outcome <= SMTP_RELAYED_NO_DSN;
        p->deferred += j->results[i].outcome == SMTP_DEFERRED;
        p->failed += j->results[i].outcome == SMTP_FAILED;
    }
}

void push_job_report(struct push *p, struct push_job *j)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    if (!j->reported)
        count(p, j);
    j->reported = true;
    pack_u64(&b, j->id);
    pack_u8(&b, j->how.site_failed);
    pack_str(&b, j->how.mta);
    pack_str(&b, j->how.tls);
    pack_u32(&b, j->how.connect_ms);
    pack_u32(&b, j->how.tls_ms);
    pack_u32(&b, j->how.transfer_ms);
    pack_u8(&b, j->how.reused);
    pack_u32(&b, j->n);
    for (uint32_t i = 0; i < j->n; i++) {
        const struct push_result *r = &j->results[i];
        pack_u32(&b, j->index[i]);
        pack_u8(&b, r->outcome);
        pack_u16(&b, r->code);
        pack_str(&b, r->status);
        pack_str(&b, r->text);
    }
    ipc_send(role_peer(p->role, ROLE_STORE), IPC_JOB_RESULT, &b, -1);
    buf_done(&b);
}

static void attach(struct push *p, struct buf *jobs, uint32_t n, bool last)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u8(&b, last);
    pack_u32(&b, n);
    buf_add(&b, buf_str(jobs));
    ipc_send(role_peer(p->role, ROLE_STORE), IPC_JOB_ATTACH, &b, -1);
    buf_done(&b);
    buf_clear(jobs);
}

void push_jobs_attach(struct push *p)
{
    struct buf jobs = BUF(IPC_FRAME_MAX);
    struct push_job *j;
    uint32_t n = 0;
    for (size_t at = 0; (j = map_next(&p->jobs, &at, NULL)); n++) {
        if (jobs.n > ATTACH_MAX) {
            attach(p, &jobs, n, false);
            n = 0;
        }
        pack_u64(&jobs, j->id);
        pack_u64(&jobs, j->message);
        pack_u32(&jobs, j->n);
        for (uint32_t i = 0; i < j->n; i++)
            pack_u32(&jobs, j->index[i]);
    }
    attach(p, &jobs, n, true);
    buf_done(&jobs);
    for (size_t at = 0; (j = map_next(&p->jobs, &at, NULL));)
        if (j->reported)
            push_job_report(p, j);
}
