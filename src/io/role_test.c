/* The frame around a role, run in a child process with a role of the test's own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <netinet/tcp.h>
#include "io/role_play.h"

/* What the role under test does is told by the configuration's host name; what it saw is in its status. */
static struct { uint64_t accepts, frames, ups, downs, early, configures, files, send_buffer, unsent; } seen;

static int probe_start(struct role *r) { return str_eq(r->config->conf->hostname, S("no.start")) ? -EIO : 0; }

static int probe_configure(struct role *r)
{
    seen.configures++;
    if (str_eq(r->config->conf->hostname, S("reason.example")))
        role_refuse(r, S("it has a reason"));
    bool refuse = str_eq(r->config->conf->hostname, S("refused.example")) || r->refusal.n;
    return refuse ? -EINVAL : 0;
}

static int probe_file(struct role *r, str name, int fd)
{
    (void)r;
    char text[4];
    seen.files += str_eq(name, S("tls_key")) && pread(fd, text, 4, 0) == 4;
    return 0;
}

static void probe_accept(struct role *r, struct role_listener *l, int fd, const struct sockaddr *peer)
{
    (void)r;
    char line[64];
    if (peer->sa_family != AF_INET)
        abort();
    int n = snprintf(line, sizeof(line), "%s %s %s\r\n", conf_service_name[l->service], l->address,
                     l->conf ? "known" : "gone");
    int buffer = 0, unsent = 0;
    socklen_t size = sizeof(int);
    getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, &size);
    getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, &size);
    seen.send_buffer = (uint64_t)buffer;
    seen.unsent = (unsigned)unsent;
    send(fd, line, (size_t)n, MSG_NOSIGNAL);
    close(fd);
    seen.accepts++;
}

static int probe_frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    seen.early += !r->started;
    seen.frames++;
    return peer == ROLE_STORE && f->type == IPC_LOG_APPLIED && !f->in.in.n ? 0 : -EBADMSG;
}

static void probe_up(struct role *r, enum role_id peer) { (void)r; seen.ups += peer == ROLE_STORE; }
static void probe_down(struct role *r, enum role_id peer) { (void)r; seen.downs += peer == ROLE_STORE; }

static void probe_status(struct role *r, struct buf *out)
{
    if (r->stopping)
        abort(); /* the state may be gone */
    event_u64(out, "accepts", seen.accepts);
    event_u64(out, "frames", seen.frames);
    event_u64(out, "ups", seen.ups);
    event_u64(out, "downs", seen.downs);
    event_u64(out, "early", seen.early);
    event_u64(out, "configures", seen.configures);
    event_u64(out, "files", seen.files);
    event_u64(out, "send_buffer", seen.send_buffer);
    event_u64(out, "unsent", seen.unsent);
    event_u64(out, "refs", r->config->refs);
}

static void probe_stop(struct role *r) { loop_stop(r->loop); }

static const struct role_ops ops = { .id = ROLE_SMTP_IN,
                                     .start = probe_start,
                                     .configure = probe_configure,
                                     .file = probe_file,
                                     .accept = probe_accept,
                                     .frame = probe_frame,
                                     .peer_up = probe_up,
                                     .peer_down = probe_down,
                                     .status = probe_status,
                                     .stop = probe_stop };
static int run(void) { return role_run(&ops, NULL); }

static void hostname(struct role_play *p, const char *name)
{
    buf_clear(&p->settings);
    buf_addf(&p->settings, "hostname %s\naliases aliases\ndomain example.org { postmaster anna@example.org }\n", name);
    for (size_t i = 0; i < p->n_listeners; i++)
        buf_addf(&p->settings, "listen smtp 127.0.0.1:%u\n", p->port[i]);
}

static void test_life_of_a_role(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_init(&p);
    play_listen(&p, "smtp");
    play_fork(&p, run);
    play_file(&p, "tls_key", S("PEM!"));
    play_begin(&p, NULL);
    play_start(&p);
    client_open(&c, p.port[0]);
    client_expect(&c, "smtp 127.0.0.1 known");
    assert_int_equal(play_status(&p, "accepts"), 1);
    assert_int_equal(play_status(&p, "generation"), 1);
    assert_int_equal(play_status(&p, "files"), 1);
    play_stop(&p);
}

