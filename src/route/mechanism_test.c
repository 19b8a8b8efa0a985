/* Mechanisms as texts: what is taken, what is refused and why, words of a command, names of accounts in paths. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/buf.h"
#include "route/mechanism.h"

static void takes(const char *text, const char *expected)
{
    struct mechanism m;
    const char *why;
    struct buf b = BUF(10000);
    if (mechanism_parse(str_z(text), &m, &why))
        buf_addf(&b, "%s path=%.*s host=%.*s port=%u command=%.*s", mechanism_name[m.kind], STR_ARG(m.path),
                 STR_ARG(m.host), m.port, STR_ARG(m.command));
    else
        buf_addf(&b, "no: %s", why);
    buf_addc(&b, '\0');
    assert_string_equal(b.p, expected);
    buf_done(&b);
}

static void test_kinds(void **state)
{
    (void)state;
    takes("mailbox", "mailbox path= host= port=0 command=");
    takes("smtp:mx.example.org", "smtp path= host=mx.example.org port=0 command=");
    takes("smtp:127.0.0.1:2525", "smtp path= host=127.0.0.1 port=2525 command=");
    takes("smtp:[::1]:26", "smtp path= host=::1 port=26 command=");
    takes("lmtp:[127.0.0.1]", "lmtp path= host=127.0.0.1 port=0 command=");
    takes("lmtp:/run/dovecot/lmtp", "lmtp path=/run/dovecot/lmtp host= port=0 command=");
    takes("|/usr/bin/procmail -a x", "command path= host= port=0 command=/usr/bin/procmail -a x");
    takes("| cat ", "command path= host= port=0 command=cat");
    takes("mbox:/var/mail/bob", "mbox path=/var/mail/bob host= port=0 command=");
    takes("/var/mail/bob", "mbox path=/var/mail/bob host= port=0 command=");
    takes("~/mbox", "mbox path=~/mbox host= port=0 command=");
    takes("maildir:~/Maildir/", "maildir path=~/Maildir host= port=0 command=");
    takes("~/Maildir/", "maildir path=~/Maildir host= port=0 command=");
    takes("maildir:/m", "maildir path=/m host= port=0 command=");
    takes("stdout", "stdout path= host= port=0 command=");
    takes("forward", "forward path= host= port=0 command=");
}

static void test_refused(void **state)
{
    char longest[MECHANISM_MAX + 2];
    (void)state;
    takes("", "no: expected mailbox, smtp:HOST, lmtp:HOST, lmtp:/SOCKET, |COMMAND, mbox:/PATH, maildir:/PATH, stdout "
              "or forward");
    takes("mailbox:x", "no: this word takes no value");
    takes("mbox", "no: this word needs a colon and a value");
    takes("mbox:mail", "no: the path must begin with / or ~/");
    takes("mbox:/var/mail/", "no: this path is of a folder; an mbox is a file");
    takes("maildir:/home/../etc", "no: the path must not have .. in it");
    takes("~//", "no: the path must name a folder below / or ~/");
    takes("lmtp:/run/", "no: the path must not be a folder's");
    takes("smtp:", "no: the host is missing");
    takes("smtp:x:0", "no: the port must be a number from 1 to 65535");
    takes("smtp:x:", "no: the port must be a number from 1 to 65535");
    takes("smtp:x:65536", "no: the port must be a number from 1 to 65535");
    takes("smtp:::1", "no: an IPv6 address needs brackets");
    takes("smtp:[::1]x", "no: only :PORT may follow the bracket");
    takes("smtp:a b", "no: this is not a host name");
    takes("|", "no: a command is missing behind the bar");
    takes("|a\nb", "no: it has a control byte");
    memset(longest, 'a', sizeof(longest));
    longest[0] = '/';
    longest[sizeof(longest) - 1] = '\0';
    takes(longest, "no: it is too long");
    longest[sizeof(longest) - 2] = '\0';
    struct mechanism m;
    const char *why;
    assert_true(mechanism_parse(str_z(longest), &m, &why));
}

static void test_is(void **state)
{
    (void)state;
    assert_true(mechanism_is(S("|x")) && mechanism_is(S("/x")) && mechanism_is(S("~/x")) && mechanism_is(S("smtp:")));
    /* addresses and names of accounts may look nearly like one */
    assert_false(mechanism_is(S("mailbox")) || mechanism_is(S("stdout@x")) || mechanism_is(S("mbox")) ||
                 mechanism_is(S("bob")) || mechanism_is(S("\"a:b\"@x")) || mechanism_is(S("")));
    assert_true(mechanism_is_local(MECHANISM_MBOX) && mechanism_is_local(MECHANISM_FORWARD));
    assert_false(mechanism_is_local(MECHANISM_MAILBOX) || mechanism_is_local(MECHANISM_LMTP));
}

