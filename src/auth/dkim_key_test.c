/* DKIM keys: the ones of RFC 8463 appendix A give its records and its signature; what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include "auth/dkim_key.h"
#include "base/codec.h"

static const char rsa_pem[] = "-----BEGIN RSA PRIVATE KEY-----\n"
                              "MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi\n"
                              "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM\n"
                              "KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB\n"
                              "AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm\n"
                              "6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe\n"
                              "zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy\n"
                              "6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc\n"
                              "uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy\n"
                              "WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd\n"
                              "WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a\n"
                              "licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst\n"
                              "o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe\n"
                              "uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL\n"
                              "-----END RSA PRIVATE KEY-----\n";
static const char rsa_record[] = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR"
                                 "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
                                 "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
                                 "Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
static const char ed25519_record[] = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
static const char field_ed25519[] =
    "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=football.example.com; i=@football.example.com; "
    "q=dns/txt; s=brisbane; t=1528637909; h=from : to : subject : date : message-id : from : subject : date; "
    "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=";
static const char field_rsa[] =
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=football.example.com; i=@football.example.com; q=dns/txt; "
    "s=test; t=1528637909; h=from : to : subject : date : message-id : from : subject : date; "
    "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=";
static const char b_ed25519[] =
    "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
static const char b_rsa[] = "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3"
                            "DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz"
                            "dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=";

static struct dkim_key *read_key(str pem)
{
    struct dkim_key *k = NULL;
    const char *why = NULL;
    assert_int_equal(dkim_key_read(pem, &why, &k), 0);
    return k;
}

/* The Ed25519 key as a file. */
static struct dkim_key *rfc_ed25519(void)
{
    struct buf raw = BUF(64);
    BIO *b = BIO_new(BIO_s_mem());
    char *p;
    assert_int_equal(base64_decode(&raw, S("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")), 0);
    EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, (const uint8_t *)raw.p, raw.n);
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(b, k, NULL, NULL, 0, NULL, NULL), 1);
    long n = BIO_get_mem_data(b, &p);
    struct dkim_key *key = read_key(str_of(p, (size_t)n));
    EVP_PKEY_free(k);
    BIO_free(b);
    buf_done(&raw);
    return key;
}

/* Both kinds of signature are deterministic: ours are those that the RFC prints. */
static void signs(struct dkim_key *key, const char *record, const char *field, const char *want)
{
    static const char text[] =
        "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n"
        "Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
        "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n"
        "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
    struct buf shown = BUF(4096), signature = BUF(DKIM_SIGNATURE_MAX), b = BUF(4096);
    struct dkim_message *m = dkim_message_new(DKIM_RELAXED, DKIM_RELAXED);
    uint8_t digest[DKIM_DIGEST];
    assert_int_equal(dkim_key_record(key, &shown), 0);
    assert_true(str_eq(buf_str(&shown), str_z(record)));
    dkim_message_feed(m, str_z(text));
    assert_int_equal(dkim_message_end(m), 0);
    assert_int_equal(
        dkim_digest_of(m, S("from : to : subject : date : message-id : from : subject : date"), str_z(field), digest),
        0);
    assert_int_equal(dkim_key_sign(key, digest, &signature), 0);
    base64_encode(&b, buf_str(&signature));
    assert_true(str_eq(buf_str(&b), str_z(want)));
    dkim_message_free(m);
    buf_done(&shown);
    buf_done(&signature);
    buf_done(&b);
}

static void appendix_a(void **state)
{
    (void)state;
    struct dkim_key *rsa = read_key(str_z(rsa_pem)), *ed25519 = rfc_ed25519();
    assert_int_equal(dkim_key_algorithm(rsa), DKIM_RSA_SHA256);
    assert_int_equal(dkim_key_algorithm(ed25519), DKIM_ED25519_SHA256);
    signs(rsa, rsa_record, field_rsa, b_rsa);
    signs(ed25519, ed25519_record, field_ed25519, b_ed25519);
    dkim_key_free(rsa);
    dkim_key_free(ed25519);
}

/* What is made can be written, read and signs the same. */
static void made(void **state)
{
    (void)state;
    for (int a = DKIM_RSA_SHA256; a <= DKIM_ED25519_SHA256; a++) {
        struct dkim_key *k = NULL;
        struct buf pem = BUF(DKIM_KEY_FILE_MAX), one = BUF(DKIM_SIGNATURE_MAX), two = BUF(DKIM_SIGNATURE_MAX);
        static const uint8_t digest[DKIM_DIGEST] = { 1, 2, 3 };
        assert_int_equal(dkim_key_make((enum dkim_algorithm)a, &k), 0);
        assert_int_equal(dkim_key_write(k, &pem), 0);
        struct dkim_key *again = read_key(buf_str(&pem));
        assert_int_equal(dkim_key_algorithm(again), a);
        assert_int_equal(dkim_key_sign(k, digest, &one), 0);
        assert_int_equal(dkim_key_sign(again, digest, &two), 0);
        assert_int_equal(one.n, a == DKIM_RSA_SHA256 ? 256 : 64);
        assert_true(str_eq(buf_str(&one), buf_str(&two)));
        dkim_key_free(k);
        dkim_key_free(again);
        buf_done(&pem);
        buf_done(&one);
        buf_done(&two);
    }
}

static void refused(void **state)
{
    (void)state;
    struct dkim_key *k = NULL;
    const char *why = NULL;
    char *p;
    assert_int_equal(dkim_key_read(S(""), &why, &k), -EINVAL);
    assert_int_equal(dkim_key_read(S("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), &why, &k),
                     -EINVAL);
    assert_int_equal(dkim_key_read(str_first(str_z(rsa_pem), 500), &why, &k), -EINVAL);
    for (int kind = 0; kind < 2; kind++) { /* too short; another algorithm */
        EVP_PKEY *key = kind == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)768)
                                  : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        BIO *b = BIO_new(BIO_s_mem());
        assert_int_equal(PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL), 1);
        long n = BIO_get_mem_data(b, &p);
        assert_int_equal(dkim_key_read(str_of(p, (size_t)n), &why, &k), -EINVAL);
        assert_non_null(strstr(why, kind == 0 ? "1024" : "neither"));
        EVP_PKEY_free(key);
        BIO_free(b);
    }
    assert_null(k);
    dkim_key_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appendix_a), cmocka_unit_test(made), cmocka_unit_test(refused),
    };
    dkim_key_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
