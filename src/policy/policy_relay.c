/* Is this an open relay? A stranger comes from nowhere we know, under every guise that costs him nothing (IPv4,
 * IPv6, TLS or not, any sender or none), and wants to send elsewhere. If one of his tries is accepted, the
 * configuration is refused. See policy.h. */
#include "policy/policy_run.h"
#include <errno.h>

#define STRANGERS 3
/* Documentation networks (RFC 5737, RFC 3849, RFC 9637): several, as an example configuration may trust one of them. */
static const char *const strangers[2][STRANGERS] = {
    { "203.0.113.77", "198.51.100.77", "192.0.2.77" },
    { "2001:db8::77", "3fff::77", "100::77" },
};

struct inquiry {
    struct arena *arena;
    const struct policy_rules *rules;
    struct policy_assume assume;
};

/* Does he get through? With delay_reject all is judged at RCPT, else he has to pass each stage. */
static bool passes(struct inquiry *q, const struct policy_session *session, struct policy_verdict *out)
{
    static const enum policy_stage stages[] = { POLICY_CLIENT, POLICY_HELO, POLICY_SENDER, POLICY_RECIPIENT };
    struct policy_facts facts = { .arena = q->arena };
    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        policy_decide_assuming(q->rules, session, stages[i], &facts, &q->assume, out);
        if (out->action != POLICY_PERMIT)
            return false;
    }
    return true;
}

static bool any_guise_passes(struct inquiry *q, str addr, struct policy_verdict *out)
{
    for (unsigned guise = 0; guise < 4; guise++) {
        bool null = guise & 1;
        struct policy_session session = {
            .client_addr = addr, .client_name = S("unknown"), .helo = S("mail.stranger.example"), .tls = guise & 2,
            .sender = null ? STR_NONE : S("someone@stranger.example"), .sender_null = null,
            .recipient = S("victim@elsewhere.example"), .recipients = 1,
        };
        if (passes(q, &session, out))
            return true;
    }
    return false;
}

static int refuse(struct inquiry *q, const struct policy_rule *rule, str text, struct policy_error *out)
{
    const struct policy_list *relay = &q->rules->list[POLICY_RELAY], *recipient = &q->rules->list[POLICY_RECIPIENT];
    if (!rule)
        rule = relay->n ? relay->rules : recipient->n ? recipient->rules : NULL;
    *out = (struct policy_error){ rule ? rule->file : STR_NONE, rule ? rule->line : 0,
                                  text.n ? text : S("anyone may relay") };
    return -EPERM;
}

static int report_open(struct inquiry *q, str addr, const struct policy_verdict *verdict, struct policy_error *out)
{
    const struct policy_rule *rule = verdict->stage >= POLICY_RELAY ? verdict->rule : NULL;
    if (!rule)
        return refuse(q, NULL, arena_printf(q->arena, "anyone may relay: neither smtpd_relay_restrictions nor "
                      "smtpd_recipient_restrictions refuses recipients elsewhere; add reject_unauth_destination"), out);
    str text = arena_printf(q->arena,
                            "anyone may relay: the rule `%.*s%s%.*s` of %s accepts a stranger (%.*s) who sends "
                            "elsewhere; put reject_unauth_destination before it",
                            STR_ARG(rule->name), rule->arg.n ? " " : "", STR_ARG(rule->arg),
                            policy_stage_setting[verdict->stage], STR_ARG(addr));
    if (rule->word == POLICY_WORD_permit_mynetworks)
        text = arena_printf(q->arena,
                            "anyone may relay: permit_mynetworks accepts a stranger (%.*s), so mynetworks is too wide",
                            STR_ARG(addr));
    return refuse(q, rule, text, out);
}

/* The first network that holds too much of the world, NULL if none. fc00::/7 and fe80::/10 are not reached from
 * outside. */
static const struct net *too_wide(const struct nets *nets)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    for (size_t i = 0; i < nets->n; i++) {
        const struct net *net = &nets->nets[i];
        bool v4 = net->bits >= 96 && memcmp(net->addr, mapped, sizeof(mapped)) == 0;
        bool inside = (net->bits >= 7 && (net->addr[0] & 0xfe) == 0xfc) ||
                      (net->bits >= 10 && net->addr[0] == 0xfe && (net->addr[1] & 0xc0) == 0x80);
        if (v4 ? net->bits < 96 + 8 : net->bits < 16 && !inside)
            return net;
    }
    return NULL;
}

static int check_networks(struct inquiry *q, struct policy_error *out)
{
    struct policy_verdict verdict;
    const struct net *net = too_wide(&q->rules->mynetworks);
    if (!net)
        return 0;
    q->assume.trusted = true;
    bool matters = any_guise_passes(q, str_z(strangers[0][0]), &verdict);
    q->assume.trusted = false;
    if (!matters)
        return 0;
    str text = arena_printf(q->arena,
                            "mynetworks trusts too many: a network of /%u (%s) may relay; the widest allowed are /8 "
                            "(IPv4) and /16 (IPv6)",
                            net->bits >= 96 ? net->bits - 96u : net->bits, net->bits >= 96 ? "IPv4" : "IPv6");
    return refuse(q, verdict.stage >= POLICY_RELAY ? verdict.rule : NULL, text, out);
}

int policy_open_relay(struct arena *a, const struct policy_rules *rules, bool (*table_has_ok)(void *arg, str table),
                      void *arg, struct policy_error *out_error)
{
    struct inquiry q = { a, rules, { .stranger = true, .table_has_ok = table_has_ok, .arg = arg } };
    struct policy_verdict verdict;
    int r = check_networks(&q, out_error);
    if (r < 0)
        return r;
    for (size_t family = 0; family < 2; family++) {
        size_t i = 0;
        while (i + 1 < STRANGERS && policy_nets_match(&rules->mynetworks, str_z(strangers[family][i])))
            i++;
        if (any_guise_passes(&q, str_z(strangers[family][i]), &verdict))
            return report_open(&q, str_z(strangers[family][i]), &verdict, out_error);
    }
    return 0;
}
