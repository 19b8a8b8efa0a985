/* SASL client mechanisms against the server's: each side accepts the other, and only with the right password. The
 * example of RFC 7677 is in smtp_client_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/sasl.h"
#include "proto/sasl_client.h"

#define T(f) cmocka_unit_test(f)

static const str nonce = { "0123456789abcdefghij", 20 };

static struct sasl_client *new(enum sasl_client_mechanism m)
{
    struct sasl_client *c = sasl_client_new(m, S("an,n=a"), S("p\xc3\xa4ss word"), nonce);
    assert_non_null(c);
    return c;
}

static void test_plain(void **state)
{
    (void)state;
    struct sasl_client *c = new(SASL_CLIENT_PLAIN);
    struct sasl_server *s = sasl_server_new(sasl_client_name(SASL_CLIENT_PLAIN), nonce);
    struct sasl_out out;
    str first, more;
    assert_false(sasl_client_ok(c));
    assert_true(sasl_client_first(c, &first));
    assert_int_equal(sasl_server_start(s, true, first, &out), SASL_ASK_PASSWORD);
    assert_true(str_eq(out.user, S("an,n=a")));
    assert_true(str_eq(out.password, S("p\xc3\xa4ss word")));
    assert_true(sasl_client_ok(c));
    assert_false(sasl_client_next(c, S("more?"), &more));
    assert_false(sasl_client_ok(c));
    sasl_client_free(c);
    sasl_server_free(s);
}

static void test_login(void **state)
{
    (void)state;
    struct sasl_client *c = new(SASL_CLIENT_LOGIN);
    struct sasl_server *s = sasl_server_new(S("LOGIN"), nonce);
    struct sasl_out out;
    str text;
    assert_false(sasl_client_first(c, &text));
    enum sasl_step step = sasl_server_start(s, false, STR_NONE, &out);
    for (int i = 0; i < 2; ++i) {
        assert_int_equal(step, SASL_CHALLENGE);
        assert_false(sasl_client_ok(c));
        assert_true(sasl_client_next(c, out.text, &text));
        step = sasl_server_respond(s, text, &out);
    }
    assert_int_equal(step, SASL_ASK_PASSWORD);
    assert_true(str_eq(out.user, S("an,n=a")));
    assert_true(str_eq(out.password, S("p\xc3\xa4ss word")));
    assert_true(sasl_client_ok(c));
    sasl_client_free(c);
    sasl_server_free(s);
}

static void test_scram_names(void **state)
{
    (void)state;
    struct sasl_client *c = new(SASL_CLIENT_SCRAM_SHA_256);
    struct sasl_server *s = sasl_server_new(S("SCRAM-SHA-256"), nonce);
    struct sasl_out out;
    str text;
    assert_true(sasl_client_first(c, &text));
    assert_true(str_eq(text, S("n,,n=an=2Cn=3Da,r=0123456789abcdefghij")));
    assert_int_equal(sasl_server_start(s, true, text, &out), SASL_ASK_SALT);
    assert_true(str_eq(out.user, S("an,n=a")));
    assert_int_equal(sasl_server_salt(s, S("salt"), 4096, &out), SASL_CHALLENGE);
    assert_true(sasl_client_next(c, out.text, &text));
    assert_int_equal(sasl_server_respond(s, text, &out), SASL_ASK_PROOF);
    assert_false(sasl_client_ok(c));
    sasl_client_free(c);
    sasl_server_free(s);
}

static void challenge(const char *text, bool ok)
{
    struct sasl_client *c = new(SASL_CLIENT_SCRAM_SHA_256);
    str out;
    assert_true(sasl_client_first(c, &out));
    assert_int_equal(sasl_client_next(c, str_z(text), &out), ok);
    assert_int_equal(sasl_client_why(c).n > 0, !ok);
    assert_false(sasl_client_ok(c));
    sasl_client_free(c);
}

static void test_scram_challenges(void **state)
{
    (void)state;
    challenge("r=0123456789abcdefghijX,s=c2FsdA==,i=4096", true);
    challenge("r=0123456789abcdefghijX,s=c2FsdA==,i=4096,ext=1", true);
    challenge("m=x,r=0123456789abcdefghijX,s=c2FsdA==,i=4096", false);
    challenge("r=0123456789abcdefghij,s=c2FsdA==,i=4096", false);
    challenge("r=0123456789abcdefghXX,s=c2FsdA==,i=4096", false);
    challenge("r=0123456789abcdefghij X,s=c2FsdA==,i=4096", false);
    challenge("r=0123456789abcdefghijX,s=,i=4096", false);
    challenge("r=0123456789abcdefghijX,s=c2F,i=4096", false);
    challenge("r=0123456789abcdefghijX,s=c2FsdA==,i=4095", false);
    challenge("r=0123456789abcdefghijX,s=c2FsdA==,i=500001", false);
    challenge("r=0123456789abcdefghijX,s=c2FsdA==,i=x", false);
    challenge("", false);
}

static void test_what_cannot_be_used(void **state)
{
    (void)state;
    assert_null(sasl_client_new(SASL_CLIENT_SCRAM_SHA_256, S("a"), S("b"), S("short")));
    assert_null(sasl_client_new(SASL_CLIENT_PLAIN, S(""), S("b"), nonce));
    assert_null(sasl_client_new(SASL_CLIENT_PLAIN, S("a"), S(""), nonce));
    assert_null(sasl_client_new(SASL_CLIENT_PLAIN, S("a\0b"), S("b"), nonce));
    assert_null(sasl_client_new(SASL_CLIENT_NONE, S("a"), S("b"), nonce));
    sasl_client_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_plain),
        T(test_login),
        T(test_scram_names),
        T(test_scram_challenges),
        T(test_what_cannot_be_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
