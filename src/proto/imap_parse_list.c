/* Arguments of the commands about mailboxes: LIST (RFC 9051 6.3.9, RFC 5258, 5819, 6154), STATUS, SELECT (RFC 7162
 * 3.1.8,
 * 3.2.5), CREATE (RFC 6154 3). */
#include "proto/imap_parse.h"

static const struct imap_word status_words[] = {
    { S("MESSAGES"), IMAP_STATUS_MESSAGES },
    { S("UIDNEXT"), IMAP_STATUS_UIDNEXT },
    { S("UIDVALIDITY"), IMAP_STATUS_UIDVALIDITY },
    { S("UNSEEN"), IMAP_STATUS_UNSEEN },
    { S("DELETED"), IMAP_STATUS_DELETED },
    { S("SIZE"), IMAP_STATUS_SIZE },
    { S("RECENT"), IMAP_STATUS_RECENT },
    { S("HIGHESTMODSEQ"), IMAP_STATUS_HIGHESTMODSEQ },
    { S("APPENDLIMIT"), IMAP_STATUS_APPENDLIMIT },
    { S("MAILBOXID"), IMAP_STATUS_MAILBOXID },
    { S("DELETED-STORAGE"), IMAP_STATUS_DELETED_STORAGE },
};

/* A list of words as bits, after its parenthesis. */
static bool bits(struct imap_lex *l, const struct imap_word *words, size_t n, str unknown, uint32_t *out)
{
    do {
        const struct imap_word *w = imap_lex_word_of(l, words, n, unknown);
        if (!w)
            return false;
        *out |= w->value;
    } while (imap_lex_list_more(l));
    return !l->trouble;
}

bool imap_parse_status_items(struct imap_lex *l, uint32_t *out)
{
    return imap_lex_space(l) && imap_lex_expect(l, '(', S("Expected a list of status items")) &&
           bits(l, status_words, ARRAY_LEN(status_words), S("Unknown status item"), out);
}

bool imap_parse_status(struct imap_lex *l, struct imap_command *c)
{
    return imap_lex_space(l) && imap_lex_mailbox(l, &c->status.mailbox) && imap_parse_status_items(l, &c->status.items);
}

/* RFC 5258 3: RECURSIVEMATCH needs a base option beside it. */
static bool select_options(struct imap_lex *l, struct imap_list *list)
{
    static const struct imap_word words[] = {
        { S("SUBSCRIBED"), IMAP_LIST_SUBSCRIBED },
        { S("REMOTE"), IMAP_LIST_REMOTE },
        { S("RECURSIVEMATCH"), IMAP_LIST_RECURSIVEMATCH },
        { S("SPECIAL-USE"), IMAP_LIST_SPECIAL_USE },
    };
    list->extended = true;
    if (!imap_lex_eat(l, ')') && !bits(l, words, ARRAY_LEN(words), S("Unknown selection option"), &list->select))
        return false;
    if ((list->select & IMAP_LIST_RECURSIVEMATCH) && !(list->select & (IMAP_LIST_SUBSCRIBED | IMAP_LIST_SPECIAL_USE)))
        return imap_lex_fail(l, S("RECURSIVEMATCH needs SUBSCRIBED"));
    return imap_lex_space(l);
}

static bool one_pattern(struct imap_lex *l, struct imap_list *list)
{
    str pattern;
    str *patterns = imap_lex_grow(l, (void *)list->patterns, list->n_patterns, sizeof(*patterns));
    if (!patterns || !imap_lex_pattern(l, &pattern))
        return false;
    patterns[list->n_patterns++] = pattern;
    list->patterns = patterns;
    return true;
}

static bool patterns(struct imap_lex *l, struct imap_list *list, bool may_extend)
{
    if (!may_extend || !imap_lex_eat(l, '('))
        return one_pattern(l, list);
    list->extended = true;
    do {
        if (!one_pattern(l, list))
            return false;
    } while (imap_lex_list_more(l));
    return !l->trouble;
}

static bool return_options(struct imap_lex *l, struct imap_list *list)
{
    static const struct imap_word words[] = {
        { S("SUBSCRIBED"), IMAP_LIST_SUBSCRIBED },
        { S("CHILDREN"), IMAP_LIST_CHILDREN },
        { S("SPECIAL-USE"), IMAP_LIST_SPECIAL_USE },
        { S("STATUS"), IMAP_LIST_STATUS },
    };
    list->extended = true;
    if (!imap_lex_eat_word(l, S("RETURN")))
        return imap_lex_fail(l, S("Expected RETURN or the end of the command"));
    if (!imap_lex_space(l) || !imap_lex_expect(l, '(', S("Expected a list of options after RETURN")))
        return false;
    if (imap_lex_eat(l, ')'))
        return true;
    do {
        const struct imap_word *w = imap_lex_word_of(l, words, ARRAY_LEN(words), S("Unknown option of RETURN"));
        if (!w || (w->value == IMAP_LIST_STATUS && !imap_parse_status_items(l, &list->status)))
            return false;
        list->returns |= w->value;
    } while (imap_lex_list_more(l));
    return !l->trouble;
}

