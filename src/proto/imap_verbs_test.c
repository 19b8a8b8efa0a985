/* imap_verbs.c through imap_command.h. */
#include "proto/imap_command.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void test_verbs(void **state)
{
    (void)state;
    assert_true(str_eq(imap_verb_name(IMAP_UNSUBSCRIBE), S("UNSUBSCRIBE")));
    assert_int_equal(imap_verb_name(IMAP_VERBS).n, 0);
    assert_true(imap_verb_allowed(IMAP_NOOP, IMAP_NOT_AUTHENTICATED));
    assert_true(imap_verb_allowed(IMAP_LOGIN, IMAP_NOT_AUTHENTICATED));
    assert_false(imap_verb_allowed(IMAP_LOGIN, IMAP_AUTHENTICATED));
    assert_false(imap_verb_allowed(IMAP_LIST, IMAP_NOT_AUTHENTICATED));
    assert_true(imap_verb_allowed(IMAP_LIST, IMAP_SELECTED));
    assert_false(imap_verb_allowed(IMAP_FETCH, IMAP_AUTHENTICATED));
    assert_true(imap_verb_allowed(IMAP_FETCH, IMAP_SELECTED));
    assert_true(str_eq(imap_use_name(IMAP_USE_JUNK), S("\\Junk")));
    assert_int_equal(imap_use_name(IMAP_USE_NONE).n, 0);
    for (enum imap_use use = IMAP_USE_NONE + 1; use < IMAP_USES; use++)
        assert_int_equal(imap_use_of(imap_use_name(use)), use);
    assert_int_equal(imap_use_of(S("\\sENT")), IMAP_USE_SENT);
    assert_int_equal(imap_use_of(S("Sent")), IMAP_USE_NONE);
    assert_int_equal(imap_use_of(S("")), IMAP_USE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
