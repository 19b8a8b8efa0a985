/* Cards of messages whose record has none, by their place: see index.h. The journal says which these are; a card itself
 * is no truth, it is made again after the index was thrown away. */
#include <errno.h>
#include "store/index_sql.h"

enum { PLACES_A_STEP = 64 };

int index_row_card_want(struct index *ix, const struct journal_delivered *d)
{
    return sql_change(ix, CARD_WANT, VALUES(I(ix->cursor.log), I(d->segment), I(d->offset), I(d->content_len)));
}

int index_row_card_move(struct index *ix, uint64_t log, struct log_position from, uint64_t to_log,
                        struct log_position to)
{
    int r = sql_change(ix, CARD_MOVE, VALUES(I(to_log), I(to.segment), I(to.offset), I(log), I(from.segment),
                                             I(from.offset)));
    return r < 0 ? r : 1;
}

int index_row_card_drop(struct index *ix, uint64_t log, struct log_position at)
{
    return sql_change(ix, CARD_DROP, VALUES(I(log), I(at.segment), I(at.offset)));
}

int index_card_wanted(struct index *ix, struct index_cardless *out)
{
    int r = sql_run(ix, CARD_NEXT, NULL, 0);
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[CARD_NEXT];
    uint64_t log = sql_column(s, 0);
    *out = (struct index_cardless){ .at = { sql_column(s, 1), sql_column(s, 2) }, .content_len = sql_column(s, 3),
                                    .number = (uint32_t)sql_column(s, 5) };
    str session = sql_blob(s, 4);
    memcpy(out->session, session.p ? session.p : "", MIN(session.n, sizeof(out->session)));
    sql_done(ix, CARD_NEXT);
    r = index_log_name(ix, log, &out->log);
    return r < 0 ? r : 1;
}

int index_card_set(struct index *ix, str log, struct log_position at, str card)
{
    uint64_t id;
    int r = index_log_find(ix, log, &id);
    if (r != 1)
        return r;
    r = sql_change(ix, CARD_SET, VALUES(I(id), I(at.segment), I(at.offset), B(card)));
    return r < 0 ? r : r > 0;
}

struct at_place {
    uint64_t offset;
    int (*each)(void *arg, uint64_t mailbox, uint32_t uid);
    void *arg;
};

static int at_place(void *arg, const struct journal_move *m)
{
    const struct at_place *p = arg;
    return m->from == p->offset && m->mailbox ? p->each(p->arg, m->mailbox, m->uid) : 0;
}

int index_card_places(struct index *ix, str log, struct log_position at,
                      int (*each)(void *arg, uint64_t mailbox, uint32_t uid), void *arg)
{
    struct index_segment g = { .segment = at.segment };
    struct journal_move last = { .from = at.offset };
    struct at_place p = { .offset = at.offset, .each = each, .arg = arg };
    int r = index_log_find(ix, log, &g.log), n = PLACES_A_STEP;
    if (r != 1)
        return r;
    while (n == PLACES_A_STEP && last.from == at.offset)
        n = index_segment_walk(ix, &g, &last, PLACES_A_STEP, at_place, &p);
    return MIN(n, 0);
}

int index_card_get(struct index *ix, str log, struct log_position at, bool *out_wanted, struct buf *out)
{
    uint64_t id;
    *out_wanted = false;
    int r = index_log_find(ix, log, &id);
    if (r == 1)
        r = sql_run(ix, CARD_GET, VALUES(I(id), I(at.segment), I(at.offset)));
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[CARD_GET];
    *out_wanted = sqlite3_column_type(s, 0) == SQLITE_NULL;
    r = *out_wanted ? 0 : buf_add(out, sql_blob(s, 0));
    sql_done(ix, CARD_GET);
    return r < 0 ? r : !*out_wanted;
}
