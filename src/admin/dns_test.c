/* posthouse dns: usage, names that cannot be, a server that does not run, and a resolver that is not there. Answers of
 * real zones: tests/dns_test.py. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include <jansson.h>

static void test_usage(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    admin_play_init(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_dns, "", "dns"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_dns, "", "dns", "a.example", "MX", "b"), EXIT_USAGE);
    assert_int_equal(COMMAND_ON(&p, cmd_dns, "", "dns", "a.example", "SRV"), EXIT_USAGE);
    play_says(p.err, "expected A, AAAA, MX, TXT, PTR, CNAME, NS or TLSA");
    assert_int_equal(COMMAND_ON(&p, cmd_dns, "", "dns", "a..example"), EXIT_DATA);
    play_says(p.err, "cannot be a name in the DNS");
    assert_int_equal(COMMAND_ON(&p, cmd_dns, "", "dns", "a.example"), EXIT_UNAVAILABLE); /* it has never run */
    assert_int_equal(mkdirat(p.dir_fd, "data", 0700), 0);
    assert_int_equal(COMMAND_ON(&p, cmd_dns, "", "dns", "a.example"), EXIT_UNAVAILABLE);
    play_says(p.err, "no server runs on");
}

/* Nobody listens there, so that nobody can say: never "there is no such name". */
static void test_nobody_to_ask(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    char lines[128];
    json_error_t e;
    admin_play_init(&p);
    snprintf(lines, sizeof(lines), "resolver 127.0.0.1:%u\ntrust_anchor \"\"\ndns_timeout 2s\n", play_free_port());
    play_conf(&p, lines);
    play_serve(&p);
    assert_int_equal(COMMAND_ON(&p, cmd_dns, "", "dns", "mail.example.test", "A"), EXIT_TEMPFAIL);
    play_says(p.out, "mail.example.test A: nobody can say now");
    assert_int_equal(COMMAND_ON(&p, cmd_dns, "", "dns", "192.0.2.1", "--json"), EXIT_TEMPFAIL);
    json_t *all = json_loads(p.out, 0, &e);
    assert_non_null(all);
    assert_string_equal(json_string_value(json_object_get(all, "name")), "1.2.0.192.in-addr.arpa");
    assert_string_equal(json_string_value(json_object_get(all, "type")), "PTR");
    assert_string_equal(json_string_value(json_object_get(all, "state")), "temporary");
    assert_true(json_string_length(json_object_get(all, "why")) > 0);
    assert_int_equal(json_array_size(json_object_get(all, "records")), 0);
    json_decref(all);
    assert_int_equal(COMMAND_ON(&p, cmd_dns, "", "dns", "b\xc3\xbc" "cher.example.test", "--json"), EXIT_TEMPFAIL);
    play_says(p.out, "xn--bcher-kva.example.test");
    assert_int_equal(play_field(&p, "dns", "answers_temporary"), 3);
    assert_int_equal(play_field(&p, "dns", "answers_nxdomain"), 0);
    assert_int_equal(play_end_server(&p, SIGTERM), 0);
}

int main(int argc, char **argv)
{
    admin_play_role(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_nobody_to_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
