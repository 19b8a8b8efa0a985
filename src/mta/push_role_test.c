/* Role smtp-out and its neighbours: frames that are none, a store or role dns that goes, credentials, questions. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "mta/push_play.h"

static const struct zone_row zone[] = { { "far.example", DNS_TYPE_MX, 10, "mx.far.example" },
                                        { "mx.far.example", DNS_TYPE_A, 0, "127.0.0.2" },
                                        { "near.example", DNS_TYPE_MX, 10, "mx.near.example" },
                                        { "mx.near.example", DNS_TYPE_A, 0, "127.0.0.3" },
                                        { "nomail.example", DNS_TYPE_MX, 0, "." },
                                        { "lost.example", DNS_TYPE_MX, 0, "?" },
                                        { "private.example", DNS_TYPE_A, 0, "10.1.2.3" },
                                        { 0 } };

/* JOB_ATTACH: which job, of which message, for how many recipients. n: all that there are. */
static void attached(struct stage *s, uint32_t n, uint64_t id, uint64_t message, uint32_t recipients)
{
    struct unpack *in = &s->p.in;
    bool seen = n == 0;
    play_expect(&s->p, s->p.peer[ROLE_STORE], IPC_JOB_ATTACH);
    assert_int_equal(unpack_u8(in), 1);
    assert_int_equal(unpack_u32(in), n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t job = unpack_u64(in), of = unpack_u64(in);
        uint32_t k = unpack_u32(in);
        for (uint32_t j = 0; j < k; j++)
            assert_int_equal(unpack_u32(in), 7 + j);
        if (job == id) {
            assert_int_equal(of, message);
            assert_int_equal(k, recipients);
            seen = true;
        }
    }
    assert_true(unpack_end(in) && seen);
}

/* The store goes while a message is being sent: it ends all the same, and the new store hears of it. */
static void test_the_store_is_lost_while_sending(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    stage_up(&s, zone, "");
    job_send(&s, &(struct job_spec){ .id = 5, .message = 99, .destination = "far.example", .n = 2 });
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_content(&c, 2);
    close(TAKE_FD(s.p.peer[ROLE_STORE]));
    status_becomes(&s, "jobs", 1);
    peer_say(&c, "250 2.0.0 queued\r\n");
    status_becomes(&s, "relayed", 2);
    play_peer(&s.p, ROLE_STORE);
    attached(&s, 1, 5, 99, 2);
    assert_int_equal(job_became(&s, 5, 1, 250, "2.0.0")->n, 2);
    play_peer(&s.p, ROLE_STORE); /* which dies before it has written that */
    attached(&s, 1, 5, 99, 2);
    job_became(&s, 5, 1, 250, "2.0.0");
    job_confirm(&s, 5);
    status_becomes(&s, "jobs", 0);
    status_becomes(&s, "relayed", 2); /* counted once */
    play_peer(&s.p, ROLE_STORE);
    attached(&s, 0, 0, 0, 0);
    job_simple(&s, 6, "far.example"); /* the connection has survived all that */
    peer_take(&c);
    assert_true(job_became(&s, 6, 1, 250, "2.0.0")->reused);
    play_stop(&s.p);
}

/* The new store hears of a job whose result is still to come, and gets it once. */
static void test_the_store_is_back_before_the_result(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    stage_up(&s, zone, "");
    job_send(&s, &(struct job_spec){ .id = 5, .message = 99, .destination = "far.example" });
    job_send(&s, &(struct job_spec){ .id = 6, .message = 98, .destination = "near.example", .n = 3 });
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_content(&c, 1);
    play_peer(&s.p, ROLE_STORE);
    attached(&s, 2, 6, 98, 3);
    play_quiet(&s.p, s.p.peer[ROLE_STORE], 100);
    job_send(&s, &(struct job_spec){ .id = 5, .message = 99, .destination = "far.example" }); /* it has it already */
    peer_say(&c, "250 2.0.0 queued\r\n");
    job_became(&s, 5, 1, 250, "2.0.0");
    status_becomes(&s, "jobs", 2);
    play_stop(&s.p);
}

