/* `posthouse dkim`: exit codes, the key that is made, records, a signature that does not depend on the moment. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include "admin/dkim.h"

#define RUN(p, ...) COMMAND_ON((p), cmd_dkim, "", (char *)"dkim", __VA_ARGS__)

static void generate(void **state)
{
    _cleanup_admin_ struct admin_play p;
    char path[256];
    struct stat st;
    (void)state;
    admin_play_init(&p);
    snprintf(path, sizeof(path), "%s/e.pem", p.dir);
    assert_int_equal(RUN(&p, (char *)"generate", (char *)"--domain", (char *)"example.org", (char *)"--selector",
                         (char *)"e", (char *)"--type", (char *)"ed25519", (char *)"--out", path),
                     0);
    assert_non_null(strstr(p.out, "\ne._domainkey.example.org. IN TXT ( \"v=DKIM1; k=ed25519; p="));
    assert_int_equal(fstatat(p.dir_fd, "e.pem", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(RUN(&p, (char *)"generate", (char *)"--domain", (char *)"example.org", (char *)"--selector",
                         (char *)"e", (char *)"--out", path),
                     EXIT_CANTCREATE);
    play_conf(&p, "dkim example.org e e.pem\n");
    assert_int_equal(RUN(&p, (char *)"record"), 0);
    assert_true(str_starts(str_z(p.out), S("e._domainkey.example.org. IN TXT ( \"v=DKIM1; k=ed25519; p=")));
    play_conf(&p, "");
    assert_int_equal(RUN(&p, (char *)"record"), 1);
    play_conf(&p, "dkim example.org e missing.pem\n");
    assert_int_equal(RUN(&p, (char *)"record"), EXIT_IO);
}

static void usage(void **state)
{
    _cleanup_admin_ struct admin_play p;
    (void)state;
    admin_play_init(&p);
    assert_int_equal(RUN(&p, (char *)"frobnicate"), EXIT_USAGE);
    assert_int_equal(
        RUN(&p, (char *)"generate", (char *)"--domain", (char *)"example.org", (char *)"--selector", (char *)"e"),
        EXIT_USAGE);
    assert_int_equal(
        RUN(&p, (char *)"generate", (char *)"--domain", (char *)"example.org", (char *)"--out", (char *)"x"),
        EXIT_USAGE);
    assert_int_equal(RUN(&p, (char *)"generate", (char *)"--domain", (char *)"ex ample", (char *)"--selector",
                         (char *)"e", (char *)"--out", (char *)"x"),
                     EXIT_USAGE);
    assert_int_equal(RUN(&p, (char *)"generate", (char *)"--domain", (char *)"example.org", (char *)"--selector",
                         (char *)"e", (char *)"--type", (char *)"dsa", (char *)"--out", (char *)"x"),
                     EXIT_USAGE);
    assert_int_equal(
        RUN(&p, (char *)"sign", (char *)"--domain", (char *)"example.org", (char *)"--selector", (char *)"e"),
        EXIT_USAGE);
    assert_int_equal(RUN(&p, (char *)"sign", (char *)"--key", (char *)"k", (char *)"--domain", (char *)"example.org",
                         (char *)"--selector", (char *)"e", (char *)"--time", (char *)"now"),
                     EXIT_USAGE);
    assert_int_equal(RUN(&p, (char *)"sign", (char *)"--key", (char *)"k", (char *)"--domain", (char *)"example.org",
                         (char *)"--selector", (char *)"e", (char *)"--canonicalization", (char *)"simple"),
                     EXIT_USAGE);
}

static void zone_lines(void **state)
{
    struct dkim_key *k = NULL;
    struct buf line = BUF(8192);
    size_t longest = 0, n = 0;
    (void)state;
    assert_int_equal(dkim_key_make(DKIM_RSA_SHA256, &k), 0);
    assert_int_equal(dkim_zone_line(&line, S("example.org"), S("r"), k), 0);
    for (size_t i = 0, from = 0; i < line.n; i++)
        if (line.p[i] == '"' && ++n % 2)
            from = i;
        else if (line.p[i] == '"')
            longest = MAX(longest, i - from - 1);
    assert_true(longest <= 255 && n == 6);
    dkim_key_free(k);
    buf_done(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generate), cmocka_unit_test(usage), cmocka_unit_test(zone_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
