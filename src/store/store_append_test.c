/* Messages that clients appended: into the mailbox they named, as they came; else to INBOX, or kept. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/hash.h"
#include "store/cards_file.h"
#include "store/mailboxes.h"
#include "store/store_internal.h"
#include "store/store_test_world.h"

#define ANNA "anna@example.org"
#define BODY "Subject: draft\r\n\r\nhello\r\n"

static struct { /* what the hook was told last */
    uint64_t mailbox_id;
    uint32_t uid, number;
    char mailbox[64], reason[64];
    unsigned calls;
} told;

static void placed(void *arg, const struct store_placement *p)
{
    (void)arg;
    told.calls++;
    told.mailbox_id = p->mailbox_id;
    told.uid = p->uid;
    told.number = p->message->number;
    snprintf(told.mailbox, sizeof(told.mailbox), "%.*s", STR_ARG(p->mailbox));
    snprintf(told.reason, sizeof(told.reason), "%.*s", STR_ARG(p->reason));
}

static void begin(struct world *w)
{
    struct store_config c = { .data_fd = w->fd, .segment_size = w->segment_size, .env = &env_system,
                              .placed = placed, .note = world_note, .arg = w };
    if (w->log_fd < 0)
        w->log_fd = world_dir(w, "access");
    world_log(w);
    assert_int_equal(store_open(&c, &w->store), 0);
    store_set_directory(w->store, &w->directory);
    assert_int_equal(store_log_attach(w->store, S("access"), receive_log_first_segment(w->log)), 0);
    assert_int_equal(store_flush(w->store), 0);
}

static void write_content(struct world *w, const struct message_record *m, str content)
{
    _cleanup_buf_ struct buf meta = BUF(65536);
    struct log_position at, p[8];
    uint64_t ticket;
    assert_int_equal(message_record_encode(&meta, m), 0);
    assert_int_equal(receive_log_append(w->log, &content, 1, buf_str(&meta), &ticket, &at), 0);
    assert_int_equal(receive_log_flush(w->log), 0);
    wait_synced(w->log, ticket);
    int n = receive_log_progress(w->log, p, 8);
    for (int i = 0; i < n; i++)
        assert_int_equal(store_log_synced(w->store, S("access"), p[i]), 0);
}

static void write_record(struct world *w, const struct message_record *m)
{
    write_content(w, m, S(BODY));
}

static struct message_record appended(uint64_t mailbox, str account, uint32_t number)
{
    static const str keywords[] = { { "$Forwarded", 10 }, { "Work", 4 } };
    return (struct message_record){ .session = "0123456789abcde", .number = number, .received_us = 5000000,
                                    .protocol = S("APPEND"), .account = account,
                                    .append_mailbox = mailbox, .append_flags = 16 | 1 | 1u << 20,
                                    .append_keywords = keywords, .n_append_keywords = 2,
                                    .append_date_s = 1234567890, .append_zone_min = -330 };
}

static void append_one(struct world *w, const struct message_record *m)
{
    write_record(w, m);
    assert_int_equal(store_flush(w->store), 0);
}

static struct store_mailbox make(struct world *w, const char *name)
{
    struct store_mailbox box;
    assert_int_equal(store_mailbox(w->store, S(ANNA), str_z(name), &box), 0);
    return box;
}

static void check_entry(struct world *w, uint64_t mailbox, size_t i)
{
    struct snapshot s;
    struct mailbox_entry e;
    int fd;
    assert_int_equal(store_snapshot(w->store, mailbox, &fd), 0);
    assert_int_equal(snapshot_open(fd, &s), 0);
    assert_int_equal(snapshot_entry(&s, i, &e), 0);
    assert_int_equal(e.uid, i + 1);
    assert_int_equal(e.flags, 17); /* no others are known */
    assert_int_equal(e.prefix.n, 0);
    assert_int_equal(e.size, sizeof(BODY) - 1);
    assert_true(e.date_s == 1234567890 && e.date_zone_min == -330);
    assert_true(e.modseq > 0 && e.modseq <= s.modseq);
    assert_true(s.n_keywords == 2 && str_eq(s.keywords[0], S("$Forwarded")) && str_eq(s.keywords[1], S("Work")));
    assert_int_equal(e.keywords, 3);
    assert_true(str_eq(content_of(w, &e), S(BODY)));
    snapshot_close(&s);
}

