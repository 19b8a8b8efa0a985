/* Connections of role smtp-out: raced, fallen back from, encrypted or not, used again, found dead. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "mta/push_play.h"

static const struct zone_row one_host[] = { { "far.example", DNS_TYPE_MX, 10, "mx.far.example" },
                                            { "mx.far.example", DNS_TYPE_A, 0, "127.0.0.2" },
                                            { "near.example", DNS_TYPE_MX, 10, "mx.near.example" },
                                            { "mx.near.example", DNS_TYPE_A, 0, "127.0.0.3" },
                                            { 0 } };

static const struct zone_row two_of_one[] = { { "far.example", DNS_TYPE_MX, 10, "mx.far.example" },
                                              { "mx.far.example", DNS_TYPE_A, 0, "127.0.0.2" },
                                              { "mx.far.example", DNS_TYPE_A, 0, "127.0.0.3" },
                                              { 0 } };

static const struct zone_row two_groups[] = { { "far.example", DNS_TYPE_MX, 10, "mx.far.example" },
                                              { "far.example", DNS_TYPE_MX, 20, "later.far.example" },
                                              { "mx.far.example", DNS_TYPE_A, 0, "127.0.0.2" },
                                              { "mx.far.example", DNS_TYPE_A, 0, "127.0.0.3" },
                                              { "later.far.example", DNS_TYPE_A, 0, "127.0.0.4" },
                                              { 0 } };

static void test_a_job_and_its_result(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    char mta[64];
    stage_up(&s, one_host, "");
    job_send(&s, &(struct job_spec){ .id = 5, .destination = "far.example", .prefix = "Delivered-To: x@y\r\n" });
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250-far.example\r\n250 ENHANCEDSTATUSCODES\r\n");
    assert_true(str_eq(peer_content(&c, 1), S("Delivered-To: x@y\nSubject: x\n\n..hello\n")));
    peer_say(&c, "250-2.0.0 one\r\n250 2.0.0 two\r\n");
    struct stage_result *x = job_became(&s, 5, 1, 250, "2.0.0");
    snprintf(mta, sizeof(mta), "mx.far.example [127.0.0.2]:%u", s.port);
    assert_true(str_eq(x->mta, str_z(mta)));
    text_is(x->r[0].text, "250-2.0.0 one\n250 2.0.0 two");
    assert_false(x->site_failed || x->reused || x->tls.n);
    job_confirm(&s, 5);
    status_becomes(&s, "relayed", 1);
    status_becomes(&s, "jobs", 0);
    status_becomes(&s, "connections_open", 1);
    play_stop(&s.p);
    client_expect_end(&c); /* an idle connection is closed at the end */
}

/* A mechanism names its host: no MX, no question to the DNS for an address, any network. */
static void test_a_mechanism(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, near = { .fd = -1 };
    char via[64];
    stage_up(&s, one_host, "");
    snprintf(via, sizeof(via), "smtp:127.0.0.4:%u", s.port);
    job_send(&s, &(struct job_spec){ .id = 5, .destination = "via far.example", .route = "", .via = via });
    peer_accept(&s, &c, 2);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    job_became(&s, 5, 1, 250, "2.0.0");
    assert_int_equal(s.asked, 0);
    job_confirm(&s, 5);
    snprintf(via, sizeof(via), "smtp:MX.near.example:%u", s.port); /* a name is asked for, its MX is not */
    job_send(&s, &(struct job_spec){ .id = 6, .destination = "via near.example", .route = "", .via = via });
    peer_accept(&s, &near, 1);
    peer_hello(&near, "250 far.example\r\n");
    peer_take(&near);
    job_became(&s, 6, 1, 250, "2.0.0");
    assert_in_range(s.asked, 1, 2);
    static const char *const no_way[] = { "|/bin/true", "smtp:", "lmtp:~/socket", "mbox:/m" };
    for (uint64_t i = 0; i < ARRAY_LEN(no_way); i++) {
        job_send(&s, &(struct job_spec){ .id = 7 + i, .destination = "via x", .route = "", .via = no_way[i] });
        struct stage_result *x = job_became(&s, 7 + i, 2, 0, "4.3.5");
        assert_false(x->site_failed);
    }
    play_stop(&s.p);
}

