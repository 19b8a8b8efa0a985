/* Records from bytes: every type with every length, names at their limits, damage; answers between processes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/dns_rdata.h"

#define TYPES 8
static const enum dns_type types[TYPES] = { DNS_TYPE_A,  DNS_TYPE_NS,  DNS_TYPE_CNAME, DNS_TYPE_PTR,
                                            DNS_TYPE_MX, DNS_TYPE_TXT, DNS_TYPE_AAAA,  DNS_TYPE_TLSA };

static void decodes(enum dns_type type, str rdata, uint16_t number, str want)
{
    _cleanup_buf_ struct buf out = BUF(70000);
    uint16_t got = 0;
    assert_int_equal(dns_rdata_decode(type, rdata, &got, &out), 0);
    assert_int_equal(got, number);
    if (!str_eq(buf_str(&out), want))
        fail_msg("%.*s, expected %.*s", STR_ARG(buf_str(&out)), STR_ARG(want));
    struct dns_record r = { got, buf_str(&out) };
    assert_true(dns_record_valid(type, &r));
}

static void refuses(enum dns_type type, str rdata, int error)
{
    _cleanup_buf_ struct buf out = BUF(70000);
    uint16_t number = 77;
    buf_add(&out, S("before"));
    assert_int_equal(dns_rdata_decode(type, rdata, &number, &out), error);
    assert_int_equal(number, 77);
    assert_true(str_eq(buf_str(&out), S("before")));
}

static void every_type(void **state)
{
    (void)state;
    decodes(DNS_TYPE_A, S("\x7f\0\0\1"), 0, S("\x7f\0\0\1"));
    decodes(DNS_TYPE_AAAA, S("0123456789abcdef"), 0, S("0123456789abcdef"));
    decodes(DNS_TYPE_MX, S("\1\2\2mx\7EXAMPLE\3Org\0"), 0x102, S("mx.example.org"));
    decodes(DNS_TYPE_MX, S("\0\0\0"), 0, S("."));
    decodes(DNS_TYPE_MX, S("\0\5\3_a_\1b\0"), 5, S("_a_.b"));
    decodes(DNS_TYPE_PTR, S("\1h\1d\0"), 0, S("h.d"));
    decodes(DNS_TYPE_CNAME, S("\1h\1d\0"), 0, S("h.d"));
    decodes(DNS_TYPE_NS, S("\1h\1d\0"), 0, S("h.d"));
    decodes(DNS_TYPE_TXT, S("\7v=spf1 \0\4-all"), 0, S("v=spf1 -all"));
    decodes(DNS_TYPE_TXT, S("\3\0\xff\n"), 0, S("\0\xff\n"));
    decodes(DNS_TYPE_TXT, S("\0"), 0, S(""));
    decodes(DNS_TYPE_TLSA, S("\3\1\1\xab"), 0, S("\3\1\1\xab"));
}

static void damage(void **state)
{
    (void)state;
    refuses(DNS_TYPE_MX, S("\0\5"), -EBADMSG);
    refuses(DNS_TYPE_MX, S("\0\5\2mx"), -EBADMSG);             /* no end */
    refuses(DNS_TYPE_MX, S("\0\5\2mx\xc0\x0c"), -EBADMSG);     /* compressed */
    refuses(DNS_TYPE_MX, S("\0\5\2mx\0\0"), -EBADMSG);         /* more behind it */
    refuses(DNS_TYPE_PTR, S("\x40" "0123456789012345678901234567890123456789012345678901234567890123\0"), -EBADMSG);
    refuses(DNS_TYPE_TXT, S("\3ab"), -EBADMSG);
    refuses(DNS_TYPE_TXT, S(""), -EBADMSG);
    refuses(DNS_TYPE_TLSA, S("\3\1\1"), -EBADMSG);
    refuses((enum dns_type)46, S("\3\1\1"), -EINVAL);
}

