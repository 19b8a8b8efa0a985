/* Log-in through the auth role, with a role that has nothing but its link to auth. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "io/role_play.h"
#include "session/auth_client.h"

static struct role role;
static struct auth_client client;
static struct auth_run run;
static struct role_play p; /* for receiving */
static int auth;
static unsigned ends;
static enum auth_end last;
static char account[300], challenge[4096];
static bool again; /* begin the next log-in from done() */

static void on_challenge(struct auth_run *r, str text)
{
    (void)r;
    snprintf(challenge, sizeof(challenge), "%.*s", STR_ARG(text));
}

static void on_done(struct auth_run *r, enum auth_end how, str who)
{
    ends++;
    last = how;
    snprintf(account, sizeof(account), "%.*s", STR_ARG(who));
    if (again) {
        again = false;
        auth_run_start(r, S("LOGIN"), true, S("bob"));
    }
}

static int on_frame(struct ipc_link *link, struct ipc_frame *f)
{
    (void)link;
    return auth_client_frame(&client, f);
}

static void on_down(struct ipc_link *link)
{
    (void)link;
    auth_client_down(&client);
}

static int setup(void **state)
{
    (void)state;
    int pair[2];
    role = (struct role){ .env = &env_system };
    p = (struct role_play){ .fd = -1 };
    assert_int_equal(loop_new(&env_system, &role.loop), 0);
    assert_int_equal(ipc_pair(pair), 0);
    auth = pair[0];
    role.peer[ROLE_AUTH] = (struct ipc_link){ .frame = on_frame, .down = on_down };
    assert_int_equal(ipc_open(&role.peer[ROLE_AUTH], role.loop, pair[1], ROLE_ACCESS, ROLE_AUTH), 0);
    client = (struct auth_client){ .role = &role };
    run = (struct auth_run){ .client = &client,
                             .session_id = { "session", 7 },
                             .peer_addr = "192.0.2.1",
                             .trusted = true,
                             .challenge = on_challenge,
                             .done = on_done };
    ends = 0;
    again = false;
    challenge[0] = account[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    auth_run_cancel(&run);
    ipc_close(&role.peer[ROLE_AUTH]);
    auth_client_down(&client);
    loop_free(role.loop);
    if (auth >= 0)
        close(auth);
    return 0;
}

/* The next question; its request number. The user and what follows it are still to be unpacked. */
static uint64_t question(enum ipc_type type)
{
    play_expect(&p, auth, type);
    uint64_t request = unpack_u64(&p.in);
    assert_int_equal(unpack_u8(&p.in), 1);
    assert_true(str_eq(unpack_str(&p.in), S("192.0.2.1")));
    assert_true(str_eq(unpack_str(&p.in), S("session")));
    return request;
}

static void answer(uint64_t request, uint8_t how, str who, str signature)
{
    struct buf b = BUF(1024);
    pack_u64(&b, request);
    pack_u8(&b, how);
    pack_str(&b, who);
    pack_str(&b, signature);
    play_send(auth, IPC_AUTH_RESULT, &b, -1);
    loop_once(role.loop, 0);
}

static void test_password(void **state)
{
    (void)state;
    static const enum auth_end want[] = { AUTH_WRONG, AUTH_OK, AUTH_UNAVAILABLE };
    for (uint8_t how = 0; how < 3; how++) {
        auth_run_password(&run, S("Anna@Example.org"), S("pass word"));
        uint64_t request = question(IPC_CHECK_PASSWORD);
        assert_true(str_eq(unpack_str(&p.in), S("Anna@Example.org")));
        assert_true(str_eq(unpack_str(&p.in), S("pass word")));
        assert_true(unpack_end(&p.in));
        assert_int_equal(ends, how);
        answer(request, how, how == 1 ? S("anna@example.org") : STR_NONE, STR_NONE);
        assert_int_equal(ends, how + 1);
        assert_int_equal(last, want[how]);
        assert_string_equal(account, how == 1 ? "anna@example.org" : "");
    }
}

static void test_plain(void **state)
{
    (void)state;
    auth_run_start(&run, S("PLAIN"), false, STR_NONE);
    assert_int_equal(ends, 0);
    auth_run_respond(&run, str_of("\0anna\0secret", 12));
    uint64_t request = question(IPC_CHECK_PASSWORD);
    auth_run_respond(&run, S("not asked for")); /* while the question is out: nothing */
    answer(request, 1, S("anna@example.org"), STR_NONE);
    assert_int_equal(last, AUTH_OK);
    assert_string_equal(account, "anna@example.org"); /* the name of auth, not of the client */
    assert_int_equal(ends, 1);
    auth_run_start(&run, S("PLAIN"), true, S("no nul"));
    assert_int_equal(last, AUTH_MALFORMED);
    auth_run_start(&run, S("NTLM"), true, S("x"));
    assert_int_equal(last, AUTH_UNAVAILABLE);
    assert_int_equal(ends, 3);
    play_quiet(&p, auth, 10);
}

static void test_scram_asks_twice(void **state)
{
    (void)state;
    struct buf b = BUF(1024);
    auth_run_start(&run, S("SCRAM-SHA-256"), true, S("n,,n=anna,r=clientnonce"));
    uint64_t request = question(IPC_GET_SALT);
    assert_true(str_eq(unpack_str(&p.in), S("anna")));
    assert_true(unpack_end(&p.in));
    pack_u64(&b, request);
    pack_str(&b, S("saltsaltsaltsalt"));
    pack_u32(&b, 65536);
    play_send(auth, IPC_AUTH_SALT, &b, -1);
    loop_once(role.loop, 0);
    assert_true(str_starts(str_z(challenge), S("r=clientnonce")));
    char final[1024];
    str r = str_cut(&(str){ challenge, strlen(challenge) }, ',');
    snprintf(final, sizeof(final), "c=biws,%.*s,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", STR_ARG(r));
    auth_run_respond(&run, str_z(final));
    request = question(IPC_CHECK_PROOF);
    assert_true(str_eq(unpack_str(&p.in), S("anna")));
    assert_true(str_starts(unpack_str(&p.in), S("n=anna,r=clientnonce,r=clientnonce")));
    assert_int_equal(unpack_str(&p.in).n, 32);
    answer(request, 1, S("anna@example.org"), S("0123456789abcdef0123456789abcdef"));
    assert_int_equal(ends, 0);
    assert_true(str_starts(str_z(challenge), S("v=")));
    auth_run_respond(&run, STR_NONE);
    assert_int_equal(last, AUTH_OK);
    assert_string_equal(account, "anna@example.org");
}

static void test_answers_that_fit_nobody(void **state)
{
    (void)state;
    auth_run_password(&run, S("anna"), S("x"));
    uint64_t request = question(IPC_CHECK_PASSWORD);
    answer(request + 1, 1, S("bob"), STR_NONE);
    answer(0, 1, S("bob"), STR_NONE);
    assert_int_equal(ends, 0);
    auth_run_cancel(&run);
    answer(request, 1, S("anna"), STR_NONE); /* the session has gone on */
    assert_int_equal(ends, 0);
    auth_run_password(&run, S("carl"), S("y"));
    uint64_t next = question(IPC_CHECK_PASSWORD);
    assert_int_not_equal(next, request);
    answer(request, 1, S("anna"), STR_NONE);
    assert_int_equal(ends, 0);
    answer(next, 0, STR_NONE, STR_NONE);
    assert_int_equal(last, AUTH_WRONG);
    assert_true(role.peer[ROLE_AUTH].open);
}

static void test_a_salt_for_a_password_question(void **state)
{
    (void)state;
    struct buf b = BUF(64);
    auth_run_password(&run, S("anna"), S("x"));
    pack_u64(&b, question(IPC_CHECK_PASSWORD));
    pack_str(&b, S("salt"));
    pack_u32(&b, 4096);
    play_send(auth, IPC_AUTH_SALT, &b, -1);
    loop_once(role.loop, 0);
    assert_int_equal(ends, 0);
    assert_string_equal(challenge, "");
}

static void test_damaged_answers_drop_auth(void **state)
{
    (void)state;
    auth_run_password(&run, S("anna"), S("x"));
    struct buf b = BUF(64);
    pack_u64(&b, question(IPC_CHECK_PASSWORD));
    pack_u8(&b, 1);
    play_send(auth, IPC_AUTH_RESULT, &b, -1);
    loop_once(role.loop, 0);
    assert_false(role.peer[ROLE_AUTH].open);
    assert_int_equal(ends, 1);
    assert_int_equal(last, AUTH_UNAVAILABLE);
    auth_run_password(&run, S("anna"), S("x")); /* there is nobody to ask */
    assert_int_equal(ends, 2);
    assert_int_equal(last, AUTH_UNAVAILABLE);
}

static void test_auth_that_goes_ends_every_run(void **state)
{
    (void)state;
    struct auth_run more[5];
    for (int i = 0; i < 5; i++) {
        more[i] = run;
        auth_run_password(&more[i], S("anna"), S("x"));
    }
    auth_run_cancel(&more[0]);
    auth_run_cancel(&more[2]);
    auth_run_cancel(&more[4]);
    close(TAKE_FD(auth));
    loop_once(role.loop, 0);
    assert_int_equal(ends, 2);
    assert_null(client.waiting);
}

/* A pipelined client: the next exchange begins while the last one is being ended. */
static void test_the_next_log_in_from_done(void **state)
{
    (void)state;
    again = true;
    auth_run_start(&run, S("PLAIN"), true, str_of("\0anna\0secret", 12));
    answer(question(IPC_CHECK_PASSWORD), 0, STR_NONE, STR_NONE);
    assert_int_equal(ends, 1);
    assert_int_equal(last, AUTH_WRONG);
    auth_run_respond(&run, S("secret"));
    uint64_t request = question(IPC_CHECK_PASSWORD);
    assert_true(str_eq(unpack_str(&p.in), S("bob")));
    answer(request, 1, S("bob@example.org"), STR_NONE);
    assert_int_equal(ends, 2);
    assert_int_equal(last, AUTH_OK);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        T(test_password),
        T(test_plain),
        T(test_scram_asks_twice),
        T(test_answers_that_fit_nobody),
        T(test_a_salt_for_a_password_question),
        T(test_damaged_answers_drop_auth),
        T(test_auth_that_goes_ends_every_run),
        T(test_the_next_log_in_from_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
