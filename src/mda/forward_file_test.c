/* ~/.forward: what its targets are, what makes it broken, and whose file is read. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "mda/forward_file.h"
#include "mda/mda_play.h"

static void parses(const char *text, const char *wanted)
{
    static const char kinds[] = { 'a', 'l', 'm' };
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    _cleanup_buf_ struct buf got = BUF(4096);
    struct forward_target *t;
    struct forward_error e;
    size_t n;
    int r = forward_parse(&a, str_z(text), &t, &n, &e);
    if (r < 0)
        buf_addf(&got, "%u: %s", e.line, e.why);
    for (size_t i = 0; r == 0 && i < n; i++)
        buf_addf(&got, "%s%u%c %.*s", i ? "; " : "", t[i].line, kinds[t[i].kind], STR_ARG(t[i].text));
    if (!str_eq(buf_str(&got), str_z(wanted)))
        fail_msg("\"%s\": got \"%.*s\", wanted \"%s\"", text, STR_ARG(buf_str(&got)), wanted);
}

static void test_targets(void **state)
{
    (void)state;
    parses("", "");
    parses("# nothing\n\n  \n,,\n", "");
    parses("bob@example.org", "1a bob@example.org");
    parses("bob, jane@example.org\njack\n", "1a bob; 1a jane@example.org; 2a jack");
    parses("\\bob, \"\\bob@here.example\"", "1l bob; 1l bob@here.example");
    parses("bob\r\njane\r\n", "1a bob; 2a jane");
    parses("Bob Smith <bob@example.org> (work), \"Jane, D.\" <jane@example.org>",
           "1a bob@example.org; 1a jane@example.org");
    parses("\"bob\"@example.org", "1a \"bob\"@example.org");
    parses("bob (a comment, with a comma), jane", "1a bob; 1a jane");
    parses("bob,\n  jane\n, jack", "1a bob; 2a jane; 3a jack");
    parses("bob,bob,bob@a.example", "1a bob; 1a bob@a.example");
    parses("/home/bob/box, ~/Mail/, \"~/with blank\", mbox:~/x, maildir:/m",
           "1m /home/bob/box; 1m ~/Mail/; 1m ~/with blank; 1m mbox:~/x; 1m maildir:/m");
    parses("|/bin/cat -n", "1m |/bin/cat -n");
    parses("\"|/bin/cat -n, 'a b'\"", "1m |/bin/cat -n, 'a b'");
    parses("|\"/bin/cat \\\"x y\\\" (no comment)\", bob", "1m |/bin/cat \"x y\" (no comment); 1a bob");
    parses("|cat <x> (y)", "1m |cat <x> (y)");
    parses("#bob\n #jane", "2a #jane"); /* only at the start of a line */
    parses("|cat\n -n\n", "1m |cat  -n"); /* a line that goes on */
}

static void test_broken(void **state)
{
    (void)state;
    parses("bob\n:include:/etc/passwd", "2: :include: is not allowed");
    parses("\":include:/x\"", "1: :include: is not allowed");
    parses("bob\n\n\"|cat", "3: a quotation mark is not closed");
    parses("bob (never\nclosed", "1: a comment is not closed");
    parses("bob <bob@example.org", "1: an address in <> is not closed");
    parses("<a@b.example><c@d.example>", "1: an address has two pairs of <>");
    parses("bob\x01", "1: there is a control byte in it");
    parses("a@b.example\n|", "2: a command is missing behind the bar");
}

static void test_limits(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA(8 << 20);
    _cleanup_buf_ struct buf text = BUF(1 << 20);
    struct forward_target *t;
    struct forward_error e;
    size_t n;
    for (int i = 0; i < FORWARD_TARGETS_MAX; i++)
        buf_addf(&text, "user%d\n", i);
    assert_int_equal(forward_parse(&a, buf_str(&text), &t, &n, &e), 0);
    assert_int_equal(n, FORWARD_TARGETS_MAX);
    buf_add(&text, S("one.more\n"));
    assert_int_equal(forward_parse(&a, buf_str(&text), &t, &n, &e), -EBADMSG);
    assert_int_equal(e.line, FORWARD_TARGETS_MAX + 1);
    buf_clear(&text);
    while (text.n <= FORWARD_FILE_MAX)
        buf_add(&text, S("bob\n"));
    assert_int_equal(forward_parse(&a, buf_str(&text), &t, &n, &e), -EBADMSG);
    assert_int_equal(forward_parse(&a, str_of("a\0b", 3), &t, &n, &e), -EBADMSG);
    _cleanup_arena_ struct arena small = ARENA(100);
    assert_int_equal(forward_parse(&small, S("bob"), &t, &n, &e), -ENOMEM);
    assert_null(e.why);
}

static int reads(struct mda_play *p, struct mda_result *r)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct forward_target *t;
    size_t n;
    *r = (struct mda_result){ 0 };
    return forward_read(&a, &p->user, &t, &n, r);
}

static void test_file(void **state)
{
    (void)state;
    struct mda_play p;
    struct mda_result r;
    mda_play_begin(&p);
    assert_int_equal(reads(&p, &r), 0);
    mda_play_write(&p, ".forward", S("# empty\n"));
    assert_int_equal(reads(&p, &r), 0);
    mda_play_write(&p, ".forward", S("bob\n"));
    assert_int_equal(reads(&p, &r), 1);
    mda_play_write(&p, ".forward", S("bob\n\"jane\n"));
    assert_int_equal(reads(&p, &r), -1);
    assert_int_equal(r.outcome, MDA_DEFERRED);
    assert_string_equal(r.status, "4.3.5");
    assert_true(mda_play_says(&r, "/.forward:2: "));
    mda_play_write(&p, ".forward", S("bob\n"));
    assert_int_equal(chmod(mda_play_path(&p, ".forward"), 0620), 0);
    assert_int_equal(reads(&p, &r), -1);
    assert_true(mda_play_says(&r, "others may write"));
    assert_int_equal(rename(mda_play_path(&p, ".forward"), mda_play_path(&p, "real")), 0);
    assert_int_equal(symlink("real", mda_play_path(&p, ".forward")), 0);
    assert_int_equal(reads(&p, &r), -1);
    assert_true(mda_play_says(&r, "symlink"));
    assert_int_equal(unlink(mda_play_path(&p, ".forward")), 0);
    assert_int_equal(mkfifo(mda_play_path(&p, ".forward"), 0600), 0);
    assert_int_equal(reads(&p, &r), -1);
    assert_true(mda_play_says(&r, "no regular file"));
    assert_int_equal(unlink(mda_play_path(&p, ".forward")), 0);
    assert_int_equal(chmod(p.home, 0707), 0); /* whoever may put files there may put a .forward there */
    assert_int_equal(reads(&p, &r), -1);
    assert_int_equal(chmod(p.home, 0700), 0);
    if (geteuid() == 0) {
        mda_play_write(&p, ".forward", S("bob\n"));
        assert_int_equal(chown(mda_play_path(&p, ".forward"), 12345, 0), 0);
        assert_int_equal(reads(&p, &r), -1);
        assert_true(mda_play_says(&r, "somebody else"));
    }
    mda_play_end(&p);
    assert_int_equal(reads(&p, &r), -1); /* the home is not there: perhaps not mounted */
    assert_int_equal(r.outcome, MDA_DEFERRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets), cmocka_unit_test(test_broken), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
