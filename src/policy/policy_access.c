/* check_*_access: the keys that access(5) of Postfix looks up, in its order, and the right sides. All keys of a rule
 * are asked at once (tables cost nothing); the first that is there decides. */
#include "policy/policy_run.h"
#include <errno.h>

#define PARENTS_MAX 20   /* nearest the top: a name of more labels still meets the entry of its domain */
#define KEYS_MAX (2 * PARENTS_MAX + 10)
#define KEY_BYTES 512
#define DEPTH_MAX 8

enum action {
    ACTION_OK,
    ACTION_DUNNO,
    ACTION_REJECT,
    ACTION_DEFER,
    ACTION_DEFER_IF_PERMIT,
    ACTION_DEFER_IF_REJECT,
    ACTION_NOTE,
    ACTION_CODE,
    ACTION_LIST,
    ACTION_LATER
};

struct right_side {
    enum action action;
    int code;
    char enhanced[12]; /* of the text, else empty */
    str text;
};

struct keys {
    str key[KEYS_MAX];
    size_t n, used;
    char space[2 * KEY_BYTES];
};

static void add_key(struct keys *k, str key)
{
    for (size_t i = 0; i < k->n; i++)
        if (str_eq(k->key[i], key))
            return;
    if (k->n < KEYS_MAX && key.n)
        k->key[k->n++] = key;
}

/* Lower case, as tables have their keys. What does not fit loses its front: the domain stands at the end. */
static str lower(struct keys *k, str s)
{
    s = str_from(s, s.n > KEY_BYTES ? s.n - KEY_BYTES : 0);
    char *p = k->space + k->used;
    for (size_t i = 0; i < s.n; i++)
        p[i] = ascii_lower(s.p[i]);
    k->used += s.n;
    return str_of(p, s.n);
}

/* "a.b.c", ".b.c", "b.c", ".c", "c"; numbers and literals have no parents. */
static void add_domain(struct keys *k, str domain)
{
    uint8_t addr[16];
    size_t dots = 0;
    add_key(k, domain);
    if (!domain.n || domain.p[0] == '[' || policy_addr_parse(domain, addr) == 0)
        return;
    for (size_t i = 0; i < domain.n; i++)
        dots += domain.p[i] == '.';
    for (size_t i = 0; i < domain.n; i++) {
        if (domain.p[i] != '.' || dots-- > PARENTS_MAX)
            continue;
        add_key(k, str_from(domain, i));
        add_key(k, str_from(domain, i + 1));
    }
}

/* "192.0.2.1", "192.0.2", "192.0", "192"; "2001:db8::1", "2001:db8", "2001". */
static void add_networks(struct keys *k, str addr)
{
    char sep = str_chr(addr, ':') >= 0 ? ':' : '.';
    ptrdiff_t at;
    add_key(k, addr);
    while ((at = str_rchr(addr, sep)) > 0) {
        addr = str_first(addr, (size_t)at);
        if (addr.p[addr.n - 1] == sep)
            addr.n--;
        add_key(k, addr);
    }
}

/* user+tag@domain as user@domain; nothing if there is no tag. */
static str without_tag(struct keys *k, str delimiters, str local, str rest)
{
    size_t n = 1;
    while (n < local.n && str_chr(delimiters, local.p[n]) < 0)
        n++;
    if (n >= local.n)
        return STR_NONE;
    char *p = k->space + k->used;
    memcpy(p, local.p, n);
    memcpy(p + n, rest.p, rest.n);
    k->used += n + rest.n;
    return str_of(p, n + rest.n);
}

static void address_keys(struct keys *k, const struct policy_rules *rules, str address)
{
    str full = lower(k, address);
    ptrdiff_t at = str_rchr(full, '@');
    if (at < 0) {
        add_key(k, full);
        return;
    }
    str local = str_first(full, (size_t)at), rest = str_from(full, (size_t)at);
    str bare = without_tag(k, rules->recipient_delimiter.n ? rules->recipient_delimiter : S("+"), local, rest);
    add_key(k, full);
    add_key(k, bare);
    add_domain(k, str_from(rest, 1));
    add_key(k, str_first(full, local.n + 1));
    add_key(k, str_first(bare, bare.n - MIN(bare.n, rest.n - 1)));
}

/* An enhanced code (RFC 3463) at the start of a text moves to its own place; its class follows the reply code. */
static void split_enhanced(struct right_side *side)
{
    str rest = side->text;
    str word = str_word(&rest), left = word;
    str class = str_cut(&left, '.'), subject = str_cut(&left, '.');
    uint64_t v;
    if (word.n >= sizeof(side->enhanced) || class.n != 1 || subject.n > 3 || left.n > 3)
        return;
    if (str_u64(class, 5, &v) < 0 || (v != 2 && v < 4) || str_u64(subject, 999, &v) < 0 || str_u64(left, 999, &v) < 0)
        return;
    memcpy(side->enhanced, word.p, word.n);
    side->enhanced[0] = (char)('0' + side->code / 100);
    side->text = str_trim(rest);
}

