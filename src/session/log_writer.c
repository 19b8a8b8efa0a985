/* A role's receive log: see log_writer.h. */
#include "session/log_writer.h"
#include <errno.h>
#include <sys/epoll.h>

enum { PROGRESS_BATCH = 256, LOG_MEMORY_MAX = 64 << 20 };

static void send_positions(struct log_writer *w, enum ipc_type type, const struct log_position *p, size_t n)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    struct receive_log_stats stats;
    receive_log_stats(w->log, &stats);
    w->reported = stats.bytes;
    pack_str(&b, w->name);
    pack_u64(&b, w->reported);
    if (type == IPC_LOG_ATTACH)
        pack_u64(&b, receive_log_first_segment(w->log));
    pack_u32(&b, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        pack_u64(&b, p[i].segment);
        pack_u64(&b, p[i].offset);
    }
    ipc_send(role_peer(w->role, ROLE_STORE), type, &b, -1);
    buf_done(&b);
}

static void fail(struct log_writer *w, str text)
{
    w->dead = true;
    events_say(&w->role->events, EVENT_ERROR, "log_failed", text);
}

static void ready(struct loop_io *io, uint32_t events)
{
    struct log_writer *w = CONTAINER_OF(io, struct log_writer, io);
    struct log_position done[PROGRESS_BATCH];
    int n;
    (void)events;
    while ((n = receive_log_progress(w->log, done, PROGRESS_BATCH)) == PROGRESS_BATCH)
        send_positions(w, IPC_LOG_SYNCED, done, PROGRESS_BATCH);
    if (n < 0 && !w->dead)
        fail(w, S("a sync of the receive log failed: nothing more is acknowledged, the role restarts"));
    w->synced(w);
    if (n > 0)
        send_positions(w, IPC_LOG_SYNCED, done, (size_t)n);
    if (w->dead)
        loop_stop(w->role->loop);
    else if (w->told)
        w->told(w);
}

int log_writer_open(struct log_writer *w, struct role *role)
{
    struct receive_log_config config = { .dir_fd = role->data_dir,
                                         .segment_size = role->config->conf->log_segment_size,
                                         .env = role->env,
                                         .memory_max = LOG_MEMORY_MAX };
    w->role = role;
    int e = receive_log_open(&config, &w->log);
    if (e < 0) {
        events_say(&role->events, EVENT_ERROR, "log_failed",
                   S("the receive log cannot be opened; is there room on the disk, and may the role write?"));
        return e;
    }
    w->io = (struct loop_io){ .fd = receive_log_fd(w->log), .ready = ready };
    e = loop_watch(role->loop, &w->io, EPOLLIN);
    if (role_peer(role, ROLE_STORE)->open)
        log_writer_attach(w);
    return e;
}

void log_writer_attach(struct log_writer *w)
{
    struct log_position state[PROGRESS_BATCH];
    if (!w->log)
        return;
    size_t n = receive_log_state(w->log, state, PROGRESS_BATCH);
    send_positions(w, IPC_LOG_ATTACH, state, n);
}

int log_writer_applied(struct log_writer *w, struct ipc_frame *f)
{
    w->applied = unpack_u64(&f->in);
    return unpack_end(&f->in) ? 0 : -EBADMSG;
}

void log_writer_flush(struct log_writer *w)
{
    if (!w->dirty || !w->log)
        return;
    w->dirty = false;
    if (receive_log_flush(w->log) == 0 || w->dead)
        return;
    fail(w,
         S("the receive log cannot be written: what was not yet durable is answered with a temporary error, the role "
           "restarts"));
    w->synced(w);
    loop_stop(w->role->loop);
}

void log_writer_close(struct log_writer *w)
{
    if (!w->log)
        return;
    loop_unwatch(w->role->loop, &w->io);
    receive_log_close(TAKE(w->log));
}
