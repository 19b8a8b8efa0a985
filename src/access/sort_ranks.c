/* Ranks of a mailbox's messages: see sort_ranks.h. */
#include "access/sort_ranks.h"
#include <errno.h>

void sort_ranks_release(struct sort_ranks *r)
{
    if (!r || --r->holds > 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(r->of); i++)
        free(r->of[i]);
    free(r);
}

struct sort_ranks *sort_ranks_hold(struct box *b, const struct imap_sort_key *keys, size_t n)
{
    struct sort_ranks *r = b->ranks;
    if (!r || r->n != b->n)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (!r->of[keys[i].kind])
            return NULL;
    r->holds++;
    return r;
}

void sort_ranks_learn(struct box *b, struct sorter *s)
{
    if (b->ranks && b->ranks->n != b->n)
        sort_ranks_release(TAKE(b->ranks));
    if (!b->ranks && (b->ranks = calloc(1, sizeof(*b->ranks))))
        *b->ranks = (struct sort_ranks){ .holds = 1, .n = b->n };
    for (size_t k = 0; b->ranks && k < sorter_keys(s); k++) {
        uint32_t **of = &b->ranks->of[sorter_key(s, k)];
        if (!*of && (*of = calloc(b->n, sizeof(**of))))
            sorter_rank(s, k, *of);
    }
}

/* Counting, from the key of least weight on: each pass keeps the order of those that it finds alike. */
int sort_ranks_sort(const struct sort_ranks *r, const struct imap_sort_key *keys, size_t n_keys,
                    struct sort_place *places, size_t n)
{
    if (n == 0)
        return 0;
    uint32_t *starts = malloc((r->n + 1) * sizeof(*starts));
    struct sort_place *from = malloc(n * sizeof(*from));
    int e = starts && from ? 0 : -ENOMEM;
    for (size_t k = n_keys; e == 0 && k-- > 0;) {
        const uint32_t *rank = r->of[keys[k].kind];
        uint32_t turn = keys[k].reverse ? (uint32_t)r->n - 1 : 0, before = 0;
        memset(starts, 0, (r->n + 1) * sizeof(*starts));
        memcpy(from, places, n * sizeof(*from));
        for (size_t i = 0; i < n; i++)
            starts[turn ? turn - rank[from[i].index] : rank[from[i].index]]++;
        for (size_t i = 0; i < r->n; i++) {
            uint32_t here = starts[i];
            starts[i] = before;
            before += here;
        }
        for (size_t i = 0; i < n; i++)
            places[starts[turn ? turn - rank[from[i].index] : rank[from[i].index]]++] = from[i];
    }
    free(starts);
    free(from);
    return e;
}
