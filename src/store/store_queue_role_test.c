/* The queue in role store, as its neighbours see it: jobs and their ends, DSN asked for, questions answered; and
 * nothing that a neighbour sends ends the role. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "io/role_play.h"
#include "store/message_record.h"
#include "store/receive_log.h"
#include "store/store_role.h"

struct stage { struct role_play p; struct receive_log *log; int log_fd; uint64_t bytes; };

static void stage_init(struct stage *s)
{
    static const char *const folders[] = { "data", "data/log", "data/log/smtp-in", "data/journal" };
    *s = (struct stage){ .log_fd = -1 };
    play_init(&s->p);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        assert_int_equal(mkdirat(s->p.dir_fd, folders[i], 0700), 0);
    s->log_fd = openat(s->p.dir_fd, "data/log/smtp-in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct receive_log_config c = { .dir_fd = s->log_fd, .segment_size = 1 << 20, .env = &env_system,
                                    .memory_max = 1 << 24 };
    assert_int_equal(receive_log_open(&c, &s->log), 0);
    play_fork(&s->p, store_role_run);
    play_begin(&s->p, "data");
    play_peer(&s->p, ROLE_SMTP_IN);
    play_peer(&s->p, ROLE_SMTP_OUT);
    play_start(&s->p);
}

static void stage_done(struct stage *s)
{
    receive_log_close(s->log);
    close(s->log_fd);
    play_done(&s->p);
}
#define _cleanup_stage_ _cleanup_(stage_done)

static void tell(struct stage *s, enum ipc_type type, struct log_position at)
{
    struct buf b = BUF(4096);
    pack_str(&b, S("smtp-in"));
    pack_u64(&b, ++s->bytes);
    if (type == IPC_LOG_ATTACH)
        pack_u64(&b, receive_log_first_segment(s->log));
    pack_u32(&b, type == IPC_LOG_SYNCED);
    if (type == IPC_LOG_SYNCED) {
        pack_u64(&b, at.segment);
        pack_u64(&b, at.offset);
    }
    play_send(s->p.peer[ROLE_SMTP_IN], type, &b, -1);
}

static void submit(struct stage *s, const char *recipient, str content, uint64_t dsn_of, uint64_t dsn_event)
{
    struct buf meta = BUF(65536);
    struct record_recipient to = { .address = str_z(recipient) };
    struct message_record m = { .session = "0123456789abcde", .number = 4, .received_us = env_system.wall_us(),
                                .sender = dsn_event ? STR_NONE : S("anna@example.org"), .recipients = &to,
                                .n_recipients = 1, .dsn_of = dsn_of, .dsn_event = dsn_event };
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
    tell(s, IPC_LOG_SYNCED, at);
}

static void attach_sender(struct stage *s)
{
    struct buf b = BUF(64);
    pack_u8(&b, 1);
    pack_u32(&b, 0);
    play_send(s->p.peer[ROLE_SMTP_OUT], IPC_JOB_ATTACH, &b, -1);
}

struct job { uint64_t id, message; uint32_t index, attempt; char to[64]; str via, user; };

static struct job expect_job(struct stage *s, const char *content)
{
    struct job j = { 0 };
    char text[64] = "";
    struct unpack *in = &s->p.in;
    play_expect(&s->p, s->p.peer[ROLE_SMTP_OUT], IPC_JOB);
    j.id = unpack_u64(in);
    j.message = unpack_u64(in);
    assert_int_equal(unpack_str(in).n, 16);
    assert_int_equal(unpack_u32(in), 4);
    j.attempt = unpack_u32(in);
    unpack_str(in);
    assert_true(str_eq(unpack_str(in), S("far.example")));
    assert_int_equal(unpack_str(in).n, 0);
    uint64_t offset = unpack_u64(in), length = unpack_u64(in);
    assert_int_equal(unpack_str(in).n, 0);
    assert_true(str_eq(unpack_str(in), S("anna@example.org")));
    assert_int_equal(unpack_str(in).n, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(unpack_u8(in), 0);
    j.via = unpack_str(in);
    j.user = unpack_str(in);
    assert_true(unpack_u64(in) > 0);
    for (int i = 0; i < 5; i++)
        unpack_str(in);
    assert_int_equal(unpack_u32(in), 1);
    j.index = unpack_u32(in);
    str to = unpack_str(in);
    snprintf(j.to, sizeof(j.to), "%.*s", STR_ARG(to));
    unpack_str(in);
    unpack_u8(in);
    unpack_str(in);
    assert_true(unpack_end(in) && s->p.fd >= 0 && length < sizeof(text));
    assert_int_equal(pread(s->p.fd, text, length, (off_t)offset), (ssize_t)length);
    assert_string_equal(text, content);
    assert_int_equal(fcntl(s->p.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    return j;
}

static void result(struct stage *s, const struct job *j, uint8_t outcome, const char *text)
{
    struct buf b = BUF(4096);
    pack_u64(&b, j->id);
    pack_u8(&b, 0);
    pack_str(&b, S("mx.far.example [192.0.2.1]:25"));
    pack_str(&b, S(""));
    for (int i = 0; i < 3; i++)
        pack_u32(&b, 5);
    pack_u8(&b, 0);
    pack_u32(&b, 1);
    pack_u32(&b, j->index);
    pack_u8(&b, outcome);
    pack_u16(&b, 250);
    pack_str(&b, S("2.0.0"));
    pack_str(&b, str_z(text));
    play_send(s->p.peer[ROLE_SMTP_OUT], IPC_JOB_RESULT, &b, -1);
}

static void expect_done(struct stage *s, uint64_t id)
{
    play_expect(&s->p, s->p.peer[ROLE_SMTP_OUT], IPC_JOB_DONE);
    assert_int_equal(unpack_u64(&s->p.in), id);
    assert_true(unpack_end(&s->p.in));
}

static bool ask(struct stage *s, const char *question, char out[4096])
{
    struct buf b = BUF(4096);
    pack_u64(&b, 77);
    pack_str(&b, str_z(question));
    play_send(s->p.master, IPC_ASK, &b, -1);
    play_expect(&s->p, s->p.master, IPC_ANSWER);
    assert_int_equal(unpack_u64(&s->p.in), 77);
    bool ok = unpack_u8(&s->p.in);
    str text = unpack_str(&s->p.in);
    assert_true(unpack_end(&s->p.in));
    snprintf(out, 4096, "%.*s", STR_ARG(text));
    return ok;
}

/* Frames for smtp-in that are about something else. */
static void expect_dsn(struct stage *s)
{
    struct role_play *p = &s->p;
    do {
        assert_true(play_receive(p, p->peer[ROLE_SMTP_IN], 5000) > 0);
    } while ((uint8_t)p->frame[0] != IPC_DSN_MAKE);
}