bool imap_parse_list(struct imap_lex *l, struct imap_command *c)
{
    struct imap_list *list = &c->list;
    bool may_extend = c->verb == IMAP_LIST;
    if (!imap_lex_space(l) || (may_extend && imap_lex_eat(l, '(') && !select_options(l, list)))
        return false;
    if (!imap_lex_reference(l, &list->reference) || !imap_lex_space(l) || !patterns(l, list, may_extend))
        return false;
    return !may_extend || !imap_lex_more(l) || return_options(l, list);
}

/* "(" seq SP uids ")", after the parenthesis (RFC 7162 3.2.5.2). */
static bool seq_match(struct imap_lex *l, struct imap_select *s)
{
    s->has_match = true;
    return imap_lex_set(l, &s->match_seq) && imap_lex_space(l) && imap_lex_set(l, &s->match_uid) &&
           imap_lex_expect(l, ')', S("Expected ) after the known sequence numbers and UIDs"));
}

static bool plain_set(const struct imap_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->ranges[i].first == 0 || set->ranges[i].last == 0)
            return false;
    return !set->saved;
}

static bool qresync(struct imap_lex *l, struct imap_select *s)
{
    uint64_t uidvalidity;
    s->qresync = true;
    if (!imap_lex_space(l) || !imap_lex_expect(l, '(', S("Expected ( after QRESYNC")) ||
        !imap_lex_number(l, UINT32_MAX, &uidvalidity) || !imap_lex_space(l) ||
        !imap_lex_number(l, INT64_MAX, &s->modseq))
        return false;
    s->uidvalidity = (uint32_t)uidvalidity;
    bool more = imap_lex_more(l);
    if (more && imap_lex_peek(l) != '(' && imap_lex_peek(l) != ')') {
        s->has_known = true;
        if (!imap_lex_set(l, &s->known))
            return false;
        more = imap_lex_more(l);
    }
    if (more && imap_lex_eat(l, '(') && !seq_match(l, s))
        return false;
    if (!plain_set(&s->known) || !plain_set(&s->match_seq) || !plain_set(&s->match_uid))
        return imap_lex_fail(l, S("The sets of QRESYNC hold numbers only"));
    return imap_lex_expect(l, ')', S("Expected ) after the parameters of QRESYNC"));
}

static bool select_parameters(struct imap_lex *l, struct imap_select *s)
{
    if (!imap_lex_expect(l, '(', S("Expected a list of parameters")))
        return false;
    do {
        if (imap_lex_eat_word(l, S("CONDSTORE")))
            s->condstore = true;
        else if (!imap_lex_eat_word(l, S("QRESYNC")))
            return imap_lex_fail(l, S("Unknown parameter of SELECT"));
        else if (s->qresync || !qresync(l, s))
            return imap_lex_fail(l, S("QRESYNC is there twice"));
    } while (imap_lex_list_more(l));
    return !l->trouble;
}

bool imap_parse_select(struct imap_lex *l, struct imap_command *c)
{
    return imap_lex_space(l) && imap_lex_mailbox(l, &c->select.mailbox) &&
           (!imap_lex_more(l) || select_parameters(l, &c->select));
}

/* "\Sent": one, or none; what we do not know, or two, cannot be had (RFC 6154 3). */
static bool uses(struct imap_lex *l, struct imap_command *c)
{
    if (!imap_lex_expect(l, '(', S("Expected a list of uses")))
        return false;
    if (imap_lex_eat(l, ')'))
        return true;
    do {
        const char *from = l->p;
        if (!imap_lex_expect(l, '\\', S("A use such as \\Sent begins with a backslash")))
            return false;
        imap_lex_word(l);
        enum imap_use use = imap_use_of(str_of(from, (size_t)(l->p - from)));
        if (use == IMAP_USE_NONE)
            return imap_lex_refuse(l, "USEATTR", S("Unknown use of a mailbox"));
        if (c->create.has_use && c->create.use != use)
            return imap_lex_refuse(l, "USEATTR", S("A mailbox has one use at most"));
        c->create.use = use;
        c->create.has_use = true;
    } while (imap_lex_list_more(l));
    return !l->trouble;
}

bool imap_parse_create(struct imap_lex *l, struct imap_command *c)
{
    if (!imap_lex_space(l) || !imap_lex_mailbox(l, &c->create.mailbox))
        return false;
    if (!imap_lex_more(l))
        return true;
    if (!imap_lex_expect(l, '(', S("Expected a list of parameters")))
        return false;
    if (!imap_lex_eat_word(l, S("USE")))
        return imap_lex_fail(l, S("Unknown parameter of CREATE"));
    return imap_lex_space(l) && uses(l, c) && imap_lex_expect(l, ')', S("Expected ) after the parameters"));
}