/* LMTP through a Unix socket: each recipient its word after the dot. */
static void test_a_socket(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    char folder[] = "/tmp/posthouse-push-XXXXXX", via[200];
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/mda", folder);
    snprintf(via, sizeof(via), "lmtp:%s/mda", folder);
    stage_up(&s, one_host, "smtp_bind_address 127.0.0.9\n");
    host_close(&s, 0);
    s.host[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s.host[0], (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s.host[0], 4), 0);
    job_send(&s, &(struct job_spec){ .id = 5, .destination = "via far.example", .route = "", .via = via,
                                     .requiretls = 1 });
    peer_accept(&s, &c, 0);
    peer_say(&c, "220 far.example\r\n");
    peer_talk(&c, "LHLO mx.example.org", "250-far.example\r\n250 STARTTLS\r\n"); /* which it does not begin */
    peer_content(&c, 1);
    peer_say(&c, "452 4.2.2 full\r\n");
    struct stage_result *x = job_became(&s, 5, 2, 452, "4.2.2");
    snprintf(via, sizeof(via), "unix:%s", at.sun_path);
    text_is(x->mta, via);
    play_stop(&s.p);
    unlink(at.sun_path);
    rmdir(folder);
}

/* Each recipient its own result; one that is refused does not harm the others. */
static void test_recipients_with_different_results(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_send(&s, &(struct job_spec){ .id = 5, .destination = "far.example", .n = 3 });
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_talk(&c, "MAIL FROM:<me@example.org>", "250 ok\r\n");
    peer_talk(&c, "RCPT TO:<u0@far.example>", "550 5.1.1 no such user\r\n");
    peer_talk(&c, "RCPT TO:<u1@far.example>", "250 ok\r\n");
    peer_talk(&c, "RCPT TO:<u2@far.example>", "450 4.2.1 full\r\n");
    peer_talk(&c, "DATA", "354 go\r\n");
    while (!str_eq(client_line(&c), S(".")))
        ;
    peer_say(&c, "250 ok\r\n");
    struct stage_result *x = stage_result(&s, 5);
    uint8_t outcome[10] = { 0 };
    assert_int_equal(x->n, 3);
    for (int i = 0; i < 3; i++) {
        assert_in_range(x->r[i].index, 7, 9);
        outcome[x->r[i].index] = x->r[i].outcome;
    }
    assert_int_equal(outcome[7], 3);
    assert_int_equal(outcome[8], 1);
    assert_int_equal(outcome[9], 2);
    assert_false(x->site_failed);
    play_stop(&s.p);
}

/* RFC 8305 5: the second address of a host is tried when the first has not answered for 250 ms. */
static void test_a_race_of_two_addresses(void **state)
{
    (void)state;
    for (uint8_t seed = 0; seed < 2; seed++) {
        _cleanup_stage_ struct stage s;
        _cleanup_client_ struct play_client slow = { .fd = -1 }, quick = { .fd = -1 };
        stage_up(&s, two_of_one, "");
        job_send(&s, &(struct job_spec){ .id = 1, .destination = "far.example", .seed = seed });
        for (int tries = 0; !host_called(&s, 0, 5) && !host_called(&s, 1, 5); tries++)
            assert_true(tries < PLAY_PATIENCE_MS / 10);
        int first = host_called(&s, 0, 0) ? 0 : 1;
        uint64_t began = now_ms();
        peer_accept(&s, &slow, first); /* says nothing */
        peer_accept(&s, &quick, !first);
        assert_in_range(now_ms() - began, 200, 1500);
        peer_hello(&quick, "250 far.example\r\n");
        client_expect_end(&slow); /* the loser is closed */
        peer_take(&quick);
        job_became(&s, 1, 1, 250, "2.0.0");
        status_becomes(&s, "connections", 1);
        play_stop(&s.p);
    }
}

/* The first one may win the race although the second has begun. */
static void test_the_first_wins_late(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, later = { .fd = -1 };
    stage_up(&s, two_of_one, "");
    job_simple(&s, 1, "far.example");
    for (int tries = 0; !host_called(&s, 0, 5) && !host_called(&s, 1, 5); tries++)
        assert_true(tries < PLAY_PATIENCE_MS / 10);
    int first = host_called(&s, 0, 0) ? 0 : 1;
    peer_accept(&s, &c, first);
    peer_accept(&s, &later, !first);
    peer_say(&later, "220 far.example\r\n");
    client_expect(&later, "EHLO"); /* not answered */
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    client_expect_end(&later);
    job_became(&s, 1, 1, 250, "2.0.0");
    play_stop(&s.p);
}

