/* The index as a file: transactions, walking, comparing, its name on the disk. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/index.h"
#include "store/store_test_world.h"

static uint64_t lsn;

static void apply(struct index *ix, struct journal_record r)
{
    r.lsn = ++lsn;
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_apply(ix, &r), 0);
    assert_int_equal(index_apply(ix, &r), 0); /* twice is once */
    assert_int_equal(index_commit(ix), 0);
    assert_int_equal(index_state(ix)->lsn, lsn);
}

static struct journal_record created(uint64_t id, str account)
{
    return (struct journal_record){ .kind = JOURNAL_mailbox_created, .mailbox_created = { .id = id, .account = account,
                                    .name = S("INBOX"), .uidvalidity = 1000 + (uint32_t)id } };
}

static struct journal_placement place;

static struct journal_record delivered(uint64_t offset, uint64_t mailbox, uint32_t uid, bool again)
{
    place = (struct journal_placement){ .mailbox = mailbox, .uid = uid, .account = S("a"), .prefix = S("P\r\n") };
    return (struct journal_record){
        .kind = JOURNAL_delivered,
        .delivered = { .log = S("in"), .segment = 1, .offset = offset, .end = offset + 100, .content_len = 10,
                       .again = again, .placed = &place, .n_placed = 1 },
    };
}

static int count(void *arg, const struct index_message *m)
{
    uint64_t *n = arg;
    assert_true(m->prefix.n == 3 && str_eq(m->log, S("in")));
    return ++*n == 3 ? -ECANCELED : 0;
}

static void test_rollback_and_walk(void **state)
{
    (void)state;
    struct index *ix;
    struct journal_record r = delivered(64, 5, 1, false);
    lsn = 0;
    assert_int_equal(index_open_temporary(&ix), 0);
    apply(ix, created(5, S("a")));
    assert_int_equal(index_begin(ix), 0);
    r.lsn = 2;
    assert_int_equal(index_apply(ix, &r), 0);
    index_rollback(ix);
    assert_int_equal(index_state(ix)->lsn, 1);
    assert_int_equal(index_state(ix)->messages, 0);
    assert_int_equal(index_message_exists(ix, 5, 1), 0);
    for (uint32_t i = 0; i < 5; i++)
        apply(ix, delivered(64 + i * 100, 5, i + 1, false));
    uint64_t n = 0;
    assert_int_equal(index_walk(ix, 5, count, &n), -ECANCELED);
    assert_int_equal(n, 3);
    n = 10;
    assert_int_equal(index_walk(ix, 0, count, &n), 0);
    assert_int_equal(n, 15);
    index_close(ix);
}

static void difference(void *arg, str sentence)
{
    (void)sentence;
    ++*(int *)arg;
}

static void test_file_and_compare(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct index *a, *b;
    int said = 0;
    world_init(&w);
    assert_int_equal(index_open(w.fd, &a), 0);
    assert_int_equal(index_open_temporary(&b), 0);
    for (int i = 0; i < 2; i++) {
        lsn = 0;
        apply(i ? b : a, created(5, S("a")));
        apply(i ? b : a, delivered(64, 5, 1, false));
    }
    assert_int_equal(index_compare(a, b, difference, &said), 0);
    assert_int_equal(said, 0);
    apply(b, delivered(164, 5, 2, false));
    int r = index_compare(a, b, difference, &said);
    assert_int_equal(r, 4); /* meta, mailbox, message, applied */
    assert_int_equal(said, 4);
    index_close(a);
    assert_int_equal(index_open(w.fd, &a), 0);
    assert_int_equal(index_state(a)->lsn, 2);
    index_close(a);
    index_close(b);
    struct stat st;
    assert_int_equal(fstatat(w.fd, "index.db", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(index_discard(w.fd), 0);
    assert_int_equal(index_discard(w.fd), 0);
    assert_int_equal(symlinkat("/etc/passwd", w.fd, "index.db"), 0);
    assert_int_equal(index_open(w.fd, &a), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rollback_and_walk),
        cmocka_unit_test(test_file_and_compare),
    };
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