static void words_are(const char *command, const char *expected)
{
    struct arena a = ARENA(100000);
    size_t n = 0;
    const char *why;
    char **w = mechanism_words(&a, str_z(command), &n, &why);
    struct buf b = BUF(10000);
    if (!w)
        buf_addf(&b, "no: %s", why);
    for (size_t i = 0; w && i < n; i++)
        buf_addf(&b, "[%s]", w[i]);
    assert_true(!w || !w[n]);
    buf_addc(&b, '\0');
    assert_string_equal(b.p, expected);
    buf_done(&b);
    arena_done(&a);
}

static void test_words(void **state)
{
    (void)state;
    words_are("cat", "[cat]");
    words_are("  a  b\tc ", "[a][b][c]");
    words_are("sh -c \"echo 'x y' | cat\" '\\n\"'", "[sh][-c][echo 'x y' | cat][\\n\"]");
    words_are("a\\ b \"c\\\"d\" e\"\"f \"\"", "[a b][c\"d][ef][]");
    words_are("a $HOME `id` ;rm", "[a][$HOME][`id`][;rm]");
    words_are("a 'b", "no: a quote is not closed");
    words_are("\"\" b", "no: there is no command");
    words_are("", "no: there is no command");
}

static void test_expand(void **state)
{
    (void)state;
    struct arena a = ARENA(100000);
    const char *why;
    assert_true(str_eq(mechanism_expand(&a, S("maildir:/m/%d/%n/"), S("bob@x.test"), &why),
                       S("maildir:/m/x.test/bob/")));
    assert_true(str_eq(mechanism_expand(&a, S("|f %u %x 100%%"), S("bob@x"), &why), S("|f bob@x %x 100%")));
    assert_int_equal(mechanism_expand(&a, S("/m/%n"), S("\"../etc\"@x"), &why).n, 0);
    assert_true(why[0]);
    assert_int_equal(mechanism_expand(&a, S("/m/%n"), S(".ssh@x"), &why).n, 0);
    assert_int_equal(mechanism_expand(&a, S("|sh -c 'f %n'"), S("a;b@x"), &why).n, 0);
    assert_int_equal(mechanism_expand(&a, S("|f %n"), S("-f@x"), &why).n, 0);
    assert_true(str_eq(mechanism_expand(&a, S("/m/%n"), S("a;b@x"), &why), S("/m/a;b")));
    assert_true(str_eq(mechanism_expand(&a, S("stdout"), S("../x@x"), &why), S("stdout"))); /* names nothing */
    arena_done(&a);
}

static void test_list(void **state)
{
    (void)state;
    str list = S("forward\nmbox:/x\nmailbox");
    assert_true(str_eq(mechanism_next(&list), S("forward")));
    assert_true(str_eq(mechanism_next(&list), S("mbox:/x")));
    assert_true(str_eq(mechanism_next(&list), S("mailbox")));
    assert_int_equal(mechanism_next(&list).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_kinds),  cmocka_unit_test(test_refused),
                                        cmocka_unit_test(test_is),     cmocka_unit_test(test_words),
                                        cmocka_unit_test(test_expand), cmocka_unit_test(test_list) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
