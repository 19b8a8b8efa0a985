/* Which messages have no card of their own, and what becomes of those made for them. */
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
    assert_int_equal(index_commit(ix), 0);
}

/* A message at `offset` of segment 1 of log "in", in mailboxes 5 to 5 + boxes - 1 with that UID. */
static void deliver(struct index *ix, uint64_t offset, uint32_t uid, bool no_card, size_t boxes)
{
    struct journal_placement place[2];
    for (size_t i = 0; i < boxes; i++)
        place[i] = (struct journal_placement){ .mailbox = 5 + i, .uid = uid, .account = S("a"), .prefix = S("P\r\n") };
    apply(ix, (struct journal_record){
        .kind = JOURNAL_delivered,
        .delivered = { .log = S("in"), .segment = 1, .offset = offset, .end = offset + 100, .content_len = uid * 10,
                       .session = "0123456789abcde", .number = uid, .no_card = no_card,
                       .placed = place, .n_placed = boxes } });
}

static struct index *open_index(void)
{
    struct index *ix;
    lsn = 0;
    assert_int_equal(index_open_temporary(&ix), 0);
    for (uint64_t id = 5; id < 7; id++)
        apply(ix, (struct journal_record){ .kind = JOURNAL_mailbox_created,
                                           .mailbox_created = { .id = id, .account = id == 5 ? S("a") : S("b"),
                                                                .name = S("INBOX"), .uidvalidity = 1000 } });
    return ix;
}

static int set(struct index *ix, str log, uint64_t segment, uint64_t offset, str card)
{
    assert_int_equal(index_begin(ix), 0);
    int r = index_card_set(ix, log, (struct log_position){ segment, offset }, card);
    assert_int_equal(index_commit(ix), 0);
    return r;
}

/* The card at that place, "-" if one is wanted, "" if neither. */
static const char *card_at(struct index *ix, str log, uint64_t segment, uint64_t offset)
{
    static char text[64];
    struct buf b = BUF(sizeof(text) - 1);
    bool wanted;
    int r = index_card_get(ix, log, (struct log_position){ segment, offset }, &wanted, &b);
    assert_true(r == 0 || r == 1);
    snprintf(text, sizeof(text), "%.*s", STR_ARG(r ? buf_str(&b) : wanted ? S("-") : S("")));
    buf_done(&b);
    return text;
}

static void expunge(struct index *ix, uint64_t mailbox, uint32_t uid)
{
    apply(ix, (struct journal_record){ .kind = JOURNAL_expunged,
                                       .expunged = { .mailbox = mailbox, .uids = &uid, .n = 1, .at_us = 1 } });
}

static void test_in_their_order(void **state)
{
    (void)state;
    struct index_cardless c;
    struct index *ix = open_index();
    assert_int_equal(index_card_wanted(ix, &c), 0);
    deliver(ix, 64, 1, false, 1);
    assert_int_equal(index_card_wanted(ix, &c), 0);
    deliver(ix, 164, 2, true, 2);
    deliver(ix, 264, 3, true, 1);
    deliver(ix, 364, 4, true, 0); /* in no mailbox: nobody asks for it */
    for (uint32_t n = 2; n < 4; n++) {
        uint64_t offset = n * 100 - 36;
        assert_int_equal(index_card_wanted(ix, &c), 1);
        assert_true(str_eq(c.log, S("in")) && c.at.segment == 1 && c.at.offset == offset);
        assert_int_equal(c.content_len, n * 10);
        assert_memory_equal(c.session, "0123456789abcde", 16);
        assert_int_equal(c.number, n);
        assert_string_equal(card_at(ix, S("in"), 1, offset), "-");
        assert_int_equal(set(ix, S("in"), 1, offset, S("card")), 1);
        assert_int_equal(set(ix, S("in"), 1, offset, S("another")), 0);
        assert_string_equal(card_at(ix, S("in"), 1, offset), "card");
    }
    assert_int_equal(index_card_wanted(ix, &c), 0);
    assert_int_equal(set(ix, S("in"), 1, 64, S("card")), 0);
    assert_int_equal(set(ix, S("out"), 1, 164, S("card")), 0);
    assert_string_equal(card_at(ix, S("in"), 1, 64), "");
    assert_string_equal(card_at(ix, S("out"), 1, 164), "");
    index_close(ix);
}

static void test_they_go_and_move_with_the_message(void **state)
{
    (void)state;
    struct index_cardless c;
    struct index *ix = open_index();
    deliver(ix, 64, 1, true, 2);
    deliver(ix, 164, 2, true, 2);
    deliver(ix, 264, 3, true, 1);
    assert_int_equal(set(ix, S("in"), 1, 64, S("one")), 1);
    assert_int_equal(set(ix, S("in"), 1, 164, S("two")), 1);
    expunge(ix, 5, 1);
    assert_string_equal(card_at(ix, S("in"), 1, 64), "one"); /* the other mailbox has it */
    expunge(ix, 6, 1);
    assert_string_equal(card_at(ix, S("in"), 1, 64), "");
    const struct journal_move moves[] = { { 5, 2, 164, 64, 100 }, { 6, 2, 164, 64, 100 }, { 5, 3, 264, 164, 100 } };
    apply(ix, (struct journal_record){ .kind = JOURNAL_relocated,
                                       .relocated = { .log = S("in"), .segment = 1, .to_log = S("store"),
                                                      .to_segment = 9, .end = 264, .moves = moves, .n = 3 } });
    assert_string_equal(card_at(ix, S("in"), 1, 164), "");
    assert_string_equal(card_at(ix, S("store"), 9, 64), "two");
    assert_int_equal(index_card_wanted(ix, &c), 1);
    assert_true(str_eq(c.log, S("store")) && c.at.segment == 9 && c.at.offset == 164 && c.content_len == 30);
    expunge(ix, 5, 3);
    assert_int_equal(index_card_wanted(ix, &c), 0);
    index_close(ix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_their_order),
        cmocka_unit_test(test_they_go_and_move_with_the_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
