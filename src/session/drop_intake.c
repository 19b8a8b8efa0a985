/* One file of the drop on its way into the receive log (see drop_pickup.h): a session without a connection carries it
 * through smtp_intake.c. Its client is a user of this host, so no restriction list judges it; what the file system says
 * of him stands in the Received line and in the record. */
#include <errno.h>
#include "base/date.h"
#include "message/address.h"
#include "message/fixup.h"
#include "message/srs.h"
#include "session/drop_pickup.h"

enum { PIECE = 65536, FAILED_MAX = 1000, NAME_WORD_MAX = 45 };

static int read_at(struct drop_run *run, uint64_t at, char *p, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t k = pread(run->fd, p + got, n - got, (off_t)(at + got));
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k < 0 && errno == ENOMEM ? -ENOMEM : -EBADMSG;
        got += (size_t)k;
    }
    return 0;
}

static int read_head(struct drop_run *run, const char **out_why)
{
    char start[DROP_START];
    size_t length;
    *out_why = "it does not begin as a file of the drop";
    if (run->end < DROP_START || read_at(run, 0, start, DROP_START) < 0 ||
        drop_head_length(str_of(start, DROP_START), &length) < 0)
        return -EBADMSG;
    *out_why = "its envelope is cut short";
    if (length > run->end)
        return -EBADMSG;
    char *p = arena_alloc(&run->arena, length);
    if (!p)
        return -ENOMEM;
    int r = read_at(run, 0, p, length);
    if (r < 0)
        return r;
    *out_why = "its envelope cannot be read";
    run->head = run->at = length;
    return drop_decode(&run->arena, str_of(p, length), &run->envelope);
}

static str default_domain(const struct conf *c)
{
    return c->n_domains ? c->domains[0].text : c->hostname;
}

/* Canonical, with a domain. n == 0: it is no address (*out_why), or there is no memory (out_why NULL). */
static str complete(struct drop_run *run, struct arena *to, str text, const char **out_why)
{
    struct address a;
    *out_why = NULL;
    if (address_parse(text, true, true, &a, out_why) < 0)
        return STR_NONE;
    *out_why = NULL;
    if (!a.domain.n)
        a.domain = default_domain(run->session->tx.policy->config->conf);
    return address_canonical(to, &a);
}

static void free_later(struct smtp_session *s)
{
    s->next_closed = s->in->closed;
    s->in->closed = s;
}

static int add_failed(struct drop_run *run, const struct drop_recipient *to, str address, str status, str text)
{
    if (to->notify && !(to->notify & SMTP_DSN_FAILURE))
        return 0;
    if (!run->failed)
        run->failed = ARENA_ARRAY(&run->arena, struct dsn_recipient, FAILED_MAX);
    if (!run->failed)
        return -ENOMEM;
    if (run->n_failed == FAILED_MAX)
        return 0;
    run->failed[run->n_failed++] = (struct dsn_recipient){
        .address = address, .orcpt = to->orcpt, .status = status, .text = text,
        .at_s = (int64_t)(run->pickup->in->role->env->wall_us() / 1000000),
    };
    return 0;
}

static int add_recipient(struct drop_run *run, const struct drop_recipient *to)
{
    struct smtp_transaction *tx = &run->session->tx;
    const char *why;
    str address = complete(run, &tx->arena, to->address, &why);
    if (why)
        return add_failed(run, to, to->address, S("5.1.3"), str_z(why));
    if (!address.n)
        return -ENOMEM;
    if (directory_class(&tx->policy->config->directory, address) == DIRECTORY_UNKNOWN &&
        !(tx->sender_null && smtp_in_returns(run->pickup->in, address)))
        return add_failed(run, to, address, S("5.1.1"),
                          arena_printf(&run->arena, "<%.*s>: no such mailbox here", STR_ARG(address)));
    struct smtp_recipient *r = ARENA_NEW(&tx->arena, struct smtp_recipient);
    str orcpt = arena_dup(&tx->arena, to->orcpt);
    if (!r || !orcpt.p)
        return -ENOMEM;
    r->record = (struct record_recipient){ .address = address, .notify = to->notify, .orcpt = orcpt };
    *tx->recipients_end = r;
    tx->recipients_end = &r->next;
    tx->n_recipients++;
    return 0;
}

