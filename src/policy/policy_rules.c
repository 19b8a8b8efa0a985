/* The words, one small function each, in the order of policy_words.def; check_*_access stands in policy_access.c.
 * Texts are sentences a user can act on; codes are Postfix's but where DESIGN 8.3 says otherwise. */
#include "policy/policy_run.h"

enum policy_opinion policy_word_permit(struct policy_run *r, const struct policy_rule *rule)
{
    (void)r, (void)rule;
    return OPINION_OK;
}

enum policy_opinion policy_word_reject(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return policy_refuse(
        r, &(struct policy_reply){ 554, "5.7.1", policy_stage_subject(r, r->stage), S("Access denied"), false });
}

enum policy_opinion policy_word_defer(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return policy_refuse(
        r, &(struct policy_reply){ 450, "4.7.1", policy_stage_subject(r, r->stage), S("Try again later"), false });
}

static enum policy_opinion put_off(struct policy_run *r, struct policy_pending *pending)
{
    return policy_put_off(r, pending, &(struct policy_reply){ 450, "4.7.0", policy_stage_subject(r, r->stage),
                                                              S("Service unavailable, try again later"), false });
}

enum policy_opinion policy_word_defer_if_permit(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return put_off(r, &r->if_permit);
}

enum policy_opinion policy_word_defer_if_reject(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return put_off(r, &r->if_reject);
}

enum policy_opinion policy_word_permit_mynetworks(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    bool trusted = r->assume && r->assume->trusted;
    return trusted || policy_nets_match(&r->rules->mynetworks, r->session->client_addr) ? OPINION_OK : OPINION_DUNNO;
}

enum policy_opinion policy_word_permit_sasl_authenticated(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return r->session->sasl_user.n ? OPINION_OK : OPINION_DUNNO;
}

/* The class of an address; false: *out_opinion says what to do without it. */
static bool address_class(struct policy_run *r, str address, int64_t *out_class, enum policy_opinion *out_opinion)
{
    const struct policy_fact *fact = policy_need(r, POLICY_FACT_ADDRESS, STR_NONE, address);
    if (fact->state == POLICY_FACT_OPEN || fact->state == POLICY_FACT_FAILED) {
        *out_opinion = policy_unknown(r, fact, address);
        return false;
    }
    r->fact = fact;
    *out_class = fact->state == POLICY_FACT_FOUND ? fact->value : POLICY_ADDRESS_FOREIGN;
    return true;
}

enum policy_opinion policy_word_permit_auth_destination(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    int64_t class;
    enum policy_opinion opinion;
    if (!r->session->recipient.n)
        return OPINION_DUNNO;
    if (!address_class(r, r->session->recipient, &class, &opinion))
        return opinion;
    return class == POLICY_ADDRESS_FOREIGN ? OPINION_DUNNO : OPINION_OK;
}

static enum policy_opinion unauth_destination(struct policy_run *r, int code, const char *enhanced)
{
    int64_t class;
    enum policy_opinion opinion;
    str recipient = r->session->recipient;
    if (!recipient.n)
        return OPINION_DUNNO;
    if (!address_class(r, recipient, &class, &opinion))
        return opinion;
    if (class != POLICY_ADDRESS_FOREIGN)
        return OPINION_DUNNO;
    return policy_refuse(r, &(struct policy_reply){ code, enhanced, recipient, S("Relay access denied"), false });
}

enum policy_opinion policy_word_reject_unauth_destination(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return unauth_destination(r, 554, "5.7.1");
}

enum policy_opinion policy_word_defer_unauth_destination(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return unauth_destination(r, 454, "4.7.1");
}

static enum policy_opinion unlisted(struct policy_run *r, const struct policy_reply *reply)
{
    int64_t class;
    enum policy_opinion opinion;
    if (!reply->subject.n)
        return OPINION_DUNNO;
    if (!address_class(r, reply->subject, &class, &opinion))
        return opinion;
    return class == POLICY_ADDRESS_UNKNOWN ? policy_refuse(r, reply) : OPINION_DUNNO;
}

enum policy_opinion policy_word_reject_unlisted_recipient(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return unlisted(r, &(struct policy_reply){ 550, "5.1.1", r->session->recipient, S("No such user here"), false });
}

