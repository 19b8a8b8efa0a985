/* Many deliveries at once: mboxes and Maildirs mixed, locked ones put aside, results, what is not finished. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include "mda/mda_play.h"

#define MAIL S("Subject: x\r\n\r\nhello\r\n")
#define PLAIN "Return-Path: <ann@a.example>\nSubject: x\n\nhello\n"
#define MBOX "From ann@a.example Tue Nov 24 08:00:00 2026\n" PLAIN "\n"

static size_t count(const struct mda_play *p, const char *folder)
{
    DIR *d = opendir(mda_play_path(p, folder));
    size_t n = 0;
    for (const struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static struct mechanism parse(const char *text)
{
    struct mechanism m;
    const char *why;
    assert_true(mechanism_parse(str_z(text), &m, &why));
    return m;
}

static void test_many_mixed(void **state)
{
    (void)state;
    enum { EACH = 300 };
    static const char *const texts[] = { "mbox:~/a", "maildir:~/M", "maildir:~/N", "mbox:~/b" };
    struct mda_play p;
    struct mda_batch *b;
    struct mda_result *r = calloc(EACH * 4, sizeof(*r));
    mda_play_begin(&p);
    assert_non_null(r);
    struct mda_message m = mda_play_message(MAIL);
    assert_int_equal(mda_batch_new(&p.config, &b), 0);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < EACH * 4; i++) {
            struct mechanism to = parse(texts[i % 4]);
            mda_batch_add(b, &m, &to, &r[i]);
        }
        mda_batch_finish(b);
        for (size_t i = 0; i < EACH * 4; i++) {
            assert_int_equal(r[i].outcome, MDA_DELIVERED);
            assert_string_equal(r[i].status, "2.0.0");
            assert_int_equal(r[i].bytes, i % 4 == 1 || i % 4 == 2 ? sizeof(PLAIN) - 1 : sizeof(MBOX) - 1);
        }
    }
    mda_batch_free(b);
    close(m.fd);
    free(r);
    assert_int_equal(count(&p, "M/new"), 2 * EACH);
    assert_int_equal(count(&p, "N/new"), 2 * EACH);
    assert_int_equal(count(&p, "M/tmp"), 0);
    assert_int_equal(mda_play_read(&p, "a").n, 2 * EACH * (sizeof(MBOX) - 1));
    assert_int_equal(access(mda_play_path(&p, "a.lock"), F_OK), -1);
    mda_play_end(&p);
}

static void test_one_that_fails_harms_no_other(void **state)
{
    (void)state;
    static const char *const texts[] = { "mbox:~/a", "mbox:~/no/way", "maildir:~/M", "maildir:~/no/way", "mbox:~/a" };
    static const bool fine[] = { true, false, true, false, true };
    struct mda_play p;
    struct mda_batch *b;
    struct mda_result r[5];
    mda_play_begin(&p);
    struct mda_message m = mda_play_message(MAIL);
    assert_int_equal(mda_batch_new(&p.config, &b), 0);
    for (size_t i = 0; i < 5; i++) {
        struct mechanism to = parse(texts[i]);
        mda_batch_add(b, &m, &to, &r[i]);
    }
    struct mechanism odd = parse("|cat");
    struct mda_result refused;
    mda_batch_add(b, &m, &odd, &refused);
    mda_batch_finish(b);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(r[i].outcome, fine[i] ? MDA_DELIVERED : MDA_DEFERRED);
    assert_int_equal(refused.outcome, MDA_FAILED);
    mda_batch_free(b);
    close(m.fd);
    mda_play_is(mda_play_read(&p, "a"), MBOX MBOX);
    mda_play_end(&p);
}

static void test_locked_mbox_is_put_aside(void **state)
{
    (void)state;
    struct mda_play p;
    struct mda_batch *b;
    struct mda_result r[4];
    mda_play_begin(&p);
    p.config.lock_wait_ms = 100;
    mda_play_write(&p, "busy.lock", S("1:some.other.host\n"));
    struct mda_message m = mda_play_message(MAIL);
    struct mechanism busy = parse("mbox:~/busy"), open = parse("mbox:~/open");
    assert_int_equal(mda_batch_new(&p.config, &b), 0);
    mda_batch_add(b, &m, &busy, &r[0]);
    mda_batch_add(b, &m, &open, &r[1]);
    mda_batch_add(b, &m, &busy, &r[2]);
    mda_batch_finish(b);
    assert_int_equal(r[1].outcome, MDA_DELIVERED);
    for (size_t i = 0; i < 3; i += 2) {
        assert_int_equal(r[i].outcome, MDA_DEFERRED);
        assert_true(mda_play_says(&r[i], "busy.lock of process 1 of another host, still after 0 s"));
    }
    mda_play_is(mda_play_read(&p, "busy"), "");
    /* it goes away before the end */
    mda_batch_add(b, &m, &busy, &r[0]);
    mda_batch_add(b, &m, &busy, &r[2]);
    assert_int_equal(unlink(mda_play_path(&p, "busy.lock")), 0);
    mda_batch_finish(b);
    assert_int_equal(r[0].outcome, MDA_DELIVERED);
    assert_int_equal(r[2].outcome, MDA_DELIVERED);
    mda_play_is(mda_play_read(&p, "busy"), MBOX MBOX);
    mda_batch_free(b);
    close(m.fd);
    mda_play_end(&p);
}

