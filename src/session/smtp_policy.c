/* Restriction lists in use: see smtp_policy.h. */
#include "session/smtp_policy.h"
#include <errno.h>
#include <stdio.h>
#include "message/srs.h"

enum { CHANGES_MAX = 4, WORDS_MAX = 1024 };

static int compile_list(struct arena *a, enum policy_stage stage, const struct conf_words *words,
                        struct policy_list *out, struct policy_error *out_error)
{
    struct policy_word *w = ARENA_ARRAY(a, struct policy_word, words->n + 1);
    if (!w)
        return -ENOMEM;
    for (size_t i = 0; i < words->n; i++)
        w[i] = (struct policy_word){ words->word[i].text, words->word[i].file, words->word[i].line };
    return policy_compile(a, stage, w, words->n, out, out_error);
}

static int compile_nets(struct arena *a, const struct conf_words *words, struct nets *out,
                        struct policy_error *out_error)
{
    struct net *nets = ARENA_ARRAY(a, struct net, words->n + 1);
    if (!nets)
        return -ENOMEM;
    for (size_t i = 0; i < words->n; i++)
        if (net_parse(words->word[i].text, &nets[i]) < 0) {
            *out_error = (struct policy_error){
                words->word[i].file, words->word[i].line,
                arena_printf(
                    a, "\"%.*s\" is not a network; expected an address, or address/bits without host bits beyond them",
                    STR_ARG(words->word[i].text))
            };
            return -EINVAL;
        }
    *out = (struct nets){ nets, words->n };
    return 0;
}

int smtp_policy_nets(struct arena *a, const struct conf *c, struct smtp_nets *out, struct policy_error *out_error)
{
    int r = compile_nets(a, &c->trusted_clients, &out->trusted, out_error);
    if (r == 0)
        r = compile_nets(a, &c->smtpd_authorized_xclient_hosts, &out->xclient, out_error);
    if (r == 0)
        r = compile_nets(a, &c->smtpd_upstream_proxy_hosts, &out->proxies, out_error);
    return r < 0 ? r : compile_nets(a, &c->lmtp_networks, &out->lmtp, out_error);
}

static bool table_has_ok(void *arg, str table)
{
    const struct conf_table *t = conf_table(arg, table);
    return t && conf_table_has_ok(t);
}

static bool is_smtp(enum conf_service s)
{
    return s == CONF_SMTP || s == CONF_SUBMISSION || s == CONF_SUBMISSIONS || s == CONF_LMTP;
}

/* A right side that would defer mail when it is met is refused when it is read. */
static int check_table(struct arena *a, const struct conf_table *t, struct policy_error *out_error)
{
    str value, file;
    uint32_t line;
    const char *why;
    for (size_t i = 0; t && conf_table_row(t, i, &value, &file, &line); i++)
        if (policy_check_action(value, &why) < 0) {
            *out_error = (struct policy_error){ file, line,
                                                arena_printf(a, "\"%.*s\": %s", STR_ARG(str_first(value, 100)), why) };
            return -EINVAL;
        }
    return 0;
}

static int check_tables(struct arena *a, const struct conf *c, const struct policy_list *l,
                        struct policy_error *out_error)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < l->n; i++)
        if (l->rules[i].arg.n)
            r = check_table(a, conf_table(c, l->rules[i].arg), out_error);
    return r;
}

static int compile_listener(struct arena *a, const struct conf *c, const struct conf_listener *l,
                            struct policy_rules *out, struct policy_error *out_error)
{
    out->delay_reject = c->smtpd_delay_reject;
    out->recipient_delimiter = c->recipient_delimiter;
    int r = compile_nets(a, &c->mynetworks, &out->mynetworks, out_error);
    for (int i = 0; r == 0 && i < POLICY_STAGES; i++)
        r = compile_list(a, (enum policy_stage)i, &l->restrictions[i], &out->list[i], out_error);
    for (int i = 0; r == 0 && i < POLICY_STAGES; i++)
        r = check_tables(a, c, &out->list[i], out_error);
    if (r < 0)
        return r;
    r = policy_open_relay(a, out, table_has_ok, (void *)c, out_error);
    if (r < 0 && out_error->file.n == 0) {
        out_error->file = l->file;
        out_error->line = l->line;
    }
    return r < 0 ? -EINVAL : 0;
}

int smtp_policy_compile(struct arena *a, const struct conf *c, struct policy_rules **out_rules,
                        struct smtp_nets *out_nets, struct policy_error *out_error)
{
    struct policy_rules *rules = ARENA_ARRAY(a, struct policy_rules, c->n_listeners + 1);
    *out_error = (struct policy_error){ .text = S("no memory for the restriction lists") };
    if (!rules)
        return -ENOMEM;
    int r = smtp_policy_nets(a, c, out_nets, out_error);
    for (size_t i = 0; r == 0 && i < c->n_listeners; i++)
        if (is_smtp(c->listeners[i].service))
            r = compile_listener(a, c, &c->listeners[i], &rules[i], out_error);
    *out_rules = rules;
    return r;
}

int smtp_policy_new(struct role_config *config, struct smtp_policy **out, struct policy_error *out_error)
{
    struct smtp_policy *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->refs = 1;
    p->config = role_config_ref(config);
    p->arena = ARENA(CONF_MEMORY_MAX);
    int r = smtp_policy_compile(&p->arena, config->conf, &p->rules, &p->nets, out_error);
    if (r < 0) {
        out_error->text = arena_dup(&config->arena, out_error->text); /* what it stands in goes with p */
        smtp_policy_unref(p);
        return r;
    }
    *out = p;
    return 0;
}

