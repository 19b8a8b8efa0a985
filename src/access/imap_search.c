/* SEARCH, SORT and THREAD (RFC 9051 6.4.4, RFC 4731, 5182, 5256, 5267 3, 7162 3.1.5 and 3.1.6): walks the messages in
 * slices of time, so that a search through gigabytes does not hold up other sessions, then gives the answer as fast as
 * the client takes it. */
#include "access/imap_search.h"
#include <errno.h>

enum { WORK = 256, PIECE = 32 * 1024 };
#define HITS_MAX ((size_t)1 << 30)
#define TEXT_MAX ((size_t)8 << 20)

bool search_pauses(struct search *q)
{
    bool pause = q->tried && imap_session_turn_over(q->session);
    q->tried = true;
    return pause;
}

static void search_free(struct search *q)
{
    search_sort_free(q);
    search_thread_free(q);
    search_nodes_done(q);
    message_reader_free(q->reader);
    free(q->own);
    free(q->saved);
    buf_done(&q->header);
    buf_done(&q->folded);
    buf_done(&q->hits);
    buf_done(&q->answer);
    arena_done(&q->parts);
    arena_done(&q->arena);
    free(q);
}

static void cancel(struct imap_session *s)
{
    search_free(TAKE(s->task.state));
    s->task = (struct imap_task){ 0 };
}

static const struct imap_search *said(const struct search *q) { return &q->command->search; }
static bool is_search(const struct search *q) { return q->command->verb == IMAP_SEARCH; }

static enum found take(struct search *q)
{
    switch (q->command->verb) {
    case IMAP_SORT: return search_sort_take(q);
    case IMAP_THREAD: return search_thread_take(q);
    default: break;
    }
    struct search_hit h = { (uint32_t)q->index, q->seq };
    buf_add(&q->hits, str_of(&h, sizeof(h)));
    return FOUND_YES;
}

/* The first hit is enough. */
static bool has_enough(const struct search *q)
{
    return is_search(q) && said(q)->has_return &&
           !(said(q)->returns & ~(uint32_t)(IMAP_RETURN_MIN | IMAP_RETURN_SAVE)) &&
           said(q)->returns & IMAP_RETURN_MIN && q->hits.n;
}

static void next_message(struct search *q)
{
    q->at_hand = true;
    q->has_text = q->has_parsed = q->has_header = q->made = q->no_content = false;
    q->done++;
}

/* What was read of the message at hand may have been overwritten since by other sessions. */
static void forget_texts(struct search *q)
{
    q->has_text = q->has_parsed = false;
}

static enum imap_step search_messages(struct search *q)
{
    forget_texts(q);
    q->tried = false;
    q->work = 0;
    while (!has_enough(q)) {
        if (q->work >= WORK && imap_session_turn_over(q->session))
            return IMAP_STEP_MORE;
        q->work %= WORK;
        if (!q->at_hand) {
            if (!box_walk_next(&q->walk, &q->index, &q->seq))
                break;
            next_message(q);
        }
        enum found e = search_match(q, q->root);
        if (e == FOUND_YES)
            e = take(q);
        if (e == FOUND_WAIT)
            return IMAP_STEP_WAIT;
        if (e == FOUND_MORE)
            return IMAP_STEP_MORE;
        q->at_hand = false;
        if (q->root->cost || !is_search(q))
            q->work = WORK; /* something was read: look at the clock each time */
    }
    return IMAP_STEP_DONE;
}

static void put_number(struct buf *out, str name, uint64_t n)
{
    buf_add(out, name);
    buf_addu(out, n);
}

/* The highest MODSEQ of hits [from, to). */
static uint64_t top_modseq(const struct search *q, size_t from, size_t to)
{
    uint64_t top = 0;
    for (size_t i = from; i < to; i++)
        top = MAX(top, q->session->view.box->messages[search_hit(q, i).index].modseq);
    return top;
}

/* Of what is returned: of MIN and MAX alone, or of all (RFC 7162 3.1.6). */
static uint64_t returned_modseq(const struct search *q)
{
    size_t n = search_hits(q);
    uint32_t r = said(q)->has_return ? said(q)->returns : (uint32_t)IMAP_RETURN_ALL;
    uint64_t top = 0;
    if (!n || r & (IMAP_RETURN_ALL | IMAP_RETURN_COUNT))
        return top_modseq(q, 0, n);
    if (r & IMAP_RETURN_MIN)
        top = top_modseq(q, 0, 1);
    if (r & IMAP_RETURN_MAX)
        top = MAX(top, top_modseq(q, n - 1, n));
    return top;
}

static void put_all(struct search *q)
{
    struct imap_set_writer w = { .out = &q->answer };
    for (size_t i = 0; i < search_hits(q); i++)
        imap_set_add(&w, search_number(q, search_hit(q, i)));
    imap_set_end(&w);
}

static void put_extended(struct search *q, uint32_t returns)
{
    struct buf *out = &q->answer;
    size_t n = search_hits(q);
    buf_add(out, S("* ESEARCH (TAG "));
    imap_put_string(out, q->command->tag, false);
    buf_add(out, q->command->uid ? S(") UID") : S(")"));
    if (returns & IMAP_RETURN_MIN && n)
        put_number(out, S(" MIN "), search_number(q, search_hit(q, 0)));
    if (returns & IMAP_RETURN_MAX && n)
        put_number(out, S(" MAX "), search_number(q, search_hit(q, n - 1)));
    if (returns & IMAP_RETURN_COUNT)
        put_number(out, S(" COUNT "), n);
    if (returns & IMAP_RETURN_ALL && n) {
        buf_add(out, S(" ALL "));
        put_all(q);
    }
    if (said(q)->has_modseq && n)
        put_number(out, S(" MODSEQ "), returned_modseq(q));
    buf_add(out, S("\r\n"));
}