/* Many jobs: the list comes in several frames, of which the last says so. */
static void test_a_long_list_of_jobs(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    enum { JOBS = 300, RECIPIENTS = 100 };
    static bool seen[JOBS + 1];
    uint32_t frames = 0, jobs = 0;
    stage_up(&s, NULL, ""); /* the DNS is silent */
    for (uint32_t i = 1; i <= JOBS; i++)
        job_send(&s, &(struct job_spec){ .id = i, .destination = "far.example", .n = RECIPIENTS });
    status_becomes(&s, "jobs", JOBS);
    play_peer(&s.p, ROLE_STORE);
    for (bool last = false; !last; frames++) {
        play_expect(&s.p, s.p.peer[ROLE_STORE], IPC_JOB_ATTACH);
        last = unpack_u8(&s.p.in);
        uint32_t n = unpack_u32(&s.p.in);
        for (uint32_t i = 0; i < n; i++, jobs++) {
            uint64_t id = unpack_u64(&s.p.in);
            assert_in_range(id, 1, JOBS);
            assert_false(seen[id]);
            seen[id] = true;
            assert_int_equal(unpack_u64(&s.p.in), id + 1000);
            uint32_t k = unpack_u32(&s.p.in);
            assert_int_equal(k, RECIPIENTS);
            while (k--)
                unpack_u32(&s.p.in);
        }
        assert_true(unpack_end(&s.p.in));
    }
    assert_int_equal(jobs, JOBS);
    assert_in_range(frames, 2, 10);
    play_stop(&s.p);
}

static void test_confirmations_of_nothing(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    stage_up(&s, zone, "");
    job_confirm(&s, 4711);
    job_simple(&s, 5, "far.example");
    peer_accept(&s, &c, 0);
    job_confirm(&s, 5); /* too early: it has no result */
    job_confirm(&s, UINT64_MAX);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    job_became(&s, 5, 1, 250, "2.0.0");
    job_confirm(&s, 5);
    job_confirm(&s, 5);
    status_becomes(&s, "jobs", 0);
    play_stop(&s.p);
}

/* A frame that is none drops the store, never the role. */
static void spoiled(struct stage *s, enum ipc_type type, struct buf *b, bool fd)
{
    int copy = fd ? fcntl(s->content, F_DUPFD_CLOEXEC, 3) : -1;
    play_send(s->p.peer[ROLE_STORE], type, b, copy);
    if (copy >= 0)
        close(copy);
    play_closed(&s->p, s->p.peer[ROLE_STORE]);
    play_peer(&s->p, ROLE_STORE);
    attached(s, 0, 0, 0, 0);
}

static void job_head(struct buf *b, size_t session, uint32_t n)
{
    static const char zeros[64];
    *b = BUF(IPC_FRAME_MAX);
    pack_u64(b, 1);
    pack_u64(b, 2);
    pack_str(b, str_of(zeros, session));
    pack_u32(b, 1);
    pack_u32(b, 1);
    pack_str(b, S("mx"));
    pack_str(b, S("far.example"));
    pack_str(b, STR_NONE);
    pack_u64(b, 0);
    pack_u64(b, 10);
    for (int i = 0; i < 3; i++)
        pack_str(b, STR_NONE);
    for (int i = 0; i < 4; i++)
        pack_u8(b, 0);
    pack_str(b, STR_NONE);
    pack_str(b, STR_NONE);
    pack_u64(b, 0);
    for (int i = 0; i < 5; i++)
        pack_str(b, STR_NONE);
    pack_u32(b, n);
}

static void job_recipient(struct buf *b)
{
    pack_u32(b, 0);
    pack_str(b, S("x@far.example"));
    pack_str(b, STR_NONE);
    pack_u8(b, 0);
    pack_str(b, STR_NONE);
}