/* What the kernel holds for a client that does not read. */
static void test_the_output_of_a_client_is_bounded(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client smtp = { .fd = -1 }, pop3 = { .fd = -1 };
    play_init(&p);
    play_listen(&p, "smtp");
    play_listen(&p, "pop3");
    play_fork(&p, run);
    play_begin(&p, NULL);
    play_start(&p);
    client_open(&smtp, p.port[0]);
    client_expect(&smtp, "smtp 127.0.0.1 known");
    assert_in_range(play_status(&p, "send_buffer"), 8192, 65536); /* the kernel doubles what it is told */
    client_open(&pop3, p.port[1]);
    client_expect(&pop3, "pop3 127.0.0.1 known");
    assert_in_range(play_status(&p, "unsent"), 65536, 1 << 20);
    play_stop(&p);
}

static void test_the_end_of_the_master_ends_the_role(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_init(&p);
    play_fork(&p, run);
    play_begin(&p, NULL);
    play_start(&p);
    shutdown(p.master, SHUT_RDWR);
    assert_int_equal(play_wait(&p), 0);
}

static void expect_refused(struct role_play *p, uint64_t generation, const char *why)
{
    play_expect(p, p->master, IPC_REFUSED);
    assert_int_equal(unpack_u64(&p->in), generation);
    assert_true(str_eq(unpack_str(&p->in), str_z(why)));
    assert_true(unpack_end(&p->in));
}

static void test_generations(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_init(&p);
    play_listen(&p, "smtp");
    play_fork(&p, run);
    play_begin(&p, NULL);
    play_start(&p);
    hostname(&p, "new.example");
    play_configure(&p);
    play_expect(&p, p.master, IPC_APPLIED);
    assert_int_equal(unpack_u64(&p.in), 2);
    assert_int_equal(play_status(&p, "generation"), 2);
    hostname(&p, "refused.example");
    play_configure(&p);
    expect_refused(&p, 3, "Invalid argument");
    assert_int_equal(play_status(&p, "generation"), 2); /* no APPLIED came before this answer */
    hostname(&p, "reason.example");
    play_configure(&p);
    expect_refused(&p, 4, "it has a reason");
    assert_int_equal(play_status(&p, "generation"), 2);
    assert_int_equal(play_status(&p, "configures"), 4);
    assert_int_equal(play_status(&p, "refs"), 1);
    p.n_listeners = 0; /* the next one does not have the listener any more */
    hostname(&p, "third.example");
    play_configure(&p);
    play_expect(&p, p.master, IPC_APPLIED);
    p.n_listeners = 1;
    client_open(&c, p.port[0]);
    client_expect(&c, "smtp 127.0.0.1 gone");
    play_stop(&p);
}

/* One frame of a configuration that the role does not take: it may be gone before a second one. */
static void refuse(struct role_play *p)
{
    _cleanup_buf_ struct buf b = BUF(64);
    _cleanup_close_ int blob = play_blob(p);
    pack_u64(&b, ++p->generation);
    play_send(p->master, IPC_CONFIG, &b, blob);
    pack_u64(&b, p->generation);
    play_try_send(p->master, IPC_APPLY, buf_str(&b), NULL, 0);
}

static void test_a_role_that_cannot_start_ends(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        _cleanup_play_ struct role_play p;
        play_init(&p);
        hostname(&p, i ? "refused.example" : "no.start");
        play_fork(&p, run);
        if (i)
            refuse(&p);
        else
            play_begin(&p, NULL);
        play_try_send(p.master, IPC_START, STR_NONE, NULL, 0);
        assert_int_equal(play_wait(&p), 0);
    }
}

static void test_garbage_of_the_master_ends_the_role_in_order(void **state)
{
    (void)state;
    static const struct { enum ipc_type type; const char *bytes; size_t n; } bad[] = {
        { IPC_START, "", 0 },                        /* no configuration */
        { IPC_APPLY, "\1\0\0\0\0\0\0\0", 8 },        /* of nothing */
        { IPC_CONFIG, "\1\0\0\0\0\0\0\0", 8 },       /* no descriptor */
        { IPC_LISTEN, "\0\0\0\0", 4 },
        { IPC_PEER, "\2", 1 },
        { IPC_FOLDER, "", 0 },
        { IPC_STATUS, "", 0 },
        { IPC_READY, "", 0 },                        /* what roles say */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_play_ struct role_play p;
        play_init(&p);
        play_fork(&p, run);
        play_try_send(p.master, bad[i].type, str_of(bad[i].bytes, bad[i].n), NULL, 0);
        play_closed(&p, p.master);
        assert_int_equal(play_wait(&p), 0);
    }
}

