/* Role auth: what it answers, to whom, when; and neighbours that misbehave or go. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "auth/auth_role.h"
#include "auth/password.h"
#include "io/role_play.h"

static struct buf secrets;

static int setup(void **state)
{
    (void)state;
    struct arena a = ARENA(65536);
    struct account_secret s;
    secrets = BUF(65536);
    int r = password_make(&a, &env_system, S("Anna@example.org"), S("secret"), &s);
    if (r == 0)
        r = account_secret_format(&secrets, &s);
    if (r == 0)
        r = password_make(&a, &env_system, S("gone@example.org"), S("secret"), &s); /* no account of the directory */
    if (r == 0)
        r = account_secret_format(&secrets, &s);
    arena_done(&a);
    return r;
}

static int teardown(void **state)
{
    (void)state;
    buf_done(&secrets);
    return 0;
}

static void play_auth(struct role_play *p)
{
    play_init(p);
    play_fork(p, auth_role_run);
    play_file(p, "secrets", buf_str(&secrets));
    play_begin(p, "auth");
    play_peer(p, ROLE_STORE);
    play_peer(p, ROLE_ACCESS);
    play_peer(p, ROLE_SMTP_IN);
    play_start(p);
}

static struct buf question(uint64_t request, bool trusted, const char *session, const char *user)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, request);
    pack_u8(&b, trusted);
    pack_str(&b, S("192.0.2.1"));
    pack_str(&b, str_z(session));
    pack_str(&b, str_z(user));
    return b;
}

static void ask_password(struct role_play *p, enum role_id from, uint64_t request, bool trusted, const char *user,
                         const char *password)
{
    struct buf b = question(request, trusted, "session", user);
    pack_str(&b, str_z(password));
    play_send(p->peer[from], IPC_CHECK_PASSWORD, &b, -1);
}

/* The next AUTH_RESULT must be this. */
static void expect(struct role_play *p, enum role_id at, uint64_t request, uint8_t how, const char *account)
{
    play_expect(p, p->peer[at], IPC_AUTH_RESULT);
    assert_int_equal(unpack_u64(&p->in), request);
    assert_int_equal(unpack_u8(&p->in), how);
    assert_true(str_eq(unpack_str(&p->in), str_z(account)));
    unpack_str(&p->in);
    assert_true(unpack_end(&p->in));
}

static void bind_session(struct role_play *p)
{
    struct buf b = BUF(16);
    play_expect(p, p->peer[ROLE_STORE], IPC_SESSION_BIND);
    pack_u64(&b, unpack_u64(&p->in));
    assert_int_equal(unpack_u8(&p->in), ROLE_ACCESS);
    assert_true(str_eq(unpack_str(&p->in), S("session")));
    assert_true(str_eq(unpack_str(&p->in), S("anna@example.org")));
    assert_true(unpack_end(&p->in));
    play_send(p->peer[ROLE_STORE], IPC_SESSION_BOUND, &b, -1);
}

static void test_passwords(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    ask_password(&p, ROLE_SMTP_IN, 1, true, "ANNA@example.org", "secret");
    expect(&p, ROLE_SMTP_IN, 1, 1, "anna@example.org");
    ask_password(&p, ROLE_SMTP_IN, 2, true, "anna@example.org", "wrong");
    expect(&p, ROLE_SMTP_IN, 2, 0, "");
    ask_password(&p, ROLE_SMTP_IN, 3, true, "nobody@example.org", "secret");
    expect(&p, ROLE_SMTP_IN, 3, 0, "");
    ask_password(&p, ROLE_SMTP_IN, 4, true, "gone@example.org", "secret"); /* a secret without an account */
    expect(&p, ROLE_SMTP_IN, 4, 0, "");
    ask_password(&p, ROLE_SMTP_IN, 5, true, "", "");
    expect(&p, ROLE_SMTP_IN, 5, 0, "");
    ask_password(&p, ROLE_SMTP_IN, 6, true, "anna@example.org", "secret");
    expect(&p, ROLE_SMTP_IN, 6, 1, "anna@example.org");
    assert_int_equal(play_status(&p, "from_cache"), 1);
    assert_int_equal(play_status(&p, "right"), 2);
    assert_int_equal(play_status(&p, "wrong"), 4);
    play_quiet(&p, p.peer[ROLE_STORE], 10); /* smtp-in needs no session in the store */
    play_stop(&p);
}

static void test_the_store_knows_before_access(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    ask_password(&p, ROLE_ACCESS, 1, true, "anna@example.org", "secret");
    play_quiet(&p, p.peer[ROLE_ACCESS], 300);
    bind_session(&p);
    expect(&p, ROLE_ACCESS, 1, 1, "anna@example.org");
    ask_password(&p, ROLE_ACCESS, 2, true, "anna@example.org", "wrong");
    expect(&p, ROLE_ACCESS, 2, 0, "");
    play_quiet(&p, p.peer[ROLE_STORE], 10);
    play_stop(&p);
}

static uint64_t now_ms(void) { return env_system.mono_ms(); }

