/* Records about mailboxes after others were lost, and applied twice: nothing is lost with them, and the index stays
 * one that agrees with itself. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/index.h"

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

static void create(struct index *ix, uint64_t id, str name)
{
    apply(ix, (struct journal_record){ .kind = JOURNAL_mailbox_created, .mailbox_created = {
        .id = id, .account = S("a"), .name = name, .uidvalidity = 1 } });
}

/* A store with mailbox 1, that has messages 1 to 3. */
static struct index *begin(void)
{
    struct index *ix;
    lsn = 0;
    assert_int_equal(index_open_temporary(&ix), 0);
    create(ix, 1, S("INBOX"));
    for (uint32_t uid = 1; uid <= 3; uid++) {
        struct journal_placement p = { .mailbox = 1, .uid = uid, .account = S("a"), .prefix = S("P\r\n") };
        apply(ix, (struct journal_record){ .kind = JOURNAL_delivered, .delivered = {
            .log = S("in"), .segment = 1, .offset = 64 + 100 * (uid - 1), .end = 164 + 100 * (uid - 1),
            .content_len = 10, .placed = &p, .n_placed = 1 } });
    }
    return ix;
}

static struct index_mailbox box(struct index *ix, uint64_t id)
{
    struct index_mailbox m;
    assert_int_equal(index_mailbox_get(ix, id, &m), 1);
    return m;
}

static struct journal_record copied(uint64_t from, uint64_t to, bool move, const struct journal_run *run)
{
    return (struct journal_record){ .kind = JOURNAL_copied, .copied = { .from = from, .to = to, .move = move,
                                                                        .runs = run, .n_runs = 1 } };
}

static void test_copies(void **state)
{
    (void)state;
    struct index *ix = begin();
    struct index_mailbox m;
    static const struct journal_run all = { 1, 1, 3 }, some = { 2, 9, 4 };
    apply(ix, copied(1, 77, true, &all)); /* the record that made 77 was lost: nothing leaves */
    assert_int_equal(box(ix, 1).messages, 3);
    assert_int_equal(index_state(ix)->last_mailbox, 77); /* and its number is not given again */
    apply(ix, copied(78, 1, false, &all));
    assert_int_equal(box(ix, 1).uidnext, 4);
    create(ix, 5, S("b"));
    apply(ix, copied(1, 5, true, &some)); /* only two of four are there; no UID of the others is given again */
    m = box(ix, 5);
    assert_true(m.messages == 2 && m.uidnext == 13 && m.unseen == 2 && m.bytes == 26 && m.modseq == lsn);
    m = box(ix, 1);
    assert_true(m.messages == 1 && m.n_recent == 1 && m.modseq == lsn && index_state(ix)->messages == 3);
    index_close(ix);
}

static void test_names(void **state)
{
    (void)state;
    struct index *ix = begin();
    struct index_mailbox m;
    create(ix, 5, S("b"));
    create(ix, 6, S("b")); /* the deletion of 5 was lost: it stays */
    assert_int_equal(index_state(ix)->mailboxes, 2);
    create(ix, 7, S("c"));
    const struct journal_rename list[] = { { 7, S("b") }, { 99, S("d") }, { 5, S("e") }, { 7, S("b") } };
    apply(ix, (struct journal_record){ .kind = JOURNAL_mailbox_renamed, .mailbox_renamed = { list, 4 } });
    assert_int_equal(index_mailbox_named(ix, S("a"), S("e"), &m), 1);
    assert_int_equal(m.id, 5);
    assert_int_equal(index_mailbox_named(ix, S("a"), S("b"), &m), 1);
    assert_int_equal(m.id, 7);
    apply(ix, (struct journal_record){ .kind = JOURNAL_mailbox_deleted, .mailbox_deleted = { .id = 99 } });
    apply(ix, (struct journal_record){ .kind = JOURNAL_mailbox_deleted, .mailbox_deleted = { .id = 1 } });
    apply(ix, (struct journal_record){ .kind = JOURNAL_mailbox_deleted, .mailbox_deleted = { .id = 1 } });
    assert_true(index_state(ix)->mailboxes == 2 && index_state(ix)->messages == 0);
    struct index_segment g = { 0 };
    assert_int_equal(index_segment_next(ix, &g), 1);
    assert_true(g.dead > 0 && !g.used);
    index_close(ix);
}

static void test_flags(void **state)
{
    (void)state;
    struct index *ix = begin();
    char names[70][8];
    str words[70], have[INDEX_KEYWORDS];
    struct arena a = ARENA(1 << 16);
    struct index_flags f;
    static const struct journal_uids uids[] = { { 2, UINT32_MAX }, { 1, 2 } }; /* overlapping, out of order */
    for (size_t i = 0; i < 70; i++)
        words[i] = str_of(names[i], (size_t)snprintf(names[i], sizeof(names[i]), "k%zu", i));
    struct journal_record r = { .kind = JOURNAL_flagged, .flagged = {
        .mailbox = 1, .op = FLAG_ADD, .system = 0xffff, .keywords = words, .n_keywords = 70, .uids = uids,
        .n_uids = 2 } };
    apply(ix, r);
    assert_int_equal(index_keywords(ix, &a, 1, have), 64); /* more have no room */
    assert_int_equal(index_flags_in(ix, 1, 2, 2, &f, 1), 1);
    assert_true(f.flags == MESSAGE_FLAGS && f.keywords == UINT64_MAX && f.modseq == lsn && f.size == 13);
    struct index_mailbox m = box(ix, 1);
    assert_true(m.unseen == 0 && m.deleted == 3 && m.deleted_bytes == 39);
    r.flagged.mailbox = 99; /* and no keyword of a mailbox that is gone */
    apply(ix, r);
    assert_int_equal(index_keywords(ix, &a, 99, have), 0);
    arena_done(&a);
    index_close(ix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
