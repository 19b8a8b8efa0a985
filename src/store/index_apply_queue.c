/* What the journal records of queued messages do to the index: see index_queue_internal.h. */
#include "store/index_internal.h"
#include "store/index_queue_internal.h"

/* A record whose message is not known is passed over: the record that queued it was lost. */
int apply_attempted(struct index *ix, const struct journal_record *r)
{
    return index_row_queue_attempted(ix, &r->attempted, r->lsn);
}

int apply_queue_changed(struct index *ix, const struct journal_record *r)
{
    return index_row_queue_changed(ix, &r->queue_changed);
}

int apply_destination_paused(struct index *ix, const struct journal_record *r)
{
    return index_row_destination_paused(ix, &r->destination_paused);
}

int apply_queue(struct index *ix, const struct journal_record *r)
{
    const struct journal_delivered *d = &r->delivered;
    int k = d->queue.dsn_event ? index_row_dsn_made(ix, d->queue.dsn_of, d->queue.dsn_event) : 0;
    if (k == 0 && d->queue.n)
        k = index_row_queue_add(ix, r);
    else if (k == 0 && !d->n_placed && !d->n_unplaced)
        k = index_row_bury(ix, d);
    return k;
}
