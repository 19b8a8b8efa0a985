/* The envelope of a message: MAIL, RCPT, DATA judged by policy and directory. What judging takes (facts, steps, results
 * of the directory, texts of refusals) lies in in->scratch and goes with the command; the transaction keeps what its
 * record needs. */
#include <errno.h>
#include <sys/statvfs.h>
#include "session/smtp_session.h"

static void reply(struct smtp_session *s, int code, str enhanced, str text)
{
    smtp_server_reply(s->engine, code, enhanced, text);
}

void smtp_envelope_end(struct smtp_session *s)
{
    smtp_intake_drop(s);
    struct arena arena = s->tx.arena;
    if (arena.used > 4096)
        arena_done(&arena);
    else
        arena_clear(&arena);
    smtp_policy_unref(s->tx.policy);
    s->tx = (struct smtp_transaction){ .arena = arena };
}

/* The newest generation, if it still has this listener; it stays that of the transaction to its end. */
static void choose_policy(struct smtp_session *s)
{
    const struct conf_listener *l = s->listener;
    ptrdiff_t at = role_find_listener(s->in->policy->config->conf, l->service, s->listener_address, l->port);
    s->tx.policy = smtp_policy_ref(at < 0 ? s->policy : s->in->policy);
    s->tx.listener = at < 0 ? s->listener_index : (uint32_t)at;
}

static void begin(struct smtp_session *s)
{
    smtp_envelope_end(s);
    struct smtp_transaction *tx = &s->tx;
    tx->arena.max = TRANSACTION_MEMORY_MAX;
    tx->recipients_end = &tx->recipients;
    choose_policy(s);
    tx->open = true;
    tx->early = s->early;
    s->message++;
}

static const struct policy_rules *rules_of(struct smtp_session *s)
{
    return s->tx.policy ? &s->tx.policy->rules[s->tx.listener] : &s->policy->rules[s->listener_index];
}

static void count_refusal(struct smtp_session *s, int code)
{
    if (code >= 500)
        s->in->count.rejected++;
    else
        s->in->count.deferred++;
}

/* As smtp_envelope_judge(), but leaves its work in the scratch. */
static bool judge(struct smtp_session *s, enum policy_stage at, const struct policy_session *ps, const char *event)
{
    struct policy_verdict v;
    struct policy_facts facts = { .arena = &s->in->scratch };
    const struct policy_rules *rules = rules_of(s);
    smtp_policy_decide(s->tx.policy ? s->tx.policy : s->policy, rules, ps, at, &facts, &v);
    bool ok = v.action == POLICY_PERMIT;
    if (ok && !v.n_steps)
        return true;
    struct buf *e = smtp_session_event(s, EVENT_INFO, event);
    event_str(e, "verdict", ok ? S("permit") : v.action == POLICY_REJECT ? S("reject") : S("defer"));
    if (s->tx.open)
        event_str(e, "sender", ps->sender);
    if (ps->recipient.n)
        event_str(e, "recipient", ps->recipient);
    if (!ok) {
        event_u64(e, "code", (uint64_t)v.code);
        event_str(e, "enhanced", v.enhanced);
        event_str(e, "text", v.text);
        event_str(e, "client", ps->client_addr);
        event_str(e, "helo", ps->helo);
        event_str(e, "account", ps->sasl_user);
    }
    smtp_policy_event(e, rules, ps, at, &facts, &v);
    smtp_session_event_end(s);
    if (ok)
        return true;
    count_refusal(s, v.code);
    reply(s, v.code, v.enhanced, v.text);
    return false;
}

bool smtp_envelope_judge(struct smtp_session *s, enum policy_stage at, const struct policy_session *ps,
                         const char *event)
{
    bool ok = judge(s, at, ps, event);
    arena_clear(&s->in->scratch);
    return ok;
}

void smtp_envelope_refuse(struct smtp_session *s, const char *event, str recipient, const struct smtp_refusal *why,
                          str change)
{
    struct buf *e = smtp_session_event(s, EVENT_INFO, event);
    event_str(e, "verdict", why->code >= 500 ? S("reject") : S("defer"));
    if (s->tx.open)
        event_str(e, "sender", s->tx.sender);
    if (recipient.n)
        event_str(e, "recipient", recipient);
    event_u64(e, "code", (uint64_t)why->code);
    event_str(e, "enhanced", why->enhanced);
    event_str(e, "text", why->text);
    event_str(e, "client", str_z(s->conn.address));
    event_str(e, "account", s->account);
    event_str(e, "rule", S("(built in)"));
    event_str(e, "change", change);
    smtp_session_event_end(s);
    count_refusal(s, why->code);
    reply(s, why->code, why->enhanced, why->text);
}

