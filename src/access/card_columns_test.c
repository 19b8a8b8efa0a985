/* Columns of card texts: what was put in comes out, by mailbox, UID and column, within the bound. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "access/card_columns.h"

enum { ALL = (1 << CARD_COLUMNS) - 1 };
static struct card_columns columns;

static int teardown(void **state)
{
    (void)state;
    card_columns_done(&columns);
    assert_int_equal(columns.bytes, 0);
    return 0;
}

static struct card_text text_of(uint32_t uid, char words[64])
{
    snprintf(words, 64, "(e%u)(s%u)h%u;Re: x%u,m%u<r%u\nfrom%u", uid, uid, uid, uid, uid, uid, uid);
    str rest = str_z(words);
    struct card_text t = { .present = true, .has_date = uid % 2, .date_s = -(int64_t)uid, .reply = uid % 3 == 0,
                           .headers_cut = uid % 5 == 0, .base_off = 4, .base_len = uid % 7 };
    t.envelope = str_first(rest, (size_t)str_chr(rest, ')') + 1);
    rest = str_from(rest, t.envelope.n);
    t.structure = str_first(rest, (size_t)str_chr(rest, ')') + 1);
    rest = str_from(rest, t.structure.n);
    t.headers = str_cut(&rest, ';');
    t.subject = str_cut(&rest, ',');
    t.message_id = str_cut(&rest, '<');
    t.references = str_first(rest, (size_t)str_chr(rest, '\n') + 1);
    t.from = str_from(rest, t.references.n);
    return t;
}

static void put(uint64_t box, uint32_t uid, unsigned mask, uint64_t now)
{
    char words[64];
    struct card_text t = text_of(uid, words);
    card_columns_put(&columns, box, uid, mask, now, &t);
}

static void assert_texts(uint64_t box, uint32_t uid, unsigned mask)
{
    char words[64];
    struct card_text want = text_of(uid, words), got;
    assert_true(card_columns_get(&columns, box, uid, mask, 0, &got));
    assert_true(got.present && got.has_date == want.has_date && got.date_s == want.date_s && got.reply == want.reply &&
                got.headers_cut == want.headers_cut);
    assert_true(str_eq(got.envelope, mask & COLUMN_ENVELOPE ? want.envelope : STR_NONE));
    assert_true(str_eq(got.structure, mask & COLUMN_STRUCTURE ? want.structure : STR_NONE));
    assert_true(str_eq(got.headers, mask & COLUMN_HEADERS ? want.headers : STR_NONE));
    assert_true(str_eq(got.subject, mask & COLUMN_SUBJECT ? want.subject : STR_NONE));
    assert_int_equal(got.base_off, mask & COLUMN_SUBJECT ? want.base_off : 0);
    assert_int_equal(got.base_len, mask & COLUMN_SUBJECT ? want.base_len : 0);
    assert_true(str_eq(got.message_id, mask & COLUMN_THREAD ? want.message_id : STR_NONE));
    assert_true(str_eq(got.references, mask & COLUMN_THREAD ? want.references : STR_NONE));
    assert_true(str_eq(got.from, mask & COLUMN_PEOPLE ? want.from : STR_NONE));
    assert_int_equal(got.bcc.n, 0);
}

static void test_what_comes_out(void **state)
{
    (void)state;
    struct card_text got;
    for (uint32_t uid = 1; uid <= 2000; uid++)
        put(7, uid, uid % 2 ? ALL : COLUMN_STRUCTURE | COLUMN_PEOPLE, 0);
    put(8, 5, COLUMN_STRUCTURE, 0);
    put(7, 4000000000u, ALL, 0);
    for (uint32_t uid = 2000; uid >= 1; uid--) {
        assert_texts(7, uid, COLUMN_STRUCTURE);
        assert_texts(7, uid, COLUMN_PEOPLE | COLUMN_STRUCTURE);
        if (uid % 2)
            for (unsigned mask = 1; mask <= ALL; mask += 3)
                assert_texts(7, uid, mask);
        assert_int_equal(card_columns_get(&columns, 7, uid, COLUMN_STRUCTURE | COLUMN_SUBJECT, 0, &got), uid % 2);
    }
    assert_texts(7, 4000000000u, ALL);
    assert_texts(8, 5, COLUMN_STRUCTURE);
    assert_false(card_columns_get(&columns, 8, 6, COLUMN_STRUCTURE, 0, &got));
    assert_false(card_columns_get(&columns, 9, 5, COLUMN_STRUCTURE, 0, &got));
    assert_false(card_columns_get(&columns, 7, 2001, COLUMN_STRUCTURE, 0, &got));
    card_columns_forget(&columns, 7);
    assert_false(card_columns_get(&columns, 7, 1, COLUMN_STRUCTURE, 0, &got));
    assert_texts(8, 5, COLUMN_STRUCTURE);
}

static char big[CARD_COLUMNS_TEXT_MAX + 1];

/* Of mailbox 1, from a UID on, until a text was not taken: the first UID that is not there. */
static uint32_t fill(uint32_t uid, uint64_t now)
{
    struct card_text t = { .headers = str_of(big, CARD_COLUMNS_TEXT_MAX - 4) }, got;
    for (;; uid++) {
        card_columns_put(&columns, 1, uid, COLUMN_HEADERS, now, &t);
        assert_true(columns.bytes <= CARD_COLUMNS_MAX);
        if (!card_columns_get(&columns, 1, uid, COLUMN_HEADERS, now, &got))
            return uid;
        assert_true(str_eq(got.headers, t.headers));
    }
}

static bool there(uint32_t uid, uint64_t now)
{
    struct card_text got;
    return card_columns_get(&columns, 1, uid, COLUMN_HEADERS, now, &got);
}

/* What is in use stays when the room is spent, what was not used for a while goes, the longest unused first. */
static void test_bound(void **state)
{
    (void)state;
    memset(big, 'x', sizeof(big));
    struct card_text larger = { .headers = str_of(big, CARD_COLUMNS_TEXT_MAX + 1) };
    card_columns_put(&columns, 1, 1, COLUMN_HEADERS, 0, &larger);
    assert_false(there(1, 0));
    uint32_t end = fill(1, 1000);
    assert_in_range(end, CARD_COLUMNS_MAX / CARD_COLUMNS_TEXT_MAX / 3, CARD_COLUMNS_MAX / CARD_COLUMNS_TEXT_MAX);
    assert_int_equal(fill(end, 1000 + CARD_COLUMNS_KEPT_MS - 1), end);
    assert_true(there(1, 1000 + CARD_COLUMNS_KEPT_MS - 1)); /* its chunk is in use now */
    assert_true(fill(end, 1000 + CARD_COLUMNS_KEPT_MS) > end);
    assert_true(there(1, 1000 + CARD_COLUMNS_KEPT_MS));
    assert_false(there(256, 1000 + CARD_COLUMNS_KEPT_MS));
    /* nobody reads for long */
    put(2, 1, COLUMN_SUBJECT, 1002 + CARD_COLUMNS_KEPT_MS + CARD_COLUMNS_UNUSED_MS);
    assert_in_range(columns.bytes, 1, 8192);
    assert_texts(2, 1, COLUMN_SUBJECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_what_comes_out, teardown),
        cmocka_unit_test_teardown(test_bound, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
