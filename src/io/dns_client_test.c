/* Questions to a role dns that the test plays: shared, cancelled, late, refused, and its death. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "io/dns_client.h"

struct asked { uint64_t request; char name[DNS_NAME_MAX + 1]; enum dns_type type; };

static struct role role;
static struct dns_client client;
static struct ipc_link dns; /* the other end */
static struct asked asked[DNS_CLIENT_OPEN_MAX + 8];
static size_t n_asked;
static bool dropped;

static int got_question(struct ipc_link *link, struct ipc_frame *f)
{
    (void)link;
    struct asked *a = &asked[n_asked++];
    a->request = unpack_u64(&f->in);
    str name = unpack_str(&f->in);
    snprintf(a->name, sizeof(a->name), "%.*s", STR_ARG(name));
    a->type = unpack_u16(&f->in);
    return f->type == IPC_DNS_ASK && unpack_end(&f->in) ? 0 : -EBADMSG;
}

static int got_answer(struct ipc_link *link, struct ipc_frame *f)
{
    (void)link;
    return dns_client_frame(&client, f);
}

static void link_down(struct ipc_link *link)
{
    dropped |= link->self == ROLE_SMTP_OUT;
    if (link->self == ROLE_SMTP_OUT)
        dns_client_down(&client);
}

static void connect_dns(void)
{
    int fd[2];
    assert_int_equal(ipc_pair(fd), 0);
    role.peer[ROLE_DNS].frame = got_answer;
    role.peer[ROLE_DNS].down = dns.down = link_down;
    dns.frame = got_question;
    assert_int_equal(ipc_open(&role.peer[ROLE_DNS], role.loop, fd[0], ROLE_SMTP_OUT, ROLE_DNS), 0);
    assert_int_equal(ipc_open(&dns, role.loop, fd[1], ROLE_DNS, ROLE_SMTP_OUT), 0);
}

static int begin(void **state)
{
    (void)state;
    role = (struct role){ .env = &env_system };
    n_asked = 0;
    dropped = false;
    assert_int_equal(loop_new(&env_system, &role.loop), 0);
    connect_dns();
    dns_client_init(&client, &role);
    return 0;
}

static int end(void **state)
{
    (void)state;
    dns_client_done(&client);
    ipc_close(&role.peer[ROLE_DNS]);
    ipc_close(&dns);
    loop_free(role.loop);
    return 0;
}

/* One who asks, and what came. */
struct asker {
    struct dns_wait wait;
    unsigned answers;
    enum dns_state state;
    size_t n;
    char first[64];
    str why;
    bool again;
};

static void done(struct dns_wait *w, const struct dns_answer *a)
{
    struct asker *k = CONTAINER_OF(w, struct asker, wait);
    assert_false(dns_waiting(w));
    k->answers++;
    k->state = a->state;
    k->n = a->n;
    k->why = a->why;
    if (a->n)
        snprintf(k->first, sizeof(k->first), "%u %.*s", a->records[0].number, STR_ARG(a->records[0].data));
    if (k->again) {
        k->again = false;
        dns_ask(&client, w, S("again.example"), DNS_TYPE_MX, 1000);
    }
}

static void ask(struct asker *k, const char *name, uint32_t ms)
{
    k->wait.done = done;
    dns_ask(&client, &k->wait, str_z(name), DNS_TYPE_MX, ms);
    assert_true(dns_waiting(&k->wait));
}

static void turns(unsigned n)
{
    while (n--)
        assert_int_equal(loop_once(role.loop, 5), 0);
}

static void answer(uint64_t request, const struct dns_answer *a)
{
    struct buf b = BUF(65536);
    pack_u64(&b, request);
    dns_answer_pack(&b, a);
    assert_int_equal(ipc_send(&dns, IPC_DNS_ANSWER, &b, -1), 0);
    buf_done(&b);
}

static const struct dns_record mx[] = { { 10, { "mx.example", 10 } } };
static const struct dns_answer one = { .state = DNS_OK, .ttl = 60, .n = 1, .records = mx };

