/* Links between roles: what passes, what drops the peer, and what never happens to the receiver. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <sys/epoll.h>
#include "io/role_play.h"

static struct loop *l;
static struct ipc_link link_store; /* the receiver: role store, its neighbour is access */
static int other;                  /* the neighbour's end */
static unsigned frames, downs;
static enum ipc_type last_type;
static char last_payload[IPC_FRAME_MAX];
static size_t last_n;
static int kept_fd, verdict;
static bool keep;

static int frame(struct ipc_link *link, struct ipc_frame *f)
{
    assert_ptr_equal(link, &link_store);
    frames++;
    last_type = f->type;
    last_n = f->in.in.n;
    if (last_n)
        memcpy(last_payload, f->in.in.p, last_n);
    if (keep)
        kept_fd = TAKE_FD(f->fd);
    return verdict;
}

static void down(struct ipc_link *link)
{
    assert_false(link->open);
    downs++;
}

static int setup(void **state)
{
    (void)state;
    int pair[2];
    frames = downs = 0;
    verdict = 0;
    keep = false;
    kept_fd = -1;
    last_n = 0;
    assert_int_equal(loop_new(&env_system, &l), 0);
    assert_int_equal(ipc_pair(pair), 0);
    link_store = (struct ipc_link){ .frame = frame, .down = down };
    other = pair[0];
    assert_int_equal(ipc_open(&link_store, l, pair[1], ROLE_STORE, ROLE_ACCESS), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ipc_close(&link_store);
    ipc_close(&link_store); /* twice does nothing */
    loop_free(l);
    close(other);
    return 0;
}

static void turns(int n)
{
    while (n--)
        loop_once(l, 0);
}

static size_t open_descriptors(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_a_frame_arrives_whole_with_its_descriptor(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    int fd = memfd_create("x", MFD_CLOEXEC);
    char text[3] = { 0 };
    assert_int_equal(write(fd, "abc", 3), 3);
    keep = true;
    buf_space(&b, IPC_FRAME_MAX);
    memset(b.p, 'z', b.n);
    assert_int_equal(play_try_send(other, IPC_EXPUNGE, buf_str(&b), &fd, 1), 0);
    close(fd);
    turns(1);
    assert_int_equal(frames, 1);
    assert_int_equal(last_type, IPC_EXPUNGE);
    assert_int_equal(last_n, IPC_FRAME_MAX);
    assert_memory_equal(last_payload, b.p, b.n);
    assert_int_equal(pread(kept_fd, text, 3, 0), 3);
    assert_memory_equal(text, "abc", 3);
    assert_int_equal(fcntl(kept_fd, F_GETFD), FD_CLOEXEC);
    close(kept_fd);
}

static void test_a_descriptor_that_is_not_taken_is_closed(void **state)
{
    (void)state;
    size_t before = open_descriptors();
    for (int i = 0; i < 10; i++)
        assert_int_equal(play_try_send(other, IPC_MAILDROP_CLOSE, S("x"), &other, 1), 0);
    turns(2);
    assert_int_equal(frames, 10);
    assert_int_equal(open_descriptors(), before);
}

/* Room for one descriptor by CMSG_SPACE is room for two. */
static void test_more_than_one_descriptor_leaks_none(void **state)
{
    (void)state;
    size_t before = open_descriptors();
    int fds[3] = { other, other, other };
    assert_int_equal(play_try_send(other, IPC_MAILDROP_CLOSE, S("x"), fds, 2), 0);
    turns(2);
    assert_int_equal(frames, 0);
    assert_int_equal(downs, 1);
    assert_int_equal(open_descriptors(), before - 1); /* the link itself */
}

/* What messages.def says of access and store. */
static bool allowed(unsigned type)
{
    static const struct { enum role_id from, to; } rows[] = {
#define MESSAGE(id, from, to, fields) { ROLE_##from, ROLE_##to },
#include "io/messages.def"
#undef MESSAGE
    };
    return type < IPC_TYPES && (rows[type].from == ROLE_ACCESS || rows[type].from == ROLE_ANY) &&
           (rows[type].to == ROLE_STORE || rows[type].to == ROLE_ANY);
}

/* Bytes that must drop the peer without ever reaching the handler. */
static void bad(str bytes)
{
    setup(NULL);
    assert_int_equal(send(other, bytes.p, bytes.n, 0), (ssize_t)bytes.n);
    turns(2);
    assert_int_equal(frames, 0);
    assert_int_equal(downs, 1);
    assert_false(link_store.open);
    teardown(NULL);
}

static void test_what_no_row_allows_drops_the_peer(void **state)
{
    (void)state;
    static char big[2 + IPC_FRAME_MAX + 1] = { IPC_EXPUNGE };
    for (unsigned type = 0; type < 256; type++) {
        char head[2] = { (char)type, 0 };
        if (!allowed(type))
            bad(str_of(head, 2));
    }
    bad(S("\0"));                    /* shorter than a head */
    bad(str_of((char[]){ IPC_EXPUNGE, 1 }, 2));
    bad(str_of(big, sizeof(big)));   /* longer than a frame may be */
    bad(str_of((char[]){ IPC_CHECK_PASSWORD, 0 }, 2)); /* from anybody, but to auth */
    bad(str_of((char[]){ IPC_SESSION_BIND, 0 }, 2));   /* to the store, but from auth */
    setup(NULL);
}

static void test_a_handler_that_refuses_drops_the_peer(void **state)
{
    (void)state;
    verdict = -EBADMSG;
    play_send(other, IPC_MAILDROP_CLOSE, NULL, -1);
    play_send(other, IPC_MAILDROP_CLOSE, NULL, -1);
    turns(2);
    assert_int_equal(frames, 1);
    assert_int_equal(downs, 1);
}

static void test_what_was_sent_before_the_peer_died_still_arrives(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++)
        play_send(other, IPC_MAILDROP_CLOSE, NULL, -1);
    shutdown(other, SHUT_RDWR);
    turns(8);
    assert_int_equal(frames, 200);
    assert_int_equal(downs, 1);
    struct buf none = BUF(8);
    assert_int_equal(ipc_send(&link_store, IPC_EXPUNGED, &none, -1), -EPIPE);
    assert_int_equal(downs, 1);
}

static void test_sending_to_a_dead_peer_drops_it_once(void **state)
{
    (void)state;
    shutdown(other, SHUT_RDWR);
    assert_true(ipc_send(&link_store, IPC_EXPUNGED, NULL, -1) < 0);
    assert_int_equal(downs, 1);
    turns(2);
    assert_int_equal(downs, 1);
}

/* More than the socket takes waits in memory and comes in order, descriptors included. */
static void test_a_full_socket_queues(void **state)
{
    (void)state;
    static struct role_play p = { .fd = -1 };
    enum { N = 200 };
    int fd = memfd_create("x", MFD_CLOEXEC);
    assert_int_equal(write(fd, "abc", 3), 3);
    for (uint32_t i = 0; i < N; i++) {
        _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
        pack_u32(&b, i);
        buf_space(&b, 20000);
        assert_int_equal(ipc_send(&link_store, IPC_SEGMENT, &b, i % 50 == 49 ? fd : -1), 0);
    }
    close(fd);
    assert_true(link_store.queued > 1000000);
    for (uint32_t i = 0; i < N; i++) {
        loop_once(l, 0);
        play_expect(&p, other, IPC_SEGMENT);
        assert_int_equal(unpack_u32(&p.in), i);
        assert_int_equal(p.in.in.n, 20000);
        assert_true((p.fd >= 0) == (i % 50 == 49));
    }
    turns(2);
    assert_int_equal(link_store.queued, 0);
    assert_int_equal(link_store.io.events, EPOLLIN);
    assert_int_equal(downs, 0);
}

static void test_the_queue_has_a_ceiling(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    size_t sent = 0;
    int r = 0;
    buf_space(&b, 50000);
    while ((r = ipc_send(&link_store, IPC_SEGMENT, &b, -1)) == 0 && sent < 4u * IPC_QUEUE_MAX) {
        sent += b.n;
        assert_true(link_store.queued <= IPC_QUEUE_MAX);
    }
    assert_int_equal(r, -ENOBUFS);
    assert_true(sent > IPC_QUEUE_MAX / 2);
    assert_int_equal(downs, 1);
    assert_false(link_store.open);
    assert_int_equal(link_store.queued, 0);
}

/* A neighbour that asks for descriptors and does not take them. */
static void test_queued_descriptors_are_bounded(void **state)
{
    (void)state;
    size_t before = open_descriptors(), most = before;
    for (int i = 0; i < 20000 && ipc_send(&link_store, IPC_SEGMENT, NULL, other) == 0; i++)
        if (i % 500 == 0)
            most = MAX(most, open_descriptors());
    assert_true(most < before + 4096);
    ipc_close(&link_store);
    assert_true(open_descriptors() <= before);
}

static void test_a_payload_that_failed_or_is_too_long_is_not_sent(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = { 0 }, big = BUF(1 << 20);
    ipc_begin(&b);
    pack_str(&b, S("x"));
    b.failed = -ENOMEM;
    assert_int_equal(ipc_send(&link_store, IPC_EXPUNGED, &b, -1), -ENOBUFS);
    ipc_begin(&b);
    assert_int_equal(b.failed, 0);
    assert_int_equal(b.max, IPC_FRAME_MAX);
    buf_space(&big, IPC_FRAME_MAX + 1);
    assert_int_equal(ipc_send(&link_store, IPC_EXPUNGED, &big, -1), -ENOBUFS);
    assert_true(link_store.open);
    assert_int_equal(downs, 0);
}

static int later(uint32_t number)
{
    _cleanup_buf_ struct buf b = BUF(64);
    pack_u32(&b, number);
    return ipc_send_later(&link_store, IPC_SEGMENT, &b);
}

static void expect_number(struct role_play *p, uint32_t number)
{
    play_expect(p, other, IPC_SEGMENT);
    assert_int_equal(unpack_u32(&p->in), number);
    assert_true(unpack_end(&p->in));
}

/* What is sent later waits for a flush or for the next frame, and keeps its place. */
static void test_later_goes_with_the_next(void **state)
{
    (void)state;
    static struct role_play p = { .fd = -1 };
    _cleanup_buf_ struct buf b = BUF(64);
    assert_int_equal(later(1), 0);
    assert_int_equal(later(2), 0);
    turns(3); /* no turn of the loop sends it */
    play_quiet(&p, other, 20);
    ipc_flush(&link_store);
    expect_number(&p, 1);
    expect_number(&p, 2);
    assert_int_equal(later(3), 0);
    pack_u32(&b, 4);
    assert_int_equal(ipc_send(&link_store, IPC_SEGMENT, &b, -1), 0);
    expect_number(&p, 3);
    expect_number(&p, 4);
    ipc_flush(&link_store); /* nothing is there */
    play_quiet(&p, other, 20);
    assert_int_equal(link_store.queued, 0);
    assert_int_equal(downs, 0);
}

/* A socket that was full already: what comes later goes out behind the rest without a flush. */
static void test_later_behind_a_full_socket(void **state)
{
    (void)state;
    enum { N = 200 };
    static struct role_play p = { .fd = -1 };
    for (uint32_t i = 0; i < N; i++) {
        _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
        buf_space(&b, 20000);
        assert_int_equal(ipc_send(&link_store, IPC_SEGMENT, &b, -1), 0);
    }
    assert_true(link_store.queued > 0);
    assert_int_equal(later(7), 0);
    ipc_flush(&link_store);
    for (uint32_t i = 0; i < N; i++) {
        play_expect(&p, other, IPC_SEGMENT);
        assert_int_equal(p.in.in.n, 20000);
        turns(1);
    }
    expect_number(&p, 7);
    assert_int_equal(downs, 0);
}

static void test_later_has_the_same_ceilings(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf big = BUF(1 << 20), b = BUF(IPC_FRAME_MAX);
    int r = 0;
    buf_space(&big, IPC_FRAME_MAX + 1);
    assert_int_equal(ipc_send_later(&link_store, IPC_EXPUNGED, &big), -ENOBUFS);
    assert_int_equal(downs, 0);
    buf_space(&b, 50000);
    for (size_t sent = 0; r == 0 && sent < 4u * IPC_QUEUE_MAX; sent += b.n)
        r = ipc_send_later(&link_store, IPC_SEGMENT, &b);
    assert_int_equal(r, -ENOBUFS);
    assert_int_equal(downs, 1);
    assert_int_equal(later(1), -EPIPE);
    ipc_flush(&link_store);
    assert_int_equal(downs, 1);
}

static void test_a_flush_finds_the_peer_dead(void **state)
{
    (void)state;
    assert_int_equal(later(1), 0);
    shutdown(other, SHUT_RDWR);
    assert_int_equal(downs, 0);
    ipc_flush(&link_store);
    assert_int_equal(downs, 1);
    assert_false(link_store.open);
    assert_int_equal(link_store.queued, 0);
}

/* More than one turn of the loop takes, and no frame that has come is left behind. */
static void test_drain(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++)
        play_send(other, IPC_MAILDROP_CLOSE, NULL, -1);
    ipc_drain(&link_store);
    assert_int_equal(frames, 200);
    assert_true(link_store.open);
    ipc_drain(&link_store);
    assert_int_equal(frames, 200);
    play_send(other, IPC_MAILDROP_CLOSE, NULL, -1);
    shutdown(other, SHUT_RDWR);
    ipc_drain(&link_store);
    assert_int_equal(frames, 201);
    assert_int_equal(downs, 1);
    ipc_drain(&link_store); /* closed: nothing */
    assert_int_equal(downs, 1);
}