/* Asked of the file system once a second; between that, what came in is taken off. */
static uint64_t free_bytes(struct smtp_in *in)
{
    struct statvfs fs;
    uint64_t now = loop_now(in->role->loop);
    if (!in->room.known || now - in->room.asked_at >= 1000) {
        in->room.known = fstatvfs(in->role->data_dir, &fs) == 0;
        in->room.asked_at = now;
        in->room.bytes = in->room.known ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
        in->room.received = in->count.bytes;
    }
    uint64_t since = in->count.bytes - in->room.received;
    return in->room.bytes > since ? in->room.bytes - since : 0;
}

/* Free room and a store that keeps up, else 452 4.3.1 (DESIGN 2). */
bool smtp_envelope_room(struct smtp_in *in, uint64_t size, struct smtp_refusal *out_why, str *out_change)
{
    const struct conf *c = in->policy->config->conf;
    *out_why = (struct smtp_refusal){ 452, S("4.3.1"), STR_NONE };
    if (in->log.dead) {
        out_why->text = S("The disk of this host has failed; try again later");
        *out_change = S("look at the disk that holds the receive log (event log_failed)");
    } else if (log_writer_backlog(&in->log) > BACKLOG_MAX) {
        out_why->text = S("This host is busy placing mail; try again later");
        *out_change = S("wait until role store has placed what was received (backlog_bytes in `posthouse status`), "
                        "and see what it waits for");
    } else if (free_bytes(in) < c->min_free + size) {
        out_why->text = S("Not enough disk space; try again later");
        *out_change = S("free disk space, or lower `min_free`");
    }
    return out_why->text.n == 0;
}

static bool room(struct smtp_session *s, uint64_t size)
{
    struct smtp_refusal why;
    str change;
    bool ok = smtp_envelope_room(s->in, size, &why, &change);
    if (!ok)
        smtp_envelope_refuse(s, "mail", STR_NONE, &why, change);
    return ok;
}

static str default_domain(const struct conf *c)
{
    return c->n_domains ? c->domains[0].text : c->hostname;
}

/* Canonical form with the default domain where none was given. */
static str complete(struct smtp_session *s, struct arena *to, const struct address *path)
{
    struct address a = *path;
    if (!a.domain.n)
        a.domain = default_domain(s->policy->config->conf);
    return address_canonical(to, &a);
}

void smtp_envelope_mail(struct smtp_session *s, const struct smtp_event *ev)
{
    struct policy_session ps;
    begin(s);
    s->early |= ev->early;
    s->tx.early = s->early;
    s->tx.mail = ev->mail;
    s->tx.mail.auth = STR_NONE;
    s->tx.mail.envid = arena_dup(&s->tx.arena, ev->mail.envid);
    s->tx.sender_null = ev->path.local.n == 0 && ev->path.domain.n == 0;
    s->tx.sender = s->tx.sender_null ? STR_NONE : complete(s, &s->tx.arena, &ev->path);
    bool ok = room(s, ev->mail.size);
    if (ok) {
        smtp_session_policy(s, &ps);
        ok = smtp_envelope_judge(s, POLICY_SENDER, &ps, "mail");
    }
    if (ok)
        reply(s, 250, S("2.1.0"), S("Sender ok"));
    else
        smtp_envelope_end(s);
}

/* The bounce of a message that was forwarded from here (message/srs.h). */
static bool returns(struct smtp_session *s, str recipient)
{
    return s->tx.sender_null && smtp_in_returns(s->in, recipient);
}

/* After policy: does the address lead anywhere? Whether a stranger may send to other hosts was the rules' affair; LMTP
 * delivers here alone (RFC 2033 5). */
