/* Messages between roles: typed, length-prefixed frames over a SOCK_SEQPACKET pair, descriptors beside them. Every kind
 * is a row of messages.def; a frame whose row does not allow this sender and receiver, or that does not unpack, drops
 * that peer, never the receiver. Sending never blocks: what the socket does not take waits in memory, up to
 * IPC_QUEUE_MAX. */
#pragma once
#include "base/pack.h"
#include "io/loop.h"

enum role_id {
#define ROLE(id, name, doc) ROLE_##id,
#include "io/role.def"
#undef ROLE
    ROLE_COUNT,
    ROLE_ANY = 255
};
extern const char *const role_name[ROLE_COUNT];

enum ipc_type {
#define MESSAGE(id, from, to, fields) IPC_##id,
#include "io/messages.def"
#undef MESSAGE
    IPC_TYPES
};
extern const char *const ipc_name[IPC_TYPES];

#define IPC_FRAME_MAX 60000
#define IPC_QUEUE_MAX (64u << 20)
#define IPC_QUEUE_FDS_MAX 1024

struct ipc_frame {
    enum ipc_type type;
    struct unpack in;
    int fd; /* -1 none; TAKE_FD() it to keep it, else it is closed after the handler */
    bool fd_lost; /* one came with it, but this process has no descriptor left to receive it */
};

struct ipc_queued;
struct ipc_link { /* embedded or static; zeroed is closed */
    struct loop_io io;
    struct loop *loop;
    enum role_id self, peer;
    /* Handles one frame; negative: the frame is bad, the link is dropped. */
    int (*frame)(struct ipc_link *link, struct ipc_frame *f);
    void (*down)(struct ipc_link *link); /* the peer is gone or was dropped; the link is closed already */
    struct ipc_queued *queue, **queue_end;
    size_t queued, queued_fds;
    bool open, held;
    bool lazy; /* what is queued waits for no room: ipc_send_later() */
};

/* Takes fd over. 0 or negative errno (fd closed). */
int ipc_open(struct ipc_link *link, struct loop *loop, int fd, enum role_id self, enum role_id peer);
/* Frames of a held link stay in the socket until it is let go. */
void ipc_hold(struct ipc_link *link, bool hold);
void ipc_close(struct ipc_link *link); /* without calling down() */

/* Begins the payload of a frame in *b (cleared, ceiling IPC_FRAME_MAX). */
void ipc_begin(struct buf *b);
/* Sends it; fd (or -1) is duplicated by the kernel, the caller keeps its own. 0, -EPIPE (closed), -ENOBUFS (queue or
 * frame too large). On -ENOBUFS of the queue the link is dropped. */
int ipc_send(struct ipc_link *link, enum ipc_type type, const struct buf *payload, int fd);
/* The same, but it goes out with the next frame that is sent, or with ipc_flush(): many wake the peer once. Frames keep
 * their order. */
int ipc_send_later(struct ipc_link *link, enum ipc_type type, const struct buf *payload);
void ipc_flush(struct ipc_link *link);
/* Handles all frames that have come. */
void ipc_drain(struct ipc_link *link);
/* A connected pair, close-on-exec, with large socket buffers. */
int ipc_pair(int out_fd[2]);
