/* Role mda and its children: jobs come in, results go out; a worker that is killed, a store that goes, limits, the end.
 * The test plays master and store. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include "io/role_play.h"
#include "mda/mda_job.h"
#include "mda/mda_role.h"

#define CONTENT "Subject: x\r\n\r\nhello\r\n"

struct stage {
    struct role_play p;
    int content;
    char mail[200];          /* a folder that the user of the test owns */
    struct { uint64_t id; uint8_t outcome; char status[16], text[1000]; } got;
};

static void stage_up(struct stage *s, const char *settings)
{
    memset(s, 0, sizeof(*s));
    play_init(&s->p);
    buf_addf(&s->p.settings, "sandbox best-effort\nmda_min_uid 1\nmda_user %s\n%s",
             geteuid() == 0 ? "nobody" : getpwuid(geteuid())->pw_name, settings);
    snprintf(s->mail, sizeof(s->mail), "%s/mail", s->p.dir);
    assert_int_equal(mkdir(s->mail, 0700), 0);
    assert_int_equal(chmod(s->p.dir, 0755), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(s->mail, getpwnam("nobody")->pw_uid, getpwnam("nobody")->pw_gid), 0);
    s->content = memfd_create("content", MFD_CLOEXEC);
    assert_int_equal(write(s->content, CONTENT, strlen(CONTENT)), strlen(CONTENT));
    play_fork(&s->p, mda_role_run);
    play_begin(&s->p, NULL);
    play_peer(&s->p, ROLE_STORE);
    play_start(&s->p);
}

static void stage_down(struct stage *s)
{
    close(s->content);
    play_done(&s->p);
}

/* One message for bob; fd: its content. */
static void send_job(struct stage *s, uint64_t id, const char *via, const char *user, int fd)
{
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    const str empty = STR_NONE;
    pack_u64(&b, id);
    pack_u64(&b, id + 1000);
    pack_str(&b, S("0123456789abcdef"));
    pack_u32(&b, 1);
    pack_u32(&b, 1);
    pack_str(&b, empty);
    pack_str(&b, S("mda"));
    pack_str(&b, empty);
    pack_u64(&b, 0);
    pack_u64(&b, strlen(CONTENT));
    pack_str(&b, S("Delivered-To: bob@example.org\r\n"));
    pack_str(&b, S("ann@a.example"));
    pack_str(&b, empty);
    pack_u32(&b, 0); /* ret, body, smtputf8, requiretls */
    pack_str(&b, str_z(via));
    pack_str(&b, str_z(user));
    pack_u64(&b, 1764000000000000);
    for (int i = 0; i < 5; i++)
        pack_str(&b, empty);
    pack_u32(&b, 1);
    pack_u32(&b, 7);
    pack_str(&b, S("bob@example.org"));
    pack_str(&b, empty);
    pack_u8(&b, 0);
    pack_str(&b, empty);
    play_send(s->p.peer[ROLE_STORE], IPC_JOB, &b, fd);
}

/* Each % of the mechanism stands for the folder for mail. */
static void deliver_to(struct stage *s, uint64_t id, const char *mechanism)
{
    _cleanup_buf_ struct buf via = BUF(2000);
    for (const char *c = mechanism; *c; c++)
        buf_add(&via, *c == '%' ? str_z(s->mail) : str_of(c, 1));
    buf_addc(&via, '\0');
    send_job(s, id, via.p, "", s->content);
}

/* The next result, kept in s->got. */
static void receive(struct stage *s)
{
    struct unpack *in = &s->p.in;
    play_expect(&s->p, s->p.peer[ROLE_STORE], IPC_JOB_RESULT);
    s->got.id = unpack_u64(in);
    unpack_u8(in);
    unpack_str(in);
    unpack_str(in);
    for (int i = 0; i < 3; i++)
        unpack_u32(in);
    unpack_u8(in);
    assert_int_equal(unpack_u32(in), 1);
    assert_int_equal(unpack_u32(in), 7);
    s->got.outcome = unpack_u8(in);
    unpack_u16(in);
    str status = unpack_str(in), text = unpack_str(in);
    snprintf(s->got.status, sizeof(s->got.status), "%.*s", STR_ARG(status));
    snprintf(s->got.text, sizeof(s->got.text), "%.*s", STR_ARG(text));
    assert_true(unpack_end(in));
}