static void put_plain(struct search *q)
{
    struct buf *out = &q->answer;
    size_t n = search_hits(q);
    buf_add(out, is_search(q) ? S("* SEARCH") : S("* SORT"));
    for (size_t i = 0; i < n; i++)
        put_number(out, S(" "), search_number(q, search_hit(q, i)));
    if (said(q)->has_modseq && n) {
        put_number(out, S(" (MODSEQ "), returned_modseq(q));
        buf_addc(out, ')');
    }
    buf_add(out, S("\r\n"));
}

/* "$" (RFC 5182 2.1, 2.4): the UIDs of all hits, or of those that MIN and MAX return. */
static void save(struct search *q)
{
    const struct box *b = q->session->view.box;
    uint32_t r = said(q)->returns;
    size_t n = search_hits(q);
    bool some = r & (IMAP_RETURN_MIN | IMAP_RETURN_MAX) && !(r & (IMAP_RETURN_ALL | IMAP_RETURN_COUNT));
    buf_clear(&q->session->saved);
    if (!q->session->saved.max)
        q->session->saved = BUF(HITS_MAX);
    for (size_t i = 0; i < n; i++)
        if (!some || (r & IMAP_RETURN_MIN && i == 0) || (r & IMAP_RETURN_MAX && i == n - 1))
            pack_u32(&q->session->saved, b->messages[search_hit(q, i).index].uid);
}

static int make_answer(struct search *q)
{
    const struct imap_search *m = said(q);
    uint32_t returns = m->has_return ? m->returns : 0;
    int r = q->command->verb == IMAP_SORT     ? search_sort_end(q)
            : q->command->verb == IMAP_THREAD ? search_thread_end(q)
                                              : 0;
    if (r == 0 && q->hits.failed)
        r = q->hits.failed;
    if (r < 0 || q->command->verb == IMAP_THREAD)
        return r < 0 ? r : q->answer.failed;
    if (is_search(q) && returns & IMAP_RETURN_SAVE)
        save(q);
    if (!m->has_return && !(is_search(q) && imap_server_rev2(q->session->engine)))
        put_plain(q);
    else if (!m->has_return) /* RFC 9051 6.4.4: SEARCH without RETURN is SEARCH RETURN (ALL) */
        put_extended(q, IMAP_RETURN_ALL);
    else if (returns & ~(uint32_t)IMAP_RETURN_SAVE)
        put_extended(q, returns);
    return q->answer.failed;
}

static enum imap_step finish(struct search *q, int error)
{
    struct imap_session *s = q->session;
    enum imap_verb verb = q->command->verb;
    if (error < 0 && said(q)->returns & IMAP_RETURN_SAVE)
        buf_clear(&s->saved); /* RFC 5182 2.1 */
    s->task = (struct imap_task){ 0 };
    search_free(q);
    if (error < 0)
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("There is no memory for this at the moment"));
    else
        imap_session_done(s, IMAP_OK, STR_NONE,
                          verb == IMAP_SORT     ? S("SORT completed")
                          : verb == IMAP_THREAD ? S("THREAD completed")
                                                : S("SEARCH completed"));
    return IMAP_STEP_DONE;
}

static enum imap_step step(struct imap_session *s)
{
    struct search *q = s->task.state;
    struct buf *out = imap_out(s);
    if (!q->answered) {
        enum imap_step e = search_messages(q);
        if (e == IMAP_STEP_MORE)
            imap_session_progress(s, q->done, q->goal);
        if (e != IMAP_STEP_DONE)
            return e;
        int r = make_answer(q);
        if (r < 0)
            return finish(q, r);
        q->answered = true;
        search_sort_free(q); /* the client may take its time */
        search_thread_free(q);
        buf_release(&q->hits);
    }
    while (q->answer_at < q->answer.n) {
        if (out->n >= IMAP_OUTPUT_HIGH)
            return IMAP_STEP_MORE;
        str piece = str_first(str_from(buf_str(&q->answer), q->answer_at), PIECE);
        buf_add(out, piece);
        q->answer_at += piece.n;
    }
    return finish(q, 0);
}

static int begin(struct search *q)
{
    int r = search_prepare(q);
    if (r == 0 && q->command->verb == IMAP_SORT)
        r = search_sort_begin(q);
    if (r == 0 && q->command->verb == IMAP_THREAD)
        r = search_thread_begin(q);
    return r;
}

void imap_do_search(struct imap_session *s, const struct imap_command *c)
{
    struct search *q = calloc(1, sizeof(*q));
    struct message_reader *reader = message_reader_new(s);
    if (!q || !reader) {
        message_reader_free(reader);
        free(q);
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("There is no memory for this at the moment"));
        return;
    }
    *q = (struct search){ .session = s, .command = c, .reader = reader, .arena = ARENA(64 * IMAP_COMMAND_MAX),
                          .parts = ARENA(16 * CARD_MAX), .header = BUF(TEXT_MAX), .folded = BUF(TEXT_MAX),
                          .hits = BUF(HITS_MAX), .answer = BUF(HITS_MAX) };
    int r = begin(q);
    if (r < 0) {
        search_free(q);
        if (r != -EALREADY)
            imap_session_done(s, IMAP_NO, S("LIMIT"), S("There is no memory for this at the moment"));
        return;
    }
    for (size_t i = 0; i < q->n_ranges; i++)
        q->goal += q->ranges[i].last - q->ranges[i].first + 1;
    q->walk = (struct box_walk){ .view = &s->view, .ranges = q->ranges, .n = q->n_ranges };
    s->task = (struct imap_task){ .step = step, .cancel = cancel, .state = q };
}