static void test_into_its_mailbox(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    begin(&w);
    struct store_mailbox box = make(&w, "Drafts");
    struct message_record m = appended(box.id, S(ANNA), 1);
    memset(&told, 0, sizeof(told));
    append_one(&w, &m);
    assert_true(told.calls == 1 && told.mailbox_id == box.id && told.uid == 1 && told.number == 1);
    assert_string_equal(told.mailbox, "Drafts");
    check_entry(&w, box.id, 0);
    m.number = 2;
    append_one(&w, &m);
    check_entry(&w, box.id, 1);
    world_close(&w);
    assert_int_equal(world_check(&w), 0);
    assert_int_equal(store_rebuild(w.fd, &env_system, world_hear, &w), 0);
    begin(&w);
    check_entry(&w, box.id, 0);
    check_entry(&w, box.id, 1);
}

static void test_elsewhere(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    begin(&w);
    struct store_mailbox box = make(&w, "Drafts"), bob;
    assert_int_equal(store_mailbox(w.store, S("bob@example.org"), S("Drafts"), &bob), 0);
    struct message_record m = appended(bob.id, S(ANNA), 1); /* another's mailbox */
    append_one(&w, &m);
    assert_string_equal(told.mailbox, "INBOX");
    assert_true(told.uid == 1 && told.mailbox_id != bob.id);
    uint64_t inbox = told.mailbox_id;
    m = appended(99, S(ANNA), 2); /* none */
    append_one(&w, &m);
    assert_true(told.uid == 2 && told.mailbox_id == inbox);
    /* it is deleted while the message is on its way */
    struct journal_record gone = { .kind = JOURNAL_mailbox_deleted, .mailbox_deleted = { .id = box.id, .at_us = 1 } };
    assert_int_equal(store_stage(w.store, &gone), 0);
    m = appended(box.id, S(ANNA), 3);
    append_one(&w, &m);
    assert_true(told.uid == 3 && told.mailbox_id == inbox);
    m = appended(inbox, STR_NONE, 4); /* of nobody */
    append_one(&w, &m);
    assert_true(told.uid == 0 && told.mailbox_id == 0 && told.number == 4);
    assert_true(strlen(told.reason) > 0);
    check_entry(&w, inbox, 2);
    world_close(&w);
    assert_int_equal(world_check(&w), 0);
}

static void test_wrong_log(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    struct store_mailbox box = make(&w, "Drafts");
    const struct record_recipient to = { .address = S(ANNA) };
    struct message_record m = appended(box.id, S(ANNA), 1);
    _cleanup_buf_ struct buf meta = BUF(65536);
    struct log_position at;
    uint64_t ticket;
    str content = S(BODY);
    m.recipients = &to;
    m.n_recipients = 1;
    assert_int_equal(message_record_encode(&meta, &m), 0);
    assert_int_equal(receive_log_append(w.log, &content, 1, buf_str(&meta), &ticket, &at), 0);
    deliver_all(&w, ticket);
    assert_int_equal(w.notes, 1);
    assert_int_equal(w.placed, 0);
    world_close(&w);

    _cleanup_world_ struct world other;
    world_init(&other);
    begin(&other);
    m.append_mailbox = 0; /* role access does not deliver mail */
    memset(&told, 0, sizeof(told));
    append_one(&other, &m);
    assert_int_equal(other.notes, 1);
    assert_int_equal(told.calls, 0);
    assert_int_equal(count_in(&other, ANNA), 0);
}

/* Cards come into the files of the mailbox when somebody asks, follow a copy and end with the mailbox. */
static void expect_card(struct world *w, uint64_t mailbox, uint32_t uid, str card)
{
    _cleanup_close_ int map_fd = -1, cards_fd = -1;
    struct card_place p = { 0 };
    char bytes[64];
    if (store_cards_get(w->store, mailbox, &map_fd, &cards_fd) == 0)
        assert_int_equal(card_places_read(map_fd, uid, 1, &p), 0);
    assert_int_equal(p.length, card.n);
    if (!card.n)
        return;
    assert_int_equal(segment_pread(cards_fd, bytes, card.n, p.offset), card.n);
    assert_int_equal(p.crc, crc32c(0, card));
    assert_memory_equal(bytes, card.p, card.n);
}

