/* Frames between the dispatcher of role mda and its children: see mda_job.h. */
#include <errno.h>
#include <stdio.h>
#include "mda/mda_job.h"
#include "session/trace_id.h"

static str trace_name(const struct job *j, char out[B32_ID_LEN + 12])
{
    struct trace_id id;
    memcpy(id.raw, j->session, sizeof(id.raw));
    b32_id_encode(id.raw, id.text);
    return trace_id_message(&id, j->number, out);
}

void mda_order_pack(struct buf *b, const struct mda_job *mj)
{
    const struct job *j = &mj->job;
    char name[B32_ID_LEN + 12];
    pack_u64(b, j->id);
    pack_u64(b, j->offset);
    pack_u64(b, j->length);
    pack_u64(b, j->received_us);
    pack_str(b, j->prefix);
    pack_str(b, j->sender);
    pack_str(b, j->rcpts[0].address);
    pack_str(b, j->original[0]);
    pack_str(b, trace_name(j, name));
    pack_str(b, j->envid);
    pack_str(b, j->client_address);
    pack_str(b, j->client_name);
    pack_str(b, j->client_helo);
    pack_str(b, j->client_protocol);
    pack_str(b, j->sasl_user);
    pack_str(b, j->via);
}

int mda_order_unpack(struct unpack *in, struct mda_order *out)
{
    struct mda_message *m = &out->message;
    *out = (struct mda_order){ .message.fd = -1 };
    out->job = unpack_u64(in);
    m->offset = unpack_u64(in);
    m->length = unpack_u64(in);
    m->received_us = unpack_u64(in);
    m->prefix = unpack_str(in);
    m->sender = unpack_str(in);
    m->recipient = unpack_str(in);
    m->original = unpack_str(in);
    m->session = unpack_str(in);
    m->envid = unpack_str(in);
    m->client_address = unpack_str(in);
    m->client_name = unpack_str(in);
    m->client_helo = unpack_str(in);
    m->client_protocol = unpack_str(in);
    m->sasl_user = unpack_str(in);
    out->via = unpack_str(in);
    return unpack_end(in) && m->offset <= INT64_MAX && m->length <= INT64_MAX - m->offset ? 0 : -EBADMSG;
}

void mda_answer_pack(struct buf *b, uint64_t job, const struct mda_result *r)
{
    pack_u64(b, job);
    pack_u8(b, (uint8_t)r->outcome);
    pack_u16(b, r->code);
    pack_str(b, str_z(r->status));
    pack_str(b, str_z(r->text));
}

int mda_answer_unpack(struct unpack *in, uint64_t *out_job, struct mda_result *out)
{
    *out_job = unpack_u64(in);
    uint8_t outcome = unpack_u8(in);
    uint16_t code = unpack_u16(in);
    str status = unpack_str(in), text = unpack_str(in);
    bool known = outcome == MDA_DELIVERED || outcome == MDA_DEFERRED || outcome == MDA_FAILED;
    if (!unpack_end(in) || !known || status.n >= sizeof(out->status) || text.n >= sizeof(out->text))
        return -EBADMSG;
    char enhanced[sizeof(out->status)];
    snprintf(enhanced, sizeof(enhanced), "%.*s", STR_ARG(status));
    mda_result_set(out, (enum mda_outcome)outcome, code, enhanced, "%.*s", STR_ARG(text));
    return 0;
}
