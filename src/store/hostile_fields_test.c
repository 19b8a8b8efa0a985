/* Bytes that end a line, a word or a string in other formats, in every text of a record: what is read is what was
 * written, and one record stays one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/journal_record.h"
#include "store/message_record.h"

static const str hostile[] = {
    S("\r\n"), S("\n"), S("\t"), S("\0"), S("\xff"), S("\xff\xff\xff\xff"), S("\x82\0\0\0\x10"), S("a\0b"),
    S("a\nkey=value\r\n\r\n"),
    S("x' OR 1=1;--"), S("\x1b[2J\x07"), S(""), S(" "), S("\xe2\x80\xae"), S("\\n\\0"), S("\0\0\0\0\0\0\0\0\0"),
};

static void test_message_records(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        str h = hostile[i];
        _cleanup_arena_ struct arena a = ARENA(1 << 20);
        _cleanup_buf_ struct buf b = BUF(1 << 16);
        struct record_recipient recipients[] = {
            { .address = h, .orcpt = h }, { .address = S("b@c") }, { .address = h }
        };
        struct message_record back, m = {
            .client_addr = h, .client_name = h, .helo = h, .tls = h, .account = h, .listener = h, .protocol = h,
            .sender = h, .envid = h, .card = h, .recipients = recipients, .n_recipients = ARRAY_LEN(recipients),
        };
        assert_int_equal(message_record_encode(&b, &m), 0);
        assert_int_equal(message_record_decode(&a, buf_str(&b), &back), 0);
        const str read[] = { back.client_addr, back.client_name, back.helo, back.tls, back.account, back.listener,
                             back.protocol, back.sender, back.envid, back.card };
        for (size_t k = 0; k < ARRAY_LEN(read); k++)
            assert_true(str_eq(read[k], h));
        assert_int_equal(back.n_recipients, ARRAY_LEN(recipients));
        assert_true(str_eq(back.recipients[0].address, h) && str_eq(back.recipients[0].orcpt, h));
        assert_true(str_eq(back.recipients[1].address, S("b@c")) && str_eq(back.recipients[2].address, h));
    }
}

static void round_trip(struct arena *a, const struct journal_record *r, struct journal_record *out)
{
    struct buf b = BUF(1 << 16);
    assert_int_equal(journal_record_encode(&b, r), 0);
    str copy = arena_dup(a, buf_str(&b));
    buf_done(&b);
    assert_int_equal(journal_record_decode(a, copy, 1, out), 0);
    assert_int_equal(out->kind, r->kind);
}

static void test_journal_records(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        str h = hostile[i];
        _cleanup_arena_ struct arena a = ARENA(1 << 20);
        struct journal_placement placed[] = { { .account = h, .prefix = h, .recipient = h, .reason = h },
                                              { .account = S("b"), .prefix = S("c") } };
        struct journal_unplaced unplaced[] = { { .recipient = h, .reason = h } };
        struct journal_record back, made = { .kind = JOURNAL_mailbox_created,
                                             .mailbox_created = { .account = h, .name = h } };
        struct journal_record put = { .kind = JOURNAL_delivered, .delivered = {
            .log = h, .placed = placed, .n_placed = 2, .unplaced = unplaced, .n_unplaced = 1 } };
        struct journal_record skipped = { .kind = JOURNAL_skipped, .skipped = { .log = h, .reason = h } };
        round_trip(&a, &made, &back);
        assert_true(str_eq(back.mailbox_created.account, h) && str_eq(back.mailbox_created.name, h));
        round_trip(&a, &put, &back);
        assert_true(back.delivered.n_placed == 2 && back.delivered.n_unplaced == 1 && str_eq(back.delivered.log, h));
        const struct journal_placement *p = back.delivered.placed;
        assert_true(str_eq(p[0].account, h) && str_eq(p[0].prefix, h) && str_eq(p[0].reason, h));
        assert_true(str_eq(p[0].recipient, h) && str_eq(p[1].account, S("b")) && str_eq(p[1].prefix, S("c")));
        assert_true(str_eq(back.delivered.unplaced[0].recipient, h) && str_eq(back.delivered.unplaced[0].reason, h));
        round_trip(&a, &skipped, &back);
        assert_true(str_eq(back.skipped.log, h) && str_eq(back.skipped.reason, h));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_message_records),
                                         cmocka_unit_test(test_journal_records) };
    return cmocka_run_group_tests_name("hostile_fields", tests, NULL, NULL);
}
