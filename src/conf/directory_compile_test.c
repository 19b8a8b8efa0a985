/* Lines of accounts and aliases that are refused, and the speed of compiling. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <time.h>
#include "conf/directory_test.h"

static void test_refused_lines(void **state)
{
    (void)state;
    refuse(CONF, "anna@example.org\nx@other.example\n", "",
           "accounts:2: account x@other.example: other.example is not a domain of this host; add `domain "
           "other.example` to posthouse.conf");
    refuse(CONF, "anna@example.org\nbob@example.org\nAnna@example.org\n", "",
           "accounts:3: account anna@example.org appears twice; first at accounts:1");
    refuse(CONF, "anna@example.org\n", "a: anna\nb: anna\nA: anna\n",
           "aliases:3: alias a appears twice; first at aliases:1");
    refuse(CONF, "anna\n", "", "accounts:1: account \"anna\" has no domain; a log-in is the full address");
    refuse(CONF, "anna@example.org quotas=1\n", "",
           "accounts:1: unknown option \"quotas=1\" of an account; expected senders=address,address, quota=SIZE, "
           "quota_messages=NUMBER, deliver=MECHANISM or user=NAME");
    refuse(CONF, "anna@example.org quota=1X\n", "",
           "accounts:1: \"quota=1X\" is not a size; expected a number with K, M or G");
    refuse(CONF, "anna@example.org quota=\n", "",
           "accounts:1: \"quota=\" is not a size; expected a number with K, M or G");
    refuse(CONF, "anna@example.org quota_messages=1K\n", "",
           "accounts:1: \"quota_messages=1K\" is not a number; expected digits, at most 4294967295");
    refuse(CONF, "anna@example.org senders=x\n", "",
           "accounts:1: senders= needs whole addresses or @domain; \"x\" has no domain");
    refuse(CONF, "anna@example.org\n", "nothing\n", "aliases:1: expected `alias: target, target…`");
    refuse(CONF, "anna@example.org\n", "x:\n", "aliases:1: alias x has no target");
    refuse(CONF, "anna@example.org\n", "\n x: y\n",
           "aliases:2: a line that starts with a blank continues the one before, and there is none");
    refuse(CONF, "anna@example.org\n", "x@far.example: anna\n",
           "aliases:1: alias x@far.example: far.example is not a domain of this host; add `domain far.example` to "
           "posthouse.conf");
    refuse(CONF, "anna@example.org\n", "x: :include:no\n", "aliases:1: cannot read no: not in the bundle");
    refuse(CONF, "anna@example.org\n", "x: y\x01\n", "aliases:1: a control byte in the line");
}

/* Of this process alone: others on the machine do not count. */
static uint64_t cpu_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Far fewer than the million accounts that must compile in 3 s, and with room for slow machines and sanitizers. */
static void test_speed(void **state)
{
    (void)state;
    enum { N = 50000 };
    struct buf b = BUF(64u << 20);
    buf_add(&b, S("anna@example.org\n"));
    for (unsigned i = 0; i < N; i++)
        buf_addf(&b, "user%u@example.org\n", i);
    buf_addc(&b, '\0');
    _cleanup_world_ struct world w;
    uint64_t start = cpu_ms();
    must_compile(&w, CONF, b.p, "");
    uint64_t compiled = cpu_ms();
    assert_true(compiled - start < 3000);
    char address[64];
    for (unsigned i = 0; i < N; i++) {
        int n = snprintf(address, sizeof(address), "User%u@Example.org", i);
        assert_int_equal(directory_class(&w.d, str_of(address, (size_t)n)), DIRECTORY_LOCAL);
    }
    assert_true(cpu_ms() - compiled < 1000);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_lines),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests_name("directory_compile", tests, NULL, NULL);
}
