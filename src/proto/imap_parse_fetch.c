/* Arguments of FETCH (RFC 9051 6.4.5, RFC 3516, RFC 7162 3.1.4). */
#include "proto/imap_parse.h"

enum follows { NO_SECTION, SECTION, PART, SIZE };

static const struct item_word {
    str name;
    enum imap_fetch_kind kind;
    bool peek;
    enum follows follows;
} item_words[] = {
#define IMAP_FETCH_ITEM(name, kind, peek, follows) { { name, sizeof(name) - 1 }, IMAP_FETCH_##kind, peek, follows },
#include "proto/imap_fetch_items.def"
#undef IMAP_FETCH_ITEM
};

static const struct imap_word macros[] = {
    { S("ALL"), 0 }, { S("FAST"), 1 }, { S("FULL"), 2 },
};

static const enum imap_fetch_kind macro_kinds[][5] = {
    { IMAP_FETCH_FLAGS, IMAP_FETCH_INTERNALDATE, IMAP_FETCH_SIZE, IMAP_FETCH_ENVELOPE },
    { IMAP_FETCH_FLAGS, IMAP_FETCH_INTERNALDATE, IMAP_FETCH_SIZE },
    { IMAP_FETCH_FLAGS, IMAP_FETCH_INTERNALDATE, IMAP_FETCH_SIZE, IMAP_FETCH_ENVELOPE, IMAP_FETCH_STRUCTURE_OLD },
};

static const uint8_t macro_n[] = { 4, 3, 5 };

static struct imap_fetch_item *add_item(struct imap_lex *l, struct imap_fetch *f, enum imap_fetch_kind kind)
{
    struct imap_fetch_item *items = imap_lex_grow(l, (void *)f->items, f->n_items, sizeof(*items));
    if (!items)
        return NULL;
    struct imap_fetch_item *item = &items[f->n_items++];
    *item = (struct imap_fetch_item){ .kind = kind };
    f->items = items;
    return item;
}

static bool has_item(const struct imap_fetch *f, enum imap_fetch_kind kind)
{
    for (size_t i = 0; i < f->n_items; i++)
        if (f->items[i].kind == kind)
            return true;
    return false;
}

/* "1.2.3", up to a '.' before a word. */
static bool part_numbers(struct imap_lex *l, struct imap_fetch_item *item)
{
    uint32_t *part = NULL;
    while (ascii_digit(imap_lex_peek(l))) {
        uint64_t n;
        if (!imap_lex_number(l, UINT32_MAX, &n))
            return false;
        if (n == 0)
            return imap_lex_fail(l, S("0 is not the number of a part"));
        part = imap_lex_grow(l, part, item->n_part, sizeof(*part));
        if (!part)
            return false;
        part[item->n_part++] = (uint32_t)n;
        if (l->end - l->p < 2 || l->p[0] != '.' || !ascii_digit(l->p[1]))
            break;
        l->p++;
    }
    item->part = part;
    return true;
}

static bool header_list(struct imap_lex *l, struct imap_fetch_item *item)
{
    str *fields = NULL;
    if (!imap_lex_space(l) || !imap_lex_expect(l, '(', S("Expected a list of header fields")))
        return false;
    do {
        str name;
        fields = imap_lex_grow(l, fields, item->n_fields, sizeof(*fields));
        if (!fields || !imap_lex_astring(l, &name))
            return false;
        fields[item->n_fields++] = name;
    } while (imap_lex_list_more(l));
    item->fields = fields;
    return !l->trouble;
}

static bool section_text(struct imap_lex *l, struct imap_fetch_item *item)
{
    static const struct imap_word words[] = {
        { S("HEADER"), IMAP_SECTION_HEADER },
        { S("HEADER.FIELDS"), IMAP_SECTION_FIELDS },
        { S("HEADER.FIELDS.NOT"), IMAP_SECTION_FIELDS_NOT },
        { S("TEXT"), IMAP_SECTION_TEXT },
        { S("MIME"), IMAP_SECTION_MIME },
    };
    const struct imap_word *w = imap_lex_word_of(l, words, ARRAY_LEN(words), S("Unknown section"));
    if (!w)
        return false;
    item->section = w->value;
    if (item->section == IMAP_SECTION_MIME && item->n_part == 0)
        return imap_lex_fail(l, S("MIME needs the number of a part before it"));
    if (item->section == IMAP_SECTION_FIELDS || item->section == IMAP_SECTION_FIELDS_NOT)
        return header_list(l, item);
    return true;
}

