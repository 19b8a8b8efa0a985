/* For tests of role store: the role in a child process, the test as master, smtp-in (with a real receive log), access
 * and auth. Included after cmocka.h. */
#pragma once
#include "io/role_play.h"
#include "store/message_record.h"
#include "store/receive_log.h"
#include "store/store_role.h"

struct stage { struct role_play p; struct receive_log *log; int log_fd; uint64_t bytes; bool early; };

static inline void stage_init(struct stage *s)
{
    *s = (struct stage){ .log_fd = -1 };
    play_init(&s->p);
    assert_int_equal(mkdirat(s->p.dir_fd, "data", 0700), 0);
    assert_int_equal(mkdirat(s->p.dir_fd, "data/log", 0700), 0);
    assert_int_equal(mkdirat(s->p.dir_fd, "data/log/smtp-in", 0700), 0);
    assert_int_equal(mkdirat(s->p.dir_fd, "data/journal", 0700), 0);
    s->log_fd = openat(s->p.dir_fd, "data/log/smtp-in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct receive_log_config c = {
        .dir_fd = s->log_fd, .segment_size = 1 << 20, .env = &env_system, .memory_max = 1 << 24
    };
    assert_int_equal(receive_log_open(&c, &s->log), 0);
}

static inline void stage_start(struct stage *s)
{
    play_fork(&s->p, store_role_run);
    play_begin(&s->p, "data");
    play_peer(&s->p, ROLE_SMTP_IN);
    play_peer(&s->p, ROLE_ACCESS);
    play_peer(&s->p, ROLE_AUTH);
    play_start(&s->p);
}

static inline void stage_done(struct stage *s)
{
    receive_log_close(s->log);
    close(s->log_fd);
    play_done(&s->p);
}
#define _cleanup_stage_ _cleanup_(stage_done)

static inline void send_positions(struct stage *s, enum ipc_type type, const struct log_position *at, uint32_t n)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_str(&b, S("smtp-in"));
    pack_u64(&b, ++s->bytes);
    if (type == IPC_LOG_ATTACH)
        pack_u64(&b, receive_log_first_segment(s->log));
    pack_u32(&b, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_u64(&b, at[i].segment);
        pack_u64(&b, at[i].offset);
    }
    play_send(s->p.peer[ROLE_SMTP_IN], type, &b, -1);
}

/* One message that is durable in the log; the store is not yet told. */
static inline struct log_position append(struct stage *s, const char *recipient, str content)
{
    struct buf meta = BUF(65536);
    struct record_recipient to = { .address = str_z(recipient) };
    struct message_record m = { .session = "0123456789abcde",
                                .number = 1,
                                .received_us = 1,
                                .client_addr = S("192.0.2.1"),
                                .helo = S("x"),
                                .protocol = S("ESMTP"),
                                .listener = S("smtp"),
                                .recipients = &to,
                                .n_recipients = 1 };
    struct log_position at, done[16];
    uint64_t ticket;
    assert_int_equal(message_record_encode(&meta, &m), 0);
    assert_int_equal(receive_log_append(s->log, &content, 1, buf_str(&meta), &ticket, &at), 0);
    assert_int_equal(receive_log_flush(s->log), 0);
    buf_done(&meta);
    while (receive_log_synced(s->log) < ticket)
        usleep(500);
    for (int n; (n = receive_log_progress(s->log, done, 16)) > 0;)
        at = done[n - 1];
    return at;
}

/* Appended, told, and placed: the store has said so. */
static inline void deliver(struct stage *s, const char *recipient, str content)
{
    struct log_position at = append(s, recipient, content);
    send_positions(s, IPC_LOG_SYNCED, &at, 1);
    for (uint64_t mark = 0; mark < s->bytes;) {
        play_expect(&s->p, s->p.peer[ROLE_SMTP_IN], IPC_LOG_APPLIED);
        mark = unpack_u64(&s->p.in);
        assert_true(unpack_end(&s->p.in) && mark <= s->bytes);
    }
}

static inline void attach(struct stage *s)
{
    send_positions(s, IPC_LOG_ATTACH, NULL, 0);
}

static inline void bind_session(struct stage *s, const char *session, const char *account)
{
    struct buf b = BUF(1024);
    pack_u64(&b, 5);
    pack_u8(&b, ROLE_ACCESS);
    pack_str(&b, str_z(session));
    pack_str(&b, str_z(account));
    play_send(s->p.peer[ROLE_AUTH], IPC_SESSION_BIND, &b, -1);
    play_expect(&s->p, s->p.peer[ROLE_AUTH], IPC_SESSION_BOUND);
    assert_int_equal(unpack_u64(&s->p.in), 5);
}

