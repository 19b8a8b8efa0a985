/* Typed values at their edges. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "conf/conf_private.h"
#include <errno.h>

static void number(enum conf_type type, const char *text, uint64_t want)
{
    const char *why;
    uint64_t v = 0;
    if (!conf_value_number(type, str_z(text), &v, &why) || v != want)
        fail_msg("%s", text);
}

static void no_number(enum conf_type type, const char *text)
{
    const char *why = NULL;
    uint64_t v;
    if (conf_value_number(type, str_z(text), &v, &why))
        fail_msg("%s", text);
    assert_non_null(why);
}

static void test_numbers(void **state)
{
    (void)state;
    number(CONF_TYPE_NUMBER, "0", 0);
    number(CONF_TYPE_NUMBER, "4294967295", UINT32_MAX);
    no_number(CONF_TYPE_NUMBER, "4294967296");
    no_number(CONF_TYPE_NUMBER, "1K");
    no_number(CONF_TYPE_NUMBER, "");
    number(CONF_TYPE_SIZE, "1k", 1024);
    number(CONF_TYPE_SIZE, "1048576G", 1ull << 50);
    no_number(CONF_TYPE_SIZE, "1048577G");
    no_number(CONF_TYPE_SIZE, "M");
    no_number(CONF_TYPE_SIZE, "1 M");
    no_number(CONF_TYPE_SIZE, "1MB");
    number(CONF_TYPE_DURATION, "250ms", 250);
    number(CONF_TYPE_DURATION, "2w", 1209600000);
    number(CONF_TYPE_DURATION, "520w", 520ull * 604800000);
    no_number(CONF_TYPE_DURATION, "521w");
    no_number(CONF_TYPE_DURATION, "5M");
    number(CONF_TYPE_BOOL, "yes", 1);
    number(CONF_TYPE_BOOL, "no", 0);
    no_number(CONF_TYPE_BOOL, "on");
}

static void server(const char *text, const char *address, uint16_t port)
{
    char got[CONF_ADDRESS_MAX];
    uint16_t got_port = 53;
    if (!conf_server_parse(str_z(text), got, &got_port))
        fail_msg("%s", text);
    assert_string_equal(got, address);
    assert_int_equal(got_port, port);
}

static void test_servers(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "localhost", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "[::1]:",
                                       "[::1", "::1]", "[192.0.2.1]", "[::1]53", "1.2.3:53", "192.0.2.53@x",
                                       "2001:db8::zz", ":53", "@53", "::1%lo", "192.0.2.53:1:2" };
    char got[CONF_ADDRESS_MAX] = "before";
    uint16_t port = 7;
    server("192.0.2.53", "192.0.2.53", 53);
    server("127.0.0.1:5353", "127.0.0.1", 5353);
    server("127.0.0.1@5353", "127.0.0.1", 5353);
    server("::1", "::1", 53);
    server("2001:DB8:0::53", "2001:db8::53", 53);
    server("[2001:db8::53]", "2001:db8::53", 53);
    server("[2001:db8::53]:5353", "2001:db8::53", 5353);
    server("2001:db8::53@5353", "2001:db8::53", 5353);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (conf_server_parse(str_z(bad[i]), got, &port))
            fail_msg("%s", bad[i]);
    assert_string_equal(got, "before");
    assert_int_equal(port, 7);
}

static void test_networks(void **state)
{
    (void)state;
    static const char *const good[] = { "0.0.0.0/0", "::/0", "10.0.0.0/8", "192.0.2.1", "192.0.2.1/32", "[::1]/128",
                                        "::1", "2001:db8::/33", "[2001:db8::]" };
    static const char *const bad[] = { "192.0.2.1/31", "::1/127", "2001:db8:8000::/32", "a", "[]", "[", "/8",
                                       "1.2.3.4/ 8" };
    const char *why;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!conf_network_valid(str_z(good[i]), &why))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (conf_network_valid(str_z(bad[i]), &why))
            fail_msg("%s", bad[i]);
}

static void domain(const char *text, const char *want)
{
    _cleanup_arena_ struct arena a = ARENA(65536);
    str out;
    assert_int_equal(conf_domain_ascii(&a, str_z(text), &out), 0);
    assert_true(str_eq(out, str_z(want)));
}

static void test_domains(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(65536);
    str out;
    domain("Example.ORG", "example.org");
    domain("", "");
    domain("b\xc3\xbc" "cher.Example", "xn--bcher-kva.example");
    domain("xn--BCHER-kva.example", "xn--bcher-kva.example");
    assert_int_equal(conf_domain_ascii(&a, S("\xff"), &out), -EINVAL);
    assert_int_equal(conf_domain_ascii(&a, S("\xc3\xbc\0x"), &out), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_servers),
        cmocka_unit_test(test_networks), cmocka_unit_test(test_domains),
    };
    return cmocka_run_group_tests_name("conf_value", tests, NULL, NULL);
}
