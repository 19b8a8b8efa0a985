/* The tree of mailboxes: order, levels that are none, what is below. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "access/folder_tree.h"

static void add(struct folder_tree *t, uint64_t id, const char *name, bool subscribed, uint8_t use)
{
    folder_tree_add(t, &(struct store_folder){ .id = id, .name = str_z(name), .subscribed = subscribed, .use = use });
}

/* "name" then e, s, u for what is below and ! for a level, all in a line. */
static void expect(const struct folder_tree *t, const char *want)
{
    _cleanup_buf_ struct buf got = BUF(4096);
    for (size_t i = 0; i < t->n; i++) {
        const struct folder *f = &t->folders[i];
        buf_addf(&got, "%s%.*s%s%s%s%s", i ? " " : "", STR_ARG(f->row.name), f->row.id ? "" : "!",
                 f->exists_below ? ":e" : "", f->subscribed_below ? ":s" : "", f->used_below ? ":u" : "");
    }
    if (!str_eq(buf_str(&got), str_z(want)))
        fail_msg("got %.*s", STR_ARG(buf_str(&got)));
}

static void test_levels_and_order(void **state)
{
    (void)state;
    struct folder_tree t;
    folder_tree_init(&t);
    add(&t, 1, "a", false, 0);
    add(&t, 2, "a-b", false, 0);
    add(&t, 3, "a/b/c", true, 0);
    add(&t, 4, "INBOX", true, 0);
    add(&t, 0, "gone/away", true, 0);
    add(&t, 5, "x/y", false, 3);
    add(&t, 6, "a/b", false, 0);
    add(&t, 7, "a/b.c/d", false, 0);
    assert_int_equal(folder_tree_finish(&t), 0);
    expect(&t, "INBOX a:e:s a/b:e:s a/b/c a/b.c!:e a/b.c/d a-b gone!:s gone/away! x!:e:u x/y");
    folder_tree_done(&t);
}

static void test_none(void **state)
{
    (void)state;
    struct folder_tree t;
    folder_tree_init(&t);
    assert_int_equal(folder_tree_finish(&t), 0);
    assert_int_equal(t.n, 0);
    folder_tree_done(&t);
}

static void test_names_are_copied_and_deep_ones_bounded(void **state)
{
    (void)state;
    struct folder_tree t;
    char name[1001];
    folder_tree_init(&t);
    for (size_t i = 0; i < 1000; i++)
        name[i] = i % 2 ? '/' : 'a';
    name[999] = 0;
    add(&t, 1, name, false, 0);
    memset(name, 'z', 999);
    assert_int_equal(folder_tree_finish(&t), 0);
    assert_int_equal(t.n, 500);
    assert_true(str_starts(t.folders[499].row.name, S("a/a/")));
    folder_tree_done(&t);
    folder_tree_init(&t);
    for (int i = 0; i < 3000; i++) { /* 250 levels of its own each */
        for (size_t k = 0; k < 1000; k++)
            name[k] = k % 4 == 3 ? '/' : 'a';
        name[999] = 0;
        snprintf(name, sizeof(name), "%03d", i % 1000);
        name[3] = (char)('0' + i / 1000);
        add(&t, 1, name, false, 0);
    }
    int r = folder_tree_finish(&t);
    assert_true(r == -ENOMEM || t.n <= 400000);
    folder_tree_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_and_order),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_names_are_copied_and_deep_ones_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