static void identical_questions_are_asked_once(void **state)
{
    (void)state;
    struct asker k[3] = { 0 }, other = { 0 };
    ask(&k[0], "example.org", 0);
    ask(&k[1], "EXAMPLE.org.", 1000);
    ask(&k[2], "example.org", 1000);
    other.wait.done = done;
    dns_ask(&client, &other.wait, S("example.org"), DNS_TYPE_A, 1000);
    turns(2);
    assert_int_equal(n_asked, 2);
    assert_string_equal(asked[0].name, "example.org");
    assert_int_equal(asked[0].type, DNS_TYPE_MX);
    answer(asked[0].request, &one);
    turns(2);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(k[i].answers, 1);
        assert_int_equal(k[i].state, DNS_OK);
        assert_string_equal(k[i].first, "10 mx.example");
    }
    assert_int_equal(other.answers, 0);
    answer(asked[0].request, &one); /* a second time: nobody waits for it */
    turns(2);
    assert_int_equal(k[0].answers, 1);
    ask(&k[0], "example.org", 1000); /* not kept: role dns has the cache */
    turns(2);
    assert_int_equal(n_asked, 3);
    assert_int_equal(client.shared, 2);
    dns_cancel(&k[0].wait);
    dns_cancel(&other.wait);
}

static void cancelled_hear_nothing(void **state)
{
    (void)state;
    struct asker k[2] = { 0 };
    ask(&k[0], "example.org", 1000);
    ask(&k[1], "example.org", 1000);
    turns(2);
    dns_cancel(&k[0].wait);
    answer(asked[0].request, &one);
    turns(2);
    assert_int_equal(k[0].answers, 0);
    assert_int_equal(k[1].answers, 1);
    ask(&k[0], "example.net", 1000);
    ask(&k[1], "example.org", 1000);
    ask(&k[1], "example.net", 1000); /* instead of the former */
    assert_int_equal(client.open.n, 1);
    dns_cancel(&k[0].wait);
    dns_cancel(&k[1].wait);
    dns_cancel(&k[1].wait);
    assert_int_equal(client.open.n, 0);
}

static struct asker *victim;
static void cancel_the_other(struct dns_wait *w, const struct dns_answer *a)
{
    done(w, a);
    dns_cancel(&victim->wait);
}

static void callbacks_may_ask_and_cancel(void **state)
{
    (void)state;
    struct asker k[3] = { 0 };
    for (size_t i = 0; i < 3; i++)
        ask(&k[i], "example.org", 1000);
    k[2].wait.done = cancel_the_other; /* the last that asked is the first to hear */
    victim = &k[0];
    k[1].again = true;
    turns(2);
    answer(asked[0].request, &one);
    turns(2);
    assert_int_equal(k[2].answers, 1);
    assert_int_equal(k[1].answers, 1);
    assert_int_equal(k[0].answers, 0);
    assert_true(dns_waiting(&k[1].wait));
    assert_string_equal(asked[1].name, "again.example");
    answer(asked[1].request, &one);
    turns(2);
    assert_int_equal(k[1].answers, 2);
}

static void silence_is_temporary(void **state)
{
    (void)state;
    struct asker k = { 0 }, patient = { 0 };
    ask(&k, "example.org", 20);
    ask(&patient, "example.org", 5000);
    for (unsigned i = 0; i < 200 && !k.answers; i++)
        turns(1);
    assert_int_equal(k.answers, 1);
    assert_int_equal(k.state, DNS_TEMPORARY);
    assert_true(k.why.n > 0);
    assert_int_equal(patient.answers, 0);
    answer(asked[0].request, &one);
    turns(2);
    assert_int_equal(patient.state, DNS_OK);
    assert_int_equal(k.answers, 1);
    assert_int_equal(client.timeouts, 1);
}

