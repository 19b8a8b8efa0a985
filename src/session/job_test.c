/* Jobs as frames: what the store packs is read, what is cut or false is refused, results fit in a frame. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "session/job.h"

static void pack_job(struct buf *b, uint32_t n)
{
    pack_u64(b, 7);
    pack_u64(b, 70);
    pack_str(b, S("0123456789abcdef"));
    pack_u32(b, 3);
    pack_u32(b, 2);
    pack_str(b, S(""));
    pack_str(b, S("mda bob |cat"));
    pack_str(b, S(""));
    pack_u64(b, 100);
    pack_u64(b, 50);
    pack_str(b, S("Delivered-To: x\r\n"));
    pack_str(b, S("s@far.example"));
    pack_str(b, S("id"));
    for (uint8_t i = 1; i <= 4; i++)
        pack_u8(b, i <= 2 ? i : 1);
    pack_str(b, S("|cat"));
    pack_str(b, S("bob"));
    pack_u64(b, 1764000000000000);
    pack_str(b, S("192.0.2.1"));
    pack_str(b, S("mx.far.example"));
    pack_str(b, S("helo.example"));
    pack_str(b, S("ESMTPSA"));
    pack_str(b, S("anna"));
    pack_u32(b, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_u32(b, i + 5);
        pack_str(b, S("bob@example.org"));
        pack_str(b, S("rfc822;B@example.org"));
        pack_u8(b, 2);
        pack_str(b, S("info@example.org"));
    }
}

static int read_from(str bytes, bool with_fd, struct job *out)
{
    struct ipc_frame f = { .type = IPC_JOB, .in = UNPACK(bytes), .fd = with_fd ? open("/dev/null", O_RDONLY) : -1 };
    int r = job_read(&f, out);
    assert_int_equal(f.fd, -1); /* taken, or closed */
    return r;
}

static void test_read(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    struct job j;
    pack_job(&b, 2);
    assert_int_equal(read_from(buf_str(&b), true, &j), 0);
    assert_true(j.id == 7 && j.message == 70 && j.number == 3 && j.attempt == 2 && j.offset == 100 && j.length == 50);
    assert_memory_equal(j.session, "0123456789abcdef", 16);
    assert_true(str_eq(j.destination, S("mda bob |cat")) && str_eq(j.via, S("|cat")) && str_eq(j.user, S("bob")));
    assert_true(str_eq(j.sender, S("s@far.example")) && str_eq(j.envid, S("id")) && j.ret == 1 && j.body == 2);
    assert_true(j.smtputf8 && j.requiretls && j.received_us == 1764000000000000 && j.fd >= 0);
    assert_true(str_eq(j.client_address, S("192.0.2.1")) && str_eq(j.client_name, S("mx.far.example")));
    assert_true(str_eq(j.client_helo, S("helo.example")) && str_eq(j.client_protocol, S("ESMTPSA")));
    assert_true(str_eq(j.sasl_user, S("anna")) && j.n == 2 && j.index[1] == 6 && j.rcpts[1].notify == 2);
    assert_true(str_eq(j.rcpts[1].address, S("bob@example.org")) && str_eq(j.original[1], S("info@example.org")));
    assert_true(str_eq(j.rcpts[0].orcpt, S("rfc822;B@example.org")));
    job_end(&j);
    assert_int_equal(j.fd, -1);
}

static void test_refused(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    struct job j;
    pack_job(&b, 1);
    for (size_t n = 0; n < b.n; n++)
        assert_true(read_from(str_first(buf_str(&b), n), true, &j) < 0);
    assert_int_equal(read_from(buf_str(&b), false, &j), -EBADMSG); /* nothing to send */
    buf_addc(&b, 0);
    assert_int_equal(read_from(buf_str(&b), true, &j), -EBADMSG);
    buf_clear(&b);
    pack_job(&b, 0);
    assert_int_equal(read_from(buf_str(&b), true, &j), -EBADMSG); /* for nobody */
}

/* The first word counts; long texts of all recipients fit. */
static void test_results(void **state)
{
    (void)state;
    static char words[8000];
    int pair[2];
    struct loop *l = NULL;
    struct ipc_link link = { 0 };
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    struct job j;
    pack_job(&b, 500);
    assert_int_equal(read_from(buf_str(&b), true, &j), 0);
    memset(words, 'w', sizeof(words));
    job_result(&j, 3, JOB_RELAYED, 250, S("2.0.0"), S("first"));
    job_result(&j, 3, JOB_FAILED, 550, S("5.0.0"), S("second"));
    job_result(&j, 500, JOB_FAILED, 550, S("5.0.0"), S("nobody"));
    job_results(&j, JOB_DEFERRED, 451, str_of(words, 100), str_of(words, sizeof(words)));
    assert_true(j.results[3].outcome == JOB_RELAYED && str_eq(j.results[3].text, S("first")));
    assert_true(j.results[4].outcome == JOB_DEFERRED && j.results[4].status.n <= 16 && j.results[4].text.n > 50);
    assert_int_equal(ipc_pair(pair), 0);
    assert_int_equal(loop_new(&env_system, &l), 0);
    assert_int_equal(ipc_open(&link, l, pair[0], ROLE_MDA, ROLE_STORE), 0);
    job_report(&link, &j);
    struct job_attach a;
    job_attach_begin(&a, &link);
    for (int i = 0; i < 100; i++) /* too many for one frame */
        job_attach_add(&a, &j);
    job_attach_end(&a);
    static char frame[IPC_FRAME_MAX + 100];
    unsigned announced = 0;
    bool last = false;
    assert_true(recv(pair[1], frame, sizeof(frame), 0) > 30000);
    assert_int_equal(frame[0], IPC_JOB_RESULT);
    for (loop_once(l, 0); !last; loop_once(l, 0)) {
        ssize_t n = recv(pair[1], frame, sizeof(frame), 0);
        struct unpack in = UNPACK(str_of(frame + 2, (size_t)n - 2));
        assert_true(n > 0 && frame[0] == IPC_JOB_ATTACH);
        last = unpack_u8(&in);
        announced += unpack_u32(&in);
    }
    assert_int_equal(announced, 100);
    ipc_close(&link);
    close(pair[1]);
    loop_free(l);
    job_end(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_results),
    };
    return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
