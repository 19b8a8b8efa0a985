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

static const struct journal_queued queued[] = {
    { .outcome = QUEUE_WAITING, .address = { "x@far.example", 13 } },
    { .outcome = QUEUE_FAILED, .owed = QUEUE_DSN_FAILED + 1, .part = 3, .notify = 6, .group = 2,
      .address = { "y@far.example", 13 }, .original = { "out@example.org", 15 }, .orcpt = { "rfc822;O@e", 10 },
      .sender = { "SRS0=a@b", 8 }, .alias = { "out@example.org", 15 }, .status = { "5.4.6", 5 },
      .text = { "loop", 4 } },
    { .outcome = QUEUE_WAITING, .address = { "bob@example.org", 15 }, .alias = { "bob@example.org", 15 },
      .via = { "forward\nmbox:~/mail", 19 }, .user = { "bob", 3 } },
    { .outcome = QUEUE_WAITING, .address = { "bob@example.org", 15 }, .via = { "stdout", 6 } },
};
static const struct journal_attempt attempts[] = {
    { .index = 7, .outcome = QUEUE_DEFERRED, .owed = QUEUE_DSN_DELAYED + 1, .part = 1, .code = 450, .attempts = 9,
      .due_us = 1764000000000000, .status = { "4.2.0", 5 }, .text = { "450 a\n450 b", 11 } },
    { .index = UINT32_MAX, .outcome = QUEUE_RELAYED, .code = 250 },
};

static const struct journal_rename renames[] = { { 4, { "a/b", 3 } }, { UINT64_MAX, { "", 0 } } };
static const str keywords[] = { { "$Junk", 5 }, { "later", 5 } };
static const struct journal_uids ranges[] = { { 1, 1 }, { 5, UINT32_MAX } };
static const struct journal_run runs[] = { { 1, 7, 3 }, { 9, 10, 1 } };

