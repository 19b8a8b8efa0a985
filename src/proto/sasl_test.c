/* sasl.c through its header: the example of RFC 7677 3 word for word, and what must be refused. OpenSSL plays the
 * client. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include "base/codec.h"
#include "proto/sasl.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#define CLIENT_FIRST  "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE  "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SERVER_FIRST  "r=rOprNGfwEbeRWgbNEkqO" SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define WITHOUT_PROOF "c=biws,r=rOprNGfwEbeRWgbNEkqO" SERVER_NONCE
#define CLIENT_PROOF  "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SERVER_SIGN   "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static void assert_str(str got, str want)
{
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p ? got.p : "", want.p ? want.p : "", want.n);
}

static str decode(struct buf *b, str text)
{
    buf_clear(b);
    assert_int_equal(base64_decode(b, text), 0);
    return buf_str(b);
}

static void hmac(const uint8_t key[32], str data, uint8_t out[32])
{
    assert_non_null(HMAC(EVP_sha256(), key, 32, (const uint8_t *)data.p, data.n, out, NULL));
}

/* What RFC 5802 3 computes from the password "pencil". */
static void compute(str salt, uint32_t iterations, str auth_message, uint8_t out_proof[32], uint8_t out_signature[32])
{
    uint8_t salted[32], client_key[32], stored_key[32], server_key[32], signature[32];
    PKCS5_PBKDF2_HMAC("pencil", 6, (const uint8_t *)salt.p, (int)salt.n, (int)iterations, EVP_sha256(), 32, salted);
    hmac(salted, S("Client Key"), client_key);
    SHA256(client_key, 32, stored_key);
    hmac(stored_key, auth_message, signature);
    for (size_t i = 0; i < 32; i++)
        out_proof[i] = client_key[i] ^ signature[i];
    hmac(salted, S("Server Key"), server_key);
    hmac(server_key, auth_message, out_signature);
}

static void test_rfc7677_example(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf salt = BUF(64), want = BUF(256);
    uint8_t proof[32], signature[32];
    struct sasl_out out;
    struct sasl_server *s = sasl_server_new(S("SCRAM-SHA-256"), S(SERVER_NONCE));
    assert_non_null(s);
    assert_int_equal(sasl_server_start(s, true, S(CLIENT_FIRST), &out), SASL_ASK_SALT);
    assert_str(out.user, S("user"));
    assert_str(out.authzid, S(""));
    assert_int_equal(sasl_server_salt(s, decode(&salt, S("W22ZaJ0SNY7soEsUEjb6gQ==")), 4096, &out), SASL_CHALLENGE);
    assert_str(out.text, S(SERVER_FIRST));
    assert_int_equal(sasl_server_respond(s, S(WITHOUT_PROOF ",p=" CLIENT_PROOF), &out), SASL_ASK_PROOF);
    assert_str(out.user, S("user"));
    assert_str(out.auth_message, S("n=user,r=rOprNGfwEbeRWgbNEkqO," SERVER_FIRST "," WITHOUT_PROOF));
    compute(buf_str(&salt), 4096, out.auth_message, proof, signature);
    assert_str(out.proof, str_of(proof, 32));
    assert_str(str_of(signature, 32), decode(&want, S(SERVER_SIGN)));
    assert_int_equal(sasl_server_verdict(s, true, str_of(signature, 32), &out), SASL_CHALLENGE);
    assert_str(out.text, S("v=" SERVER_SIGN));
    assert_int_equal(sasl_server_respond(s, STR_NONE, &out), SASL_OK);
    assert_str(out.user, S("user"));
    assert_int_equal(sasl_server_respond(s, STR_NONE, &out), SASL_MALFORMED);
    sasl_server_free(s);
}

static const uint8_t raw_nonce[18] = { 0, 1, 2, 250 };

/* The exchange up to the client-final-message, where "$" stands for the nonce; returns the step after it. */
static enum sasl_step play_until_proof(struct sasl_server *s, const char *first, str final, bool right,
                                       struct sasl_out *out)
{
    _cleanup_buf_ struct buf message = BUF(4096);
    assert_int_equal(sasl_server_start(s, true, str_z(first), out), SASL_ASK_SALT);
    assert_int_equal(sasl_server_salt(s, S("salt"), 5000, out), SASL_CHALLENGE);
    str nonce = str_from(out->text, 2);
    nonce = str_cut(&nonce, ',');
    buf_add(&message, str_cut(&final, '$'));
    buf_add(&message, right ? nonce : S("abc"));
    buf_add(&message, final);
    return sasl_server_respond(s, buf_str(&message), out);
}