/* A foreign sender of what an address of ours forwards is rewritten, as the store does for its aliases. */
static str forwarding_sender(struct drop_run *run, str sender)
{
    const struct smtp_in *in = run->pickup->in;
    struct smtp_transaction *tx = &run->session->tx;
    str by = run->envelope.forwarded_by;
    ptrdiff_t at = str_rchr(sender, '@'), by_at = str_rchr(by, '@');
    _cleanup_buf_ struct buf text = BUF(1024);
    if (!in->has_key || at < 0 || by_at < 0 ||
        directory_is_local_domain(&tx->policy->config->directory, str_from(sender, (size_t)at + 1)) ||
        srs_forward(&text, in->key, sender, str_from(by, (size_t)by_at + 1),
                    (int64_t)(in->role->env->wall_us() / 1000000)) < 0)
        return sender;
    return arena_dup(&tx->arena, buf_str(&text));
}

static int begin_envelope(struct drop_run *run, const char **out_why)
{
    struct smtp_transaction *tx = &run->session->tx;
    const struct drop_envelope *e = &run->envelope;
    tx->sender_null = e->sender.n == 0;
    if (e->sender.n) {
        str sender = complete(run, &tx->arena, e->sender, out_why);
        if (*out_why)
            return -EBADMSG;
        tx->sender = sender.n ? forwarding_sender(run, sender) : sender;
        run->sender = arena_dup(&run->arena, tx->sender);
        if (!tx->sender.n || !run->sender.n)
            return -ENOMEM;
    }
    tx->mail = (struct smtp_mail_params){ .ret = e->ret, .smtputf8 = e->smtputf8 || !str_ascii(e->sender),
                                          .envid = arena_dup(&tx->arena, e->envid) };
    if (!tx->mail.envid.p)
        return -ENOMEM;
    int r = 0;
    for (size_t i = 0; i < e->n_recipients && r == 0; i++) {
        tx->mail.smtputf8 = tx->mail.smtputf8 || !str_ascii(e->recipients[i].address);
        r = add_recipient(run, &e->recipients[i]);
    }
    run->smtputf8 = tx->mail.smtputf8;
    return r;
}

static bool printable(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    return true;
}

/* A From for a letter that has none: who the caller says he is, at the address that takes answers (RFC 5322 3.4; a name
 * beyond ASCII as one encoded word, RFC 2047). */
static int add_from(const struct drop_run *run, str address, struct buf *out)
{
    str name = run->envelope.full_name;
    buf_add(out, S("From: "));
    if (!printable(name)) {
        buf_add(out, S("=?utf-8?B?"));
        base64_encode(out, name);
        buf_add(out, S("?="));
    } else {
        buf_addc(out, '"');
        for (size_t i = 0; i < name.n; i++) {
            if (name.p[i] == '"' || name.p[i] == '\\')
                buf_addc(out, '\\');
            buf_addc(out, name.p[i]);
        }
        buf_addc(out, '"');
    }
    buf_add(out, S("\r\n <"));
    buf_add(out, address);
    return buf_add(out, S(">\r\n"));
}

static bool name_fits(str name)
{
    return name.n && (printable(name) ? name.n <= 200 : name.n <= NAME_WORD_MAX);
}

/* The MSA's repairs without its check of the author: this user may say what he likes, and the Received line says who he
 * is. */
