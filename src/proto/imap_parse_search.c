/* Arguments of SEARCH, SORT and THREAD: a tree of keys (RFC 9051 6.4.4, RFC 5256, 4731, 5182, 5032, 7162 3.1.5, 8474).
 * What can be said by others is: UNSEEN is NOT of the flag \Seen. */
#include "proto/imap_parse.h"
#include "base/event.h"
#include <errno.h>

#define DEPTH_MAX 64

enum argument { NOTHING, STRING, DATE, FIELD, KEYWORD, NUMBER, SECONDS, SET, MODSEQ, KEY, TWO_KEYS, NEW, WITHOUT,
                WITHOUT_KEYWORD };

static const struct key_word {
    str name;
    enum imap_search_kind kind;
    enum argument argument;
    uint32_t flags;
} key_words[] = {
#define IMAP_SEARCH_KEY(name, kind, argument, flags) \
    { { name, sizeof(name) - 1 }, IMAP_SEARCH_##kind, argument, flags },
#include "proto/imap_search_keys.def"
#undef IMAP_SEARCH_KEY
};

struct reader {
    struct imap_lex *l;
    struct imap_search *search;
    unsigned depth;
};

static bool one_key(struct reader *r, struct imap_search_key **out);

static struct imap_search_key *new_key(struct reader *r, enum imap_search_kind kind)
{
    struct imap_search_key *k = ARENA_NEW(r->l->arena, struct imap_search_key);
    if (!k)
        imap_lex_no_memory(r->l);
    else
        k->kind = kind;
    return k;
}

static const struct key_word *find_key(str name)
{
    for (size_t i = 0; i < ARRAY_LEN(key_words); i++)
        if (str_ieq(name, key_words[i].name))
            return &key_words[i];
    return NULL;
}

static bool text(struct reader *r, str *out)
{
    if (!imap_lex_space(r->l) || !imap_lex_astring(r->l, out))
        return false;
    return str_ascii(*out) || utf8_valid(*out) || imap_lex_fail(r->l, S("Text to search for is not UTF-8"));
}

static bool number(struct reader *r, uint64_t max, uint64_t *out)
{
    return imap_lex_space(r->l) && imap_lex_number(r->l, max, out);
}

static bool seconds(struct reader *r, uint64_t *out)
{
    return number(r, UINT32_MAX, out) && (*out || imap_lex_fail(r->l, S("An age cannot be 0")));
}

static bool keyword(struct reader *r, str *out)
{
    return imap_lex_space(r->l) && imap_lex_atom(r->l, out);
}

/* [SP entry-name SP entry-type-req] SP mod-sequence-valzer: sequences of single flags are not kept apart, so the name
 * is read and left (RFC 7162 3.1.5). */
static bool modseq(struct reader *r, uint64_t *out)
{
    static const struct imap_word types[] = { { S("priv"), 0 }, { S("shared"), 0 }, { S("all"), 0 } };
    struct imap_lex *l = r->l;
    str name;
    r->search->has_modseq = true;
    if (!imap_lex_space(l))
        return false;
    if (imap_lex_peek(l) != '"')
        return imap_lex_number(l, INT64_MAX, out);
    return imap_lex_string(l, &name) && imap_lex_space(l) &&
           imap_lex_word_of(l, types, ARRAY_LEN(types), S("Expected priv, shared or all")) &&
           number(r, INT64_MAX, out);
}

/* k becomes NOT k. */
static bool negate(struct reader *r, struct imap_search_key **k)
{
    struct imap_search_key *not = new_key(r, IMAP_SEARCH_NOT);
    if (!not)
        return false;
    not->children = *k;
    *k = not;
    return true;
}

static bool has_flags(struct reader *r, uint32_t flags, bool without, struct imap_search_key **out)
{
    struct imap_search_key *k = new_key(r, IMAP_SEARCH_FLAGS);
    if (!k)
        return false;
    k->flags = flags;
    *out = k;
    return !without || negate(r, out);
}

static bool new_messages(struct reader *r, struct imap_search_key *k)
{
    return has_flags(r, IMAP_RECENT, false, &k->children) && has_flags(r, IMAP_SEEN, true, &k->children->next);
}

static bool sub_key(struct reader *r, struct imap_search_key **out)
{
    return imap_lex_space(r->l) && one_key(r, out);
}

static bool argument(struct reader *r, const struct key_word *w, struct imap_search_key **at)
{
    struct imap_search_key *k = *at;
    switch (w->argument) {
    case NOTHING:
        return true;
    case WITHOUT:
        return negate(r, at);
    case STRING:
        return text(r, &k->text);
    case FIELD:
        return imap_lex_space(r->l) && imap_lex_astring(r->l, &k->field) && text(r, &k->text);
    case KEYWORD:
        return keyword(r, &k->text);
    case WITHOUT_KEYWORD:
        return keyword(r, &k->text) && negate(r, at);
    case DATE:
        return imap_lex_space(r->l) && imap_lex_date(r->l, &k->day);
    case NUMBER:
        return number(r, INT64_MAX, &k->number);
    case SECONDS:
        return seconds(r, &k->number);
    case SET:
        return imap_lex_space(r->l) && imap_lex_set(r->l, &k->set);
    case MODSEQ:
        return modseq(r, &k->number);
    case KEY:
        return sub_key(r, &k->children);
    case TWO_KEYS:
        return sub_key(r, &k->children) && sub_key(r, &k->children->next);
    case NEW:
        return new_messages(r, k);
    }
    return false;
}

static bool named_key(struct reader *r, struct imap_search_key **out)
{
    const struct key_word *w = find_key(imap_lex_word(r->l));
    if (!w)
        return imap_lex_fail(r->l, S("Unknown search key"));
    *out = new_key(r, w->kind);
    if (!*out)
        return false;
    (*out)->flags = w->flags;
    return argument(r, w, out);
}

/* "(" key *(SP key) ")", after the parenthesis. */
static bool listed_keys(struct reader *r, struct imap_search_key **out)
{
    struct imap_search_key *and = new_key(r, IMAP_SEARCH_AND), **at;
    if (!and)
        return false;
    at = &and->children;
    do {
        if (!one_key(r, at))
            return false;
        at = &(*at)->next;
    } while (imap_lex_list_more(r->l));
    *out = and;
    return !r->l->trouble;
}

static bool set_key(struct reader *r, struct imap_search_key **out)
{
    *out = new_key(r, IMAP_SEARCH_SET);
    return *out && imap_lex_set(r->l, &(*out)->set);
}

static bool one_key(struct reader *r, struct imap_search_key **out)
{
    char c = imap_lex_peek(r->l);
    if (r->depth == DEPTH_MAX)
        return imap_lex_refuse(r->l, "LIMIT", S("Search keys are nested too deep"));
    r->depth++;
    bool ok = ascii_digit(c) || c == '*' || c == '$' ? set_key(r, out)
              : imap_lex_eat(r->l, '(')              ? listed_keys(r, out)
                                                     : named_key(r, out);
    r->depth--;
    return ok;
}

/* All keys to the end of the command; one alone stands for itself. */
static bool keys(struct imap_lex *l, struct imap_search *search)
{
    struct reader r = { .l = l, .search = search };
    struct imap_search_key *first = NULL, **at = &first;
    do {
        if (!one_key(&r, at))
            return false;
        at = &(*at)->next;
    } while (imap_lex_more(l));
    search->key = first;
    if (!first->next)
        return true;
    search->key = new_key(&r, IMAP_SEARCH_AND);
    if (search->key)
        search->key->children = first;
    return search->key != NULL;
}

static bool charset(struct imap_lex *l)
{
    static const struct imap_word known[] = { { S("US-ASCII"), 0 }, { S("UTF-8"), 0 }, { S("ASCII"), 0 },
                                              { S("UTF8"), 0 } };
    str name;
    if (!imap_lex_astring(l, &name))
        return false;
    if (!imap_word_find(known, ARRAY_LEN(known), name))
        return imap_lex_refuse(l, "BADCHARSET (US-ASCII UTF-8)", S("Character set is not supported"));
    return imap_lex_space(l);
}

static bool return_options(struct imap_lex *l, struct imap_search *search)
{
    static const struct imap_word words[] = {
        { S("MIN"), IMAP_RETURN_MIN },     { S("MAX"), IMAP_RETURN_MAX },   { S("ALL"), IMAP_RETURN_ALL },
        { S("COUNT"), IMAP_RETURN_COUNT }, { S("SAVE"), IMAP_RETURN_SAVE },
    };
    search->has_return = true;
    if (!imap_lex_space(l) || !imap_lex_expect(l, '(', S("Expected a list of options after RETURN")))
        return false;
    if (imap_lex_eat(l, ')')) {
        search->returns = IMAP_RETURN_ALL; /* RFC 4731 3.1 */
        return imap_lex_space(l);
    }
    do {
        const struct imap_word *w = imap_lex_word_of(l, words, ARRAY_LEN(words), S("Unknown option of RETURN"));
        if (!w)
            return false;
        search->returns |= w->value;
    } while (imap_lex_list_more(l));
    return !l->trouble && imap_lex_space(l);
}

bool imap_parse_search(struct imap_lex *l, struct imap_command *c)
{
    if (!imap_lex_space(l) || (imap_lex_eat_word(l, S("RETURN")) && !return_options(l, &c->search)))
        return false;
    if (imap_lex_eat_word(l, S("CHARSET")) && (!imap_lex_space(l) || !charset(l)))
        return false;
    return keys(l, &c->search);
}

static bool sort_criteria(struct imap_lex *l, struct imap_search *search)
{
    static const struct imap_word words[] = {
        { S("ARRIVAL"), IMAP_SORT_ARRIVAL }, { S("CC"), IMAP_SORT_CC },     { S("DATE"), IMAP_SORT_DATE },
        { S("FROM"), IMAP_SORT_FROM },       { S("SIZE"), IMAP_SORT_SIZE }, { S("SUBJECT"), IMAP_SORT_SUBJECT },
        { S("TO"), IMAP_SORT_TO },
    };
    if (!imap_lex_expect(l, '(', S("Expected a list of sort criteria")))
        return false;
    do {
        bool reverse = imap_lex_eat_word(l, S("REVERSE"));
        if (reverse && !imap_lex_space(l))
            return false;
        const struct imap_word *w = imap_lex_word_of(l, words, ARRAY_LEN(words), S("Unknown sort criterion"));
        struct imap_sort_key *sort =
            w ? imap_lex_grow(l, (void *)search->sort, search->n_sort, sizeof(*sort)) : NULL;
        if (!sort)
            return false;
        sort[search->n_sort++] = (struct imap_sort_key){ .kind = w->value, .reverse = reverse };
        search->sort = sort;
    } while (imap_lex_list_more(l));
    return !l->trouble;
}

bool imap_parse_sort(struct imap_lex *l, struct imap_command *c)
{
    return imap_lex_space(l) && sort_criteria(l, &c->search) && imap_lex_space(l) && charset(l) && keys(l, &c->search);
}

bool imap_parse_thread(struct imap_lex *l, struct imap_command *c)
{
    static const struct imap_word words[] = {
        { S("ORDEREDSUBJECT"), IMAP_THREAD_ORDEREDSUBJECT }, { S("REFERENCES"), IMAP_THREAD_REFERENCES },
    };
    if (!imap_lex_space(l))
        return false;
    const struct imap_word *w =
        imap_lex_word_of(l, words, ARRAY_LEN(words), S("Expected ORDEREDSUBJECT or REFERENCES"));
    if (!w)
        return false;
    c->search.thread = w->value;
    return imap_lex_space(l) && charset(l) && keys(l, &c->search);
}
