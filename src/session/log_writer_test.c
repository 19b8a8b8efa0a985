/* A role's receive log: what the store is told, in which order clients are answered, and what happens when it fails. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include "session/log_writer.h"

struct world {
    char dir[64];
    struct role role;
    struct role_config config;
    struct conf conf;
    struct log_writer log;
    int store;              /* the store's end of the link */
    unsigned synced, told;
    bool told_before;       /* the store heard of it before the clients */
};

static bool frame_there(struct world *w)
{
    char c;
    return recv(w->store, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void on_synced(struct log_writer *log)
{
    struct world *w = CONTAINER_OF(log, struct world, log);
    w->synced++;
    w->told_before |= frame_there(w);
}

static void on_told(struct log_writer *log) { CONTAINER_OF(log, struct world, log)->told++; }

static void world_begin(struct world *w)
{
    int pair[2];
    *w = (struct world){ .dir = "/tmp/posthouse-log-XXXXXX" };
    assert_non_null(mkdtemp(w->dir));
    w->role.env = &env_system;
    assert_int_equal(loop_new(&env_system, &w->role.loop), 0);
    events_init(&w->role.events, w->role.loop, "access");
    w->role.events.log_level = EVENT_ERROR + 1;
    w->role.data_dir = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    w->conf.log_segment_size = 1 << 20;
    w->config.conf = &w->conf;
    w->role.config = &w->config;
    assert_int_equal(ipc_pair(pair), 0);
    w->store = pair[1];
    assert_int_equal(ipc_open(role_peer(&w->role, ROLE_STORE), w->role.loop, pair[0], ROLE_ACCESS, ROLE_STORE), 0);
    w->log = (struct log_writer){ .name = S("access"), .synced = on_synced, .told = on_told };
    assert_int_equal(log_writer_open(&w->log, &w->role), 0);
}

static void world_end(struct world *w)
{
    char command[128];
    log_writer_close(&w->log);
    log_writer_close(&w->log); /* twice is fine */
    ipc_close(role_peer(&w->role, ROLE_STORE));
    close(w->store);
    close(w->role.data_dir);
    events_done(&w->role.events);
    loop_free(w->role.loop);
    snprintf(command, sizeof(command), "rm -r %s", w->dir);
    assert_int_equal(system(command), 0);
}

struct told { enum ipc_type type; uint64_t bytes, segment, end; uint32_t n; };

static struct told receive(struct world *w)
{
    static char frame[2 + IPC_FRAME_MAX];
    ssize_t n = -1;
    for (int i = 0; i < 500 && n < 0; i++) {
        n = recv(w->store, frame, sizeof(frame), MSG_DONTWAIT);
        if (n < 0)
            loop_once(w->role.loop, 10);
    }
    assert_true(n > 2);
    struct told t = { .type = (uint8_t)frame[0] };
    struct unpack in = UNPACK(str_of(frame + 2, (size_t)n - 2));
    assert_true(str_eq(unpack_str(&in), S("access")));
    t.bytes = unpack_u64(&in);
    if (t.type == IPC_LOG_ATTACH)
        unpack_u64(&in);
    t.n = unpack_u32(&in);
    for (uint32_t i = 0; i < t.n; i++) {
        t.segment = unpack_u64(&in);
        t.end = unpack_u64(&in);
    }
    assert_true(unpack_end(&in));
    return t;
}

static uint64_t append(struct world *w, str text)
{
    struct log_position at;
    uint64_t ticket;
    assert_int_equal(receive_log_append(w->log.log, &text, 1, S("meta"), &ticket, &at), 0);
    w->log.dirty = true;
    return ticket;
}

static void test_clients_first_then_the_store(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct told t = receive(&w);
    assert_int_equal(t.type, IPC_LOG_ATTACH);
    assert_int_equal(t.bytes, 0);
    uint64_t ticket = append(&w, S("hello"));
    assert_int_equal(w.synced, 0);
    log_writer_flush(&w.log);
    assert_false(w.log.dirty);
    t = receive(&w);
    assert_int_equal(t.type, IPC_LOG_SYNCED);
    assert_true(t.bytes > 5 && t.n == 1 && t.end > 64);
    assert_int_equal(w.log.reported, t.bytes);
    assert_true(w.synced == 1 && w.told == 1 && !w.told_before);
    assert_true(receive_log_synced(w.log.log) >= ticket);
    log_writer_attach(&w.log); /* a store that comes back hears of all */
    struct told again = receive(&w);
    assert_int_equal(again.type, IPC_LOG_ATTACH);
    assert_true(again.n >= 1 && again.bytes == t.bytes);
    world_end(&w);
}

static void test_backlog(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    receive(&w);
    append(&w, S("hello"));
    log_writer_flush(&w.log);
    struct told t = receive(&w);
    assert_int_equal(log_writer_backlog(&w.log), t.bytes);
    char mark[8];
    put_u64(mark, t.bytes);
    struct ipc_frame f = { .in = UNPACK(str_of(mark, 8)), .fd = -1 };
    assert_int_equal(log_writer_applied(&w.log, &f), 0);
    assert_int_equal(log_writer_backlog(&w.log), 0);
    f.in = UNPACK(str_of(mark, 7));
    assert_int_equal(log_writer_applied(&w.log, &f), -EBADMSG);
    world_end(&w);
}

static void test_no_folder(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    log_writer_close(&w.log);
    int folder = w.role.data_dir;
    w.role.data_dir = -1;
    assert_true(log_writer_open(&w.log, &w.role) < 0);
    log_writer_attach(&w.log); /* not open: nothing */
    log_writer_flush(&w.log);
    w.role.data_dir = folder;
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_first_then_the_store),
        cmocka_unit_test(test_backlog),
        cmocka_unit_test(test_no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
