/* The engine: walks the lists as Postfix's smtpd_check.c does, and keeps the facts. See policy.h.
 *
 * Invariants:
 * 1. A run reads rules, session and facts, and writes only its verdict and new open questions: the same input, the
 *    same verdict.
 * 2. `permit` ends its own list, a refusal ends all, and a rule whose fact is open ends the run with WAIT.
 * 3. defer_if_permit holds until the end of the run; defer_if_reject until the end of its list, but from relay into
 *    recipient.
 * 4. Running again after an answer gets at least as far: only a rule that was reached may leave a question. */
#include "policy/policy_run.h"

#define TEXT_MAX 440     /* a reply line has 512 octets (RFC 5321 4.5.3.1.5), some for the codes and CRLF */
#define SUBJECT_MAX 320  /* an address (RFC 5321 4.5.3.1) */
#define NESTED_RULES_MAX 1000

const char *const policy_stage_setting[POLICY_STAGES] = {
    [POLICY_CLIENT] = "smtpd_client_restrictions",       [POLICY_HELO] = "smtpd_helo_restrictions",
    [POLICY_SENDER] = "smtpd_sender_restrictions",       [POLICY_RELAY] = "smtpd_relay_restrictions",
    [POLICY_RECIPIENT] = "smtpd_recipient_restrictions", [POLICY_DATA] = "smtpd_data_restrictions",
};

/* Not keyed: the table is bounded by POLICY_FACTS_MAX, so chosen collisions cost next to nothing. */
static uint32_t fact_hash(enum policy_fact_kind kind, str subject, str key)
{
    uint32_t h = 2166136261u ^ (uint32_t)kind; /* FNV-1a */
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (uint8_t)key.p[i]) * 16777619u;
    h = (h ^ (uint32_t)subject.n) * 16777619u;
    return h ^ h >> 16;
}

static bool fact_is(const struct policy_fact *fact, enum policy_fact_kind kind, str subject, str key)
{
    return fact->kind == kind && str_eq(fact->key, key) && str_eq(fact->subject, subject);
}

struct policy_fact *policy_fact_get(struct policy_facts *f, enum policy_fact_kind kind, str subject, str key)
{
    struct policy_fact *at = f->hash[fact_hash(kind, subject, key) % POLICY_FACTS_HASH];
    while (at && !fact_is(at, kind, subject, key))
        at = at->same;
    return at;
}

struct policy_fact *policy_fact_ask(struct policy_facts *f, enum policy_fact_kind kind, str subject, str key)
{
    struct policy_fact *fact = policy_fact_get(f, kind, subject, key);
    if (fact)
        return fact;
    if (f->n >= POLICY_FACTS_MAX)
        return NULL;
    fact = ARENA_NEW(f->arena, struct policy_fact);
    str own_subject = arena_dup(f->arena, subject), own_key = arena_dup(f->arena, key);
    if (!fact || !own_subject.p || !own_key.p)
        return NULL;
    struct policy_fact **chain = &f->hash[fact_hash(kind, subject, key) % POLICY_FACTS_HASH];
    *fact = (struct policy_fact){ .kind = kind, .subject = own_subject, .key = own_key, .same = *chain };
    *chain = fact;
    if (f->last)
        f->last->next = fact;
    else
        f->first = fact;
    f->last = fact;
    f->n++;
    return fact;
}

/* What a stranger's facts are: nobody here owns anything of his, and his addresses lie elsewhere. */
static struct policy_fact *stranger_fact(enum policy_fact_kind kind)
{
    static const struct policy_fact answers[POLICY_FACT_KINDS] = {
        [POLICY_FACT_TABLE] = { .kind = POLICY_FACT_TABLE, .state = POLICY_FACT_ABSENT },
        [POLICY_FACT_ADDRESS] = { .kind = POLICY_FACT_ADDRESS,
                                  .state = POLICY_FACT_FOUND,
                                  .value = POLICY_ADDRESS_FOREIGN },
        [POLICY_FACT_OWNER] = { .kind = POLICY_FACT_OWNER, .state = POLICY_FACT_FOUND, .value = 0 },
    };
    return (struct policy_fact *)&answers[kind];
}

