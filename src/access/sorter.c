/* Sorting for SORT: see sorter.h. */
#include "access/sorter.h"
#include <errno.h>
#include "base/arena.h"

enum { KEY_TEXT_MAX = 512 }; /* bytes of a text that are compared: what differs later stands as the mailbox has it */

struct value { str text; int64_t number; };
struct item { uint32_t index, seq; const struct value *values; };

struct sorter {
    struct arena arena;
    struct imap_sort_key keys[IMAP_SORT_TO + 1]; size_t n_keys;
    struct item *items; size_t n, cap;
};

struct sorter *sorter_new(const struct imap_sort_key *keys, size_t n)
{
    struct sorter *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->arena = ARENA(SORTER_MAX);
    for (size_t i = 0; i < n; i++) {
        bool known = false;
        for (size_t k = 0; k < s->n_keys; k++)
            known |= s->keys[k].kind == keys[i].kind;
        if (!known && s->n_keys < ARRAY_LEN(s->keys))
            s->keys[s->n_keys++] = keys[i];
    }
    return s;
}

void sorter_free(struct sorter *s)
{
    if (!s)
        return;
    arena_done(&s->arena);
    free(s->items);
    free(s);
}

bool sorter_wants_text(const struct sorter *s)
{
    for (size_t i = 0; i < s->n_keys; i++)
        if (s->keys[i].kind != IMAP_SORT_ARRIVAL && s->keys[i].kind != IMAP_SORT_SIZE)
            return true;
    return false;
}

static struct value value_of(enum imap_sort_kind kind, const struct box_message *m, const struct card_text *t)
{
    static const struct card_text none = { 0 };
    const struct card_text *x = t ? t : &none;
    switch (kind) {
    case IMAP_SORT_ARRIVAL: return (struct value){ .number = m->date_s };
    case IMAP_SORT_SIZE: return (struct value){ .number = (int64_t)box_message_size(m) };
    case IMAP_SORT_DATE: return (struct value){ .number = x->has_date ? x->date_s : m->date_s }; /* 2.2 */
    case IMAP_SORT_SUBJECT: return (struct value){ .text = str_first(str_from(x->subject, x->base_off), x->base_len) };
    case IMAP_SORT_FROM: return (struct value){ .text = x->from_key };
    case IMAP_SORT_TO: return (struct value){ .text = x->to_key };
    case IMAP_SORT_CC: return (struct value){ .text = x->cc_key };
    }
    return (struct value){ 0 };
}

int sorter_add(struct sorter *s, uint32_t index, uint32_t seq, const struct box_message *m, const struct card_text *t)
{
    if (s->n == s->cap) {
        size_t cap = MAX(s->cap * 2, (size_t)64);
        struct item *items = realloc(s->items, cap * sizeof(*items));
        if (!items)
            return -ENOMEM;
        s->items = items;
        s->cap = cap;
    }
    struct value *values = ARENA_ARRAY(&s->arena, struct value, s->n_keys);
    for (size_t i = 0; values && i < s->n_keys; i++) {
        values[i] = value_of(s->keys[i].kind, m, t);
        if (!values[i].text.n)
            continue;
        values[i].text = arena_dup(&s->arena, str_first(values[i].text, KEY_TEXT_MAX));
        if (!values[i].text.p)
            return -ENOMEM;
    }
    if (!values && s->n_keys)
        return -ENOMEM;
    s->items[s->n++] = (struct item){ .index = index, .seq = seq, .values = values };
    return 0;
}

static int compare_key(const struct item *x, const struct item *y, size_t k)
{
    const struct value *v = &x->values[k], *w = &y->values[k];
    return v->number < w->number ? -1 : v->number > w->number ? 1 : str_cmp(v->text, w->text);
}

static int compare(const void *a, const void *b, void *arg)
{
    const struct sorter *s = arg;
    const struct item *x = a, *y = b;
    for (size_t i = 0; i < s->n_keys; i++) {
        int r = compare_key(x, y, i);
        if (r)
            return s->keys[i].reverse ? -r : r;
    }
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

void sorter_sort(struct sorter *s)
{
    if (s->n)
        qsort_r(s->items, s->n, sizeof(*s->items), compare, s);
}

size_t sorter_count(const struct sorter *s) { return s->n; }

void sorter_get(const struct sorter *s, size_t i, uint32_t *out_index, uint32_t *out_seq)
{
    *out_index = s->items[i].index;
    *out_seq = s->items[i].seq;
}

size_t sorter_keys(const struct sorter *s) { return s->n_keys; }
enum imap_sort_kind sorter_key(const struct sorter *s, size_t k) { return s->keys[k].kind; }

static int compare_one(const void *a, const void *b, void *arg)
{
    return compare_key(a, b, *(const size_t *)arg);
}

void sorter_rank(struct sorter *s, size_t k, uint32_t *ranks)
{
    uint32_t rank = 0;
    if (s->n)
        qsort_r(s->items, s->n, sizeof(*s->items), compare_one, &k);
    for (size_t i = 0; i < s->n; i++) {
        rank += i && compare_key(&s->items[i - 1], &s->items[i], k) != 0;
        ranks[s->items[i].index] = rank;
    }
}
