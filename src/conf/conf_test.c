/* The configuration: values, listeners, domains, includes, defaults, and what it says about mistakes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "conf/conf.h"
#include "conf/conf_test.h"
#include <errno.h>

static const char *const no_files[] = { NULL };

static const struct conf *parse(struct arena *a, const char *text, const char *const *files)
{
    const struct conf *c = NULL;
    struct conf_error e;
    int r = conf_parse(a, test_bundle(a, text, files), &c, &e);
    if (r < 0)
        fail_msg("%s", test_error(a, &e));
    return c;
}

static void refuse_with(const char *text, const char *const *files, const char *want)
{
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = NULL;
    struct conf_error e = { 0 };
    assert_int_equal(conf_parse(&a, test_bundle(&a, text, files), &c, &e), -EINVAL);
    assert_null(c);
    assert_string_equal(test_error(&a, &e), want);
}

static void refuse(const char *text, const char *want)
{
    refuse_with(text, no_files, want);
}

static void assert_str(str s, const char *want)
{
    assert_int_equal(s.n, strlen(want));
    if (s.n)
        assert_memory_equal(s.p, want, s.n);
}

static void assert_list(const struct conf_words *l, bool set, const char *want)
{
    struct buf b = BUF(65536);
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            buf_addc(&b, '|');
        buf_add(&b, l->word[i].text);
    }
    assert_str(buf_str(&b), want);
    assert_int_equal(l->set, set);
    buf_done(&b);
}

static void test_defaults(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = parse(&a, "", no_files);
    assert_str(c->hostname, "localhost");
    assert_int_equal(c->message_size_limit, 50u << 20);
    assert_int_equal(c->smtpd_timeout, 300000);
    assert_int_equal(c->trace_age, 14ull * 86400000);
    assert_true(c->smtpd_delay_reject);
    assert_list(&c->mynetworks, false, "");
    assert_int_equal(c->n_listeners, 0);
    assert_int_equal(c->n_domains, 0);
    assert_str(c->main_file, "posthouse.conf");
    struct conf_setting_info info;
    size_t n = 0;
    while (conf_setting_info(n, &info))
        n++;
    assert_true(n > 20);
}

static void test_values(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = parse(&a,
        "# a comment\n"
        "hostname mail.example.org # another\r\n"
        "message_size_limit 3K; smtpd_delay_reject no\n"
        "smtpd_timeout 90\n"
        "pop3_timeout 2h\n"
        "run_as \"post \\\"house\\\" \\\\\"\n"
        "mynetworks 127.0.0.0/8, [::1]/128\n"
        "           ;\n"
        "trusted_clients 192.0.2.1 \\\n  2001:db8::/32,\n  # between\n\n  [2001:db8::1]\n"
        "smtpd_client_restrictions permit_mynetworks,reject\n"
        "smtpd_helo_restrictions \"\"\n", no_files);
    assert_str(c->hostname, "mail.example.org");
    assert_int_equal(c->message_size_limit, 3072);
    assert_false(c->smtpd_delay_reject);
    assert_int_equal(c->smtpd_timeout, 90000);
    assert_int_equal(c->pop3_timeout, 7200000);
    assert_str(c->run_as, "post \"house\" \\");
    assert_list(&c->mynetworks, true, "127.0.0.0/8|[::1]/128");
    assert_list(&c->trusted_clients, true, "192.0.2.1|2001:db8::/32|[2001:db8::1]");
    assert_int_equal(c->trusted_clients.word[2].line, 13);
    assert_list(&c->smtpd_client_restrictions, true, "permit_mynetworks|reject");
    assert_list(&c->smtpd_helo_restrictions, true, "");
}

static void value(const struct conf *c, const char *name, const char *want, const char *want_file, uint32_t want_line)
{
    struct buf b = BUF(65536);
    str file;
    uint32_t line;
    assert_true(conf_setting_value(c, str_z(name), &b, &file, &line));
    assert_str(buf_str(&b), want);
    assert_str(file, want_file);
    assert_int_equal(line, want_line);
    buf_done(&b);
}

static void test_setting_value(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const char *const files[] = { "t", "a OK\n", NULL };
    const struct conf *c = parse(&a, "message_size_limit 10M\nrun_as \"a b\"\nsmtpd_helo_restrictions \"\"\n"
                                     "smtpd_client_restrictions check_client_access file:t, permit_mynetworks,\n"
                                     " reject\n", files);
    value(c, "message_size_limit", "10M", "posthouse.conf", 1);
    value(c, "run_as", "\"a b\"", "posthouse.conf", 2);
    value(c, "smtpd_helo_restrictions", "\"\"", "posthouse.conf", 3);
    value(c, "smtpd_client_restrictions", "check_client_access file:t, permit_mynetworks, reject", "posthouse.conf", 4);
    value(c, "smtpd_timeout", "5m", "default", 0);
    struct buf b = BUF(100);
    str file;
    uint32_t line;
    assert_false(conf_setting_value(c, S("nothing"), &b, &file, &line));
    buf_done(&b);
}

static void test_listeners(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = parse(&a,
        "listen smtp 127.0.0.1:20025\n"
        "listen submission [::1]:20587 {\n  smtpd_sender_restrictions \"\"\n"
        "  smtpd_client_restrictions permit_mynetworks }\n"
        "listen submissions [0:0::1]:465\n"
        "listen pop3 *:110 { }\n"
        "smtpd_helo_restrictions reject_invalid_helo_hostname\n", no_files);
    assert_int_equal(c->n_listeners, 4);
    const struct conf_listener *l = c->listeners;
    assert_int_equal(l[0].service, CONF_SMTP);
    assert_str(l[0].address, "127.0.0.1");
    assert_int_equal(l[0].port, 20025);
    assert_list(&l[0].restrictions[CONF_RELAY], false, "reject_unauth_destination");
    assert_list(&l[0].restrictions[CONF_RECIPIENT], false, "reject_unlisted_recipient");
    assert_list(&l[0].restrictions[CONF_DATA], false, "");
    assert_list(&l[0].restrictions[CONF_HELO], true, "reject_invalid_helo_hostname");
    assert_str(l[0].restrictions[CONF_RELAY].word[0].file, "default");
    assert_int_equal(l[0].restrictions[CONF_RELAY].word[0].line, 0);
    assert_list(&l[1].restrictions[CONF_SENDER], true, "");
    assert_list(&l[1].restrictions[CONF_CLIENT], true, "permit_mynetworks");
    assert_list(&l[1].restrictions[CONF_RELAY], false, "permit_sasl_authenticated|reject");
    assert_int_equal(l[1].line, 2);
    assert_str(l[2].address, "::1");
    assert_list(&l[2].restrictions[CONF_SENDER], false, "reject_authenticated_sender_login_mismatch");
    assert_str(l[3].address, "0.0.0.0");
    assert_int_equal(l[3].restrictions[CONF_RELAY].n, 0);
}

static void test_lmtp_listeners(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = parse(&a,
        "listen lmtp 127.0.0.1:24\n"
        "listen lmtp unix:data/lmtp\n"
        "listen lmtp [::1]:24 { smtpd_helo_restrictions reject }\n"
        "smtpd_relay_restrictions permit_mynetworks, reject\n"
        "lmtp_networks 192.0.2.0/24\n", no_files);
    const struct conf_listener *l = c->listeners;
    _cleanup_buf_ struct buf text = BUF(1000);
    str path;
    assert_int_equal(c->n_listeners, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(l[i].service, CONF_LMTP);
        assert_list(&l[i].restrictions[CONF_RELAY], false, "reject_unauth_destination");
        assert_list(&l[i].restrictions[CONF_RECIPIENT], false, "reject_unlisted_recipient");
        conf_listener_print(&text, &l[i]);
        buf_addc(&text, ' ');
    }
    assert_str(buf_str(&text), "127.0.0.1:24 unix:data/lmtp [::1]:24 ");
    assert_false(conf_listener_path(&l[0], &path));
    assert_true(conf_listener_path(&l[1], &path));
    assert_str(path, "data/lmtp");
    assert_int_equal(l[1].port, 0);
    assert_list(&l[2].restrictions[CONF_HELO], true, "reject");
    assert_str(c->lmtp_socket_mode, "0660");
    assert_list(&c->lmtp_networks, true, "192.0.2.0/24");
    assert_list(&c->smtpd_authorized_xclient_hosts, false, "");
    assert_list(&c->smtpd_upstream_proxy_hosts, false, "");
}

static void test_wrong_lmtp_listeners(void **state)
{
    (void)state;
    refuse("listen lmtp *:25", "posthouse.conf:1: listen: \"*:25\": LMTP must not use port 25, which is SMTP's; "
           "expected another port, like 24");
    refuse("listen smtp unix:data/smtp", "posthouse.conf:1: listen: \"unix:data/smtp\": only lmtp listens on a Unix "
           "socket; expected ADDRESS:PORT");
    refuse("listen lmtp unix:", "posthouse.conf:1: listen: \"unix:\": expected the path of a Unix socket behind unix:, "
           "at most 80 bytes");
    refuse("listen lmtp unix:a\nlisten lmtp unix:a",
           "posthouse.conf:2: listen: unix:a is already taken by the lmtp listener at posthouse.conf:1");
    refuse("lmtp_socket_mode 660",
           "posthouse.conf:1: lmtp_socket_mode: \"660\" cannot be; expected four octal digits, like 0660");
    refuse("lmtp_socket_mode 0680",
           "posthouse.conf:1: lmtp_socket_mode: \"0680\" cannot be; expected four octal digits, like 0660");
}

static void test_resolver(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = parse(&a, "resolver 192.0.2.53, [2001:db8::53]:5353 127.0.0.1@54\ntrust_anchor \"\"\n"
                                     "dns_timeout 3s\n", no_files);
    assert_list(&c->resolver, true, "192.0.2.53|[2001:db8::53]:5353|127.0.0.1@54");
    assert_int_equal(c->trust_anchor.n, 0);
    assert_int_equal(c->dns_timeout, 3000);
    c = parse(&a, "", no_files);
    assert_list(&c->resolver, false, "");
    assert_int_equal(c->dns_timeout, 15000);
    refuse("resolver 192.0.2.53 localhost",
           "posthouse.conf:1: resolver: \"localhost\" is not a server; expected an address with or without a port, "
           "like 192.0.2.53, 127.0.0.1:5353 or [2001:db8::53]:5353");
    refuse("dns_timeout 99ms", "posthouse.conf:1: dns_timeout: \"99ms\" is too small; expected at least 100ms");
}

static void test_global_list_reaches_listener(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = parse(&a, "listen smtp *:25\nlisten smtp [::]:25 { smtpd_relay_restrictions reject }\n"
                                     "smtpd_relay_restrictions permit_mynetworks, reject_unauth_destination\n",
                                 no_files);
    assert_list(&c->listeners[0].restrictions[CONF_RELAY], true, "permit_mynetworks|reject_unauth_destination");
    assert_int_equal(c->listeners[0].restrictions[CONF_RELAY].word[0].line, 3);
    assert_list(&c->listeners[1].restrictions[CONF_RELAY], true, "reject");
}

static void test_domains(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const struct conf *c = parse(&a, "domain Example.ORG\ndomain b\xc3\xbc" "cher.example { catch_all a@example.org; "
                                     "postmaster a@example.org }\n", no_files);
    assert_int_equal(c->n_domains, 2);
    assert_str(c->domains[0].text, "example.org");
    assert_str(c->domains[1].text, "xn--bcher-kva.example");
    assert_int_equal(c->domains[1].line, 2);
}

static void test_include(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const char *const files[] = { "more", "hostname x.example\ndomain a.example\ninclude deep/er\n",
                                  "deep/er", "run_as y", NULL };
    const struct conf *c = parse(&a, "include more\nlog_level debug\n", files);
    assert_str(c->hostname, "x.example");
    assert_str(c->run_as, "y");
    assert_str(c->domains[0].file, "more");
    const char *const loop[] = { "x", "\ninclude y\n", "y", "include x\n", NULL };
    refuse_with("include x", loop, "y:1: x includes itself");
    refuse("include nowhere\n", "posthouse.conf:1: cannot read nowhere: not in the bundle");
    refuse("\ninclude posthouse.conf\n", "posthouse.conf:2: posthouse.conf includes itself");
}

static void test_unknown_names(void **state)
{
    (void)state;
    refuse("\n\nsmtpd_helo_restriction reject\n",
           "posthouse.conf:3: unknown setting \"smtpd_helo_restriction\"; did you mean smtpd_helo_restrictions?");
    refuse("zzz 1", "posthouse.conf:1: unknown setting \"zzz\"");
    refuse("domian x", "posthouse.conf:1: unknown setting \"domian\"; did you mean domain?");
    refuse("domain x { catchall a@x }",
           "posthouse.conf:1: unknown word in a domain block: \"catchall\"; did you mean catch_all?");
    refuse("domain x { deliver }", "posthouse.conf:1: deliver needs a value; see docs/delivery.md");
    refuse("domain x { user a b }", "posthouse.conf:1: user takes one name of a system user");
    refuse("listen smtp *:25 { smtpd_relay_restriction reject }",
           "posthouse.conf:1: unknown listener setting \"smtpd_relay_restriction\"; did you mean "
           "smtpd_relay_restrictions?");
    refuse("listen imap4 *:143",
           "posthouse.conf:1: listen: unknown service \"imap4\"; expected smtp, submission, submissions, lmtp, pop3, "
           "pop3s, imap or imaps");
}

static void test_wrong_values(void **state)
{
    (void)state;
    refuse("message_size_limit 50X",
           "posthouse.conf:1: message_size_limit: \"50X\" is not a size; expected a number with K, M or G");
    refuse("message_size_limit 99999999999999999999",
           "posthouse.conf:1: message_size_limit: \"99999999999999999999\" is not a size; expected a number with K, "
           "M or G");
    refuse("message_size_limit 9999999999G",
           "posthouse.conf:1: message_size_limit: \"9999999999G\" is not a size; expected a number with K, M or G");
    refuse("message_size_limit 0", "posthouse.conf:1: message_size_limit: \"0\" is too small; expected at least 1K");
    refuse("smtpd_timeout 5y",
           "posthouse.conf:1: smtpd_timeout: \"5y\" is not a duration; expected a number with s, m, h, d or w, at "
           "most 520w");
    refuse("smtpd_delay_reject maybe",
           "posthouse.conf:1: smtpd_delay_reject: \"maybe\" is not a yes or no; expected yes or no");
    refuse("smtpd_hard_error_limit -1",
           "posthouse.conf:1: smtpd_hard_error_limit: \"-1\" is not a number; expected digits, at most 4294967295");
    refuse("smtpd_forbid_bare_newline yes",
           "posthouse.conf:1: smtpd_forbid_bare_newline: \"yes\" cannot be; expected reject or normalize");
    refuse("log_level loud", "posthouse.conf:1: log_level: \"loud\" cannot be; expected debug, info, warn or error");
    refuse("mynetworks 10.0.0.0/8, 10.1.2.3/8",
           "posthouse.conf:1: mynetworks: \"10.1.2.3/8\" is not a network: there are host bits beyond its prefix; "
           "expected them to be 0");
    refuse("hostname", "posthouse.conf:1: hostname needs a value");
    refuse("hostname a b", "posthouse.conf:1: hostname takes one value; \"b\" is one too many");
    refuse("hostname = a", "posthouse.conf:1: a setting is written without =: hostname value");
    refuse("hostname -", "posthouse.conf:1: hostname: \"-\" cannot be; expected a host name");
    refuse("hostname a\nrun_as b\nhostname c", "posthouse.conf:3: hostname is set twice; first at posthouse.conf:1");
    refuse("recipient_delimiter a",
           "posthouse.conf:1: recipient_delimiter: \"a\" cannot be; expected empty or some of ! # $ % & ' * + - / = "
           "? ^ _ ` { | } ~");
    static const char *const networks[] = { "10.0.0.0/33", "10.0.0/8", "[10.0.0.0]/8", "::1/129", "[::1", "::1]",
                                            "10.0.0.0/", "x", "10.0.0.0/8/8", "1.2.3.4.5", NULL };
    for (size_t i = 0; networks[i]; i++) {
        char text[100], want[300];
        snprintf(text, sizeof(text), "mynetworks %s", networks[i]);
        snprintf(want, sizeof(want), "posthouse.conf:1: mynetworks: \"%s\" is not a network; "
                 "expected an address like 192.0.2.0/24, 192.0.2.1, 2001:db8::/32 or [2001:db8::]/32", networks[i]);
        refuse(text, want);
    }
}

static void test_wrong_listeners(void **state)
{
    (void)state;
    refuse("listen smtp", "posthouse.conf:1: expected listen SERVICE ADDRESS:PORT, like listen smtp 127.0.0.1:25");
    refuse("listen smtp 127.0.0.1",
           "posthouse.conf:1: listen: \"127.0.0.1\": expected ADDRESS:PORT like 127.0.0.1:25, [::1]:25 or *:25");
    refuse("listen smtp ::1:25",
           "posthouse.conf:1: listen: \"::1:25\": expected brackets round an IPv6 address, like [::1]:25");
    refuse("listen smtp *:65536",
           "posthouse.conf:1: listen: \"*:65536\": expected a port from 1 to 65535 after the last colon");
    refuse("listen smtp *:0",
           "posthouse.conf:1: listen: \"*:0\": expected a port from 1 to 65535 after the last colon");
    refuse("listen smtp localhost:25",
           "posthouse.conf:1: listen: \"localhost:25\": expected a numeric address, or * for every IPv4 address");
    refuse("listen smtp 127.0.0.1:25\nlisten pop3 127.0.0.1:25",
           "posthouse.conf:2: listen: port 25 of 127.0.0.1 is already taken by the smtp listener at posthouse.conf:1");
    refuse("listen smtp *:25\nlisten pop3 127.0.0.1:25",
           "posthouse.conf:2: listen: port 25 of 127.0.0.1 is already taken by the smtp listener at posthouse.conf:1");
    refuse("listen smtp [::1]:25\nlisten pop3 [0::1]:25",
           "posthouse.conf:2: listen: port 25 of ::1 is already taken by the smtp listener at posthouse.conf:1");
    refuse("listen pop3 *:110 { smtpd_helo_restrictions reject }",
           "posthouse.conf:1: a pop3 listener has no settings of its own");
    refuse("listen imaps *:993 { smtpd_helo_restrictions reject }",
           "posthouse.conf:1: a imaps listener has no settings of its own");
    refuse("listen smtp *:25 {\n smtpd_helo_restrictions reject\n", "posthouse.conf:1: the block of listen has no }");
}

static void test_wrong_syntax(void **state)
{
    (void)state;
    refuse("}", "posthouse.conf:1: a } without a { before it");
    refuse("{", "posthouse.conf:1: a { without a statement before it");
    refuse("hostname { }", "posthouse.conf:1: hostname is a setting and has no { } block");
    refuse("run_as \"x", "posthouse.conf:1: a quoted word does not end on its line");
    refuse("run_as \"x\"y", "posthouse.conf:1: after a closing quote a blank is expected");
    refuse("run_as x\"y\"", "posthouse.conf:1: a word with a quote must be quoted as a whole");
    refuse("run_as x\\y", "posthouse.conf:1: a word with a backslash must be quoted as a whole");
    refuse("run_as \"\\x\"", "posthouse.conf:1: inside quotes a backslash stands only before \" or \\");
    refuse("run_as x\x01", "posthouse.conf:1: a word holds a control byte or is not UTF-8");
    refuse("run_as \xff", "posthouse.conf:1: a word holds a control byte or is not UTF-8");
    refuse("mynetworks ::1,\n", "posthouse.conf:1: after a comma a word is expected");
    refuse("mynetworks ::1,,::2\n", "posthouse.conf:1: after a comma a word is expected");
    refuse(", x\n", "posthouse.conf:1: a comma without a word before it");
    refuse("run_as a\rb\n", "posthouse.conf:1: a carriage return inside a line");
    refuse("domain x\ndomain X", "posthouse.conf:2: domain x is named twice; first at posthouse.conf:1");
    refuse("domain a_b", "posthouse.conf:1: domain: \"a_b\" is not a domain name");
}

static void test_tables(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    const char *const files[] = { "access/c", "192.0.2.1 REJECT\n", "s", "x OK", NULL };
    const struct conf *c = parse(&a, "smtpd_client_restrictions check_client_access file:access/c\n"
                                     "listen smtp *:25 { smtpd_sender_restrictions check_sender_access file:s }\n",
                                 files);
    str v;
    assert_int_equal(conf_table_get(conf_table(c, S("file:access/c")), S("192.0.2.1"), &v), 1);
    assert_str(v, "REJECT");
    assert_false(conf_table_has_ok(conf_table(c, S("access/c"))));
    assert_true(conf_table_has_ok(conf_table(c, S("file:s"))));
    assert_null(conf_table(c, S("file:other")));
    refuse("\nlisten smtp *:25 { smtpd_sender_restrictions reject,\n check_sender_access file:s }",
           "posthouse.conf:3: cannot read s: not in the bundle");
}

static void test_nearest(void **state)
{
    (void)state;
    assert_str(conf_nearest(S("mynetwork")), "mynetworks");
    assert_str(conf_nearest(S("MYNETWORSK")), "mynetworks");
    assert_str(conf_nearest(S("completely_different")), "");
    assert_str(conf_nearest(S("")), "");
}

/* Many statements: nothing may be searched once a statement (the whole suite would time out). */
static void test_many_domains(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    struct buf b = BUF(64u << 20);
    for (unsigned i = 0; i < 100000; i++)
        buf_addf(&b, "domain d%u.example { postmaster a@b.example }\n", i);
    buf_addc(&b, '\0');
    const struct conf *c = parse(&a, b.p, no_files);
    assert_int_equal(c->n_domains, 100000);
    buf_done(&b);
}

static void test_damaged_bundle(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(CONF_MEMORY_MAX);
    str bundle = test_bundle(&a, "hostname x\n", no_files);
    const struct conf *c;
    struct conf_error e;
    for (size_t n = 0; n < bundle.n; n++)
        assert_int_equal(conf_parse(&a, str_first(bundle, n), &c, &e), -EINVAL);
    assert_int_equal(conf_parse(&a, bundle, &c, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_setting_value),
        cmocka_unit_test(test_lmtp_listeners),
        cmocka_unit_test(test_wrong_lmtp_listeners),
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_resolver),
        cmocka_unit_test(test_global_list_reaches_listener),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_include),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_wrong_listeners),
        cmocka_unit_test(test_wrong_syntax),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_many_domains),
        cmocka_unit_test(test_damaged_bundle),
    };
    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
