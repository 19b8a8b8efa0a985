/* password.c through its header: real hashes, the example of RFC 7677 3, what unknown users cost, the cache. */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "auth/password.h"
#include "base/codec.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void assert_str(str got, str want)
{
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p ? got.p : "", want.p ? want.p : "", want.n);
}

static const uint8_t dummy_key[32] = { 1, 2, 3 };

static void test_make_and_check(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    struct account_secret one = { 0 }, two = { 0 };
    assert_int_equal(password_make(&a, &env_system, S("alice@posthouse.test"), S("s p\xc3\xa4ss"), &one), 0);
    assert_int_equal(password_make(&a, &env_system, S("alice@posthouse.test"), S("s p\xc3\xa4ss"), &two), 0);
    assert_str(one.address, S("alice@posthouse.test"));
    assert_true(str_starts(one.hash, S(PASSWORD_CRYPT_PREFIX)));
    assert_int_equal(one.salt.n, 16);
    assert_int_equal(one.iterations, 65536);
    assert_int_equal(one.stored_key.n, 32);
    assert_int_equal(one.server_key.n, 32);
    assert_false(str_eq(one.hash, two.hash));
    assert_false(str_eq(one.salt, two.salt));
    assert_false(str_eq(one.stored_key, two.stored_key));
    assert_true(password_check(&one, S("s p\xc3\xa4ss")));
    assert_false(password_check(&one, S("s p\xc3\xa4sS")));
    assert_false(password_check(&one, S("s p\xc3\xa4ss ")));
    assert_false(password_check(&one, S("")));
}

