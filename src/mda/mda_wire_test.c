/* Frames between the dispatcher of role mda and its children: there and back, cut at every byte, and what a user who
 * has taken over his process might say. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "mda/mda_job.h"

static void pack_order(struct buf *b)
{
    struct smtp_client_rcpt to = { .address = S("bob@b.example") };
    str original = S("info@b.example");
    struct mda_job j = { .job = { .id = 7, .number = 3, .offset = 100, .length = 50, .received_us = 1764000000000000,
                                  .via = S("mbox:/m/bob"), .prefix = S("Delivered-To: x\r\n"), .envid = S("id"),
                                  .sender = S("ann@a.example"), .client_address = S("192.0.2.1"),
                                  .client_name = S("mx.a.example"), .client_helo = S("helo"),
                                  .client_protocol = S("ESMTPSA"), .sasl_user = S("ann"), .rcpts = &to, .n = 1,
                                  .original = &original } };
    mda_order_pack(b, &j);
}

static int unpack_order(str bytes, struct mda_order *o)
{
    struct unpack in = UNPACK(bytes);
    return mda_order_unpack(&in, o);
}

static void test_order(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    struct mda_order o;
    pack_order(&b);
    assert_int_equal(unpack_order(buf_str(&b), &o), 0);
    assert_int_equal(o.job, 7);
    assert_int_equal(o.message.offset, 100);
    assert_int_equal(o.message.length, 50);
    assert_int_equal(o.message.fd, -1);
    assert_int_equal(o.message.received_us, 1764000000000000);
    const struct { str is, wanted; } texts[] = {
        { o.via, S("mbox:/m/bob") }, { o.message.prefix, S("Delivered-To: x\r\n") },
        { o.message.sender, S("ann@a.example") }, { o.message.recipient, S("bob@b.example") },
        { o.message.original, S("info@b.example") }, { o.message.envid, S("id") },
        { o.message.client_address, S("192.0.2.1") }, { o.message.client_name, S("mx.a.example") },
        { o.message.client_helo, S("helo") }, { o.message.client_protocol, S("ESMTPSA") },
        { o.message.sasl_user, S("ann") },
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_true(str_eq(texts[i].is, texts[i].wanted));
    assert_true(str_ends(o.message.session, S(".3")));
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(unpack_order(str_first(buf_str(&b), n), &o), -EBADMSG);
    buf_addc(&b, 0);
    assert_int_equal(unpack_order(buf_str(&b), &o), -EBADMSG);
}

/* A range that ends behind the largest offset of a file. */
static void test_order_range(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    struct mda_order o;
    struct { uint64_t offset, length; } bad[] = { { UINT64_MAX, 0 }, { 1, INT64_MAX }, { 0, UINT64_MAX } };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_buf_ struct buf range = BUF(64), whole = BUF(IPC_FRAME_MAX);
        buf_clear(&b);
        pack_order(&b);
        pack_u64(&range, bad[i].offset);
        pack_u64(&range, bad[i].length);
        buf_add(&whole, str_first(buf_str(&b), 8));
        buf_add(&whole, buf_str(&range));
        buf_add(&whole, str_from(buf_str(&b), 24));
        assert_int_equal(unpack_order(buf_str(&whole), &o), -EBADMSG);
    }
}

static int unpack_answer(str bytes, uint64_t *job, struct mda_result *r)
{
    struct unpack in = UNPACK(bytes);
    return mda_answer_unpack(&in, job, r);
}

static void test_answer(void **state)
{
    (void)state;
    const enum mda_outcome all[] = { MDA_DELIVERED, MDA_DEFERRED, MDA_FAILED };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
        struct mda_result is, was = { 0 };
        uint64_t job;
        mda_result_set(&was, all[i], 452, "4.2.2", "%s", "it is full: 100% of it");
        mda_answer_pack(&b, 9, &was);
        assert_int_equal(unpack_answer(buf_str(&b), &job, &is), 0);
        assert_int_equal(job, 9);
        assert_int_equal(is.outcome, all[i]);
        assert_int_equal(is.code, 452);
        assert_string_equal(is.status, "4.2.2");
        assert_string_equal(is.text, was.text);
        for (size_t n = 0; n < b.n; n++)
            assert_int_equal(unpack_answer(str_first(buf_str(&b), n), &job, &is), -EBADMSG);
        buf_addc(&b, 0);
        assert_int_equal(unpack_answer(buf_str(&b), &job, &is), -EBADMSG);
    }
}

static int say(unsigned outcome, str status, str text)
{
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    struct mda_result r;
    uint64_t job;
    pack_u64(&b, 1);
    pack_u8(&b, (uint8_t)outcome);
    pack_u16(&b, 250);
    pack_str(&b, status);
    pack_str(&b, text);
    return unpack_answer(buf_str(&b), &job, &r);
}

static void test_hostile_answers(void **state)
{
    (void)state;
    static char much[sizeof(((struct mda_result *)NULL)->text)];
    memset(much, 'x', sizeof(much));
    assert_int_equal(say(MDA_DELIVERED, S("2.0.0"), S("fine")), 0);
    assert_int_equal(say(MDA_DELIVERED, S("2.0.0"), str_of(much, sizeof(much) - 1)), 0);
    assert_int_equal(say(MDA_DELIVERED, S("2.0.0"), str_of(much, sizeof(much))), -EBADMSG);
    assert_int_equal(say(MDA_DELIVERED, str_of(much, 100), S("fine")), -EBADMSG);
    unsigned known = 0;
    for (unsigned i = 0; i < 256; i++)
        known += say(i, S("2.0.0"), S("fine")) == 0;
    assert_int_equal(known, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_order_range),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_hostile_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
