/* Digests and fields: the signed message of RFC 8463 appendix A, which fields are signed, folding, limits. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <openssl/evp.h>
#include "base/codec.h"
#include "policy/dkim_sign.h"

static const char rfc8463[] = "From: Joe SixPack <joe@football.example.com>\r\n"
                              "To: Suzie Q <suzie@shopping.example.net>\r\n"
                              "Subject: Is dinner ready?\r\n"
                              "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
                              "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
                              "\r\n"
                              "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
static const char rfc8463_field[] = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
                                    " d=football.example.com; i=@football.example.com;\r\n"
                                    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
                                    " subject : date : message-id : from : subject : date;\r\n"
                                    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
                                    " b=";
static const char rfc8463_names[] = "from : to :\r\n subject : date : message-id : from : subject : date";
static const char rfc8463_b[] =
    "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
static const char rfc8463_public[] = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

static struct dkim_message *message(const char *text, size_t step)
{
    struct dkim_message *m = dkim_message_new(DKIM_RELAXED, DKIM_RELAXED);
    assert_non_null(m);
    for (str rest = str_z(text); rest.n; rest = str_from(rest, step))
        dkim_message_feed(m, str_first(rest, step));
    return m;
}

/* The signature that the RFC prints is right for our digest. */
static void appendix_a(void **state)
{
    (void)state;
    struct buf key = BUF(64), signature = BUF(128), bh = BUF(64);
    assert_int_equal(base64_decode(&key, str_z(rfc8463_public)), 0);
    assert_int_equal(base64_decode(&signature, str_z(rfc8463_b)), 0);
    EVP_PKEY *k = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const uint8_t *)key.p, key.n);
    assert_non_null(k);
    for (size_t step = 1; step < sizeof(rfc8463); step += 37) {
        struct dkim_message *m = message(rfc8463, step);
        uint8_t digest[DKIM_DIGEST];
        EVP_MD_CTX *c = EVP_MD_CTX_new();
        assert_int_equal(dkim_message_end(m), 0);
        dkim_body_digest(m, digest);
        buf_clear(&bh);
        base64_encode(&bh, str_of(digest, sizeof(digest)));
        assert_true(str_eq(buf_str(&bh), S("2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=")));
        assert_int_equal(dkim_digest_of(m, str_z(rfc8463_names), str_z(rfc8463_field), digest), 0);
        assert_int_equal(EVP_DigestVerifyInit(c, NULL, NULL, NULL, k), 1);
        assert_int_equal(EVP_DigestVerify(c, (const uint8_t *)signature.p, signature.n, digest, sizeof(digest)), 1);
        EVP_MD_CTX_free(c);
        dkim_message_free(m);
    }
    EVP_PKEY_free(k);
    buf_done(&key);
    buf_done(&signature);
    buf_done(&bh);
}

static const struct dkim_tags tags = { .algorithm = DKIM_ED25519_SHA256, .domain = S("football.example.com"),
                                       .selector = S("brisbane"), .time_s = 1528637909, .expire_s = 1529242709 };

static void field(struct dkim_message *m, const struct dkim_tags *t, size_t signature_n, struct buf *out)
{
    char signature[DKIM_SIGNATURE_MAX];
    memset(signature, 'x', sizeof(signature));
    assert_int_equal(dkim_message_end(m), 0);
    assert_int_equal(dkim_field(m, t, str_of(signature, signature_n), out), 0);
}

static bool has(const struct buf *b, str what) { return str_find(buf_str(b), what) >= 0; }

static void what_is_signed(void **state)
{
    (void)state;
    struct buf out = BUF(65536);
    struct dkim_message *m = message("From: a@b\r\nReceived: x\r\nList-Id: y\r\nFROM: c@d\r\nTo: z\r\n\r\n", 1000);
    field(m, &tags, 64, &out);
    assert_true(str_starts(buf_str(&out), S("DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;")));
    assert_true(has(&out, S("h=from:from:from:to:to:subject:date:")));
    assert_true(has(&out, S("list-id;")));
    assert_false(has(&out, S("received")));
    assert_false(has(&out, S(" l=")) || has(&out, S(" i=")) || has(&out, S("\tl=")) || has(&out, S("\ti=")));
    assert_true(has(&out, S("t=1528637909; x=1529242709;")));
    dkim_message_free(m);
    buf_done(&out);
}

