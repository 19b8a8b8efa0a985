/* Jobs of the store and their results, as frames: see job.h. */
#include "session/job.h"
#include <errno.h>
#include <unistd.h>

enum { TEXT_MAX = 2000, STATUS_MAX = 16, ATTACH_MAX = 40000 };

void job_end(struct job *j)
{
    if (j->fd >= 0)
        close(j->fd);
    arena_done(&j->arena);
    *j = (struct job){ .fd = -1 };
}

static str keep(struct arena *a, str s, bool *out_failed)
{
    str copy = arena_dup(a, s);
    *out_failed = *out_failed || !copy.p;
    return copy;
}

static int read_recipients(struct job *j, struct unpack *in, bool *out_failed)
{
    j->n = unpack_u32(in);
    if (in->bad || j->n == 0 || j->n > JOB_RECIPIENTS_MAX)
        return -EBADMSG;
    j->rcpts = ARENA_ARRAY(&j->arena, struct smtp_client_rcpt, j->n);
    j->index = ARENA_ARRAY(&j->arena, uint32_t, j->n);
    j->original = ARENA_ARRAY(&j->arena, str, j->n);
    j->results = ARENA_ARRAY(&j->arena, struct job_result, j->n);
    if (!j->rcpts || !j->index || !j->original || !j->results)
        return -ENOMEM;
    for (uint32_t i = 0; i < j->n && !in->bad; i++) {
        j->index[i] = unpack_u32(in);
        j->rcpts[i].address = keep(&j->arena, unpack_str(in), out_failed);
        j->rcpts[i].orcpt = keep(&j->arena, unpack_str(in), out_failed);
        j->rcpts[i].notify = unpack_u8(in);
        j->original[i] = keep(&j->arena, unpack_str(in), out_failed);
    }
    return unpack_end(in) ? 0 : -EBADMSG;
}

static void read_client(struct job *j, struct unpack *in, bool *out_failed)
{
    j->received_us = unpack_u64(in);
    j->client_address = keep(&j->arena, unpack_str(in), out_failed);
    j->client_name = keep(&j->arena, unpack_str(in), out_failed);
    j->client_helo = keep(&j->arena, unpack_str(in), out_failed);
    j->client_protocol = keep(&j->arena, unpack_str(in), out_failed);
    j->sasl_user = keep(&j->arena, unpack_str(in), out_failed);
}

static int read_fields(struct job *j, struct unpack *in)
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
    j->via = keep(a, unpack_str(in), &failed);
    j->user = keep(a, unpack_str(in), &failed);
    read_client(j, in, &failed);
    if (in->bad || session.n != sizeof(j->session))
        return -EBADMSG;
    memcpy(j->session, session.p, session.n);
    int r = read_recipients(j, in, &failed);
    return r < 0 ? r : failed ? -ENOMEM : 0;
}

int job_read(struct ipc_frame *f, struct job *out)
{
    *out = (struct job){ .arena = ARENA(JOB_MEMORY), .fd = -1 };
    int r = read_fields(out, &f->in);
    out->fd = TAKE_FD(f->fd);
    if (r == 0 && out->fd < 0 && !f->fd_lost)
        r = -EBADMSG;
    if (r < 0)
        job_end(out);
    return r;
}

/* How much of each reply goes into the one frame that tells of all recipients. */
static size_t text_max(const struct job *j)
{
    enum { OF_THE_JOB = 1024, OF_A_RECIPIENT = 4 + 1 + 2 + 4 + STATUS_MAX + 4 };
    return MIN((size_t)TEXT_MAX, (size_t)(IPC_FRAME_MAX - OF_THE_JOB) / j->n - OF_A_RECIPIENT);
}

void job_result(struct job *j, uint32_t i, uint8_t outcome, uint16_t code, str status, str text)
{
    if (i >= j->n || j->results[i].known)
        return;
    str kept = arena_dup(&j->arena, str_first(text, text_max(j)));
    j->results[i] = (struct job_result){ .known = true, .outcome = outcome, .code = code,
                                         .status = arena_dup(&j->arena, str_first(status, STATUS_MAX)),
                                         .text = kept.p ? kept : S("(no memory for the reply)") };
}

void job_results(struct job *j, uint8_t outcome, uint16_t code, str status, str text)
{
    for (uint32_t i = 0; i < j->n; i++)
        job_result(j, i, outcome, code, status, text);
}

void job_report(struct ipc_link *store, const struct job *j)
{
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
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
        const struct job_result *r = &j->results[i];
        pack_u32(&b, j->index[i]);
        pack_u8(&b, r->outcome);
        pack_u16(&b, r->code);
        pack_str(&b, r->status);
        pack_str(&b, r->text);
    }
    ipc_send(store, IPC_JOB_RESULT, &b, -1);
}

static void attach(struct job_attach *a, bool last)
{
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    pack_u8(&b, last);
    pack_u32(&b, a->n);
    buf_add(&b, buf_str(&a->jobs));
    ipc_send(a->store, IPC_JOB_ATTACH, &b, -1);
    buf_clear(&a->jobs);
    a->n = 0;
}

void job_attach_begin(struct job_attach *a, struct ipc_link *store)
{
    *a = (struct job_attach){ .store = store, .jobs = BUF(IPC_FRAME_MAX) };
}

void job_attach_add(struct job_attach *a, const struct job *j)
{
    if (a->jobs.n > ATTACH_MAX)
        attach(a, false);
    pack_u64(&a->jobs, j->id);
    pack_u64(&a->jobs, j->message);
    pack_u32(&a->jobs, j->n);
    for (uint32_t i = 0; i < j->n; i++)
        pack_u32(&a->jobs, j->index[i]);
    a->n++;
}

void job_attach_end(struct job_attach *a)
{
    attach(a, true);
    buf_done(&a->jobs);
}
