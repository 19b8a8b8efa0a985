/* Does a message match a search (RFC 9051 6.4.4, RFC 5032, 7162 3.1.5, 8474 6)? Keys are tried from cheap to dear, so
 * that most messages are decided by what is in memory, some by their card, and few by their content. A key that has to
 * wait is asked again from the top when what it lacks is there. */
#include <errno.h>
#include "access/imap_search.h"
#include "access/object_id.h"
#include "base/date.h"
#include "message/fold.h"
#include "message/header.h"

enum { COST_MEMORY, COST_CARD, COST_HEADER, COST_CONTENT, COSTS };

static unsigned kind_cost(enum imap_search_kind kind)
{
    switch (kind) {
    case IMAP_SEARCH_SENTBEFORE: case IMAP_SEARCH_SENTON: case IMAP_SEARCH_SENTSINCE: case IMAP_SEARCH_SUBJECT:
    case IMAP_SEARCH_FROM: case IMAP_SEARCH_TO: case IMAP_SEARCH_CC: case IMAP_SEARCH_BCC: case IMAP_SEARCH_THREADID:
        return COST_CARD;
    case IMAP_SEARCH_HEADER: return COST_HEADER;
    case IMAP_SEARCH_BODY: case IMAP_SEARCH_TEXT: return COST_CONTENT;
    default: return COST_MEMORY;
    }
}

/* Folded header fields have one blank where there were several, and a tab or a fold counts as one. */
static void squeeze_blanks(struct buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        char c = b->p[i] == '\t' || b->p[i] == '\r' || b->p[i] == '\n' ? ' ' : b->p[i];
        if (c != ' ' || n == 0 || b->p[n - 1] != ' ')
            b->p[n++] = c;
    }
    b->n = n;
}

static int fold_needle(struct search *q, str text, bool of_header, str *out)
{
    _cleanup_buf_ struct buf folded = BUF(4 * IMAP_COMMAND_MAX);
    int r = fold_utf8(&folded, text);
    if (r < 0)
        return -ENOMEM;
    if (of_header)
        squeeze_blanks(&folded);
    *out = arena_dup(&q->arena, buf_str(&folded));
    return out->p ? 0 : -ENOMEM;
}

static int64_t now_s(const struct search *q) { return (int64_t)(q->session->access->role->env->wall_us() / 1000000); }

/* "$" may stand in a search a thousand times. */
static int use_saved(struct search *q, struct search_node *n)
{
    if (!q->saved && !imap_session_resolve(q->session, &n->key->set, true, &q->saved, &q->n_saved))
        return -EALREADY;
    n->ranges = q->saved;
    n->n_ranges = q->n_saved;
    return 0;
}

static int prepare_node(struct search *q, struct search_node *n)
{
    const struct imap_search_key *k = n->key;
    switch (k->kind) {
    case IMAP_SEARCH_SET: case IMAP_SEARCH_UID:
        if (k->set.saved)
            return use_saved(q, n);
        if (!imap_session_resolve(q->session, &k->set, k->kind == IMAP_SEARCH_UID, &n->ranges, &n->n_ranges))
            return -EALREADY;
        return 0;
    case IMAP_SEARCH_KEYWORD: n->keyword = box_keyword(q->session->view.box, k->text); return 0;
    case IMAP_SEARCH_OLDER: case IMAP_SEARCH_YOUNGER: n->moment = now_s(q) - (int64_t)k->number; return 0;
    case IMAP_SEARCH_HEADER:
        n->field = arena_lower(&q->arena, k->field);
        n->kept = n->field.p && card_header_kept(n->field) && !str_eq(n->field, S("delivered-to")) &&
                  !str_eq(n->field, S("return-path"));
        n->cost = n->kept ? COST_CARD : COST_HEADER;
        return n->field.p ? fold_needle(q, k->text, true, &n->needle) : -ENOMEM;
    case IMAP_SEARCH_SUBJECT: case IMAP_SEARCH_FROM: case IMAP_SEARCH_TO: case IMAP_SEARCH_CC: case IMAP_SEARCH_BCC:
        return fold_needle(q, k->text, true, &n->needle);
    case IMAP_SEARCH_BODY: case IMAP_SEARCH_TEXT:
        q->n_contents++;
        return fold_needle(q, k->text, false, &n->needle) < 0 || n->needle.n > TEXT_SEARCH_NEEDLE_MAX ? -ENOMEM : 0;
    default: return 0;
    }
}