static void test_a_damaged_blob_is_refused(void **state)
{
    (void)state;
    for (int cut = 0; cut < 3; cut++) {
        _cleanup_play_ struct role_play p;
        play_init(&p);
        play_fork(&p, run);
        p.generation = 1;
        _cleanup_close_ int blob = play_blob(&p);
        struct buf b = BUF(16);
        pack_u64(&b, 1);
        assert_int_equal(ftruncate(blob, cut == 0 ? 0 : cut == 1 ? 3 : 200), 0);
        play_send(p.master, IPC_CONFIG, &b, blob);
        assert_int_equal(play_wait(&p), 0);
    }
}

static void test_neighbours(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_init(&p);
    play_fork(&p, run);
    play_begin(&p, NULL);
    play_start(&p);
    play_peer(&p, ROLE_STORE);
    play_send(p.peer[ROLE_STORE], IPC_LOG_APPLIED, NULL, -1);
    play_quiet(&p, p.peer[ROLE_STORE], 50);
    assert_int_equal(play_status(&p, "ups"), 1);
    assert_int_equal(play_status(&p, "frames"), 1);
    struct buf b = BUF(16);
    pack_u8(&b, 1);
    play_send(p.peer[ROLE_STORE], IPC_LOG_APPLIED, &b, -1); /* this role takes it for bad */
    play_closed(&p, p.peer[ROLE_STORE]);
    assert_int_equal(play_status(&p, "downs"), 1);
    play_peer(&p, ROLE_STORE);
    play_peer(&p, ROLE_STORE); /* takes the place of the one before */
    assert_int_equal(play_status(&p, "ups"), 3);
    assert_int_equal(play_status(&p, "downs"), 2);
    play_stop(&p);
}

/* A neighbour may speak before this role has what it needs to answer. */
static void test_frames_wait_for_the_start(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_init(&p);
    play_fork(&p, run);
    play_begin(&p, NULL);
    play_peer(&p, ROLE_STORE);
    play_send(p.peer[ROLE_STORE], IPC_LOG_APPLIED, NULL, -1);
    play_quiet(&p, p.peer[ROLE_STORE], 100);
    play_start(&p);
    play_quiet(&p, p.peer[ROLE_STORE], 50);
    assert_int_equal(play_status(&p, "frames"), 1);
    assert_int_equal(play_status(&p, "early"), 0);
    play_stop(&p);
}

/* STOP and STATUS in one breath, as `posthouse status` at the moment of shutdown. */
static void test_status_after_stop(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_init(&p);
    play_fork(&p, run);
    play_begin(&p, NULL);
    play_start(&p);
    struct buf b = BUF(16);
    kill(p.pid, SIGSTOP);
    play_send(p.master, IPC_STOP, NULL, -1);
    pack_u64(&b, 1);
    play_send(p.master, IPC_STATUS, &b, -1);
    kill(p.pid, SIGCONT);
    assert_int_equal(play_wait(&p), 0);
}

static void test_find_listener(void **state)
{
    (void)state;
    struct conf_listener list[] = { { .service = CONF_SMTP, .address = { "127.0.0.1", 9 }, .port = 25 },
                                    { .service = CONF_POP3, .address = { "::1", 3 }, .port = 110 } };
    struct conf c = { .listeners = list, .n_listeners = 2 };
    assert_int_equal(role_find_listener(&c, CONF_SMTP, "127.0.0.1", 25), 0);
    assert_int_equal(role_find_listener(&c, CONF_POP3, "::1", 110), 1);
    assert_int_equal(role_find_listener(&c, CONF_POP3S, "::1", 110), -1);
    assert_int_equal(role_find_listener(&c, CONF_SMTP, "127.0.0.1", 26), -1);
    assert_int_equal(role_find_listener(&c, CONF_SMTP, "127.0.0.11", 25), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_of_a_role),
        cmocka_unit_test(test_the_output_of_a_client_is_bounded),
        cmocka_unit_test(test_the_end_of_the_master_ends_the_role),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_a_role_that_cannot_start_ends),
        cmocka_unit_test(test_garbage_of_the_master_ends_the_role_in_order),
        cmocka_unit_test(test_a_damaged_blob_is_refused),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_frames_wait_for_the_start),
        cmocka_unit_test(test_status_after_stop),
        cmocka_unit_test(test_find_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
