/* Random lists over a random session with random answers: always a verdict, the same again, with steps that fit it;
 * each round of answers makes progress; what-if and the open-relay check end and ask nothing. */
#include <stdlib.h>
#include "policy/policy.h"

static void oracle(bool good)
{
    if (!good)
        abort();
}

struct source { const uint8_t *p; size_t n; };

static uint8_t byte(struct source *s)
{
    if (!s->n)
        return 0;
    s->n--;
    return *s->p++;
}

/* Mostly plausible names, now and then raw bytes of the input. */
static str text(struct source *s)
{
    static const str known[] = { S(""),
                                 S("a@example.org"),
                                 S("b+t@elsewhere.example"),
                                 S("postmaster"),
                                 S("mail.example.org"),
                                 S("localhost"),
                                 S("[192.0.2.1]"),
                                 S("192.0.2.1"),
                                 S("2001:db8::1"),
                                 S("unknown"),
                                 S("a@[::1]"),
                                 S("..@..") };
    uint8_t pick = byte(s);
    if (pick % 16 < ARRAY_LEN(known))
        return known[pick % 16];
    str raw = str_of(s->p, MIN(s->n, (size_t)pick));
    s->p += raw.n;
    s->n -= raw.n;
    return raw;
}

static struct policy_list random_list(struct arena *a, struct source *s, enum policy_stage stage)
{
    struct policy_word words[24];
    struct policy_list list = { 0 };
    struct policy_error error;
    struct policy_word_info info;
    size_t n = 0, most = byte(s) % 8, all = 0;
    while (policy_word_info(all, &info))
        all++;
    for (size_t i = 0; i < most; i++) {
        policy_word_info(byte(s) % all, &info);
        words[n++] = (struct policy_word){ str_z(info.name), S("fuzz"), 1 };
        if (info.takes_table)
            words[n++] = (struct policy_word){ byte(s) % 2 ? S("file:a") : S("file:b"), S("fuzz"), 1 };
    }
    return policy_compile(a, stage, words, n, &list, &error) == 0 ? list : (struct policy_list){ 0 };
}

static void answer(struct source *s, struct policy_fact *f)
{
    static const str values[] = { S("OK"),
                                  S("DUNNO"),
                                  S("REJECT no"),
                                  S("DEFER"),
                                  S("421 bye"),
                                  S("521 5.7.1 x"),
                                  S("HOLD"),
                                  S("17"),
                                  S("check_sender_access file:a"),
                                  S("check_client_access file:b, check_helo_access file:a"),
                                  S("DEFER_IF_PERMIT"),
                                  S("DEFER_IF_REJECT"),
                                  S("WARN x"),
                                  S("warn_if_reject reject, permit"),
                                  S("reject_unauth_destination"),
                                  S("x y z") };
    f->state = POLICY_FACT_ABSENT + byte(s) % 3;
    f->value = byte(s) % 3;
    f->text = byte(s) % 8 ? values[byte(s) % ARRAY_LEN(values)] : text(s);
}

static void check_verdict(const struct policy_verdict *v)
{
    oracle(v->n_steps <= POLICY_STEPS_MAX);
    for (size_t i = 0; i + 1 < v->n_steps; i++)
        oracle(v->steps[i].rule && v->steps[i].stage <= v->steps[i + 1].stage);
    if (v->action == POLICY_WAIT) {
        oracle(v->rule && v->n_steps && v->steps[v->n_steps - 1].outcome == POLICY_ASKED);
        return;
    }
    oracle(v->text.n && v->text.n <= 490 && v->enhanced.n >= 5);
    oracle(v->code / 100 == (v->action == POLICY_PERMIT ? 2 : v->action == POLICY_DEFER ? 4 : 5));
    oracle(v->enhanced.p[0] == '0' + v->code / 100);
    oracle(v->hangup == (v->code == 421 || v->code == 521));
    for (size_t i = 0; i < v->text.n; i++)
        oracle(v->text.p[i] >= ' ' && v->text.p[i] <= '~');
    for (size_t i = 0; i < v->n_steps; i++)
        oracle(v->steps[i].outcome != POLICY_ASKED);
}

static bool table_has_ok(void *arg, str table)
{
    (void)arg;
    return str_eq(table, S("file:a"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 22);
    struct source s = { data, size };
    struct policy_facts facts = { .arena = &a };
    struct policy_rules rules = { .delay_reject = byte(&s) % 4 };
    struct policy_verdict v, again;
    struct policy_error error;
    str texts[16];
    for (enum policy_stage stage = 0; stage < POLICY_STAGES; stage++)
        rules.list[stage] = random_list(&a, &s, stage);
    uint8_t flags = byte(&s);
    struct policy_session session = { .tls = flags & 1,
                                      .early = flags & 2,
                                      .sender_null = flags & 4,
                                      .recipients = flags >> 6,
                                      .client_addr = text(&s),
                                      .client_name = text(&s),
                                      .helo = text(&s),
                                      .sasl_user = text(&s),
                                      .recipient = text(&s) };
    session.sender = session.sender_null ? STR_NONE : text(&s);
    enum policy_stage at = flags & 8 ? byte(&s) % POLICY_STAGES : POLICY_RECIPIENT;
    for (size_t round = 0;; round++) {
        oracle(round <= POLICY_FACTS_MAX);
        policy_decide(&rules, &session, at, &facts, &v);
        check_verdict(&v);
        if (v.action != POLICY_WAIT)
            break;
        size_t open = 0;
        for (struct policy_fact *f = facts.first; f; f = f->next)
            if (f->state == POLICY_FACT_OPEN) {
                answer(&s, f);
                open++;
            }
        oracle(open > 0);
    }
    policy_decide(&rules, &session, at, &facts, &again);
    oracle(again.action == v.action && again.code == v.code && again.rule == v.rule && again.n_steps == v.n_steps);
    oracle(str_eq(again.text, v.text) && str_eq(again.enhanced, v.enhanced));
    size_t asked = facts.n;
    size_t told = policy_what_if(&rules, &session, at, &facts, texts, ARRAY_LEN(texts));
    oracle(told <= ARRAY_LEN(texts) && (v.action != POLICY_PERMIT || told == 0));
    int r = policy_open_relay(&a, &rules, table_has_ok, NULL, &error);
    oracle(r == 0 || error.text.n);
    oracle(facts.n == asked);
    return 0;
}
