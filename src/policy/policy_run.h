/* What the files of the policy engine share, no part of its promises: one run over the lists. A handler looks at one
 * rule, asks facts with policy_need() and gives its opinion; policy_refuse() and policy_put_off() are the only ways
 * to say no. */
#pragma once
#include "policy/policy.h"

enum policy_word_row {
#define WORD(name, lists, takes_table, doc, remedy) POLICY_WORD_##name,
#include "policy/policy_words.def"
    POLICY_WORDS
};

enum policy_opinion { OPINION_DUNNO, OPINION_OK, OPINION_NO, OPINION_WAIT };

/* A reply before it becomes text: "<subject>: text". */
struct policy_reply {
    int code;
    const char *enhanced;
    str subject, text;
    bool always; /* our own trouble, which warn_if_reject does not turn into a warning */
};

struct policy_pending {
    bool active;
    int code;
    str enhanced, text;
    const struct policy_rule *rule;
    enum policy_stage stage;
};

/* Counterfactuals: what to believe against the session and the facts. With it a run asks no questions and keeps no
 * steps. */
struct policy_assume {
    bool trusted;                       /* the client is in mynetworks */
    bool owns;                          /* whoever is logged in may use the sender */
    const struct policy_rule *without;  /* this rule is not there */
    const struct policy_fact *fact;     /* replaces the fact of the same kind, subject and key */
    bool stranger;                      /* nobody the host knows, from and to elsewhere: see policy_open_relay */
    bool (*table_has_ok)(void *arg, str table);
    void *arg;
    /* results: where the run ended, and the entry of a table it followed last */
    enum policy_stage end_stage;
    size_t end_top;
    const struct policy_fact *entry;
};

struct policy_run {
    const struct policy_rules *rules;
    const struct policy_session *session;
    struct policy_facts *facts;
    struct policy_assume *assume;
    struct policy_verdict *out;
    enum policy_stage stage;
    const struct policy_rule *rule, *permitted; /* at work; the last that said OK */
    enum policy_stage permitted_at;
    bool warn;                  /* under warn_if_reject */
    unsigned depth, nested;     /* right sides that are lists: how deep, how many rules altogether */
    size_t top;                 /* index in the list of the stage, of the rule at work or the one that led to it */
    const struct policy_fact *entry; /* of that rule's table */
    struct policy_pending if_permit, if_reject;
    const struct policy_fact *fact; /* for the step of the rule at work */
    str note;
    bool warned;
    struct policy_step *steps;
    size_t n_steps;
};

void policy_decide_assuming(const struct policy_rules *rules, const struct policy_session *session,
                            enum policy_stage at, struct policy_facts *facts, struct policy_assume *assume,
                            struct policy_verdict *out);
enum policy_opinion policy_run_list(struct policy_run *r, const struct policy_list *list);

/* The fact as far as it is known, asked if it is not. Never NULL; state POLICY_FACT_FAILED also when there is no
 * room to ask. */
struct policy_fact *policy_need(struct policy_run *r, enum policy_fact_kind kind, str subject, str key);
/* What to do about a fact that is OPEN (wait) or FAILED (451 4.3.0). */
enum policy_opinion policy_unknown(struct policy_run *r, const struct policy_fact *fact, str subject);
/* Says no, or warns, or falls back to an earlier defer_if_reject. */
enum policy_opinion policy_refuse(struct policy_run *r, const struct policy_reply *reply);
/* Notes the first reason to defer if the end is a permit (a refusal). */
enum policy_opinion policy_put_off(struct policy_run *r, struct policy_pending *pending,
                                   const struct policy_reply *reply);

/* The subject of a reply: "unknown[192.0.2.1]" (arena), or the piece of the envelope this stage is about. */
str policy_client_text(struct policy_run *r);
str policy_stage_subject(struct policy_run *r, enum policy_stage stage);

/* Handlers, by row of policy_words.def. */
#define WORD(name, lists, takes_table, doc, remedy) \
    enum policy_opinion policy_word_##name(struct policy_run *r, const struct policy_rule *rule);
#include "policy/policy_words.def"

/* Compiles the text of a right side, words parted by blanks and commas. 0, -EINVAL, -ENOMEM. */
int policy_compile_nested(struct arena *a, str text, str table, struct policy_list *out);