static int header(struct smtp_session *s, str raw, struct buf *out, struct smtp_refusal *out_refusal)
{
    struct drop_run *run = s->drop;
    struct smtp_message_view v;
    struct header_field from;
    struct fixup_result result;
    const char *why;
    _cleanup_buf_ struct buf with_from = BUF(HEADER_HELD_MAX + 4096);
    (void)out_refusal;
    smtp_session_view(s, &v);
    str account = run->envelope.login.n ? complete(run, v.arena, run->envelope.login, &why) : STR_NONE;
    str author = v.sender.n ? v.sender : account;
    if (name_fits(run->envelope.full_name) && author.n && !header_find(raw, S("From"), &from)) {
        buf_add(&with_from, raw);
        add_from(run, author, &with_from);
        if (with_from.failed)
            return with_from.failed;
        raw = buf_str(&with_from);
    }
    struct fixup_input in = {
        .header = raw,
        .sender = v.sender,
        .account = account.n ? account
                             : arena_printf(v.arena, "MAILER-DAEMON@%.*s", STR_ARG(default_domain(v.conf))),
        .default_domain = default_domain(v.conf),
        .message_id = arena_printf(v.arena, "%.*s@%.*s", STR_ARG(v.id), STR_ARG(v.conf->hostname)),
        .unix_s = v.unix_s,
        .offset_min = date_local_offset_min(v.unix_s),
    };
    return fixup_header(v.arena, &in, out, &result);
}

static const struct smtp_agent letter = { .name = "drop", .msa = true, .header = header };
static const struct smtp_agent passed_on = { .name = "drop" };

static struct smtp_session *new_session(struct drop_run *run)
{
    struct smtp_in *in = run->pickup->in;
    struct smtp_session *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->in = in;
    s->drop = run;
    s->agent = run->envelope.submitted ? &letter : &passed_on;
    s->arena = ARENA(4096);
    s->tls_text = BUF(16);
    s->policy = smtp_policy_ref(in->policy);
    s->trusted = true;
    s->closing = true; /* there is no connection: whoever ends or answers sessions passes over it */
    s->message = 1;
    trace_id_new(in->role->env, &s->id);
    s->client_name = arena_printf(&s->arena, "userid %u", run->uid);
    s->tx = (struct smtp_transaction){ .arena = ARENA(TRANSACTION_MEMORY_MAX), .policy = smtp_policy_ref(in->policy),
                                       .open = true };
    s->tx.recipients_end = &s->tx.recipients;
    s->next = in->all;
    if (in->all)
        in->all->prev = s;
    in->all = s;
    in->n_sessions++;
    return s;
}

static void say(struct drop_run *run)
{
    struct buf *e = smtp_session_event(run->session, EVENT_INFO, "pickup");
    event_str(e, "file", str_z(run->name));
    event_u64(e, "uid", run->uid);
    event_str(e, "login", run->envelope.login);
    event_str(e, "sender", run->sender);
    event_str(e, "forwarded_by", run->envelope.forwarded_by);
    event_u64(e, "size", run->end - run->head);
    smtp_session_event_end(run->session);
}

static void end_session(struct drop_run *run)
{
    struct smtp_session *s = TAKE(run->session);
    if (s)
        s->drop = NULL;
    if (s && !s->is_waiting) {
        smtp_envelope_end(s);
        free_later(s);
    }
}

int drop_intake_begin(struct drop_run *run, const char **out_why)
{
    struct smtp_in *in = run->pickup->in;
    struct smtp_refusal no;
    str change;
    int r = read_head(run, out_why);
    if (r < 0)
        return r;
    /* what is too large is refused, and needs no room */
    uint64_t limit = in->policy->config->conf->message_size_limit, size = run->end - run->head;
    if (!smtp_envelope_room(in, size > limit ? 0 : size, &no, &change))
        return -EAGAIN;
    run->session = new_session(run);
    if (!run->session)
        return -ENOMEM;
    r = begin_envelope(run, out_why);
    if (r < 0) {
        end_session(run);
        return r;
    }
    say(run);
    if (size > limit)
        run->refused = (struct smtp_refusal){ 552, S("5.3.4"), S("The message is larger than this host takes") };
    else if (run->session->tx.n_recipients)
        smtp_intake_begin(run->session);
    run->done = run->refused.code || !run->session->tx.n_recipients;
    return 0;
}

void drop_intake_refused(struct smtp_session *s, const struct smtp_refusal *why)
{
    if (why->code >= 400)
        s->drop->refused = *why;
}

str drop_intake_listener(const struct smtp_session *s)
{
    return s->drop->envelope.submitted ? S("drop") : S("handed on");
}

bool drop_intake_native(const struct smtp_session *s) { return s->drop && s->drop->envelope.native; }

