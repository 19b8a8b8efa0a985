/* Questions to the store: see store_call.h. */
#include "access/store_call.h"
#include <errno.h>

enum { CALLS_MAX = 200000 };

static str key_of(const uint64_t *request) { return str_of(request, sizeof(*request)); }

void store_calls_init(struct store_calls *c, struct role *role)
{
    uint8_t key[16];
    role->env->random(key, sizeof(key));
    *c = (struct store_calls){ .role = role };
    map_init(&c->open, CALLS_MAX, key);
}

void store_calls_done(struct store_calls *c)
{
    map_done(&c->open);
}

void store_call_begin(struct store_calls *calls, struct store_call *c, struct buf *b, str session)
{
    c->calls = calls;
    c->request = ++calls->last;
    *b = BUF(IPC_FRAME_MAX);
    pack_u64(b, c->request);
    pack_str(b, session);
}

int store_call_send(struct store_call *c, enum ipc_type type, struct buf *b)
{
    struct store_calls *calls = c->calls;
    int r = b->failed ? b->failed : map_set(&calls->open, key_of(&c->request), c, NULL);
    if (r == 0) {
        r = ipc_send(role_peer(calls->role, ROLE_STORE), type, b, -1);
        if (r < 0)
            map_take(&calls->open, key_of(&c->request));
    }
    if (r < 0)
        c->request = 0;
    else
        c->asked_ms = loop_now(calls->role->loop);
    buf_done(b);
    return r;
}

void store_call_cancel(struct store_call *c)
{
    if (c->request)
        map_take(&c->calls->open, key_of(&c->request));
    c->request = 0;
}

int store_calls_frame(struct store_calls *c, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    if (f->in.bad)
        return -EBADMSG;
    struct store_call *call = map_take(&c->open, key_of(&request));
    if (!call)
        return 0;
    call->request = 0;
    if (!call->answer(call, f) || call->request)
        return 0;
    call->request = request; /* another frame follows */
    if (map_set(&c->open, key_of(&request), call, NULL) < 0) {
        call->request = 0;
        call->answer(call, NULL);
    }
    return 0;
}

void store_calls_down(struct store_calls *c)
{
    struct store_call *call;
    for (size_t at = 0; (call = map_next(&c->open, &at, NULL)); at = 0) {
        store_call_cancel(call);
        call->answer(call, NULL);
    }
}