/* "<0.1000>" (RFC 9051 9 partial) */
static bool partial(struct imap_lex *l, struct imap_fetch_item *item)
{
    if (!imap_lex_eat(l, '<'))
        return true;
    item->partial = true;
    if (!imap_lex_number(l, INT64_MAX, &item->offset) || !imap_lex_expect(l, '.', S("Expected <offset.length>")) ||
        !imap_lex_number(l, INT64_MAX, &item->length) || !imap_lex_expect(l, '>', S("Expected <offset.length>")))
        return false;
    return item->length > 0 || imap_lex_fail(l, S("The length of a partial FETCH cannot be 0"));
}

static bool section(struct imap_lex *l, enum follows follows, struct imap_fetch_item *item)
{
    if (!imap_lex_expect(l, '[', S("Expected [ and a section")) || !part_numbers(l, item))
        return false;
    bool text = item->n_part ? imap_lex_eat(l, '.') : imap_lex_peek(l) != ']';
    if (text && follows != SECTION)
        return imap_lex_fail(l, S("BINARY takes the number of a part only"));
    if (text && !section_text(l, item))
        return false;
    return imap_lex_expect(l, ']', S("Expected ] after the section")) && (follows == SIZE || partial(l, item));
}

static bool one_item(struct imap_lex *l, bool uid, struct imap_fetch *f)
{
    str word = imap_lex_word(l);
    const struct imap_word *macro = imap_word_find(macros, ARRAY_LEN(macros), word);
    for (size_t i = 0; macro && i < macro_n[macro->value]; i++)
        if (!add_item(l, f, macro_kinds[macro->value][i]))
            return false;
    if (macro)
        return true;
    const struct item_word *w = item_words, *end = item_words + ARRAY_LEN(item_words);
    while (w < end && !str_ieq(w->name, word))
        w++;
    if (w == end)
        return imap_lex_fail(l, S("Unknown item of FETCH"));
    if (uid && w->kind == IMAP_FETCH_UID)
        return true;
    struct imap_fetch_item *item = add_item(l, f, w->kind);
    if (!item)
        return false;
    item->peek = w->peek;
    if (w->follows == NO_SECTION)
        return true;
    if (w->kind == IMAP_FETCH_SECTION && !w->peek && imap_lex_peek(l) != '[') {
        item->kind = IMAP_FETCH_STRUCTURE_OLD; /* BODY */
        return true;
    }
    return section(l, w->follows, item);
}

static bool items(struct imap_lex *l, bool uid, struct imap_fetch *f)
{
    if (uid && !add_item(l, f, IMAP_FETCH_UID)) /* Thunderbird wants it first */
        return false;
    if (!imap_lex_eat(l, '('))
        return one_item(l, uid, f);
    do {
        if (!one_item(l, uid, f))
            return false;
    } while (imap_lex_list_more(l));
    return !l->trouble;
}

static bool one_modifier(struct imap_lex *l, struct imap_fetch *f)
{
    if (imap_lex_eat_word(l, S("VANISHED"))) {
        f->vanished = true;
        return true;
    }
    if (!imap_lex_eat_word(l, S("CHANGEDSINCE")))
        return imap_lex_fail(l, S("Unknown modifier of FETCH"));
    f->has_changedsince = true;
    return imap_lex_space(l) && imap_lex_number(l, INT64_MAX, &f->changedsince); /* 0 is sent by iOS */
}

static bool modifiers(struct imap_lex *l, struct imap_fetch *f)
{
    if (!imap_lex_expect(l, '(', S("Expected a list of modifiers")))
        return false;
    do {
        if (!one_modifier(l, f))
            return false;
    } while (imap_lex_list_more(l));
    return !l->trouble;
}

bool imap_parse_fetch(struct imap_lex *l, struct imap_command *c)
{
    struct imap_fetch *f = &c->fetch;
    if (!imap_lex_space(l) || !imap_lex_set(l, &f->set) || !imap_lex_space(l) || !items(l, c->uid, f))
        return false;
    if (imap_lex_more(l) && !modifiers(l, f))
        return false;
    if (f->vanished && (!c->uid || !f->has_changedsince)) /* RFC 7162 3.2.6 */
        return imap_lex_fail(l, S("VANISHED needs UID FETCH and CHANGEDSINCE"));
    return !f->has_changedsince || has_item(f, IMAP_FETCH_MODSEQ) || add_item(l, f, IMAP_FETCH_MODSEQ);
}
