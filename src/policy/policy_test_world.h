/* For the unit tests of this room: lists from one line of text, and a caller that answers questions from a small
 * world. */
#pragma once
#include "policy/policy.h"

struct entry { const char *table, *key, *value; };

struct world {
    struct arena arena;
    struct policy_rules rules;
    struct policy_session session;
    struct policy_facts facts;
    struct policy_verdict verdict;
    const struct entry *entries;
    size_t n_entries;
    const char *failing;    /* key of a lookup that fails for now */
    unsigned rounds;
};

static inline struct policy_list compile_line(struct arena *a, enum policy_stage stage, const char *line)
{
    struct policy_word words[64];
    struct policy_list list = { 0 };
    struct policy_error error = { 0 };
    size_t n = 0;
    str rest = str_z(line);
    for (str word = str_word(&rest); word.n; word = str_word(&rest))
        words[n++] = (struct policy_word){ word, S("main.conf"), (uint32_t)stage + 10 };
    if (policy_compile(a, stage, words, n, &list, &error) < 0)
        fail_msg("%s: %.*s", line, STR_ARG(error.text));
    return list;
}

static inline void world_init(struct world *w)
{
    *w = (struct world){ .arena = ARENA(1 << 20) };
    w->facts.arena = &w->arena;
    w->rules.delay_reject = true;
    w->session = (struct policy_session){ .client_addr = S("203.0.113.9"),
                                          .client_name = S("unknown"),
                                          .helo = S("mail.stranger.example"),
                                          .sender = S("eve@stranger.example"),
                                          .recipient = S("bob@example.org"),
                                          .recipients = 1 };
}

static inline void world_list(struct world *w, enum policy_stage stage, const char *line)
{
    w->rules.list[stage] = compile_line(&w->arena, stage, line);
}

/* Domain example.org is ours, with bob, alice and postmaster; alice owns alice@ and sales@. */
static inline void answer(struct world *w, struct policy_fact *f)
{
    f->state = POLICY_FACT_FOUND;
    if (w->failing && str_eq(f->key, str_z(w->failing))) {
        f->state = POLICY_FACT_FAILED;
    } else if (f->kind == POLICY_FACT_TABLE) {
        f->state = POLICY_FACT_ABSENT;
        for (size_t i = 0; i < w->n_entries; i++)
            if (str_eq(f->subject, str_z(w->entries[i].table)) && str_eq(f->key, str_z(w->entries[i].key))) {
                f->state = POLICY_FACT_FOUND;
                f->text = str_z(w->entries[i].value);
            }
    } else if (f->kind == POLICY_FACT_ADDRESS) {
        bool local = str_eq(f->key, S("bob@example.org")) || str_eq(f->key, S("alice@example.org")) ||
                     str_eq(f->key, S("postmaster"));
        bool ours = local || str_ends(f->key, S("@example.org"));
        f->value = local ? POLICY_ADDRESS_LOCAL : ours ? POLICY_ADDRESS_UNKNOWN : POLICY_ADDRESS_FOREIGN;
    } else {
        f->value = str_eq(f->key, S("alice@example.org")) && str_eq(f->subject, S("alice@example.org"));
        f->text = S("alice@example.org, sales@example.org");
    }
}

/* Decides, answers, decides again, until there is a verdict. */
static inline void decide(struct world *w, enum policy_stage at)
{
    for (w->rounds = 0; w->rounds <= POLICY_FACTS_MAX; w->rounds++) {
        policy_decide(&w->rules, &w->session, at, &w->facts, &w->verdict);
        if (w->verdict.action != POLICY_WAIT)
            return;
        size_t open = 0;
        for (struct policy_fact *f = w->facts.first; f; f = f->next)
            if (f->state == POLICY_FACT_OPEN) {
                answer(w, f);
                open++;
            }
        assert_true(open > 0);
    }
    fail_msg("no verdict");
}

static inline void world_again(struct world *w)
{
    w->facts = (struct policy_facts){ .arena = &w->arena };
}
