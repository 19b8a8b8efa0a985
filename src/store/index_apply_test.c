/* What each journal record does to the index, doing it twice, gaps. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_applies),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_unknown_mailbox),
    };
    return cmocka_run_group_tests_name("index_apply", tests, NULL, NULL);
}