static bool all_digits(str s)
{
    size_t i = 0;
    while (i < s.n && ascii_digit(s.p[i]))
        i++;
    return s.n && i == s.n;
}

static struct right_side read_right_side(str value)
{
    static const struct { str name; enum action action; } rows[] = {
#define ACTION(name, kind, doc) { S(#name), ACTION_##kind },
#define LATER_ACTION(name) { S(#name), ACTION_LATER },
#include "policy/policy_words.def"
    };
    static const int codes[] = { [ACTION_REJECT] = 554, [ACTION_DEFER] = 450, [ACTION_DEFER_IF_PERMIT] = 450,
                                 [ACTION_DEFER_IF_REJECT] = 450 };
    struct right_side side = { .action = ACTION_LIST };
    str rest = str_trim(value);
    if (all_digits(rest)) { /* POP-before-SMTP tables hold time stamps: Postfix takes any number alone as OK */
        side.action = ACTION_OK;
        return side;
    }
    str word = str_word(&rest);
    side.text = str_trim(rest);
    if (word.n == 3 && all_digits(word) && (word.p[0] == '4' || word.p[0] == '5')) {
        side.action = ACTION_CODE;
        side.code = (word.p[0] - '0') * 100 + (word.p[1] - '0') * 10 + (word.p[2] - '0');
    }
    for (size_t i = 0; i < ARRAY_LEN(rows) && side.action == ACTION_LIST; i++)
        if (str_ieq(word, rows[i].name))
            side.action = rows[i].action;
    if (side.action < ARRAY_LEN(codes) && codes[side.action])
        side.code = codes[side.action];
    if (side.action == ACTION_LIST)
        side.text = str_trim(value);
    else if (side.code)
        split_enhanced(&side);
    return side;
}

bool policy_action_info(size_t i, struct policy_word_info *out)
{
    static const struct policy_word_info rows[] = {
#define ACTION(name, kind, doc) { #name, doc, "", false },
#include "policy/policy_words.def"
    };
    if (i >= ARRAY_LEN(rows))
        return false;
    *out = rows[i];
    return true;
}

int policy_check_action(str right_side, const char **out_why)
{
    struct right_side side = read_right_side(right_side);
    if (side.action == ACTION_LATER) {
        *out_why = "BCC, DISCARD, FILTER, HOLD, PREPEND and REDIRECT are not available yet in this version";
        return -EINVAL;
    }
    if (side.action != ACTION_LIST)
        return 0;
    /* Far more than any list of rules needs, so that a right side may not cost memory without end. */
    _cleanup_arena_ struct arena arena = ARENA(65536);
    struct policy_list list;
    if (side.text.n == 0) {
        *out_why = "an entry needs an action such as OK, REJECT, DUNNO or a list of restrictions";
        return -EINVAL;
    }
    if (policy_compile_nested(&arena, side.text, STR_NONE, &list) == 0)
        return 0;
    *out_why = "expected OK, RELAY, DUNNO, REJECT, DEFER, DEFER_IF_PERMIT, DEFER_IF_REJECT, WARN, INFO, a code such as "
               "`550 text`, or a list of restrictions";
    return -EINVAL;
}

static enum policy_opinion broken(struct policy_run *r, const struct policy_rule *rule, str subject)
{
    str text = arena_printf(r->facts->arena, "Configuration error in table %.*s", STR_ARG(str_first(rule->arg, 80)));
    return policy_refuse(
        r, &(struct policy_reply){ 451, "4.3.5", subject, text.p ? text : S("Configuration error"), true });
}

static enum policy_opinion run_nested(struct policy_run *r, const struct policy_rule *rule, struct policy_fact *fact,
                                      str subject)
{
    if (r->depth >= DEPTH_MAX)
        return broken(r, rule, subject);
    if (!fact->nested.n && policy_compile_nested(r->facts->arena, fact->text, rule->arg, &fact->nested) < 0)
        return broken(r, rule, subject);
    r->depth++;
    enum policy_opinion opinion = policy_run_list(r, &fact->nested);
    r->depth--;
    if (opinion == OPINION_DUNNO) {
        r->warned = false;
        r->note = STR_NONE;
    }
    r->fact = fact;
    return opinion;
}

