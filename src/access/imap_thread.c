/* THREAD: hands the hits of a search to a thread maker. */
#include <errno.h>
#include "access/imap_search.h"
#include "access/threader.h"

int search_thread_begin(struct search *q)
{
    uint8_t key[16];
    q->session->access->role->env->random(key, sizeof(key));
    q->threads = thread_maker_new(q->command->search.thread, key);
    return q->threads ? 0 : -ENOMEM;
}

enum found search_thread_take(struct search *q)
{
    enum found e = search_need_columns(q, COLUMN_THREAD | COLUMN_SUBJECT);
    if (e == FOUND_WAIT)
        return e;
    const struct box_message *m = search_message(q);
    const struct card_text *t = e == FOUND_YES ? &q->text : NULL;
    uint32_t number = search_number(q, (struct search_hit){ (uint32_t)q->index, q->seq });
    if (thread_maker_add(q->threads, number, t && t->has_date ? t->date_s : m->date_s, t) < 0)
        q->hits.failed = -ENOMEM;
    return FOUND_YES;
}

int search_thread_end(struct search *q)
{
    if (q->hits.failed)
        return q->hits.failed;
    buf_add(&q->answer, S("* THREAD"));
    size_t before = q->answer.n;
    buf_addc(&q->answer, ' ');
    int r = thread_maker_end(q->threads, &q->answer);
    if (q->answer.n == before + 1)
        q->answer.n = before; /* RFC 5256 4: without messages not even the blank */
    buf_add(&q->answer, S("\r\n"));
    return r < 0 ? r : q->answer.failed;
}

void search_thread_free(struct search *q)
{
    thread_maker_free(TAKE(q->threads));
}