static void became(struct stage *s, uint64_t id, enum job_outcome outcome, const char *status, const char *text)
{
    receive(s);
    assert_int_equal(s->got.id, id);
    if (s->got.outcome != outcome || strcmp(s->got.status, status) || !strstr(s->got.text, text))
        fail_msg("job %llu: outcome %d, %s, %s", (unsigned long long)id, s->got.outcome, s->got.status, s->got.text);
}

static void confirm(struct stage *s, uint64_t id)
{
    struct buf b = BUF(16);
    pack_u64(&b, id);
    play_send(s->p.peer[ROLE_STORE], IPC_JOB_DONE, &b, -1);
}

static void status_becomes(struct stage *s, const char *key, uint64_t value)
{
    uint64_t is = 0;
    for (int i = 0; i < PLAY_PATIENCE_MS / 5; i++, usleep(5000))
        if ((is = play_status(&s->p, key)) == value)
            return;
    fail_msg("%s is %llu", key, (unsigned long long)is);
}

/* JOB_ATTACH with so many jobs, of which the first is `id`. */
static void attached(struct stage *s, uint32_t n, uint64_t id)
{
    struct unpack *in = &s->p.in;
    play_expect(&s->p, s->p.peer[ROLE_STORE], IPC_JOB_ATTACH);
    assert_int_equal(unpack_u8(in), 1);
    assert_int_equal(unpack_u32(in), n);
    if (n)
        assert_int_equal(unpack_u64(in), id);
}

static off_t size_of(const struct stage *s, const char *name)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", s->mail, name);
    return stat(path, &st) < 0 ? -1 : st.st_size;
}

/* The only child of the role. */
static pid_t child_of(const struct stage *s)
{
    char path[100], text[100];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)s->p.pid, (int)s->p.pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    return (pid_t)strtol(text, NULL, 10);
}

static void test_results(void **state)
{
    (void)state;
    struct stage s;
    stage_up(&s, "");
    attached(&s, 0, 0);
    deliver_to(&s, 1, "mbox:%/box");
    became(&s, 1, JOB_RELAYED, "2.0.0", "/mail/box");
    deliver_to(&s, 2, "maildir:%/dir/");
    became(&s, 2, JOB_RELAYED, "2.0.0", "delivered to Maildir");
    deliver_to(&s, 3, "|cp /dev/stdin %/copy");
    became(&s, 3, JOB_RELAYED, "2.0.0", "");
    assert_true(size_of(&s, "copy") > (off_t)strlen(CONTENT) - 4);
    deliver_to(&s, 4, "|sh -c 'echo 5.7.1 no; exit 69'");
    became(&s, 4, JOB_FAILED, "5.7.1", "no");
    deliver_to(&s, 5, "|sh -c 'exit 75'");
    became(&s, 5, JOB_DEFERRED, "4.3.0", "");
    deliver_to(&s, 6, "mbox:%/none/box");
    receive(&s);
    assert_int_equal(s.got.outcome, JOB_DEFERRED);
    status_becomes(&s, "delivered", 3);
    status_becomes(&s, "deferred", 2);
    status_becomes(&s, "failed", 1);
    status_becomes(&s, "jobs", 6);
    for (uint64_t id = 1; id <= 6; id++)
        confirm(&s, id);
    confirm(&s, 6);
    confirm(&s, 4711);
    status_becomes(&s, "jobs", 0);
    status_becomes(&s, "workers_started", 1);
    status_becomes(&s, "commands_started", 3);
    play_stop(&s.p);
    stage_down(&s);
}

/* What cannot be done waits, and says what is to be mended. */
static void test_refused(void **state)
{
    (void)state;
    struct stage s;
    stage_up(&s, "");
    attached(&s, 0, 0);
    send_job(&s, 1, "mbox:/tmp/x", "root", s.content);
    became(&s, 1, JOB_DEFERRED, "4.3.5", "root");
    send_job(&s, 2, "mbox:/tmp/x", "no-such-user", s.content);
    became(&s, 2, JOB_DEFERRED, "4.3.5", "there is no system user no-such-user");
    send_job(&s, 3, "smtp:mx.example.org", "", s.content);
    became(&s, 3, JOB_DEFERRED, "4.3.5", "role mda does not do it");
    send_job(&s, 4, "mbox:relative", "", s.content);
    became(&s, 4, JOB_DEFERRED, "4.3.5", "the mechanism is not right");
    status_becomes(&s, "workers_started", 0);
    play_stop(&s.p);
    stage_down(&s);
}

