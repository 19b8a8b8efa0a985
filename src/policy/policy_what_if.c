/* What would have to be different: the rows of a table, each changing one thing, tried in order of smallness by
 * deciding again. A row is only told if the refusal really goes away. See policy.h. */
#include "policy/policy_run.h"

struct what_if {
    const struct policy_rules *rules;
    const struct policy_session *session;
    struct policy_facts *facts;
    struct policy_verdict refusal;
    struct policy_assume base; /* where the refusal happened */
    /* the attempt */
    struct policy_session changed;
    struct policy_assume assume;
    struct policy_fact fact;
};

static str place(struct arena *a, const struct policy_rule *rule)
{
    if (!rule->line)
        return str_eq(rule->file, S("default")) || !rule->file.n ? S("built-in list") : rule->file;
    return arena_printf(a, "%.*s:%u", STR_ARG(rule->file), rule->line);
}

/* Each row changes the attempt and returns "if …", or nothing if there is nothing to change. */
static str if_patient(struct what_if *w)
{
    w->changed.early = false;
    return w->session->early ? S("if the client waited for the replies") : STR_NONE;
}

static str if_encrypted(struct what_if *w)
{
    w->changed.tls = true;
    return w->session->tls ? STR_NONE : S("if the session were encrypted (STARTTLS, or port 465)");
}

static str if_greeted_well(struct what_if *w)
{
    w->changed.helo = S("mail.example.org");
    return w->session->helo.n ? S("if the client greeted with its fully qualified host name (HELO, EHLO)") : STR_NONE;
}

static str if_logged_in(struct what_if *w)
{
    w->changed.sasl_user = S("account");
    w->assume.owns = true;
    if (w->session->sasl_user.n)
        return STR_NONE;
    const struct policy_list *list = &w->rules->list[w->refusal.stage];
    for (size_t i = 0; i < list->n; i++)
        if (list->rules[i].word == POLICY_WORD_permit_sasl_authenticated)
            return arena_printf(w->facts->arena, "if the client logged in (AUTH on port 587 or 465; rule "
                                "permit_sasl_authenticated, %.*s)", STR_ARG(place(w->facts->arena, &list->rules[i])));
    return S("if the client logged in (AUTH on port 587 or 465)");
}

static str if_owner(struct what_if *w)
{
    w->assume.owns = true;
    if (!w->session->sasl_user.n || !w->session->sender.n)
        return STR_NONE;
    return arena_printf(w->facts->arena,
                        "if %.*s could use the sender %.*s (an alias that leads to it alone, or an extra address of "
                        "the account)",
                        STR_ARG(w->session->sasl_user), STR_ARG(w->session->sender));
}

/* Answers the class of an address with LOCAL if it is `class` now. */
static bool make_local(struct what_if *w, str address, enum policy_address class)
{
    const struct policy_fact *now = policy_fact_get(w->facts, POLICY_FACT_ADDRESS, STR_NONE, address);
    if (!address.n || !now || now->state != POLICY_FACT_FOUND || now->value != (int64_t)class)
        return false;
    w->fact = *now;
    w->fact.value = POLICY_ADDRESS_LOCAL;
    w->assume.fact = &w->fact;
    return true;
}

static str if_exists(struct what_if *w, str address)
{
    if (!make_local(w, address, POLICY_ADDRESS_UNKNOWN))
        return STR_NONE;
    return arena_printf(w->facts->arena, "if %.*s existed here (an account, or an alias)", STR_ARG(address));
}

static str if_recipient_exists(struct what_if *w)
{
    return if_exists(w, w->session->recipient);
}

static str if_sender_exists(struct what_if *w)
{
    return if_exists(w, w->session->sender);
}

static str if_entry_gone(struct what_if *w)
{
    if (!w->base.entry)
        return STR_NONE;
    w->fact = *w->base.entry;
    w->fact.state = POLICY_FACT_ABSENT;
    w->assume.fact = &w->fact;
    return arena_printf(w->facts->arena, "if `%.*s` were not in %.*s", STR_ARG(w->fact.key), STR_ARG(w->fact.subject));
}

