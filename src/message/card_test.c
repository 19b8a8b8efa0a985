/* Tests of card.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "message/card.h"

static const str sample =
    S("From: a@b\r\njunk\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n"
      "Content-Type: message/rfc822\r\nContent-ID: <1@b>\r\n\r\nTo: c\r\n\r\ny\r\n--b\r\n\r\nz\r\n--b--\r\n");

static void encode(struct buf *out, str content)
{
    struct mime_parser *m = mime_new();
    assert_non_null(m);
    mime_feed(m, content);
    mime_end(m);
    assert_int_equal(card_encode(out, m), 0);
    mime_free(m);
}

/* A card without texts as the first format had it. */
static void encode_bare(struct buf *out, str content)
{
    _cleanup_buf_ struct buf b = BUF(CARD_MAX);
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct card c;
    encode(&b, content);
    assert_int_equal(card_decode(&a, buf_str(&b), &c), 0);
    c.text = (struct card_text){ 0 };
    assert_int_equal(card_write(out, &c), 0);
}

/* The bytes of a card that an earlier program wrote: read as ever, and written again the same. */
static void test_format_1(void **state)
{
    static const str old = S("\1\0\11\4\1\0\2\1\1\0\0\0\4\5\1\4text\5plain\0\0\0\0\0\0");
    _cleanup_buf_ struct buf b = BUF(CARD_MAX);
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct card c;
    struct card_text t;
    (void)state;
    assert_int_equal(card_decode(&a, old, &c), 0);
    assert_int_equal(c.size, 9);
    assert_int_equal(c.n_fields, 1);
    assert_int_equal(c.n_parts, 1);
    assert_false(c.text.present);
    assert_int_equal(card_text_read(old, &t), 0);
    assert_false(t.present);
    assert_int_equal(card_write(&b, &c), 0);
    assert_true(str_eq(buf_str(&b), old));
    buf_clear(&b);
    encode_bare(&b, S("A:\r\n\r\nhello"));
    assert_int_equal(b.p[0], 1);
}

static void test_texts(void **state)
{
    _cleanup_buf_ struct buf b = BUF(CARD_MAX);
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct card c;
    struct card_text t;
    (void)state;
    encode(&b,
           S("Date: Thu, 1 Jan 1960 00:00:00 +0000\r\nFrom: A <b@c>\r\nSubject: Re: x\r\nReferences: <d@e>\r\n\r\n"));
    assert_int_equal(b.p[0], 2);
    assert_int_equal(card_text_read(buf_str(&b), &t), 0);
    assert_true(t.present && t.has_date && t.reply && !t.headers_cut);
    assert_int_equal(t.date_s, -315619200);
    assert_true(str_starts(t.envelope, S("(\"Thu, 1 Jan 1960 00:00:00 +0000\" \"Re: x\" ((\"A\" NIL \"b\" \"c\"))")));
    assert_true(str_eq(t.from_key, S("b")) && str_eq(t.references, S("d@e\n")));
    assert_true(str_eq(str_first(str_from(t.subject, t.base_off), t.base_len), S("x")));
    assert_true(t.envelope.p > b.p && t.references.p + t.references.n <= b.p + b.n);
    assert_int_equal(card_decode(&a, buf_str(&b), &c), 0);
    assert_true(c.text.present && str_eq(c.text.structure, t.structure) && str_eq(c.text.headers, t.headers));
    /* the texts are read without the tables */
    assert_int_equal(card_text_read(str_first(buf_str(&b), (size_t)(t.references.p - b.p) + t.references.n), &t), 0);
    assert_int_equal(card_text_read(str_first(buf_str(&b), (size_t)(t.references.p - b.p) + 1), &t), -EBADMSG);
    assert_int_equal(card_text_read(STR_NONE, &t), -EBADMSG);
}

static void test_bad_texts(void **state)
{
    _cleanup_buf_ struct buf b = BUF(CARD_MAX);
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct card good, c;
    struct card_text t;
    (void)state;
    encode(&b, sample);
    assert_int_equal(card_decode(&a, buf_str(&b), &good), 0);
    for (int i = 0; i < 6; i++) {
        _cleanup_buf_ struct buf bad = BUF(CARD_MAX);
        c = good;
        if (i == 0)
            c.text.base_off = (uint32_t)c.text.subject.n + 1;
        else if (i == 1)
            c.text.base_len = (uint32_t)c.text.subject.n + 1;
        else if (i == 2)
            c.text.envelope = S("NIL");
        else if (i == 3)
            c.text.structure = S("");
        else if (i == 4)
            c.text.references = S("a@b");
        assert_int_equal(card_write(&bad, &c), 0);
        assert_int_equal(card_text_read(buf_str(&bad), &t), i < 5 ? -EBADMSG : 0);
        assert_int_equal(card_decode(&a, buf_str(&bad), &c), i < 5 ? -EBADMSG : 0);
    }
}

