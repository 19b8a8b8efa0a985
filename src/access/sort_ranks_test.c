/* Tests of ranks: what they sort is what the sorter sorts. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/sort_ranks.h"

enum { MANY = 300 };

static struct box_message messages[MANY];
static char words[MANY][3];

static struct card_text text_of(size_t i)
{
    str word = str_of(words[i], 2);
    return (struct card_text){ .present = true, .subject = word, .base_len = 2, .from_key = str_first(word, 1),
                               .to_key = word, .has_date = true, .date_s = (int64_t)(i * 7919 % 40) };
}

static struct sorter *filled(const struct imap_sort_key *keys, size_t n)
{
    struct sorter *s = sorter_new(keys, n);
    for (size_t i = 0; i < MANY; i++) {
        struct card_text t = text_of(i);
        assert_int_equal(sorter_add(s, (uint32_t)i, (uint32_t)i + 1, &messages[i], &t), 0);
    }
    return s;
}

static void make(struct box *b)
{
    for (size_t i = 0; i < MANY; i++) {
        messages[i] = (struct box_message){ .uid = (uint32_t)i + 1, .content_len = i * 31 % 17,
                                            .date_s = (int64_t)(i * 13 % 29) };
        words[i][0] = (char)('a' + i * 5 % 7);
        words[i][1] = (char)('a' + i * 11 % 13);
    }
    *b = (struct box){ .messages = messages, .n = MANY };
}

static void learn(struct box *b, const struct imap_sort_key *keys, size_t n)
{
    struct sorter *s = filled(keys, n);
    sorter_sort(s);
    sort_ranks_learn(b, s);
    sorter_free(s);
}

static void test_same_order(void **state)
{
    (void)state;
    static const struct imap_sort_key tries[][3] = {
        { { .kind = IMAP_SORT_SUBJECT } },
        { { .kind = IMAP_SORT_DATE, .reverse = true } },
        { { .kind = IMAP_SORT_FROM, .reverse = true }, { .kind = IMAP_SORT_SIZE }, { .kind = IMAP_SORT_DATE } },
        { { .kind = IMAP_SORT_SIZE }, { .kind = IMAP_SORT_SUBJECT, .reverse = true }, { .kind = IMAP_SORT_SIZE } },
    };
    static const size_t lengths[] = { 1, 1, 3, 3 };
    struct box b;
    make(&b);
    for (size_t t = 0; t < ARRAY_LEN(tries); t++) {
        struct sort_place places[MANY];
        size_t n = 0;
        learn(&b, tries[t], lengths[t]);
        struct sort_ranks *r = sort_ranks_hold(&b, tries[t], lengths[t]);
        assert_non_null(r);
        for (uint32_t i = 0; i < MANY; i += 1 + (uint32_t)t % 2) /* all, or every other */
            places[n++] = (struct sort_place){ i, i + 1 };
        assert_int_equal(sort_ranks_sort(r, tries[t], lengths[t], places, n), 0);
        struct sorter *s = filled(tries[t], lengths[t]);
        sorter_sort(s);
        for (size_t i = 0, k = 0; i < MANY; i++) {
            uint32_t index, seq;
            sorter_get(s, i, &index, &seq);
            if (t % 2 && index % 2)
                continue;
            assert_int_equal(places[k].index, index);
            assert_int_equal(places[k++].seq, seq);
        }
        sorter_free(s);
        sort_ranks_release(r);
    }
    sort_ranks_release(b.ranks);
}

static void test_known_only_while_the_messages_are_the_same(void **state)
{
    (void)state;
    static const struct imap_sort_key subject[] = { { .kind = IMAP_SORT_SUBJECT } }, both[] = {
        { .kind = IMAP_SORT_SUBJECT }, { .kind = IMAP_SORT_TO } };
    struct box b;
    make(&b);
    assert_null(sort_ranks_hold(&b, subject, 1));
    learn(&b, subject, 1);
    struct sort_ranks *held = sort_ranks_hold(&b, subject, 1);
    assert_non_null(held);
    assert_null(sort_ranks_hold(&b, both, 2));
    b.n--; /* as when one came, the other way round */
    assert_null(sort_ranks_hold(&b, subject, 1));
    b.n++;
    sort_ranks_release(TAKE(b.ranks));
    assert_null(sort_ranks_hold(&b, subject, 1));
    struct sort_place one[] = { { 5, 6 } }; /* who holds them has them still */
    assert_int_equal(sort_ranks_sort(held, subject, 1, one, 1), 0);
    assert_int_equal(one[0].seq, 6);
    sort_ranks_release(held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_order),
        cmocka_unit_test(test_known_only_while_the_messages_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