static void test_drain_stops_at_a_bad_frame(void **state)
{
    (void)state;
    verdict = -EBADMSG;
    for (int i = 0; i < 3; i++)
        play_send(other, IPC_MAILDROP_CLOSE, NULL, -1);
    ipc_drain(&link_store);
    assert_int_equal(frames, 1);
    assert_int_equal(downs, 1);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(role_name[ROLE_MASTER], "master");
    assert_string_equal(role_name[ROLE_SMTP_IN], "smtp-in");
    assert_string_equal(ipc_name[IPC_CONFIG], "CONFIG");
    assert_string_equal(ipc_name[IPC_SEGMENT], "SEGMENT");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        T(test_a_frame_arrives_whole_with_its_descriptor),
        T(test_a_descriptor_that_is_not_taken_is_closed),
        T(test_more_than_one_descriptor_leaks_none),
        cmocka_unit_test_teardown(test_what_no_row_allows_drops_the_peer, teardown),
        T(test_a_handler_that_refuses_drops_the_peer),
        T(test_what_was_sent_before_the_peer_died_still_arrives),
        T(test_sending_to_a_dead_peer_drops_it_once),
        T(test_a_full_socket_queues),
        T(test_the_queue_has_a_ceiling),
        T(test_queued_descriptors_are_bounded),
        T(test_a_payload_that_failed_or_is_too_long_is_not_sent),
        T(test_later_goes_with_the_next),
        T(test_later_behind_a_full_socket),
        T(test_later_has_the_same_ceilings),
        T(test_a_flush_finds_the_peer_dead),
        T(test_drain),
        T(test_drain_stops_at_a_bad_frame),
        T(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
