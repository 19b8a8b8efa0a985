/* What a SORT of a whole mailbox has found out about the order of its messages, kept with the mailbox (struct box): the
 * rank of each message by each key, equal ones alike. As long as no message comes or goes, the next SORT by these keys
 * reads no card and compares no text. */
#pragma once
#include "access/sorter.h"

struct sort_ranks {
    unsigned holds;                      /* the box's own is one of them */
    size_t n;                            /* of the messages [0, n) of the box */
    uint32_t *of[IMAP_SORT_TO + 1];      /* by key; NULL: not known */
};
void sort_ranks_release(struct sort_ranks *r); /* NULL is fine */
/* The box's, if it knows all these keys of all messages: held, to be released. Else NULL. */
struct sort_ranks *sort_ranks_hold(struct box *b, const struct imap_sort_key *keys, size_t n);
/* The sorter, which has been sorted, has all messages of the box with their texts: keeps their ranks. Its order is
 * another one afterwards. Without memory nothing is kept. */
void sort_ranks_learn(struct box *b, struct sorter *s);
/* Messages (index, seq) in the order of their seq get that of the keys. 0, or -ENOMEM. */
struct sort_place { uint32_t index, seq; };
int sort_ranks_sort(const struct sort_ranks *r, const struct imap_sort_key *keys, size_t n_keys,
                    struct sort_place *places, size_t n);