struct smtp_policy *smtp_policy_ref(struct smtp_policy *p)
{
    p->refs++;
    return p;
}

void smtp_policy_unref(struct smtp_policy *p)
{
    if (!p || --p->refs)
        return;
    role_config_unref(p->config);
    arena_done(&p->arena);
    free(p);
}

static void answer_table(const struct conf *c, struct policy_fact *f)
{
    const struct conf_table *t = conf_table(c, f->subject);
    str value;
    if (!t) {
        f->state = POLICY_FACT_FAILED;
        return;
    }
    f->state = conf_table_get(t, f->key, &value) ? POLICY_FACT_FOUND : POLICY_FACT_ABSENT;
    if (f->state == POLICY_FACT_FOUND)
        f->text = value;
}

static void answer(const struct smtp_policy *p, struct arena *a, struct policy_fact *f)
{
    const struct directory *d = &p->config->directory;
    switch (f->kind) {
    case POLICY_FACT_TABLE:
        answer_table(p->config->conf, f);
        return;
    case POLICY_FACT_ADDRESS:
        f->value = (int64_t)directory_class(d, f->key); /* the two enums have one order */
        if (f->value == POLICY_ADDRESS_UNKNOWN && srs_is(f->key))
            f->value = POLICY_ADDRESS_LOCAL; /* whether it is a sender of ours is judged after the rules */
        f->state = POLICY_FACT_FOUND;
        return;
    case POLICY_FACT_OWNER:
        f->value = directory_may_send(d, a, f->subject, f->key);
        f->text = f->value ? STR_NONE : directory_allowed_senders(d, a, f->subject);
        f->state = POLICY_FACT_FOUND;
        return;
    case POLICY_FACT_KINDS:
        return;
    }
}

void smtp_policy_answer(const struct smtp_policy *p, struct policy_facts *facts)
{
    for (struct policy_fact *f = facts->first; f; f = f->next)
        if (f->state == POLICY_FACT_OPEN)
            answer(p, facts->arena, f);
}

void smtp_policy_decide(const struct smtp_policy *p, const struct policy_rules *rules, const struct policy_session *s,
                        enum policy_stage at, struct policy_facts *facts, struct policy_verdict *out)
{
    for (unsigned round = 0; round < POLICY_FACTS_MAX; round++) {
        policy_decide(rules, s, at, facts, out);
        if (out->action != POLICY_WAIT)
            return;
        smtp_policy_answer(p, facts);
    }
    *out = (struct policy_verdict){
        .action = POLICY_DEFER, .code = 451, .enhanced = S("4.3.0"), .text = S("Too many look-ups for one decision")
    };
}

static void add_checks(struct buf *event, struct buf *text, const struct policy_verdict *v)
{
    static const char *const outcome[] = { "dunno", "ok", "reject", "defer", "warn", "asked" };
    int stage = -1;
    for (size_t i = 0; i < v->n_steps; i++) {
        const struct policy_step *s = &v->steps[i];
        if ((int)s->stage != stage)
            buf_addf(text, "%s%s:", text->n ? " " : "", policy_stage_setting[s->stage]);
        stage = (int)s->stage;
        buf_addc(text, ' ');
        buf_add(text, s->rule->name);
        buf_addc(text, '=');
        buf_add(text, str_z(outcome[s->outcome]));
    }
    event_str(event, "checks", buf_str(text));
}

static void add_facts(struct buf *event, struct buf *text, const struct policy_facts *facts)
{
    static const char *const kind[] = { "table", "address", "owner" };
    static const char *const class[] = { "foreign", "unknown here", "local" };
    for (const struct policy_fact *f = facts->first; f; f = f->next) {
        buf_addf(text, "%s%s %.*s%s%.*s: ", text->n ? "; " : "", kind[f->kind], STR_ARG(f->subject),
                 f->subject.n ? " " : "", STR_ARG(f->key));
        if (f->kind == POLICY_FACT_ADDRESS && f->value >= 0 && f->value < 3)
            buf_add(text, str_z(class[f->value]));
        else if (f->kind == POLICY_FACT_OWNER)
            buf_add(text, f->value ? S("may send") : S("may not send"));
        else
            buf_add(text, f->state == POLICY_FACT_FOUND    ? f->text
                          : f->state == POLICY_FACT_ABSENT ? S("no entry")
                                                           : S("failed"));
    }
    event_str(event, "facts", buf_str(text));
}

void smtp_policy_event(struct buf *event, const struct policy_rules *rules, const struct policy_session *s,
                       enum policy_stage at, struct policy_facts *facts, const struct policy_verdict *v)
{
    _cleanup_buf_ struct buf text = BUF(16384);
    str changes[CHANGES_MAX];
    add_checks(event, &text, v);
    if (v->action == POLICY_PERMIT)
        return;
    if (v->rule) {
        event_str(event, "rule", v->rule->name);
        event_str(event, "list", str_z(policy_stage_setting[v->stage]));
        event_str(event, "file", v->rule->file);
        event_u64(event, "line", v->rule->line);
    }
    buf_clear(&text);
    add_facts(event, &text, facts);
    size_t n = policy_what_if(rules, s, at, facts, changes, CHANGES_MAX);
    for (size_t i = 0; i < n; i++)
        event_str(event, "change", changes[i]);
}