struct children { struct search_node *first, **end; };

static void add_child(struct children of[COSTS], struct search_node *child)
{
    struct children *c = &of[child->cost];
    *(c->first ? c->end : &c->first) = child;
    c->end = &child->next;
}

/* Those that are cheap first. */
static void join_children(struct search_node *parent, struct children of[COSTS])
{
    struct search_node **at = &parent->children;
    for (unsigned cost = 0; cost < COSTS; cost++)
        if (of[cost].first) {
            *at = of[cost].first;
            at = of[cost].end;
            parent->cost = MAX(parent->cost, cost);
        }
}

/* The tree is at most 64 deep (imap_parse()). */
static int make_node(struct search *q, const struct imap_search_key *k, struct search_node **out)
{
    struct search_node *n = ARENA_NEW(&q->arena, struct search_node);
    struct children children[COSTS] = { 0 };
    if (!n)
        return -ENOMEM;
    n->key = k;
    n->index = SIZE_MAX;
    n->cost = kind_cost(k->kind);
    *out = n;
    int r = prepare_node(q, n);
    for (const struct imap_search_key *c = k->children; r == 0 && c; c = c->next) {
        struct search_node *child = NULL;
        r = make_node(q, c, &child);
        if (child)
            add_child(children, child);
    }
    join_children(n, children);
    return r;
}

static void nodes_done(const struct search *q, struct search_node *n)
{
    for (; n; n = n->next) {
        if (n->ranges != q->saved)
            free(n->ranges);
        text_search_free(TAKE(n->text));
        nodes_done(q, n->children);
    }
}

void search_nodes_done(struct search *q)
{
    nodes_done(q, TAKE(q->root));
}

/* If the search is confined to a set, only that is walked. */
static void confine(struct search *q)
{
    const struct search_node *n = q->root;
    if (n->key->kind == IMAP_SEARCH_AND)
        for (n = n->children; n && !n->ranges; n = n->next)
            ;
    if (!n || !n->ranges)
        return;
    q->ranges = n->ranges;
    q->n_ranges = n->n_ranges;
}