static void test_a_stranger_waits_for_bad_news(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    uint64_t begin = now_ms();
    ask_password(&p, ROLE_SMTP_IN, 1, false, "anna@example.org", "wrong");
    expect(&p, ROLE_SMTP_IN, 1, 0, "");
    assert_true(now_ms() - begin >= 240);
    begin = now_ms();
    ask_password(&p, ROLE_SMTP_IN, 2, false, "anna@example.org", "wrong");
    expect(&p, ROLE_SMTP_IN, 2, 0, "");
    assert_true(now_ms() - begin >= 450); /* and longer from time to time */
    play_stop(&p);
}

static void ask_salt(struct role_play *p, const char *user, char out[64], size_t *out_n, uint32_t *out_iterations)
{
    struct buf b = question(9, true, "session", user);
    play_send(p->peer[ROLE_SMTP_IN], IPC_GET_SALT, &b, -1);
    play_expect(p, p->peer[ROLE_SMTP_IN], IPC_AUTH_SALT);
    assert_int_equal(unpack_u64(&p->in), 9);
    str salt = unpack_str(&p->in);
    assert_true(salt.n <= 64);
    memcpy(out, salt.p, salt.n);
    *out_n = salt.n;
    *out_iterations = unpack_u32(&p->in);
    assert_true(unpack_end(&p->in));
}

/* DESIGN 8.6: nobody can tell by the salt who exists, also not by asking again after a restart. */
static void test_salts_of_users_that_do_not_exist(void **state)
{
    (void)state;
    char salt[3][64], other[64];
    size_t n, m;
    uint32_t iterations;
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    ask_salt(&p, "anna@example.org", other, &m, &iterations);
    assert_int_equal(iterations, SCRAM_ITERATIONS);
    ask_salt(&p, "nobody@example.org", salt[0], &n, &iterations);
    assert_int_equal(n, m);
    assert_int_equal(iterations, SCRAM_ITERATIONS);
    assert_memory_not_equal(salt[0], other, n);
    ask_salt(&p, "Nobody@example.org", salt[1], &n, &iterations);
    assert_memory_equal(salt[0], salt[1], n);
    play_stop(&p);
    close(TAKE_FD(p.master));
    p.generation = 0;
    play_fork(&p, auth_role_run);
    play_file(&p, "secrets", buf_str(&secrets));
    play_begin(&p, "auth");
    play_peer(&p, ROLE_SMTP_IN);
    play_start(&p);
    ask_salt(&p, "nobody@example.org", salt[2], &n, &iterations);
    assert_memory_equal(salt[0], salt[2], n);
    play_stop(&p);
}

static void test_a_proof_that_is_wrong(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    struct buf b = question(7, true, "session", "anna@example.org");
    pack_str(&b, S("n=anna,r=x,r=xy,s=AAAA,i=65536,c=biws,r=xy"));
    pack_str(&b, S("0123456789abcdef0123456789abcdef"));
    play_send(p.peer[ROLE_ACCESS], IPC_CHECK_PROOF, &b, -1);
    expect(&p, ROLE_ACCESS, 7, 0, "");
    play_stop(&p);
}

/* New secrets come with their generation; what was cached under the old one counts no more. */
static void test_a_new_generation(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    ask_password(&p, ROLE_SMTP_IN, 1, true, "anna@example.org", "secret");
    expect(&p, ROLE_SMTP_IN, 1, 1, "anna@example.org");
    play_file(&p, "secrets", S("# nobody any more\n"));
    play_configure(&p);
    play_expect(&p, p.master, IPC_APPLIED);
    ask_password(&p, ROLE_SMTP_IN, 2, true, "anna@example.org", "secret");
    expect(&p, ROLE_SMTP_IN, 2, 0, "");
    assert_int_equal(play_status(&p, "accounts"), 0);
    play_stop(&p);
}

static void test_a_store_that_is_not_there(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    ask_password(&p, ROLE_ACCESS, 1, true, "anna@example.org", "secret");
    play_expect(&p, p.peer[ROLE_STORE], IPC_SESSION_BIND);
    close(TAKE_FD(p.peer[ROLE_STORE])); /* it dies with the binding */
    expect(&p, ROLE_ACCESS, 1, 2, "");
    ask_password(&p, ROLE_ACCESS, 2, true, "anna@example.org", "secret");
    expect(&p, ROLE_ACCESS, 2, 2, "");
    play_peer(&p, ROLE_STORE);
    play_status(&p, "right");
    ask_password(&p, ROLE_ACCESS, 3, true, "anna@example.org", "secret");
    bind_session(&p);
    expect(&p, ROLE_ACCESS, 3, 1, "anna@example.org");
    play_stop(&p);
}

