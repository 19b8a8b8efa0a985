/* Options of the sendmail command. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "admin/sendmail_args.h"
#include "base/cleanup.h"

static char *words[16]; /* the result points into them */

#define PARSE(a, ...) ({ \
    char *argv_[] = { __VA_ARGS__, NULL }; \
    memcpy(words, argv_, sizeof(argv_)); \
    sendmail_args_parse((int)ARRAY_LEN(argv_) - 1, words, (a)); })
#define W(text) ((char *)(text))

static void test_as_programs_call_it(void **state)
{
    (void)state;
    struct sendmail_args a;
    assert_int_equal(PARSE(&a, W("/usr/sbin/sendmail"), W("-FCronDaemon"), W("-i"), W("-B8BITMIME"), W("-oem"),
                           W("root")), 0);
    assert_string_equal(a.full_name, "CronDaemon");
    assert_true(a.keep_dots && a.body_8bit && !a.from_header);
    assert_int_equal(a.n_recipients, 1);
    assert_string_equal(a.recipients[0], "root");
    assert_int_equal(PARSE(&a, W("sendmail"), W("-ti"), W("-f"), W("me@x"), W("-Nsuccess,delay"), W("-R"), W("hdrs"),
                           W("-Vid"), W("--"), W("-odd")), 0);
    assert_true(a.from_header && a.keep_dots);
    assert_string_equal(a.sender, "me@x");
    assert_int_equal(a.notify, 10);
    assert_int_equal(a.ret, 2);
    assert_string_equal(a.envid, "id");
    assert_string_equal(a.recipients[0], "-odd");
    assert_int_equal(PARSE(&a, W("sendmail"), W("-oi"), W("-t"), W("-O"), W("DeliveryMode=b"),
                           W("-C/etc/mail/sendmail.cf")), 0);
    assert_true(a.keep_dots && a.from_header && !a.config);
    assert_int_equal(PARSE(&a, W("sendmail"), W("-OIgnoreDots=true"), W("-Cx.conf"), W("-f"), W(""), W("a")), 0);
    assert_true(a.keep_dots);
    assert_string_equal(a.config, "x.conf");
    assert_string_equal(a.sender, "");
}

static void test_modes(void **state)
{
    (void)state;
    static const struct { const char *name, *option; enum sendmail_mode mode; } cases[] = {
        { "sendmail", "-bm", SENDMAIL_SEND },      { "sendmail", "-bs", SENDMAIL_SMTP },
        { "sendmail", "-bv", SENDMAIL_VERIFY },    { "sendmail", "-bp", SENDMAIL_LIST },
        { "sendmail", "-bi", SENDMAIL_ALIASES },   { "sendmail", "-q", SENDMAIL_RETRY },
        { "/usr/bin/mailq", "-v", SENDMAIL_LIST }, { "newaliases", "-v", SENDMAIL_ALIASES },
        { "mailq", "-q", SENDMAIL_RETRY },
    };
    struct sendmail_args a;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(PARSE(&a, W(cases[i].name), W(cases[i].option)), 0);
        assert_int_equal(a.mode, cases[i].mode);
    }
    assert_int_equal(PARSE(&a, W("sendmail"), W("-qSbob@x")), 0);
    assert_int_equal(a.retry_by, 'S');
    assert_string_equal(a.retry_what, "bob@x");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "-bd", "-bq", "-b", "-Z", "-q30m", "-N", "-Nnever,delay", "-Nx",
                                       "-Rall", "-V", "-Va b", "-B9BIT", "-", "-tZ", "-f" };
    struct sendmail_args a;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(PARSE(&a, W("sendmail"), W(bad[i])), -EINVAL);
        assert_true(a.why[0]);
    }
    assert_int_equal(PARSE(&a, W("sendmail"), W("bob"), W("-t")), -EINVAL);
    assert_int_equal(sendmail_args_parse(0, NULL, &a), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_programs_call_it),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
