/* Commands of IMAP as trees: see imap_command.h. Here are the frame of a command and the arguments that need no file of
 * their own. */
#include "proto/imap_parse.h"
#include <errno.h>

typedef bool parse_fn(struct imap_lex *l, struct imap_command *c);

static const struct verb {
    str name;
    parse_fn *parse;
} verbs[] = {
#define IMAP_VERB(id, where, arguments) { { #id, sizeof(#id) - 1 }, imap_parse_##arguments },
#include "proto/imap_verbs.def"
#undef IMAP_VERB
};

/* Commands that may follow UID (RFC 9051 6.4.9, RFC 4315 2.1, RFC 5256 3, RFC 6851 3.2). */
static bool takes_uid(enum imap_verb verb)
{
    static const bool with_uid[IMAP_VERBS] = {
        [IMAP_FETCH] = true, [IMAP_STORE] = true,  [IMAP_COPY] = true, [IMAP_MOVE] = true,
        [IMAP_SEARCH] = true, [IMAP_SORT] = true, [IMAP_THREAD] = true, [IMAP_EXPUNGE] = true,
    };
    return with_uid[verb];
}

static enum imap_verb find_verb(str name)
{
    size_t i = 0;
    while (i < IMAP_VERBS && !str_ieq(name, verbs[i].name))
        i++;
    return (enum imap_verb)i;
}

/* Tag and name of the command. */
static bool head(struct imap_lex *l, struct imap_command *c)
{
    str tag = imap_lex_tag(l);
    if (tag.n == 0)
        return imap_lex_fail(l, l->p == l->end ? S("Empty command") : S("A command begins with a tag"));
    if (l->p < l->end && *l->p != ' ')
        return imap_lex_fail(l, S("A tag holds an invalid character"));
    c->tag = tag;
    if (!imap_lex_more(l))
        return imap_lex_fail(l, S("The command is missing"));
    c->uid = imap_lex_eat_word(l, S("UID"));
    if (c->uid && !imap_lex_space(l))
        return false;
    enum imap_verb verb = find_verb(imap_lex_word(l));
    if (verb == IMAP_VERBS)
        return imap_lex_fail(l, S("Unknown command"));
    if (c->uid && !takes_uid(verb))
        return imap_lex_fail(l, S("This command does not go with UID"));
    c->verb = verb;
    return true;
}

int imap_parse_so_far(struct arena *a, str so_far, bool utf8, struct imap_command *out,
                      struct imap_parse_error *out_error)
{
    struct imap_lex l = imap_lex_of(a, so_far, utf8);
    *out = (struct imap_command){ .verb = IMAP_VERBS };
    if (head(&l, out) && verbs[out->verb].parse(&l, out))
        imap_lex_end(&l);
    if (l.trouble == -EBADMSG)
        *out_error = l.error;
    return l.trouble;
}

int imap_parse(struct arena *a, str line, bool utf8, struct imap_command *out, struct imap_parse_error *out_error)
{
    int r = imap_parse_so_far(a, line, utf8, out, out_error);
    if (r != -EAGAIN)
        return r;
    *out_error = (struct imap_parse_error){ .text = S("A literal is cut short") };
    return -EBADMSG;
}

bool imap_parse_none(struct imap_lex *l, struct imap_command *c)
{
    (void)l;
    (void)c;
    return true;
}

bool imap_parse_mailbox(struct imap_lex *l, struct imap_command *c)
{
    return imap_lex_space(l) && imap_lex_mailbox(l, &c->mailbox);
}

bool imap_parse_rename(struct imap_lex *l, struct imap_command *c)
{
    return imap_lex_space(l) && imap_lex_mailbox(l, &c->rename.from) && imap_lex_space(l) &&
           imap_lex_mailbox(l, &c->rename.to);
}

bool imap_parse_login(struct imap_lex *l, struct imap_command *c)
{
    return imap_lex_space(l) && imap_lex_astring(l, &c->login.user) && imap_lex_space(l) &&
           imap_lex_astring(l, &c->login.password);
}

/* The initial response (RFC 4959) is left in base64. */
bool imap_parse_authenticate(struct imap_lex *l, struct imap_command *c)
{
    if (!imap_lex_space(l) || !imap_lex_atom(l, &c->authenticate.mechanism))
        return false;
    c->authenticate.has_response = imap_lex_more(l);
    const char *from = l->p;
    while (l->p < l->end && (ascii_alnum(*l->p) || *l->p == '+' || *l->p == '/' || *l->p == '='))
        l->p++;
    c->authenticate.response = str_of(from, (size_t)(l->p - from));
    return l->p == l->end || *l->p == ' ' || imap_lex_fail(l, S("Initial response is not base64"));
}