static void test_the_next_preference_only_when_all_failed(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, last = { .fd = -1 };
    char mta[64];
    stage_up(&s, two_groups, "");
    host_close(&s, 0); /* refuses connections */
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 1);
    assert_false(host_called(&s, 2, 700));
    peer_say(&c, "554 5.3.2 not today\r\n");
    peer_accept(&s, &last, 2);
    peer_hello(&last, "250 far.example\r\n");
    peer_take(&last);
    struct stage_result *x = job_became(&s, 1, 1, 250, "2.0.0");
    snprintf(mta, sizeof(mta), "later.far.example [127.0.0.4]:%u", s.port);
    assert_true(str_eq(x->mta, str_z(mta)));
    status_becomes(&s, "failed_connections", 2);
    play_stop(&s.p);
}

static void test_all_have_failed(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    stage_up(&s, two_groups, "");
    for (int i = 0; i < HOSTS; i++)
        host_close(&s, i);
    uint64_t began = now_ms();
    job_send(&s, &(struct job_spec){ .id = 1, .destination = "far.example", .n = 2 });
    struct stage_result *x = job_became(&s, 1, 2, 0, "4.4.1");
    assert_true(x->site_failed);
    assert_int_equal(x->n, 2);
    assert_int_equal(x->r[1].outcome, 2);
    text_has(x->r[1].text, "refused");
    text_has(x->mta, "later.far.example [127.0.0.4]");
    assert_true(now_ms() - began < 1500); /* a refusal ends the wait for the next address */
    job_confirm(&s, 1);
    status_becomes(&s, "connections_open", 0);
    status_becomes(&s, "jobs", 0);
    play_stop(&s.p);
}

/* RFC 7435: what fails with TLS goes in clear, once. */
static void test_opportunistic_tls_that_fails(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, again = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250-far.example\r\n250 STARTTLS\r\n");
    peer_talk(&c, "STARTTLS", "220 go\r\nthis is no handshake");
    peer_accept(&s, &again, 0);
    peer_hello(&again, "250-far.example\r\n250 STARTTLS\r\n"); /* not taken up again */
    peer_take(&again);
    struct stage_result *x = job_became(&s, 1, 1, 250, "2.0.0");
    assert_int_equal(x->tls.n, 0);
    play_stop(&s.p);
}

static void test_clear_text_fails_too(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, again = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250-far.example\r\n250 STARTTLS\r\n");
    peer_talk(&c, "STARTTLS", "454 4.7.0 not now\r\n");
    client_close(&c);
    peer_accept(&s, &again, 0);
    peer_say(&again, "421 4.3.2 go away\r\n");
    struct stage_result *x = job_became(&s, 1, 2, 421, "4.3.2");
    assert_true(x->site_failed);
    assert_false(host_called(&s, 0, 400));
    play_stop(&s.p);
}

static void test_tls_and_no_way_around_it(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    stage_up(&s, one_host, "route safe { recipient @far.example; next mx; tls mandatory }\n");
    job_send(&s, &(struct job_spec){ .id = 1, .route = "safe", .destination = "route safe far.example" });
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250-far.example\r\n250 STARTTLS\r\n");
    peer_talk(&c, "STARTTLS", "220 go\r\n");
    peer_tls(&s, &c);
    peer_talk(&c, "EHLO mx.example.org", "250 far.example\r\n");
    peer_take(&c);
    struct stage_result *x = job_became(&s, 1, 1, 250, "2.0.0");
    text_has(x->tls, "TLS1.3");
    job_confirm(&s, 1);
    client_close(&c);
    status_becomes(&s, "jobs", 0);
    job_send(&s, &(struct job_spec){ .id = 2, .route = "safe", .destination = "route safe far.example" });
    peer_accept(&s, &d, 0);
    peer_hello(&d, "250 far.example\r\n"); /* no STARTTLS */
    x = job_became(&s, 2, 2, 0, "4.7.4");
    assert_true(x->site_failed);
    assert_false(host_called(&s, 0, 300));
    play_stop(&s.p);
}

/* The connection takes its next message only when the result of the one before is in the journal. */
static void test_a_connection_is_used_again(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    assert_false(job_became(&s, 1, 1, 250, "2.0.0")->reused);
    job_simple(&s, 2, "far.example");
    assert_false(host_called(&s, 0, 300)); /* it waits for the one that is free in a moment */
    assert_false(stage_wait(&s, c.fd, 0));
    job_confirm(&s, 1);
    peer_take(&c);
    assert_true(job_became(&s, 2, 1, 250, "2.0.0")->reused);
    job_confirm(&s, 2);
    status_becomes(&s, "reused", 1);
    job_simple(&s, 3, "far.example"); /* comes to an idle one */
    peer_take(&c);
    assert_true(job_became(&s, 3, 1, 250, "2.0.0")->reused);
    assert_false(host_called(&s, 0, 0));
    play_stop(&s.p);
}

