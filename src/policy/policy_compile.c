/* Words of a configuration to rules, and what to say about a word that is none. See policy.h. */
#include "policy/policy_run.h"
#include <errno.h>

#define WORD_MAX 64 /* longer ones are not compared with the table */
#define NESTED_WORDS_MAX 64

#define ALL ((1u << POLICY_STAGES) - 1)
#define ENVELOPE (ALL & ~(1u << POLICY_DATA))

static const struct { struct policy_word_info info; uint8_t lists; } words[POLICY_WORDS] = {
#define WORD(name, lists, takes_table, doc, remedy) { { #name, doc, remedy, takes_table }, lists },
#include "policy/policy_words.def"
};

struct other_word { const char *name, *text; };
static const struct other_word later[] = {
#define LATER(name, needs) { #name, needs },
#include "policy/policy_words.def"
};
static const struct other_word old[] = {
#define OLD(name, today) { #name, today },
#include "policy/policy_words.def"
};

/* The prefix comes last: it is no row, as it judges nothing. */
bool policy_word_info(size_t i, struct policy_word_info *out)
{
    static const struct policy_word_info prefix = {
        "warn_if_reject", "The restriction that follows only warns where it would refuse: a trial run.", "", false };
    if (i > POLICY_WORDS)
        return false;
    *out = i < POLICY_WORDS ? words[i].info : prefix;
    return true;
}

/* Row of a word, -1 if there is none. Ignores case as Postfix does. */
static int find_word(str name)
{
    for (int i = 0; i < POLICY_WORDS; i++)
        if (str_ieq(name, str_z(words[i].info.name)))
            return i;
    return -1;
}

static const char *find_other(const struct other_word *rows, size_t n, str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(name, str_z(rows[i].name)))
            return rows[i].text;
    return NULL;
}

/* Edit distance (Levenshtein), ignoring case. Both at most WORD_MAX. */
static unsigned distance(str a, str b)
{
    unsigned row[WORD_MAX + 1];
    for (unsigned j = 0; j <= b.n; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.n; j++) {
            unsigned change = diagonal + (ascii_lower(a.p[i - 1]) != ascii_lower(b.p[j - 1]));
            diagonal = row[j];
            unsigned grow = MIN(row[j], row[j - 1]) + 1;
            row[j] = MIN(change, grow);
        }
    }
    return row[b.n];
}

/* The known word within a third of the length, or NULL. */
static const char *nearest(str s)
{
    const char *best = NULL;
    unsigned least = s.n < 6 ? 2 : (unsigned)s.n / 3 + 1;
    if (s.n > WORD_MAX)
        return NULL;
    struct policy_word_info info;
    for (size_t i = 0; policy_word_info(i, &info); i++) {
        unsigned d = distance(s, str_z(info.name));
        if (d < least) {
            least = d;
            best = info.name;
        }
    }
    return best;
}

static int fail(const struct policy_word *at, str text, struct policy_error *out)
{
    if (!text.p)
        return -ENOMEM;
    *out = (struct policy_error){ at->file, at->line, text };
    return -EINVAL;
}

static int unknown_word(struct arena *a, const struct policy_word *at, str name, struct policy_error *out)
{
    str shown = str_first(name, WORD_MAX);
    const char *needs = find_other(later, ARRAY_LEN(later), name), *today = find_other(old, ARRAY_LEN(old), name);
    const char *near = nearest(name);
    if (needs)
        return fail(at,
                    arena_printf(a, "`%.*s` is not available yet in this version: it needs %s", STR_ARG(shown), needs),
                    out);
    if (today)
        return fail(at,
                    arena_printf(a, "`%.*s` is an old name that Postfix removed; today it is written: %s",
                                 STR_ARG(shown), today),
                    out);
    if (str_chr(name, ':') >= 0)
        return fail(at,
                    arena_printf(a, "`%.*s` is a table: say what to look up in it, such as `check_client_access %.*s`",
                                 STR_ARG(shown), STR_ARG(shown)),
                    out);
    if (near)
        return fail(at, arena_printf(a, "`%.*s` is not a restriction; did you mean `%s`?", STR_ARG(shown), near), out);
    return fail(at,
                arena_printf(a,
                             "`%.*s` is not a restriction; expected one such as `permit_mynetworks`, "
                             "`reject_unauth_destination` or `check_client_access file:NAME`",
                             STR_ARG(shown)),
                out);
}