static void no_host_names(void **state)
{
    (void)state;
    refuses(DNS_TYPE_MX, S("\0\5\3a b\0"), -EINVAL);
    refuses(DNS_TYPE_MX, S("\0\5\3a.b\0"), -EINVAL);           /* a dot inside a label */
    refuses(DNS_TYPE_MX, S("\0\5\2-a\0"), -EINVAL);
    refuses(DNS_TYPE_MX, S("\0\5\2a-\1b\0"), -EINVAL);
    refuses(DNS_TYPE_MX, S("\0\5\1*\1b\0"), -EINVAL);
    refuses(DNS_TYPE_MX, S("\0\5\2\r\n\0"), -EINVAL);
    refuses(DNS_TYPE_MX, S("\0\5\3a\0b\0"), -EINVAL);
    refuses(DNS_TYPE_MX, S("\0\5\2\xc3\xa4\0"), -EINVAL);
    refuses(DNS_TYPE_PTR, S("\0"), -EINVAL);                   /* the root has no host */
}

/* For every type every length from 0 to 20 of bytes of every kind: an answer, and it holds what the header says. */
static void every_length(void **state)
{
    (void)state;
    static const uint8_t fill[] = { 0, 1, 2, 3, 'a', '-', 63, 64, 0xc0, 0xff };
    for (size_t t = 0; t < TYPES; t++)
        for (size_t n = 0; n <= 20; n++)
            for (size_t f = 0; f < sizeof(fill); f++)
                for (size_t g = 0; g < sizeof(fill); g++) {
                    _cleanup_free_ char *bytes = malloc(n + 1); /* so that a sanitizer sees a step too far */
                    char *rdata = n ? bytes + 1 : bytes;
                    _cleanup_buf_ struct buf out = BUF(4096);
                    uint16_t number = 0;
                    for (size_t i = 0; i < n; i++)
                        rdata[i] = (char)(i % 3 ? fill[f] : fill[g]);
                    int e = dns_rdata_decode(types[t], str_of(rdata, n), &number, &out);
                    struct dns_record r = { number, buf_str(&out) };
                    assert_true(e == 0 || e == -EBADMSG || e == -EINVAL);
                    assert_true(e < 0 ? out.n == 0 : dns_record_valid(types[t], &r));
                }
}

/* n labels of 63 bytes, then one of `last`. */
static size_t long_name(char *out, size_t n, size_t last)
{
    size_t at = 0;
    for (size_t i = 0; i <= n; i++) {
        size_t len = i < n ? 63 : last;
        out[at++] = (char)len;
        memset(out + at, 'x', len);
        at += len;
    }
    out[at++] = 0;
    return at;
}

static void long_names(void **state)
{
    (void)state;
    char name[400];
    _cleanup_buf_ struct buf out = BUF(4096);
    str wire = str_of(name, long_name(name, 3, 61)); /* 255 bytes, the longest of RFC 1035 2.3.4 */
    assert_int_equal(wire.n, 255);
    assert_int_equal(dns_name_decode(&wire, &out), 0);
    assert_int_equal(out.n, DNS_NAME_MAX);
    assert_int_equal(wire.n, 0);
    assert_true(dns_name_valid(buf_str(&out)));
    buf_addc(&out, '.');
    assert_true(dns_name_valid(buf_str(&out)));
    buf_clear(&out);
    wire = str_of(name, long_name(name, 3, 62));
    assert_int_equal(dns_name_decode(&wire, &out), -EBADMSG);
    assert_int_equal(wire.n, 256);
    wire = str_of(name, long_name(name, 5, 5));
    assert_int_equal(dns_name_decode(&wire, &out), -EBADMSG);
    assert_int_equal(out.n, 0);
}

