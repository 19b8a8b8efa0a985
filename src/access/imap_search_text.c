/* SEARCH in what only the message itself has: fields of the header that cards do not keep, and content, part by part in
 * the order of the part table. Text parts are decoded and folded; the headers of parts and of messages inside are
 * looked at too; other attachments are not. One message may take many slices of time: the node remembers where it
 * stands. */
#include "access/imap_search.h"
#include <errno.h>
#include "message/fold.h"
#include "message/header.h"

enum { PIECE = 256 * 1024, TEXTS_KEPT = 8 };

static enum found open_content(struct search *q)
{
    if (q->no_content)
        return FOUND_NO;
    enum reader_result e = message_reader_open(q->reader, q->session->view.box, q->index);
    if (e == READER_WAIT)
        return FOUND_WAIT;
    q->no_content = e != READER_READY;
    return q->no_content ? FOUND_NO : FOUND_YES;
}

static enum found need_header(struct search *q)
{
    const struct box_message *m = search_message(q);
    if (q->has_header)
        return FOUND_YES;
    enum found e = open_content(q);
    if (e != FOUND_YES)
        return e;
    buf_clear(&q->header);
    buf_add(&q->header, str_of(m->prefix, m->prefix_len));
    q->no_content = message_reader_header(q->reader, 0, 0, &q->header) < 0;
    q->has_header = !q->no_content;
    return q->no_content ? FOUND_NO : FOUND_YES;
}

/* Is the needle in that text of a header, encoded words decoded? */
static bool in_header_text(struct search *q, const struct search_node *n, str text)
{
    buf_clear(&q->folded);
    fold_header(&q->folded, text);
    return str_find(buf_str(&q->folded), n->needle) >= 0;
}

enum found search_header(struct search *q, struct search_node *n, str field)
{
    enum found e = need_header(q);
    if (e != FOUND_YES)
        return e;
    str rest = buf_str(&q->header);
    struct header_field f;
    while (header_next(&rest, &f))
        if (str_ieq(f.name, field) && (!n->needle.n || in_header_text(q, n, f.value)))
            return FOUND_YES;
    return FOUND_NO;
}

static enum found need_parts(struct search *q)
{
    str card;
    if (q->has_parsed)
        return FOUND_YES;
    enum reader_result e = message_reader_card(q->reader, q->session->view.box, q->index, &card);
    if (e == READER_WAIT)
        return FOUND_WAIT;
    arena_clear(&q->parts);
    struct card c = { 0 };
    bool good = e == READER_READY && card_decode(&q->parts, card, &c) == 0 &&
                c.size == search_message(q)->content_len;
    if (!good || c.n_parts == 0 || (c.limited && c.n_parts == 1 && !c.parts[0].body_off)) {
        struct mime_part *p = ARENA_NEW(&q->parts, struct mime_part); /* all behind the header is one text */
        if (!p || need_header(q) != FOUND_YES)
            return FOUND_NO;
        *p = (struct mime_part){ .body_off = q->header.n - search_message(q)->prefix_len,
                                 .end_off = search_message(q)->content_len, .type = S("text") };
        c.parts = p;
        c.n_parts = 1;
    }
    q->parsed = c;
    q->has_parsed = true;
    return FOUND_YES;
}

/* The header of part i: those of messages inside, and MIME headers. The message's own is TEXT's alone. */
static bool in_part_header(struct search *q, const struct search_node *n, const struct mime_part *p)
{
    _cleanup_buf_ struct buf header = BUF(READER_HEADER_MAX + PIECE);
    if (p->header_off == p->body_off ||
        message_reader_header(q->reader, p->header_off, p->body_off, &header) < 0)
        return false;
    return in_header_text(q, n, buf_str(&header));
}

static bool is_text(const struct mime_part *p)
{
    return !p->multipart && !p->message && (str_eq(p->type, S("text")) || str_eq(p->type, S("message")));
}

/* Feeds more of the part that the node stands at. FOUND_NO: it is at its end. */
static enum found feed_part(struct search *q, struct search_node *n, const struct mime_part *p)
{
    if (!n->text && !(n->text = text_search_new(n->needle))) {
        q->hits.failed = -ENOMEM;
        return FOUND_NO;
    }
    if (!n->feeding) {
        text_search_begin(n->text, part_encoding_of(p->encoding), p->charset);
        n->feeding = true;
        n->at = p->body_off;
    }
    while (n->at < p->end_off) {
        if (search_pauses(q))
            return FOUND_MORE;
        str s = message_reader_view(q->reader, n->at, (size_t)MIN(p->end_off - n->at, (uint64_t)PIECE));
        if (!s.n)
            return FOUND_NO;
        n->at += s.n;
        if (text_search_feed(n->text, s))
            return FOUND_YES;
    }
    return text_search_end(n->text) ? FOUND_YES : FOUND_NO;
}

static enum found search_parts(struct search *q, struct search_node *n)
{
    for (; n->part < q->parsed.n_parts; n->part++) {
        const struct mime_part *p = &q->parsed.parts[n->part];
        if (!n->feeding && n->part && search_pauses(q))
            return FOUND_MORE;
        if (!n->feeding && n->part && in_part_header(q, n, p))
            return FOUND_YES;
        enum found e = is_text(p) ? feed_part(q, n, p) : FOUND_NO;
        if (e != FOUND_NO)
            return e;
        n->feeding = false;
    }
    return FOUND_NO;
}

static enum found search_all(struct search *q, struct search_node *n)
{
    enum found e = open_content(q);
    if (e == FOUND_YES)
        e = need_parts(q);
    if (e != FOUND_YES)
        return e;
    if (!n->begun && n->key->kind == IMAP_SEARCH_TEXT) {
        e = need_header(q);
        if (e != FOUND_YES || in_header_text(q, n, buf_str(&q->header)))
            return e;
    }
    n->begun = true;
    return search_parts(q, n);
}

enum found search_content(struct search *q, struct search_node *n)
{
    if (!n->begun) {
        n->feeding = false;
        n->part = 0;
    }
    enum found e = n->needle.n ? search_all(q, n) : FOUND_YES;
    if (q->n_contents > TEXTS_KEPT && (e == FOUND_YES || e == FOUND_NO))
        text_search_free(TAKE(n->text)); /* of thousands of keys one at a time has one */
    return e;
}