static void test_cards(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct journal_run run = { .source = 1, .made = 7, .count = 2 };
    struct snapshot s;
    struct mailbox_entry e;
    struct card_place p;
    int map_fd, cards_fd;
    world_init(&w);
    begin(&w);
    struct store_mailbox box = make(&w, "Drafts"), to = make(&w, "Sent");
    struct message_record m = appended(box.id, S(ANNA), 1);
    m.card = S("its card");
    append_one(&w, &m);
    m.card = STR_NONE;
    append_one(&w, &m);
    expect_card(&w, box.id, 1, S("its card"));
    expect_card(&w, to.id, 7, STR_NONE);
    struct journal_record r = { .kind = JOURNAL_copied, .copied = { .from = box.id, .to = to.id, .at_us = 1,
                                                                    .runs = &run, .n_runs = 1 } };
    assert_int_equal(store_stage(w.store, &r), 0);
    assert_int_equal(store_flush(w.store), 0);
    expect_card(&w, box.id, 1, S("its card"));
    expect_card(&w, box.id, 2, STR_NONE);
    expect_card(&w, to.id, 7, S("its card"));
    expect_card(&w, to.id, 8, STR_NONE);
    int fd;
    assert_int_equal(store_snapshot(w.store, box.id, &fd), 0);
    assert_int_equal(snapshot_open(fd, &s), 0);
    assert_int_equal(snapshot_entry(&s, 1, &e), 0);
    assert_int_equal(store_card_set(w.store, e.log, e.position, S("made later")), 1);
    snapshot_close(&s);
    expect_card(&w, box.id, 2, S("made later"));
    expect_card(&w, to.id, 8, S("made later"));
    r = (struct journal_record){ .kind = JOURNAL_mailbox_deleted, .mailbox_deleted = { .id = to.id, .at_us = 1 } };
    assert_int_equal(store_stage(w.store, &r), 0);
    assert_int_equal(store_flush(w.store), 0);
    expect_card(&w, to.id, 7, STR_NONE);
    expect_card(&w, box.id, 1, S("its card"));
    assert_int_equal(store_watch(w.store, box.id), 0);
    assert_int_equal(store_cards_get(w.store, box.id, &map_fd, &cards_fd), 0);
    m.card = S("comes while it is open");
    append_one(&w, &m);
    expect_card(&w, box.id, 3, m.card);
    assert_int_equal(card_places_read(map_fd, 3, 1, &p), 0); /* and in the files that were handed out */
    assert_int_equal(p.length, m.card.n);
    close(map_fd);
    close(cards_fd);
}

/* Small records, which are read together, and large ones, which are not; cards of all sizes. After a restart it goes on
 * where it was. */
static void test_fill(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    static const size_t sizes[] = { 1, 100, 3000, 8191, 8192, 8193, 40000, 200, 7, 7000, 7000, 7000, 200000 };
    static char content[200000];
    int map_fd, cards_fd;
    char card[32];
    world_init(&w);
    begin(&w);
    struct store_mailbox box = make(&w, "Drafts");
    memset(content, 'x', sizeof(content));
    for (uint32_t i = 1; i <= 300; i++) {
        struct message_record m = appended(box.id, S(ANNA), i);
        snprintf(card, sizeof(card), "card %u", i);
        m.card = i % 7 ? str_z(card) : STR_NONE;
        write_content(&w, &m, str_of(content, sizes[i % ARRAY_LEN(sizes)]));
    }
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(store_cards_get(w.store, 99, &map_fd, &cards_fd), -ENOENT);
    assert_int_equal(store_cards_get(w.store, box.id, &map_fd, &cards_fd), 0);
    close(map_fd);
    close(cards_fd);
    world_close(&w);
    begin(&w);
    for (int round = 0; round < 2; round++) {
        while (store_cards_step(w.store) == 1)
            continue;
        assert_false(store_cards_filling(w.store, box.id));
        for (uint32_t i = 1; i <= 300; i++) {
            snprintf(card, sizeof(card), "card %u", i);
            expect_card(&w, box.id, i, i % 7 ? str_z(card) : STR_NONE);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_into_its_mailbox),
        cmocka_unit_test(test_elsewhere),
        cmocka_unit_test(test_wrong_log),
        cmocka_unit_test(test_cards),
        cmocka_unit_test(test_fill),
    };
    return cmocka_run_group_tests_name("store_append", tests, NULL, NULL);
}