/* The store's end is closed, but the role hears of it only by writing the binding. */
static void test_a_store_that_has_just_gone(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    ask_password(&p, ROLE_SMTP_IN, 1, true, "anna@example.org", "secret"); /* into the cache */
    expect(&p, ROLE_SMTP_IN, 1, 1, "anna@example.org");
    kill(p.pid, SIGSTOP);
    ask_password(&p, ROLE_ACCESS, 2, true, "anna@example.org", "secret");
    ask_password(&p, ROLE_ACCESS, 3, true, "anna@example.org", "secret");
    close(TAKE_FD(p.peer[ROLE_STORE]));
    kill(p.pid, SIGCONT);
    for (uint64_t i = 2; i < 4; i++) {
        play_expect(&p, p.peer[ROLE_ACCESS], IPC_AUTH_RESULT);
        uint64_t request = unpack_u64(&p.in);
        assert_true(request == 2 || request == 3);
        assert_int_equal(unpack_u8(&p.in), 2);
    }
    play_stop(&p);
}

/* A role that is started again numbers its questions anew: an answer for the process before would log in somebody else.
 */
static void test_answers_for_a_process_that_has_gone(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    ask_password(&p, ROLE_SMTP_IN, 1, true, "anna@example.org", "secret");
    ask_password(&p, ROLE_SMTP_IN, 2, false, "anna@example.org", "wrong");
    for (int i = 0; i < 3; i++)
        play_status(&p, "right"); /* by now it has read both */
    play_peer(&p, ROLE_SMTP_IN);
    play_quiet(&p, p.peer[ROLE_SMTP_IN], 800);
    ask_password(&p, ROLE_SMTP_IN, 1, true, "anna@example.org", "wrong");
    expect(&p, ROLE_SMTP_IN, 1, 0, "");
    play_stop(&p);
}

static void test_hostile_neighbours(void **state)
{
    (void)state;
    static const enum ipc_type types[] = { IPC_CHECK_PASSWORD, IPC_GET_SALT, IPC_CHECK_PROOF };
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        struct buf b = question(1, true, "session", "anna@example.org");
        pack_str(&b, S("wrong"));
        pack_str(&b, S("proof"));
        pack_str(&b, S("too much"));
        for (size_t n = 0; n < b.n; n += 7) { /* cut anywhere: what does not fit its row ends the link */
            play_try_send(p.peer[ROLE_ACCESS], types[t], str_first(buf_str(&b), n), NULL, 0);
            ssize_t r = play_receive(&p, p.peer[ROLE_ACCESS], 200);
            assert_true(r >= 0 || r == -EAGAIN);
            play_peer(&p, ROLE_ACCESS);
        }
        play_try_send(p.peer[ROLE_ACCESS], types[t], buf_str(&b), NULL, 0);
        play_closed(&p, p.peer[ROLE_ACCESS]);
        play_peer(&p, ROLE_ACCESS);
        buf_done(&b);
    }
    struct buf b = question(1, true, "session", "anna@example.org");
    pack_str(&b, S("secret"));
    play_send(p.peer[ROLE_STORE], IPC_CHECK_PASSWORD, &b, -1); /* the store has no passwords to ask about */
    play_closed(&p, p.peer[ROLE_STORE]);
    play_status(&p, "right");
    play_stop(&p);
}

static void test_fields_that_are_too_long(void **state)
{
    (void)state;
    static char text[20000];
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    memset(text, 'a', sizeof(text) - 1);
    ask_password(&p, ROLE_SMTP_IN, 1, true, text, text);
    expect(&p, ROLE_SMTP_IN, 1, 2, ""); /* more than a question may be */
    ask_password(&p, ROLE_SMTP_IN, 2, true, "anna@example.org", text);
    expect(&p, ROLE_SMTP_IN, 2, 0, "");
    play_stop(&p);
}

/* What the store would take for a bad frame of ours must end the link it came from, not the one to the store. */
static void test_a_session_that_the_store_refuses(void **state)
{
    (void)state;
    static char text[100];
    _cleanup_play_ struct role_play p;
    play_auth(&p);
    memset(text, 's', sizeof(text) - 1);
    for (int i = 0; i < 2; i++) {
        struct buf b = question(1, true, i ? text : "", "anna@example.org");
        pack_str(&b, S("secret"));
        play_send(p.peer[ROLE_ACCESS], IPC_CHECK_PASSWORD, &b, -1);
        play_closed(&p, p.peer[ROLE_ACCESS]);
        play_peer(&p, ROLE_ACCESS);
        play_quiet(&p, p.peer[ROLE_STORE], 100);
    }
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_the_store_knows_before_access),
        cmocka_unit_test(test_a_stranger_waits_for_bad_news),
        cmocka_unit_test(test_salts_of_users_that_do_not_exist),
        cmocka_unit_test(test_a_proof_that_is_wrong),
        cmocka_unit_test(test_a_new_generation),
        cmocka_unit_test(test_a_store_that_is_not_there),
        cmocka_unit_test(test_a_store_that_has_just_gone),
        cmocka_unit_test(test_answers_for_a_process_that_has_gone),
        cmocka_unit_test(test_hostile_neighbours),
        cmocka_unit_test(test_fields_that_are_too_long),
        cmocka_unit_test(test_a_session_that_the_store_refuses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
