/* Journal records: each kind comes back as it was; what is broken, or of a newer version, is told apart. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "store/journal_record.h"

static const struct journal_placement placed[] = {
    { .mailbox = 4, .uid = 17, .account = { "anna@example.org", 16 }, .prefix = { "P: 1\r\n", 6 } },
    { .mailbox = UINT64_MAX, .uid = UINT32_MAX, .account = { "b", 1 }, .prefix = { "", 0 }, .recipient = { "c@d", 3 },
      .reason = { "gone", 4 } },
};
static const struct journal_unplaced unplaced[] = { { .recipient = { "x@y", 3 }, .reason = { "why", 3 } } };
static const uint32_t uids[] = { 1, 5, UINT32_MAX };
static const struct journal_move moves[] = { { 1, 2, 64, 128, 1000 }, { UINT64_MAX, UINT32_MAX, 8000, 1128, 72 } };

static const struct journal_record samples[] = {
    { .kind = JOURNAL_mailbox_created, .mailbox_created = { .id = 9, .account = { "a@b", 3 }, .name = { "INBOX", 5 },
                                                            .uidvalidity = 123 } },
    { .kind = JOURNAL_delivered, .delivered = { .log = { "in", 2 }, .segment = 3, .offset = 64, .end = 1000,
                                                .content_len = 800, .meta_len = 70, .received_us = 5,
                                                .session = "0123456789abcde", .number = 2,
                                                .again = true, .no_card = true, .placed = placed, .n_placed = 2, .unplaced = unplaced,
                                                .n_unplaced = 1 } },
    { .kind = JOURNAL_skipped, .skipped = { .log = { "in", 2 }, .segment = 3, .offset = 64, .end = 72,
                                            .reason = { "why", 3 } } },
    { .kind = JOURNAL_sealed, .sealed = { .log = { "in", 2 }, .segment = 3, .end = 72 } },
    { .kind = JOURNAL_expunged, .expunged = { .mailbox = 1, .uids = uids, .n = 3, .at_us = 1764000000000000 } },
    { .kind = JOURNAL_relocated, .relocated = { .log = { "smtp-in", 7 }, .segment = 7, .to_log = { "store", 5 },
                                                .to_segment = 2, .end = 4096, .moves = moves, .n = 2 } },
    { .kind = JOURNAL_jumped, .jumped = { .by = 1 << 20 } },
};

static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        struct arena a = ARENA(1 << 20);
        struct buf b = BUF(1 << 16), c = BUF(1 << 16);
        struct journal_record r;
        assert_int_equal(journal_record_encode(&b, &samples[i]), 0);
        assert_int_equal(journal_record_decode(&a, buf_str(&b), 55, &r), 0);
        assert_int_equal(r.kind, samples[i].kind);
        assert_int_equal(r.lsn, 55);
        assert_int_equal(journal_record_encode(&c, &r), 0);
        assert_true(str_eq(buf_str(&b), buf_str(&c)));
        for (size_t n = 0; n < b.n; n++) {
            bool first_version = samples[i].kind == JOURNAL_expunged && n == b.n - 8; /* had no time at its end */
            assert_int_equal(journal_record_decode(&a, str_of(b.p, n), 1, &r), first_version ? 0 : -EBADMSG);
            assert_true(!first_version || (r.expunged.n == 3 && r.expunged.at_us == 0));
        }
        buf_addc(&b, 0);
        assert_int_equal(journal_record_decode(&a, buf_str(&b), 1, &r), -EBADMSG);
        buf_done(&b);
        buf_done(&c);
        arena_done(&a);
    }
}

static void test_delivered(void **state)
{
    (void)state;
    struct arena a = ARENA(1 << 20);
    struct buf b = BUF(1 << 16);
    struct journal_record r;
    assert_int_equal(journal_record_encode(&b, &samples[1]), 0);
    assert_int_equal(journal_record_decode(&a, buf_str(&b), 1, &r), 0);
    const struct journal_delivered *d = &r.delivered, *want = &samples[1].delivered;
    assert_true(d->segment == 3 && d->offset == 64 && d->end == 1000 && d->content_len == 800 && d->meta_len == 70 &&
                d->again && d->no_card);
    assert_memory_equal(d->session, want->session, 16);
    assert_int_equal(d->n_placed, 2);
    assert_true(d->placed[1].mailbox == UINT64_MAX && d->placed[1].uid == UINT32_MAX);
    assert_true(str_eq(d->placed[1].reason, S("gone")) && str_eq(d->placed[1].recipient, S("c@d")) &&
                d->placed[0].recipient.n == 0);
    assert_true(str_eq(d->placed[0].prefix, S("P: 1\r\n")) && str_eq(d->placed[0].account, S("anna@example.org")));
    assert_true(str_eq(d->unplaced[0].reason, S("why")));
    buf_done(&b);
    arena_done(&a);
}

static void test_other_kinds(void **state)
{
    (void)state;
    struct arena a = ARENA(1 << 20);
    struct journal_record r;
    assert_int_equal(journal_record_decode(&a, S("\x70 later"), 1, &r), -EPROTO);
    assert_int_equal(journal_record_decode(&a, S("\x90 later"), 1, &r), -ENOENT);
    assert_int_equal(journal_record_decode(&a, S("\0"), 1, &r), -EPROTO);
    assert_int_equal(journal_record_decode(&a, S(""), 1, &r), -EBADMSG);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_delivered),
        cmocka_unit_test(test_other_kinds),
    };
    return cmocka_run_group_tests_name("journal_record", tests, NULL, NULL);
}
