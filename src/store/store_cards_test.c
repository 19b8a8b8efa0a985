/* Where a card comes from: the record that has one, the index for a record that had none, and what is gone. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_internal.h"
#include "store/store_test_world.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"

static struct log_position receive(struct world *w, uint32_t number, str card)
{
    static const struct record_recipient to = { .address = { "anna@example.org", 16 } };
    struct message_record m = { .session = "0123456789abcde", .number = number, .received_us = 1000000ull * number,
                                .sender = S("sender@far.example"), .recipients = &to, .n_recipients = 1, .card = card };
    _cleanup_buf_ struct buf meta = BUF(65536);
    str content = S(BODY);
    struct log_position at;
    uint64_t ticket;
    assert_int_equal(message_record_encode(&meta, &m), 0);
    assert_int_equal(receive_log_append(w->log, &content, 1, buf_str(&meta), &ticket, &at), 0);
    deliver_all(w, ticket);
    return at;
}

static void has(struct world *w, struct log_position at, int expected, str card)
{
    _cleanup_buf_ struct buf out = BUF(65536);
    assert_int_equal(store_card(w->store, S("in"), at, &out), expected);
    assert_int_equal(out.n, card.n);
    if (card.n)
        assert_memory_equal(out.p, card.p, card.n);
}

static void test_record_and_index(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct store_cardless lacks;
    world_init(&w);
    world_begin(&w);
    struct log_position first = receive(&w, 1, S("a card")), second = receive(&w, 2, STR_NONE);
    has(&w, first, 1, S("a card"));
    has(&w, second, 0, STR_NONE);
    assert_int_equal(store_cardless(w.store, &lacks), 1);
    assert_int_equal(lacks.position.offset, second.offset);
    assert_int_equal(lacks.content_len, sizeof(BODY) - 1);
    assert_int_equal(lacks.number, 2);
    assert_int_equal(store_card_set(w.store, S("in"), second, S("made later")), 1);
    has(&w, second, 1, S("made later"));
    assert_int_equal(store_card_set(w.store, S("in"), second, S("once more")), 0);
    assert_int_equal(store_cardless(w.store, &lacks), 0);
}

static void test_gone(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    struct log_position at = receive(&w, 1, S("a card"));
    at.segment += 7;
    has(&w, at, -ENOENT, STR_NONE);
    at.segment -= 7;
    at.offset += 1;
    has(&w, at, -EBADMSG, STR_NONE);
    assert_int_equal(store_card_set(w.store, S("in"), at, S("for nobody")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_record_and_index), cmocka_unit_test(test_gone) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
