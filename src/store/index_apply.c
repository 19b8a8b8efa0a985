/* What each journal record does to the index.
 *
 * Every stretch of a receive log is accounted for by exactly one record (delivered, skipped). Records come in the
 * order of the segment, so one that begins behind the applied offset shows that records before it were lost: that
 * gap is kept until a record marked `again` fills it. One that begins before the applied offset was applied already
 * and changes nothing. */
#include <errno.h>
#include "store/index_internal.h"
#include "store/index_queue_internal.h"

#define MODSEQ_JUMP_SHIFT 20

/* 1: this stretch is new, 0: it was applied before. */
static int cover(struct index *ix, str log, uint64_t segment, uint64_t offset, uint64_t end, bool again)
{
    struct index_cursor *c = index_cursor(ix);
    int r = index_row_cursor_load(ix, log, segment);
    if (r < 0)
        return r;
    if (again) {
        uint64_t from, to;
        r = index_row_gap_take(ix, offset, end, &from, &to);
        if (r == 1 && from < offset)
            r = index_row_gap_add(ix, from, offset);
        if (r == 1 && end < to)
            r = index_row_gap_add(ix, end, to);
        return r;
    }
    if (offset < c->offset)
        return 0;
    if (offset > c->offset) {
        r = index_row_gap_add(ix, c->offset, offset);
        if (r < 0)
            return r;
    }
    c->offset = end;
    c->changed = true;
    return 1;
}

static int apply_mailbox_created(struct index *ix, const struct journal_record *r)
{
    struct index_state *state = index_working(ix);
    int added = index_row_mailbox_add(ix, &r->mailbox_created, index_modseq(ix, r->lsn));
    if (added < 0)
        return added;
    state->mailboxes += (uint64_t)added;
    state->last_mailbox = MAX(state->last_mailbox, r->mailbox_created.id);
    state->last_uidvalidity = MAX(state->last_uidvalidity, r->mailbox_created.uidvalidity);
    return 0;
}

static int apply_delivered(struct index *ix, const struct journal_record *r)
{
    const struct journal_delivered *d = &r->delivered;
    struct index_state *state = index_working(ix);
    int k = cover(ix, d->log, d->segment, d->offset, d->end, d->again);
    if (k <= 0)
        return k;
    bool lost = false; /* the record that created its mailbox is gone */
    for (size_t i = 0; i < d->n_placed; i++) {
        state->last_mailbox = MAX(state->last_mailbox, d->placed[i].mailbox);
        k = apply_placed(ix, r, &d->placed[i]);
        if (k < 0)
            return k;
        lost = lost || k == 0;
        state->messages += (uint64_t)k;
        state->placed += (uint64_t)k;
    }
    state->unplaced += d->n_unplaced;
    k = lost ? index_row_gap_add(ix, d->offset, d->end) : 0;
    if (k >= 0 && d->no_card && d->n_placed)
        k = index_row_card_want(ix, d);
    if (k >= 0 && d->n_unplaced)
        k = index_row_held(ix);
    if (k >= 0 && d->queue.present)
        k = apply_queue(ix, r);
    return MIN(k, 0);
}

static int apply_skipped(struct index *ix, const struct journal_record *r)
{
    const struct journal_skipped *s = &r->skipped;
    int k = cover(ix, s->log, s->segment, s->offset, s->end, s->again);
    if (k >= 0)
        k = index_row_held(ix);
    return MIN(k, 0);
}

static int apply_sealed(struct index *ix, const struct journal_record *r)
{
    const struct journal_sealed *s = &r->sealed;
    struct index_cursor *c = index_cursor(ix);
    int k = index_row_cursor_load(ix, s->log, s->segment);
    if (k == 0 && c->offset < s->end) {
        k = index_row_gap_add(ix, c->offset, s->end);
        c->offset = s->end;
    }
    c->sealed = c->changed = true;
    return MIN(k, 0);
}

/* One jump of MODSEQ is much longer than that of the UIDs: these are counted in each mailbox, that in the store. */
static int apply_jumped(struct index *ix, const struct journal_record *r)
{
    struct index_state *state = index_working(ix);
    state->modseq_jump += (uint64_t)r->jumped.by << MODSEQ_JUMP_SHIFT;
    return MIN(index_row_mailboxes_jump(ix, r->jumped.by, index_modseq(ix, r->lsn)), 0);
}

static int apply_relocated(struct index *ix, const struct journal_record *r)
{
    const struct journal_relocated *m = &r->relocated;
    struct index_cursor *c = index_cursor(ix);
    int k = index_row_cursor_load(ix, m->to_log, m->to_segment);
    if (k < 0)
        return k;
    c->offset = m->end;
    c->sealed = c->changed = true;
    return index_row_relocate(ix, r->lsn, m);
}

int index_apply(struct index *ix, const struct journal_record *r)
{
    struct index_state *state = index_working(ix);
    if (r->lsn <= state->lsn)
        return 0;
    int k = -EPROTO;
    switch (r->kind) {
#define JOURNAL_RECORD(code, name) case JOURNAL_##name: k = apply_##name(ix, r); break;
#include "store/journal_records.def"
#undef JOURNAL_RECORD
    }
    if (k >= 0)
        state->lsn = r->lsn;
    return MIN(k, 0);
}