static void names(void **state)
{
    (void)state;
    static const char *const good[] = { "a", "a.", "_dmarc.Example.ORG", "1.0.0.127.in-addr.arpa",
                                        "xn--bcher-kva.example" };
    static const char *const bad[] = { "",   ".",    "a..b", ".a",       "a..",       "-a",
                                       "a-", "a.b-", "a b",  "a\\046b", "ä.example", "*.a" };
    char label[130];
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(dns_name_valid(str_z(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(dns_name_valid(str_z(bad[i])));
    memset(label, 'x', sizeof(label));
    assert_true(dns_name_valid(str_of(label, 63)));
    assert_false(dns_name_valid(str_of(label, 64)));
    assert_false(dns_name_valid(S("a\0b")));
}

static void words(void **state)
{
    (void)state;
    for (size_t i = 0; i < TYPES; i++) {
        enum dns_type type;
        assert_true(dns_type_parse(str_z(dns_type_name(types[i])), &type));
        assert_int_equal(type, types[i]);
    }
    enum dns_type type = DNS_TYPE_A;
    assert_true(dns_type_parse(S("mx"), &type) && type == DNS_TYPE_MX);
    assert_false(dns_type_parse(S("RRSIG"), &type));
    assert_null(dns_type_name((enum dns_type)255));
    assert_true(str_eq(dns_state_word(DNS_TEMPORARY), S("temporary")));
    assert_true(str_eq(dns_state_word(DNS_NXDOMAIN), S("nxdomain")));
}

static void reverse_names(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf out = BUF(128);
    assert_int_equal(dns_reverse_name(S("\xc0\0\2\x19"), &out), 0);
    assert_true(str_eq(buf_str(&out), S("25.2.0.192.in-addr.arpa")));
    buf_clear(&out);
    assert_int_equal(dns_reverse_name(S("\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x1f"), &out), 0);
    assert_true(str_eq(buf_str(&out), S("f.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa")));
    assert_true(dns_name_valid(buf_str(&out)));
    assert_int_equal(dns_reverse_name(S("abc"), &out), -EINVAL);
}

static int unpack_with(const struct dns_answer *a, enum dns_type type, size_t cut, struct dns_answer *out)
{
    static struct dns_record records[DNS_RECORDS_MAX];
    static struct buf b = BUF(65536); /* the answer points into it */
    buf_clear(&b);
    dns_answer_pack(&b, a);
    struct unpack u = UNPACK(str_first(buf_str(&b), b.n - cut));
    int e = dns_answer_unpack(&u, type, records, out);
    if (cut)
        buf_done(&b);
    return e;
}

static void answers_travel(void **state)
{
    (void)state;
    static const struct dns_record mx[] = { { 10, { "a.example", 9 } }, { 20, { ".", 1 } } };
    struct dns_answer a = { .state = DNS_OK, .secure = true, .ttl = 300, .canonical = S("example.org"), .why = S("w"),
                            .n = 2, .records = mx }, got;
    assert_int_equal(unpack_with(&a, DNS_TYPE_MX, 0, &got), 0);
    assert_int_equal(got.state, DNS_OK);
    assert_true(got.secure && got.ttl == 300 && got.n == 2);
    assert_true(str_eq(got.canonical, a.canonical) && str_eq(got.why, a.why));
    assert_int_equal(got.records[0].number, 10);
    assert_true(str_eq(got.records[0].data, S("a.example")));
    assert_int_equal(unpack_with(&a, DNS_TYPE_A, 0, &got), -EBADMSG);   /* not what was asked for */
    a.state = DNS_NXDOMAIN;
    assert_int_equal(unpack_with(&a, DNS_TYPE_MX, 0, &got), -EBADMSG);  /* records of a name that is not there */
    a.state = (enum dns_state)9;
    assert_int_equal(unpack_with(&a, DNS_TYPE_MX, 0, &got), -EBADMSG);
    a.state = DNS_OK;
    a.canonical = S("a b");
    assert_int_equal(unpack_with(&a, DNS_TYPE_MX, 0, &got), -EBADMSG);
    a.canonical = STR_NONE;
    for (size_t cut = 1; cut < 40; cut++)
        assert_int_equal(unpack_with(&a, DNS_TYPE_MX, cut, &got), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type),
        cmocka_unit_test(damage),
        cmocka_unit_test(no_host_names),
        cmocka_unit_test(every_length),
        cmocka_unit_test(long_names),
        cmocka_unit_test(names),
        cmocka_unit_test(words),
        cmocka_unit_test(reverse_names),
        cmocka_unit_test(answers_travel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
