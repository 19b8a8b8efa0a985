/* auth_client.c with channel bindings: what a bound log-in asks role auth, and what never gets there. The test is role
 * auth. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/codec.h"
#include "io/tls_play.h"
#include "session/auth_client.h"

#define PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="

static struct world {
    struct role role;
    struct auth_client client;
    int auth;                        /* role auth's end */
    char frame[IPC_FRAME_MAX];
    struct unpack in;                /* the last question */
    struct auth_run run;
    char challenge[512];
    size_t challenges, ends;
    enum auth_end end;
    char account[64], why[128];
} w;

static void take_challenge(struct auth_run *run, str challenge)
{
    (void)run;
    w.challenges++;
    snprintf(w.challenge, sizeof(w.challenge), "%.*s", STR_ARG(challenge));
}

static void take_end(struct auth_run *run, enum auth_end end, str account)
{
    w.ends++;
    w.end = end;
    snprintf(w.account, sizeof(w.account), "%.*s", STR_ARG(account));
    snprintf(w.why, sizeof(w.why), "%.*s", STR_ARG(run->why));
}

static void link_down(struct ipc_link *link) { (void)link; }

static int setup(void **state)
{
    int fd[2];
    (void)state;
    memset(&w, 0, sizeof(w));
    w.role.env = &env_system;
    assert_int_equal(loop_new(&env_system, &w.role.loop), 0);
    assert_int_equal(ipc_pair(fd), 0);
    w.auth = fd[1];
    w.role.peer[ROLE_AUTH].down = link_down;
    assert_int_equal(ipc_open(&w.role.peer[ROLE_AUTH], w.role.loop, fd[0], ROLE_SMTP_IN, ROLE_AUTH), 0);
    w.client.role = &w.role;
    w.run = (struct auth_run){ .client = &w.client, .session_id = S("s1"), .peer_addr = "192.0.2.1",
                               .challenge = take_challenge, .done = take_end };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    auth_run_cancel(&w.run);
    ipc_close(&w.role.peer[ROLE_AUTH]);
    loop_free(w.role.loop);
    close(w.auth);
    return 0;
}

/* The next question must be of this type and about anna; w.in holds the rest. */
static uint64_t question(enum ipc_type type)
{
    ssize_t n = recv(w.auth, w.frame, sizeof(w.frame), MSG_DONTWAIT);
    assert_true(n > 2);
    assert_int_equal((uint8_t)w.frame[0], type);
    w.in = UNPACK(str_of(w.frame + 2, (size_t)n - 2));
    uint64_t request = unpack_u64(&w.in);
    assert_int_equal(unpack_u8(&w.in), 0);
    assert_true(str_eq(unpack_str(&w.in), S("192.0.2.1")));
    assert_true(str_eq(unpack_str(&w.in), S("s1")));
    assert_true(str_eq(unpack_str(&w.in), S("anna")));
    return request;
}

static void answer(enum ipc_type type, const struct buf *payload)
{
    struct ipc_frame f = { .type = type, .in = UNPACK(buf_str(payload)), .fd = -1 };
    assert_int_equal(auth_client_frame(&w.client, &f), 0);
}

static void have_exporter(const char *bytes)
{
    w.run.bindings.exporter_n = strlen(bytes);
    memcpy(w.run.bindings.exporter, bytes, w.run.bindings.exporter_n);
    w.run.plus_offered = true;
}

/* Up to the client-final-message with that binding. */
static void play_plus(const char *bytes)
{
    _cleanup_buf_ struct buf final = BUF(512), bound = BUF(128), salt = BUF(128);
    auth_run_start(&w.run, S("SCRAM-SHA-256-PLUS"), true, S("p=tls-exporter,,n=anna,r=abc"));
    pack_u64(&salt, question(IPC_GET_SALT));
    assert_true(unpack_end(&w.in));
    pack_str(&salt, S("salt"));
    pack_u32(&salt, 4096);
    answer(IPC_AUTH_SALT, &salt);
    assert_int_equal(w.challenges, 1);
    buf_addf(&bound, "p=tls-exporter,,%s", bytes);
    buf_add(&final, S("c="));
    base64_encode(&final, buf_str(&bound));
    str rest = str_z(w.challenge), nonce = str_cut(&rest, ',');
    buf_addf(&final, ",%.*s,p=" PROOF, STR_ARG(nonce));
    auth_run_respond(&w.run, buf_str(&final));
}

