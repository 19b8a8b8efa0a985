/* SORT: hands the hits of a search to a sorter and takes them back in their order, or puts them into the order that an
 * earlier SORT found. */
#include <errno.h>
#include "access/imap_search.h"
#include "access/sort_ranks.h"

_Static_assert(sizeof(struct sort_place) == sizeof(struct search_hit), "hits are sorted as they are");

int search_sort_begin(struct search *q)
{
    q->ranks = sort_ranks_hold(q->session->view.box, q->command->search.sort, q->command->search.n_sort);
    if (q->ranks)
        return 0;
    q->sorter = sorter_new(q->command->search.sort, q->command->search.n_sort);
    return q->sorter ? 0 : -ENOMEM;
}

enum found search_sort_take(struct search *q)
{
    if (q->ranks) {
        struct search_hit h = { (uint32_t)q->index, q->seq };
        buf_add(&q->hits, str_of(&h, sizeof(h)));
        return FOUND_YES;
    }
    bool wants = sorter_wants_text(q->sorter);
    enum found e = wants ? search_need_text(q) : FOUND_NO;
    if (e == FOUND_WAIT)
        return e;
    q->unread |= wants && e != FOUND_YES;
    if (sorter_add(q->sorter, (uint32_t)q->index, q->seq, search_message(q), e == FOUND_YES ? &q->text : NULL) < 0)
        q->hits.failed = -ENOMEM;
    return FOUND_YES;
}

int search_sort_end(struct search *q)
{
    if (q->hits.failed)
        return q->hits.failed;
    if (q->ranks)
        return sort_ranks_sort(q->ranks, q->command->search.sort, q->command->search.n_sort, (void *)q->hits.p,
                               search_hits(q));
    sorter_sort(q->sorter);
    for (size_t i = 0; i < sorter_count(q->sorter); i++) {
        struct search_hit h;
        sorter_get(q->sorter, i, &h.index, &h.seq);
        buf_add(&q->hits, str_of(&h, sizeof(h)));
    }
    struct box *b = q->session->view.box;
    if (!q->unread && !b->n_gone && sorter_count(q->sorter) == b->n && b->n)
        sort_ranks_learn(b, q->sorter);
    return q->hits.failed;
}

void search_sort_free(struct search *q)
{
    sorter_free(TAKE(q->sorter));
    sort_ranks_release(TAKE(q->ranks));
}