static void test_from_the_log_to_the_sender(void **state)
{
    (void)state;
    char text[4096];
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    tell(&s, IPC_LOG_ATTACH, (struct log_position){ 0 });
    submit(&s, "x@far.example", S("hello\r\n"), 0, 0);
    play_quiet(&s.p, s.p.peer[ROLE_SMTP_OUT], 50); /* not before it has said what it still has */
    attach_sender(&s);
    struct job j = expect_job(&s, "hello\r\n");
    assert_string_equal(j.to, "x@far.example");
    assert_true(ask(&s, "do=list", text) && strstr(text, "\"state\":\"sending\""));
    result(&s, &j, 0, "250 ok");
    expect_done(&s, j.id);
    assert_true(ask(&s, "do=list", text) && !strstr(text, "queue_id"));
    assert_false(ask(&s, "do=what", text));
    result(&s, &j, 0, "250 ok"); /* told again: it is known */
    expect_done(&s, j.id);
    assert_int_equal(play_status(&s.p, "queue_sent"), 1);
    play_stop(&s.p);
}

static void test_sender_dies(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    tell(&s, IPC_LOG_ATTACH, (struct log_position){ 0 });
    attach_sender(&s);
    submit(&s, "x@far.example", S("hello\r\n"), 0, 0);
    struct job first = expect_job(&s, "hello\r\n");
    play_peer(&s.p, ROLE_SMTP_OUT);
    attach_sender(&s);
    struct job second = expect_job(&s, "hello\r\n");
    assert_true(first.id != second.id && first.message == second.message);
    result(&s, &second, 0, "250 ok");
    expect_done(&s, second.id);
    play_stop(&s.p);
}