struct policy_fact *policy_need(struct policy_run *r, enum policy_fact_kind kind, str subject, str key)
{
    static const struct policy_fact no_room = { .state = POLICY_FACT_FAILED };
    static const struct policy_fact not_asked = { .state = POLICY_FACT_OPEN };
    static const struct policy_fact owned = { .kind = POLICY_FACT_OWNER, .state = POLICY_FACT_FOUND, .value = 1 };
    const struct policy_assume *assume = r->assume;
    struct policy_fact *fact;
    if (!assume) {
        fact = policy_fact_ask(r->facts, kind, subject, key);
        return fact ? fact : (struct policy_fact *)&no_room;
    }
    if (assume->stranger)
        return stranger_fact(kind);
    if (assume->owns && kind == POLICY_FACT_OWNER)
        return (struct policy_fact *)&owned;
    if (assume->fact && fact_is(assume->fact, kind, subject, key))
        return (struct policy_fact *)assume->fact;
    fact = policy_fact_get(r->facts, kind, subject, key);
    return fact ? fact : (struct policy_fact *)&not_asked;
}

enum policy_opinion policy_unknown(struct policy_run *r, const struct policy_fact *fact, str subject)
{
    r->fact = fact;
    if (fact->state == POLICY_FACT_OPEN)
        return OPINION_WAIT;
    return policy_refuse(
        r, &(struct policy_reply){ 451, "4.3.0", subject, S("Temporary lookup failure, try again later"), true });
}

str policy_client_text(struct policy_run *r)
{
    str name = r->session->client_name.n ? r->session->client_name : S("unknown");
    str text = arena_printf(r->facts->arena, "%.*s[%.*s]", (int)MIN(name.n, (size_t)255), name.p,
                            STR_ARG(str_first(r->session->client_addr, 64)));
    return text.p ? text : r->session->client_addr;
}

str policy_stage_subject(struct policy_run *r, enum policy_stage stage)
{
    switch (stage) {
    case POLICY_CLIENT:
        return policy_client_text(r);
    case POLICY_HELO:
        return r->session->helo;
    case POLICY_SENDER:
        return r->session->sender;
    case POLICY_RELAY:
    case POLICY_RECIPIENT:
        return r->session->recipient;
    default:
        return S("DATA");
    }
}

/* "<subject>: text" as it may go on the wire: ASCII without control bytes (RFC 5321 4.2), short enough for its line. */
static str reply_text(struct policy_run *r, const struct policy_reply *reply)
{
    str subject = str_first(reply->subject, SUBJECT_MAX), what = str_first(reply->text, TEXT_MAX - 4 - subject.n);
    char *p = arena_alloc(r->facts->arena, subject.n + what.n + 5);
    if (!p)
        return S("Out of memory, try again later");
    size_t n = 0;
    p[n++] = '<';
    for (size_t i = 0; i < subject.n; i++)
        p[n++] = subject.p[i];
    memcpy(p + n, ">: ", 3);
    n += 3;
    for (size_t i = 0; i < what.n; i++)
        p[n++] = what.p[i];
    for (size_t i = 0; i < n; i++)
        if (p[i] < ' ' || p[i] > '~')
            p[i] = '?';
    return str_of(p, n);
}

static void conclude(struct policy_run *r, const struct policy_pending *no)
{
    *r->out = (struct policy_verdict){ .action = no->code < 500 ? POLICY_DEFER : POLICY_REJECT,
                                       .code = no->code,
                                       .enhanced = no->enhanced,
                                       .text = no->text,
                                       .hangup = no->code == 421 || no->code == 521,
                                       .rule = no->rule,
                                       .stage = no->stage };
}