enum policy_opinion policy_word_reject_unlisted_sender(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return unlisted(r, &(struct policy_reply){ 550, "5.1.0", r->session->sender,
                                               S("This sender address does not exist here"), false });
}

/* A host name as Postfix's valid_hostname() has it: letters, digits, hyphen, underscore (and UTF-8, RFC 6531),
 * labels of 1 to 63 without a hyphen at either end, not all digits and dots. Returns the number of labels, 0 if it
 * is none. */
static unsigned hostname_labels(str s)
{
    unsigned labels = 0;
    bool name = false;
    if (s.n == 0 || s.n > 255)
        return 0;
    while (s.n) {
        bool more = str_chr(s, '.') >= 0;
        str label = str_cut(&s, '.');
        if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-' || (more && !s.n))
            return 0;
        for (size_t i = 0; i < label.n; i++) {
            char c = label.p[i];
            if (!ascii_alnum(c) && c != '-' && c != '_' && (uint8_t)c < 0x80)
                return 0;
            name = name || !ascii_digit(c);
        }
        labels++;
    }
    return name ? labels : 0;
}

static bool is_literal(str s)
{
    return s.n && s.p[0] == '[';
}

/* RFC 5321 4.1.3, and an IPv6 address without its tag as Postfix takes it. */
static bool literal_valid(str s)
{
    uint8_t addr[16];
    if (s.n < 3 || s.p[s.n - 1] != ']')
        return false;
    str inside = str_of(s.p + 1, s.n - 2);
    if (str_istarts(inside, S("IPv6:")))
        inside = str_from(inside, 5);
    return str_chr(inside, '%') < 0 && policy_addr_parse(inside, addr) == 0;
}

/* The HELO name without the dot that makes it absolute. */
static str helo_name(const struct policy_session *s)
{
    str name = s->helo;
    if (name.n > 1 && name.p[name.n - 1] == '.' && name.p[name.n - 2] != '.')
        name.n--;
    return name;
}

static enum policy_opinion refuse_literal(struct policy_run *r)
{
    return policy_refuse(
        r, &(struct policy_reply){ 501, "5.5.2", r->session->helo, S("Invalid address literal in HELO"), false });
}

enum policy_opinion policy_word_reject_non_fqdn_helo_hostname(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    str name = helo_name(r->session);
    if (!name.n)
        return OPINION_DUNNO;
    if (is_literal(name))
        return literal_valid(name) ? OPINION_DUNNO : refuse_literal(r);
    if (hostname_labels(name) >= 2)
        return OPINION_DUNNO;
    return policy_refuse(r, &(struct policy_reply){ 504, "5.5.2", r->session->helo,
                                                    S("HELO name must be a fully qualified host name"), false });
}

/* A bare postmaster always has to be taken (RFC 5321 4.5.1); an address literal counts as full. */
static enum policy_opinion non_fqdn_address(struct policy_run *r, str address, str text)
{
    ptrdiff_t at = str_rchr(address, '@');
    str domain = at < 0 ? STR_NONE : str_from(address, (size_t)at + 1);
    if (!address.n || str_ieq(address, S("postmaster")) || hostname_labels(domain) >= 2)
        return OPINION_DUNNO;
    if (is_literal(domain) && domain.p[domain.n - 1] == ']')
        return OPINION_DUNNO;
    return policy_refuse(r, &(struct policy_reply){ 504, "5.5.2", address, text, false });
}

enum policy_opinion policy_word_reject_non_fqdn_sender(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return non_fqdn_address(r, r->session->sender, S("Sender address must have a fully qualified domain"));
}

enum policy_opinion policy_word_reject_non_fqdn_recipient(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    return non_fqdn_address(r, r->session->recipient, S("Recipient address must have a fully qualified domain"));
}

enum policy_opinion policy_word_reject_invalid_helo_hostname(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    uint8_t addr[16];
    str name = helo_name(r->session);
    if (!name.n)
        return OPINION_DUNNO;
    if (is_literal(name))
        return literal_valid(name) ? OPINION_DUNNO : refuse_literal(r);
    /* A naked address is no host name, but Postfix leaves it to reject_non_fqdn_helo_hostname. */
    if (hostname_labels(name) || policy_addr_parse(name, addr) == 0)
        return OPINION_DUNNO;
    return policy_refuse(r, &(struct policy_reply){ 501, "5.5.2", r->session->helo, S("Invalid HELO name"), false });
}

