/* The certificates are checked as a mail program would: OpenSSL's strict verification of a TLS server of that name. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>
#include "admin/certificates.h"

static const char *const dns[] = { "localhost", "mail.posthouse.test" };
static const char *const ip[] = { "127.0.0.1", "::1", "192.0.2.7" };

static struct certificates_request request(int64_t now)
{
    return (struct certificates_request){ .dns = dns, .n_dns = 2, .ip = ip, .n_ip = 3, .now_s = now };
}

static X509 *read_cert(const struct buf *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->p, (int)pem->n);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return x;
}

static EVP_PKEY *read_key(const struct buf *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->p, (int)pem->n);
    EVP_PKEY *k = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return k;
}

/* X509_V_OK or the error that a client would get. */
static int verify(const struct buf *ca_pem, const struct buf *cert_pem, const char *host, const char *address,
                  int64_t at)
{
    X509 *ca = read_cert(ca_pem), *cert = read_cert(cert_pem);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(ctx, store, cert, NULL);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set_time(param, (time_t)at);
    if (host)
        X509_VERIFY_PARAM_set1_host(param, host, 0);
    if (address)
        X509_VERIFY_PARAM_set1_ip_asc(param, address);
    int error = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_free(ca);
    X509_free(cert);
    return error;
}

static void test_a_client_accepts_every_name(void **state)
{
    (void)state;
    int64_t now = time(NULL);
    struct certificates_request r = request(now);
    struct certificates c = { 0 };
    assert_int_equal(certificates_make(&r, &c), 0);
    assert_int_equal(verify(&c.ca, &c.server, "localhost", NULL, now), X509_V_OK);
    assert_int_equal(verify(&c.ca, &c.server, "mail.posthouse.test", NULL, now), X509_V_OK);
    assert_int_equal(verify(&c.ca, &c.server, NULL, "127.0.0.1", now), X509_V_OK);
    assert_int_equal(verify(&c.ca, &c.server, NULL, "::1", now), X509_V_OK);
    assert_int_equal(verify(&c.ca, &c.server, NULL, "192.0.2.7", now), X509_V_OK);
    assert_int_equal(verify(&c.ca, &c.server, "example.net", NULL, now), X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_equal(verify(&c.ca, &c.server, NULL, "127.0.0.2", now), X509_V_ERR_IP_ADDRESS_MISMATCH);
    certificates_done(&c);
}

static void test_times(void **state)
{
    (void)state;
    int64_t now = 2000000000, day = 86400;
    struct certificates_request r = request(now);
    struct certificates c = { 0 };
    assert_int_equal(certificates_make(&r, &c), 0);
    assert_int_equal(verify(&c.ca, &c.server, NULL, NULL, now - 1800), X509_V_OK);
    assert_int_equal(verify(&c.ca, &c.server, NULL, NULL, now - 7200), X509_V_ERR_CERT_NOT_YET_VALID);
    assert_int_equal(verify(&c.ca, &c.server, NULL, NULL, now + (CERTIFICATES_SERVER_DAYS - 1) * day), X509_V_OK);
    assert_int_equal(verify(&c.ca, &c.server, NULL, NULL, now + CERTIFICATES_SERVER_DAYS * day),
                     X509_V_ERR_CERT_HAS_EXPIRED);
    assert_true(CERTIFICATES_SERVER_DAYS < 825);
    int days, seconds;
    X509 *ca = read_cert(&c.ca);
    assert_true(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(ca), X509_get0_notAfter(ca)));
    assert_int_equal(days, CERTIFICATES_CA_DAYS);
    X509_free(ca);
    certificates_done(&c);
}

static void test_what_the_certificates_may_do(void **state)
{
    (void)state;
    struct certificates_request r = request(time(NULL));
    struct certificates c = { 0 };
    assert_int_equal(certificates_make(&r, &c), 0);
    X509 *ca = read_cert(&c.ca), *server = read_cert(&c.server);
    assert_int_equal(X509_check_ca(ca), 1);
    assert_int_equal(X509_get_pathlen(ca), 0);
    assert_int_equal(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_int_equal(X509_check_ca(server), 0);
    assert_int_equal(X509_get_extended_key_usage(server), XKU_SSL_SERVER);
    assert_int_equal(X509_get_key_usage(server), KU_DIGITAL_SIGNATURE);
    char group[32];
    assert_true(EVP_PKEY_get_group_name(X509_get0_pubkey(ca), group, sizeof(group), NULL));
    assert_string_equal(group, "prime256v1");
    X509_free(ca);
    X509_free(server);
    certificates_done(&c);
}

static void test_the_key_is_the_servers_and_the_authoritys_is_gone(void **state)
{
    (void)state;
    struct certificates_request r = request(time(NULL));
    struct certificates c = { 0 };
    assert_int_equal(certificates_make(&r, &c), 0);
    X509 *ca = read_cert(&c.ca), *server = read_cert(&c.server);
    EVP_PKEY *key = read_key(&c.key);
    assert_int_equal(X509_check_private_key(server, key), 1);
    assert_int_equal(X509_check_private_key(ca, key), 0);
    EVP_PKEY_free(key);
    X509_free(ca);
    X509_free(server);
    certificates_done(&c);
}

static void test_two_instances_do_not_trust_each_other(void **state)
{
    (void)state;
    int64_t now = time(NULL);
    struct certificates_request r = request(now);
    struct certificates one = { 0 }, two = { 0 };
    assert_int_equal(certificates_make(&r, &one), 0);
    assert_int_equal(certificates_make(&r, &two), 0);
    assert_int_not_equal(verify(&one.ca, &two.server, "localhost", NULL, now), X509_V_OK);
    certificates_done(&one);
    certificates_done(&two);
}

static void test_a_comma_is_no_second_name(void **state)
{
    (void)state;
    int64_t now = time(NULL);
    const char *tricky[] = { "a.test,DNS:bank.example" };
    struct certificates_request r = { .dns = tricky, .n_dns = 1, .now_s = now };
    struct certificates c = { 0 };
    assert_int_equal(certificates_make(&r, &c), 0);
    assert_int_equal(verify(&c.ca, &c.server, "bank.example", NULL, now), X509_V_ERR_HOSTNAME_MISMATCH);
    certificates_done(&c);
}

static void test_a_wrong_address_leaves_the_output_alone(void **state)
{
    (void)state;
    const char *wrong[] = { "127.0.0.1.5" };
    struct certificates_request r = { .ip = wrong, .n_ip = 1, .now_s = time(NULL) };
    struct certificates c = { 0 };
    assert_int_equal(certificates_make(&r, &c), -EINVAL);
    assert_null(c.ca.p);
    assert_null(c.key.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_client_accepts_every_name),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_what_the_certificates_may_do),
        cmocka_unit_test(test_the_key_is_the_servers_and_the_authoritys_is_gone),
        cmocka_unit_test(test_two_instances_do_not_trust_each_other),
        cmocka_unit_test(test_a_comma_is_no_second_name),
        cmocka_unit_test(test_a_wrong_address_leaves_the_output_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