static enum sasl_step scram_until_proof(const char *first, str final, bool right, struct sasl_out *out,
                                        struct sasl_server **out_s)
{
    *out_s = sasl_server_new(S("SCRAM-SHA-256"), str_of(raw_nonce, sizeof(raw_nonce)));
    return play_until_proof(*out_s, first, final, right, out);
}

static void test_scram_final(void **state)
{
    (void)state;
    static const struct {
        const char *first, *final;
        bool right_nonce;
        enum sasl_step step;
    } cases[] = {
        { "n,,n=u,r=abc", "c=biws,r=$,p=" CLIENT_PROOF, true, SASL_ASK_PROOF },
        { "y,,n=u,r=abc", "c=eSws,r=$,p=" CLIENT_PROOF, true, SASL_ASK_PROOF },
        { "n,a=u,n=u,r=abc", "c=bixhPXUs,r=$,p=" CLIENT_PROOF, true, SASL_ASK_PROOF },
        { "n,,n=u,r=abc", "c=biws,r=$,x=ignored,p=" CLIENT_PROOF, true, SASL_ASK_PROOF },
        { "n,,n=u,r=abc", "c=eSws,r=$,p=" CLIENT_PROOF, true, SASL_BINDING },    /* header changed on the way */
        { "y,,n=u,r=abc", "c=biws,r=$,p=" CLIENT_PROOF, true, SASL_BINDING },    /* downgrade */
        { "n,,n=u,r=abc", "c=biwsAAAA,r=$,p=" CLIENT_PROOF, true, SASL_BINDING }, /* binding data with "n" */
        { "n,,n=u,r=abc", "c=biws,r=$,p=" CLIENT_PROOF, false, SASL_FAIL },      /* client's part alone */
        { "n,,n=u,r=abc", "c=biws,r=$x,p=" CLIENT_PROOF, true, SASL_FAIL },
        { "n,,n=u,r=abc", "c=biws,r=$", true, SASL_MALFORMED },
        { "n,,n=u,r=abc", "c=biws,r=$,p=", true, SASL_MALFORMED },
        { "n,,n=u,r=abc", "c=biws,r=$,p=AAAA", true, SASL_MALFORMED },           /* not 32 bytes */
        { "n,,n=u,r=abc", "c=biws,r=$,p=" CLIENT_PROOF "AAAA", true, SASL_MALFORMED },
        { "n,,n=u,r=abc", "c=biws,r=$,m=new,p=" CLIENT_PROOF, true, SASL_MALFORMED },
        { "n,,n=u,r=abc", "r=$,c=biws,p=" CLIENT_PROOF, true, SASL_MALFORMED },  /* order is fixed */
        { "n,,n=u,r=abc", "c=biws,r=$,,p=" CLIENT_PROOF, true, SASL_MALFORMED },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sasl_out out;
        struct sasl_server *s;
        enum sasl_step step = scram_until_proof(cases[i].first, str_z(cases[i].final), cases[i].right_nonce, &out, &s);
        if (step != cases[i].step)
            print_error("case %zu: %s / %s\n", i, cases[i].first, cases[i].final);
        assert_int_equal(step, cases[i].step);
        sasl_server_free(s);
    }
}

static enum sasl_step start(const char *mech, str message, struct sasl_out *out, struct sasl_server **out_s)
{
    *out_s = sasl_server_new(str_z(mech), S("012345678901234567"));
    assert_non_null(*out_s);
    return sasl_server_start(*out_s, true, message, out);
}