/* A worker is killed at rest and at work; its jobs are deferred, the next ones are done by another. */
static void test_killed_child(void **state)
{
    (void)state;
    struct stage s;
    stage_up(&s, "");
    attached(&s, 0, 0);
    deliver_to(&s, 1, "mbox:%/box");
    became(&s, 1, JOB_RELAYED, "2.0.0", "");
    kill(child_of(&s), SIGKILL);
    status_becomes(&s, "delivery_workers", 0);
    deliver_to(&s, 2, "mbox:%/box");
    became(&s, 2, JOB_RELAYED, "2.0.0", "");
    pid_t worker = child_of(&s);
    kill(worker, SIGSTOP);
    deliver_to(&s, 3, "mbox:%/box");
    deliver_to(&s, 4, "mbox:%/box");
    status_becomes(&s, "jobs", 4);
    kill(worker, SIGKILL);
    became(&s, 3, JOB_DEFERRED, "4.3.0", "ended by signal 9");
    became(&s, 4, JOB_DEFERRED, "4.3.0", "ended by signal 9");
    status_becomes(&s, "workers_died", 1); /* at rest it had no job to lose */
    deliver_to(&s, 5, "mbox:%/box");
    became(&s, 5, JOB_RELAYED, "2.0.0", "");
    play_stop(&s.p);
    stage_down(&s);
}

/* The store goes while a command runs: the job goes on, the new store hears of it and of its result, and a second copy
 * of the job changes nothing. */
static void test_store_is_lost(void **state)
{
    (void)state;
    struct stage s;
    stage_up(&s, "");
    attached(&s, 0, 0);
    deliver_to(&s, 5, "|sh -c 'cat >> %/out; test -e %/go || sleep 1'");
    status_becomes(&s, "delivery_commands", 1);
    play_peer(&s.p, ROLE_STORE);
    attached(&s, 1, 5);
    deliver_to(&s, 5, "|sh -c 'cat >> %/out'");
    became(&s, 5, JOB_RELAYED, "2.0.0", "");
    off_t size = size_of(&s, "out");
    play_peer(&s.p, ROLE_STORE); /* the one before has died with the result unwritten */
    attached(&s, 1, 5);
    became(&s, 5, JOB_RELAYED, "2.0.0", "");
    confirm(&s, 5);
    status_becomes(&s, "jobs", 0);
    status_becomes(&s, "commands_started", 1);
    assert_true(size > 0 && size_of(&s, "out") == size);
    play_peer(&s.p, ROLE_STORE);
    attached(&s, 0, 0);
    play_stop(&s.p);
    stage_down(&s);
}

static void test_limits(void **state)
{
    (void)state;
    struct stage s;
    stage_up(&s, "mda_commands_max 4\nmda_command_timeout 1s\n"); /* half of them for one user */
    attached(&s, 0, 0);
    for (uint64_t id = 1; id <= 4; id++)
        deliver_to(&s, id, "|sleep 30");
    status_becomes(&s, "delivery_commands", 2);
    status_becomes(&s, "jobs", 4);
    assert_int_equal(play_status(&s.p, "commands_started"), 2);
    for (uint64_t id = 1; id <= 4; id++) {
        receive(&s);
        assert_int_equal(s.got.outcome, JOB_DEFERRED);
        assert_non_null(strstr(s.got.text, "did not end within 1 s"));
    }
    status_becomes(&s, "delivery_commands", 0);
    play_stop(&s.p);
    stage_down(&s);
}

/* The end: a command that runs is stopped, and what became of it is said. */
static void test_stop(void **state)
{
    (void)state;
    struct stage s;
    stage_up(&s, "");
    attached(&s, 0, 0);
    deliver_to(&s, 1, "|sleep 62");
    status_becomes(&s, "delivery_commands", 1);
    play_send(s.p.master, IPC_STOP, NULL, -1);
    became(&s, 1, JOB_DEFERRED, "4.3.2", "the server is stopping");
    assert_int_equal(play_wait(&s.p), 0);
    stage_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results), cmocka_unit_test(test_refused),  cmocka_unit_test(test_killed_child),
        cmocka_unit_test(test_store_is_lost), cmocka_unit_test(test_limits), cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