int drop_intake_received(struct smtp_session *s, struct buf *out, str id)
{
    int64_t now = (int64_t)(s->in->role->env->wall_us() / 1000000);
    str host = s->policy->config->conf->hostname;
    buf_addf(out, "Received: by %.*s (Posthouse, from userid %u)\r\n\tid <%.*s@%.*s>;\r\n\t", STR_ARG(host),
             s->drop->uid, STR_ARG(id), STR_ARG(host));
    date_format_5322(out, now, date_local_offset_min(now));
    return buf_add(out, S("\r\n"));
}

/* The sender hears of recipients that are none, or of all if the message was refused (then nothing is left in the
 * session's transaction). */
static int give_notice(struct drop_run *run)
{
    struct smtp_session *s = run->session;
    const struct drop_envelope *e = &run->envelope;
    char id[B32_ID_LEN + 12];
    uint64_t ticket;
    int r = 0;
    for (size_t i = 0; run->refused.code && i < e->n_recipients && r == 0; i++)
        r = add_failed(run, &e->recipients[i], e->recipients[i].address, run->refused.enhanced, run->refused.text);
    if (r < 0 || !run->n_failed)
        return r;
    if (!run->sender.n)
        return run->refused.code || !s->tx.n_recipients ? -EBADMSG : 0;
    const struct smtp_dsn_local n = {
        .to = run->sender, .of = trace_id_message(&s->id, 1, id), .envid = e->envid, .ret = e->ret,
        .smtputf8 = run->smtputf8, .arrival_s = (int64_t)(s->in->role->env->wall_us() / 1000000),
        .recipients = run->failed, .n = run->n_failed,
        .fd = run->fd, .offset = run->head, .length = run->end - run->head,
    };
    r = smtp_dsn_local(s->in, &n, &ticket);
    run->ticket = r == 0 ? MAX(run->ticket, ticket) : run->ticket;
    return r < 0 ? -EAGAIN : 0;
}

/* All of it was read, or nothing more is wanted. The notice is staged before the message: if it cannot be written, all
 * of it waits. */
static int finish(struct drop_run *run, const char **out_why)
{
    struct smtp_session *s = run->session;
    int r = 0;
    if (!run->refused.code)
        r = give_notice(run);
    if (r == 0 && !run->refused.code && s->tx.n_recipients) {
        smtp_intake_end(s);
        if (s->is_waiting)
            run->ticket = MAX(run->ticket, s->tx.ticket);
    }
    if (r == 0 && run->refused.code >= 500) {
        run->n_failed = 0;
        r = give_notice(run);
    } else if (r == 0 && run->refused.code) {
        r = -EAGAIN;
    }
    if (r == -EBADMSG)
        *out_why = run->refused.code ? "it was refused, and has no sender who could be told"
                                     : "none of its recipients is an address, and it has no sender who could be told";
    end_session(run);
    return r == -ENOMEM ? -EAGAIN : r;
}

int drop_intake_more(struct drop_run *run, const char **out_why)
{
    char raw[PIECE];
    size_t n = (size_t)MIN(run->end - run->at, (uint64_t)PIECE);
    if (run->done || run->refused.code || run->session->tx.content.refusal.code)
        return finish(run, out_why);
    if (n && read_at(run, run->at, raw, n) < 0) {
        *out_why = "it was cut short while it was read";
        end_session(run);
        return -EBADMSG;
    }
    run->at += n;
    buf_clear(&run->piece);
    if (drop_lines_feed(&run->lines, str_of(raw, n), &run->piece) < 0) {
        end_session(run);
        return -EAGAIN;
    }
    str text = buf_str(&run->piece);
    run->eight_bit = run->eight_bit || !str_ascii(text);
    if (text.n)
        run->newline = text.p[text.n - 1] == '\n';
    if (run->at == run->end && !run->newline)
        buf_add(&run->piece, S("\r\n"));
    if (run->piece.n)
        smtp_intake_add(run->session, buf_str(&run->piece));
    if (run->at < run->end)
        return 1;
    run->session->tx.mail.body_8bit = run->eight_bit || run->envelope.body_8bit;
    return finish(run, out_why);
}
