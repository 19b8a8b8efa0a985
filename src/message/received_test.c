/* Tests of received.c: the trace field of RFC 5321 4.4. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/header.h"

static const struct received sample = {
    .helo = { "client.example", 14 },
    .client_name = { "host.example", 12 },
    .client_addr = { "192.0.2.7", 9 },
    .by = { "mx.example.org", 14 },
    .protocol = { "ESMTPSA", 7 },
    .tls = { "TLS1.3 TLS_AES_256_GCM_SHA384", 29 },
    .id = { "0abc.1", 6 },
    .for_addr = { "jane@example.org", 16 },
    .unix_s = 1795506903,
};

static void check(const struct received *r, const char *want)
{
    _cleanup_buf_ struct buf b = BUF(8192);
    assert_int_equal(received_write(&b, r), 0);
    buf_addc(&b, '\0');
    assert_string_equal(b.p, want);
}

static void test_whole(void **state)
{
    (void)state;
    check(&sample, "Received: from client.example (host.example [192.0.2.7])\r\n"
                   "\tby mx.example.org with ESMTPSA (TLS1.3 TLS_AES_256_GCM_SHA384)\r\n"
                   "\tid <0abc.1@mx.example.org>\r\n"
                   "\tfor <jane@example.org>;\r\n"
                   "\tTue, 24 Nov 2026 07:55:03 +0000\r\n");
}

static void test_without_optional_parts(void **state)
{
    struct received r = sample;
    (void)state;
    r.client_name = r.tls = r.for_addr = STR_NONE;
    r.client_addr = S("::1");
    check(&r, "Received: from client.example (unknown [IPv6:::1])\r\n"
              "\tby mx.example.org with ESMTPSA\r\n"
              "\tid <0abc.1@mx.example.org>;\r\n"
              "\tTue, 24 Nov 2026 07:55:03 +0000\r\n");
}

static void test_hostile_text(void **state)
{
    static const str helos[] = {
        S(""),        S("a b"), S("a(b"), S("a\r\nX: y"), S("a\0b"), S("h\xc3\xb6st"), S("under_score"),
        S("[1.2.3]"), S("a;b"), S("-a"),
    };
    struct received r = sample;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(helos); i++) {
        r.helo = helos[i];
        r.client_name = helos[i];
        r.for_addr = S("a\r\nX: y@b");
        r.tls = S("T(L)S\r\n1");
        check(&r, "Received: from unknown (unknown [192.0.2.7])\r\n"
                  "\tby mx.example.org with ESMTPSA (TLS1)\r\n"
                  "\tid <0abc.1@mx.example.org>;\r\n"
                  "\tTue, 24 Nov 2026 07:55:03 +0000\r\n");
    }
    r.helo = S("[192.0.2.9]");
    r.client_addr = S("nowhere)");
    r.for_addr = S("j\xc3\xb6rg@example.org");
    r.tls = STR_NONE;
    check(&r, "Received: from [192.0.2.9]\r\n"
              "\tby mx.example.org with ESMTPSA\r\n"
              "\tid <0abc.1@mx.example.org>\r\n"
              "\tfor <j\xc3\xb6rg@example.org>;\r\n"
              "\tTue, 24 Nov 2026 07:55:03 +0000\r\n");
}

static void test_short_of_room(void **state)
{
    _cleanup_buf_ struct buf b = BUF(100);
    (void)state;
    assert_true(received_write(&b, &sample) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_without_optional_parts),
        cmocka_unit_test(test_hostile_text),
        cmocka_unit_test(test_short_of_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