static void test_scram_first(void **state)
{
    (void)state;
    static const struct {
        str first, user;
        enum sasl_step step;
    } cases[] = {
        { { "n,,n=user,r=abc", 15 }, { "user", 4 }, SASL_ASK_SALT },
        { { "y,,n=user,r=abc", 15 }, { "user", 4 }, SASL_ASK_SALT },
        { { "n,,n=a=2Cb=3Dc,r=abc", 20 }, { "a,b=c", 5 }, SASL_ASK_SALT },
        { { "n,a=USER,n=user,r=abc", 21 }, { "user", 4 }, SASL_ASK_SALT },
        { { "n,,n=user,r=abc,x=y", 19 }, { "user", 4 }, SASL_ASK_SALT },
        { { "n,a=root,n=user,r=abc", 21 }, { 0 }, SASL_FAIL },
        { { "p=tls-exporter,,n=user,r=abc", 28 }, { 0 }, SASL_MALFORMED },
        { { "x,,n=user,r=abc", 15 }, { 0 }, SASL_MALFORMED },
        { { "n,n=user,r=abc", 14 }, { 0 }, SASL_MALFORMED },
        { { "n,a=,n=user,r=abc", 17 }, { 0 }, SASL_MALFORMED },
        { { "n,,m=x,n=user,r=abc", 19 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=user,r=abc,m=x", 19 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=us=2cer,r=abc", 18 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=user=,r=abc", 16 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=user=2,r=abc", 17 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=,r=abc", 11 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=us\0er,r=abc", 16 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=us\ner,r=abc", 16 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=us\xff" "er,r=abc", 16 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=user,r=", 12 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=user,r=a b", 15 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=user,r=abc,", 16 }, { 0 }, SASL_MALFORMED },
        { { "n,,n=user", 9 }, { 0 }, SASL_MALFORMED },
        { { "n,,", 3 }, { 0 }, SASL_MALFORMED },
        { { "n", 1 }, { 0 }, SASL_MALFORMED },
        { { "", 0 }, { 0 }, SASL_MALFORMED },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sasl_out out;
        struct sasl_server *s;
        enum sasl_step step = start("SCRAM-SHA-256", cases[i].first, &out, &s);
        if (step != cases[i].step)
            print_error("case %zu: %.*s\n", i, STR_ARG(cases[i].first));
        assert_int_equal(step, cases[i].step);
        assert_str(out.user, cases[i].user);
        sasl_server_free(s);
    }
}

static enum sasl_step reach_proof(struct sasl_out *out, struct sasl_server **out_s)
{
    return scram_until_proof("n,,n=u,r=abc", S("c=biws,r=$,p=" CLIENT_PROOF), true, out, out_s);
}

static void test_scram_order(void **state)
{
    (void)state;
    struct sasl_out out;
    struct sasl_server *s;
    assert_null(sasl_server_new(S("SCRAM-SHA-256"), S("too-short")));
    assert_null(sasl_server_new(S("CRAM-MD5"), STR_NONE));
    assert_null(sasl_server_new(S("plain"), STR_NONE));

    /* without an initial response the client is asked for it with an empty challenge */
    s = sasl_server_new(S("SCRAM-SHA-256"), S(SERVER_NONCE));
    assert_int_equal(sasl_server_start(s, false, STR_NONE, &out), SASL_CHALLENGE);
    assert_int_equal(out.text.n, 0);
    assert_int_equal(sasl_server_respond(s, S(CLIENT_FIRST), &out), SASL_ASK_SALT);
    assert_int_equal(sasl_server_respond(s, S("c=biws"), &out), SASL_MALFORMED);
    assert_int_equal(sasl_server_salt(s, S("salt"), 4096, &out), SASL_MALFORMED);
    sasl_server_free(s);

    /* a verdict without a signature, a wrong proof, an answer to the server's final message */
    assert_int_equal(reach_proof(&out, &s), SASL_ASK_PROOF);
    assert_int_equal(sasl_server_verdict(s, true, STR_NONE, &out), SASL_FAIL);
    sasl_server_free(s);
    assert_int_equal(reach_proof(&out, &s), SASL_ASK_PROOF);
    assert_int_equal(sasl_server_verdict(s, false, STR_NONE, &out), SASL_FAIL);
    assert_int_equal(sasl_server_verdict(s, true, S("12345678901234567890123456789012"), &out), SASL_MALFORMED);
    sasl_server_free(s);
    assert_int_equal(reach_proof(&out, &s), SASL_ASK_PROOF);
    assert_int_equal(sasl_server_verdict(s, true, S("12345678901234567890123456789012"), &out), SASL_CHALLENGE);
    assert_int_equal(sasl_server_respond(s, S("x"), &out), SASL_MALFORMED);
    sasl_server_free(s);
}

static const struct sasl_bindings bindings = {
    .exporter = { "exporter\0bytes", 14 }, .unique = { "finished", 8 }, .end_point = { "hash,of=it", 10 },
    .plus_offered = true,
};

static struct sasl_server *new_plus(const struct sasl_bindings *b)
{
    struct sasl_server *s = sasl_server_new(S("SCRAM-SHA-256-PLUS"), str_of(raw_nonce, sizeof(raw_nonce)));
    assert_non_null(s);
    if (b)
        sasl_server_bind(s, b);
    return s;
}

/* The client-final-message for that GS2 header and those bytes, "$" for the nonce. */
static void plus_final(struct buf *out, str header, str bytes)
{
    _cleanup_buf_ struct buf input = BUF(256);
    buf_add(&input, header);
    buf_add(&input, bytes);
    buf_add(out, S("c="));
    base64_encode(out, buf_str(&input));
    buf_add(out, S(",r=$,p=" CLIENT_PROOF));
}

static void test_plus_final(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        str sent, bytes;
        enum sasl_step step;
    } cases[] = {
        { "p=tls-exporter,,", { "p=tls-exporter,,", 16 }, { "exporter\0bytes", 14 }, SASL_ASK_PROOF },
        { "p=tls-unique,,", { "p=tls-unique,,", 14 }, { "finished", 8 }, SASL_ASK_PROOF },
        { "p=tls-server-end-point,,", { "p=tls-server-end-point,,", 24 }, { "hash,of=it", 10 }, SASL_ASK_PROOF },
        { "p=tls-exporter,a=u,", { "p=tls-exporter,a=u,", 19 }, { "exporter\0bytes", 14 }, SASL_ASK_PROOF },
        { "p=tls-exporter,,", { "p=tls-exporter,,", 16 }, { "exporter\0bytez", 14 }, SASL_BINDING },
        { "p=tls-exporter,,", { "p=tls-exporter,,", 16 }, { "exporter", 8 }, SASL_BINDING },
        { "p=tls-exporter,,", { "p=tls-exporter,,", 16 }, { "exporter\0bytes!", 15 }, SASL_BINDING },
        { "p=tls-exporter,,", { "p=tls-exporter,,", 16 }, { "", 0 }, SASL_BINDING },
        { "p=tls-exporter,,", { "p=tls-exporter,,", 16 }, { "hash,of=it", 10 }, SASL_BINDING },
        { "p=tls-exporter,,", { "p=tls-server-end-point,,", 24 }, { "hash,of=it", 10 }, SASL_BINDING },
        { "p=tls-exporter,,", { "n,,", 3 }, { "", 0 }, SASL_BINDING },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_buf_ struct buf first = BUF(256), final = BUF(256);
        struct sasl_out out;
        struct sasl_server *s = new_plus(&bindings);
        buf_addf(&first, "%sn=u,r=abc%c", cases[i].header, '\0');
        plus_final(&final, cases[i].sent, cases[i].bytes);
        enum sasl_step step = play_until_proof(s, first.p, buf_str(&final), true, &out);
        if (step != cases[i].step)
            print_error("case %zu\n", i);
        assert_int_equal(step, cases[i].step);
        assert_str(out.user, S("u"));
        if (step == SASL_BINDING)
            assert_str(out.text, S("Channel binding failed: channel-bindings-dont-match"));
        else
            assert_true(str_find(out.auth_message, str_first(buf_str(&final), 20)) > 0);
        sasl_server_free(s);
    }
}

static void test_plus_first(void **state)
{
    (void)state;
    static const char unsupported[] = "Channel binding failed: unsupported-channel-binding-type";
    static const struct {
        const char *first;
        enum sasl_step step, without; /* with all bindings, with none */
    } cases[] = {
        { "p=tls-exporter,,n=u,r=abc", SASL_ASK_SALT, SASL_BINDING },
        { "p=tls-unique,,n=u,r=abc", SASL_ASK_SALT, SASL_BINDING },
        { "p=tls-server-end-point,,n=u,r=abc", SASL_ASK_SALT, SASL_BINDING },
        { "p=tls-unique-for-telnet,,n=u,r=abc", SASL_BINDING, SASL_BINDING },
        { "p=TLS-EXPORTER,,n=u,r=abc", SASL_BINDING, SASL_BINDING },
        { "p=x,,n=u,r=abc", SASL_BINDING, SASL_BINDING },
        { "p=tls-exporter,a=root,n=u,r=abc", SASL_FAIL, SASL_BINDING },
        { "p=,,n=u,r=abc", SASL_MALFORMED, SASL_MALFORMED },
        { "p,,n=u,r=abc", SASL_MALFORMED, SASL_MALFORMED },
        { "p=tls exporter,,n=u,r=abc", SASL_MALFORMED, SASL_MALFORMED },
        { "p=tls_exporter,,n=u,r=abc", SASL_MALFORMED, SASL_MALFORMED },
        { "n,,n=u,r=abc", SASL_MALFORMED, SASL_MALFORMED }, /* the mechanism says that there is a binding */
        { "y,,n=u,r=abc", SASL_MALFORMED, SASL_MALFORMED },
        { "p=tls-exporter,,n=u", SASL_MALFORMED, SASL_MALFORMED },
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        bool bound = i < ARRAY_LEN(cases);
        const char *first = cases[i % ARRAY_LEN(cases)].first;
        enum sasl_step want = bound ? cases[i].step : cases[i - ARRAY_LEN(cases)].without;
        struct sasl_out out;
        struct sasl_server *s = new_plus(bound ? &bindings : NULL);
        enum sasl_step step = sasl_server_start(s, true, str_z(first), &out);
        if (step != want)
            print_error("case %zu: %s\n", i, first);
        assert_int_equal(step, want);
        if (step == SASL_BINDING) {
            assert_str(out.user, S("u"));
            assert_str(out.text, str_z(unsupported));
            assert_int_equal(sasl_server_salt(s, S("salt"), 4096, &out), SASL_MALFORMED);
        }
        sasl_server_free(s);
    }
}

/* "y" means: I could, you cannot. When -PLUS was in the list, somebody has taken it out (RFC 5802 6). */
static void test_downgrade(void **state)
{
    (void)state;
    static const struct sasl_bindings nothing = { .plus_offered = false };
    static const struct {
        const char *first;
        const struct sasl_bindings *bindings;
        enum sasl_step step;
    } cases[] = {
        { "y,,n=u,r=abc", &bindings, SASL_BINDING },  { "n,,n=u,r=abc", &bindings, SASL_ASK_SALT },
        { "y,,n=u,r=abc", &nothing, SASL_ASK_SALT },  { "n,,n=u,r=abc", &nothing, SASL_ASK_SALT },
        { "y=,,n=u,r=abc", &bindings, SASL_MALFORMED }, { "p=tls-exporter,,n=u,r=abc", &bindings, SASL_MALFORMED },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sasl_out out;
        struct sasl_server *s = sasl_server_new(S("SCRAM-SHA-256"), str_of(raw_nonce, sizeof(raw_nonce)));
        sasl_server_bind(s, cases[i].bindings);
        assert_int_equal(sasl_server_start(s, true, str_z(cases[i].first), &out), cases[i].step);
        if (cases[i].step == SASL_BINDING)
            assert_str(out.text, S("Channel binding failed: server-does-support-channel-binding"));
        sasl_server_free(s);
    }
}

/* One that is too long to be kept is as one that is not there; the longest is kept, and the caller's bytes may go. */
static void test_binding_lengths(void **state)
{
    (void)state;
    char bytes[SASL_BINDING_MAX + 1];
    memset(bytes, 'b', sizeof(bytes));
    for (size_t n = SASL_BINDING_MAX; n <= SASL_BINDING_MAX + 1; n++) {
        _cleanup_buf_ struct buf final = BUF(512);
        struct sasl_out out;
        const struct sasl_bindings b = { .exporter = str_of(bytes, n) };
        struct sasl_server *s = new_plus(&b);
        if (n > SASL_BINDING_MAX) {
            assert_int_equal(sasl_server_start(s, true, S("p=tls-exporter,,n=u,r=abc"), &out), SASL_BINDING);
        } else {
            plus_final(&final, S("p=tls-exporter,,"), str_of(bytes, n));
            memset(bytes, 'x', sizeof(bytes));
            assert_int_equal(play_until_proof(s, "p=tls-exporter,,n=u,r=abc", buf_str(&final), true, &out),
                             SASL_ASK_PROOF);
        }
        sasl_server_free(s);
    }
}

static void test_plain(void **state)
{
    (void)state;
    static const struct {
        str message;
        enum sasl_step step;
    } cases[] = {
        { { "\0alice\0secret", 13 }, SASL_ASK_PASSWORD },
        { { "Alice\0alice\0secret", 18 }, SASL_ASK_PASSWORD },
        { { "\0alice\0s p \xe4", 12 }, SASL_ASK_PASSWORD },
        { { "bob\0alice\0secret", 16 }, SASL_FAIL },
        { { "\0alice", 6 }, SASL_MALFORMED },
        { { "alice", 5 }, SASL_MALFORMED },
        { { "", 0 }, SASL_MALFORMED },
        { { "\0\0secret", 8 }, SASL_MALFORMED },
        { { "\0alice\0", 7 }, SASL_MALFORMED },
        { { "\0alice\0secret\0more", 18 }, SASL_MALFORMED },
        { { "\0al\rice\0secret", 14 }, SASL_MALFORMED },
        { { "\0al\xc0\xae\0secret", 12 }, SASL_MALFORMED },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sasl_out out;
        struct sasl_server *s;
        enum sasl_step step = start("PLAIN", cases[i].message, &out, &s);
        if (step != cases[i].step)
            print_error("case %zu\n", i);
        assert_int_equal(step, cases[i].step);
        if (step == SASL_ASK_PASSWORD)
            assert_str(out.user, S("alice"));
        sasl_server_free(s);
    }
}

static void test_plain_whole(void **state)
{
    (void)state;
    struct sasl_out out;
    struct sasl_server *s = sasl_server_new(S("PLAIN"), STR_NONE);
    assert_int_equal(sasl_server_start(s, false, STR_NONE, &out), SASL_CHALLENGE);
    assert_int_equal(out.text.n, 0);
    char message[] = "\0alice\0secret";
    assert_int_equal(sasl_server_respond(s, str_of(message, 13), &out), SASL_ASK_PASSWORD);
    memset(message, 'x', sizeof(message)); /* the machine keeps its own copy */
    assert_str(out.password, S("secret"));
    assert_int_equal(sasl_server_verdict(s, true, STR_NONE, &out), SASL_OK);
    assert_str(out.user, S("alice"));
    assert_int_equal(out.password.n, 0);
    sasl_server_free(s);

    static char big[SASL_MESSAGE_MAX + 1];
    memset(big, 'a', sizeof(big));
    big[0] = big[10] = '\0';
    assert_int_equal(start("PLAIN", str_of(big, SASL_MESSAGE_MAX), &out, &s), SASL_ASK_PASSWORD);
    assert_int_equal(sasl_server_verdict(s, false, STR_NONE, &out), SASL_FAIL);
    sasl_server_free(s);
    assert_int_equal(start("PLAIN", str_of(big, sizeof(big)), &out, &s), SASL_MALFORMED);
    sasl_server_free(s);
}

static void test_login(void **state)
{
    (void)state;
    struct sasl_out out;
    struct sasl_server *s = sasl_server_new(S("LOGIN"), STR_NONE);
    assert_int_equal(sasl_server_start(s, false, STR_NONE, &out), SASL_CHALLENGE);
    assert_str(out.text, S("Username:"));
    assert_int_equal(sasl_server_respond(s, S("alice"), &out), SASL_CHALLENGE);
    assert_str(out.text, S("Password:"));
    assert_int_equal(sasl_server_respond(s, S("secret"), &out), SASL_ASK_PASSWORD);
    assert_str(out.user, S("alice"));
    assert_str(out.password, S("secret"));
    assert_int_equal(sasl_server_verdict(s, true, STR_NONE, &out), SASL_OK);
    sasl_server_free(s);

    assert_int_equal(start("LOGIN", S("alice"), &out, &s), SASL_CHALLENGE); /* Outlook: the name as initial response */
    assert_str(out.text, S("Password:"));
    assert_int_equal(sasl_server_respond(s, S("se\0cret"), &out), SASL_MALFORMED);
    assert_int_equal(sasl_server_respond(s, S("secret"), &out), SASL_MALFORMED);
    sasl_server_free(s);
    assert_int_equal(start("LOGIN", STR_NONE, &out, &s), SASL_MALFORMED);
    sasl_server_free(s);
    sasl_server_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc7677_example), cmocka_unit_test(test_scram_final), cmocka_unit_test(test_scram_first),
        cmocka_unit_test(test_scram_order),     cmocka_unit_test(test_plain),       cmocka_unit_test(test_plain_whole),
        cmocka_unit_test(test_login),           cmocka_unit_test(test_plus_final),  cmocka_unit_test(test_plus_first),
        cmocka_unit_test(test_downgrade),       cmocka_unit_test(test_binding_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