static enum policy_opinion act(struct policy_run *r, const struct policy_rule *rule, struct policy_fact *fact,
                               enum policy_stage about)
{
    static const struct { const char *enhanced; str text; } plain[] = {
        [ACTION_REJECT] = { "5.7.1", S("Access denied") },
        [ACTION_DEFER] = { "4.7.1", S("Try again later") },
        [ACTION_DEFER_IF_PERMIT] = { "4.7.0", S("Service unavailable, try again later") },
        [ACTION_DEFER_IF_REJECT] = { "4.7.0", S("Service unavailable, try again later") },
        [ACTION_CODE] = { "5.7.1", S("Access denied") },
    };
    struct right_side side = read_right_side(fact->text);
    str subject = side.action == ACTION_OK || side.action == ACTION_DUNNO ? STR_NONE : policy_stage_subject(r, about);
    struct policy_reply reply = { side.code, side.enhanced, subject, side.text, false };
    if (side.code && !side.enhanced[0])
        reply.enhanced = side.action == ACTION_CODE && side.code < 500 ? "4.7.1" : plain[side.action].enhanced;
    if (side.code && !reply.text.n)
        reply.text = plain[side.action].text;
    switch (side.action) {
    case ACTION_OK:
        return OPINION_OK;
    case ACTION_DUNNO:
        return OPINION_DUNNO;
    case ACTION_REJECT:
    case ACTION_DEFER:
    case ACTION_CODE:
        return policy_refuse(r, &reply);
    case ACTION_DEFER_IF_PERMIT:
        return policy_put_off(r, &r->if_permit, &reply);
    case ACTION_DEFER_IF_REJECT:
        return policy_put_off(r, &r->if_reject, &reply);
    case ACTION_NOTE:
        r->warned = true;
        r->note = side.text;
        return OPINION_DUNNO;
    case ACTION_LIST:
        return run_nested(r, rule, fact, subject);
    default:
        return broken(r, rule, subject);
    }
}

static enum policy_opinion look_up(struct policy_run *r, const struct policy_rule *rule, const struct keys *k,
                                   enum policy_stage about)
{
    struct policy_fact *facts[KEYS_MAX];
    for (size_t i = 0; i < k->n; i++)
        facts[i] = policy_need(r, POLICY_FACT_TABLE, rule->arg, k->key[i]);
    for (size_t i = 0; i < k->n; i++) {
        if (facts[i]->state == POLICY_FACT_ABSENT)
            continue;
        if (facts[i]->state != POLICY_FACT_FOUND)
            return policy_unknown(r, facts[i], policy_stage_subject(r, about));
        r->fact = facts[i];
        if (!r->depth)
            r->entry = facts[i];
        return act(r, rule, facts[i], about);
    }
    return OPINION_DUNNO;
}

/* A table keyed by something the client makes up, in the check for open relays. */
static enum policy_opinion strangers_choice(struct policy_run *r, const struct policy_rule *rule)
{
    const struct policy_assume *assume = r->assume;
    if (!assume->table_has_ok || !assume->table_has_ok(assume->arg, rule->arg))
        return OPINION_DUNNO;
    return OPINION_OK;
}

static bool is_stranger(const struct policy_run *r)
{
    return r->assume && r->assume->stranger;
}

enum policy_opinion policy_word_check_client_access(struct policy_run *r, const struct policy_rule *rule)
{
    struct keys keys;
    keys.n = keys.used = 0;
    add_domain(&keys, lower(&keys, r->session->client_name));
    add_networks(&keys, lower(&keys, r->session->client_addr));
    return look_up(r, rule, &keys, POLICY_CLIENT);
}

enum policy_opinion policy_word_check_helo_access(struct policy_run *r, const struct policy_rule *rule)
{
    struct keys keys;
    str helo = r->session->helo;
    if (!helo.n)
        return OPINION_DUNNO;
    if (is_stranger(r))
        return strangers_choice(r, rule);
    keys.n = keys.used = 0;
    if (helo.n > 1 && helo.p[helo.n - 1] == '.') /* "evil.example." is evil.example */
        helo.n--;
    add_domain(&keys, lower(&keys, helo));
    return look_up(r, rule, &keys, POLICY_HELO);
}

enum policy_opinion policy_word_check_sender_access(struct policy_run *r, const struct policy_rule *rule)
{
    struct keys keys;
    if (!r->session->sender.n && !r->session->sender_null)
        return OPINION_DUNNO;
    if (is_stranger(r))
        return strangers_choice(r, rule);
    keys.n = keys.used = 0;
    if (r->session->sender_null)
        add_key(&keys, S("<>")); /* smtpd_null_access_lookup_key of Postfix */
    else
        address_keys(&keys, r->rules, r->session->sender);
    return look_up(r, rule, &keys, POLICY_SENDER);
}

enum policy_opinion policy_word_check_recipient_access(struct policy_run *r, const struct policy_rule *rule)
{
    struct keys keys;
    if (!r->session->recipient.n)
        return OPINION_DUNNO;
    keys.n = keys.used = 0;
    address_keys(&keys, r->rules, r->session->recipient);
    return look_up(r, rule, &keys, POLICY_RECIPIENT);
}