static struct policy_pending make_pending(struct policy_run *r, const struct policy_reply *reply)
{
    str enhanced = arena_dup(r->facts->arena, str_z(reply->enhanced));
    str text = reply_text(r, reply);
    struct policy_pending no = { true, reply->code, enhanced.p ? enhanced : S("4.3.0"), text, r->rule, r->stage };
    if (!enhanced.p)
        no.code = 451;
    return no;
}

enum policy_opinion policy_refuse(struct policy_run *r, const struct policy_reply *reply)
{
    struct policy_pending no = make_pending(r, reply);
    if (r->warn && !reply->always) {
        r->warned = true;
        r->note = no.text;
        return OPINION_DUNNO;
    }
    /* An allowlist that could not be asked may have let this pass: do not make it final, and name the earlier
     * trouble. */
    conclude(r, no.code >= 500 && r->if_reject.active ? &r->if_reject : &no);
    return OPINION_NO;
}

enum policy_opinion policy_put_off(struct policy_run *r, struct policy_pending *pending,
                                   const struct policy_reply *reply)
{
    /* As in Postfix, warn_if_reject defer_if_permit only warns, while defer_if_reject is not touched by it. */
    if (r->warn && pending == &r->if_permit)
        return policy_refuse(r, reply);
    struct policy_pending no = make_pending(r, reply);
    r->note = no.text;
    if (!pending->active)
        *pending = no;
    return OPINION_DUNNO;
}

static void keep_step(struct policy_run *r, size_t at, enum policy_opinion opinion)
{
    struct policy_step *step = &r->steps[at];
    step->fact = r->fact;
    step->text = r->note;
    switch (opinion) {
    case OPINION_OK:
        step->outcome = POLICY_OK;
        break;
    case OPINION_NO:
        step->outcome = r->out->action == POLICY_REJECT ? POLICY_REFUSED : POLICY_DEFERRED;
        break;
    case OPINION_WAIT:
        step->outcome = POLICY_ASKED;
        break;
    default:
        step->outcome = r->warned ? POLICY_WARNED : POLICY_DUNNO;
    }
}

static enum policy_opinion judge(struct policy_run *r, const struct policy_rule *rule)
{
    static enum policy_opinion (*const handlers[POLICY_WORDS])(struct policy_run *, const struct policy_rule *) = {
#define WORD(name, lists, takes_table, doc, remedy) [POLICY_WORD_##name] = policy_word_##name,
#include "policy/policy_words.def"
    };
    size_t at = MIN(r->n_steps, (size_t)POLICY_STEPS_MAX - 1);
    bool outer_warn = r->warn;
    r->rule = rule;
    r->warn = r->warn || rule->warn_only;
    r->fact = NULL;
    r->note = STR_NONE;
    r->warned = false;
    if (!r->assume) {
        r->steps[at] = (struct policy_step){ .stage = r->stage, .rule = rule };
        r->n_steps = at + 1;
    }
    enum policy_opinion opinion = handlers[rule->word](r, rule);
    /* With the list full, the last place may by now belong to a rule of a nested list, which is the later one. */
    if (!r->assume && r->steps[at].rule == rule)
        keep_step(r, at, opinion);
    r->warn = outer_warn;
    if (opinion == OPINION_WAIT)
        *r->out = (struct policy_verdict){ .action = POLICY_WAIT, .rule = r->rule, .stage = r->stage };
    if (opinion == OPINION_OK) {
        r->permitted = r->rule;
        r->permitted_at = r->stage;
    }
    return opinion;
}

static enum policy_opinion too_many(struct policy_run *r)
{
    static const str text = S("Configuration error: access tables lead to too many rules");
    return policy_refuse(r, &(struct policy_reply){ 451, "4.3.5", policy_stage_subject(r, r->stage), text, true });
}

