/* SORT: hands the hits of a search to a sorter and takes them back in their order. */
#include <errno.h>
#include "access/imap_search.h"
#include "access/sorter.h"

int search_sort_begin(struct search *q)
{
    q->sorter = sorter_new(q->command->search.sort, q->command->search.n_sort);
    return q->sorter ? 0 : -ENOMEM;
}

enum found search_sort_take(struct search *q)
{
    enum found e = sorter_wants_text(q->sorter) ? search_need_text(q) : FOUND_NO;
    if (e == FOUND_WAIT)
        return e;
    if (sorter_add(q->sorter, (uint32_t)q->index, q->seq, search_message(q), e == FOUND_YES ? &q->text : NULL) < 0)
        q->hits.failed = -ENOMEM;
    return FOUND_YES;
}

int search_sort_end(struct search *q)
{
    if (q->hits.failed)
        return q->hits.failed;
    sorter_sort(q->sorter);
    for (size_t i = 0; i < sorter_count(q->sorter); i++) {
        struct search_hit h;
        sorter_get(q->sorter, i, &h.index, &h.seq);
        buf_add(&q->hits, str_of(&h, sizeof(h)));
    }
    return q->hits.failed;
}

void search_sort_free(struct search *q)
{
    sorter_free(TAKE(q->sorter));
}
