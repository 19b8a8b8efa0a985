/* Names of commands and of roles, states in which commands are allowed: see imap_command.h. */
#include "proto/imap_command.h"

/* The least state of a row of imap_verbs.def; NOT_AUTHENTICATED is there alone. */
enum where { ANY, NOT_AUTHENTICATED, AUTHENTICATED, SELECTED };

static const struct { str name; enum where where; } verbs[] = {
#define IMAP_VERB(id, where_, arguments) { { #id, sizeof(#id) - 1 }, where_ },
#include "proto/imap_verbs.def"
#undef IMAP_VERB
};

bool imap_verb_allowed(enum imap_verb verb, enum imap_state state)
{
    if (verb >= IMAP_VERBS)
        return false;
    switch (verbs[verb].where) {
    case NOT_AUTHENTICATED:
        return state == IMAP_NOT_AUTHENTICATED;
    case AUTHENTICATED:
        return state != IMAP_NOT_AUTHENTICATED;
    case SELECTED:
        return state == IMAP_SELECTED;
    default:
        return true;
    }
}

str imap_verb_name(enum imap_verb verb)
{
    return verb < IMAP_VERBS ? verbs[verb].name : STR_NONE;
}

static const str uses[IMAP_USES] = {
    [IMAP_USE_ALL] = S("\\All"), [IMAP_USE_ARCHIVE] = S("\\Archive"), [IMAP_USE_DRAFTS] = S("\\Drafts"),
    [IMAP_USE_FLAGGED] = S("\\Flagged"), [IMAP_USE_JUNK] = S("\\Junk"), [IMAP_USE_SENT] = S("\\Sent"),
    [IMAP_USE_TRASH] = S("\\Trash"), [IMAP_USE_IMPORTANT] = S("\\Important"),
};

str imap_use_name(enum imap_use use)
{
    return use < IMAP_USES ? uses[use] : STR_NONE;
}

enum imap_use imap_use_of(str name)
{
    for (enum imap_use use = IMAP_USE_NONE + 1; use < IMAP_USES; use++)
        if (str_ieq(name, uses[use]))
            return use;
    return IMAP_USE_NONE;
}