static void test_impossible_passwords(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    struct account_secret secret = { 0 };
    static char longest[PASSWORD_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(password_make(&a, &env_system, S("a"), S(""), &secret), -EINVAL);
    assert_int_equal(password_make(&a, &env_system, S("a"), S("se\0cret"), &secret), -EINVAL);
    assert_int_equal(password_make(&a, &env_system, S("a"), str_of(longest, sizeof(longest)), &secret), -EINVAL);
    assert_int_equal(secret.hash.n, 0);
    assert_int_equal(password_make(&a, &env_system, S("a"), str_of(longest, PASSWORD_MAX), &secret), 0);
    assert_true(password_check(&secret, str_of(longest, PASSWORD_MAX)));
    assert_false(password_check(&secret, str_of(longest, PASSWORD_MAX - 1)));
    assert_false(password_check(&secret, str_of(longest, PASSWORD_MAX + 1)));
    /* what is checked in place of an impossible password opens nothing either */
    assert_int_equal(password_make(&a, &env_system, S("a"), S("-"), &secret), 0);
    assert_true(password_check(&secret, S("-")));
    assert_false(password_check(&secret, S("")));
    assert_false(password_check(&secret, S("\0")));
    assert_false(password_check(&secret, S("-\0")));
}

static void test_damaged_hashes(void **state)
{
    (void)state;
    static const str hashes[] = { { "", 0 }, { "*", 1 }, { "*0", 2 }, { "x", 1 }, { "$y$j8T$", 7 },
                                  { "$y$j8T$bad!$bad", 15 }, { "$9$nothing", 10 }, { "plain\0text", 10 } };
    for (size_t i = 0; i < ARRAY_LEN(hashes); i++) {
        struct account_secret secret = { .hash = hashes[i] };
        assert_false(password_check(&secret, S("plain")));
        assert_false(password_check(&secret, hashes[i]));
    }
    struct account_secret glibc = { .hash = S("$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/"
                                              "jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/") };
    assert_true(password_check(&glibc, S("password"))); /* a hash brought along from /etc/shadow */
    assert_false(password_check(&glibc, S("passwore")));
}

static void test_dummy(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    static const uint8_t other_key[32] = { 9 };
    struct account_secret one, again, other, elsewhere;
    assert_int_equal(password_dummy(dummy_key, S("nobody@posthouse.test"), &one, &a), 0);
    assert_int_equal(password_dummy(dummy_key, S("NoBody@posthouse.test"), &again, &a), 0);
    assert_int_equal(password_dummy(dummy_key, S("nobodz@posthouse.test"), &other, &a), 0);
    assert_int_equal(password_dummy(other_key, S("nobody@posthouse.test"), &elsewhere, &a), 0);
    assert_true(str_starts(one.hash, S(PASSWORD_CRYPT_PREFIX)));
    assert_int_equal(one.salt.n, 16);
    assert_int_equal(one.iterations, 65536);
    assert_str(one.salt, again.salt);
    assert_false(str_eq(one.salt, other.salt));
    assert_false(str_eq(one.salt, elsewhere.salt));
    assert_false(password_check(&one, S("secret")));
    uint8_t signature[32];
    assert_false(scram_verify(&one, S("n=nobody"), S("12345678901234567890123456789012"), signature));
}

static double check_ms(const struct account_secret *secret, str password)
{
    struct timespec a, b;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    assert_false(password_check(secret, password));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    return (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#define ROUNDS 9

/* The largest median over the smallest, of refusals for a known user, an unknown one, an impossible password, a damaged
 * hash. */
static double spread(const struct account_secret *known, const struct account_secret *unknown)
{
    static const struct account_secret damaged = { .hash = { "*", 1 } };
    double ms[4][ROUNDS], low = 1e9, high = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        ms[0][i] = check_ms(known, S("guess"));
        ms[1][i] = check_ms(unknown, S("guess"));
        ms[2][i] = check_ms(known, S("gu\0ess"));
        ms[3][i] = check_ms(&damaged, S("guess"));
    }
    for (size_t i = 0; i < 4; i++) {
        qsort(ms[i], ROUNDS, sizeof(double), by_size);
        low = MIN(low, ms[i][ROUNDS / 2]);
        high = MAX(high, ms[i][ROUNDS / 2]);
    }
    return high / low;
}

static void test_time_tells_nothing(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    struct account_secret known, unknown;
    assert_int_equal(password_make(&a, &env_system, S("alice"), S("secret"), &known), 0);
    assert_int_equal(password_dummy(dummy_key, S("nobody"), &unknown, &a), 0);
    double best = spread(&known, &unknown);
    for (size_t i = 0; i < 4 && best > 1.1; i++) /* other work on the machine may disturb a round */
        best = MIN(best, spread(&known, &unknown));
    assert_true(best <= 1.1);
}

static void test_scram_rfc7677(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf salt = BUF(64), proof = BUF(64), want = BUF(64);
    uint8_t salted[32], client_key[32], stored_key[32], server_key[32], signature[32] = { 0 };
    str message = S("n=user,r=rOprNGfwEbeRWgbNEkqO,"
                    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
                    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    base64_decode(&salt, S("W22ZaJ0SNY7soEsUEjb6gQ=="));
    base64_decode(&proof, S("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
    base64_decode(&want, S("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    PKCS5_PBKDF2_HMAC("pencil", 6, (const uint8_t *)salt.p, (int)salt.n, 4096, EVP_sha256(), 32, salted);
    HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Client Key", 10, client_key, NULL);
    SHA256(client_key, 32, stored_key);
    HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Server Key", 10, server_key, NULL);
    struct account_secret secret = { .stored_key = str_of(stored_key, 32), .server_key = str_of(server_key, 32) };
    assert_true(scram_verify(&secret, message, buf_str(&proof), signature));
    assert_str(str_of(signature, 32), buf_str(&want));
    for (size_t i = 0; i < 32; i++) {
        proof.p[i] ^= 4;
        assert_false(scram_verify(&secret, message, buf_str(&proof), signature));
        proof.p[i] ^= 4;
    }
    assert_false(scram_verify(&secret, str_first(message, message.n - 1), buf_str(&proof), signature));
    assert_false(scram_verify(&secret, message, str_of(proof.p, 31), signature));
    assert_false(scram_verify(&secret, message, STR_NONE, signature));
    struct account_secret none = { 0 };
    assert_false(scram_verify(&none, message, buf_str(&proof), signature));
    assert_str(str_of(signature, 32), buf_str(&want)); /* untouched by failures */
}

/* The keys that password_make() stores are those a client computes from the password. */
static void test_made_keys_fit_a_client(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    struct account_secret s;
    uint8_t salted[32], client_key[32], proof[32], signature[32], server_key[32], want[32];
    str message = S("n=alice,r=x,r=xy,s=,i=65536,c=biws,r=xy");
    assert_int_equal(password_make(&a, &env_system, S("alice"), S("secret-alice"), &s), 0);
    PKCS5_PBKDF2_HMAC("secret-alice", 12, (const uint8_t *)s.salt.p, (int)s.salt.n, (int)s.iterations,
                      EVP_sha256(), 32, salted);
    HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Client Key", 10, client_key, NULL);
    HMAC(EVP_sha256(), s.stored_key.p, 32, (const uint8_t *)message.p, message.n, proof, NULL);
    for (size_t i = 0; i < 32; i++)
        proof[i] ^= client_key[i];
    assert_true(scram_verify(&s, message, str_of(proof, 32), signature));
    HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Server Key", 10, server_key, NULL);
    HMAC(EVP_sha256(), server_key, 32, (const uint8_t *)message.p, message.n, want, NULL);
    assert_memory_equal(signature, want, 32);
}

static void test_cache(void **state)
{
    (void)state;
    struct auth_cache *c = auth_cache_new(&env_system);
    assert_non_null(c);
    assert_false(auth_cache_has(c, 1, S("alice"), S("secret"), 1000));
    auth_cache_add(c, 1, S("alice"), S("secret"), 1000);
    assert_true(auth_cache_has(c, 1, S("alice"), S("secret"), 1000));
    assert_true(auth_cache_has(c, 1, S("ALICE"), S("secret"), 1000));
    assert_false(auth_cache_has(c, 1, S("alice"), S("Secret"), 1000));
    assert_false(auth_cache_has(c, 1, S("alices"), S("ecret"), 1000));
    assert_false(auth_cache_has(c, 1, S("alice\0s"), S("ecret"), 1000));
    assert_true(auth_cache_has(c, 1, S("alice"), S("secret"), 1000 + AUTH_CACHE_TTL_MS - 1));
    assert_false(auth_cache_has(c, 1, S("alice"), S("secret"), 1000 + AUTH_CACHE_TTL_MS));

    /* a changed directory forgets everything, and what was checked under the old one comes too late */
    auth_cache_add(c, 1, S("alice"), S("secret"), 2000);
    assert_false(auth_cache_has(c, 2, S("alice"), S("secret"), 2000));
    auth_cache_add(c, 1, S("alice"), S("secret"), 2000);
    assert_false(auth_cache_has(c, 1, S("alice"), S("secret"), 2000));
    assert_false(auth_cache_has(c, 2, S("alice"), S("secret"), 2000));
    auth_cache_free(c);
    auth_cache_free(NULL);
}

static void test_cache_is_bounded(void **state)
{
    (void)state;
    struct auth_cache *c = auth_cache_new(&env_system);
    char name[16];
    for (size_t i = 0; i < AUTH_CACHE_MAX + 10; i++) {
        snprintf(name, sizeof(name), "user%zu", i);
        auth_cache_add(c, 1, str_z(name), S("secret"), 1000);
        auth_cache_add(c, 1, S("user0"), S("secret"), 1000); /* used all the time: stays the youngest */
    }
    assert_true(auth_cache_has(c, 1, S("user0"), S("secret"), 1000));
    assert_false(auth_cache_has(c, 1, S("user1"), S("secret"), 1000));
    assert_false(auth_cache_has(c, 1, S("user10"), S("secret"), 1000));
    assert_true(auth_cache_has(c, 1, S("user11"), S("secret"), 1000));
    assert_true(auth_cache_has(c, 1, str_z(name), S("secret"), 1000));
    auth_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make_and_check),         cmocka_unit_test(test_impossible_passwords),
        cmocka_unit_test(test_damaged_hashes),         cmocka_unit_test(test_dummy),
        cmocka_unit_test(test_time_tells_nothing),     cmocka_unit_test(test_scram_rfc7677),
        cmocka_unit_test(test_made_keys_fit_a_client), cmocka_unit_test(test_cache),
        cmocka_unit_test(test_cache_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