static void test_two_jobs_at_once_have_two_connections(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    job_simple(&s, 2, "far.example");
    peer_accept(&s, &c, 0);
    peer_accept(&s, &d, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    struct stage_result *x = stage_result(&s, s.result.job == 1 ? 2 : 1);
    job_confirm(&s, x->job);
    status_becomes(&s, "connections_open", 2);
    play_stop(&s.p);
}

static void test_an_idle_connection_leaves(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    job_became(&s, 1, 1, 250, "2.0.0");
    job_confirm(&s, 1);
    uint64_t began = now_ms();
    peer_talk(&c, "QUIT", "221 bye\r\n");
    assert_in_range(now_ms() - began, 4000, 9000);
    client_expect_end(&c);
    status_becomes(&s, "connections_open", 0);
    play_stop(&s.p);
}

/* How a connection dies while it is idle, or at the first word of the next message. */
static void dies_idle(void (*die)(struct play_client *c))
{
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    job_became(&s, 1, 1, 250, "2.0.0");
    job_confirm(&s, 1);
    status_becomes(&s, "jobs", 0);
    if (die)
        die(&c);
    job_simple(&s, 2, "far.example");
    if (!die) {
        client_expect(&c, "MAIL");
        client_close(&c);
    }
    peer_accept(&s, &d, 0);
    peer_hello(&d, "250 far.example\r\n");
    peer_take(&d);
    job_became(&s, 2, 1, 250, "2.0.0");
    status_becomes(&s, "deferred", 0);
    play_stop(&s.p);
}

static void reset(struct play_client *c)
{
    struct linger hard = { .l_onoff = 1 };
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    client_close(c);
}

static void say_421(struct play_client *c)
{
    peer_say(c, "421 4.4.2 idle too long\r\n");
    client_close(c);
}

static void test_closed_while_idle(void **state) { (void)state; dies_idle(client_close); }
static void test_reset_while_idle(void **state) { (void)state; dies_idle(reset); }
static void test_421_while_idle(void **state) { (void)state; dies_idle(say_421); }
static void test_closed_at_the_next_message(void **state) { (void)state; dies_idle(NULL); }

/* A fresh connection that ends at once is a deferral, and no endless trying. */
static void test_a_dead_one_is_replaced_once(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    job_became(&s, 1, 1, 250, "2.0.0");
    job_confirm(&s, 1);
    job_simple(&s, 2, "far.example");
    peer_talk(&c, "MAIL", "421 4.3.2 closing\r\n");
    client_close(&c);
    peer_accept(&s, &d, 0);
    peer_hello(&d, "250 far.example\r\n");
    peer_talk(&d, "MAIL", "421 4.3.2 closing\r\n");
    client_close(&d);
    job_became(&s, 2, 2, 421, "4.3.2");
    assert_false(host_called(&s, 0, 300));
    play_stop(&s.p);
}

/* Who has the whole message may have taken it: it is not sent once more at once. */
static void test_dead_with_the_message(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    job_became(&s, 1, 1, 250, "2.0.0");
    job_confirm(&s, 1);
    job_simple(&s, 2, "far.example");
    peer_content(&c, 1);
    client_close(&c);
    job_became(&s, 2, 2, 0, "4.4.2");
    assert_false(host_called(&s, 0, 300));
    play_stop(&s.p);
}

/* A peer that takes commands in groups, and dies in one. */
static void test_dead_in_a_pipeline(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250-far.example\r\n250 PIPELINING\r\n");
    peer_take(&c);
    job_became(&s, 1, 1, 250, "2.0.0");
    job_confirm(&s, 1);
    job_send(&s, &(struct job_spec){ .id = 2, .destination = "far.example", .n = 3 });
    peer_talk(&c, "MAIL", "250 ok\r\n250 ok\r\n");
    client_close(&c);
    peer_accept(&s, &d, 0);
    peer_hello(&d, "250-far.example\r\n250 PIPELINING\r\n");
    peer_content(&d, 3);
    peer_say(&d, "250 2.0.0 queued\r\n");
    assert_int_equal(job_became(&s, 2, 1, 250, "2.0.0")->n, 3);
    play_stop(&s.p);
}

static void test_destinations_do_not_wait_for_each_other(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0); /* hangs */
    job_simple(&s, 2, "near.example");
    peer_accept(&s, &d, 1);
    peer_hello(&d, "250 near.example\r\n");
    peer_take(&d);
    job_became(&s, 2, 1, 250, "2.0.0");
    play_stop(&s.p);
}