static void test_jobs_that_are_none(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct buf b;
    stage_up(&s, zone, "");
    b = BUF(64);
    spoiled(&s, IPC_JOB, &b, true); /* nothing */
    b = BUF(64);
    buf_add(&b, S("\377\377\377\377\377\377\377\377\377\377\377\377garbage"));
    spoiled(&s, IPC_JOB, &b, true);
    job_head(&b, 16, 0);
    spoiled(&s, IPC_JOB, &b, true); /* for nobody */
    job_head(&b, 15, 1);
    job_recipient(&b);
    spoiled(&s, IPC_JOB, &b, true); /* a session that is none */
    job_head(&b, 16, 100000);
    for (int i = 0; i < 1000; i++)
        job_recipient(&b);
    spoiled(&s, IPC_JOB, &b, true); /* says more than there are */
    job_head(&b, 16, UINT32_MAX);
    job_recipient(&b);
    spoiled(&s, IPC_JOB, &b, true);
    job_head(&b, 16, 1);
    job_recipient(&b);
    buf_addc(&b, 0);
    spoiled(&s, IPC_JOB, &b, true); /* a byte too many */
    job_head(&b, 16, 1);
    job_recipient(&b);
    spoiled(&s, IPC_JOB, &b, false); /* nothing to send */
    b = BUF(64);
    pack_u32(&b, 1);
    spoiled(&s, IPC_JOB_DONE, &b, false);
    b = BUF(64);
    pack_u64(&b, 1);
    spoiled(&s, IPC_DSN_MAKE, &b, true); /* not for this role */
    status_becomes(&s, "jobs", 0);
    play_stop(&s.p);
}

/* A job cut anywhere is none, and leaves nothing behind. */
static void test_a_job_cut_short(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct buf whole, part;
    stage_up(&s, zone, "");
    job_head(&whole, 16, 2);
    job_recipient(&whole);
    job_recipient(&whole);
    for (size_t n = 0; n < whole.n; n += 7) {
        part = BUF(IPC_FRAME_MAX);
        buf_add(&part, str_of(whole.p, n));
        spoiled(&s, IPC_JOB, &part, true);
    }
    buf_done(&whole);
    status_becomes(&s, "jobs", 0);
    play_stop(&s.p);
}

/* The most recipients that a job may have, each with a long reply: the result still fits into a frame. */
static void test_a_thousand_recipients(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    char refusal[600];
    stage_up(&s, zone, "");
    memset(refusal, 'x', sizeof(refusal));
    memcpy(refusal, "550 5.1.1 ", 10);
    memcpy(refusal + 500, "\r\n", 3);
    job_send(&s, &(struct job_spec){ .id = 5, .destination = "far.example", .n = 1000 });
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250-far.example\r\n250 ENHANCEDSTATUSCODES\r\n");
    peer_talk(&c, "MAIL", "250 ok\r\n");
    for (int i = 0; i < 1000; i++)
        peer_talk(&c, "RCPT", refusal);
    peer_talk(&c, "RSET", "250 ok\r\n");
    struct stage_result *x = job_became(&s, 5, 3, 550, "5.1.1");
    assert_int_equal(x->n, 1000);
    assert_int_equal(x->r[999].outcome, 3);
    text_has(x->r[999].text, "5.1.1");
    job_confirm(&s, 5);
    status_becomes(&s, "failed", 1000);
    play_stop(&s.p);
}