enum policy_opinion policy_run_list(struct policy_run *r, const struct policy_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct policy_rule *rule = &list->rules[i];
        if (r->assume && r->assume->without == rule)
            continue;
        if (r->depth && ++r->nested > NESTED_RULES_MAX)
            return too_many(r);
        if (!r->depth)
            r->top = i;
        enum policy_opinion opinion = judge(r, rule);
        if (opinion != OPINION_DUNNO)
            return opinion;
        /* Whatever comes now, it ends in a deferral. */
        if (r->if_permit.active && r->if_reject.active)
            return OPINION_DUNNO;
    }
    return OPINION_DUNNO;
}

/* What was known of the session when a stage was reached. */
static struct policy_session known_at(const struct policy_session *s, enum policy_stage stage)
{
    struct policy_session known = *s;
    if (stage < POLICY_RELAY) {
        known.recipient = STR_NONE;
        known.recipients = 0;
    }
    if (stage < POLICY_SENDER) {
        known.sender = STR_NONE;
        known.sender_null = false;
    }
    if (stage < POLICY_HELO)
        known.helo = STR_NONE;
    return known;
}

static enum policy_opinion run_stage(struct policy_run *r, const struct policy_session *session,
                                     enum policy_stage stage)
{
    struct policy_session known;
    r->session = session;
    if (!r->rules->delay_reject && stage < POLICY_RELAY) {
        known = known_at(session, stage);
        r->session = &known;
    }
    r->stage = stage;
    if (stage != POLICY_RECIPIENT)
        r->if_reject.active = false;
    enum policy_opinion opinion = policy_run_list(r, &r->rules->list[stage]);
    r->session = session;
    return opinion;
}

static void run_all(struct policy_run *r, const struct policy_session *session, enum policy_stage from,
                    enum policy_stage to)
{
    for (enum policy_stage stage = from; stage <= to; stage++) {
        enum policy_opinion opinion = run_stage(r, session, stage);
        if (opinion == OPINION_NO || opinion == OPINION_WAIT)
            return;
    }
    if (r->if_permit.active && to >= POLICY_RECIPIENT) {
        conclude(r, &r->if_permit);
        return;
    }
    static const char *const enhanced[POLICY_STAGES] = { "2.0.0", "2.0.0", "2.1.0", "2.1.5", "2.1.5", "2.0.0" };
    *r->out = (struct policy_verdict){ .action = POLICY_PERMIT,
                                       .code = 250,
                                       .enhanced = str_z(enhanced[to]),
                                       .text = S("Ok"),
                                       .rule = r->permitted,
                                       .stage = r->permitted ? r->permitted_at : to };
}

static void save_steps(struct policy_run *r)
{
    if (!r->n_steps)
        return;
    struct policy_step *steps = ARENA_ARRAY(r->facts->arena, struct policy_step, r->n_steps);
    if (!steps)
        return;
    memcpy(steps, r->steps, sizeof(*steps) * r->n_steps);
    r->out->steps = steps;
    r->out->n_steps = r->n_steps;
}

void policy_decide_assuming(const struct policy_rules *rules, const struct policy_session *session,
                            enum policy_stage at, struct policy_facts *facts, struct policy_assume *assume,
                            struct policy_verdict *out)
{
    struct policy_step steps[POLICY_STEPS_MAX];
    struct policy_run r = { .rules = rules, .facts = facts, .assume = assume, .out = out, .steps = steps };
    if (at == POLICY_DATA)
        run_all(&r, session, POLICY_DATA, POLICY_DATA);
    else if (at >= POLICY_RELAY)
        run_all(&r, session, POLICY_CLIENT, POLICY_RECIPIENT);
    else if (!rules->delay_reject)
        run_all(&r, session, at, at);
    else
        run_all(&r, session, at + 1, at); /* nothing is due */
    save_steps(&r);
    if (assume) {
        assume->end_stage = r.stage;
        assume->end_top = r.top;
        assume->entry = r.entry;
    }
}

void policy_decide(const struct policy_rules *rules, const struct policy_session *session, enum policy_stage at,
                   struct policy_facts *facts, struct policy_verdict *out)
{
    policy_decide_assuming(rules, session, at, facts, NULL, out);
}