/* Commas between words are welcome, as Postfix has them. */
static str bare_word(str s)
{
    while (s.n && s.p[s.n - 1] == ',')
        s.n--;
    while (s.n && s.p[0] == ',')
        s = str_from(s, 1);
    return s;
}

static int take_table(struct arena *a, const struct policy_word *at, const struct policy_word *next,
                      struct policy_rule *rule, struct policy_error *out)
{
    str table = next ? bare_word(next->text) : STR_NONE;
    if (str_chr(table, ':') < 0)
        return fail(at, arena_printf(a, "`%.*s` needs a table after it, such as `file:access`", STR_ARG(rule->name)),
                    out);
    if (!str_starts(table, S("file:")) || table.n == 5)
        return fail(next, arena_printf(a, "`%.*s` is not a table that can be used here; expected `file:NAME`",
                                          STR_ARG(str_first(table, WORD_MAX))), out);
    rule->arg = table;
    return 0;
}

struct compiler {
    struct arena *arena;
    const struct policy_word *words;
    size_t n, at; /* at: the next word */
    unsigned lists;
    const char *setting;
    struct policy_error *out_error;
};

/* One rule from c->at on. 1: rule filled; 0: only punctuation; -EINVAL, -ENOMEM. */
static int compile_rule(struct compiler *c, bool *warn, struct policy_rule *out)
{
    const struct policy_word *word = &c->words[c->at++];
    str name = bare_word(word->text);
    if (!name.n)
        return 0;
    if (str_ieq(name, S("warn_if_reject"))) {
        *warn = true;
        return 0;
    }
    int row = find_word(name);
    if (row < 0)
        return unknown_word(c->arena, word, name, c->out_error);
    if (!(words[row].lists & c->lists))
        return fail(word,
                    arena_printf(c->arena, "`%.*s` asks about one recipient and cannot stand in %s; put it in %s",
                                 STR_ARG(name), c->setting, policy_stage_setting[POLICY_RECIPIENT]),
                    c->out_error);
    struct policy_rule rule = {
        .word = (uint16_t)row, .warn_only = *warn, .name = name, .file = word->file, .line = word->line
    };
    *warn = false;
    if (words[row].info.takes_table) {
        const struct policy_word *next = c->at < c->n ? &c->words[c->at] : NULL;
        int r = take_table(c->arena, word, next, &rule, c->out_error);
        if (r < 0)
            return r;
        c->at++;
    }
    *out = rule;
    return 1;
}

static int compile(struct compiler *c, struct policy_list *out)
{
    bool warn = false;
    size_t n = 0;
    struct policy_rule *rules = c->n ? ARENA_ARRAY(c->arena, struct policy_rule, c->n) : NULL;
    if (c->n && !rules)
        return -ENOMEM;
    while (c->at < c->n) {
        int r = compile_rule(c, &warn, &rules[n]);
        if (r < 0)
            return r;
        n += (size_t)r;
    }
    if (warn)
        return fail(&c->words[c->n - 1], S("`warn_if_reject` needs a restriction after it"), c->out_error);
    *out = (struct policy_list){ rules, n };
    return 0;
}

int policy_compile(struct arena *a, enum policy_stage stage, const struct policy_word *list, size_t n,
                   struct policy_list *out, struct policy_error *out_error)
{
    if (n > SIZE_MAX / sizeof(struct policy_rule))
        return -ENOMEM;
    struct compiler c = { a, list, n, 0, 1u << stage, policy_stage_setting[stage], out_error };
    return compile(&c, out);
}

int policy_compile_nested(struct arena *a, str text, str table, struct policy_list *out)
{
    struct policy_word list[NESTED_WORDS_MAX];
    struct policy_error error;
    struct compiler c = { .arena = a, .words = list, .lists = ALL, .setting = "", .out_error = &error };
    str rest = text;
    while (rest.n) {
        str piece = str_cut(&rest, ',');
        for (str word = str_word(&piece); word.n; word = str_word(&piece)) {
            if (c.n == NESTED_WORDS_MAX)
                return -EINVAL;
            list[c.n++] = (struct policy_word){ word, table, 0 };
        }
    }
    return c.n ? compile(&c, out) : -EINVAL;
}