static void test_role_dns_is_away(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    stage_up(&s, NULL, "");
    job_simple(&s, 1, "far.example");
    play_expect(&s.p, s.p.peer[ROLE_DNS], IPC_DNS_ASK);
    close(TAKE_FD(s.p.peer[ROLE_DNS])); /* with a question open */
    struct stage_result *x = job_became(&s, 1, 2, 0, "4.4.3");
    assert_true(x->site_failed);
    job_confirm(&s, 1);
    job_simple(&s, 2, "far.example"); /* and without one to ask */
    job_became(&s, 2, 2, 0, "4.4.3");
    job_confirm(&s, 2);
    s.zone = zone;
    play_peer(&s.p, ROLE_DNS);
    play_status(&s.p, "jobs"); /* it has come */
    job_simple(&s, 3, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    job_became(&s, 3, 1, 250, "2.0.0");
    play_stop(&s.p);
}

static void test_what_the_dns_says(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    stage_up(&s, zone, "route no { recipient @no.example; fail \"5.7.1 Not there\" }\n");
    job_simple(&s, 1, "nomail.example");
    assert_false(job_became(&s, 1, 3, 0, "5.1.10")->site_failed);
    job_simple(&s, 2, "lost.example");
    assert_true(job_became(&s, 2, 2, 0, "4.4.3")->site_failed);
    job_simple(&s, 3, "nowhere.example");
    job_became(&s, 3, 3, 0, "5.1.2");
    job_simple(&s, 4, "private.example");
    text_has(job_became(&s, 4, 3, 0, "5.4.4")->r[0].text, "10.1.2.3");
    job_send(&s, &(struct job_spec){ .id = 5, .route = "no", .destination = "route no no.example" });
    text_is(job_became(&s, 5, 3, 0, "5.7.1")->r[0].text, "Not there");
    job_send(&s, &(struct job_spec){ .id = 6, .route = "gone", .destination = "route gone far.example" });
    job_became(&s, 6, 2, 0, "4.3.5");
    job_send(&s, &(struct job_spec){ .id = 7, .destination = "no key at all of a destination" });
    job_became(&s, 7, 2, 0, "4.3.5");
    job_simple(&s, 8, "?");
    assert_in_range(stage_result(&s, 8)->r[0].outcome, 2, 3);
    play_stop(&s.p);
}

#define RELAY "route out { recipient @far.example; next smtp [127.0.0.2]:%u; tls none; auth %s }\n"

static void relay_up(struct stage *s, const char *credentials)
{
    stage_init(s, zone, "relay_credentials relay\n");
    buf_addf(&s->p.settings, RELAY, s->port, "isp");
    play_fork(&s->p, push_role_run);
    if (credentials)
        play_file(&s->p, "relay_credentials", str_z(credentials));
    play_begin(&s->p, NULL);
    stage_start(s);
    job_send(s, &(struct job_spec){ .id = 1, .route = "out", .destination = "route out" });
}

static void test_credentials(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    relay_up(&s, "# of the provider\n\nother x y\n  isp  me  pass word \n");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250-far.example\r\n250 AUTH PLAIN\r\n");
    str line = client_line(&c);
    assert_true(str_eq(line, S("AUTH PLAIN AG1lAHBhc3Mgd29yZA=="))); /* \0me\0pass word */
    peer_say(&c, "235 2.7.0 ok\r\n");
    peer_take(&c);
    job_became(&s, 1, 1, 250, "2.0.0");
    play_stop(&s.p);
}

/* An administrator sends the mail of a route elsewhere: the route's password does not go with it. */
static void test_credentials_stay_with_their_hosts(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    char host[32];
    relay_up(&s, "isp me word\n");
    snprintf(host, sizeof(host), "[127.0.0.4]:%u", s.port);
    job_send(&s, &(struct job_spec){ .id = 2, .route = "out", .destination = "route out", .redirect = host });
    peer_accept(&s, &c, 2);
    peer_hello(&c, "250-other.example\r\n250 AUTH PLAIN\r\n");
    peer_take(&c);
    job_became(&s, 2, 1, 250, "2.0.0");
    play_stop(&s.p);
}

static void test_credentials_that_are_missing(void **state)
{
    (void)state;
    static const char *const files[] = { NULL, "", "other x y\n", "ISP x y\n", "\0\0\0" };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        _cleanup_stage_ struct stage s;
        relay_up(&s, files[i]);
        text_has(job_became(&s, 1, 2, 0, "4.3.5")->r[0].text, "relay_credentials");
        assert_false(host_called(&s, 0, 100)); /* never without */
        play_stop(&s.p);
    }
}

static void test_credentials_that_are_refused(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    relay_up(&s, "isp me wrong\n");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250-far.example\r\n250 AUTH PLAIN\r\n");
    peer_talk(&c, "AUTH PLAIN", "535 5.7.8 no\r\n");
    struct stage_result *x = stage_result(&s, 1);
    assert_true(x->site_failed);
    assert_int_equal(x->r[0].outcome, 2); /* a wrong password must not bounce anybody's mail */
    assert_int_equal(x->r[0].code, 535);
    play_stop(&s.p);
}