/* RFC 2971 3.1; "()" and an odd last name are let pass as no value. */
bool imap_parse_id(struct imap_lex *l, struct imap_command *c)
{
    str *pairs = NULL;
    if (!imap_lex_space(l))
        return false;
    if (imap_lex_eat_word(l, S("NIL")))
        return true;
    if (!imap_lex_expect(l, '(', S("Expected NIL or a list of names and values")))
        return false;
    if (imap_lex_eat(l, ')'))
        return true;
    do {
        str s;
        pairs = imap_lex_grow(l, pairs, c->id.n, sizeof(*pairs));
        if (!pairs || !(c->id.n % 2 ? imap_lex_nstring : imap_lex_string)(l, &s))
            return false;
        pairs[c->id.n++] = s;
    } while (imap_lex_list_more(l));
    c->id.pairs = pairs;
    return !l->trouble && (c->id.n % 2 == 0 || imap_lex_fail(l, S("A name without a value")));
}

/* Extensions that are not known are overlooked (RFC 5161 3.1). */
bool imap_parse_enable(struct imap_lex *l, struct imap_command *c)
{
    static const struct imap_word words[] = {
        { S("CONDSTORE"), IMAP_ENABLE_CONDSTORE },
        { S("QRESYNC"), IMAP_ENABLE_QRESYNC },
        { S("UTF8=ACCEPT"), IMAP_ENABLE_UTF8 },
        { S("IMAP4rev2"), IMAP_ENABLE_REV2 },
    };
    if (!imap_lex_space(l))
        return false;
    do {
        str word;
        if (!imap_lex_atom(l, &word))
            return false;
        const struct imap_word *w = imap_word_find(words, ARRAY_LEN(words), word);
        c->enable |= w ? w->value : 0;
    } while (imap_lex_more(l));
    return true;
}

bool imap_parse_compress(struct imap_lex *l, struct imap_command *c)
{
    str word;
    (void)c;
    if (!imap_lex_space(l) || !imap_lex_atom(l, &word))
        return false;
    return str_ieq(word, S("DEFLATE")) || imap_lex_fail(l, S("Only DEFLATE is known"));
}

bool imap_parse_quota(struct imap_lex *l, struct imap_command *c)
{
    return imap_lex_space(l) && imap_lex_astring(l, &c->quota.root);
}

/* The limits are checked and left out: they are the administrator's (RFC 9208 4.1.3). */
bool imap_parse_setquota(struct imap_lex *l, struct imap_command *c)
{
    if (!imap_parse_quota(l, c) || !imap_lex_space(l) ||
        !imap_lex_expect(l, '(', S("Expected a list of resources and limits")))
        return false;
    if (imap_lex_eat(l, ')'))
        return true;
    do {
        str resource;
        uint64_t limit;
        if (!imap_lex_atom(l, &resource) || !imap_lex_space(l) || !imap_lex_number(l, INT64_MAX, &limit))
            return false;
    } while (imap_lex_list_more(l));
    return !l->trouble;
}

bool imap_parse_expunge(struct imap_lex *l, struct imap_command *c)
{
    c->expunge.has_set = c->uid;
    return !c->uid || (imap_lex_space(l) && imap_lex_set(l, &c->expunge.set));
}

bool imap_parse_copy(struct imap_lex *l, struct imap_command *c)
{
    return imap_lex_space(l) && imap_lex_set(l, &c->copy.set) && imap_lex_space(l) &&
           imap_lex_mailbox(l, &c->copy.mailbox);
}

static bool store_modifier(struct imap_lex *l, struct imap_store *store)
{
    if (!imap_lex_eat(l, '('))
        return true;
    if (!imap_lex_eat_word(l, S("UNCHANGEDSINCE")))
        return imap_lex_fail(l, S("Unknown modifier of STORE"));
    store->has_unchangedsince = true;
    return imap_lex_space(l) && imap_lex_number(l, INT64_MAX, &store->unchangedsince) &&
           imap_lex_expect(l, ')', S("Expected ) after the modifier of STORE")) && imap_lex_space(l);
}

bool imap_parse_store(struct imap_lex *l, struct imap_command *c)
{
    static const struct imap_word words[] = {
        { S("FLAGS"), IMAP_STORE_SET },      { S("FLAGS.SILENT"), IMAP_STORE_SET | 8 },
        { S("+FLAGS"), IMAP_STORE_ADD },     { S("+FLAGS.SILENT"), IMAP_STORE_ADD | 8 },
        { S("-FLAGS"), IMAP_STORE_REMOVE },  { S("-FLAGS.SILENT"), IMAP_STORE_REMOVE | 8 },
    };
    struct imap_store *store = &c->store;
    if (!imap_lex_space(l) || !imap_lex_set(l, &store->set) || !imap_lex_space(l) || !store_modifier(l, store))
        return false;
    const struct imap_word *w = imap_lex_word_of(
        l, words, ARRAY_LEN(words), S("Expected FLAGS, +FLAGS or -FLAGS, or one of them with .SILENT"));
    if (!w)
        return false;
    store->op = w->value & 7;
    store->silent = w->value & 8;
    return imap_lex_space(l) && imap_lex_flags(l, true, &store->flags);
}
