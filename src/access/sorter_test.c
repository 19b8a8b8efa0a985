/* Tests of sorting for SORT. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/sorter.h"

static struct box_message mail(int64_t date_s, uint64_t size)
{
    return (struct box_message){ .date_s = date_s, .content_len = size };
}

static struct card_text text(str subject, uint32_t base, str from, int64_t date_s)
{
    return (struct card_text){ .present = true, .subject = subject, .base_off = base,
                               .base_len = (uint32_t)(subject.n - base), .from_key = from, .to_key = from,
                               .cc_key = from, .has_date = date_s >= 0, .date_s = date_s };
}

/* Five messages, and the order of their numbers by those keys. */
static void sorted(const struct imap_sort_key *keys, size_t n, const char *want)
{
    const struct box_message m[] = { mail(500, 10), mail(400, 30), mail(300, 10), mail(200, 20), mail(100, 5) };
    const struct card_text t[] = { text(S("re: b"), 4, S("carol"), 10), text(S("a"), 0, S("anna"), 50),
                                   text(S("b"), 0, S("anna"), 30), text(S(""), 0, S("bob"), -1),
                                   text(S("c"), 0, S(""), 20) };
    struct sorter *s = sorter_new(keys, n);
    char got[64] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(sorter_add(s, i + 100, i + 1, &m[i], &t[i]), 0);
    sorter_sort(s);
    assert_int_equal(sorter_count(s), 5);
    for (size_t i = 0; i < 5; i++) {
        uint32_t index, seq;
        sorter_get(s, i, &index, &seq);
        assert_int_equal(index, seq + 99);
        got[at++] = (char)('0' + seq);
    }
    assert_string_equal(got, want);
    sorter_free(s);
}

#define SORTED(want, ...) \
    do { \
        const struct imap_sort_key keys_[] = { __VA_ARGS__ }; \
        sorted(keys_, ARRAY_LEN(keys_), want); \
    } while (0)

static void each_key(void **state)
{
    (void)state;
    SORTED("54321", { .kind = IMAP_SORT_ARRIVAL });
    SORTED("51342", { .kind = IMAP_SORT_SIZE });
    SORTED("42135", { .kind = IMAP_SORT_SUBJECT }); /* base subjects, the empty one first */
    SORTED("52341", { .kind = IMAP_SORT_FROM });
    SORTED("52341", { .kind = IMAP_SORT_TO });
    SORTED("52341", { .kind = IMAP_SORT_CC });
    SORTED("15324", { .kind = IMAP_SORT_DATE }); /* 4 has no Date: its arrival, 200 */
}

/* REVERSE turns its key round, not the order of messages that are alike (RFC 5256 3). */
static void reverse_and_ties(void **state)
{
    (void)state;
    SORTED("24135", { .kind = IMAP_SORT_SIZE, .reverse = true });
    SORTED("51342", { .kind = IMAP_SORT_SIZE }, { .kind = IMAP_SORT_SUBJECT });
    SORTED("42315", { .kind = IMAP_SORT_SUBJECT }, { .kind = IMAP_SORT_DATE, .reverse = true });
    SORTED("14235", { .kind = IMAP_SORT_FROM, .reverse = true });
}

/* The same key again says nothing new, in whichever direction. */
static void repeated_keys(void **state)
{
    (void)state;
    SORTED("51342", { .kind = IMAP_SORT_SIZE }, { .kind = IMAP_SORT_SIZE, .reverse = true });
}

static void wants_text(void **state)
{
    (void)state;
    const struct imap_sort_key cheap[] = { { .kind = IMAP_SORT_ARRIVAL }, { .kind = IMAP_SORT_SIZE } };
    const struct imap_sort_key dear[] = { { .kind = IMAP_SORT_SIZE }, { .kind = IMAP_SORT_DATE } };
    struct sorter *a = sorter_new(cheap, 2), *b = sorter_new(dear, 2);
    assert_false(sorter_wants_text(a));
    assert_true(sorter_wants_text(b));
    sorter_free(a);
    sorter_free(b);
}

/* Texts are copied: cards go away. Without a card a message counts as having empty fields. */
static void texts_are_copied(void **state)
{
    (void)state;
    const struct imap_sort_key key = { .kind = IMAP_SORT_SUBJECT };
    struct sorter *s = sorter_new(&key, 1);
    const struct box_message m = mail(1, 1);
    char subject[2] = "b";
    struct card_text t = text(str_of(subject, 1), 0, S(""), 1);
    uint32_t index, seq;
    sorter_add(s, 1, 1, &m, &t);
    subject[0] = 'a';
    sorter_add(s, 2, 2, &m, &t);
    sorter_add(s, 3, 3, &m, NULL);
    subject[0] = 'z';
    sorter_sort(s);
    static const uint32_t want[] = { 3, 2, 1 };
    for (size_t i = 0; i < 3; i++) {
        sorter_get(s, i, &index, &seq);
        assert_int_equal(seq, want[i]);
    }
    sorter_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key),      cmocka_unit_test(reverse_and_ties), cmocka_unit_test(repeated_keys),
        cmocka_unit_test(wants_text),    cmocka_unit_test(texts_are_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