static const struct journal_record samples[] = {
    { .kind = JOURNAL_mailbox_created, .mailbox_created = { .id = 9, .account = { "a@b", 3 }, .name = { "INBOX", 5 },
                                                            .uidvalidity = 123 } },
    { .kind = JOURNAL_delivered, .delivered = { .log = { "in", 2 }, .segment = 3, .offset = 64, .end = 1000,
                                                .content_len = 800, .meta_len = 70, .received_us = 5,
                                                .session = "0123456789abcde", .number = 2,
                                                .again = true, .no_card = true, .placed = placed, .n_placed = 2,
                                                .unplaced = unplaced,
                                                .n_unplaced = 1 } },
    { .kind = JOURNAL_skipped, .skipped = { .log = { "in", 2 }, .segment = 3, .offset = 64, .end = 72,
                                            .reason = { "why", 3 } } },
    { .kind = JOURNAL_sealed, .sealed = { .log = { "in", 2 }, .segment = 3, .end = 72 } },
    { .kind = JOURNAL_expunged, .expunged = { .mailbox = 1, .uids = uids, .n = 3, .at_us = 1764000000000000 } },
    { .kind = JOURNAL_relocated, .relocated = { .log = { "smtp-in", 7 }, .segment = 7, .to_log = { "store", 5 },
                                                .to_segment = 2, .end = 4096, .moves = moves, .n = 2 } },
    { .kind = JOURNAL_jumped, .jumped = { .by = 1 << 20 } },
    { .kind = JOURNAL_delivered, .delivered = {
        .log = { "in", 2 }, .segment = 3, .offset = 64, .end = 1000, .session = "0123456789abcde",
        .queue = { .present = true, .sender = { "anna@example.org", 16 }, .envid = { "e", 1 }, .ret = 2, .body = 1,
                   .priority = 1, .smtputf8 = true, .requiretls = true, .last_resort = true, .dsn_of = 5,
                   .dsn_event = 1280, .recipients = queued, .n = 4 } } },
    { .kind = JOURNAL_attempted, .attempted = { .message = 77, .at_us = 1764000000000000, .mta = { "mx [::1]:25", 11 },
                                                .tls = { "TLS1.3", 6 }, .list = attempts, .n = 2 } },
    { .kind = JOURNAL_queue_changed, .queue_changed = { .op = QUEUE_REDIRECT, .message = 77, .at_us = 1,
                                                        .by = { "root", 4 }, .host = { "[192.0.2.1]", 11 },
                                                        .indexes = uids, .n = 3 } },
    { .kind = JOURNAL_destination_paused, .destination_paused = { .paused = true, .destination = { "far.example", 11 },
                                                                  .by = { "root", 4 }, .at_us = 2 } },
    { .kind = JOURNAL_delivered, .delivered = {
        .log = { "access", 6 }, .segment = 3, .offset = 64, .end = 1000, .session = "0123456789abcde", .placed = placed,
        .n_placed = 1, .append = { .present = true, .system = 17, .keywords = keywords, .n_keywords = 2,
                                   .date_s = -5, .zone_min = -330 } } },
    { .kind = JOURNAL_mailbox_renamed, .mailbox_renamed = { .renames = renames, .n = 2 } },
    { .kind = JOURNAL_mailbox_deleted, .mailbox_deleted = { .id = 77, .at_us = 3 } },
    { .kind = JOURNAL_subscribed, .subscribed = { .account = { "a@b", 3 }, .name = { "c", 1 }, .on = true } },
    { .kind = JOURNAL_mailbox_use, .mailbox_use = { .id = 77, .use = 6 } },
    { .kind = JOURNAL_flagged, .flagged = { .mailbox = 77, .op = FLAG_REMOVE, .system = 9, .keywords = keywords,
                                            .n_keywords = 2, .uids = ranges, .n_uids = 2 } },
    { .kind = JOURNAL_copied, .copied = { .from = 1, .to = 2, .move = true, .at_us = 4, .runs = runs, .n_runs = 2 } },
    { .kind = JOURNAL_account_prepared, .account_prepared = { .account = { "a@b", 3 } } },
    { .kind = JOURNAL_recent, .recent = { .mailbox = 77, .uid = 5 } },
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

static const struct journal_record *sample_of(enum journal_kind kind, size_t nth)
{
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        if (samples[i].kind == kind && nth-- == 0)
            return &samples[i];
    fail();
    return NULL;
}

static void test_queue(void **state)
{
    (void)state;
    struct arena a = ARENA(1 << 20);
    struct buf b = BUF(1 << 16);
    struct journal_record r;
    assert_int_equal(journal_record_encode(&b, sample_of(JOURNAL_delivered, 1)), 0);
    assert_int_equal(journal_record_decode(&a, buf_str(&b), 1, &r), 0);
    const struct journal_queue *q = &r.delivered.queue;
    assert_true(q->present && q->smtputf8 && q->requiretls && q->last_resort && q->dsn_of == 5 && q->dsn_event == 1280);
    assert_true(q->ret == 2 && q->body == 1 && q->priority == 1 && q->n == 4 && str_eq(q->envid, S("e")));
    const struct journal_queued *x = &q->recipients[1];
    assert_true(x->outcome == QUEUE_FAILED && x->owed == 1 && x->part == 3 && x->notify == 6 && x->group == 2);
    assert_true(str_eq(x->original, S("out@example.org")) && str_eq(x->sender, S("SRS0=a@b")) &&
                str_eq(x->orcpt, S("rfc822;O@e")) && str_eq(x->alias, x->original) && str_eq(x->text, S("loop")));
    assert_true(q->recipients[0].outcome == QUEUE_WAITING && q->recipients[0].original.n == 0);
    assert_true(q->recipients[0].via.n == 0 && x->via.n == 0 && x->user.n == 0);
    assert_true(str_eq(q->recipients[2].via, queued[2].via) && str_eq(q->recipients[2].user, S("bob")));
    assert_true(str_eq(q->recipients[3].via, S("stdout")) && q->recipients[3].user.n == 0);
    buf_done(&b);
    arena_done(&a);
}

static void test_mailboxes(void **state)
{
    (void)state;
    struct arena a = ARENA(1 << 20);
    struct buf b = BUF(1 << 16);
    struct journal_record r;
    assert_int_equal(journal_record_encode(&b, sample_of(JOURNAL_flagged, 0)), 0);
    assert_int_equal(journal_record_decode(&a, buf_str(&b), 1, &r), 0);
    const struct journal_flagged *f = &r.flagged;
    assert_true(f->mailbox == 77 && f->op == FLAG_REMOVE && f->system == 9 && f->n_keywords == 2 && f->n_uids == 2);
    assert_true(str_eq(f->keywords[1], S("later")) && f->uids[1].first == 5 && f->uids[1].last == UINT32_MAX);
    b.p[9] = FLAG_OPS;
    assert_int_equal(journal_record_decode(&a, buf_str(&b), 1, &r), -EBADMSG);
    buf_clear(&b);
    assert_int_equal(journal_record_encode(&b, sample_of(JOURNAL_delivered, 2)), 0);
    assert_int_equal(journal_record_decode(&a, buf_str(&b), 1, &r), 0);
    const struct journal_append *p = &r.delivered.append;
    assert_true(p->present && p->system == 17 && p->n_keywords == 2 && p->date_s == -5 && p->zone_min == -330);
    buf_clear(&b);
    /* runs that would give UIDs that there are not */
    static const struct journal_run bad[] = { { 0, 1, 1 }, { 1, 0, 1 }, { 1, 1, 0 }, { UINT32_MAX, 1, 1 },
                                              { 1, UINT32_MAX - 2, 3 } };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct journal_record c = { .kind = JOURNAL_copied, .copied = { .from = 1, .to = 2, .runs = &bad[i],
                                                                        .n_runs = 1 } };
        buf_clear(&b);
        assert_int_equal(journal_record_encode(&b, &c), 0);
        assert_int_equal(journal_record_decode(&a, buf_str(&b), 1, &r), -EBADMSG);
    }
    static const struct journal_uids backwards = { 2, 1 };
    struct journal_record g = { .kind = JOURNAL_flagged, .flagged = { .uids = &backwards, .n_uids = 1 } };
    buf_clear(&b);
    assert_int_equal(journal_record_encode(&b, &g), 0);
    assert_int_equal(journal_record_decode(&a, buf_str(&b), 1, &r), -EBADMSG);
    buf_done(&b);
    arena_done(&a);
}

static void test_attempted(void **state)
{
    (void)state;
    struct arena a = ARENA(1 << 20);
    struct buf b = BUF(1 << 16);
    struct journal_record r;
    assert_int_equal(journal_record_encode(&b, sample_of(JOURNAL_attempted, 0)), 0);
    assert_int_equal(journal_record_decode(&a, buf_str(&b), 1, &r), 0);
    const struct journal_attempt *t = r.attempted.list;
    assert_true(r.attempted.message == 77 && r.attempted.n == 2 && str_eq(r.attempted.tls, S("TLS1.3")));
    assert_true(t->index == 7 && t->outcome == QUEUE_DEFERRED && t->owed == 2 && t->part == 1 && t->code == 450);
    assert_true(t->attempts == 9 && t->due_us == 1764000000000000 && str_eq(t->text, S("450 a\n450 b")));
    assert_true(t[1].index == UINT32_MAX && t[1].outcome == QUEUE_RELAYED);
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
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_mailboxes),
        cmocka_unit_test(test_attempted),
        cmocka_unit_test(test_other_kinds),
    };
    return cmocka_run_group_tests_name("journal_record", tests, NULL, NULL);
}
