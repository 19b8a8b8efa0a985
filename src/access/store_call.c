/* Questions to the store: see store_call.h. */
#include "access/store_call.h"
#include <errno.h>

enum { CALLS_MAX = 200000 };

static str key_of(const uint64_t *request) { return str_of(request, sizeof(*request)); }

static void send_what_waits(struct loop_timer *t)
{
    ipc_flush(role_peer(CONTAINER_OF(t, struct store_calls, later)->role, ROLE_STORE));
}

void store_calls_init(struct store_calls *c, struct role *role)
{
    uint8_t key[16];
    role->env->random(key, sizeof(key));
    *c = (struct store_calls){ .role = role, .later.fire = send_what_waits };
    map_init(&c->open, CALLS_MAX, key);
}

void store_calls_done(struct store_calls *c)
{
    loop_cancel(c->role->loop, &c->later);
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

static int send_call(struct store_call *c, enum ipc_type type, struct buf *b, bool later)
{
    struct store_calls *calls = c->calls;
    struct ipc_link *link = role_peer(calls->role, ROLE_STORE);
    int r = b->failed ? b->failed : map_set(&calls->open, key_of(&c->request), c, NULL);
    if (r == 0 && later && !calls->later.slot)
        later = loop_after(calls->role->loop, &calls->later, STORE_CALL_LATER_MS) == 0;
    if (r == 0) {
        r = later ? ipc_send_later(link, type, b) : ipc_send(link, type, b, -1);
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

int store_call_send(struct store_call *c, enum ipc_type type, struct buf *b)
{
    return send_call(c, type, b, false);
}

int store_call_send_later(struct store_call *c, enum ipc_type type, struct buf *b)
{
    return send_call(c, type, b, true);
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