/* Texts that would make the card too large are left out, and nothing else. */
static void test_texts_go_first(void **state)
{
    _cleanup_buf_ struct buf b = BUF(CARD_MAX), big = BUF(CARD_MAX);
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct card c;
    (void)state;
    encode(&b, sample);
    assert_int_equal(card_decode(&a, buf_str(&b), &c), 0);
    buf_space(&big, CARD_MAX - 10);
    c.text.headers = buf_str(&big);
    buf_clear(&b);
    assert_int_equal(card_write(&b, &c), 0);
    assert_int_equal(b.p[0], 1);
    assert_int_equal(card_decode(&a, buf_str(&b), &c), 0);
    assert_true(!c.minimal && !c.text.present && c.n_parts == 5);
}

static void test_round_trip(void **state)
{
    _cleanup_buf_ struct buf b = BUF(CARD_MAX), again = BUF(CARD_MAX);
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct card c;
    (void)state;
    encode(&b, sample);
    assert_int_equal(card_decode(&a, buf_str(&b), &c), 0);
    assert_int_equal(c.size, sample.n);
    assert_false(c.minimal);
    assert_false(c.limited);
    assert_int_equal(c.n_fields, 2);
    assert_true(str_eq(str_of(sample.p + c.fields[1].off, c.fields[1].name_len), S("Content-Type")));
    assert_int_equal(c.n_parts, 5);
    assert_int_equal(c.parts[0].body_off, c.header_len);
    assert_true(c.parts[0].multipart);
    assert_true(c.parts[2].message);
    assert_true(str_eq(c.parts[2].id, S("<1@b>")));
    assert_int_equal(c.parts[3].parent, 2);
    assert_int_equal(c.parts[3].depth, 2);
    assert_int_equal(c.parts[3].lines, 1);
    assert_true(str_eq(str_of(sample.p + c.parts[4].body_off, c.parts[4].end_off - c.parts[4].body_off), S("z")));
    assert_int_equal(card_write(&again, &c), 0);
    assert_true(str_eq(buf_str(&b), buf_str(&again)));
}

static void test_too_much_for_a_card(void **state)
{
    _cleanup_buf_ struct buf content = BUF(1 << 24), b = BUF(CARD_MAX);
    _cleanup_arena_ struct arena a = ARENA(1 << 24);
    struct card c;
    (void)state;
    buf_add(&content, S("Content-Type: multipart/mixed; boundary=b\r\n\r\n"));
    for (int i = 0; i < 9000; i++)
        buf_addf(&content, "--b\r\nContent-Description: %0100d\r\n\r\nx\r\n", i);
    encode(&b, buf_str(&content));
    assert_true(b.n < 20);
    assert_int_equal(card_decode(&a, buf_str(&b), &c), 0);
    assert_true(c.minimal);
    assert_true(c.limited);
    assert_int_equal(c.size, content.n);
    assert_int_equal(c.n_parts, 0);
    _cleanup_buf_ struct buf tight = BUF(3);
    struct mime_parser *m = mime_new();
    mime_end(m);
    assert_int_equal(card_encode(&tight, m), -ENOBUFS);
    mime_free(m);
}

/* Every byte changed to every value: refused, or a card that says the same when encoded again. */
static void damage(struct buf *card, size_t *out_refused)
{
    struct buf b = *card;
    struct card c;
    size_t refused = 0;
    for (size_t i = 0; i < b.n; i++) {
        _cleanup_arena_ struct arena a = ARENA(1 << 20);
        assert_int_equal(card_decode(&a, str_first(buf_str(&b), i), &c), -EBADMSG);
        char was = b.p[i];
        for (int v = 0; v < 256; v++) {
            _cleanup_buf_ struct buf again = BUF(CARD_MAX);
            arena_clear(&a);
            b.p[i] = (char)v;
            if (card_decode(&a, buf_str(&b), &c) < 0) {
                refused++;
                continue;
            }
            assert_int_equal(card_write(&again, &c), 0);
            assert_true(str_eq(buf_str(&b), buf_str(&again)));
        }
        b.p[i] = was;
    }
    *out_refused = refused;
    buf_addc(card, '\0');
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    assert_int_equal(card_decode(&a, buf_str(card), &c), -EBADMSG);
}