static void test_dsn(void **state)
{
    (void)state;
    char text[4096];
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    tell(&s, IPC_LOG_ATTACH, (struct log_position){ 0 });
    attach_sender(&s);
    submit(&s, "x@far.example", S("hello\r\n"), 0, 0);
    struct job j = expect_job(&s, "hello\r\n");
    result(&s, &j, 3, "550 no such user");
    expect_done(&s, j.id);
    expect_dsn(&s);
    struct unpack *in = &s.p.in;
    uint64_t message = unpack_u64(in), event = unpack_u64(in);
    assert_int_equal(message, j.message);
    assert_int_equal(unpack_u8(in), 0);
    assert_true(str_eq(unpack_str(in), S("anna@example.org")) && s.p.fd >= 0);
    submit(&s, "anna@example.org", S("it failed\r\n"), message, event);
    while (ask(&s, "do=list", text) && strstr(text, "queue_id"))
        usleep(2000);
    assert_int_equal(play_status(&s.p, "queue_dsn_owed"), 0);
    assert_int_equal(play_status(&s.p, "placed"), 1);
    play_stop(&s.p);
}

/* Jobs are the affair of smtp-out and mda alone: another role that speaks of them loses its link. */
static void test_no_worker(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    tell(&s, IPC_LOG_ATTACH, (struct log_position){ 0 });
    attach_sender(&s);
    struct buf b = BUF(64);
    pack_u8(&b, 1);
    pack_u32(&b, 0);
    play_peer(&s.p, ROLE_ACCESS);
    play_send(s.p.peer[ROLE_ACCESS], IPC_JOB_ATTACH, &b, -1);
    assert_int_equal(play_receive(&s.p, s.p.peer[ROLE_ACCESS], PLAY_PATIENCE_MS), 0);
    play_peer(&s.p, ROLE_MDA);
    b = BUF(64);
    pack_u8(&b, 1);
    pack_u32(&b, 0);
    play_send(s.p.peer[ROLE_MDA], IPC_JOB_ATTACH, &b, -1);
    submit(&s, "x@far.example", S("to smtp-out\r\n"), 0, 0);
    struct job j = expect_job(&s, "to smtp-out\r\n");
    assert_int_equal(j.via.n, 0);
    close(TAKE_FD(s.p.peer[ROLE_MDA])); /* it dies: smtp-out's job stands */
    result(&s, &j, 0, "250 ok");
    expect_done(&s, j.id);
    play_stop(&s.p);
}

static uint32_t seed = 5;
static uint32_t dice(uint32_t n)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % n;
}

static void test_hostile_frames(void **state)
{
    (void)state;
    char text[4096];
    static const char *const words[] = { "", "x@far.example", "do=list", "4.0.0", "\xff\xfe\r\n" };
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    tell(&s, IPC_LOG_ATTACH, (struct log_position){ 0 });
    attach_sender(&s);
    for (int i = 0; i < 600; i++) {
        struct buf b = BUF(4096);
        for (uint32_t n = dice(9); n--;)
            switch (dice(4)) {
            case 0: pack_u64(&b, dice(3) ? dice(4) : UINT64_MAX - dice(3)); break;
            case 1: pack_u32(&b, dice(3) ? dice(4) : UINT32_MAX - dice(3)); break;
            case 2: pack_u8(&b, (uint8_t)dice(256)); break;
            default: pack_str(&b, str_z(words[dice(ARRAY_LEN(words))])); break;
            }
        enum ipc_type type = dice(2) ? IPC_JOB_RESULT : IPC_JOB_ATTACH;
        if (play_try_send(s.p.peer[ROLE_SMTP_OUT], type, buf_str(&b), NULL, 0) < 0 ||
            play_receive(&s.p, s.p.peer[ROLE_SMTP_OUT], 0) == 0)
            play_peer(&s.p, ROLE_SMTP_OUT);
        buf_done(&b);
    }
    play_peer(&s.p, ROLE_SMTP_OUT);
    attach_sender(&s);
    submit(&s, "x@far.example", S("still here\r\n"), 0, 0);
    struct job j = expect_job(&s, "still here\r\n");
    result(&s, &j, 0, "250 ok");
    expect_done(&s, j.id);
    assert_true(ask(&s, "do=destinations", text) && strstr(text, "far.example"));
    play_stop(&s.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_the_log_to_the_sender),
        cmocka_unit_test(test_sender_dies),
        cmocka_unit_test(test_dsn),
        cmocka_unit_test(test_no_worker),
        cmocka_unit_test(test_hostile_frames),
    };
    return cmocka_run_group_tests_name("store_queue_role", tests, NULL, NULL);
}
