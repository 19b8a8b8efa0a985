/* Items of the change feed: what is written is read, and nothing else is. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "store/feed.h"

static struct mailbox_entry entry(uint32_t uid)
{
    return (struct mailbox_entry){
        .uid = uid, .flags = 9, .keywords = 1ull << 63 | 1, .modseq = 77, .size = 8 + 1000 + uid,
        .prefix = S("prefix\r\n"), .log = S("smtp-in"), .position = { 5, 640 + uid }, .content_len = 1000 + uid,
        .meta_len = 3, .date_s = -5, .date_zone_min = -330, .session = "0123456789abcde", .number = uid * 3,
    };
}

static void same_entry(const struct mailbox_entry *a, const struct mailbox_entry *b)
{
    assert_true(a->uid == b->uid && a->flags == b->flags && a->keywords == b->keywords && a->modseq == b->modseq);
    assert_true(a->size == b->size && str_eq(a->prefix, b->prefix) && str_eq(a->log, b->log));
    assert_true(a->position.segment == b->position.segment && a->position.offset == b->position.offset);
    assert_true(a->content_len == b->content_len && a->meta_len == b->meta_len && a->number == b->number);
    assert_true(a->date_s == b->date_s && a->date_zone_min == b->date_zone_min);
    assert_memory_equal(a->session, b->session, 16);
}

/* A cut or longer item, or one with another count, is none. */
static void test_damage(str item)
{
    struct feed_item f = { .lsn = 1 };
    for (size_t n = 0; n < item.n; n++)
        assert_int_equal(feed_decode(str_of(item.p, n), &f), -EBADMSG);
    _cleanup_buf_ struct buf b = BUF(65536);
    buf_add(&b, item);
    buf_addc(&b, 'x');
    assert_int_equal(feed_decode(buf_str(&b), &f), -EBADMSG);
    b.n--;
    const uint32_t n = get_u32(b.p + 17), counts[] = { n + 1, n ? n - 1 : 7, UINT32_MAX, 1u << 30 };
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        put_u32(b.p + 17, counts[i]);
        assert_int_equal(feed_decode(buf_str(&b), &f), -EBADMSG);
    }
    assert_int_equal(f.lsn, 1); /* untouched */
}

static struct feed_item begin_read(const struct buf *b, enum feed_kind kind, uint32_t n)
{
    struct feed_item f;
    test_damage(buf_str(b));
    assert_int_equal(feed_decode(buf_str(b), &f), 0);
    assert_true(f.kind == kind && f.lsn == 70 && f.modseq == 77 && f.n == n);
    return f;
}

static void test_entries(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF(65536);
    struct mailbox_entry e;
    uint32_t uid;
    feed_begin(&b, FEED_ARRIVED, 70, 77);
    for (uint32_t i = 1; i <= 3; i++) {
        e = entry(i);
        feed_put_entry(&b, &e);
    }
    feed_end(&b, 0, 3);
    struct feed_item f = begin_read(&b, FEED_ARRIVED, 3);
    for (uint32_t i = 1; i <= 3; i++) {
        struct mailbox_entry expected = entry(i);
        assert_true(feed_entry(&f, &e));
        same_entry(&e, &expected);
    }
    assert_false(feed_entry(&f, &e));
    assert_false(feed_uid(&f, &uid));
}

static void test_rows(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf flags = BUF(65536), uids = BUF(65536), places = BUF(65536);
    uint32_t uid, system;
    uint64_t more;
    feed_begin(&flags, FEED_FLAGS, 70, 77);
    feed_begin(&uids, FEED_EXPUNGED, 70, 77);
    feed_begin(&places, FEED_PLACES, 70, 77);
    feed_put_segment(&places, S("store"), 12);
    for (uint32_t i = 1; i <= 2; i++) {
        feed_put_flags(&flags, i, 31, 5ull << 40);
        feed_put_uid(&uids, i);
        feed_put_place(&places, i, 64 * i);
    }
    feed_end(&flags, 0, 2);
    feed_end(&uids, 0, 2);
    feed_end(&places, 0, 2);
    struct feed_item f = begin_read(&flags, FEED_FLAGS, 2), u = begin_read(&uids, FEED_EXPUNGED, 2);
    struct feed_item p = begin_read(&places, FEED_PLACES, 2);
    assert_true(str_eq(p.log, S("store")) && p.segment == 12);
    for (uint32_t i = 1; i <= 2; i++) {
        assert_true(feed_flags(&f, &uid, &system, &more) && uid == i && system == 31 && more == 5ull << 40);
        assert_true(feed_uid(&u, &uid) && uid == i);
        assert_true(feed_place(&p, &uid, &more) && uid == i && more == 64 * i);
    }
    assert_false(feed_flags(&f, &uid, &system, &more) || feed_uid(&u, &uid) || feed_place(&p, &uid, &more));
}

static void test_names(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf word = BUF(65536), name = BUF(65536), gone = BUF(65536);
    feed_begin(&word, FEED_KEYWORD, 70, 77);
    feed_put_keyword(&word, 63, S("$Junk"));
    feed_end(&word, 0, 0);
    struct feed_item f = begin_read(&word, FEED_KEYWORD, 0);
    assert_true(f.bit == 63 && str_eq(f.name, S("$Junk")));
    word.p[21] = 64; /* there is no such bit */
    assert_int_equal(feed_decode(buf_str(&word), &f), -EBADMSG);
    feed_begin(&name, FEED_RENAMED, 70, 77);
    feed_put_name(&name, S("A/B"));
    feed_end(&name, 0, 0);
    f = begin_read(&name, FEED_RENAMED, 0);
    assert_true(str_eq(f.name, S("A/B")));
    feed_begin(&gone, FEED_GONE, 70, 77);
    feed_end(&gone, 0, 0);
    begin_read(&gone, FEED_GONE, 0);
    gone.p[0] = FEED_GONE + 1;
    assert_int_equal(feed_decode(buf_str(&gone), &f), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}