static void digest_of(const char *text, uint8_t out[DKIM_DIGEST])
{
    struct dkim_message *m = message(text, 7);
    assert_int_equal(dkim_message_end(m), 0);
    assert_int_equal(dkim_digest(m, &tags, out), 0);
    dkim_message_free(m);
}

/* Another header that says something else has another digest; one that differs in white space alone has not. */
static void digests(void **state)
{
    (void)state;
    static const char *const same[] = { "From: a@b\r\nTo: c\r\n\r\nx\r\n",
                                        "FROM:a@b\r\nto : \r\n c  \r\n\r\nx \r\n\r\n",
                                        "Received: z\r\nTo: c\r\nFrom: a@b\r\n\r\nx\r\n", "From: a@b\nTo: c\n\nx\n" };
    static const char *const other[] = { "From: a@b\r\nTo: d\r\n\r\nx\r\n", "From: a@b\r\nTo: c\r\n\r\ny\r\n",
                                         "From: a@b\r\nTo: c\r\nSubject:\r\n\r\nx\r\n",
                                         "From: a@b\r\nTo: c\r\nTo: c\r\n\r\nx\r\n" };
    uint8_t first[DKIM_DIGEST], next[DKIM_DIGEST];
    digest_of(same[0], first);
    for (size_t i = 1; i < ARRAY_LEN(same); i++) {
        digest_of(same[i], next);
        assert_memory_equal(first, next, DKIM_DIGEST);
    }
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        digest_of(other[i], next);
        assert_memory_not_equal(first, next, DKIM_DIGEST);
    }
}

static void folded(void **state)
{
    (void)state;
    static const char *const names[] = { "a.example",
                                         "a-name-that-is-quite-long-as-domains-go.and-has-more.labels.example.org" };
    static const size_t sizes[] = { 64, 128, 256, 512, DKIM_SIGNATURE_MAX };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
            struct buf out = BUF(65536);
            struct dkim_message *m = message(rfc8463, 100);
            struct dkim_tags t = tags;
            t.domain = str_z(names[i]);
            t.algorithm = DKIM_RSA_SHA256;
            field(m, &t, sizes[k], &out);
            assert_true(str_ends(buf_str(&out), S("\r\n")));
            for (str rest = buf_str(&out); rest.n;) {
                str line = str_cut(&rest, '\n');
                size_t tab = line.p[0] == '\t' ? 7 : 0;
                assert_true(line.n - 1 + tab < 79 || i > 0);
                assert_true(rest.n == 0 || rest.p[0] == '\t');
                assert_true(line.n > 3);
            }
            dkim_message_free(m);
            buf_done(&out);
        }
}

static int end_of(str header, size_t times, const char *before)
{
    struct dkim_message *m = message(before, 100);
    for (size_t i = 0; i < times; i++)
        dkim_message_feed(m, header);
    dkim_message_feed(m, S("\r\nbody\r\n"));
    int r = dkim_message_end(m);
    dkim_message_free(m);
    return r;
}

static void limits(void **state)
{
    (void)state;
    assert_int_equal(end_of(S("To: x\r\n"), 1, ""), -ENOENT);
    assert_int_equal(end_of(S("From: x\r\n"), 1, ""), 0);
    assert_int_equal(end_of(S("To: x\r\n"), 400, "From: a@b\r\n"), 0);
    assert_int_equal(end_of(S("To: x\r\n"), DKIM_NAMES_MAX, "From: a@b\r\n"), -E2BIG);
    assert_int_equal(end_of(S("X: 0123456789abc\r\n"), DKIM_HEADER_MAX / 18 + 1, "From: a@b\r\n"), -E2BIG);
    assert_int_equal(end_of(S("X: 0123456789abc\r\n"), DKIM_HEADER_MAX / 18 - 2, "From: a@b\r\n"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appendix_a), cmocka_unit_test(what_is_signed), cmocka_unit_test(digests),
        cmocka_unit_test(folded),     cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
