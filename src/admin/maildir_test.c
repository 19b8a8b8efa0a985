/* Names and text of Maildirs. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "admin/maildir.h"
#include "proto/imap_command.h"

static void is(const struct buf *b, const char *wanted)
{
    if (!str_eq(buf_str(b), str_z(wanted)))
        fail_msg("got \"%.*s\", wanted \"%s\"", STR_ARG(buf_str(b)), wanted);
}

static void test_flags(void **state)
{
    (void)state;
    struct maildir_keywords k = { .n = 0 };
    _cleanup_buf_ struct buf name = BUF(1000), words = BUF(1000), file = BUF(1000);
    assert_int_equal(maildir_keywords_read(&k, S("1 work\n0 $Junk\nx y\n99 z\n1 again\n")), 0);
    assert_int_equal(k.n, 2);
    assert_int_equal(maildir_info(&name, IMAP_SEEN | IMAP_DELETED | IMAP_DRAFT | IMAP_ANSWERED | IMAP_FLAGGED,
                                  S("WORK new $Forwarded"), &k), 0);
    is(&name, ":2,DFPRSTbc");
    assert_int_equal(maildir_flags(buf_str(&name), &k, &words), 31);
    is(&words, "$Forwarded work new");
    maildir_keywords_write(&k, &file);
    is(&file, "0 $Junk\n1 work\n2 new\n");
    buf_clear(&words);
    assert_int_equal(maildir_flags(S("1.2.host,S=5"), &k, &words), 0);
    assert_int_equal(maildir_flags(S("1.2.host:2,SzX"), &k, &words), IMAP_SEEN);
    assert_int_equal(words.n, 0);
    maildir_keywords_done(&k);
}

static void test_too_many_keywords(void **state)
{
    (void)state;
    struct maildir_keywords k = { .n = 0 };
    _cleanup_buf_ struct buf name = BUF(1000), all = BUF(1000);
    for (int i = 0; i < 28; i++)
        buf_addf(&all, "k%d ", i);
    assert_int_equal(maildir_info(&name, 0, buf_str(&all), &k), 2);
    is(&name, ":2,abcdefghijklmnopqrstuvwxyz");
    maildir_keywords_done(&k);
}

static void test_list(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    char path[] = "/tmp/posthouse-maildir-XXXXXX";
    static const char *const files[] = { "cur/10.b:2,S", "new/9.z", "cur/10.a:2,", "cur/.hidden", "new/1.x" };
    struct maildir_file *list;
    size_t n;
    assert_non_null(mkdtemp(path));
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(maildir_list(&a, dir, &list, &n), -ENOENT);
    assert_int_equal(mkdirat(dir, "cur", 0700) | mkdirat(dir, "new", 0700), 0);
    assert_int_equal(maildir_list(&a, dir, &list, &n), 0);
    assert_int_equal(n, 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        close(openat(dir, files[i], O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(maildir_list(&a, dir, &list, &n), 0);
    assert_int_equal(n, 4);
    assert_string_equal(list[0].name, "1.x");
    assert_string_equal(list[1].name, "9.z");
    assert_true(list[1].is_new && !list[2].is_new);
    assert_string_equal(list[2].name, "10.a:2,");
    assert_string_equal(list[3].name, "10.b:2,S");
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        assert_int_equal(unlinkat(dir, files[i], 0), 0);
    assert_int_equal(unlinkat(dir, "cur", AT_REMOVEDIR) | unlinkat(dir, "new", AT_REMOVEDIR) | rmdir(path), 0);
    close(dir);
}

static void test_line_ends(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf crlf = BUF(1000);
    assert_int_equal(maildir_to_crlf(&crlf, S("a\nb\r\n\nc\rd\n\r\ne")), 0);
    is(&crlf, "a\r\nb\r\n\r\nc\rd\r\n\r\ne");
    for (size_t piece = 1; piece < 20; piece++) {
        _cleanup_buf_ struct buf lf = BUF(1000);
        bool cr = false;
        for (str rest = buf_str(&crlf); rest.n; rest = str_from(rest, piece))
            maildir_to_lf(&lf, str_first(rest, piece), &cr);
        assert_false(cr);
        is(&lf, "a\nb\n\nc\rd\n\ne");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_too_many_keywords),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_line_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
