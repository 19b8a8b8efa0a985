/* Address lists decoded: names without quotes and comments, addresses without the obsolete blanks. See address.h. */
#include "message/address_scan.h"
#include "message/address.h"

/* Text of one entry in the arena; decoding never makes longer, so the room is known beforehand. */
struct writer {
    char *p;
    size_t n;
};

static str since(const struct writer *w, size_t from)
{
    return str_of(w->p + from, w->n - from);
}

/* The byte at s.p[i], or nothing if it begins a control character, or ends one that what was left out would make
 * anew; a tab becomes a space. Returns the bytes taken. */
static size_t put(struct writer *w, str s, size_t i)
{
    if (address_control_at(s, i) && s.p[i] != '\t')
        return (unsigned char)s.p[i] == 0xc2 ? 2 : 1;
    w->p[w->n++] = s.p[i] == '\t' ? ' ' : s.p[i];
    if (w->n > 1 && address_control_at(str_of(w->p, w->n), w->n - 2))
        w->n--;
    return 1;
}

/* Copies atoms of ASCII at s.p[i], with their dots; returns the bytes taken. */
static size_t put_atoms(struct writer *w, str s, size_t i)
{
    size_t n = 0;
    while (i + n < s.n && (unsigned char)s.p[i + n] < 128 && (address_atext(s.p[i + n]) || s.p[i + n] == '.'))
        n++;
    memcpy(w->p + w->n, s.p + i, n);
    w->n += n;
    return n;
}

/* s without the backslashes that quote. */
static void put_unescaped(struct writer *w, str s)
{
    for (size_t i = 0; i < s.n;) {
        if (s.p[i] == '\\' && i + 1 < s.n)
            i++;
        i += put(w, s, i);
    }
}

/* The inside of the quoted string at s.p[i]; returns where it ends. */
static size_t put_quoted(struct writer *w, str s, size_t i)
{
    bool closed;
    size_t end = address_skip_quoted(s, i, &closed);
    put_unescaped(w, str_of(s.p + i + 1, end - i - 1 - closed));
    return end;
}

/* A local part or domain as written, without blanks and comments between its tokens. */
static str put_part(struct writer *w, str part)
{
    size_t from = w->n;
    for (size_t i = address_skip_cfws(part, 0); i < part.n; i = address_skip_cfws(part, i)) {
        size_t atoms = put_atoms(w, part, i);
        i += atoms;
        if (!atoms)
            i = part.p[i] == '"' ? put_quoted(w, part, i) : i + put(w, part, i);
    }
    return since(w, from);
}

/* A phrase: its words with one space where blanks or comments stood. */
static str put_phrase(struct writer *w, str phrase)
{
    size_t from = w->n;
    for (size_t i = 0; i < phrase.n;) {
        size_t next = address_skip_cfws(phrase, i);
        if (next > i && w->n > from && next < phrase.n)
            w->p[w->n++] = ' ';
        size_t atoms = put_atoms(w, phrase, next);
        i = next + atoms;
        if (!atoms && i < phrase.n)
            i = phrase.p[i] == '"' ? put_quoted(w, phrase, i) : i + put(w, phrase, i);
    }
    return since(w, from);
}

/* The inside of a comment, as the name of an address that has none. */
static str put_comment(struct writer *w, str comment)
{
    size_t from = w->n;
    if (comment.n < 2)
        return STR_NONE;
    bool closed = comment.p[comment.n - 1] == ')';
    put_unescaped(w, str_trim(str_of(comment.p + 1, comment.n - 1 - closed)));
    return since(w, from);
}

struct mailbox *address_item_mailbox(struct arena *a, const struct address_item *item)
{
    static const int kinds[] = {
        [ADDRESS_ITEM] = MAILBOX_ADDRESS,
        [ADDRESS_GROUP_START] = MAILBOX_GROUP_START,
        [ADDRESS_GROUP_END] = MAILBOX_GROUP_END,
    };
    size_t room = item->phrase.n + item->comment.n + item->local.n + item->domain.n;
    struct mailbox *m = arena_alloc(a, sizeof(*m) + room);
    if (!m)
        return NULL;
    struct writer w = { .p = (char *)(m + 1) };
    m->kind = kinds[item->kind];
    m->local = put_part(&w, item->local);
    m->domain = put_part(&w, item->domain);
    m->name = put_phrase(&w, item->phrase);
    if (m->name.n == 0)
        m->name = put_comment(&w, item->comment);
    return m;
}

struct mailbox *address_list_parse(struct arena *a, str value, size_t max, bool *out_broken)
{
    struct mailbox *first = NULL, **tail = &first;
    struct address_scan scan = ADDRESS_SCAN(value);
    struct address_item item;
    size_t left = max;
    bool grouped = false; /* the list has a group open, whose end has its place reserved */
    bool cut = false;     /* something did not fit: nothing more is added but that end */
    while (!(cut && !grouped) && address_scan_next(&scan, &item)) {
        bool end = item.kind == ADDRESS_GROUP_END;
        size_t need = 1 + (item.kind == ADDRESS_GROUP_START || (grouped && !end));
        struct mailbox *m = left < need || (cut && !end) ? NULL : address_item_mailbox(a, &item);
        cut |= !m;
        if (!m)
            continue;
        grouped = item.kind == ADDRESS_GROUP_START || (grouped && !end);
        left--;
        *tail = m;
        tail = &m->next;
    }
    if (out_broken)
        *out_broken = scan.broken || cut;
    return first;
}
