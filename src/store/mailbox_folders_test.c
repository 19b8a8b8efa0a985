/* Requests about the names of mailboxes: what each is answered. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/mailbox_role_play.h"

static void test_names(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    _cleanup_buf_ struct buf names = BUF(65536);
    struct store_folder f;
    begin(&s);
    folders(&s, "S1", &names);
    assert_true(str_eq(buf_str(&names), S("Archive Drafts INBOX Junk Sent Trash ")));
    assert_int_equal(change(&s, "S1", FOLDER_CREATE, "a/b", ""), STORE_DONE);
    assert_true(unpack_u64(&s.p.in) != 0);
    at_end(&s);
    assert_int_equal(change(&s, "S1", FOLDER_CREATE, "a/b", ""), STORE_EXISTS);
    assert_int_equal(unpack_u64(&s.p.in), 0);
    assert_int_equal(change(&s, "S1", FOLDER_RENAME, "a", "c"), STORE_DONE);
    assert_int_equal(folder(&s, "S1", "c/b", &f), STORE_DONE);
    assert_int_equal(f.messages, 0);
    assert_true(f.uidvalidity != 0 && f.uidnext == 1 && !f.subscribed);
    assert_int_equal(change(&s, "S1", FOLDER_SUBSCRIBE, "c/b", ""), STORE_DONE);
    assert_int_equal(folder(&s, "S1", "c/b", &f), STORE_DONE);
    assert_true(f.subscribed);
    assert_int_equal(change(&s, "S1", FOLDER_UNSUBSCRIBE, "c/b", ""), STORE_DONE);
    assert_int_equal(change(&s, "S1", FOLDER_DELETE, "c/b", ""), STORE_DONE);
    assert_int_equal(folder(&s, "S1", "c/b", &f), STORE_NONEXISTENT);
    assert_int_equal(change(&s, "S1", FOLDER_DELETE, "c/b", ""), STORE_NONEXISTENT);
    assert_int_equal(change(&s, "S1", FOLDER_DELETE, "INBOX", ""), STORE_CANNOT);
    assert_int_equal(folder(&s, "S2", "c", &f), STORE_NONEXISTENT); /* bob has none of this */
    play_stop(&s.p);
}

static void test_names_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "/", "/a", "a/", "a//b", "a\rb", "a\nb", "\x7f", "\xff", "\xed\xa0\x80" };
    _cleanup_stage_ struct stage s;
    struct store_folder f;
    char longest[MAILBOX_NAME_MAX + 2];
    begin(&s);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(change(&s, "S1", FOLDER_CREATE, bad[i], ""), STORE_CANNOT);
        assert_int_equal(change(&s, "S1", FOLDER_RENAME, "Sent", bad[i]), STORE_CANNOT);
        assert_int_equal(open_mailbox(&s, "S1", bad[i]).verdict, STORE_NONEXISTENT);
        if (*bad[i])
            assert_int_equal(folder(&s, "S1", bad[i], &f), STORE_NONEXISTENT);
    }
    memset(longest, 'x', sizeof(longest));
    longest[MAILBOX_NAME_MAX + 1] = 0;
    assert_int_equal(change(&s, "S1", FOLDER_CREATE, longest, ""), STORE_CANNOT);
    longest[MAILBOX_NAME_MAX] = 0;
    assert_int_equal(change(&s, "S1", FOLDER_CREATE, longest, ""), STORE_DONE);
    play_stop(&s.p);
}

static void test_long_lists_come_in_pages(void **state)
{
    (void)state;
    enum { N = 150 };
    _cleanup_stage_ struct stage s;
    _cleanup_buf_ struct buf names = BUF(1 << 20), want = BUF(1 << 20);
    char name[900];
    begin(&s);
    buf_add(&want, S("Archive Drafts INBOX Junk Sent Trash "));
    memset(name, 'z', sizeof(name));
    for (int i = 0; i < N; i++) {
        snprintf(name + 880, 12, "%03d", i);
        assert_int_equal(change(&s, "S1", FOLDER_CREATE, name, ""), STORE_DONE);
        buf_addf(&want, "%s ", name);
    }
    assert_int_equal(folders(&s, "S1", &names), 3);
    assert_true(str_eq(buf_str(&names), buf_str(&want)));
    play_stop(&s.p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_that_are_none),
        cmocka_unit_test(test_long_lists_come_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
