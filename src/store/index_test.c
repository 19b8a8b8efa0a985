/* The index: what each record does, doing it twice, gaps, transactions. */
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

static uint64_t offset_of(struct index *ix)
{
    uint64_t offset;
    bool sealed;
    assert_true(index_applied(ix, S("in"), 1, &offset, &sealed) >= 0);
    return offset;
}

static void test_applies(void **state)
{
    (void)state;
    struct index *ix;
    struct index_mailbox m;
    lsn = 0;
    assert_int_equal(index_open_temporary(&ix), 0);
    assert_int_equal(offset_of(ix), SEGMENT_HEADER_SIZE);
    apply(ix, created(5, S("a")));
    apply(ix, delivered(64, 5, 1, false));
    apply(ix, delivered(164, 5, 2, false));
    apply(ix, delivered(64, 5, 3, false)); /* the same place of the log again: nothing */
    assert_int_equal(index_mailbox_named(ix, S("a"), S("INBOX"), &m), 1);
    assert_true(m.id == 5 && m.uidvalidity == 1005 && m.uidnext == 3 && m.messages == 2);
    assert_int_equal(index_mailbox_named(ix, S("b"), S("INBOX"), &m), 0);
    assert_int_equal(index_message_exists(ix, 5, 2), 1);
    assert_int_equal(index_message_exists(ix, 5, 3), 0);
    assert_int_equal(index_message_placed(ix, 5, S("in"), (struct log_position){ 1, 164 }), 1);
    assert_int_equal(index_message_placed(ix, 5, S("in"), (struct log_position){ 2, 164 }), 0);
    assert_int_equal(offset_of(ix), 264);
    const uint32_t uids[] = { 2, 2, 77 };
    apply(ix, (struct journal_record){ .kind = JOURNAL_expunged, .expunged = { .mailbox = 5, .uids = uids, .n = 3 } });
    assert_int_equal(index_mailbox_get(ix, 5, &m), 1);
    assert_true(m.messages == 1 && m.uidnext == 3);
    apply(ix, (struct journal_record){ .kind = JOURNAL_jumped, .jumped = { .by = 1000 } });
    assert_int_equal(index_mailbox_get(ix, 5, &m), 1);
    assert_int_equal(m.uidnext, 1003);
    const struct index_state *s = index_state(ix);
    assert_true(s->messages == 1 && s->mailboxes == 1 && s->placed == 2 && s->expunged == 1 && s->gaps == 0);
    assert_true(s->last_mailbox == 5 && s->last_uidvalidity == 1005);
    index_close(ix);
}

static void test_gaps(void **state)
{
    (void)state;
    struct index *ix;
    struct index_gap gap;
    lsn = 0;
    assert_int_equal(index_open_temporary(&ix), 0);
    apply(ix, created(5, S("a")));
    apply(ix, delivered(364, 5, 4, false)); /* three records before it were lost */
    assert_int_equal(index_gap(ix, &gap), 1);
    assert_true(str_eq(gap.log, S("in")) && gap.segment == 1 && gap.from == 64 && gap.to == 364);
    apply(ix, delivered(164, 5, 5, true)); /* the one in the middle */
    assert_int_equal(index_state(ix)->gaps, 2);
    apply(ix, delivered(164, 5, 6, true)); /* filled already */
    apply(ix, delivered(64, 5, 7, true));
    assert_int_equal(index_gap(ix, &gap), 1);
    assert_true(gap.from == 264 && gap.to == 364);
    apply(ix, (struct journal_record){ .kind = JOURNAL_skipped,
                                       .skipped = { .log = S("in"), .segment = 1, .offset = 264, .end = 364,
                                       .again = true, .reason = S("x") } });
    assert_int_equal(index_gap(ix, &gap), 0);
    assert_int_equal(index_state(ix)->messages, 3);
    assert_int_equal(offset_of(ix), 464);
    /* sealed behind what was accounted for */
    apply(ix, (struct journal_record){ .kind = JOURNAL_sealed,
                                       .sealed = { .log = S("in"), .segment = 1, .end = 600 } });
    assert_int_equal(index_gap(ix, &gap), 1);
    assert_true(gap.from == 464 && gap.to == 600);
    uint64_t offset;
    bool sealed;
    assert_int_equal(index_applied(ix, S("in"), 1, &offset, &sealed), 1);
    assert_true(sealed && offset == 600);
    index_close(ix);
}

static void test_unknown_mailbox(void **state)
{
    (void)state;
    struct index *ix;
    struct index_gap gap;
    lsn = 0;
    assert_int_equal(index_open_temporary(&ix), 0);
    apply(ix, delivered(64, 9, 1, false));
    apply(ix, delivered(164, 9, 2, false));
    assert_int_equal(index_state(ix)->messages, 0);
    assert_int_equal(index_state(ix)->last_mailbox, 9); /* that id is never given out again */
    assert_int_equal(index_gap(ix, &gap), 1);
    assert_true(gap.from == 64 && gap.to == 264); /* side by side: one gap */
    index_close(ix);
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
        cmocka_unit_test(test_applies),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_unknown_mailbox),
        cmocka_unit_test(test_rollback_and_walk),
        cmocka_unit_test(test_file_and_compare),
    };
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