int search_prepare(struct search *q)
{
    struct box_range *all = calloc(1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    int r = make_node(q, q->command->search.key, &q->root);
    q->own = q->ranges = all;
    q->n_ranges = q->session->view.shown ? 1 : 0;
    all->last = q->session->view.shown ? q->session->view.shown - 1 : 0;
    if (r == 0)
        confine(q);
    return r;
}

static bool in_ranges(const struct search_node *n, size_t index)
{
    size_t low = 0, high = n->n_ranges;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (n->ranges[mid].last < index)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n->n_ranges && n->ranges[low].first <= index;
}

static int64_t day_of(int64_t unix_s, int zone_min)
{
    int64_t s = unix_s + (int64_t)zone_min * 60;
    return s >= 0 ? s / 86400 : -((-s + 86399) / 86400);
}

static bool email_id_is(const struct box_message *m, str id)
{
    char text[64];
    struct buf b = { .p = text, .cap = sizeof(text), .max = sizeof(text) };
    email_id_put(&b, m);
    return str_eq(buf_str(&b), id);
}

static bool has_flags(const struct search *q, uint32_t wanted)
{
    const struct box_message *m = search_message(q);
    uint32_t have = m->flags | (box_view_recent(&q->session->view, m) ? (uint32_t)IMAP_RECENT : 0);
    return (have & wanted) == wanted;
}

/* Keys that the mailbox in memory answers. */
static bool match_memory(const struct search *q, const struct search_node *n)
{
    const struct box_message *m = search_message(q);
    const struct imap_search_key *k = n->key;
    switch (k->kind) {
    case IMAP_SEARCH_SET: case IMAP_SEARCH_UID: return in_ranges(n, q->index);
    case IMAP_SEARCH_FLAGS: return has_flags(q, k->flags);
    case IMAP_SEARCH_KEYWORD: return n->keyword >= 0 && m->keywords >> n->keyword & 1;
    case IMAP_SEARCH_LARGER: return box_message_size(m) > k->number;
    case IMAP_SEARCH_SMALLER: return box_message_size(m) < k->number;
    case IMAP_SEARCH_BEFORE: return day_of(m->date_s, m->zone_min) < k->day;
    case IMAP_SEARCH_ON: return day_of(m->date_s, m->zone_min) == k->day;
    case IMAP_SEARCH_SINCE: return day_of(m->date_s, m->zone_min) >= k->day;
    case IMAP_SEARCH_OLDER: return m->date_s <= n->moment;
    case IMAP_SEARCH_YOUNGER: return m->date_s >= n->moment;
    case IMAP_SEARCH_MODSEQ: return m->modseq >= k->number;
    case IMAP_SEARCH_EMAILID: return email_id_is(m, k->text);
    case IMAP_SEARCH_EVERYTHING: return true;
    default: return false;
    }
}

enum found search_need_columns(struct search *q, uint32_t columns)
{
    uint32_t all = columns | (q->has_text ? q->text_columns : 0);
    if (q->has_text && all == q->text_columns)
        return q->no_content ? FOUND_NO : FOUND_YES;
    enum reader_result e = message_reader_text(q->reader, q->session->view.box, q->index, all, &q->text, &q->made);
    if (e == READER_WAIT)
        return FOUND_WAIT;
    q->has_text = true;
    q->text_columns = e == READER_READY && !q->made ? all : READER_ALL_TEXTS;
    q->no_content |= e != READER_READY;
    if (e != READER_READY)
        q->text = (struct card_text){ 0 };
    return q->no_content ? FOUND_NO : FOUND_YES;
}

enum found search_need_text(struct search *q) { return search_need_columns(q, READER_ALL_TEXTS); }

/* The day as the Date field has it, whatever the zone (RFC 9051 6.4.4). */
static bool sent_day(const struct search *q, int64_t *out)
{
    struct header_field f;
    int64_t unix_s;
    int zone_min;
    if (!q->text.has_date)
        return false;
    *out = day_of(q->text.date_s, 0);
    if (header_find(q->text.headers, S("date"), &f) && date_parse_5322(f.value, &unix_s, &zone_min) == 0)
        *out = day_of(unix_s, zone_min);
    return true;
}

static enum found yes_if(bool b) { return b ? FOUND_YES : FOUND_NO; }

static enum found match_sent(struct search *q, const struct search_node *n)
{
    int64_t day;
    if (!sent_day(q, &day))
        return FOUND_NO;
    switch (n->key->kind) {
    case IMAP_SEARCH_SENTBEFORE: return yes_if(day < n->key->day);
    case IMAP_SEARCH_SENTON: return yes_if(day == n->key->day);
    default: return yes_if(day >= n->key->day);
    }
}

static enum found match_address(struct search *q, struct search_node *n, str folded, str field)
{
    if (str_find(folded, n->needle) >= 0)
        return FOUND_YES;
    return q->text.headers_cut ? search_header(q, n, field) : FOUND_NO;
}

/* HEADER of a field whose lines the card has. */
static enum found match_kept(struct search *q, struct search_node *n)
{
    str rest = q->text.headers;
    struct header_field f;
    if (q->text.headers_cut)
        return search_header(q, n, n->field);
    while (header_next(&rest, &f)) {
        if (!str_ieq(f.name, n->field))
            continue;
        buf_clear(&q->folded);
        if (!n->needle.n || (fold_header(&q->folded, f.value) == 0 && str_find(buf_str(&q->folded), n->needle) >= 0))
            return FOUND_YES;
    }
    return FOUND_NO;
}

static bool thread_id_is(const struct search *q, str id)
{
    char text[32];
    struct buf b = { .p = text, .cap = sizeof(text), .max = sizeof(text) };
    return thread_id_put(&b, &q->text) && str_eq(buf_str(&b), id);
}

static uint32_t columns_of(enum imap_search_kind kind)
{
    switch (kind) {
    case IMAP_SEARCH_SUBJECT: return COLUMN_SUBJECT;
    case IMAP_SEARCH_FROM: case IMAP_SEARCH_TO: case IMAP_SEARCH_CC: case IMAP_SEARCH_BCC: return COLUMN_PEOPLE;
    case IMAP_SEARCH_THREADID: return COLUMN_THREAD;
    default: return COLUMN_HEADERS;
    }
}

/* Keys that the card answers. */
static enum found match_card(struct search *q, struct search_node *n)
{
    enum found e = search_need_columns(q, columns_of(n->key->kind));
    if (e != FOUND_YES)
        return e;
    switch (n->key->kind) {
    case IMAP_SEARCH_SENTBEFORE: case IMAP_SEARCH_SENTON: case IMAP_SEARCH_SENTSINCE: return match_sent(q, n);
    case IMAP_SEARCH_SUBJECT: return match_address(q, n, q->text.subject, S("subject"));
    case IMAP_SEARCH_FROM: return match_address(q, n, q->text.from, S("from"));
    case IMAP_SEARCH_TO: return match_address(q, n, q->text.to, S("to"));
    case IMAP_SEARCH_CC: return match_address(q, n, q->text.cc, S("cc"));
    case IMAP_SEARCH_BCC: return match_address(q, n, q->text.bcc, S("bcc"));
    case IMAP_SEARCH_THREADID: return yes_if(thread_id_is(q, n->key->text));
    default: return match_kept(q, n);
    }
}

static enum found match_all(struct search *q, struct search_node *n)
{
    for (struct search_node *c = n->children; c; c = c->next) {
        enum found e = search_match(q, c);
        if (e != FOUND_YES)
            return e;
    }
    return FOUND_YES;
}

static enum found match_any(struct search *q, struct search_node *n)
{
    for (struct search_node *c = n->children; c; c = c->next) {
        enum found e = search_match(q, c);
        if (e != FOUND_NO)
            return e;
    }
    return FOUND_NO;
}

/* A key that takes time is tried once for each message, however often the search is begun again from the top: there may
 * be thousands of them. */
static enum found match_once(struct search *q, struct search_node *n)
{
    bool same = n->index == q->index;
    if (same && (n->known == FOUND_YES || n->known == FOUND_NO))
        return n->known;
    if (!(same && n->begun) && search_pauses(q))
        return FOUND_MORE;
    if (!same)
        n->begun = false;
    n->index = q->index;
    n->known = n->cost == COST_CONTENT  ? search_content(q, n)
               : n->cost == COST_HEADER ? search_header(q, n, n->field)
                                        : match_card(q, n);
    return n->known;
}

enum found search_match(struct search *q, struct search_node *n)
{
    q->work++;
    switch (n->key->kind) {
    case IMAP_SEARCH_AND: return match_all(q, n);
    case IMAP_SEARCH_OR: return match_any(q, n);
    case IMAP_SEARCH_NOT: {
        enum found e = match_all(q, n);
        return e == FOUND_YES ? FOUND_NO : e == FOUND_NO ? FOUND_YES : e;
    }
    default: return n->cost == COST_MEMORY ? yes_if(match_memory(q, n)) : match_once(q, n);
    }
}