static void test_not_finished_is_undone(void **state)
{
    (void)state;
    struct mda_play p;
    struct mda_batch *b;
    struct mda_result r[2];
    mda_play_begin(&p);
    struct mda_message m = mda_play_message(MAIL);
    struct mechanism mbox = parse("mbox:~/a"), maildir = parse("maildir:~/M");
    mda_play_write(&p, "a", S(MBOX));
    assert_int_equal(mda_batch_new(&p.config, &b), 0);
    mda_batch_add(b, &m, &mbox, &r[0]);
    mda_batch_add(b, &m, &maildir, &r[1]);
    mda_batch_free(b);
    mda_batch_free(NULL);
    close(m.fd);
    mda_play_is(mda_play_read(&p, "a"), MBOX);
    assert_int_equal(count(&p, "M/new") + count(&p, "M/tmp"), 0);
    mda_play_end(&p);
}

static void test_stdout(void **state)
{
    (void)state;
    struct mda_play p;
    struct mda_result r;
    int ends[2];
    char text[1000];
    mda_play_begin(&p);
    mda_play_deliver(&p, MAIL, "stdout", &r);
    assert_int_equal(r.outcome, MDA_DEFERRED);
    assert_int_equal(pipe(ends), 0);
    p.config.stdout_fd = ends[1];
    mda_play_deliver(&p, MAIL, "stdout", &r);
    assert_int_equal(r.outcome, MDA_DELIVERED);
    assert_int_equal(read(ends[0], text, sizeof(text)), sizeof(MBOX) - 1);
    assert_memory_equal(text, MBOX, sizeof(MBOX) - 1);
    close(ends[0]);
    close(ends[1]);
    p.config.stdout_fd = open("/dev/full", O_WRONLY);
    mda_play_deliver(&p, MAIL, "stdout", &r);
    assert_int_equal(r.outcome, MDA_DEFERRED);
    assert_string_equal(r.status, "4.3.1");
    close(p.config.stdout_fd);
    mda_play_end(&p);
}

static void test_result_text_is_safe(void **state)
{
    (void)state;
    struct mda_result r;
    mda_result_set(&r, MDA_DEFERRED, 451, "4.2.0", "a\nb\x7f" "c\xff" "d \xc3\xa9 \xc2\x85");
    assert_string_equal(r.text, "a?b?c?d \xc3\xa9 ??");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_mixed),
        cmocka_unit_test(test_one_that_fails_harms_no_other),
        cmocka_unit_test(test_locked_mbox_is_put_aside),
        cmocka_unit_test(test_not_finished_is_undone),
        cmocka_unit_test(test_stdout),
        cmocka_unit_test(test_result_text_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