static void death_is_temporary(void **state)
{
    (void)state;
    struct asker k[2] = { 0 }, after = { 0 };
    ask(&k[0], "a.example", 1000);
    ask(&k[1], "b.example", 1000);
    k[0].again = true; /* asks while the link is down */
    turns(2);
    ipc_close(&dns);
    turns(4);
    assert_int_equal(k[1].answers, 1);
    assert_int_equal(k[1].state, DNS_TEMPORARY);
    assert_int_equal(k[0].answers, 2);
    assert_int_equal(k[0].state, DNS_TEMPORARY);
    ask(&after, "a.example", 1000);
    assert_int_equal(after.answers, 0); /* never from inside */
    turns(3);
    assert_int_equal(after.state, DNS_TEMPORARY);
    connect_dns();
    ask(&after, "a.example", 1000);
    turns(2);
    answer(asked[n_asked - 1].request, &one);
    turns(2);
    assert_int_equal(after.state, DNS_OK);
}

/* Who asks again at each refusal must not keep the loop from its other work. */
static void stubborn(struct dns_wait *w, const struct dns_answer *a)
{
    struct asker *k = CONTAINER_OF(w, struct asker, wait);
    (void)a;
    k->answers++;
    dns_ask(&client, w, S("a.example"), DNS_TYPE_A, 1000);
}

static void refusals_leave_the_loop_its_turns(void **state)
{
    (void)state;
    struct asker k = { .wait.done = stubborn };
    ipc_close(&role.peer[ROLE_DNS]);
    dns_ask(&client, &k.wait, S("a.example"), DNS_TYPE_A, 1000);
    turns(10);
    assert_in_range(k.answers, 1, 10);
    dns_cancel(&k.wait);
}

static void has_a_ceiling(void **state)
{
    (void)state;
    static struct asker many[DNS_CLIENT_OPEN_MAX];
    struct asker k = { 0 }, same = { 0 };
    for (unsigned i = 0; i < DNS_CLIENT_OPEN_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%u.example", i);
        ask(&many[i], name, 60000);
    }
    ask(&k, "one-more.example", 1000);
    ask(&same, "n7.example", 1000); /* joins */
    for (unsigned i = 0; i < 200 && !k.answers; i++)
        turns(1);
    assert_int_equal(k.state, DNS_TEMPORARY);
    assert_int_equal(same.answers, 0);
    dns_cancel(&many[0].wait);
    ask(&k, "one-more.example", 1000);
    assert_int_equal(client.open.n, DNS_CLIENT_OPEN_MAX);
    dns_client_done(&client);
    assert_false(dns_waiting(&same.wait));
    dns_client_init(&client, &role);
}

static void impossible_names(void **state)
{
    (void)state;
    static const char *const names[] = { "", "a..b", "a b.example", "\xc3\xa4.example" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct asker k = { 0 };
        ask(&k, names[i], 1000);
        assert_int_equal(k.answers, 0);
        turns(3);
        assert_int_equal(k.answers, 1);
        assert_int_equal(k.state, DNS_NXDOMAIN);
    }
    assert_int_equal(n_asked, 0);
}

static void a_wrong_answer_drops_role_dns(void **state)
{
    (void)state;
    static const struct dns_record bad[] = { { 10, { "a b", 3 } } };
    static const struct dns_answer wrong = { .state = DNS_OK, .n = 1, .records = bad };
    struct asker k = { 0 };
    ask(&k, "example.org", 1000);
    turns(2);
    answer(asked[0].request, &wrong);
    turns(3);
    assert_true(dropped);
    assert_int_equal(k.answers, 1);
    assert_int_equal(k.state, DNS_TEMPORARY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(identical_questions_are_asked_once, begin, end),
        cmocka_unit_test_setup_teardown(cancelled_hear_nothing, begin, end),
        cmocka_unit_test_setup_teardown(callbacks_may_ask_and_cancel, begin, end),
        cmocka_unit_test_setup_teardown(silence_is_temporary, begin, end),
        cmocka_unit_test_setup_teardown(death_is_temporary, begin, end),
        cmocka_unit_test_setup_teardown(refusals_leave_the_loop_its_turns, begin, end),
        cmocka_unit_test_setup_teardown(has_a_ceiling, begin, end),
        cmocka_unit_test_setup_teardown(impossible_names, begin, end),
        cmocka_unit_test_setup_teardown(a_wrong_answer_drops_role_dns, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