/* `posthouse queue redirect`: another host instead of the route's, and not its connections either. */
static void test_redirect(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 }, e = { .fd = -1 };
    char host[32];
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_take(&c);
    job_became(&s, 1, 1, 250, "2.0.0");
    job_confirm(&s, 1);
    snprintf(host, sizeof(host), "[127.0.0.5]:%u", s.port);
    job_send(&s, &(struct job_spec){ .id = 2, .destination = "far.example", .redirect = host });
    peer_accept(&s, &d, 3);
    peer_hello(&d, "250 other.example\r\n");
    peer_take(&d);
    job_became(&s, 2, 1, 250, "2.0.0");
    job_confirm(&s, 2);
    job_send(&s, &(struct job_spec){ .id = 3, .destination = "far.example", .redirect = "near.example" });
    peer_accept(&s, &e, 1);
    peer_hello(&e, "250 near.example\r\n");
    peer_take(&e);
    job_became(&s, 3, 1, 250, "2.0.0");
    job_send(&s, &(struct job_spec){ .id = 4, .destination = "far.example", .redirect = "a b" });
    text_has(job_became(&s, 4, 2, 0, "4.1.2")->r[0].text, "a b");
    job_send(&s, &(struct job_spec){ .id = 5, .destination = "far.example", .redirect = "[127.0.0.5]:99999" });
    job_became(&s, 5, 2, 0, "4.3.5");
    play_stop(&s.p);
}

/* What is being sent may come to its end; what only waits is given up at once. */
static void test_drain_at_stop(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    job_simple(&s, 2, "near.example");
    peer_accept(&s, &d, 1);
    peer_content(&c, 1);
    play_send(s.p.master, IPC_STOP, NULL, -1);
    client_expect_end(&d);
    usleep(300000);
    peer_say(&c, "250 2.0.0 queued\r\n");
    job_became(&s, 1, 1, 250, "2.0.0");
    assert_int_equal(play_wait(&s.p), 0);
}

static void test_drain_has_an_end(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    stage_up(&s, one_host, "");
    job_simple(&s, 1, "far.example");
    peer_accept(&s, &c, 0);
    peer_hello(&c, "250 far.example\r\n");
    peer_content(&c, 1);
    uint64_t began = now_ms();
    play_send(s.p.master, IPC_STOP, NULL, -1); /* the last reply never comes */
    assert_int_equal(play_wait(&s.p), 0);
    assert_in_range(now_ms() - began, 4000, 12000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_and_its_result),
        cmocka_unit_test(test_a_mechanism),
        cmocka_unit_test(test_a_socket),
        cmocka_unit_test(test_recipients_with_different_results),
        cmocka_unit_test(test_a_race_of_two_addresses),
        cmocka_unit_test(test_the_first_wins_late),
        cmocka_unit_test(test_the_next_preference_only_when_all_failed),
        cmocka_unit_test(test_all_have_failed),
        cmocka_unit_test(test_opportunistic_tls_that_fails),
        cmocka_unit_test(test_clear_text_fails_too),
        cmocka_unit_test(test_tls_and_no_way_around_it),
        cmocka_unit_test(test_a_connection_is_used_again),
        cmocka_unit_test(test_two_jobs_at_once_have_two_connections),
        cmocka_unit_test(test_an_idle_connection_leaves),
        cmocka_unit_test(test_closed_while_idle),
        cmocka_unit_test(test_reset_while_idle),
        cmocka_unit_test(test_421_while_idle),
        cmocka_unit_test(test_closed_at_the_next_message),
        cmocka_unit_test(test_a_dead_one_is_replaced_once),
        cmocka_unit_test(test_dead_with_the_message),
        cmocka_unit_test(test_dead_in_a_pipeline),
        cmocka_unit_test(test_destinations_do_not_wait_for_each_other),
        cmocka_unit_test(test_redirect),
        cmocka_unit_test(test_drain_at_stop),
        cmocka_unit_test(test_drain_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