static bool reachable(struct smtp_session *s, str recipient)
{
    struct directory_result r;
    struct smtp_refusal no = { 550, S("5.1.1"), STR_NONE };
    if (directory_resolve(&s->tx.policy->config->directory, &s->in->scratch, recipient, &r) < 0) {
        smtp_envelope_refuse(
            s, "rcpt", recipient,
            &(struct smtp_refusal){ 451, S("4.3.0"), S("Out of memory while resolving the recipient") },
            S("try again"));
        return false;
    }
    if (r.class == DIRECTORY_UNKNOWN && !returns(s, recipient)) {
        no.text = arena_printf(&s->in->scratch, "<%.*s>: no such mailbox here", STR_ARG(recipient));
        smtp_envelope_refuse(s, "rcpt", recipient, &no,
                             S("make the account (posthouse account add), or an alias that leads to one"));
        return false;
    }
    if (smtp_quota_full(s->in, &r)) {
        no = (struct smtp_refusal){ 452, S("4.2.2"), arena_printf(&s->in->scratch, "<%.*s>: the mailbox is full",
                                                               STR_ARG(recipient)) };
        smtp_envelope_refuse(
            s, "rcpt", recipient, &no,
            S("delete mail of that account, or raise `quota`, or the quota= of its line in the accounts "
              "file"));
        return false;
    }
    if (r.class != DIRECTORY_FOREIGN || s->listener->service != CONF_LMTP)
        return true;
    no.enhanced = S("5.7.1");
    no.text =
        arena_printf(&s->in->scratch, "<%.*s>: LMTP delivers to mailboxes of this host alone", STR_ARG(recipient));
    smtp_envelope_refuse(s, "rcpt", recipient, &no, S("send to an address of this host's domains, or by SMTP"));
    return false;
}

static bool is_duplicate(const struct smtp_transaction *tx, str recipient)
{
    for (const struct smtp_recipient *r = tx->recipients; r; r = r->next)
        if (str_eq(r->record.address, recipient))
            return true;
    return false;
}

static bool add_recipient(struct smtp_session *s, str recipient, const struct smtp_rcpt_params *params)
{
    struct smtp_recipient *r = ARENA_NEW(&s->tx.arena, struct smtp_recipient);
    str address = arena_dup(&s->tx.arena, recipient), orcpt = arena_dup(&s->tx.arena, params->orcpt);
    if (!r || !address.p || !orcpt.p)
        return false;
    r->record = (struct record_recipient){ .address = address, .notify = params->notify, .orcpt = orcpt };
    *s->tx.recipients_end = r;
    s->tx.recipients_end = &r->next;
    s->tx.n_recipients++;
    return true;
}

static void rcpt(struct smtp_session *s, const struct smtp_event *ev)
{
    struct policy_session ps;
    str recipient = complete(s, &s->in->scratch, &ev->path);
    s->early |= ev->early;
    smtp_session_policy(s, &ps);
    ps.recipient = recipient;
    ps.recipients = s->tx.n_recipients + 1;
    if (!recipient.p) {
        reply(s, 452, S("4.5.3"), S("Too many recipients"));
        return;
    }
    if (!judge(s, POLICY_RECIPIENT, &ps, "rcpt") || !reachable(s, recipient))
        return;
    if (s->tx.n_recipients < 100 && is_duplicate(&s->tx, recipient)) {
        reply(s, 250, S("2.1.5"), S("Recipient ok (already named)"));
        return;
    }
    if (!add_recipient(s, recipient, &ev->rcpt)) {
        reply(s, 452, S("4.5.3"), S("Too many recipients"));
        return;
    }
    reply(s, 250, S("2.1.5"), S("Recipient ok"));
}

void smtp_envelope_rcpt(struct smtp_session *s, const struct smtp_event *ev)
{
    rcpt(s, ev);
    arena_clear(&s->in->scratch);
}

void smtp_envelope_data(struct smtp_session *s, const struct smtp_event *ev)
{
    struct policy_session ps;
    s->early |= ev->early;
    smtp_session_policy(s, &ps);
    ps.recipients = s->tx.n_recipients;
    if (!smtp_envelope_judge(s, POLICY_DATA, &ps, "data"))
        return;
    smtp_intake_begin(s);
    if (s->tx.content.refusal.code) {
        reply(s, s->tx.content.refusal.code, s->tx.content.refusal.enhanced, s->tx.content.refusal.text);
        return;
    }
    reply(s, 354, STR_NONE, S("End data with <CR><LF>.<CR><LF>"));
}