/* DESIGN 8.3: the reply names what the account may use. A sender that no one here owns passes if `only_known`. */
static enum policy_opinion authenticated_mismatch(struct policy_run *r, bool only_known)
{
    str sender = r->session->sender, user = r->session->sasl_user;
    int64_t class;
    enum policy_opinion opinion;
    const struct policy_fact *owner = policy_need(r, POLICY_FACT_OWNER, user, sender);
    if (owner->state == POLICY_FACT_OPEN || owner->state == POLICY_FACT_FAILED)
        return policy_unknown(r, owner, sender);
    bool mine = owner->state == POLICY_FACT_FOUND && owner->value == 1;
    if (!mine && only_known) {
        if (!address_class(r, sender, &class, &opinion))
            return opinion;
        if (class != POLICY_ADDRESS_LOCAL)
            return OPINION_DUNNO;
    }
    r->fact = owner;
    if (mine)
        return OPINION_DUNNO;
    str allowed = owner->text.n ? owner->text : user;
    str text = arena_printf(r->facts->arena, "Sender address not allowed for %.*s; allowed: %.*s", STR_ARG(user),
                            STR_ARG(allowed));
    return policy_refuse(
        r, &(struct policy_reply){ 550, "5.7.1", sender, text.p ? text : S("Sender address not allowed"), false });
}

static enum policy_opinion unauthenticated_mismatch(struct policy_run *r)
{
    int64_t class;
    enum policy_opinion opinion;
    str sender = r->session->sender;
    if (!address_class(r, sender, &class, &opinion))
        return opinion;
    if (class != POLICY_ADDRESS_LOCAL)
        return OPINION_DUNNO;
    return policy_refuse(r,
                         &(struct policy_reply){ 550, "5.7.1", sender, S("Log in to send from this address"), false });
}

enum policy_opinion policy_word_reject_authenticated_sender_login_mismatch(struct policy_run *r,
                                                                           const struct policy_rule *rule)
{
    (void)rule;
    return r->session->sender.n && r->session->sasl_user.n ? authenticated_mismatch(r, false) : OPINION_DUNNO;
}

enum policy_opinion policy_word_reject_unauthenticated_sender_login_mismatch(struct policy_run *r,
                                                                             const struct policy_rule *rule)
{
    (void)rule;
    return r->session->sender.n && !r->session->sasl_user.n ? unauthenticated_mismatch(r) : OPINION_DUNNO;
}

enum policy_opinion policy_word_reject_sender_login_mismatch(struct policy_run *r, const struct policy_rule *rule)
{
    return r->session->sasl_user.n ? policy_word_reject_authenticated_sender_login_mismatch(r, rule)
                                   : policy_word_reject_unauthenticated_sender_login_mismatch(r, rule);
}

enum policy_opinion policy_word_reject_known_sender_login_mismatch(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    if (!r->session->sender.n)
        return OPINION_DUNNO;
    return r->session->sasl_user.n ? authenticated_mismatch(r, true) : unauthenticated_mismatch(r);
}

enum policy_opinion policy_word_reject_unauth_pipelining(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    if (!r->session->early)
        return OPINION_DUNNO;
    return policy_refuse(r, &(struct policy_reply){ 503, "5.5.0", policy_stage_subject(r, r->stage),
                                                    S("Improper use of SMTP command pipelining"), false });
}

enum policy_opinion policy_word_reject_plaintext_session(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    if (r->session->tls)
        return OPINION_DUNNO;
    return policy_refuse(r, &(struct policy_reply){ 450, "4.7.1", policy_stage_subject(r, r->stage),
                                                    S("Session encryption is required"), false });
}

enum policy_opinion policy_word_reject_multi_recipient_bounce(struct policy_run *r, const struct policy_rule *rule)
{
    (void)rule;
    if (!r->session->sender_null || r->session->recipients <= 1)
        return OPINION_DUNNO;
    return policy_refuse(r, &(struct policy_reply){ 550, "5.5.3", policy_stage_subject(r, r->stage),
                                                    S("A bounce has one recipient"), false });
}
