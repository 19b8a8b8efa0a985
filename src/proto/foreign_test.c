/* Which first words end a session. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/foreign.h"
#include "base/cleanup.h"

static void test_words(void **state)
{
    (void)state;
    static const str foreign[] = { S("GET"), S("post"), S("Connect"), S("PRI"), S("PATCH"), S("SSH-2.0-OpenSSH_9.2p1"),
                                   S("SSH-1.99-x"), S("ssh-2.0") };
    static const str ours[] = { S(""), S("G"), S("GETS"), S("GET\0"), S("SSH"), S("XSSH-2.0"), S("EHLO"), S("USER"),
                                S("P"), S("\xff") };
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        assert_true(foreign_word(foreign[i]));
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        assert_false(foreign_word(ours[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_words) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