static str if_our_domain(struct what_if *w)
{
    str recipient = w->session->recipient;
    ptrdiff_t at = str_rchr(recipient, '@');
    if (at < 0 || !make_local(w, recipient, POLICY_ADDRESS_FOREIGN))
        return STR_NONE;
    str domain = str_from(recipient, (size_t)at + 1);
    return arena_printf(w->facts->arena, "if %.*s were one of this host's domains (add `domain %.*s`)", STR_ARG(domain),
                        STR_ARG(domain));
}

static str if_trusted(struct what_if *w)
{
    w->assume.trusted = true;
    return arena_printf(w->facts->arena, "if %.*s were in mynetworks", STR_ARG(w->session->client_addr));
}

/* Never the guards: without them the host is an open relay. */
static str if_no_rule(struct what_if *w)
{
    const struct policy_rule *rule = w->refusal.rule;
    if (!rule)
        return STR_NONE;
    switch (rule->word) {
    case POLICY_WORD_reject:
    case POLICY_WORD_defer:
    case POLICY_WORD_reject_unauth_destination:
    case POLICY_WORD_defer_unauth_destination:
        return STR_NONE;
    }
    w->assume.without = rule;
    return arena_printf(w->facts->arena, "without the rule %.*s%s%.*s (%.*s)", STR_ARG(rule->name),
                        rule->arg.n ? " " : "", STR_ARG(rule->arg), STR_ARG(place(w->facts->arena, rule)));
}

static str (*const rows[])(struct what_if *) = {
    if_patient,       if_encrypted,  if_greeted_well, if_logged_in, if_owner,   if_recipient_exists,
    if_sender_exists, if_entry_gone, if_our_domain,   if_trusted,   if_no_rule,
};

enum outcome { OUTCOME_SAME, OUTCOME_PASSES, OUTCOME_ACCEPTED };

/* Waiting counts as passing only behind the rule that refused: before it, nothing is proven. */
static enum outcome attempt(struct what_if *w, enum policy_stage at)
{
    struct policy_verdict verdict;
    policy_decide_assuming(w->rules, &w->changed, at, w->facts, &w->assume, &verdict);
    if (verdict.action == POLICY_PERMIT)
        return OUTCOME_ACCEPTED;
    bool behind = w->assume.end_stage > w->base.end_stage ||
                  (w->assume.end_stage == w->base.end_stage && w->assume.end_top > w->base.end_top);
    return verdict.action == POLICY_WAIT && behind ? OUTCOME_PASSES : OUTCOME_SAME;
}

size_t policy_what_if(const struct policy_rules *rules, const struct policy_session *session, enum policy_stage at,
                      struct policy_facts *facts, str *out, size_t n)
{
    str text[ARRAY_LEN(rows)];
    enum outcome outcome[ARRAY_LEN(rows)];
    size_t told = 0;
    struct what_if w = { .rules = rules, .session = session, .facts = facts };
    policy_decide_assuming(rules, session, at, facts, &w.base, &w.refusal);
    if (w.refusal.action != POLICY_REJECT && w.refusal.action != POLICY_DEFER)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        w.changed = *session;
        w.assume = (struct policy_assume){ 0 };
        text[i] = rows[i](&w);
        outcome[i] = text[i].n ? attempt(&w, at) : OUTCOME_SAME;
    }
    for (enum outcome wanted = OUTCOME_ACCEPTED; wanted > OUTCOME_SAME; wanted--)
        for (size_t i = 0; i < ARRAY_LEN(rows) && told < n; i++) {
            if (outcome[i] != wanted)
                continue;
            out[told] = arena_printf(facts->arena, "%.*s, the message would %s", STR_ARG(text[i]),
                                     wanted == OUTCOME_ACCEPTED ? "be accepted" : "pass this rule");
            told += out[told].n > 0;
        }
    return told;
}
