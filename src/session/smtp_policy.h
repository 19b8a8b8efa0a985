/* The restriction lists of a generation, compiled for each listener, and the answers to the questions their engine
 * asks. */
#pragma once
#include "io/role.h"
#include "policy/policy.h"

/* Who is treated otherwise than a stranger. */
struct smtp_nets {
    struct nets trusted; /* trusted_clients */
    struct nets xclient; /* smtpd_authorized_xclient_hosts */
    struct nets proxies; /* smtpd_upstream_proxy_hosts */
    struct nets lmtp;    /* lmtp_networks */
};

struct smtp_policy { /* of one generation; transactions that began with it keep it (DESIGN 4) */
    struct role_config *config;
    struct arena arena;
    struct policy_rules *rules; /* one a listener, in the order of conf->listeners */
    struct smtp_nets nets;
    uint32_t refs;
};

/* Compiles all lists and runs the open-relay check on each SMTP listener. 0, or -EINVAL with the place and reason in
 * *out_error (text in `a`). `rules` gets conf->n_listeners entries. Used by `config check` too. */
int smtp_policy_compile(struct arena *a, const struct conf *c, struct policy_rules **out_rules,
                        struct smtp_nets *out_nets, struct policy_error *out_error);

/* The networks of the settings, in the arena. 0, -EINVAL with *out_error, -ENOMEM. */
int smtp_policy_nets(struct arena *a, const struct conf *c, struct smtp_nets *out, struct policy_error *out_error);

/* Takes a reference of config. */
int smtp_policy_new(struct role_config *config, struct smtp_policy **out, struct policy_error *out_error);
struct smtp_policy *smtp_policy_ref(struct smtp_policy *p);
void smtp_policy_unref(struct smtp_policy *p);

/* Answers every open question from the tables and the directory. */
void smtp_policy_answer(const struct smtp_policy *p, struct policy_facts *facts);
/* Decides and answers until there is a verdict (all of today's facts are at hand). */
void smtp_policy_decide(const struct smtp_policy *p, const struct policy_rules *rules, const struct policy_session *s,
                        enum policy_stage at, struct policy_facts *facts, struct policy_verdict *out);
/* Adds how it was decided to an event: checks, and for a refusal rule, list, file, line, facts, changes. */
void smtp_policy_event(struct buf *event, const struct policy_rules *rules, const struct policy_session *s,
                       enum policy_stage at, struct policy_facts *facts, const struct policy_verdict *v);