static void test_plus(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf yes = BUF(256);
    have_exporter("bytes of the channel");
    play_plus("bytes of the channel");
    pack_u64(&yes, question(IPC_CHECK_PROOF));
    str message = unpack_str(&w.in);
    assert_true(str_starts(message, S("n=anna,r=abc,r=abc")));
    assert_true(str_find(message, S(",c=cD10bHMtZXhwb3J0ZXIsLGJ5dGVzIG9mIHRoZSBjaGFubmVs,r=abc")) > 0);
    assert_int_equal(unpack_str(&w.in).n, 32);
    assert_true(unpack_end(&w.in));
    pack_u8(&yes, 1);
    pack_str(&yes, S("anna@example.org"));
    pack_str(&yes, S("12345678901234567890123456789012"));
    answer(IPC_AUTH_RESULT, &yes);
    assert_string_equal(w.challenge, "v=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=");
    assert_int_equal(w.ends, 0);
    auth_run_respond(&w.run, STR_NONE);
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.end, AUTH_OK);
    assert_string_equal(w.account, "anna@example.org");
}

static void expect_unbound(const char *why)
{
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.end, AUTH_BINDING);
    assert_true(str_eq(auth_end_word(w.end), S("binding")));
    assert_string_equal(w.why, why);
    assert_true(str_eq(str_of(w.run.user, w.run.user_len), S("anna")));
    assert_null(w.run.sasl);
    assert_int_equal(recv(w.auth, w.frame, sizeof(w.frame), MSG_DONTWAIT), -1); /* no proof that was made for others */
    assert_int_equal(errno, EAGAIN);
}

static void test_other_channel(void **state)
{
    (void)state;
    have_exporter("bytes of the channel");
    play_plus("bytes of another one");
    expect_unbound("Channel binding failed: channel-bindings-dont-match");
}

static void test_no_such_binding(void **state)
{
    (void)state;
    have_exporter("bytes of the channel");
    auth_run_start(&w.run, S("SCRAM-SHA-256-PLUS"), true, S("p=tls-server-end-point,,n=anna,r=abc"));
    expect_unbound("Channel binding failed: unsupported-channel-binding-type");
}

static void test_downgrade(void **state)
{
    (void)state;
    have_exporter("bytes of the channel");
    auth_run_start(&w.run, S("SCRAM-SHA-256"), true, S("y,,n=anna,r=abc"));
    expect_unbound("Channel binding failed: server-does-support-channel-binding");
    auth_run_start(&w.run, S("SCRAM-SHA-256"), true, S("n,,n=anna,r=abc"));
    question(IPC_GET_SALT);
    w.run.plus_offered = false;
    auth_run_start(&w.run, S("SCRAM-SHA-256"), true, S("y,,n=anna,r=abc"));
    question(IPC_GET_SALT);
}

static void test_mechanisms(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf cert = { 0 }, key = { 0 };
    const char *why;
    SSL_CTX *ctx;
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    assert_int_equal(tls_server_context(buf_str(&cert), buf_str(&key), &why, &ctx), 0);
    SSL *with = SSL_new(ctx); /* no handshake: the certificate is all there is */
    assert_true(str_eq(auth_run_bind(&w.run, with), S("PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS")));
    assert_true(w.run.plus_offered);
    SSL_free(with);
    SSL_CTX_free(ctx);
    ctx = SSL_CTX_new(TLS_server_method());
    SSL *without = SSL_new(ctx);
    assert_true(str_eq(auth_run_bind(&w.run, without), S("PLAIN LOGIN SCRAM-SHA-256")));
    assert_false(w.run.plus_offered);
    SSL_free(without);
    SSL_CTX_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plus, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_channel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_such_binding, setup, teardown),
        cmocka_unit_test_setup_teardown(test_downgrade, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mechanisms, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
