/* The meta part of a message: everything comes back, and nothing broken is taken. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/pack.h"
#include "store/message_record.h"

static const struct record_recipient recipients[] = {
    { .address = { "anna@example.org", 16 }, .orcpt = { "rfc822;Anna@x", 13 }, .notify = 3, .verdict = 1 },
    { .address = { "", 0 } },
    { .address = { "b\0\r\n@example.org", 16 } },
};

static const str keywords[] = { { "$Forwarded", 10 }, { "", 0 } };
static const str passed[] = { { "out@example.org", 15 }, { "", 0 } };

static struct message_record sample(void)
{
    return (struct message_record){
        .session = "0123456789abcde", .number = 77, .received_us = 1234567890123456ull, .client_addr = S("2001:db8::1"),
        .client_name = S("mx.far.example"), .helo = S("[weird\"\n\0helo]"), .tls = S("TLSv1.3 x"),
        .account = S("anna@example.org"), .listener = S("submission"), .protocol = S("ESMTPSA"),
        .sender = S("s@far.example"), .envid = S("QQ+3D"), .ret = 1, .body = 1, .priority = 9, .smtputf8 = true,
        .requiretls = true, .native = true, .generation = UINT64_MAX, .recipients = recipients, .n_recipients = 3,
        .card = S("\0\0card\0"), .dsn_of = 12, .dsn_event = 3073, .delivered_to = passed, .n_delivered_to = 2,
        .append_mailbox = 1ull << 40, .append_flags = 31, .append_keywords = keywords, .n_append_keywords = 2,
        .append_date_s = -7, .append_zone_min = -720,
    };
}

static void test_round_trip(void **state)
{
    (void)state;
    struct arena a = ARENA(1 << 20);
    struct buf b = BUF(1 << 16);
    struct message_record m = sample(), back;
    assert_int_equal(message_record_encode(&b, &m), 0);
    assert_int_equal(message_record_decode(&a, buf_str(&b), &back), 0);
    assert_memory_equal(back.session, m.session, 16);
    assert_int_equal(back.number, 77);
    assert_int_equal(back.received_us, m.received_us);
    assert_true(back.generation == UINT64_MAX && back.smtputf8 && back.requiretls && back.native);
    assert_true(back.ret == 1 && back.body == 1 && back.priority == 9);
    assert_true(str_eq(back.client_addr, m.client_addr) && str_eq(back.client_name, m.client_name) &&
                str_eq(back.helo, m.helo));
    assert_true(str_eq(back.tls, m.tls) && str_eq(back.account, m.account) && str_eq(back.listener, m.listener));
    assert_true(str_eq(back.protocol, m.protocol) && str_eq(back.sender, m.sender) && str_eq(back.envid, m.envid));
    assert_true(str_eq(back.card, m.card));
    assert_true(back.dsn_of == 12 && back.dsn_event == 3073 && back.n_delivered_to == 2);
    assert_true(str_eq(back.delivered_to[0], passed[0]) && back.delivered_to[1].n == 0);
    assert_true(back.append_mailbox == 1ull << 40 && back.append_flags == 31 && back.n_append_keywords == 2);
    assert_true(back.append_date_s == -7 && back.append_zone_min == -720);
    assert_true(str_eq(back.append_keywords[0], keywords[0]) && back.append_keywords[1].n == 0);
    assert_int_equal(back.n_recipients, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(str_eq(back.recipients[i].address, recipients[i].address));
        assert_true(str_eq(back.recipients[i].orcpt, recipients[i].orcpt));
        assert_int_equal(back.recipients[i].notify, recipients[i].notify);
        assert_int_equal(back.recipients[i].verdict, recipients[i].verdict);
    }
    for (size_t n = 0; n < b.n; n++) /* a cut one is never whole */
        assert_int_equal(message_record_decode(&a, str_of(b.p, n), &back), -EBADMSG);
    buf_addc(&b, 'x');
    assert_int_equal(message_record_decode(&a, buf_str(&b), &back), -EBADMSG);
    buf_done(&b);
    arena_done(&a);
}

static void field(struct buf *b, uint8_t tag, str value)
{
    pack_u8(b, tag);
    pack_str(b, value);
}

static int with_field(uint8_t tag, str value, int times)
{
    struct arena a = ARENA(1 << 20);
    struct buf b = BUF(1 << 16), c = BUF(1 << 16);
    struct message_record m = sample(), back = { .number = 5 };
    assert_int_equal(message_record_encode(&b, &m), 0);
    while (times--)
        field(&c, tag, value);
    buf_add(&c, buf_str(&b));
    int r = message_record_decode(&a, buf_str(&c), &back);
    if (r < 0)
        assert_int_equal(back.number, 5); /* untouched */
    buf_done(&b);
    buf_done(&c);
    arena_done(&a);
    return r;
}

static void test_other_fields(void **state)
{
    (void)state;
    assert_int_equal(with_field(0x7a, S("of a later version"), 1), 0);
    assert_int_equal(with_field(0x7a, S("twice"), 2), -EBADMSG);
    assert_int_equal(with_field(0xfa, S("must be understood"), 1), -EBADMSG);
    assert_int_equal(with_field(0x10, S("client address, twice"), 1), -EBADMSG);
    assert_int_equal(with_field(0x84, S("an append, twice"), 1), -EBADMSG);
    assert_int_equal(with_field(0x81, S("fixed field of another length"), 1), -EBADMSG);
}

static void test_count_is_not_trusted(void **state)
{
    (void)state;
    struct arena a = ARENA(1 << 16);
    struct buf b = BUF(1 << 16), list = BUF(64);
    struct message_record back;
    pack_u32(&list, UINT32_MAX);
    pack_u64(&list, 0);
    field(&b, 0x82, buf_str(&list));
    field(&b, 0xff, S("."));
    assert_int_equal(message_record_decode(&a, buf_str(&b), &back), -EBADMSG);
    assert_int_equal(a.used, 0);
    buf_done(&b);
    buf_done(&list);
    arena_done(&a);
}

static void test_ceilings(void **state)
{
    (void)state;
    struct message_record m = sample(), back;
    struct buf small = BUF(40), b = BUF(1 << 16);
    assert_int_equal(message_record_encode(&small, &m), -ENOBUFS);
    assert_int_equal(message_record_encode(&b, &m), 0);
    struct arena a = ARENA(8);
    assert_int_equal(message_record_decode(&a, buf_str(&b), &back), -ENOMEM);
    buf_done(&small);
    buf_done(&b);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_other_fields),
        cmocka_unit_test(test_count_is_not_trusted),
        cmocka_unit_test(test_ceilings),
    };
    return cmocka_run_group_tests_name("message_record", tests, NULL, NULL);
}