static str question(struct stage *s, const char *sender, const char *recipient, bool json, bool *out_ok)
{
    struct buf b = BUF(IPC_FRAME_MAX), q = BUF(IPC_FRAME_MAX);
    pack_str(&q, str_z(sender));
    pack_str(&q, str_z(recipient));
    pack_u8(&q, json);
    pack_u64(&b, 31);
    pack_str(&b, buf_str(&q));
    play_send(s->p.master, IPC_ASK, &b, -1);
    buf_done(&q);
    assert_true(stage_wait(s, s->p.master, PLAY_PATIENCE_MS));
    play_expect(&s->p, s->p.master, IPC_ANSWER);
    assert_int_equal(unpack_u64(&s->p.in), 31);
    *out_ok = unpack_u8(&s->p.in);
    str text = unpack_str(&s->p.in);
    assert_true(unpack_end(&s->p.in));
    return text;
}

static void test_questions_of_the_command(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    bool ok;
    stage_up(&s, zone, "");
    text_has(question(&s, "", "x@far.example", false, &ok), "1. mx.far.example [127.0.0.2]");
    assert_true(ok);
    text_has(question(&s, "a@b.example", "x@nomail.example", true, &ok), "5.1.10");
    assert_true(ok);
    text_is(question(&s, "", "far.example", false, &ok), "not an address: it has no @");
    assert_false(ok);
    question(&s, "", "", false, &ok);
    assert_false(ok);
    str hostile = question(&s, "", "x@\033[31mred", false, &ok);
    assert_int_equal(str_chr(hostile, '\033'), -1);
    question(&s, "", "x@[127.0.0.2]", false, &ok);
    assert_true(ok);
    assert_false(host_called(&s, 0, 50)); /* a question sends nothing */
    play_stop(&s.p);
}

/* More questions than are answered at once, with a silent DNS; the end comes all the same. */
static void test_too_many_questions(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    unsigned refused = 0;
    stage_up(&s, NULL, "");
    for (uint64_t i = 0; i < 20; i++) {
        struct buf b = BUF(4096), q = BUF(4096);
        pack_str(&q, STR_NONE);
        pack_str(&q, S("x@far.example"));
        pack_u8(&q, 0);
        pack_u64(&b, i);
        pack_str(&b, buf_str(&q));
        play_send(s.p.master, IPC_ASK, &b, -1);
        buf_done(&q);
    }
    while (play_receive(&s.p, s.p.master, 300) > 0) {
        assert_int_equal((uint8_t)s.p.frame[0], IPC_ANSWER);
        unpack_u64(&s.p.in);
        assert_false(unpack_u8(&s.p.in));
        refused++;
    }
    assert_int_equal(refused, 4);
    play_stop(&s.p);
}

/* A new configuration: idle connections of the former one are not used again. */
static void test_a_new_generation(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    stage_up(&s, zone, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    job_became(&s, 1, 1, 250, "2.0.0");
    job_confirm(&s, 1);
    buf_addf(&s.p.settings, "route other { recipient @far.example; next smtp [127.0.0.3]:%u }\n", s.port);
    play_configure(&s.p);
    play_expect(&s.p, s.p.master, IPC_APPLIED);
    job_simple(&s, 2, "far.example");
    peer_accept(&s, &d, 0);
    peer_hello(&d, "250 far.example\r\n");
    peer_take(&d);
    job_became(&s, 2, 1, 250, "2.0.0");
    play_stop(&s.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_store_is_lost_while_sending),
        cmocka_unit_test(test_the_store_is_back_before_the_result),
        cmocka_unit_test(test_a_long_list_of_jobs),
        cmocka_unit_test(test_confirmations_of_nothing),
        cmocka_unit_test(test_jobs_that_are_none),
        cmocka_unit_test(test_a_job_cut_short),
        cmocka_unit_test(test_a_thousand_recipients),
        cmocka_unit_test(test_role_dns_is_away),
        cmocka_unit_test(test_what_the_dns_says),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_credentials_stay_with_their_hosts),
        cmocka_unit_test(test_credentials_that_are_missing),
        cmocka_unit_test(test_credentials_that_are_refused),
        cmocka_unit_test(test_questions_of_the_command),
        cmocka_unit_test(test_too_many_questions),
        cmocka_unit_test(test_a_new_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