static void test_damage(void **state)
{
    _cleanup_buf_ struct buf bare = BUF(CARD_MAX), full = BUF(CARD_MAX);
    size_t refused;
    (void)state;
    encode_bare(&bare, sample);
    damage(&bare, &refused);
    assert_true(refused > bare.n * 100);
    encode(&full, sample);
    damage(&full, &refused);
    assert_true(refused > bare.n * 100); /* most of the others are letters of texts */
}

static int decode_parts(const struct mime_part *parts, size_t n)
{
    _cleanup_buf_ struct buf b = BUF(CARD_MAX);
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct card c = { .size = 100, .header_len = 10, .n_parts = n, .parts = parts }, out;
    assert_int_equal(card_write(&b, &c), 0);
    return card_decode(&a, buf_str(&b), &out);
}

static void test_bad_trees(void **state)
{
    const struct mime_part root = { .body_off = 10, .end_off = 100, .multipart = true };
    const struct mime_part a = { .header_off = 20, .body_off = 30, .end_off = 40 },
                           b = { .header_off = 40, .body_off = 50, .end_off = 60 };
    struct mime_part parts[3];
    (void)state;
#define RESET() (parts[0] = root, parts[1] = a, parts[2] = b)
    RESET();
    assert_int_equal(decode_parts(parts, 3), 0);
    assert_int_equal(decode_parts(parts, 1), -EBADMSG); /* multipart without children */
    parts[0].multipart = false;
    assert_int_equal(decode_parts(parts, 1), 0);
    assert_int_equal(decode_parts(parts, 2), -EBADMSG); /* child of a leaf */
    RESET();
    parts[0].multipart = false;
    parts[0].message = true;
    assert_int_equal(decode_parts(parts, 2), 0);
    assert_int_equal(decode_parts(parts, 3), -EBADMSG); /* second child of a message */
    RESET();
    parts[2].parent = 1;
    assert_int_equal(decode_parts(parts, 3), -EBADMSG);
    RESET();
    parts[2].parent = 2;
    assert_int_equal(decode_parts(parts, 3), -EBADMSG);
    RESET();
    parts[2].header_off = 39; /* inside the part before */
    assert_int_equal(decode_parts(parts, 3), -EBADMSG);
    RESET();
    parts[2].end_off = 101;
    assert_int_equal(decode_parts(parts, 3), -EBADMSG);
    RESET();
    parts[1].header_off = 9; /* before its parent's body */
    assert_int_equal(decode_parts(parts, 3), -EBADMSG);
    RESET();
    parts[1].lines = 11; /* of 10 bytes */
    assert_int_equal(decode_parts(parts, 3), -EBADMSG);
    RESET();
    parts[0].end_off = 99;
    assert_int_equal(decode_parts(parts, 3), -EBADMSG);
    RESET();
    parts[1].multipart = true;
    parts[2].parent = 1;
    parts[2].header_off = parts[2].body_off = parts[2].end_off = 35;
    assert_int_equal(decode_parts(parts, 3), 0);
#undef RESET
}

static void test_minimal(void **state)
{
    (void)state;
    const uint64_t sizes[] = { 0, 1, 300, (uint64_t)1 << 40 };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        _cleanup_buf_ struct buf b = BUF(CARD_MAX);
        _cleanup_arena_ struct arena a = ARENA(1 << 20);
        struct card c;
        assert_int_equal(card_minimal(&b, sizes[i]), 0);
        assert_int_equal(card_decode(&a, buf_str(&b), &c), 0);
        assert_int_equal(c.size, sizes[i]);
        assert_int_equal(c.header_len, 0);
        assert_true(c.limited && !c.minimal && !c.text.present);
        assert_int_equal(c.n_fields, 0);
        assert_int_equal(c.n_parts, 1);
        assert_int_equal(c.parts[0].body_off, 0);
        assert_int_equal(c.parts[0].end_off, sizes[i]);
        assert_true(str_eq(c.parts[0].type, S("text")) && str_eq(c.parts[0].subtype, S("plain")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format_1),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_texts_go_first),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_too_much_for_a_card),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_bad_trees),
        cmocka_unit_test(test_minimal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
