/* Whatever bytes a neighbour writes into its socket: the handler sees only frames whose row allows them, what it sees
 * is what was sent, and the first bad frame is the last one. Input: frames, each behind its length in two bytes. */
#include "io/ipc.h"
#include <stdlib.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct { uint8_t from, to; } rows[] = {
#define MESSAGE(id, from, to, fields) { ROLE_##from, ROLE_##to },
#include "io/messages.def"
#undef MESSAGE
};

static str sent;
static bool got, dropped;

static bool allowed(str frame)
{
    unsigned type = frame.n ? (uint8_t)frame.p[0] : 255;
    return frame.n >= 2 && frame.n <= 2 + IPC_FRAME_MAX && frame.p[1] == 0 && type < ARRAY_LEN(rows) &&
           (rows[type].from == ROLE_ANY || rows[type].from == ROLE_ACCESS) &&
           (rows[type].to == ROLE_ANY || rows[type].to == ROLE_STORE);
}

static int frame(struct ipc_link *link, struct ipc_frame *f)
{
    if (link->peer != ROLE_ACCESS || got || dropped || !allowed(sent) || f->type != (uint8_t)sent.p[0] ||
        !str_eq(f->in.in, str_from(sent, 2)) || f->fd >= 0)
        abort();
    got = true;
    struct unpack in = f->in;
    while (!in.bad && in.in.n) /* reading never leaves the frame */
        unpack_str(&in);
    return 0;
}

static void down(struct ipc_link *link)
{
    if (link->open || dropped)
        abort();
    dropped = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ipc_link link = { .frame = frame, .down = down };
    struct loop *l;
    int pair[2];
    if (loop_new(&env_system, &l) < 0 || ipc_pair(pair) < 0 || ipc_open(&link, l, pair[1], ROLE_STORE, ROLE_ACCESS) < 0)
        abort();
    dropped = false;
    for (str rest = str_of(data, size); rest.n > 2 && !dropped;) {
        size_t n = (uint8_t)rest.p[0] | (size_t)(uint8_t)rest.p[1] << 8;
        sent = str_first(str_from(rest, 2), n);
        rest = str_from(rest, 2 + sent.n);
        if (!sent.n || send(pair[0], sent.p, sent.n, MSG_NOSIGNAL) != (ssize_t)sent.n)
            break;
        got = false;
        loop_once(l, 0);
        if (got != allowed(sent) || dropped == got)
            abort();
    }
    ipc_close(&link);
    close(pair[0]);
    loop_free(l);
    return 0;
}
